"""What BERT and Nomic BERT have in common: sizes, metadata, tensors nobody needs."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.pooling import write_pooling
from edgec.formats.gguf.architectures.tensors import Ignored
from edgec.formats.gguf.model import ModelShape
from edgec.source.model import CheckpointHeader

# Heads over the embeddings; the prefix is the name transformers gives the encoder inside a model with a head.
UNUSED = (
    Ignored(r"((nomic_)?bert\.)?pooler\..*", "the classifier's pooler; embeddings are pooled by the runtime"),
    Ignored(r"((nomic_)?bert\.)?embeddings\.(position_ids|token_type_ids)", "counts from zero"),
    Ignored(r"cls\.(predictions|seq_relationship)\..*", "heads of pre-training"),
)
NO_POOLING = "modules.json names no pooling: the runtime gives one vector per token"


@dataclass(frozen=True)
class EncoderDimensions:
    """Sizes of an encoder (elements, tokens)."""

    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_vocab: int
    n_types: int
    context_length: int
    norm_epsilon: float

    def model_shape(self) -> ModelShape:
        """The sizes as the predictors want them."""
        width = self.n_embd // self.n_head
        return ModelShape(
            n_layer=self.n_layer,
            n_embd=self.n_embd,
            n_ff=self.n_ff,
            n_head=self.n_head,
            n_head_kv=self.n_head,
            head_dim_k=width,
            head_dim_v=width,
            n_vocab=self.n_vocab,
            context_length=self.context_length,
        )


def write_encoder(dims: EncoderDimensions, metadata: MetadataWriter) -> None:
    """Writes the sizes, and that attention looks both ways."""
    metadata.integer("block_count", dims.n_layer)
    metadata.integer("context_length", dims.context_length)
    metadata.integer("embedding_length", dims.n_embd)
    metadata.integer("feed_forward_length", dims.n_ff)
    metadata.integer("attention.head_count", dims.n_head)
    metadata.number("attention.layer_norm_epsilon", dims.norm_epsilon)
    metadata.flag("attention.causal", False)


def write_pooling_or_note(header: CheckpointHeader, metadata: MetadataWriter) -> tuple[str, ...]:
    """Writes how token embeddings become one. Returns notes for people."""
    return () if write_pooling(header, metadata) else (NO_POOLING,)
