"""Reads grammar-made hostile pickles as a conversion does: at most 2 s of CPU and 500 MB each, one short line, no effects.

`python -m tests.converter.fuzz_pickles --count 1000000 [--seed 0] [--keep DIR]` runs long; the test suite runs 20,000.
"""

import collections
import random
import resource
import sys
import time
from pathlib import Path

import numpy as np

from jinv.errors import JinvError
from jinv_convert.families.rules import detect_architecture
from jinv_convert.reader import read_checkpoint
from jinv_convert.state_dict import select_state_dict
from jinv_convert.tensor_checks import read_weights
from tests.converter.fuzz_reader import command, legacy_bytes, zip_bytes
from tests.converter.pickle_grammar import Grammar
from tests.converter.reader_audit import watched

SECONDS = 2.0
MEGABYTES = 500
CHARACTERS = 1000
INTERNAL = (
    "TensorRef",
    "Opaque",
    "UnreadTensor",
    "Known",
    "Storage(",
    "StorageView",
    "StorageType",
    "Numpy",
    "object at 0x",
)
"""What no message may speak of."""


def convert(path: Path) -> None:
    """What a conversion does before it writes; every tensor that was chosen is read."""
    state = select_state_dict(read_checkpoint(path))
    read_weights(state.tensors)
    detect_architecture({key: ref.shape for key, ref in state.tensors.items()})


def fuzz(count: int, seed: int, folder: Path) -> collections.Counter[tuple[str, str]]:
    """Counts the outcomes of `count` programs; raises on one that breaks the promise, which stays in `folder`."""
    rng, path = random.Random(seed), folder / "hostile.pth"
    grammar, outcomes = Grammar(rng), collections.Counter[tuple[str, str]]()
    with open(path, "wb", buffering=0) as file:
        for index in range(count):
            kind, pack = rng.choice([("zip", zip_bytes), ("legacy", legacy_bytes)])
            file.seek(0)
            file.write(pack(grammar.program()))
            file.truncate()
            # The peak never falls: a file that raises it by as much as is allowed has taken that.
            peak, start = peak_megabytes(), time.process_time()
            try:
                with watched(), np.errstate(all="raise"):
                    convert(path)
                outcome = "network"
            except JinvError as error:
                outcome = f"exit {error.exit_code}"
                said = str(error).replace(str(path), "")
                assert said.isprintable() and len(said) <= CHARACTERS, said
                assert not any(word in said for word in INTERNAL), said
            seconds, grown = time.process_time() - start, peak_megabytes() - peak
            assert seconds < SECONDS, f"program {index} of seed {seed}: {seconds:.1f} s of CPU"
            assert grown < MEGABYTES, f"program {index} of seed {seed}: {grown:.0f} MB"
            outcomes[kind, outcome] += 1
    return outcomes


def peak_megabytes() -> float:
    """The most that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    command(fuzz, "pickles", __doc__)
    sys.stdout.write(f"peak {peak_megabytes():.0f} MB\n")
