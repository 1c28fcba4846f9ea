/*
 * backend/cpu/gemv_vector.h: one-row products with activations in float32: the bodies, included once by each
 * instruction set's file, which defines before: vec, LANES (8 or 16); set(x), add_v, mul_v, fma_v(a, b, c) = ab + c;
 * load(p), sum_v(v), sum4_v(out, v): the sums of four vectors; load_TYPE(p) and load_part_TYPE(p, n) for F32, BF16, F16
 * weights, n < LANES; signed_bytes(p): LANES int8 to float32; nibbles(v, p): 16 bytes to 32 float32 in 0..15, in the
 * order of the elements.
 *
 * Four rows at a time share the loads of x.
 */
#include "backend/cpu/gemv_fetch.h"
#include "base/bytes.h"

enum { BLOCK = 32, PARTS = BLOCK / LANES };

/* Two at a time would do for latency; four rows of two keep both multipliers busy. */
#define FLOAT_TYPE(name, element_bytes)                                                                                \
    static inline __attribute__((always_inline)) void rows_##name(float *out, const uint8_t *w, const float *x,        \
                                                                  int64_t columns, int rows)                           \
    {                                                                                                                  \
        vec sum[4][2];                                                                                                 \
        int64_t i = 0, row_bytes = columns * (element_bytes);                                                          \
        for (int r = 0; r < rows; r++)                                                                                 \
            sum[r][0] = sum[r][1] = set(0);                                                                            \
        for (; i + 2 * LANES <= columns; i += 2 * LANES) {                                                             \
            vec a = load(x + i), b = load(x + i + LANES);                                                              \
            fetch(w + rows * i * (element_bytes), rows * 2 * LANES * (element_bytes));                                 \
            for (int r = 0; r < rows; r++) {                                                                           \
                const uint8_t *p = w + r * row_bytes + i * (element_bytes);                                            \
                sum[r][0] = fma_v(load_##name(p), a, sum[r][0]);                                                       \
                sum[r][1] = fma_v(load_##name(p + LANES * (element_bytes)), b, sum[r][1]);                             \
            }                                                                                                          \
        }                                                                                                              \
        if (i + LANES <= columns) {                                                                                    \
            for (int r = 0; r < rows; r++)                                                                             \
                sum[r][0] = fma_v(load_##name(w + r * row_bytes + i * (element_bytes)), load(x + i), sum[r][0]);       \
            i += LANES;                                                                                                \
        }                                                                                                              \
        if (i < columns) {                                                                                             \
            vec a = load_part_F32((const uint8_t *)(x + i), columns - i);                                              \
            for (int r = 0; r < rows; r++)                                                                             \
                sum[r][1] =                                                                                            \
                    fma_v(load_part_##name(w + r * row_bytes + i * (element_bytes), columns - i), a, sum[r][1]);       \
        }                                                                                                              \
        put_sums(out, sum, rows);                                                                                      \
    }

static inline void put_sums(float *out, vec sum[4][2], int rows)
{
    vec total[4];
    for (int r = 0; r < rows; r++)
        total[r] = add_v(sum[r][0], sum[r][1]);
    if (rows == 4)
        sum4_v(out, total);
    else
        *out = sum_v(total[0]);
}

FLOAT_TYPE(F32, 4)
FLOAT_TYPE(BF16, 2)
FLOAT_TYPE(F16, 2)

static inline float half_at(const uint8_t *p)
{
    return _cvtsh_ss(fam_read_u16(p));
}

/* What one block adds to a row's sums. */
static inline void block_Q8_0(vec sum[2], const uint8_t *p, const vec x[PARTS])
{
    vec products = mul_v(signed_bytes(p + 2), x[0]);
    for (int i = 1; i < PARTS; i++)
        products = fma_v(signed_bytes(p + 2 + i * LANES), x[i], products);
    sum[0] = fma_v(set(half_at(p)), products, sum[0]);
}

static inline vec nibble_products(const uint8_t *p, const vec x[PARTS])
{
    vec v[PARTS];
    nibbles(v, p);
    vec products = mul_v(v[0], x[0]);
    for (int i = 1; i < PARTS; i++)
        products = fma_v(v[i], x[i], products);
    return products;
}

static inline vec sum_of_block(const vec x[PARTS])
{
    vec sum = add_v(x[0], x[1]);
    for (int i = 2; i < PARTS; i += 2)
        sum = add_v(sum, add_v(x[i], x[i + 1]));
    return sum;
}

static inline void block_Q4_0(vec sum[2], const uint8_t *p, const vec x[PARTS])
{
    vec products = nibble_products(p + 2, x);
    products = fma_v(set(-8.0f), sum_of_block(x), products);
    sum[0] = fma_v(set(half_at(p)), products, sum[0]);
}

static inline void block_Q4_1(vec sum[2], const uint8_t *p, const vec x[PARTS])
{
    sum[0] = fma_v(set(half_at(p)), nibble_products(p + 4, x), sum[0]);
    sum[1] = fma_v(set(half_at(p + 2)), sum_of_block(x), sum[1]);
}

#define BLOCK_TYPE(name, block_bytes)                                                                                  \
    static inline __attribute__((always_inline)) void rows_##name(float *out, const uint8_t *w, const float *x,        \
                                                                  int64_t columns, int rows)                           \
    {                                                                                                                  \
        vec sum[4][2];                                                                                                 \
        int64_t blocks = columns / BLOCK, row_bytes = blocks * (block_bytes);                                          \
        for (int r = 0; r < rows; r++)                                                                                 \
            sum[r][0] = sum[r][1] = set(0);                                                                            \
        for (int64_t b = 0; b < blocks; b++) {                                                                         \
            vec part[PARTS];                                                                                           \
            fetch(w + rows * b * (block_bytes), rows * (block_bytes));                                                 \
            for (int i = 0; i < PARTS; i++)                                                                            \
                part[i] = load(x + b * BLOCK + i * LANES);                                                             \
            for (int r = 0; r < rows; r++) {                                                                           \
                const uint8_t *p = w + r * row_bytes + b * (block_bytes);                                              \
                block_##name(sum[r], p, part);                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        put_sums(out, sum, rows);                                                                                      \
    }

BLOCK_TYPE(Q8_0, 34)
BLOCK_TYPE(Q4_0, 18)
BLOCK_TYPE(Q4_1, 20)

#define GEMV(name, text, gguf_id, elements, bytes)                                                                     \
    static void gemv_FAM_##name(float *out, const void *w, const void *x, int64_t rows, int64_t columns)               \
    {                                                                                                                  \
        const uint8_t *row = w;                                                                                        \
        int64_t row_bytes = columns / (elements) * (bytes), r = 0;                                                     \
        for (; r + 4 <= rows; r += 4)                                                                                  \
            ROWS_##name(out + r, row + r * row_bytes, x, columns, 4);                                                  \
        for (; r < rows; r++)                                                                                          \
            ROWS_##name(out + r, row + r * row_bytes, x, columns, 1);                                                  \
    }
#define ROWS_FAM_TYPE_F32 rows_F32
#define ROWS_FAM_TYPE_F16 rows_F16
#define ROWS_FAM_TYPE_BF16 rows_BF16
#define ROWS_FAM_TYPE_Q8_0 rows_Q8_0
#define ROWS_FAM_TYPE_Q4_0 rows_Q4_0
#define ROWS_FAM_TYPE_Q4_1 rows_Q4_1
FAM_TYPE_LIST(GEMV)

/* All types. */
static void set_all(fam_cpu_kernels *out)
{
#define SET(name, text, gguf_id, elements, bytes) out->gemv[name].run = gemv_FAM_##name;
    FAM_TYPE_LIST(SET)
#undef SET
}
