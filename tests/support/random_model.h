/*
 * tests/support/random_model.h: a llama model of any shape with random weights, written as a directory, with a prompt
 * for the feedback memory and perhaps a LoRA adapter beside it.
 */
#ifndef TESTS_SUPPORT_RANDOM_MODEL_H
#define TESTS_SUPPORT_RANDOM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct random_model {
    int64_t vocab, width, wide, layers, heads, kv_heads, head_dim;
    int64_t prompt_rows;
    int64_t rank; /* of the LoRA for all projections in DIRECTORY/adapter; 0: none */
    bool tied;
} random_model;

/* Aborts if that fails. */
void random_model_write(const char *directory, const random_model *shape, uint64_t seed);

#endif
