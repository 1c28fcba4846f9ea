/*
 * cli/progress.c: see progress.h.
 */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "measure.h"
#include "message.h"
#include "numbers.h"

static const double TERMINAL_SECONDS = 0.2;
static const double PLAIN_SECONDS = 10;

void progress_duration(char out[32], double seconds)
{
    enum { LIMIT = 100 * 24 * 3600 };
    if (!(seconds < LIMIT))
        seconds = LIMIT;
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(out, 32, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(out, 32, "%ld min %02ld s", whole / 60, whole % 60);
    else
        snprintf(out, 32, "%ld s", whole);
}

void progress_start(cli_progress *progress, int64_t position, int64_t block_size, double bytes_done)
{
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->start = progress->last = measure_seconds();
    progress->block_size = block_size;
    progress->first = position;
    progress->first_bytes = bytes_done;
}

bool progress_due(cli_progress *progress)
{
    double now = measure_seconds();
    if (now - progress->last < (progress->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS))
        return false;
    progress->last = now;
    return true;
}

void progress_say(const cli_progress *progress, const char *line)
{
    if (!progress->terminal) {
        message("%s", line);
        return;
    }
    char whole[300];
    int length = snprintf(whole, sizeof whole, "\r\033[K%s", line);
    if (length >= (int)sizeof whole)
        length = (int)sizeof whole - 1;
    message_set_progress_line(write(STDERR_FILENO, whole, (size_t)length) > 0);
}

void progress_bytes(cli_progress *progress, const char *verb, double done, double total)
{
    char line[256], left[32];
    if (!progress_due(progress) || done <= 0)
        return;
    progress_duration(left, (progress->last - progress->start) * (total - done) / done);
    snprintf(line, sizeof line, "%.0f of %.0f MB %s, %s to go", done / 1e6, total / 1e6, verb, left);
    progress_say(progress, line);
}

void progress_update(cli_progress *progress, int64_t position, double bytes_done, double bytes_total)
{
    if (!progress_due(progress))
        return;
    char line[256], tokens[NUMBER_GROUPED_BYTES];
    double seconds = progress->last - progress->start, rate = (double)(position - progress->first) / seconds;
    int length = snprintf(line, sizeof line, "%s tokens read", number_grouped(tokens, position));
    if (progress->block_size > 0)
        length += snprintf(line + length, sizeof line - (size_t)length, ", block %lld",
                           (long long)(position / progress->block_size));
    length += snprintf(line + length, sizeof line - (size_t)length, ", %.0f tok/s", rate);
    double fresh = bytes_done - progress->first_bytes;
    if (bytes_total >= bytes_done && fresh > 0) {
        char left[32];
        progress_duration(left, seconds * (bytes_total - bytes_done) / fresh);
        snprintf(line + length, sizeof line - (size_t)length, ", %.0f %%, %s to go", 100 * bytes_done / bytes_total, left);
    }
    progress_say(progress, line);
}

void progress_end(cli_progress *progress)
{
    static const char clear[] = "\r\033[K";
    if (progress->terminal) {
        ssize_t ignored = write(STDERR_FILENO, clear, sizeof clear - 1);
        (void)ignored;
        message_set_progress_line(0);
    }
}
