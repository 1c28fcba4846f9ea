/*
 * format/tensor.c: the traits of the element types, and what their blocks mean.
 *
 * Blocks, little-endian, d and m being IEEE halves (QK = 32 elements):
 *   Q8_0  d, 32 x int8 q                    value = q d
 *   Q4_0  d, 16 bytes q                     value = (q - 8) d
 *   Q4_1  d, m, 16 bytes q                  value = q d + m
 * Of the 16 bytes the low nibbles are elements 0 to 15 and the high nibbles 16 to 31.
 *
 * A new type is a row of FAM_TYPE_LIST and a case in fam_type_dequantize (the compiler asks for it).
 */
#include "format/tensor.h"

#include "base/bytes.h"
#include "base/float16.h"
#include "base/memory.h"

typedef struct type_traits {
    const char *name;
    uint32_t gguf_id;
    int64_t elements;
    size_t bytes;
} type_traits;

static const type_traits TRAITS[FAM_TYPE_COUNT] = {
#define TRAITS_ROW(name, text, gguf_id, elements, bytes) [name] = {text, gguf_id, elements, bytes},
    FAM_TYPE_LIST(TRAITS_ROW)
#undef TRAITS_ROW
};

/* Every id that ggml ever gave a name, so that a refusal can say what the file holds. */
static const char *const GGUF_ID_NAMES[] = {
    [0] = "F32",
    [1] = "F16",
    [2] = "Q4_0",
    [3] = "Q4_1",
    [4] = "Q4_2 (removed from ggml)",
    [5] = "Q4_3 (removed from ggml)",
    [6] = "Q5_0",
    [7] = "Q5_1",
    [8] = "Q8_0",
    [9] = "Q8_1",
    [10] = "Q2_K",
    [11] = "Q3_K",
    [12] = "Q4_K",
    [13] = "Q5_K",
    [14] = "Q6_K",
    [15] = "Q8_K",
    [16] = "IQ2_XXS",
    [17] = "IQ2_XS",
    [18] = "IQ3_XXS",
    [19] = "IQ1_S",
    [20] = "IQ4_NL",
    [21] = "IQ3_S",
    [22] = "IQ2_S",
    [23] = "IQ4_XS",
    [24] = "I8",
    [25] = "I16",
    [26] = "I32",
    [27] = "I64",
    [28] = "F64",
    [29] = "IQ1_M",
    [30] = "BF16",
    [31] = "Q4_0_4_4 (removed from ggml)",
    [32] = "Q4_0_4_8 (removed from ggml)",
    [33] = "Q4_0_8_8 (removed from ggml)",
    [34] = "TQ1_0",
    [35] = "TQ2_0",
    [36] = "IQ4_NL_4_4 (removed from ggml)",
    [37] = "IQ4_NL_4_8 (removed from ggml)",
    [38] = "IQ4_NL_8_8 (removed from ggml)",
    [39] = "MXFP4",
    [40] = "NVFP4",
    [41] = "Q1_0",
    [42] = "Q2_0",
};

const char *fam_type_name(fam_type type)
{
    return (unsigned)type < FAM_TYPE_COUNT ? TRAITS[type].name : "unknown";
}

int64_t fam_type_block_elements(fam_type type)
{
    return TRAITS[type].elements;
}

size_t fam_type_block_bytes(fam_type type)
{
    return TRAITS[type].bytes;
}

bool fam_type_from_gguf(fam_type *out, uint32_t gguf_id)
{
    for (int i = 0; i < FAM_TYPE_COUNT; i++) {
        if (TRAITS[i].gguf_id == gguf_id) {
            *out = (fam_type)i;
            return true;
        }
    }
    return false;
}

uint32_t fam_type_gguf_id(fam_type type)
{
    return TRAITS[type].gguf_id;
}

const char *fam_gguf_id_name(uint32_t gguf_id)
{
    return gguf_id < sizeof GGUF_ID_NAMES / sizeof *GGUF_ID_NAMES ? GGUF_ID_NAMES[gguf_id] : NULL;
}

const char *fam_type_names(void)
{
#define TYPE_TEXT(name, text, gguf_id, elements, bytes) " " text
    static const char all[] = FAM_TYPE_LIST(TYPE_TEXT);
#undef TYPE_TEXT
    return all + 1;
}

bool fam_type_row_bytes(size_t *out, fam_type type, int64_t elements)
{
    const type_traits *traits = &TRAITS[type];
    if (elements < 0 || elements % traits->elements != 0)
        return false;
    return fam_mul_size(out, (size_t)(elements / traits->elements), traits->bytes);
}

/* ---- dequantisation: data and out advance block by block --------------------------------------------------------- */

enum { QK = 32, HALF = QK / 2 };

static void dequantize_f32(float *out, const uint8_t *data, int64_t blocks)
{
    memcpy(out, data, (size_t)blocks * sizeof *out);
}

static void dequantize_f16(float *out, const uint8_t *data, int64_t blocks)
{
    for (int64_t i = 0; i < blocks; i++)
        out[i] = fam_from_f16(fam_read_u16(data + 2 * i));
}

static void dequantize_bf16(float *out, const uint8_t *data, int64_t blocks)
{
    for (int64_t i = 0; i < blocks; i++)
        out[i] = fam_from_bf16(fam_read_u16(data + 2 * i));
}

static void dequantize_q8_0(float *out, const uint8_t *data, int64_t blocks)
{
    for (; blocks > 0; blocks--, data += 2 + QK, out += QK) {
        float d = fam_from_f16(fam_read_u16(data));
        for (int i = 0; i < QK; i++)
            out[i] = (float)(int8_t)data[2 + i] * d;
    }
}

static void dequantize_q4_0(float *out, const uint8_t *data, int64_t blocks)
{
    for (; blocks > 0; blocks--, data += 2 + HALF, out += QK) {
        float d = fam_from_f16(fam_read_u16(data));
        for (int i = 0; i < HALF; i++) {
            out[i] = d * (float)((data[2 + i] & 0x0f) - 8);
            out[i + HALF] = d * (float)((data[2 + i] >> 4) - 8);
        }
    }
}

static void dequantize_q4_1(float *out, const uint8_t *data, int64_t blocks)
{
    for (; blocks > 0; blocks--, data += 4 + HALF, out += QK) {
        float d = fam_from_f16(fam_read_u16(data)), m = fam_from_f16(fam_read_u16(data + 2));
        for (int i = 0; i < HALF; i++) {
            out[i] = d * (float)(data[4 + i] & 0x0f) + m;
            out[i + HALF] = d * (float)(data[4 + i] >> 4) + m;
        }
    }
}

void fam_type_dequantize(float *out, const void *data, fam_type type, int64_t elements)
{
    int64_t blocks = elements / TRAITS[type].elements;
    switch (type) {
    case FAM_TYPE_F32:
        dequantize_f32(out, data, blocks);
        break;
    case FAM_TYPE_F16:
        dequantize_f16(out, data, blocks);
        break;
    case FAM_TYPE_BF16:
        dequantize_bf16(out, data, blocks);
        break;
    case FAM_TYPE_Q4_0:
        dequantize_q4_0(out, data, blocks);
        break;
    case FAM_TYPE_Q4_1:
        dequantize_q4_1(out, data, blocks);
        break;
    case FAM_TYPE_Q8_0:
        dequantize_q8_0(out, data, blocks);
        break;
    case FAM_TYPE_COUNT:
        break;
    }
}
