/*
 * text/decoder.c: ids to text, without ever showing a part of a character. See tokenizer.h.
 */
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer_private.h"

enum { UNFINISHED_MAX = 3 }; /* bytes of a character that may still be completed */

struct fam_decoder {
    fam_memory *memory;
    const fam_tokenizer *tokenizer;
    bool show_special;
    size_t shown, used; /* of buffer: what the last call gave out, and all */
    char *buffer;       /* [UNFINISHED_MAX + longest token] */
};

fam_status fam_decoder_create(fam_decoder **out, const fam_tokenizer *tokenizer, bool show_special, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_decoder *decoder;
    *out = NULL;
    if (!tokenizer) /* as fam_engine_tokenizer may give it */
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "tokenizer: found none, need one");
    FAM_TRY_ALLOC(decoder, fam_alloc_zeroed(tokenizer->memory, sizeof *decoder), "decoder");
    decoder->memory = tokenizer->memory;
    decoder->tokenizer = tokenizer;
    decoder->show_special = show_special;
    FAM_TRY_ALLOC(decoder->buffer, fam_alloc(tokenizer->memory, UNFINISHED_MAX + tokenizer->longest), "decoder");
    *out = decoder;
    decoder = NULL;
done:
    fam_decoder_free(decoder);
    return status;
}

void fam_decoder_free(fam_decoder *decoder)
{
    if (!decoder)
        return;
    fam_free(decoder->memory, decoder->buffer);
    fam_free(decoder->memory, decoder);
}

/* Moves what was held back to the front. */
static void drop_shown(fam_decoder *decoder)
{
    decoder->used -= decoder->shown;
    memmove(decoder->buffer, decoder->buffer + decoder->shown, decoder->used);
    decoder->shown = 0;
}

fam_status fam_decoder_feed(fam_decoder *decoder, int32_t id, const char **text, size_t *length, fam_error *error)
{
    size_t count;
    const char *bytes = fam_tokenizer_bytes(decoder->tokenizer, id, &count);
    *text = decoder->buffer;
    *length = 0;
    if (!bytes)
        return fam_tokenizer_bad_id(decoder->tokenizer, id, error);
    drop_shown(decoder);
    if (!decoder->show_special && fam_tokenizer_is_special(decoder->tokenizer, id))
        return FAM_OK;
    memcpy(decoder->buffer + decoder->used, bytes, count);
    decoder->used += count;
    *length = decoder->shown = fam_utf8_complete_prefix((const uint8_t *)decoder->buffer, decoder->used);
    return FAM_OK;
}

void fam_decoder_finish(fam_decoder *decoder, const char **text, size_t *length)
{
    drop_shown(decoder);
    *text = decoder->buffer;
    *length = decoder->shown = decoder->used;
}

fam_status fam_tokenizer_decode(char **text, size_t *size, fam_memory *memory, const fam_tokenizer *tokenizer,
                                const int32_t *ids, size_t count, bool show_special, fam_error *error)
{
    fam_status status = FAM_OK;
    char *all;
    size_t total = 1, used = 0, length;
    *text = NULL;
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        if (!fam_tokenizer_bytes(tokenizer, ids[i], &length))
            return fam_tokenizer_bad_id(tokenizer, ids[i], error);
        if (!fam_add_size(&total, total, length))
            return fam_out_of_memory(error, "decoder");
    }
    FAM_TRY_ALLOC(all, fam_alloc(memory, total), "decoder");
    for (size_t i = 0; i < count; i++) {
        const char *bytes = fam_tokenizer_bytes(tokenizer, ids[i], &length);
        if (!show_special && fam_tokenizer_is_special(tokenizer, ids[i]))
            continue;
        memcpy(all + used, bytes, length);
        used += length;
    }
    all[used] = '\0';
    *text = all;
    *size = used;
done:
    return status;
}
