"""The peak memory that a process reports of itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

BALLAST_MB = 1000
STARTER = f"""
import subprocess, sys
ballast = bytearray({BALLAST_MB} * 10**6)
ballast[::4096] = b"x" * len(ballast[::4096])
child = (
    "import resource, util.device; print(util.device.peak_resident_mb(), "
    "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)"
)
sys.exit(subprocess.run([sys.executable, "-c", child]).returncode)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux reports a process's own peak"
)
def test_peak_of_a_process_is_not_that_of_the_larger_one_that_started_it():
    result = subprocess.run(
        [sys.executable, "-c", STARTER], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    own_peak, inherited_peak = map(float, result.stdout.split())
    assert own_peak < BALLAST_MB < inherited_peak + 100
