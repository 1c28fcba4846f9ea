/*
 * tests/cli/snapshot.h: text that must stay as it is in tests/cli/snapshots. tests/cli/update.sh (which sets
 * FAM_UPDATE_SNAPSHOTS) writes the files anew; look at the difference before committing it.
 */
#ifndef TESTS_CLI_SNAPSHOT_H
#define TESTS_CLI_SNAPSHOT_H

#include "run.h"

static inline void snapshot_check(const char *path, const char *text)
{
    if (getenv("FAM_UPDATE_SNAPSHOTS")) {
        FILE *file = fopen(suite_path(path), "wb");
        assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
        return;
    }
    char *need = run_slurp(suite_path(path), NULL);
    size_t at = 0, line = 1;
    for (; text[at] && text[at] == need[at]; at++)
        line += text[at] == '\n';
    if (text[at] != need[at])
        fail_msg("%s:%zu: found \"%.60s\", need \"%.60s\" (tests/cli/update.sh writes it anew)", path, line, text + at,
                 need + at);
    free(need);
}

#endif
