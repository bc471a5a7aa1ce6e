"""What a quantized checkpoint will be, from the header alone: its tensors, exact size, memory and scratch.

Rule: a model or a setting that cannot be quantized is refused here, with what to do, before a weight is read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from edgec.documents.canonical import sha256_bytes, sha256_json
from edgec.errors import InputError
from edgec.quantize.architecture import Decoder, plan_decoder
from edgec.quantize.budget import memory_mib, scratch_bytes
from edgec.quantize.output import tensor_specs
from edgec.quantize.packing import PER_WORD
from edgec.quantize.settings import QuantizeSettings
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import refuse_quantized
from edgec.source.safetensors_file import SafetensorsLayout, plan_safetensors

# Counts up when the same inputs make other bytes than before.
_REVISION = 1
_GROUP_SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class QuantizedLayout:
    """Everything about the result but the weights. `memory_mib`: most memory that making it takes."""

    settings: QuantizeSettings
    decoder: Decoder
    file: SafetensorsLayout
    memory_mib: int
    scratch_bytes: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights file; exact."""
        return self.file.size_bytes

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` over all that shapes the result's bytes besides weights and calibration text."""
        return sha256_json(
            {
                "revision": _REVISION,
                "settings": asdict(self.settings),
                "decoder": asdict(self.decoder),
                "file": sha256_bytes(self.file.header),
            }
        )


def plan_quantized(header: CheckpointHeader, settings: QuantizeSettings) -> QuantizedLayout:
    """The layout of `header`'s checkpoint quantized by `settings`. Raises InputError for what cannot be."""
    refuse_quantized(header.config, header.quantization)
    decoder = plan_decoder(header)
    _check(decoder, settings)
    return QuantizedLayout(
        settings=settings,
        decoder=decoder,
        file=plan_safetensors(tensor_specs(header, decoder, settings)),
        memory_mib=memory_mib(decoder, settings),
        scratch_bytes=scratch_bytes(decoder, settings),
    )


def _check(decoder: Decoder, settings: QuantizeSettings) -> None:
    if not settings.symmetric:
        raise InputError.of(
            "asymmetric codes are not made: TensorRT Edge-LLM 0.11 clamps code - zero point + 8, which damages them",
            hint="set symmetric, the default",
        )
    if settings.method == "smoothquant":
        return
    if settings.group_size not in _GROUP_SIZES:
        raise InputError.of(
            f"a group size of {settings.group_size} is not one of {', '.join(map(str, _GROUP_SIZES))}",
            hint="set group_size: 128, which all runtimes take",
        )
    for name, (outputs, inputs) in decoder.linear_shapes().items():
        if inputs % settings.group_size:
            fits = [s for s in _GROUP_SIZES if inputs % s == 0]
            raise InputError.of(
                f"{name} has {inputs} input channels, which groups of {settings.group_size} do not divide",
                hint=f"set group_size: {fits[-1]}" if fits else "take int8_sq, which has no groups, or a GGUF",
            )
        if outputs % PER_WORD:
            raise InputError.of(
                f"{name} has {outputs} output channels, and 4-bit layouts pack {PER_WORD} of them into a word",
                hint="take int8_sq, or a GGUF",
            )
