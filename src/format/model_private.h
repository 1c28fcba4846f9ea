/*
 * format/model_private.h: what the files behind checkpoint.h and adapter.h share: families, key rules, settings by
 * name, and the inside of a checkpoint. Not for other rooms.
 */
#ifndef FAM_FORMAT_MODEL_PRIVATE_H
#define FAM_FORMAT_MODEL_PRIVATE_H

#include "format/checkpoint.h"
#include "format/gguf.h"
#include "format/json.h"
#include "format/safetensors.h"

/* ---- families (family.c) ----------------------------------------------------------------------------------------- */

/* A length by its meaning; fam_dim_length gives the number. */
typedef enum fam_dim {
    FAM_DIM_NONE,
    FAM_DIM_VOCAB,
    FAM_DIM_HIDDEN,
    FAM_DIM_INTERMEDIATE,
    FAM_DIM_Q,
    FAM_DIM_KV
} fam_dim;

/* A weight of a model: "<hf>.weight" in a directory, "<gguf>.weight" in a GGUF file; those of a layer after
 * "model.layers.N." and "blk.N.". rows is FAM_DIM_NONE for a vector. */
typedef struct fam_role {
    const char *hf, *gguf;
    fam_dim rows, columns;
} fam_role;

/* What a key of a JSON object may hold: any value when `need` is NULL (the key is used, or it is harmless), else one of
 * the values in this JSON array. null counts as absent. Names end the list. */
typedef struct fam_key_rule {
    const char *name, *need;
} fam_key_rule;

/* One family of models. Another family is another entry of the table in family.c. */
typedef struct fam_family {
    const char *name;                     /* model_type, and general.architecture */
    const char *hf_class;                 /* must be among "architectures" where these are given */
    const fam_role *first, *layer, *last; /* lists that end with a NULL name; `last` ends with the output matrix */
    const fam_key_rule *hf_keys;          /* of config.json, besides those of fam_common_keys */
    const fam_key_rule *gguf_keys; /* after "<name>."; need: NULL, or "0" for zero, false or empty, "1" for true */
    /* what transformers takes for absent keys */
    double rope_theta, rms_norm_eps;
    int64_t context_length;
    bool tied_embeddings;
} fam_family;

extern const fam_key_rule fam_common_keys[]; /* of every config.json */

const fam_family *fam_family_find(const char *name, size_t length); /* NULL if it is not implemented */
const char *fam_family_names(void);                                 /* "llama", for messages */
int64_t fam_dim_length(const fam_model_config *config, fam_dim dim);

/* Sizes that belong together, whichever container they came from. */
fam_status fam_model_config_check(const fam_model_config *config, const char *where, fam_error *error);

/* ---- keys (keys.c) ----------------------------------------------------------------------------------------------- */

/* FAM_STATUS_UNSUPPORTED by name for a key that no list has, or whose value is none of those it needs. With
 * `empty_is_absent` unknown keys with false, 0, "", [] and {} pass as null does. `more` may be NULL. */
fam_status fam_keys_check(const json_t *object, const char *where, const fam_key_rule *rules, const fam_key_rule *more,
                          bool empty_is_absent, fam_error *error);
/* Removes the ignored keys. */
void fam_keys_remove(json_t *object, const fam_checkpoint_options *options);
bool fam_key_ignored(const fam_checkpoint_options *options, const char *key);

/* An integer from `low` to `high`; absent and not required: *out stays. */
fam_status fam_keys_size(const json_t *object, const char *where, const char *key, bool required, int64_t low,
                         int64_t high, int64_t *out, fam_error *error);
/* A finite number above 0; absent: *out stays. */
fam_status fam_keys_positive(const json_t *object, const char *where, const char *key, bool required, double *out,
                             fam_error *error);

void fam_warn(const fam_checkpoint_options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- FAM settings (settings.c) ----------------------------------------------------------------------------------- */

/* Sets one setting by its name in files; `where` stands before the key in messages. A name that is none:
 * FAM_STATUS_UNSUPPORTED; a value that is none: FAM_STATUS_BAD_FORMAT. */
fam_status fam_settings_set_text(fam_settings *settings, const char *where, const char *key, const char *text,
                                 size_t length, fam_error *error);
fam_status fam_settings_set_integer(fam_settings *settings, const char *where, const char *key, int64_t value,
                                    fam_error *error);
/* The members of an object like the key `fam` of config.json. */
fam_status fam_settings_from_json(fam_settings *settings, const json_t *object, const char *where, fam_error *error);

/* The other way: an object with the members that are set. NULL when memory is short; the caller releases it. */
json_t *fam_settings_to_json(const fam_settings *settings);

/* ---- config.json (hf_config.c) and the shard index (hf_index.c) -------------------------------------------------- */

enum { FAM_CONFIG_BYTES_MAX = 1 << 20, FAM_INDEX_BYTES_MAX = 2 << 20 };

/* Reads the text of a config.json; `name` stands for the file in messages. */
fam_status fam_hf_config_parse(fam_model_config *config, fam_settings *settings, const char *name, const char *text,
                               size_t size, const fam_checkpoint_options *options, fam_error *error);

/* Checks a model.safetensors.index.json: names of tensors and of files beside it. The caller releases *out; its member
 * weight_map maps tensors to file names that are plain names. */
fam_status fam_hf_index_parse(json_t **out, const char *name, const char *text, size_t size, fam_error *error);

/* ---- checkpoints (checkpoint.c, hf_directory.c, gguf_model.c) ---------------------------------------------------- */

struct fam_checkpoint {
    fam_memory *memory;
    char *path;
    fam_container container;
    fam_model_config config;
    fam_settings settings;
    bool permuted;
    fam_tensor *tensors; /* the model's order; their names lie in `names` */
    const fam_tensor **by_name;
    int64_t count;
    char *names;
    size_t names_used;
    fam_safetensors **files; /* of a directory */
    int64_t file_count;
    fam_gguf *gguf;
    float *rope_factors;
};

/* Longer than any name that is built from a role. */
enum { FAM_ROLE_NAME_SIZE = 96 };

/* What a container has under a name. */
typedef struct fam_found {
    const fam_tensor *tensor; /* NULL if its type is not supported */
    const char *dtype;
    int n_dims;
} fam_found;
typedef bool fam_lookup(const fam_checkpoint *checkpoint, const char *name, fam_found *out);

/* Fills the tensor table with all that the configuration calls for, under Hugging Face names; `lookup` is asked for
 * names of the container. `prompt` (may be NULL) is fam.prompt [F, E]. */
fam_status fam_checkpoint_collect(fam_checkpoint *checkpoint, const fam_family *family, fam_lookup *lookup,
                                  const fam_tensor *prompt, fam_error *error);
/* fam.prompt must be [F, E] of a float type, F being the fam_length of `settings` if that is set. */
fam_status fam_prompt_check(const fam_tensor *prompt, const char *where, int64_t hidden_size,
                            const fam_settings *settings, fam_error *error);
/* "[3, 4]", for messages. */
enum { FAM_SHAPE_WORDS_SIZE = 112 };
const char *fam_shape_words(int n_dims, const int64_t *shape, char buffer[FAM_SHAPE_WORDS_SIZE]);

fam_status fam_hf_directory_open(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error);
fam_status fam_gguf_model_open(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error);

/* ---- adapter_config.json (adapter_config.c) ---------------------------------------------------------------------- */

/* What of it counts. `object` owns the rest; release it with json_decref. */
typedef struct fam_peft_config {
    json_t *object;
    int64_t rank;
    double scale, alpha;
    bool rslora;
    json_t *targets; /* target_modules where it is a list, else NULL */
} fam_peft_config;
fam_status fam_peft_config_parse(fam_peft_config *out, const char *name, const char *text, size_t size,
                                 fam_error *error);

/* ---- fingerprints (fingerprint.c) -------------------------------------------------------------------------------- */

/* Adds bytes, or a tensor's name, type and shape, to a hash that began as zeros. */
void fam_hash_add(uint8_t hash[16], const void *data, size_t size);
void fam_hash_add_tensor_head(uint8_t hash[16], const fam_tensor *tensor);

/* What to do about a path that is not there, which may be a hub's name: FAM_STATUS_NOT_FOUND. */
fam_status fam_path_not_found(const char *path, const char *what, fam_error *error);

#endif
