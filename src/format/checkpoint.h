/*
 * format/checkpoint.h: a model on disk, whatever its container: its description as plain data, and its tensors by their
 * Hugging Face names. The only thing of this folder that the rooms above need for a model.
 *
 * Owns the files while it is open; knows no mathematics. GGUF differences that are mere storage (names) are resolved
 * here; that Q and K rows of llama GGUFs are permuted is told by a flag, since undoing it needs to touch the data.
 */
#ifndef FAM_FORMAT_CHECKPOINT_H
#define FAM_FORMAT_CHECKPOINT_H

#include <stdbool.h>

#include "base/memory.h"
#include "format/tensor.h"

typedef enum fam_rope_scaling { FAM_ROPE_DEFAULT, FAM_ROPE_LLAMA3 } fam_rope_scaling;

/* The Transformer part of a configuration. Spec section 2 names the letters. */
typedef struct fam_model_config {
    char family[16];           /* "llama" */
    int64_t vocab_size;        /* V, rows of the embedding table */
    int64_t hidden_size;       /* E */
    int64_t intermediate_size; /* rows of gate and up */
    int64_t layers;            /* L */
    int64_t heads;             /* H */
    int64_t kv_heads;          /* G, divides H */
    int64_t head_dim;          /* D, even */
    double rope_theta;
    double rms_norm_eps;
    bool tied_embeddings;   /* the output matrix is the embedding table */
    int64_t context_length; /* tokens the model was made for */
    fam_rope_scaling rope_scaling;
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor; /* llama3 only */
    int64_t rope_original_context;                                   /* llama3 only */
    /* [D/2] float32, or NULL: inverse frequency number i is divided by factor i, after rope_scaling (which is then
     * FAM_ROPE_DEFAULT). This is how GGUF files carry llama3 scaling (rope_freqs.weight); ignoring it gives wrong
     * results. Belongs to the checkpoint. All are finite and above 0. */
    const float *rope_frequency_factors;
} fam_model_config;

/* Limits of a configuration, so that no product of two of them overflows 64 bits. */
enum {
    FAM_LAYERS_MAX = 1024,
    FAM_VOCAB_MAX = 1 << 24,
    FAM_WIDTH_MAX = 1 << 24, /* hidden and intermediate size, heads x head size */
    FAM_HEADS_MAX = 1 << 16
};

/* FAM settings as one speaker (a model, an adapter, the caller) gives them; what it leaves out is negative. */
typedef struct fam_settings {
    int mode;                                                /* enum fam_mode, or -1 */
    int64_t block_size, memory_segments, fam_length, window; /* or -1 */
    int state_norm;                                          /* enum fam_state_norm, or -1 */
    int fam_positions;                                       /* enum fam_positions, or -1 */
} fam_settings;

/* From 1 to this: block_size, fam_length, window. */
#define FAM_SETTING_LENGTH_MAX ((int64_t)1 << 31)
enum { FAM_MEMORY_SEGMENTS_MAX = 1 << 20 };

fam_settings fam_settings_none(void);
/* Overrides what `later` sets. */
void fam_settings_merge(fam_settings *settings, const fam_settings *later);

/* Checks what a caller set (negative: nothing) against the limits: FAM_STATUS_INVALID_ARGUMENT by name. */
fam_status fam_settings_check(const fam_settings *settings, fam_error *error);

typedef enum fam_container { FAM_CONTAINER_HF, FAM_CONTAINER_GGUF } fam_container;

typedef struct fam_checkpoint fam_checkpoint;

typedef struct fam_checkpoint_options {
    /* Names of config keys that are taken as absent although they would change the result (--ignore-config-key):
     * "quantization_config", inside an object "rope_scaling.factor", in GGUF "llama.attention.sliding_window"; and
     * "total_size" for the sum in a shard index. A name that is nowhere is no error. */
    const char *const *ignored_keys;
    int ignored_key_count;
    /* Told about what is odd but harmless (trailing bytes, unused tensors), a line each; may be NULL. */
    void (*warn)(void *context, const char *line);
    void *warn_context;
} fam_checkpoint_options;

/* Opens a Hugging Face directory or a GGUF file. Checks the container, the configuration, and that every tensor the
 * configuration calls for is there with its shape, and none besides but known harmless ones. `memory` outlives it;
 * `options` may be NULL. Neither the tokenizer's files nor the values of weights are looked at. FAM_STATUS_NOT_FOUND
 * (with advice where the path looks like a name on a hub), FAM_STATUS_BAD_FORMAT, FAM_STATUS_UNSUPPORTED (a key or type
 * by its name; a file of another format, with advice), FAM_STATUS_IO, FAM_STATUS_OUT_OF_MEMORY. An open checkpoint does
 * not change and may be read by several threads. */
fam_status fam_checkpoint_open(fam_checkpoint **out, fam_memory *memory, const char *path,
                               const fam_checkpoint_options *options, fam_error *error);
void fam_checkpoint_free(fam_checkpoint *checkpoint);

const char *fam_checkpoint_path(const fam_checkpoint *checkpoint);
fam_container fam_checkpoint_container(const fam_checkpoint *checkpoint);
const fam_model_config *fam_checkpoint_config(const fam_checkpoint *checkpoint);
const fam_settings *fam_checkpoint_settings(const fam_checkpoint *checkpoint);
/* Q and K rows are in llama.cpp's order: within each head row 2i + s is Hugging Face's row i + s D/2. */
bool fam_checkpoint_permuted(const fam_checkpoint *checkpoint);

/* By Hugging Face name ("model.layers.0.self_attn.q_proj.weight"), and "fam.prompt" [F, E]; NULL if there is none (a
 * tied "lm_head.weight" is none). Norms and the prompt are F32, F16 or BF16; matrices may be of any fam_type. */
const fam_tensor *fam_checkpoint_tensor(const fam_checkpoint *checkpoint, const char *name);
/* All of them, in the model's order (embedding, layers, norm, output, prompt), under their Hugging Face names: index
 * from 0; NULL past the end. */
const fam_tensor *fam_checkpoint_tensor_at(const fam_checkpoint *checkpoint, int64_t index);

/* What GGUF files call a tensor with this Hugging Face name; false if the family has none such. *heads: whose rows are in
 * another order there (see above), 0 for other tensors. */
enum { FAM_GGUF_NAME_SIZE = 64 };
bool fam_gguf_tensor_name(char out[FAM_GGUF_NAME_SIZE], int64_t *heads, const fam_model_config *config, const char *hf);

/* The container itself where the tokenizer needs it: the GGUF file, or NULL for a directory. */
struct fam_gguf;
const struct fam_gguf *fam_checkpoint_gguf(const fam_checkpoint *checkpoint);

/* XXH3-128 over the description and the tensors' names, types, shapes and a fixed sample of their bytes (the whole of
 * small ones): tells models apart in sessions without reading hundreds of megabytes. Where the files lie, FAM settings
 * and keys that do not change the result play no part; the container does, as it changes the bytes. */
void fam_checkpoint_fingerprint(const fam_checkpoint *checkpoint, uint8_t out[16]);

#endif
