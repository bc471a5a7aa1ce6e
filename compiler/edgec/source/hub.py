"""A checkpoint on the Hugging Face hub, pinned to a commit.

Rule: planning takes config.json, tokenizer files and the safetensors headers (by range requests) and nothing else; a
commit that is known already is planned without a connection, and `offline` forbids one altogether.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgec.documents.canonical import sha256_bytes
from edgec.errors import InputError, ToolError
from edgec.events import Progress, Reporter, silent
from edgec.source.hub_cache import HubCache, HubRecord, RepoFile
from edgec.source.layout import (
    CONFIG,
    INDEX,
    MAX_INDEX_BYTES,
    SINGLE,
    join_shards,
    model_card_licence,
    parse_index,
    parse_object,
    small_file_limit,
    weights_of,
)
from edgec.source.local import open_local, read_small_file
from edgec.source.model import Checkpoint, CheckpointHeader, SourceFile, SourceIdentity, TensorInfo
from edgec.source.quantization import MODELOPT_CONFIG, parse_quantization
from edgec.source.safetensors import LENGTH_BYTES, header_bytes, parse_header, read_header
from edgec.store.atomic import free_bytes
from edgec.store.digests import DigestCache

if TYPE_CHECKING:
    from edgec.source.hub_client import HubClient
    from edgec.source.hub_download import HubFiles

ACTION = "fetch"
# Enough for the header of nearly every file, so that one request does.
_FIRST_READ_BYTES = 100_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class HubSource:
    """A repository on the hub (`owner/name`) at a commit of 40 digits."""

    repo: str
    revision: str

    @property
    def uri(self) -> str:
        """The package URL of the commit."""
        return f"pkg:huggingface/{self.repo}@{self.revision}"


def fetch_header(
    hub: HubSource, *, offline: bool, licence: str | None = None, report: Reporter = silent
) -> CheckpointHeader:
    """Everything of the checkpoint but its weights; transfers no weights.

    A commit seen before is read from the cache without a connection; each small file must still be what the commit
    holds, and one that is not is fetched again, or refused when `offline`. `licence`: what the recipe says;
    without it the model card's. Raises InputError (not a usable checkpoint, no access, offline and not in the cache)
    or ToolError.
    """
    if not _COMMIT.fullmatch(hub.revision):
        raise InputError.of(
            f"revision {hub.revision!r} is not a commit of 40 digits", hint="branches and tags move", place=hub.repo
        )
    cache = HubCache(hub.repo, hub.revision)
    record = cache.load()
    contents = None if record is None else _small_files(cache, record, refuse_changed=offline)
    if record is not None and contents is not None:
        return _assemble(hub, record, contents, licence)
    if offline:
        return _open_snapshot(hub, cache, licence).header
    record, contents = _ask(_online(cache, report), hub)
    header = _assemble(hub, record, contents, licence)
    cache.save(record)
    return header


def fetch_checkpoint(hub: HubSource, *, offline: bool, report: Reporter, licence: str | None = None) -> Checkpoint:
    """The checkpoint with its weights in the Hugging Face cache; downloads what is missing and checks every digest.

    Progress is reported in bytes. An interrupted download goes on where it stopped, also in another process.
    """
    header = fetch_header(hub, offline=offline, licence=licence, report=report)
    cache = HubCache(hub.repo, hub.revision)
    digest_file = weight_digests(hub)
    weights = [f for f in header.identity.files if f.name not in header.files and f.name != INDEX]
    missing = [f for f in weights if not _is_present(cache, f, digest_file)]
    if missing and offline:
        raise _not_cached(hub, cache, [f.name for f in missing])
    if missing:
        _check_space(cache, missing)
        total = sum(f.size_bytes for f in weights)
        done = total - sum(f.size_bytes for f in missing)
        online = _online(cache, report)
        for file in missing:
            listed = RepoFile(file.name, file.size_bytes, file.digest.removeprefix("sha256:"), None)
            online.fetch(listed, _Meter(report, done, total))
            done += file.size_bytes
    _check_headers(header, cache, weights)
    return Checkpoint(header=header, root=cache.snapshot)


def weight_digests(hub: HubSource) -> DigestCache:
    """Remembered digests of the commit's files in the Hugging Face cache."""
    return DigestCache(HubCache(hub.repo, hub.revision).own / "digests")


def bytes_to_download(hub: HubSource, header: CheckpointHeader) -> int:
    """Size of the files that are not in the cache, judged by their sizes; `fetch_checkpoint` compares digests too."""
    snapshot = HubCache(hub.repo, hub.revision).snapshot
    return sum(f.size_bytes for f in header.identity.files if not _has_size(snapshot / f.name, f.size_bytes))


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


def _online(cache: HubCache, report: Reporter) -> HubFiles:
    # A third of a second to import: not paid by a plan or a build whose commit is known.
    from edgec.source.hub_download import HubFiles  # noqa: PLC0415

    return HubFiles(cache, report)


def _ask(online: HubFiles, hub: HubSource) -> tuple[HubRecord, dict[str, bytes]]:
    """What the hub says about the commit, and the contents of its small files, which are left in the cache."""
    listed = online.client.list_files()
    place = f"{hub.repo}@{hub.revision[:12]}"
    if CONFIG not in listed:
        raise InputError.of(f"{CONFIG} is missing", hint="give the repository of a Transformers model", place=place)
    described_by = weights_of(listed, place)
    config = parse_object(online.read_small(listed[CONFIG]), CONFIG)
    modelopt = online.read_small(listed[MODELOPT_CONFIG]) if MODELOPT_CONFIG in listed else None
    integers = parse_quantization(config, modelopt) is not None
    shards = [SINGLE]
    used = {n: f for n, f in listed.items() if small_file_limit(n) is not None}
    if described_by == INDEX:
        used[INDEX] = listed[INDEX]
        weight_map = parse_index(online.read_small(listed[INDEX]))
        shards = sorted(set(weight_map.values()))
        absent = [s for s in shards if s not in listed]
        if absent:
            raise InputError.of("the shard is missing", hint="use a complete commit", place=f"{place}/{absent[0]}")
    for shard in shards:
        if listed[shard].sha256 is None:
            raise InputError.of(
                "the hub lists no SHA-256 for it: it is not stored with LFS, so it cannot be checked",
                hint="use a repository whose weights are in LFS, or download it and give `path:`",
                place=f"{place}/{shard}",
            )
        used[shard] = listed[shard]
    headers = {shard: _read_remote_header(online.client, listed[shard], integers) for shard in shards}
    contents = {n: online.read_small(used[n]) for n in sorted(used) if n not in shards}
    return HubRecord(files=dict(sorted(used.items())), headers=headers), contents


def _read_remote_header(client: HubClient, file: RepoFile, integers: bool) -> str:
    """The JSON header of a weight file on the hub, as text."""
    data = client.read_start(file, _FIRST_READ_BYTES)
    end = header_bytes(data[:LENGTH_BYTES], file_size=file.size_bytes, file=file.name)
    if end > len(data):
        data = client.read_start(file, end)
    parse_header(data, file_size=file.size_bytes, file=file.name, integers=integers)
    return data[LENGTH_BYTES:end].decode()


def _assemble(
    hub: HubSource, record: HubRecord, contents: Mapping[str, bytes], licence: str | None
) -> CheckpointHeader:
    """The header of a commit from its record and the contents of its small files, which were checked."""
    files = {n: data for n, data in contents.items() if n != INDEX}
    config = parse_object(files[CONFIG], CONFIG)
    quantization = parse_quantization(config, files.get(MODELOPT_CONFIG))
    index = contents.get(INDEX)
    identity = SourceIdentity(
        uri=hub.uri,
        revision=hub.revision,
        licence=licence or model_card_licence(files.get("README.md")),
        files=tuple(
            SourceFile(
                name=n,
                size_bytes=f.size_bytes,
                digest=sha256_bytes(contents[n]) if n in contents else f"sha256:{f.sha256}",
            )
            for n, f in sorted(record.files.items())
        ),
    )
    tensors = _tensors(record, index, integers=quantization is not None)
    return CheckpointHeader(config=config, tensors=tensors, files=files, identity=identity, quantization=quantization)


def _tensors(record: HubRecord, index: bytes | None, *, integers: bool) -> Mapping[str, TensorInfo]:
    shards: dict[str, dict[str, TensorInfo]] = {}
    for file, text in record.headers.items():
        raw = text.encode()
        data = len(raw).to_bytes(LENGTH_BYTES, "little") + raw
        size = record.files[file].size_bytes
        shards[file] = parse_header(data, file_size=size, file=file, integers=integers)
    return shards[SINGLE] if index is None else join_shards(parse_index(index), shards)


def _small_files(cache: HubCache, record: HubRecord, *, refuse_changed: bool) -> dict[str, bytes] | None:
    """The contents of the record's small files; None when the cache has not all of them as the commit holds them.

    `refuse_changed`: InputError for one that is there and differs.
    """
    described = SINGLE in record.headers or INDEX in record.files
    if not described or CONFIG not in record.files or not set(record.headers) <= set(record.files):
        return None
    names = [n for n in record.files if n not in record.headers]
    if not all((cache.snapshot / n).is_file() for n in names):
        return None
    contents = {
        n: read_small_file(cache.snapshot / n, n, small_file_limit(n) or MAX_INDEX_BYTES)
        for n in names
        if _has_size(cache.snapshot / n, record.files[n].size_bytes)
    }
    changed = [n for n in names if n not in contents or not record.files[n].holds(contents[n])]
    if changed and refuse_changed:
        raise InputError.of(
            f"{', '.join(changed)} in the Hugging Face cache is not what commit {cache.revision[:12]} holds",
            hint="it was changed after the download; run once without --offline, which fetches it again",
            place=str(cache.snapshot),
        )
    return None if changed else contents


def _open_snapshot(hub: HubSource, cache: HubCache, licence: str | None) -> Checkpoint:
    """A commit that another program (`hf download`) brought into the cache."""
    if not (cache.snapshot / CONFIG).is_file():
        raise _not_cached(hub, cache, [CONFIG])
    try:
        local = open_local(cache.snapshot, licence=licence, digest_file=weight_digests(hub))
    except InputError as error:
        hint = f"`hf download {hub.repo} --revision {hub.revision}` completes it; or build without --offline"
        raise InputError(*(dataclasses.replace(d, hint=hint) for d in error.diagnostics)) from error
    identity = dataclasses.replace(local.header.identity, uri=hub.uri, revision=hub.revision)
    return dataclasses.replace(local, header=dataclasses.replace(local.header, identity=identity))


def _is_present(cache: HubCache, file: SourceFile, digest_file: DigestCache) -> bool:
    path = cache.snapshot / file.name
    return _has_size(path, file.size_bytes) and digest_file(path) == file.digest


@dataclass(frozen=True)
class _Meter:
    """Tells how many bytes of the whole checkpoint are on disk."""

    report: Reporter
    before: int
    total: int

    def __call__(self, done: int, detail: str) -> None:
        self.report(Progress(action=ACTION, done=self.before + done, total=self.total, unit="bytes", detail=detail))


def _check_space(cache: HubCache, missing: list[SourceFile]) -> None:
    partial = [cache.partial(f.digest.removeprefix("sha256:")) for f in missing]
    need = sum(f.size_bytes for f in missing) - sum(p.stat().st_size for p in partial if p.is_file())
    free = free_bytes(cache.root)
    if need + _SPARE_BYTES > free:
        raise ToolError.of(
            f"the download needs {need >> 20} MiB, {free >> 20} MiB are free",
            hint="free space (`hf cache rm` removes models), or set HF_HOME to a larger disk",
            place=str(cache.root),
        )


def _check_headers(header: CheckpointHeader, cache: HubCache, weights: list[SourceFile]) -> None:
    """What was planned from range requests must be what the files hold."""
    for file in weights:
        planned = {n: t for n, t in header.tensors.items() if t.file == file.name}
        integers = header.quantization is not None
        if read_header(cache.snapshot / file.name, file=file.name, integers=integers) != planned:
            raise InputError.of(
                "its header differs from the one the server sent when the build was planned",
                hint=f"remove {cache.own} and build again; if it happens twice, check HF_ENDPOINT",
                place=file.name,
            )


def _not_cached(hub: HubSource, cache: HubCache, names: list[str]) -> InputError:
    return InputError.of(
        f"--offline, and the cache lacks {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}",
        hint=f"run once without --offline, or bring it with `hf download {hub.repo} --revision {hub.revision}`",
        place=str(cache.snapshot),
    )
