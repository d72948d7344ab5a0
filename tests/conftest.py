"""Strict settings for every test: rank promotion raises, warnings are errors (pyproject), types are checked."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Tests of whole runs compile the same small programs again and again: one process leaves them for the next. The first
# process to come here, which starts the others, makes the folder and removes it.
COMPILED = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="jinv-tests-")
if COMPILED is not None:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import jax  # noqa: E402  (after its settings)

jax.config.update("jax_numpy_rank_promotion", "raise")
if COMPILED is not None:  # once more: a plugin may have imported jax before
    jax.config.update("jax_compilation_cache_dir", COMPILED)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_finish():
    """Thousands of traces live as long as a test process: garbage is looked for as the command line does, not in what is imported."""
    from jinv.commands.compilation import GENERATIONS

    gc.collect()
    gc.freeze()
    gc.set_threshold(*GENERATIONS)


def pytest_unconfigure():
    if COMPILED is not None:
        shutil.rmtree(COMPILED, ignore_errors=True)


SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real checkpoints and images beside the repository; they are never part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real checkpoints and images are not here ({SHARED_DATA})")
    return SHARED_DATA


@pytest.fixture(scope="module")
def unoptimized():
    """While a module's tests run, XLA compiles without optimization: for those of what is computed, not of its last bits.

    It pays where programs are many and run once. None of them outlives the module: elsewhere bits are compared with those
    of other processes.
    """
    from tests.compiling import without_optimization

    with without_optimization():
        yield


@pytest.fixture(scope="module")
def one_block():
    """The name of a CIFAR ResNet with one block per stage, known to this process while a module's tests run."""
    from functools import partial

    from jinv.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
    from jinv.models.registry import ARCHITECTURES
    from jinv.models.resnet_cifar import ResNetCifar

    make = partial(ResNetCifar, blocks_per_stage=1, width=4)
    entry = Architecture("one_block", make, 32, 8, IMAGENET_MEAN, IMAGENET_STD, num_classes=10, class_names="cifar10")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, entry.name, entry)
        yield entry.name


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a converted file goes."""
    return tmp_path / "out.safetensors"


@pytest.fixture
def convert(tmp_path, out):
    """Saves a tree as a training script would, to in.pth, and converts it to `out`."""
    from jinv_convert.pipeline import ConversionOptions, convert_checkpoint
    from tests.converter.checkpoint_files import save

    def convert(tree, container="zip", **options):
        return convert_checkpoint(save(tree, tmp_path / "in.pth", container), out, ConversionOptions(**options))

    return convert


@pytest.fixture
def refused(tmp_path, convert):
    """What is said of a tree that is refused with exit code 4; nothing is written."""
    from jinv.errors import ModelMismatchError

    def refused(tree, **options):
        with pytest.raises(ModelMismatchError) as caught:
            convert(tree, **options)
        assert os.listdir(tmp_path) == ["in.pth"]
        assert str(tmp_path / "in.pth") in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    return refused
