"""The arguments of a run whose batches several processes compute together, and what can be wrong with them."""

import argparse
import re
from typing import NamedTuple

from jinv.errors import UsageError

TIMEOUT_S = 300


class Gang(NamedTuple):
    """The processes that belong together: where process 0 is, how many, which one this is; None where jax is to find out.
    `timeout`: seconds to wait for all of them."""

    coordinator: str | None
    processes: int | None
    process: int | None
    timeout: int


def add_distributed(command: argparse.ArgumentParser) -> None:
    """`--distributed` and what says who the others are."""
    group = command.add_argument_group(
        "one batch over several machines",
        "the same command on each; process 0 writes DIR, the others need the config and the network alone",
    )
    group.add_argument(
        "--distributed", action="store_true", help="share each batch; jax finds SLURM, Open MPI and Kubernetes itself"
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="elsewhere: where process 0 is, with a free port of it"
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    group.add_argument("--process", type=int, metavar="I", help="which one this is, from 0")
    group.add_argument(
        "--distributed-timeout", type=int, metavar="SECONDS", help=f"wait so long for all of them ({TIMEOUT_S})"
    )


def gang_of(arguments: argparse.Namespace) -> Gang | None:
    """The processes that the arguments speak of, None without `--distributed`.

    Raises:
      UsageError: they contradict each other.
    """
    coordinator, processes, process = arguments.coordinator, arguments.processes, arguments.process
    timeout = arguments.distributed_timeout
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    said = [name for name, value in given.items() if value is not None]
    missing = [name for name in given if name not in said]
    if not arguments.distributed:
        if said or timeout is not None:
            raise UsageError(f"{(said or ['--distributed-timeout'])[0]}: only with --distributed")
        return None
    if arguments.memory is not None:
        raise UsageError("--memory: runs nothing, so that --distributed has no meaning")
    if said and missing:
        raise UsageError(
            f"{said[0]}: also say {' and '.join(missing)}, or none of the three where jax finds a cluster itself"
        )
    if timeout is not None and timeout < 1:
        raise UsageError(f"--distributed-timeout {timeout}: must be at least 1 second")
    if said:
        host, _, port = coordinator.rpartition(":")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
            raise UsageError(f"--coordinator {coordinator}: not HOST:PORT, such as node001:8476")
        if processes < 1:
            raise UsageError(f"--processes {processes}: must be at least 1")
        if not 0 <= process < processes:
            raise UsageError(f"--process {process}: must be from 0 to {processes - 1} of --processes {processes}")
    return Gang(coordinator, processes, process, TIMEOUT_S if timeout is None else timeout)
