"""The hub source against a real server on 127.0.0.1, through the real huggingface_hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade import MODEL, safetensors_bytes
from hub_server import COMMIT, REPO, HubServer

from edgec.source.local import open_local

Run = Callable[..., dict[str, Any]]
TOKEN = "hf_secret"
WRONG_TOKEN = "hf_wrong"
WEIGHTS = (MODEL / "model.safetensors").read_bytes()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def run(hub_server: HubServer, tmp_path: Path) -> Run:
    """Runs `header` or `checkpoint` in a process with a cache of its own; returns what it printed."""

    def call(verb: str, *, repo: str = REPO, revision: str = COMMIT, offline: bool = False, **env: str) -> Any:
        own = {
            "PATH": os.environ["PATH"],
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub_server.url,
            "NO_PROXY": "127.0.0.1",
            "HOME": str(tmp_path),
        }
        command = [sys.executable, str(Path(__file__).with_name("hub_user.py")), verb, repo, revision]
        done = subprocess.run(
            [*command, "offline" if offline else "online"],
            env=own | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == -9:
            return {"killed": True}
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    return call


def served(server: HubServer, ending: str, method: str = "GET") -> list[int]:
    return [r.sent_bytes for r in server.requests if r.path.endswith(ending) and r.method == method]


def cache_of(tmp_path: Path) -> Path:
    return tmp_path / "hf" / "hub" / "models--acme--docs-llama"


def test_plans_from_range_requests_alone(run: Run, hub_server: HubServer) -> None:
    out = run("header")
    local = open_local(MODEL).header
    assert out["tensors"] == {n: [t.file, t.offset, t.nbytes, *t.shape] for n, t in local.tensors.items()}
    assert out["files"] == {f.name: [f.size_bytes, f.digest] for f in local.identity.files}
    assert out["uri"] == f"pkg:huggingface/{REPO}@{COMMIT}"
    weights = served(hub_server, "model.safetensors")
    assert sum(weights) == 100_000
    paths = {r.path.rsplit("/", 1)[-1] for r in hub_server.requests}
    assert not paths & {"pytorch_model.bin", "modeling_evil.py", "held_out.txt", "calibration.txt"}


def test_a_known_commit_is_planned_without_a_connection(run: Run, hub_server: HubServer) -> None:
    first = run("header")
    hub_server.forget_requests()
    assert run("header") == first
    assert run("header", offline=True) == first
    assert hub_server.requests == []


def test_stops_reading_when_the_server_ignores_ranges(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.ignore_ranges = True
    assert len(run("header")["tensors"]) == 56


def test_a_header_longer_than_the_first_read(run: Run, hub_server: HubServer) -> None:
    tensors = {f"model.layers.{i}.a_rather_long_name.weight": ("F32", [1], b"\0\0\0\0") for i in range(1500)}
    hub_server.files["model.safetensors"] = safetensors_bytes(tensors)
    assert len(run("header")["tensors"]) == 1500
    assert next(r.range for r in hub_server.requests if r.host == "storage") == "bytes=0-99999"
    assert len(served(hub_server, "model.safetensors")) == 4


def test_a_quantized_repository(run: Run, hub_server: HubServer) -> None:
    hub_server.files["model.safetensors"] = safetensors_bytes({"a.qweight": ("I32", [8, 1], bytes(32))})
    assert "integer weights come from AWQ" in run("header")["text"]
    config = {"architectures": ["LlamaForCausalLM"]}
    sidecar = {"quantization": {"quant_algo": "W4A16_AWQ", "group_size": 8}}
    for said in (
        {"config.json": {**config, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 8}}},
        {"config.json": config, "hf_quant_config.json": sidecar},
    ):
        hub_server.files |= {name: json.dumps(value).encode() for name, value in said.items()}
        assert list(run("header")["tensors"]) == ["a.qweight"]
        assert run("header", offline=True) == run("header")


def test_downloads_whole(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    out = run("checkpoint")
    root = Path(out["root"])
    assert (root / "model.safetensors").read_bytes() == WEIGHTS
    assert (root / "model.safetensors").resolve() == cache_of(tmp_path) / "blobs" / SHA256
    assert out["progress"][-1] == [len(WEIGHTS), len(WEIGHTS)]
    assert out["progress"] == sorted(out["progress"])
    assert out["small"] == [
        "README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert not list(cache_of(tmp_path).rglob("*partial*"))
    assert not (root / "pytorch_model.bin").exists()
    hub_server.forget_requests()
    again = run("checkpoint", offline=True)
    assert again["tensors"] == out["tensors"]
    assert hub_server.requests == []


def test_huggingface_hub_finds_what_edgec_fetched(run: Run, tmp_path: Path) -> None:
    root = run("checkpoint")["root"]
    code = (
        "import huggingface_hub as h; "
        f"print(h.hf_hub_download('{REPO}', 'model.safetensors', revision='{COMMIT}', local_files_only=True)); "
        "print(h.scan_cache_dir().warnings)"
    )
    env = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == [f"{root}/model.safetensors", "[]"]


def test_resumes_within_a_build_when_the_connection_breaks(run: Run, hub_server: HubServer) -> None:
    run("header")
    hub_server.forget_requests()
    hub_server.faults.cut_after = [5_000_000, 3_000_000]
    out = run("checkpoint")
    assert (Path(out["root"]) / "model.safetensors").read_bytes() == WEIGHTS
    starts = [int(r.range.removeprefix("bytes=").split("-")[0]) for r in hub_server.requests if r.host == "storage"]
    assert starts == [0, 5_000_000, 8_000_000]


def test_a_connection_that_breaks_every_100_kb_still_brings_the_file(run: Run, hub_server: HubServer) -> None:
    run("header")
    hub_server.forget_requests()
    hub_server.faults.cut_after = [100_000] * (len(WEIGHTS) // 100_000)
    out = run("checkpoint")
    assert (Path(out["root"]) / "model.safetensors").read_bytes() == WEIGHTS
    assert sum(served(hub_server, "model.safetensors")) == len(WEIGHTS)


def test_resumes_in_the_next_build_after_a_kill(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    assert run("checkpoint", TEST_DIE_AT="4000000") == {"killed": True}
    partial = cache_of(tmp_path) / "blobs" / f"{SHA256}.edgec-partial"
    have = partial.stat().st_size
    assert 4_000_000 <= have < len(WEIGHTS)
    assert not (cache_of(tmp_path) / "snapshots" / COMMIT / "model.safetensors").exists()
    hub_server.forget_requests()
    out = run("checkpoint")
    assert [r.range for r in hub_server.requests] == [f"bytes={have}-{len(WEIGHTS) - 1}"] * 2
    assert (Path(out["root"]) / "model.safetensors").read_bytes() == WEIGHTS
    assert not partial.exists()


def test_starts_again_when_the_server_cannot_resume(run: Run, hub_server: HubServer) -> None:
    assert run("checkpoint", TEST_DIE_AT="4000000") == {"killed": True}
    hub_server.faults.ignore_ranges = True
    out = run("checkpoint")
    assert (Path(out["root"]) / "model.safetensors").read_bytes() == WEIGHTS


def test_gives_up_when_the_connection_always_breaks(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    run("header")
    hub_server.faults.cut_after = [2_000_000] + [0] * 5
    out = run("checkpoint")
    assert out["error"] == "ToolError"
    assert "connection broke" in out["text"]
    assert "goes on from there" in out["text"]
    assert (cache_of(tmp_path) / "blobs" / f"{SHA256}.edgec-partial").stat().st_size == 2_000_000


def test_refuses_a_wrong_digest(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.faults.swapped["model.safetensors"] = WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1])
    out = run("checkpoint")
    assert out["error"] == "InputError"
    assert "model.safetensors: error: the content differs from the digest" in out["text"]
    assert not (cache_of(tmp_path) / "snapshots" / COMMIT / "model.safetensors").exists()
    assert [p.name for p in (cache_of(tmp_path) / "blobs").iterdir() if SHA256 in p.name] == []
    hub_server.faults.swapped.clear()
    assert "error" not in run("checkpoint")


@pytest.mark.parametrize("lfs", [(".safetensors",), (".safetensors", "tokenizer.json")])
def test_refuses_a_small_file_with_a_wrong_digest(run: Run, hub_server: HubServer, lfs: tuple[str, ...]) -> None:
    hub_server.lfs = lfs
    hub_server.faults.swapped["tokenizer.json"] = hub_server.files["tokenizer.json"].replace(b"the", b"teh", 1)
    out = run("header")
    assert out["error"] == "InputError"
    assert "tokenizer.json: error: the content differs" in out["text"]
    hub_server.faults.swapped.clear()
    assert "error" not in run("header")


def test_refuses_a_header_that_is_not_that_of_the_file(run: Run, hub_server: HubServer) -> None:
    swapped = WEIGHTS.replace(b'"model.layers.0.mlp.down_proj.weight"', b'"model.layers.0.mlp.evil_proj.weight"')
    assert swapped != WEIGHTS
    hub_server.faults.swapped["model.safetensors"] = swapped
    run("header")
    hub_server.faults.swapped.clear()
    out = run("checkpoint")
    assert out["error"] == "InputError"
    assert "its header differs from the one the server sent" in out["text"]


def test_a_damaged_file_in_the_cache_is_fetched_again(run: Run) -> None:
    path = (Path(run("checkpoint")["root"]) / "model.safetensors").resolve()
    path.write_bytes(WEIGHTS[:-1] + b"x")
    run("checkpoint")
    assert path.read_bytes() == WEIGHTS


@pytest.mark.parametrize("lfs", [(".safetensors",), (".safetensors", ".json")])
@pytest.mark.parametrize("as_plain_file", [False, True])
def test_a_small_file_changed_in_the_cache_is_never_used(
    run: Run, hub_server: HubServer, tmp_path: Path, lfs: tuple[str, ...], as_plain_file: bool
) -> None:
    hub_server.lfs = lfs
    first = run("header")
    path = cache_of(tmp_path) / "snapshots" / COMMIT / "config.json"
    content = path.read_bytes()
    changed = content.replace(b"10000.0", b"90000.0")
    assert len(changed) == len(content)
    assert changed != content
    if as_plain_file:
        path.unlink()
    path.write_bytes(changed)
    for verb in ("header", "checkpoint"):
        out = run(verb, offline=True)
        assert out["error"] == "InputError"
        assert f"config.json in the Hugging Face cache is not what commit {COMMIT[:12]} holds" in out["text"]
        assert "run once without --offline" in out["text"]
    assert path.read_bytes() == changed
    assert run("header") == first
    assert path.read_bytes() == content
    assert run("header", offline=True) == first


def test_no_access_without_a_token(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.required_token = TOKEN
    out = run("header")
    assert out["error"] == "InputError"
    assert "no such repository, or you may not see it (HTTP 401)" in out["text"]
    assert "set HF_TOKEN" in out["text"]
    wrong = run("header", HF_TOKEN=WRONG_TOKEN)
    assert "HF_TOKEN is set: check that it is valid" in wrong["text"]
    assert WRONG_TOKEN not in json.dumps(wrong)


def test_the_token_reaches_the_hub_and_not_the_storage_host(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.required_token = TOKEN
    out = run("checkpoint", HF_TOKEN=TOKEN)
    assert "error" not in out
    assert TOKEN not in json.dumps(out)
    assert {r.authorization for r in hub_server.requests if r.host == "hub"} == {f"Bearer {TOKEN}"}
    assert {r.authorization for r in hub_server.requests if r.host == "storage"} == {None}


def test_says_nothing_about_its_user(run: Run, hub_server: HubServer) -> None:
    run("checkpoint")
    agents = {re.sub(r"/[\w.]+", "", r.user_agent or "") for r in hub_server.requests}
    assert agents == {"edgec; hf_hub; python"}


def test_a_token_file_is_not_used(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_left_by_a_login")
    run("header")
    assert {r.authorization for r in hub_server.requests} == {None}


def test_gated(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.required_token = TOKEN
    hub_server.faults.gated = True
    out = run("header")
    assert out["error"] == "InputError"
    assert "restricted (HTTP 403)" in out["text"]
    assert "accept its licence" in out["text"]


def test_no_such_repository(run: Run) -> None:
    out = run("header", repo="acme/no-model")
    assert (out["error"], "no such repository" in out["text"]) == ("InputError", True)


def test_no_such_commit(run: Run) -> None:
    out = run("header", revision="f" * 40)
    assert (out["error"], "no such commit" in out["text"]) == ("InputError", True)


def test_a_branch_is_refused(run: Run, hub_server: HubServer) -> None:
    out = run("header", revision="main")
    assert (out["error"], "not a commit of 40 digits" in out["text"]) == ("InputError", True)
    assert hub_server.requests == []


def test_a_rate_limit_is_waited_for(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.answers = [(429, {"Retry-After": "1"}), (503, {})]
    assert len(run("header")["tensors"]) == 56
    assert [r.path.split("/")[1] for r in hub_server.requests[:3]] == ["api", "api", "api"]


def test_a_rate_limit_in_the_middle_of_a_download(run: Run, hub_server: HubServer) -> None:
    run("header")
    hub_server.faults.answers = [(429, {"Retry-After": "0"})]
    hub_server.faults.cut_after = [2_000_000]
    out = run("checkpoint")
    assert (Path(out["root"]) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_rate_limit_too_long_is_an_error(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.answers = [(429, {"Retry-After": "3600"})]
    out = run("header")
    assert out["error"] == "ToolError"
    assert "try again in 3600 s" in out["text"]


def test_a_hub_that_fails_is_an_error(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.answers = [(500, {})] * 4
    out = run("header")
    assert out["error"] == "ToolError"
    assert "the hub failed (HTTP 500)" in out["text"]


def test_no_connection(run: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        out = run("header", HF_ENDPOINT=f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert out["error"] == "ToolError"
    assert "no connection to the hub" in out["text"]
    assert "--offline" in out["text"]


def test_offline_without_a_cache(run: Run, hub_server: HubServer) -> None:
    out = run("header", offline=True)
    assert out["error"] == "InputError"
    assert "--offline, and the cache lacks config.json" in out["text"]
    assert f"hf download {REPO} --revision {COMMIT}" in out["text"]
    assert hub_server.requests == []


def test_offline_with_headers_only_names_the_weights(run: Run, hub_server: HubServer) -> None:
    run("header")
    hub_server.forget_requests()
    out = run("checkpoint", offline=True)
    assert "the cache lacks model.safetensors" in out["text"]
    assert hub_server.requests == []


def test_offline_with_what_another_program_downloaded(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    names = sorted(p.name for p in MODEL.iterdir() if p.suffix != ".txt")
    code = f"import huggingface_hub as h; [h.hf_hub_download('{REPO}', n, revision='{COMMIT}') for n in {names}]"
    env = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    env |= {"HF_ENDPOINT": hub_server.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    fetch = [sys.executable, "-c", code]
    snapshot = cache_of(tmp_path) / "snapshots" / COMMIT
    subprocess.run(fetch, env=env, check=True, capture_output=True)
    hub_server.forget_requests()
    out = run("checkpoint", offline=True)
    assert "error" not in out, out
    assert (out["root"], out["uri"]) == (str(snapshot), f"pkg:huggingface/{REPO}@{COMMIT}")
    assert out["files"]["model.safetensors"] == [len(WEIGHTS), f"sha256:{SHA256}"]
    assert hub_server.requests == []


def test_a_pickle_only_repository_is_refused_before_anything_is_fetched(run: Run, hub_server: HubServer) -> None:
    del hub_server.files["model.safetensors"]
    out = run("header")
    assert "pickle" in out["text"]
    assert len(hub_server.requests) == 1


def test_sharded(run: Run, hub_server: HubServer) -> None:
    shards = {
        f"model-0000{i}-of-00002.safetensors": safetensors_bytes({f"t{i}": ("F32", [1], b"\0\0\0\0")}) for i in (1, 2)
    }
    weight_map = {"t1": "model-00001-of-00002.safetensors", "t2": "model-00002-of-00002.safetensors"}
    del hub_server.files["model.safetensors"]
    index = {"model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()}
    hub_server.files |= shards | index
    out = run("checkpoint")
    assert {n: t[0] for n, t in out["tensors"].items()} == weight_map
    assert {*weight_map.values(), "model.safetensors.index.json"} < set(out["files"])
    del hub_server.files["model-00002-of-00002.safetensors"]
    assert run("checkpoint", offline=True)["tensors"] == out["tensors"]


def test_a_missing_shard_on_the_hub(run: Run, hub_server: HubServer) -> None:
    del hub_server.files["model.safetensors"]
    weight_map = {"weight_map": {"t1": "model-00001-of-00001.safetensors"}}
    hub_server.files["model.safetensors.index.json"] = json.dumps(weight_map).encode()
    out = run("header")
    assert "model-00001-of-00001.safetensors: error: the shard is missing" in out["text"]


def test_two_builds_at_once_download_once(hub_server: HubServer, run: Run, tmp_path: Path) -> None:
    run("header")
    hub_server.forget_requests()
    env = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub_server.url,
        "HOME": str(tmp_path),
    }
    command = [sys.executable, str(Path(__file__).with_name("hub_user.py")), "checkpoint", REPO, COMMIT, "online"]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [json.loads(p.communicate(timeout=60)[0]) for p in both]
    assert "error" not in outs[0]
    assert outs[0]["files"] == outs[1]["files"]
    assert sum(served(hub_server, "model.safetensors")) == len(WEIGHTS)


def test_a_full_disk(run: Run, tmp_path: Path) -> None:
    run("header")
    (cache_of(tmp_path) / "blobs" / f"{SHA256}.edgec-partial").symlink_to("/dev/full")
    out = run("checkpoint")
    assert out["error"] == "ToolError"
    assert "no space left on the disk of the Hugging Face cache" in out["text"]
    assert "HF_HOME" in out["text"]


def test_a_cache_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = run("header", HF_HOME=str(tmp_path / "file"))
    assert out["error"] == "ToolError"
    assert "the Hugging Face cache cannot be used: Not a directory" in out["text"]


def test_a_login_page_instead_of_the_hub(run: Run, hub_server: HubServer) -> None:
    hub_server.faults.answers = [(200, {"Content-Type": "text/html"})]
    out = run("header")
    assert out["error"] == "ToolError"
    assert f"what answers at {hub_server.url} is not a hub" in out["text"]


def test_offline_by_the_environment(run: Run, hub_server: HubServer) -> None:
    out = run("header", HF_HUB_OFFLINE="1")
    assert (out["error"], "HF_HUB_OFFLINE forbids connections" in out["text"]) == ("InputError", True)
    assert hub_server.requests == []


def test_a_damaged_record_only_costs_asking_again(run: Run, hub_server: HubServer, tmp_path: Path) -> None:
    first = run("header")
    (cache_of(tmp_path) / "edgec" / COMMIT / "record.json").write_bytes(
        b'{"schema": "edgec/hub-record/v1", "files": 1}'
    )
    hub_server.forget_requests()
    assert run("header") == first
    assert hub_server.requests != []
