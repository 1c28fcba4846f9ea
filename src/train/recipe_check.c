/*
 * train/recipe_check.c: what follows from other keys, and keys that contradict one another. Values are looked at, not
 * whether they were written down, so that a recipe that was written whole reads back.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/checkpoint.h"
#include "format/yaml.h"
#include "train/recipe_keys.h"

typedef struct checker {
    fam_recipe *recipe;
    const fam_yaml_node *root;
    fam_error *error;
} checker;

static bool is_set(const fam_yaml_node *node)
{
    return node && ((const fam_recipe_source *)node->document->context)->is_set;
}

/* Refuses for the sake of a key; `other` is the key that it is in conflict with, or NULL. The place told is that of the
 * key, or of the other one where the key is not written down or where a set said the other. */
#define REFUSE(key, other, ...)                                                                                        \
    return fam_recipe_refuse(c->recipe, (key), conflict_place(c, (key), (other)), c->error, __VA_ARGS__)
#define REFUSE_IF(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (condition)                                                                                                 \
            REFUSE(__VA_ARGS__);                                                                                       \
    } while (0)

static const fam_yaml_node *conflict_place(const checker *c, const char *key, const char *other)
{
    const fam_yaml_node *node = fam_recipe_find(c->root, key);
    const fam_yaml_node *second = other ? fam_recipe_find(c->root, other) : NULL;
    return !node || (is_set(second) && !is_set(node)) ? second : node;
}

static fam_status check_model(const checker *c)
{
    fam_recipe *r = c->recipe;
    REFUSE_IF(r->model.path && r->model.is_new, "model.new", "model.path",
              "found it beside model.path, need one of them");
    REFUSE_IF(!r->model.path && !r->model.is_new, "model", NULL, "found neither path nor new, need one of them");
    if (!r->model.is_new) {
        if ((int)r->adapt.what < 0)
            r->adapt.what = FAM_TRAIN_WHAT_ADAPTER;
        return FAM_OK;
    }
    REFUSE_IF(r->model.adapter, "model.adapter", "model.new", "found it beside model.new, need a pretrained model");
    if ((int)r->adapt.what < 0)
        r->adapt.what = FAM_TRAIN_WHAT_ALL;
    REFUSE_IF(r->adapt.what != FAM_TRAIN_WHAT_ALL, "adapt.what", "model.new",
              "found it with model.new, which has nothing to adapt; need all");
    if (r->model.kv_heads == 0)
        r->model.kv_heads = r->model.heads;
    REFUSE_IF(r->model.heads % r->model.kv_heads != 0, "model.new.kv_heads", "model.new.heads",
              "found %lld for %lld heads, need a divisor", (long long)r->model.kv_heads, (long long)r->model.heads);
    if (r->model.head_dim == 0) {
        REFUSE_IF(r->model.hidden_size % (2 * r->model.heads) != 0, "model.new.hidden_size", "model.new.heads",
                  "found %lld for %lld heads, need an even number for each, or model.new.head_dim",
                  (long long)r->model.hidden_size, (long long)r->model.heads);
        r->model.head_dim = r->model.hidden_size / r->model.heads;
    }
    REFUSE_IF(r->model.head_dim % 2 != 0, "model.new.head_dim", NULL, "found %lld, need an even number",
              (long long)r->model.head_dim);
    REFUSE_IF(r->model.heads * r->model.head_dim > FAM_WIDTH_MAX, "model.new.heads", "model.new.head_dim",
              "found %lld of size %lld, need at most %d together", (long long)r->model.heads,
              (long long)r->model.head_dim, FAM_WIDTH_MAX);
    REFUSE_IF(r->fam.mode == FAM_MODE_FAM && r->fam.fam_length < 0, "fam.fam_length", "fam.mode",
              "found nothing in mode fam, need the rows of the memory");
    return FAM_OK;
}

/* What the mode rules out. Where only the model knows it, this is checked when the model is open. */
static fam_status check_mode(const checker *c)
{
    const fam_recipe *r = c->recipe;
    int mode = r->fam.mode < 0 && r->model.is_new ? FAM_MODE_FULL : r->fam.mode;
    const char *name = fam_mode_name(mode);
    if (!name)
        return FAM_OK;
    if (mode != FAM_MODE_FAM) {
        REFUSE_IF(r->adapt.what == FAM_TRAIN_WHAT_PROMPT, "adapt.what", "fam.mode",
                  "found prompt in mode %s, need mode fam", name);
        REFUSE_IF(r->train.carry > 1, "train.carry", "fam.mode", "found %lld in mode %s, need mode fam",
                  (long long)r->train.carry, name);
        REFUSE_IF(r->train.state_passing_probability > 0, "train.state_passing_probability", "fam.mode",
                  "found %g in mode %s, need mode fam", r->train.state_passing_probability, name);
        REFUSE_IF(r->train.state_noise > 0, "train.state_noise", "fam.mode", "found %g in mode %s, need mode fam",
                  r->train.state_noise, name);
    }
    if (mode == FAM_MODE_BSWA || mode == FAM_MODE_FAM) {
        REFUSE_IF(r->train.tokens > 0, "train.tokens", "fam.mode", "found %lld in mode %s, need train.blocks",
                  (long long)r->train.tokens, name);
        return FAM_OK;
    }
    REFUSE_IF(r->train.blocks > 0, "train.blocks", "fam.mode",
              "found %lld in mode %s, which has no blocks; need train.tokens", (long long)r->train.blocks, name);
    REFUSE_IF(r->curriculum.on, "curriculum", "fam.mode", "found it in mode %s, which has no blocks; need train.tokens",
              name);
    REFUSE_IF(r->validation.blocks > 0, "validation.blocks", "fam.mode",
              "found %lld in mode %s, which has no blocks; need 0", (long long)r->validation.blocks, name);
    REFUSE_IF(r->train.stop_gradient_segments, "train.stop_gradient_segments", "fam.mode",
              "found true in mode %s, which has no segments; need false", name);
    return FAM_OK;
}

static fam_status check_lengths(const checker *c)
{
    const fam_recipe *r = c->recipe;
    REFUSE_IF(!r->curriculum.on && r->train.blocks == 0 && r->train.tokens == 0, "train", NULL,
              "found no length of a sequence, need train.blocks, train.tokens or curriculum");
    REFUSE_IF(r->train.blocks > 0 && r->train.tokens > 0, "train.tokens", "train.blocks",
              "found it beside train.blocks, need one of them");
    REFUSE_IF(r->curriculum.on && r->train.blocks > 0, "train.blocks", "curriculum",
              "found it beside curriculum, need one of them");
    REFUSE_IF(r->curriculum.on && r->train.tokens > 0, "train.tokens", "curriculum",
              "found it beside curriculum, need one of them");
    REFUSE_IF(r->curriculum.on && r->curriculum.from_blocks > r->curriculum.to_blocks, "curriculum.from_blocks",
              "curriculum.to_blocks", "found %lld, need at most curriculum.to_blocks, %lld",
              (long long)r->curriculum.from_blocks, (long long)r->curriculum.to_blocks);
    REFUSE_IF(r->train.tokens_per_step > 0 && r->train.accumulate > 1, "train.accumulate", "train.tokens_per_step",
              "found %lld beside train.tokens_per_step, need one of them", (long long)r->train.accumulate);
    return FAM_OK;
}

static fam_status check_optimizer(const checker *c)
{
    fam_recipe *r = c->recipe;
    if (r->adapt.alpha == 0)
        r->adapt.alpha = 2 * (r->adapt.rslora ? sqrt((double)r->adapt.rank) : (double)r->adapt.rank);
    if (r->optimizer.warmup_steps < 0)
        r->optimizer.warmup_steps = r->train.steps < 100 ? r->train.steps : 100;
    REFUSE_IF(r->optimizer.warmup_steps > r->train.steps, "optimizer.warmup_steps", "train.steps",
              "found %lld, need at most train.steps, %lld", (long long)r->optimizer.warmup_steps,
              (long long)r->train.steps);
    return FAM_OK;
}

/* ---- entries ---- */

static bool is_file(const fam_data_options *entry)
{
    return entry->kind == FAM_DATA_TEXT || entry->kind == FAM_DATA_JSONL;
}

static bool has_weight(const fam_data_options *entry)
{
    return !is_file(entry) || entry->weight > 0 || (entry->repeat_tokens > 0 && entry->repeat_weight > 0);
}

static fam_status check_entry(const checker *c, const char *prefix, fam_data_options *entry)
{
    enum { SIZE = 64 };
    char key[SIZE], other[SIZE];
#define KEY(buffer, name) (snprintf(buffer, sizeof(buffer), "%s.%s", prefix, (name)), (buffer))
    if (!entry->name) {
        entry->name = fam_strdup(c->recipe->memory, fam_data_kind_name(entry->kind));
        if (!entry->name)
            return fam_out_of_memory(c->error, c->recipe->path);
    }
    if (is_file(entry)) {
        REFUSE_IF(!entry->path, KEY(key, "path"), prefix, "found nothing, need a file");
        return FAM_OK;
    }
    if (entry->depth_to < 0)
        entry->depth_to = entry->kind == FAM_DATA_PASSKEY ? entry->depth_from : 1;
    REFUSE_IF(entry->depth_from > entry->depth_to, KEY(key, "depth_from"), KEY(other, "depth_to"),
              "found %g, need at most depth_to, %g", entry->depth_from, entry->depth_to);
    REFUSE_IF(entry->rest_weight > 0 && entry->rest_share > 0, KEY(key, "rest_share"), KEY(other, "rest_weight"),
              "found it beside rest_weight, need one of them");
    REFUSE_IF(entry->asked > entry->keys, KEY(key, "asked"), KEY(other, "keys"), "found %lld, need at most keys, %lld",
              (long long)entry->asked, (long long)entry->keys);
#undef KEY
    return FAM_OK;
}

static fam_status check_entries(const checker *c, const char *list, fam_data_options *entries, int64_t count)
{
    double shares = 0;
    bool weighs = false;
    char prefix[48];
    for (int64_t i = 0; i < count; i++) {
        snprintf(prefix, sizeof prefix, "%s.%lld", list, (long long)i);
        fam_status status = check_entry(c, prefix, &entries[i]);
        if (status != FAM_OK)
            return status;
        shares += entries[i].share;
        weighs = weighs || (entries[i].share > 0 && has_weight(&entries[i]));
    }
    REFUSE_IF(count > 0 && !(shares > 0), list, NULL, "found shares that are all 0, need one above 0");
    REFUSE_IF(count > 0 && !weighs, list, NULL, "found no token with a loss weight, need one above 0");
    return FAM_OK;
}

static fam_status check_validation(const checker *c)
{
    fam_recipe *r = c->recipe;
    bool tasks = r->validation.data_count > 0;
    for (int64_t i = 0; i < r->data_count; i++)
        tasks = tasks || (!is_file(&r->data[i]) && r->data[i].share > 0);
    REFUSE_IF(r->validation.seed == r->train.seed, "validation.seed", "train.seed",
              "found %llu, which is train.seed too; need another, so that other sequences are drawn",
              (unsigned long long)r->validation.seed);
    REFUSE_IF(r->validation.every > 0 && !tasks, "validation.data", "validation.every",
              "found nothing, need entries: files that are trained on are not measured with");
    return check_entries(c, "validation.data", r->validation.data, r->validation.data_count);
}

fam_status fam_recipe_check(fam_recipe *recipe, const fam_yaml_node *root, fam_error *error)
{
    fam_status status = FAM_OK;
    const checker c = {recipe, root, error};
    FAM_TRY(check_model(&c));
    FAM_TRY(check_mode(&c));
    FAM_TRY(check_lengths(&c));
    FAM_TRY(check_optimizer(&c));
    if (recipe->data_count == 0)
        return fam_recipe_refuse(recipe, "data", root, error, "found no entries, need one at least");
    FAM_TRY(check_entries(&c, "data", recipe->data, recipe->data_count));
    FAM_TRY(check_validation(&c));
done:
    return status;
}
