"""The `trtllm-build` command of a checkpoint, for one version of TensorRT-LLM.

Rule: only flags that the version has, each with its value; the quantization stands in the checkpoint's config.json, so
that none is asked for here (`--use_weight_only` and the like belong to NVIDIA's converter and end the build).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.formats.trtllm.engine_limits import TOKENS_PER_BLOCK, EngineLimits
from edgec.formats.trtllm.layout import TrtLlmLayout
from edgec.formats.trtllm.versions import VersionFacts

# Who runs the command puts folders in their place.
CHECKPOINT_PLACE = "{checkpoint}"
ENGINE_PLACE = "{engine}"
# What the command must have written, whatever its exit code.
ENGINE_FILES = ("config.json", "rank0.engine")


def build_command(layout: TrtLlmLayout, limits: EngineLimits) -> tuple[str, ...]:
    """The command and its arguments, with `CHECKPOINT_PLACE` and `ENGINE_PLACE` for the folders."""
    command = [
        "trtllm-build",
        *("--checkpoint_dir", CHECKPOINT_PLACE),
        *("--output_dir", ENGINE_PLACE),
        *("--max_batch_size", str(limits.max_batch_size)),
        *("--max_input_len", str(limits.max_input_len)),
        *("--max_seq_len", str(limits.max_seq_len)),
        *("--max_beam_width", "1"),
        *("--max_num_tokens", str(limits.max_num_tokens)),
        *("--gemm_plugin", "float16"),
        *("--gpt_attention_plugin", "float16"),
        *("--context_fmha", "enable"),
        *("--remove_input_padding", "enable"),
        *layout.facts.paged_kv_cache,
        *("--tokens_per_block", str(TOKENS_PER_BLOCK)),
        # It ends the build with an INT8 KV cache; only the reuse of cached prompts and prompts in parts need it.
        *("--use_paged_context_fmha", "disable"),
        *_logits(limits),
        *("--workers", "1"),
        *("--log_level", "info"),
    ]
    strange = strange_flags(layout.facts, command)
    if strange:
        raise ValueError(f"TensorRT-LLM {layout.facts.version} has no {', '.join(strange)}")
    return tuple(command)


def strange_flags(facts: VersionFacts, command: Sequence[str]) -> tuple[str, ...]:
    """The flags in `command` that the version's `trtllm-build` does not have."""
    return tuple(a for a in command if a.startswith("--") and a[2:].partition("=")[0] not in facts.flags)


def _logits(limits: EngineLimits) -> tuple[str, ...]:
    if limits.logits == "none":
        return ()
    both = ("--gather_generation_logits", "--gather_context_logits")
    return both if limits.logits == "context" else both[:1]
