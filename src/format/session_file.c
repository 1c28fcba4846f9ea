/*
 * format/session_file.c: see session_file.h, which has the layout.
 */
#include "format/session_file.h"

#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "fam/modes.h"

static const char MAGIC[8] = {'F', 'A', 'M', 'S', 'E', 'S', 'S', '1'};
static const char END_MAGIC[8] = {'F', 'A', 'M', 'S', 'E', 'N', 'D', '1'};

enum {
    FIELDS_AT = 16,
    TABLE_AT = FIELDS_AT + (int)sizeof(fam_session_header),
    HEADER_HASH_AT = TABLE_AT + 8 * FAM_SECTION_COUNT,
    HEADER_BYTES = HEADER_HASH_AT + 8,
    TAIL_BYTES = 16 + 8 /* hash and end magic */
};

/* The struct is written as it lies in memory: all members are naturally aligned, without gaps. */
_Static_assert(sizeof(fam_session_header) == 32 + 6 * 4 + 12 * 8, "fam_session_header has no padding");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

static const char *const SECTION_NAMES[FAM_SECTION_COUNT] = {"state", "ring", "hidden", "sampler", "note"};

/* ---- writing ------------------------------------------------------------------------------------------------------ */

struct fam_session_writer {
    fam_memory *memory;
    fam_atomic_file *file;
    XXH3_state_t *whole, *block;
    uint64_t *block_hashes;
    size_t block_count, blocks_done, in_block; /* bytes of the block under way */
    uint64_t body_left;
};

static void writer_free(fam_session_writer *writer)
{
    fam_memory *memory = writer->memory;
    fam_atomic_file_abort(writer->file);
    XXH3_freeState(writer->whole);
    XXH3_freeState(writer->block);
    fam_free(memory, writer->block_hashes);
    fam_free(memory, writer);
}

static size_t blocks_of(uint64_t bytes)
{
    return (size_t)((bytes + FAM_SESSION_BLOCK - 1) / FAM_SESSION_BLOCK);
}

/* Writes bytes that the block hashes cover. */
static fam_status write_covered(fam_session_writer *writer, const void *data, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    const uint8_t *next = data;
    while (size > 0) {
        size_t room = FAM_SESSION_BLOCK - writer->in_block, n = size < room ? size : room;
        XXH3_64bits_update(writer->block, next, n);
        XXH3_128bits_update(writer->whole, next, n);
        FAM_TRY(fam_atomic_file_write(writer->file, next, n, error));
        writer->in_block += n;
        if (writer->in_block == FAM_SESSION_BLOCK) {
            writer->block_hashes[writer->blocks_done++] = XXH3_64bits_digest(writer->block);
            XXH3_64bits_reset(writer->block);
            writer->in_block = 0;
        }
        next += n;
        size -= n;
    }
done:
    return status;
}

fam_status fam_session_writer_begin(fam_session_writer **out, fam_memory *memory, const char *path,
                                    const fam_session_header *header, const uint64_t lengths[FAM_SECTION_COUNT],
                                    fam_error *error)
{
    fam_status status = FAM_OK;
    fam_session_writer *writer = NULL;
    uint8_t bytes[HEADER_BYTES];
    uint32_t version = FAM_SESSION_VERSION, header_bytes = HEADER_BYTES;

    FAM_TRY_ALLOC(writer, fam_alloc_zeroed(memory, sizeof *writer), path);
    writer->memory = memory;
    for (int i = 0; i < FAM_SECTION_COUNT; i++)
        writer->body_left += lengths[i];
    writer->block_count = blocks_of(HEADER_BYTES + writer->body_left);
    FAM_TRY_ALLOC(writer->block_hashes, fam_alloc_array(memory, writer->block_count, sizeof(uint64_t)), path);
    FAM_TRY_ALLOC(writer->whole, XXH3_createState(), path);
    FAM_TRY_ALLOC(writer->block, XXH3_createState(), path);
    XXH3_128bits_reset(writer->whole);
    XXH3_64bits_reset(writer->block);
    FAM_TRY(fam_atomic_file_begin(&writer->file, memory, path, FAM_FILE_PRIVATE, error));

    memcpy(bytes, MAGIC, 8);
    memcpy(bytes + 8, &version, 4);
    memcpy(bytes + 12, &header_bytes, 4);
    memcpy(bytes + FIELDS_AT, header, sizeof *header);
    memcpy(bytes + TABLE_AT, lengths, 8 * FAM_SECTION_COUNT);
    uint64_t hash = XXH3_64bits(bytes, HEADER_HASH_AT);
    memcpy(bytes + HEADER_HASH_AT, &hash, 8);
    FAM_TRY(write_covered(writer, bytes, sizeof bytes, error));
    *out = writer;
    writer = NULL;
done:
    if (writer)
        writer_free(writer);
    return status;
}

fam_status fam_session_writer_write(fam_session_writer *writer, const void *data, size_t size, fam_error *error)
{
    if (size > writer->body_left)
        return fam_error_set(error, FAM_STATUS_FAILED, "session file: body: found more bytes than announced");
    writer->body_left -= size;
    return write_covered(writer, data, size, error);
}

fam_status fam_session_writer_commit(fam_session_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(writer->body_left > 0, FAM_STATUS_FAILED, "session file: body: found %llu bytes less than announced",
                (unsigned long long)writer->body_left);
    if (writer->in_block > 0)
        writer->block_hashes[writer->blocks_done++] = XXH3_64bits_digest(writer->block);
    size_t table = writer->block_count * sizeof(uint64_t);
    XXH3_128bits_update(writer->whole, writer->block_hashes, table);
    FAM_TRY(fam_atomic_file_write(writer->file, writer->block_hashes, table, error));
    XXH128_hash_t hash = XXH3_128bits_digest(writer->whole);
    uint64_t words[2] = {hash.low64, hash.high64};
    FAM_TRY(fam_atomic_file_write(writer->file, words, sizeof words, error));
    FAM_TRY(fam_atomic_file_write(writer->file, END_MAGIC, sizeof END_MAGIC, error));
    fam_atomic_file *file = writer->file;
    writer->file = NULL; /* commit frees it, whatever happens */
    FAM_TRY(fam_atomic_file_commit(file, error));
done:
    writer_free(writer);
    return status;
}

void fam_session_writer_abort(fam_session_writer *writer)
{
    if (writer)
        writer_free(writer);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static fam_status check_range(const char *name, const char *field, int64_t value, int64_t low, int64_t high,
                              fam_error *error)
{
    if (value >= low && value <= high)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: session file: %s: found %lld, need %lld to %lld", name,
                         field, (long long)value, (long long)low, (long long)high);
}

static fam_status check_fields(const char *name, const fam_session_header *h, fam_error *error)
{
    fam_status status = FAM_OK;
    const int64_t large = (int64_t)1 << 40, size = (int64_t)1 << 31;
    FAM_TRY(check_range(name, "dtype", h->dtype, 0, FAM_DTYPE_BF16, error));
    FAM_TRY(check_range(name, "mode", h->mode, 0, FAM_MODE_FAM, error));
    FAM_TRY(check_range(name, "state_norm", h->state_norm, 0, FAM_STATE_NORM_RMS_INIT, error));
    FAM_TRY(check_range(name, "fam_positions", h->positions, 0, FAM_POSITIONS_FLOAT, error));
    FAM_TRY(check_range(name, "with_residual", h->with_residual, 0, 1, error));
    FAM_TRY(check_range(name, "layers", h->layers, 1, 1024, error));
    FAM_TRY(check_range(name, "hidden_size", h->hidden_size, 1, size, error));
    FAM_TRY(check_range(name, "kv_heads", h->kv_heads, 1, size, error));
    FAM_TRY(check_range(name, "head_dim", h->head_dim, 2, size, error));
    FAM_TRY(check_range(name, "vocab_size", h->vocab_size, 1, (int64_t)1 << 24, error));
    FAM_TRY(check_range(name, "block_size", h->block_size, 1, size, error));
    FAM_TRY(check_range(name, "memory_segments", h->memory_segments, 0, size, error));
    FAM_TRY(check_range(name, "fam_length", h->fam_length, 0, size, error));
    FAM_TRY(check_range(name, "window", h->window, 1, size, error));
    FAM_TRY(check_range(name, "context", h->context, 0, large, error));
    FAM_TRY(check_range(name, "position", h->position, 0, large, error));
    FAM_TRY(check_range(name, "offset", h->offset, 0, large, error));
    FAM_TRY(check_range(name, "position and offset", h->position + h->offset, 0, large + 1, error));
done:
    return status;
}

static fam_status check_header(fam_session_file *out, const char *name, const uint8_t *data, size_t size,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(size < 16, FAM_STATUS_BAD_FORMAT, "%s: session file: too short: found %zu bytes, need at least %d", name,
                size, HEADER_BYTES);
    FAM_FAIL_IF(memcmp(data, MAGIC, 8) != 0, FAM_STATUS_BAD_FORMAT,
                "%s: session file: magic: offset 0: found other bytes, need \"FAMSESS1\"", name);
    out->version = fam_read_u32(data + 8);
    FAM_FAIL_IF(out->version == 0x01000000u, FAM_STATUS_UNSUPPORTED,
                "%s: session file: byte order: found a big-endian file, need little-endian", name);
    FAM_FAIL_IF(out->version > FAM_SESSION_VERSION, FAM_STATUS_UNSUPPORTED,
                "%s: session file: version: found %u, need at most %u (a newer fam wrote it)", name, out->version,
                FAM_SESSION_VERSION);
    FAM_FAIL_IF(out->version == 0, FAM_STATUS_BAD_FORMAT, "%s: session file: version: found 0, need 1 to %u", name,
                FAM_SESSION_VERSION);
    uint32_t header_bytes = fam_read_u32(data + 12);
    FAM_FAIL_IF(header_bytes != HEADER_BYTES, FAM_STATUS_BAD_FORMAT,
                "%s: session file: header length: found %u, need %d", name, header_bytes, HEADER_BYTES);
    FAM_FAIL_IF(size < HEADER_BYTES, FAM_STATUS_BAD_FORMAT,
                "%s: session file: too short: found %zu bytes, need at least %d", name, size, HEADER_BYTES);
    FAM_FAIL_IF(fam_read_u64(data + HEADER_HASH_AT) != XXH3_64bits(data, HEADER_HASH_AT), FAM_STATUS_BAD_FORMAT,
                "%s: session file: header checksum: offset %d: found another, the header is damaged", name,
                HEADER_HASH_AT);
    memcpy(&out->header, data + FIELDS_AT, sizeof out->header);
    FAM_TRY(check_fields(name, &out->header, error));
done:
    return status;
}

/* Section lengths against the file's size, before anything of the body is touched. */
static fam_status check_sections(fam_session_file *out, const char *name, const uint8_t *data, size_t size,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t at = HEADER_BYTES;
    for (int i = 0; i < FAM_SECTION_COUNT; i++) {
        uint64_t length = fam_read_u64(data + TABLE_AT + 8 * i);
        FAM_FAIL_IF(length > size - at, FAM_STATUS_BAD_FORMAT,
                    "%s: session file: section %s: offset %llu: found %llu bytes, need at most %llu", name,
                    SECTION_NAMES[i], (unsigned long long)at, (unsigned long long)length,
                    (unsigned long long)(size - at));
        out->section[i] = data + at;
        out->length[i] = length;
        at += length;
    }
    uint64_t need = at + 8 * (uint64_t)blocks_of(at) + TAIL_BYTES;
    FAM_FAIL_IF(size != need, FAM_STATUS_BAD_FORMAT, "%s: session file: size: found %zu bytes, need %llu", name, size,
                (unsigned long long)need);
    FAM_FAIL_IF(out->length[FAM_SECTION_NOTE] > FAM_SESSION_NOTE_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: session file: section note: found %llu bytes, need at most %zu", name,
                (unsigned long long)out->length[FAM_SECTION_NOTE], FAM_SESSION_NOTE_MAX);
done:
    return status;
}

static fam_status check_hashes(const char *name, const uint8_t *data, size_t size, uint64_t covered, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t blocks = blocks_of(covered);
    const uint8_t *hashes = data + covered, *tail = hashes + 8 * blocks;
    for (size_t i = 0; i < blocks; i++) {
        size_t at = i * FAM_SESSION_BLOCK, left = (size_t)covered - at;
        uint64_t hash = XXH3_64bits(data + at, left < FAM_SESSION_BLOCK ? left : FAM_SESSION_BLOCK);
        FAM_FAIL_IF(hash != fam_read_u64(hashes + 8 * i), FAM_STATUS_BAD_FORMAT,
                    "%s: session file: checksum of block %zu: offset %zu: found another, the file is damaged", name, i,
                    at);
    }
    XXH128_hash_t whole = XXH3_128bits(data, size - TAIL_BYTES);
    FAM_FAIL_IF(whole.low64 != fam_read_u64(tail) || whole.high64 != fam_read_u64(tail + 8), FAM_STATUS_BAD_FORMAT,
                "%s: session file: checksum of the whole: offset %zu: found another, the file is damaged", name,
                size - TAIL_BYTES);
    FAM_FAIL_IF(memcmp(tail + 16, END_MAGIC, 8) != 0, FAM_STATUS_BAD_FORMAT,
                "%s: session file: end magic: offset %zu: found other bytes, need \"FAMSEND1\"", name, size - 8);
done:
    return status;
}

fam_status fam_session_file_parse(fam_session_file *out, const char *name, const uint8_t *data, size_t size,
                                  fam_error *error)
{
    fam_status status = FAM_OK;
    fam_session_file file = {.file_bytes = size};
    FAM_TRY(check_header(&file, name, data, size, error));
    FAM_TRY(check_sections(&file, name, data, size, error));
    uint64_t covered = HEADER_BYTES;
    for (int i = 0; i < FAM_SECTION_COUNT; i++)
        covered += file.length[i];
    FAM_TRY(check_hashes(name, data, size, covered, error));
    *out = file;
done:
    return status;
}

fam_status fam_session_file_open(fam_session_file *out, const char *path, fam_error *error)
{
    fam_mapping mapping = {0};
    fam_status status = fam_mapping_open(&mapping, path, error);
    if (status != FAM_OK)
        return status;
    status = fam_session_file_parse(out, path, mapping.data, mapping.size, error);
    if (status == FAM_OK)
        out->mapping = mapping;
    else
        fam_mapping_close(&mapping);
    return status;
}

void fam_session_file_close(fam_session_file *file)
{
    fam_mapping_close(&file->mapping);
    *file = (fam_session_file){0};
}
