"""Mutates small checkpoints and reads them: only a `JinvError` may come out, soon, and nothing may happen besides.

`python -m tests.fuzz_reader --count 1000000 [--seed 0] [--keep DIR]` runs long; the test suite runs 20,000 of the same.
"""

import argparse
import collections
import io
import pickle
import pickletools
import random
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jinv.errors import JinvError
from jinv_convert.reader import read_checkpoint
from tests.converter.reader_audit import watched
from tests.converter.reader_files import (
    FLOATS,
    MAGIC,
    PROTO2,
    STOP,
    SYSTEM,
    call,
    dictionary,
    entry,
    integer,
    name,
    sequence,
    stack_name,
    storage,
    tensor,
    text,
    write_safetensors,
)
from tests.converter.reader_trees import contents

SECONDS = 5.0
"""of CPU: no single file may take longer, however busy the machine is."""

_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62, (1 << 63) - 1]
_NUMBERS += [1 << 63, (1 << 64) - 1]
_OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]
# Whole instructions, to get past the first malformed byte.
_PIECES = [
    *(bytes([opcode]) for opcode in b"()]}tueasRbQ01N\x85\x86\x81\x93\x8f\x90\x94"),
    *(b"h\x00", b"q\x00", b"\x95" + struct.pack("<Q", 9), STOP, PROTO2),
    *(text("w"), integer(-1), integer(1 << 62), storage(), storage(legacy=True), tensor(), tensor((2,), (1,), 5)),
    *(name("os", "system"), name("mine", "Thing"), name("collections", "OrderedDict"), name("torch", "LongStorage")),
    *(stack_name("builtins", "eval"), call(name("dill._dill", "_create_function"), b"N"), sequence(b"N", b"N")),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"{", b"[", b'"', b'"w":', b"24", b"F64"),
]


def seed_pickles() -> list[bytes]:
    """Bodies of pickles, without protocol and STOP."""
    state = {"module.fc.weight": tensor(), "module.fc.bias": tensor((3,), (2,), 1), "n": tensor((), ())}
    optimizer = dictionary(
        {"lr": b"G" + struct.pack(">d", 0.1), "state": b"}" + integer(3) + tensor((6,), (1,)) + b"s"}
    )
    made = call(name("dill._dill", "_create_function"), call(name("dill._dill", "_create_code"), integer(1)), b"}")
    schedule = call(name("mine", "Schedule"), integer(3)) + dictionary({"last": integer(1)}) + b"b"
    ordered = (
        call(name("collections", "OrderedDict")) + b"(" + text("w") + tensor() + b"u" + dictionary({"m": b"N"}) + b"b"
    )
    scalar = call(
        name("numpy.core.multiarray", "scalar"),
        call(name("numpy", "dtype"), text("f8"), b"\x89", b"\x88"),
        b"C\x08" + bytes(8),
    )
    return [
        dictionary({"model": dictionary(state), "optimizer": optimizer, "lambda": made, "schedule": schedule}),
        dictionary({"state_dict": ordered, "best": scalar, "l": b"](" + integer(1) + text("é") + b"\x88e"}),
    ]


def zip_bytes(body: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip container whose checksums are right, whatever is in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("a/data.pkl", PROTO2 + body + STOP)
        archive.writestr("a/data/0", FLOATS)
        archive.writestr("a/version", b"3\n")
    return out.getvalue()


def legacy_bytes(body: bytes) -> bytes:
    """A legacy container."""
    body = body.replace(storage(), storage(legacy=True))
    return MAGIC + SYSTEM + PROTO2 + body + STOP + pickle.dumps(["0"], 2) + struct.pack("<q", 6) + FLOATS


def safetensors_bytes() -> bytes:
    """A safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        header = {"w": entry(end=16, shape=(2, 2)), "b": entry("BF16", (4,), 16, 24), "__metadata__": {"format": "pt"}}
        return write_safetensors(Path(folder) / "a", header).read_bytes()


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to four changes: bits, bytes, numbers, instructions, cuts, copies and splices."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(9)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1 and changed:
            changed[at % len(changed)] = rng.choice(_OPCODES)
        elif kind == 2:
            width = rng.choice([1, 2, 4, 8])
            number = (rng.choice(_NUMBERS) + rng.choice([-1, 0, 0, 1])) % (1 << 8 * width)
            changed[at : at + width] = number.to_bytes(width, rng.choice(["little", "little", "big"]))
        elif kind == 3:
            changed[at:at] = rng.choice(_PIECES)
        elif kind == 4:
            del changed[at : at + rng.choice([1, 2, 5, 20, 200])]
        elif kind == 5:
            start = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + rng.choice([1, 4, 30, 200])] * rng.choice([1, 1, 2, 50])
        elif kind == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            changed[at : at + rng.choice([0, 8, 50])] = other[start : start + rng.choice([4, 30, 200])]
        elif kind == 7:
            piece = rng.choice(_PIECES)
            changed[at : at + len(piece)] = piece
        else:
            del changed[at:]
    return bytes(changed)


def cases(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Mutated files without end, with the kind of container that each began as."""
    pickles = seed_pickles()
    wholes = {
        "zip": [zip_bytes(body) for body in pickles] + [zip_bytes(pickles[0], zipfile.ZIP_DEFLATED)],
        "legacy": [legacy_bytes(body) for body in pickles],
        "safetensors": [safetensors_bytes()],
    }
    everything = [data for files in wholes.values() for data in files]
    # What is mutated before it is packed gets past the checksums, to the machine and the tensors.
    packed: dict[str, Callable[[bytes], bytes]] = {"zip": zip_bytes, "legacy": legacy_bytes}
    for files in wholes.values():
        yield from (("untouched", data) for data in files)
    while True:
        kind = rng.choice(["zip", "legacy", "safetensors"])
        if kind in packed and rng.random() < 0.5:
            yield f"{kind} packed", packed[kind](mutate(rng.choice(pickles), rng, pickles))
        else:
            yield kind, mutate(rng.choice(wholes[kind]), rng, everything)


def fuzz(count: int, seed: int, folder: Path) -> collections.Counter[tuple[str, str]]:
    """Counts the outcomes of `count` mutations; raises on one that breaks the promise, which stays in `folder`."""
    rng, path = random.Random(seed), folder / "mutated.pth"
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    with open(path, "wb", buffering=0) as file:
        for index, (kind, data) in zip(range(count), cases(rng), strict=False):
            # Rewritten in place: some file systems flush a file that is emptied first.
            file.seek(0)
            file.write(data)
            file.truncate()
            start = time.process_time()  # a busy machine makes nobody's file slow
            try:
                with watched(), np.errstate(all="raise"):
                    contents(read_checkpoint(path, check_crc=index % 4 != 0))
                outcome = "read"
            except JinvError as error:
                outcome = f"exit {error.exit_code}"
                message = str(error)
                assert str(path) in message and message.isprintable() and len(message) < 2000, message
            seconds = time.process_time() - start
            assert seconds < SECONDS, f"{kind}, mutation {index} of seed {seed}: {seconds:.1f} s of CPU"
            assert kind != "untouched" or outcome == "read", "the seeds themselves are good"
            outcomes[kind, outcome] += 1
    return outcomes


def table(outcomes: collections.Counter[tuple[str, str]]) -> str:
    """Outcomes as lines."""
    return "\n".join(f"{kind:20}{outcome:10}{number:>10}" for (kind, outcome), number in sorted(outcomes.items()))


def command(
    fuzz: Callable[[int, int, Path], collections.Counter[tuple[str, str]]], what: str, text: str | None
) -> None:
    """The long run of a fuzzer."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the file that breaks the promise")
    options = parser.parse_args()
    start = time.perf_counter()
    folder = options.keep or Path(tempfile.mkdtemp(prefix=f"fuzz-{what}-"))
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = fuzz(options.count, options.seed, folder)
    sys.stdout.write(f"{table(outcomes)}\n{options.count} {what} in {time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    command(fuzz, "mutations", __doc__)
