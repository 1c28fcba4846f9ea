/*
 * tests/support/scratch.c: see scratch.h.
 */
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *scratch_make(void)
{
    static char buffers[16][512];
    static unsigned next;
    char *buffer = buffers[next++ % 16];
    const char *base = getenv("TMPDIR");
    snprintf(buffer, sizeof buffers[0], "%s/fam-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(buffer))
        abort();
    return buffer;
}

const char *scratch_path(const char *directory, const char *name)
{
    static char buffers[8][1024];
    static unsigned next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, sizeof buffers[0], "%s/%s", directory, name);
    return buffer;
}

void scratch_write(const char *directory, const char *name, const void *data, size_t size)
{
    FILE *file = fopen(scratch_path(directory, name), "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
}

void scratch_write_text(const char *directory, const char *name, const char *text)
{
    scratch_write(directory, name, text, strlen(text));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

void scratch_remove(const char *directory)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
