"""The Triton emitter's three verbs: what a recipe may ask for, what this model cannot have, the files.

Rule: pure; the same settings and model always make the same bytes, and no repository leaves that the lint refuses.
"""

from __future__ import annotations

from edgec.deploy.features import takes_tools
from edgec.deploy.model import Emitted, ServedModel
from edgec.deploy.triton.llama_cpp import llama_cpp_model, max_tokens, model_name, runtime_requirement
from edgec.deploy.triton.mistakes import check, refuse
from edgec.deploy.triton.repository import checked_files
from edgec.deploy.triton.start import load_script, start_script
from edgec.deploy.triton.templates import render
from edgec.prove.model import NotVerified
from edgec.recipe.package import TritonPackage

__all__ = ["check", "emit", "refuse"]

ROOT = "triton"
REPOSITORY = f"{ROOT}/models"
_WHAT = {"decoder": "text generation", "encoder": "text embeddings", "reranker": "reranking"}


def emit(settings: TritonPackage, model: ServedModel) -> Emitted:
    """The repository, start.sh, load.sh and README.md, below `triton/`. Raises ValueError if the lint refuses them."""
    served = llama_cpp_model(settings, model)
    repository = checked_files((served,))
    memory_mib = int(model.device.available_mib)
    requirement = runtime_requirement()
    start = start_script(
        (served.config,), ports=settings.ports, memory_mib=memory_mib, packages=(("xllamacpp", requirement),)
    )
    readme = render(
        "README.md.j2",
        model=model,
        settings=settings,
        name=served.config.name,
        what=_WHAT[model.kind],
        ports=settings.ports,
        memory_mib=memory_mib,
        needed_mib=round(model.device.needed_mib),
        max_tokens=max_tokens(settings, model.context),
        tools=model.kind == "decoder" and takes_tools(model),
        requirements=f"{requirement} 'numpy<2'",
    )
    load = load_script(served.config.name, settings.ports)
    files = {f"{ROOT}/start.sh": start, f"{ROOT}/load.sh": load, f"{ROOT}/README.md": readme}
    files |= {f"{REPOSITORY}/{path}": data for path, data in repository.items()}
    title = f"Triton model repository {REPOSITORY}: model {served.config.name}, version {settings.version}"
    return Emitted(title, dict(sorted(files.items())), _facts(settings, model), (_not_loaded(),))


def _facts(settings: TritonPackage, model: ServedModel) -> dict[str, object]:
    return {
        "repository": REPOSITORY,
        "model_name": model_name(settings, model.name),
        "version": settings.version,
        "backend": "python",
        "kind": model.kind,
        "requires": [runtime_requirement(), "numpy<2"],
        "ports": settings.ports.model_dump(),
    }


def _not_loaded() -> NotVerified:
    return NotVerified(
        what="that tritonserver loads the model repository",
        why="the build checks it against Triton's rules and starts no server; `edgec verify --run triton` does",
    )
