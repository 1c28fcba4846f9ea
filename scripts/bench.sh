#!/usr/bin/env bash
# Measures speed and memory of build/fam, beside llama.cpp where it can be built, and prints a table: ours, the peer's, the
# ratio, the spread. The same in build/bench/results.tsv and results.md.
#
#   bench.sh [TARGET ...]     numbers of scripts/bench.py, all when none is named
#   FAM_PEERS=DIR             a folder in which the peer is built (default build/peers; ../shared/peers/build.sh fills it)
#   BENCH_REPS=5              samples of each figure, alternating ours and the peer's; the median counts
#   BENCH_THREADS=2           threads on both sides, all cores when left out
#   BENCH_FULL=1              memory after 1,000,000 tokens instead of 100,000; depth 65,536 of the peer with all repetitions
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh demo
make --no-print-directory program >/dev/null
model=$(scripts/get-smollm2.sh)

peers=${FAM_PEERS:-build/peers}
if [ ! -x "$peers/bin/llama-bench" ]; then
    if [ -x ../shared/peers/build.sh ]; then
        ../shared/peers/build.sh "$peers" >&2
    else
        echo "bench: SKIPPED: the peer is not at $peers and ../shared/peers is not there; only our own figures follow" >&2
        peers=
    fi
fi
exec python3 scripts/bench.py --model "$model" --peers "$peers" "$@"
