"""Small random encoders of every family, saved by transformers itself in a toolchain that has the class."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder_models import write_encoder

from edgec.events import silent
from edgec.toolchain.environments import find_toolchain, install

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "models" / "docs-llama" / "calibration.txt").read_text(encoding="utf-8").splitlines()
# Weights are spread, so that layers say something; norms stay near one, so that numbers stay small.
_SAVE = """\
import json, sys, torch, transformers
name, options, folder = json.loads(sys.argv[1])
kind = getattr(transformers, name)
torch.manual_seed(0)
model = kind(kind.config_class(**options)).eval()
with torch.no_grad():
    for key, value in model.named_parameters():
        norm = "norm" in key.lower()
        value.normal_(1.0 if norm and key.endswith("weight") else 0.0, 0.1 if norm else 0.06)
        if key.startswith("classifier") and key.endswith("weight"):
            value.mul_(15)
model.save_pretrained(folder)
"""
_SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
_DISTILBERT = {"dim": 128, "hidden_dim": 256, "n_layers": 2, "n_heads": 4}
_POSITIONS = {"max_position_embeddings": 130}


@dataclass(frozen=True)
class SmallModel:
    """A class and what its config says besides sizes."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


ONE_LABEL = {"num_labels": 1}
MODELS = {
    "roberta": SmallModel("RobertaModel", {**_SIZES, **_POSITIONS, "type_vocab_size": 1}),
    "xlm-roberta": SmallModel("XLMRobertaModel", {**_SIZES, **_POSITIONS, "type_vocab_size": 1}),
    "mpnet": SmallModel("MPNetModel", {**_SIZES, **_POSITIONS}),
    "distilbert": SmallModel("DistilBertModel", {**_DISTILBERT, **_POSITIONS}),
    "nomic": SmallModel("NomicBertModel", {**_SIZES, "max_position_embeddings": 128}),
    "bert-reranker": SmallModel("BertForSequenceClassification", {**_SIZES, **_POSITIONS, **ONE_LABEL}),
    "xlm-roberta-reranker": SmallModel(
        "XLMRobertaForSequenceClassification", {**_SIZES, **_POSITIONS, "type_vocab_size": 1, **ONE_LABEL}
    ),
    "distilbert-reranker": SmallModel(
        "DistilBertForSequenceClassification", {**_DISTILBERT, **_POSITIONS, **ONE_LABEL}
    ),
}


def python_of(name: str, root: Path, tmp_path: Path) -> Path:
    """The Python of a toolchain, which is installed if it is not there."""
    return install(find_toolchain(name), root, offline=False, report=silent, log=tmp_path / "install.log").python


def write_family(folder: Path, name: str, python: Path) -> Path:
    """A checkpoint in `folder`, made by the Python of a toolchain; one that gives vectors pools by the mean."""
    write_encoder(folder, LINES[:1000])
    model = MODELS[name]
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    options = {**model.options, "vocab_size": vocabulary}
    done = subprocess.run(
        [python, "-I", "-c", _SAVE, json.dumps([model.name, options, str(folder)])],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    if "SequenceClassification" in model.name:
        (folder / "modules.json").unlink()
    return folder
