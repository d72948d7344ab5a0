"""What configs and the core choose from: plain names and sizes, without jax, so that a config is read without it."""

from typing import Literal

Size = tuple[int, int]
"""(height, width) in pixels."""

Start = Literal["image", "clean", "detail", "zoom"]
"""What a later stage makes of the image that the one before left, see `core.starts.next_start`."""

Upsample = Literal["pool", "resize", "crop"]
"""How a stage smaller than the image sees it, see `core.parameterization.staged`."""

Keep = Literal["last", "best"]
"""Which image of a stage is its result, see `core.step.Method`."""

Draw = Literal["batch", "image"]
"""What shares an augmentation's draw: the whole batch, or every image has its own."""

MemberDraw = Literal["all", "one"]
"""Which networks of a committee a step asks, see `core.committee`."""

EpsScaling = Literal["image", "none"]
"""Whether an optimizer's eps is divided by the batch, as each image's gradient of a mean is, or is the config's own number."""

Layout = Literal["flat", "imagefolder"]
"""How pictures lie in a folder: all in it, or in a folder per class, whose names are in the order of the labels."""

PictureFormat = Literal["png", "jpeg"]
"""What pictures are written as."""

Arrays = Literal["auto", "one_file", "shards"]
"""Whether a run's images in network units are one file, a file per batch with an index, or what their size suggests."""

Plan = Literal["cycle", "one_class_per_batch", "blocks"]
"""Which classes share a batch, and so its statistics, see `weights.labels.planned`."""

Precision = Literal["float32", "tf32", "bf16"]
"""The arithmetic of a run, see `models.precision`."""

Mix = Literal["none", "mixup", "cutmix"]
"""How a training picture is mixed with another one, see `training.views`."""
