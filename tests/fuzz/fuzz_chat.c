/*
 * tests/fuzz/fuzz_chat.c: any bytes as a chat template; then, after a zero byte, as stop string and text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat.h"
#include "text/stop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fam_status count_bytes(void *context, const char *text, size_t size, bool special, fam_error *error)
{
    (void)text;
    (void)special;
    (void)error;
    *(size_t *)context += size;
    return FAM_OK;
}

static void try_template(fam_memory *memory, const char *text)
{
    fam_chat_format *format;
    fam_error error;
    fam_message messages[] = {{"user", text}, {"assistant", "<|im_end|>"}, {"user", ""}};
    size_t rendered = 0;
    if (fam_chat_format_create(&format, memory, "m", NULL, text, &error) != FAM_OK)
        return;
    if (fam_chat_render(format, messages, 3, 0, true, count_bytes, &rendered, &error) != FAM_OK || rendered == 0)
        abort();
    fam_chat_format_free(format);
}

/* The same is shown whether the text comes at once or byte by byte, and the stop string is not in it. */
static void try_stop(fam_memory *memory, const char *string, const char *text, size_t size)
{
    fam_stop *stop;
    fam_error error;
    const char *ready;
    size_t ready_size, whole, shown = 0;
    bool found, found_again = false;
    if (fam_stop_create(&stop, memory, &string, 1, &error) != FAM_OK)
        return;
    if (fam_stop_feed(stop, text, size, &ready, &whole, &found, &error) != FAM_OK ||
        (whole && memcmp(ready, text, whole) != 0))
        abort();
    if (memmem(text, whole, string, strlen(string)) || found != !!memmem(text, size, string, strlen(string)))
        abort();
    fam_stop_reset(stop);
    for (size_t i = 0; i < size && !found_again; i++) {
        if (fam_stop_feed(stop, text + i, 1, &ready, &ready_size, &found_again, &error) != FAM_OK ||
            (ready_size && memcmp(ready, text + shown, ready_size) != 0))
            abort();
        shown += ready_size;
    }
    if (shown != whole || found != found_again)
        abort();
    fam_stop_free(stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fam_memory memory;
    fam_memory_init(&memory);
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    size_t first = strlen(text);
    try_template(&memory, text);
    if (first < size) {
        const char *string = text + first + 1;
        size_t length = strlen(string), used = first + 1 + length + 1;
        if (used <= size)
            try_stop(&memory, string, text + used, size - used);
    }
    free(text);
    if (memory.bytes != 0)
        abort();
    return 0;
}
