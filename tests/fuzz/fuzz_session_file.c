/*
 * Fuzz target: session files, as they are and with their checksums made right, and the sampler's part of them.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/session_file.h"
#include "session/sampler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Offsets as format/session_file.h has them. */
enum { FIELDS = 16, TABLE = FIELDS + sizeof(fam_session_header), HASH = TABLE + 8 * FAM_SECTION_COUNT, TAIL = 24 };

/* Makes the checksums right where the sizes allow it, so that mutations reach what lies behind them. */
static void sign(uint8_t *data, size_t size)
{
    if (size < HASH + 8 + 8 + TAIL)
        return;
    uint64_t hash = XXH3_64bits(data, HASH), covered = HASH + 8;
    memcpy(data + HASH, &hash, 8);
    for (int i = 0; i < FAM_SECTION_COUNT; i++) {
        uint64_t length;
        memcpy(&length, data + TABLE + 8 * i, 8);
        if (length > size - covered)
            return;
        covered += length;
    }
    size_t blocks = (size_t)((covered + FAM_SESSION_BLOCK - 1) / FAM_SESSION_BLOCK), at = (size_t)covered;
    if (size - covered != 8 * blocks + TAIL)
        return;
    for (size_t i = 0; i < blocks; i++, at += 8) {
        size_t begin = i * FAM_SESSION_BLOCK, left = (size_t)covered - begin;
        hash = XXH3_64bits(data + begin, left < FAM_SESSION_BLOCK ? left : FAM_SESSION_BLOCK);
        memcpy(data + at, &hash, 8);
    }
    XXH128_hash_t whole = XXH3_128bits(data, at);
    memcpy(data + at, &whole.low64, 8);
    memcpy(data + at + 8, &whole.high64, 8);
}

static void unpack(const uint8_t *data, size_t size)
{
    fam_memory memory;
    fam_sampler *sampler = NULL;
    fam_error error;
    fam_memory_init(&memory);
    if (fam_sampler_create(&sampler, &memory, 100, &error) != FAM_OK)
        abort();
    size_t before = memory.bytes;
    if (fam_sampler_unpack(sampler, "fuzz", data, size, &error) == FAM_OK) {
        float logits[100];
        int32_t token = 0;
        for (int i = 0; i < 100; i++)
            logits[i] = (float)(i % 7);
        uint8_t *packed = malloc(fam_sampler_packed_bytes(sampler));
        if (!packed || fam_sampler_packed_bytes(sampler) != size)
            abort();
        fam_sampler_pack(sampler, packed);
        free(packed);
        if (fam_sampler_draw(sampler, &token, logits, &error) == FAM_OK && (token < 0 || token >= 100))
            abort();
    } else if (memory.bytes != before || strncmp(error.message, "fuzz: ", 6) != 0) {
        abort();
    }
    fam_sampler_free(sampler);
    if (memory.bytes != 0)
        abort();
}

static void parse(const uint8_t *data, size_t size)
{
    fam_session_file file;
    fam_error error;
    if (fam_session_file_parse(&file, "fuzz.session", data, size, &error) != FAM_OK) {
        if (strncmp(error.message, "fuzz.session: ", 14) != 0)
            abort();
        return;
    }
    uint64_t sum = 0;
    for (int i = 0; i < FAM_SECTION_COUNT; i++) {
        if (file.section[i] < data || file.length[i] > size)
            abort();
        sum += XXH3_64bits(file.section[i], file.length[i]);
    }
    volatile uint64_t kept = sum;
    (void)kept;
    unpack(file.section[FAM_SECTION_SAMPLER], file.length[FAM_SECTION_SAMPLER]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    parse(copy, size);
    sign(copy, size);
    parse(copy, size);
    free(copy);
    unpack(data, size);
    return 0;
}
