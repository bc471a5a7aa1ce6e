"""The families of encoders that become ONNX: their classes, the names of their numbers, what they count differently.

Rule: a class that is not here is refused; a default is that of the class in transformers, which config.json leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgec.errors import InputError

NOMIC = "nomic_bert"
_CONFIG = "config.json"
_KEYS: Mapping[str, str] = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "inner": "intermediate_size",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "types": "type_vocab_size",
}
_DEFAULTS: Mapping[str, int] = {
    "layers": 12, "width": 768, "inner": 3072, "heads": 12, "vocabulary": 30522, "positions": 512, "types": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Classes of one kind. `keys`, `defaults`: of config.json, by edgec's names; `pad_id`: where config.json has none.

    `offset`: positions are counted from the padding's id on, so that the first rows of their table are no positions;
    `buckets`: the key of the number of relative distances that each head has a bias for.
    """

    name: str
    encoders: tuple[str, ...]
    rerankers: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, int] = field(default_factory=dict)
    pad_id: int = 0
    offset: bool = False
    has_types: bool = True
    buckets: str | None = None

    def integer(self, config: Mapping[str, Any], name: str) -> int:
        """A number of the model. Raises InputError when it is none."""
        key = self.keys.get(name, _KEYS[name])
        default = self.defaults.get(name, _DEFAULTS[name])
        return positive(config, key, default)


FAMILIES = (
    Family(
        "bert",
        encoders=("BertModel", "BertForMaskedLM", "BertForPreTraining"),
        rerankers=("BertForSequenceClassification",),
    ),
    Family(
        "roberta",
        encoders=("RobertaModel", "RobertaForMaskedLM", "XLMRobertaModel", "XLMRobertaForMaskedLM"),
        rerankers=("RobertaForSequenceClassification", "XLMRobertaForSequenceClassification"),
        defaults={"vocabulary": 50265},
        pad_id=1,
        offset=True,
    ),
    Family(
        "mpnet",
        encoders=("MPNetModel", "MPNetForMaskedLM"),
        defaults={"vocabulary": 30527},
        pad_id=1,
        offset=True,
        has_types=False,
        buckets="relative_attention_num_buckets",
    ),
    Family(
        "distilbert",
        encoders=("DistilBertModel", "DistilBertForMaskedLM"),
        rerankers=("DistilBertForSequenceClassification",),
        keys={"layers": "n_layers", "width": "dim", "inner": "hidden_dim", "heads": "n_heads"},
        defaults={"layers": 6},
        has_types=False,
    ),
    Family(NOMIC, encoders=("NomicBertModel",)),
)
ARCHITECTURES = tuple(name for family in FAMILIES for name in (*family.encoders, *family.rerankers))


def family_of(config: Mapping[str, Any]) -> tuple[Family, str]:
    """The family of a model and the name of its class. Raises InputError for a class that is not exported."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    for family in FAMILIES:
        if name in family.encoders or name in family.rerankers:
            return family, str(name)
    raise InputError.of(
        f"the architecture {name!r} is not exported to ONNX by this version",
        place=_CONFIG,
        hint=f"exported are {', '.join(ARCHITECTURES)}; "
        "a model of another class, exported by other means, is taken as a graph: source: {path: model.onnx}",
    )


def positive(config: Mapping[str, Any], key: str, default: int) -> int:
    """A number of config.json. Raises InputError when it is no positive integer."""
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError.of(
            f"{key} is {value!r}, but must be a positive integer",
            place=_CONFIG,
            hint="compare with the config.json of the model's publisher",
        )
    return value


def refuse_other_labels(config: Mapping[str, Any]) -> None:
    """Raises InputError for a classifier that is no reranker: one with several labels."""
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
    if count != 1:
        raise InputError.of(
            f"the classifier has {count} labels, but a reranker has one: its score",
            place=_CONFIG,
            hint="use a cross-encoder with one label; other classifiers cannot be proven here",
        )
