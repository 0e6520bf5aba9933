#!/usr/bin/env bash
# Run the tests: scripts/test.sh [pytest arguments]
# Without arguments, all tests run in as many processes as there are cores, at most 4; the tests of
# a file stay together, since they share what they prepare.
# Packages come from .venv, which is created on the first run; PYTHON=/path/to/python uses that
# interpreter and its packages instead.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh requirements-dev.txt
if [ $# = 0 ]; then
    cores=$("$PYTHON" -c 'import os; print(min(os.cpu_count() or 1, 4))')
    set -- --numprocesses="$cores" --dist=loadfile
    # one thread for each process and its children: threads that outnumber cores wait for each other
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
fi
exec "$PYTHON" -m pytest "$@"
