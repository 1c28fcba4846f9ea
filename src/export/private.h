/*
 * export/private.h: one export under way; for the files of this folder, and for tests that make memory fail.
 */
#ifndef FAM_EXPORT_PRIVATE_H
#define FAM_EXPORT_PRIVATE_H

#include "fam/export.h"
#include "format/adapter.h"
#include "format/checkpoint.h"

/* A tensor to write: where it comes from, and what it is in the new file (fam_exporter.tensors has that). */
typedef struct fam_export_item {
    const fam_tensor *source; /* of the base */
    int64_t heads;            /* of Q and K, whose rows GGUF orders in its own way; else 0 */
} fam_export_item;

typedef struct fam_exporter {
    fam_memory memory;
    fam_export_options options;
    fam_checkpoint_options checkpoint_options;
    char *out; /* the path without slashes at its end */
    fam_export_format format;
    fam_type type; /* of matrices */
    fam_checkpoint *checkpoint;
    fam_adapter **adapters; /* [options.adapter_count] */
    int adapter_count;      /* those that are open */
    fam_settings settings;
    const fam_tensor *prompt; /* or NULL */
    fam_export_item *items;
    fam_tensor *tensors; /* [count], as they are written, without data; names in `names` */
    char (*names)[FAM_GGUF_NAME_SIZE];
    float *rope_factors; /* [D/2], GGUF only, or NULL */
    int64_t count;
    uint64_t total, done; /* bytes of weights */
    int64_t merged;
} fam_exporter;

/* Takes the data of the tensors in order, as the writers of both formats do. */
typedef fam_status fam_export_sink(void *writer, const void *data, size_t size, fam_error *error);

/* ---- merge.c: one tensor's rows ---- */

/* Gives tensor number `index` to the sink, with the adapters' products added. CANCELLED; BAD_FORMAT for a number that
 * is not finite, or too large for the type. */
fam_status fam_export_tensor(fam_exporter *exporter, int64_t index, fam_export_sink *sink, void *writer,
                             fam_error *error);

/* ---- rope.c: the same scaling in both formats' words ---- */

/* factors [D/2] float32: what llama3 scaling divides inverse frequencies by. */
fam_status fam_export_rope_factors(float *factors, const fam_model_config *config, fam_memory *memory,
                                   fam_error *error);
/* Makes config->rope_frequency_factors llama3 parameters that give the same frequencies; UNSUPPORTED if there are none.
 */
fam_status fam_export_rope_llama3(fam_model_config *config, fam_memory *memory, const char *path, fam_error *error);

/* ---- hf.c, gguf.c: the files ---- */

fam_status fam_export_hf(fam_exporter *exporter, fam_error *error);
fam_status fam_export_gguf(fam_exporter *exporter, fam_error *error);

void fam_export_log(const fam_exporter *exporter, fam_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For tests: fam_export with one allocation that fails, as fam_memory describes it; fail_at 0: none. */
typedef struct fam_export_fault {
    size_t fail_at;
    bool fail_for_good;
    size_t bytes_left; /* what was not released: 0 */
    size_t peak_bytes;
} fam_export_fault;
fam_status fam_export_faulty(const char *model_path, const fam_export_options *options, fam_export_result *result,
                             fam_export_fault *fault, fam_error *error);

#endif
