/*
 * cli/cmd_inspect.c: fam inspect: what a file contains, and the memory that a run would take.
 */
#include <string.h>

#include "commands.h"
#include "fam/train.h"
#include "message.h"
#include "model.h"
#include "note.h"
#include "numbers.h"
#include "output.h"

/* Options that describe a run: they mean nothing for a file that cannot be run. */
static fam_status check_run_options(const cli_options *options, const char *kind, fam_error *error)
{
    for (size_t i = 0; i < options->count; i++) {
        if (options->values[i].id != OPTION_JSON)
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--%s: found %s, which is a %s, need a model",
                           option_get(options->values[i].id)->name, options->argument, kind);
    }
    return FAM_OK;
}

/* {"weights", …, "total"}: bytes; and the settings of the run. */
static fam_status add_run(json_t *object, const cli_options *options, fam_error *error)
{
    fam_engine *engine = NULL;
    fam_memory_report report;
    fam_engine_info info;
    fam_status status = model_open(&engine, options, error);
    if (status == FAM_OK)
        status = fam_memory_estimate(engine, NULL, &report, error);
    if (status == FAM_OK) {
        fam_engine_info_get(engine, &info);
        json_t *run = json_pack("{s:s, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:i}", "mode", fam_mode_name(info.mode),
                                "block_size", (json_int_t)info.block_size, "memory_segments",
                                (json_int_t)info.memory_segments, "fam_length", (json_int_t)info.fam_length, "state_norm",
                                fam_state_norm_name(info.state_norm), "fam_positions", fam_positions_name(info.fam_positions), "window",
                                (json_int_t)info.window, "context", (json_int_t)info.context, "dtype",
                                info.dtype == FAM_DTYPE_F32 ? "f32" : "bf16", "device", info.device, "isa", info.isa,
                                "threads", info.threads);
        json_t *memory = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "weights", (json_int_t)report.weights, "panels",
                                   (json_int_t)report.panels, "state", (json_int_t)report.state, "ring",
                                   (json_int_t)report.ring, "scratch", (json_int_t)report.scratch, "total",
                                   (json_int_t)report.total);
        if (json_object_set_new(object, "run", run) != 0 || json_object_set_new(object, "memory", memory) != 0)
            status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "inspect: out of memory");
    }
    fam_engine_free(engine);
    return status;
}

/* The note of a session that this program wrote becomes what it says of inputs; other notes are not shown. */
static void add_inputs(json_t *object)
{
    size_t messages = 0;
    json_t *inputs = note_describe(json_object_get(object, "note"), &messages);
    json_object_del(object, "note");
    if (!inputs)
        return;
    json_object_set_new(object, "inputs", inputs);
    if (messages > 0)
        json_object_set_new(object, "messages", json_integer((json_int_t)messages));
}

/* Names come from files: what would move the cursor is not printed. */
static fam_status print_text(const char *text, fam_error *error)
{
    fam_status status = FAM_OK;
    while (*text && status == FAM_OK) {
        size_t length = 0;
        while (text[length] && (unsigned char)text[length] >= 0x20 && text[length] != 0x7f)
            length++;
        status = length > 0 ? output_write(text, length, error) : output_write("?", 1, error);
        text += length > 0 ? length : 1;
    }
    return status;
}

static fam_status print_words(const json_t *list, fam_error *error)
{
    fam_status status = json_array_size(list) == 0 ? output_write("none", 4, error) : FAM_OK;
    for (size_t i = 0; i < json_array_size(list) && status == FAM_OK; i++) {
        if (i > 0)
            status = output_write(", ", 2, error);
        if (status == FAM_OK)
            status = print_text(json_string_value(json_array_get(list, i)), error);
    }
    return status;
}

static bool all_strings(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_string(json_array_get(list, i)))
            return false;
    }
    return json_is_array(list);
}

static fam_status print_integer(const char *key, json_int_t value, bool bytes, fam_error *error)
{
    char text[NUMBER_GROUPED_BYTES];
    size_t length = strlen(key);
    number_grouped(text, value);
    if (!(bytes || (length >= 5 && strcmp(key + length - 5, "bytes") == 0)) || value < 1 << 20)
        return output_format(error, "%s\n", text);
    return output_format(error, "%s (%.1f MiB)\n", text, (double)value / (1 << 20));
}

/* One line an input: its files, whether it was read to its end, how much it is. */
static fam_status print_inputs(json_t *inputs, fam_error *error)
{
    size_t i;
    json_t *input;
    fam_status status = output_format(error, "inputs%s\n", json_array_size(inputs) > 0 ? "" : "                  none");
    json_array_foreach(inputs, i, input)
    {
        char number[NUMBER_GROUPED_BYTES];
        const json_t *tokens = json_object_get(input, "tokens"), *bytes = json_object_get(input, "bytes");
        bool complete = json_is_true(json_object_get(input, "complete"));
        if (status == FAM_OK)
            status = output_write("  ", 2, error);
        if (status == FAM_OK)
            status = print_words(json_object_get(input, "paths"), error);
        if (status == FAM_OK)
            status = output_write(complete ? ": complete" : ": not complete", complete ? 10 : 14, error);
        if (status == FAM_OK && bytes)
            status = output_format(error, ", %s bytes", number_grouped(number, json_integer_value(bytes)));
        if (status == FAM_OK && tokens)
            status = output_format(error, ", %s tokens", number_grouped(number, json_integer_value(tokens)));
        if (status == FAM_OK)
            status = output_write("\n", 1, error);
    }
    return status;
}

static fam_status print_json(const json_t *value, fam_error *error)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    if (!text)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "inspect: out of memory");
    fam_status status = output_write(text, strlen(text), error);
    free(text);
    return status == FAM_OK ? output_write("\n", 1, error) : status;
}

static fam_status print_value(const char *key, json_t *value, bool bytes, fam_error *error)
{
    fam_status status;
    if (json_is_integer(value))
        return print_integer(key, json_integer_value(value), bytes, error);
    if (json_is_string(value))
        status = print_text(json_string_value(value), error);
    else if (json_is_array(value) && all_strings(value))
        status = print_words(value, error);
    else if (json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0))
        status = output_write("none", 4, error);
    else
        return print_json(value, error);
    return status == FAM_OK ? output_write("\n", 1, error) : status;
}

/* "key  value" lines, objects one level further in; bytes: the numbers in it are. */
static fam_status print_object(json_t *object, int depth, bool bytes, fam_error *error)
{
    enum { MAX_DEPTH = 16, COLUMN = 24 };
    const char *key;
    json_t *value;
    fam_status status = FAM_OK;
    json_object_foreach(object, key, value)
    {
        if (depth == 0 && strcmp(key, "inputs") == 0 && json_is_array(value)) {
            status = print_inputs(value, error);
            if (status == FAM_OK)
                continue;
            break;
        }
        int width = COLUMN - 2 * depth > 1 ? COLUMN - 2 * depth : 1;
        bool inside = json_is_object(value) && json_object_size(value) > 0 && depth < MAX_DEPTH;
        status = output_format(error, "%*s%-*s%s", 2 * depth, "", inside ? 0 : width, key, inside ? "\n" : " ");
        if (status == FAM_OK && inside)
            status = print_object(value, depth + 1, strcmp(key, "memory") == 0, error);
        else if (status == FAM_OK)
            status = print_value(key, value, bytes, error);
        if (status != FAM_OK)
            break;
    }
    return status;
}

static fam_status inspect(const cli_options *options, fam_error *error)
{
    char *text = NULL;
    const char *path = options->argument;
    fam_status status = fam_train_is_run(path) ? fam_train_inspect(&text, path, error) : fam_inspect(&text, path, error);
    if (status != FAM_OK)
        return status;
    json_t *object = json_loads(text, 0, NULL);
    fam_string_free(text);
    const char *kind = json_string_value(json_object_get(object, "kind"));
    if (!kind)
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", options->argument);
    else if (strcmp(kind, "model") == 0)
        status = add_run(object, options, error);
    else
        status = check_run_options(options, kind, error);
    if (status == FAM_OK && strcmp(kind, "session") == 0)
        add_inputs(object);
    if (status == FAM_OK)
        status = option_given(options, OPTION_JSON) ? output_json(object, error) : print_object(object, 0, false, error);
    if (status == FAM_OK)
        status = output_close(error);
    json_decref(object);
    return status;
}

int cmd_inspect(const cli_options *options)
{
    fam_error error = {FAM_OK, ""};
    fam_status status = inspect(options, &error);
    return status == FAM_OK ? 0 : message_failure(&error);
}
