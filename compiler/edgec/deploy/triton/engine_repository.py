"""The Triton repository of a TensorRT-LLM engine that is built on the device: an ensemble, its scripts, its README.

Rule: pure, as `emit`; the engine itself is in no bundle, so that its place on the device is a value that is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgec.deploy.model import Emitted, Mistake, ServedModel
from edgec.deploy.triton.llama_cpp import max_tokens, model_name
from edgec.deploy.triton.model_config import Queue
from edgec.deploy.triton.repository import checked_files
from edgec.deploy.triton.start import EngineCheck, load_script, start_script
from edgec.deploy.triton.templates import render
from edgec.deploy.triton.tensorrt_llm import ENGINE, TensorRtLlmSettings, tensorrt_llm_models
from edgec.prove.model import NotVerified
from edgec.recipe.package import TritonPackage

_ROOT = "triton"
_REPOSITORY = f"{_ROOT}/models"
# Where the server looks for engines: `edgec device finalize` puts them there with this as XDG_STATE_HOME. Whose home
# folder it would be without is not known here.
STATE_HOME = "/var/lib"
ENGINES = f"{STATE_HOME}/edgec/engines"
_FILES = ("config.json", "rank0.engine")
_HOW = (
    f"make it: XDG_STATE_HOME={STATE_HOME} edgec device finalize BUNDLE --key KEY.pub (see README.md beside this file)"
)
_STEPS = ("preprocessing", ENGINE, "postprocessing")
# What preprocessing and postprocessing import, as (module, requirement).
_PACKAGES = (("tokenizers", "tokenizers"), ("jinja2", "jinja2"))


@dataclass(frozen=True)
class EngineFacts:
    """What the repository must know of an engine that does not exist yet.

    `version`: of TensorRT-LLM. `path`: the engine's folder on the device, where finalizing puts it. `max_batch_size`,
    `max_input_len`, `max_seq_len`, `kv_cache_tokens`: of its build. `end_id`, `pad_id`: of the tokenizer.
    """

    version: str
    path: str
    max_batch_size: int
    max_input_len: int
    max_seq_len: int
    kv_cache_tokens: int
    end_id: int
    pad_id: int


def refuse_engine(settings: TritonPackage, model: ServedModel) -> Iterator[Mistake]:
    """What the settings ask for that this repository cannot have."""
    name = model_name(settings, model.name)
    if name in _STEPS:
        yield Mistake(
            ("package", "triton", "model_name"),
            f"{name!r} is the name of a step of the ensemble",
            f"choose another than {', '.join(_STEPS)}",
        )
    if settings.served_versions > 1:
        yield Mistake(
            ("package", "triton", "served_versions"),
            "two engines at once need twice the memory, and the steps of an ensemble are of one version",
            "serve 1; a new version then takes over when it is loaded",
        )


def trtllm_repository(settings: TritonPackage, model: ServedModel, engine: EngineFacts, *, tokenizer: bytes) -> Emitted:
    """The files below `triton/`. `tokenizer`: tokenizer.json. Raises ValueError if the lint refuses them."""
    name = model_name(settings, model.name)
    # A prompt as long as the engine takes has room for an answer as long as a request gets that does not say.
    tokens = settings.max_tokens or min(
        max_tokens(settings, engine.max_seq_len), engine.max_seq_len - engine.max_input_len
    )
    models = tensorrt_llm_models(
        TensorRtLlmSettings(
            engine_path=engine.path,
            max_batch_size=engine.max_batch_size,
            context=engine.max_seq_len,
            max_input=engine.max_input_len,
            max_tokens=tokens,
            end_id=engine.end_id,
            pad_id=engine.pad_id,
            queue=Queue(settings.queue_size, settings.queue_timeout_ms),
            kv_cache_tokens=engine.kv_cache_tokens,
            name=name,
            version=settings.version,
            served_versions=settings.served_versions,
        ),
        tokenizer=tokenizer,
        chat_template=model.chat_template,
        special_texts=model.special_texts,
    )
    memory_mib = int(model.device.available_mib)
    configs = tuple(m.config for m in models)
    check = EngineCheck(f"{ENGINE}/config.pbtxt", _FILES, _HOW)
    start = start_script(configs, ports=settings.ports, memory_mib=memory_mib, packages=_PACKAGES, engine=check)
    readme = render(
        "trtllm_README.md.j2",
        model=model, settings=settings, engine=engine, name=name, max_tokens=tokens, state_home=STATE_HOME,
    )  # fmt: skip
    files = {
        f"{_ROOT}/start.sh": start,
        f"{_ROOT}/load.sh": load_script(name, settings.ports),
        f"{_ROOT}/README.md": readme,
    }
    files |= {f"{_REPOSITORY}/{path}": data for path, data in checked_files(models).items()}
    title = f"Triton model repository {_REPOSITORY}: ensemble {name}, version {settings.version}"
    return Emitted(title, dict(sorted(files.items())), _facts(settings, name, engine), _not_verified(engine))


def _facts(settings: TritonPackage, name: str, engine: EngineFacts) -> dict[str, object]:
    return {
        "repository": _REPOSITORY,
        "model_name": name,
        "version": settings.version,
        "backend": "tensorrtllm",
        "kind": "decoder",
        "engine": engine.path,
        "state_home": STATE_HOME,
        "tensorrt_llm": engine.version,
        "requires": [*(requirement for _, requirement in _PACKAGES), "numpy<2"],
        "ports": settings.ports.model_dump(),
    }


def _not_verified(engine: EngineFacts) -> tuple[NotVerified, ...]:
    return (
        NotVerified(
            what="that tritonserver serves the engine",
            why=f"the engine is built on the device, and no server with the backend of TensorRT-LLM {engine.version} "
            "runs here; the repository is checked against Triton's rules",
        ),
        NotVerified(
            what="the memory limit of start.sh with an engine",
            why="what a GPU takes of a Jetson's memory was never counted against it on a device",
        ),
    )
