/*
 * base/bytes.h: little-endian numbers in byte buffers, and a cursor that cannot run past the end.
 *
 * The supported machines are little-endian; memcpy keeps unaligned access defined.
 */
#ifndef FAM_BASE_BYTES_H
#define FAM_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t fam_read_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t fam_read_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t fam_read_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float fam_read_f32(const void *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* A place in a buffer. The take functions return false, and move nothing, when fewer bytes remain. */
typedef struct fam_cursor {
    const uint8_t *data;
    size_t size, at; /* at <= size, always */
} fam_cursor;

static inline size_t fam_cursor_remaining(const fam_cursor *cursor)
{
    return cursor->size - cursor->at;
}

static inline bool fam_take(fam_cursor *cursor, void *out, size_t size)
{
    if (fam_cursor_remaining(cursor) < size)
        return false;
    memcpy(out, cursor->data + cursor->at, size);
    cursor->at += size;
    return true;
}

static inline bool fam_take_u32(fam_cursor *cursor, uint32_t *out)
{
    return fam_take(cursor, out, sizeof *out);
}

static inline bool fam_take_u64(fam_cursor *cursor, uint64_t *out)
{
    return fam_take(cursor, out, sizeof *out);
}

#endif
