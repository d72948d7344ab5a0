"""Where weights come from: a converted file, or an embedded checkpoint that is converted once and cached."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UsageError, nearest
from jinv.recipe.paths import CHECKPOINT_SUFFIXES, ONNX_SUFFIX
from jinv.record.config import CONFIG
from jinv.record.kinds import INSTEAD, kind_of
from jinv.weights.cache import (
    CONVERTER_VERSION,
    embedded_checkpoint,
    file_sha256,
    is_kept,
    keep,
    make_cache_directory,
)
from jinv.weights.file import read_converted
from jinv.weights.packaged import PACKAGED, packaged_network

if TYPE_CHECKING:
    from jinv.models.architecture import Architecture
    from jinv.models.classifier import Classifier


def load(name_or_path: str | Path, *, networks: "Mapping[str, Architecture] | None" = None) -> "Classifier":
    """A classifier by embedded or packaged name ("efficientnet_lite0", "cifar10_resnet20"), or from a converted .safetensors file.

    `networks` are the architectures that a file may name, by default those of `jinv.models`.

    Raises:
      UsageError: an unknown name, a checkpoint that is not converted yet, weights that are not installed.
      UnsafeInputError: a digest differs from the recorded one.
      StorageError: no such file, or the cache cannot be written.
      ModelMismatchError: the tensors are not those of the architecture that the file names.
    """
    return _load_converted(_find(name_or_path), networks)


def check_file(name_or_path: str | Path, *, networks: "Mapping[str, Architecture] | None" = None) -> dict[str, Any]:
    """The metadata of a classifier's file, which is there, sound and of a known architecture; builds no network.

    Raises:
      As `load`, but for tensors of other shapes.
    """
    path = _find(name_or_path)
    metadata = read_converted(path)[1]
    _known(path, metadata["architecture"], networks)
    return metadata


def class_names_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """A converted file's class names, "class 3" and so on where it has none."""
    return tuple(metadata["class_names"] or (f"class {index}" for index in range(metadata["num_classes"])))


def _find(name_or_path: str | Path) -> Path:
    from jinv.models.architecture import EMBEDDED
    from jinv.models.registry import ARCHITECTURES

    name = str(name_or_path)
    if name in EMBEDDED:
        return _cached(name)
    path = Path(name_or_path)
    if name in PACKAGED and not path.is_file():
        return packaged_network(name)
    if path.suffix == ONNX_SUFFIX:
        raise UsageError(f"{name}: a network in ONNX can judge (evaluate.verifiers, --verifier), but not be inverted")
    if path.is_file():
        return path
    if name in ARCHITECTURES:
        raise UsageError(
            f"{name}: no embedded weights; run `jinv convert {name} {name}.safetensors` and load that file"
        )
    if path.is_dir():
        raise StorageError(f"{name}: not a file but {_directory(path)}")
    if isinstance(name_or_path, Path) or os.sep in name or path.suffix in CHECKPOINT_SUFFIXES or path.exists():
        raise StorageError(f"{name}: {'not a file' if path.exists() else 'no such file'}")
    raise UsageError(
        f"{name!r} is no embedded model and no file{nearest(name, [*EMBEDDED, *PACKAGED, *ARCHITECTURES])}; embedded: "
        f"{', '.join([*EMBEDDED, *PACKAGED])}"
    )


def _directory(path: Path) -> str:
    """What a directory is, and what of it is a network."""
    kind = kind_of(path)
    if kind == "run":
        return f"a run; the network that it inverted is the model of {path / CONFIG}"
    return f"a {kind}{INSTEAD[kind].network.format(path=path)}" if kind else "a folder; give a network's file"


def converted_file(path: str | Path) -> Path:
    """The converted file of a user's checkpoint, made once and cached under its digest; a .safetensors as it is.

    Raises:
      StorageError: no such file, or the cache cannot be written. UnsafeInputError, ModelMismatchError: as conversion.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if path.suffix == ".safetensors":
        return path

    def convert(cached: Path) -> None:
        from jinv_convert.pipeline import convert_checkpoint

        convert_checkpoint(path, cached)

    return _kept(f"{path.stem}-{file_sha256(path)[:16]}-v{CONVERTER_VERSION}.safetensors", convert)


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """{"params/a/kernel": x} -> {"params": {"a": {"kernel": x}}, "batch_stats": {}}; both collections always there."""
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = array
    return tree


def _cached(name: str) -> Path:
    from jinv.models.architecture import EMBEDDED

    checkpoint, sha256 = embedded_checkpoint(name), EMBEDDED[name][2]

    def convert(cached: Path) -> None:
        from jinv_convert.pipeline import ConversionOptions, convert_checkpoint

        convert_checkpoint(checkpoint, cached, ConversionOptions(architecture=name))

    return _kept(f"{name}-{sha256[:16]}-v{CONVERTER_VERSION}.safetensors", convert)


def _kept(name: str, convert: Callable[[Path], None]) -> Path:
    """The converted file of that name in the cache; made where it is absent, from a crashed disk, or somebody else's."""
    cached = make_cache_directory() / name
    if not is_kept(cached):
        convert(cached)
        keep(cached)
    return cached


def _load_converted(path: Path, networks: "Mapping[str, Architecture] | None") -> "Classifier":
    import jax

    from jinv.models.classifier import Classifier

    arrays, metadata = read_converted(path)
    name = metadata["architecture"]
    architecture = _known(path, name, networks)
    module = architecture.make(metadata["num_classes"])
    _check_leaves(path, name, module, architecture.min_size, arrays)
    return Classifier(
        architecture=name,
        module=module,
        variables=unflatten(jax.device_put(arrays)),  # at once: one by one takes a second
        mean=tuple(metadata["mean"]),
        std=tuple(metadata["std"]),
        input_size=metadata["input_size"],
        min_size=architecture.min_size,
        class_names=class_names_of(metadata),
        source=metadata | {"source_sha256": metadata["source"].get("sha256")},
        clamp=metadata["clamp"],
    )


def _known(path: Path, name: str, networks: "Mapping[str, Architecture] | None" = None) -> "Architecture":
    from jinv.models.registry import ARCHITECTURES

    known = ARCHITECTURES if networks is None else networks
    if name not in known:
        raise ModelMismatchError(f"{path}: architecture {name!r} is unknown to this version{nearest(name, known)}")
    return known[name]


def _check_leaves(path: Path, name: str, module: Any, size: int, arrays: Mapping[str, np.ndarray]) -> None:
    import jax
    import jax.numpy as jnp

    # Shapes alone, nothing is computed. A file that is sound by its digests can still be some other version's.
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    expected = {"/".join(str(part.key) for part in keys): leaf.shape for keys, leaf in leaves}
    wrong = [f"{key} is missing" for key in expected.keys() - arrays.keys()]
    wrong += [f"{key} does not belong" for key in arrays.keys() - expected.keys()]
    wrong += [
        f"{k} has shape {arrays[k].shape}, not {s}" for k, s in expected.items() if k in arrays and arrays[k].shape != s
    ]
    if wrong:
        raise ModelMismatchError(
            f"{path}: does not match {name}: {'; '.join(sorted(wrong)[:10])} ({len(wrong)} in all)"
        )
