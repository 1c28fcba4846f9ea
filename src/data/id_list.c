/*
 * data/id_list.c: see id_list.h.
 */
#include "data/id_list.h"

#include <string.h>

#include "text/tokenizer.h"

fam_status fam_id_list_reserve(fam_id_list *list, size_t more, fam_error *error)
{
    size_t need, capacity, bytes;
    if (list->capacity - list->count >= more)
        return FAM_OK;
    if (!fam_add_size(&need, list->count, more) || !fam_add_size(&capacity, need, need / 2 + 64) ||
        !fam_mul_size(&bytes, capacity, sizeof *list->ids))
        return fam_out_of_memory(error, "token ids");
    int32_t *grown = fam_realloc(list->memory, list->ids, bytes);
    if (!grown)
        return fam_out_of_memory(error, "token ids");
    list->ids = grown;
    list->capacity = capacity;
    return FAM_OK;
}

fam_status fam_id_list_put(fam_id_list *list, int32_t id, fam_error *error)
{
    fam_status status = fam_id_list_reserve(list, 1, error);
    if (status == FAM_OK)
        list->ids[list->count++] = id;
    return status;
}

bool fam_id_list_sink(void *context, const int32_t *ids, size_t count)
{
    fam_id_list *list = context;
    if (fam_id_list_reserve(list, count, NULL) != FAM_OK) {
        list->short_of_memory = true;
        return false;
    }
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return true;
}

fam_status fam_id_list_encode(fam_id_list *list, fam_encoder *encoder, const char *text, size_t size, bool strict,
                              fam_error *error)
{
    enum { PIECE_BYTES = 1 << 16 }; /* so that the encoder's buffers stay small */
    fam_status status = FAM_OK;
    size_t before = list->count;
    uint64_t first;
    fam_encoder_reset(encoder);
    list->short_of_memory = false;
    for (size_t at = 0; status == FAM_OK && at < size; at += PIECE_BYTES)
        status = fam_encoder_feed(encoder, text + at, size - at < PIECE_BYTES ? size - at : PIECE_BYTES,
                                  fam_id_list_sink, list, error);
    if (status == FAM_OK)
        status = fam_encoder_finish(encoder, fam_id_list_sink, list, error);
    if (status == FAM_STATUS_CANCELLED && list->short_of_memory)
        status = fam_out_of_memory(error, "token ids");
    if (status == FAM_OK && strict && fam_encoder_dropped(encoder, &first))
        status =
            fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                          "tokenizer: task: found no token for the byte '%c', need one to say the task", text[first]);
    if (status != FAM_OK)
        list->count = before;
    fam_encoder_reset(encoder);
    return status;
}
