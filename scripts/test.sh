#!/usr/bin/env bash
# All tests, in stages; the last line is "N passed, N failed, N skipped", and the exit status is 0 only if none failed.
#
#   test.sh                             all stages
#   FAM_TEST_QUICK=1 test.sh            the first: the product's own build and its test programs
#   FAM_TEST_STAGES="gcc fuzz" test.sh  these stages only
#   FAM_TEST_JOBS=2                     test programs and compilers at once
#   FAM_TEST_PYTHON=1                   install what the stage python needs (6 GB); else it runs where that is already
#
# Each stage builds in build/NAME (gcc: in build/ itself). What a missing tool or download skips is said again at the end.
# shellcheck disable=SC2317  # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/lib.sh

stage_gcc() {
    build_tree build . all -DFAM_WERROR=ON && run_tests build
}

has_clang() {
    command -v clang >/dev/null && return
    skip "$1: clang is not installed"
    return 1
}

# Another compiler has other warnings, and must not come to other results.
stage_clang() {
    has_clang clang || return
    build_tree build/clang . all -DCMAKE_C_COMPILER=clang -DFAM_WERROR=ON && run_tests build/clang
}

# Without -Werror: what a sanitizer adds to the code makes gcc warn of what is not there.
stage_sanitize() {
    build_tree build/sanitize . all -DFAM_WERROR=OFF -DFAM_SANITIZE=address,undefined || return
    run_tests build/sanitize
}

stage_fuzz() {
    has_clang fuzz || return
    FUZZ_SECONDS=${FUZZ_SECONDS:-10} run_counted fuzz build/logs/fuzz.log scripts/fuzz.sh
}

stage_install() {
    [ -e build/CMakeCache.txt ] || build_tree build . all || return
    run_counted install build/logs/install.log tests/install/test.sh build
}

# What fam writes, opened by the programs that it is written for.
stage_python() {
    local python flag=
    [ "${FAM_TEST_PYTHON:-0}" = 1 ] && flag=--install
    mkdir -p build/logs
    if ! python=$(tests/oracle/python.sh $flag 2>build/logs/python-install.log); then
        skip "python: $(tail -n 1 build/logs/python-install.log)"
        return
    fi
    [ -x build/fam ] || build_tree build . fam_program || return
    PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore \
        run_counted python build/logs/python.log "$python" tests/oracle/check_export.py
}

stage_mutation() {
    run_counted mutation build/logs/mutation.log scripts/mutation.sh
}

main() {
    local started=$SECONDS stages=${FAM_TEST_STAGES:-} stage
    if [ -z "$stages" ]; then
        if [ "${FAM_TEST_QUICK:-0}" = 1 ]; then stages=gcc; else stages='gcc clang sanitize fuzz install python mutation'; fi
    fi
    if ! scripts/install-deps.sh test; then
        fail 'scripts/install-deps.sh: what the tests need is not there'
        summary "$started"
    fi
    scripts/get-smollm2.sh >/dev/null
    case $? in
    0) ;;
    3) note_skip 'SmolLM2: no download, so the tests that read the real model are skipped' ;;
    *) fail 'scripts/get-smollm2.sh' ;;
    esac
    for stage in $stages; do
        local stage_started=$SECONDS
        printf '\n==== %s ====\n' "$stage"
        "stage_$stage"
        timings+="$(printf '%-10s %4d s' "$stage" $((SECONDS - stage_started)))"$'\n'
    done
    summary "$started"
}

main
