/*
 * Lengths, shapes and rates of steps: train/plan.h.
 */
#include "suite.h"

#include <math.h>

#include "model/window.h"
#include "train/optimizer.h"
#include "train/plan.h"

/* A recipe in blocks of 8 tokens: 2 to 16 blocks, 1,024 tokens a step, 2 sequences of the longest at once. */
static fam_recipe small_recipe(void)
{
    fam_recipe r = {0};
    r.train.seed = 7;
    r.train.steps = 100;
    r.train.sequences = 2;
    r.train.accumulate = 1;
    r.train.tokens_per_step = 1024;
    r.train.carry = 1;
    r.curriculum.on = true;
    r.curriculum.from_blocks = 2;
    r.curriculum.to_blocks = 16;
    r.curriculum.accuracy = 0.9;
    r.curriculum.window = 4;
    r.curriculum.at_level = 0.5;
    r.curriculum.recover_steps = 10;
    r.curriculum.recover_fraction = 0.2;
    r.optimizer.schedule = FAM_SCHEDULE_CONSTANT;
    return r;
}

static void a_step_has_its_tokens_whatever_the_length(void **state)
{
    (void)state;
    fam_recipe r = small_recipe();
    fam_curriculum c = {.level = 16, .promoted_at = -1};
    fam_round_plan longest = fam_plan_longest(&r, 8);
    assert_int_equal(longest.tokens, 128);
    assert_int_equal(longest.sequences, 2);
    assert_int_equal(longest.passes, 4);
    int at_level = 0, lengths[17] = {0};
    for (int64_t step = 0; step < 2000; step++) {
        fam_round_plan p = fam_plan_round(&r, 8, &c, step);
        assert_int_equal(p.tokens, 8 * p.blocks);
        assert_in_range(p.blocks, 2, 16);
        assert_true(p.sequences * p.tokens <= longest.sequences * longest.tokens);
        assert_true(fabs((double)(p.passes * p.sequences * p.tokens) - 1024) < 1024 / 5);
        at_level += p.blocks == 16;
        lengths[p.blocks]++;
    }
    assert_in_range(at_level, 960, 1160); /* half of them, and 1 of 15 of the rest */
    for (int blocks = 2; blocks <= 16; blocks++)
        assert_true(lengths[blocks] > 30);
}

static void the_same_step_has_the_same_plan(void **state)
{
    (void)state;
    fam_recipe r = small_recipe();
    fam_curriculum c = {.level = 16, .promoted_at = -1};
    bool differs = false;
    for (int64_t step = 0; step < 50; step++) {
        fam_round_plan a = fam_plan_round(&r, 8, &c, step), b = fam_plan_round(&r, 8, &c, step);
        assert_memory_equal(&a, &b, sizeof a);
        r.train.seed = 8;
        fam_round_plan other = fam_plan_round(&r, 8, &c, step);
        differs = differs || other.blocks != a.blocks;
        r.train.seed = 7;
    }
    assert_true(differs);
}

static void lengths_without_curriculum(void **state)
{
    (void)state;
    fam_recipe r = small_recipe();
    r.curriculum.on = false;
    r.train.blocks = 5;
    r.train.tokens_per_step = 0;
    r.train.accumulate = 3;
    fam_round_plan p = fam_plan_round(&r, 8, NULL, 11);
    assert_int_equal(p.tokens, 40);
    assert_int_equal(p.blocks, 5);
    assert_int_equal(p.sequences, 2);
    assert_int_equal(p.passes, 3);
    r.train.blocks = 0;
    r.train.tokens = 37; /* need not end with a block */
    p = fam_plan_round(&r, 8, NULL, 0);
    assert_int_equal(p.tokens, 37);
    p = fam_plan_round(&r, 0, NULL, 0);
    assert_int_equal(p.tokens, 37);
    assert_int_equal(p.blocks, 0);
}

static void the_level_doubles_on_accuracy_at_the_level_alone(void **state)
{
    (void)state;
    fam_recipe r = small_recipe();
    double ring[4];
    fam_curriculum c = {.level = 2, .promoted_at = -1, .accuracies = ring};
    for (int i = 0; i < 10; i++)
        assert_false(fam_curriculum_add(&c, &r, 3, 1, i)); /* another length */
    for (int i = 0; i < 10; i++)
        assert_false(fam_curriculum_add(&c, &r, 2, 0.89, i));
    assert_false(fam_curriculum_add(&c, &r, 2, NAN, 10)); /* nothing was asked */
    assert_true(fam_curriculum_add(&c, &r, 2, 1, 11)); /* (3 x .89 + 1) / 4 is above .9 */
    c = (fam_curriculum){.level = 2, .promoted_at = -1, .accuracies = ring};
    assert_false(fam_curriculum_add(&c, &r, 2, 1, 0));
    assert_false(fam_curriculum_add(&c, &r, 2, 1, 1));
    assert_false(fam_curriculum_add(&c, &r, 2, 1, 2)); /* a window of four is not full */
    assert_true(fam_curriculum_add(&c, &r, 2, 0.7, 3));
    assert_int_equal(c.level, 4);
    assert_int_equal(c.promoted_at, 3);
    assert_int_equal(c.count, 0); /* the new level is measured afresh */
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 4; k++)
            fam_curriculum_add(&c, &r, c.level, 1, 4 + i);
    assert_int_equal(c.level, 16); /* and never beyond to_blocks */
}

static void the_rate_recovers_after_a_promotion(void **state)
{
    (void)state;
    fam_recipe r = small_recipe();
    fam_curriculum c = {.level = 4, .promoted_at = -1};
    assert_float_equal(fam_plan_rate(&r, &c, 1, 50), 1, 0);
    c.promoted_at = 50;
    assert_float_equal(fam_plan_rate(&r, &c, 1, 50), 0.2, 1e-12);
    assert_float_equal(fam_plan_rate(&r, &c, 1, 55), 0.6, 1e-12);
    assert_float_equal(fam_plan_rate(&r, &c, 1, 60), 1, 0);
}

static void purposes_and_steps_draw_apart(void **state)
{
    (void)state;
    fam_recipe r = small_recipe();
    fam_random a = fam_plan_random(&r, 3, FAM_PURPOSE_LENGTH), b = fam_plan_random(&r, 3, FAM_PURPOSE_NOISE),
               c = fam_plan_random(&r, 4, FAM_PURPOSE_LENGTH), again = fam_plan_random(&r, 3, FAM_PURPOSE_LENGTH);
    uint64_t x = fam_random_next(&a);
    assert_true(x == fam_random_next(&again));
    assert_true(x != fam_random_next(&b) && x != fam_random_next(&c));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_has_its_tokens_whatever_the_length),
    cmocka_unit_test(the_same_step_has_the_same_plan),
    cmocka_unit_test(lengths_without_curriculum),
    cmocka_unit_test(the_level_doubles_on_accuracy_at_the_level_alone),
    cmocka_unit_test(the_rate_recovers_after_a_promotion),
    cmocka_unit_test(purposes_and_steps_draw_apart),
};

SUITE_MAIN(tests)
