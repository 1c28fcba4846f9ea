/*
 * Fuzz target: any bytes as the place of a source, as they are and with their checksum made right. What is taken is a
 * place that can be gone on from; what is refused changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "../support/byte_tokenizer.h"
#include "data/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES = 4, TOKENS = 64 };

static const char text[] = "Some text. It goes on.\nAnd on \xc3\xa4.";
static const char lines[] =
    "{\"text\":\"abc\"}\n\n{\"prompt\":\"a\",\"completion\":\"b\"}\r\n{\"text\":\"a longer text than those "
    "before, so that it is cut and goes on in the next sequence\"}\nbad\n{\"text\":\"end\"}";

static char *make_file(const char *content)
{
    static char paths[4][64];
    static int count;
    int fd = memfd_create("data", MFD_CLOEXEC);
    if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content))
        abort();
    snprintf(paths[count], sizeof paths[count], "/proc/self/fd/%d", fd);
    return paths[count++];
}

static void make_entries(fam_data_options entries[ENTRIES])
{
    char *paths[2] = {make_file(text), make_file(lines)};
    const fam_data_kind kinds[ENTRIES] = {FAM_DATA_RECALL, FAM_DATA_TEXT, FAM_DATA_JSONL, FAM_DATA_JSONL};
    for (int i = 0; i < ENTRIES; i++)
        entries[i] = (fam_data_options){.kind = kinds[i],
                                        .share = 1,
                                        .path = i ? paths[i > 1] : NULL,
                                        .digits = 1,
                                        .keys = 1,
                                        .asked = 1,
                                        .weight = 1,
                                        .pack = true,
                                        .skip_bad = 1,
                                        .shuffle = i == 3};
}

static void restore(fam_source *source, fam_memory *memory, const uint8_t *data, size_t size)
{
    static int32_t ids[TOKENS];
    static float weights[TOKENS];
    static uint8_t answers[TOKENS];
    fam_sequence view = {ids, weights, answers, -1};
    fam_error error;
    uint8_t *before, *after;
    size_t before_size, after_size;
    if (fam_source_save(source, &before, &before_size, &error) != FAM_OK)
        abort();
    fam_status status = fam_source_restore(source, data, size, &error);
    if (fam_source_save(source, &after, &after_size, &error) != FAM_OK)
        abort();
    if (status == FAM_OK ? after_size != size || memcmp(after, data, size) != 0
                         : after_size != before_size || memcmp(after, before, before_size) != 0)
        abort();
    if (status != FAM_OK && status != FAM_STATUS_BAD_FORMAT && status != FAM_STATUS_MISMATCH)
        abort();
    for (int i = 0; status == FAM_OK && i < 2 * ENTRIES; i++) {
        fam_status made = fam_source_next_of(source, i % ENTRIES, TOKENS, &view, &error);
        if (made != FAM_OK && (made != FAM_STATUS_BAD_FORMAT || i % ENTRIES < 2))
            abort();
    }
    fam_free(memory, before);
    fam_free(memory, after);
}

/* The source that all inputs are tried on, each from its beginning. */
static fam_source *make_source(fam_memory *memory)
{
    static fam_memory tokenizer_memory;
    static fam_data_options entries[ENTRIES];
    fam_source *source;
    fam_error error;
    fam_memory_init(&tokenizer_memory);
    fam_memory_init(memory);
    make_entries(entries);
    if (fam_source_create(&source, memory, entries, ENTRIES, byte_tokenizer_open(&tokenizer_memory), 1, &error) !=
        FAM_OK)
        abort();
    return source;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fam_memory memory;
    static fam_source *source;
    static uint8_t *start;
    static size_t start_size;
    fam_error error;
    if (!source) {
        source = make_source(&memory);
        if (fam_source_save(source, &start, &start_size, &error) != FAM_OK)
            abort();
    }
    uint8_t *copy = malloc(size + !size);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    restore(source, &memory, copy, size);
    if (size > 8) {
        uint64_t hash = XXH3_64bits(copy, size - 8);
        memcpy(copy + size - 8, &hash, 8);
        restore(source, &memory, copy, size);
    }
    free(copy);
    if (fam_source_restore(source, start, start_size, &error) != FAM_OK)
        abort();
    return 0;
}
