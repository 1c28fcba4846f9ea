#!/bin/sh
# Makes the answers in tests/golden and tests/fixtures again: tests/oracle/make.sh [GENERATOR…]   (default: all)
#
# Needs Python 3.11, a C compiler and the network (PyPI); takes about six minutes and 6 GB in build/. ORACLE_PYTHON=PYTHON uses an interpreter that has requirements.txt already.
set -eu
cd "$(dirname "$0")/../.."

python=$(tests/oracle/python.sh --install)

scripts/get-smollm2.sh >/dev/null

[ $# -gt 0 ] || set -- golden dequant tiny_llama peft_written tokenizer pretokenizer chat_template byte_tokenizer optimizer smollm2
for generator; do
    echo "== $generator"
    PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore "$python" "tests/oracle/$generator.py"
done
