/*
 * eval/ask.c: see ask.h.
 */
#include "eval/ask.h"

#include <string.h>

/* ---- questions --------------------------------------------------------------------------------------------------- */

/* Reads `count` ids of an episode, less at its end. */
static int64_t take(fam_episode *episode, fam_eval_buffer *buffer, int64_t count)
{
    int64_t have = 0, n;
    while (have < count &&
           (n = fam_episode_read(episode, buffer->ids + have, buffer->answers + have, count - have)) > 0)
        have += n;
    return have;
}

/* Index of the first token of the first answer; `tokens` if there is none. */
static fam_status find_answer(int64_t *out, const fam_task *task, const fam_draw *draw, fam_eval_buffer *buffer,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    fam_episode *episode = NULL;
    int64_t at = 0, n;
    *out = draw->tokens;
    FAM_TRY(fam_episode_create(&episode, task, draw, error));
    while (*out == draw->tokens && (n = take(episode, buffer, FAM_EVAL_BUFFER)) > 0) {
        const uint8_t *first = memchr(buffer->answers, 1, (size_t)n);
        if (first)
            *out = at + (first - buffer->answers);
        at += n;
    }
done:
    fam_episode_free(episode);
    return status;
}

/* One token of an answer. `first`: an answer begins with it. */
static fam_status read_answer_token(fam_eval_outcome *outcome, bool *right, bool first, fam_eval_reader *reader,
                                    int32_t id, fam_error *error)
{
    fam_status status = FAM_OK;
    int32_t drawn;
    double nll;
    FAM_TRY(fam_session_sample(reader->session, &drawn, error)); /* greedy: a session's sampling is, unless it is set */
    FAM_TRY(fam_eval_reader_read(reader, &id, 1, &nll, error));
    if (first) {
        outcome->parts++;
        outcome->parts_right++;
        *right = true;
    }
    outcome->tokens++;
    outcome->tokens_right += drawn == id;
    outcome->nll += nll;
    if (drawn != id && *right) {
        outcome->parts_right--;
        *right = false;
    }
done:
    return status;
}

fam_status fam_eval_ask(fam_eval_outcome *outcome, fam_eval_reader *reader, const fam_task *task, const fam_draw *draw,
                        bool exhaustive, fam_eval_buffer *buffer, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_eval_outcome found = {0};
    fam_episode *episode = NULL;
    bool right = false, in_answer = false;
    int64_t start = 0, n;
    if (reader->bounded && !exhaustive) {
        FAM_TRY(find_answer(&start, task, draw, buffer, error));
        start = fam_eval_reader_start(reader, start - 1);
    }
    FAM_TRY(fam_episode_create(&episode, task, draw, error));
    for (int64_t left = start; left > 0; left -= n)
        n = take(episode, buffer, left < FAM_EVAL_BUFFER ? left : FAM_EVAL_BUFFER);
    FAM_TRY(fam_eval_reader_begin(reader, start, error));
    while ((n = take(episode, buffer, fam_eval_reader_room(reader))) > 0) {
        for (int64_t i = 0, end; i < n; i = end) {
            for (end = i; end < n && !buffer->answers[end]; end++) {}
            if (end > i) {
                FAM_TRY(fam_eval_reader_read(reader, buffer->ids + i, end - i, NULL, error));
                in_answer = false;
            }
            if (end < n) {
                FAM_TRY(read_answer_token(&found, &right, !in_answer, reader, buffer->ids[end], error));
                in_answer = true;
                end++;
            }
        }
    }
    found.done = true;
    found.tokens_read = reader->tokens_read;
    *outcome = found;
done:
    fam_episode_free(episode);
    return status;
}

int64_t fam_eval_ask_tokens(const fam_eval_reader *reader, int64_t length, bool exhaustive)
{
    return exhaustive ? length : length - fam_eval_reader_start(reader, length - 1);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* Tokens [at, at + n) of a piece, into buffer->ids. */
static void take_piece(fam_eval_buffer *buffer, const fam_eval_text *text, int64_t start, int64_t at, int64_t n)
{
    int64_t bos = text->bos >= 0;
    for (int64_t i = 0; i < n; i++)
        buffer->ids[i] = at + i < bos ? text->bos : text->ids[start + at + i - bos];
}

fam_status fam_eval_read_text(fam_eval_outcome *outcome, double *sums, fam_eval_reader *reader,
                              const fam_eval_text *text, int64_t start, int64_t length, fam_eval_buffer *buffer,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    fam_eval_outcome found = {.done = true, .tokens = length - 1};
    double own[FAM_EVAL_RANGES] = {0};
    int range = 0;
    FAM_TRY(fam_eval_reader_begin(reader, 0, error));
    for (int64_t at = 0, n; at < length; at += n) {
        n = fam_min_i64(fam_eval_reader_room(reader), length - at);
        take_piece(buffer, text, start, at, n);
        FAM_TRY(fam_eval_reader_read(reader, buffer->ids, n, buffer->nll, error));
        for (int64_t i = at == 0; i < n; i++) { /* nothing predicts the first token */
            while (at + i >= fam_eval_range_start(range + 1))
                range++;
            own[range] += buffer->nll[i];
            found.nll += buffer->nll[i];
        }
    }
    found.tokens_read = reader->tokens_read;
    memcpy(sums, own, (size_t)fam_eval_ranges_of(length) * sizeof *sums);
    *outcome = found;
done:
    return status;
}
