"""The llama.cpp library that xllamacpp carries, bound with ctypes.

Rule: only the pinned binary is used; every function has its argument and result types set here, once.
"""

from __future__ import annotations

import ctypes as c
import importlib.metadata
import importlib.util
from pathlib import Path

from edgec.errors import EdgecError, ToolError
from edgec.formats.gguf.runtime.structs import (
    CONTEXT_DEFAULTS,
    MODEL_DEFAULTS,
    OBJECT_BYTES,
    Batch,
    ContextParams,
    ModelParams,
    Tensor,
    differing_fields,
)

PACKAGE = "xllamacpp"

_P, _I32, _U32, _STR, _BOOL = c.c_void_p, c.c_int32, c.c_uint32, c.c_char_p, c.c_bool
_IDS = c.POINTER(c.c_int32)

# name: (result, arguments); the result None is C's void.
_PROTOTYPES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "llama_version": (_STR, ()),
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (_P, (_STR, ModelParams)),
    "llama_init_from_model": (_P, (_P, ContextParams)),
    "llama_model_get_vocab": (_P, (_P,)),
    "llama_model_n_ctx_train": (_I32, (_P,)),
    "llama_model_n_embd_out": (_I32, (_P,)),
    "llama_model_n_cls_out": (_U32, (_P,)),
    "llama_model_n_layer": (_I32, (_P,)),
    "llama_model_chat_template": (_STR, (_P, _STR)),
    "llama_model_meta_val_str": (_I32, (_P, _STR, _STR, c.c_size_t)),
    "llama_model_has_encoder": (_BOOL, (_P,)),
    "llama_pooling_type": (c.c_int, (_P,)),
    "llama_n_ctx": (_U32, (_P,)),
    "llama_get_memory": (_P, (_P,)),
    "llama_memory_clear": (None, (_P, _BOOL)),
    "llama_vocab_n_tokens": (_I32, (_P,)),
    "llama_vocab_is_eog": (_BOOL, (_P, _I32)),
    "llama_vocab_get_add_bos": (_BOOL, (_P,)),
    "llama_vocab_get_add_eos": (_BOOL, (_P,)),
    **{f"llama_vocab_{name}": (_I32, (_P,)) for name in ("bos", "eos", "eot", "sep", "nl", "pad", "mask")},
    "llama_tokenize": (_I32, (_P, _STR, _I32, _IDS, _I32, _BOOL, _BOOL)),
    "llama_detokenize": (_I32, (_P, _IDS, _I32, _STR, _I32, _BOOL, _BOOL)),
    "llama_batch_init": (Batch, (_I32, _I32, _I32)),
    "llama_decode": (_I32, (_P, Batch)),
    "llama_encode": (_I32, (_P, Batch)),
    "llama_get_logits": (c.POINTER(c.c_float), (_P,)),
    "llama_get_logits_ith": (c.POINTER(c.c_float), (_P, _I32)),
    "llama_get_embeddings": (c.POINTER(c.c_float), (_P,)),
    "llama_get_embeddings_seq": (c.POINTER(c.c_float), (_P, _I32)),
    "ggml_op_name": (_STR, (c.c_int,)),
    "ggml_tensor_overhead": (c.c_size_t, ()),
    "ggml_backend_buffer_is_host": (_BOOL, (_P,)),
}


def library_path() -> Path:
    """Where the library stands. The package itself is not imported. Raises ToolError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("xllamacpp*.so")) + sorted(Path(folder).glob("xllamacpp*.pyd")):
            return path
    raise ToolError.of("llama.cpp's library is missing: the package xllamacpp is not installed",
                       hint="install edgec with its dependencies: pip install edgec")  # fmt: skip


def runtime_version(lib: c.CDLL) -> str:
    """Name and version of the runtime, for the proof."""
    return f"xllamacpp {importlib.metadata.version(PACKAGE)} (llama.cpp {lib.llama_version().decode()})"


def load(path: Path | None = None) -> c.CDLL:
    """The library with all prototypes set, its structure layouts verified. Raises ToolError."""
    path = path or library_path()
    try:
        lib = c.CDLL(str(path))
    except OSError as error:
        raise ToolError.of(
            f"llama.cpp's library cannot be loaded: {error}",
            place=str(path),
            hint="install what it needs (Debian: apt install libgomp1), or reinstall xllamacpp",
        ) from error
    for name, (result, arguments) in _PROTOTYPES.items():
        try:
            function = getattr(lib, name)
        except AttributeError as error:
            raise _other_binary(path, [f"{name} is missing"]) from error
        function.restype, function.argtypes = result, list(arguments)
    _verify(lib, path)
    return lib


def _verify(lib: c.CDLL, path: Path) -> None:
    wrong = differing_fields(lib.llama_model_default_params(), MODEL_DEFAULTS)
    wrong += differing_fields(lib.llama_context_default_params(), CONTEXT_DEFAULTS)
    tensor_bytes = lib.ggml_tensor_overhead() - OBJECT_BYTES
    if tensor_bytes != c.sizeof(Tensor):
        wrong.append(f"a tensor has {tensor_bytes} bytes, not {c.sizeof(Tensor)}")
    if wrong:
        raise _other_binary(path, wrong)


def _other_binary(path: Path, differences: list[str]) -> EdgecError:
    return ToolError.of(
        f"this is not the llama.cpp that edgec was built for: {'; '.join(differences[:3])}",
        place=str(path),
        hint="install the version of xllamacpp that edgec pins: pip install --force-reinstall edgec",
    )
