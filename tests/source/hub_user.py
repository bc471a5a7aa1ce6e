"""Runs one verb of edgec.source.hub in a process of its own and prints what happened as one JSON object.

A process, because huggingface_hub reads HF_ENDPOINT and HF_HOME when it is imported.
"""

from __future__ import annotations

import json
import os
import sys

from edgec.errors import EdgecError
from edgec.events import Event, Note, Progress
from edgec.source.hub import HubSource, fetch_checkpoint, fetch_header


def main() -> None:
    verb, repo, revision, offline = sys.argv[1:]
    events: list[Event] = []
    out: dict[str, object] = {}

    def report(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.done >= int(os.environ.get("TEST_DIE_AT", "1000000000000")):
            os.kill(os.getpid(), 9)

    try:
        hub = HubSource(repo, revision)
        if verb == "header":
            header = fetch_header(hub, offline=offline == "offline", report=report)
        else:
            checkpoint = fetch_checkpoint(hub, offline=offline == "offline", report=report)
            header = checkpoint.header
            out["root"] = str(checkpoint.root)
        out["tensors"] = {n: [t.file, t.offset, t.nbytes, *t.shape] for n, t in header.tensors.items()}
        out["files"] = {f.name: [f.size_bytes, f.digest] for f in header.identity.files}
        out["small"] = sorted(header.files)
        out["uri"] = header.identity.uri
    except EdgecError as error:
        out["error"] = type(error).__name__
        out["text"] = str(error)
    out["progress"] = [[e.done, e.total] for e in events if isinstance(e, Progress)]
    out["notes"] = [e.message for e in events if isinstance(e, Note)]
    print(json.dumps(out))  # noqa: T201


if __name__ == "__main__":
    main()
