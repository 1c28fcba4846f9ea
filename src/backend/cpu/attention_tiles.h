/*
 * backend/cpu/attention_tiles.h: what forward and backward attention share of AMX: the configuration of the tiles, and keys
 * or values turned around for them. Included after attention_vec512.h.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_TILES_H
#define FAM_BACKEND_CPU_ATTENTION_TILES_H

enum { GROUP_BYTES = 64 /* one dimension of 32 keys, transposed */ };

typedef struct tile_config {
    _Alignas(64) uint8_t palette;
    uint8_t start_row, reserved[14];
    uint16_t columns[16]; /* bytes of a row */
    uint8_t rows[16];
} tile_config;

static const tile_config EIGHT_FULL_TILES = {
    .palette = 1, .columns = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static void begin_tiles(void)
{
    /* gcc 12 believes that _tile_loadconfig reads 8 bytes. */
    __asm__ volatile("" ::"r"(&EIGHT_FULL_TILES) : "memory");
    _tile_loadconfig(&EIGHT_FULL_TILES);
}

/* 32 keys (those from n on are zero) by 32 dimensions of values, transposed: out row d holds dimension d of the keys. */
static void transpose_values(uint8_t *out, const uint16_t *v, int64_t dim, int64_t n, __mmask32 columns)
{
    vec low[LANES], high[LANES];
    for (int pair = 0; pair < LANES; pair++) {
        const uint16_t *row = v + 2 * pair * dim;
        __m512i even = _mm512_maskz_loadu_epi16(2 * pair < n ? columns : 0, row);
        __m512i odd = _mm512_maskz_loadu_epi16(2 * pair + 1 < n ? columns : 0, row + dim);
        low[pair] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(even, odd));
        high[pair] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(even, odd));
    }
    vec_transpose(low);
    vec_transpose(high);
    for (int i = 0; i < LANES; i++) { /* unpacking took dimensions 0-3, 8-11, 16-19, 24-27 and the others apart */
        int d = i / 4 * 8 + i % 4;
        vec_store((float *)(void *)(out + d * GROUP_BYTES), low[i]);
        vec_store((float *)(void *)(out + (d + 4) * GROUP_BYTES), high[i]);
    }
}

#endif
