"""Image classifiers as their small files describe them, and what is refused of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from classifier_models import LABELS, write_resnet, write_vit

from edgec.errors import InputError
from edgec.formats.onnx.classifier import is_classifier, read_classifier
from edgec.formats.onnx.classifier_layout import classifier_layout
from edgec.source.local import open_local


def changed(folder: Path, name: str, **values: Any) -> Path:
    """The folder with other values in a JSON file; None takes one away."""
    document = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder


def test_a_resnet_is_read_from_its_small_files(tmp_path: Path) -> None:
    header = open_local(write_resnet(tmp_path)).header
    assert is_classifier(header.config)
    found = read_classifier(header)
    assert (found.architecture, found.labels) == ("ResNetForImageClassification", LABELS)
    assert (found.shape, found.image.mode, found.image.edge) == ((1, 3, 64, 64), "crop", 73)
    # The first convolution leaves 32 x 32 pixels of 16 channels; nothing later is as large.
    assert found.activation == 16 * 32 * 32
    assert found.matrices - found.convolutions == len(LABELS) * 64
    assert found.matrices + found.vectors == sum(t.elements for t in header.tensors.values())


def test_a_vit_is_read_from_its_small_files(tmp_path: Path) -> None:
    found = read_classifier(open_local(write_vit(tmp_path)).header)
    assert (found.shape, found.image.mode, found.image.mean) == ((1, 3, 48, 48), "stretch", (0.5, 0.5, 0.5))
    assert found.convolutions == 64 * 3 * 8 * 8


def test_int8_is_planned_smaller_than_float32(tmp_path: Path) -> None:
    classifier = read_classifier(open_local(write_resnet(tmp_path, widths=(64, 128, 256))).header)
    sizes = {scheme: classifier_layout(classifier, scheme).bytes_by_type for scheme in ("fp32", "auto")}
    assert sum(sizes["auto"].values()) < 0.35 * sum(sizes["fp32"].values())
    assert "dynamic" not in {route.name for route in classifier_layout(classifier, "auto").routes}


def test_without_labels_transformers_names_are_used(tmp_path: Path) -> None:
    folder = changed(write_resnet(tmp_path), "config.json", id2label=None, num_labels=3)
    assert read_classifier(open_local(folder).header).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("config.json", {"architectures": ["SwinForImageClassification"]}, "'SwinForImageClassification' is not exp"),
        ("config.json", {"num_channels": 1}, "num_channels is 1"),
        ("config.json", {"id2label": {"0": "a", "2": "b"}}, "id2label does not name"),
        ("config.json", {"id2label": None, "num_labels": 0}, "num_labels is 0"),
        ("config.json", {"image_size": 64}, "takes 64 x 64 pixels, and preprocessor_config.json makes 48 x 48"),
        ("config.json", {"patch_size": "8"}, "patch_size is '8'"),
        ("preprocessor_config.json", {"image_processor_type": "OwlViTImageProcessor"}, "'OwlViTImageProcessor' is not"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, name: str, values: dict[str, Any], says: str) -> None:
    folder = changed(write_vit(tmp_path), name, **values)
    with pytest.raises(InputError) as caught:
        read_classifier(open_local(folder).header)
    (diagnostic,) = caught.value.diagnostics
    assert says in diagnostic.message
    assert diagnostic.hint
    assert diagnostic.place


def test_a_checkpoint_without_its_processor_is_refused(tmp_path: Path) -> None:
    folder = write_vit(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"has no preprocessor_config\.json"):
        read_classifier(open_local(folder).header)
