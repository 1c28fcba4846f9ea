/*
 * train/device_tensors.h: named float32 tensors on the device (masters, moments): from files, to the host and back.
 */
#ifndef FAM_TRAIN_DEVICE_TENSORS_H
#define FAM_TRAIN_DEVICE_TENSORS_H

#include "backend/backend.h"
#include "format/safetensors.h"

typedef struct fam_device_tensor {
    const char *name;
    int n_dims; /* 1 or 2 */
    int64_t shape[2];
    float *data; /* on the device */
    bool not_negative; /* no element may be below 0 (checked when it is restored) */
} fam_device_tensor;

/* Elements of it; shapes of tensors that exist do not overflow. */
int64_t fam_device_tensor_count(const fam_device_tensor *tensor);

/* Fills data from a file's tensor of the same shape and any type. permuted_head_dim: as in fam_weight_source. */
fam_status fam_device_tensor_load(const fam_device_tensor *to, const fam_tensor *from, int64_t permuted_head_dim,
                                  fam_backend *backend, fam_memory *memory, fam_error *error);

/* Copies of all on the host, F32, under their names (which are not copied): *out [count] points into *block; both are
 * released with fam_free. */
fam_status fam_device_tensors_read(const fam_device_tensor *list, int64_t count, fam_backend *backend,
                                   fam_memory *memory, fam_tensor **out, void **block, fam_error *error);

/* Fills all from a file's tensors of the same names (F32, F16 or BF16), or none: MISMATCH if one is missing or of
 * another shape, BAD_FORMAT for a number that is not finite or, where it may not be, below 0. */
fam_status fam_device_tensors_restore(const fam_device_tensor *list, int64_t count, fam_backend *backend,
                                      fam_memory *memory, const fam_safetensors *file, fam_error *error);

#endif
