/*
 * eval/text.c: see text.h.
 */
#include "eval/text.h"

#include <string.h>

#include "base/file.h"
#include "base/random.h"

static bool take_ids(void *context, const int32_t *ids, size_t count)
{
    fam_eval_text *text = context;
    if (count > text->room - text->count) {
        size_t room = text->room < 4096 ? 4096 : text->room, bytes;
        while (count > room - text->count)
            if (!fam_mul_size(&room, room, 2))
                return false;
        int32_t *more = fam_mul_size(&bytes, room, sizeof *more) ? fam_realloc(text->memory, text->ids, bytes) : NULL;
        if (!more)
            return false;
        text->ids = more;
        text->room = room;
    }
    memcpy(text->ids + text->count, ids, count * sizeof *ids);
    text->count += count;
    return true;
}

static fam_status add_document(fam_eval_text *text, const char *path, fam_encoder *encoder, fam_error *error)
{
    fam_mapping mapping;
    fam_status status = fam_mapping_open(&mapping, path, error);
    if (status != FAM_OK)
        return status;
    status = fam_encoder_feed(encoder, (const char *)mapping.data, mapping.size, take_ids, text, error);
    if (status == FAM_OK)
        status = fam_encoder_finish(encoder, take_ids, text, error);
    fam_mapping_close(&mapping);
    if (status == FAM_STATUS_CANCELLED) /* the sink refused: it had no memory */
        status = fam_out_of_memory(error, path);
    text->ends[text->document_count++] = text->count;
    return status;
}

fam_status fam_eval_text_open(fam_eval_text *out, fam_memory *memory, const char *const *files, size_t count,
                              const fam_tokenizer *tokenizer, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_encoder *encoder = NULL;
    *out = (fam_eval_text){.memory = memory, .bos = -1};
    if (fam_tokenizer_adds_bos(tokenizer))
        out->bos = fam_tokenizer_bos(tokenizer);
    FAM_TRY_ALLOC(out->ends, fam_alloc_array(memory, count, sizeof *out->ends), "text");
    FAM_TRY(fam_encoder_create(&encoder, tokenizer, false, error));
    for (size_t i = 0; i < count; i++)
        FAM_TRY(add_document(out, files[i], encoder, error));
done:
    fam_encoder_free(encoder);
    return status;
}

void fam_eval_text_release(fam_eval_text *text)
{
    fam_free(text->memory, text->ids);
    fam_free(text->memory, text->ends);
}

static int64_t draw_below(fam_random *random, int64_t count)
{
    return (int64_t)(fam_random_uniform(random) * (double)count);
}

fam_status fam_eval_text_pieces(int64_t **starts, int64_t *count, const fam_eval_text *text, int64_t length,
                                uint64_t seed, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t own = length - (text->bos >= 0), n = 0, longest = 0;
    int64_t *list = NULL;
    for (size_t i = 0, begin = 0; i < text->document_count; begin = text->ends[i++]) {
        int64_t tokens = (int64_t)(text->ends[i] - begin);
        n += tokens / own;
        longest = tokens > longest ? tokens : longest;
    }
    FAM_FAIL_IF(n == 0, FAM_STATUS_INVALID_ARGUMENT,
                "lengths: found %lld, need at most %lld, the tokens of the longest file", (long long)length,
                (long long)(longest + (text->bos >= 0)));
    FAM_TRY_ALLOC(list, fam_alloc_array(text->memory, (size_t)n, sizeof *list), "text");
    n = 0;
    for (size_t i = 0, begin = 0; i < text->document_count; begin = text->ends[i++])
        for (size_t at = begin; text->ends[i] - at >= (size_t)own; at += (size_t)own)
            list[n++] = (int64_t)at;
    fam_random random;
    fam_random_seed(&random, seed);
    for (int64_t i = 0; i + 1 < n; i++) { /* the first ones do not depend on how many are drawn */
        int64_t other = i + draw_below(&random, n - i), kept = list[i];
        list[i] = list[other];
        list[other] = kept;
    }
    *starts = list;
    *count = n;
done:
    return status;
}
