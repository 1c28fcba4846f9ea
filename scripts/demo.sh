#!/usr/bin/env bash
# The main job, seen from outside: five-digit keys, drawn anew, are said once at the start of long texts, and asked for at the
# end, far outside of the window; then a part of the King James Bible streams through at constant memory.
#
#   demo.sh                  within three minutes on two cores: 4,000 to 8,000 tokens a round, as this machine allows
#   DEMO_FULL=1 demo.sh      8,000 tokens a round, and the whole Bible
#
# Ends with 0 only if mode fam remembered at least 4 of 5 keys and mode bswa, the same without memory, none.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5
round_seconds=85 # for all rounds together, and
job_seconds=165  # for everything after the build
full=${DEMO_FULL:-0}
memory=models/smollm2-memory
work=build/demo
mkdir -p "$work"

if [ -t 1 ]; then
    terminal=1 bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m' clear=$'\r\e[K'
else
    terminal='' bold='' dim='' green='' red='' plain='' clear=''
fi
child=
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 130' INT TERM

now() { date +%s.%N; }
calc() { awk "BEGIN { printf \"$1\", $2 }"; }
thousands() { sed -e :a -e 's/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/;ta' <<<"$1"; }
mib() { calc '%.0f' "$1 / 1048576"; }
title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
# What is being done: a line that the next one replaces, or a line of its own where there is no terminal.
doing() { if [ -n "$terminal" ]; then live "$1"; else printf '%s\n' "$1"; fi; }
# A line that the next one replaces; nothing where there is no terminal.
live() { [ -z "$terminal" ] || printf '%s%s' "$clear" "$1"; }
json_number() { grep -o "\"$1\": *[-0-9.e+]*" "$2" | head -n 1 | sed 's/.*: *//'; }

# The wording of the key and the filler is that of tests/fixtures/passkey.
filler='The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. '
passkey_document() { # KEY TOKENS
    local repeats=$((163 + ($2 - 4000) * 167 / 4000)) text
    printf -v text "%${repeats}s" ''
    text=${text// /$filler}
    printf '%s The pass key is %s. Remember it. %s is the pass key. %s\nWhat is the pass key? The pass key is ' \
        'There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important information there.' \
        "$1" "$1" "${text% }"
}

draw_key() { echo $((10000 + $(od -An -N4 -tu4 /dev/urandom) % 90000)); }

# ask LABEL MODE DOCUMENT: sets answer, and seconds it took; shows that it is at work.
ask() {
    local since status=0
    since=$(now)
    build/fam generate "$model" --adapter "$memory" --mode "$2" --file "$3" --max-tokens 5 --stats \
        >"$work/answer" 2>"$work/stats" </dev/null &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        live "$1 $(calc '%.0f' "$(now) - $since") s"
        sleep 0.2
    done
    wait "$child" || status=$?
    child=
    live ''
    if [ "$status" -ne 0 ]; then
        cat "$work/stats" >&2
        echo "demo: build/fam generate ended with $status" >&2
        exit 1
    fi
    seconds=$(calc '%.3f' "$(now) - $since")
    answer=$(tr -s '[:space:]' ' ' <"$work/answer")
    answer=${answer# }
}

# ---- what is needed ----

scripts/install-deps.sh demo
doing 'building, about a minute the first time ...'
make --no-print-directory program >"$work/build.log" 2>&1 || {
    cat "$work/build.log"
    exit 1
}
live ''
model=$(scripts/get-smollm2.sh) || {
    echo 'demo: SmolLM2 could not be had (see above), and without a model there is nothing to show' >&2
    exit 1
}
started=$(now)

printf '%sfam: a language model with a memory%s\n' "$bold" "$plain"
printf '  model    SmolLM2-135M-Instruct, Q4_1, %s MB; its memory %s, %s MB\n' "$(($(stat -Lc %s "$model") / 1000000))" "$memory" \
    "$(($(stat -c %s "$memory/adapter_model.safetensors") / 1000000))"
printf '  machine  %s, %s cores\n' "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)" "$(nproc)"

# ---- keys ----

title "$rounds keys, each said once at the start of a long text and asked for at its end"
cat <<'TEXT'
  The model sees one block of 256 tokens at a time. In mode bswa that is all; in mode fam 64 rows of feedback state go from
  block to block as well. The keys are drawn anew; what stands between is filler.

TEXT
verdict() { # KEY ANSWER: pads before it colours
    if [[ $2 == "$1"* ]]; then
        printf '%-8.8s %s%-12s%s' "$2" "$green" remembered "$plain"
    else
        printf '%-8.8s %s%-12s%s' "$2" "$red" 'not known' "$plain"
    fi
}
printf '  %s%-5s  %-5s  %6s  %-21s  %-21s  %s%s\n' "$dim" round key tokens 'fam answers' 'bswa answers' 'fam reads' "$plain"
fam_right=0 bswa_right=0 read_tokens=0 read_seconds=0 most=8000
for ((round = 1; round <= rounds; round++)); do
    tokens=8000
    [ "$full" = 1 ] || tokens=$((4000 + (most - 4000) * (round - 1) / (rounds - 1)))
    key=$(draw_key)
    passkey_document "$key" "$tokens" >"$work/document.txt"
    label=$(printf '  %-5s  %-5s  about %s tokens,' "$round" "$key" "$(thousands "$tokens")")
    ask "$label mode fam:" fam "$work/document.txt"
    fam_answer=$answer fam_seconds=$seconds
    tokens=$(json_number input_tokens "$work/stats")
    round_peak=$(json_number peak_bytes "$work/stats") round_speed=$(calc '%.0f' "$(json_number read_tok_s "$work/stats")")
    ask "$label mode bswa:" bswa "$work/document.txt"
    if [[ $fam_answer == "$key"* ]]; then fam_right=$((fam_right + 1)); fi
    if [[ $answer == "$key"* ]]; then bswa_right=$((bswa_right + 1)); fi
    printf '  %-5s  %-5s  %6s  %s  %s  %s tok/s\n' "$round" "$key" "$(thousands "$tokens")" "$(verdict "$key" "$fam_answer")" \
        "$(verdict "$key" "$answer")" "$(thousands "$round_speed")"
    read_tokens=$((read_tokens + tokens))
    read_seconds=$(calc '%.3f' "$read_seconds + $fam_seconds")
    if [ "$round" = 1 ]; then
        # The lengths grow evenly from 4,000 to what leaves time for the Bible.
        most=$(calc '%d' "2 * $round_seconds * $tokens / ($fam_seconds + $seconds) / $rounds - 4000")
        if [ "$most" -gt 8000 ]; then most=8000; fi
        if [ "$most" -lt 4000 ]; then most=4000; fi
    fi
done

# ---- the Bible ----

title 'The King James Bible, streamed through the same memory'
bible -f gen1:1-rev22:21 >"$work/bible.txt"
if [ "$full" != 1 ]; then
    # 3.6 bytes a token; whole verses
    bytes=$(calc '%d' "0.8 * 3.6 * ($job_seconds - ($(now) - $started)) * $read_tokens / $read_seconds")
    if [ "$bytes" -lt 60000 ]; then bytes=60000; fi
    if [ "$bytes" -lt "$(stat -c %s "$work/bible.txt")" ]; then
        head -c "$bytes" "$work/bible.txt" | sed '$d' >"$work/part.txt"
        mv "$work/part.txt" "$work/bible.txt"
    fi
fi
last_verse=$(tail -n 1 "$work/bible.txt" | cut -d' ' -f1)
sed -i 's/^[^ ]* //' "$work/bible.txt"
bible_bytes=$(stat -c %s "$work/bible.txt")
printf '  from Ge1:1 to %s, %s KB\n\n' "$last_verse" "$(thousands $((bible_bytes / 1000)))"
printf '  %s%7s  %11s  %10s%s\n' "$dim" seconds 'tokens read' memory "$plain"

# The program says how far it is every ten seconds: "fam: 14,336 tokens read, ..., 19 %, 43 s to go".
progress() { grep -o 'fam: [0-9,]* tokens read.*' "$work/stats" | tail -n 1; }
resident() { sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status" 2>/dev/null; }

since=$(now)
build/fam generate "$model" --adapter "$memory" --file "$work/bible.txt" --max-tokens 0 --stats 2>"$work/stats" </dev/null &
child=$!
shown='' rows=-1
while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    told=$(progress) kib=$(resident "$child") || true
    elapsed=$(calc '%.0f' "$(now) - $since")
    live "$(printf '  %7s' "$elapsed") s ..."
    if [ -z "$told" ] || [ -z "$kib" ] || [ "$told" = "$shown" ]; then continue; fi
    shown=$told
    percent=$(sed -n 's/.*, \([0-9]*\) %,.*/\1/p' <<<"$told")
    if [ $((${percent:-0} / 10)) -le "$rows" ]; then continue; fi
    rows=$((${percent:-0} / 10))
    live ''
    tokens_read=${told#fam: }
    printf '  %7s  %11s  %6s MiB\n' "$elapsed" "${tokens_read%% *}" $((kib / 1024))
done
status=0
wait "$child" || status=$?
child=
live ''
if [ "$status" -ne 0 ]; then
    cat "$work/stats" >&2
    echo "demo: build/fam generate ended with $status" >&2
    exit 1
fi
bible_tokens=$(json_number input_tokens "$work/stats") bible_speed=$(json_number read_tok_s "$work/stats")
bible_peak=$(json_number peak_bytes "$work/stats")

# ---- summary ----

title 'Summary'
printf '  read          %s tokens with hidden keys, %s tokens of the Bible\n' "$(thousands "$read_tokens")" "$(thousands "$bible_tokens")"
printf '  remembered    %sfam %d/%d%s, bswa %d/%d keys (same weights, same block size)\n' "$bold" "$fam_right" "$rounds" "$plain" \
    "$bswa_right" "$rounds"
printf '  memory used   %s MiB at the most after %s tokens, %s MiB after %s\n' "$(mib "$round_peak")" "$(thousands "$tokens")" \
    "$(mib "$bible_peak")" "$(thousands "$bible_tokens")"
printf '  speed         %s tokens a second in the Bible\n' "$(thousands "$(calc '%.0f' "$bible_speed")")"
printf '  time          %.0f s\n' "$(calc '%.0f' "$(now) - $started")"
if [ "$fam_right" -ge 4 ] && [ "$bswa_right" -eq 0 ]; then
    printf '\n%sThe memory works.%s\n' "$green" "$plain"
    exit 0
fi
printf '\n%sNot as it should be: fam must remember at least 4 keys of %d, and bswa none.%s\n' "$red" "$rounds" "$plain"
exit 1
