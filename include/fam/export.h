/*
 * fam/export.h: a model with its adapters merged into it, written in the ecosystem's own files.
 */
#ifndef FAM_EXPORT_H
#define FAM_EXPORT_H

#include "fam/fam.h"

#ifdef __cplusplus
extern "C" {
#endif

/* HF: a directory that transformers opens. GGUF: a file that llama.cpp opens. The FAM settings and the prompt lie in
 * either, where fam finds them and others pay no heed. */
typedef enum fam_export_format { FAM_EXPORT_HF, FAM_EXPORT_GGUF } fam_export_format;

/* What matrices are written as. */
typedef enum fam_export_type { FAM_EXPORT_F32, FAM_EXPORT_F16, FAM_EXPORT_BF16 } fam_export_type;

typedef struct fam_export_options {
    size_t size;     /* of this struct; set by fam_export_options_init */
    const char *out; /* where to; nothing may be there yet, its directory must */
    int format;      /* enum fam_export_format; FAM_AUTO: GGUF if `out` ends in ".gguf", else HF */
    int type;        /* enum fam_export_type; FAM_AUTO: the model's own, and bf16 where it is quantised */
    const fam_adapter_option *adapters;
    size_t adapter_count;
    /* Settings that are written instead of what the model and the adapters say; FAM_AUTO: theirs. */
    int mode, state_norm, fam_positions;
    int64_t block_size, memory_segments, fam_length, window;
    const char *const *ignored_config_keys; /* accepted although they would change the result, and not written */
    size_t ignored_config_key_count;
    fam_log *log; /* may be NULL */
    void *log_context;
    /* Told now and then how many bytes of weights are written; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    /* Asked as often; true: stop, with FAM_STATUS_CANCELLED. May be NULL. */
    bool (*cancelled)(void *context);
    void *context;
} fam_export_options;

#define fam_export_options_init(options) fam_export_options_init_sized((options), sizeof *(options))
FAM_API void fam_export_options_init_sized(fam_export_options *options, size_t size);

typedef struct fam_export_result {
    fam_export_format format;
    fam_export_type type;
    uint64_t bytes; /* of weights */
    int64_t merged; /* matrices that an adapter changed */
} fam_export_result;

/* Merges W + scale B A in double and writes the model, tensor by tensor: memory stays at a few rows. What is written
 * appears at once and whole, or not at all. Opened again it needs no adapter. A tokenizer that the other kind of file
 * cannot carry, and what else cannot be said there, is refused by name: UNSUPPORTED. NOT_FOUND, IO (also too little
 * space, found before anything is written), BAD_FORMAT, MISMATCH, INVALID_ARGUMENT, CANCELLED, OUT_OF_MEMORY. result
 * may be NULL. */
FAM_API fam_status fam_export(const char *model_path, const fam_export_options *options, fam_export_result *result,
                              fam_error *error);

#ifdef __cplusplus
}
#endif

#endif
