/*
 * data/task.h: tasks that measure and teach remembering, drawn from a seed, so that any length costs no disk: passkey,
 * needles, recall, overwriting. Training and evaluation draw from the same code.
 *
 * A task is made once (its wording as ids, its haystack) and is immutable: shared by threads. An episode is one draw, a
 * stream of ids, and belongs to one thread at a time. Memory of an episode does not grow with its length.
 */
#ifndef FAM_DATA_TASK_H
#define FAM_DATA_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "data/options.h"
#include "fam/tokenizer.h"

typedef struct fam_task fam_task;
typedef struct fam_episode fam_episode;

typedef struct fam_task_options {
    fam_data_kind kind;    /* one of the first five */
    int64_t digits;        /* of a key or value */
    int64_t keys, asked;   /* asked <= keys */
    const char *path;      /* needle: the text; NULL: a built-in one */
} fam_task_options;

/* The tokenizer outlives the task. keys and asked mean nothing to the passkeys. docs/TASKS.md has the wordings.
 * NOT_FOUND, IO, BAD_FORMAT: the haystack. INVALID_ARGUMENT: numbers out of range, a vocabulary that cannot spell a
 * digit. */
fam_status fam_task_create(fam_task **out, fam_memory *memory, const fam_task_options *options,
                           const fam_tokenizer *tokenizer, fam_error *error);
void fam_task_free(fam_task *task); /* NULL is allowed */

/* The fewest tokens that an episode can have. */
int64_t fam_task_tokens_min(const fam_task *task);

typedef struct fam_draw {
    uint64_t seed, number;       /* the same two give the same episode, on every machine */
    int64_t tokens;              /* of the episode, answers included: exactly so many */
    double depth_from, depth_to; /* where the key (or each of them) stands, drawn uniformly: 0 start, 1 end of the text */
} fam_draw;

/* INVALID_ARGUMENT: fewer tokens than fam_task_tokens_min. */
fam_status fam_episode_create(fam_episode **out, const fam_task *task, const fam_draw *draw, fam_error *error);
void fam_episode_free(fam_episode *episode);

/* The next ids, up to `max`; answers[i] is 1 where id i is part of an answer (what must be remembered), else 0. Returns
 * how many; 0 at the end. */
int64_t fam_episode_read(fam_episode *episode, int32_t *ids, uint8_t *answers, int64_t max);

/* The answers as text, in the order asked, divided by a blank: "61651". Lives as long as the episode. */
const char *fam_episode_answer(const fam_episode *episode);

#endif
