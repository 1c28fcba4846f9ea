/*
 * train/parameters.h: what is trained: a float32 master copy of each trained tensor, on the device, beside its gradient
 * and the place in the model that it fills.
 *
 * Masters are in the files' units: a LoRA factor B is kept unscaled, though the model computes with scale x B.
 */
#ifndef FAM_TRAIN_PARAMETERS_H
#define FAM_TRAIN_PARAMETERS_H

#include "format/adapter.h"
#include "model/gradients.h"

typedef struct fam_parameter {
    char *name;       /* as fam_gradients_visit gives it */
    int n_dims;
    int64_t rows, columns, count;
    float *master;    /* device [rows, columns] */
    const float *gradient; /* device, the same shape; the true gradient is factor * it */
    double factor;
    bool is_prompt, is_vector; /* vectors (norms) and the prompt have no weight decay */
    fam_weight *weight; /* the place it fills: a weight (as factor * master), or */
    float *vector;      /* plain memory on the device */
} fam_parameter;

typedef struct fam_parameters {
    fam_memory *memory;
    fam_backend *backend;
    fam_parameter *list;
    int64_t count;
    int64_t elements; /* of all */
} fam_parameters;

/* Masters begin as the model's present weights: read from the checkpoint, or from `adapter` (NULL without one), as they
 * are in its files. Gradients and model outlive it. */
fam_status fam_parameters_create(fam_parameters **out, fam_gradients *gradients, const fam_checkpoint *checkpoint,
                                 const fam_adapter *adapter, const fam_tensor *prompt, fam_error *error);
void fam_parameters_free(fam_parameters *parameters); /* NULL is allowed */

/* Writes all masters into the model's weights, rounded to its arithmetic. Nothing else may use the model meanwhile. */
fam_status fam_parameters_push(fam_parameters *parameters, fam_exec *exec, fam_error *error);

/* All masters as host tensors of float32 under their names, for a file; data is copied into one block that the caller
 * releases with fam_free(memory, *block), as with *out. */
fam_status fam_parameters_tensors(const fam_parameters *parameters, fam_tensor **out, void **block, fam_error *error);
/* Sets masters from a file's tensors of the same names and shapes: MISMATCH, and nothing is changed, if one is missing
 * or another. Does not push. */
struct fam_safetensors;
fam_status fam_parameters_restore(fam_parameters *parameters, const struct fam_safetensors *file, fam_error *error);

#endif
