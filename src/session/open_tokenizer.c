/*
 * session/open_tokenizer.c: see open_tokenizer.h.
 */
#include "session/open_tokenizer.h"

#include <string.h>

#include "format/gguf.h"
#include "text/tokenizer.h"

static fam_status open_any(fam_tokenizer **out, fam_memory *memory, const fam_checkpoint *checkpoint,
                           void (*warn)(void *context, const char *line), void *warn_context, fam_error *error)
{
    const fam_gguf *gguf = fam_checkpoint_gguf(checkpoint);
    if (!gguf)
        return fam_tokenizer_from_path(out, memory, fam_checkpoint_path(checkpoint), warn, warn_context, error);
    if (!fam_gguf_has_tokenizer(gguf))
        return FAM_STATUS_NOT_FOUND;
    return fam_tokenizer_from_gguf(out, memory, gguf, warn, warn_context, error);
}

fam_status fam_open_engine_tokenizer(fam_tokenizer **out, fam_memory *memory, const fam_checkpoint *checkpoint,
                                     void (*warn)(void *context, const char *line), void *warn_context,
                                     fam_error *error)
{
    fam_error reason = {0};
    *out = NULL;
    fam_status status = open_any(out, memory, checkpoint, warn, warn_context, &reason);
    if (status == FAM_STATUS_NOT_FOUND)
        return FAM_OK;
    if (status == FAM_STATUS_UNSUPPORTED) { /* the model still works with ids */
        warn(warn_context, reason.message);
        return FAM_OK;
    }
    if (status != FAM_OK)
        return fam_error_set(error, status, "%s", reason.message);
    return fam_tokenizer_check_rows(*out, fam_checkpoint_config(checkpoint)->vocab_size, error);
}

void fam_tokenizer_fingerprint_bytes(const fam_tokenizer *tokenizer, uint8_t out[16])
{
    uint64_t hash = tokenizer ? fam_tokenizer_fingerprint(tokenizer) : 0;
    memset(out, 0, 16);
    memcpy(out, &hash, sizeof hash);
}
