"""Judges of other families on real images: as many right as was counted, by other code where there is any.

SqueezeNet on the centre 224 of 256 pixels: 607 of 1,000 and 822 among five, by a torch program too; ndf's own, which is slow,
has our logits on four photographs to 2e-5. MobileNetV2's float file: 875, and 173 of every fifth as it was made; 881 is its 8-bit
original's. ResNet-8: 7,548 of CIFAR-10's test images.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import jinv
from jinv.images.folder import open_image_folder
from jinv.judge.judge import judge
from jinv.judge.onnx_judge import load_onnx
from jinv.weights.labels import class_names, folder_class

MOBILENET = {
    "size": 224, "white": 255, "mean": [128, 128, 128], "std": [128, 128, 128], "layout": "NCHW", "channels": "RGB",
    "class_names": "imagenet", "outputs": "logits",
}  # fmt: skip
RESNET8 = MOBILENET | {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "class_names": "cifar10"}


@cache
def photographs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The centre 224 of 256 pixels, and class ids by the files' names."""
    folder = open_image_folder(path)
    pictures = np.stack([pixels[16:240, 16:240] for _, pixels in folder.read()])
    return pictures, np.array([int(Path(name).name[:4]) for name in folder.names])


@cache
def cifar10(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The test images and their class ids."""
    folder = open_image_folder(path)
    labels = [folder_class(name, class_names("cifar10")) for name in folder.names]
    return np.stack([pixels for _, pixels in folder.read()]), np.array(labels)


@pytest.fixture
def real_images(shared_data):
    """(pictures, class ids) of the photographs or of CIFAR-10's test images, or a skip."""

    def read(kind):
        path = shared_data / {"photos": "photos/imagenet_one_per_class_256.zip", "cifar10": "cifar10/test.zip"}[kind]
        if not path.is_file():
            pytest.skip(f"real images are not here ({path})")
        return (photographs if kind == "photos" else cifar10)(path)

    return read


@pytest.fixture
def network(shared_data, tmp_path_factory, monkeypatch):
    def load(name):
        if name == "squeezenet1_1_caffe":
            monkeypatch.setenv("JINV_CACHE", str(tmp_path_factory.mktemp("cache")))
            return jinv.load(name)
        pytest.importorskip("onnxruntime")
        path = shared_data / "judges" / f"{name}.onnx"
        if not path.is_file():
            pytest.skip(f"a judge in ONNX is not here ({path})")
        return load_onnx(path, {"mobilenet_v2": MOBILENET, "resnet8_cifar10": RESNET8})

    return load


def right(network, pictures, labels) -> int:
    return int((judge(network, pictures, statistics=False).logits.argmax(1) == labels).sum())


QUICK = [("squeezenet1_1_caffe", "photos", 61), ("mobilenet_v2", "photos", 84), ("resnet8_cifar10", "cifar10", 762)]
FULL = [("squeezenet1_1_caffe", "photos", 607), ("mobilenet_v2", "photos", 875), ("resnet8_cifar10", "cifar10", 7548)]


@pytest.mark.parametrize(("name", "kind", "count"), QUICK)
def test_a_judge_is_right_on_as_many_of_every_tenth_image(name, kind, count, network, real_images):
    pictures, labels = real_images(kind)
    assert abs(right(network(name), pictures[::10], labels[::10]) - count) <= 1


@pytest.mark.full
@pytest.mark.parametrize(("name", "kind", "count"), FULL)
def test_a_judge_is_right_on_as_many_real_images(name, kind, count, network, real_images):
    assert abs(right(network(name), *real_images(kind)) - count) <= 2


@pytest.mark.full
def test_mobilenet_is_right_on_as_many_of_every_fifth_photograph_as_where_it_was_made(network, real_images):
    pictures, labels = real_images("photos")
    assert right(network("mobilenet_v2"), pictures[::5], labels[::5]) == 173
