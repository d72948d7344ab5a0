"""What the documents' commands find: small networks under the names that jinv knows, and files called as in the documents."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import jinv.weights.packaged as packaged
from jinv.images.codec import png_bytes
from jinv.models.architecture import EMBEDDED, IMAGENET_MEAN, IMAGENET_STD
from jinv.models.registry import ARCHITECTURES
from jinv.weights.cache import CONVERTER_VERSION, keep
from jinv.weights.file import NetworkMetadata, save_converted
from jinv.weights.labels import class_names
from tests.commands.test_submit import SBATCH
from tests.documents.blocks import ROOT
from tests.networks import CLASSES
from tests.small_runs import save_tiny

PHOTOGRAPHED = ("daisy", "volcano", "flamingo")
CIFAR_IMAGES = (
    "IMAGES",
    "TEST_IMAGES",
    "FOLDER_OR_ZIP",
    "TRAIN",
    "TEST",
    "CIFAR",
    "CIFAR10_TRAINING_IMAGES",
    "CIFAR10_TEST_IMAGES",
)
CIFAR_ZIPS = ("CIFAR", "CIFAR10_TRAINING_IMAGES", "CIFAR10_TEST_IMAGES")
NETWORKS = ("resnet20.safetensors", "single_step.safetensors", "resnet56.safetensors", "FILE")
CHECKPOINTS = ("resnet50.pth", "resnet20-12fca82f.th", "resnet20_cifar10_linf8.pt", "resnet56-4bfd9763.th")
CONFIG = """
model = "efficientnet_lite0"
[image]
size = 16
labels = ["daisy", "volcano"]
[[stages]]
size = 16
steps = 2
[terms.cross_entropy]
[evaluate]
verifiers = ["squeezenet1_1_caffe"]
"""


@pytest.fixture(scope="module")
def world(one_block, tmp_path_factory):
    """A folder with everything that documents take for granted, and the small networks under the names that jinv knows."""
    folder, cache = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("cache")
    save_embedded(one_block, cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JINV_CACHE", str(cache))
        patch_packaged(patch, one_block, tmp_path_factory.mktemp("packaged"))
        patch_slurm(patch, tmp_path_factory.mktemp("bin"))
        shutil.copytree(ROOT / "configs", folder / "configs")
        for seed, name in enumerate(NETWORKS):
            save_tiny(folder / f"{name}.safetensors", seed, name=one_block)
            (folder / f"{name}.safetensors").rename(folder / name)
        save_checkpoints(folder)
        save_judges(folder)
        save_pictures(folder)
        (folder / "CONFIG.toml").write_text(CONFIG)
        yield folder


def save_embedded(architecture, cache):
    """Networks of one block per stage, with random weights and ImageNet's classes, as the converted embedded ones."""
    entry = ARCHITECTURES[architecture]
    shapes = jax.eval_shape(entry.make(1000).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    for seed, name in enumerate(EMBEDDED):
        random = np.random.default_rng(seed)
        variables = {
            path: random.uniform(0.5, 1.5, leaf.shape)
            if path.endswith(("var", "scale"))
            else random.normal(size=leaf.shape) * (2 / max(np.prod(leaf.shape[:-1]), 1)) ** 0.5
            for path, leaf in flatten_dict(shapes, sep="/").items()
        }
        metadata = NetworkMetadata(
            architecture=architecture,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            input_size=entry.input_size,
            num_classes=1000,
            source={"file": name, "sha256": f"{seed:064x}"},
            class_names=class_names("imagenet"),
        )
        path = cache / f"{name}-{EMBEDDED[name].sha256[:16]}-v{CONVERTER_VERSION}.safetensors"
        save_converted(path, {key: value.astype(np.float32) for key, value in variables.items()}, metadata)
        keep(path)  # else it would count as somebody else's


def patch_packaged(patch, architecture, folder):
    """Small networks in place of the packaged ones; their records are the real ones."""
    for seed, name in enumerate(tuple(packaged.PACKAGED), 10):
        shutil.copytree(packaged.packaged_training(name), folder / name)
        network = folder / name / "model.safetensors"
        save_tiny(network, seed, name=architecture)
        patch.setitem(packaged.PACKAGED, name, hashlib.sha256(network.read_bytes()).hexdigest())
    patch.setattr(packaged, "FOLDER", folder)


def patch_slurm(patch, folder):
    """Stand-ins for SLURM's programs on the path, which take a job and never begin it."""
    for name, text in (("sbatch", SBATCH), ("srun", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def save_checkpoints(folder):
    """PyTorch files of a CIFAR ResNet-20 under the names that documents have."""
    from tests.converter.checkpoint_files import save, state

    for name in CHECKPOINTS:
        save(state(), folder / name)


def save_judges(folder):
    """ONNX classifiers that see the mean colour alone."""
    from tests.judge.test_onnx_judge import network, table

    names = {"judge": class_names("imagenet"), "resnet8_cifar10": CLASSES}
    for name, classes in names.items():
        model = network(classes=len(classes), size=6)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        (folder / f"{name}.toml").write_text(table(names=list(classes)))
    model = network(classes=10, size=32)  # of the size that configs/beyond/terms.toml says of it
    for name in ("models", "docs/gallery"):
        (folder / name).mkdir(parents=True)
    (folder / "models/resnet8_cifar10.onnx").write_bytes(model.SerializeToString())


def save_pictures(folder):
    """Random pictures by class: CIFAR's, in folders and zips, and ImageNet's photographs."""
    random = np.random.default_rng(0)

    def write(root, classes, size):
        for name in classes:
            (root / name).mkdir(parents=True)
            for i in range(4):
                pixels = random.integers(0, 256, size=(size, size, 3)).astype(np.uint8)
                (root / name / f"{i}.png").write_bytes(png_bytes(pixels))

    for name in CIFAR_IMAGES:
        write(folder / name, CLASSES, 32)
    for name in CIFAR_ZIPS:
        zip_of(folder / name, folder / f"{name}.zip")
    write(folder / "photographs", PHOTOGRAPHED, 40)
    for name in ("PHOTOS.zip", "PHOTOGRAPHS.zip"):
        zip_of(folder / "photographs", folder / name)
    photograph = (folder / "photographs/daisy/0.png").read_bytes()
    for name in ("photo.png", "GOLDEN_RETRIEVER.jpg"):
        (folder / name).write_bytes(photograph)


def zip_of(folder: Path, path: Path):
    """A folder as a zip."""
    with zipfile.ZipFile(path, "w") as file:
        for picture in sorted(folder.rglob("*.png")):
            file.write(picture, picture.relative_to(folder))
