/*
 * Train room: recipes, by text and by file: values, refusals with their place, sets, extends, writing, comparing, lack
 * of memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/yaml.h"
#include "recipe_checks.h"
#include "scratch.h"
#include "suite.h"

static fam_error error;
static fam_memory memory;

/* The least that is a recipe. */
#define NEW "model: {new: {layers: 1, hidden_size: 8, intermediate_size: 16, heads: 2}}\n"
#define FAM "fam: {mode: fam, block_size: 32, fam_length: 4}\n"
#define TRAIN "train: {steps: 10, blocks: 4}\n"
#define DATA "data: [{kind: passkey}]\n"
#define BASE NEW FAM TRAIN DATA
#define PRETRAINED "model: {path: m.gguf}\n"

static fam_status parse_sets(fam_recipe **out, const char *text, const char *const *sets, int64_t count)
{
    *out = NULL;
    memset(&error, 0, sizeof error);
    fam_memory_init(&memory);
    return fam_recipe_parse(out, &memory, "r.yaml", text, strlen(text), sets, count, &error);
}

static fam_recipe *parse_with(const char *text, const char *set)
{
    fam_recipe *recipe = NULL;
    if (parse_sets(&recipe, text, &set, set ? 1 : 0) != FAM_OK)
        fail_msg("%s", error.message);
    return recipe;
}

static fam_recipe *parse(const char *text)
{
    return parse_with(text, NULL);
}

static void release(fam_recipe *recipe)
{
    fam_recipe_free(recipe);
    assert_int_equal(memory.bytes, 0);
}

/* The text must be refused with exactly this line after "r.yaml: ". */
static void refuse(const char *text, const char *need)
{
    fam_recipe *recipe = NULL;
    fam_status status = parse_sets(&recipe, text, NULL, 0);
    if (status != FAM_STATUS_BAD_FORMAT || error.status != status || strncmp(error.message, "r.yaml: ", 8) != 0 ||
        strcmp(error.message + 8, need) != 0)
        fail_msg("%s\nfound %d \"%s\",\nneed \"%s\"", text, status, error.message, need);
    assert_null(recipe);
    assert_int_equal(memory.bytes, 0);
}

static void a_small_recipe_has_all_defaults(void **state)
{
    (void)state;
    fam_recipe *r = parse(BASE);
    assert_string_equal(r->path, "r.yaml");
    assert_null(r->model.path);
    assert_true(r->model.is_new && r->model.tied_embeddings);
    assert_int_equal(r->model.kv_heads, 2);
    assert_int_equal(r->model.head_dim, 4);
    assert_int_equal(r->fam.mode, FAM_MODE_FAM);
    assert_int_equal(r->fam.state_norm, -1);
    assert_int_equal(r->fam.memory_segments, -1);
    assert_int_equal(r->adapt.what, FAM_TRAIN_WHAT_ALL);
    assert_int_equal(r->adapt.targets, 127);
    assert_true(r->adapt.alpha == 64);
    assert_true(r->optimizer.learning_rate == 5e-4 && r->optimizer.prompt_learning_rate == -1);
    assert_int_equal(r->optimizer.schedule, FAM_SCHEDULE_COSINE);
    assert_int_equal(r->optimizer.warmup_steps, 10);
    assert_int_equal(r->optimizer.bad_steps_max, 10);
    assert_int_equal(r->train.accumulate, 1);
    assert_int_equal(r->train.carry, 1);
    assert_int_equal(r->train.dtype, FAM_AUTO);
    assert_int_equal(r->train.tokens, 0);
    assert_false(r->curriculum.on);
    assert_int_equal(r->data_count, 1);
    assert_int_equal(r->data[0].line, 4);
    assert_string_equal(r->data[0].name, "passkey");
    assert_int_equal(r->data[0].digits, 5);
    assert_true(r->data[0].depth_from == 0 && r->data[0].depth_to == 0 && r->data[0].share == 1);
    assert_int_equal(r->data[0].keys, 0); /* passkey does not use it */
    assert_int_equal(r->validation.data_count, 0);
    assert_int_equal(r->output.keep, 3);
    assert_int_equal(r->output.log_every, 1);
    release(r);
}

static void every_key_reaches_its_place(void **state)
{
    (void)state;
    fam_recipe *r = parse("# a comment\n"
                          "model: {path: base, adapter: \"an adapter\"}\n"
                          "fam: {mode: fam, block_size: 7, memory_segments: 2, fam_length: 3, window: 9,\n"
                          "      state_norm: rms_init, fam_positions: float, prompt_init: normal, prompt_std: 0.5}\n"
                          "adapt: {what: prompt, rank: 4, alpha: 3, rslora: true, targets: [down_proj, q_proj]}\n"
                          "optimizer: {kind: adafactor, learning_rate: 1e-4, prompt_learning_rate: 1, beta1: 0,\n"
                          "  beta2: 0.5, epsilon: 1e-6, weight_decay: 0.25, clip: 0, schedule: constant,\n"
                          "  warmup_steps: 3, final_fraction: 0.75, bad_steps_max: 2}\n"
                          "train: {steps: 30, sequences: 2, accumulate: 5, carry: 6,\n"
                          "  stop_gradient_segments: true, state_passing_probability: 0.125, state_passing_start: 8,\n"
                          "  random_position_offset: true, state_noise: 0.0625, state_noise_start: 9,\n"
                          "  recompute: span, seed: 9223372036854775807, dtype: bf16}\n"
                          "curriculum: {from_blocks: 3, to_blocks: 5, accuracy: 0.5, window: 11, at_level: 1,\n"
                          "  recover_steps: 12, recover_fraction: 0}\n"
                          "data:\n"
                          "- {kind: overwrite, share: 0, name: 5, digits: 2, keys: 4, asked: 3, depth_from: 0.25,\n"
                          "   depth_to: 0.75, rest_weight: 2}\n"
                          "- kind: jsonl\n"
                          "  path: /d.jsonl\n"
                          "  weight: 0\n"
                          "  repeat_tokens: 6\n"
                          "  repeat_weight: 4\n"
                          "  shuffle: true\n"
                          "  skip_bad: 8\n"
                          "  too_long: skip\n"
                          "  pack: false\n"
                          "- {kind: needle, path: n.txt, rest_share: 0.5}\n"
                          "validation: {every: 1, sequences: 2, blocks: 3, seed: 0, data: [{kind: text, path: v}]}\n"
                          "output: {every: 0, seconds: 60, keep: 2, log_every: 4}\n");
    assert_string_equal(r->model.path, "base");
    assert_string_equal(r->model.adapter, "an adapter");
    assert_true(r->fam.block_size == 7 && r->fam.memory_segments == 2 && r->fam.fam_length == 3 && r->fam.window == 9);
    assert_true(r->fam.state_norm == FAM_STATE_NORM_RMS_INIT && r->fam.fam_positions == FAM_POSITIONS_FLOAT);
    assert_true(r->fam.prompt_init == FAM_PROMPT_INIT_NORMAL && r->fam.prompt_std == 0.5);
    assert_true(r->adapt.what == FAM_TRAIN_WHAT_PROMPT && r->adapt.rank == 4 && r->adapt.alpha == 3 && r->adapt.rslora);
    assert_int_equal(r->adapt.targets, 65);
    assert_true(r->optimizer.kind == FAM_OPTIMIZER_ADAFACTOR && r->optimizer.learning_rate == 1e-4);
    assert_true(r->optimizer.prompt_learning_rate == 1 && r->optimizer.beta1 == 0 && r->optimizer.beta2 == 0.5);
    assert_true(r->optimizer.epsilon == 1e-6 && r->optimizer.weight_decay == 0.25 && r->optimizer.clip == 0);
    assert_true(r->optimizer.schedule == FAM_SCHEDULE_CONSTANT && r->optimizer.warmup_steps == 3);
    assert_true(r->optimizer.final_fraction == 0.75 && r->optimizer.bad_steps_max == 2);
    assert_true(r->train.steps == 30 && r->train.sequences == 2 && r->train.accumulate == 5 && r->train.carry == 6);
    assert_true(r->train.stop_gradient_segments && r->train.state_passing_probability == 0.125);
    assert_true(r->train.state_passing_start == 8 && r->train.random_position_offset);
    assert_true(r->train.state_noise == 0.0625 && r->train.state_noise_start == 9 && r->train.recompute == 2);
    assert_true(r->train.seed == INT64_MAX && r->train.dtype == FAM_DTYPE_BF16);
    assert_true(r->curriculum.on && r->curriculum.from_blocks == 3 && r->curriculum.to_blocks == 5);
    assert_true(r->curriculum.accuracy == 0.5 && r->curriculum.window == 11 && r->curriculum.at_level == 1);
    assert_true(r->curriculum.recover_steps == 12 && r->curriculum.recover_fraction == 0);
    assert_int_equal(r->data_count, 3);
    const fam_data_options *d = r->data;
    assert_string_equal(d[0].name, "5");
    assert_true(d[0].kind == FAM_DATA_OVERWRITE && d[0].line == 16 && d[0].share == 0 && d[0].digits == 2);
    assert_true(d[0].keys == 4 && d[0].asked == 3 && d[0].depth_from == 0.25 && d[0].depth_to == 0.75);
    assert_true(d[0].rest_weight == 2 && d[0].rest_share == 0);
    assert_string_equal(d[1].path, "/d.jsonl");
    assert_true(d[1].line == 18 && d[1].weight == 0 && d[1].repeat_tokens == 6 && d[1].repeat_weight == 4);
    assert_true(d[1].shuffle && d[1].skip_bad == 8 && d[1].too_long == FAM_TOO_LONG_SKIP && !d[1].pack);
    assert_true(d[2].depth_to == 1 && d[2].rest_share == 0.5);
    assert_string_equal(d[2].path, "n.txt");
    assert_true(r->validation.every == 1 && r->validation.sequences == 2 && r->validation.blocks == 3);
    assert_true(r->validation.seed == 0 && r->validation.data_count == 1);
    assert_string_equal(r->validation.data[0].name, "text");
    assert_true(r->output.every == 0 && r->output.seconds == 60 && r->output.keep == 2 && r->output.log_every == 4);
    release(r);
}

static void null_is_as_if_the_key_were_not_there(void **state)
{
    (void)state;
    fam_recipe *r = parse(NEW FAM "train: {steps: 10, blocks: 4, tokens: ~, dtype: , seed: null}\n"
                                  "data: [{kind: recall, depth_to: null}]\ncurriculum: null\noutput: ~\n");
    assert_true(r->train.seed == 1 && r->train.tokens == 0 && !r->curriculum.on && r->output.keep == 3);
    assert_true(r->data[0].depth_to == 1);
    release(r);
    refuse(NEW FAM "train: {steps: null, blocks: 4}\n" DATA,
           "train.steps: line 3 column 8: found nothing, need a value");
}

static void text_that_is_not_plain_yaml_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "top level: line 1 column 1: found nothing, need a map of keys"},
        {"# nothing\n", "top level: line 1 column 1: found nothing, need a map of keys"},
        {"- a\n", "top level: line 1 column 1: found a list, need a map of keys"},
        {"model: &a {}\n", "not a plain YAML file: line 1 column 8: found an anchor (&), need every value written out"},
        {"model: *a\n", "not a plain YAML file: line 1 column 8: found an alias (*), need every value written out"},
        {"model: !x {}\n", "not a plain YAML file: line 1 column 8: found a tag (!), need values without it"},
        {"a: !!str x\n", "not a plain YAML file: line 1 column 4: found a tag (!), need values without it"},
        {"%YAML 1.1\n---\na: b\n", "not a plain YAML file: line 1 column 1: found a directive (%), need none"},
        {"a: b\n---\nc: d\n", "not a plain YAML file: line 2 column 1: found a second document, need one"},
        {"? [a]\n: b\n", "not a plain YAML file: line 1 column 3: found a key that is a map or a list, need a word"},
        {"a: \"x\\0y\"\n", "not a plain YAML file: line 1 column 4: found a NUL byte, need text without it"},
        {"train: {}\ntrain: {}\n", "train: line 2 column 1: found the key twice, need it once"},
        {"train: {steps: 1, steps: 1}\n", "steps: line 1 column 19: found the key twice, need it once"},
        {"a: [b\n", "not YAML: line 2 column 1: did not find expected ',' or ']' while parsing a flow sequence"},
        {"a: b: c\n", "not YAML: line 1 column 5: mapping values are not allowed in this context"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse(rows[i][0], rows[i][1]);
    refuse("a: \xff\n", "not YAML: byte 3: invalid leading UTF-8 octet, need UTF-8 text");
}

static void bounds_hold(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    char *text = calloc(1, FAM_YAML_BYTES_MAX + 2);
    memset(text, '[', DEEP);
    refuse(text,
           "not a plain YAML file: line 1 column 33: found maps and lists nested too deep, need at most 32 levels");
    for (size_t i = 0; i < DEEP; i += 2)
        memcpy(text + i, "{a", 2);
    fam_recipe *recipe;
    assert_int_equal(parse_sets(&recipe, text, NULL, 0), FAM_STATUS_BAD_FORMAT);
    memset(text, ' ', FAM_YAML_BYTES_MAX + 1);
    memcpy(text, BASE, strlen(BASE));
    refuse(text, "size: found 1048577 bytes, need at most 1048576");
    text[FAM_YAML_BYTES_MAX] = '\0';
    release(parse(text));
    memset(text, 0, FAM_YAML_BYTES_MAX);
    text[0] = '[';
    for (size_t i = 1; i < 40000; i += 2)
        memcpy(text + i, "1,", 2);
    refuse(text, "not a plain YAML file: line 1 column 32768: found too many values, need at most 16384");
    free(text);
}

static void values_are_checked_with_their_place(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"trian: 1\n", "trian: line 1 column 1: found an unknown key, need a known one; the nearest is train"},
        {"train:\n  step: 1\n",
         "train.step: line 2 column 3: found an unknown key, need a known one; the nearest is train.steps"},
        {"train:\n  learning_rate: 1\n",
         "train.learning_rate: line 2 column 3: found an unknown key, need a known one; the nearest is "
         "optimizer.learning_rate"},
        {"output: {zzzzzzzz: 1}\n",
         "output.zzzzzzzz: line 1 column 10: found an unknown key, need one of every, seconds, keep, log_every"},
        {"<<: {}\n", "<<: line 1 column 1: found an unknown key, need one of model, fam, adapt, optimizer, train, "
                     "curriculum, data, validation, output"},
        {"train: 5\n", "train: line 1 column 8: found 5, need a map of keys"},
        {"train: {steps: [1]}\n",
         "train.steps: line 1 column 16: found a list, need a whole number, 1 to 1000000000000"},
        {"train: {steps: 0}\n", "train.steps: line 1 column 16: found 0, need 1 to 1000000000000"},
        {"train: {steps: -1}\n", "train.steps: line 1 column 16: found -1, need 1 to 1000000000000"},
        {"train: {steps: 1.5}\n", "train.steps: line 1 column 16: found 1.5, need a whole number, 1 to 1000000000000"},
        {"train: {steps: 1e3}\n", "train.steps: line 1 column 16: found 1e3, need a whole number, 1 to 1000000000000"},
        {"train: {steps: 0x10}\n",
         "train.steps: line 1 column 16: found 0x10, need a whole number, 1 to 1000000000000"},
        {"train: {steps: \"5\"}\n",
         "train.steps: line 1 column 16: found \"5\", need a whole number, 1 to 1000000000000"},
        {"train: {steps: 99999999999999999999}\n", "train.steps: line 1 column 16: found 99999999999999999999, need a "
                                                   "whole number, 1 to 1000000000000"},
        {"train: {seed: -1}\n", "train.seed: line 1 column 15: found -1, need 0 to 9223372036854775807"},
        {"optimizer: {learning_rate: 0}\n",
         "optimizer.learning_rate: line 1 column 28: found 0, need above 0, at most 100"},
        {"optimizer: {learning_rate: -1e-4}\n",
         "optimizer.learning_rate: line 1 column 28: found -1e-4, need above 0, at most 100"},
        {"optimizer: {learning_rate: .nan}\n",
         "optimizer.learning_rate: line 1 column 28: found .nan, need a number, above 0, at most 100"},
        {"optimizer: {learning_rate: .inf}\n",
         "optimizer.learning_rate: line 1 column 28: found .inf, need a number, above 0, at most 100"},
        {"optimizer: {learning_rate: 1e999}\n",
         "optimizer.learning_rate: line 1 column 28: found 1e999, need a number, above 0, at most 100"},
        {"optimizer: {beta1: 1}\n", "optimizer.beta1: line 1 column 20: found 1, need 0 to 0.999999"},
        {"optimizer: {kind: sgd}\n", "optimizer.kind: line 1 column 19: found sgd, need adamw or adafactor"},
        {"fam: {mode: FAM}\n", "fam.mode: line 1 column 13: found FAM, need full, swa, bswa or fam"},
        {"adapt: {rslora: yes}\n", "adapt.rslora: line 1 column 17: found yes, need true or false"},
        {"adapt: {targets: q_proj}\n", "adapt.targets: line 1 column 18: found q_proj, need a list of words"},
        {"adapt: {targets: []}\n", "adapt.targets: line 1 column 18: found an empty list, need a list of words"},
        {"adapt: {targets: [q_proj, q_proj]}\n", "adapt.targets: line 1 column 27: found q_proj twice, need it once"},
        {"adapt: {targets: [lm_head]}\n",
         "adapt.targets: line 1 column 19: found lm_head, need q_proj, k_proj, v_proj, "
         "o_proj, gate_proj, up_proj or down_proj"},
        {"model: {path: \"\"}\n", "model.path: line 1 column 15: found \"\", need a path"},
        {"model: {path: [a]}\n", "model.path: line 1 column 15: found a list, need a path"},
        {"output: {keep: 1}\n", "output.keep: line 1 column 16: found 1, need 2 to 1048576"},
        {"data: {}\n", "data: line 1 column 7: found a map, need a list of entries"},
        {"data: [passkey]\n", "data.0: line 1 column 8: found passkey, need a map of keys"},
        {"data: [{share: 1}]\n", "data.0.kind: line 1 column 8: found nothing, need passkey, passkey_landmark, needle, "
                                 "recall, overwrite, text or jsonl"},
        {"data: [{kind: csv}]\n", "data.0.kind: line 1 column 15: found csv, need passkey, passkey_landmark, needle, "
                                  "recall, overwrite, text or jsonl"},
        {"data: [{kind: passkey}, {kind: text, digits: 3}]\n",
         "data.1.digits: line 1 column 46: found a key that kind text does not use, need none"},
        {"data: [{kind: text, pathh: x}]\n",
         "data.0.pathh: line 1 column 21: found an unknown key, need a known one; the nearest is path"},
        {"validation: {data: [{kind: recall, pack: true}]}\n",
         "validation.data.0.pack: line 1 column 42: found a key that kind recall does not use, need none"},
        {"extends: other.yaml\n", "extends: line 1 column 10: found it in text that lies in no folder, need none"},
        {"extends: [a]\n", "extends: line 1 column 10: found a list, need the path of a recipe"},
        {"model: {path: a}\n", "train.steps: line 1 column 1: found nothing, need a value"},
        {"model: {new: {layers: 1}}\ntrain: {steps: 1}\n",
         "model.new.hidden_size: line 1 column 14: found nothing, need a value"},
        {"model: {path: a}\ntrain: {steps: 1}\ncurriculum: {}\n",
         "curriculum.to_blocks: line 3 column 13: found nothing, need a value"},
        {"model: {path: a}\ntrain: {steps: 1}\n", "data: line 1 column 1: found nothing, need a value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse(rows[i][0], rows[i][1]);
    char many[2048] = NEW FAM TRAIN "data: [{kind: passkey}";
    for (int i = 1; i < FAM_RECIPE_DATA_MAX; i++)
        strcat(many, ", {kind: passkey}");
    size_t length = strlen(many);
    strcpy(many + length, "]\n");
    release(parse(many));
    strcpy(many + length, ", {kind: passkey}]\n");
    refuse(many, "data: line 4 column 7: found 33 entries, need at most 32");
}

static void contradictions_are_refused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"model: {path: a, new: {layers: 1, hidden_size: 8, intermediate_size: 16, heads: 2}}\n" FAM TRAIN DATA,
         "model.new: line 1 column 23: found it beside model.path, need one of them"},
        {"model: {adapter: a}\n" FAM TRAIN DATA,
         "model: line 1 column 8: found neither path nor new, need one of them"},
        {"model: {adapter: a, new: {layers: 1, hidden_size: 8, intermediate_size: 16, heads: 2}}\n" FAM TRAIN DATA,
         "model.adapter: line 1 column 18: found it beside model.new, need a pretrained model"},
        {BASE "adapt: {what: adapter}\n",
         "adapt.what: line 5 column 15: found it with model.new, which has nothing to adapt; need all"},
        {BASE "adapt: {what: prompt}\n",
         "adapt.what: line 5 column 15: found it with model.new, which has nothing to adapt; need all"},
        {"model: {new: {layers: 1, hidden_size: 9, intermediate_size: 16, heads: 3}}\n" FAM TRAIN DATA,
         "model.new.hidden_size: line 1 column 39: found 9 for 3 heads, need an even number for each, or "
         "model.new.head_dim"},
        {"model: {new: {layers: 1, hidden_size: 9, intermediate_size: 16, heads: 3, head_dim: 5}}\n" FAM TRAIN DATA,
         "model.new.head_dim: line 1 column 85: found 5, need an even number"},
        {"model: {new: {layers: 1, hidden_size: 8, intermediate_size: 16, heads: 4, kv_heads: 3}}\n" FAM TRAIN DATA,
         "model.new.kv_heads: line 1 column 85: found 3 for 4 heads, need a divisor"},
        {"model: {new: {layers: 1, hidden_size: 8, intermediate_size: 16, heads: 65536, head_dim: 512}}\n" FAM TRAIN
             DATA,
         "model.new.heads: line 1 column 72: found 65536 of size 512, need at most 16777216 together"},
        {NEW "fam: {mode: fam}\n" TRAIN DATA,
         "fam.fam_length: line 2 column 13: found nothing in mode fam, need the rows of the memory"},
        {NEW FAM "train: {steps: 10}\n" DATA,
         "train: line 3 column 8: found no length of a sequence, need train.blocks, train.tokens or curriculum"},
        {PRETRAINED "train: {steps: 10, blocks: 2, tokens: 5}\n" DATA,
         "train.tokens: line 2 column 39: found it beside train.blocks, need one of them"},
        {BASE "curriculum: {to_blocks: 4}\n", "train.blocks: line 3 column 28: found it beside curriculum, need one of "
                                              "them"},
        {PRETRAINED "train: {steps: 10, tokens: 5}\n" DATA "curriculum: {to_blocks: 4}\n",
         "train.tokens: line 2 column 28: found it beside curriculum, need one of them"},
        {NEW FAM "train: {steps: 10}\n" DATA "curriculum: {from_blocks: 8, to_blocks: 4}\n",
         "curriculum.from_blocks: line 5 column 27: found 8, need at most curriculum.to_blocks, 4"},
        {NEW FAM "train: {steps: 10}\n" DATA "curriculum: {to_blocks: 1}\n",
         "curriculum.from_blocks: line 5 column 25: found 2, need at most curriculum.to_blocks, 1"},
        {NEW TRAIN DATA,
         "train.blocks: line 2 column 28: found 4 in mode full, which has no blocks; need train.tokens"},
        {PRETRAINED "fam: {mode: swa}\ntrain: {steps: 10}\n" DATA "curriculum: {to_blocks: 4}\n",
         "curriculum: line 5 column 13: found it in mode swa, which has no blocks; need train.tokens"},
        {PRETRAINED "fam: {mode: fam}\ntrain: {steps: 10, tokens: 8}\n" DATA,
         "train.tokens: line 3 column 28: found 8 in mode fam, need train.blocks"},
        {PRETRAINED "fam: {mode: full}\ntrain: {steps: 10, tokens: 8}\n" DATA "validation: {blocks: 3}\n",
         "validation.blocks: line 5 column 22: found 3 in mode full, which has no blocks; need 0"},
        {PRETRAINED "fam: {mode: full}\ntrain: {steps: 10, tokens: 8, stop_gradient_segments: true}\n" DATA,
         "train.stop_gradient_segments: line 3 column 55: found true in mode full, which has no segments; need false"},
        {PRETRAINED "fam: {mode: bswa}\ntrain: {steps: 10, blocks: 8, carry: 2}\n" DATA,
         "train.carry: line 3 column 38: found 2 in mode bswa, need mode fam"},
        {PRETRAINED "fam: {mode: bswa}\ntrain: {steps: 10, blocks: 8, state_noise: 0.1}\n" DATA,
         "train.state_noise: line 3 column 44: found 0.1 in mode bswa, need mode fam"},
        {PRETRAINED "fam: {mode: bswa}\ntrain: {steps: 10, blocks: 8, state_passing_probability: 0.5}\n" DATA,
         "train.state_passing_probability: line 3 column 58: found 0.5 in mode bswa, need mode fam"},
        {PRETRAINED "fam: {mode: bswa}\nadapt: {what: prompt}\n" TRAIN DATA,
         "adapt.what: line 3 column 15: found prompt in mode bswa, need mode fam"},
        {NEW FAM "train: {steps: 10, blocks: 4, tokens_per_step: 9, accumulate: 2}\n" DATA,
         "train.accumulate: line 3 column 63: found 2 beside train.tokens_per_step, need one of them"},
        {BASE "optimizer: {warmup_steps: 11}\n",
         "optimizer.warmup_steps: line 5 column 27: found 11, need at most train.steps, 10"},
        {NEW FAM TRAIN "data: []\n", "data: line 1 column 1: found no entries, need one at least"},
        {NEW FAM TRAIN "data: [{kind: text}]\n", "data.0.path: line 4 column 8: found nothing, need a file"},
        {NEW FAM TRAIN "data: [{kind: recall, rest_weight: 1, rest_share: 1}]\n",
         "data.0.rest_share: line 4 column 51: found it beside rest_weight, need one of them"},
        {NEW FAM TRAIN "data: [{kind: recall, keys: 2, asked: 3}]\n",
         "data.0.asked: line 4 column 39: found 3, need at most keys, 2"},
        {NEW FAM TRAIN "data: [{kind: recall, depth_from: 0.5, depth_to: 0.25}]\n",
         "data.0.depth_from: line 4 column 35: found 0.5, need at most depth_to, 0.25"},
        {NEW FAM TRAIN "data: [{kind: recall, share: 0}, {kind: passkey, share: 0}]\n",
         "data: line 4 column 7: found shares that are all 0, need one above 0"},
        {NEW FAM TRAIN "data: [{kind: text, path: a, weight: 0}, {kind: passkey, share: 0}]\n",
         "data: line 4 column 7: found no token with a loss weight, need one above 0"},
        {NEW FAM TRAIN "data: [{kind: text, path: a, weight: 0, repeat_tokens: 4, repeat_weight: 0}]\n",
         "data: line 4 column 7: found no token with a loss weight, need one above 0"},
        {BASE "validation: {seed: 1}\n", "validation.seed: line 5 column 20: found 1, which is train.seed too; need "
                                         "another, so that other sequences are drawn"},
        {NEW FAM "train: {steps: 10, blocks: 4, seed: 1000003}\n" DATA,
         "validation.seed: line 3 column 37: found 1000003, which is train.seed too; need another, so that other "
         "sequences are drawn"},
        {NEW FAM TRAIN "data: [{kind: text, path: a}]\nvalidation: {every: 5}\n",
         "validation.data: line 5 column 21: found nothing, need entries: files that are trained on are not measured "
         "with"},
        {BASE "validation: {data: [{kind: jsonl}]}\n",
         "validation.data.0.path: line 5 column 21: found nothing, need a file"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse(rows[i][0], rows[i][1]);
    /* close by, and right */
    release(parse(NEW FAM TRAIN "data: [{kind: text, path: a, weight: 0, repeat_tokens: 4}]\n"));
    release(parse(PRETRAINED "train: {steps: 10, tokens: 8, carry: 3}\n" DATA)); /* the model may say mode fam */
    release(parse(PRETRAINED TRAIN "data: [{kind: text, path: a}]\nvalidation: {every: 5, data: [{kind: recall}]}\n"));
    fam_recipe *r = parse(BASE "adapt: {rslora: true, rank: 16}\n");
    assert_true(r->adapt.alpha == 8);
    release(r);
    r = parse(NEW FAM TRAIN "data: [{kind: passkey, depth_from: 0.5}]\n");
    assert_true(r->data[0].depth_to == 0.5);
    release(r);
}

static void sets_are_laid_over_the_file(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.blocks=null",
                                       "curriculum={to_blocks: 8}",
                                       "curriculum.from_blocks=4",
                                       "optimizer.learning_rate=1e-3",
                                       "optimizer.learning_rate=2e-3",
                                       "data.0.digits=3",
                                       "data.1={kind: text, path: a=b.txt}",
                                       "data.1.share=0.5",
                                       "validation.data.0.kind=recall",
                                       "output.keep=5"};
    fam_recipe *r;
    if (parse_sets(&r, BASE, sets, sizeof sets / sizeof *sets) != FAM_OK)
        fail_msg("%s", error.message);
    assert_true(r->train.blocks == 0 && r->curriculum.on && r->curriculum.to_blocks == 8);
    assert_true(r->curriculum.from_blocks == 4 && r->optimizer.learning_rate == 2e-3);
    assert_int_equal(r->data_count, 2);
    assert_true(r->data[0].digits == 3 && r->data[0].kind == FAM_DATA_PASSKEY && r->data[0].line == 4);
    assert_true(r->data[1].kind == FAM_DATA_TEXT && r->data[1].share == 0.5 && r->data[1].line == 0);
    assert_string_equal(r->data[1].path, "a=b.txt");
    assert_int_equal(r->validation.data[0].kind, FAM_DATA_RECALL);
    assert_int_equal(r->output.keep, 5);
    release(r);
}

static void wrong_sets_are_invalid_arguments(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"train.steps", "set \"train.steps\": found no key and value, need KEY=VALUE"},
        {"=5", "set \"=5\": found no key and value, need KEY=VALUE"},
        {"train.steps=x", "train.steps: set \"train.steps=x\": found x, need a whole number, 1 to 1000000000000"},
        {"train.stepz=5",
         "train.stepz: set \"train.stepz=5\": found an unknown key, need a known one; the nearest is train.steps"},
        {"train.steps.x=5", "train.steps.x: set \"train.steps.x=5\": found no place for it, need a known key"},
        {"train..steps=5", "train..steps: set \"train..steps=5\": found no place for it, need a known key"},
        {"data.2.kind=text", "data.2.kind: set \"data.2.kind=text\": found no place for it, need a known key, and "
                             "entries numbered from 0 without a gap"},
        {"data.x=text", "data.x: set \"data.x=text\": found no place for it, need a known key, and entries numbered "
                        "from 0 without a gap"},
        {"data.99999999999999999999=1",
         "data.99999999999999999999: set \"data.99999999999999999999=1\": found no place "
         "for it, need a known key, and entries numbered from 0 without a gap"},
        {"train.0=5",
         "train.0: set \"train.0=5\": found an unknown key, need one of steps, sequences, tokens_per_step, "
         "accumulate, blocks, tokens, carry, stop_gradient_segments, state_passing_probability, "
         "state_passing_start, random_position_offset, state_noise, state_noise_start, recompute, seed, "
         "dtype"},
        {"train.steps=[", "set: train.steps=[: not YAML: line 2 column 1: did not find expected node content while "
                          "parsing a flow node"},
        {"train.steps=3", NULL}, /* fewer than no warm-up of its own: derived */
        {"optimizer.warmup_steps=11",
         "optimizer.warmup_steps: set \"optimizer.warmup_steps=11\": found 11, need at most "
         "train.steps, 10"},
        {"train.seed=1000003", "validation.seed: set \"train.seed=1000003\": found 1000003, which is train.seed too; "
                               "need another, so that other sequences are drawn"},
        {"fam.mode=bswa", NULL},
        {"fam.mode=swa", "train.blocks: set \"fam.mode=swa\": found 4 in mode swa, which has no blocks; need "
                         "train.tokens"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fam_recipe *recipe;
        fam_status status = parse_sets(&recipe, BASE, &rows[i][0], 1);
        if (rows[i][1] ? status != FAM_STATUS_INVALID_ARGUMENT || error.status != status ||
                             strncmp(error.message, "r.yaml: ", 8) != 0 || strcmp(error.message + 8, rows[i][1]) != 0
                       : status != FAM_OK)
            fail_msg("%s: found %d \"%s\", need \"%s\"", rows[i][0], status, error.message, rows[i][1]);
        release(recipe);
    }
}

/* ---- files ---- */

static fam_status read_file(fam_recipe **out, const char *path, const char *const *sets, int64_t count)
{
    *out = NULL;
    fam_memory_init(&memory);
    return fam_recipe_read(out, &memory, path, sets, count, &error);
}

static void a_recipe_extends_another(void **state)
{
    (void)state;
    const char *folder = scratch_make();
    char base[512];
    snprintf(base, sizeof base, "%s/base", folder);
    assert_int_equal(mkdir(base, 0700), 0);
    char text[1024];
    scratch_write_text(base, "base.yaml",
                       NEW FAM TRAIN "data: [{kind: passkey}, {kind: text, path: book.txt}]\n"
                                     "validation: {every: 5}\n");
    scratch_write_text(folder, "middle.yaml", "extends: base/base.yaml\ntrain: {steps: 20}\nfam: {state_norm: rms}\n");
    snprintf(text, sizeof text,
             "extends: %s/middle.yaml\ntrain: {steps: 30, blocks: null}\ncurriculum: {to_blocks: 4}\n", folder);
    scratch_write_text(folder, "top.yaml", text);
    fam_recipe *r;
    const char *set = "data.1.path=here.txt";
    assert_int_equal(read_file(&r, scratch_path(folder, "top.yaml"), NULL, 0), FAM_OK);
    assert_true(r->train.steps == 30 && r->train.blocks == 0 && r->curriculum.on && r->validation.every == 5);
    assert_true(r->fam.state_norm == FAM_STATE_NORM_RMS && r->fam.block_size == 32 && r->data_count == 2);
    assert_int_equal(r->data[1].path[0], '/');
    assert_non_null(strstr(r->data[1].path, "/base/book.txt")); /* beside the recipe that names it */
    release(r);
    assert_int_equal(read_file(&r, scratch_path(folder, "top.yaml"), &set, 1), FAM_OK);
    assert_int_equal(r->data[1].path[0], '/'); /* the working directory's */
    assert_true(strcmp(r->data[1].path, scratch_path(folder, "here.txt")) != 0);
    assert_non_null(strstr(r->data[1].path, "/here.txt"));
    release(r);

    /* what is wrong with the base is told with the base's name */
    scratch_write_text(base, "base.yaml", NEW FAM "train: {steps: 10, blocks: x}\n" DATA);
    snprintf(text, sizeof text, "%s/base/base.yaml: train.blocks: line 3 column 28: found x, need a whole number",
             folder);
    scratch_write_text(folder, "top.yaml", "extends: middle.yaml\n");
    assert_int_equal(read_file(&r, scratch_path(folder, "top.yaml"), NULL, 0), FAM_STATUS_BAD_FORMAT);
    if (strncmp(error.message, text, strlen(text)) != 0)
        fail_msg("found \"%s\", need \"%s\"", error.message, text);
    scratch_remove(folder);
}

static void a_chain_that_does_not_end_is_refused(void **state)
{
    (void)state;
    const char *folder = scratch_make();
    fam_recipe *r;
    scratch_write_text(folder, "a.yaml", "extends: b.yaml\n" BASE);
    assert_int_equal(read_file(&r, scratch_path(folder, "a.yaml"), NULL, 0), FAM_STATUS_NOT_FOUND);
    assert_non_null(strstr(error.message, "/b.yaml: cannot open"));
    assert_int_equal(memory.bytes, 0);
    scratch_write_text(folder, "b.yaml", "extends: ./a.yaml\n");
    assert_int_equal(read_file(&r, scratch_path(folder, "a.yaml"), NULL, 0), FAM_STATUS_BAD_FORMAT);
    assert_non_null(strstr(error.message, "extends: line 1 column 10: found a recipe that extends itself"));
    assert_int_equal(memory.bytes, 0);
    scratch_write_text(folder, "r0.yaml", BASE);
    for (int i = 1; i <= 16; i++) {
        char name[32], text[64];
        snprintf(name, sizeof name, "r%d.yaml", i);
        snprintf(text, sizeof text, "extends: r%d.yaml\n", i - 1);
        scratch_write_text(folder, name, text);
    }
    assert_int_equal(read_file(&r, scratch_path(folder, "r15.yaml"), NULL, 0), FAM_OK);
    release(r);
    assert_int_equal(read_file(&r, scratch_path(folder, "r16.yaml"), NULL, 0), FAM_STATUS_BAD_FORMAT);
    assert_non_null(strstr(error.message, "found a chain of more than 16 recipes, need fewer"));
    assert_int_equal(memory.bytes, 0);
    assert_int_equal(read_file(&r, folder, NULL, 0), FAM_STATUS_IO);
    scratch_remove(folder);
}

/* ---- writing and comparing ---- */

static void what_is_written_reads_the_same(void **state)
{
    (void)state;
    static const char *const rows[] = {
        BASE,
        NEW "train: {steps: 10, tokens: 33}\n" DATA,
        BASE "optimizer: {learning_rate: 0.00012345678901234567, epsilon: 1e-300, clip: 123456.789}\n"
             "validation: {every: 3, data: [{kind: text, path: \"nul\\u00e9 : #\\n\\t\\\"'\\\\x\", name: null}]}\n",
        PRETRAINED "train: {steps: 1000000000000}\ncurriculum: {to_blocks: 8}\n"
                   "data: [{kind: jsonl, path: 'null', name: '1', repeat_weight: 3e-5}, {kind: passkey_landmark}]\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fam_recipe *r = parse(rows[i]);
        recipe_check_round_trip(r);
        release(r);
    }
    fam_recipe *r = parse(rows[2]);
    char *text = recipe_written(r);
    assert_non_null(strstr(text, "learning_rate: 0.00012345678901234567\n"));
    assert_non_null(strstr(text, "prompt_learning_rate: null\n"));
    assert_non_null(strstr(text, "targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]\n"));
    fam_free(&memory, text);
    /* a path that no recipe can say */
    memcpy(r->validation.data[0].path, "\xff", 1);
    assert_int_equal(fam_recipe_write(&text, r, &error), FAM_STATUS_UNSUPPORTED);
    release(r);
}

static char differences[2048];

static void collect(void *context, const char *key, const char *saved, const char *given)
{
    (void)context;
    size_t used = strlen(differences);
    snprintf(differences + used, sizeof differences - used, "%s: %s -> %s\n", key, saved, given);
}

/* What comparing the text with another says. */
static void check_differences(const char *saved, const char *given, const char *need)
{
    fam_recipe *a, *b = NULL;
    assert_int_equal(parse_sets(&a, saved, NULL, 0), FAM_OK);
    if (fam_recipe_parse(&b, &memory, "b", given, strlen(given), NULL, 0, &error) != FAM_OK)
        fail_msg("%s", error.message);
    differences[0] = '\0';
    assert_int_equal(fam_recipe_compare(a, b, collect, NULL, &error), FAM_OK);
    assert_string_equal(differences, need);
    fam_recipe_free(b);
    release(a);
}

static void comparing_names_what_must_not_change(void **state)
{
    (void)state;
    check_differences(BASE,
                      BASE "output: {keep: 9, every: 1, seconds: 3, log_every: 7}\n"
                           "validation: {every: 3, seed: 5, data: [{kind: recall}]}\n",
                      "");
    check_differences(BASE,
                      NEW FAM "train: {steps: 10, blocks: 4, recompute: layer}\n"
                              "data: [{kind: passkey, name: other}]\n"
                              "optimizer: {bad_steps_max: 3}\n",
                      "");
    check_differences(BASE,
                      NEW FAM "train: {steps: 10, blocks: 5, sequences: 9, seed: 3, dtype: f32}\n"
                              "data: [{kind: passkey, share: 2, digits: 4}]\n"
                              "optimizer: {learning_rate: 1e-3, kind: adafactor}\n",
                      "optimizer.kind: adamw -> adafactor\noptimizer.learning_rate: 0.0005 -> 0.001\n"
                      "train.sequences: 8 -> 9\ntrain.blocks: 4 -> 5\ntrain.seed: 1 -> 3\ntrain.dtype: null -> f32\n"
                      "data.0.share: 1.0 -> 2.0\ndata.0.digits: 5 -> 4\n");
    check_differences(BASE, NEW FAM "train: {steps: 10}\ncurriculum: {to_blocks: 8}\n" DATA,
                      "train.blocks: 4 -> null\ncurriculum: null -> a map\n");
    check_differences(BASE, NEW FAM TRAIN "data: [{kind: passkey}, {kind: recall}]\n",
                      "data: 1 entries -> 2 entries\n");
    check_differences(NEW FAM TRAIN "data: [{kind: text, path: a}]\n", NEW FAM TRAIN "data: [{kind: text, path: b}]\n",
                      "");
    check_differences(BASE, NEW FAM TRAIN "data: [{kind: recall, keys: 4}]\n", "data.0.kind: passkey -> recall\n");
    check_differences(PRETRAINED TRAIN DATA, "model: {path: other.gguf}\n" TRAIN DATA "adapt: {targets: [q_proj]}\n",
                      "model.path: m.gguf -> other.gguf\nadapt.targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, "
                      "up_proj, down_proj] -> [q_proj]\n");
    /* more steps: only where the rate does not depend on their number */
    check_differences(NEW FAM "train: {steps: 200, blocks: 4}\n" DATA, NEW FAM "train: {steps: 300, blocks: 4}\n" DATA,
                      "train.steps: 200 -> 300\n");
    check_differences(NEW FAM "train: {steps: 200, blocks: 4}\noptimizer: {schedule: constant}\n" DATA,
                      NEW FAM "train: {steps: 300, blocks: 4}\noptimizer: {schedule: constant}\n" DATA, "");
}

/* ---- lack of memory ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const char *folder = scratch_make();
    scratch_write_text(folder, "base.yaml", BASE "validation: {data: [{kind: text, path: a, name: b}]}\n");
    scratch_write_text(folder, "top.yaml", "extends: base.yaml\nfam: {state_norm: rms}\nadapt: {targets: [q_proj]}\n");
    const char *const sets[] = {"train.steps=20", "data.1.kind=recall", "output.keep=4"};
    size_t failures = 0;
    for (int for_good = 0; for_good < 2; for_good++)
        for (size_t at = 1;; at++) {
            fam_recipe *r = NULL;
            char *text = NULL;
            fam_memory_init(&memory);
            memory.fail_at = at;
            memory.fail_for_good = for_good;
            fam_status status = fam_recipe_read(&r, &memory, scratch_path(folder, "top.yaml"), sets, 3, &error);
            if (status == FAM_OK) {
                status = fam_recipe_write(&text, r, &error);
                assert_true((status == FAM_OK) == (text != NULL));
                fam_free(&memory, text);
            } else {
                assert_null(r);
            }
            fam_recipe_free(r);
            assert_int_equal(memory.bytes, 0);
            if (status == FAM_OK)
                break;
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
            failures++;
        }
    assert_true(failures > 100);
    scratch_remove(folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_small_recipe_has_all_defaults),
    cmocka_unit_test(every_key_reaches_its_place),
    cmocka_unit_test(null_is_as_if_the_key_were_not_there),
    cmocka_unit_test(text_that_is_not_plain_yaml_is_refused_with_its_place),
    cmocka_unit_test(bounds_hold),
    cmocka_unit_test(values_are_checked_with_their_place),
    cmocka_unit_test(contradictions_are_refused),
    cmocka_unit_test(sets_are_laid_over_the_file),
    cmocka_unit_test(wrong_sets_are_invalid_arguments),
    cmocka_unit_test(a_recipe_extends_another),
    cmocka_unit_test(a_chain_that_does_not_end_is_refused),
    cmocka_unit_test(what_is_written_reads_the_same),
    cmocka_unit_test(comparing_names_what_must_not_change),
    cmocka_unit_test(every_allocation_may_fail),
};

SUITE_MAIN(tests)
