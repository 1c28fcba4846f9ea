/*
 * tests/support/faults/power.h: what a machine that loses power may forget: data that was written and not synced, and
 * changes of names in folders that were not synced. The fault injection notes them (faults.c), and a loss takes some of
 * them back.
 */
#ifndef TESTS_SUPPORT_POWER_H
#define TESTS_SUPPORT_POWER_H

#include <stdbool.h>
#include <stdint.h>

void power_begin(void); /* forgets all notes */
void power_note_written(int fd);
void power_note_created(int fd);
void power_note_made(int at, const char *path); /* a folder, as mkdirat makes it */
void power_note_renamed(int folder, const char *from, const char *to, bool exchanged);
void power_note_synced(int fd);

/* Spoils, below `root`, each file with unsynced data in one of several ways (or not), and undoes of each unsynced
 * folder the newest changes, some, all or none of them. Deletions are never undone. Two losses with one seed are the
 * same. */
void power_lose(const char *root, uint64_t seed);

#endif
