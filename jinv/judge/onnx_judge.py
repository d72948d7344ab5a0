"""A classifier in ONNX as a judge: logits by onnxruntime, which is imported here alone; no features, no statistics.

The file is read once, and what runs is what its digest covers: weights in other files, inside its folder or outside, are
refused, and so are operators that onnxruntime does not bring itself.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jinv.errors import ModelMismatchError, StorageError, UnsafeInputError, UsageError, first_line
from jinv.recipe.declaration import checked
from jinv.recipe.onnx import OnnxTable
from jinv.recipe.read import read_table
from jinv.weights.labels import COUNTS, Kind, class_names, usual_ids

WITHOUT_FEATURES = "an ONNX judge gives logits alone, no features"
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
SMALLEST = 1e-30
"""A probability of 0 is one of this; its logarithm is finite."""


# Compared by identity, as a Classifier is.
@dataclass(frozen=True, eq=False)
class OnnxJudge:
    """A classifier in ONNX with the facts that were said of it; `architecture` is the file's name without its end.

    `columns` are the outputs that are classes, in the order of `class_names`.
    """

    architecture: str
    source: Mapping[str, Any] = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    table: OnnxTable
    columns: np.ndarray = field(repr=False)
    session: Any = field(repr=False)

    @property
    def input_size(self) -> int:
        """Height and width of what it is given."""
        return self.table.size

    @property
    def family(self) -> str | None:
        """The family of its architecture, None where nobody said."""
        return self.table.family

    @property
    def training(self) -> str | None:
        """Who trained it and how, None where nobody said."""
        return self.table.training

    @property
    def accuracy(self) -> float | None:
        """Its share right on real images, None where nobody said."""
        return self.table.accuracy

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """(N, classes) float64 of uint8 (N, H, W, 3) at its input size; of probabilities their logarithms.

        Raises:
          ModelMismatchError: it cannot be run on such images, or its outputs are not what was said of them.
        """
        (entry,) = self.session.get_inputs()
        values = self.preprocess(pictures).astype(DTYPES[entry.type])
        length = entry.shape[0] if isinstance(entry.shape[0], int) else len(values)
        parts = []
        for start in range(0, len(values), length):
            part = values[start : start + length]
            filled = np.concatenate([part, np.repeat(part[:1], length - len(part), axis=0)])
            parts.append(self._run(entry.name, filled)[: len(part)])
        outputs = np.concatenate(parts)[:, self.columns]
        return np.log(np.maximum(outputs, SMALLEST)) if self.table.outputs == "probabilities" else outputs

    def preprocess(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) as the network is given them: float32, in its units, layout and order of channels."""
        table = self.table
        mean, std = (np.asarray(values, np.float32)[None, None, None] for values in (table.mean, table.std))
        values = (pictures.astype(np.float32) * np.float32(table.white / 255) - mean) / std
        if table.channels == "BGR":
            values = values[..., ::-1]
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if table.layout == "NCHW" else values)

    def _run(self, name: str, values: np.ndarray) -> np.ndarray:
        file, said = self.source["file"], self.table.outputs
        try:
            (found,) = self.session.run([_output(self.session, self.table, file)], {name: values})
        except _onnxruntime_errors() as error:
            raise ModelMismatchError(
                f"{file}: cannot be run on images of {values.shape}: {first_line(error)}"
            ) from None
        outputs = np.asarray(found, np.float64).reshape(len(values), -1)
        _check_number(file, self.table, outputs.shape[1])
        unit = bool(np.isfinite(outputs).all() and (outputs > -1e-6).all() and np.abs(outputs.sum(1) - 1).max() < 1e-3)
        if unit != (said == "probabilities"):
            other = "do not sum to 1" if said == "probabilities" else "sum to 1"
            right = "logits" if said == "probabilities" else "probabilities"
            raise ModelMismatchError(f'{file}: outputs = "{said}", but they {other}: outputs = "{right}"?')
        return outputs


def load_onnx(path: str | Path, tables: Mapping[str, Mapping[str, Any]]) -> OnnxJudge:
    """The judge in an ONNX file, tried on a grey picture; `tables` are the config's `evaluate.onnx`.

    Raises:
      UsageError: nothing is said of it, or something wrong; onnxruntime is not installed.
      StorageError: no such file. UnsafeInputError: damaged, or with weights or operators from elsewhere.
      ModelMismatchError: inputs, outputs or number of classes are not what is said of them.
    """
    path = Path(path)
    table = onnx_table(path, tables)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    session = _session(path, data)
    _check_input(path, session, table)
    names, columns = _classes(table)
    digest = hashlib.sha256(data).hexdigest()
    source = {"file": str(path), "sha256": digest}
    judge = OnnxJudge(path.stem, source | {"source": source, "source_sha256": digest}, names, table, columns, session)
    judge.logits(np.full((1, table.size, table.size, 3), 128, np.uint8))
    return judge


def onnx_table(path: str | Path, tables: Mapping[str, Mapping[str, Any]]) -> OnnxTable:
    """What is said of the ONNX file: by the entry of `tables` that is called as it is, else by the TOML file beside it.

    Raises:
      UsageError: nothing is said, or something wrong. StorageError: the file beside it cannot be read.
    """
    path = Path(path)
    beside = path.with_suffix(".toml")
    if path.stem in tables:
        return checked(OnnxTable, tables[path.stem], where=f"evaluate.onnx.{path.stem}", folder=Path())
    if not path.is_file():
        raise StorageError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if not beside.exists():
        needed = ", ".join(name for name, field in OnnxTable.model_fields.items() if field.is_required())
        raise UsageError(
            f"{path}: an ONNX file does not say what it is given and what it gives; write {beside.name} beside it, or "
            f"[evaluate.onnx.{path.stem}] in the config, with {needed}"
        )
    return checked(OnnxTable, read_table(beside), where=str(beside), folder=beside.parent)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UsageError('an ONNX judge needs onnxruntime; run `pip install "jinv[onnx]"`') from None
    return onnxruntime


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    state = _onnxruntime().capi.onnxruntime_pybind11_state
    known = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*known, RuntimeError, ValueError)


def _session(path: Path, data: bytes) -> Any:
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said by the exception, in one line
    # From memory there is no folder to find further files in; this one cannot be there, and not be a link either.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null/nowhere")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _onnxruntime_errors() as error:
        said = first_line(error)
    if "external" in said.lower():
        raise UnsafeInputError(f"{path}: its weights lie in other files, which no digest covers; save it as one file")
    raise UnsafeInputError(f"{path}: onnxruntime cannot load it: {said}")


def _check_input(path: Path, session: Any, table: OnnxTable) -> None:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelMismatchError(f"{path}: {len(inputs)} inputs ({_names(inputs)}), a judge is given images alone")
    shape, kind = inputs[0].shape, inputs[0].type
    if kind not in DTYPES:
        raise ModelMismatchError(f"{path}: its input {inputs[0].name!r} is {kind}, none of {', '.join(DTYPES)}")
    sides = (3, table.size, table.size) if table.layout == "NCHW" else (table.size, table.size, 3)
    expected = ("N", *sides)
    fits = len(shape) == 4 and all(
        not isinstance(have, int) or have == want for have, want in zip(shape[1:], sides, strict=True)
    )
    if not fits:
        said = f"layout {table.layout} and size {table.size} make it {_shape(expected)}"
        raise ModelMismatchError(f"{path}: its input is {_shape(shape)}, but {said}")
    _output(session, table, str(path))


def _output(session: Any, table: OnnxTable, file: str) -> str:
    outputs = session.get_outputs()
    known = [entry.name for entry in outputs]
    if table.output is None and len(known) == 1:
        return str(known[0])
    if table.output is None:
        raise UsageError(
            f"{file}: {len(known)} outputs; write which is the classes': output = one of {_names(outputs)}"
        )
    if table.output not in known:
        raise UsageError(f"{file}: no output {table.output!r} (known: {_names(outputs)})")
    return table.output


def _classes(table: OnnxTable) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names, and the output of each: in the usual order where the names are those of a known set of classes."""
    given = table.class_names
    if isinstance(given, str):
        return class_names(given), np.arange(COUNTS[given]) + table.first_class
    kind: Kind
    for kind in ("imagenet", "cifar10", "cifar100"):
        ids = usual_ids(given, kind)
        known = [found for found in ids if found is not None]
        if sorted(known) == list(range(COUNTS[kind])):
            place = {found: index for index, found in enumerate(ids) if found is not None}
            columns = np.array([place[index] for index in range(COUNTS[kind])])
            return class_names(kind), columns + table.first_class
    return given, np.arange(len(given)) + table.first_class


def _check_number(file: str, table: OnnxTable, outputs: int) -> None:
    given = table.class_names
    wanted = table.first_class + (COUNTS[given] if isinstance(given, str) else len(given))
    if outputs != wanted:
        behind = f" behind first_class = {table.first_class}" if table.first_class else ""
        raise ModelMismatchError(f"{file}: {outputs} outputs, but class_names has {wanted - table.first_class}{behind}")


def _names(entries: Any) -> str:
    return ", ".join(repr(entry.name) for entry in entries)


def _shape(shape: Any) -> str:
    return " x ".join(str(length) if length is not None else "?" for length in shape)
