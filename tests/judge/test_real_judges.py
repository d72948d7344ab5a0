"""Judges of other families on real images: as many right as their facts say, counted by others."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import jinv
from jinv.images.folder import open_image_folder
from jinv.judge.judge import judge
from jinv.judge.onnx_judge import load_onnx

MOBILENET = {
    "size": 224,
    "white": 255,
    "mean": [128, 128, 128],
    "std": [128, 128, 128],
    "layout": "NCHW",
    "channels": "RGB",
    "class_names": "imagenet",
    "outputs": "logits",
}
RESNET8 = MOBILENET | {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "class_names": "cifar10"}
STEP = 10
"""The quick tests look at every so many images."""


@cache
def photographs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The centre 224 of 256 pixels, and class ids by the files' names."""
    folder = open_image_folder(path)
    pictures = np.stack([pixels[16:240, 16:240] for _, pixels in folder.read()])
    return pictures, np.array([int(Path(name).name[:4]) for name in folder.names])


@pytest.fixture
def photos(shared_data):
    return photographs(shared_data / "photos" / "imagenet_one_per_class_256.zip")


@pytest.fixture
def cifar10(shared_data):
    folder = open_image_folder(shared_data / "cifar10" / "test.zip")
    names = jinv.weights.labels.class_names("cifar10") if hasattr(jinv, "weights") else ()
    return folder, names


def right(network, pictures, labels):
    return int((judge(network, pictures, statistics=False).logits.argmax(1) == labels).sum())


def onnx(shared_data, name, facts):
    pytest.importorskip("onnxruntime")
    return load_onnx(shared_data / "judges" / f"{name}.onnx", {name: facts})


def test_squeezenet_recognises_photographs(photos):
    pictures, labels = photos
    assert right(jinv.load("squeezenet1_1_caffe"), pictures[::STEP], labels[::STEP]) == 0
