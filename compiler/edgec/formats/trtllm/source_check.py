"""Whether a source's tensors are what a scheme is made from.

Rule: every tensor of the source is used or is a known buffer; all that shapes a layout is checked before a weight is
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.errors import EdgecError, InputError
from edgec.formats.trtllm.names import EMBEDDING, FINAL_NORM, LINEARS, NORMS, OUTPUT, layer_of
from edgec.formats.trtllm.schemes import Scheme
from edgec.formats.trtllm.shape import DecoderShape
from edgec.quantize.weights import LinearInfo
from edgec.source.model import CheckpointHeader

# Widths and channels of a quantized matrix: the kernels' tiles (cutlass_preprocessors.cpp).
_TILE = 64
_GROUP_SIZES = (64, 128)
_BUFFERS = ("rotary_emb.inv_freq",)
_HINT = "check that all weight files were downloaded and that config.json belongs to them"


@dataclass(frozen=True)
class SourceLinears:
    """The linears of every layer, checked. `pre_scaled`: at least one has factors for its input's channels.

    `attention_bias`, `output_bias`, `mlp_bias`: which linears have biases, in all layers alike.
    """

    linears: Mapping[str, LinearInfo]
    group_size: int | None
    pre_scaled: bool
    attention_bias: bool
    output_bias: bool
    mlp_bias: bool


def check_source(
    header: CheckpointHeader, linears: Mapping[str, LinearInfo], shape: DecoderShape, scheme: Scheme
) -> SourceLinears:
    """The linears that `scheme` is made from. Raises InputError for missing, strange or wrongly quantized tensors."""
    found = _layer_linears(linears, shape)
    _check_plain(header, linears, shape)
    _check_no_strangers(header, set(found), shape)
    for info in found.values():
        _check_bits(info, scheme)
    _check_tiles(found, shape, scheme)
    sizes = {info.group_size for info in found.values()}
    if scheme.source_bits == 4:
        _check_groups(sizes)
    attention = _same_bias(found, ("q_proj", "k_proj", "v_proj"))
    output, mlp = _same_bias(found, ("o_proj",)), _same_bias(found, ("gate_proj", "up_proj", "down_proj"))
    _check_biases(shape, attention, output, mlp)
    pre_scaled = any(info.has_pre_scale for info in found.values())
    return SourceLinears(found, min(sizes, key=str), pre_scaled, attention, output, mlp)


def _layer_linears(linears: Mapping[str, LinearInfo], shape: DecoderShape) -> dict[str, LinearInfo]:
    q, k, v = shape.qkv_rows
    wanted = {
        "self_attn.q_proj": (q, shape.hidden),
        "self_attn.k_proj": (k, shape.hidden),
        "self_attn.v_proj": (v, shape.hidden),
        "self_attn.o_proj": (shape.hidden, q),
        "mlp.gate_proj": (shape.intermediate, shape.hidden),
        "mlp.up_proj": (shape.intermediate, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.intermediate),
    }
    found: dict[str, LinearInfo] = {}
    for layer in range(shape.layers):
        for part in (p for parts in LINEARS.values() for p in parts):
            name = f"{layer_of(layer)[1]}.{part}"
            info = linears.get(name)
            if info is None:
                raise InputError.of(f"the checkpoint has no linear layer '{name}'", hint=_HINT)
            if (info.out_features, info.in_features) != wanted[part]:
                stands, belongs = [info.out_features, info.in_features], list(wanted[part])
                raise InputError.of(f"is {stands}, where config.json wants {belongs}", place=name, hint=_HINT)
            found[name] = info
    return found


def _check_plain(header: CheckpointHeader, linears: Mapping[str, LinearInfo], shape: DecoderShape) -> None:
    wanted = {EMBEDDING[1]: (shape.vocabulary, shape.hidden), FINAL_NORM[1]: (shape.hidden,)}
    if not shape.tied:
        wanted[OUTPUT[1]] = (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        wanted |= {f"{layer_of(layer)[1]}.{norm}": (shape.hidden,) for norm in NORMS.values()}
    for name, expected in wanted.items():
        tensor = header.tensors.get(name)
        if tensor is None:
            raise InputError.of(f"the checkpoint has no tensor '{name}'", hint=_HINT)
        if tensor.shape != expected or not tensor.dtype.is_float:
            what = f"is {tensor.dtype} {list(tensor.shape)}, where config.json wants floats {list(expected)}"
            raise InputError.of(what, place=f"{tensor.file}: tensor '{name}'", hint=_HINT)


def _check_no_strangers(header: CheckpointHeader, modules: set[str], shape: DecoderShape) -> None:
    known = modules | {n.removesuffix(".weight") for n in (EMBEDDING[1], FINAL_NORM[1], OUTPUT[1])}
    known |= {f"{layer_of(i)[1]}.{n}".removesuffix(".weight") for i in range(shape.layers) for n in NORMS.values()}
    for name in header.tensors:
        if name.rpartition(".")[0] not in known and not name.endswith(_BUFFERS):
            raise InputError.of(
                f"nothing in a TensorRT-LLM checkpoint of this architecture takes the tensor '{name[:200]}'",
                hint="choose the original model, without adapters and additions, or another format",
            )


def _check_bits(info: LinearInfo, scheme: Scheme) -> None:
    if info.bits == scheme.source_bits:
        return
    if info.bits is None:
        raise InputError.of(
            f"is not quantized, and {scheme.title} is made from {scheme.source_bits}-bit weights",
            place=info.name,
            hint="quantize it first (edgec does, when the recipe says how), and every linear of the layers",
        )
    raise InputError.of(
        f"is quantized in {info.bits} bits already, and {scheme.title} is made from "
        f"{'plain' if scheme.source_bits is None else f'{scheme.source_bits}-bit'} weights",
        place=info.name,
        hint=f"use the unquantized checkpoint, or a scheme of {info.bits} bits "
        f"({'int4_awq, int4_gptq or int4_rtn' if info.bits == 4 else 'int8_sq'})",
    )


def _check_tiles(found: Mapping[str, LinearInfo], shape: DecoderShape, scheme: Scheme) -> None:
    """Of the matrices as the engine has them, q, k and v in one. FP16 and TensorRT's INT8 product take any width."""
    if scheme.algo is None or scheme.source_bits == 8:
        return
    for layer in range(shape.layers):
        for modules in LINEARS.values():
            infos = [found[f"{layer_of(layer)[1]}.{m}"] for m in modules]
            tile = max(_TILE, infos[0].group_size or 0)
            _check_width(infos[0].in_features, "input", tile, infos[0].name, scheme)
            name = infos[0].name if len(infos) == 1 else f"{infos[0].name} with k_proj and v_proj"
            _check_width(sum(i.out_features for i in infos), "output", tile, name, scheme)


def _check_width(width: int, what: str, tile: int, place: str, scheme: Scheme) -> None:
    if width % tile:
        raise InputError.of(
            f"has {width} {what} channels, and TensorRT-LLM's {scheme.title} kernels take multiples of {tile}",
            place=place,
            hint="use fp16 or int8_sq for this model, or another format",
        )


def _check_groups(sizes: set[int | None]) -> None:
    if len(sizes) != 1 or next(iter(sizes)) not in _GROUP_SIZES:
        shown = ", ".join(sorted(str(s) for s in sizes))
        raise InputError.of(
            f"the groups of the quantized weights are {shown}, and TensorRT-LLM takes 64 or 128, in all layers alike",
            hint="quantize with group_size 128",
        )


def _same_bias(linears: Mapping[str, LinearInfo], ends: tuple[str, ...]) -> bool:
    has = {info.has_bias: info.name for name, info in linears.items() if name.endswith(ends)}
    if len(has) == 2:
        raise InputError.of(
            f"has a bias, and {has[False]} has none; TensorRT-LLM's layers have both or neither",
            place=has[True],
            hint=_HINT,
        )
    return True in has


def _check_biases(shape: DecoderShape, attention: bool, output: bool, mlp: bool) -> None:
    if shape.qwen_type is not None:
        wrong = not attention or output or mlp
        rule = "Qwen2 has biases on q, k and v and nowhere else"
    else:
        wrong = attention != output
        rule = "a Llama has biases on q, k, v and o, or on none of them"
    if wrong:
        raise _bias_error(rule)


def _bias_error(rule: str) -> EdgecError:
    return InputError.of(f"the biases are not those of the architecture: {rule}", hint=_HINT)
