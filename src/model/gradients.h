/*
 * model/gradients.h: where the gradients of a model's weights go, by role, and their names.
 *
 * What is trained is a choice: all weights of the base, or the LoRA factors of the adapters, in mode fam the prompt with
 * either; or the prompt alone. The gradient of a LoRA factor B is kept as that of the scaled factor that the model
 * computes with, and is given out times the scale.
 */
#ifndef FAM_MODEL_GRADIENTS_H
#define FAM_MODEL_GRADIENTS_H

#include "model/model.h"

/* Members are NULL where nothing is trained. On the device, float32, shaped as the weights. */
typedef struct fam_linear_gradient {
    float *weight;
    float *lora_a[FAM_ADAPTERS_MAX], *lora_b[FAM_ADAPTERS_MAX];
} fam_linear_gradient;

typedef struct fam_layer_gradient {
    float *norm1, *norm2;
    fam_linear_gradient q, k, v, o, gate, up, down;
} fam_layer_gradient;

/* PROMPT: only the prompt (mode fam); adapters there are stay as they are. */
typedef enum fam_trained { FAM_TRAIN_ALL, FAM_TRAIN_ADAPTERS, FAM_TRAIN_PROMPT } fam_trained;

typedef struct fam_gradients {
    const fam_model *model;
    fam_trained trained;
    float *embeddings;  /* [V, E]; also the head's where they are tied */
    float *head;        /* [V, E]; NULL where tied */
    float *final_norm;  /* [E] */
    float *prompt;      /* [F, E], mode fam */
    fam_layer_gradient *layers;
} fam_gradients;

/* All zero. */
fam_status fam_gradients_create(fam_gradients **out, const fam_model *model, fam_trained trained, fam_error *error);
uint64_t fam_gradients_bytes(const fam_model *model, fam_trained trained); /* that they will take */
void fam_gradients_free(fam_gradients *gradients); /* NULL is allowed */

/* One trained tensor. `name` as in files: Hugging Face, "fam.prompt", or PEFT ("base_model.model.<module>.lora_A.weight").
 * The true gradient is factor * data. */
typedef struct fam_gradient {
    const char *name;
    float *data; /* on the device */
    int n_dims;
    int64_t shape[2];
    double factor;
    fam_weight *weight; /* the trained tensor's place in the model: a weight, which holds factor * the file's tensor, or */
    float *vector;      /* plain memory on the device (norms; the prompt: the first layer's first state) */
} fam_gradient;

/* Calls `visit` for every trained tensor, in a fixed order; stops at the first status that is not FAM_OK. */
typedef fam_status fam_gradient_visitor(void *context, const fam_gradient *gradient, fam_error *error);
fam_status fam_gradients_visit(fam_gradients *gradients, fam_gradient_visitor *visit, void *context, fam_error *error);

/* Sets all to zero. */
void fam_gradients_clear(fam_gradients *gradients, fam_exec *exec);

#endif
