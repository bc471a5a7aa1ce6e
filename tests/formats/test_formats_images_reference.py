"""The arrays of images beside those of transformers' own image processors, in the toolchain `optimum`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from image_folder import write_images

from edgec.events import silent
from edgec.formats.image_settings import preprocessor_settings
from edgec.formats.images import image_files, load_images
from edgec.toolchain.environments import find_toolchain, install, run_json

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
RESNET = {"feature_extractor_type": "ConvNextFeatureExtractor", "do_resize": True, "do_normalize": True, **IMAGENET}
PROCESSORS: list[dict[str, Any]] = [
    {"image_processor_type": "ViTImageProcessor"},
    {"feature_extractor_type": "ViTFeatureExtractor", "size": 96, "resample": 2, **IMAGENET},
    {"image_processor_type": "ViTImageProcessor", "size": {"height": 40, "width": 72}, "do_rescale": False},
    # As the resnet family on the hub has it.
    {**RESNET, "size": 48, "crop_pct": 0.875, "resample": 3},
    {**RESNET, "size": {"shortest_edge": 384}},
    {"image_processor_type": "DeiTImageProcessor", "size": 70, "crop_size": 64, **IMAGENET},
    {"image_processor_type": "DeiTImageProcessor", "size": {"height": 50, "width": 50}, "do_normalize": False},
    {"image_processor_type": "MobileNetV2ImageProcessor"},
    {"image_processor_type": "MobileNetV1ImageProcessor", "size": {"shortest_edge": 41}, "crop_size": 33},
    {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 30}, "do_center_crop": True,
     "crop_size": {"height": 37, "width": 36}, "rescale_factor": 0.0078},
    {"image_processor_type": "BitImageProcessor", "do_convert_rgb": True, "size": {"shortest_edge": 64},
     "crop_size": {"height": 56, "width": 56}},
]  # fmt: skip
SCRIPT = """
import sys

def run(request, progress):
    # Pillow of the tests: the toolchain has none, since edgec makes the arrays itself.
    sys.path.append(request["pillow"])
    import numpy, transformers
    from PIL import Image
    found = {}
    for number, document in enumerate(request["processors"]):
        name = document.get("image_processor_type") or document["feature_extractor_type"].replace(
            "FeatureExtractor", "ImageProcessor")
        processor = getattr(transformers, name).from_dict(document)
        rows = [processor(Image.open(p).convert("RGB"), return_tensors="np")["pixel_values"][0]
                for p in request["images"]]
        found[str(number)] = numpy.stack(rows).astype(numpy.float32)
    numpy.savez(request["out"], **found)
    return {"version": transformers.__version__}
"""


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_arrays_are_those_of_transformers(toolchains_root: Path, tmp_path: Path) -> None:
    environment = install(
        find_toolchain("optimum"), toolchains_root, offline=False, report=silent, log=tmp_path / "install.log"
    )
    folder = write_images(tmp_path / "images", 1)
    for number, (height, width) in enumerate([(61, 40), (300, 331), (37, 37)], 1):
        write_images(folder, 1, first=number, height=height, width=width)
    paths = image_files(folder)
    script, out = tmp_path / "processors.py", tmp_path / "arrays.npz"
    script.write_text(SCRIPT)
    request = {
        "processors": PROCESSORS,
        "images": [str(p) for p in paths],
        "pillow": str(Path(PIL.__file__).parents[1]),
        "out": str(out),
    }
    run_json(environment, script, request, timeout_s=120, log=tmp_path / "log")
    with np.load(out) as wanted:
        for number, document in enumerate(PROCESSORS):
            settings = preprocessor_settings({"preprocessor_config.json": json.dumps(document).encode()})
            got = np.stack(list(load_images(paths, settings)))
            theirs = wanted[str(number)]
            assert got.shape == theirs.shape, document
            assert float(np.abs(got - theirs).max()) < 2e-6 * max(1.0, float(np.abs(theirs).max())), document
            assert float(np.abs(theirs).max()) > 0.3, document
