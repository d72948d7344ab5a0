"""The processes that compute one batch together (`jax.distributed`): how they come together, and what they tell one another.

All that is said goes through an exchange: every process takes part, each says a word, each hears all. Process 0 leads.
"""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jinv.errors import JinvError, UsageError
from jinv.runs.stopping import Stop

LONGEST_WORD = 512
"""Bytes of a word: all are as long, so that one program serves every exchange."""

LARGEST_PIECE = 2**26
"""Bytes that are handed round at once."""


class Word(NamedTuple):
    """What a process says: `do` is the leader's, with what belongs to it; `code` is that of the error a process ends with."""

    do: str = ""
    number: int = 0
    stage: int = 0
    size: int = 0
    code: int = 0
    stop: bool = False
    digest: str = ""
    rate_scale: float = 1.0


def join(coordinator: str | None, processes: int | None, process: int | None, timeout: int) -> str:
    """Come together with the others, before anything else is asked of jax; returns a line that says who they are.

    Where they are not together in time jax ends the process, see `jinv.commands.supervision`.

    Args:
      coordinator: HOST:PORT of process 0; None, with the two that follow, asks jax's own detection of clusters.
      timeout: seconds.

    Raises:
      UsageError: there is no cluster that jax knows, or the address cannot be used.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would listen to SIGTERM
    # CPUs alone: two programs under way would meet the other process' in another order, and wait for ever.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=timeout)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        said = (str(error).strip() or repr(error)).partition("\n")[0][:200]
        if coordinator is None:
            raise UsageError(
                f"--distributed: jax finds no cluster here (SLURM, Open MPI, Kubernetes): {said}; "
                "say --coordinator HOST:PORT --processes N --process I"
            ) from error
        raise UsageError(f"--coordinator {coordinator}: {said}") from error
    found = "that jax found" if coordinator is None else f"at {coordinator}"
    here, all_of_them = jax.local_device_count(), jax.device_count()
    return f"process {jax.process_index()} of {jax.process_count()} {found}: {here} of {all_of_them} devices ({jax.default_backend()})"


class Job:
    """All processes, as one of them sees them. `stop` is where an end that any of them was asked for is heard."""

    def __init__(self) -> None:
        self.stop, self.over = Stop(), False
        self.index, self.processes = jax.process_index(), jax.process_count()
        devices = jax.devices()
        self._first_of = [[d.process_index for d in devices].index(process) for process in range(self.processes)]
        mesh = Mesh(np.array(devices), ("device",))
        self._each = NamedSharding(mesh, PartitionSpec("device"))
        self._gather = jax.jit(lambda rows: rows, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._any = jax.jit(lambda rows: jnp.any(rows, axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._asked: jax.Array | None = None
        self._agreed = False

    @property
    def leads(self) -> bool:
        """Whether this process is the one that decides and writes."""
        return self.index == 0

    def exchange(self, word: Word) -> list[Word]:
        """Say a word, hear everybody's. An end that one was asked for is asked of all from here on."""
        said = json.dumps(word._replace(stop=self.stop.asked)).encode()
        row = np.zeros(LONGEST_WORD, np.uint8)
        row[: len(said)] = np.frombuffer(said, np.uint8)
        rows = np.asarray(self._gather(self._rows(row)))
        words = [Word(*json.loads(rows[place].tobytes().rstrip(b"\0"))) for place in self._first_of]
        self.stop.asked = self.stop.asked or any(word.stop for word in words)
        self._asked, self._agreed = None, False
        return words

    def due(self, save: bool) -> bool:
        """Whether somebody wants the state, to save it or to end: the same answer everywhere, asked of all between two steps.

        It is the answer to what was asked one call ago, for that one is there: the device is never waited for.
        """
        if self._asked is not None and not self._agreed:
            end, saving = (bool(flag) for flag in np.asarray(self._asked))
            self.stop.asked = self.stop.asked or end
            self._agreed = end or saving
        self._asked = self._any(self._rows(np.array([self.stop.asked, save])))
        return self._agreed

    def begin(self, digest: str) -> None:
        """All are ready to compute the same.

        Raises:
          JinvError: one is not, or would compute something else; everywhere.
        """
        words = self.exchange(Word("begin", digest=digest))
        failed = next((process for process, word in enumerate(words) if word.code), None)
        other = next((process for process, word in enumerate(words) if word.digest != words[0].digest), None)
        if failed is not None:
            self.leave()
            code = words[failed].code
            raise error_of(code, f"process {failed} of the job cannot begin (exit {code}); it says why")
        if other is not None:
            self.leave()
            raise UsageError(
                f"process {other} of the job would compute something else than process 0: another config, other weights, "
                "start images or versions of jax"
            )

    def end(self, code: int = 0) -> None:
        """Tell the others that this process ends with an exit code, process 0's at any time, another's where it cannot begin."""
        if not self.over:
            self.exchange(Word("end", code=code))
            self.leave()

    def share(self, data: bytes | None, size: int) -> bytes:
        """The leader's bytes, everywhere; the others have None."""
        given = np.frombuffer(data, np.uint8) if data is not None else np.zeros(size, np.uint8)
        pieces = [given[first : first + LARGEST_PIECE] for first in range(0, size, LARGEST_PIECE)]
        return b"".join(np.asarray(multihost_utils.broadcast_one_to_all(piece)).tobytes() for piece in pieces)

    def leave(self) -> None:
        """Go apart, once all have come to the end; what this process computes then is its own."""
        self.over = True
        jax.distributed.shutdown()

    def _rows(self, own: np.ndarray) -> jax.Array:
        shape = len(self._each.mesh.devices), *own.shape
        return jax.make_array_from_callback(shape, self._each, lambda index: own[None])


def error_of(code: int, message: str) -> JinvError:
    """The error whose exit code that is."""
    kinds = [kind for kind in JinvError.__subclasses__() if kind.exit_code == code]
    return (kinds or [JinvError])[0](message)
