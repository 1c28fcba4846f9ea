/*
 * eval/reader.h: brings a stream of tokens into a session of one system, from the token on that matters.
 *
 * Bit for bit the same from wherever it begins: the stream is fed in runs that end at multiples of `grid`, counted
 * from the stream's beginning, and a reading begins only at such a multiple. The grid is a multiple of what the
 * session's ring holds, so that spans, blocks and the ring's rows fall as they would have fallen.
 */
#ifndef FAM_EVAL_READER_H
#define FAM_EVAL_READER_H

#include "fam/fam.h"
#include "model/window.h"

/* Told how many tokens were read since it was told last. */
typedef void fam_eval_tick(void *context, int64_t tokens);

typedef struct fam_eval_reader {
    fam_engine *engine;
    fam_window window;
    int64_t layers, grid;
    bool bounded;          /* what is far enough back cannot be seen */
    fam_session *session;  /* NULL before the first reading */
    int64_t offset;        /* of the session's first token in the stream */
    int64_t tokens_read;   /* in this reading */
    fam_eval_tick *tick;   /* may be NULL */
    void *context;
} fam_eval_reader;

void fam_eval_reader_init(fam_eval_reader *reader, fam_engine *engine);
void fam_eval_reader_release(fam_eval_reader *reader);

/* The most tokens that any token can see back, through all layers; -1: no limit. */
int64_t fam_eval_reader_reach(const fam_eval_reader *reader);

/* Where a reading may begin so that everything from token `first` on is computed as in a whole reading. */
int64_t fam_eval_reader_start(const fam_eval_reader *reader, int64_t first);

/* Begins a stream at its token `start` (0, or what _start gave). */
fam_status fam_eval_reader_begin(fam_eval_reader *reader, int64_t start, fam_error *error);

/* Where the stream is, and the most tokens that should be given at once there. */
int64_t fam_eval_reader_position(const fam_eval_reader *reader);
int64_t fam_eval_reader_room(const fam_eval_reader *reader);

/* Reads tokens [count], count at most the room. nll [count] may be NULL; a loss that is not finite (but that of the
 * very first token, which has none): FAILED. */
fam_status fam_eval_reader_read(fam_eval_reader *reader, const int32_t *tokens, int64_t count, double *nll,
                                fam_error *error);

#endif
