"""The engines in examples/: the batch script on a real SLURM, the Snakefile by Snakemake, and what a pod's shell does.

`jinv` is a stand-in here that notes how it was called and ends as it is told; tests/slurm/test_array.py runs the real one.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.slurm import one_node

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

STAND_IN = """#!/bin/sh
# Ends with the next code of codes.txt, of which there is one per line; "wait" waits for a signal, which is 75.
echo "$@" >> calls.txt
code=$(flock lock sh -c 'head -n 1 codes.txt; sed -i 1d codes.txt')
trap 'exit 75' TERM USR1
[ "$code" = wait ] && { echo waits >> calls.txt; for i in $(seq 600); do sleep 0.1; done; }
exit "${code:-0}"
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to stand in, with the stand-in for `jinv` on the path."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "jinv"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(place, codes):
    """The stand-in's codes from now on."""
    (place / "codes.txt").write_text("".join(f"{code}\n" for code in codes))


def calls(place):
    path = place / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def until(true, seconds=300):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_batch_script_goes_on_after_75_and_ends_where_slurm_ends_it(place, monkeypatch):
    if reason := one_node.missing():
        pytest.skip(reason)
    monkeypatch.setenv("CONFIG", "a b.toml")
    monkeypatch.setenv("OUT", "runs/x y")
    script = [str(EXAMPLES / "slurm.sbatch")]
    with one_node.slurm(place / "slurm") as slurm:
        told(place, ["wait", "wait", 0])
        array = one_node.asked(slurm, "sbatch", "--parsable", "--array=0-1", *script).strip()
        until(lambda: calls(place).count("waits") == 2)
        # As SLURM does before the time is up; the last task's id is the array's, and the other goes on all the same.
        one_node.asked(slurm, "scancel", "--batch", "--signal=USR1", f"{array}_1")
        until(lambda: one_node.states(slurm).get(f"{array}_1") == "PENDING")
        assert one_node.states(slurm)[f"{array}_0"] == "RUNNING"
        until(lambda: set(one_node.run_again(slurm)) == {f"{array}_0"})
        assert one_node.exit_code(slurm, f"{array}_1") == ("COMPLETED", 0)
        one_node.asked(slurm, "scancel", f"{array}_0")
        until(lambda: not one_node.states(slurm))
        assert one_node.exit_code(slurm, f"{array}_0")[0] == "CANCELLED"
        assert "requeue" not in (place / f"jinv_{array}_0.log").read_text().lower()
        begun = "worker a b.toml --out runs/x y"
        assert sorted(calls(place)) == ["waits"] * 2 + [begun] * 3

        told(place, [7])
        last = one_node.asked(slurm, "sbatch", "--parsable", *script).strip()
        until(lambda: not one_node.states(slurm))
        assert one_node.exit_code(slurm, last) == ("FAILED", 7)


def test_the_snakefile_starts_stopped_workers_again_and_merges_once(place):
    snakemake = shutil.which("snakemake") or shutil.which("snakemake", path=str(Path(sys.executable).parent))
    if snakemake is None:
        pytest.skip("snakemake is not here (pip install snakemake, in an environment of its own)")
    told(place, [75, 7, 0, 0])  # of two workers: stopped, with failed units, then whole; and the merge
    command = [snakemake, "--snakefile", str(EXAMPLES / "Snakefile"), "--cores", "1", "--config"]
    settings = ["config=a b.toml", "out=runs/x y", "workers=2"]
    done = subprocess.run([*command, *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert calls(place) == ["worker a b.toml --out runs/x y"] * 3 + ["merge runs/x y"]


def test_a_pods_shell_passes_the_signal_on_and_hides_no_code():
    workers, merge = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    assert workers["kind"] == merge["kind"] == "Job" and merge["spec"]["suspend"] is True
    spec = workers["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    rules = spec["podFailurePolicy"]["rules"]
    assert {"containerName": container["name"], "operator": "In", "values": [75]} in [
        r.get("onExitCodes") for r in rules
    ]
    for job in (workers, merge):
        pod = job["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]} <= volumes


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (7, 0), (3, 3), ("wait", 75)])
def test_a_pods_shell(place, code, ends):
    workers, _ = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    (container,) = workers["spec"]["template"]["spec"]["containers"]
    told(place, [code])
    shell = subprocess.Popen([*container["command"], *container["args"]])
    if code == "wait":
        until(lambda: "waits" in calls(place))
        shell.send_signal(signal.SIGTERM)
    assert shell.wait(60) == ends
    assert calls(place)[0] == "worker /runs/config.toml --out /runs/big"


def test_the_shell_line_starts_as_many_workers_as_asked_and_merges(place, monkeypatch):
    for name, value in (("CONFIG", "a b.toml"), ("OUT", "runs/x y"), ("WORKERS", "3")):
        monkeypatch.setenv(name, value)
    told(place, [0, 0, 0, 6])
    assert subprocess.run(["sh", str(EXAMPLES / "xargs.sh")]).returncode == 6
    assert calls(place) == ["worker a b.toml --out runs/x y"] * 3 + ["merge runs/x y"]
