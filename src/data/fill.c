/*
 * data/fill.c: documents laid into sequences: packed, cut or not, padded, and the random-repeat task at the end.
 */
#include <string.h>

#include "data/source_private.h"

int64_t fam_entry_tokens_min(const fam_entry *entry)
{
    int64_t repeat = entry->options->repeat_tokens;
    if (entry->task)
        return fam_task_tokens_min(entry->task);
    return repeat ? (int64_t)entry->marker.count + 2 * repeat + 1 : 2;
}

/* Tokens that stand for nothing. */
static void pad(const fam_entry *entry, fam_sequence *out, int64_t from, int64_t to)
{
    int32_t end = fam_tokenizer_eos(entry->tokenizer);
    for (int64_t t = from; t < to; t++) {
        out->ids[t] = end >= 0 ? end : 0;
        out->weights[t] = 0;
        out->answers[t] = 0;
    }
}

static void copy(const fam_entry *entry, fam_sequence *out, int64_t to, const fam_place *place, int64_t count)
{
    const fam_document *document = &entry->document;
    float weight = (float)entry->options->weight;
    memcpy(out->ids + to, document->ids.ids + place->used, (size_t)count * sizeof *out->ids);
    for (int64_t i = 0; i < count; i++) {
        unsigned flags = document->flags[place->used + (uint64_t)i];
        out->weights[to + i] = flags & FAM_TOKEN_TRAINED ? weight : 0;
        out->answers[to + i] = flags & FAM_TOKEN_ANSWER ? 1 : 0;
    }
}

typedef enum fit { FIT_COPY, FIT_NEXT_SEQUENCE, FIT_SKIP, FIT_REFUSE } fit;

/* What becomes of the document that is loaded, with `filled` of `body` tokens there. */
static fit judge(const fam_entry *entry, const fam_place *place, int64_t filled, int64_t body)
{
    const fam_document *document = &entry->document;
    int64_t count = (int64_t)document->ids.count;
    if (!document->whole || place->used > 0)
        return FIT_COPY;
    if (count > body)
        return entry->options->too_long == FAM_TOO_LONG_SPLIT  ? FIT_COPY
               : entry->options->too_long == FAM_TOO_LONG_SKIP ? FIT_SKIP
                                                               : FIT_REFUSE;
    return count > body - filled ? FIT_NEXT_SEQUENCE : FIT_COPY;
}

static fam_status too_long(fam_entry *entry, const fam_place *place, int64_t body, fam_error *error)
{
    fam_error unused, *told = error ? error : &unused;
    fam_error_set(told, FAM_STATUS_BAD_FORMAT, "found %zu tokens, need at most %lld (or too_long: split or skip)",
                  entry->document.ids.count, (long long)body);
    return fam_entry_blame(entry, fam_entry_offset(entry, place), told);
}

/* Fills up to `body` tokens; *filled of them are no padding. */
static fam_status fill_body(fam_entry *entry, fam_place *place, int64_t body, fam_sequence *out, int64_t *filled,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t epoch = place->epoch; /* of the last progress */
    int64_t have = 0;
    while (have < body) {
        FAM_TRY(fam_entry_load(entry, place, error));
        fit what = judge(entry, place, have, body);
        if (what == FIT_REFUSE)
            FAM_TRY(too_long(entry, place, body, error));
        if (what == FIT_NEXT_SEQUENCE)
            break;
        if (what == FIT_SKIP) {
            place->counts.skipped_records++;
            fam_entry_advance(entry, place);
            FAM_FAIL_IF(place->epoch > epoch + 1, FAM_STATUS_BAD_FORMAT,
                        "%s: records: found none of at most %lld tokens in the whole file, need one", entry->file.path,
                        (long long)body);
            continue;
        }
        int64_t left = (int64_t)(entry->document.ids.count - place->used), n = body - have < left ? body - have : left;
        copy(entry, out, have, place, n);
        have += n;
        place->used += (uint64_t)n;
        epoch = place->epoch;
        if (n < left)
            break;
        fam_entry_advance(entry, place);
        if (entry->options->kind == FAM_DATA_JSONL && !entry->options->pack)
            break;
    }
    *filled = have;
    pad(entry, out, have, body);
    out->weights[0] = 0; /* nothing predicts it */
    out->answers[0] = 0;
done:
    return status;
}

static bool trains(const fam_sequence *sequence, int64_t tokens)
{
    for (int64_t t = 1; t < tokens; t++)
        if (sequence->weights[t] > 0)
            return true;
    return false;
}

/* Puts the marker and the tokens that are repeated behind the body, if it has as many. */
static void put_repeat(const fam_entry *entry, fam_place *place, int64_t filled, int64_t body, int64_t tokens,
                       fam_sequence *out)
{
    const fam_data_options *options = entry->options;
    int64_t repeat = options->repeat_tokens, at = body + (int64_t)entry->marker.count;
    if (filled < repeat) {
        pad(entry, out, body, tokens);
        return;
    }
    int64_t from = (int64_t)(fam_random_uniform(&place->random) * (double)(filled - repeat + 1));
    for (int64_t i = 0; i < (int64_t)entry->marker.count; i++) {
        out->ids[body + i] = entry->marker.ids[i];
        out->weights[body + i] = 0;
        out->answers[body + i] = 0;
    }
    for (int64_t i = 0; i < repeat; i++) {
        out->ids[at + i] = out->ids[from + i];
        out->weights[at + i] = (float)options->repeat_weight;
        out->answers[at + i] = 0;
    }
}

fam_status fam_entry_fill(fam_entry *entry, fam_place *place, int64_t tokens, fam_sequence *out, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_data_options *options = entry->options;
    int64_t repeat = options->repeat_tokens, filled = 0;
    int64_t body = repeat ? tokens - repeat - (int64_t)entry->marker.count : tokens;
    uint64_t epoch = place->epoch;
    for (;;) {
        FAM_TRY(fill_body(entry, place, body, out, &filled, error));
        if (options->weight <= 0 || trains(out, body))
            break; /* else a piece of a prompt alone: nothing is learnt from it */
        place->counts.skipped_records++;
        FAM_FAIL_IF(place->epoch > epoch + 1, FAM_STATUS_BAD_FORMAT,
                    "%s: records: found no token to train on in the whole file, need one", entry->file.path);
    }
    if (repeat)
        put_repeat(entry, place, filled, body, tokens, out);
done:
    return status;
}
