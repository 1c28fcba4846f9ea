/*
 * format/hf_write.h: writing a model as a Hugging Face directory that transformers opens, FAM settings inside.
 */
#ifndef FAM_FORMAT_HF_WRITE_H
#define FAM_FORMAT_HF_WRITE_H

#include "format/checkpoint.h"

/* Writes config.json (with the key "fam" if settings say anything) and model.safetensors from `tensors` (F32, F16 or
 * BF16, Hugging Face names; "fam.prompt" among them in mode fam). A tokenizer is the caller's. The directory is made if
 * need be; each file is replaced atomically, config.json last. bos, eos: ids, or -1. */
fam_status fam_hf_write(const char *directory, fam_memory *memory, const fam_model_config *config,
                        const fam_settings *settings, int32_t bos, int32_t eos, const fam_tensor *tensors,
                        int64_t count, fam_error *error);

/* Only config.json. `type` is what the weights are stored as. rope_frequency_factors cannot be said there:
 * FAM_STATUS_INVALID_ARGUMENT. */
fam_status fam_hf_config_write(const char *path, fam_memory *memory, const fam_model_config *config,
                               const fam_settings *settings, int32_t bos, int32_t eos, fam_type type, fam_error *error);

/* A base's config.json (at `from`) again, with another type of the weights and other settings; the keys that `options`
 * (may be NULL) ignores are left out. */
fam_status fam_hf_config_rewrite(const char *path, fam_memory *memory, const char *from,
                                 const fam_checkpoint_options *options, const fam_settings *settings, fam_type type,
                                 fam_error *error);

/* Copies what lies beside a model's weights and is not changed with them, as far as it is there: the tokenizer's files and
 * generation_config.json. */
fam_status fam_hf_companions_copy(const char *from, const char *to, fam_memory *memory, fam_error *error);

#endif
