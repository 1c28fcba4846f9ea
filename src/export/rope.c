/*
 * export/rope.c: llama3's scaling of RoPE. config.json has its parameters, GGUF the factors that come of them. The
 * parameters are found again from the factors: 1/f_i = (1 - s_i)/F + s_i, F being the largest factor, and where s_i is
 * between 0 and 1 it is linear in the frequency: s_i = (context frequency_i / 2 pi - low) / (high - low). Context, low
 * and high may all be multiplied by one number: low is a small integer that makes the context an integer too.
 */
#include "model/rope.h"

#include <math.h>

#include "export/private.h"

static const double TWO_PI = 2 * 3.14159265358979323846;
static const double SAME = 2e-6; /* relative: the factors are float32 */
enum { LOW_MAX = 8 };

static fam_model_config without_scaling(const fam_model_config *config)
{
    fam_model_config plain = *config;
    plain.rope_scaling = FAM_ROPE_DEFAULT;
    plain.rope_frequency_factors = NULL;
    return plain;
}

fam_status fam_export_rope_factors(float *factors, const fam_model_config *config, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t half = config->head_dim / 2;
    const fam_model_config plain = without_scaling(config);
    double *before = NULL, *after = NULL;
    FAM_TRY_ALLOC(before, fam_alloc_array(memory, (size_t)half, sizeof *before), "rope");
    FAM_TRY_ALLOC(after, fam_alloc_array(memory, (size_t)half, sizeof *after), "rope");
    fam_rope_inverse_frequencies(before, &plain);
    fam_rope_inverse_frequencies(after, config);
    for (int64_t i = 0; i < half; i++)
        factors[i] = (float)(before[i] / after[i]);
done:
    fam_free(memory, before);
    fam_free(memory, after);
    return status;
}

/* The line through the points (frequency / 2 pi, s) of the band; false if there are fewer than two. */
static bool fit_line(double *slope, double *intercept, const double *frequencies, const float *factors, int64_t half,
                     double largest)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int64_t i = 0; i < half; i++) {
        double s = (1 / (double)factors[i] - 1 / largest) / (1 - 1 / largest), at = frequencies[i] / TWO_PI;
        if (s < 1e-5 || s > 1 - 1e-5)
            continue;
        n++;
        x += at;
        y += s;
        xx += at * at;
        xy += at * s;
    }
    double spread = n * xx - x * x;
    if (n < 2 || !(spread > 0))
        return false;
    *slope = (n * xy - x * y) / spread;
    *intercept = (y - *slope * x) / n;
    return *slope > 0 && *intercept < 0;
}

/* Whether these parameters give the frequencies `wanted`; `scratch` [half]. */
static bool gives(const fam_model_config *candidate, const double *wanted, double *scratch)
{
    if (!(candidate->rope_high_freq_factor > candidate->rope_low_freq_factor) || candidate->rope_original_context < 1)
        return false;
    fam_rope_inverse_frequencies(scratch, candidate);
    for (int64_t i = 0; i < candidate->head_dim / 2; i++)
        if (!(fabs(scratch[i] - wanted[i]) <= SAME * wanted[i]))
            return false;
    return true;
}

static bool try_line(fam_model_config *candidate, double slope, double intercept, const double *wanted, double *scratch)
{
    double ratio = 1 - 1 / intercept; /* high / low */
    if (fabs(ratio - round(ratio * 100) / 100) < 1e-4)
        ratio = round(ratio * 100) / 100;
    for (int low = 1; low <= LOW_MAX; low++) {
        double context = round(slope * (ratio - 1) * low);
        if (!(context >= 1 && context <= (double)FAM_SETTING_LENGTH_MAX))
            continue;
        candidate->rope_low_freq_factor = low;
        candidate->rope_high_freq_factor = low * ratio;
        candidate->rope_original_context = (int64_t)context;
        if (gives(candidate, wanted, scratch))
            return true;
    }
    return false;
}

/* With hardly a point in the band many contexts do: the parameters of Llama 3 with a power of two. */
static bool try_usual(fam_model_config *candidate, const double *wanted, double *scratch)
{
    candidate->rope_low_freq_factor = 1;
    candidate->rope_high_freq_factor = 4;
    for (int64_t context = FAM_SETTING_LENGTH_MAX; context >= 1; context /= 2) {
        candidate->rope_original_context = context;
        if (gives(candidate, wanted, scratch))
            return true;
    }
    return false;
}

static bool is_plain(const float *factors, int64_t half, double *largest)
{
    bool plain = true;
    *largest = 1;
    for (int64_t i = 0; i < half; i++) {
        plain = plain && factors[i] == 1;
        *largest = factors[i] > *largest ? factors[i] : *largest;
    }
    return plain;
}

fam_status fam_export_rope_llama3(fam_model_config *config, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    const float *factors = config->rope_frequency_factors;
    int64_t half = config->head_dim / 2;
    fam_model_config candidate = without_scaling(config);
    double largest, slope, intercept;
    double *plain = NULL, *wanted = NULL, *scratch = NULL;
    bool found = is_plain(factors, half, &largest);
    if (found) {
        *config = candidate;
        return FAM_OK;
    }
    FAM_TRY_ALLOC(plain, fam_alloc_array(memory, (size_t)half, sizeof *plain), path);
    FAM_TRY_ALLOC(wanted, fam_alloc_array(memory, (size_t)half, sizeof *wanted), path);
    FAM_TRY_ALLOC(scratch, fam_alloc_array(memory, (size_t)half, sizeof *scratch), path);
    fam_rope_inverse_frequencies(plain, &candidate);
    fam_rope_inverse_frequencies(wanted, config);
    candidate.rope_scaling = FAM_ROPE_LLAMA3;
    candidate.rope_factor = largest;
    if (largest > 1 && fit_line(&slope, &intercept, plain, factors, half, largest))
        found = try_line(&candidate, slope, intercept, wanted, scratch);
    found = found || (largest > 1 && try_usual(&candidate, wanted, scratch));
    FAM_FAIL_IF(!found, FAM_STATUS_UNSUPPORTED,
                "%s: tensor rope_freqs.weight: found factors that are not llama3's, need those: config.json cannot say "
                "others (export to GGUF can)",
                path);
    *config = candidate;
done:
    fam_free(memory, plain);
    fam_free(memory, wanted);
    fam_free(memory, scratch);
    return status;
}
