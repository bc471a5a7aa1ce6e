"""An encoder that is proven, and what every proof of one asks: texts, the source in torch, what stays open.

Rule: lines that the artifact was calibrated or chosen on prove nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer, token_ids
from edgec.prove.corpus import corpus
from edgec.prove.encoder import choose_texts
from edgec.prove.held_out import built_in_text
from edgec.prove.model import Attempt, Check, NotVerified
from edgec.prove.thresholds import Thresholds, demanded
from edgec.prove.tokens import TokenComparison, compare_tokens
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

SCRIPT = Path(__file__).parent / "inside" / "embed.py"
_TIMEOUT_S = 1800
# torch, transformers and onnxruntime beside copies of the weights; measured in docs/onnx.md.
_FIXED_MIB = 700
_COPIES = 3
# Threads that spin while they wait for each other make a busy machine slower, and the result no other.
_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
_EMBEDDINGS = "embeddings.npz"

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class EncoderSubject:
    """An artifact and its source. `attempts`: the routes that were tried; `held_out_text` None: the built-in text.

    `calibrated`: lines that the artifact was calibrated or chosen on, which prove nothing.
    """

    name: str
    source: Checkpoint
    encoder: Encoder
    scheme: str
    settings: Prove
    held_out_text: str | None
    attempts: tuple[Attempt, ...]
    calibrated: frozenset[str]
    logs: Path

    @property
    def limits(self) -> Thresholds:
        """What is demanded."""
        return demanded(self.scheme, self.settings)


@dataclass(frozen=True)
class Embedded:
    """What the script found. `rows`: vectors by name; `longest`: tokens of the longest text; `tokens`: the tokenizer's
    ids against transformers'."""

    rows: Mapping[str, Floats]
    longest: int
    tokens: TokenComparison
    versions: Mapping[str, str]


def proof_memory_mib(float_bytes: int) -> int:
    """What the comparison needs."""
    return _FIXED_MIB + (_COPIES * float_bytes >> 20)


def proof_ids(
    files: Mapping[str, bytes], encoder: Encoder, held_out_text: str | None, *, calibrated: frozenset[str]
) -> list[list[int]]:
    """Token ids of the texts that prove: held-out lines, less those calibrated on. Raises InputError: too few."""
    whole = built_in_text() if held_out_text is None else held_out_text
    text = "\n".join(line for line in whole.splitlines() if line.strip() not in calibrated)
    return token_ids(files, choose_texts(text), encoder.context)


def embed(
    subject: EncoderSubject,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    model: Path | None,
    names: Sequence[str],
    memory_mib: int,
    script: Path,
    log: Path,
) -> Embedded:
    """Runs the source in torch, and an ONNX `model` in onnxruntime where one is given; `names`: of the vectors wanted.

    `scratch`: a folder. Raises InputError for a text too short, ToolError when the process dies or answers something
    else.
    """
    files, encoder = subject.source.header.files, subject.encoder
    ids = proof_ids(files, encoder, subject.held_out_text, calibrated=subject.calibrated)
    special = encoder_tokenizer(files).get_added_tokens_decoder()
    pieces = [piece.text for piece in corpus([special[i].content for i in sorted(special)])]
    out = scratch / _EMBEDDINGS
    request = {
        "checkpoint": str(subject.source.root.resolve()),
        "model": None if model is None else str(model.resolve()),
        "texts": ids,
        "pooling": encoder.pooling,
        "pad_id": encoder.pad_id,
        "threads": usable_cores(),
        "corpus": pieces,
        "out": str(out.resolve()),
    }
    found = run_json(
        environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, env=_ENV, report=report
    )
    try:
        rows = read_rows(out, names, texts=len(ids), log=log)
        plain, complete = (dict(zip(pieces, found[name], strict=True)) for name in ("plain", "complete"))
        versions = {str(name): str(version) for name, version in found["versions"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise strange_answer(error, log) from error
    finally:
        out.unlink(missing_ok=True)
    tokens = compare_tokens(files["tokenizer.json"], plain.__getitem__, tokenize_complete=complete.__getitem__)
    return Embedded(rows, max(map(len, ids)), tokens, versions)


def read_rows(path: Path, names: Sequence[str], *, texts: int, log: Path) -> dict[str, Floats]:
    """The vectors in a file, one row a text, by name. Raises ToolError for a file of another form."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rows: dict[str, Floats] = {name: np.asarray(arrays[name]) for name in names}
        if any(array.ndim != 2 or array.shape[0] != texts for array in rows.values()):
            raise ValueError(f"{texts} texts, and vectors of shapes {[array.shape for array in rows.values()]}")
    except (OSError, ValueError, KeyError) as error:
        raise strange_answer(error, log) from error
    return rows


def strange_answer(error: Exception, log: Path) -> ToolError:
    """The error for an answer of another form."""
    return ToolError.of(
        f"the comparison gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
    )


def size_check(name: str, rows: Floats, encoder: Encoder) -> Check:
    """Whether vectors have as many elements as the encoder's."""
    hint = "build again without the cache: the file does not come from this source"
    return Check(name=name, measured=rows.shape[1], threshold=encoder.width, relation="==", unit="elements",
                 passed=rows.shape[1] == encoder.width, hint=hint)  # fmt: skip


def common_limits(subject: EncoderSubject, longest: int) -> tuple[NotVerified, ...]:
    """What no proof of an encoder on a build machine shows."""
    entries = [
        NotVerified(what="speed on the device", why="it was not run there"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(what=f"texts of more than {longest} tokens", why="the proof's texts are no longer"),
    ]
    if subject.held_out_text is None:
        why = "no held-out text was given (prove.held_out); a short built-in one was used"
        entries.append(NotVerified(what="quality on texts of the model's use", why=why))
    if subject.encoder.pooling_note is not None:
        entries.append(NotVerified(what="the model's own pooling", why=subject.encoder.pooling_note))
    return tuple(entries)
