/*
 * Block, window and position arithmetic against definitions by brute force: who sees whom is asked token by token, as
 * section 2 of the specification words it.
 */
#include <stdlib.h>

#include "base/random.h"
#include "model/window.h"
#include "suite.h"

/* ---- the definitions ---------------------------------------------------------------------------------------------- */

/* Counts up from a border that is known, never by dividing `index` itself. */
static int64_t block_by_counting(int64_t block_size, int64_t index)
{
    int64_t block = 0, begin = 0;
    while (begin + block_size <= index) {
        begin += block_size;
        block++;
    }
    return block;
}

static bool sees(const fam_window *w, int64_t query, int64_t key)
{
    if (key < 0 || key > query)
        return false;
    switch (w->mode) {
    case FAM_MODE_FULL:
        return true;
    case FAM_MODE_SWA:
        return query - key < w->window;
    default:
        return block_by_counting(w->block_size, query) - block_by_counting(w->block_size, key) <= w->memory_segments;
    }
}

/* Whether token `key` is needed once `next` is the next token: by it, or by the update at the end of its block. */
static bool needed(const fam_window *w, int64_t next, int64_t key)
{
    if (key >= next)
        return false;
    if (sees(w, next, key))
        return true;
    return w->mode == FAM_MODE_FAM &&
           block_by_counting(w->block_size, key) == block_by_counting(w->block_size, next);
}

/* ---- cases -------------------------------------------------------------------------------------------------------- */

static void check_small(const fam_window *w, int64_t tokens)
{
    bool blocks = w->mode == FAM_MODE_BSWA || w->mode == FAM_MODE_FAM;
    assert_int_equal(fam_window_has_blocks(w), blocks);
    assert_int_equal(fam_window_slides(w), w->mode == FAM_MODE_SWA);
    int64_t rows = fam_ring_rows(w, tokens);
    assert_true(rows >= 1);
    for (int64_t t = 0; t < tokens; t++) {
        int64_t oldest = fam_oldest_visible(w, t), in_ring = fam_ring_first(w, t);
        if (blocks)
            assert_int_equal(fam_block_of(w, t), block_by_counting(w->block_size, t));
        assert_true(in_ring >= 0 && in_ring <= t);
        for (int64_t key = 0; key < t; key++) {
            assert_int_equal(sees(w, t, key), key >= oldest);
            assert_int_equal(needed(w, t, key), key >= in_ring);
        }
        assert_true(oldest <= t && t - in_ring <= rows);
    }
}

/* The run of tokens that share a window start and a state. */
static void check_pieces(const fam_window *w, int64_t tokens)
{
    bool blocks = fam_window_has_blocks(w);
    for (int64_t begin = 0; begin < tokens; begin++)
        for (int64_t end = begin + 1; end <= tokens; end++) {
            int64_t want = begin + 1, pieces = 0;
            while (want < end && (!blocks || block_by_counting(w->block_size, want) ==
                                                 block_by_counting(w->block_size, begin)))
                want++;
            assert_int_equal(fam_piece_end(w, begin, end), want);
            for (int64_t t = begin; t < end; t = fam_piece_end(w, t, end))
                pieces++;
            assert_true(pieces <= fam_pieces_max(w, end - begin));
        }
    /* the bound is met from the worst beginning, so that it is not too generous either */
    for (int64_t count = 1; count <= tokens; count++) {
        int64_t most = 0;
        for (int64_t begin = 0; begin < (blocks ? w->block_size : 1); begin++) {
            int64_t pieces = 0;
            for (int64_t t = begin; t < begin + count; t = fam_piece_end(w, t, begin + count))
                pieces++;
            most = pieces > most ? pieces : most;
        }
        assert_int_equal(fam_pieces_max(w, count), most);
    }
}

static void visibility_as_the_modes_are_defined(void **state)
{
    (void)state;
    const int64_t tokens = 40;
    check_small(&(fam_window){.mode = FAM_MODE_FULL, .block_size = 7}, tokens);
    for (int64_t window = 1; window <= 45; window++)
        check_small(&(fam_window){.mode = FAM_MODE_SWA, .block_size = 7, .window = window}, tokens);
    for (int64_t block = 1; block <= 13; block++)
        for (int64_t segments = 0; segments <= 4; segments++)
            for (int mode = FAM_MODE_BSWA; mode <= FAM_MODE_FAM; mode++)
                check_small(&(fam_window){.mode = (fam_mode)mode, .block_size = block, .memory_segments = segments,
                                          .fam_length = 3},
                            tokens);
}

static void pieces_end_with_their_block(void **state)
{
    (void)state;
    check_pieces(&(fam_window){.mode = FAM_MODE_FULL, .block_size = 3}, 20);
    check_pieces(&(fam_window){.mode = FAM_MODE_SWA, .block_size = 3, .window = 4}, 20);
    for (int64_t block = 1; block <= 9; block++)
        for (int mode = FAM_MODE_BSWA; mode <= FAM_MODE_FAM; mode++)
            check_pieces(&(fam_window){.mode = (fam_mode)mode, .block_size = block, .memory_segments = 1}, 30);
}

/* A ring of these rows never overwrites a key that is still needed, and with one row fewer it would. */
static void ring_is_as_large_as_it_must_be(void **state)
{
    (void)state;
    for (int64_t window = 2; window <= 12; window++)
        for (int64_t segments = 0; segments <= 3; segments++)
            for (int mode = FAM_MODE_SWA; mode <= FAM_MODE_FAM; mode++) {
                fam_window w = {.mode = (fam_mode)mode, .block_size = window, .memory_segments = segments,
                                .window = window, .fam_length = 2};
                int64_t rows = fam_ring_rows(&w, 0), most = 0;
                for (int64_t next = 0; next < 80; next++) {
                    int64_t kept = 0;
                    for (int64_t key = 0; key < next; key++)
                        kept += needed(&w, next, key);
                    most = kept > most ? kept : most;
                }
                /* Modes with blocks need m blocks and what the present one has so far; whole blocks keep its first
                 * token's row apart from the newest's while the block's last token is on its way. */
                if (w.mode == FAM_MODE_SWA)
                    assert_int_equal(rows, most);
                else
                    assert_int_equal(rows, most + 1);
            }
    assert_int_equal(fam_ring_rows(&(fam_window){.mode = FAM_MODE_FULL, .block_size = 9}, 123), 123);
    assert_int_equal(fam_ring_rows(&(fam_window){.mode = FAM_MODE_SWA, .block_size = 9, .window = 1}, 0), 1);
}

/* All indices are 64-bit: what holds near 0 holds the same distance after a border far away. */
static void far_indices_behave_like_near_ones(void **state)
{
    (void)state;
    const int64_t far_places[] = {(int64_t)1 << 31, (int64_t)1 << 32, ((int64_t)1 << 40) - 4096};
    fam_random random;
    fam_random_seed(&random, 1);
    for (int round = 0; round < 20000; round++) {
        int64_t block = 1 + (int64_t)(fam_random_next(&random) % 1500),
                segments = (int64_t)(fam_random_next(&random) % 5);
        int64_t near_border = (segments + 2) * block;
        int64_t far_border = far_places[round % 3] / block * block;
        int64_t delta = (int64_t)(fam_random_next(&random) % (uint64_t)(2 * block)) - block;
        int64_t moved = far_border - near_border;
        fam_window w = {.mode = round % 2 ? FAM_MODE_FAM : FAM_MODE_BSWA, .block_size = block,
                        .memory_segments = segments, .fam_length = 4, .window = 1 + block / 2};
        int64_t near_token = near_border + delta, far_token = far_border + delta;
        assert_int_equal(fam_block_of(&w, far_token), fam_block_of(&w, near_token) + moved / block);
        assert_int_equal(fam_block_start(&w, fam_block_of(&w, far_token)),
                         fam_block_start(&w, fam_block_of(&w, near_token)) + moved);
        assert_int_equal(fam_oldest_visible(&w, far_token), fam_oldest_visible(&w, near_token) + moved);
        assert_int_equal(fam_piece_end(&w, far_token, far_token + 3 * block),
                         fam_piece_end(&w, near_token, near_token + 3 * block) + moved);
        w.mode = FAM_MODE_SWA;
        assert_int_equal(fam_oldest_visible(&w, far_token), far_token - (w.window - 1));
        assert_int_equal(fam_ring_first(&w, far_token), far_token - (w.window - 1));
    }
}

/* Row i of the state that block b reads, as section 5 of the specification words it, in integers where they are exact. */
static void state_rows_sit_where_the_next_block_reads_them(void **state)
{
    (void)state;
    const int64_t offsets[] = {0, 1, 777, ((int64_t)1 << 31) - 20, (int64_t)1 << 31, ((int64_t)1 << 32) - 20,
                               (int64_t)1 << 32, ((int64_t)1 << 39)};
    for (size_t o = 0; o < sizeof offsets / sizeof *offsets; o++)
        for (int64_t block_size = 1; block_size <= 40; block_size += 3)
            for (int64_t length = 1; length <= 50; length += 7) /* F > C is legal */
                for (int64_t block = 0; block < 5; block++)
                    for (int64_t row = 0; row < length; row++) {
                        fam_window w = {.mode = FAM_MODE_FAM, .block_size = block_size, .fam_length = length};
                        int64_t first = offsets[o] + block * block_size; /* position of the block's first token */
                        w.positions = FAM_POSITIONS_ZERO;
                        assert_true(fam_state_position(&w, block, row, offsets[o]) == 0);
                        w.positions = FAM_POSITIONS_LAST; /* the last F positions before the block */
                        assert_true(fam_state_position(&w, block, row, offsets[o]) ==
                                    (double)(first - (length - row)));
                        w.positions = FAM_POSITIONS_FLOAT; /* strictly between the two blocks, equally spaced */
                        double at = fam_state_position(&w, block, row, offsets[o]);
                        assert_true(at > (double)(first - 1) && at < (double)first);
                        double step = (at - (double)(first - 1)) * (double)(length + 1);
                        assert_true(step > (double)row + 0.98 && step < (double)row + 1.02);
                    }
}

/* A double tells neighbouring positions apart up to the largest. */
static void the_largest_position_is_still_exact(void **state)
{
    (void)state;
    fam_window w = {.mode = FAM_MODE_FAM, .block_size = 1024, .fam_length = 64, .positions = FAM_POSITIONS_LAST};
    int64_t block = FAM_POSITION_MAX / 1024 - 1;
    for (int64_t row = 0; row + 1 < 64; row++)
        assert_true(fam_state_position(&w, block, row + 1, 0) - fam_state_position(&w, block, row, 0) == 1);
    w.positions = FAM_POSITIONS_FLOAT;
    for (int64_t row = 0; row + 1 < 64; row++)
        assert_true(fam_state_position(&w, block, row + 1, 0) > fam_state_position(&w, block, row, 0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(visibility_as_the_modes_are_defined),
    cmocka_unit_test(pieces_end_with_their_block),
    cmocka_unit_test(ring_is_as_large_as_it_must_be),
    cmocka_unit_test(far_indices_behave_like_near_ones),
    cmocka_unit_test(state_rows_sit_where_the_next_block_reads_them),
    cmocka_unit_test(the_largest_position_is_still_exact),
};
SUITE_MAIN(tests)
