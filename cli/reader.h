/*
 * cli/reader.h: brings an input into a session, piece by piece, with progress, Ctrl-C and a call after each piece.
 */
#ifndef CLI_READER_H
#define CLI_READER_H

#include "fam/fam.h"
#include "input.h"
#include "progress.h"

typedef struct cli_reader {
    fam_session *session;
    cli_input *input;
    cli_progress progress;
    int64_t consumed; /* ids of the input, without BOS and without those that were skipped */
    int64_t skipped; /* ids of the input that an earlier run read */
    int64_t piece_start; /* position at which the present call began */
    /* Given the nll of the ids that were read; NULL: they are only fed. */
    void (*scored)(void *context, const double *nll, size_t count);
    /* After each piece but the last; may be NULL. */
    fam_status (*after_piece)(void *context, fam_error *error);
    void *context;
    bool quiet; /* no progress (generating; short prompts) */
} cli_reader;

/* Session options with this reader's cancel and progress callbacks. */
void reader_session_options(fam_session_options *out, cli_reader *reader);

/* Until the input's end. On failure or CANCELLED the session is valid at what `consumed` says. */
fam_status reader_run(cli_reader *reader, const fam_engine *engine, fam_error *error);

#endif
