"""The peak memory that a process tells of itself."""

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
child = "import util.run_record, resource; print(util.run_record.peak_resident_mb(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)"
sys.exit(subprocess.run([sys.executable, "-c", child]).returncode)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak"
)
def test_peak_of_a_process_is_not_that_of_the_larger_one_that_started_it():
    result = subprocess.run(
        [sys.executable, "-c", STARTER], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    told, systems_own = map(float, result.stdout.split())
    assert told < BALLAST_MB < systems_own + 100
