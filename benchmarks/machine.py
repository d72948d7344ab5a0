"""What a result ran on."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor, cores, memory, instruction sets, versions, load; nothing that names the machine or its owner."""
    facts = _processor()
    flags = set(str(facts.pop("flags", "")).split())
    packages = {}
    for name in ("jax", "jaxlib", "torch", "flax", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {
        **facts,
        **({"gpus": cards} if (cards := gpus()) else {}),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "vector": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve") if name in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "huge_pages": huge_pages(),
        "python": platform.python_version(),
        "packages": packages,
    }


def huge_pages() -> str:
    """To whom the system gives huge pages: `always`, `madvise` (who asks), `never`; `unknown` where it doesn't say."""
    try:
        chosen = re.search(r"\[(\w+)\]", Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text())
    except OSError:
        return "unknown"
    return chosen[1] if chosen else "unknown"


def load() -> float:
    """Running processes, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def has_gpu() -> bool:
    """Whether JAX would run on a GPU here; asked in a process of its own, since JAX takes a GPU's memory when it looks."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1:] == ["gpu"]


def share_card() -> None:
    """For this process, if it has not used JAX yet, and those that it starts: JAX would take three quarters of a GPU's memory.

    Who measures uses JAX beside those that are measured: without this a ResNet-50 in TF32 had no room on the card.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def gpus() -> list[str]:
    """Name, memory and driver of each of NVIDIA's cards here."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return said.strip().splitlines()


def _processor() -> dict[str, Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {"processor": platform.processor() or platform.machine()}
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "processor": fields.get("model name", platform.machine()),
        "family_model_stepping": "/".join(fields.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "flags": fields.get("flags", fields.get("Features", "")),
    }
