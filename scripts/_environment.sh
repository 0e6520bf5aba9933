# Sets PYTHON to an interpreter that has the packages of $1 (a requirements file): the one given in
# PYTHON, or that of .venv, which is created and filled if packages are missing.
# CONSTRAINTS=FILE (of pip, such as constraints-lowest.txt) fixes the versions, in an environment of
# its own beside .venv, created by PYTHON3 (default: python3).
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
        echo "creating a virtual environment in $environment …" >&2
        "${PYTHON3:-python3}" -m venv "$environment" || {
            rm -rf "$environment"
            echo "error: python3 cannot create a virtual environment; install its venv package" \
                "(Debian: python3-venv), or set PYTHON to an interpreter with the packages" >&2
            exit 2
        }
    fi
    outdated=false
    for file in requirements*.txt ${constraints:+"$constraints"}; do
        if [ ! -e "$stamp" ] || [ "$file" -nt "$stamp" ]; then
            outdated=true
        fi
    done
    if "$outdated"; then
        echo "installing $1 (PyTorch is large: a few minutes on the first run) …" >&2
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1" \
            ${constraints:+--constraint "$constraints"}
        touch "$stamp"
    fi
    PYTHON="$PWD/$environment/bin/python"
fi
export PYTHON
