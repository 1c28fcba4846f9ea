/*
 * model/rope.c: see rope.h. Doubles throughout: with float32 frequencies the angles are off by 1e-2 rad at a million
 * tokens (spec section 5).
 */
#include "model/rope.h"

#include <math.h>

/* Llama 3: long wavelengths are stretched by `factor`, short ones stay, and a band between blends (transformers,
 * `_compute_llama3_parameters`). */
static double llama3_scaled(double frequency, const fam_model_config *config)
{
    const double pi = 3.14159265358979323846;
    double wavelength = 2 * pi / frequency, context = (double)config->rope_original_context;
    if (wavelength < context / config->rope_high_freq_factor)
        return frequency;
    if (wavelength > context / config->rope_low_freq_factor)
        return frequency / config->rope_factor;
    double smooth = (context / wavelength - config->rope_low_freq_factor) /
                    (config->rope_high_freq_factor - config->rope_low_freq_factor);
    return (1 - smooth) * frequency / config->rope_factor + smooth * frequency;
}

void fam_rope_inverse_frequencies(double *out, const fam_model_config *config)
{
    int64_t half = config->head_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        double frequency = pow(config->rope_theta, -(double)i / (double)half);
        if (config->rope_scaling == FAM_ROPE_LLAMA3)
            frequency = llama3_scaled(frequency, config);
        if (config->rope_frequency_factors)
            frequency /= (double)config->rope_frequency_factors[i];
        out[i] = frequency;
    }
}
