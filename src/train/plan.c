/*
 * train/plan.c: see plan.h.
 */
#include "train/plan.h"

#include <math.h>

#include "model/window.h"
#include "train/optimizer.h"

fam_random fam_plan_random(const fam_recipe *recipe, int64_t step, fam_purpose purpose)
{
    fam_random random;
    uint64_t state = recipe->train.seed;
    uint64_t mixed = fam_splitmix64(&state) ^ (uint64_t)step * 0x9e3779b97f4a7c15u;
    fam_random_seed(&random, fam_splitmix64(&mixed) + (uint64_t)purpose);
    return random;
}

/* Shapes of passes with sequences of T tokens: about as many tokens as the longest sequences have in a pass, where the
 * step is measured in tokens. */
static fam_round_plan plan_of(const fam_recipe *recipe, int64_t block_size, int64_t blocks, int64_t longest)
{
    int64_t tokens = block_size > 0 ? blocks * block_size : blocks, per_step = recipe->train.tokens_per_step;
    fam_round_plan plan = {.blocks = block_size > 0 ? blocks : 0, .tokens = tokens, .sequences = recipe->train.sequences,
                           .passes = recipe->train.accumulate};
    if (per_step > 0) {
        plan.sequences = fam_max_i64(plan.sequences * longest / tokens, 1);
        plan.sequences = fam_min_i64(plan.sequences, fam_max_i64(per_step / tokens, 1));
        int64_t pass = plan.sequences * tokens;
        plan.passes = fam_max_i64((per_step + pass / 2) / pass, 1);
    }
    return plan;
}

static int64_t longest_blocks(const fam_recipe *recipe, int64_t block_size)
{
    if (recipe->curriculum.on)
        return recipe->curriculum.to_blocks;
    return block_size > 0 && recipe->train.blocks > 0 ? recipe->train.blocks : recipe->train.tokens;
}

fam_round_plan fam_plan_longest(const fam_recipe *recipe, int64_t block_size)
{
    /* A length given in tokens stays one, blocks or not. */
    bool in_blocks = block_size > 0 && (recipe->curriculum.on || recipe->train.blocks > 0);
    int64_t blocks = longest_blocks(recipe, block_size), longest = in_blocks ? blocks * block_size : blocks;
    return plan_of(recipe, in_blocks ? block_size : 0, blocks, longest);
}

fam_round_plan fam_plan_of_blocks(const fam_recipe *recipe, int64_t block_size, int64_t blocks)
{
    if (!recipe->curriculum.on)
        return fam_plan_longest(recipe, block_size);
    return plan_of(recipe, block_size, blocks, recipe->curriculum.to_blocks * block_size);
}

fam_round_plan fam_plan_round(const fam_recipe *recipe, int64_t block_size, const fam_curriculum *curriculum, int64_t step)
{
    if (!recipe->curriculum.on)
        return fam_plan_longest(recipe, block_size);
    fam_random random = fam_plan_random(recipe, step, FAM_PURPOSE_LENGTH);
    int64_t from = recipe->curriculum.from_blocks, blocks = curriculum->level;
    if (fam_random_uniform(&random) >= recipe->curriculum.at_level)
        blocks = from + (int64_t)(fam_random_uniform(&random) * (double)(curriculum->level - from + 1));
    return fam_plan_of_blocks(recipe, block_size, blocks);
}

bool fam_curriculum_add(fam_curriculum *curriculum, const fam_recipe *recipe, int64_t blocks, double accuracy, int64_t step)
{
    int64_t window = recipe->curriculum.window;
    if (!recipe->curriculum.on || blocks != curriculum->level || isnan(accuracy))
        return false;
    curriculum->accuracies[curriculum->count++ % window] = accuracy;
    if (curriculum->count < window || curriculum->level >= recipe->curriculum.to_blocks)
        return false;
    double sum = 0;
    for (int64_t i = 0; i < window; i++)
        sum += curriculum->accuracies[i];
    if (sum / (double)window < recipe->curriculum.accuracy)
        return false;
    curriculum->level = fam_min_i64(2 * curriculum->level, recipe->curriculum.to_blocks);
    curriculum->promoted_at = step;
    curriculum->count = 0;
    return true;
}

double fam_plan_rate(const fam_recipe *recipe, const fam_curriculum *curriculum, double peak, int64_t step)
{
    double rate = fam_learning_rate(recipe, peak, step);
    int64_t recover = recipe->curriculum.recover_steps, since = step - curriculum->promoted_at;
    if (!recipe->curriculum.on || curriculum->promoted_at < 0 || since >= recover)
        return rate;
    double fraction = recipe->curriculum.recover_fraction;
    return rate * (fraction + (1 - fraction) * (double)since / (double)recover);
}
