/*
 * cli/cmd_inspect.c: fam inspect: what a file contains, and the memory that a run would take.
 */
#include <string.h>

#include "commands.h"
#include "message.h"
#include "model.h"
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

static fam_status print_value(const json_t *value, fam_error *error)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    if (!text)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "inspect: out of memory");
    fam_status status = output_write(text, strlen(text), error);
    free(text);
    return status == FAM_OK ? output_write("\n", 1, error) : status;
}

/* "key  value" lines, objects one level further in. */
static fam_status print_object(json_t *object, int depth, fam_error *error)
{
    enum { MAX_DEPTH = 16, COLUMN = 24 };
    const char *key;
    json_t *value;
    fam_status status = FAM_OK;
    json_object_foreach(object, key, value)
    {
        int width = COLUMN - 2 * depth > 1 ? COLUMN - 2 * depth : 1;
        bool inside = json_is_object(value) && json_object_size(value) > 0 && depth < MAX_DEPTH;
        status = output_format(error, "%*s%-*s%s", 2 * depth, "", inside ? 0 : width, key, inside ? "\n" : " ");
        if (status == FAM_OK && inside)
            status = print_object(value, depth + 1, error);
        else if (status == FAM_OK && json_is_string(value))
            status = output_format(error, "%s\n", json_string_value(value));
        else if (status == FAM_OK)
            status = print_value(value, error);
        if (status != FAM_OK)
            break;
    }
    return status;
}

static fam_status inspect(const cli_options *options, fam_error *error)
{
    char *text = NULL;
    fam_status status = fam_inspect(&text, options->argument, error);
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
    if (status == FAM_OK)
        status = option_given(options, OPTION_JSON) ? output_json(object, error) : print_object(object, 0, error);
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
