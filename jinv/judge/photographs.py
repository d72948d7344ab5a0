"""A control: real images of the run's classes, judged by the same code, are the ceiling of every figure.

An image's class is its folder's, a name, synonym, synset or id; or its file's name begins with an id of four digits,
`0207_n02099601.jpg`.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from jinv.core.choices import Size
from jinv.errors import UsageError, naming
from jinv.images.codec import fit_image
from jinv.images.folder import ImageFolder, Watch, open_image_folder, unwatched
from jinv.judge.assessment import assess, recognition_of
from jinv.judge.judges import Judge, Say, find_judge, silent
from jinv.judge.picture_metrics import Metrics, picture_figures
from jinv.recipe.paths import is_onnx
from jinv.record.evaluation import Control, ControlEvaluation, Photographed
from jinv.weights.labels import find_class, folder_class

NUMBERED = re.compile(r"(\d{4})_(n\d{8})?", re.ASCII)
PROBLEM = "its class is unclear: neither is its folder a class, nor does its name begin as 0207_n02099601.jpg"


@dataclass(frozen=True)
class Photographs:
    """Real images of known classes: `names` in `folder`, and int64 `labels`, one per name.

    `size` (height, width) is what they are made before anything looks at them, None for as they are.
    """

    folder: ImageFolder
    names: tuple[str, ...]
    labels: np.ndarray
    size: Size | None = None

    def watched(self, watch: Watch) -> "Photographs":
        """The same, of whose reading `watch` is told."""
        return replace(self, folder=self.folder.watched(watch, "the real images"))

    def read(self) -> Iterator[np.ndarray]:
        """uint8 (height, width, 3), one after another.

        Raises:
          As `ImageFolder.read`; UsageError: too narrow a picture.
        """
        for name, pixels in self.folder.read(self.names):
            try:
                yield pixels if self.size is None else fit_image(pixels, self.size)
            except UsageError as error:
                raise UsageError(f"{self.folder.path}, {name}: {error}") from None

    def control(self, metrics: Metrics | None = None) -> Control:
        """What they say without any network; every picture's own value is not kept. Raises as `picture_figures`."""
        figures = picture_figures(self.read(), metrics, self.names, each=False)
        return Control(source=str(self.folder.path), pictures=figures)


def open_photographs(
    path: str | Path, class_names: Sequence[str], labels: Collection[int] | None = None, size: Size | None = None
) -> Photographs:
    """The real images of the classes `labels`, of all where that is None, in a folder or zip.

    Raises:
      UsageError: an image whose class is unclear, or none of the classes. Others as `open_image_folder`.
    """
    folder = open_image_folder(path)
    found: dict[str, int] = {}
    for name in folder.names:
        label = image_label(name, class_names)
        if label is None:
            raise UsageError(f"{path}, {name}: {PROBLEM}")
        if labels is None or label in labels:
            found[name] = label
    if not found:
        raise UsageError(f"{path}: none of its {len(folder.names)} images is of one of the run's classes")
    return Photographs(folder, tuple(found), np.fromiter(found.values(), np.int64, len(found)), size)


def image_label(name: str, class_names: Sequence[str]) -> int | None:
    """The class id of an image by its name in a folder, None where it is unclear."""
    if (label := folder_class(name, class_names)) is not None:
        return label
    numbered = NUMBERED.match(PurePosixPath(name).name)
    if numbered is None or int(numbered[1]) >= len(class_names):
        return None
    label = int(numbered[1])
    # A synset that the classes know must agree with the number; names of their own know none.
    synset = find_class(numbered[2], class_names) if numbered[2] else None
    return label if synset in (None, label) else None


def judge_photographs(classifier: Judge, photographs: Photographs) -> Photographed:
    """What a network makes of them; raises as `assess`."""
    said = assess(classifier, photographs.read(), photographs.labels, statistics=False).said
    return Photographed(count=len(said.first), **recognition_of(said)._asdict())


def evaluate_photographs(
    path: str | Path,
    verifiers: Sequence[str],
    *,
    metrics: Metrics | None = None,
    say: Say = silent,
    watch: Watch = unwatched,
) -> ControlEvaluation:
    """Let networks (names, converted files, ONNX files) judge all real images in a folder or zip; nothing is written.

    Args:
      metrics: what else is measured of them; with any, there need be no network.
      say: is told what was fetched.
      watch: is told of every image.

    Raises:
      UsageError: neither a verifier nor a metric, or as `open_photographs`. Others as `find_judge`, `judge` and `Metric.of`.
    """
    if not verifiers and not metrics:
        raise UsageError(
            f"evaluate: {path} holds images, no run: who judges them? Such as --verifier efficientnet_lite1, or a "
            "--plugin with metrics"
        )
    if not verifiers:
        # Whatever their classes are.
        folder = open_image_folder(path)
        alone = Photographs(folder, folder.names, np.zeros(0, np.int64)).watched(watch)
        return ControlEvaluation(verifiers={}, photographs=alone.control(metrics))
    found: dict[str, Photographed] = {}
    control = None
    for name in dict.fromkeys(map(str, verifiers)):
        with naming("evaluate.verifiers"):
            classifier = find_judge(name, say=say)
        photographs = open_photographs(path, classifier.class_names)
        control = control or photographs.watched(watch).control(metrics)
        found[unique_name(name, found)] = judge_photographs(classifier, photographs.watched(watch_judge(watch, name)))
    assert control is not None
    return ControlEvaluation(verifiers=found, photographs=control)


def watch_judge(watch: Watch, name: str) -> Watch:
    """The same, of the images that a judge looks at."""
    return lambda items, what, total: watch(items, f"{name} judges {what}", total)


def unique_name(name: str, taken: Mapping[str, object]) -> str:
    """A verifier given as a file goes by the file's name, unless another one already does."""
    short = Path(name).stem if name.endswith(".safetensors") or is_onnx(name) else name
    return name if short in taken else short
