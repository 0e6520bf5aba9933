#!/usr/bin/env bash
# Run the tests in an environment of their own (.venv, made at first): scripts/test.sh [pytest arguments]
# PYTHON=/path/to/python uses that interpreter and its packages instead.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/_environment.sh requirements-dev.txt
exec "$PYTHON" -m pytest "$@"
