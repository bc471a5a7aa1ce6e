"""Memory and scratch that a quantization takes, known beforehand.

Rule: an upper bound that holds on every machine; tests compare it with what processes really took.
"""

from __future__ import annotations

from edgec.quantize.architecture import LINEARS, Decoder
from edgec.quantize.settings import QuantizeSettings

# Elements of the rows that are rounded at once: 16 MB as float32.
ROUNDED_ELEMENTS = 1 << 22
# Activations worked on at once; tokens kept of them for a search of scales, and multiplications of one of its trials.
_CHUNK_BYTES = 32 << 20
_SAMPLE_BYTES = 32 << 20
_MOST_SAMPLES, _LEAST_SAMPLES = 2048, 256
_SEARCH_PRODUCTS = 1 << 32
_FLOAT = 4
# Python with numpy, numba's compiler, a large tokenizer, BLAS's buffers.
_PROCESS_BYTES = 320 << 20
# Arrays of the size of a chunk of activations, and of rounded rows, that live at once.
_CHUNKS, _ROWS = 5, 8


def windows_at_once(decoder: Decoder, tokens: int) -> int:
    """Windows whose widest activations fit in a chunk, at least one. Their number does not depend on the machine."""
    return max(1, _CHUNK_BYTES // (_FLOAT * _widest(decoder) * tokens))


def sample_size(channels: int) -> int:
    """Tokens kept of inputs with so many channels."""
    return min(_MOST_SAMPLES, max(_LEAST_SAMPLES, _SAMPLE_BYTES // (_FLOAT * channels)))


def search_rows(channels: int) -> int:
    """Rows of each matrix that a scale search looks at."""
    return max(64, _SEARCH_PRODUCTS // (sample_size(channels) * channels))


def memory_mib(decoder: Decoder, settings: QuantizeSettings) -> int:
    """The most memory that quantizing the decoder takes (peak resident set)."""
    shapes = [decoder.linear_shapes()[name] for name in LINEARS]
    # The codes of two of the largest linears wait to be written, and one of them is copied on its way.
    codes = 3 * max(outputs * inputs for outputs, inputs in shapes) * settings.bits // 8
    scales = sum(outputs * (inputs // min(settings.group_size, inputs) + 1) for outputs, inputs in shapes) * _FLOAT
    rows = _ROWS * max(_FLOAT * ROUNDED_ELEMENTS, 8 * _FLOAT * max(inputs for _, inputs in shapes))
    if not settings.is_calibrated:
        return -(-(_PROCESS_BYTES + codes + scales + rows) >> 20)
    kept, worked = _statistics(decoder, settings)
    return -(-(_PROCESS_BYTES + codes + scales + kept + max(rows + worked, _activations(decoder, settings))) >> 20)


def scratch_bytes(decoder: Decoder, settings: QuantizeSettings) -> int:
    """The most that lies in the scratch folder: activations of all tokens, and the rows of one layer."""
    if not settings.is_calibrated:
        return 0
    widths = 3 * decoder.width + decoder.query_width + decoder.inner
    rows = sum(outputs * inputs for outputs, inputs in decoder.linear_shapes().values())
    return _FLOAT * (settings.max_tokens * widths + rows)


def _activations(decoder: Decoder, settings: QuantizeSettings) -> int:
    """Bytes of the activations in memory while a pass goes through a layer."""
    tokens = min(settings.sequence_tokens, decoder.context)
    scores = 3 * _FLOAT * tokens * tokens * (decoder.heads // decoder.kv_heads)
    return _CHUNKS * max(_CHUNK_BYTES, _FLOAT * _widest(decoder) * tokens) + scores


def _statistics(decoder: Decoder, settings: QuantizeSettings) -> tuple[int, int]:
    """Bytes of what is kept of a stage's inputs, and of what is made of it before rows are rounded."""
    channels = max(decoder.inner, decoder.width, decoder.query_width)
    if settings.method == "gptq":
        # The products; panels of 256 columns in double precision while they are factored.
        return _FLOAT * channels * channels, 4 * 8 * 256 * channels
    # At least 64 rows of each matrix; with fewer channels than the widest stage has, as many elements.
    samples, rows = sample_size(channels), search_rows(channels)
    elements = 3 * max(rows * channels, _SEARCH_PRODUCTS // samples)
    gram = 3 * _FLOAT * channels * settings.group_size if settings.method == "awq" else 0
    return max(_SAMPLE_BYTES, _FLOAT * samples * channels) + gram, _FLOAT * (4 * elements + 4 * samples * rows)


def _widest(decoder: Decoder) -> int:
    return max(decoder.inner, decoder.query_width + 2 * decoder.kv_width, 2 * decoder.width)
