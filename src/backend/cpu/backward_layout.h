/*
 * backend/cpu/backward_layout.h: the body of fam_cpu_turn_strip for the vector versions: squares of LANES by LANES. A file
 * includes the vector operations before.
 */
#ifndef FAM_BACKEND_CPU_BACKWARD_LAYOUT_H
#define FAM_BACKEND_CPU_BACKWARD_LAYOUT_H

/* One row of a square; beyond the last of `columns` zeros. */
static inline vec load_row(const float *p, int64_t columns)
{
    float part[LANES] = {0};
    if (columns >= LANES)
        return vec_load(p);
    memcpy(part, p, (size_t)columns * sizeof *part);
    return vec_load(part);
}

static inline void narrow_row(uint16_t *p, vec row, int64_t columns)
{
    uint16_t part[LANES];
    if (columns >= LANES) {
        vec_narrow(p, row);
        return;
    }
    vec_narrow(part, row);
    memcpy(p, part, (size_t)columns * sizeof *part);
}

/* Columns [0, columns), at most LANES of them. */
static void turn_columns(void *turned, uint16_t *narrowed, const float *dout, int64_t stride, int64_t count,
                         int64_t depth, int64_t columns)
{
    for (int64_t row = 0; row < depth; row += LANES) {
        vec r[LANES];
        for (int i = 0; i < LANES; i++) {
            r[i] = row + i < count ? load_row(dout + (row + i) * stride, columns) : vec_set(0);
            if (narrowed && row + i < count)
                narrow_row(narrowed + (row + i) * stride, r[i], columns);
        }
        vec_transpose(r);
        for (int i = 0; i < LANES && i < columns; i++) {
            if (narrowed)
                vec_narrow((uint16_t *)turned + i * depth + row, r[i]);
            else
                vec_store((float *)turned + i * depth + row, r[i]);
        }
    }
}

static void turn_strip(void *turned, uint16_t *narrowed, const float *dout, int64_t stride, int64_t count, int64_t depth,
                       int64_t columns)
{
    size_t column_bytes = (size_t)depth * (narrowed ? sizeof(uint16_t) : sizeof(float));
    for (int64_t column = 0; column < columns; column += LANES)
        turn_columns((uint8_t *)turned + (size_t)column * column_bytes, narrowed ? narrowed + column : NULL, dout + column,
                     stride, count, depth, columns - column);
}

#endif
