/*
 * base/float16.h: bfloat16 and IEEE half, one number at a time, exact; the plain reference for all vector versions.
 */
#ifndef FAM_BASE_FLOAT16_H
#define FAM_BASE_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float fam_float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t fam_bits_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float fam_from_bf16(uint16_t bits)
{
    return fam_float_from_bits((uint32_t)bits << 16);
}

/* Rounds to nearest, ties to even; a NaN stays a NaN. */
static inline uint16_t fam_to_bf16(float value)
{
    uint32_t bits = fam_bits_from_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float fam_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
    if (exponent == 0x1f)
        return fam_float_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) { /* zero or denormal: mantissa * 2^-24, exact in float */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return fam_float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Rounds to nearest, ties to even; what is too large becomes infinite; a NaN stays a NaN. */
static inline uint16_t fam_to_f16(float value)
{
    uint32_t bits = fam_bits_from_float(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x477ff000u) /* 65520: halfway to the next power of two */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000u) /* below 2^-14: adding 0.5 leaves a multiple of 2^-24 in the low bits, rounded */
        return (uint16_t)(sign | (fam_bits_from_float(fam_float_from_bits(magnitude) + 0.5f) & 0x7ff));
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000u) >> 13);
}

#endif
