/*
 * tests/support/session_bytes.c: see session_bytes.h.
 */
#include "session_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/session_file.h"
#include "run.h"

enum { FIELDS = 16, TABLE = FIELDS + sizeof(fam_session_header), TAIL = 24 };

session_bytes session_bytes_read(const char *path)
{
    session_bytes bytes;
    bytes.data = run_read(path, &bytes.size);
    return bytes;
}

session_bytes session_bytes_copy(const session_bytes *from)
{
    session_bytes bytes = {.data = malloc(from->size + 1), .size = from->size};
    assert_non_null(bytes.data);
    memcpy(bytes.data, from->data, from->size);
    return bytes;
}

void session_bytes_free(session_bytes *bytes)
{
    free(bytes->data);
    *bytes = (session_bytes){0};
}

size_t session_bytes_header(const session_bytes *bytes)
{
    uint32_t size;
    memcpy(&size, bytes->data + 12, 4);
    return size;
}

uint64_t session_bytes_length(const session_bytes *bytes, int section)
{
    uint64_t length;
    memcpy(&length, bytes->data + TABLE + 8 * section, 8);
    return length;
}

void session_bytes_set_length(session_bytes *bytes, int section, uint64_t length)
{
    memcpy(bytes->data + TABLE + 8 * section, &length, 8);
}

size_t session_bytes_section(const session_bytes *bytes, int section)
{
    size_t at = session_bytes_header(bytes);
    for (int i = 0; i < section; i++)
        at += session_bytes_length(bytes, i);
    return at;
}

size_t session_bytes_field(const char *name)
{
#define FIELD(member) {#member, offsetof(fam_session_header, member)}
    static const struct {
        const char *name;
        size_t at;
    } fields[] = {FIELD(model),      FIELD(tokenizer),  FIELD(dtype),       FIELD(mode),       FIELD(state_norm),
                  FIELD(positions),  FIELD(layers),     FIELD(hidden_size), FIELD(kv_heads),   FIELD(head_dim),
                  FIELD(vocab_size), FIELD(block_size), FIELD(context),     FIELD(fam_length), FIELD(window),
                  FIELD(position),   FIELD(offset),     FIELD(reserved),    FIELD(memory_segments),
                  FIELD(with_residual)};
#undef FIELD
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i].name, name) == 0)
            return FIELDS + fields[i].at;
    fail_msg("no field %s", name);
    return 0;
}

void session_bytes_sign_header(session_bytes *bytes)
{
    size_t at = session_bytes_header(bytes) - 8;
    uint64_t hash = XXH3_64bits(bytes->data, at);
    memcpy(bytes->data + at, &hash, 8);
}

void session_bytes_sign(session_bytes *bytes)
{
    session_bytes_sign_header(bytes);
    size_t covered = session_bytes_section(bytes, FAM_SECTION_COUNT), at = covered;
    for (size_t block = 0; block < covered; block += FAM_SESSION_BLOCK, at += 8) {
        size_t n = covered - block < FAM_SESSION_BLOCK ? covered - block : FAM_SESSION_BLOCK;
        uint64_t hash = XXH3_64bits(bytes->data + block, n);
        memcpy(bytes->data + at, &hash, 8);
    }
    XXH128_hash_t whole = XXH3_128bits(bytes->data, at);
    memcpy(bytes->data + at, &whole.low64, 8);
    memcpy(bytes->data + at + 8, &whole.high64, 8);
    assert_int_equal(at + TAIL, bytes->size);
}

void session_bytes_replace(session_bytes *bytes, int section, const void *data, size_t size)
{
    size_t from = session_bytes_section(bytes, section), to = session_bytes_section(bytes, section + 1),
           end = session_bytes_section(bytes, FAM_SECTION_COUNT), covered = from + size + (end - to);
    size_t blocks = (covered + FAM_SESSION_BLOCK - 1) / FAM_SESSION_BLOCK;
    session_bytes made = {.size = covered + 8 * blocks + TAIL};
    made.data = calloc(1, made.size);
    assert_non_null(made.data);
    memcpy(made.data, bytes->data, from);
    if (size > 0)
        memcpy(made.data + from, data, size);
    memcpy(made.data + from + size, bytes->data + to, end - to);
    memcpy(made.data + made.size - 8, bytes->data + bytes->size - 8, 8);
    session_bytes_set_length(&made, section, size);
    session_bytes_free(bytes);
    *bytes = made;
    session_bytes_sign(bytes);
}
