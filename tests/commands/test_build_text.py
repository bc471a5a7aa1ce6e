"""What `edgec build` says at its end."""

from __future__ import annotations

from pathlib import Path

from edgec.build.built import Built, BuiltArtifact
from edgec.commands.build import as_json, as_text
from edgec.plan.origin import Signer
from edgec.prove.model import Attempt, Check, Proof

CHECK = Check(name="mean cosine", measured=0.999, threshold=0.99, relation=">=", unit="", passed=True)


def built(scheme: str, *attempts: Attempt) -> Built:
    proof = Proof(artifact=f"onnx-{scheme}", runtime="onnxruntime", checks=(CHECK,), attempts=attempts)
    return Built(
        path=Path("m"), report=Path("m.report.html"), archive=None, digest="sha256:0", size_bytes=1, target_title="Pi",
        signer=Signer("sha256:" + "1" * 64, is_development=False),
        artifacts=(BuiltArtifact(f"onnx-{scheme}", scheme, proof, ()),), carried=(), not_verified=(), cached=False,
        wall_s=1.0,
    )  # fmt: skip


def test_the_route_that_auto_took_is_named() -> None:
    tried = (
        Attempt(name="static", title="activations of 16 bits", chosen=False, size_bytes=2),
        Attempt(name="weights", title="weights alone", chosen=True, size_bytes=1),
    )
    for attempts in (tried, tried[1:]):
        result = built("auto", *attempts)
        assert "route    onnx-auto by weights: weights alone" in as_text(result, ()).splitlines()
        assert as_json(result)["artifacts"] == [{"name": "onnx-auto", "scheme": "auto", "route": "weights"}]


def test_a_scheme_without_a_choice_names_no_route() -> None:
    result = built("fp32")
    assert "route" not in as_text(result, ())
    assert as_json(result)["artifacts"][0]["route"] is None
