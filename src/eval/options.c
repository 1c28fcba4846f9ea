/*
 * eval/options.c: what the caller asks for, checked as far as that needs no file: see internal.h.
 */
#include <string.h>

#include "base/options.h"
#include "data/options.h"
#include "eval/internal.h"

enum { DRAWS_MAX = 1 << 24, KEYS_MAX = 1 << 24, LIST_MAX = 4096 };
#define LENGTH_MAX ((int64_t)1 << 40)

static const int64_t default_lengths[] = {4096}, default_keys[] = {1};

const char *fam_eval_task_name(int task)
{
    /* The tasks with an answer are those of the data room, in its order and with its names. */
    return task >= 0 && task <= FAM_EVAL_TEXT ? fam_data_kind_name(task) : NULL;
}

_Static_assert((int)FAM_EVAL_PASSKEY == (int)FAM_DATA_PASSKEY && (int)FAM_EVAL_OVERWRITE == (int)FAM_DATA_OVERWRITE &&
                   (int)FAM_EVAL_TEXT == (int)FAM_DATA_TEXT,
               "the same order");

int64_t fam_eval_range_start(int range)
{
    return range <= 0 ? 0 : (int64_t)256 << (range - 1);
}

int fam_eval_ranges_of(int64_t length)
{
    int ranges = 0;
    while (ranges < FAM_EVAL_RANGES && fam_eval_range_start(ranges) < length)
        ranges++;
    return ranges;
}

int64_t fam_eval_range_tokens(int range, int64_t length)
{
    int64_t from = range == 0 ? 1 : fam_eval_range_start(range), to = fam_eval_range_start(range + 1);
    return (to < length ? to : length) - from;
}

void fam_eval_options_init_sized(fam_eval_options *options, size_t size)
{
    const fam_eval_options defaults = {
        .task = FAM_EVAL_PASSKEY, .lengths = default_lengths, .length_count = 1, .asked = 1, .digits = 5, .draws = 100};
    fam_options_give(options, size, &defaults, sizeof defaults);
}

static bool has_keys(int task)
{
    return task == FAM_EVAL_NEEDLE || task == FAM_EVAL_RECALL || task == FAM_EVAL_OVERWRITE;
}

static fam_status check_integers(const char *what, const int64_t *list, size_t count, int64_t low, int64_t high,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(count < 1 || count > LIST_MAX, FAM_STATUS_INVALID_ARGUMENT, "%s: found %zu of them, need 1 to %d", what,
                count, LIST_MAX);
    for (size_t i = 0; i < count; i++) {
        FAM_FAIL_IF(list[i] < low || list[i] > high, FAM_STATUS_INVALID_ARGUMENT, "%s: found %lld, need %lld to %lld",
                    what, (long long)list[i], (long long)low, (long long)high);
        for (size_t k = 0; k < i; k++)
            FAM_FAIL_IF(list[k] == list[i], FAM_STATUS_INVALID_ARGUMENT, "%s: found %lld twice, need it once", what,
                        (long long)list[i]);
    }
done:
    return status;
}

static fam_status check_depths(const fam_eval_options *o, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_status bad = FAM_STATUS_INVALID_ARGUMENT;
    FAM_FAIL_IF(o->depths && o->task == FAM_EVAL_TEXT, bad, "depths: found some, need none for the task text");
    FAM_FAIL_IF(o->depths && (o->depth_count < 1 || o->depth_count > LIST_MAX), bad,
                "depths: found %zu of them, need 1 to %d", o->depth_count, LIST_MAX);
    for (size_t i = 0; o->depths && i < o->depth_count; i++) {
        FAM_FAIL_IF(!(o->depths[i] >= 0 && o->depths[i] <= 1), bad, "depths: found %g, need 0 to 1", o->depths[i]);
        for (size_t k = 0; k < i; k++)
            FAM_FAIL_IF(o->depths[k] == o->depths[i], bad, "depths: found %g twice, need it once", o->depths[i]);
    }
done:
    return status;
}

static fam_status check_files(const fam_eval_options *o, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_status bad = FAM_STATUS_INVALID_ARGUMENT;
    const char *name = fam_eval_task_name(o->task);
    FAM_FAIL_IF(o->task == FAM_EVAL_TEXT && o->file_count < 1, bad,
                "files: found none, need the text to read (--file)");
    FAM_FAIL_IF(o->task == FAM_EVAL_NEEDLE && o->file_count > 1, bad,
                "files: found %zu, need at most one for the task %s", o->file_count, name);
    FAM_FAIL_IF(o->task != FAM_EVAL_TEXT && o->task != FAM_EVAL_NEEDLE && o->file_count > 0, bad,
                "files: found %zu, need none for the task %s", o->file_count, name);
    FAM_FAIL_IF(o->file_count > LIST_MAX, bad, "files: found %zu, need at most %d", o->file_count, LIST_MAX);
done:
    return status;
}

fam_status fam_eval_options_read(fam_eval_options *out, const fam_eval_options *given, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_status bad = FAM_STATUS_INVALID_ARGUMENT;
    fam_eval_options_init(out);
    if (given)
        FAM_TRY(fam_options_copy(out, sizeof *out, given, given->size, "evaluation options", error));
    FAM_FAIL_IF(!fam_eval_task_name(out->task), bad, "task: found %d, need 0 to %d", out->task, FAM_EVAL_TEXT);
    FAM_TRY(check_integers("lengths", out->lengths, out->length_count, 2, LENGTH_MAX, error));
    FAM_TRY(check_depths(out, error));
    FAM_FAIL_IF(out->keys && !has_keys(out->task), bad, "keys: found some, need none for the task %s",
                fam_eval_task_name(out->task));
    if (!out->keys) {
        out->keys = default_keys;
        out->key_count = 1;
    }
    FAM_TRY(check_integers("keys", out->keys, out->key_count, 1, KEYS_MAX, error));
    FAM_FAIL_IF(out->asked < 1 || out->asked > KEYS_MAX, bad, "asked: found %lld, need 1 to %d", (long long)out->asked,
                KEYS_MAX);
    FAM_FAIL_IF(out->asked > 1 && !has_keys(out->task), bad, "asked: found %lld, need 1 for the task %s",
                (long long)out->asked, fam_eval_task_name(out->task));
    for (size_t i = 0; i < out->key_count; i++)
        FAM_FAIL_IF(out->asked > out->keys[i], bad, "asked: found %lld of %lld keys, need at most as many as are said",
                    (long long)out->asked, (long long)out->keys[i]);
    FAM_FAIL_IF(out->draws < 1 || out->draws > DRAWS_MAX, bad, "draws: found %lld, need 1 to %d", (long long)out->draws,
                DRAWS_MAX);
    FAM_TRY(check_files(out, error));
done:
    return status;
}

/* ---- systems ----------------------------------------------------------------------------------------------------- */

/* Whether both give the same ids for all text is not known; the same bytes for all ids is what can be seen. */
static bool same_vocabulary(const fam_tokenizer *a, const fam_tokenizer *b)
{
    int64_t n = fam_tokenizer_vocab_size(a);
    if (a == b)
        return true;
    if (n != fam_tokenizer_vocab_size(b) || fam_tokenizer_adds_bos(a) != fam_tokenizer_adds_bos(b))
        return false;
    for (int64_t id = 0; id < n; id++) {
        size_t a_length = 0, b_length = 0;
        const char *a_text = fam_tokenizer_bytes(a, (int32_t)id, &a_length);
        const char *b_text = fam_tokenizer_bytes(b, (int32_t)id, &b_length);
        if (!a_text != !b_text || a_length != b_length || (a_text && memcmp(a_text, b_text, a_length) != 0))
            return false;
    }
    return true;
}

static fam_status check_system(const fam_eval_system *systems, size_t at, const fam_eval_options *options,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_eval_system *system = &systems[at];
    FAM_FAIL_IF(!system->engine || !system->name || !*system->name, FAM_STATUS_INVALID_ARGUMENT,
                "system %zu: found one without %s, need both a name and an engine", at,
                system->engine ? "a name" : "an engine");
    for (size_t i = 0; i < at; i++)
        FAM_FAIL_IF(strcmp(systems[i].name, system->name) == 0, FAM_STATUS_INVALID_ARGUMENT,
                    "system %s: found two of that name, need different names", system->name);
    const fam_tokenizer *tokenizer = fam_engine_tokenizer(system->engine);
    FAM_FAIL_IF(!tokenizer, FAM_STATUS_UNSUPPORTED, "system %s: tokenizer: found none, need one", system->name);
    FAM_FAIL_IF(!same_vocabulary(fam_engine_tokenizer(systems[0].engine), tokenizer), FAM_STATUS_INVALID_ARGUMENT,
                "system %s: found another vocabulary than that of %s, need the same (all read the same draws)",
                system->name, systems[0].name);
    fam_engine_info info;
    fam_engine_info_get(system->engine, &info);
    for (size_t i = 0; i < options->length_count && info.mode == FAM_MODE_FULL; i++)
        FAM_FAIL_IF(options->lengths[i] > info.context, FAM_STATUS_CONTEXT_FULL,
                    "lengths: found %lld, need at most %lld, what mode full can hold (--context) in system %s",
                    (long long)options->lengths[i], (long long)info.context, system->name);
done:
    return status;
}

fam_status fam_eval_systems_check(const fam_eval_system *systems, size_t count, const fam_eval_options *options,
                                  fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(count < 1 || count > LIST_MAX, FAM_STATUS_INVALID_ARGUMENT, "systems: found %zu, need 1 to %d", count,
                LIST_MAX);
    for (size_t i = 0; i < count; i++)
        FAM_TRY(check_system(systems, i, options, error));
done:
    return status;
}
