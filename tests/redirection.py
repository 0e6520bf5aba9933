"""Programs that tests run with closed or redirected streams."""

import subprocess
import sys
from collections.abc import Sequence

from repository import ROOT


def run_redirected(
    redirection: str, *arguments: object, program: Sequence[str]
) -> subprocess.CompletedProcess:
    """Run Python through a shell, which closes and redirects its streams. program: a script, or
    `-c` and its code."""
    quoted = " ".join(f"'{argument}'" for argument in (sys.executable, *program, *arguments))
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{quoted} {redirection}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
