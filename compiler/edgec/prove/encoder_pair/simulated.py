"""The proof of an encoder that only a simulator could run: its vectors, made while it was compiled, against torch's.

Rule: what ran is the vendor's simulator in the compiling process; that is said, and so is that no device ran it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer, token_ids
from edgec.prove.checks import embedding_checks
from edgec.prove.corpus import corpus
from edgec.prove.encoder import choose_texts, compare_embeddings
from edgec.prove.encoder_pair.pair import ENV, SCRIPT, TIMEOUT_S
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Attempt, Check, NotVerified, Proof
from edgec.prove.thresholds import demanded
from edgec.prove.tokens import compare_tokens
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

_LOG = "rknn-proof.log"
_EMBEDDINGS = "embeddings.npz"
_COSINES = ("smallest cosine", "mean cosine")
_FINER = "choose `scheme: auto`, which takes the smallest that passes, `mixed` or `fp16`, or set prove.min_cosine"

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class SimulatedEncoder:
    """An artifact and its source. `vectors`: the simulator's, of `proof_ids`; the rest as in `EncoderPair`."""

    name: str
    source: Checkpoint
    vectors: Path
    encoder: Encoder
    scheme: str
    settings: Prove
    held_out_text: str | None
    attempts: tuple[Attempt, ...]
    calibrated: frozenset[str]
    toolkit: str
    logs: Path


def proof_ids(
    files: Mapping[str, bytes], encoder: Encoder, held_out_text: str | None, *, calibrated: frozenset[str]
) -> list[list[int]]:
    """Token ids of the texts that prove: held-out lines, less those calibrated on. Raises InputError: too few."""
    whole = built_in_text() if held_out_text is None else held_out_text
    text = "\n".join(line for line in whole.splitlines() if line.strip() not in calibrated)
    return token_ids(files, choose_texts(text), encoder.context)


def prove_simulated(
    subject: SimulatedEncoder,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    script: Path = SCRIPT,
) -> Proof:
    """The proof. `scratch`: a folder. Raises ToolError when torch's process dies or answers something else."""
    files, encoder = subject.source.header.files, subject.encoder
    ids = proof_ids(files, encoder, subject.held_out_text, calibrated=subject.calibrated)
    special = encoder_tokenizer(files).get_added_tokens_decoder()
    pieces = [piece.text for piece in corpus([special[i].content for i in sorted(special)])]
    out, log = scratch / _EMBEDDINGS, subject.logs / _LOG
    request = {
        "checkpoint": str(subject.source.root.resolve()),
        "model": None,
        "texts": ids,
        "pooling": encoder.pooling,
        "pad_id": encoder.pad_id,
        "threads": usable_cores(),
        "corpus": pieces,
        "out": str(out.resolve()),
    }
    found = run_json(
        environment, script, request, timeout_s=TIMEOUT_S, log=log, memory_mib=memory_mib, env=ENV, report=report
    )
    try:
        source, artifact = _rows(out, "source", len(ids), log), _rows(subject.vectors, "artifact", len(ids), log)
        plain, complete = (dict(zip(pieces, found[name], strict=True)) for name in ("plain", "complete"))
    except (KeyError, TypeError, ValueError) as error:
        raise _strange(error, log) from error
    finally:
        out.unlink(missing_ok=True)
    tokens = compare_tokens(files["tokenizer.json"], plain.__getitem__, tokenize_complete=complete.__getitem__)
    checks = [tokens.check(), _size_check(artifact, encoder.width)]
    if all(check.passed for check in checks):
        agreed = embedding_checks(compare_embeddings(source, artifact), demanded(subject.scheme, subject.settings))
        checks += [
            check.model_copy(update={"hint": _FINER if check.name in _COSINES else check.hint}) for check in agreed
        ]
    return Proof(
        artifact=subject.name,
        runtime=f"rknn-toolkit2 {subject.toolkit}, its simulator of the RK3588",
        in_place_of="RKNN on the NPU",
        checks=tuple(checks),
        attempts=subject.attempts,
        not_verified=_limits(subject, max(map(len, ids))),
    )


def _rows(path: Path, name: str, texts: int, log: Path) -> Floats:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rows: Floats = np.asarray(arrays[name])
    except (OSError, ValueError, KeyError) as error:
        raise _strange(error, log) from error
    if rows.ndim != 2 or rows.shape[0] != texts:
        raise _strange(ValueError(f"vectors of shape {rows.shape}, and {texts} texts"), log)
    return rows


def _strange(error: Exception, log: Path) -> ToolError:
    return ToolError.of(f"the comparison gave an answer of another form: {error!r}", hint=f"the output is in {log}")


def _size_check(rows: Floats, wanted: int) -> Check:
    hint = "build again without the cache: the file does not come from this source"
    size = rows.shape[1]
    return Check(name="embedding size", measured=size, threshold=wanted, relation="==", unit="elements",
                 passed=size == wanted, hint=hint)  # fmt: skip


def _limits(subject: SimulatedEncoder, tokens: int) -> tuple[NotVerified, ...]:
    simulator = "only rknn-toolkit2's simulator ran it, in the process that compiled it"
    entries = [
        NotVerified(what="the model on the NPU", why=f"not verified on hardware: {simulator}"),
        NotVerified(
            what="the .rknn file as written",
            why="the toolkit cannot simulate a file; it was written by the process whose model was simulated, and its "
            "chip, inputs and outputs were read back",
        ),
        NotVerified(
            what="a second build with the same bytes",
            why="not reproducible: rknn-toolkit2 writes other bytes each time; another build has another digest",
        ),
        NotVerified(what="speed on the device", why="it was not run there"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(what=f"texts of more than {tokens} tokens", why="the proof's texts are no longer"),
    ]
    if subject.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    if subject.encoder.pooling_note is not None:
        entries.append(NotVerified(what="the model's own pooling", why=subject.encoder.pooling_note))
    return tuple(entries)
