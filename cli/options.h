/*
 * cli/options.h: the verbs and their options: one table, from which come parsing, help, docs/COMMANDS.md, the manual page
 * and the shell completion. Knows nothing of what an option does.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum verb_id {
    VERB_GENERATE,
    VERB_CHAT,
    VERB_SCORE,
    VERB_TOKENIZE,
    VERB_INSPECT,
    VERB_BENCH,
    VERB_EXPORT,
    VERB_TRAIN,
    VERB_EVAL,
    VERB_PLOT,
    VERB_COUNT
} verb_id;

typedef struct verb_info {
    const char *name;
    const char *argument; /* what its argument is called: "MODEL" */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs divided by an empty line */
    const char *example;
    bool several; /* the argument may be given more than once */
} verb_info;

/* The order is the order in the help. */
typedef enum option_id {
    OPTION_PROMPT,
    OPTION_FILE,
    OPTION_IDS_FILE,
    OPTION_SPECIAL,
    OPTION_DECODE,
    OPTION_IDS,
    OPTION_SYSTEM,
    OPTION_CHAT_TEMPLATE,
    OPTION_SESSION,
    OPTION_NO_SAVE,
    OPTION_SAVE_EVERY,
    OPTION_MAX_TOKENS,
    OPTION_TEMPERATURE,
    OPTION_TOP_K,
    OPTION_TOP_P,
    OPTION_MIN_P,
    OPTION_REPETITION_PENALTY,
    OPTION_PRESENCE_PENALTY,
    OPTION_FREQUENCY_PENALTY,
    OPTION_LOGIT_BIAS,
    OPTION_SEED,
    OPTION_STOP,
    OPTION_BY_DEPTH,
    OPTION_PROMPT_TOKENS,
    OPTION_DEPTHS,
    OPTION_DECODE_TOKENS,
    OPTION_REPETITIONS,
    OPTION_OUT,
    OPTION_SET,
    OPTION_RESUME,
    OPTION_OVERRIDE,
    OPTION_DRY_RUN,
    OPTION_NO_REPORT,
    OPTION_PLOT_OUT,
    OPTION_SVG,
    OPTION_FORMAT,
    OPTION_TYPE,
    OPTION_TASK,
    OPTION_LENGTHS,
    OPTION_TASK_DEPTHS,
    OPTION_KEYS,
    OPTION_ASKED,
    OPTION_DIGITS,
    OPTION_DRAWS,
    OPTION_TASK_SEED,
    OPTION_TASK_FILE,
    OPTION_COMPARE,
    OPTION_COMPARE_ADAPTER,
    OPTION_EXHAUSTIVE,
    OPTION_ADAPTER,
    OPTION_MODE,
    OPTION_BLOCK_SIZE,
    OPTION_MEMORY_SEGMENTS,
    OPTION_FAM_LENGTH,
    OPTION_STATE_NORM,
    OPTION_FAM_POSITIONS,
    OPTION_WINDOW,
    OPTION_CONTEXT,
    OPTION_IGNORE_CONFIG_KEY,
    OPTION_DEVICE,
    OPTION_THREADS,
    OPTION_DTYPE,
    OPTION_ISA,
    OPTION_JSON,
    OPTION_EVAL_OUT,
    OPTION_STATS,
    OPTION_HELP,
    OPTION_COUNT
} option_id;

typedef enum option_kind {
    KIND_FLAG,     /* no value */
    KIND_TEXT,     /* any text, also an empty one */
    KIND_WORD,     /* any text but an empty one */
    KIND_PATH,     /* not empty, shorter than PATH_MAX */
    KIND_INTEGER,  /* min to max */
    KIND_LIST,     /* integers of min to max divided by commas */
    KIND_UNSIGNED, /* 0 to 2^64-1 */
    KIND_REAL,     /* min to max */
    KIND_REALS,    /* numbers of min to max divided by commas */
    KIND_CHOICE,   /* one of value_name's words divided by '|' */
    KIND_CHOICES,  /* one or several of them divided by commas */
    KIND_ADAPTER,  /* DIR[:SCALE] */
    KIND_BIAS,     /* ID=VALUE */
    KIND_DEVICE    /* cpu, cuda or cuda:N */
} option_kind;

typedef struct option_info {
    const char *name; /* without the two dashes */
    option_kind kind;
    const char *value_name; /* NULL for a flag */
    const char *fallback;   /* the value when it is not given; NULL: none, or up to the model */
    double min, max;        /* of numbers; both included, but for min_excluded */
    bool min_excluded;
    bool repeatable;
    unsigned verbs; /* bit 1 << verb_id */
    const char *group;
    const char *help;
} option_info;

const verb_info *verb_get(verb_id id);
const option_info *option_get(option_id id);
bool option_of_verb(option_id id, verb_id verb);

/* One option as it was given. */
typedef struct option_value {
    option_id id;
    const char *text; /* the argument; for KIND_ADAPTER the directory */
    char *owned;      /* a copy that `text` points into, or NULL */
    int64_t integer;  /* KIND_INTEGER; KIND_BIAS: the id */
    uint64_t unsigned_integer;
    double real; /* KIND_REAL; KIND_ADAPTER: the scale; KIND_BIAS: the bias */
    int64_t *list; /* KIND_LIST; KIND_CHOICES: indices of the words */
    double *reals; /* KIND_REALS */
    size_t list_count;
} option_value;

typedef struct cli_options {
    verb_id verb;
    const char *argument;  /* MODEL or PATH; the first, if there are several */
    const char **arguments; /* all of them */
    size_t argument_count;
    option_value *values; /* in the order of the command line */
    size_t count;
} cli_options;

/* Parses what follows the program's name. Returns -1 to go on; else the program is done (help was printed, or a usage
 * error was said) and this is its exit code. */
int options_parse(cli_options *out, int argc, char **argv);
void options_free(cli_options *options);

bool option_given(const cli_options *options, option_id id);
/* The value, else the table's fallback, else NULL or FAM_AUTO (-1). */
const char *option_text(const cli_options *options, option_id id);
int64_t option_integer(const cli_options *options, option_id id);
uint64_t option_unsigned(const cli_options *options, option_id id);
double option_real(const cli_options *options, option_id id);
/* Index of the value's word among those of a KIND_CHOICE, or FAM_AUTO. */
int option_choice(const cli_options *options, option_id id);
/* The integers of a KIND_LIST, or of its fallback; released with free. NULL: out of memory. */
int64_t *option_list(const cli_options *options, option_id id, size_t *count);
/* How often it was given, and its n-th value. */
size_t option_times(const cli_options *options, option_id id);
const option_value *option_nth(const cli_options *options, option_id id, size_t n);

#endif
