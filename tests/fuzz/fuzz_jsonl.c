/*
 * Fuzz target: any bytes as a file to train on. The first byte chooses how it is read. What is read goes on exactly
 * from any place that was saved.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../support/byte_tokenizer.h"
#include "data/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOKENS = 48, SEQUENCES = 12, IDS = 259 };

static void make_file(char path[64], int *fd, const uint8_t *data, size_t size)
{
    *fd = memfd_create("data", MFD_CLOEXEC);
    if (*fd < 0 || write(*fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, 64, "/proc/self/fd/%d", *fd);
}

static void check(fam_status status, const fam_error *error, const char *path)
{
    if (status == FAM_OK)
        return;
    if (status != FAM_STATUS_BAD_FORMAT || strncmp(error->message, path, strlen(path)) != 0)
        abort();
}

typedef struct sequence {
    int32_t ids[TOKENS];
    float weights[TOKENS];
    uint8_t answers[TOKENS];
} sequence;

static fam_status next(fam_source *source, sequence *out, fam_error *error)
{
    fam_sequence view = {out->ids, out->weights, out->answers, -1};
    float sum = 0;
    fam_status status = fam_source_next(source, TOKENS, &view, error);
    for (int t = 0; t < TOKENS && status == FAM_OK; t++) {
        if (out->ids[t] < 0 || out->ids[t] >= IDS || out->answers[t] > 1 || out->weights[t] < 0 || out->weights[t] > 1)
            abort();
        sum += out->weights[t];
    }
    if (status == FAM_OK && (sum <= 0 || out->weights[0] != 0))
        abort();
    return status;
}

static void read_all(fam_source *source, fam_source *other, fam_memory *memory, const char *path)
{
    static sequence a, b;
    fam_error error;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    for (int i = 0; i < SEQUENCES; i++) {
        uint8_t *place;
        size_t place_size;
        if (fam_source_save(source, &place, &place_size, &error) != FAM_OK ||
            fam_source_restore(other, place, place_size, &error) != FAM_OK)
            abort();
        fam_status status = next(source, &a, &error);
        check(status, &error, path);
        if (next(other, &b, &error) != status || (status == FAM_OK && memcmp(&a, &b, sizeof a) != 0))
            abort();
        fam_free(memory, place);
        if (status != FAM_OK)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fam_memory tokenizer_memory;
    static fam_tokenizer *tokenizer;
    fam_memory memory;
    fam_source *source[2] = {NULL, NULL};
    fam_error error;
    char path[64];
    int fd;
    if (size == 0)
        return 0;
    if (!tokenizer) {
        fam_memory_init(&tokenizer_memory);
        tokenizer = byte_tokenizer_open_with(&tokenizer_memory, true);
    }
    fam_memory_init(&memory);
    make_file(path, &fd, data + 1, size - 1);
    fam_data_options entry = {.kind = data[0] & 1 ? FAM_DATA_TEXT : FAM_DATA_JSONL,
                              .share = 1,
                              .path = path,
                              .weight = 1,
                              .repeat_weight = 0.5,
                              .shuffle = data[0] >> 1 & 1,
                              .pack = data[0] >> 2 & 1,
                              .skip_bad = data[0] >> 3 & 1 ? 3 : 0,
                              .too_long = (fam_too_long)((data[0] >> 4 & 3) % 3),
                              .repeat_tokens = data[0] >> 6 & 1 ? 5 : 0};
    fam_status status = fam_source_create(&source[0], &memory, &entry, 1, tokenizer, 1, &error);
    check(status, &error, path);
    if (status == FAM_OK) {
        if (fam_source_create(&source[1], &memory, &entry, 1, tokenizer, 2, &error) != FAM_OK)
            abort();
        read_all(source[0], source[1], &memory, path);
    }
    fam_source_free(source[0]);
    fam_source_free(source[1]);
    close(fd);
    if (memory.bytes != 0)
        abort();
    return 0;
}
