"""Lets `python scripts/NAME.py` find the packages beside scripts/ from any working directory, without touching the import path in code."""

import os
import sys
from pathlib import Path


def restart(file: str) -> None:
    """Replace this process by `python -m scripts.NAME` with the repository on PYTHONPATH. Never returns."""
    root = str(Path(file).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    os.environ["PYTHONPATH"] = search_path
    os.execv(sys.executable, [sys.executable, "-m", f"scripts.{Path(file).stem}", *sys.argv[1:]])
