/*
 * format/adapter.h: a PEFT adapter directory (adapter_config.json, adapter_model.safetensors) and the FAM files beside
 * it (fam_config.json, fam_prompt.safetensors). Either pair may be missing, not both.
 *
 * An open adapter does not change and may be read by several threads. Tensors point into its mapped files.
 */
#ifndef FAM_FORMAT_ADAPTER_H
#define FAM_FORMAT_ADAPTER_H

#include "format/checkpoint.h"

typedef struct fam_adapter fam_adapter;

/* Opens the directory and checks it against the base model: every LoRA tensor must name a projection of the model's
 * layers with its shape, in A and B pairs; where target_modules is a list, it and the tensors must agree. DoRA,
 * patterns, modules_to_save, PiSSA and the like are refused by name: FAM_STATUS_UNSUPPORTED. The prompt's width must be
 * the model's and its rows those of fam_config.json: FAM_STATUS_MISMATCH, as for LoRA shapes. Where fam_config.json
 * says mode fam the prompt must be there. FAM_STATUS_NOT_FOUND, FAM_STATUS_BAD_FORMAT, FAM_STATUS_IO,
 * FAM_STATUS_OUT_OF_MEMORY. `base` is not kept. */
fam_status fam_adapter_open(fam_adapter **out, fam_memory *memory, const char *path, const fam_model_config *base,
                            fam_error *error);
void fam_adapter_free(fam_adapter *adapter);

const char *fam_adapter_path(const fam_adapter *adapter);
int64_t fam_adapter_rank(const fam_adapter *adapter); /* r of adapter_config.json; 0 without LoRA */
double fam_adapter_alpha(const fam_adapter *adapter); /* lora_alpha; 0 without LoRA */
bool fam_adapter_rslora(const fam_adapter *adapter);  /* use_rslora */
double fam_adapter_scale(const fam_adapter *adapter); /* lora_alpha / r, or / sqrt(r) with use_rslora; 0 without LoRA */
const fam_settings *fam_adapter_settings(const fam_adapter *adapter); /* what it leaves out is negative */

/* How many projections have LoRA. */
int64_t fam_adapter_lora_count(const fam_adapter *adapter);
/* A [r, in] and B [out, r] (F32, F16 or BF16) of a projection by its Hugging Face module name without ".weight"
 * ("model.layers.0.self_attn.q_proj"); false if this adapter leaves that projection alone. */
bool fam_adapter_lora(const fam_adapter *adapter, const char *module, const fam_tensor **a, const fam_tensor **b);
const fam_tensor *fam_adapter_prompt(const fam_adapter *adapter); /* fam.prompt [F, E], or NULL */
/* XXH3-128 over rank, scale and all bytes of all tensors; settings play no part. */
void fam_adapter_fingerprint(const fam_adapter *adapter, uint8_t out[16]);

/* Who says what: the model, then the adapters in order; the last to speak wins. What nobody says is negative. */
fam_settings fam_adapters_settings(const fam_checkpoint *checkpoint, fam_adapter *const *adapters, int count);
/* The prompt of the last adapter that has one, else the model's, else NULL. */
const fam_tensor *fam_adapters_prompt(const fam_checkpoint *checkpoint, fam_adapter *const *adapters, int count);

#endif
