"""From a checkpoint file to a converted one: read, choose, recognise, check, rename, save; nothing is executed."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jinv.errors import ModelMismatchError, UnsafeInputError, UsageError, legible, naming_option, shorten
from jinv.files import check_writable
from jinv.models.architecture import Architecture
from jinv.models.classifier import Clamp, family_name
from jinv.models.origins import PAPERS, Origin, origin_of
from jinv.models.registry import get_architecture
from jinv.recipe.paths import CHECKPOINT_SUFFIXES
from jinv.weights.file import NetworkMetadata, save_converted
from jinv.weights.labels import class_names, read_label_file, usual_ids
from jinv_convert.families.rules import HEADS, alike
from jinv_convert.options import ConversionOptions as ConversionOptions
from jinv_convert.published import promised_sha256
from jinv_convert.reader import Checkpoint, read_checkpoint
from jinv_convert.renaming import Renamed, rename
from jinv_convert.same_names import doubts_of, notes_of
from jinv_convert.state_dict import StateDict, select_state_dict

RGB = tuple[float, ...]


AS_IT_IS = ConversionOptions()
MAXIMUM_TRAINING = 80


@dataclass(frozen=True)
class ConversionReport:
    """What was converted: `location` says which tensors of the file, `preprocessing` where mean and std come from."""

    architecture: str
    num_classes: int
    location: str
    container: str
    mean: RGB
    std: RGB
    preprocessing: str
    clamp: Clamp
    tensors: int
    parameters: int
    source_sha256: str
    output: Path
    training: str | None
    origin: Origin | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def convert_checkpoint(
    checkpoint_path: str | Path, out_path: str | Path, options: ConversionOptions = AS_IT_IS
) -> ConversionReport:
    """Convert a checkpoint; `out_path` appears whole or not at all, and may be the checkpoint itself.

    Raises:
      UsageError: options that contradict each other, labels that are not one for every output.
      UnsafeInputError: an unsafe or malformed file, or not the published one that its name says.
      ModelMismatchError: the tensors are not those of one known network.
      StorageError: a missing file, an output that cannot be written.
    """
    given = _given_normalizer(options.mean, options.std)
    _check(options)
    out_path = _check_output(out_path)
    names = _read_labels(options.labels)
    checkpoint = read_checkpoint(checkpoint_path, check_crc=options.check_crc)
    suspicions = _check_digest(checkpoint, options.unverified)
    # What is fetched by name and is another file after all has another origin too.
    origin = origin_of(checkpoint.sha256) or (None if suspicions else options.origin)
    training = _training(checkpoint, options.training, origin)
    state = select_state_dict(checkpoint, options.select, options.strip)
    renamed = rename(checkpoint, state, options)
    known = renamed.architecture
    (mean, std), preprocessing = _normalizer(checkpoint, state, known, given)
    classes = renamed.num_classes
    names, about_names = _class_names(known, classes, names, options.labels)
    notes = [*state.notes, *renamed.findings.notes, *_untold(renamed, preprocessing, options, origin)]
    doubts = [*renamed.findings.warnings, *_doubts(state, options, renamed), *about_names]
    warnings = [*suspicions, *checkpoint.warnings, *doubts]
    metadata = NetworkMetadata(
        architecture=known.name,
        mean=mean,
        std=std,
        input_size=known.input_size,
        num_classes=classes,
        source=_source(checkpoint, state, options.strip) | _provenance(known, origin),
        class_names=names,
        clamp=options.clamp,
        notes=[*notes, *(f"warning: {warning}" for warning in warnings)],
        training=training,
    )
    save_converted(out_path, renamed.variables, metadata)
    return ConversionReport(
        architecture=known.name,
        num_classes=classes,
        location=state.location,
        container=checkpoint.container,
        mean=mean,
        std=std,
        preprocessing=preprocessing,
        clamp=options.clamp,
        tensors=len(renamed.variables),
        parameters=sum(array.size for name, array in renamed.variables.items() if name.startswith("params/")),
        source_sha256=checkpoint.sha256,
        output=out_path,
        training=training,
        origin=origin,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _check(options: ConversionOptions) -> None:
    if options.architecture is not None:
        with naming_option("--architecture"):
            get_architecture(options.architecture)
    if options.num_classes is not None and options.num_classes < 1:
        raise UsageError(f"--num-classes {options.num_classes}: at least 1")


def _check_output(path: str | Path) -> Path:
    path = check_writable(path)
    if path.suffix in CHECKPOINT_SUFFIXES and path.suffix != ".safetensors":
        raise UsageError(f"{path}: named like a checkpoint, which it would replace; call it {path.stem}.safetensors")
    return path


def _given_normalizer(mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[RGB, RGB] | None:
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UsageError("--mean and --std belong together")
    for option, values, lowest in (("--mean", mean, 0.0), ("--std", std, math.ulp(0.0))):
        if len(values) != 3 or not all(math.isfinite(value) and lowest <= value <= 1 for value in values):
            shown = " ".join(f"{value:g}" for value in values)
            raise UsageError(f"{option} {shown}: three numbers between 0 and 1, in units where white is 1")
    return tuple(map(float, mean)), tuple(map(float, std))


def _normalizer(
    checkpoint: Checkpoint, state: StateDict, architecture: Architecture, given: tuple[RGB, RGB] | None
) -> tuple[tuple[RGB, RGB], str]:
    """(mean, std) and where they come from; what the file itself says is used once and never overruled."""
    if state.normalizer and given and not np.allclose(state.normalizer, given, rtol=1e-6):
        raise ModelMismatchError(
            f"{checkpoint.path}: --mean and --std differ from the normalizer inside the file, "
            f"{_numbers(state.normalizer[0])} and {_numbers(state.normalizer[1])}; leave them out"
        )
    if state.normalizer:
        return state.normalizer, "the file's own normalizer"
    if given:
        return given, "--mean and --std"
    return (architecture.mean, architecture.std), f"{architecture.name}'s usual"


def _untold(renamed: Renamed, preprocessing: str, options: ConversionOptions, origin: Origin | None) -> list[str]:
    """Notes on what was left out or taken for granted because the file says nothing of it."""
    architecture, notes = renamed.architecture, []
    if unread := renamed.unread:
        parts = ", ".join(dict.fromkeys(name.split(".", 1)[0] for name in unread))
        notes.append(f"left out {len(unread)} tensors that no classification reads ({parts})")
    if architecture.class_names in ("cifar10", "cifar100") and preprocessing.endswith("usual"):
        notes.append(
            "the file does not say how pixels were standardised, and CIFAR's repositories differ: --mean and --std do "
            "(RobustBench's networks take pixels as they are, --mean 0 0 0 --std 1 1 1)"
        )
    classes = renamed.num_classes
    if origin is None and options.architecture is None:
        own = not preprocessing.endswith("usual")
        told = notes_of(architecture, classes, own_normalizer=own)
        notes += [note for note in told if options.labels is None or "--labels" not in note]
    if options.labels is not None:
        return notes
    if architecture.class_names == "cifar100" and options.num_classes is None:
        notes.append("100 outputs were taken for CIFAR-100's classes in their usual order; --labels FILE names others")
    elif classes and classes != architecture.num_classes:
        known = f" ({HEADS[classes]})" if classes in HEADS else ""
        notes.append(f"{classes} outputs{known}, which are numbered: --labels FILE names them")
    return notes


def _other_reading(taken: str, other: Architecture) -> str:
    difference = other.alike.difference if other.alike else ""
    return f"{other.name} ({difference}) has the same names and shapes; taken for {taken}, see --architecture"


def _doubts(state: StateDict, options: ConversionOptions, renamed: Renamed) -> list[str]:
    ignored, doubts = renamed.ignored, []
    if state.normalizer and (min(state.normalizer[0]) < 0 or max(map(max, state.normalizer)) > 1):
        doubts.append("the file's normalizer is not in units where white is 1")
    if state.clamps and options.clamp is False:
        doubts.append(
            "the robustness package clips pixels to [0, 1] before this network; converted without (see --clamp)"
        )
    doubts += doubts_of(renamed.architecture, renamed.num_classes)
    if ignored:
        doubts.append(f"ignored {len(ignored)} tensors that the network does not have, such as {shorten(ignored[0])!r}")
    if options.architecture is None:
        doubts += [_other_reading(renamed.architecture.name, other) for other in alike(renamed.architecture.name)]
    return doubts


def _check_digest(checkpoint: Checkpoint, unverified: bool) -> list[str]:
    """A file that is called as a published one is must be that one, or be asked for in spite of it."""
    name = os.path.basename(checkpoint.path)
    promised = promised_sha256(name)
    if checkpoint.sha256.startswith(promised):
        return []
    found = f"its sha256 {checkpoint.sha256} does not begin with {promised}, as that of the published {name} does"
    if not unverified:
        raise UnsafeInputError(f"{checkpoint.path}: {found}; rename it, or convert it with --unverified")
    return [found]


def _training(checkpoint: Checkpoint, stated: str | None, known: Origin | None) -> str | None:
    """Who trained the network: known by the file's digest or published name, or stated."""
    if stated is not None and not (stated.strip() and stated.isprintable() and len(stated) <= MAXIMUM_TRAINING):
        raise UsageError(f"--training {stated!r:.100}: a name of 1 to {MAXIMUM_TRAINING} printable characters")
    if known is None:
        return stated
    if stated not in (None, known.training):
        raise UsageError(f"--training {stated}: {checkpoint.path} is of {known.training}; leave it out")
    return known.training


def _read_labels(path: str | Path | None) -> tuple[str, ...] | None:
    with naming_option("--labels"):
        return read_label_file(path) if path is not None else None


def _class_names(
    architecture: Architecture, classes: int, given: tuple[str, ...] | None, labels: str | Path | None
) -> tuple[tuple[str, ...] | None, list[str]]:
    """The outputs' names, and what is doubtful: a checkpoint says nothing of the order of its classes."""
    kind = architecture.class_names
    if given is None:
        return (class_names(kind) if kind and classes == architecture.num_classes else None), []
    if len(given) != classes:
        raise UsageError(f"--labels: {labels}: {len(given)} names, but the network has {classes} outputs")
    if kind is None or classes != architecture.num_classes:
        return given, []
    usual, ids = class_names(kind), usual_ids(given, kind)
    if ids == list(range(classes)):
        return usual, []
    moved = [i for i, found in enumerate(ids) if found not in (i, None)]
    warnings = []
    if unknown := [name for name, found in zip(given, ids, strict=True) if found is None]:
        warnings.append(
            f"{len(unknown)} of {classes} names in {labels} are not {kind}'s, such as {shorten(unknown[0])!r}"
        )
    if moved:
        place = f"output {moved[0]} is {shorten(given[moved[0]])!r}, usually {usual[moved[0]]!r}"
        warnings.append(f"{len(moved)} classes are not in {kind}'s usual order ({place}); that of {labels} is kept")
    return given, warnings


def _provenance(architecture: Architecture, origin: Origin | None) -> dict[str, object]:
    """Licence, paper, published accuracy and how its images were prepared, as far as they are known."""
    known: dict[str, object] = {"paper": PAPERS.get(family_name(architecture.family))}
    if origin:
        preparation = origin.preparation._asdict() if origin.preparation else {}
        known |= {"license": origin.license, "accuracy": origin.accuracy} | preparation
    return {key: value for key, value in known.items() if value is not None}


def _source(checkpoint: Checkpoint, state: StateDict, strip: str | None) -> dict[str, object]:
    return ({"strip": strip} if strip is not None else {}) | {
        "file": legible(os.path.basename(checkpoint.path)),
        "sha256": checkpoint.sha256,
        "container": checkpoint.container,
        "location": state.location,
        "inert": list(checkpoint.opaque[:50]),
    }


def _numbers(values: RGB) -> str:
    return " ".join(f"{value:g}" for value in values)
