"""An image classifier that is proven, and what every proof of one asks: images, the source in torch, its checks.

Rule: a classifier is compared by its logits and by what it names first; what the source cannot tell apart proves
nothing, and is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.candidates import Demand
from edgec.formats.images import ImageSet, load_set
from edgec.formats.onnx.classifier import INPUT, OUTPUT, Classifier
from edgec.prove.checks import at_least, at_most
from edgec.prove.encoder import Floats, compare_embeddings
from edgec.prove.model import Attempt, Check, NotVerified
from edgec.prove.thresholds import Thresholds, demanded
from edgec.recipe.model import Prove
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

SCRIPT = Path(__file__).parent / "inside" / "classify.py"
BATCH = 4
_TIMEOUT_S = 1800
# torch, transformers and onnxruntime beside copies of the weights; measured in docs/onnx.md.
_FIXED_MIB, _COPIES = 700, 3
# Threads that spin while they wait for each other make a busy machine slower, and the result no other.
_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
_IMAGES, _LOGITS = "images.npy", "logits.npz"
# Of what a classifier names first. Float formats differ where two classes are equal; eight bits where they are near.
_MIN_TOP1: Mapping[str, float] = {"fp32": 0.99, "fp16": 0.98}
_MIN_TOP1_INT8 = 0.9
# Logits of different images that are on average closer than this ignore their input.
_MAX_ALIKE = 0.9999
_FEW_CLASSES = 3


@dataclass(frozen=True)
class ClassifierSubject:
    """An artifact and its source. `attempts`: the routes that were tried; `held_out`: the images that prove."""

    name: str
    source: Checkpoint
    classifier: Classifier
    scheme: str
    settings: Prove
    held_out: ImageSet
    attempts: tuple[Attempt, ...]
    logs: Path

    @property
    def limits(self) -> Thresholds:
        """What is demanded."""
        return classifier_limits(self.scheme, self.settings)


def classifier_limits(scheme: str, settings: Prove) -> Thresholds:
    """What is demanded of a classifier: a decoder's share of equal tokens is none of equal classes."""
    own = _MIN_TOP1.get(scheme, _MIN_TOP1_INT8) if settings.min_top1 is None else settings.min_top1
    return replace(demanded(scheme, settings), min_top1=own)


def classifier_demand(scheme: str, settings: Prove) -> Demand:
    """The same, of what routes make on the calibration images."""
    limits = classifier_limits(scheme, settings)
    return Demand(limits.min_mean_cosine, limits.min_cosine, limits.min_top1)


def proof_memory_mib(float_bytes: int, classifier: Classifier) -> int:
    """What the comparison needs; images lie in a file that is mapped."""
    return _FIXED_MIB + ((_COPIES * float_bytes + BATCH * 4 * 8 * classifier.activation) >> 20)


def save_images(images: ImageSet, classifier: Classifier, path: Path) -> Path:
    """The images as the classifier takes them, one row each, in an .npy file. Raises InputError naming a broken one."""
    np.save(path, load_set(images, classifier.image))
    return path


def classify(
    subject: ClassifierSubject,
    environment: Environment,
    scratch: Path,
    report: Reporter,
    *,
    model: Path | None,
    names: Sequence[str],
    memory_mib: int,
    script: Path,
    log: Path,
) -> tuple[dict[str, Floats], Mapping[str, str]]:
    """Logits of the held-out images by name, and versions: the source's in torch, an ONNX `model`'s where one is given.

    `scratch`: a folder. Raises InputError for a broken image, ToolError when the process dies or answers something
    else.
    """
    images, out = scratch / _IMAGES, scratch / _LOGITS
    try:
        request = {
            "checkpoint": str(subject.source.root.resolve()),
            "model": None if model is None else str(model.resolve()),
            "images": str(save_images(subject.held_out, subject.classifier, images).resolve()),
            "input": INPUT,
            "output": OUTPUT,
            "batch": BATCH,
            "threads": usable_cores(),
            "out": str(out.resolve()),
        }
        found = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, env=_ENV, report=report
        )
        rows = read_logits(out, names, images=len(subject.held_out.paths), log=log)
        versions = {str(name): str(version) for name, version in found["versions"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise strange_answer(error, log) from error
    finally:
        images.unlink(missing_ok=True)
        out.unlink(missing_ok=True)
    return rows, versions


def read_logits(path: Path, names: Sequence[str], *, images: int, log: Path) -> dict[str, Floats]:
    """Logits in a file, one row an image, by name. Raises ToolError for a file of another form."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rows: dict[str, Floats] = {name: np.asarray(arrays[name]) for name in names}
        if any(array.ndim != 2 or array.shape[0] != images for array in rows.values()):
            raise ValueError(f"{images} images, and logits of shapes {[array.shape for array in rows.values()]}")
    except (OSError, ValueError, KeyError) as error:
        raise strange_answer(error, log) from error
    return rows


def strange_answer(error: Exception, log: Path) -> ToolError:
    """The error for an answer of another form."""
    return ToolError.of(
        f"the comparison gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
    )


def size_check(name: str, rows: Floats, classifier: Classifier) -> Check:
    """Whether there is a logit for each label."""
    labels = len(classifier.labels)
    hint = "build again without the cache: the file does not come from this source"
    return Check(name=name, measured=rows.shape[1], threshold=labels, relation="==", unit="classes",
                 passed=rows.shape[1] == labels, hint=hint)  # fmt: skip


def logit_checks(source: Floats, artifact: Floats, limits: Thresholds, *, finer: str) -> list[Check]:
    """Finite logits, their cosines, what is named first, and whether the source tells images apart."""
    found = compare_embeddings(source, artifact)
    hint = "a weight or a scale is NaN, infinite or too large: check the source, or choose another scheme"
    finite = at_most("logits not finite", found.broken, 0, "images", hint=hint)
    if not finite.passed:
        return [finite]
    images = f"{found.texts} images"
    first, wanted = artifact.argmax(axis=1), source.argmax(axis=1)
    classes = f"{images}, of which the source names {len(set(wanted.tolist()))} classes"
    return [
        finite,
        at_least("smallest cosine", found.min_cosine, limits.min_cosine, "", detail=images,
                 hint=f"{finer}, or set prove.min_cosine"),
        at_least("mean cosine", found.mean_cosine, limits.min_mean_cosine, "", detail=images,
                 hint=f"{finer}, or set prove.min_cosine"),
        at_least("top-1 agreement", float((first == wanted).mean()), limits.min_top1, "of images", detail=classes,
                 hint=f"{finer}, or set prove.min_top1"),
        at_most("likeness of different images", found.alike, _MAX_ALIKE, "", detail="the source's logits",
                hint="the model ignores its input, so the conversion is wrong; or give different images in "
                "prove.held_out"),
    ]  # fmt: skip


def common_limits(subject: ClassifierSubject, source: Floats) -> tuple[NotVerified, ...]:
    """What no proof of a classifier on a build machine shows."""
    entries = [
        NotVerified(what="speed on the device", why="it was not run there"),
        NotVerified(what="peak memory on the device", why="it was not run there; the plan's fit is a prediction"),
        NotVerified(
            what="whether the labels are right",
            why="the artifact is compared with the source; what an image shows is not known here",
        ),
        NotVerified(
            what="how the program on the device prepares images",
            why="the proof's images were decoded and resized by Pillow; another library rounds in its own way",
        ),
    ]
    classes = len(set(source.argmax(axis=1).tolist()))
    if classes < min(_FEW_CLASSES, len(subject.classifier.labels)):
        why = f"the source names {classes} of {len(subject.classifier.labels)} classes on the held-out images"
        entries.append(NotVerified(what="agreement on other classes", why=why))
    return tuple(entries)
