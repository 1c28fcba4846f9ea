#!/usr/bin/env bash
# Runs each libFuzzer target (tests/fuzz/fuzz_NAME.c) on its corpus, under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   fuzz.sh [NAME ...]      all targets when none is named
#   FUZZ_SECONDS=60         how long each runs
#
# New inputs stay in build/fuzz/corpus/NAME; one that breaks the code is reported with its path, and belongs into
# tests/corpus/NAME with the fix.
# shellcheck disable=SC2317  # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/lib.sh

seconds=${FUZZ_SECONDS:-60}
started=$SECONDS
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        [ -e "$source" ] || continue
        name=${source##*/fuzz_}
        names+=("${name%.c}")
    done
fi

# show_fuzz NAME LOG STATUS: one line when it is well, the report when not.
show_fuzz() {
    local runs found
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$2")
    if [ "$3" -eq 0 ] && [ -n "$runs" ]; then
        pass "fuzz_$1: $runs inputs in $seconds s"
        return
    fi
    grep -vE '^#[0-9]+' "$2" | tail -n 60
    found=$(find "build/fuzz/found/$1" -type f -newer "build/fuzz/found/$1/.started" ! -name .started | head -n 1)
    fail "fuzz_$1: ended with status $3${found:+, the input is $found}"
}

if [ ${#names[@]} -eq 0 ]; then
    skip 'there are no targets in tests/fuzz'
    summary "$started"
fi
build_tree build/fuzz . "${names[*]/#/fuzz_}" -DCMAKE_C_COMPILER=clang -DFAM_FUZZ=ON -DFAM_SANITIZE=address,undefined \
    || summary "$started"
mkdir -p build/fuzz/logs
collector=show_fuzz
for name in "${names[@]}"; do
    mkdir -p "build/fuzz/corpus/$name" "build/fuzz/found/$name"
    touch "build/fuzz/found/$name/.started"
    seeds=()
    [ -d "tests/corpus/$name" ] && seeds=("tests/corpus/$name")
    run_logged "$name" "build/fuzz/logs/$name.log" \
        "build/fuzz/tests/fuzz_$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/found/$name/" "build/fuzz/corpus/$name" "${seeds[@]}"
done
collect_all
summary "$started"
