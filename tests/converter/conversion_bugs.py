"""Wrong conversions of networks whose last layer is square: what each bug makes of which tensors."""

from typing import NamedTuple

import ml_dtypes
import numpy as np


class Places(NamedTuple):
    """Where a network is broken: two kernels (3, 3, 32, 32), a norm before or behind one, two blocks alike, the last layer."""

    conv: str
    neighbour: str
    norm: str
    blocks: tuple[str, str]
    head: str


RESNET20 = Places(
    "params/layer2_1/conv1/kernel", "params/layer2_1/conv2/kernel", "layer2_1/bn1", ("layer1_1/", "layer1_2/"), "linear"
)
WIDE = Places(
    "params/block2_layer_1/conv1/kernel",
    "params/block2_layer_1/conv2/kernel",
    "block2_layer_1/bn1",
    ("block1_layer_0/", "block1_layer_1/"),
    "fc",
)
CONV, HEAD = RESNET20.conv, f"params/{RESNET20.head}/kernel"
SCALE, VAR = f"params/{RESNET20.norm}/scale", f"batch_stats/{RESNET20.norm}/var"
EPSILON = 1e-5


def one(path, change):
    """A bug in one tensor."""
    return lambda v: {path: change(v[path])}


def swap(a, b):
    return lambda v: {a: v[b], b: v[a]}


def permuted(axis, first, second):
    def change(array):
        order = np.arange(array.shape[axis])
        order[[first, second]] = order[[second, first]]
        return array.take(order, axis)

    return change


def element(change):
    """A bug in one element, the middle one."""

    def changed(array):
        array = array.copy()
        array.flat[array.size // 2] = change(array.flat[array.size // 2])
        return array

    return changed


def swapped_blocks(first, second):
    def change(v):
        swapped = {name: name.replace(first, "?").replace(second, first).replace("?", second) for name in v}
        return {name: v[other] for name, other in swapped.items() if name != other}

    return change


def quantized(array):
    step = np.abs(array).max() / 127
    return (np.rint(array / step) * step).astype(np.float32)


def bugs_at(places):
    """Name -> a function from all tensors to those that are wrong."""
    conv, neighbour, norm = places.conv, places.neighbour, places.norm
    mean, var = f"batch_stats/{norm}/mean", f"batch_stats/{norm}/var"
    scale, bias = f"params/{norm}/scale", f"params/{norm}/bias"
    head, head_bias = f"params/{places.head}/kernel", f"params/{places.head}/bias"
    return {
        "kernel height and width transposed": one(conv, lambda k: k.transpose(1, 0, 2, 3)),
        "kernel flipped (convolution for correlation)": one(conv, lambda k: k[::-1, ::-1]),
        "kernel flipped left to right": one(conv, lambda k: k[:, ::-1]),
        "inputs and outputs of a square kernel swapped": one(conv, lambda k: k.transpose(0, 1, 3, 2)),
        "strides ignored: OIHW bytes read as HWIO": one(conv, lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape)),
        "two output channels exchanged": one(conv, permuted(3, 4, 5)),
        "two input channels exchanged": one(conv, permuted(2, 4, 5)),
        "red and blue exchanged": one("params/conv1/kernel", permuted(2, 0, 2)),
        "one layer copied onto its neighbour": lambda v: {neighbour: v[conv]},
        "two layers exchanged": swap(conv, neighbour),
        "two blocks exchanged": swapped_blocks(*places.blocks),
        "running mean and variance exchanged": swap(mean, var),
        "scale and bias exchanged": swap(scale, bias),
        "statistics of the neighbouring norm": lambda v: {var: v[var.replace("bn1", "bn2")]},
        "variance rooted": one(var, np.sqrt),
        "variance squared": one(var, np.square),
        "variance inverted and rooted": one(var, lambda v: 1 / np.sqrt(v + np.float32(EPSILON))),
        "epsilon added to the stored variance": one(var, lambda v: v + np.float32(EPSILON)),
        "variance corrected for bias once more": one(var, lambda v: v * np.float32(1024 / 1023)),
        "running mean left at zero": one(mean, np.zeros_like),
        "running variance left at one": one(var, np.ones_like),
        "scale left at one": one(scale, np.ones_like),
        "bias of a norm dropped": one(bias, np.zeros_like),
        "bias of the last layer dropped": one(head_bias, np.zeros_like),
        "last kernel not transposed": one(head, lambda k: k.T),
        "classes shifted by one": one(head, lambda k: np.roll(k, 1, axis=1)),
        "one tensor through float16": one(conv, lambda k: k.astype(np.float16).astype(np.float32)),
        "one tensor through bfloat16": one(conv, lambda k: k.astype(ml_dtypes.bfloat16).astype(np.float32)),
        "one tensor quantized to 8 bits": one(conv, quantized),
        "one norm through float16": one(scale, lambda s: s.astype(np.float16).astype(np.float32)),
        "one kernel scaled by 1 + 1e-6": one(conv, lambda k: k * np.float32(1 + 1e-6)),
        "one element's sign": one(conv, element(lambda x: -x)),
        "one element zero": one(conv, element(lambda x: 0)),
        "one element NaN": one(conv, element(lambda x: np.nan)),
        "one element changed by a thousandth": one(conv, element(lambda x: x * 1.001)),
        "one element of a variance changed by a thousandth": one(var, element(lambda x: x * 1.001)),
        "one element changed in its last bit": one(conv, element(lambda x: np.nextafter(x, np.float32(9)))),
        "one bias changed in its last bit": one(head_bias, element(lambda x: np.nextafter(x, np.float32(9)))),
    }


BUGS = bugs_at(RESNET20)
