/*
 * data/text_file.c: see text_file.h.
 */
#include "data/text_file.h"

#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "base/utf8.h"

enum { WINDOW_BYTES = 1 << 18, FIRST_BYTES = 1 << 12 /* read where nothing before it was */ };

/* What files must not begin with. */
static const struct magic {
    const char *bytes;
    size_t size;
    const char *what, *need;
} magics[] = {{"\xef\xbb\xbf", 3, "a byte order mark", "UTF-8 without one (tail -c +4 takes it off)"},
              {"\xff\xfe", 2, "UTF-16", "UTF-8 (iconv -f UTF-16 -t UTF-8)"},
              {"\xfe\xff", 2, "UTF-16", "UTF-8 (iconv -f UTF-16 -t UTF-8)"},
              {"\x1f\x8b", 2, "gzip", "text (gunzip it first)"},
              {"\x28\xb5\x2f\xfd", 4, "zstd", "text (unzstd it first)"},
              {"\xfd\x37zXZ", 5, "xz", "text (unxz it first)"},
              {"BZh", 3, "bzip2", "text (bunzip2 it first)"},
              {"PK\x03\x04", 4, "a zip archive", "text (unzip it first)"},
              {"PAR1", 4, "Parquet", "JSON lines or text"}};

static fam_status check_name(const char *path, fam_error *error)
{
    static const char *const endings[] = {".gz", ".zst", ".xz", ".bz2", ".zip", ".parquet"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);
        if (length > n && strcasecmp(path + length - n, endings[i]) == 0)
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                                 "%s: file: found a compressed one by its name, need text (decompress it first)", path);
    }
    return FAM_OK;
}

static fam_status check_beginning(fam_text_file *file, fam_error *error)
{
    fam_status status = FAM_OK;
    const uint8_t *bytes;
    size_t size = file->input.size < 8 ? (size_t)file->input.size : 8;
    FAM_FAIL_IF(size == 0, FAM_STATUS_BAD_FORMAT, "%s: file: found an empty one, need text", file->path);
    FAM_TRY(fam_text_file_read(file, &bytes, 0, size, error));
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        FAM_FAIL_IF(size >= magics[i].size && memcmp(bytes, magics[i].bytes, magics[i].size) == 0,
                    FAM_STATUS_BAD_FORMAT, "%s: byte 0: found %s, need %s", file->path, magics[i].what, magics[i].need);
done:
    return status;
}

fam_status fam_text_file_open(fam_text_file *out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    *out = (fam_text_file){.memory = memory};
    FAM_TRY(check_name(path, error));
    FAM_TRY_ALLOC(out->path, fam_strdup(memory, path), path);
    FAM_TRY(fam_input_open(&out->input, path, error));
    FAM_TRY(check_beginning(out, error));
done:
    if (status != FAM_OK)
        fam_text_file_close(out);
    return status;
}

void fam_text_file_close(fam_text_file *file)
{
    if (!file->memory)
        return;
    fam_input_close(&file->input);
    fam_free(file->memory, file->path);
    fam_free(file->memory, file->window);
    *file = (fam_text_file){0};
}

fam_status fam_text_file_check(const fam_text_file *file, fam_error *error)
{
    return fam_input_check(&file->input, file->path, error);
}

/* Makes the window hold [offset, offset + size) at least, keeping what it has of it. */
static fam_status fill_window(fam_text_file *file, uint64_t offset, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t end = file->window_at + file->window_size, left = file->input.size - offset;
    bool goes_on = offset >= file->window_at && offset <= end;
    size_t kept = 0, least = goes_on ? WINDOW_BYTES : FIRST_BYTES, want = size < least ? least : size;
    if (want > left)
        want = (size_t)left;
    if (goes_on) {
        kept = (size_t)(end - offset);
        if (kept >= size)
            return FAM_OK;
        if (kept)
            memmove(file->window, file->window + (offset - file->window_at), kept);
    }
    file->window_at = offset;
    file->window_size = kept;
    if (want > file->window_capacity) {
        uint8_t *grown = fam_realloc(file->memory, file->window, want);
        if (!grown)
            return fam_out_of_memory(error, file->path);
        file->window = grown;
        file->window_capacity = want;
    }
    FAM_TRY(fam_input_read(&file->input, file->path, offset + kept, file->window + kept, want - kept, error));
    file->window_size = want;
done:
    return status;
}

/* A window that one long line made large is not kept for the next. */
static void shrink_window(fam_text_file *file, uint64_t offset)
{
    bool needed = offset >= file->window_at && offset - file->window_at < file->window_size;
    if (file->window_capacity <= 4 * WINDOW_BYTES || (needed && file->window_size > WINDOW_BYTES))
        return;
    fam_free(file->memory, file->window);
    file->window = NULL;
    file->window_capacity = file->window_size = 0;
}

fam_status fam_text_file_read(fam_text_file *file, const uint8_t **out, uint64_t offset, size_t size, fam_error *error)
{
    fam_status status = fill_window(file, offset, size, error);
    *out = status == FAM_OK ? file->window + (offset - file->window_at) : NULL;
    return status;
}

fam_status fam_text_file_line(fam_text_file *file, const uint8_t **line, size_t *size, uint64_t offset, uint64_t *next,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    const uint8_t *text, *end = NULL;
    size_t searched = 0, have = 1;
    shrink_window(file, offset);
    for (;;) {
        FAM_TRY(fam_text_file_read(file, &text, offset, have, error));
        have = (size_t)(file->window_at + file->window_size - offset);
        end = memchr(text + searched, '\n', have - searched);
        if (end || offset + have == file->input.size)
            break;
        FAM_FAIL_IF(have > FAM_LINE_BYTES_MAX + 1, FAM_STATUS_BAD_FORMAT,
                    "%s: byte %llu: found a line of more than %d bytes, need at most that", file->path,
                    (unsigned long long)offset, FAM_LINE_BYTES_MAX);
        searched = have;
        have = have < FAM_LINE_BYTES_MAX / 2 ? 2 * have : FAM_LINE_BYTES_MAX + 2;
        if (have > file->input.size - offset)
            have = (size_t)(file->input.size - offset);
    }
    size_t length = end ? (size_t)(end - text) : have;
    uint64_t after = offset + length + (end ? 1 : 0);
    if (end && length && text[length - 1] == '\r')
        length--;
    FAM_FAIL_IF(length > FAM_LINE_BYTES_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: byte %llu: found a line of %zu bytes, need at most %d", file->path, (unsigned long long)offset,
                length, FAM_LINE_BYTES_MAX);
    *line = text;
    *size = length;
    *next = after;
done:
    return status;
}

fam_status fam_text_file_line_number(fam_text_file *file, uint64_t offset, uint64_t *out, fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t number = 1;
    for (uint64_t at = 0; at < offset;) {
        const uint8_t *text;
        size_t n = offset - at < WINDOW_BYTES ? (size_t)(offset - at) : WINDOW_BYTES;
        FAM_TRY(fam_text_file_read(file, &text, at, n, error));
        for (const uint8_t *p = text; (p = memchr(p, '\n', n - (size_t)(p - text))) != NULL; p++)
            number++;
        at += n;
    }
    *out = number;
done:
    return status;
}

fam_status fam_text_file_validate(const char *path, const uint8_t *text, size_t size, uint64_t offset, bool final,
                                  size_t *used, fam_error *error)
{
    size_t end = final ? size : fam_utf8_complete_prefix(text, size);
    *used = end;
    const uint8_t *nul = memchr(text, 0, end);
    if (nul)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: byte %llu: found a NUL, need text", path,
                             (unsigned long long)(offset + (uint64_t)(nul - text)));
    if (fam_utf8_valid(text, end))
        return FAM_OK;
    size_t at = 0, n;
    uint32_t code;
    while ((n = fam_utf8_decode(text + at, end - at, &code)) > 0)
        at += n;
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: byte %llu: found 0x%02x, which is not UTF-8, need UTF-8",
                         path, (unsigned long long)(offset + at), at < end ? text[at] : 0);
}

fam_status fam_text_file_hash(fam_text_file *file, fam_error *error)
{
    fam_status status = FAM_OK;
    XXH3_state_t *state = NULL;
    if (file->hashed)
        return FAM_OK;
    state = XXH3_createState();
    if (!state || XXH3_128bits_reset(state) != XXH_OK) {
        XXH3_freeState(state);
        return fam_out_of_memory(error, file->path);
    }
    FAM_TRY(fam_text_file_check(file, error));
    for (uint64_t at = 0; at < file->input.size;) {
        const uint8_t *bytes;
        uint64_t left = file->input.size - at;
        size_t n = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        FAM_TRY(fam_text_file_read(file, &bytes, at, n, error));
        XXH3_128bits_update(state, bytes, n);
        at += n;
    }
    FAM_TRY(fam_text_file_check(file, error));
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    memcpy(file->hash, &hash.low64, 8);
    memcpy(file->hash + 8, &hash.high64, 8);
    file->hashed = true;
done:
    XXH3_freeState(state);
    return status;
}

fam_status fam_text_file_read_beginning(char **text, size_t *size, fam_memory *memory, const char *path, size_t limit,
                                        fam_error *error)
{
    fam_status status = FAM_OK;
    fam_text_file file;
    char *bytes = NULL;
    *text = NULL;
    FAM_TRY(fam_text_file_open(&file, memory, path, error));
    bool whole = file.input.size <= limit;
    size_t n = whole ? (size_t)file.input.size : limit, used;
    FAM_TRY_ALLOC(bytes, fam_alloc(memory, n), path);
    FAM_TRY(fam_input_read(&file.input, path, 0, bytes, n, error));
    FAM_TRY(fam_text_file_validate(path, (const uint8_t *)bytes, n, 0, whole, &used, error));
    *text = bytes;
    *size = used;
    bytes = NULL;
done:
    fam_free(memory, bytes);
    fam_text_file_close(&file);
    return status;
}
