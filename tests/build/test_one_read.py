"""All GGUFs of a recipe come from one read of the source, each with its own key, result and place to go on from."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_build import MODEL, digests, ran
from test_interruption import kill

from edgec import api
from edgec.build.one_read import company
from edgec.events import ActionFinished, Event, Note
from edgec.plan.plan import Plan

SCHEMES = ("q4_k_m", "q8_0", "q4_0")
PROOFS = "prove gguf-q4_0, prove gguf-q5_k_m, prove gguf-q8_0"
IMATRIX = f"{{scheme: q5_k_m, imatrix: {{calibration: {MODEL}/calibration.txt, max_tokens: 1024}}}}"
RECIPE = f"""\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {{path: {MODEL}, licence: apache-2.0}}
context: 256
prove: {{held_out: {MODEL}/held_out.txt, windows: 4}}
artifacts:
"""


def recipe_of(*quantize: str) -> str:
    """A recipe with an artifact for each of these, a scheme or a `quantize:` mapping."""
    settings = [q if q.startswith("{") else f"{{scheme: {q}}}" for q in quantize]
    return RECIPE + "".join(f"  - format: gguf\n    quantize: {s}\n" for s in settings)


def together(events: list[dict]) -> list[str]:
    """What was made with one read, once for each read that made several."""
    texts = [e["message"] for e in events if e["event"] == "note"]
    return [_plain(t.removeprefix("one read of the source makes ")) for t in texts if t.startswith("one read")]


def _plain(text: str) -> str:
    """Without the digest that names of references and importance matrices end with."""
    return re.sub(r"(reference|imatrix)-\w+", r"\1", text)


def started(events: list[dict]) -> list[str]:
    """Names of the actions that read the source, in the order they were started in."""
    kinds = ("reference", "compile")
    return [_plain(e["action"]) for e in events if e["event"] == "action_started" and e["kind"] in kinds]


def stored(shop) -> dict[str, str]:
    """Digests of all GGUFs in the store, by key and name."""
    results = shop.folder / "cache" / "store" / "results"
    return {name: d for name, d in digests(results).items() if name.endswith((".gguf", "result.json"))}


@pytest.fixture
def one_core() -> Iterator[None]:
    """This process on one core, so that a compile has one thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_the_source_is_read_once(shop, one_core: None) -> None:
    read: list[tuple[Event, int]] = []

    def keep(event: Event) -> None:
        io = Path("/proc/self/io").read_text()
        read.append((event, int(io.split()[1])))

    shop_here = api.Workshop(cache=shop.folder / "cache", config=shop.folder / "config", offline=True, report=keep)
    api.build(shop.recipe(recipe_of(*SCHEMES)), workshop=shop_here, output=shop.folder / "artifacts")
    (begin,) = [n for event, n in read if isinstance(event, Note) and event.message.startswith("one read")]
    kinds = ("reference", "compile")
    ends = [n for event, n in read if isinstance(event, ActionFinished) and event.kind in kinds and not event.cached]
    assert len(ends) == 1 + len(SCHEMES)
    weights = (MODEL / "model.safetensors").stat().st_size
    # Beside the weights: their header twice, notes of the store, and /proc at each event.
    assert 0.99 * weights < ends[0] - begin < 1.1 * weights


def test_results_are_those_of_each_alone(shop, tmp_path: Path) -> None:
    built = shop.run("build", shop.recipe(recipe_of(*SCHEMES)))
    assert built.code == 0, built.err
    names = ["reference", *(f"compile gguf-{s}" for s in SCHEMES)]
    assert started(built.events) == names
    (made,) = together(built.events)
    assert made == ", ".join(names)
    finished = [e for e in built.events if e["event"] == "action_finished"]
    assert [(_plain(e["action"]), e["cached"]) for e in finished[:4]] == [(n, False) for n in names]
    alone: dict[str, str] = {}
    for scheme in SCHEMES:
        other = replace(shop, folder=tmp_path / scheme)
        other.folder.mkdir()
        assert other.run("build", other.recipe(recipe_of(scheme))).code == 0
        alone |= stored(other)
    ours = stored(shop)
    # Records hold the inode and time of each file; proofs and GGUFs are the same bytes.
    assert set(ours) == set(alone)
    assert {n: d for n, d in ours.items() if n.endswith(".gguf")} == {
        n: d for n, d in alone.items() if n.endswith(".gguf")
    }


def test_an_artifact_that_is_added_later_is_made_alone(shop) -> None:
    assert shop.run("build", shop.recipe(recipe_of("q4_0", "q8_0"))).code == 0
    added = shop.run("build", shop.recipe(recipe_of("q4_0", "q4_k_m", "q8_0")))
    assert started(added.events) == ["compile gguf-q4_k_m"]
    assert together(added.events) == []
    assert ran(added) == ["compile", "prove", "bundle"]


def test_an_importance_matrix_makes_it_two_reads(shop) -> None:
    built = shop.run("build", shop.recipe(recipe_of("q4_0", IMATRIX, IMATRIX.replace("q5_k_m", "q4_k_m"), "q8_0")))
    assert built.code == 0, built.err
    assert together(built.events) == [
        "reference, compile gguf-q4_0, compile gguf-q8_0",
        "compile gguf-q5_k_m, compile gguf-q4_k_m",
    ]
    kinds = [e["kind"] for e in built.events if e["event"] == "action_started"]
    assert kinds.count("imatrix") == 1


def test_a_rotten_importance_matrix_of_a_companion_is_made_again(shop) -> None:
    assert shop.run("build", shop.recipe(recipe_of(IMATRIX))).code == 0
    (matrix,) = (shop.folder / "cache/store/results").rglob("imatrix.gguf")
    before = matrix.stat()
    matrix.chmod(0o644)
    with matrix.open("r+b") as file:
        file.write(b"rot!")
    os.utime(matrix, ns=(before.st_atime_ns, before.st_mtime_ns))
    # q4_0 is asked for first and needs no matrix; q4_k_m is to be made with it.
    wider = recipe_of("q4_0", IMATRIX, IMATRIX.replace("q5_k_m", "q4_k_m"))
    again = shop.run("build", shop.recipe(wider))
    assert again.code == 0, again.err
    assert any("changed on the disk" in e.get("message", "") for e in again.events)
    assert "imatrix" in ran(again)
    assert set(started(again.events)) == {"compile gguf-q4_0", "compile gguf-q4_k_m"}


def test_nothing_is_made_that_nobody_needs(shop) -> None:
    recipe = shop.recipe(recipe_of("q4_0", "q8_0"))
    assert shop.run("build", recipe).code == 0
    assert shop.run("clean", "--references").code == 0
    (damaged,) = (shop.folder / "cache/store/results").rglob("*q8_0*.gguf")
    damaged.parent.joinpath("result.json").unlink()
    again = shop.run("build", recipe, "--set", "version=1.0.1")
    # The proofs stand, so that the unquantized model is not needed again.
    assert ran(again) == ["bundle", "compile"]


def test_kill_9_in_the_middle_and_every_output_goes_on(shop) -> None:
    recipe = shop.recipe(recipe_of(*SCHEMES))
    for moment_s in (1.0, 1.6, 2.2):
        child = shop.start("build", recipe)
        time.sleep(moment_s)
        kill(child)
    finished = shop.run("build", recipe)
    assert finished.code == 0, finished.err
    undisturbed = replace(shop, folder=shop.folder / "undisturbed", extra={"XDG_CONFIG_HOME": f"{shop.folder}/config"})
    undisturbed.folder.mkdir()
    assert undisturbed.run("build", undisturbed.recipe(recipe_of(*SCHEMES))).last["digest"] == finished.last["digest"]


def test_builds_at_once_make_each_output_once(shop) -> None:
    """One waits for what another makes, in whatever order they want it."""
    schemes = (SCHEMES, ("q8_0", "q5_k_m"), SCHEMES[::-1], SCHEMES)
    recipes = [shop.recipe(recipe_of(*s), f"{i}.yaml") for i, s in enumerate(schemes)]
    children = [shop.start("build", r, "-o", f"out-{i}") for i, r in enumerate(recipes)]
    finished = [shop.finish(c) for c in children]
    assert [f.code for f in finished] == [0] * 4, [f.err for f in finished]
    made = sorted(n for f in finished for n in started(f.events))
    assert made == sorted(["reference", "compile gguf-q5_k_m", *(f"compile gguf-{s}" for s in SCHEMES)])
    assert finished[0].last["digest"] == finished[3].last["digest"]


@pytest.fixture
def plan(shop) -> Plan:
    """Two artifacts, and one with an importance matrix; nothing is stored."""
    here = api.Workshop(cache=shop.folder / "cache", config=shop.folder / "config", offline=True)
    return api.plan(shop.recipe(recipe_of("q4_0", IMATRIX, "q8_0")), workshop=here)


@pytest.mark.parametrize(
    ("there", "asked", "others"),
    [
        ("", "reference", "compile gguf-q4_0, compile gguf-q8_0"),
        ("", "compile gguf-q4_0", "reference, compile gguf-q8_0"),
        ("reference", "compile gguf-q4_0", "compile gguf-q5_k_m, compile gguf-q8_0"),
        ("reference, imatrix", "compile gguf-q5_k_m", "compile gguf-q4_0, compile gguf-q8_0"),
        ("imatrix", "reference", "compile gguf-q4_0, compile gguf-q5_k_m, compile gguf-q8_0"),
        (PROOFS + ", imatrix, compile gguf-q8_0", "compile gguf-q4_0", "compile gguf-q5_k_m"),
    ],
)
def test_who_is_made_together(plan: Plan, there: str, asked: str, others: str) -> None:
    def is_there(name: str) -> bool:
        return _plain(name) in there.split(", ")

    asked_for = next(a for a in plan.actions if _plain(a.name) == asked)
    assert _plain(", ".join(a.name for a in company(plan, asked_for, is_there))) == others


def test_events_of_an_output_begin_before_and_end_after_its_progress(shop) -> None:
    built = shop.run("build", shop.recipe(recipe_of(*SCHEMES)))
    names = [
        e["action"] for e in built.events if e["event"] == "action_started" and e["kind"] in ("reference", "compile")
    ]
    assert len(names) == 4
    for name in names:
        mine = [e["event"] for e in built.events if e.get("action") == name]
        assert mine[0] == "action_started"
        assert mine[-1] == "action_finished"
        assert set(mine[1:-1]) == {"progress"}
        last = [e for e in built.events if e.get("action") == name][-2]
        assert last["done"] == last["total"]
