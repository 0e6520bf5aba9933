"""The circumstances of a measurement: command, date, machine, versions, commit."""

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from util.run_record import git_commit
from util.text import counted


def circumstances(threads: int, device: torch.device) -> dict[str, object]:
    """Where, when and by which command of scripts/ figures are measured, as values for JSON."""
    script = f"scripts/{Path(sys.argv[0]).name}"
    return {
        "command": shlex.join(["python", script, *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "logical_cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "commit": git_commit(),
    }


def circumstances_line(values: Mapping[str, object]) -> str:
    """The values of `circumstances` as one line of text."""
    memory = f", {values['memory_gb']:.0f} GB" if values["memory_gb"] else ""
    machine = f"{values['processor']} ({values['logical_cores']} logical cores{memory})"
    threads = counted(values["threads"], "thread")
    versions = f"torch {values['torch']}, Python {values['python']}, {values['system']}"
    commit = str(values["commit"])[:12]
    return (
        f"{values['date']}, {machine}, {threads}, on {values['device']}, {versions}; "
        f"commit {commit}: `{values['command']}`"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        return None
