"""Wrong conversions of a CIFAR ResNet-20 whose last layer is square: what each bug makes of which tensors."""

import ml_dtypes
import numpy as np

CONV = "params/layer2_1/conv1/kernel"  # (3, 3, 32, 32)
NEIGHBOUR = "params/layer2_1/conv2/kernel"
BN = "layer2_1/bn1"
MEAN, VAR = f"batch_stats/{BN}/mean", f"batch_stats/{BN}/var"
SCALE, BIAS = f"params/{BN}/scale", f"params/{BN}/bias"
HEAD, HEAD_BIAS = "params/linear/kernel", "params/linear/bias"
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


def swapped_blocks(v):
    first, second = "layer1_1/", "layer1_2/"
    swapped = {name: name.replace(first, "?").replace(second, first).replace("?", second) for name in v}
    return {name: v[other] for name, other in swapped.items() if name != other}


def quantized(array):
    step = np.abs(array).max() / 127
    return (np.rint(array / step) * step).astype(np.float32)


BUGS = {
    "kernel height and width transposed": one(CONV, lambda k: k.transpose(1, 0, 2, 3)),
    "kernel flipped (convolution for correlation)": one(CONV, lambda k: k[::-1, ::-1]),
    "kernel flipped left to right": one(CONV, lambda k: k[:, ::-1]),
    "inputs and outputs of a square kernel swapped": one(CONV, lambda k: k.transpose(0, 1, 3, 2)),
    "strides ignored: OIHW bytes read as HWIO": one(CONV, lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape)),
    "two output channels exchanged": one(CONV, permuted(3, 4, 5)),
    "two input channels exchanged": one(CONV, permuted(2, 4, 5)),
    "red and blue exchanged": one("params/conv1/kernel", permuted(2, 0, 2)),
    "one layer copied onto its neighbour": lambda v: {NEIGHBOUR: v[CONV]},
    "two layers exchanged": swap(CONV, NEIGHBOUR),
    "two blocks exchanged": swapped_blocks,
    "running mean and variance exchanged": swap(MEAN, VAR),
    "scale and bias exchanged": swap(SCALE, BIAS),
    "statistics of the neighbouring norm": lambda v: {VAR: v[VAR.replace("bn1", "bn2")]},
    "variance rooted": one(VAR, np.sqrt),
    "variance squared": one(VAR, np.square),
    "variance inverted and rooted": one(VAR, lambda v: 1 / np.sqrt(v + np.float32(EPSILON))),
    "epsilon added to the stored variance": one(VAR, lambda v: v + np.float32(EPSILON)),
    "variance corrected for bias once more": one(VAR, lambda v: v * np.float32(1024 / 1023)),
    "running mean left at zero": one(MEAN, np.zeros_like),
    "running variance left at one": one(VAR, np.ones_like),
    "scale left at one": one(SCALE, np.ones_like),
    "bias of a norm dropped": one(BIAS, np.zeros_like),
    "bias of the last layer dropped": one(HEAD_BIAS, np.zeros_like),
    "last kernel not transposed": one(HEAD, lambda k: k.T),
    "classes shifted by one": one(HEAD, lambda k: np.roll(k, 1, axis=1)),
    "one tensor through float16": one(CONV, lambda k: k.astype(np.float16).astype(np.float32)),
    "one tensor through bfloat16": one(CONV, lambda k: k.astype(ml_dtypes.bfloat16).astype(np.float32)),
    "one tensor quantized to 8 bits": one(CONV, quantized),
    "one norm through float16": one(SCALE, lambda s: s.astype(np.float16).astype(np.float32)),
    "one kernel scaled by 1 + 1e-6": one(CONV, lambda k: k * np.float32(1 + 1e-6)),
    "one element's sign": one(CONV, element(lambda x: -x)),
    "one element zero": one(CONV, element(lambda x: 0)),
    "one element NaN": one(CONV, element(lambda x: np.nan)),
    "one element changed by a thousandth": one(CONV, element(lambda x: x * 1.001)),
    "one element of a variance changed by a thousandth": one(VAR, element(lambda x: x * 1.001)),
    "one element changed in its last bit": one(CONV, element(lambda x: np.nextafter(x, np.float32(9)))),
    "one bias changed in its last bit": one(HEAD_BIAS, element(lambda x: np.nextafter(x, np.float32(9)))),
}
