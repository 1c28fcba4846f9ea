/*
 * format/checkpoint.c: opens a model whatever its container, and holds its tensors under their Hugging Face names. What
 * is special to a container is in hf_directory.c and gguf_model.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/model_private.h"

enum {
    SAMPLE_WHOLE = 64 << 10, /* a tensor of at most so many bytes goes into the fingerprint whole */
    SAMPLE_PIECE = 4096,
    SAMPLE_PIECES = 8
};

const char *fam_shape_words(int n_dims, const int64_t *shape, char buffer[FAM_SHAPE_WORDS_SIZE])
{
    size_t at = 0;
    buffer[at++] = '[';
    for (int i = 0; i < n_dims && i < FAM_TENSOR_DIMS_MAX; i++)
        at += (size_t)snprintf(buffer + at, FAM_SHAPE_WORDS_SIZE - at, i ? ", %lld" : "%lld", (long long)shape[i]);
    snprintf(buffer + at, FAM_SHAPE_WORDS_SIZE - at, "]");
    return buffer;
}

/* ---- the table of tensors ---------------------------------------------------------------------------------------- */

static bool is_float(fam_type type)
{
    return type == FAM_TYPE_F32 || type == FAM_TYPE_F16 || type == FAM_TYPE_BF16;
}

fam_status fam_prompt_check(const fam_tensor *prompt, const char *where, int64_t hidden_size,
                            const fam_settings *settings, fam_error *error)
{
    fam_status status = FAM_OK;
    char found[FAM_SHAPE_WORDS_SIZE];
    fam_shape_words(prompt->n_dims, prompt->shape, found);
    FAM_FAIL_IF(!is_float(prompt->type), FAM_STATUS_BAD_FORMAT, "%s: fam.prompt: type: found %s, need F32, F16 or BF16",
                where, fam_type_name(prompt->type));
    FAM_FAIL_IF(prompt->n_dims != 2 || prompt->shape[0] < 1 || prompt->shape[1] != hidden_size, FAM_STATUS_MISMATCH,
                "%s: fam.prompt: shape: found %s, need [fam_length, %lld]", where, found, (long long)hidden_size);
    FAM_FAIL_IF(settings->fam_length >= 0 && settings->fam_length != prompt->shape[0], FAM_STATUS_MISMATCH,
                "%s: fam.prompt: shape: found %s, need [%lld, %lld] for that fam_length", where, found,
                (long long)settings->fam_length, (long long)hidden_size);
done:
    return status;
}

/* Checks what the container has under `name` against the role. */
static fam_status check_found(const fam_checkpoint *checkpoint, const fam_role *role, const char *name, bool exists,
                              const fam_found *found, fam_error *error)
{
    fam_status status = FAM_OK;
    char have[FAM_SHAPE_WORDS_SIZE], need[FAM_SHAPE_WORDS_SIZE];
    bool vector = role->rows == FAM_DIM_NONE;
    const int64_t shape[2] = {fam_dim_length(&checkpoint->config, role->rows),
                              fam_dim_length(&checkpoint->config, role->columns)};
    fam_shape_words(vector ? 1 : 2, vector ? shape + 1 : shape, need);
    FAM_FAIL_IF(!exists, FAM_STATUS_BAD_FORMAT, "%s: tensor %s: found nothing, need %s", checkpoint->path, name, need);
    const fam_tensor *tensor = found->tensor;
    FAM_FAIL_IF(!tensor, FAM_STATUS_UNSUPPORTED,
                "%s: tensor %s: type: found %s of %d dimensions, need %s of F32, F16 or BF16", checkpoint->path, name,
                found->dtype, found->n_dims, need);
    fam_shape_words(tensor->n_dims, tensor->shape, have);
    FAM_FAIL_IF(strcmp(have, need) != 0, FAM_STATUS_BAD_FORMAT, "%s: tensor %s: shape: found %s, need %s",
                checkpoint->path, name, have, need);
    FAM_FAIL_IF(vector && !is_float(tensor->type), FAM_STATUS_UNSUPPORTED,
                "%s: tensor %s: type: found %s, need F32, F16 or BF16 for a norm", checkpoint->path, name,
                fam_type_name(tensor->type));
done:
    return status;
}

/* Appends a tensor under a Hugging Face name. collect() made room. */
static void append(fam_checkpoint *checkpoint, const fam_tensor *tensor, const char *name)
{
    size_t size = strlen(name) + 1;
    fam_tensor *out = &checkpoint->tensors[checkpoint->count];
    *out = *tensor;
    out->name = memcpy(checkpoint->names + checkpoint->names_used, name, size);
    checkpoint->names_used += size;
    checkpoint->by_name[checkpoint->count++] = out;
}

static fam_status collect_role(fam_checkpoint *checkpoint, const fam_role *role, int64_t layer, fam_lookup *lookup,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    char hf[FAM_ROLE_NAME_SIZE], gguf[FAM_ROLE_NAME_SIZE];
    fam_found found = {0};
    if (layer < 0) {
        snprintf(hf, sizeof hf, "%s.weight", role->hf);
        snprintf(gguf, sizeof gguf, "%s.weight", role->gguf);
    } else {
        snprintf(hf, sizeof hf, "model.layers.%lld.%s.weight", (long long)layer, role->hf);
        snprintf(gguf, sizeof gguf, "blk.%lld.%s.weight", (long long)layer, role->gguf);
    }
    const char *name = checkpoint->container == FAM_CONTAINER_GGUF ? gguf : hf;
    bool exists = lookup(checkpoint, name, &found);
    FAM_TRY(check_found(checkpoint, role, name, exists, &found, error));
    append(checkpoint, found.tensor, hf);
done:
    return status;
}

static int64_t role_count(const fam_role *roles)
{
    int64_t count = 0;
    while (roles[count].hf)
        count++;
    return count;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const fam_tensor *const *)a)->name, (*(const fam_tensor *const *)b)->name);
}

fam_status fam_checkpoint_collect(fam_checkpoint *checkpoint, const fam_family *family, fam_lookup *lookup,
                                  const fam_tensor *prompt, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t layers = checkpoint->config.layers, last = role_count(family->last) - checkpoint->config.tied_embeddings;
    size_t room = (size_t)(role_count(family->first) + layers * role_count(family->layer) + last + 1);
    FAM_TRY_ALLOC(checkpoint->tensors, fam_alloc_array(checkpoint->memory, room, sizeof *checkpoint->tensors),
                  checkpoint->path);
    FAM_TRY_ALLOC(checkpoint->by_name, fam_alloc_array(checkpoint->memory, room, sizeof *checkpoint->by_name),
                  checkpoint->path);
    FAM_TRY_ALLOC(checkpoint->names, fam_alloc_array(checkpoint->memory, room, FAM_ROLE_NAME_SIZE), checkpoint->path);
    for (const fam_role *role = family->first; role->hf; role++)
        FAM_TRY(collect_role(checkpoint, role, -1, lookup, error));
    for (int64_t layer = 0; layer < layers; layer++)
        for (const fam_role *role = family->layer; role->hf; role++)
            FAM_TRY(collect_role(checkpoint, role, layer, lookup, error));
    for (int64_t i = 0; i < last; i++)
        FAM_TRY(collect_role(checkpoint, &family->last[i], -1, lookup, error));
    if (prompt) {
        FAM_TRY(
            fam_prompt_check(prompt, checkpoint->path, checkpoint->config.hidden_size, &checkpoint->settings, error));
        append(checkpoint, prompt, "fam.prompt");
    }
    qsort(checkpoint->by_name, (size_t)checkpoint->count, sizeof *checkpoint->by_name, by_name);
done:
    return status;
}

const fam_tensor *fam_checkpoint_tensor(const fam_checkpoint *checkpoint, const char *name)
{
    const fam_tensor key = {.name = name}, *wanted = &key;
    const fam_tensor **found =
        bsearch(&wanted, checkpoint->by_name, (size_t)checkpoint->count, sizeof *checkpoint->by_name, by_name);
    return found ? *found : NULL;
}

const fam_tensor *fam_checkpoint_tensor_at(const fam_checkpoint *checkpoint, int64_t index)
{
    return index >= 0 && index < checkpoint->count ? &checkpoint->tensors[index] : NULL;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* "organisation/name", of the characters that names on the Hugging Face hub have; not a name in a directory that is here. */
static bool looks_like_hub_name(const char *path)
{
    size_t length = strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./");
    const char *slash = strchr(path, '/');
    if (path[length] != '\0' || !slash || slash == path || !slash[1] || strchr(slash + 1, '/') || path[0] == '.')
        return false;
    char organisation[128];
    size_t count = (size_t)(slash - path);
    if (count >= sizeof organisation)
        return false;
    memcpy(organisation, path, count);
    organisation[count] = '\0';
    return !fam_path_is_directory(organisation);
}

fam_status fam_path_not_found(const char *path, const char *what, fam_error *error)
{
    if (looks_like_hub_name(path))
        return fam_error_set(error, FAM_STATUS_NOT_FOUND,
                             "%s: found no such file or directory, need %s; a name on the Hugging Face hub must be "
                             "downloaded first: hf download %s --local-dir DIR",
                             path, what, path);
    return fam_error_set(error, FAM_STATUS_NOT_FOUND, "%s: found no such file or directory, need %s", path, what);
}

/* What to do with a file of another format, by the end of its name; NULL if the name says nothing. */
static const char *advice(const char *path)
{
    static const char *const table[][2] = {
        {".safetensors", "a safetensors file: give the directory that holds it and its config.json"},
        {".bin", "PyTorch weights: convert them to safetensors (transformers: save_pretrained) and give the directory"},
        {".pt", "PyTorch weights: convert them to safetensors (transformers: save_pretrained) and give the directory"},
        {".pth", "PyTorch weights: convert them to safetensors (transformers: save_pretrained) and give the directory"},
        {".ckpt",
         "a PyTorch checkpoint: convert it to safetensors (transformers: save_pretrained) and give the directory"},
        {".onnx", "an ONNX graph: give the Hugging Face directory or GGUF file that it was made from"},
        {".h5", "Keras weights: convert them to safetensors (transformers: save_pretrained) and give the directory"},
        {".msgpack",
         "Flax weights: convert them to safetensors (transformers: save_pretrained) and give the directory"},
        {".json", "a JSON file: give the directory that holds it"},
        {".zip", "an archive: unpack it"},
        {".gz", "an archive: unpack it"},
    };
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t end = strlen(table[i][0]);
        if (length > end && strcmp(path + length - end, table[i][0]) == 0)
            return table[i][1];
    }
    return NULL;
}

/* Refuses a regular file that is no GGUF file and whose name tells what it is. */
static fam_status check_file(const char *path, fam_error *error)
{
    const char *found = advice(path);
    fam_mapping mapping;
    if (!found)
        return FAM_OK;
    fam_status status = fam_mapping_open(&mapping, path, error);
    if (status != FAM_OK)
        return status;
    bool gguf = mapping.size >= 4 && memcmp(mapping.data, "GGUF", 4) == 0;
    fam_mapping_close(&mapping);
    if (gguf)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_UNSUPPORTED, "%s: format: found %s; need a GGUF file or a model directory",
                         path, found);
}

fam_status fam_checkpoint_open(fam_checkpoint **out, fam_memory *memory, const char *path,
                               const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_checkpoint *checkpoint = NULL;
    FAM_TRY_ALLOC(checkpoint, fam_alloc_zeroed(memory, sizeof *checkpoint), path);
    checkpoint->memory = memory;
    checkpoint->settings = fam_settings_none();
    FAM_TRY_ALLOC(checkpoint->path, fam_strdup(memory, path), path);
    if (fam_path_is_directory(path)) {
        checkpoint->container = FAM_CONTAINER_HF;
        FAM_TRY(fam_hf_directory_open(checkpoint, options, error));
    } else if (!fam_path_exists(path)) {
        FAM_TRY(fam_path_not_found(path, "a model directory or a GGUF file", error));
    } else {
        checkpoint->container = FAM_CONTAINER_GGUF;
        FAM_TRY(check_file(path, error));
        FAM_TRY(fam_gguf_model_open(checkpoint, options, error));
    }
    *out = checkpoint;
    checkpoint = NULL;
done:
    fam_checkpoint_free(checkpoint);
    return status;
}

void fam_checkpoint_free(fam_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    fam_memory *memory = checkpoint->memory;
    for (int64_t i = 0; i < checkpoint->file_count; i++)
        fam_safetensors_free(checkpoint->files[i]);
    fam_free(memory, checkpoint->files);
    fam_gguf_free(checkpoint->gguf);
    fam_free(memory, checkpoint->rope_factors);
    fam_free(memory, checkpoint->tensors);
    fam_free(memory, checkpoint->by_name);
    fam_free(memory, checkpoint->names);
    fam_free(memory, checkpoint->path);
    fam_free(memory, checkpoint);
}

const char *fam_checkpoint_path(const fam_checkpoint *checkpoint)
{
    return checkpoint->path;
}

fam_container fam_checkpoint_container(const fam_checkpoint *checkpoint)
{
    return checkpoint->container;
}

const fam_model_config *fam_checkpoint_config(const fam_checkpoint *checkpoint)
{
    return &checkpoint->config;
}

const fam_settings *fam_checkpoint_settings(const fam_checkpoint *checkpoint)
{
    return &checkpoint->settings;
}

bool fam_checkpoint_permuted(const fam_checkpoint *checkpoint)
{
    return checkpoint->permuted;
}

const struct fam_gguf *fam_checkpoint_gguf(const fam_checkpoint *checkpoint)
{
    return checkpoint->gguf;
}

/* ---- fingerprint ------------------------------------------------------------------------------------------------- */

/* The numbers one by one: a struct has padding, and its layout may change. */
static void hash_config(uint8_t hash[16], const fam_checkpoint *checkpoint)
{
    const fam_model_config *c = &checkpoint->config;
    const int64_t integers[] = {checkpoint->permuted, c->vocab_size,   c->hidden_size,
                                c->intermediate_size, c->layers,       c->heads,
                                c->kv_heads,          c->head_dim,     c->tied_embeddings,
                                c->context_length,    c->rope_scaling, c->rope_original_context,
                                checkpoint->count};
    const double reals[] = {c->rope_theta, c->rms_norm_eps, c->rope_factor, c->rope_low_freq_factor,
                            c->rope_high_freq_factor};
    fam_hash_add(hash, c->family, strlen(c->family));
    fam_hash_add(hash, integers, sizeof integers);
    fam_hash_add(hash, reals, sizeof reals);
    if (checkpoint->rope_factors)
        fam_hash_add(hash, checkpoint->rope_factors, (size_t)(c->head_dim / 2) * sizeof(float));
}

void fam_checkpoint_fingerprint(const fam_checkpoint *checkpoint, uint8_t out[16])
{
    memset(out, 0, 16);
    hash_config(out, checkpoint);
    for (int64_t i = 0; i < checkpoint->count; i++) {
        const fam_tensor *tensor = &checkpoint->tensors[i];
        fam_hash_add_tensor_head(out, tensor);
        if (tensor->bytes <= SAMPLE_WHOLE) {
            fam_hash_add(out, tensor->data, tensor->bytes);
            continue;
        }
        size_t step = (tensor->bytes - SAMPLE_PIECE) / (SAMPLE_PIECES - 1);
        for (size_t piece = 0; piece < SAMPLE_PIECES; piece++)
            fam_hash_add(out, tensor->data + piece * step, SAMPLE_PIECE);
    }
}
