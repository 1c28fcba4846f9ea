/*
 * cli/note.h: what the program keeps in a session's note (fam_session_set_note): which files were read, where an
 * interrupted reading stopped, the messages of a conversation. One JSON object:
 *
 *   {"fam_note": 1,
 *    "read": [{"kind", "path", "bytes", "xxh3_128", "tokens" if it was alone}],                     files read to their end
 *    "unfinished": [{"tokens": ids consumed, "sources": [{"kind", "path", "bytes", "size", "xxh3_128"}]}],
 *    "chat": {"messages": [{"role", "content"}], "rendered": n, "partial": ids}}
 *
 * Paths are as they were given, bytes outside printable ASCII and '%' as %xx.
 */
#ifndef CLI_NOTE_H
#define CLI_NOTE_H

#include <jansson.h>

#include "fam/fam.h"
#include "input.h"

typedef struct cli_note {
    json_t *root;      /* NULL: nothing yet */
    size_t unfinished; /* index of the reading that goes on */
    bool resumes;      /* whether there is one */
    int64_t skipped;   /* ids that it had consumed */
} cli_note;

/* Takes the session's note; none makes an empty one. A note of somebody else is refused. */
fam_status note_load(cli_note *out, const fam_session *session, const char *path, fam_error *error);
void note_free(cli_note *note);

/* What remains to be read: files that were read before are taken out (and told), an interrupted reading is found and
 * its expectations are set. A changed file: MISMATCH. */
fam_status note_plan(cli_note *note, cli_source *sources, size_t *count, fam_error *error);

/* Puts the present reading into the session's note: `consumed` ids of the input in this run, `finished` or not. */
fam_status note_store_reading(cli_note *note, fam_session *session, cli_source *sources, size_t count, int64_t consumed,
                              bool finished, fam_error *error);

/* What a note (or anything else) says of inputs, for `fam inspect`: [{"paths", "tokens" if known, "bytes" if it was read to
 * its end, "complete"}], and the number of messages. NULL: not a note of this program. */
json_t *note_describe(json_t *root, size_t *messages);

/* Writes the note into the session. */
fam_status note_store(const cli_note *note, fam_session *session, fam_error *error);

#endif
