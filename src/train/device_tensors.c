/*
 * train/device_tensors.c: see device_tensors.h. Files' elements pass through a buffer of about a megabyte, so that a
 * table of any size takes no more on the host.
 */
#include "train/device_tensors.h"

#include <inttypes.h>
#include <math.h>

enum { BUFFER_ELEMENTS = 256 * 1024 };

int64_t fam_device_tensor_count(const fam_device_tensor *tensor)
{
    return tensor->n_dims == 1 ? tensor->shape[0] : tensor->shape[0] * tensor->shape[1];
}

/* ---- from files -------------------------------------------------------------------------------------------------- */

/* Rows of a file's tensor, `step` at a time: a vector is rows of one element. */
typedef struct walk {
    const fam_tensor *tensor;
    int64_t rows, columns, step;
    int64_t permuted_head_dim;
    size_t row_bytes;
    float *buffer; /* [step, columns] */
} walk;

/* Without a buffer yet. */
static fam_status walk_begin(walk *w, const fam_tensor *tensor, int64_t permuted_head_dim, fam_error *error)
{
    fam_status status = FAM_OK;
    *w = (walk){.tensor = tensor, .rows = tensor->shape[0], .columns = tensor->n_dims == 1 ? 1 : tensor->shape[1],
                .permuted_head_dim = permuted_head_dim};
    FAM_FAIL_IF(w->columns < 1 || !fam_type_row_bytes(&w->row_bytes, tensor->type, w->columns),
                FAM_STATUS_BAD_FORMAT, "tensor %s: found rows of %" PRId64 " elements, need whole blocks of %s",
                tensor->name, w->columns, fam_type_name(tensor->type));
    w->step = BUFFER_ELEMENTS / w->columns;
    if (permuted_head_dim > 0) /* a head's rows trade places among themselves */
        w->step = permuted_head_dim;
    if (w->step < 1)
        w->step = 1;
    if (w->step > w->rows)
        w->step = w->rows;
done:
    return status;
}

/* Rows from `row` on, as many as the buffer takes. Returns how many. */
static int64_t walk_rows(walk *w, int64_t row)
{
    int64_t n = w->rows - row < w->step ? w->rows - row : w->step;
    const uint8_t *data = w->tensor->data + (size_t)row * w->row_bytes;
    if (w->permuted_head_dim == 0) {
        fam_type_dequantize(w->buffer, data, w->tensor->type, n * w->columns);
        return n;
    }
    for (int64_t i = 0; i < n; i++) { /* row 2i + s of the file is row i + s D/2 */
        int64_t to = i / 2 + i % 2 * (w->permuted_head_dim / 2);
        fam_type_dequantize(w->buffer + to * w->columns, data + (size_t)i * w->row_bytes, w->tensor->type, w->columns);
    }
    return n;
}

static void walk_to_device(walk *w, float *to, fam_backend *backend)
{
    for (int64_t row = 0, n; row < w->rows; row += n) {
        n = walk_rows(w, row);
        backend->ops->write(backend, to + row * w->columns, w->buffer, (size_t)(n * w->columns) * sizeof(float));
    }
}

fam_status fam_device_tensor_load(const fam_device_tensor *to, const fam_tensor *from, int64_t permuted_head_dim,
                                  fam_backend *backend, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    walk w = {0};
    FAM_TRY(walk_begin(&w, from, permuted_head_dim, error));
    FAM_TRY_ALLOC(w.buffer, fam_alloc_array(memory, (size_t)w.step, (size_t)w.columns * sizeof *w.buffer), from->name);
    walk_to_device(&w, to->data, backend);
done:
    fam_free(memory, w.buffer);
    return status;
}

/* ---- to the host ------------------------------------------------------------------------------------------------- */

fam_status fam_device_tensors_read(const fam_device_tensor *list, int64_t count, fam_backend *backend,
                                   fam_memory *memory, fam_tensor **out, void **block, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tensor *tensors = NULL;
    float *floats = NULL;
    int64_t elements = 0;
    *out = NULL;
    *block = NULL;
    for (int64_t i = 0; i < count; i++)
        elements += fam_device_tensor_count(&list[i]);
    FAM_TRY_ALLOC(tensors, fam_alloc_array(memory, (size_t)count, sizeof *tensors), "tensors");
    FAM_TRY_ALLOC(floats, fam_alloc(memory, (size_t)elements * sizeof *floats), "tensors");
    float *at = floats;
    for (int64_t i = 0; i < count; i++) {
        int64_t n = fam_device_tensor_count(&list[i]);
        tensors[i] = (fam_tensor){.name = list[i].name, .type = FAM_TYPE_F32, .n_dims = list[i].n_dims,
                                  .shape = {list[i].shape[0], list[i].n_dims == 1 ? 0 : list[i].shape[1]},
                                  .data = (const uint8_t *)at, .bytes = (size_t)n * sizeof *at};
        backend->ops->read(backend, at, list[i].data, tensors[i].bytes);
        at += n;
    }
    *out = tensors;
    *block = floats;
    tensors = NULL;
    floats = NULL;
done:
    fam_free(memory, tensors);
    fam_free(memory, floats);
    return status;
}

/* ---- back from a file -------------------------------------------------------------------------------------------- */

static fam_status find(const fam_tensor **out, const fam_device_tensor *want, const fam_safetensors *file,
                       fam_error *error)
{
    fam_status status = FAM_OK;
    const char *path = fam_safetensors_path(file);
    const fam_tensor *tensor = fam_safetensors_tensor(file, want->name);
    FAM_FAIL_IF(!tensor, FAM_STATUS_MISMATCH, "%s: tensor %s: found none, need one", path, want->name);
    FAM_FAIL_IF(tensor->n_dims != want->n_dims, FAM_STATUS_MISMATCH, "%s: tensor %s: found %d dimensions, need %d",
                path, want->name, tensor->n_dims, want->n_dims);
    for (int i = 0; i < want->n_dims; i++)
        FAM_FAIL_IF(tensor->shape[i] != want->shape[i], FAM_STATUS_MISMATCH,
                    "%s: tensor %s: dimension %d: found %" PRId64 ", need %" PRId64, path, want->name, i,
                    tensor->shape[i], want->shape[i]);
    *out = tensor;
done:
    return status;
}

static fam_status check_numbers(walk *w, const fam_device_tensor *want, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    for (int64_t row = 0, n; row < w->rows; row += n) {
        n = walk_rows(w, row);
        for (int64_t i = 0; i < n * w->columns; i++) {
            float value = w->buffer[i];
            FAM_FAIL_IF(!isfinite(value) || (want->not_negative && value < 0), FAM_STATUS_BAD_FORMAT,
                        "%s: tensor %s: element %" PRId64 ": found %g, need a finite number%s", path, want->name,
                        row * w->columns + i, (double)value, want->not_negative ? " that is not below 0" : "");
        }
    }
done:
    return status;
}

fam_status fam_device_tensors_restore(const fam_device_tensor *list, int64_t count, fam_backend *backend,
                                      fam_memory *memory, const fam_safetensors *file, fam_error *error)
{
    fam_status status = FAM_OK;
    walk *walks;
    float *buffer = NULL;
    int64_t elements = 0;
    FAM_TRY_ALLOC(walks, fam_alloc_array(memory, (size_t)count, sizeof *walks), fam_safetensors_path(file));
    for (int64_t i = 0; i < count; i++) {
        const fam_tensor *tensor = NULL;
        FAM_TRY(find(&tensor, &list[i], file, error));
        FAM_TRY(walk_begin(&walks[i], tensor, 0, error));
        elements = walks[i].step * walks[i].columns > elements ? walks[i].step * walks[i].columns : elements;
    }
    FAM_TRY_ALLOC(buffer, fam_alloc_array(memory, (size_t)elements, sizeof *buffer), fam_safetensors_path(file));
    for (int64_t i = 0; i < count; i++) {
        walks[i].buffer = buffer;
        FAM_TRY(check_numbers(&walks[i], &list[i], fam_safetensors_path(file), error));
    }
    for (int64_t i = 0; i < count; i++)
        walk_to_device(&walks[i], list[i].data, backend);
done:
    fam_free(memory, walks);
    fam_free(memory, buffer);
    return status;
}
