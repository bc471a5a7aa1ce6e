"""What one document cannot know: whether a recipe's files exist, and whether its target takes what it asks for.

Rule: nothing is downloaded or written, every mistake is found in one go, and each says what to do instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.documents.files import is_file, is_folder, names_in
from edgec.documents.salvage import Salvaged
from edgec.documents.typed import ordered, parse
from edgec.documents.wording import listed, nearest, shown
from edgec.errors import Diagnostic, InputError
from edgec.plan.check_graph import graph_mistakes, has_graph, sample_mistakes
from edgec.plan.deploy_check import deployment_mistakes
from edgec.plan.emulation_check import AT, emulation_mistakes
from edgec.plan.four_bits import four_bits_beside
from edgec.plan.template_check import template_mistake
from edgec.recipe.load import LoadedRecipe, read_recipe, salvage_recipe
from edgec.recipe.model import Artifact, GgufArtifact, Recipe
from edgec.source.onnx_model import is_graph
from edgec.source.text import wrong_byte
from edgec.target.load import load_target
from edgec.target.model import Runtime, Target

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_TEXT_CHUNK_CHARS = 1 << 20
# Formats that a runtime beside the CPU's serves on an NPU board; llama.cpp runs on its CPU.
_NPU_FORMATS = frozenset({"rknn", "rkllm"})
# Formats whose models may take images: their samples are a folder.
_FORMATS_OF_IMAGES = frozenset({"onnx", "rknn"})

At = tuple[str | int, ...]


@dataclass(frozen=True)
class _Found:
    """A mistake and the value it is about."""

    at: At
    diagnostic: Diagnostic


def load_checked(
    path: Path, *, sets: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> tuple[LoadedRecipe, Target]:
    """The recipe in `path` and its target, both checked.

    Raises InputError with the mistakes of both at once; what has no mistake of its own is cross-checked all the same.
    """
    marked = read_recipe(path, sets=sets, env=env)
    mistakes: list[Diagnostic] = []
    try:
        salvaged = Salvaged(parse(Recipe, marked), frozenset())
    except InputError as error:
        mistakes += error.diagnostics
        found = salvage_recipe(marked)
        if found is None:
            raise
        salvaged = found
    loaded = LoadedRecipe(salvaged.model, path.parent, marked)
    target: Target | None = None
    if salvaged.is_written(marked, ("target",)):
        try:
            target = load_target(loaded.recipe.target, folder=loaded.folder, span=loaded.span("target"))
        except InputError as error:
            mistakes += error.diagnostics
    is_sound = not mistakes
    mistakes += [f.diagnostic for f in _found(loaded, target) if is_sound or salvaged.is_written(marked, f.at)]
    if mistakes or target is None:
        raise InputError(*ordered(mistakes))
    return loaded, target


def check(loaded: LoadedRecipe, target: Target) -> tuple[Diagnostic, ...]:
    """All cross-document mistakes of a recipe, in the order of its text; empty if there are none."""
    return tuple(ordered([found.diagnostic for found in _found(loaded, target)]))


def _found(loaded: LoadedRecipe, target: Target | None) -> Iterator[_Found]:
    yield from _file_mistakes(loaded)
    for found in graph_mistakes(loaded):
        yield _at(loaded, found.at, found.message, found.hint)
    yield from _equal_artifacts(loaded)
    for mistake in deployment_mistakes(loaded):
        yield _at(loaded, mistake.at, mistake.message, mistake.hint)
    if target is not None:
        for number, artifact in enumerate(loaded.recipe.artifacts):
            yield from _target_mistakes(loaded, target, number, artifact)
        yield from _two_systems(loaded, target)
        for wrong in emulation_mistakes(loaded, target):
            yield _at(loaded, AT, wrong.message, wrong.hint)


def _file_mistakes(loaded: LoadedRecipe) -> Iterator[_Found]:
    recipe = loaded.recipe
    if recipe.source.path is not None:
        yield from _source_mistakes(loaded, recipe.source.path)
    texts: list[tuple[At, str]] = []
    for number, artifact in enumerate(recipe.artifacts):
        base: At = ("artifacts", number)
        if not isinstance(artifact, GgufArtifact):
            if artifact.quantize.calibration is not None:
                texts.append(((*base, "quantize", "calibration"), artifact.quantize.calibration))
            continue
        imatrix = artifact.quantize.imatrix
        if imatrix is not None and imatrix.calibration is not None:
            texts.append(((*base, "quantize", "imatrix", "calibration"), imatrix.calibration))
        if imatrix is not None and imatrix.file is not None:
            yield from _missing_file(loaded, (*base, "quantize", "imatrix", "file"), imatrix.file, "imatrix")
        template = artifact.tokenizer.chat_template
        if template is not None:
            at: At = (*base, "tokenizer", "chat_template")
            missing = list(_missing_file(loaded, at, template, "chat template"))
            wrong = template_mistake(loaded.resolve(template), loaded.span(*at)) if not missing else []
            yield from missing or [_Found(at, diagnostic) for diagnostic in wrong]
    yield from _text_mistakes(loaded, texts)
    if recipe.sign.key is not None:
        yield from _missing_file(loaded, ("sign", "key"), recipe.sign.key, "signing key")


def _equal_artifacts(loaded: LoadedRecipe) -> Iterator[_Found]:
    """Files are named after format and scheme, so two of the same would be one file."""
    seen: dict[tuple[str, str], int] = {}
    for number, artifact in enumerate(loaded.recipe.artifacts):
        scheme = artifact.quantize.scheme
        same = (artifact.format, scheme)
        if same in seen:
            message = f"this artifact has the scheme of `artifacts[{seen[same]}]`, `{scheme}`"
            hint = "one bundle holds one file per scheme: remove one, or write a second recipe"
            yield _at(loaded, ("artifacts", number, "quantize", "scheme"), message, hint)
        seen.setdefault(same, number)


def _two_systems(loaded: LoadedRecipe, target: Target) -> Iterator[_Found]:
    """A device runs one JetPack, and a bundle is for one device."""
    first: tuple[str, str] | None = None
    for number, artifact in enumerate(loaded.recipe.artifacts):
        software = next((r.software for r in target.runtimes.values() if artifact.format in r.formats), None)
        if software is None or software.jetpack is None:
            continue
        needs = (artifact.format, software.jetpack)
        first = first or needs
        if needs[1] != first[1]:
            message = f"`{needs[0]}` needs JetPack {needs[1]}, and `{first[0]}` in the same bundle JetPack {first[1]}"
            yield _at(loaded, ("artifacts", number, "format"), message, "write a recipe for each: a device runs one")


def _source_mistakes(loaded: LoadedRecipe, relative: str) -> Iterator[_Found]:
    at: At = ("source", "path")
    folder = loaded.resolve(relative)
    if is_graph(relative):
        yield from _missing_file(loaded, at, relative, "model")
        return
    if not is_folder(folder):
        if is_file(folder):
            hint = "name the folder that holds it, with config.json and tokenizer.json"
            yield _at(loaded, at, f"the model {_value(loaded, at, relative)} is a file, not a folder", hint)
        else:
            yield _at(loaded, at, f"no model folder {_value(loaded, at, relative)}", _looked_up(loaded, at, relative))
        return
    names = names_in(folder)
    if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        if "config.json" not in names:
            yield _at(loaded, at, "the model folder has no `config.json`", "download it from the model's page")
    elif any(name.endswith(_PICKLES) for name in names):
        hint = (
            "save it with `save_pretrained(..., safe_serialization=True)`; pickle files can run code and are not read"
        )
        yield _at(loaded, at, "the model folder has pickle files only, no *.safetensors", hint)
    else:
        graph = next((name for name in names if is_graph(name)), None)
        hint = "name the folder of a Hugging Face checkpoint: config.json, tokenizer.json, *.safetensors"
        if graph is not None:
            hint += f"; or the .onnx file itself: {shown((Path(relative) / graph).as_posix())}"
        yield _at(loaded, at, "the model folder has no *.safetensors", hint)


def _text_mistakes(loaded: LoadedRecipe, calibrations: list[tuple[At, str]]) -> Iterator[_Found]:
    takes_folders = any(a.format in _FORMATS_OF_IMAGES for a in loaded.recipe.artifacts)
    held_out = loaded.recipe.prove.held_out
    proving: list[tuple[At, str]] = [] if held_out is None else [(("prove", "held_out"), held_out)]
    for at, relative in (*calibrations, *proving):
        what = "held-out text" if at[0] == "prove" else "calibration text"
        if has_graph(loaded):
            for found in sample_mistakes(loaded, at, relative):
                yield _at(loaded, found.at, found.message, found.hint)
            continue
        if takes_folders and is_folder(loaded.resolve(relative)):
            # Of images: what is in it, and whether the model takes images, is seen when the model is planned.
            continue
        missing = list(_missing_file(loaded, at, relative, what))
        yield from missing or _not_a_text(loaded, at, loaded.resolve(relative), what)
    for at, relative in proving:
        if any(_same_file(loaded.resolve(relative), loaded.resolve(other)) for _, other in calibrations):
            samples = has_graph(loaded)
            message = "samples are the calibration samples" if samples else "text is the calibration text"
            other = "other samples" if samples else "another text"
            hint = f"prove with {other}: a model looks too good on what it was calibrated on"
            yield _at(loaded, at, f"the held-out {message}", hint)


def _same_file(one: Path, other: Path) -> bool:
    return (is_file(one) or is_folder(one)) and (is_file(other) or is_folder(other)) and one.samefile(other)


def _not_a_text(loaded: LoadedRecipe, at: At, path: Path, what: str) -> Iterator[_Found]:
    value = _value(loaded, at, path.name)
    try:
        with path.open(encoding="utf-8") as file:
            beginning = file.read(_TEXT_CHUNK_CHARS)
    except UnicodeDecodeError:
        hint = "save it as UTF-8, for instance with `iconv -f LATIN1 -t UTF-8`"
        yield _at(loaded, at, f"the {what} {value} is not UTF-8: {wrong_byte(path)}", hint)
        return
    except OSError as error:
        yield _at(loaded, at, f"the {what} {value} cannot be read: {error.strerror}", "check its permissions")
        return
    if not beginning.strip():
        # Some schemes need the calibration text; without a held-out text there is a built-in one.
        otherwise = ", or remove the line" if at[0] == "prove" else ""
        yield _at(loaded, at, f"the {what} {value} is empty", f"give a text of a few thousand words{otherwise}")


def _missing_file(loaded: LoadedRecipe, at: At, relative: str, what: str) -> Iterator[_Found]:
    path = loaded.resolve(relative)
    if is_file(path):
        return
    if is_folder(path):
        yield _at(loaded, at, f"the {what} {_value(loaded, at, relative)} is a folder", "name the file in it")
    elif path.name in names_in(path.parent):
        what = f"the {what} {_value(loaded, at, relative)} is no ordinary file"
        yield _at(loaded, at, what, "name a file: no device, pipe or broken link")
    else:
        yield _at(loaded, at, f"no {what} {_value(loaded, at, relative)}", _looked_up(loaded, at, relative))


def _looked_up(loaded: LoadedRecipe, at: At, relative: str) -> str:
    """Where a missing thing was looked for, and its likely right name there."""
    written = Path(relative)
    near = None if loaded.from_env(*at) else nearest(written.name, names_in(loaded.resolve(relative).parent))
    if near:
        return f"did you mean {shown((written.parent / near).as_posix())}?"
    return f"check the path; one in a recipe begins at the folder of that recipe (`{loaded.folder}`)"


def _target_mistakes(loaded: LoadedRecipe, target: Target, number: int, artifact: Artifact) -> Iterator[_Found]:
    runtimes = {name: r for name, r in target.runtimes.items() if artifact.format in r.formats}
    if not runtimes:
        served = sorted({f for r in target.runtimes.values() for f in r.formats})
        message = f"`{target.name}` has no runtime for `{artifact.format}`"
        yield _at(loaded, ("artifacts", number, "format"), message, f"it serves {listed(served)}")
        return
    yield from _scheme_mistake(loaded, target, number, artifact, list(runtimes.values()))
    yield from _context_mistake(loaded, target, artifact.format)
    largest = target.storage.max_file_mib
    shard = artifact.shard_size_mib if isinstance(artifact, GgufArtifact) else None
    if largest is not None and shard is not None and shard > largest:
        message = f"shards of {shard} MiB are larger than `{target.name}` can hold"
        hint = f"at most {largest} MiB; {min(largest, target.storage.shard_mib or largest)} is a good value"
        yield _at(loaded, ("artifacts", number, "shard_size_mib"), message, hint)


def _scheme_mistake(
    loaded: LoadedRecipe, target: Target, number: int, artifact: Artifact, runtimes: list[Runtime]
) -> Iterator[_Found]:
    scheme = artifact.quantize.scheme
    if any(scheme in r.schemes for r in runtimes):
        return
    at: At = ("artifacts", number, "quantize", "scheme")
    reason = next((r.refused_schemes[scheme] for r in runtimes if scheme in r.refused_schemes), None)
    served = list(dict.fromkeys(s for r in runtimes for s in (*r.preferred_schemes, *r.schemes)))
    message = f"`{target.name}` does not take `{scheme}`"
    hint = f"choose one of {listed(served)}"
    beside = four_bits_beside(target) if artifact.format == "rkllm" and reason else None
    hint = hint if beside is None else f"{hint}; {beside}"
    yield _at(loaded, at, f"{message}: {reason}" if reason else message, hint)


def _context_mistake(loaded: LoadedRecipe, target: Target, artifact_format: str) -> Iterator[_Found]:
    accelerator = target.accelerator
    if accelerator is None or accelerator.max_context is None:
        return
    runs_there = accelerator.kind != "rknpu" or artifact_format in _NPU_FORMATS
    if runs_there and (loaded.recipe.context or 0) > accelerator.max_context:
        message = f"a context of {loaded.recipe.context} is more than the accelerator of `{target.name}` takes"
        yield _at(loaded, ("context",), message, f"set it to {accelerator.max_context} or less")


def _value(loaded: LoadedRecipe, at: At, text: str) -> str:
    """A value for a message; one from the environment stays hidden."""
    return "given by the environment" if loaded.from_env(*at) else shown(text)


def _at(loaded: LoadedRecipe, at: At, message: str, hint: str) -> _Found:
    """A mistake at the value, or, where the value is a default, at the closest thing that was written."""
    return _Found(at, Diagnostic(message, hint, loaded.marked.place(*at).span))
