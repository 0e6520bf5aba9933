"""What the benchmark says: Markdown tables, the machine, the date."""

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from util.run_record import git_commit
from util.text import counted


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, the first column left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def circumstances(command: str, threads: int, device: torch.device) -> dict[str, object]:
    """Where, when and by which command a figure was measured."""
    return {
        "command": command,
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


def circumstances_line(where: dict[str, object]) -> str:
    """The same as one line of text."""
    memory = f", {where['memory_gb']:.0f} GB" if where["memory_gb"] else ""
    machine = f"{where['processor']} ({where['logical_cores']} logical cores{memory})"
    computed = f"{counted(where['threads'], 'thread')}, on {where['device']}, torch {where['torch']}, Python {where['python']}"
    return f"{where['date']}, {machine}, {computed}, {where['system']}; commit {str(where['commit'])[:12]}: `{where['command']}`"


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
