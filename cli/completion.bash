# bash completion for fam, written from its option table
_fam()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='generate chat score tokenize inspect bench export train eval plot --help --version'
        COMPREPLY=($(compgen -W "$words" -- "$current"))
        return
    fi
    case $previous in
    --resume) words='auto must never'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --format) words='hf gguf'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --type) words='f32 f16 bf16'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --task) words='passkey passkey_landmark needle recall overwrite text'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --compare) words='full swa bswa fam'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --mode) words='full swa bswa fam'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --state-norm) words='none rms rms_init'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --fam-positions) words='last zero float'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --dtype) words='f32 bf16'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    --isa) words='portable avx2 avx512 avx512vnni avx512bf16 amx'; COMPREPLY=($(compgen -W "$words" -- "$current")); return ;;
    esac
    case ${COMP_WORDS[1]} in
    generate) words='--prompt --file --ids-file --special --session --no-save --save-every --max-tokens --temperature --top-k --top-p --min-p --repetition-penalty --presence-penalty --frequency-penalty --logit-bias --seed --stop --adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --context --ignore-config-key --device --threads --dtype --isa --stats --help ' ;;
    chat) words='--system --chat-template --session --no-save --max-tokens --temperature --top-k --top-p --min-p --repetition-penalty --presence-penalty --frequency-penalty --logit-bias --seed --stop --adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --context --ignore-config-key --device --threads --dtype --isa --help ' ;;
    score) words='--prompt --file --ids-file --special --by-depth --adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --context --ignore-config-key --device --threads --dtype --isa --json --help ' ;;
    tokenize) words='--prompt --file --ids-file --special --decode --ids --json --help ' ;;
    inspect) words='--adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --context --ignore-config-key --device --threads --dtype --isa --json --help ' ;;
    bench) words='--prompt-tokens --depths --decode-tokens --repetitions --adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --context --ignore-config-key --device --threads --dtype --isa --json --help ' ;;
    export) words='--out --format --type --adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --ignore-config-key --help ' ;;
    train) words='--out --set --resume --override --dry-run --no-report --device --threads --dtype --isa --help ' ;;
    eval) words='--task --lengths --task-depths --keys --asked --digits --draws --seed --file --compare --compare-adapter --exhaustive --adapter --mode --block-size --memory-segments --fam-length --state-norm --fam-positions --window --context --ignore-config-key --device --threads --dtype --isa --json --out --help ' ;;
    plot) words='--out --svg --help ' ;;
    esac
    case $current in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) COMPREPLY=($(compgen -f -- "$current")) ;;
    esac
}
complete -o filenames -F _fam fam
