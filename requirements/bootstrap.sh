#!/bin/sh
# Makes the virtual environment $1 with a pinned, hash-checked installer in it. Needs any Python 3.11 or newer.
set -eu
venv=$1
here=$(dirname "$0")

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if ! { [ -x "$venv/bin/python" ] && is_new_enough "$venv/bin/python"; }; then
    chosen=
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        if is_new_enough "$candidate"; then chosen=$candidate; break; fi
    done
    if [ -z "$chosen" ]; then
        echo "Goodput needs Python 3.11 or newer; found none among: ${PYTHON:-python3.11 … python3.14, python3, python}." >&2
        echo "Install one (on Debian or Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 …" >&2
        exit 1
    fi
    if ! "$chosen" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        echo "$("$chosen" --version) has no venv module, which the virtual environment needs." >&2
        echo "On Debian or Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    echo "Making $venv with $("$chosen" --version)"
    "$chosen" -m venv --clear "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$here/bootstrap.lock"
