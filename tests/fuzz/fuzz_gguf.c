/*
 * Fuzz target: the GGUF reader, and everything that an accepted file offers.
 */
#include <stdlib.h>

#include "../support/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void warn(void *context, const char *line)
{
    *(uint64_t *)context += strlen(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fam_memory memory;
    fam_error error;
    fam_gguf *gguf = NULL;
    uint64_t warned = 0;
    fam_memory_init(&memory);
    fam_status status = fam_gguf_parse(&gguf, &memory, "fuzz.gguf", data, size, warn, &warned, &error);
    if (status == FAM_OK) {
        volatile uint64_t sum = gguf_walk(gguf);
        (void)sum;
        fam_gguf_free(gguf);
    } else if (gguf || strncmp(error.message, "fuzz.gguf: ", 11) != 0) {
        abort();
    }
    if (memory.bytes != 0)
        abort();
    return 0;
}
