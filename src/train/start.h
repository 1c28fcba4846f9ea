/*
 * train/start.h: what a run starts from, written as files of the ecosystem, so that everything after it opens them as it
 * opens any model or adapter: a fresh adapter, or a model from nothing.
 */
#ifndef FAM_TRAIN_START_H
#define FAM_TRAIN_START_H

#include "format/checkpoint.h"
#include "train/recipe.h"

/* A fresh adapter for the model: A uniform in +-1/sqrt(in) as PEFT makes it, B zero; in mode fam a prompt as
 * recipe->fam.prompt_init says (rows of the embedding table of tokens drawn at random, or normal numbers; drawn from the
 * seed), or the model's own where it has one of that length. With recipe->adapt.what PROMPT only the FAM files. Settings are recipe->fam's, what it leaves out the
 * checkpoint's. */
fam_status fam_start_adapter(const char *directory, const fam_recipe *recipe, const fam_checkpoint *checkpoint,
                             fam_error *error);

/* A model from nothing: config.json with the FAM settings, model.safetensors in float32 (matrices normal with init_std,
 * those that end in the residual stream divided by sqrt(2 L), norms 1), the prompt, and tokenizer.json: a token for each
 * byte (ids 0 to 255) and "<|endoftext|>" (256), so V is 257. */
fam_status fam_start_model(const char *directory, const fam_recipe *recipe, fam_error *error);

#endif
