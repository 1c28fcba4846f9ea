#!/usr/bin/env bash
# All tests, in stages; the last line is "N passed, N failed, N skipped", and the exit status is 0 only if none failed.
#
#   test.sh                     all stages (scripts/stages.sh names them)
#   FAM_TEST_QUICK=1 test.sh    the first: the product's own build and its test programs
#   FAM_TEST_STAGES="gcc fuzz"  these stages only
#   FAM_TEST_JOBS=2             test programs and compilers at once
#
# Skipping is allowed where a tool or a download is missing, and is said again at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/stages.sh

main() {
    local started=$SECONDS stages=${FAM_TEST_STAGES:-}
    if [ -z "$stages" ]; then
        if [ "${FAM_TEST_QUICK:-0}" = 1 ]; then stages=gcc; else stages='gcc clang sanitize fuzz install mutation'; fi
    fi
    if ! scripts/install-deps.sh test; then
        fail 'scripts/install-deps.sh: what the tests need is not there'
        summary "$started"
        return
    fi
    scripts/get-smollm2.sh >/dev/null
    case $? in
    0) ;;
    3) note_skip 'SmolLM2: no download, so the tests that read the real model are skipped' ;;
    *) fail 'scripts/get-smollm2.sh' ;;
    esac
    local stage
    for stage in $stages; do
        local stage_started=$SECONDS
        printf '\n==== %s ====\n' "$stage"
        "stage_$stage"
        timings+="$(printf '%-10s %4d s' "$stage" $((SECONDS - stage_started)))"$'\n'
    done
    summary "$started"
}

main
