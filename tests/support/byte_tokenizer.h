/*
 * tests/support/byte_tokenizer.h: a tokenizer whose tokens are bytes (ids 0 to 255), and one more that ends a text
 * (256).
 */
#ifndef TESTS_SUPPORT_BYTE_TOKENIZER_H
#define TESTS_SUPPORT_BYTE_TOKENIZER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

/* With `chat` there are <|im_start|> (257) and <|im_end|> (258) besides, and the chat template of SmolLM. NULL when
 * memory is short. */
static inline fam_tokenizer *byte_tokenizer_open_with(fam_memory *memory, bool chat)
{
    const char *config =
        !chat ? "{\"eos_token\":\"<|endoftext|>\"}"
              : "{\"eos_token\":\"<|endoftext|>\",\"chat_template\":\"{% for message in messages %}"
                "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\"}";
    char *text = malloc(1 << 14);
    size_t at = 0;
    if (!text)
        abort();
    at += (size_t)sprintf(text + at,
                          "{\"added_tokens\":[{\"id\":256,\"content\":\"<|endoftext|>\",\"special\":true}%s],"
                          "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                          "\"use_regex\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
                          "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{",
                          chat ? ",{\"id\":257,\"content\":\"<|im_start|>\",\"special\":true},"
                                 "{\"id\":258,\"content\":\"<|im_end|>\",\"special\":true}"
                               : "");
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
        fam_tokenizer_parse_json(&tokenizer, memory, "bytes", text, at, "bytes", config, strlen(config), &error);
    free(text);
    if (status != FAM_OK && status != FAM_STATUS_OUT_OF_MEMORY) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    return tokenizer;
}

static inline fam_tokenizer *byte_tokenizer_open(fam_memory *memory)
{
    return byte_tokenizer_open_with(memory, false);
}

#endif
