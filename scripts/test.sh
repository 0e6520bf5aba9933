#!/usr/bin/env bash
# Run the tests: scripts/test.sh [pytest arguments]
# Packages come from .venv, which is created on the first run; PYTHON=/path/to/python uses that
# interpreter and its packages instead.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh requirements-dev.txt
exec "$PYTHON" -m pytest "$@"
