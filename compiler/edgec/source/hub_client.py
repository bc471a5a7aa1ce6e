"""The only module that speaks to the hub: lists a commit, fetches small files, ranges and whole weight files.

Rule: everything is asked for by commit, and a file is used only when its size and digest are those the hub listed.
Weights come by plain HTTP ranges and not by huggingface_hub's downloader, which since 2.x keeps no unfinished file:
a build that was killed goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, ModelInfo, constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, silent_tqdm

from edgec import __version__
from edgec.errors import InputError, ToolError
from edgec.events import Note, Reporter
from edgec.source.hub_cache import HubCache, RepoFile
from edgec.source.hub_errors import hub_errors, retried

# edgec reports nothing about its users to anybody.
constants.HF_HUB_DISABLE_TELEMETRY = True

_TIMEOUT_S = 30.0
_BREAKS = 5
_PROGRESS_BYTES = 1 << 20
_BROKEN = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.TimeoutException)


class HubClient:
    """Requests about one repository at one commit. The token comes from HF_TOKEN only."""

    def __init__(self, cache: HubCache, report: Reporter) -> None:
        self._cache = cache
        self._report = report
        # False, not None: None would read a token file that a login left behind.
        self._token: str | bool = os.environ.get("HF_TOKEN") or False
        self._api = HfApi(token=self._token, library_name="edgec", library_version=__version__)
        self._place = f"{cache.repo}@{cache.revision[:12]}"

    def list_files(self) -> dict[str, RepoFile]:
        """All files of the commit, by name. Raises InputError (no such repository, gated) or ToolError."""
        with hub_errors(self._place), _quiet_library():
            info = retried(self._model_info, self._waiting)
        if info.sha != self._cache.revision:
            raise InputError.of(
                f"the hub answered for commit {info.sha}", hint="give the commit's 40 digits", place=self._place
            )
        return {
            s.rfilename: RepoFile(
                name=s.rfilename, size_bytes=s.size or 0, sha256=s.lfs.sha256 if s.lfs else None, git_oid=s.blob_id
            )
            for s in info.siblings or ()
        }

    def _model_info(self) -> ModelInfo:
        try:
            return self._api.model_info(
                self._cache.repo, revision=self._cache.revision, files_metadata=True, timeout=_TIMEOUT_S
            )
        except (HfHubHTTPError, HFValidationError):
            raise
        except (ValueError, KeyError, TypeError) as error:
            # A portal's login page or a proxy's message, sent with status 200.
            raise ToolError.of(
                f"what answers at {constants.ENDPOINT} is not a hub",
                hint="check the network (a login page?), the proxy and HF_ENDPOINT",
                place=self._place,
            ) from error

    def fetch_small(self, file: RepoFile) -> Path:
        """Bring a small file into the cache unless it is there, check it, and return its path.

        One that was changed in the cache is fetched again; InputError when the hub itself sends another content.
        """
        for _ in range(2):
            with hub_errors(f"{self._place}/{file.name}"), _quiet_library():
                path = Path(retried(lambda: self._cached_or_fetched(file), self._waiting))
                if file.holds(path.read_bytes()):
                    return path
                path.resolve().unlink(missing_ok=True)
        raise wrong_digest(self._place, file)

    def _cached_or_fetched(self, file: RepoFile) -> str:
        return hf_hub_download(
            self._cache.repo,
            file.name,
            revision=self._cache.revision,
            cache_dir=self._cache.root,
            token=self._token,
            library_name="edgec",
            library_version=__version__,
            tqdm_class=silent_tqdm,
        )

    def read_start(self, file: RepoFile, nbytes: int) -> bytes:
        """The first `nbytes` of a file (fewer if it is shorter) by one range request; nothing more is transferred."""
        want = min(nbytes, file.size_bytes)

        def read() -> bytes:
            data = bytearray()
            with self._get(file, f"bytes=0-{want - 1}") as response:
                # A server that ignores the range sends the whole file: stop reading after the part that is needed.
                for chunk in response.iter_raw():
                    data += chunk
                    if len(data) >= want:
                        break
            return bytes(data[:want])

        with hub_errors(f"{self._place}/{file.name}"):
            return retried(read, self._waiting)

    def download(self, file: RepoFile, partial: Path, on_bytes: Callable[[int], None]) -> None:
        """Bring `partial` to the whole length of `file`, going on from what it holds.

        `on_bytes` gets its length about once per MiB. The content is not checked here. Raises ToolError when the
        connection breaks 5 times without one more byte.
        """
        with hub_errors(f"{self._place}/{file.name}"):
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("ab") as out:
                breaks = 0
                while (have := out.seek(0, os.SEEK_END)) < file.size_bytes:
                    try:
                        retried(lambda: self._append(file, out.fileno(), on_bytes), self._waiting)
                    except _BROKEN:
                        if breaks + 1 >= _BREAKS and out.seek(0, os.SEEK_END) <= have:
                            raise
                    breaks = 0 if out.seek(0, os.SEEK_END) > have else breaks + 1
                    if breaks >= _BREAKS:
                        raise ToolError.of(
                            "the server ends the file too early", hint="try again later", place=self._place
                        )
                os.fsync(out.fileno())

    def _append(self, file: RepoFile, descriptor: int, on_bytes: Callable[[int], None]) -> None:
        have = os.lseek(descriptor, 0, os.SEEK_END)
        with self._get(file, f"bytes={have}-{file.size_bytes - 1}") as response:
            if response.status_code != httpx2.codes.PARTIAL_CONTENT:
                os.ftruncate(descriptor, 0)
                have = 0
            shown = have
            # Pieces as they come, each written at once: what is held back is lost when the connection breaks.
            for chunk in response.iter_raw():
                if have + len(chunk) > file.size_bytes:
                    os.ftruncate(descriptor, 0)
                    raise ToolError.of(
                        f"the server sends more than the {file.size_bytes} bytes the hub listed",
                        hint="check HF_ENDPOINT and the proxy, then try again",
                        place=f"{self._place}/{file.name}",
                    )
                _write_all(descriptor, chunk)
                have += len(chunk)
                if have >= shown + _PROGRESS_BYTES:
                    on_bytes(have)
                    shown = have

    @contextlib.contextmanager
    def _get(self, file: RepoFile, byte_range: str) -> Iterator[httpx2.Response]:
        url = hf_hub_url(self._cache.repo, file.name, revision=self._cache.revision)
        headers = build_hf_headers(token=self._token, library_name="edgec", library_version=__version__)
        # Ranges count the bytes of the encoded body, so that it must not be encoded.
        headers |= {"Range": byte_range, "Accept-Encoding": "identity"}
        # Redirects lead to a storage host with a signed URL; the client drops the token on the way there.
        with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
            hf_raise_for_status(response)
            yield response

    def _waiting(self, wait_s: float) -> None:
        self._report(Note(f"the hub asks to wait; next try in {wait_s:.0f} s", level="warning"))


def wrong_digest(place: str, file: RepoFile) -> InputError:
    """The error for a file whose content is not what the hub listed."""
    return InputError.of(
        "the content differs from the digest the hub lists for it; it was refused and removed",
        hint="build again to fetch it again; if it happens twice, check HF_ENDPOINT and the proxy on the way",
        place=f"{place}/{file.name}",
    )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Keeps huggingface_hub's own warnings off the terminal; what they say comes as an error or a note."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
