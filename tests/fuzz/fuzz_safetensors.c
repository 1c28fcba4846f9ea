/*
 * Fuzz target: the safetensors reader, and everything that an accepted file offers.
 */
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every byte that the file offers; aborts where the offers contradict one another. */
static uint64_t read_all(const fam_safetensors *file)
{
    uint64_t sum = 0;
    fam_safetensors_entry entry, found;
    for (int64_t i = 0; fam_safetensors_entry_at(file, i, &entry); i++) {
        if (!fam_safetensors_find(file, entry.name, &found) || found.name != entry.name)
            abort();
        if (fam_safetensors_tensor(file, entry.name) != entry.tensor ||
            fam_safetensors_tensor_at(file, i) != entry.tensor)
            abort();
        sum += strlen(entry.name) + strlen(entry.dtype);
        for (size_t b = 0; entry.tensor && b < entry.tensor->bytes; b++)
            sum += entry.tensor->data[b];
        for (int d = 0; entry.tensor && d < entry.tensor->n_dims; d++)
            sum += (uint64_t)entry.tensor->shape[d];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fam_memory memory;
    fam_error error;
    fam_safetensors *file = NULL;
    fam_memory_init(&memory);
    if (fam_safetensors_parse(&file, &memory, "fuzz.safetensors", data, size, &error) == FAM_OK) {
        volatile uint64_t sum = read_all(file);
        (void)sum;
        fam_safetensors_free(file);
    } else if (file || strncmp(error.message, "fuzz.safetensors: ", 18) != 0) {
        abort();
    }
    if (memory.bytes != 0 || memory.peak_bytes > (1 << 20) + 16 * size)
        abort();
    return 0;
}
