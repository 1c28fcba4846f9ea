/*
 * backend/cpu/rows_vector.h: the bodies of the vector row kernels, included once by each instruction set's file, which
 * defines before:
 *   vec, LANES; load(p), load_part(p, n), store(p, v), store_part(p, v, n) for float32 (n < LANES elements, nothing
 *   beyond them touched); narrow(p, v), narrow_part(p, v, n): stores as bfloat16; set(x), add_v, sub_v, mul_v, div_v,
 *   fma_v(a, b, c) = ab + c, fnma_v(a, b, c) = c - ab, min_v, max_v (the second operand if one is NaN), round_v,
 *   pow2_v(p, n) = p 2^n for whole n in [-200, 200], infinite or zero beyond float32's range; sum_v(v).
 *
 * The exponential: e^x = 2^n e^r, |r| <= ln(2)/2, with Cephes' polynomial of degree 7 (S. Moshier): within 2 units in
 * the last place.
 */
#include <math.h>

static inline vec exp_v(vec x)
{
    /* beyond these e^x is 0 or infinite in float32; min and max hand on a NaN that stands second */
    x = max_v(set(-120.0f), min_v(set(120.0f), x));
    vec n = round_v(mul_v(x, set(1.44269504088896341f)));
    vec r = fnma_v(n, set(-2.12194440e-4f), fnma_v(n, set(0.693359375f), x));
    vec p = set(1.9875691500e-4f);
    p = fma_v(p, r, set(1.3981999507e-3f));
    p = fma_v(p, r, set(8.3334519073e-3f));
    p = fma_v(p, r, set(4.1665795894e-2f));
    p = fma_v(p, r, set(1.6666665459e-1f));
    p = fma_v(p, r, set(5.0000001201e-1f));
    p = fma_v(p, mul_v(r, r), add_v(r, set(1.0f)));
    return pow2_v(p, n);
}

static inline void put(void *out, int64_t i, vec v, bool bf16)
{
    if (bf16)
        narrow((uint16_t *)out + i, v);
    else
        store((float *)out + i, v);
}

static inline void put_part(void *out, int64_t i, vec v, int64_t n, bool bf16)
{
    if (bf16)
        narrow_part((uint16_t *)out + i, v, n);
    else
        store_part((float *)out + i, v, n);
}

static double mean_square(const float *x, int64_t count)
{
    vec a = set(0), b = set(0);
    int64_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        vec v = load(x + i), w = load(x + i + LANES);
        a = fma_v(v, v, a);
        b = fma_v(w, w, b);
    }
    if (i + LANES <= count) {
        vec v = load(x + i);
        a = fma_v(v, v, a);
        i += LANES;
    }
    if (i < count) {
        vec v = load_part(x + i, count - i);
        b = fma_v(v, v, b);
    }
    return (double)sum_v(add_v(a, b)) / (double)count;
}

static inline void rms_norm(void *out, const float *x, const float *gain, double eps, int64_t width, bool bf16)
{
    vec factor = set((float)(1 / sqrt(mean_square(x, width) + eps)));
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        put(out, i, mul_v(mul_v(load(x + i), factor), load(gain + i)), bf16);
    if (i < width)
        put_part(out, i, mul_v(mul_v(load_part(x + i, width - i), factor), load_part(gain + i, width - i)), width - i,
                 bf16);
}

static inline vec silu(vec gate)
{
    return div_v(gate, add_v(set(1.0f), exp_v(sub_v(set(0), gate))));
}

static inline void silu_multiply(void *out, const float *gate, const float *up, int64_t width, bool bf16)
{
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        put(out, i, mul_v(silu(load(gate + i)), load(up + i)), bf16);
    if (i < width)
        put_part(out, i, mul_v(silu(load_part(gate + i, width - i)), load_part(up + i, width - i)), width - i, bf16);
}

static inline void to_activations(void *out, const float *x, int64_t count, bool bf16)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        put(out, i, load(x + i), bf16);
    if (i < count)
        put_part(out, i, load_part(x + i, count - i), count - i, bf16);
}

static inline void rope(void *out, const float *x, const float *cosines, const float *sines, int64_t head_dim,
                        bool bf16)
{
    int64_t half = head_dim / 2, i = 0;
    if (!cosines) {
        to_activations(out, x, head_dim, bf16);
        return;
    }
    for (; i + LANES <= half; i += LANES) {
        vec c = load(cosines + i), s = load(sines + i), a = load(x + i), b = load(x + half + i);
        put(out, i, fnma_v(b, s, mul_v(a, c)), bf16);
        put(out, half + i, fma_v(a, s, mul_v(b, c)), bf16);
    }
    if (i < half) {
        int64_t n = half - i;
        vec c = load_part(cosines + i, n), s = load_part(sines + i, n);
        vec a = load_part(x + i, n), b = load_part(x + half + i, n);
        put_part(out, i, fnma_v(b, s, mul_v(a, c)), n, bf16);
        put_part(out, half + i, fma_v(a, s, mul_v(b, c)), n, bf16);
    }
}

static void add(float *out, const float *x, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(out + i, add_v(load(out + i), load(x + i)));
    if (i < count)
        store_part(out + i, add_v(load_part(out + i, count - i), load_part(x + i, count - i)), count - i);
}

static void scale(float *x, float factor, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(x + i, mul_v(load(x + i), set(factor)));
    if (i < count)
        store_part(x + i, mul_v(load_part(x + i, count - i), set(factor)), count - i);
}

static double log_sum_exp(const float *x, int64_t count)
{
    float top = x[0];
    vec tops = set(top), sums = set(0);
    double sum = 0;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        tops = max_v(tops, load(x + i));
    float lanes[LANES];
    store(lanes, tops);
    for (int k = 0; k < LANES; k++)
        top = lanes[k] > top ? lanes[k] : top;
    for (int64_t j = i; j < count; j++)
        top = x[j] > top ? x[j] : top;
    /* a row may be a whole vocabulary, and many small terms would be lost beside a large one: into a double soon */
    for (i = 0; i + LANES <= count;) {
        int64_t end = count - i < 64 * LANES ? count - LANES : i + 63 * LANES;
        for (sums = set(0); i <= end; i += LANES)
            sums = add_v(sums, exp_v(sub_v(load(x + i), set(top))));
        sum += (double)sum_v(sums);
    }
    for (; i < count; i++)
        sum += (double)expf(x[i] - top);
    return (double)top + log(sum);
}

/* ---- what flows back ------------------------------------------------------------------------------------------------ */

/* With n = LANES whole vectors; a constant there, so that the test goes away. */
static inline vec load_some(const float *p, int64_t n)
{
    return n == LANES ? load(p) : load_part(p, n);
}

static inline void store_some(float *p, vec v, int64_t n)
{
    if (n == LANES)
        store(p, v);
    else
        store_part(p, v, n);
}

static inline void silu_back(float *dgate, float *dup, const float *dout, const float *gate, const float *up, int64_t n)
{
    vec x = load_some(gate, n), d = load_some(dout, n), one = set(1.0f);
    vec sigmoid = div_v(one, add_v(one, exp_v(sub_v(set(0), x))));
    vec slope = mul_v(sigmoid, fma_v(x, sub_v(one, sigmoid), one)), back = mul_v(d, load_some(up, n));
    if (dup)
        store_some(dup, mul_v(d, mul_v(x, sigmoid)), n);
    if (dgate)
        store_some(dgate, mul_v(back, slope), n);
}

static void silu_multiply_backward(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                                   int64_t width)
{
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        silu_back(dgate ? dgate + i : NULL, dup ? dup + i : NULL, dout + i, gate + i, up + i, LANES);
    if (i < width)
        silu_back(dgate ? dgate + i : NULL, dup ? dup + i : NULL, dout + i, gate + i, up + i, width - i);
}

static inline void norm_back(float *dx, const float *dout, const float *x, const float *gain, vec direct, vec along,
                             int64_t n)
{
    vec back = mul_v(direct, mul_v(load_some(dout, n), load_some(gain, n)));
    store_some(dx, add_v(load_some(dx, n), fnma_v(along, load_some(x, n), back)), n);
}

static void rms_norm_backward(float *dx, const float *dout, const float *x, const float *gain, double root,
                              int64_t width)
{
    vec sums = set(0), rest = set(0);
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        sums = fma_v(mul_v(load(dout + i), load(gain + i)), load(x + i), sums);
    if (i < width)
        rest = mul_v(mul_v(load_part(dout + i, width - i), load_part(gain + i, width - i)), load_part(x + i, width - i));
    double sum = (double)sum_v(add_v(sums, rest));
    vec direct = set((float)(1 / root)), along = set((float)(sum / (root * root * root * (double)width)));
    for (i = 0; i + LANES <= width; i += LANES)
        norm_back(dx + i, dout + i, x + i, gain + i, direct, along, LANES);
    if (i < width)
        norm_back(dx + i, dout + i, x + i, gain + i, direct, along, width - i);
}

static void scaled_softmax(float *out, const float *x, double log_sum, float factor, int64_t count)
{
    /* two parts: the rounding of a large logarithm alone would show in every weight */
    vec high = set((float)log_sum), low = set((float)(log_sum - (double)(float)log_sum)), size = set(factor);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(out + i, mul_v(size, exp_v(sub_v(sub_v(load(x + i), high), low))));
    if (i < count)
        store_part(out + i, mul_v(size, exp_v(sub_v(sub_v(load_part(x + i, count - i), high), low))), count - i);
}

FAM_ROW_KERNELS(f32, false)
FAM_ROW_KERNELS(bf16, true)
