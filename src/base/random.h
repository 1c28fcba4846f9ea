/*
 * base/random.h: a small counter-free random generator (xoshiro256**, seeded by splitmix64; Blackman and Vigna, public
 * domain algorithms). The same seed gives the same numbers on every machine. Not for secrets.
 */
#ifndef FAM_BASE_RANDOM_H
#define FAM_BASE_RANDOM_H

#include <stdint.h>

/* The whole state is these four words, so it can be saved and restored. */
typedef struct fam_random {
    uint64_t word[4];
} fam_random;

static inline uint64_t fam_splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline void fam_random_seed(fam_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->word[i] = fam_splitmix64(&seed);
}

static inline uint64_t fam_random_next(fam_random *random)
{
    uint64_t *s = random->word, product = s[1] * 5, result = (product << 7 | product >> 57) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double fam_random_uniform(fam_random *random)
{
    return (double)(fam_random_next(random) >> 11) * 0x1p-53;
}

#endif
