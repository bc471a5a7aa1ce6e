"""An encoder that is proven, and what every proof of one asks: texts, the source in torch, what stays open.

Rule: source and artifact run in processes of their own, one after the other, each in a toolchain that has its runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.onnx.encoder import Encoder, encoder_tokenizer
from edgec.formats.onnx.run import source_request
from edgec.prove.corpus import corpus
from edgec.prove.encoder_pair.texts import ProofTexts, proof_texts
from edgec.prove.model import Attempt, Check, NotVerified
from edgec.prove.thresholds import Thresholds, demanded
from edgec.prove.tokens import TokenComparison, compare_tokens
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

_INSIDE = Path(__file__).parent / "inside"
SOURCE_SCRIPT = _INSIDE / "embed_source.py"
ARTIFACT_SCRIPT = _INSIDE / "embed_artifact.py"
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

    def texts(self) -> ProofTexts:
        """What it is proven on. Raises InputError for a text too short."""
        return proof_texts(self.source.header.files, self.encoder, self.held_out_text, calibrated=self.calibrated)


@dataclass(frozen=True)
class Embedded:
    """What a script found. `rows`: vectors or scores by name; `answer`: the rest of it; `versions`: of its tools."""

    rows: Mapping[str, Floats]
    answer: Mapping[str, Any]
    versions: Mapping[str, str]


def proof_memory_mib(float_bytes: int) -> int:
    """What running the source in torch needs; the artifact runs afterwards, and needs less."""
    return _FIXED_MIB + (_COPIES * float_bytes >> 20)


def embed_source(
    subject: EncoderSubject,
    texts: ProofTexts,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    memory_mib: int,
    log: Path,
    script: Path = SOURCE_SCRIPT,
) -> tuple[Embedded, TokenComparison]:
    """The source in torch, and its tokenizer as transformers reads it against tokenizer.json.

    `scratch`: a folder. Raises ToolError when the process dies or answers something else.
    """
    files = subject.source.header.files
    special = encoder_tokenizer(files).get_added_tokens_decoder()
    pieces = [piece.text for piece in corpus([special[i].content for i in sorted(special)])]
    request = {**source_request(subject.source, subject.encoder), "corpus": pieces}
    found = _embedded(
        subject, texts, environment, scratch, report,
        request=request, names=("source",), memory_mib=memory_mib, log=log, script=script,
    )  # fmt: skip
    try:
        plain, complete = (dict(zip(pieces, found.answer[name], strict=True)) for name in ("plain", "complete"))
    except (KeyError, TypeError, ValueError) as error:
        raise strange_answer(error, log) from error
    tokens = compare_tokens(files["tokenizer.json"], plain.__getitem__, tokenize_complete=complete.__getitem__)
    return found, tokens


def embed_artifact(
    subject: EncoderSubject,
    texts: ProofTexts,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    model: Path,
    memory_mib: int,
    log: Path,
    script: Path = ARTIFACT_SCRIPT,
) -> Embedded:
    """An ONNX file in onnxruntime: `artifact`, text by text, and `padded`, in batches. Raises ToolError as above."""
    return _embedded(
        subject, texts, environment, scratch, report,
        request={"model": str(model.resolve()), "pad_id": subject.encoder.pad_id},
        names=("artifact", "padded"), memory_mib=memory_mib, log=log, script=script,
    )  # fmt: skip


def _embedded(
    subject: EncoderSubject,
    texts: ProofTexts,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    request: Mapping[str, Any],
    names: Sequence[str],
    memory_mib: int,
    log: Path,
    script: Path,
) -> Embedded:
    out = scratch / _EMBEDDINGS
    common = {
        "texts": [asdict(text) for text in texts.tokens],
        "pooling": subject.encoder.pooling,
        "threads": usable_cores(),
        "out": str(out.resolve()),
    }
    found = run_json(
        environment, script, {**request, **common}, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, env=_ENV,
        report=report,
    )  # fmt: skip
    try:
        rows = read_rows(out, names, texts=len(texts.tokens), log=log)
        versions = {str(name): str(version) for name, version in found["versions"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise strange_answer(error, log) from error
    finally:
        out.unlink(missing_ok=True)
    return Embedded(rows, found, versions)


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
    return Check(name=name, measured=rows.shape[1], threshold=encoder.answer_width, relation="==", unit="elements",
                 passed=rows.shape[1] == encoder.answer_width, hint=hint)  # fmt: skip


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
