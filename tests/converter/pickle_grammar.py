"""Pickles that are well formed to the last opcode and mean harm: every value in every place, copied and nested without end.

What mutations seldom reach: programs whose stack is right, so that functions are called, states built and trees walked.
"""

import random
import struct
from collections.abc import Callable

from jinv_convert.reader.globals import _KNOWN
from tests.converter.reader_files import integer, name, sequence, stack_name, storage, tensor, text

_SEPARATE = sorted(_KNOWN)
_CALLED = [key for key in _SEPARATE if getattr(_KNOWN[key], "call", None)]
_DANGEROUS = [
    *(("os", "system"), ("builtins", "eval"), ("posix", "popen"), ("subprocess", "Popen"), ("pydoc", "locate")),
    *(
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("numpy", "load"),
        ("operator", "attrgetter"),
        ("runpy", "run_path"),
    ),
]
_INERT = [
    *(("mine", "Thing"), ("torch.optim.adam", "Adam"), ("argparse", "Namespace"), ("pathlib", "PosixPath")),
    *(("datetime", "datetime"), ("enum", "Enum"), ("copyreg", "_reconstructor"), ("torch", "strided")),
    *(("builtins", "set"), ("builtins", "object"), ("dill._dill", "_create_function"), ("torch.nn", "Linear")),
]
_NAMES = [
    *(
        "weight",
        "bias",
        "running_mean",
        "num_batches_tracked",
        "state_dict",
        "model",
        "ema",
        "optimizer",
        "epoch",
        "acc",
    ),
    *(
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "fc.weight",
        "linear.weight",
        "__class__",
        "__dict__",
    ),
    *(
        "module.fc.weight",
        "normalizer.new_mean",
        "_metadata",
        "",
        ".",
        "a.b",
        "é",
        "\ud800",
        "\x00",
        "[red]",
        "data_ptr",
    ),
]
LONGEST = 1 << 20
"""Bytes of a program: what a file costs is to be seen beside what it holds."""
_NUMBERS = (0, 1, 2, 3, 6, 10, 64, -1, 255, 1 << 16, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 64), 1 << 200)


class Grammar:
    """Writes random programs; `depth` bounds how deep a value nests, most are far shallower."""

    def __init__(self, rng: random.Random, depth: int = 5) -> None:
        self.rng, self.depth, self.memo, self.left = rng, depth, 0, LONGEST
        # A careful program does nothing that is refused at once: it is what comes after the reading that it is for.
        self.careful = False
        self._values: tuple[tuple[int, Callable[[int], bytes]], ...] = (
            (14, self.atom),
            (6, self.items),
            (8, self.table),
            (10, self.called),
            (7, self.torch_tensor),
            (3, self.persistent),
            (3, self.instance),
            (2, self.sets),
            (4, self.again),
            (2, self.copies),
            (1, self.nested),
        )

    @property
    def names(self) -> list[str]:
        """Keys and words that a program uses."""
        return [key for key in _NAMES if key != "\ud800"] if self.careful else _NAMES

    def program(self) -> bytes:
        """One whole body, without protocol and STOP."""
        self.memo, self.left, self.careful = 0, LONGEST, self.rng.random() < 0.5
        if self.careful:
            return self.checkpoint()
        body = self.checkpoint() if self.rng.random() < 0.3 else self.value(self.depth)
        # With a tensor the storage is one that is expected.
        body = sequence(tensor(), body) if self.rng.random() < 0.8 else body
        # A value too many, or one too few: the end is part of the grammar too.
        return body + self.rng.choice([b""] * 40 + [b"0", b"(", b"N", b"1"])

    def checkpoint(self) -> bytes:
        """A dict such as training scripts save, of whatever comes."""
        keys = self.rng.sample(self.names, self.rng.randint(1, 6))
        state = self.table(2) if self.rng.random() < 0.5 else self.weights()
        rest = b"".join(text(key) + self.value(self.depth - 1) for key in keys)
        container = text(self.rng.choice([key for key in ("state_dict", "model", "net") if key not in keys]))
        return b"}(" + rest + container + state + text("the tensor") + tensor() + b"u"

    def weights(self) -> bytes:
        """Names of a network, tensors of any shape."""
        names = self.rng.sample(self.names, self.rng.randint(1, 8))
        prefix = self.rng.choice(["", "", "module.", "net.", "a" * 900 + "."])
        return b"}(" + b"".join(text(prefix + key) + self.torch_tensor(1) for key in names) + b"u"

    def value(self, depth: int) -> bytes:
        """Any value."""
        if depth <= 0 or self.left <= 0:
            return self.atom(0)
        made = self.rng.choices(self._values, [weight for weight, _ in self._values])[0][1](depth)
        self.left -= len(made)
        if self.rng.random() < 0.15 and self.memo < 250:
            made += b"q" + bytes([self.memo])
            self.memo += 1
        return made

    def values(self, depth: int, most: int = 4) -> list[bytes]:
        """Some values, seldom very many of one."""
        if self.rng.random() < 0.004:
            one = self.value(depth - 1)
            return [one] * min(self.rng.choice([500, 5_000, 20_000]), 200_000 // len(one))
        return [self.value(depth - 1) for _ in range(self.rng.randint(0, most))]

    def atom(self, depth: int) -> bytes:
        """What has no parts."""
        kind = self.rng.choice([0, 1, 2, 6, 7]) if self.careful else self.rng.randrange(9)
        if kind == 0:
            return self.rng.choice([b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f"])
        if kind == 1:
            return integer(self.rng.choice(_NUMBERS[:10] if self.careful else _NUMBERS))
        if kind == 2:
            number = self.rng.choice([0.0, 1.5, float("inf"), float("nan"), 1e308])
            return b"G" + struct.pack(">d", number)
        if kind == 3:
            raw = bytes(self.rng.randrange(256) for _ in range(self.rng.choice([0, 1, 4, 8, 16])))
            return self.rng.choice([b"C", b"U"]) + bytes([len(raw)]) + raw
        if kind == 4:
            return text("x" * self._seldom_many(1, 1_025, 100_000))
        if kind == 5:
            return text(".".join(["a"] * self._seldom_many(2, 30, 5_000)))
        if kind == 6:
            return self.function()
        return text(self.rng.choice(self.names))

    def function(self) -> bytes:
        """A global: known, inert or, now and then, dangerous."""
        which = self.rng.random()
        if self.careful:
            return name(*self.rng.choice(_INERT))
        module, attribute = self.rng.choice(_DANGEROUS if which < 0.02 else _INERT if which < 0.25 else _SEPARATE)
        return self.rng.choice([name, stack_name])(module, attribute)

    def items(self, depth: int) -> bytes:
        """A list or a tuple."""
        inside = b"(" + b"".join(self.values(depth))
        return inside + b"t" if self.rng.random() < 0.5 else b"]" + inside + b"e"

    def table(self, depth: int) -> bytes:
        """A dict; its keys are names, mostly."""
        pairs = []
        for value in self.values(depth):
            named = self.careful or self.rng.random() < 0.7
            # Twice the same key is refused: numbered ones are not.
            number = str(len(pairs)) if self.careful else ""
            pairs.append(
                (text(self.rng.choice(self.names) + number) if named else self.value(min(depth - 1, 2))) + value
            )
        return b"}(" + b"".join(pairs) + b"u"

    def called(self, depth: int) -> bytes:
        """A function called, as REDUCE or NEWOBJ, and perhaps given a state."""
        made = self._callee(depth) + sequence(*self.values(depth, most=7)) + self.rng.choice([b"R", b"R", b"\x81"])
        return made + self.value(depth - 1) + b"b" if self.rng.random() < 0.25 else made

    def _callee(self, depth: int) -> bytes:
        if self.careful:
            return self.function()
        if self.rng.random() < 0.8:
            return name(*self.rng.choice(_CALLED))
        return self.function() if self.rng.random() < 0.8 else self.value(depth - 1)

    def torch_tensor(self, depth: int) -> bytes:
        """A tensor that may or may not lie within its storage."""
        if self.careful or self.rng.random() < 0.6:
            return tensor(
                *self.rng.choice([((2, 3), (3, 1)), ((6,), (1,)), ((), ()), ((1, 2, 3), (6, 3, 1)), ((0, 4), (4, 1))])
            )
        shape, strides = (tuple(self.rng.choice(_NUMBERS[:8]) for _ in range(self.rng.randint(0, 5))) for _ in range(2))
        source = self.persistent(1) if self.rng.random() < 0.5 else None
        return tensor(shape, strides, self.rng.choice(_NUMBERS[:7]), source)

    def persistent(self, depth: int) -> bytes:
        """A storage by its id, or an id of something else."""
        if self.careful:
            return self.torch_tensor(depth)
        if self.rng.random() < 0.7:
            kind = self.rng.choice(["FloatStorage", "HalfStorage", "ComplexFloatStorage", "QInt8Storage", "NoStorage"])
            return storage(self.rng.choice("0019"), self.rng.choice(_NUMBERS), kind)
        return self.value(depth - 1) + b"Q"

    def instance(self, depth: int) -> bytes:
        """An object of somebody's class with a state."""
        return name(*self.rng.choice(_INERT)) + b")" + b"\x81" + self.value(depth - 1) + b"b"

    def sets(self, depth: int) -> bytes:
        """A set or a frozenset."""
        inside = b"(" + b"".join(self.values(depth))
        return b"\x8f" + inside + b"\x90" if self.rng.random() < 0.5 else inside + b"\x91"

    def again(self, depth: int) -> bytes:
        """Something that was there before; something that never was."""
        if not self.memo or self.careful:
            return self.atom(depth)
        return b"h" + bytes([self.rng.randrange(self.memo + (self.rng.random() < 0.02))])

    def copies(self, depth: int) -> bytes:
        """One large value, given to a function many times: what is built is far larger than what is read."""
        if self.careful or self.memo > 240:
            return self.atom(depth)
        large = b"}(" + b"".join(integer(i) + b"N" for i in range(self._seldom_many(10, 1_000, 20_000))) + b"u"
        slot, self.memo = bytes([self.memo]), self.memo + 1
        once = (
            name(*self.rng.choice(_CALLED))
            + b"h"
            + slot
            + self.rng.choice([b"\x85R", b"\x85\x81", b"h" + slot + b"\x86R"])
        )
        return b"(" + large + b"q" + slot + once * self._seldom_many(1, 50, 1_500) + b"t"

    def _seldom_many(self, *numbers: int) -> int:
        return self.rng.choices(numbers, [100, 10, 3])[0]

    def nested(self, depth: int) -> bytes:
        """Deeper than any tree, or doubled at every level."""
        if self.careful:
            return self.atom(depth)
        levels = self.rng.choice([10, 62, 63, 64, 65, 300, 3_000])
        if self.rng.random() < 0.5 or self.memo > 180:
            return b"N" + b"\x85" * levels
        made = self.value(0)
        for _ in range(min(levels, 62)):
            slot, self.memo = bytes([self.memo]), self.memo + 1
            made += b"q" + slot + b"h" + slot + b"\x86"
        return made
