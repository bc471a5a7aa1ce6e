"""What Edge-LLM's exporter and its kernels for Orin cannot take, so that it is refused before anything is made.

Rule: every limit names where it stands. Exporter: read in the wheel of 0.11.0. Kernels: read in the project's public
sources; they check most of it on the device only, after the download, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgec.errors import EdgecError, InputError
from edgec.formats.edgellm.shape import Linear, ModelShape, wrong_config
from edgec.source.model import CheckpointHeader, DType

GROUP_SIZE = 128
_ELSE = "or use `format: gguf` for this model"
# Query heads per key head, by head size: attention's prefill kernels are for these sizes, the decode kernels (XQA) for
# these ratios.
_HEAD_RATIOS: Mapping[int, frozenset[int]] = {
    64: frozenset(range(1, 9)),
    128: frozenset((*range(1, 9), 16)),
    256: frozenset((2, 4, 6, 8)),
    512: frozenset((2, 4, 8, 16)),
}
# The tables of rotary angles for these kinds are for these widths only.
_SCALED_ROPE_HEAD_DIMS = (64, 128)
# The lookup of embeddings reads 16 bytes at a time.
_HIDDEN_MULTIPLE = 8
# The GEMM's weight fragments are 64 by 64 (exporter: repack_to_cutedsl_fragment).
_INT4_MULTIPLE = 64


def refuse_beyond_limits(shape: ModelShape, scheme: str) -> None:
    """Raises InputError when kernels for Orin are missing for this model in this scheme."""
    if shape.heads % shape.kv_heads:
        raise wrong_config(
            f"num_attention_heads {shape.heads} is no multiple of num_key_value_heads {shape.kv_heads}",
            "check config.json against the checkpoint's publisher",
        )
    ratio, ratios = shape.heads // shape.kv_heads, _HEAD_RATIOS.get(shape.head_dim)
    if ratios is None:
        sizes = ", ".join(map(str, _HEAD_RATIOS))
        raise wrong_config(
            f"the head size is {shape.head_dim}; Edge-LLM's attention kernels are for {sizes}",
            f"choose a model with such heads, {_ELSE}",
        )
    if ratio not in ratios:
        raise wrong_config(
            f"{ratio} query heads share a key head of size {shape.head_dim}; Edge-LLM's decode kernels are for "
            f"{', '.join(map(str, sorted(ratios)))}",
            f"choose a model with such heads, {_ELSE}",
        )
    if shape.rope != "default" and shape.head_dim not in _SCALED_ROPE_HEAD_DIMS:
        raise wrong_config(
            f"the rotary embedding is of kind {shape.rope} and the head size {shape.head_dim}; Edge-LLM computes it "
            f"for {' and '.join(map(str, _SCALED_ROPE_HEAD_DIMS))}",
            f"choose another model, {_ELSE}",
        )
    if shape.hidden % _HIDDEN_MULTIPLE:
        raise wrong_config(
            f"hidden_size {shape.hidden} is no multiple of {_HIDDEN_MULTIPLE}, which the embedding kernel needs",
            f"choose another model, {_ELSE}",
        )
    if scheme.startswith("int4"):
        for linear in shape.layer_linears(0):
            _refuse_int4_width(linear)


def _refuse_int4_width(linear: Linear) -> None:
    name = linear.name.replace(".layers.0.", ".layers.*.")
    if linear.in_features % GROUP_SIZE:
        raise wrong_config(
            f"{name} has {linear.in_features} input channels, which groups of {GROUP_SIZE} do not divide",
            f"use scheme int8_sq or fp16, {_ELSE}",
        )
    if linear.out_features % _INT4_MULTIPLE:
        raise wrong_config(
            f"{name} has {linear.out_features} output channels; the INT4 kernel needs a multiple of {_INT4_MULTIPLE}",
            f"use scheme int8_sq or fp16, {_ELSE}",
        )


def refuse_other_quantization(header: CheckpointHeader, scheme: str) -> None:
    """Raises InputError when the checkpoint is quantized in another way than `scheme` says, or than kernels read."""
    found = header.quantization
    if found is None:
        return
    bits = {"fp16": 0, "int8_sq": 8}.get(scheme, 4)
    if found.bits != bits:
        raise InputError.of(
            f"the checkpoint is quantized already ({found.layout}, {found.bits} bits), and the scheme is {scheme}",
            hint=f"use scheme {'int8_sq' if found.bits == 8 else 'int4_awq'}, or the unquantized checkpoint",
        )
    if found.bits == 4 and found.group_size != GROUP_SIZE:
        raise InputError.of(
            f"the weights have groups of {found.group_size} channels; Edge-LLM's INT4 kernels have {GROUP_SIZE} "
            "built in, and compute nonsense with others, without a word",
            hint=f"quantize with group_size {GROUP_SIZE} (edgec does), {_ELSE}",
        )


def refuse_tensors(header: CheckpointHeader, shape: ModelShape) -> None:
    """Raises InputError for tensors that are missing or unknown: the exporter leaves out what it does not know."""
    linears = {linear.name for linear in shape.linears()}
    known = {"model.embed_tokens.weight", "lm_head.weight", *shape.vectors()}
    strangers = [
        name
        for name in header.tensors
        if name not in known and name.rpartition(".")[0] not in linears and not name.endswith(".rotary_emb.inv_freq")
    ]
    if strangers:
        raise _tensor(header, strangers[0], "is unknown, and the exporter would leave it out", f"check it, {_ELSE}")
    missing = [name for name in known if name not in header.tensors and not (name == "lm_head.weight" and shape.tied)]
    missing += [
        n for n in sorted(linears) if f"{n}.weight" not in header.tensors and f"{n}.qweight" not in header.tensors
    ]
    if missing:
        raise InputError.of(
            f"the checkpoint has no weights of '{missing[0]}'",
            hint="check that all weight files were downloaded and that config.json belongs to them",
        )


def refuse_wide_floats(header: CheckpointHeader) -> None:
    """Raises InputError for F32 weights: the exporter casts bfloat16 only, and would write a graph of mixed types."""
    for name, info in header.tensors.items():
        is_scale = name.endswith(("scale", "scales", ".inv_freq"))
        if info.dtype is DType.F32 and not is_scale:
            what, hint = "is F32; Edge-LLM's exporter takes F16 and BF16", "convert it to bfloat16 or float16"
            raise _tensor(header, name, what, hint)


def _tensor(header: CheckpointHeader, name: str, what: str, hint: str) -> EdgecError:
    return InputError.of(what, hint=hint, place=f"{header.tensors[name].file}: tensor '{name}'")


def refuse_tokenizer(header: CheckpointHeader) -> None:
    """Raises InputError when the small files lack what the exporter demands: tokenizer.json and one chat template."""
    if "tokenizer.json" not in header.files:
        raise InputError.of(
            "tokenizer.json is missing; Edge-LLM's runtime reads no other tokenizer",
            hint="save it with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        )
    if "chat_template.jinja" in header.files:
        return
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _template(header.files.get(name, b"{}"))
        if isinstance(template, str) and template.strip():
            return
        if template:
            raise InputError.of(
                "there are several named chat templates, and Edge-LLM takes one",
                hint="write the one to be used as chat_template.jinja into the checkpoint's folder",
                place=name,
            )
    raise InputError.of(
        "the model has no chat template; Edge-LLM exports none without",
        hint="write one as chat_template.jinja into the checkpoint's folder (a base model's may join the messages)",
    )


def _template(data: bytes) -> object:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    template = value.get("chat_template") if isinstance(value, dict) else None
    named = {t.get("name"): t.get("template") for t in template} if isinstance(template, list) else None
    return named.get("default") if named is not None and set(named) == {"default"} else template
