/*
 * format/family.c: the families of models that are implemented: names of their weights, keys of their configurations,
 * and what transformers takes for absent keys. A key that is in no list here is refused by name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/model_private.h"

/* Keys that every config.json may have and that say nothing about what a trained decoder computes: provenance, data
 * types in memory, special tokens (the tokenizer's files speak for them), training, and old defaults of generation. */
const fam_key_rule fam_common_keys[] = {
    {"model_type", NULL},
    {"architectures", NULL}, /* read by hf_config.c */
    {"fam", NULL},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"transformers_version", NULL},
    {"transformers.js_config", NULL},
    {"unsloth_version", NULL},
    {"unsloth_fixed", NULL},
    {"name_or_path", NULL},
    {"_name_or_path", NULL},
    {"_commit_hash", NULL},
    {"_attn_implementation", NULL},
    {"_attn_implementation_autoset", NULL},
    {"attn_implementation", NULL},
    {"_flash_attn_2_enabled", NULL},
    {"is_llama_config", NULL},
    {"use_cache", NULL},
    {"bos_token_id", NULL},
    {"eos_token_id", NULL},
    {"pad_token_id", NULL},
    {"unk_token_id", NULL},
    {"sep_token_id", NULL},
    {"decoder_start_token_id", NULL},
    {"tokenizer_class", NULL},
    {"initializer_range", NULL},
    {"attention_dropout", NULL},
    {"hidden_dropout", NULL},
    {"resid_pdrop", NULL},
    {"embd_pdrop", NULL},
    {"gradient_checkpointing", NULL},
    {"output_attentions", NULL},
    {"output_hidden_states", NULL},
    {"output_scores", NULL},
    {"return_dict", NULL},
    {"return_dict_in_generate", NULL},
    {"torchscript", NULL},
    {"use_bfloat16", NULL},
    {"tf_legacy_loss", NULL},
    {"keys_to_ignore_at_inference", NULL},
    {"finetuning_task", NULL},
    {"problem_type", NULL},
    {"task_specific_params", NULL},
    {"id2label", NULL},
    {"label2id", NULL},
    {"num_labels", NULL},
    {"is_decoder", NULL},
    {"prefix", NULL},
    {"do_sample", NULL},
    {"early_stopping", NULL},
    {"max_length", NULL},
    {"min_length", NULL},
    {"max_new_tokens", NULL},
    {"num_beams", NULL},
    {"num_beam_groups", NULL},
    {"num_return_sequences", NULL},
    {"diversity_penalty", NULL},
    {"temperature", NULL},
    {"top_k", NULL},
    {"top_p", NULL},
    {"typical_p", NULL},
    {"repetition_penalty", NULL},
    {"length_penalty", NULL},
    {"no_repeat_ngram_size", NULL},
    {"encoder_no_repeat_ngram_size", NULL},
    {"bad_words_ids", NULL},
    {"forced_bos_token_id", NULL},
    {"forced_eos_token_id", NULL},
    {"remove_invalid_values", NULL},
    {"exponential_decay_length_penalty", NULL},
    {"suppress_tokens", NULL},
    {"begin_suppress_tokens", NULL},
    /* these would change the result; here are the values with which they do not */
    {"is_encoder_decoder", "[false]"},
    {"add_cross_attention", "[false]"},
    {"cross_attention_hidden_size", "[]"},
    {"tie_encoder_decoder", "[false]"},
    {"chunk_size_feed_forward", "[0]"},
    {"pruned_heads", "[{}]"},
    {"quantization_config", "[]"},
    {"auto_map", "[{}]"}, /* code of the model's own */
    {NULL, NULL},
};

static const fam_role llama_first[] = {
    {"model.embed_tokens", "token_embd", FAM_DIM_VOCAB, FAM_DIM_HIDDEN},
    {NULL, NULL, FAM_DIM_NONE, FAM_DIM_NONE},
};

static const fam_role llama_layer[] = {
    {"input_layernorm", "attn_norm", FAM_DIM_NONE, FAM_DIM_HIDDEN},
    {"self_attn.q_proj", "attn_q", FAM_DIM_Q, FAM_DIM_HIDDEN},
    {"self_attn.k_proj", "attn_k", FAM_DIM_KV, FAM_DIM_HIDDEN},
    {"self_attn.v_proj", "attn_v", FAM_DIM_KV, FAM_DIM_HIDDEN},
    {"self_attn.o_proj", "attn_output", FAM_DIM_HIDDEN, FAM_DIM_Q},
    {"post_attention_layernorm", "ffn_norm", FAM_DIM_NONE, FAM_DIM_HIDDEN},
    {"mlp.gate_proj", "ffn_gate", FAM_DIM_INTERMEDIATE, FAM_DIM_HIDDEN},
    {"mlp.up_proj", "ffn_up", FAM_DIM_INTERMEDIATE, FAM_DIM_HIDDEN},
    {"mlp.down_proj", "ffn_down", FAM_DIM_HIDDEN, FAM_DIM_INTERMEDIATE},
    {NULL, NULL, FAM_DIM_NONE, FAM_DIM_NONE},
};

static const fam_role llama_last[] = {
    {"model.norm", "output_norm", FAM_DIM_NONE, FAM_DIM_HIDDEN},
    {"lm_head", "output", FAM_DIM_VOCAB, FAM_DIM_HIDDEN},
    {NULL, NULL, FAM_DIM_NONE, FAM_DIM_NONE},
};

static const fam_key_rule llama_hf_keys[] = {
    {"vocab_size", NULL},
    {"hidden_size", NULL},
    {"intermediate_size", NULL},
    {"num_hidden_layers", NULL},
    {"num_attention_heads", NULL},
    {"num_key_value_heads", NULL},
    {"head_dim", NULL},
    {"max_position_embeddings", NULL},
    {"rms_norm_eps", NULL},
    {"tie_word_embeddings", NULL},
    {"rope_theta", NULL},
    {"rope_scaling", NULL},
    {"rope_parameters", NULL},
    {"hidden_act", "[\"silu\", \"swish\"]"},
    {"attention_bias", "[false]"},
    {"mlp_bias", "[false]"},
    {"pretraining_tp", "[1]"},
    {"rope_interleaved", "[false]"},
    {"partial_rotary_factor", "[1, 1.0]"},
    {NULL, NULL},
};

static const fam_key_rule llama_gguf_keys[] = {
    {"block_count", NULL},
    {"context_length", NULL},
    {"embedding_length", NULL},
    {"feed_forward_length", NULL},
    {"attention.head_count", NULL},
    {"attention.head_count_kv", NULL},
    {"attention.key_length", NULL},
    {"attention.value_length", NULL},
    {"attention.layer_norm_rms_epsilon", NULL},
    {"rope.freq_base", NULL},
    {"rope.dimension_count", NULL},
    {"rope.scaling.type", NULL},
    {"vocab_size", NULL},
    {"tensor_data_layout", NULL}, /* says that Q and K rows are permuted, as they are in all files of this family */
    {"expert_count", "0"},
    {"expert_used_count", "0"},
    {"attention.sliding_window", "0"},
    {"attention.causal", "1"},
    {"use_parallel_residual", "0"},
    {"rope.scaling.finetuned", "0"},
    {NULL, NULL},
};

/* Defaults: LlamaConfig of transformers 5. */
static const fam_family families[] = {
    {"llama", "LlamaForCausalLM", llama_first, llama_layer, llama_last, llama_hf_keys, llama_gguf_keys,
     .rope_theta = 10000.0, .rms_norm_eps = 1e-6, .context_length = 2048, .tied_embeddings = false},
};

const fam_family *fam_family_find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strlen(families[i].name) == length && memcmp(families[i].name, name, length) == 0)
            return &families[i];
    return NULL;
}

const char *fam_family_names(void)
{
    return "llama";
}

int64_t fam_dim_length(const fam_model_config *config, fam_dim dim)
{
    switch (dim) {
    case FAM_DIM_NONE:
        return 1;
    case FAM_DIM_VOCAB:
        return config->vocab_size;
    case FAM_DIM_HIDDEN:
        return config->hidden_size;
    case FAM_DIM_INTERMEDIATE:
        return config->intermediate_size;
    case FAM_DIM_Q:
        return config->heads * config->head_dim;
    case FAM_DIM_KV:
        return config->kv_heads * config->head_dim;
    }
    return 0;
}

static int64_t heads_of(const fam_model_config *config, fam_dim rows)
{
    return rows == FAM_DIM_Q ? config->heads : rows == FAM_DIM_KV ? config->kv_heads : 0;
}

/* Whether `hf` is "<before><role>.weight". */
static bool is_role(const char *hf, const char *before, const char *role)
{
    size_t first = strlen(before), second = strlen(role);
    return strncmp(hf, before, first) == 0 && strncmp(hf + first, role, second) == 0 &&
           strcmp(hf + first + second, ".weight") == 0;
}

bool fam_gguf_tensor_name(char out[FAM_GGUF_NAME_SIZE], int64_t *heads, const fam_model_config *config, const char *hf)
{
    const fam_family *family = fam_family_find(config->family, strlen(config->family));
    const fam_role *ends[] = {family ? family->first : NULL, family ? family->last : NULL};
    char before[FAM_ROLE_NAME_SIZE];
    long layer = 0;
    *heads = 0;
    for (size_t i = 0; i < 2; i++)
        for (const fam_role *role = ends[i]; role && role->hf; role++)
            if (is_role(hf, "", role->hf)) {
                snprintf(out, FAM_GGUF_NAME_SIZE, "%s.weight", role->gguf);
                return true;
            }
    if (!family || strncmp(hf, "model.layers.", 13) != 0)
        return false;
    layer = strtol(hf + 13, NULL, 10);
    snprintf(before, sizeof before, "model.layers.%ld.", layer);
    for (const fam_role *role = family->layer; role->hf; role++)
        if (is_role(hf, before, role->hf)) {
            snprintf(out, FAM_GGUF_NAME_SIZE, "blk.%ld.%s.weight", layer, role->gguf);
            if (strcmp(role->gguf, "attn_q") == 0 || strcmp(role->gguf, "attn_k") == 0)
                *heads = heads_of(config, role->rows);
            return true;
        }
    return false;
}

fam_status fam_model_config_check(const fam_model_config *config, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(config->kv_heads > config->heads || config->heads % config->kv_heads != 0, FAM_STATUS_BAD_FORMAT,
                "%s: key/value heads: found %lld for %lld heads, need a divisor", where, (long long)config->kv_heads,
                (long long)config->heads);
    FAM_FAIL_IF(config->head_dim % 2 != 0, FAM_STATUS_BAD_FORMAT, "%s: head size: found %lld, need an even number",
                where, (long long)config->head_dim);
    FAM_FAIL_IF(config->heads * config->head_dim > FAM_WIDTH_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: heads: found %lld of size %lld, need at most %d together", where, (long long)config->heads,
                (long long)config->head_dim, FAM_WIDTH_MAX);
done:
    return status;
}
