"""What is demanded of a graph: errors beside the samples' own differences, by the scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgec.errors import ProofError
from edgec.formats.candidates import Candidate
from edgec.formats.onnx.agreement import agreement_of
from edgec.formats.onnx.graph_run import Compared, choose_graph
from edgec.prove.graph_pair.pair import graph_checks, graph_limits
from edgec.recipe.model import Prove

SUMS = {
    "name": "value", "samples": 8, "other_shape": 0, "not_finite": 0, "cosines": [1.0] * 8, "errors": [0.001] * 8,
    "rows": 0, "same_first": 0, "elements": 0, "same_elements": 0, "channels": {},
}  # fmt: skip


def missed(scheme: str, share: float, settings: Prove | None = None) -> list[str]:
    compared = Compared(agreement_of([{**SUMS, "error_share": share}]), 8, "1", 1)
    limits = graph_limits(scheme, settings or Prove())
    return [check.name for check in graph_checks(compared, limits, "finer") if not check.passed]


@pytest.mark.parametrize(
    ("scheme", "passes", "misses"),
    [
        ("fp32", 0.0005, 0.002),
        ("fp16", 0.005, 0.02),
        ("int8_fine", 0.05, 0.2),
        ("int8_static", 0.05, 0.2),
        ("int8", 0.05, 0.2),
        ("auto", 0.05, 0.2),
        ("w8a8", 0.05, 0.2),
        ("mixed", 0.05, 0.2),
    ],
)
def test_the_limit_is_the_schemes(scheme: str, passes: float, misses: float) -> None:
    assert missed(scheme, passes) == []
    assert missed(scheme, misses) == ["errors beside the samples' own differences"]


def test_a_lower_cosine_allows_more_errors_but_not_one_answer_to_all() -> None:
    assert missed("auto", 0.3, Prove(min_cosine=0.8)) == []
    assert missed("auto", 0.6, Prove(min_cosine=0.1)) == ["errors beside the samples' own differences"]
    # A stricter one is of cosines alone.
    assert missed("auto", 0.05, Prove(min_cosine=0.999)) == []


def test_a_route_with_such_errors_is_not_chosen() -> None:
    good = Candidate("static", "", 100, 1.0, 1.0, error_share=0.05)
    demand = graph_limits("auto", Prove())
    assert demand.met_by(good)
    assert not demand.met_by(replace(good, error_share=0.2))
    error = demand.missed_by([replace(good, error_share=0.2)], "hint")
    assert "an error share of at most 0.1" in error.diagnostics[0].message
    assert "error share 0.2" in error.diagnostics[0].message


def test_a_size_that_depends_on_the_data_is_told_with_what_to_do() -> None:
    found = agreement_of([{**SUMS, "other_shape": 2, "error_share": None}])
    assert found.failure == "`value` has another shape for 2 of 8 samples: its size depends on the data"
    first = next(iter(graph_checks(Compared(found, 8, "1", 1), graph_limits("auto", Prove()), "finer")))
    assert not first.passed
    assert "end the model before that operation" in first.hint
    failed = Candidate("static", "", failed=found.failure)
    with pytest.raises(ProofError) as caught:
        choose_graph([failed], [], graph_limits("auto", Prove()), Path("log"))
    assert str(caught.value.diagnostics[0].hint).startswith("end the model before the operation")
