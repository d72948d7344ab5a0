"""A config and network files small enough for tests of whole runs."""

import numpy as np

from jinv.files import write_text
from jinv.images.codec import png_bytes
from jinv.record.metrics import lines_text
from jinv.weights.file import NetworkMetadata, save_converted
from tests.networks import CLASSES

CONFIG = """
model = "tiny.safetensors"
[image]
size = 16
labels = ["cat", "ship", 1]
batch = 2
[[stages]]
size = 8
steps = 4
[[stages]]
size = 16
steps = 4
[augment.roll]
[augment.flip]
[terms.cross_entropy]
[terms.feature_statistics]
weight = 1e-2
[evaluate]
verifiers = ["other.safetensors"]
"""


def save_tiny(path, seed, classes=CLASSES, name="resnet20"):
    """A ResNet-20 file: the smallest architecture that every process can load; `one_block` is one for this process."""
    import jax
    from flax.traverse_util import flatten_dict

    from jinv.models.registry import ARCHITECTURES

    architecture = ARCHITECTURES[name]
    module = architecture.make(10)
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), np.zeros((1, architecture.min_size, architecture.min_size, 3), np.float32)
    )
    random = np.random.default_rng(seed)
    flat = {}
    for key, leaf in flatten_dict(shapes, sep="/").items():
        positive = key.endswith(("var", "scale"))
        flat[key] = random.uniform(0.5, 1.5, leaf.shape) if positive else random.normal(size=leaf.shape) * 0.1
        flat[key] = flat[key].astype(np.float32)
    metadata = NetworkMetadata(
        architecture=name, mean=architecture.mean, std=architecture.std, input_size=32, num_classes=10,
        class_names=classes, source={"file": "made up", "sha256": str(seed) * 8},
    )  # fmt: skip
    save_converted(path, flat, metadata)


def write_metrics(run, lines):
    """Make these all the lines of a run's metrics.jsonl."""
    write_text(run / "metrics.jsonl", lines_text(lines))


def under_way(run):
    """The folder of the one batch of an unfinished run that is under way."""
    (folder,) = (path for path in run.glob("units/*/*.*") if path.is_dir())
    return folder


def write_first_unit(path, labels, names, images, manifest):
    """The first batch of an unfinished run, final and published."""
    from jinv.core.pixels import to_uint8
    from jinv.images.codec import png_bytes
    from jinv.record.units import UnitRecord, check_unit, publish, write_unit

    (path / "lines").write_text("")
    pixels = to_uint8(images, manifest.model.mean, manifest.model.std)
    files = {f"images/{i:06d}_{name.replace(' ', '-')}.png": png_bytes(pixels[i]) for i, name in enumerate(names)}
    assert write_unit(path, UnitRecord(unit=0, first=0, labels=tuple(labels)), images, path / "lines", files)
    publish(path, check_unit(path, 0))
    (path / "lines").unlink()


def write_run(path, labels, names, *, batch=2, finished=True, size=(8, 6)):
    """A run's directory as `jinv synthesize` leaves it, of random images, sealed; unfinished, with its first batch alone."""
    from jinv.core.pixels import to_uint8
    from jinv.images.codec import png_bytes
    from jinv.record.directory import RunDirectory
    from jinv.record.manifest import InvertedModel, Manifest

    path.mkdir()
    run = RunDirectory(path)
    manifest = Manifest(
        model=InvertedModel(name="net", sha256="ab", mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3)),
        labels=tuple(labels), class_names=tuple(names), image_size=size,
    )  # fmt: skip
    seed = int.from_bytes(path.name.encode(), "big") % 2**32
    images = np.random.default_rng(seed).normal(size=(len(labels), *size, 3)).astype(np.float32)
    run.write_config({"model": "net", "image": {"batch": batch, "count": len(labels)}})
    if not finished:
        write_first_unit(path, labels[:batch], names[:batch], images[:batch], manifest)
        run.write_manifest(manifest)
        return images
    pixels = to_uint8(images, manifest.model.mean, manifest.model.std)
    for i, name in enumerate(names):
        run.write_image(f"images/{i:06d}_{name.replace(' ', '-')}.png", png_bytes(pixels[i]))
    np.save(path / "images.npy", images)
    run.write_manifest(manifest.model_copy(update={"finished": "now", "outputs": run.digests()}))
    return images


def write_material(path, architecture, *places, size):
    """What lines of errors are asked with: two networks, folders of a picture of every class, an empty one, and a text."""
    random = np.random.default_rng(0)
    for seed, name in enumerate(("tiny", "other")):
        save_tiny(path / f"{name}.safetensors", seed, name=architecture)
    for folder in (path / place / name for place in places for name in CLASSES):
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png_bytes(random.integers(0, 255, (size, size, 3)).astype(np.uint8)))
    (path / "empty").mkdir()
    (path / "text.txt").write_text("no picture, no network, no zip")
