"""A SLURM of one node, this machine, for as long as a test or a command needs it: munged, slurmctld and slurmd of its own.

They have their own ports, key and folder, so another SLURM beside them is not touched, and end with the context. Debian and
Ubuntu have the programs (`apt-get install slurm-wlm munge`); no accounting, so `sacct` knows nothing.
"""

import getpass
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
PATIENCE_S = 180.0
SETTLED_S = 3.0
"""slurmd launches nothing of a job that it ended a moment ago."""


CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
KillWait=20
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@cache
def missing() -> str:
    """Why there can be no SLURM here, "" where there can: one is started, for machines differ in what daemons may do."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"{', '.join(lacking)}: not here (Debian: apt-get install slurm-wlm munge)"
    if os.getuid() != 0:
        return "slurmd has to be started by root"
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        try:
            with slurm(Path(folder)):
                return ""
        except AssertionError as error:
            return f"a SLURM of one node does not start on this machine: {error}"


@contextmanager
def slurm(folder: Path, slots: int = 4) -> Iterator[dict[str, str]]:
    """A SLURM whose files lie in `folder`, with room for `slots` tasks at a time; yields the environment that finds it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    host, user = platform.node().partition(".")[0], getpass.getuser()
    conf.write_text(CONF.format(host=host, user=user, folder=folder, ports=_free_ports(2), slots=slots))
    # Whatever SLURM these tests run in is another one; and no program may find its configuration.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
    environment |= {"SLURM_CONF": str(conf), "PATH": _path()}
    commands = (
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    )  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.words").open("wb") as words:
                started.append(subprocess.Popen(command, env=environment, stdout=words, stderr=words))
            if command[0] == "munged":
                _until((folder / "munge.socket").exists, f"munged does not listen: see {folder}")
        _until(lambda: "idle" in asked(environment, "sinfo", "-h", "-o", "%T"), f"no idle node: see {folder}")
        try:
            yield environment
        except BaseException as error:  # the folder may be gone when somebody reads of it
            words = (f"{name}.log:\n{(folder / f'{name}.log').read_text()[-2000:]}" for name in ("slurmctld", "slurmd"))
            error.add_note("\n".join([asked(environment, "squeue", "-r", "-o", "%i %T %r %S"), *words]))
            raise
        # Jobs that are left would outlive the daemons.
        asked(environment, "scancel", "--user", user)
        _until(lambda: not states(environment), "jobs do not end")
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(PATIENCE_S)


def asked(environment: dict[str, str], *command: str) -> str:
    """What a SLURM command prints, "" where it fails."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S).stdout


def states(environment: dict[str, str]) -> dict[str, str]:
    """The jobs that have not ended, by id ("7_2" for a task of an array), with their states."""
    lines = asked(environment, "squeue", "-h", "-r", "-o", "%i %T").split("\n")
    return dict(line.split() for line in lines if line)


def run_again(environment: dict[str, str]) -> dict[str, str]:
    """Start what was put back into the queue, where SLURM itself waits two minutes; returns `states`. To be called until
    nothing waits: SLURM says why a job waits only once its scheduler has looked at it."""
    lines = asked(environment, "squeue", "-h", "-r", "-t", "PENDING", "-o", "%i %r").splitlines()
    waiting = dict(line.split(" ", 1) for line in lines)
    if "BeginTime" in waiting.values():
        time.sleep(SETTLED_S)
    for job, reason in waiting.items():
        if reason == "BeginTime":
            asked(environment, "scontrol", "update", f"JobId={job}", "StartTime=now")
        elif "held" in reason.lower():  # slurmd could not start it at once
            asked(environment, "scontrol", "release", job)
    return states(environment)


def exit_code(environment: dict[str, str], job: str) -> tuple[str, int]:
    """(state, exit code) of a job that has ended."""
    said = asked(environment, "scontrol", "show", "job", job)
    state, code = re.search(r"JobState=(\w+)", said), re.search(r"ExitCode=(\d+):", said)
    assert state and code, said
    return state[1], int(code[1])


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def _until(true: Any, otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    for bound in sockets:
        bound.bind(("127.0.0.1", 0))
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports
