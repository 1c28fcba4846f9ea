/*
 * tests/fuzz/fuzz_gguf_vocab.c: any bytes as a GGUF file, for the vocabulary in its metadata.
 */
#include <stdint.h>
#include <stdlib.h>

#include "format/gguf.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "ab aab new<s>  12\xff b";
    fam_memory memory;
    fam_error error;
    fam_gguf *gguf;
    fam_tokenizer *tokenizer;
    fam_memory_init(&memory);
    if (fam_gguf_parse(&gguf, &memory, "m", data, size, NULL, NULL, &error) != FAM_OK)
        return 0;
    fam_status status = fam_tokenizer_from_gguf(&tokenizer, &memory, gguf, NULL, NULL, &error);
    fam_gguf_free(gguf);
    if (status == FAM_OK) {
        int32_t *ids;
        size_t count, length;
        char *back;
        if (fam_tokenizer_encode(&ids, &count, &memory, tokenizer, text, sizeof text - 1, true, &error) != FAM_OK ||
            fam_tokenizer_decode(&back, &length, &memory, tokenizer, ids, count, true, &error) != FAM_OK)
            abort();
        fam_free(&memory, back);
        fam_free(&memory, ids);
        fam_tokenizer_free(tokenizer);
    }
    if (memory.bytes != 0)
        abort();
    return 0;
}
