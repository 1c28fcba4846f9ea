/*
 * text/vocabulary.c: see vocabulary.h.
 */
#include "text/vocabulary.h"

#include <string.h>
#include <xxhash.h>

#include "base/utf8.h"

static bool is_printable(uint32_t code)
{
    return (code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xac) || (code >= 0xae && code <= 0xff);
}

size_t fam_byte_level_encode(uint8_t byte, char out[2])
{
    uint32_t code = byte;
    if (!is_printable(byte)) /* 0..0x20, 0x7f..0xa0, 0xad, in this order from U+0100 on */
        code = 0x100u + (byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 94u : 67u);
    return fam_utf8_encode(code, (uint8_t *)out);
}

/* The byte that a character stands for, -1 if none. */
static int byte_of_character(uint32_t code)
{
    if (is_printable(code))
        return (int)code;
    if (code < 0x100 || code > 0x100 + 67)
        return -1;
    uint32_t index = code - 0x100;
    return (int)(index <= 0x20 ? index : index < 67 ? index + 94 : 0xad);
}

bool fam_byte_level_decode(uint8_t *out, size_t *size, const char *text, size_t length)
{
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code;
        size_t n = fam_utf8_decode((const uint8_t *)text + at, length - at, &code);
        int byte = n ? byte_of_character(code) : -1;
        if (byte < 0)
            return false;
        out[used++] = (uint8_t)byte;
        at += n;
    }
    *size = used;
    return true;
}

fam_status fam_vocabulary_create(fam_vocabulary *out, fam_memory *memory, int32_t size, size_t text_bytes,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    *out = (fam_vocabulary){.memory = memory, .size = size};
    FAM_FAIL_IF(!fam_mul_size(&out->arena_size, text_bytes, 2), FAM_STATUS_OUT_OF_MEMORY, "vocabulary: out of memory");
    size_t slots = 16;
    while (slots < 2 * (size_t)size)
        slots *= 2;
    out->slot_mask = slots - 1;
    FAM_TRY_ALLOC(out->tokens, fam_alloc_array(memory, (size_t)size, sizeof *out->tokens), "vocabulary");
    FAM_TRY_ALLOC(out->slots, fam_alloc_array(memory, slots, sizeof *out->slots), "vocabulary");
    FAM_TRY_ALLOC(out->arena, fam_alloc(memory, out->arena_size), "vocabulary");
done:
    if (status != FAM_OK)
        fam_vocabulary_destroy(out);
    return status;
}

void fam_vocabulary_destroy(fam_vocabulary *vocabulary)
{
    fam_free(vocabulary->memory, vocabulary->tokens);
    fam_free(vocabulary->memory, vocabulary->slots);
    fam_free(vocabulary->memory, vocabulary->arena);
    *vocabulary = (fam_vocabulary){.memory = vocabulary->memory};
}

/* The slot where a text is, or where it would be put. */
static uint32_t *slot_of(const fam_vocabulary *vocabulary, const char *text, size_t length)
{
    size_t at = (size_t)XXH3_64bits(text, length) & vocabulary->slot_mask;
    while (vocabulary->slots[at]) {
        const fam_token *token = &vocabulary->tokens[vocabulary->slots[at] - 1];
        if (token->text_length == length && memcmp(token->text, text, length) == 0)
            break;
        at = (at + 1) & vocabulary->slot_mask;
    }
    return &vocabulary->slots[at];
}

int32_t fam_vocabulary_put(fam_vocabulary *vocabulary, int32_t id, const char *text, size_t length, fam_token_kind kind,
                           bool in_model)
{
    fam_token *token = &vocabulary->tokens[id];
    if (token->kind != FAM_TOKEN_NONE)
        return id;
    uint32_t *slot = slot_of(vocabulary, text, length);
    if (*slot)
        return (int32_t)*slot - 1;
    *slot = (uint32_t)id + 1;
    uint8_t *copy = vocabulary->arena + vocabulary->arena_used;
    memcpy(copy, text, length);
    vocabulary->arena_used += length;
    *token = (fam_token){.text = (char *)copy,
                         .bytes = copy,
                         .text_length = (uint32_t)length,
                         .bytes_length = (uint32_t)length,
                         .kind = (uint8_t)kind,
                         .in_model = in_model};
    size_t size;
    uint8_t *bytes = vocabulary->arena + vocabulary->arena_used;
    if (kind == FAM_TOKEN_NORMAL && fam_byte_level_decode(bytes, &size, text, length)) {
        token->bytes = bytes;
        token->bytes_length = (uint32_t)size;
        vocabulary->arena_used += size;
    }
    return -1;
}

int32_t fam_vocabulary_find(const fam_vocabulary *vocabulary, const char *text, size_t length)
{
    return (int32_t)*slot_of(vocabulary, text, length) - 1;
}

int32_t fam_vocabulary_find_in_model(const fam_vocabulary *vocabulary, const char *text, size_t length)
{
    int32_t id = fam_vocabulary_find(vocabulary, text, length);
    return id >= 0 && vocabulary->tokens[id].in_model ? id : -1;
}
