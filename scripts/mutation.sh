#!/usr/bin/env bash
# Breaks a copy of the code on purpose, one patch of tests/mutations at a time: the test case that the patch names must turn
# red. A case that stays green tests nothing there.
#
#   mutation.sh [PATCH ...]     all of tests/mutations/*.patch when none is named
#
# A patch begins with comment lines:
#   # Breaks: what is broken, in words
#   # Test: test_NAME
#   # Case: name_of_the_case
# The copy and its build lie in build/mutation.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/lib.sh

started=$SECONDS
case_seconds=150
root=$PWD
work=$root/build/mutation
tree=$work/tree
patches=("$@")
[ ${#patches[@]} -gt 0 ] || patches=(tests/mutations/*.patch)

header() { sed -n "/^--- /q; s/^# $1: *//p" "$2" | head -n 1; }

# A tree that an interrupted run left broken is thrown away, with the objects that were made from it.
if [ -e "$work/broken" ]; then rm -rf "$work"; fi
rm -rf "$tree"
mkdir -p "$tree" "$work/logs"
tar --exclude=./build --exclude='./build-*' --exclude=./.git -cf - . | tar -C "$tree" -xf - || exit 1
mkdir -p "$tree/build"
ln -sfn "$root/build/downloads" "$tree/build/downloads"

# run_case PROGRAM CASE: 0 green, 77 skipped, else red. A case that hangs is red too.
run_case() {
    local log=$work/logs/$2.log status
    timeout --kill-after=5 "$case_seconds" "$work/build/tests/$1" "$2" >"$log" 2>&1 </dev/null
    status=$?
    if [ "$status" -eq 0 ] && grep -q '\[  SKIPPED \]' "$log"; then return 77; fi
    return "$status"
}

build_targets() {
    # shellcheck disable=SC2086  # targets are words
    cmake --build "$work/build" -j "$jobs" --target $1 >"$work/build/build.log" 2>&1
}

program=
[ ! -e cli/CMakeLists.txt ] || program=fam_program
targets=$program
for patch in "${patches[@]}"; do
    test=$(header Test "$patch")
    [[ " $targets " == *" $test "* ]] || targets="$targets $test"
done
build_tree "$work/build" "$tree" "$targets" || summary "$started"

# How each case ends while nothing is broken.
declare -A whole=()
for patch in "${patches[@]}"; do
    test=$(header Test "$patch") case=$(header Case "$patch")
    [ -z "${whole[$test $case]:-}" ] || continue
    run_case "$test" "$case"
    whole[$test $case]=$?
done

for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    test=$(header Test "$patch") case=$(header Case "$patch") breaks=$(header Breaks "$patch")
    since=$SECONDS
    if [ -z "$test" ] || [ -z "$case" ] || [ -z "$breaks" ]; then
        fail "$name: the patch does not name what it breaks, a test and a case"
        continue
    fi
    case ${whole[$test $case]} in
    0) ;;
    77)
        skip "$name: $test $case is skipped here"
        continue
        ;;
    *)
        fail "$name: $test $case is red before anything is broken"
        continue
        ;;
    esac
    if ! patch -d "$tree" -p1 --dry-run -s -f <"$patch" >"$work/logs/patch.log" 2>&1; then
        cat "$work/logs/patch.log"
        fail "$name: the patch does not apply any more"
        continue
    fi
    touch "$work/broken"
    patch -d "$tree" -p1 -s -f --no-backup-if-mismatch <"$patch"
    if build_targets "$program $test"; then
        if run_case "$test" "$case"; then
            fail "$name: $test $case stayed green though $breaks"
        else
            pass "$name: $test $case turned red in $((SECONDS - since)) s: $breaks"
        fi
    else
        grep -E -A 12 'FAILED|error' "$work/build/build.log" | head -n 40
        fail "$name: the broken code does not compile"
    fi
    patch -d "$tree" -p1 -s -f -R --no-backup-if-mismatch <"$patch"
done
build_targets "$targets" && rm -f "$work/broken"
summary "$started"
