/*
 * train/trainer_metrics.c: a step as a line of metrics.jsonl. The loss and the norm are there as hexadecimal floats too:
 * what a resumed run must reproduce to the bit.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "train/trainer_private.h"

/* JSON has no word for what is not finite. */
static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *hexadecimal(double value)
{
    char text[40];
    snprintf(text, sizeof text, "%a", value);
    return json_string(text);
}

static json_t *validation_json(const fam_trainer *t)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < t->validation_count; i++) {
        const fam_validation_result *v = &t->validation[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "name", v->name, "sequences",
                                              (json_int_t)v->sequences, "blocks", (json_int_t)v->blocks, "loss",
                                              real(v->loss), "accuracy", real(v->accuracy), "exact", real(v->exact)));
    }
    return list;
}

/* Of all entries, if there are any. */
static void add_records(json_t *json, const fam_trainer *t)
{
    int64_t bad = 0, skipped = 0;
    for (int64_t i = 0; i < t->recipe->data_count; i++) {
        fam_source_counts counts;
        fam_source_counts_get(t->source, i, &counts);
        bad += counts.bad_records;
        skipped += counts.skipped_records;
    }
    if (bad > 0)
        json_object_set_new(json, "bad_records", json_integer(bad));
    if (skipped > 0)
        json_object_set_new(json, "skipped_records", json_integer(skipped));
}

static json_t *step_json(const fam_trainer *t, const fam_step_metrics *m)
{
    json_t *json = json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:b, s:b, s:o, s:o, s:o}", "step", (json_int_t)m->step,
                             "loss", real(m->loss), "loss_hex", hexadecimal(m->loss), "accuracy", real(m->accuracy),
                             "answer_tokens", (json_int_t)m->answer_tokens, "blocks", (json_int_t)m->blocks, "tokens",
                             (json_int_t)m->tokens, "gradient_norm", real(m->gradient_norm), "gradient_norm_hex",
                             hexadecimal(m->gradient_norm), "clipped", m->clipped, "skipped", m->skipped, "rate",
                             real(m->rate), "prompt_rate", real(m->prompt_rate), "seconds", real(m->seconds));
    if (json && m->level > 0)
        json_object_set_new(json, "level", json_integer(m->level));
    if (json && m->promoted)
        json_object_set_new(json, "promoted", json_true());
    if (json && m->bad_total > 0)
        json_object_set_new(json, "bad_total", json_integer(m->bad_total));
    if (json)
        add_records(json, t);
    if (json && m->validated)
        json_object_set_new(json, "validation", validation_json(t));
    return json;
}

fam_status fam_trainer_log_step(fam_trainer *t, const fam_step_metrics *m, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *json = step_json(t, m);
    char *line = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    FAM_FAIL_IF(!line, FAM_STATUS_OUT_OF_MEMORY, "metrics: out of memory");
    FAM_TRY(fam_metrics_file_append(t->metrics, line, strlen(line), error));
done:
    free(line);
    json_decref(json);
    return status;
}
