"""Random tiny models of every family, saved by transformers. Sizes differ from each other so that mistakes show:
n_head != n_head_kv, no two widths alike, weights scaled so that the logits have some range.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgec.formats.gguf.model import MappedModel

Convert = Callable[[Path], tuple[Path, MappedModel]]
Run = Callable[[Path, np.ndarray, str], np.ndarray]

DOCS_LLAMA = Path(__file__).parents[4] / "models" / "docs-llama"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
_DECODER: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 4093,
    "eos_token_id": 4095,
    "pad_token_id": 0,
}
_ENCODER: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}


@dataclass(frozen=True)
class TinyModel:
    """A model to build: transformers' class, its config's class, what differs from the usual sizes, tokens to run."""

    model_class: str
    config_class: str
    options: Mapping[str, Any] = field(default_factory=dict)
    n_tokens: int = 100
    respell: Literal["transformers 4", "publisher"] | None = None
    pooling: Mapping[str, Any] | None = None


_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 64}
_LONG = [1.0, 1.3, 2.0, 3.5, 5.0, 8.0, 13.0, 20.0]
_SHORT = [1.0, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0]
_LONGROPE = {"rope_type": "longrope", "rope_theta": 1000.0, "long_factor": _LONG, "short_factor": _SHORT}
_GEMMA = {
    "num_hidden_layers": 7,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "sliding_window": 24,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    },
}

_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


def _llama(**options: Any) -> TinyModel:
    return TinyModel("LlamaForCausalLM", "LlamaConfig", options)


def _qwen2(**options: Any) -> TinyModel:
    return TinyModel("Qwen2ForCausalLM", "Qwen2Config", options)


def _gemma(**options: Any) -> TinyModel:
    return TinyModel("Gemma3ForCausalLM", "Gemma3TextConfig", {**_GEMMA, **options})


def _phi3(n_tokens: int = 100, **options: Any) -> TinyModel:
    return TinyModel("Phi3ForCausalLM", "Phi3Config", options, n_tokens)


DECODERS: Mapping[str, TinyModel] = {
    "llama": _llama(),
    "llama-tied": _llama(tie_word_embeddings=True),
    "llama-no-gqa": _llama(num_key_value_heads=6),
    "llama-biases": _llama(attention_bias=True, mlp_bias=True),
    "llama-head-dim": _llama(head_dim=32),
    "llama-linear": _llama(rope_parameters={"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}),
    "llama-llama3": _llama(rope_parameters=_LLAMA3),
    "llama-llama3-head-dim": _llama(rope_parameters=_LLAMA3, head_dim=32),
    "llama-yarn": _llama(rope_parameters=_YARN),
    "mistral": TinyModel("MistralForCausalLM", "MistralConfig", {"sliding_window": None}),
    "mistral-window": TinyModel("MistralForCausalLM", "MistralConfig", {"sliding_window": 64}, n_tokens=64),
    "qwen2": _qwen2(),
    "qwen2-tied": _qwen2(tie_word_embeddings=True),
    "qwen2-yarn": _qwen2(rope_parameters=_YARN),
    "qwen2-yarn-attention-factor": _qwen2(rope_parameters={**_YARN, "attention_factor": 0.8, "beta_fast": 32.0}),
    "qwen2-yarn-mscale": _qwen2(rope_parameters={**_YARN, "mscale": 0.7, "mscale_all_dim": 1.4, "beta_slow": 1.0}),
    "qwen2-window-of-late-layers": TinyModel(
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 48, "max_window_layers": 1},
        n_tokens=48,
    ),
    "qwen3": TinyModel("Qwen3ForCausalLM", "Qwen3Config", {"head_dim": 32}),
    "qwen3-tied-yarn": TinyModel(
        "Qwen3ForCausalLM", "Qwen3Config", {"head_dim": 32, "tie_word_embeddings": True, "rope_parameters": _YARN}
    ),
    "gemma3": _gemma(),
    "gemma3-with-images": TinyModel(
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        {"text_config": _GEMMA, "vision_config": _VISION, "image_token_index": 4, "mm_tokens_per_image": 4},
    ),
    "gemma3-padded-vocabulary": _gemma(vocab_size=4160),
    "gemma3-untied": _gemma(tie_word_embeddings=False),
    "gemma3-linear": _gemma(
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        }
    ),
    "gemma3-other-pattern": _gemma(
        num_hidden_layers=4,
        layer_types=["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gemma3-no-window": _gemma(num_hidden_layers=2, layer_types=["full_attention"] * 2),
    "gemma3-softcap": _gemma(final_logit_softcapping=5.0),
    "phi3": _phi3(),
    "phi3-tied-partial": _phi3(tie_word_embeddings=True, rope_parameters={"partial_rotary_factor": 0.75}),
    "phi3-window": _phi3(n_tokens=56, sliding_window=56),
    "phi3-longrope-long": _phi3(original_max_position_embeddings=64, rope_parameters=_LONGROPE),
    "llama-old-spelling": replace(_llama(rope_parameters=_LLAMA3), respell="transformers 4"),
    "qwen2-old-spelling": replace(_qwen2(rope_parameters=_YARN), respell="transformers 4"),
    "gemma3-old-spelling": replace(_gemma(), respell="transformers 4"),
    "phi3-longrope-short": _phi3(
        max_position_embeddings=1024, original_max_position_embeddings=256, rope_parameters=_LONGROPE
    ),
}
_BERT = TinyModel("BertModel", "BertConfig", n_tokens=90)
_NOMIC = TinyModel("NomicBertModel", "NomicBertConfig", n_tokens=90)
ENCODERS: Mapping[str, TinyModel] = {
    "bert": _BERT,
    "bert-tanh": TinyModel("BertModel", "BertConfig", {"hidden_act": "gelu_new"}, n_tokens=90),
    "bert-masked-lm": TinyModel("BertForMaskedLM", "BertConfig", n_tokens=90),
    "nomic-bert": _NOMIC,
    "nomic-bert-published": replace(_NOMIC, respell="publisher"),
    "bert-mean": replace(_BERT, pooling={"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}),
    "bert-cls": replace(_BERT, pooling={"pooling_mode": "cls"}),
    "bert-last": replace(_BERT, pooling={"pooling_mode_lasttoken": True, "word_embedding_dimension": 96}),
}

RERANKER = TinyModel(
    "BertForSequenceClassification", "BertConfig", {"type_vocab_size": 1, "num_labels": 1}, n_tokens=90
)


def save(tiny: TinyModel, folder: Path) -> Any:
    """Saves the model as a checkpoint in `folder`, decoders with docs-llama's tokenizer; returns it, ready to run."""
    import torch  # noqa: PLC0415 - an optional dependency of the tests
    import transformers  # noqa: PLC0415

    sizes = _ENCODER if tiny.config_class in ("BertConfig", "NomicBertConfig") else _DECODER
    options = dict(tiny.options)
    if "text_config" in options:
        options["text_config"] = {**sizes, **options["text_config"]}
    else:
        options = {**sizes, **options}
    config = getattr(transformers, tiny.config_class)(**options)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = getattr(transformers, tiny.model_class)(config).eval().float()
    _randomize(model, gemma="Gemma" in tiny.model_class)
    model.save_pretrained(folder)
    if sizes is _DECODER:
        for name in _TOKENIZER_FILES:
            shutil.copyfile(DOCS_LLAMA / name, folder / name)
            (folder / name).chmod(0o644)
    if tiny.respell == "publisher":
        spell_like_the_publisher(folder)
    if tiny.respell == "transformers 4":
        spell_like_transformers_4(folder)
    if tiny.pooling is not None:
        add_pooling(folder, tiny.pooling)
    return model


def _randomize(model: Any, *, gemma: bool) -> None:
    import torch  # noqa: PLC0415

    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn_like(value)
            if value.ndim == 2 and "embed" not in name:
                value.copy_(noise * 1.5 / math.sqrt(value.shape[1]))
            elif value.ndim == 2:
                value.copy_(noise * 0.5)
            else:
                is_gain = name.endswith("weight") and not gemma
                value.copy_(noise * 0.2 + (1.0 if is_gain else 0.0))


def spell_like_the_publisher(folder: Path) -> None:
    """Rewrites a saved Nomic BERT's config.json with the keys and options nomic-ai publishes."""
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    published = {
        "architectures": ["NomicBertModel"],
        "model_type": "nomic_bert",
        "activation_function": "swiglu",
        "causal": False,
        "layer_norm_epsilon": saved["layer_norm_eps"],
        "max_trained_positions": 2048,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "n_embd": saved["hidden_size"],
        "n_head": saved["num_attention_heads"],
        "n_inner": saved["intermediate_size"],
        "n_layer": saved["num_hidden_layers"],
        "n_positions": 8192,
        "prenorm": False,
        "qkv_proj_bias": False,
        "rotary_emb_base": saved["rope_parameters"]["rope_theta"],
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "type_vocab_size": saved["type_vocab_size"],
        "vocab_size": saved["vocab_size"],
    }
    path.write_text(json.dumps(published))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": {}}}))


def spell_like_transformers_4(folder: Path) -> None:
    """Rewrites a saved config.json with the rope keys and the dtype key of transformers 4."""
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    saved["torch_dtype"] = saved.pop("dtype")
    rope = saved.pop("rope_parameters")
    if "full_attention" in rope:
        saved["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
        saved["sliding_window_pattern"] = 6
        del saved["layer_types"]
    saved["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    saved["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    path.write_text(json.dumps(saved))


def add_pooling(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes a saved encoder a sentence-transformers model with a pooling config."""
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    modules.append({"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
