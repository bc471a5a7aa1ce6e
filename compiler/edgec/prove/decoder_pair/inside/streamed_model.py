"""A decoder of transformers whose layers hold weights only while they run, so that one layer is in memory at a time.

Runs in the toolchain. Rule: the arithmetic is transformers' own, in float32: its modules, masks, rotary embeddings;
here weights are moved and nothing is computed but the product with the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from checkpoint_folder import CheckpointFolder, RefusedError
from int8_simulation import read_activations
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
# Tokens that go through a layer at once: more need more memory and are no faster.
_LAYER_TOKENS = 1024
# Bytes of one float32 piece of the head.
_HEAD_BYTES = 64 << 20
_EMBEDDING, _HEAD, _NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
# Older checkpoints store what is computed from the config.
_COMPUTED = ("rotary_emb.inv_freq", "masked_bias", "attn.bias")

Step = Callable[[str], None]


class StreamedModel:
    """One checkpoint. `step` is called with a name after each layer and each piece of the head."""

    def __init__(self, folder: CheckpointFolder, step: Step) -> None:
        self._folder = folder
        self._step = step
        self.config = _config(folder)
        # Without a type in transformers.
        make: Any = AutoModelForCausalLM.from_config
        with torch.device("meta"):
            model: Any = make(self.config, dtype=torch.float32).eval()
        if type(model).__name__ not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise RefusedError(folder.which, f"the model is a {type(model).__name__}; compared are {known}")
        self._base: Any = model.model
        self._activations, used = read_activations(folder, len(self._base.layers))
        # As transformers: a head of its own is used also where the config says that it is the embedding.
        self._head = _HEAD if folder.has(_HEAD) else _EMBEDDING
        self._demand_tensors(model, used)
        self._prepare()

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return len(self._base.layers)

    @property
    def n_vocab(self) -> int:
        """Rows of the head."""
        return int(self.config.vocab_size)

    def head_pieces(self) -> list[tuple[int, int]]:
        """The ranges of rows in which the head is read."""
        rows = max(1, _HEAD_BYTES // (4 * int(self.config.hidden_size)))
        return [(begin, min(begin + rows, self.n_vocab)) for begin in range(0, self.n_vocab, rows)]

    def hidden(self, windows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The normed states of the last layer, (windows, tokens, width); all windows are of one length."""
        ids = torch.tensor(windows, dtype=torch.int64)
        unique, places = torch.unique(ids, return_inverse=True)
        rows = self._folder.rows(_EMBEDDING, unique.tolist(), int(self.config.hidden_size))
        states = rows[places]
        del rows
        cache = self._activations.cache()
        answer = self._base(inputs_embeds=states, past_key_values=cache, use_cache=cache is not None)
        return answer.last_hidden_state  # type: ignore[no-any-return]

    def head_piece(self, begin: int, end: int) -> torch.Tensor:
        """Rows [begin, end) of the head, (rows, width)."""
        return self._folder.row_range(self._head, begin, end)

    def head_input(self, states: torch.Tensor) -> torch.Tensor:
        """The states as the head sees them."""
        quantize = self._activations.inputs.get("lm_head")
        return states if quantize is None else quantize(states)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """All logits of a few states, (states, vocabulary)."""
        states = self.head_input(states)
        found = torch.empty(states.shape[0], self.n_vocab)
        for begin, end in self.head_pieces():
            found[:, begin:end] = states @ self.head_piece(begin, end).T
        return found

    def _demand_tensors(self, model: nn.Module, used: frozenset[str]) -> None:
        """Refuses a checkpoint that lacks a tensor, has one of another shape, or one the model has no place for."""
        wanted = {name: list(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
        if self._head == _EMBEDDING:
            if not self.config.tie_word_embeddings:
                raise RefusedError(self._folder.which, f"tensor '{_HEAD}' is missing")
            wanted.pop(_HEAD, None)
        for name, shape in wanted.items():
            self._folder.demand(name, shape)
        known = {*wanted, *(name.removeprefix("model.") for name in wanted), *used}
        strange = sorted(n for n in self._folder.names - known if not n.endswith(_COMPUTED))
        if strange:
            shown = f"{len(strange)} tensors have no place in the model, the first is '{strange[0]}'"
            raise RefusedError(self._folder.which, shown)

    def _prepare(self) -> None:
        """Makes the small parts real, and lets each layer fetch its weights when it runs."""
        base = self._base
        # Its tables are computed from the config, and cannot be on the meta device.
        base.rotary_emb = type(base.rotary_emb)(config=self.config)
        base.norm.load_state_dict(
            {"weight": self._folder.load({_NORM: [int(self.config.hidden_size)]})[_NORM]}, assign=True
        )
        attached = 0
        for index, layer in enumerate(base.layers):
            prefix = f"model.layers.{index}."
            linears = ((n, m) for n, m in layer.named_modules() if isinstance(m, nn.Linear))
            attached += sum(self._activations.attach(f"{prefix}{n}", m) for n, m in linears)
            layer.forward = self._streamed(prefix, layer)
        if attached != len([n for n in self._activations.inputs if n != "lm_head"]):
            raise RefusedError(self._folder.which, "edgec-activations.json names linears that the model does not have")

    def _streamed(self, prefix: str, layer: nn.Module) -> Callable[..., torch.Tensor]:
        whole = layer.forward

        def forward(states: torch.Tensor, **options: Any) -> torch.Tensor:
            shapes = {f"{prefix}{name}": list(p.shape) for name, p in layer.named_parameters()}
            weights = self._folder.load(shapes)
            layer.load_state_dict({n.removeprefix(prefix): w for n, w in weights.items()}, assign=True)
            del weights
            # In place: nobody reads the states of the layer before again.
            for rows in _row_ranges(states):
                states[rows] = whole(states[rows], **_cut(options, rows, states.shape[0]))
            layer.to("meta")
            self._step(prefix.rstrip("."))
            return states

        return forward


def _config(folder: CheckpointFolder) -> Any:
    config = AutoConfig.from_pretrained(folder.folder, local_files_only=True, trust_remote_code=False)
    if getattr(config, "quantization_config", None) is not None:
        raise RefusedError(folder.which, "config.json has a quantization_config: only plain weights are compared")
    return config


def _row_ranges(states: torch.Tensor) -> Iterator[slice]:
    step = max(1, _LAYER_TOKENS // states.shape[1])
    for begin in range(0, states.shape[0], step):
        yield slice(begin, begin + step)


def _cut(options: dict[str, Any], rows: slice, batch: int) -> dict[str, Any]:
    """The options of a layer for some rows of the batch; masks and tables have one entry for each, or for all."""

    def cut(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[0] == batch:
            return value[rows]
        return tuple(cut(v) for v in value) if isinstance(value, tuple) else value

    return {name: cut(value) for name, value in options.items()}
