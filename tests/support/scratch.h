/*
 * tests/support/scratch.h: a directory of a test's own, and files in it. Aborts when the system refuses.
 */
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>

/* A new empty directory below TMPDIR or /tmp. The text lives until the process ends. */
const char *scratch_make(void);
/* directory + "/" + name, in one of a few static buffers. */
const char *scratch_path(const char *directory, const char *name);
void scratch_write(const char *directory, const char *name, const void *data, size_t size);
void scratch_write_text(const char *directory, const char *name, const char *text);
/* Removes a directory and all below it. */
void scratch_remove(const char *directory);

#endif
