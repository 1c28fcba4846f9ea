/*
 * text/tokenizer_open.c: the tokenizer of a model by its path.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/gguf.h"
#include "text/tokenizer_private.h"

static fam_status open_json(fam_tokenizer **out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *slash = strrchr(path, '/');
    char *directory, *config = NULL;
    FAM_TRY_ALLOC(directory, slash ? fam_strndup(memory, path, (size_t)(slash - path)) : fam_strdup(memory, "."), path);
    FAM_TRY_ALLOC(config, fam_path_join(memory, directory, "tokenizer_config.json"), path);
    FAM_TRY(fam_tokenizer_from_json(out, memory, path, fam_path_exists(config) ? config : NULL, error));
done:
    fam_free(memory, directory);
    fam_free(memory, config);
    return status;
}

static fam_status open_gguf(fam_tokenizer **out, fam_memory *memory, const char *path, fam_tokenizer_warn *warn,
                            void *warn_context, fam_error *error)
{
    fam_gguf *gguf = NULL;
    fam_status status = FAM_OK;
    FAM_TRY(fam_gguf_open(&gguf, memory, path, warn, warn_context, error));
    FAM_TRY(fam_tokenizer_from_gguf(out, memory, gguf, warn, warn_context, error));
done:
    fam_gguf_free(gguf);
    return status;
}

fam_status fam_tokenizer_from_path(fam_tokenizer **out, fam_memory *memory, const char *path, fam_tokenizer_warn *warn,
                                   void *warn_context, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_mapping mapping = {NULL, 0};
    char *inside = NULL;
    *out = NULL;
    if (fam_path_is_directory(path)) {
        FAM_TRY_ALLOC(inside, fam_path_join(memory, path, "tokenizer.json"), path);
        FAM_TRY(open_json(out, memory, inside, error));
        goto done;
    }
    FAM_TRY(fam_mapping_open(&mapping, path, error));
    bool json = mapping.size > 0 && mapping.data[0] == '{';
    fam_mapping_close(&mapping);
    FAM_TRY(json ? open_json(out, memory, path, error) : open_gguf(out, memory, path, warn, warn_context, error));
done:
    fam_free(memory, inside);
    return status;
}

fam_status fam_tokenizer_open(fam_tokenizer **out, const char *model_path, fam_error *error)
{
    fam_memory *memory = malloc(sizeof *memory);
    *out = NULL;
    if (!memory)
        return fam_out_of_memory(error, model_path);
    fam_memory_init(memory);
    fam_status status = fam_tokenizer_from_path(out, memory, model_path, NULL, NULL, error);
    if (status == FAM_OK)
        (*out)->owns_memory = true;
    else
        free(memory);
    return status;
}
