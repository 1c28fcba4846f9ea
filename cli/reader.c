/*
 * cli/reader.c: see reader.h.
 *
 * Pieces end at multiples of their size counted from the stream's start, so that an interrupted reading and an
 * uninterrupted one work on the same pieces after the interruption. In mode full the piece is what the cache can still
 * hold and one token more, so that an input that is too long is refused before anything is read; a cache of more than
 * PIECE_MAX tokens is filled in pieces of that size, and the input refused at the piece that does not fit.
 */
#include "reader.h"

#include <stdlib.h>

#include "message.h"
#include "signals.h"

enum { PIECE_TOKENS = 8192, PIECE_MAX = 1 << 22 };

static bool on_cancelled(void *context)
{
    (void)context;
    return signals_stop_asked();
}

/* Bytes of the input that the ids read so far come from, those of an earlier run included; `done` ids of the present piece
 * are read. */
static void bytes_read(const cli_reader *reader, int64_t done, double *bytes, double *total)
{
    input_bytes(reader->input, bytes, total);
    int64_t given = input_ids_given(reader->input);
    int64_t waiting = given - reader->skipped - reader->consumed - done; /* encoded, not yet read */
    if (given > 0 && waiting > 0)
        *bytes *= 1 - (double)waiting / (double)given;
}

static void on_progress(void *context, int64_t done, int64_t total)
{
    cli_reader *reader = context;
    (void)total;
    if (reader->quiet || !reader->input)
        return;
    double bytes, bytes_total;
    bytes_read(reader, done, &bytes, &bytes_total);
    progress_update(&reader->progress, reader->piece_start + done, bytes, bytes_total);
}

void reader_session_options(fam_session_options *out, cli_reader *reader)
{
    fam_session_options_init(out);
    out->cancelled = on_cancelled;
    out->progress = on_progress;
    out->context = reader;
}

static int64_t piece_size(const fam_engine *engine, int64_t position)
{
    fam_engine_info info;
    fam_engine_info_get(engine, &info);
    if (info.mode == FAM_MODE_FULL) {
        int64_t left = info.context - position + 1;
        return left < 1 ? 1 : left < PIECE_MAX ? left : PIECE_MAX;
    }
    int64_t block = info.block_size, piece = (PIECE_TOKENS + block - 1) / block * block;
    return piece < PIECE_MAX ? piece : PIECE_MAX;
}

static fam_status read_piece(cli_reader *reader, int64_t context, int32_t *ids, double *nll, size_t capacity,
                             size_t *count, fam_error *error)
{
    fam_status status = input_read(reader->input, ids, capacity, count, error);
    if (status != FAM_OK || *count == 0)
        return status;
    bool bos = input_has_bos(reader->input) && fam_session_position(reader->session) == 0;
    size_t consumed = 0;
    reader->piece_start = fam_session_position(reader->session);
    if (nll)
        status = fam_session_score(reader->session, ids, *count, nll, &consumed, error);
    else
        status = fam_session_feed(reader->session, ids, *count, &consumed, error);
    if (status == FAM_STATUS_CONTEXT_FULL && reader->piece_start + (int64_t)*count == context + 1)
        status = failure(error, status, "the input: found more tokens than the %lld that mode full can hold, need --mode bswa "
                         "or a memory (--adapter) to read without limit, or more room (--context)", (long long)context);
    reader->consumed += (int64_t)consumed - (bos && consumed > 0);
    if (nll && consumed > 0)
        reader->scored(reader->context, nll, consumed);
    return status;
}

fam_status reader_run(cli_reader *reader, const fam_engine *engine, fam_error *error)
{
    int64_t position = fam_session_position(reader->session), piece = piece_size(engine, position);
    fam_engine_info info;
    fam_engine_info_get(engine, &info);
    int32_t *ids = malloc((size_t)piece * sizeof *ids);
    double *nll = reader->scored ? malloc((size_t)piece * sizeof *nll) : NULL;
    fam_status status = FAM_OK;
    if (!ids || (reader->scored && !nll))
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "the input: out of memory");
    double bytes, bytes_total;
    bytes_read(reader, 0, &bytes, &bytes_total);
    bool blocks = info.mode == FAM_MODE_BSWA || info.mode == FAM_MODE_FAM;
    progress_start(&reader->progress, position, blocks ? info.block_size : 0, bytes);
    bool more = true;
    while (status == FAM_OK && more) {
        position = fam_session_position(reader->session);
        size_t count = 0, capacity = (size_t)(info.mode == FAM_MODE_FULL ? piece : piece - position % piece);
        status = read_piece(reader, info.context, ids, nll, capacity, &count, error);
        more = count == capacity;
        if (status == FAM_OK && more && reader->after_piece)
            status = reader->after_piece(reader->context, error);
    }
    progress_end(&reader->progress);
    free(ids);
    free(nll);
    return status;
}
