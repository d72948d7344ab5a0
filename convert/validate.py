"""PyTorch beside the converted network: every layer, every gradient, and the classes of real images.

The converted file is read as it lies on disk; the checkpoint goes into the torch definition by torch's own names, read
by `torch.load(weights_only=True)` where that can read it, so that nothing of the conversion judges itself.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
import torch

from jinv.errors import ModelMismatchError, UsageError, naming_option
from jinv.models.architecture import Architecture
from jinv.models.classifier import Classifier
from jinv.models.registry import ARCHITECTURES, get_architecture
from jinv.weights.file import ConvertedFile, open_converted
from jinv.weights.load import unflatten
from jinv_convert.families.rules import (
    COUNTER,
    alike,
    detect_architecture,
    expected_targets,
    family_of,
    map_state_dict,
)
from jinv_convert.parity.compare import (
    compare_networks,
    compare_operations,
    compare_prepared,
    compare_weights,
    layer_pairs,
)
from jinv_convert.parity.flax_side import FlaxNetwork, compile_ahead
from jinv_convert.parity.images import compare_classes
from jinv_convert.parity.inputs import first_pictures, make_inputs
from jinv_convert.parity.report import Agreement, ValidationReport
from jinv_convert.published import promised_sha256
from jinv_convert.reader import Checkpoint, read_checkpoint
from jinv_convert.reference import make_reference
from jinv_convert.reference.measure import load_weights
from jinv_convert.state_dict import StateDict, select_state_dict

# torchvision's auxiliary heads would be missing; its weights would be drawn with scipy's help, which takes a minute.
WITH_AUXILIARY_HEADS, WITHOUT_HEADS = ("googlenet", "inception_v3"), {"aux_logits": False, "init_weights": False}
WITHOUT_HEAD = "the network has no head: its layers, statistics and their gradients are compared, and no logits"
Progress = Callable[[str], None]
Normalizer = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation by channel, in units where white is 1."""


def validate(
    converted: str | Path,
    checkpoint: str | Path,
    *,
    images: str | Path | None = None,
    select: str | None = None,
    check_crc: bool = True,
    progress: Progress = lambda stage: None,
    seed: int = 0,
) -> ValidationReport:
    """Compare a converted file with the checkpoint that it came from; `images` is a folder or zip of pictures.

    Raises:
      UnsafeInputError, UsageError, StorageError: one of the files cannot be read at all.
      ModelMismatchError: the checkpoint is not the network that the converted file names.
    """
    start = time.monotonic()
    with naming_option("--images"):
        pictures = first_pictures(Path(images) if images else None)
    progress("reading both files")
    pair = _read_both(converted, checkpoint, select, check_crc)
    if images and pair.num_classes == 0:
        raise UsageError(f"{converted}: a network without a head has no classes to compare on images; leave them out")
    found, architecture, num_classes = pair.found, pair.architecture, pair.num_classes
    reference, definition = make_original(architecture.name, num_classes)
    reference = load_weights(reference, pair.weights)
    report = ValidationReport(
        converted=str(converted),
        checkpoint=str(checkpoint),
        architecture=architecture.name,
        reference=definition,
        read_by=pair.read_by,
        digest_problems=found.problems,
        notes=[*_notes(found, pair.source), *[WITHOUT_HEAD] * (num_classes == 0)],
    )
    report.problems += _foreign_tensors(pair) + _left_out(pair)
    mean, std = _preprocessing(pair, report)
    variables = _variables(pair)
    module, pairs = architecture.make(num_classes), layer_pairs(architecture, num_classes)
    inputs = make_inputs(architecture.input_size, architecture.min_size, pictures, mean, std, seed)
    flax = FlaxNetwork(module, variables, [layer.flax_path for layer in pairs])
    prepared = flax.prepared(architecture.min_size)
    progress("compiling")
    compile_ahead(flax, prepared, inputs)
    compare_networks(report, flax, reference, pairs, inputs, progress)
    compare_prepared(report, prepared, reference, pairs, inputs[-1], progress)
    compare_weights(report, pairs, variables, pair.weights)
    compare_operations(report, seed)
    if images:
        classifier = _classifier(pair, module, variables, (mean, std))
        normalizer = pair.state.normalizer or (mean, std)
        with _one_thread_each():
            report.agreement = compare_classes(
                classifier, Path(images), lambda pixels: _original_logits(reference, pixels, normalizer), progress
            )
        report.notes += _doubts_of_order(report.agreement, num_classes)
    report.seconds = time.monotonic() - start
    return report


@dataclass(frozen=True)
class _Pair:
    """Both files as read, the network that they are of, and the checkpoint's tensors under torch's own names."""

    found: ConvertedFile
    source: Checkpoint
    state: StateDict
    architecture: Architecture
    num_classes: int
    weights: dict[str, np.ndarray]
    read_by: str


def _read_both(converted: str | Path, checkpoint: str | Path, select: str | None, check_crc: bool) -> _Pair:
    try:
        found = open_converted(converted)
    except UsageError as error:
        raise UsageError(f"{error} (the converted file comes first, then its checkpoint)") from None
    source = read_checkpoint(checkpoint, check_crc=check_crc)
    state = select_state_dict(source, select, found.metadata["source"].get("strip"))
    try:
        architecture, num_classes = _architecture(found, state)
        weights, read_by = original_weights(source, state, architecture, num_classes)
    except ModelMismatchError as error:
        raise ModelMismatchError(f"{checkpoint}: {error}") from None
    return _Pair(found, source, state, architecture, num_classes, weights, read_by)


def make_original(name: str, num_classes: int) -> tuple[torch.nn.Module, str]:
    """The torch network and whose definition it is: torchvision's where it is installed and has one, else jinv's."""
    try:
        from torchvision import models
    except ImportError:
        return make_reference(name, num_classes), "jinv's torch definition"
    if name not in models.list_models() or num_classes == 0:
        return make_reference(name, num_classes), "jinv's torch definition"
    import torchvision

    bare = WITHOUT_HEADS if name in WITH_AUXILIARY_HEADS else {}
    return models.get_model(
        name, weights=None, num_classes=num_classes, **bare
    ), f"torchvision {torchvision.__version__}"


def original_weights(
    source: Checkpoint, state: StateDict, architecture: Architecture, num_classes: int
) -> tuple[dict[str, np.ndarray], str]:
    """The checkpoint's float32 tensors under torch's own names, and who read them.

    torch reads them itself where its restricted unpickler can; dill's files with lambdas it cannot.
    """
    family = family_of(architecture)
    shapes = {name: ref.shape for name, ref in state.tensors.items()}
    chosen = map_state_dict(architecture.name, shapes, ignore_extra=True, num_classes=num_classes)
    read = {name: state.tensors[name].numpy().astype(np.float32) for name in chosen}
    by_torch = _read_by_torch(source, {name: state.origins[name] for name in chosen})
    if by_torch is None:
        return {family.published_name(name): array for name, array in read.items()}, "jinv"
    for name, array in read.items():
        if not np.array_equal(array, by_torch[name], equal_nan=True):
            raise ModelMismatchError(f"jinv and torch read different values of {name!r}")
    return {family.published_name(name): by_torch[name] for name in read}, f"torch {torch.__version__} and jinv, equal"


def _read_by_torch(source: Checkpoint, origins: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if source.container == "safetensors":
                from safetensors.torch import load_file

                tree: Any = load_file(source.path)
            else:
                tree = torch.load(source.path, map_location="cpu", weights_only=True)
    except Exception:  # whatever torch does not like about the file; jinv's reader has read it already
        return None
    arrays = {}
    for name, keys in origins.items():
        value = tree
        for key in keys:
            value = value[int(key) if isinstance(value, list | tuple) else key]
        arrays[name] = value.detach().to(torch.float32).contiguous().numpy()
    return arrays


def _architecture(found: ConvertedFile, state: StateDict) -> tuple[Architecture, int]:
    """As the converted file says; where its metadata is lost, as the checkpoint's tensors say."""
    name = found.metadata["architecture"]
    known = name in ARCHITECTURES
    shapes = {key: ref.shape for key, ref in state.tensors.items()}
    try:
        detected = detect_architecture(shapes)
    except ModelMismatchError:
        # What is missing or misshapen is told better by its name, where the converted file says what to expect.
        if not known:
            raise
        detected = name
    fitting = {detected, *(other.name for other in alike(detected))}
    if known and name not in fitting and not _extra_ones_ignored(found):
        raise ModelMismatchError(f"not a {name}, as the converted file says, but {detected}")
    architecture = get_architecture(name if known else detected)
    head = f"{family_of(architecture).head}.weight"
    said = found.metadata["num_classes"]
    return architecture, shapes.get(head, (architecture.num_classes,))[0] if said is None else said


def _notes(found: ConvertedFile, source: Checkpoint) -> Sequence[str]:
    notes = []
    if (found.metadata["source"] or {}).get("sha256") != source.sha256:
        notes.append("the checkpoint is not byte for byte the file that was converted; its values are compared")
    if not source.sha256.startswith(promised := promised_sha256(Path(source.path).name)):
        notes.append(f"the checkpoint is not the published {Path(source.path).name}, whose sha256 begins {promised}")
    return notes


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """torch on one core of each of the threads that call it, which together use all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _doubts_of_order(agreement: Agreement, num_classes: int) -> list[str]:
    """Two networks can agree on every image and on the wrong names: the order of classes is nowhere in a checkpoint."""
    if agreement.correct is None or agreement.count < 100 or agreement.correct[0] > 2 * agreement.count / num_classes:
        return []
    right = f"PyTorch's network is right on {agreement.correct[0]:,} of {agreement.count:,} images, no more than chance"
    return [f"{right}: are its classes in the order of the class names? See `jinv convert --labels`"]


def _foreign_tensors(pair: _Pair) -> list[str]:
    arrays, shapes = pair.found.arrays, _shapes(pair)
    problems = [f"tensor {name} is missing" for name in shapes if name not in arrays]
    problems += [f"tensor {name} does not belong to {pair.architecture.name}" for name in arrays if name not in shapes]
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            problems.append(f"tensor {name} has shape {arrays[name].shape}, not {shape}")
    return problems


def _extra_ones_ignored(found: ConvertedFile) -> bool:
    return any("ignored" in note for note in found.metadata["notes"] or ())


def _left_out(pair: _Pair) -> list[str]:
    """Tensors may be left out only where the conversion says so, or where the family's rules do."""
    family = family_of(pair.architecture)
    names = pair.state.tensors
    published = {name: family.published_name(name) for name in names if not name.endswith(COUNTER)}
    extra = [n for n, known in published.items() if known not in pair.weights and not family.is_unread(known)]
    if not extra or _extra_ones_ignored(pair.found):
        return []
    return [f"{len(extra)} tensors of the checkpoint were left out, such as {extra[0]!r}"]


def _variables(pair: _Pair) -> dict[str, np.ndarray]:
    """Zeros for what is missing or misshapen, so that the layers before it can still be judged."""
    arrays = pair.found.arrays
    return {
        name: arrays[name] if name in arrays and arrays[name].shape == shape else np.zeros(shape, np.float32)
        for name, shape in _shapes(pair).items()
    }


def _shapes(pair: _Pair) -> dict[str, tuple[int, ...]]:
    targets = expected_targets(pair.architecture, pair.num_classes).values()
    return {target.path: tuple(shape[axis] for axis in target.transpose) for target, shape in targets}


def _preprocessing(pair: _Pair, report: ValidationReport) -> Normalizer:
    mean, std = pair.found.metadata["mean"], pair.found.metadata["std"]
    if mean is None or std is None:
        return pair.architecture.mean, pair.architecture.std
    own = pair.state.normalizer
    if own and (tuple(mean), tuple(std)) != own:
        report.problems.append(f"mean {mean} and std {std} are not the checkpoint's own, {own}")
    return tuple(mean), tuple(std)


def _classifier(
    pair: _Pair, module: nn.Module, variables: Mapping[str, np.ndarray], normalizer: Normalizer
) -> Classifier:
    return Classifier(
        architecture=pair.architecture.name,
        module=module,
        variables=unflatten(variables),
        mean=normalizer[0],
        std=normalizer[1],
        input_size=pair.architecture.input_size,
        min_size=pair.architecture.min_size,
        class_names=tuple(pair.found.metadata["class_names"] or ()),
    )


def _original_logits(reference: torch.nn.Module, pixels: np.ndarray, normalizer: Normalizer) -> np.ndarray:
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in normalizer)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # channels last, a quarter faster than a contiguous copy
    with torch.inference_mode():
        logits: torch.Tensor = reference((image - mean) / std)
        return logits.numpy()
