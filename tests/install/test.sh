#!/usr/bin/env bash
# tests/install/test.sh: installs a built tree into empty folders and uses it from there as a stranger would.
#
#   test.sh [BUILD]        BUILD is build when left out; prints a line a case and "N passed, N failed, N skipped"
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

build=${1:-build}
cc=${CC:-cc} cxx=${CXX:-c++}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
model=build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf
passed=0 failed=0 skipped=0

# check CASE: runs the function of that name; its output is shown only when it fails.
check() {
    local name=$1
    if "$name" >"$work/log" 2>&1; then
        echo "pass $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name"
        cat "$work/log"
        failed=$((failed + 1))
    fi
}

libdir() { pkg-config --variable=libdir fam; }

installs_by_prefix() {
    cmake --install "$build" --prefix "$prefix" || return
    local file
    for file in bin/fam include/fam/fam.h include/fam/status.h lib/libfam.so.0 lib/libfam.a lib/pkgconfig/fam.pc \
        share/doc/fam/LICENSE share/man/man1/fam.1 share/bash-completion/completions/fam; do
        [ -e "$prefix/$file" ] || { echo "missing: $file"; return 1; }
    done
}

installs_by_destdir() {
    DESTDIR=$work/stage cmake --install "$build" --prefix /opt/fam || return
    [ -x "$work/stage/opt/fam/bin/fam" ] && [ -e "$work/stage/opt/fam/lib/pkgconfig/fam.pc" ]
}

installed_program_runs() {
    "$prefix/bin/fam" --version && "$prefix/bin/fam" --help
}

manual_page_and_completion_are_well_formed() {
    local page=$prefix/share/man/man1/fam.1
    grep -q '^\.TH' "$page" && grep -q '^\.SH' "$page" || return
    bash -n "$prefix/share/bash-completion/completions/fam"
}

# Only what fam.h documents: nothing without the prefix, nothing that is not in a public header.
shared_library_shows_only_the_public_names() {
    local names name
    names=$(nm -D --defined-only "$prefix/lib/libfam.so.0" | awk '{ print $NF }')
    [ -n "$names" ] || { echo 'no names at all'; return 1; }
    for name in $names; do
        case $name in fam_*) ;; *) echo "shown: $name"; return 1 ;; esac
        grep -qrw "$name" include/fam || { echo "shown, and in no public header: $name"; return 1; }
    done
}

static_library_defines_only_prefixed_names() {
    local other
    other=$(nm -g --defined-only "$prefix/lib/libfam.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^fam_/ { print $3 }')
    [ -z "$other" ] || { echo "$other"; return 1; }
}

shared_library_has_its_soname() {
    readelf -d "$prefix/lib/libfam.so.0" | grep -q 'SONAME.*\[libfam\.so\.0\]' || return
    [ -L "$prefix/lib/libfam.so" ] && [ -L "$prefix/lib/libfam.so.0" ]
}

# shellcheck disable=SC2046  # pkg-config prints words
c_consumer_links_the_shared_library() {
    "$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror tests/install/consumer.c -o "$work/consumer-c" \
        $(pkg-config --cflags --libs fam) || return
    readelf -d "$work/consumer-c" | grep -q 'NEEDED.*libfam\.so\.0' || return
    [ "$(LD_LIBRARY_PATH=$(libdir) "$work/consumer-c")" = ok ]
}

# shellcheck disable=SC2046
cpp_consumer_links_the_shared_library() {
    "$cxx" -std=c++11 -Wall -Wextra -Wpedantic -Werror tests/install/consumer.cpp -o "$work/consumer-cpp" \
        $(pkg-config --cflags --libs fam) || return
    [ "$(LD_LIBRARY_PATH=$(libdir) "$work/consumer-cpp")" = ok ]
}

# shellcheck disable=SC2046
c_consumer_links_the_static_library() {
    "$cc" -std=c11 tests/install/consumer.c -o "$work/consumer-static" $(pkg-config --cflags fam) \
        -Wl,-Bstatic $(pkg-config --libs fam) -Wl,-Bdynamic $(pkg-config --static --libs fam | sed 's/-lfam\b//') || return
    ! readelf -d "$work/consumer-static" | grep 'NEEDED.*libfam' || return
    [ "$("$work/consumer-static")" = ok ]
}

# The example of the README, word for word, remembers a key over 4,000 tokens.
# shellcheck disable=SC2016,SC2046
readme_example_recalls_a_key() {
    sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' >"$work/reader.c"
    "$cc" -std=c11 -Wall -Wextra -Werror "$work/reader.c" -o "$work/reader" $(pkg-config --cflags --libs fam) || return
    local answer
    answer=$(LD_LIBRARY_PATH=$(libdir) timeout 100 "$work/reader" "$model" models/smollm2-memory \
        <tests/fixtures/passkey/passkey-4000-20817.txt)
    case $answer in 20817*) ;; *) echo "answered: $answer"; return 1 ;; esac
}

# reader_says CODE WORDS ARGUMENT...: the example ends with this code, and says this on standard error.
reader_says() {
    local code=$1 words=$2 said
    shift 2
    said=$(LD_LIBRARY_PATH=$(libdir) "$work/reader" "$@" 2>&1 <README.md)
    [ $? -eq "$code" ] || { echo "reader $*: another exit code than $code; it said: $said"; return 1; }
    case $said in *"$words"*) ;; *) echo "reader $*: said: $said"; return 1 ;; esac
}

# What goes wrong is told: on the command line, in opening, in the sink, without a tokenizer.
# shellcheck disable=SC2016,SC2046
readme_example_tells_errors() {
    local tiny=tests/fixtures/tiny_llama/gqa_tied_f32 padded=$work/padded
    sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' >"$work/reader.c"
    "$cc" -std=c11 -Wall -Wextra -Werror "$work/reader.c" -o "$work/reader" $(pkg-config --cflags --libs fam) || return
    reader_says 2 'usage: reader' || return
    reader_says 2 'usage: reader' "$tiny" || return
    reader_says 5 'none' "$work/none" "$work/none" || return
    mkdir -p "$padded" "$work/settings"
    echo '{"mode": "full"}' >"$work/settings/fam_config.json"
    reader_says 2 'tokenizer: found none' "$tiny" "$work/settings" || return
    cp "$tiny"/*.json "$tiny"/*.safetensors "$padded" && cat >"$padded/tokenizer.json" <<'JSON' || return
{"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"e":0,"t":1},"merges":[]}}
JSON
    # The README has more letters than the context of the model.
    reader_says 2 '--mode bswa' "$padded" "$work/settings"
}

# The C interface of oneDNN 3 is another one: configuring says so, instead of a thousand errors of the compiler.
another_onednn_is_refused() {
    local said version
    for version in '3 1' '2 5'; do
        mkdir -p "$work/onednn"
        touch "$work/onednn/dnnl.h"
        printf '#define DNNL_VERSION_MAJOR %s\n#define DNNL_VERSION_MINOR %s\n' $version >"$work/onednn/dnnl_version.h"
        rm -rf "$work/onednn-build"
        said=$(cmake -S . -B "$work/onednn-build" -DDNNL_INCLUDE_DIR="$work/onednn" 2>&1) && { echo "$said"; return 1; }
        case $said in *"found version ${version/ /.}"*) ;; *) echo "$said"; return 1 ;; esac
    done
}

# Each by itself, as the first include, in both languages.
headers_stand_alone() {
    local header
    for header in "$prefix"/include/fam/*.h; do
        "$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$prefix/include" -fsyntax-only -x c "$header" || return
        "$cxx" -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$prefix/include" -fsyntax-only -x c++ "$header" || return
        [ "$(wc -l <"$header")" -lt 600 ] || { echo "$header is longer than 600 lines"; return 1; }
    done
}

moved_prefix_still_works() {
    mv "$prefix" "$work/elsewhere" || return
    PKG_CONFIG_PATH=$work/elsewhere/lib/pkgconfig
    local flags
    flags=$(pkg-config --cflags fam)
    mv "$work/elsewhere" "$prefix"
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    case $flags in *elsewhere*) ;; *) echo "$flags"; return 1 ;; esac
}

check installs_by_prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
check installs_by_destdir
check installed_program_runs
check manual_page_and_completion_are_well_formed
check shared_library_shows_only_the_public_names
check static_library_defines_only_prefixed_names
check shared_library_has_its_soname
check c_consumer_links_the_shared_library
check cpp_consumer_links_the_shared_library
check c_consumer_links_the_static_library
if [ -s "$model" ]; then
    check readme_example_recalls_a_key
else
    echo "SKIP readme_example_recalls_a_key: no $model"
    skipped=$((skipped + 1))
fi
check readme_example_tells_errors
check another_onednn_is_refused
check headers_stand_alone
check moved_prefix_still_works

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
