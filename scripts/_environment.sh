# Sets PYTHON to an interpreter that has the packages of $1 (a requirements file): the one given in PYTHON, or .venv, made and filled where it lacks them.
# CONSTRAINTS=FILE (of pip, such as constraints-lowest.txt) fixes their versions, in an environment of its own beside .venv, made by PYTHON3 (default: python3).
# Sourced by demo.sh, test.sh and .ci/run from the repository's root.
if [ -z "${PYTHON:-}" ]; then
    constraints=${CONSTRAINTS:-}
    if [ -n "$constraints" ] && [ ! -f "$constraints" ]; then
        echo "error: CONSTRAINTS=$constraints: no such file; give a constraints file of pip" >&2
        exit 2
    fi
    environment=.venv${constraints:+-$(basename "$constraints" .txt)}
    stamp="$environment/installed-$1"
    if [ ! -x "$environment/bin/python" ]; then
        echo "making a virtual environment in $environment …" >&2
        "${PYTHON3:-python3}" -m venv "$environment" || {
            rm -rf "$environment"
            echo "error: python3 cannot make a virtual environment; install its venv package (Debian: python3-venv), or set PYTHON to an interpreter with the packages" >&2
            exit 2
        }
    fi
    if [ ! -e "$stamp" ] || [ "$1" -nt "$stamp" ] || [ requirements.txt -nt "$stamp" ] || { [ -n "$constraints" ] && [ "$constraints" -nt "$stamp" ]; }; then
        echo "installing $1 (PyTorch is large: a few minutes the first time) …" >&2
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1" ${constraints:+--constraint "$constraints"}
        touch "$stamp"
    fi
    PYTHON="$PWD/$environment/bin/python"
fi
export PYTHON
