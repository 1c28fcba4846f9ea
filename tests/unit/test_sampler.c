/*
 * Sampling against a plain implementation of its definition: bias, penalties, temperature, top-k, top-p, min-p, in that
 * order; and what the sampler remembers.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "run.h"
#include "session/sampler.h"

/* ---- the definition ------------------------------------------------------------------------------------------------ */

enum { VOCAB_MAX = 3000, HISTORY_MAX = 4000 };

typedef struct history {
    int32_t recent[HISTORY_MAX]; /* all that the session saw, oldest first */
    int recent_count;
    int generated[VOCAB_MAX]; /* how often since the last feed */
} history;

static void adjusted_by_definition(double *out, const fam_sampling *s, const history *h, const float *logits, int vocab)
{
    for (int id = 0; id < vocab; id++)
        out[id] = (double)logits[id];
    for (size_t i = 0; i < s->logit_bias_count; i++)
        out[s->logit_bias[i].id] += (double)s->logit_bias[i].bias;
    for (int id = 0; id < vocab; id++) {
        bool seen = false;
        for (int i = h->recent_count > 1024 ? h->recent_count - 1024 : 0; i < h->recent_count; i++)
            seen = seen || h->recent[i] == id;
        if (seen)
            out[id] = out[id] > 0 ? out[id] / s->repetition_penalty : out[id] * s->repetition_penalty;
        if (h->generated[id] > 0)
            out[id] -= s->presence_penalty + s->frequency_penalty * h->generated[id];
    }
}

/* Whether a comes before b: the larger logit, ties to the lower id. */
static bool comes_before(const double *logits, int a, int b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Probabilities [vocab]; 0 for what the filters take out. */
static void probabilities_by_definition(double *out, const fam_sampling *s, const double *logits, int vocab)
{
    static int order[VOCAB_MAX];
    int count = 0;
    for (int id = 0; id < vocab; id++) {
        out[id] = 0;
        if (logits[id] == -INFINITY)
            continue;
        int at = count++;
        while (at > 0 && comes_before(logits, id, order[at - 1])) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = id;
    }
    if (s->top_k > 0 && s->top_k < count)
        count = (int)s->top_k;
    double total = 0, before = 0, kept = 0;
    for (int i = 0; i < count; i++)
        total += exp((logits[order[i]] - logits[order[0]]) / s->temperature);
    for (int i = 0; i < count; i++) {
        double weight = exp((logits[order[i]] - logits[order[0]]) / s->temperature);
        if (i > 0 && before >= s->top_p * total)
            break;
        before += weight;
        if (weight < s->min_p)
            break;
        out[order[i]] = weight;
        kept += weight;
    }
    for (int id = 0; id < vocab; id++)
        out[id] /= kept;
}

/* ---- helpers --------------------------------------------------------------------------------------------------------- */

static fam_memory memory;

static fam_sampler *make(int vocab)
{
    fam_sampler *sampler;
    fam_memory_init(&memory);
    run_ok(fam_sampler_create(&sampler, &memory, vocab, error));
    return sampler;
}

static void finish(fam_sampler *sampler)
{
    fam_sampler_free(sampler);
    assert_int_equal(memory.bytes, 0);
}

static int32_t draw(fam_sampler *sampler, const float *logits)
{
    int32_t token = -7;
    run_ok(fam_sampler_draw(sampler, &token, logits, error));
    return token;
}

static double uniform(fam_random *random, double low, double high)
{
    return low + (high - low) * fam_random_uniform(random);
}

/* Logits with ties and with what is forbidden. */
static void random_logits(float *out, int vocab, fam_random *random)
{
    for (int id = 0; id < vocab; id++) {
        uint64_t kind = fam_random_next(random) % 8;
        out[id] = kind == 0 && id > 0 ? out[id - 1] : kind == 1 ? -INFINITY : (float)uniform(random, -3, 3);
    }
    out[fam_random_next(random) % (uint64_t)vocab] = 1.25f; /* never all forbidden */
}

static fam_sampling random_settings(fam_random *random, fam_logit_bias *bias, int vocab)
{
    fam_sampling s;
    fam_sampling_init(&s);
    s.temperature = uniform(random, 0.3, 2);
    s.seed = fam_random_next(random);
    if (fam_random_next(random) % 2)
        s.top_k = 1 + (int64_t)(fam_random_next(random) % (uint64_t)vocab);
    if (fam_random_next(random) % 2)
        s.top_p = uniform(random, 0.05, 1);
    if (fam_random_next(random) % 2)
        s.min_p = uniform(random, 0, 0.5);
    if (fam_random_next(random) % 2)
        s.repetition_penalty = uniform(random, 0.5, 2);
    if (fam_random_next(random) % 2)
        s.presence_penalty = uniform(random, -1, 1);
    if (fam_random_next(random) % 2)
        s.frequency_penalty = uniform(random, -0.5, 0.5);
    if (fam_random_next(random) % 2) {
        s.logit_bias = bias;
        s.logit_bias_count = 2;
        bias[0] = (fam_logit_bias){.id = 1, .bias = (float)uniform(random, -3, 3)};
        bias[1] = (fam_logit_bias){.id = 0, .bias = -INFINITY};
    }
    return s;
}

static void random_history(history *h, fam_sampler *sampler, fam_random *random, int vocab)
{
    *h = (history){0};
    int seen = (int)(fam_random_next(random) % 30);
    for (int i = 0; i < seen; i++) {
        h->recent[h->recent_count++] = (int32_t)(fam_random_next(random) % (uint64_t)vocab);
        fam_sampler_saw(sampler, h->recent[i]);
    }
    for (int i = 0; i < 6; i++) {
        int32_t id = (int32_t)(fam_random_next(random) % (uint64_t)vocab);
        h->recent[h->recent_count++] = id;
        fam_sampler_saw(sampler, id);
        fam_sampler_generated(sampler, id);
        h->generated[id]++;
    }
}

/* ---- cases ------------------------------------------------------------------------------------------------------------ */

static void greedy_takes_the_largest_and_the_lowest_id(void **state)
{
    (void)state;
    fam_random random;
    fam_random_seed(&random, 1);
    fam_sampler *sampler = make(50);
    for (int round = 0; round < 2000; round++) {
        float logits[50];
        int best = -1;
        random_logits(logits, 50, &random);
        if (round % 3 == 0)
            for (int id = 0; id < 50; id++) /* many ties */
                logits[id] = isfinite(logits[id]) ? roundf(logits[id]) : logits[id];
        for (int id = 0; id < 50; id++)
            if (best < 0 || logits[id] > logits[best])
                best = id;
        assert_int_equal(draw(sampler, logits), best);
    }
    finish(sampler);
}

static void draws_follow_the_definition(void **state)
{
    (void)state;
    enum { VOCAB = 16, DRAWS = 4000 };
    fam_random random;
    history *h = malloc(sizeof *h);
    fam_random_seed(&random, 2);
    for (int round = 0; round < 150; round++) {
        fam_sampler *sampler = make(VOCAB);
        fam_logit_bias bias[2];
        float logits[VOCAB];
        double adjusted[VOCAB], p[VOCAB], chi = 0;
        int counts[VOCAB] = {0}, freedom = -1;
        random_logits(logits, VOCAB, &random);
        logits[5] = isfinite(logits[5]) ? logits[5] : 0.5f;
        fam_sampling s = random_settings(&random, bias, VOCAB);
        run_ok(fam_sampler_set(sampler, &s, error));
        random_history(h, sampler, &random, VOCAB);
        adjusted_by_definition(adjusted, &s, h, logits, VOCAB);
        probabilities_by_definition(p, &s, adjusted, VOCAB);
        for (int i = 0; i < DRAWS; i++)
            counts[draw(sampler, logits)]++;
        for (int id = 0; id < VOCAB; id++) {
            double expected = p[id] * DRAWS;
            if (p[id] == 0) {
                assert_int_equal(counts[id], 0);
            } else {
                assert_true(expected < 25 || counts[id] > 0);
                chi += (counts[id] - expected) * (counts[id] - expected) / (expected > 1 ? expected : 1);
                freedom++;
            }
        }
        /* five deviations above what is expected of chance */
        if (!(chi < freedom + 5 * sqrt(2.0 * freedom) + 5))
            fail_msg("round %d: found chi square %g of %d degrees of freedom", round, chi, freedom);
        finish(sampler);
    }
    free(h);
}

static void large_vocabularies_keep_the_same_tokens(void **state)
{
    (void)state;
    fam_random random;
    history *h = malloc(sizeof *h);
    float *logits = malloc(VOCAB_MAX * sizeof *logits);
    double *adjusted = malloc(VOCAB_MAX * sizeof *adjusted), *p = malloc(VOCAB_MAX * sizeof *p);
    fam_random_seed(&random, 3);
    for (int round = 0; round < 60; round++) {
        fam_sampler *sampler = make(VOCAB_MAX);
        fam_logit_bias bias[2];
        random_logits(logits, VOCAB_MAX, &random);
        fam_sampling s = random_settings(&random, bias, VOCAB_MAX);
        s.top_k = round % 3 ? 1 + (int64_t)(fam_random_next(&random) % 40) : 0;
        run_ok(fam_sampler_set(sampler, &s, error));
        random_history(h, sampler, &random, VOCAB_MAX);
        adjusted_by_definition(adjusted, &s, h, logits, VOCAB_MAX);
        probabilities_by_definition(p, &s, adjusted, VOCAB_MAX);
        for (int i = 0; i < 300; i++)
            assert_true(p[draw(sampler, logits)] > 0);
        finish(sampler);
    }
    free(h);
    free(logits);
    free(adjusted);
    free(p);
}

/* Only the last 1,024 tokens are penalised, each once however often it came. */
static void repetition_forgets_after_1024_tokens(void **state)
{
    (void)state;
    fam_sampler *sampler = make(10);
    fam_sampling s;
    float logits[10] = {1, 1.05f, -1, -1, -1, -1, -1, -1, -1, -1};
    fam_sampling_init(&s);
    s.repetition_penalty = 1.1;
    run_ok(fam_sampler_set(sampler, &s, error));
    assert_int_equal(draw(sampler, logits), 1);
    for (int i = 0; i < 3; i++)
        fam_sampler_saw(sampler, 1);
    assert_int_equal(draw(sampler, logits), 0); /* 1.05 / 1.1 < 1, and not divided three times: */
    logits[0] = 0.93f;
    assert_int_equal(draw(sampler, logits), 1);
    logits[0] = 1;
    for (int i = 0; i < 1023; i++) {
        fam_sampler_saw(sampler, 5);
        assert_int_equal(draw(sampler, logits), 0);
    }
    fam_sampler_saw(sampler, 5);
    assert_int_equal(draw(sampler, logits), 1);
    logits[5] = 1.2f;
    logits[1] = 1.1f;
    assert_int_equal(draw(sampler, logits), 1); /* 1.2 / 1.1 < 1.1 */
    fam_sampler_reset(sampler);
    assert_int_equal(draw(sampler, logits), 5);
    for (int id = 0; id < 10; id++)
        logits[id] = -1 - 0.01f * (float)id; /* negative logits are multiplied */
    fam_sampler_saw(sampler, 0);
    assert_int_equal(draw(sampler, logits), 1);
    finish(sampler);
}

static void presence_and_frequency_count_since_the_last_feed(void **state)
{
    (void)state;
    fam_sampler *sampler = make(4);
    fam_sampling s;
    const float logits[4] = {1, 0.75f, 0.45f, 0};
    fam_sampling_init(&s);
    s.frequency_penalty = 0.2;
    s.presence_penalty = 0.1;
    run_ok(fam_sampler_set(sampler, &s, error));
    assert_int_equal(draw(sampler, logits), 0);
    fam_sampler_generated(sampler, 0);
    assert_int_equal(draw(sampler, logits), 1); /* 0.7 */
    fam_sampler_generated(sampler, 1);
    assert_int_equal(draw(sampler, logits), 0); /* 0.7, 0.45, 0.45 */
    fam_sampler_generated(sampler, 0);
    assert_int_equal(draw(sampler, logits), 0); /* 0.5 */
    fam_sampler_generated(sampler, 0);
    assert_int_equal(draw(sampler, logits), 1); /* 0.3, 0.45: the tie goes to the lower id */
    fam_sampler_begin_feed(sampler);
    assert_int_equal(draw(sampler, logits), 0);
    finish(sampler);
}

static void logits_that_are_no_numbers_are_an_error(void **state)
{
    (void)state;
    fam_sampler *sampler = make(5);
    fam_sampling s;
    fam_sampling_init(&s);
    for (int sampled = 0; sampled < 2; sampled++) {
        int32_t token;
        s.temperature = sampled;
        run_ok(fam_sampler_set(sampler, &s, error));
        const float bad[][5] = {{1, NAN, 2, 3, 4},
                                {NAN, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
                                {1, 2, INFINITY, 3, 4},
                                {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}};
        for (size_t i = 0; i < 4; i++)
            run_refused(fam_sampler_draw(sampler, &token, bad[i], error), FAM_STATUS_FAILED, "logits");
        const float one[5] = {-INFINITY, -INFINITY, -INFINITY, -100, -INFINITY};
        assert_int_equal(draw(sampler, one), 3);
    }
    const fam_logit_bias none[5] = {{0, -INFINITY}, {1, -INFINITY}, {2, -INFINITY}, {3, -INFINITY}, {4, -INFINITY}};
    const float logits[5] = {1, 2, 3, 4, 5};
    int32_t token;
    s.logit_bias = none;
    s.logit_bias_count = 5;
    run_ok(fam_sampler_set(sampler, &s, error));
    run_refused(fam_sampler_draw(sampler, &token, logits, error), FAM_STATUS_FAILED, "logits");
    finish(sampler);
}

/* From all but nothing to all but everything. */
static void temperatures_at_the_edges_are_sane(void **state)
{
    (void)state;
    const double cold[] = {0x1p-1074, 1e-300, 1e-40, 1e-20, 1e-3};
    const float logits[4] = {1, 3, 3, 2.9f};
    fam_sampler *sampler = make(4);
    fam_sampling s;
    fam_sampling_init(&s);
    for (size_t i = 0; i < sizeof cold / sizeof *cold; i++)
        for (int ordered = 0; ordered < 2; ordered++) {
            int counts[4] = {0};
            s.temperature = cold[i];
            s.top_p = ordered ? 0.999 : 1;
            run_ok(fam_sampler_set(sampler, &s, error));
            for (int n = 0; n < 200; n++)
                counts[draw(sampler, logits)]++;
            assert_true(counts[0] == 0 && counts[3] == 0 && counts[1] > 50 && counts[2] > 50);
        }
    s.temperature = 1000;
    run_ok(fam_sampler_set(sampler, &s, error));
    int counts[4] = {0};
    for (int n = 0; n < 4000; n++)
        counts[draw(sampler, logits)]++;
    for (int id = 0; id < 4; id++)
        assert_in_range(counts[id], 850, 1150);
    finish(sampler);
}

static void settings_out_of_range_are_refused(void **state)
{
    (void)state;
    fam_sampler *sampler = make(100);
    const float logits[100] = {[17] = 1};
    fam_sampling good;
    fam_sampling_init(&good);
    good.temperature = 0.5;
    good.seed = 9;
    run_ok(fam_sampler_set(sampler, &good, error));
    const double bad[] = {-1, NAN, INFINITY, 1001};
    for (int field = 0; field < 6; field++)
        for (int i = 0; i < 4; i++) {
            fam_sampling s = good;
            const char *names[] = {"temperature", "top_p", "min_p", "repetition", "presence", "frequency"};
            double *fields[] = {&s.temperature,        &s.top_p,            &s.min_p,
                                &s.repetition_penalty, &s.presence_penalty, &s.frequency_penalty};
            if (field >= 4 && i == 0)
                continue; /* may be negative */
            *fields[field] = bad[i];
            run_refused(fam_sampler_set(sampler, &s, error), FAM_STATUS_INVALID_ARGUMENT, names[field]);
        }
    fam_sampling s = good;
    s.top_p = 0;
    run_refused(fam_sampler_set(sampler, &s, error), FAM_STATUS_INVALID_ARGUMENT, "top_p");
    s = good;
    s.repetition_penalty = 0;
    run_refused(fam_sampler_set(sampler, &s, error), FAM_STATUS_INVALID_ARGUMENT, "repetition");
    s = good;
    s.top_k = -5;
    run_refused(fam_sampler_set(sampler, &s, error), FAM_STATUS_INVALID_ARGUMENT, "top_k");
    const fam_logit_bias biases[] = {{-1, 0}, {100, 0}, {3, NAN}, {3, INFINITY}};
    for (int i = 0; i < 4; i++) {
        s = good;
        s.logit_bias = &biases[i];
        s.logit_bias_count = 1;
        run_refused(fam_sampler_set(sampler, &s, error), FAM_STATUS_INVALID_ARGUMENT, "logit_bias");
    }
    s.logit_bias_count = 101;
    run_refused(fam_sampler_set(sampler, &s, error), FAM_STATUS_INVALID_ARGUMENT, "logit_bias");
    /* the settings are those that were last accepted */
    fam_sampler *other;
    run_ok(fam_sampler_create(&other, &memory, 100, error));
    run_ok(fam_sampler_set(other, &good, error));
    for (int i = 0; i < 50; i++)
        assert_int_equal(draw(sampler, logits), draw(other, logits));
    fam_sampler_free(other);
    finish(sampler);
}

static void packed_and_copied_samplers_go_on_alike(void **state)
{
    (void)state;
    fam_random random;
    fam_random_seed(&random, 5);
    for (int round = 0; round < 40; round++) {
        enum { VOCAB = 40 };
        fam_sampler *a = make(VOCAB), *b, *c;
        fam_logit_bias bias[2];
        float logits[VOCAB];
        run_ok(fam_sampler_create(&b, &memory, VOCAB, error));
        run_ok(fam_sampler_create(&c, &memory, VOCAB, error));
        fam_sampling s = random_settings(&random, bias, VOCAB);
        run_ok(fam_sampler_set(a, &s, error));
        int seen = round % 2 ? 1500 : round; /* the ring of recent tokens wraps, or not */
        for (int i = 0; i < seen; i++) {
            int32_t id = (int32_t)(fam_random_next(&random) % VOCAB);
            fam_sampler_saw(a, id);
            fam_sampler_saw(b, (id + 1) % VOCAB); /* to be forgotten */
            if (i % 50 == 0)
                fam_sampler_generated(a, id);
        }
        random_logits(logits, VOCAB, &random);
        logits[7] = 0.5f;
        draw(a, logits);
        size_t size = fam_sampler_packed_bytes(a);
        uint8_t *packed = malloc(size + 1);
        fam_sampler_pack(a, packed);
        for (size_t cut = 0; cut < size; cut += 1 + cut / 8)
            run_refused(fam_sampler_unpack(b, "f", packed, cut, error), FAM_STATUS_BAD_FORMAT, "f: session file: sampler");
        run_refused(fam_sampler_unpack(b, "f", packed, size + 1, error), FAM_STATUS_BAD_FORMAT, "sampler");
        run_ok(fam_sampler_unpack(b, "f", packed, size, error));
        run_ok(fam_sampler_copy(c, a, error));
        uint8_t *again = malloc(size);
        assert_int_equal(fam_sampler_packed_bytes(b), size);
        fam_sampler_pack(b, again);
        assert_memory_equal(packed, again, size);
        for (int i = 0; i < 1200; i++) {
            int32_t token = draw(a, logits);
            assert_int_equal(draw(b, logits), token);
            assert_int_equal(draw(c, logits), token);
            fam_sampler_saw(a, token), fam_sampler_saw(b, token), fam_sampler_saw(c, token);
            if (i % 20 == 0)
                fam_sampler_generated(a, token), fam_sampler_generated(b, token), fam_sampler_generated(c, token);
        }
        free(packed);
        free(again);
        fam_sampler_free(a);
        fam_sampler_free(b);
        finish(c);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(greedy_takes_the_largest_and_the_lowest_id),
    cmocka_unit_test(draws_follow_the_definition),
    cmocka_unit_test(large_vocabularies_keep_the_same_tokens),
    cmocka_unit_test(repetition_forgets_after_1024_tokens),
    cmocka_unit_test(presence_and_frequency_count_since_the_last_feed),
    cmocka_unit_test(logits_that_are_no_numbers_are_an_error),
    cmocka_unit_test(temperatures_at_the_edges_are_sane),
    cmocka_unit_test(settings_out_of_range_are_refused),
    cmocka_unit_test(packed_and_copied_samplers_go_on_alike),
};
SUITE_MAIN(tests)
