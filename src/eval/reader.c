/*
 * eval/reader.c: see reader.h.
 */
#include "eval/reader.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

/* A session's span is set, so that it is the same wherever a reading begins. */
enum { SPAN = 512, ROOM_MAX = 8192 };

void fam_eval_reader_init(fam_eval_reader *reader, fam_engine *engine)
{
    fam_engine_info info;
    fam_engine_info_get(engine, &info);
    memset(reader, 0, sizeof *reader);
    reader->engine = engine;
    reader->layers = info.layers;
    reader->window = (fam_window){.mode = info.mode,
                                  .block_size = info.block_size,
                                  .memory_segments = info.memory_segments,
                                  .fam_length = info.fam_length,
                                  .window = info.window,
                                  .positions = info.fam_positions};
    reader->bounded = info.mode == FAM_MODE_BSWA || info.mode == FAM_MODE_SWA;
    reader->grid = SPAN;
    if (reader->bounded) {
        int64_t rows = fam_ring_rows(&reader->window, 0);
        reader->grid = rows < SPAN ? SPAN / rows * rows : rows;
    }
}

void fam_eval_reader_release(fam_eval_reader *reader)
{
    fam_session_free(reader->session);
    reader->session = NULL;
}

/* A token's last layer is made from what that layer sees, each of which is made from what the layer below sees. */
static int64_t oldest_of_all_layers(const fam_eval_reader *reader, int64_t index)
{
    for (int64_t layer = 0; layer < reader->layers && index > 0; layer++)
        index = fam_oldest_visible(&reader->window, index);
    return fam_max_i64(index, 0);
}

int64_t fam_eval_reader_reach(const fam_eval_reader *reader)
{
    if (!reader->bounded)
        return -1;
    int64_t far = FAM_POSITION_MAX; /* a block ends before it, so that the token there sees the most */
    if (fam_window_has_blocks(&reader->window))
        far = fam_block_start(&reader->window, fam_block_of(&reader->window, far)) - 1;
    return far - oldest_of_all_layers(reader, far);
}

int64_t fam_eval_reader_start(const fam_eval_reader *reader, int64_t first)
{
    if (!reader->bounded)
        return 0;
    return oldest_of_all_layers(reader, first) / reader->grid * reader->grid;
}

fam_status fam_eval_reader_begin(fam_eval_reader *reader, int64_t start, fam_error *error)
{
    fam_status status = FAM_OK;
    reader->tokens_read = 0;
    if (reader->session && reader->offset == start) {
        fam_session_reset(reader->session);
        return FAM_OK;
    }
    fam_eval_reader_release(reader);
    fam_session_options options;
    fam_session_options_init(&options);
    options.span = SPAN;
    options.position_offset = start;
    FAM_TRY(fam_session_create(&reader->session, reader->engine, &options, error));
    reader->offset = start;
done:
    return status;
}

int64_t fam_eval_reader_position(const fam_eval_reader *reader)
{
    return reader->offset + fam_session_position(reader->session);
}

int64_t fam_eval_reader_room(const fam_eval_reader *reader)
{
    int64_t in_grid = fam_eval_reader_position(reader) % reader->grid;
    return fam_min_i64(reader->grid - in_grid, ROOM_MAX - in_grid % ROOM_MAX);
}

fam_status fam_eval_reader_read(fam_eval_reader *reader, const int32_t *tokens, int64_t count, double *nll,
                                fam_error *error)
{
    size_t consumed = 0;
    fam_status status = nll ? fam_session_score(reader->session, tokens, (size_t)count, nll, &consumed, error)
                            : fam_session_feed(reader->session, tokens, (size_t)count, &consumed, error);
    reader->tokens_read += (int64_t)consumed;
    if (reader->tick && consumed > 0)
        reader->tick(reader->context, (int64_t)consumed);
    for (int64_t i = 0; status == FAM_OK && nll && i < count; i++)
        if (!isfinite(nll[i]) && fam_session_position(reader->session) - count + i > 0)
            status = fam_error_set(error, FAM_STATUS_FAILED, "token %lld: found a loss of %g, need a finite one",
                                   (long long)(fam_eval_reader_position(reader) - count + i), nll[i]);
    return status;
}
