#!/bin/sh
# Prints a Python that has the packages of requirements.txt: ORACLE_PYTHON, else the one in build/oracle.
#
#   python.sh             fails if there is none, with a line that says why
#   python.sh --install   makes build/oracle first where need be (PyPI; about 6 GB)
set -eu
cd "$(dirname "$0")/../.."

if [ -n "${ORACLE_PYTHON:-}" ]; then
    echo "$ORACLE_PYTHON"
    exit 0
fi
if ! cmp -s tests/oracle/requirements.txt build/oracle/requirements.txt; then
    if [ "${1:-}" != --install ]; then
        echo 'no Python with the packages of tests/oracle/requirements.txt (FAM_TEST_PYTHON=1 installs them)' >&2
        exit 1
    fi
    echo 'Installing the packages of tests/oracle/requirements.txt in build/oracle' >&2
    python3 -m venv build/oracle >&2
    build/oracle/bin/pip install --quiet --disable-pip-version-check --requirement tests/oracle/requirements.txt >&2
    cp tests/oracle/requirements.txt build/oracle/requirements.txt
fi
echo build/oracle/bin/python
