/*
 * model/window.h: who sees whom, and where everything sits. All block, window and position arithmetic of the project is
 * here and nowhere else (spec sections 2, 3 and 5); host code, device code and tests include it.
 *
 * Token indices count from 0 at the start of the stream; a token's position for RoPE is its index plus the stream's
 * offset. Blocks are cut by index, so an offset does not move their borders. All indices are 64-bit.
 */
#ifndef FAM_MODEL_WINDOW_H
#define FAM_MODEL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "fam/modes.h"

/* Offset plus index stays at most this: a double still resolves the angle to 2e-4 rad there. */
#define FAM_POSITION_MAX ((int64_t)1 << 40)

typedef struct fam_window {
    fam_mode mode;
    int64_t block_size;      /* C */
    int64_t memory_segments; /* m */
    int64_t fam_length;      /* F; 0 but in mode fam */
    int64_t window;          /* w, mode swa */
    fam_positions positions;
} fam_window;

static inline int64_t fam_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t fam_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Whether the stream is cut into blocks. */
static inline bool fam_window_has_blocks(const fam_window *window)
{
    return window->mode == FAM_MODE_BSWA || window->mode == FAM_MODE_FAM;
}

static inline int64_t fam_block_of(const fam_window *window, int64_t index)
{
    return index / window->block_size;
}

static inline int64_t fam_block_start(const fam_window *window, int64_t block)
{
    return block * window->block_size;
}

/* The oldest token that the token at `index` sees; it sees every one from there to itself. Negative: all there are. */
static inline int64_t fam_oldest_visible(const fam_window *window, int64_t index)
{
    switch (window->mode) {
    case FAM_MODE_FULL:
        return 0;
    case FAM_MODE_SWA:
        return index - window->window + 1;
    default:
        return fam_block_start(window, fam_block_of(window, index) - window->memory_segments);
    }
}

/* Whether the oldest visible token moves with every token (and not only from block to block). */
static inline bool fam_window_slides(const fam_window *window)
{
    return window->mode == FAM_MODE_SWA;
}

/* End of the run of tokens that begins at `index` and shares one window start and one state: the end of its block, or
 * `end` if there are no blocks or it comes first. */
static inline int64_t fam_piece_end(const fam_window *window, int64_t index, int64_t end)
{
    if (!fam_window_has_blocks(window))
        return end;
    return fam_min_i64(end, fam_block_start(window, fam_block_of(window, index) + 1));
}

/* The most pieces that `count` consecutive tokens can fall into. */
static inline int64_t fam_pieces_max(const fam_window *window, int64_t count)
{
    return fam_window_has_blocks(window) ? (count + window->block_size - 2) / window->block_size + 1 : 1;
}

/* Keys of past tokens that must be kept so that the next token, and a state update at the end of its block, find them. */
static inline int64_t fam_ring_rows(const fam_window *window, int64_t context)
{
    switch (window->mode) {
    case FAM_MODE_FULL:
        return context;
    case FAM_MODE_SWA:
        return fam_max_i64(1, window->window - 1);
    default:
        return (window->memory_segments + 1) * window->block_size;
    }
}

/* Tokens that lie in the ring when the next token has this index: those that it sees, itself not counted. */
static inline int64_t fam_ring_first(const fam_window *window, int64_t next)
{
    return fam_max_i64(0, fam_oldest_visible(window, next));
}

/* Position of state row `row` as block `block` reads it, that is as a key. As queries that compress block `block` the
 * rows sit where the next block reads the result: at block + 1. The rows of the learned prompt sit at block 0, offset 0. */
static inline double fam_state_position(const fam_window *window, int64_t block, int64_t row, int64_t offset)
{
    int64_t start = offset + fam_block_start(window, block);
    switch (window->positions) {
    case FAM_POSITIONS_ZERO:
        return 0;
    case FAM_POSITIONS_FLOAT:
        return (double)(start - 1) + (double)(row + 1) / (double)(window->fam_length + 1);
    default:
        return (double)(start - window->fam_length + row);
    }
}

#endif
