/*
 * tests/fuzz/fuzz_tokenizer_json.c: any bytes as a tokenizer.json; a tokenizer that loads must encode and decode.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "The  end's 12 34\n\n<s> na\xc3\xafve \xff\xe4\xb8\x96 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    fam_memory memory;
    fam_error error;
    fam_tokenizer *tokenizer;
    fam_memory_init(&memory);
    /* What follows a zero byte is the tokenizer_config.json. */
    const uint8_t *zero = memchr(data, 0, size);
    size_t first = zero ? (size_t)(zero - data) : size;
    const char *config = zero ? (const char *)zero + 1 : NULL;
    if (fam_tokenizer_parse_json(&tokenizer, &memory, "t", (const char *)data, first, "c", config,
                                 zero ? size - first - 1 : 0, &error) == FAM_OK) {
        int32_t *ids;
        size_t count, length;
        char *back;
        if (fam_tokenizer_encode(&ids, &count, &memory, tokenizer, text, sizeof text - 1, true, &error) == FAM_OK) {
            if (fam_tokenizer_decode(&back, &length, &memory, tokenizer, ids, count, true, &error) != FAM_OK)
                abort();
            fam_free(&memory, back);
            fam_free(&memory, ids);
        }
        fam_tokenizer_free(tokenizer);
    }
    if (memory.bytes != 0)
        abort();
    return 0;
}
