/*
 * Fuzz target: the text of a model.safetensors.index.json. No accepted file name leads out of the directory.
 */
#include <stdlib.h>
#include <string.h>

#include "format/model_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fam_error error;
    json_t *index = NULL, *file;
    const char *tensor;
    if (fam_hf_index_parse(&index, "index.json", (const char *)data, size, &error) == FAM_OK) {
        json_object_foreach(json_object_get(index, "weight_map"), tensor, file)
        {
            const char *name = json_string_value(file);
            if (!name || strchr(name, '/') || name[0] == '.' || strlen(name) > 255)
                abort();
        }
        json_decref(index);
    } else if (index || strncmp(error.message, "index.json: ", 12) != 0) {
        abort();
    }
    return 0;
}
