/*
 * backend/cpu/rows_portable.c: the row kernels in plain C: what the vector versions are tested against.
 */
#include "backend/cpu/rows_select.h"

#include <math.h>

#include "base/float16.h"

static void store(void *out, int64_t i, float value, bool bf16)
{
    if (bf16)
        ((uint16_t *)out)[i] = fam_to_bf16(value);
    else
        ((float *)out)[i] = value;
}

static double mean_square(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i] * x[i];
    return sum / (double)count;
}

static void rms_norm(void *out, const float *x, const float *gain, double eps, int64_t width, bool bf16)
{
    float factor = (float)(1 / sqrt(mean_square(x, width) + eps));
    for (int64_t i = 0; i < width; i++)
        store(out, i, x[i] * factor * gain[i], bf16);
}

static void silu_multiply(void *out, const float *gate, const float *up, int64_t width, bool bf16)
{
    for (int64_t i = 0; i < width; i++)
        store(out, i, gate[i] / (1 + expf(-gate[i])) * up[i], bf16);
}

static void to_activations(void *out, const float *x, int64_t count, bool bf16)
{
    for (int64_t i = 0; i < count; i++)
        store(out, i, x[i], bf16);
}

static void rope(void *out, const float *x, const float *cosines, const float *sines, int64_t head_dim, bool bf16)
{
    int64_t half = head_dim / 2;
    if (!cosines) {
        to_activations(out, x, head_dim, bf16);
        return;
    }
    for (int64_t i = 0; i < half; i++) {
        store(out, i, x[i] * cosines[i] - x[i + half] * sines[i], bf16);
        store(out, i + half, x[i + half] * cosines[i] + x[i] * sines[i], bf16);
    }
}

static void add(float *out, const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] += x[i];
}

static void scale(float *x, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] *= factor;
}

static double log_sum_exp(const float *x, int64_t count)
{
    double top = x[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < count; i++)
        sum += exp(x[i] - top);
    return top + log(sum);
}

static void silu_multiply_backward(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                                   int64_t width)
{
    for (int64_t i = 0; i < width; i++) {
        float x = gate[i], sigmoid = 1 / (1 + expf(-x)), back = dout[i] * up[i];
        if (dup)
            dup[i] = dout[i] * (x * sigmoid);
        if (dgate)
            dgate[i] = back * (sigmoid * (1 + x * (1 - sigmoid)));
    }
}

static void rms_norm_backward(float *dx, const float *dout, const float *x, const float *gain, double root,
                              int64_t width)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)(dout[i] * gain[i]) * x[i];
    float direct = (float)(1 / root), along = (float)(sum / (root * root * root * (double)width));
    for (int64_t i = 0; i < width; i++)
        dx[i] += direct * (dout[i] * gain[i]) - along * x[i];
}

static void scaled_softmax(float *out, const float *x, double log_sum, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = factor * expf((float)(x[i] - log_sum));
}

FAM_ROW_KERNELS(f32, false)
FAM_ROW_KERNELS(bf16, true)

void fam_cpu_rows_portable(fam_cpu_kernels *out, fam_dtype dtype)
{
    FAM_ROW_KERNELS_SET(out, dtype)
}
