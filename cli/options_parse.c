/*
 * cli/options_parse.c: the command line against the table of options.c. Every mistake is one line that says what was
 * found and what is needed.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "help.h"
#include "message.h"
#include "numbers.h"
#include "options.h"

static const double SCALE_MAX = 1000;
static const double BIAS_MAX = 1e6;

static void range_text(char *out, size_t size, const option_info *info)
{
    bool real = info->kind == KIND_REAL || info->kind == KIND_REALS;
    const char *kind = real ? "a number" : "an integer";
    const char *plural = info->kind == KIND_LIST || info->kind == KIND_REALS ? " (several are divided by commas)" : "";
    if (info->min_excluded)
        snprintf(out, size, "%s above %.0f, at most %.0f%s", kind, info->min, info->max, plural);
    else
        snprintf(out, size, "%s from %.0f to %.0f%s", kind, info->min, info->max, plural);
}

static int bad_number(const option_info *info, const char *text)
{
    char range[128];
    range_text(range, sizeof range, info);
    return usage_error("--%s: found \"%s\", need %s", info->name, text, range);
}

static bool in_range(const option_info *info, double value)
{
    return value <= info->max && (info->min_excluded ? value > info->min : value >= info->min);
}

/* Index of the word among those of value_name, or -1. */
static int64_t find_word(const option_info *info, const char *text)
{
    size_t length = strlen(text);
    int64_t index = 0;
    for (const char *word = info->value_name; word; index++) {
        const char *end = strchrnul(word, '|');
        if ((size_t)(end - word) == length && memcmp(word, text, length) == 0)
            return index;
        word = *end ? end + 1 : NULL;
    }
    return -1;
}

static int bad_choice(const option_info *info, const char *text)
{
    const char *one = info->kind == KIND_CHOICES ? "one or several (divided by commas)" : "one";
    return usage_error("--%s: found \"%s\", need %s of %s", info->name, text, one, info->value_name);
}

/* One item of a list goes to its place; false if it is none. */
static bool parse_item(option_value *value, const option_info *info, const char *item)
{
    int64_t integer;
    double real;
    if (info->kind == KIND_REALS) {
        if (!number_real(&real, item) || !in_range(info, real))
            return false;
        value->reals[value->list_count++] = real;
        return true;
    }
    if (info->kind == KIND_CHOICES)
        integer = find_word(info, item);
    else if (!number_integer(&integer, item) || !in_range(info, (double)integer))
        return false;
    value->list[value->list_count++] = integer;
    return integer >= 0 || info->kind != KIND_CHOICES;
}

static int parse_list(option_value *value, const option_info *info)
{
    size_t commas = 0;
    for (const char *p = value->text; *p; p++)
        commas += *p == ',';
    value->owned = strdup(value->text);
    value->list = malloc((commas + 1) * sizeof *value->list);
    value->reals = malloc((commas + 1) * sizeof *value->reals);
    if (!value->owned || !value->list || !value->reals) {
        message("the command line: out of memory");
        return fam_status_exit_code(FAM_STATUS_OUT_OF_MEMORY);
    }
    for (char *item = value->owned, *next; item; item = next) {
        next = strchr(item, ',');
        if (next)
            *next++ = '\0';
        if (!parse_item(value, info, item))
            return info->kind == KIND_CHOICES ? bad_choice(info, value->text) : bad_number(info, value->text);
    }
    return -1;
}

static int parse_choice(option_value *value, const option_info *info)
{
    value->integer = find_word(info, value->text);
    return value->integer >= 0 ? -1 : bad_choice(info, value->text);
}

static int check_path(const char *what, const char *path)
{
    size_t length = strlen(path);
    if (length == 0)
        return usage_error("%s: found an empty path, need the path of a file", what);
    if (length >= PATH_MAX)
        return usage_error("%s: found a path of %zu bytes, need at most %d", what, length, PATH_MAX - 1);
    return -1;
}

/* DIR[:SCALE]. What follows the last colon is the scale, unless the whole is a directory that exists. */
static int parse_adapter(option_value *value, const option_info *info)
{
    char what[64];
    snprintf(what, sizeof what, "--%s", info->name);
    value->real = 1;
    int result = check_path(what, value->text);
    if (result >= 0)
        return result;
    struct stat about;
    const char *colon = strrchr(value->text, ':');
    if (!colon || stat(value->text, &about) == 0)
        return -1;
    if (!number_real(&value->real, colon + 1) || fabs(value->real) > SCALE_MAX)
        return usage_error("--%s: found scale \"%s\", need a number from %.0f to %.0f", info->name, colon + 1, -SCALE_MAX,
                           SCALE_MAX);
    value->owned = strndup(value->text, (size_t)(colon - value->text));
    if (!value->owned) {
        message("the command line: out of memory");
        return fam_status_exit_code(FAM_STATUS_OUT_OF_MEMORY);
    }
    value->text = value->owned;
    return check_path(what, value->text);
}

static int parse_bias(option_value *value, const option_info *info)
{
    const char *equals = strchr(value->text, '=');
    char id[24];
    size_t length = equals ? (size_t)(equals - value->text) : 0;
    if (length == 0 || length >= sizeof id)
        goto bad;
    memcpy(id, value->text, length);
    id[length] = '\0';
    if (!number_integer(&value->integer, id) || value->integer < 0 || value->integer > INT32_MAX)
        goto bad;
    if (strcmp(equals + 1, "-inf") == 0)
        value->real = -INFINITY;
    else if (!number_real(&value->real, equals + 1) || fabs(value->real) > BIAS_MAX)
        goto bad;
    return -1;
bad:
    return usage_error("--%s: found \"%s\", need ID=VALUE with a token id and a number from %.0f to %.0f, or -inf",
                       info->name, value->text, -BIAS_MAX, BIAS_MAX);
}

/* Devices that this build lacks are refused by the library, which knows them. */
static int parse_device(const option_value *value, const option_info *info)
{
    int64_t index;
    if (strcmp(value->text, "cpu") == 0 || strcmp(value->text, "cuda") == 0)
        return -1;
    if (strncmp(value->text, "cuda:", 5) == 0 && number_integer(&index, value->text + 5) && index >= 0 && index < 1024)
        return -1;
    return usage_error("--%s: found \"%s\", need %s", info->name, value->text, info->value_name);
}

static int parse_value(option_value *value, const option_info *info)
{
    switch (info->kind) {
    case KIND_FLAG:
    case KIND_TEXT:
        return -1;
    case KIND_WORD:
        return *value->text ? -1 : usage_error("--%s: found an empty text, need %s", info->name, info->value_name);
    case KIND_PATH: {
        char what[64];
        snprintf(what, sizeof what, "--%s", info->name);
        return check_path(what, value->text);
    }
    case KIND_INTEGER:
        if (!number_integer(&value->integer, value->text) || !in_range(info, (double)value->integer))
            return bad_number(info, value->text);
        return -1;
    case KIND_UNSIGNED:
        if (!number_unsigned(&value->unsigned_integer, value->text))
            return usage_error("--%s: found \"%s\", need an integer from 0 to 18446744073709551615", info->name,
                               value->text);
        return -1;
    case KIND_REAL:
        if (!number_real(&value->real, value->text) || !in_range(info, value->real))
            return bad_number(info, value->text);
        return -1;
    case KIND_LIST:
    case KIND_REALS:
    case KIND_CHOICES:
        return parse_list(value, info);
    case KIND_CHOICE:
        return parse_choice(value, info);
    case KIND_ADAPTER:
        return parse_adapter(value, info);
    case KIND_BIAS:
        return parse_bias(value, info);
    case KIND_DEVICE:
        return parse_device(value, info);
    }
    return -1;
}

/* The option that an argument "--name" or "--name=value" names; OPTION_COUNT if none does. */
static option_id find_option(const char *argument, verb_id verb)
{
    size_t length = strcspn(argument + 2, "=");
    for (int id = 0; id < OPTION_COUNT; id++) {
        const char *name = option_get((option_id)id)->name;
        if (strlen(name) == length && memcmp(name, argument + 2, length) == 0 && option_of_verb((option_id)id, verb))
            return (option_id)id;
    }
    return OPTION_COUNT;
}

/* Insertions, deletions and replacements that make b of a; names longer than the rows are far from everything. */
static size_t edit_distance(const char *a, size_t a_length, const char *b)
{
    enum { LONGEST = 32 };
    size_t b_length = strlen(b), row[LONGEST + 1];
    if (a_length > LONGEST || b_length > LONGEST)
        return SIZE_MAX;
    for (size_t k = 0; k <= b_length; k++)
        row[k] = k;
    for (size_t i = 1; i <= a_length; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t k = 1; k <= b_length; k++) {
            size_t replaced = corner + (a[i - 1] != b[k - 1]), other = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            corner = row[k];
            row[k] = replaced < other ? replaced : other;
        }
    }
    return row[b_length];
}

/* The verb's option whose name is nearest to an unknown one; NULL: none is near. */
static const char *near_option(const char *argument, verb_id verb)
{
    const char *name = argument + strspn(argument, "-"), *nearest = NULL;
    size_t length = strcspn(name, "="), best = length < 5 ? 2 : 3; /* below this */
    for (int id = 0; id < OPTION_COUNT; id++) {
        const char *candidate = option_get((option_id)id)->name;
        size_t distance = option_of_verb((option_id)id, verb) ? edit_distance(name, length, candidate) : SIZE_MAX;
        if (length > 1 && distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}

static int unknown_option(const char *argument, verb_id id)
{
    int length = (int)strcspn(argument, "=");
    const char *verb = verb_get(id)->name, *near = near_option(argument, id);
    if (near)
        return usage_error("unknown option %.*s of fam %s: did you mean --%s? `fam %s --help` lists all", length, argument, verb,
                           near, verb);
    return usage_error("unknown option %.*s of fam %s: `fam %s --help` lists them", length, argument, verb, verb);
}

/* One option at argv[*at], its value too; moves *at past them. */
static int parse_option(cli_options *out, int argc, char **argv, int *at)
{
    const char *argument = argv[*at];
    int name_length = (int)strcspn(argument, "=");
    option_id id = strncmp(argument, "--", 2) == 0 ? find_option(argument, out->verb) : OPTION_COUNT;
    if (id == OPTION_COUNT)
        return unknown_option(argument, out->verb);
    const option_info *info = option_get(id);
    option_value *value = &out->values[out->count];
    memset(value, 0, sizeof *value);
    value->id = id;
    if (!info->repeatable && option_given(out, id))
        return usage_error("--%s: given twice, need it once", info->name);
    const char *equals = argument[name_length] ? argument + name_length + 1 : NULL;
    *at += 1;
    if (info->kind == KIND_FLAG) {
        if (equals)
            return usage_error("--%s: found a value \"%s\", need none", info->name, equals);
        if (id == OPTION_HELP)
            return help_print_verb(out->verb);
    } else if (equals) {
        value->text = equals;
    } else {
        bool missing = *at >= argc;
        if (!missing && strncmp(argv[*at], "--", 2) == 0 && find_option(argv[*at], out->verb) != OPTION_COUNT)
            return usage_error("--%s: found the option %s, need %s (or --%s=%s if that is meant)", info->name, argv[*at],
                               info->value_name, info->name, argv[*at]);
        if (missing)
            return usage_error("--%s: found nothing after it, need %s", info->name, info->value_name);
        value->text = argv[(*at)++];
    }
    out->count++; /* also if the value is wrong: what it owns is freed with the rest */
    return parse_value(value, info);
}

static int parse_verb(verb_id *out, const char *name)
{
    for (int id = 0; id < VERB_COUNT; id++) {
        if (strcmp(verb_get((verb_id)id)->name, name) == 0) {
            *out = (verb_id)id;
            return -1;
        }
    }
    char names[256];
    help_verb_names(names, sizeof names);
    return usage_error("unknown verb \"%s\", need one of %s", name, names);
}

static int parse_arguments(cli_options *out, int argc, char **argv)
{
    const verb_info *verb = verb_get(out->verb);
    bool only_arguments = false;
    for (int at = 1; at < argc;) {
        const char *argument = argv[at];
        if (!only_arguments && strcmp(argument, "--") == 0) {
            only_arguments = true;
            at++;
        } else if (!only_arguments && argument[0] == '-' && argument[1]) {
            int result = parse_option(out, argc, argv, &at);
            if (result >= 0)
                return result;
        } else if (out->argument && !verb->several) {
            return usage_error("found one argument too many: \"%s\"; fam %s needs one %s", argument, verb->name,
                               verb->argument);
        } else {
            int result = check_path(verb->argument, argument);
            if (result >= 0)
                return result;
            out->arguments[out->argument_count++] = argument;
            out->argument = out->arguments[0];
            at++;
        }
    }
    if (!out->argument)
        return usage_error("%s: found no %s, need `fam %s %s …`", verb->name, verb->argument, verb->name,
                           verb->argument);
    return -1;
}

int options_parse(cli_options *out, int argc, char **argv)
{
    memset(out, 0, sizeof *out);
    if (argc < 1) {
        char names[256];
        help_verb_names(names, sizeof names);
        return usage_error("found no verb, need one of %s: `fam --help` explains", names);
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "--version") == 0) {
        if (argc > 1)
            return usage_error("%s: found \"%s\" after it, need nothing", argv[0], argv[1]);
        return argv[0][2] == 'h' ? help_print_program() : help_print_version();
    }
    if (argv[0][0] == '-')
        return usage_error("unknown option %s before the verb: `fam --help` explains", argv[0]);
    int result = parse_verb(&out->verb, argv[0]);
    if (result >= 0)
        return result;
    out->values = calloc((size_t)argc, sizeof *out->values);
    out->arguments = calloc((size_t)argc, sizeof *out->arguments);
    if (!out->values || !out->arguments) {
        message("the command line: out of memory");
        return fam_status_exit_code(FAM_STATUS_OUT_OF_MEMORY);
    }
    return parse_arguments(out, argc, argv);
}

void options_free(cli_options *options)
{
    for (size_t i = 0; i < options->count; i++) {
        free(options->values[i].owned);
        free(options->values[i].list);
        free(options->values[i].reals);
    }
    free(options->values);
    free(options->arguments);
    memset(options, 0, sizeof *options);
}
