/*
 * export/hf.c: a Hugging Face directory: model.safetensors, config.json, and the tokenizer's files: those of the base
 * as they are, or, from a GGUF file, made of its metadata.
 */
#include <string.h>

#include "base/directory.h"
#include "base/file.h"
#include "export/private.h"
#include "format/gguf.h"
#include "format/hf_write.h"
#include "format/safetensors.h"
#include "text/tokenizer.h"
#include "text/tokenizer_write.h"

static fam_status sink(void *writer, const void *data, size_t size, fam_error *error)
{
    return fam_safetensors_append(writer, data, size, error);
}

static fam_status write_weights(fam_exporter *exporter, const char *directory, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_safetensors_writer *writer = NULL;
    char *path;
    FAM_TRY_ALLOC(path, fam_path_join(&exporter->memory, directory, "model.safetensors"), directory);
    FAM_TRY(fam_safetensors_begin(&writer, &exporter->memory, path, exporter->tensors, exporter->count, error));
    for (int64_t i = 0; i < exporter->count; i++)
        FAM_TRY(fam_export_tensor(exporter, i, sink, writer, error));
    status = fam_safetensors_commit(writer, error);
    writer = NULL;
done:
    fam_safetensors_abort(writer);
    fam_free(&exporter->memory, path);
    return status;
}

static void warn(void *context, const char *line)
{
    fam_export_log(context, FAM_LOG_WARNING, "%s", line);
}

/* From a GGUF file: its tokenizer and config.json anew. */
static fam_status write_from_gguf(fam_exporter *exporter, const char *directory, const char *config_path,
                                  fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_gguf *gguf = fam_checkpoint_gguf(exporter->checkpoint);
    fam_model_config config = *fam_checkpoint_config(exporter->checkpoint);
    fam_tokenizer *tokenizer = NULL;
    int32_t bos = -1, eos = -1;
    if (config.rope_frequency_factors)
        FAM_TRY(fam_export_rope_llama3(&config, &exporter->memory, fam_gguf_path(gguf), error));
    if (fam_gguf_has_tokenizer(gguf)) {
        FAM_TRY(fam_tokenizer_from_gguf(&tokenizer, &exporter->memory, gguf, warn, exporter, error));
        FAM_TRY(fam_tokenizer_check_rows(tokenizer, config.vocab_size, error));
        FAM_TRY(fam_tokenizer_write_json(tokenizer, &exporter->memory, directory, error));
        bos = fam_tokenizer_bos(tokenizer);
        eos = fam_tokenizer_eos(tokenizer);
    } else {
        fam_export_log(exporter, FAM_LOG_WARNING, "%s: tokenizer: found none; the export has none either",
                       fam_gguf_path(gguf));
    }
    FAM_TRY(fam_hf_config_write(config_path, &exporter->memory, &config, &exporter->settings, bos, eos, exporter->type,
                                error));
done:
    fam_tokenizer_free(tokenizer);
    return status;
}

static fam_status write_from_directory(fam_exporter *exporter, const char *directory, const char *config_path,
                                       fam_error *error)
{
    fam_status status = FAM_OK;
    const char *base = fam_checkpoint_path(exporter->checkpoint);
    char *from;
    FAM_TRY_ALLOC(from, fam_path_join(&exporter->memory, base, "config.json"), base);
    FAM_TRY(fam_hf_companions_copy(base, directory, &exporter->memory, error));
    FAM_TRY(fam_hf_config_rewrite(config_path, &exporter->memory, from, &exporter->checkpoint_options,
                                  &exporter->settings, exporter->type, error));
done:
    fam_free(&exporter->memory, from);
    return status;
}

fam_status fam_export_hf(fam_exporter *exporter, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_new_directory *directory = NULL;
    char *config_path = NULL;
    FAM_TRY(fam_new_directory_begin(&directory, &exporter->memory, exporter->out, error));
    const char *path = fam_new_directory_path(directory);
    FAM_TRY_ALLOC(config_path, fam_path_join(&exporter->memory, path, "config.json"), path);
    /* what may be refused first, the long work last */
    if (fam_checkpoint_container(exporter->checkpoint) == FAM_CONTAINER_GGUF)
        FAM_TRY(write_from_gguf(exporter, path, config_path, error));
    else
        FAM_TRY(write_from_directory(exporter, path, config_path, error));
    FAM_TRY(write_weights(exporter, path, error));
    status = fam_new_directory_commit(directory, error);
    directory = NULL;
done:
    fam_new_directory_abort(directory);
    fam_free(&exporter->memory, config_path);
    return status;
}
