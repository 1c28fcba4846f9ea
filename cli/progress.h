/*
 * cli/progress.h: how far a reading is: one line that is rewritten on a terminal, else a plain line every ten seconds.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    bool terminal;
    double start, last;    /* seconds */
    int64_t block_size;    /* 0: blocks are not told */
    int64_t first;         /* position at which this run began */
    double first_bytes;    /* bytes of the input that were taken before this run */
} cli_progress;

void progress_start(cli_progress *progress, int64_t position, int64_t block_size, double bytes_done);

/* position: tokens in the session. bytes_done of bytes_total of the input were taken; a total of -1 is not known. Says
 * nothing if the last line is too young. */
void progress_update(cli_progress *progress, int64_t position, double bytes_done, double bytes_total);

/* The same for work that is counted in bytes: what is done of it, "12 of 269 MB written". */
void progress_bytes(cli_progress *progress, const char *verb, double done, double total);
/* The same for a line of another kind: whether one is due now, and the line itself. */
bool progress_due(cli_progress *progress);
void progress_say(const cli_progress *progress, const char *line);

/* Removes an unfinished line from the terminal. */
void progress_end(cli_progress *progress);

/* "1 h 05 min", "3 min 20 s", "12 s"; out holds at least 32 bytes. */
void progress_duration(char out[32], double seconds);

#endif
