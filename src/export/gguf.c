/*
 * export/gguf.c: a GGUF file: the architecture's keys, the tokenizer, FAM's keys and prompt, then the weights. From a
 * GGUF file what describes it and its tokenizer is copied as it is.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/directory.h"
#include "base/file.h"
#include "export/private.h"
#include "format/gguf_write.h"
#include "text/tokenizer.h"
#include "text/tokenizer_write.h"

static fam_status sink(void *writer, const void *data, size_t size, fam_error *error)
{
    return fam_gguf_writer_append(writer, data, size, error);
}

static void put_text(fam_gguf_writer *writer, const char *key, const char *text)
{
    fam_gguf_put_string(writer, key, text, strlen(text));
}

/* GGUF has the configuration's numbers in float32. */
static fam_status put_real(fam_exporter *exporter, fam_gguf_writer *writer, const char *rest, double value,
                           fam_error *error)
{
    char key[128];
    float narrow = (float)value;
    snprintf(key, sizeof key, "%s.%s", fam_checkpoint_config(exporter->checkpoint)->family, rest);
    if (!(narrow > 0 && isfinite(narrow)))
        return fam_error_set(error, FAM_STATUS_UNSUPPORTED, "%s: %s: found %g, need a number that float32 can hold",
                             fam_checkpoint_path(exporter->checkpoint), key, value);
    fam_gguf_put_f32(writer, key, narrow);
    return FAM_OK;
}

static void put_sizes(fam_gguf_writer *writer, const fam_model_config *config)
{
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        {"block_count", config->layers},
        {"context_length", config->context_length},
        {"embedding_length", config->hidden_size},
        {"feed_forward_length", config->intermediate_size},
        {"attention.head_count", config->heads},
        {"attention.head_count_kv", config->kv_heads},
        {"attention.key_length", config->head_dim},
        {"attention.value_length", config->head_dim},
        {"rope.dimension_count", config->head_dim},
        {"vocab_size", config->vocab_size},
    };
    char key[128];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(key, sizeof key, "%s.%s", config->family, sizes[i].key);
        fam_gguf_put_u32(writer, key, (uint32_t)sizes[i].value);
    }
}

/* ---- what a GGUF base says of itself ----------------------------------------------------------------------------- */

static bool begins(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

/* Descriptions that hold for the new file too: not those of how the old one was stored. */
static bool is_kept(const char *key)
{
    static const char *const anew[] = {"general.architecture", "general.file_type", "general.alignment",
                                       "general.quantization_version", "general.type"};
    for (size_t i = 0; i < sizeof anew / sizeof *anew; i++)
        if (strcmp(key, anew[i]) == 0)
            return false;
    return begins(key, "general.") || begins(key, "tokenizer.");
}

static void copy_keys(fam_gguf_writer *writer, const fam_gguf *gguf)
{
    const fam_gguf_value *value;
    for (uint64_t i = 0; (value = fam_gguf_value_at(gguf, i)); i++)
        if (is_kept(value->key))
            fam_gguf_put_copy(writer, value);
}

static void warn(void *context, const char *line)
{
    fam_export_log(context, FAM_LOG_WARNING, "%s", line);
}

/* A tokenizer in another form than tokenizer.json must not get lost in silence. */
static fam_status refuse_other_tokenizers(fam_exporter *exporter, const char *directory, fam_error *error)
{
    static const char *const others[] = {"tokenizer.model", "vocab.json", "vocab.txt"};
    fam_status status = FAM_OK;
    char *path = NULL;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        FAM_TRY_ALLOC(path, fam_path_join(&exporter->memory, directory, others[i]), directory);
        FAM_FAIL_IF(fam_path_exists(path), FAM_STATUS_UNSUPPORTED,
                    "%s: tokenizer: found one that GGUF is not written from, need a tokenizer.json beside it", path);
        fam_free(&exporter->memory, path);
        path = NULL;
    }
done:
    fam_free(&exporter->memory, path);
    return status;
}

static fam_status put_tokenizer(fam_exporter *exporter, fam_gguf_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tokenizer *tokenizer = NULL;
    const char *path = fam_checkpoint_path(exporter->checkpoint);
    fam_error missing = {0};
    status = fam_tokenizer_from_path(&tokenizer, &exporter->memory, path, warn, exporter, &missing);
    if (status == FAM_STATUS_NOT_FOUND) {
        FAM_TRY(refuse_other_tokenizers(exporter, path, error));
        fam_export_log(exporter, FAM_LOG_WARNING, "%s: tokenizer: found none; the export has none either", path);
        put_text(writer, "tokenizer.ggml.model", FAM_GGUF_NO_TOKENIZER);
        return FAM_OK;
    }
    FAM_FAIL_IF(status != FAM_OK, status, "%s", missing.message);
    FAM_TRY(fam_tokenizer_write_gguf(tokenizer, &exporter->memory, writer,
                                     fam_checkpoint_config(exporter->checkpoint)->vocab_size, error));
done:
    fam_tokenizer_free(tokenizer);
    return status;
}

/* ---- FAM --------------------------------------------------------------------------------------------------------- */

static fam_status put_prompt(fam_exporter *exporter, fam_gguf_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tensor *prompt = exporter->prompt;
    float *values = NULL;
    if (!prompt)
        return FAM_OK;
    int64_t count = prompt->shape[0] * prompt->shape[1];
    FAM_TRY_ALLOC(values, fam_alloc_array(&exporter->memory, (size_t)count, sizeof *values), exporter->out);
    fam_type_dequantize(values, prompt->data, prompt->type, count);
    fam_gguf_put_array(writer, "fam.prompt", FAM_GGUF_F32, (uint64_t)count);
    fam_gguf_put_elements(writer, values, (size_t)count * sizeof *values);
done:
    fam_free(&exporter->memory, values);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* llama.cpp's numbers for what most of a file is. */
static uint32_t file_type(fam_type type)
{
    return type == FAM_TYPE_F16 ? 1 : type == FAM_TYPE_BF16 ? 32 : 0;
}

static fam_status put_metadata(fam_exporter *exporter, fam_gguf_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model_config *config = fam_checkpoint_config(exporter->checkpoint);
    const fam_gguf *gguf = fam_checkpoint_gguf(exporter->checkpoint);
    put_text(writer, "general.architecture", config->family);
    put_text(writer, "general.type", "model");
    fam_gguf_put_u32(writer, "general.file_type", file_type(exporter->type));
    put_sizes(writer, config);
    FAM_TRY(put_real(exporter, writer, "attention.layer_norm_rms_epsilon", config->rms_norm_eps, error));
    FAM_TRY(put_real(exporter, writer, "rope.freq_base", config->rope_theta, error));
    fam_gguf_put_settings(writer, &exporter->settings);
    FAM_TRY(put_prompt(exporter, writer, error));
    if (gguf) {
        copy_keys(writer, gguf);
        if (!fam_gguf_find(gguf, "tokenizer.ggml.model"))
            put_text(writer, "tokenizer.ggml.model", FAM_GGUF_NO_TOKENIZER);
    } else {
        FAM_TRY(put_tokenizer(exporter, writer, error));
    }
done:
    return status;
}

static fam_status write_tensors(fam_exporter *exporter, fam_gguf_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    for (int64_t i = 0; i < exporter->count; i++) {
        if (exporter->items[i].source)
            FAM_TRY(fam_export_tensor(exporter, i, sink, writer, error));
        else
            FAM_TRY(sink(writer, exporter->rope_factors, exporter->tensors[i].bytes, error));
    }
done:
    return status;
}

fam_status fam_export_gguf(fam_exporter *exporter, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf_writer *writer = NULL;
    FAM_TRY(fam_gguf_writer_create(&writer, &exporter->memory, error));
    FAM_TRY(put_metadata(exporter, writer, error));
    FAM_TRY(fam_gguf_writer_begin(writer, exporter->out, exporter->tensors, exporter->count, error));
    FAM_TRY(write_tensors(exporter, writer, error));
    FAM_TRY(fam_path_refuse_existing(exporter->out, error));
    status = fam_gguf_writer_commit(writer, error);
    writer = NULL;
done:
    fam_gguf_writer_abort(writer);
    return status;
}
