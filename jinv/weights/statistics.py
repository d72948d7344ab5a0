"""The file of recorded statistics: what real images gave in a network's layers, sealed as converted networks are.

Tensors `layers/<layer>/<field of RecordedStats>` and `colors/<field of RecordedColors>`, the latter as pixels of 0 to 1; one
text `record` says of which network and of which images. Files of format 1 have no colours, and are read too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jinv.core.types import RecordedColors, RecordedStats
from jinv.errors import UnsafeInputError, UsageError
from jinv.weights.sealed import (
    arrays_of,
    compact_json,
    is_canonical,
    metadata_sha256,
    read_file,
    read_header,
    tensor_sha256,
    write_sealed,
)

FORMAT = "2"
WITHOUT_COLORS = "1"
COLORS = {"mean": (3,), "covariance": (3, 3), "descriptor_mean": (6,), "descriptor_covariance": (6, 6), "edges": (3,)}
"""The shapes of `RecordedColors`."""

Whole = Annotated[int, Field(ge=0)]


class StatisticsRecord(BaseModel):
    """Of what the statistics are.

    model_sha256, mean, std: the network's, as a run's manifest has them. layers: names in network order, none where
    the colours alone were recorded. size: of the images, in pixels. images: how many; folder: the name of what they lay in; images_sha256: over their names and pixels.
    class_counts: images of each of the network's classes, none where classes were not told apart. quantiles: of each
    channel, 0 is none.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    architecture: str
    model_sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: tuple[str, ...]
    size: tuple[Whole, Whole]
    images: Annotated[int, Field(ge=1)]
    images_sha256: str
    folder: str
    class_counts: tuple[Whole, ...] = ()
    quantiles: Whole = 0


class Statistics(NamedTuple):
    """A file's content: each layer's statistics in network order, the images' colours, None of a file of format 1, and
    `sha256`, which covers every byte."""

    record: StatisticsRecord
    layers: dict[str, RecordedStats]
    colors: RecordedColors | None
    sha256: str


def save_statistics(
    path: str | Path, record: StatisticsRecord, layers: Mapping[str, RecordedStats], colors: RecordedColors
) -> str:
    """Write the file atomically, the same arguments to the same bytes; returns the digest that `Statistics` has.

    Raises:
      StorageError: it cannot be written.
    """
    arrays = {
        f"layers/{layer}/{field}": np.asarray(value, np.float32)
        for layer, stats in layers.items()
        for field, value in stats._asdict().items()
        if value is not None
    } | {f"colors/{field}": np.asarray(getattr(colors, field), np.float32) for field in COLORS}
    texts = {
        "jinv_statistics": FORMAT,
        "record": compact_json(record.model_dump(mode="json")),
        "sha256_of_tensors": compact_json({name: tensor_sha256(name, array) for name, array in arrays.items()}),
    }
    write_sealed(path, arrays, texts)
    return metadata_sha256(texts)


def read_statistics(path: str | Path) -> Statistics:
    """Read a file of recorded statistics.

    Raises:
      StorageError: missing or unreadable. UsageError: safetensors, but none of these. UnsafeInputError: malformed, or a
        digest or a byte of the header is not what it must be.
    """
    data = read_file(Path(path))
    start, header, texts = read_header(data, str(path))
    if "jinv_statistics" not in texts:
        raise UsageError(f"{path}: not recorded statistics; jinv record-stats MODEL IMAGES records some")
    arrays = arrays_of(header, memoryview(data)[start:], str(path))
    digest = metadata_sha256(texts)
    if digest != texts.get("sha256_of_metadata") or not is_canonical(data, start, arrays, texts):
        raise UnsafeInputError(f"{path}: its header is not what was written; the file is damaged, record it again")
    if texts["jinv_statistics"] not in (FORMAT, WITHOUT_COLORS):
        known = f"{WITHOUT_COLORS!r} and {FORMAT!r}"
        raise UnsafeInputError(f"{path}: format {texts['jinv_statistics']!r:.40}, this jinv reads {known}")
    try:
        recorded = json.loads(texts["sha256_of_tensors"])
        record = StatisticsRecord.model_validate_json(texts["record"])
    except (KeyError, ValueError, RecursionError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UnsafeInputError(f"{path}: does not say of what it is: {what!s:.100}") from None
    for name, array in arrays.items():
        if not isinstance(recorded, dict) or tensor_sha256(name, array) != recorded.get(name):
            raise UnsafeInputError(
                f"{path}: the sha256 of tensor {name} differs from the recorded one; record it again"
            )
    colors = None if texts["jinv_statistics"] == WITHOUT_COLORS else _colors(str(path), arrays)
    return Statistics(record, _layers(str(path), record, arrays, colors), colors, digest)


def _colors(path: str, arrays: Mapping[str, np.ndarray]) -> RecordedColors:
    found = {}
    for field, shape in COLORS.items():
        array = arrays.get(f"colors/{field}")
        if array is None or array.shape != shape or not np.isfinite(array).all():
            shown = "missing" if array is None else f"of shape {array.shape}, not {shape}, or not finite"
            raise UnsafeInputError(f"{path}: {field} of the colours is {shown}")
        found[field] = array.astype(np.float64)
    return RecordedColors(**found)


def _layers(
    path: str, record: StatisticsRecord, arrays: Mapping[str, np.ndarray], colors: RecordedColors | None
) -> dict[str, RecordedStats]:
    found, fields = {}, RecordedStats._fields
    for layer in record.layers:
        given = {field: arrays.get(f"layers/{layer}/{field}") for field in fields}
        shapes = _shapes(record, given)
        for field, expected in shapes.items():
            array = given[field]
            if array is None or array.shape != expected or not np.isfinite(array).all():
                shown = "missing" if array is None else f"of shape {array.shape}, not {expected}, or not finite"
                raise UnsafeInputError(f"{path}: {field} of layer {layer!r:.80} is {shown}")
            if field.endswith("var") and array.min(initial=0) < 0:
                raise UnsafeInputError(f"{path}: {field} of layer {layer!r:.80} is negative")
        found[layer] = RecordedStats(**{field: jnp.asarray(given[field]) for field in shapes})
    known = {f"layers/{layer}/{field}" for layer in record.layers for field in fields}
    known |= set() if colors is None else {f"colors/{field}" for field in COLORS}
    extra = arrays.keys() - known
    if extra:
        raise UnsafeInputError(f"{path}: {min(extra)!r:.80} is of no layer that it says to have")
    return found


def _shapes(record: StatisticsRecord, given: Mapping[str, np.ndarray | None]) -> dict[str, tuple[int, ...]]:
    """What each field of a layer must be, by the sizes of its mean and of its cells'."""
    channels, cells = (0 if given[name] is None else given[name].size for name in ("mean", "cell_mean"))  # type: ignore[union-attr]
    shapes: dict[str, tuple[int, ...]] = {"mean": (channels,), "var": (channels,)}
    shapes |= {"cell_mean": (cells,), "cell_var": (cells,)}
    classes = len(record.class_counts)
    if record.quantiles:
        shapes["quantiles"] = (record.quantiles, channels)
    if classes:
        shapes |= {"class_mean": (classes, channels), "class_var": (classes, channels)}
    if classes and record.quantiles:
        shapes["class_quantiles"] = (classes, record.quantiles, channels)
    return shapes
