# scripts/lib.sh: what the test scripts share: counters, builds, running test programs side by side. Sourced from the
# project root; it knows no stage.
# shellcheck shell=bash

jobs=${FAM_TEST_JOBS:-2}
passed=0 failed=0 skipped=0
failures='' skips='' timings=''
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)

fail() {
    failed=$((failed + 1))
    failures+="$1"$'\n'
    echo "FAIL $1"
}

pass() {
    passed=$((passed + 1))
    echo "pass $1"
}

# Counts nothing: the cases that are skipped for it count themselves.
note_skip() {
    skips+="$1"$'\n'
    echo "SKIP $1"
}

skip() {
    skipped=$((skipped + 1))
    note_skip "$1"
}

# build_tree FOLDER SOURCE TARGETS [CMAKE OPTION ...]: configures and builds, or says why not.
build_tree() {
    local folder=$1 source=$2 targets=$3 fresh=()
    shift 3
    [ -e "$folder/CMakeCache.txt" ] || fresh=("${generator[@]}")
    mkdir -p "$folder"
    if ! cmake -S "$source" -B "$folder" "${fresh[@]}" "$@" >"$folder/configure.log" 2>&1; then
        cat "$folder/configure.log"
        fail "configure $folder"
        return 1
    fi
    local built=$SECONDS
    # shellcheck disable=SC2086  # targets are words
    if ! cmake --build "$folder" -j "$jobs" --target $targets >"$folder/build.log" 2>&1; then
        grep -E -A 12 'FAILED|error|Error' "$folder/build.log" | head -n 80
        fail "build $folder (the log is $folder/build.log)"
        return 1
    fi
    echo "built $folder in $((SECONDS - built)) s"
}

# add_up NAME LOG STATUS: the counts that a test program printed at its end; a program that died before counts as failed.
add_up() {
    local name=$1 log=$2 status=$3 line
    line=$(tail -n 1 "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$')
    if [ -z "$line" ]; then
        fail "$name: ended with status $status and no counts"
        return
    fi
    read -r p _ f _ s _ <<<"$line"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    failures+=$(grep '^FAIL ' "$log" | tr -s ' ' | sed "s|^FAIL |$name: |")$'\n'
    skips+=$(grep '^SKIP ' "$log" | tr -s ' ' | sed "s|^SKIP |$name: |")$'\n'
    [ "$status" -eq 0 ] || [ "$f" -gt 0 ] || fail "$name: ended with status $status though no case failed"
}

# run_logged LABEL LOG COMMAND ...: runs it in the background with its output in LOG, at most $jobs at a time. When it ends,
# `$collector LABEL LOG STATUS` shows and counts it.
declare -A running=()
collector=show_tests
run_logged() {
    local label=$1 log=$2
    shift 2
    while [ ${#running[@]} -ge "$jobs" ]; do collect_one; done
    { "$@" >"$log" 2>&1 </dev/null; } &
    running[$!]="$label|$log|$SECONDS"
}

# Waits for one of them, shows its output and counts.
collect_one() {
    local pid status
    wait -n -p pid "${!running[@]}"
    status=$?
    local label log since
    IFS='|' read -r label log since <<<"${running[$pid]}"
    unset "running[$pid]"
    printf -- '-- %s (%d s)\n' "$label" $((SECONDS - since))
    "$collector" "$label" "$log" "$status"
}

collect_all() {
    while [ ${#running[@]} -gt 0 ]; do collect_one; done
}

show_tests() {
    cat "$2"
    add_up "$1" "$2" "$3"
}

# run_tests FOLDER: all test programs of a build. Those that take long begin, so that no processor waits for one at the end.
run_tests() {
    local folder=$1 program found=
    local long=(test_attention test_models test_cpu_ops test_cli_smollm2)
    mkdir -p "$folder/logs"
    for program in "${long[@]/#/$folder/tests/}" "$folder"/tests/test_*; do
        if [ ! -f "$program" ] || [ ! -x "$program" ] || [[ " $found " == *" $program "* ]]; then continue; fi
        found+=" $program"
        run_logged "$program" "$folder/logs/$(basename "$program").log" "$program"
    done
    collect_all
    [ -n "$found" ] || fail "$folder: no test programs"
}

list() {
    grep -q . <<<"$2" || return
    echo "$1:"
    while read -r line; do [ -z "$line" ] || echo "    $line"; done <<<"$2"
}

# run_counted NAME LOG COMMAND ...: a script that prints case lines and counts as test programs do.
run_counted() {
    local name=$1 log=$2
    shift 2
    mkdir -p "$(dirname "$log")"
    "$@" 2>&1 </dev/null | tee "$log"
    add_up "$name" "$log" "${PIPESTATUS[0]}"
}

# summary STARTED: the sums, and the end of the script.
summary() {
    printf '\n==== summary ====\n'
    [ -z "$timings" ] || printf '%s' "$timings"
    printf 'all        %4d s\n' $((SECONDS - $1))
    list Skipped "$skips"
    list Failed "$failures"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}
