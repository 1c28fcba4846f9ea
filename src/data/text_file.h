/*
 * data/text_file.h: a file of text that is not trusted, of any size, read in pieces: what it is called, whether it is
 * text at all, whether it is still the same, and a hash of all of it.
 *
 * Text is UTF-8 without a byte order mark and without NUL. Memory: one window of the file, at most a line.
 */
#ifndef FAM_DATA_TEXT_FILE_H
#define FAM_DATA_TEXT_FILE_H

#include "base/file.h"

enum { FAM_LINE_BYTES_MAX = 64 << 20 };

typedef struct fam_text_file {
    fam_memory *memory;
    char *path;
    fam_input input;
    bool hashed;
    uint8_t hash[16]; /* XXH3-128 of the content, once `hashed` */
    uint8_t *window;  /* bytes [window_at, window_at + window_size) of the file */
    size_t window_size, window_capacity;
    uint64_t window_at;
} fam_text_file;

/* NOT_FOUND; IO; BAD_FORMAT: empty, compressed (by its name or first bytes), a byte order mark, UTF-16. On failure
 * nothing is left open. */
fam_status fam_text_file_open(fam_text_file *out, fam_memory *memory, const char *path, fam_error *error);
void fam_text_file_close(fam_text_file *file);

/* IO if the file has changed since it was opened: size or time. */
fam_status fam_text_file_check(const fam_text_file *file, fam_error *error);

/* Reads bytes [offset, offset + size), which lie in the file; *out is valid until the next reading. */
fam_status fam_text_file_read(fam_text_file *file, const uint8_t **out, uint64_t offset, size_t size, fam_error *error);
/* The line that begins at `offset` (below the file's size), without its end ("\n" or "\r\n"); *next is where the one
 * after it begins. *line is valid until the next reading. BAD_FORMAT: longer than FAM_LINE_BYTES_MAX. */
fam_status fam_text_file_line(fam_text_file *file, const uint8_t **line, size_t *size, uint64_t offset, uint64_t *next,
                              fam_error *error);
/* The number, from 1, of the line that byte `offset` is in; counts from the beginning of the file. */
fam_status fam_text_file_line_number(fam_text_file *file, uint64_t offset, uint64_t *out, fam_error *error);

/* BAD_FORMAT with the byte's place if text[0 .. size) is not UTF-8 or has a NUL; it begins at `offset` of the file and
 * at a character. Without `final` the last character may go on behind it: *used is where it begins, else `size`. */
fam_status fam_text_file_validate(const char *path, const uint8_t *text, size_t size, uint64_t offset, bool final,
                                  size_t *used, fam_error *error);

/* Hashes the content, once. IO if the file changed. */
fam_status fam_text_file_hash(fam_text_file *file, fam_error *error);

/* The first `limit` bytes of a file at most, up to a character's border, checked as above; *text is released with
 * fam_free. */
fam_status fam_text_file_read_beginning(char **text, size_t *size, fam_memory *memory, const char *path, size_t limit,
                                        fam_error *error);

#endif
