/*
 * train/plan.h: how long the sequences of a step are, how many go through at once and how often, and at which rate: from
 * the recipe, the step's number and where the curriculum stands. Pure arithmetic.
 */
#ifndef FAM_TRAIN_PLAN_H
#define FAM_TRAIN_PLAN_H

#include "base/random.h"
#include "train/recipe.h"

/* Where a curriculum stands. Accuracies of the newest steps at the level, in a ring. */
typedef struct fam_curriculum {
    int64_t level;       /* blocks */
    int64_t promoted_at; /* step of the newest promotion; -1: none yet */
    int64_t count;       /* accuracies seen at this level */
    double *accuracies;  /* [recipe->curriculum.window], number count % window is the next to be overwritten */
} fam_curriculum;

/* One round: `carry` steps on the parts of the same documents. */
typedef struct fam_round_plan {
    int64_t blocks;    /* of a sequence; 0 in modes without blocks */
    int64_t tokens;    /* T */
    int64_t sequences; /* B, of one pass */
    int64_t passes;    /* of a step */
} fam_round_plan;

/* block_size 0: a mode without blocks. `step` is the round's first, from 0. */
fam_round_plan fam_plan_round(const fam_recipe *recipe, int64_t block_size, const fam_curriculum *curriculum, int64_t step);
/* A round with sequences of so many blocks; without a curriculum the only one there is. */
fam_round_plan fam_plan_of_blocks(const fam_recipe *recipe, int64_t block_size, int64_t blocks);
/* The round whose passes take most memory. */
fam_round_plan fam_plan_longest(const fam_recipe *recipe, int64_t block_size);

/* Takes note of a step's accuracy; returns whether the level doubled. `step` has just been done. */
bool fam_curriculum_add(fam_curriculum *curriculum, const fam_recipe *recipe, int64_t blocks, double accuracy,
                        int64_t step);

/* The rate of a step: the schedule's, and what a promotion not long ago takes off it. */
double fam_plan_rate(const fam_recipe *recipe, const fam_curriculum *curriculum, double peak, int64_t step);

/* Random numbers for one purpose of one step: nothing of them needs to be kept. */
typedef enum fam_purpose { FAM_PURPOSE_LENGTH, FAM_PURPOSE_OFFSET, FAM_PURPOSE_PASSING, FAM_PURPOSE_NOISE } fam_purpose;
fam_random fam_plan_random(const fam_recipe *recipe, int64_t step, fam_purpose purpose);

#endif
