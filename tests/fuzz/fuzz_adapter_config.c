/*
 * Fuzz target: the text of an adapter_config.json, and the same text as a fam_config.json.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/model_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fam_error error;
    fam_peft_config config = {0};
    if (fam_peft_config_parse(&config, "adapter.json", (const char *)data, size, &error) == FAM_OK) {
        if (config.rank < 1 || !isfinite(config.scale))
            abort();
        for (size_t i = 0; i < json_array_size(config.targets); i++)
            if (!json_is_string(json_array_get(config.targets, i)))
                abort();
        json_decref(config.object);
    } else if (config.object || strncmp(error.message, "adapter.json: ", 14) != 0) {
        abort();
    }
    json_t *object = NULL;
    fam_settings settings = fam_settings_none();
    if (fam_json_parse(&object, "fam.json", (const char *)data, size, &error) == FAM_OK && json_is_object(object) &&
        fam_settings_from_json(&settings, object, "fam.json", &error) != FAM_OK &&
        strncmp(error.message, "fam.json: ", 10) != 0)
        abort();
    json_decref(object);
    return 0;
}
