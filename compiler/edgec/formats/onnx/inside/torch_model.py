"""A checkpoint in torch, without code of its own, with every weight that its class needs.

Rule: a weight that is missing would be random, and a comparison with it would show nothing: it is an error.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers


def load(request: dict[str, Any]) -> Any:
    """The model of `checkpoint` (a folder) by the class `model_class` of transformers; `numbers`: of its config, or
    null."""
    kind = getattr(transformers, request["model_class"])
    options: dict[str, Any] = {}
    if request["numbers"] is not None:
        options["config"] = kind.config_class(**request["numbers"])
    model, info = kind.from_pretrained(
        request["checkpoint"],
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    # A bare encoder's pooler is not used here, and many checkpoints have none.
    missing = [name for name in info["missing_keys"] if hasattr(model, "classifier") or "pooler" not in name]
    if missing:
        raise SystemExit(f"the checkpoint has no {', '.join(sorted(missing)[:3])}, which {kind.__name__} needs")
    return model.eval()
