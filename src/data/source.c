/*
 * data/source.c: see source.h. Which entry is next is drawn; what an entry gives is a function of its seed and place.
 */
#include <math.h>
#include <string.h>

#include "data/source_private.h"

#define MARKER "\n[repeat random segment]:"

static bool is_file(const fam_data_options *options)
{
    return options->kind == FAM_DATA_TEXT || options->kind == FAM_DATA_JSONL;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

static fam_status check_weight(const char *name, const char *key, double value, fam_error *error)
{
    if (value >= 0 && isfinite(value))
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "data: %s: %s: found %g, need a number from 0", name, key,
                         value);
}

static fam_status check_file_options(const fam_data_options *options, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(!options->path, FAM_STATUS_INVALID_ARGUMENT, "data: %s: path: found none, need a file", name);
    FAM_FAIL_IF(options->repeat_tokens < 0 || options->repeat_tokens > INT32_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "data: %s: repeat_tokens: found %lld, need 0 to %d", name, (long long)options->repeat_tokens,
                INT32_MAX);
    FAM_FAIL_IF(options->skip_bad < 0, FAM_STATUS_INVALID_ARGUMENT, "data: %s: skip_bad: found %lld, need 0 or more",
                name, (long long)options->skip_bad);
    FAM_FAIL_IF(options->weight == 0 && (options->repeat_tokens == 0 || options->repeat_weight == 0),
                FAM_STATUS_INVALID_ARGUMENT, "data: %s: weight: found 0, need more, or nothing is trained", name);
done:
    return status;
}

static fam_status check_options(const fam_data_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *name = fam_data_kind_name((int)options->kind);
    FAM_FAIL_IF(!name, FAM_STATUS_INVALID_ARGUMENT, "data: kind: found %d, need one that is known", (int)options->kind);
    FAM_TRY(check_weight(name, "share", options->share, error));
    FAM_TRY(check_weight(name, "rest_weight", options->rest_weight, error));
    FAM_TRY(check_weight(name, "rest_share", options->rest_share, error));
    FAM_TRY(check_weight(name, "weight", options->weight, error));
    FAM_TRY(check_weight(name, "repeat_weight", options->repeat_weight, error));
    FAM_FAIL_IF(options->rest_weight > 0 && options->rest_share > 0, FAM_STATUS_INVALID_ARGUMENT,
                "data: %s: rest_share: found %g beside rest_weight, need one of them", name, options->rest_share);
    if (is_file(options))
        FAM_TRY(check_file_options(options, name, error));
done:
    return status;
}

static fam_status open_task(fam_entry *entry, fam_error *error)
{
    const fam_data_options *options = entry->options;
    fam_task_options task = {.kind = options->kind,
                             .digits = options->digits,
                             .keys = options->keys,
                             .asked = options->asked,
                             .path = options->path};
    fam_status status = FAM_OK;
    FAM_FAIL_IF(!(options->depth_from >= 0 && options->depth_from <= options->depth_to && options->depth_to <= 1),
                FAM_STATUS_INVALID_ARGUMENT, "data: %s: depth: found %g to %g, need a range within 0 to 1",
                fam_data_kind_name((int)options->kind), options->depth_from, options->depth_to);
    FAM_TRY(fam_task_create(&entry->task, entry->memory, &task, entry->tokenizer, error));
done:
    return status;
}

static fam_status open_entry(fam_entry *entry, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(check_options(entry->options, error));
    if (entry->options->path) {
        FAM_TRY(fam_text_file_open(&entry->file, entry->memory, entry->options->path, error));
        entry->has_file = true;
    }
    if (!is_file(entry->options)) {
        FAM_TRY(open_task(entry, error));
    } else {
        FAM_TRY(fam_entry_open_file(entry, error));
        if (entry->options->repeat_tokens)
            FAM_TRY(fam_id_list_encode(&entry->marker, entry->reader.encoder, MARKER, strlen(MARKER), false, error));
    }
done:
    return status;
}

static void close_entry(fam_entry *entry)
{
    fam_task_free(entry->task);
    fam_text_file_close(&entry->file);
    fam_record_reader_destroy(&entry->reader);
    fam_document_destroy(&entry->document);
    fam_free(entry->memory, entry->marker.ids);
    fam_free(entry->memory, entry->index);
}

void fam_source_seed(fam_source *source, uint64_t seed)
{
    source->seed = seed;
    for (int64_t i = 0; i < source->count; i++)
        source->entries[i].seed = fam_splitmix64(&seed);
}

fam_status fam_source_create(fam_source **out, fam_memory *memory, const fam_data_options *entries, int64_t count,
                             const fam_tokenizer *tokenizer, uint64_t seed, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_source *source = NULL;
    *out = NULL;
    FAM_FAIL_IF(count < 1, FAM_STATUS_INVALID_ARGUMENT, "data: found %lld entries, need at least one",
                (long long)count);
    FAM_TRY_ALLOC(source, fam_alloc_zeroed(memory, sizeof *source), "data");
    source->memory = memory;
    FAM_TRY_ALLOC(source->entries, fam_alloc_array(memory, (size_t)count, sizeof *source->entries), "data");
    for (; source->count < count; source->count++) {
        fam_entry *entry = &source->entries[source->count];
        entry->options = &entries[source->count];
        entry->memory = entry->marker.memory = memory;
        entry->tokenizer = tokenizer;
        fam_document_init(&entry->document, memory);
        status = open_entry(entry, error);
        if (status != FAM_OK) {
            close_entry(entry);
            goto done;
        }
        source->shares += entries[source->count].share;
    }
    FAM_FAIL_IF(!(source->shares > 0) || !isfinite(source->shares), FAM_STATUS_INVALID_ARGUMENT,
                "data: share: found a sum of %g, need more than 0", source->shares);
    fam_source_seed(source, seed);
    fam_random_seed(&source->random, ~seed);
    for (int64_t i = 0; i < count; i++)
        fam_random_seed(&source->entries[i].place.random, ~source->entries[i].seed);
    *out = source;
    source = NULL;
done:
    fam_source_free(source);
    return status;
}

void fam_source_free(fam_source *source)
{
    if (!source)
        return;
    for (int64_t i = 0; i < source->count; i++)
        close_entry(&source->entries[i]);
    fam_free(source->memory, source->entries);
    fam_free(source->memory, source);
}

/* ---- sequences --------------------------------------------------------------------------------------------------- */

/* Answers weigh 1; the rest what the recipe says, each or together. */
static void weigh_task(const fam_data_options *options, int64_t tokens, fam_sequence *out)
{
    int64_t answers = 0;
    for (int64_t t = 1; t < tokens; t++)
        answers += out->answers[t];
    int64_t rest = tokens - 1 - answers;
    float weight = (float)options->rest_weight;
    if (options->rest_share > 0 && rest > 0)
        weight = (float)(options->rest_share * (double)answers / (double)rest);
    for (int64_t t = 1; t < tokens; t++)
        out->weights[t] = out->answers[t] ? 1 : weight;
    out->weights[0] = 0;
}

static fam_status draw_task(const fam_entry *entry, fam_place *place, int64_t tokens, fam_sequence *out,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    fam_episode *episode = NULL;
    fam_draw draw = {.seed = entry->seed,
                     .number = place->draw,
                     .tokens = tokens,
                     .depth_from = entry->options->depth_from,
                     .depth_to = entry->options->depth_to};
    FAM_TRY(fam_episode_create(&episode, entry->task, &draw, error));
    fam_episode_read(episode, out->ids, out->answers, tokens);
    weigh_task(entry->options, tokens, out);
    place->draw++;
done:
    fam_episode_free(episode);
    return status;
}

fam_status fam_source_next_of(fam_source *source, int64_t index, int64_t tokens, fam_sequence *out, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(index < 0 || index >= source->count, FAM_STATUS_INVALID_ARGUMENT,
                "data: entry: found %lld, need 0 to %lld", (long long)index, (long long)source->count - 1);
    fam_entry *entry = &source->entries[index];
    fam_place place = entry->place;
    int64_t least = fam_entry_tokens_min(entry);
    FAM_FAIL_IF(tokens < least, FAM_STATUS_INVALID_ARGUMENT,
                "data: %s: tokens: found sequences of %lld, need at least %lld",
                fam_data_kind_name((int)entry->options->kind), (long long)tokens, (long long)least);
    if (entry->has_file)
        FAM_TRY(fam_text_file_check(&entry->file, error));
    if (entry->task)
        FAM_TRY(draw_task(entry, &place, tokens, out, error));
    else
        FAM_TRY(fam_entry_fill(entry, &place, tokens, out, error));
    place.counts.sequences++;
    entry->place = place;
    out->entry = (int)index;
done:
    return status;
}

fam_status fam_source_next(fam_source *source, int64_t tokens, fam_sequence *out, fam_error *error)
{
    fam_random random = source->random;
    double drawn = fam_random_uniform(&random) * source->shares;
    int64_t index = 0, last = 0;
    for (int64_t i = 0; i < source->count; i++)
        if (source->entries[i].options->share > 0)
            last = i; /* rounding never chooses an entry without a share */
    for (; index < last && drawn >= source->entries[index].options->share; index++)
        drawn -= source->entries[index].options->share;
    fam_status status = fam_source_next_of(source, index, tokens, out, error);
    if (status == FAM_OK)
        source->random = random;
    return status;
}

int64_t fam_source_tokens_min(const fam_source *source)
{
    int64_t least = 0;
    for (int64_t i = 0; i < source->count; i++) {
        int64_t one = fam_entry_tokens_min(&source->entries[i]);
        least = one > least ? one : least;
    }
    return least;
}

void fam_source_counts_get(const fam_source *source, int64_t entry, fam_source_counts *out)
{
    *out = source->entries[entry].place.counts;
}

/* ---- what must not be the same ----------------------------------------------------------------------------------- */

fam_status fam_source_check_disjoint(const fam_source *a, const fam_source *b, fam_error *error)
{
    fam_status status = FAM_OK;
    for (int64_t i = 0; i < a->count; i++)
        for (int64_t k = 0; k < b->count; k++) {
            fam_entry *x = &a->entries[i], *y = &b->entries[k];
            if (!x->has_file || !y->has_file || x->file.input.size != y->file.input.size)
                continue;
            if (x->task && y->task)
                continue; /* both are haystacks: what is measured is drawn, and not in the text */
            FAM_TRY(fam_text_file_hash(&x->file, error));
            FAM_TRY(fam_text_file_hash(&y->file, error));
            FAM_FAIL_IF(memcmp(x->file.hash, y->file.hash, sizeof x->file.hash) == 0, FAM_STATUS_MISMATCH,
                        "%s: content: found the same as in %s, which is trained on, need another file to measure with",
                        y->file.path, x->file.path);
        }
done:
    return status;
}
