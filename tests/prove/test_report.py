"""The build report: complete, self-contained, escaped, the same bytes every time, and clean in a browser."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from report_example import CHECKS, MEMORY, SPEED, example

from edgec.prove.model import Attempt, Check, NotVerified, TensorError
from edgec.prove.report import ReportData, ReportMemory, charts, render_report, wording
from edgec.prove.report.model import ReportArtifact

VOID = {"meta", "link", "br"}
HOSTILE = "<script>alert('x')</script>\"&{{ 7 * 7 }}"


class Page(HTMLParser):
    """Checks that every element is closed, and keeps text, tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def count(self, tag: str, style: str | None = None) -> int:
        """Elements called `tag`, with a class `style`."""
        return sum(t == tag and (style is None or style in (a.get("class") or "").split()) for t, a in self.tags)


def failing() -> ReportData:
    bad = Check(name="KL divergence", measured=0.4, threshold=0.04, relation="<=", unit="nats", passed=False)
    return example(checks=(CHECKS[0], bad, *CHECKS[2:]))


def too_big() -> ReportData:
    memory = replace(MEMORY, verdict="no", needed_mib=9000.0, advice="set `context: 2048` (now 4096)")
    return example(memory=memory)


def test_the_page_is_well_formed_and_self_contained() -> None:
    html = render_report(example())
    page = Page(html)
    tags = {t for t, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form"}
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs), tag
        assert not {"src", "srcset", "xlink:href", "action"} & set(attrs)
        assert attrs.get("href", "data:,") == "data:,"
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_what_is_carried_and_not_tried_is_there() -> None:
    untried = NotVerified(what="the plugin in a running Dify", why="none was at hand")
    data = replace(example(), carried=("Dify plugin dify/a.difypkg: m",), not_verified=(untried,))
    text = Page(render_report(data)).text
    for shown in ("Carried for servers", "Dify plugin dify/a.difypkg: m", untried.what, untried.why):
        assert shown in text
    assert "Carried for servers" not in Page(render_report(example())).text


def test_every_check_and_number_is_there() -> None:
    text = Page(render_report(example())).text
    for check in CHECKS:
        assert check.name in text
        assert check.detail in text
    for shown in ("0.0172 nats", "0.9312 share", "1.021 times", "at most 0.04", "at least 0.86", "exactly 0"):
        assert shown in text
    assert text.count("✓ passed") == len(CHECKS)
    for shown in (
        "qwen2.5-1.5b-instruct", "Raspberry Pi 5, 8 GB", "q4_k_m", "940 MiB", "32 % of the source's 2.88 GiB", "4 of 4",
        "1.39 GiB", "7.25 GiB available", "7.6 to 10", "extrapolated", "Apache-2.0",
        "development key", "no such device took part in the build", "numpy 2.4.1", "sha256:" + "a1" * 32,
        "A capacitor is a part that stores electric charge",
    ):  # fmt: skip
        assert shown in text


def test_the_verdict_comes_first_and_is_honest() -> None:
    good, bad, big = (Page(render_report(d)) for d in (example(), failing(), too_big()))
    assert "Proven against its source" in good.text
    assert good.count("div", "good") == 1
    assert "Not proven: do not ship this" in bad.text
    assert "1 check of 4 failed: KL divergence." in bad.text
    assert bad.text.count("✗ failed") == 1
    assert bad.count("rect", "over") == 1
    assert "Proven, but it does not fit" in big.text
    assert "Predicted to need 1.54 GiB more than Raspberry Pi 5, 8 GB has." in big.text
    assert "To change: set `context: 2048` (now 4096)." in big.text
    assert big.count("line", "limit") == 1
    assert good.count("line", "limit") == 0


def test_an_engine_that_nobody_built_is_not_called_proven() -> None:
    data = example()
    artifact = data.artifacts[0]
    proof = artifact.proof.model_copy(update={"in_place_of": "TensorRT Edge-LLM 0.11.0"})
    engine = replace(artifact, proof=proof, is_for_engine=True)
    page = render_report(replace(data, artifacts=(engine,)))
    assert "Proven, but for the engine" in page
    assert "Proven against its source" not in page


@pytest.mark.parametrize("runtime", ["RKNN on the NPU", "RKLLM on the NPU"])
def test_what_a_simulator_ran_is_not_called_an_engine(runtime: str) -> None:
    data = example()
    artifact = data.artifacts[0]
    proof = artifact.proof.model_copy(update={"in_place_of": runtime})
    text = Page(render_report(replace(data, artifacts=(replace(artifact, proof=proof),)))).text
    assert "Proven on the simulator, not verified on hardware" in text
    assert "byte for byte" not in text
    assert f"{runtime} ran nothing of this: not verified on hardware" in text
    assert "The engine of" not in text


def test_a_tight_fit_is_a_warning() -> None:
    page = Page(render_report(example(memory=replace(MEMORY, verdict="tight", needed_mib=7000.0))))
    assert page.count("div", "warn") == 1
    assert "Predicted to leave only 424 MiB free on Raspberry Pi 5, 8 GB." in page.text


def test_several_artifacts_share_a_sentence_when_all_fit_and_are_named_when_not() -> None:
    data = example()
    first = data.artifacts[0]
    larger = replace(first, name="q8_0", memory=replace(MEMORY, needed_mib=MEMORY.needed_mib + 100))
    page = Page(render_report(replace(data, artifacts=(first, larger))))
    spare = wording.mib(MEMORY.available_mib - MEMORY.needed_mib - 100)
    sentence = f"Each of the 2 artifacts is predicted to fit Raspberry Pi 5, 8 GB, with at least {spare} to spare."
    assert sentence in page.text
    assert "Predicted to fit" not in page.text
    tight = replace(larger, memory=replace(MEMORY, verdict="tight", needed_mib=7000.0))
    page = Page(render_report(replace(data, artifacts=(first, tight))))
    assert "gguf: predicted to fit Raspberry Pi 5, 8 GB with" in page.text
    assert "q8_0: predicted to leave only 424 MiB free on Raspberry Pi 5, 8 GB." in page.text


def test_equal_data_gives_equal_bytes() -> None:
    assert render_report(example()) == render_report(example())


def test_hostile_text_is_text() -> None:
    data = example(checks=(replace_check(CHECKS[0], HOSTILE), *CHECKS[1:]))
    artifact = data.artifacts[0]
    sample = artifact.proof.samples[0].model_copy(update={"prompt": HOSTILE, "text": HOSTILE})
    tensor = TensorError(name=HOSTILE, type="q4_k", elements=1, bytes=1, relative_rmse=0.5)
    proof = artifact.proof.model_copy(update={"samples": (sample,), "tensors": (tensor,), "runtime": HOSTILE})
    types = {HOSTILE: 10, "q4_k": 20}
    hostile = replace(artifact, proof=proof, files=(HOSTILE,), bytes_by_type=types, notes=(HOSTILE,), scheme=HOSTILE)
    page = Page(render_report(replace(data, name=HOSTILE, description=HOSTILE, artifacts=(hostile,))))
    assert page.count("script") == 0
    assert "{{ 7 * 7 }}" in page.text
    assert page.text.count("<script>alert('x')</script>") >= 10


def replace_check(check: Check, text: str) -> Check:
    return check.model_copy(update={"name": text, "unit": text, "detail": text})


def test_little_is_known_and_the_page_still_stands() -> None:
    full = example()
    proof = full.artifacts[0].proof.model_copy(update={"tensors": (), "samples": (), "not_verified": ()})
    artifact = ReportArtifact("gguf", "gguf", "f16", ("m.gguf",), 1000, {"f16": 900}, proof)
    bare = replace(full, artifacts=(artifact,), disk=None, description=None, development_key=None, key_fingerprint=None)
    text = Page(render_report(bare)).text
    assert text.count("not predicted") == 2
    assert "Not verified" not in text
    assert "Error of every quantized tensor" not in text
    assert "Signing key" not in text


def test_two_artifacts_are_told_apart() -> None:
    one = example()
    second = replace(one.artifacts[0], name="gguf-2", scheme="q8_0")
    text = Page(render_report(replace(one, artifacts=(*one.artifacts, second)))).text
    assert "Proof of gguf-2" in text
    assert "All 8 checks passed" in text
    assert text.count("no such device took part in the build") == 1


def test_what_was_tried_and_rejected_is_shown() -> None:
    (artifact,) = example().artifacts
    tried = (
        Attempt(name="weights", title="weights alone", chosen=True, size_bytes=22_979_728, mean_cosine=0.99935,
                min_cosine=0.99821),
        Attempt(name="static-all", title="every operator", chosen=False, size_bytes=22_962_535, mean_cosine=0.78478,
                min_cosine=0.40378),
        Attempt(name="static-u8", title=HOSTILE, chosen=False, size_bytes=0, failed="no kernel"),
    )  # fmt: skip
    data = replace(
        example(), artifacts=(replace(artifact, proof=artifact.proof.model_copy(update={"attempts": tried})),)
    )
    page = Page(render_report(data))
    assert "What was tried" in page.text
    for shown in ("23 MB", "0.7848", "0.4038", "no kernel", "every operator"):
        assert shown in page.text
    assert (page.text.count("✓ chosen"), page.text.count("rejected")) == (1, 2)
    # A first route that was good enough is named too, and so is one of which nothing was compared.
    for only in (tried[0], Attempt(name="weights", title="weights alone", chosen=True, size_bytes=22_979_728)):
        alone = replace(artifact, scheme="auto", proof=artifact.proof.model_copy(update={"attempts": (only,)}))
        text = Page(render_report(replace(example(), artifacts=(alone,)))).text
        assert "GGUF, auto: weights" in text
        assert "The only route that was tried" in text
        assert ("weights alone" in text, text.count("✓ chosen")) == (True, 1)
        assert ("0.9993" in text or "0.9994" in text) is (only.mean_cosine is not None)


def test_a_bound_is_not_shown_as_what_was_built() -> None:
    (artifact,) = example().artifacts
    built = replace(
        artifact, output_bytes=23_162_274, source_bytes=90_300_000, bytes_by_type={}, bound_bytes=34_603_008
    )
    text = Page(render_report(replace(example(), artifacts=(built,)))).text
    for shown in (
        "22.1 MiB", "26 % of the source's", "23,162,274 bytes as built", "upper bound was 33 MiB",
        "at most, of 7.25 GiB available",
        "Computed before the build, for files of at most 33 MiB; as built they have 22.1 MiB.",
    ):  # fmt: skip
        assert shown in text
    assert "Bytes of tensors" not in text


def test_bars_fill_their_width() -> None:
    artifact = example().artifacts[0]
    types = charts.type_segments(artifact.bytes_by_type, charts.colours_of(artifact.bytes_by_type))
    assert sum(s.width for s in types) == pytest.approx(100)
    assert [s.label for s in types] == ["q4_k", "q6_k", "f32"]
    for memory in (MEMORY, over_by(1000.0)):
        segments = charts.memory_segments(memory)
        assert segments[-1].x + segments[-1].width == pytest.approx(100)
    assert charts.memory_limit(over_by(1000.0)) == pytest.approx(100 * 8192 / 9192)


def over_by(mib: float) -> ReportMemory:
    weights = replace(MEMORY.items[1], mib=MEMORY.items[1].mib + MEMORY.available_mib - MEMORY.needed_mib + mib)
    items = (MEMORY.items[0], weights, *MEMORY.items[2:])
    return replace(MEMORY, items=items, needed_mib=MEMORY.available_mib + mib, verdict="no")


def test_the_error_strip_places_tensors_by_layer_and_error() -> None:
    artifact = example().artifacts[0]
    strip = charts.error_strip(artifact.proof.tensors, charts.colours_of(artifact.bytes_by_type))
    assert strip is not None
    assert len(strip.dots) == 1 + 28 * 7
    assert strip.exact == 28
    assert all(0 <= d.x <= 100 and 0 <= d.y <= 100 for d in strip.dots)
    by_name = {d.title.split(":")[0]: d for d in strip.dots}
    embedding, first, last = (by_name[n] for n in ("token_embd.weight", "blk.0.attn_q.weight", "blk.27.attn_q.weight"))
    assert embedding.x < first.x < last.x
    assert embedding.y > first.y  # a smaller error stands lower
    worst = max(t.relative_rmse for t in artifact.proof.tensors)
    assert strip.worst[0].relative_rmse == worst


@pytest.mark.parametrize(
    ("relation", "measured", "threshold", "used"),
    [
        ("<=", 0.01, 0.04, 0.25),
        ("<=", 1.03, 1.06, 0.5),
        ("<=", 0.99, 1.06, 0.0),
        (">=", 0.93, 0.86, 0.5),
        (">=", 0.72, 0.86, 2.0),
        ("==", 3, 0, None),
        ("<=", 0, 0, None),
    ],
)
def test_budget_used(relation: str, measured: float, threshold: float, used: float | None) -> None:
    check = Check.model_validate(
        {"name": "n", "measured": measured, "threshold": threshold, "relation": relation, "unit": "", "passed": True}
    )
    assert charts.budget_used(check) == (None if used is None else pytest.approx(used))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00002, "2.0e-05"), (0.0172, "0.0172"), (4.5812, "4.58"), (12, "12"), (158.2, "158"), (1240, "1,240")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert wording.number(value) == text


def test_sizes_and_shares() -> None:
    assert wording.size(986_048_000) == "940 MiB"
    assert wording.size(12) == "12 bytes"
    assert wording.decimal_size(4_620_000_000) == "4.62 GB"
    assert wording.percent(0.99999) == "> 99.9 %"
    assert wording.percent(1) == "100 %"
    assert wording.range_text(3271.2, 96.04) == "3,300 to 96"


def test_blank_lines_do_not_fill_the_page() -> None:
    assert wording.compact("\n\n \n a\n\n\n \nb\nc\n") == "a\n\nb\nc"


def test_speed_scale_is_round_and_common() -> None:
    slow = replace(SPEED, low_tok_s=2.0, high_tok_s=3.0)
    bands = [charts.speed_band(s, 10.4) for s in (SPEED, slow)]
    assert bands[0].ticks == bands[1].ticks
    assert [t.label for t in bands[0].ticks] == ["0", "2", "4", "6", "8", "10", "12"]
    assert bands[0].x == pytest.approx(100 * 7.63 / 12)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Recorder(SimpleHTTPRequestHandler):
    """Serves a folder and notes every path that is asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Nothing on the terminal."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "report.html").write_text(render_report(example()), encoding="utf-8")
    Recorder.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Recorder, directory=str(tmp_path / "www"))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()
        thread.join()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_chromium_shows_it_without_complaint(tmp_path: Path, served: str) -> None:
    """No console message and no request but the page. No name resolves, so a request elsewhere would be a message."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={tmp_path / 'report.png'}", "--window-size=1200,3000", "--dump-dom", served,
        ],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert Recorder.asked == ["/report.html"]
    assert "Proven against its source" in Page(done.stdout).text
    assert (tmp_path / "report.png").stat().st_size > 20_000
