"""Every family from checkpoint file to logits, in both containers: reduced in `make test`, full in `make test-full`."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import torch

import jinv
from jinv.models.architecture import EMBEDDED
from jinv.models.registry import ARCHITECTURES
from jinv.weights.file import read_converted
from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
from jinv_convert.validate import validate
from tests.compiling import UNOPTIMIZED
from tests.converter.checkpoint_files import random_reference, save
from tests.converter.reduced import FULL, REDUCED, register


def assert_converts(name, tmp_path, size):
    """Recognised in both containers, the same tensors in both, and PyTorch's logits from the loaded classifier."""
    network = random_reference(name)
    digests = []
    for container, prefix in (("zip", "module."), ("legacy", "")):
        tree = {"state_dict": {prefix + key: tensor for key, tensor in network.state_dict().items()}}
        path, out = save(tree, tmp_path / "in.pth", container), tmp_path / "out.safetensors"
        report = convert_checkpoint(path, out)
        assert (report.architecture, report.container, report.warnings) == (name, container, ())
        digests.append(read_converted(out)[1]["sha256_of_tensors"])
    assert digests[0] == digests[1]
    classifier = jinv.load(out)
    size = [max(length, classifier.min_size) for length in size]
    image = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    forward = jax.jit(
        lambda variables, image: classifier.forward(variables, image).logits, compiler_options=UNOPTIMIZED
    )
    actual = np.asarray(forward(classifier.variables, image))
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(actual - expected).max() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_families_convert_from_both_containers(name, tmp_path, monkeypatch):
    register(monkeypatch)
    assert_converts(name, tmp_path, (64, 47))


@pytest.mark.parametrize("name", ["resnet50", pytest.param("densenet121", marks=pytest.mark.full)])
def test_full_networks_convert_from_both_containers(name, tmp_path):
    assert_converts(name, tmp_path, (64, 47))


MEASURE = """
import resource, sys
from jinv_convert.pipeline import convert_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert_checkpoint(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_converting_resnet50_needs_little_memory(tmp_path, container):
    path = save(random_reference("resnet50").state_dict(), tmp_path / "in.pth", container)
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "out.safetensors")]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert kilobytes * 1024 < min(500e6, 2 * path.stat().st_size + (256 << 20))


LARGE = ("wide_resnet50_4", "wrn_34_20", "wrn_70_16")


@pytest.mark.full
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.large] * (name in LARGE)) for name in FULL])
def test_every_network_is_validated_at_full_size(name, tmp_path):
    """Both containers give the same tensors, digest by digest, so that one of them stands for both."""
    state, digests = random_reference(name).state_dict(), []
    for container in ("legacy", "zip"):
        path, out = save(state, tmp_path / "in.pth", container), tmp_path / "out.safetensors"
        options = ConversionOptions(architecture=name if ARCHITECTURES[name].alike else None)
        assert convert_checkpoint(path, out, options).container == container
        digests.append(read_converted(out)[1]["sha256_of_tensors"])
    assert digests[0] == digests[1]
    report = validate(out, path)
    print(name, f"{report.seconds:.0f} s", report.worst_layers[0], report.gradients, *report.notes, sep="\n")
    assert report.passed, (report.problems, report.worst_layers[:3], report.gradients)


REAL = {
    "resnet20-12fca82f.th": ("resnet20", 8103),
    "resnet56-4bfd9763.th": ("resnet56", 8320),
    "resnet20_cifar10_linf8.pt": ("resnet20", 7195),
}


def test_real_files_convert(shared_data, tmp_path):
    for file, (architecture, _) in REAL.items():
        report = convert_checkpoint(shared_data / "checkpoints" / file, tmp_path / "out.safetensors")
        assert report.architecture == architecture and report.mean == (0.485, 0.456, 0.406)
        assert jinv.load(tmp_path / "out.safetensors").source["source_sha256"] == report.source_sha256


@pytest.mark.full
@pytest.mark.parametrize("file", REAL)
def test_real_files_agree_with_pytorch_on_ten_thousand_images(file, shared_data, tmp_path):
    checkpoint, out = shared_data / "checkpoints" / file, tmp_path / "out.safetensors"
    convert_checkpoint(checkpoint, out)
    report = validate(out, checkpoint, images=shared_data / "cifar10" / "test.zip")
    assert report.passed and report.agreement.count == 10_000 and report.agreement.different <= 1
    assert report.agreement.correct[0] == REAL[file][1]


@pytest.mark.full
@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_files_are_validated(name, tmp_path):
    from jinv.weights.cache import embedded_checkpoint

    checkpoint = embedded_checkpoint(name)
    convert_checkpoint(checkpoint, tmp_path / "out.safetensors")
    assert validate(tmp_path / "out.safetensors", checkpoint).passed
