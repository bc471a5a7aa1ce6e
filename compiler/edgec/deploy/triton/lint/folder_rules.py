"""Rules for what stands beside a config.pbtxt: the folder's name, version folders, the files a backend opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgec.deploy.triton.lint.config_file import ConfigFile, Finding

# Backend to the file it opens in a version folder; TensorFlow's and others open folders.
_FILES: Mapping[str, tuple[str, ...]] = {
    "python": ("model.py",),
    "onnxruntime": ("model.onnx",),
    "tensorrt": ("model.plan",),
    "pytorch": ("model.pt",),
    "openvino": ("model.xml",),
    "dali": ("model.dali", "dali.py"),
}
_PLATFORMS: Mapping[str, str] = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
}


def folder_findings(config: ConfigFile, files: frozenset[str]) -> Iterator[Finding]:
    """`files`: paths relative to the model's folder; an empty folder is there as `name/`."""
    data = config.data
    if data.name and data.name != config.folder:
        hint = f"rename one of them; Triton knows a model by its folder, `{config.folder}`"
        yield Finding(("name",), f"the model `{data.name}` stands in the folder `{config.folder}`", hint)
    versions = sorted({int(p.split("/")[0]) for p in files if "/" in p and _is_version(p.split("/")[0])})
    if not data.backend and not data.platform and not _can_be_guessed(files, versions):
        yield Finding((), "no backend", 'add `backend: "python"` or another, or `platform: "ensemble"`')
    if not versions:
        hint = f"make `{config.folder}/1/`; Triton reads folders named by a number without leading zeros"
        yield Finding((), "no version folder", hint)
    for number, wanted in enumerate(data.version_policy.specific.versions):
        if wanted not in versions:
            hint = f"there are: {', '.join(map(str, versions)) or 'none'}"
            yield Finding(("version_policy", "specific", "versions", number), f"no version folder {wanted}", hint)
    if data.version_policy.HasField("latest") and data.version_policy.latest.num_versions < 1:
        yield Finding(("version_policy", "latest"), "no version would be served", "set `num_versions` to 1 or more")
    yield from _backend_files(config, files, versions)
    for number, output in enumerate(data.output):
        if output.label_filename and output.label_filename not in files:
            at = ("output", number, "label_filename")
            yield Finding(at, f"no file `{output.label_filename}` beside config.pbtxt", "add the labels, one in a line")


def _can_be_guessed(files: frozenset[str], versions: list[int]) -> bool:
    """Triton knows the backend of some files by their names."""
    names = {name for names in _FILES.values() for name in names}
    return any(f"{version}/{name}" in files for version in versions for name in names)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and not name.startswith("0")


def _backend_files(config: ConfigFile, files: frozenset[str], versions: list[int]) -> Iterator[Finding]:
    data = config.data
    backend = data.backend or _PLATFORMS.get(data.platform, "")
    names = (data.default_model_filename,) if data.default_model_filename else _FILES.get(backend, ())
    if not names:
        return
    for version in versions:
        paths = [f"{version}/{name}" for name in names]
        # TensorFlow and ONNX models with outside weights are folders of this name.
        if not any(path in files or any(f.startswith(f"{path}/") for f in files) for path in paths):
            at = ("default_model_filename",) if data.default_model_filename else ("backend",)
            yield Finding(at, f"version {version} has no `{names[0]}`", f"add {config.folder}/{paths[0]}")
