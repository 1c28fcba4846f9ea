/*
 * tests/support/byte_tokenizer.h: a tokenizer whose tokens are bytes (ids 0 to 255), and one more that ends a text (256).
 */
#ifndef TESTS_SUPPORT_BYTE_TOKENIZER_H
#define TESTS_SUPPORT_BYTE_TOKENIZER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

/* NULL when memory is short. */
static inline fam_tokenizer *byte_tokenizer_open(fam_memory *memory)
{
    static const char config[] = "{\"eos_token\":\"<|endoftext|>\"}";
    char *text = malloc(1 << 14);
    size_t at = 0;
    if (!text)
        abort();
    at += (size_t)sprintf(text + at, "{\"added_tokens\":[{\"id\":256,\"content\":\"<|endoftext|>\",\"special\":true}],"
                                     "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                                     "\"use_regex\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
                                     "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    for (int byte = 0; byte < 256; byte++) {
        char letter[3] = {0};
        fam_byte_level_encode((uint8_t)byte, letter);
        at += (size_t)sprintf(text + at, "%s\"%s%s\":%d", byte ? "," : "", byte == '"' || byte == '\\' ? "\\" : "",
                              letter, byte);
    }
    at += (size_t)sprintf(text + at, "}}}");
    fam_tokenizer *tokenizer = NULL;
    fam_error error;
    fam_status status =
        fam_tokenizer_parse_json(&tokenizer, memory, "bytes", text, at, "bytes", config, sizeof config - 1, &error);
    free(text);
    if (status != FAM_OK && status != FAM_STATUS_OUT_OF_MEMORY) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    return tokenizer;
}

#endif
