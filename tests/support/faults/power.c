/*
 * tests/support/faults/power.c: see power.h. Files and folders are known by their inode, since their paths change.
 */
#include "power.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"

enum { NOTES_MAX = 1024, NAME_SIZE = 64 };

typedef enum note_kind { NOTE_CREATED, NOTE_MADE, NOTE_RENAMED, NOTE_EXCHANGED } note_kind;

typedef struct note {
    note_kind kind;
    ino_t folder, file;
    char from[NAME_SIZE], to[NAME_SIZE];
} note;

static note notes[NOTES_MAX];
static ino_t written[NOTES_MAX];
static int note_count, written_count;

void power_begin(void)
{
    note_count = written_count = 0;
}

static ino_t inode_of(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        abort();
    return st.st_ino;
}

static note *add(note_kind kind, ino_t folder)
{
    if (note_count == NOTES_MAX)
        abort();
    notes[note_count] = (note){.kind = kind, .folder = folder};
    return &notes[note_count++];
}

/* The folder that a path, taken from `at`, lies in. */
static ino_t inode_above(int at, const char *path)
{
    char above[4096];
    struct stat st;
    const char *slash = strrchr(path, '/');
    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (fstatat(at, above, &st, 0) != 0)
        abort();
    return st.st_ino;
}

void power_note_written(int fd)
{
    ino_t inode = inode_of(fd);
    for (int i = 0; i < written_count; i++)
        if (written[i] == inode)
            return;
    if (written_count == NOTES_MAX)
        abort();
    written[written_count++] = inode;
}

void power_note_created(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        abort();
    path[length] = '\0';
    add(NOTE_CREATED, inode_above(AT_FDCWD, path))->file = inode_of(fd);
}

void power_note_made(int at, const char *path)
{
    struct stat st;
    if (fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
        abort();
    add(NOTE_MADE, inode_above(at, path))->file = st.st_ino;
}

void power_note_renamed(int folder, const char *from, const char *to, bool exchanged)
{
    note *renamed = add(exchanged ? NOTE_EXCHANGED : NOTE_RENAMED, inode_of(folder));
    snprintf(renamed->from, NAME_SIZE, "%s", from);
    snprintf(renamed->to, NAME_SIZE, "%s", to);
}

void power_note_synced(int fd)
{
    ino_t inode = inode_of(fd);
    int kept = 0;
    for (int i = 0; i < note_count; i++)
        if (notes[i].folder != inode)
            notes[kept++] = notes[i];
    note_count = kept;
    for (int i = 0; i < written_count; i++)
        if (written[i] == inode)
            written[i--] = written[--written_count];
}

/* ---- the loss ---------------------------------------------------------------------------------------------------- */

static ino_t wanted;
static char found[4096];

static int match(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)type;
    (void)walk;
    if (st->st_ino != wanted)
        return 0;
    snprintf(found, sizeof found, "%s", path);
    return 1;
}

/* Where it is now, or NULL. */
static const char *path_of(const char *root, ino_t inode)
{
    wanted = inode;
    return nftw(root, match, 16, FTW_PHYS) == 1 ? found : NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static void undo(const char *root, const note *change)
{
    const char *path = path_of(root, change->kind <= NOTE_MADE ? change->file : change->folder);
    if (!path)
        return;
    if (change->kind <= NOTE_MADE) {
        char copy[sizeof found];
        memcpy(copy, path, sizeof copy);
        nftw(copy, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        return;
    }
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    if (change->kind == NOTE_EXCHANGED)
        renameat2(folder, change->to, folder, change->from, RENAME_EXCHANGE);
    else
        renameat2(folder, change->to, folder, change->from, RENAME_NOREPLACE);
    close(folder);
}

static void spoil(const char *path, fam_random *random)
{
    struct stat st;
    static const char zeros[4096];
    if (stat(path, &st) != 0)
        return;
    uint64_t size = (uint64_t)st.st_size, at = size ? fam_random_next(random) % size : 0;
    int fd = open(path, O_WRONLY);
    switch (fam_random_next(random) % 4) {
    case 0:
        at = 0;
        /* fallthrough */
    case 1:
        if (ftruncate(fd, (off_t)at) != 0)
            abort();
        break;
    case 2: /* a block that did not get there */
        if (size > 0 && pwrite(fd, zeros, size - at < sizeof zeros ? size - at : sizeof zeros, (off_t)at) < 0)
            abort();
        break;
    default: /* it got there in time */
        break;
    }
    close(fd);
}

void power_lose(const char *root, uint64_t seed)
{
    fam_random random;
    fam_random_seed(&random, seed);
    for (int i = 0; i < written_count; i++) {
        const char *path = path_of(root, written[i]);
        if (path)
            spoil(path, &random);
    }
    bool durable[NOTES_MAX] = {false};
    for (int i = note_count; i-- > 0;) { /* once a change of a folder got to the disk, so did those before it */
        bool lost = fam_random_next(&random) % 4 != 0;
        for (int k = i + 1; k < note_count; k++)
            lost = lost && !(durable[k] && notes[k].folder == notes[i].folder);
        durable[i] = !lost;
        if (lost)
            undo(root, &notes[i]);
    }
}
