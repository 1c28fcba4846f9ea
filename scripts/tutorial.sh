#!/usr/bin/env bash
# Teaches a very small memory from nothing, asks it with and without its state, and draws both; ends with 0 only if it
# remembers over all the lengths it was trained on, and cannot do so without its state.
#
#   tutorial.sh [FOLDER]    runs/tutorial if left out; a run that is there goes on
#   TUTORIAL_SEED=1         of the training
set -euo pipefail
cd "$(dirname "$0")/.."

run=${1:-runs/tutorial}
seed=${TUTORIAL_SEED:-1}

scripts/install-deps.sh build
make --no-print-directory program
build/fam train recipes/tutorial.yaml --out "$run" --set "train.seed=$seed"
build/fam eval "$run/result" --task recall --digits 1 --task-depths 0 --lengths 64,128,256,512,1024 --draws 100 \
    --compare fam,bswa --out "$run/eval"
if command -v gnuplot >/dev/null; then
    build/fam plot "$run/eval" >/dev/null
    echo "curves: $run/report.html, $run/eval/report.html"
fi

# share SYSTEM LENGTH: of right answers, from results.json, in whole percent.
share() {
    tr -d ' \n' <"$run/eval/results.json" | grep -o "{\"system\":\"$1\",\"length\":$2,[^}]*}" | grep -o '"exact":[0-9.e-]*' |
        awk -F: '{ printf "%d", 100 * $2 + 0.5 }'
}
status=0
for length in 64 128 256; do
    fam=$(share fam "$length") bswa=$(share bswa "$length")
    if [ "${fam:-0}" -lt 95 ] || [ "${bswa:-100}" -gt 30 ]; then
        echo "tutorial: at $length bytes: found $fam % with the memory and $bswa % without, need at least 95 and at most 30" >&2
        status=1
    fi
done
exit $status
