/*
 * format/adapter_write.h: writing an adapter directory that PEFT loads, FAM files beside it (see adapter.h).
 */
#ifndef FAM_FORMAT_ADAPTER_WRITE_H
#define FAM_FORMAT_ADAPTER_WRITE_H

#include "format/checkpoint.h"

typedef struct fam_adapter_description {
    const char *base_model; /* for base_model_name_or_path; NULL: null */
    int64_t rank;           /* 0: no LoRA, only the FAM files are written */
    double alpha;
    bool rslora;
    unsigned targets;      /* bit i: projection number i of q, k, v, o, gate, up, down */
    fam_settings settings; /* negative: left out */
} fam_adapter_description;

/* Writes adapter_config.json, adapter_model.safetensors (lora [count], float32 on the host, under PEFT's names; written
 * as bf16 if `narrow`), fam_config.json (what `settings` sets, and the prompt's length; nothing set: no file) and
 * fam_prompt.safetensors (the tensor "fam.prompt" [F, E]; NULL: no file). The directory is made if need be; each file
 * is replaced atomically, adapter_config.json last; what an adapter there had and this one lacks is removed. A
 * description and tensors that do not belong together: FAM_STATUS_INVALID_ARGUMENT before anything is touched. */
fam_status fam_adapter_write(const char *directory, fam_memory *memory, const fam_adapter_description *description,
                             const fam_tensor *lora, int64_t count, const fam_tensor *prompt, bool narrow,
                             fam_error *error);

/* The seven projections' module names in a layer ("self_attn.q_proj"), index 0 to 6, and their short ones ("q_proj");
 * NULL past the end. */
const char *fam_projection_module(int index);
const char *fam_projection_name(int index);

#endif
