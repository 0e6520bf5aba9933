# Sets PYTHON to an interpreter that has the packages of $1 (a requirements file): the one given in PYTHON, or .venv, made and filled where it lacks them.
# Sourced by demo.sh and test.sh from the repository's root.
if [ -z "${PYTHON:-}" ]; then
    stamp=".venv/installed-$1"
    if [ ! -x .venv/bin/python ]; then
        echo "making a virtual environment in .venv …" >&2
        python3 -m venv .venv || {
            rm -rf .venv
            echo "error: python3 cannot make a virtual environment; install its venv package (Debian: python3-venv), or set PYTHON to an interpreter with the packages" >&2
            exit 2
        }
    fi
    if [ ! -e "$stamp" ] || [ "$1" -nt "$stamp" ] || [ requirements.txt -nt "$stamp" ]; then
        echo "installing $1 (PyTorch is large: a few minutes the first time) …" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
        touch "$stamp"
    fi
    PYTHON="$PWD/.venv/bin/python"
fi
export PYTHON
