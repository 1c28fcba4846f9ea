/*
 * tests/support/session_bytes.h: a session file as bytes that a test changes, with checksums made anew by the test's own
 * hand (format/session_file.h has the layout), so that what lies behind the checksums is reached.
 */
#ifndef TESTS_SUPPORT_SESSION_BYTES_H
#define TESTS_SUPPORT_SESSION_BYTES_H

#include <stddef.h>
#include <stdint.h>

enum { SESSION_BYTES_STATE, SESSION_BYTES_RING, SESSION_BYTES_HIDDEN, SESSION_BYTES_SAMPLER, SESSION_BYTES_NOTE };

typedef struct session_bytes {
    uint8_t *data;
    size_t size;
} session_bytes;

session_bytes session_bytes_read(const char *path);
session_bytes session_bytes_copy(const session_bytes *from);
void session_bytes_free(session_bytes *bytes);

size_t session_bytes_header(const session_bytes *bytes); /* where the body begins */
uint64_t session_bytes_length(const session_bytes *bytes, int section);
void session_bytes_set_length(session_bytes *bytes, int section, uint64_t length);
size_t session_bytes_section(const session_bytes *bytes, int section); /* where it begins; SECTION_COUNT: the hashes */
size_t session_bytes_field(const char *name);                          /* where a field of the header lies */

/* Makes all checksums right for what the header and the body are now. The lengths must fit the size. */
void session_bytes_sign(session_bytes *bytes);
/* Only the header's. */
void session_bytes_sign_header(session_bytes *bytes);
/* A section gets another content, and the file another size; signed. */
void session_bytes_replace(session_bytes *bytes, int section, const void *data, size_t size);

#endif
