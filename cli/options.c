/*
 * cli/options.c: the table of verbs and options, and how parsed values are looked up. Parsing is in options_parse.c.
 */
#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "numbers.h"

enum {
    GENERATE = 1 << VERB_GENERATE,
    CHAT = 1 << VERB_CHAT,
    SCORE = 1 << VERB_SCORE,
    TOKENIZE = 1 << VERB_TOKENIZE,
    INSPECT = 1 << VERB_INSPECT,
    BENCH = 1 << VERB_BENCH,
    EXPORT = 1 << VERB_EXPORT,
    TRAIN = 1 << VERB_TRAIN,
    EVAL = 1 << VERB_EVAL,
    PLOT = 1 << VERB_PLOT,
    WRITES = GENERATE | CHAT,
    READS = GENERATE | SCORE | TOKENIZE,
    RUNS = GENERATE | CHAT | SCORE | INSPECT | BENCH | EVAL,
    SETS = RUNS | EXPORT,
    COMPUTES = RUNS | TRAIN,
    ALL = SETS | TOKENIZE | TRAIN | PLOT
};

static const double TOKENS_MAX = 1099511627776.0; /* 2^40: positions end there */

static const verb_info verbs[VERB_COUNT] = {
    [VERB_GENERATE] = {"generate", "MODEL", "reads a prompt of any length, then generates",
                       "Reads the files in the order given, then the prompt, as one text with nothing added between, "
                       "and prints what the model writes after it. Nothing but the generated text goes to standard "
                       "output.\n\n"
                       "With --session the reading is kept: an interrupted file goes on where it stopped when the "
                       "same command is given again, and a file that was read to its end is not read a second time "
                       "(to read it again on purpose, give it on standard input: --file - < FILE). A file that has "
                       "changed since is refused. A session also keeps its sampling settings and random numbers; "
                       "giving any of the sampling options sets all of them anew. --max-tokens 0 only reads.\n\n"
                       "Ctrl-C stops after the present block, keeps what was done, and exits with 130; a second one "
                       "exits at once.",
                       "fam generate model.gguf --adapter models/smollm2-memory --session s.fam --file book.txt --max-tokens 0\n"
                       "fam generate model.gguf --adapter models/smollm2-memory --session s.fam --no-save \\\n"
                       "    --prompt 'Who was Ahab?'", false},
    [VERB_CHAT] = {"chat", "MODEL", "a conversation, with the model's chat template",
                   "Reads messages, one a line, from the terminal or a pipe, and prints each reply and a newline. Ctrl-C "
                   "stops a reply; at the prompt it leaves, as the end of the input does. With --session the "
                   "conversation goes on next time; a session that `fam generate` read a book into can be talked "
                   "with too.",
                   "fam chat model.gguf --system 'You are brief.' --session talk.fam", false},
    [VERB_SCORE] = {"score", "MODEL", "reads text; tokens, mean negative log likelihood, perplexity",
                    "Reads the input as `generate` does and reports how well the model predicted it: the mean of minus "
                    "the natural logarithm of each token's probability, over all tokens but the first, and the "
                    "perplexity, which is its exponential.",
                    "fam score model.gguf --adapter models/smollm2-memory --file book.txt --by-depth", false},
    [VERB_TOKENIZE] = {"tokenize", "MODEL", "text to ids and back; needs only the tokenizer",
                       "Prints the ids of the input divided by blanks, without a token for the beginning of text; with "
                       "--decode the text of ids, special tokens included. MODEL may also be a tokenizer.json.",
                       "fam tokenize model.gguf --prompt 'Call me Ishmael.'", false},
    [VERB_INSPECT] = {"inspect", "PATH", "what a model, adapter, session or training run contains; what memory a run would take",
                      "PATH is a model, an adapter directory, a session file, or the folder of a training run or "
                      "of one of its checkpoints (which is verified whole). For a model the options of a run may be "
                      "given, and the memory that this run would take is told.",
                      "fam inspect model.gguf --adapter models/smollm2-memory", false},
    [VERB_BENCH] = {"bench", "MODEL", "prefill and decode speed at several depths",
                    "Measures tokens per second: of reading prompts of several lengths, and of generating one token "
                    "after another with so many tokens read before. The tokens are drawn at random. Each figure is the "
                    "median of the repetitions, with the slowest and the fastest.",
                    "fam bench model.gguf --mode bswa --prompt-tokens 512,4096 --depths 0,4096,65536", false},
    [VERB_TRAIN] = {"train", "RECIPE", "trains a model or an adapter: gives a model its memory",
                    "RECIPE is a YAML file; docs/RECIPES.md has every key, and recipes/ has ready ones. The run lies in a "
                    "folder: the recipe as used, a line of metrics for each step, checkpoints, and at the end the result: "
                    "an adapter directory (which PEFT loads too) or a model directory. Its path is printed.\n\n"
                    "Given again, the same command goes on from the newest whole checkpoint, with the same numbers as if "
                    "it had never stopped. Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint and exit with 75; a second one "
                    "exits at once, and the checkpoints there are stay good.",
                    "fam train recipes/tutorial.yaml --out runs/tutorial --set train.seed=1", false},
    [VERB_EXPORT] = {"export", "MODEL", "merged model as a Hugging Face directory or GGUF",
                     "Merges the adapters into the weights and writes a model that needs none: a directory that "
                     "transformers opens or a GGUF file that llama.cpp opens. The settings and the prompt of the memory "
                     "lie in it, where fam finds them; other programs read it as a plain Transformer. The settings "
                     "below override what is written.\n\n"
                     "What is written appears at once and whole, or not at all; nothing that is there already is "
                     "replaced. Without --adapter the model is only written in the other format or type.",
                     "fam export model.gguf --adapter models/smollm2-memory --out merged\n"
                     "fam export model.gguf --adapter models/smollm2-memory --out merged.gguf --type f16", false},
    [VERB_EVAL] = {"eval", "MODEL", "how far back a model remembers: passkey, needles, recall, text",
                   "Lets the model read texts that hide something, asks for it, and counts the right answers: at "
                   "several lengths and depths, for several modes or adapters on the same draws. docs/EVAL.md tells "
                   "tasks, scoring and the files.\n\n"
                   "With --out each draw is kept as soon as it is done; the same command given again does only what is "
                   "missing, with more draws or lengths too. Ctrl-C stops after the present draw, prints what was done, "
                   "and exits with 130; a second one exits at once.",
                   "fam eval model.gguf --adapter models/smollm2-memory --task passkey --compare fam,bswa \\\n"
                   "    --lengths 2048,8192 --out runs/passkey", false},
    [VERB_PLOT] = {"plot", "PATH", "draws a training run or an evaluation",
                   "PATH is the folder of a run (with metrics.jsonl) or of an evaluation (with results.json), or such a file. What "
                   "is drawn is one HTML file that needs nothing beside it: the curves, what the run is, its newest "
                   "validation, its recipe; or the tables and curves of the evaluation. Its path is printed. Several runs, or "
                   "several evaluations of the same task, are drawn over one another.\n\n"
                   "A run that is still going on can be drawn too. The pictures are made by gnuplot, which must be installed.",
                   "fam plot runs/tutorial\n"
                   "fam plot runs/one runs/two --out both.html --svg figures",
                   .several = true},
};

#define SAMPLING "Generating"
#define MODEL "Model and mode"
#define TASK "Task"

static const option_info table[OPTION_COUNT] = {
    [OPTION_PROMPT] = {"prompt", KIND_TEXT, "TEXT", NULL, 0, 0, false, false, READS, "Input",
                       "read this text, after all files"},
    [OPTION_FILE] = {"file", KIND_PATH, "PATH", NULL, 0, 0, false, true, READS, "Input",
                     "read this file; - is standard input"},
    [OPTION_IDS_FILE] = {"ids-file", KIND_PATH, "PATH", NULL, 0, 0, false, true, READS, "Input",
                         "read token ids from this file: a JSON array, or decimals between blanks; needs no tokenizer"},
    [OPTION_SPECIAL] = {"special", KIND_FLAG, NULL, NULL, 0, 0, false, false, READS, "Input",
                        "text of special tokens is those tokens; otherwise it is text like any other"},
    [OPTION_DECODE] = {"decode", KIND_FLAG, NULL, NULL, 0, 0, false, false, TOKENIZE, "Input",
                       "from ids to text"},
    [OPTION_IDS] = {"ids", KIND_WORD, "IDS", NULL, 0, 0, false, false, TOKENIZE, "Input",
                    "with --decode: the ids, as in an ids file"},
    [OPTION_SYSTEM] = {"system", KIND_TEXT, "TEXT", NULL, 0, 0, false, false, CHAT, "Input",
                       "the system message, instead of the one in the model's template"},
    [OPTION_CHAT_TEMPLATE] = {"chat-template", KIND_WORD, "NAME", NULL, 0, 0, false, false, CHAT, "Input",
                              "use this built-in chat template instead of the model's own: chatml"},
    [OPTION_SESSION] = {"session", KIND_PATH, "PATH", NULL, 0, 0, false, false, WRITES, "Session",
                        "continue from this file if it exists, save to it at the end"},
    [OPTION_NO_SAVE] = {"no-save", KIND_FLAG, NULL, NULL, 0, 0, false, false, WRITES, "Session",
                        "only read the session file, so that one reading serves many questions"},
    [OPTION_SAVE_EVERY] = {"save-every", KIND_INTEGER, "SECONDS", "300", 0, 86400, false, false, GENERATE, "Session",
                           "save also while reading, about this often; 0: only at the end"},
    [OPTION_MAX_TOKENS] = {"max-tokens", KIND_INTEGER, "N", "256", 0, TOKENS_MAX, false, false, WRITES, SAMPLING,
                           "stop after so many tokens"},
    [OPTION_TEMPERATURE] = {"temperature", KIND_REAL, "X", "0", 0, 1000, false, false, WRITES, SAMPLING,
                            "0 is greedy: always the most probable token, ties to the lowest id"},
    [OPTION_TOP_K] = {"top-k", KIND_INTEGER, "N", "0", 0, 2147483647, false, false, WRITES, SAMPLING,
                      "draw from the N most probable tokens; 0: from all"},
    [OPTION_TOP_P] = {"top-p", KIND_REAL, "X", "1", 0, 1, true, false, WRITES, SAMPLING,
                      "draw from the most probable tokens that together have probability X"},
    [OPTION_MIN_P] = {"min-p", KIND_REAL, "X", "0", 0, 1, false, false, WRITES, SAMPLING,
                      "draw from tokens at least X times as probable as the most probable one"},
    [OPTION_REPETITION_PENALTY] = {"repetition-penalty", KIND_REAL, "X", "1", 0, 1000, true, false, WRITES, SAMPLING,
                                   "divide the logits of the last 1,024 tokens by X (multiply where negative)"},
    [OPTION_PRESENCE_PENALTY] = {"presence-penalty", KIND_REAL, "X", "0", -1000, 1000, false, false, WRITES, SAMPLING,
                                 "subtract X from the logits of tokens already generated"},
    [OPTION_FREQUENCY_PENALTY] = {"frequency-penalty", KIND_REAL, "X", "0", -1000, 1000, false, false, WRITES, SAMPLING,
                                  "subtract X for each time a token was already generated"},
    [OPTION_LOGIT_BIAS] = {"logit-bias", KIND_BIAS, "ID=VALUE", NULL, 0, 0, false, true, WRITES, SAMPLING,
                           "add VALUE to the logit of a token; -inf forbids it"},
    [OPTION_SEED] = {"seed", KIND_UNSIGNED, "N", "0", 0, 0, false, false, WRITES, SAMPLING,
                     "of the random numbers: the same seed gives the same text on the same machine"},
    [OPTION_STOP] = {"stop", KIND_WORD, "TEXT", NULL, 0, 0, false, true, WRITES, SAMPLING,
                     "end before this text, which is not printed"},
    [OPTION_BY_DEPTH] = {"by-depth", KIND_FLAG, NULL, NULL, 0, 0, false, false, SCORE, "Measuring",
                         "also tell the mean by depth: tokens 0 to 255, then ranges that double"},
    [OPTION_PROMPT_TOKENS] = {"prompt-tokens", KIND_LIST, "N,…", "512", 1, 1073741824, false, false, BENCH, "Measuring",
                              "prefill: read so many tokens"},
    [OPTION_DEPTHS] = {"depths", KIND_LIST, "N,…", "0", 0, 1073741824, false, false, BENCH, "Measuring",
                       "decode: with so many tokens read before"},
    [OPTION_DECODE_TOKENS] = {"decode-tokens", KIND_INTEGER, "N", "32", 1, 1048576, false, false, BENCH, "Measuring",
                              "decode: generate so many tokens for one figure"},
    [OPTION_REPETITIONS] = {"repetitions", KIND_INTEGER, "N", "5", 1, 10000, false, false, BENCH, "Measuring",
                            "measure so often"},
    [OPTION_OUT] = {"out", KIND_PATH, "PATH", NULL, 0, 0, false, false, TRAIN | EXPORT, "Results",
                    "train: the folder of the run (else runs/ and the recipe's name); export: where to write, where nothing may "
                    "be yet"},
    [OPTION_SET] = {"set", KIND_WORD, "KEY=VALUE", NULL, 0, 0, false, true, TRAIN, "Run",
                    "as if the recipe said so: --set optimizer.learning_rate=1e-4"},
    [OPTION_RESUME] = {"resume", KIND_CHOICE, "auto|must|never", NULL, 0, 0, false, false, TRAIN, "Run",
                       "go on from a checkpoint if there is one (auto, if not given); refuse to begin anew; refuse to go on"},
    [OPTION_OVERRIDE] = {"override", KIND_WORD, "KEY", NULL, 0, 0, false, true, TRAIN, "Run",
                         "resume although this key of the recipe has another value now"},
    [OPTION_DRY_RUN] = {"dry-run", KIND_FLAG, NULL, NULL, 0, 0, false, false, TRAIN, "Run",
                        "open and check everything, tell what the run would take, and stop"},
    [OPTION_NO_REPORT] = {"no-report", KIND_FLAG, NULL, NULL, 0, 0, false, false, TRAIN, "Run",
                          "do not draw report.html in the run's folder (else now and then, and at the end)"},
    [OPTION_PLOT_OUT] = {"out", KIND_PATH, "FILE", NULL, 0, 0, false, false, PLOT, "Results",
                         "the report (else report.html in PATH; must be given with several PATHs)"},
    [OPTION_SVG] = {"svg", KIND_PATH, "DIR", NULL, 0, 0, false, false, PLOT, "Results",
                    "also write each picture there as an SVG file, for a paper"},
    [OPTION_FORMAT] = {"format", KIND_CHOICE, "hf|gguf", NULL, 0, 0, false, false, EXPORT, "Export",
                       "a directory or a GGUF file (else GGUF if PATH ends in .gguf)"},
    [OPTION_TYPE] = {"type", KIND_CHOICE, "f32|f16|bf16", NULL, 0, 0, false, false, EXPORT, "Export",
                     "of the matrices (else the model's own, and bf16 where it is quantised)"},
    [OPTION_TASK] = {"task", KIND_CHOICE, "passkey|passkey_landmark|needle|recall|overwrite|text", NULL, 0, 0, false,
                     false, EVAL, TASK, "what is asked; text: nothing, the loss by depth"},
    [OPTION_LENGTHS] = {"lengths", KIND_LIST, "N,…", "4096", 2, TOKENS_MAX, false, false, EVAL, TASK,
                        "tokens of a draw, the answer included"},
    [OPTION_TASK_DEPTHS] = {"task-depths", KIND_REALS, "X,…", NULL, 0, 1, false, false, EVAL, TASK,
                            "where the keys stand, 0 is the start and 1 the end (else passkey at the start, others "
                            "drawn anywhere)"},
    [OPTION_KEYS] = {"keys", KIND_LIST, "N,…", "1", 1, 65536, false, false, EVAL, TASK,
                     "needle, recall, overwrite: how many are said"},
    [OPTION_ASKED] = {"asked", KIND_INTEGER, "N", "1", 1, 65536, false, false, EVAL, TASK,
                      "needle, recall, overwrite: how many of them are asked for"},
    [OPTION_DIGITS] = {"digits", KIND_INTEGER, "N", "5", 1, 18, false, false, EVAL, TASK, "of a key or value"},
    [OPTION_DRAWS] = {"draws", KIND_INTEGER, "N", "100", 1, 16777216, false, false, EVAL, TASK,
                      "so many at each length, depth and number of keys; text: pieces that do not overlap, at most "
                      "what the files have"},
    [OPTION_TASK_SEED] = {"seed", KIND_UNSIGNED, "N", "0", 0, 0, false, false, EVAL, TASK,
                          "of the draws: the same seed gives the same ones on every machine"},
    [OPTION_TASK_FILE] = {"file", KIND_PATH, "PATH", NULL, 0, 0, false, true, EVAL, TASK,
                          "text: a document; needle: the text that needles lie in (else a built-in one)"},
    [OPTION_COMPARE] = {"compare", KIND_CHOICES, "full|swa|bswa|fam", NULL, 0, 0, false, false, EVAL, "Comparing",
                        "measure in these modes, on the same draws; several are divided by commas"},
    [OPTION_COMPARE_ADAPTER] = {"compare-adapter", KIND_ADAPTER, "DIR[:SCALE]", NULL, 0, 0, false, true, EVAL,
                                "Comparing",
                                "measure with this adapter, behind those of --adapter; none: with no further one"},
    [OPTION_EXHAUSTIVE] = {"exhaustive", KIND_FLAG, NULL, NULL, 0, 0, false, false, EVAL, "Comparing",
                           "let bswa and swa also read what cannot reach their answer (the result is the same)"},
    [OPTION_ADAPTER] = {"adapter", KIND_ADAPTER, "DIR[:SCALE]", NULL, 0, 0, false, true, SETS, MODEL,
                        "apply this adapter (a PEFT directory, FAM files beside it); SCALE multiplies its own scale"},
    [OPTION_MODE] = {"mode", KIND_CHOICE, "full|swa|bswa|fam", NULL, 0, 0, false, false, SETS, MODEL,
                     "what a token sees: all before it; a sliding window; its block and the segments before it; these and "
                     "the memory. If not given, what the last adapter says, else the model, else full. The same holds for "
                     "the settings below"},
    [OPTION_BLOCK_SIZE] = {"block-size", KIND_INTEGER, "N", NULL, 1, 2147483648, false, false, SETS, MODEL,
                           "tokens of a block (else 1024)"},
    [OPTION_MEMORY_SEGMENTS] = {"memory-segments", KIND_INTEGER, "N", NULL, 0, 1048576, false, false, SETS, MODEL,
                                "modes bswa and fam: whole blocks before the present one that are still seen (else 0)"},
    [OPTION_FAM_LENGTH] = {"fam-length", KIND_INTEGER, "N", NULL, 1, 2147483648, false, false, SETS, MODEL,
                           "mode fam: rows of the state (else those of the prompt tensor)"},
    [OPTION_STATE_NORM] = {"state-norm", KIND_CHOICE, "none|rms|rms_init", NULL, 0, 0, false, false, SETS, MODEL,
                           "mode fam: how the state is rescaled after each block (else none)"},
    [OPTION_FAM_POSITIONS] = {"fam-positions", KIND_CHOICE, "last|zero|float", NULL, 0, 0, false, false, SETS, MODEL,
                              "mode fam: where the rows of the state sit (else last)"},
    [OPTION_WINDOW] = {"window", KIND_INTEGER, "N", NULL, 1, 2147483648, false, false, SETS, MODEL,
                       "mode swa: tokens that are seen (else 1024)"},
    [OPTION_CONTEXT] = {"context", KIND_INTEGER, "N", NULL, 1, 1099511627776, false, false, RUNS, MODEL,
                        "mode full: tokens that the cache can hold (else the model's context length)"},
    [OPTION_IGNORE_CONFIG_KEY] = {"ignore-config-key", KIND_WORD, "NAME", NULL, 0, 0, false, true, SETS, MODEL,
                                  "accept this key of config.json although it may change the result"},
    [OPTION_DEVICE] = {"device", KIND_DEVICE, "cpu", "cpu", 0, 0, false, false, COMPUTES, "Machine",
                       "where to compute: this build has no other device"},
    [OPTION_THREADS] = {"threads", KIND_INTEGER, "N", NULL, 1, 1024, false, false, COMPUTES, "Machine",
                        "threads (else as many as there are processors for this process)"},
    [OPTION_DTYPE] = {"dtype", KIND_CHOICE, "f32|bf16", NULL, 0, 0, false, false, COMPUTES, "Machine",
                      "arithmetic (else bf16 where the processor computes in it, else f32)"},
    [OPTION_ISA] = {"isa", KIND_CHOICE, "portable|avx2|avx512|avx512vnni|avx512bf16|amx", NULL, 0, 0, false, false, COMPUTES,
                    "Machine", "use only these instructions (else the best that the machine has)"},
    [OPTION_JSON] = {"json", KIND_FLAG, NULL, NULL, 0, 0, false, false, SCORE | TOKENIZE | INSPECT | BENCH | EVAL,
                     "Output",
                     "one JSON object on standard output"},
    [OPTION_EVAL_OUT] = {"out", KIND_PATH, "DIR", NULL, 0, 0, false, false, EVAL, "Output",
                         "keep draws.jsonl and results.json there, and go on from what is there; `fam plot DIR` draws "
                         "it"},
    [OPTION_STATS] = {"stats", KIND_FLAG, NULL, NULL, 0, 0, false, false, GENERATE, "Output",
                      "at the end one JSON object on standard error: tokens read, in the window, in the memory, "
                      "generated; seconds, speed, memory"},
    [OPTION_HELP] = {"help", KIND_FLAG, NULL, NULL, 0, 0, false, false, ALL, "Output", "print this"},
};

const verb_info *verb_get(verb_id id)
{
    return &verbs[id];
}

const option_info *option_get(option_id id)
{
    return &table[id];
}

bool option_of_verb(option_id id, verb_id verb)
{
    return (table[id].verbs >> verb & 1) != 0;
}

size_t option_times(const cli_options *options, option_id id)
{
    size_t times = 0;
    for (size_t i = 0; i < options->count; i++)
        times += options->values[i].id == id;
    return times;
}

const option_value *option_nth(const cli_options *options, option_id id, size_t n)
{
    for (size_t i = 0; i < options->count; i++) {
        if (options->values[i].id == id && n-- == 0)
            return &options->values[i];
    }
    return NULL;
}

bool option_given(const cli_options *options, option_id id)
{
    return option_nth(options, id, 0) != NULL;
}

const char *option_text(const cli_options *options, option_id id)
{
    const option_value *value = option_nth(options, id, 0);
    return value ? value->text : table[id].fallback;
}

int64_t option_integer(const cli_options *options, option_id id)
{
    const option_value *value = option_nth(options, id, 0);
    int64_t integer = -1;
    if (value)
        return value->integer;
    if (table[id].fallback)
        number_integer(&integer, table[id].fallback);
    return integer;
}

uint64_t option_unsigned(const cli_options *options, option_id id)
{
    const option_value *value = option_nth(options, id, 0);
    uint64_t integer = 0;
    if (value)
        return value->unsigned_integer;
    number_unsigned(&integer, table[id].fallback);
    return integer;
}

double option_real(const cli_options *options, option_id id)
{
    const option_value *value = option_nth(options, id, 0);
    double real = 0;
    if (value)
        return value->real;
    number_real(&real, table[id].fallback);
    return real;
}

int option_choice(const cli_options *options, option_id id)
{
    const option_value *value = option_nth(options, id, 0);
    return value ? (int)value->integer : -1;
}

int64_t *option_list(const cli_options *options, option_id id, size_t *count)
{
    const option_value *value = option_nth(options, id, 0);
    *count = value ? value->list_count : 1;
    int64_t *list = malloc(*count * sizeof *list);
    if (list && value)
        memcpy(list, value->list, *count * sizeof *list);
    else if (list)
        number_integer(list, table[id].fallback);
    return list;
}
