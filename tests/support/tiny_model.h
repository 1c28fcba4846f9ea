/*
 * tests/support/tiny_model.h: a llama model of a few kilobytes, written from C, so that a test can spoil any part of
 * it: V 10, E 8, I 12, L 2, H 2, G 1, D 4, not tied. Also LoRA matrices of rank 2 for all its projections.
 */
#ifndef TESTS_SUPPORT_TINY_MODEL_H
#define TESTS_SUPPORT_TINY_MODEL_H

#include "format/checkpoint.h"

enum {
    TINY_V = 10,
    TINY_E = 8,
    TINY_I = 12,
    TINY_L = 2,
    TINY_H = 2,
    TINY_G = 1,
    TINY_D = 4,
    TINY_R = 2,
    TINY_MAX = 128
};

/* A list of float32 tensors that may be changed before it is written. */
typedef struct tiny_list {
    fam_tensor tensors[TINY_MAX];
    char names[TINY_MAX][96];
    int count, named; /* tensors; names ever given */
    float data[4096]; /* what all tensors hold a piece of */
} tiny_list;

void tiny_list_begin(tiny_list *list);
/* Appends [rows, columns], or a vector if rows is 0. */
void tiny_list_add(tiny_list *list, const char *name, int64_t rows, int64_t columns);
/* All weights of the model; without the output matrix if tied. */
void tiny_list_add_model(tiny_list *list, bool tied);
/* LoRA for these modules of each layer ("self_attn.q_proj"; NULL ends them). */
void tiny_list_add_lora(tiny_list *list, const char *const *modules);
fam_tensor *tiny_list_find(tiny_list *list, const char *name);
void tiny_list_remove(tiny_list *list, const char *name);
/* Writes directory/name as safetensors; aborts if that fails. */
void tiny_list_write(const tiny_list *list, const char *directory, const char *name);

/* config.json for the model with `more` after its members (", \"key\": 1"; may be ""). A static buffer. */
const char *tiny_config(const char *more);
/* The seven projections, NULL at the end. */
extern const char *const tiny_projections[];
/* Rows and columns of a projection. */
void tiny_projection_shape(const char *module, int64_t *rows, int64_t *columns);

/* A whole model directory. */
void tiny_model_write(const char *directory, const char *more_config, bool tied);

#endif
