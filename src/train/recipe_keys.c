/*
 * train/recipe_keys.c: the table of keys. See recipe_keys.h.
 */
#include "train/recipe_keys.h"

#include <string.h>

#include "format/checkpoint.h"

_Static_assert(sizeof(fam_train_what) == sizeof(int) && sizeof(fam_data_kind) == sizeof(int),
               "words are kept in an int");

static const char *pick(const char *const *names, int count, int i)
{
    return i >= 0 && i < count ? names[i] : NULL;
}

#define NAMES(function, ...)                                                                                           \
    static const char *function(int i)                                                                                 \
    {                                                                                                                  \
        static const char *const names[] = {__VA_ARGS__};                                                              \
        return pick(names, (int)(sizeof names / sizeof *names), i);                                                    \
    }

/* in the order of the enumerations */
NAMES(what_name, "adapter", "prompt", "all")
NAMES(optimizer_name, "adamw", "adafactor")
NAMES(schedule_name, "constant", "cosine")
NAMES(prompt_init_name, "tokens", "normal")
NAMES(target_name, "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NAMES(recompute_name, "none", "layer", "span")
NAMES(dtype_name, "f32", "bf16")
NAMES(too_long_name, "split", "refuse", "skip")

#define AT(member) .offset = offsetof(fam_recipe, member)
#define RANGE(from, to) .least = (double)(from), .most = (double)(to)
#define ABOVE(from, to) .least = (double)(from), .most = (double)(to), .above = true
#define FREE .flags = FAM_KEY_FREE
#define REQUIRED .flags = FAM_KEY_REQUIRED

#define MANY 1e12 /* steps, tokens: beyond any run, and far from an overflow */
#define LARGE 1e9 /* factors and weights: finite */
#define SEED_MAX 9223372036854775807.0

const fam_key fam_recipe_keys[] = {
    {"model", NULL, "What is trained: a pretrained model, or one from nothing. One of `path` and `new` is needed.",
     .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"model.path", NULL, "A pretrained model: a GGUF file or a Hugging Face directory.", "`model.new` is needed",
     .type = FAM_KEY_PATH, AT(model.path)},
    {"model.adapter", NULL, "The adapter directory to go on with; its rank, targets and settings hold.",
     "a fresh adapter", .type = FAM_KEY_PATH, AT(model.adapter)},
    {"model.new", NULL,
     "A model from nothing, of the Llama family. Its tokens are bytes, and one more that ends a text.",
     .type = FAM_KEY_GROUP, AT(model.is_new)},
    {"model.new.layers", NULL, "Transformer layers (L).", .type = FAM_KEY_INTEGER, AT(model.layers),
     RANGE(1, FAM_LAYERS_MAX), REQUIRED},
    {"model.new.hidden_size", NULL, "Width of the residual stream (E).", .type = FAM_KEY_INTEGER, AT(model.hidden_size),
     RANGE(1, FAM_WIDTH_MAX), REQUIRED},
    {"model.new.intermediate_size", NULL, "Width of the feed-forward's middle.", .type = FAM_KEY_INTEGER,
     AT(model.intermediate_size), RANGE(1, FAM_WIDTH_MAX), REQUIRED},
    {"model.new.heads", NULL, "Query heads (H).", .type = FAM_KEY_INTEGER, AT(model.heads), RANGE(1, FAM_HEADS_MAX),
     REQUIRED},
    {"model.new.kv_heads", NULL, "Key/value heads (G); a divisor of `heads`.", "as `heads`", .type = FAM_KEY_INTEGER,
     AT(model.kv_heads), RANGE(1, FAM_HEADS_MAX)},
    {"model.new.head_dim", NULL, "Width of a head (D); even.", "`hidden_size` / `heads`", .type = FAM_KEY_INTEGER,
     AT(model.head_dim), RANGE(2, FAM_WIDTH_MAX)},
    {"model.new.context_length", "2048", "Tokens that the model's configuration promises in mode full.",
     .type = FAM_KEY_INTEGER, AT(model.context_length), RANGE(1, FAM_SETTING_LENGTH_MAX)},
    {"model.new.rope_theta", "10000", "Base of the rotary positions.", .type = FAM_KEY_NUMBER, AT(model.rope_theta),
     ABOVE(0, 1e12)},
    {"model.new.rms_norm_eps", "1e-5", "Added to the mean square under the root in each norm.", .type = FAM_KEY_NUMBER,
     AT(model.rms_norm_eps), ABOVE(0, 1)},
    {"model.new.init_std", "0.02", "Standard deviation of the first weights.", .type = FAM_KEY_NUMBER,
     AT(model.init_std), ABOVE(0, 10)},
    {"model.new.tied_embeddings", "true", "The output head is the embedding table.", .type = FAM_KEY_BOOLEAN,
     AT(model.tied_embeddings)},

    {"fam", NULL,
     "Settings of TransformerFAM. What is left out is as the adapter or the model says, else as `fam generate` has it.",
     .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"fam.mode", NULL, "Which keys a token may see. The memory is there in mode fam only.",
     "as the model says, else full", .type = FAM_KEY_WORD, .words = fam_mode_name, AT(fam.mode), .unset = -1},
    {"fam.block_size", NULL, "Tokens of a block (C).", "as the model says, else 1024", .type = FAM_KEY_INTEGER,
     AT(fam.block_size), RANGE(1, FAM_SETTING_LENGTH_MAX), .unset = -1},
    {"fam.memory_segments", NULL, "Whole blocks before its own that a token also sees (m).",
     "as the model says, else 0", .type = FAM_KEY_INTEGER, AT(fam.memory_segments), RANGE(0, FAM_MEMORY_SEGMENTS_MAX),
     .unset = -1},
    {"fam.fam_length", NULL, "Rows of the memory in each layer (F).", "as the model says", .type = FAM_KEY_INTEGER,
     AT(fam.fam_length), RANGE(1, FAM_SETTING_LENGTH_MAX), .unset = -1},
    {"fam.window", NULL, "Tokens that a token sees in mode swa.", "as the model says, else 1024",
     .type = FAM_KEY_INTEGER, AT(fam.window), RANGE(1, FAM_SETTING_LENGTH_MAX), .unset = -1},
    {"fam.state_norm", NULL,
     "How the memory is rescaled after each update: not (as in the paper), every row to RMS 1, or to "
     "the RMS that it began with (for pretrained models).",
     "as the model says, else none", .type = FAM_KEY_WORD, .words = fam_state_norm_name, AT(fam.state_norm),
     .unset = -1},
    {"fam.fam_positions", NULL, "Where the memory's rows sit for the rotary positions.", "as the model says, else last",
     .type = FAM_KEY_WORD, .words = fam_positions_name, AT(fam.fam_positions), .unset = -1},
    {"fam.prompt_init", "tokens",
     "What the memory's learned start begins as: the embeddings of tokens drawn at random, or "
     "normal numbers. A model that has learned one of this length begins with that.",
     .type = FAM_KEY_WORD, .words = prompt_init_name, AT(fam.prompt_init)},
    {"fam.prompt_std", "0.02", "Standard deviation of these normal numbers.", .type = FAM_KEY_NUMBER,
     AT(fam.prompt_std), ABOVE(0, 100)},

    {"adapt", NULL, "What changes in training.", .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"adapt.what", NULL, "An adapter (LoRA, and in mode fam the prompt), the prompt alone, or all weights.",
     "adapter for a pretrained model, all for a new one", .type = FAM_KEY_WORD, .words = what_name, AT(adapt.what),
     .unset = -1},
    {"adapt.rank", "32", "Rank of the LoRA factors.", .type = FAM_KEY_INTEGER, AT(adapt.rank), RANGE(1, 1 << 16)},
    {"adapt.alpha", NULL, "LoRA's alpha: the change is scaled by alpha / rank, under `rslora` by alpha / sqrt(rank).",
     "so that the scale is 2", .type = FAM_KEY_NUMBER, AT(adapt.alpha), ABOVE(0, LARGE)},
    {"adapt.rslora", "false", "Scale by the root of the rank (rank-stabilised LoRA).", .type = FAM_KEY_BOOLEAN,
     AT(adapt.rslora)},
    {"adapt.targets", "[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]",
     "The projections that get LoRA factors.", .type = FAM_KEY_WORDS, .words = target_name, AT(adapt.targets)},

    {"optimizer", NULL, "How weights follow gradients.", .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"optimizer.kind", "adamw", "AdamW, or Adafactor (the paper's).", .type = FAM_KEY_WORD, .words = optimizer_name,
     AT(optimizer.kind)},
    {"optimizer.learning_rate", "5e-4", "Peak rate.", .type = FAM_KEY_NUMBER, AT(optimizer.learning_rate),
     ABOVE(0, 100)},
    {"optimizer.prompt_learning_rate", NULL, "Peak rate of the prompt.", "as `learning_rate`", .type = FAM_KEY_NUMBER,
     AT(optimizer.prompt_learning_rate), ABOVE(0, 100), .unset = -1},
    {"optimizer.beta1", "0.9", "Decay of the mean gradient.", .type = FAM_KEY_NUMBER, AT(optimizer.beta1),
     RANGE(0, 0.999999)},
    {"optimizer.beta2", "0.99", "Decay of the mean squared gradient.", .type = FAM_KEY_NUMBER, AT(optimizer.beta2),
     RANGE(0, 0.999999)},
    {"optimizer.epsilon", "1e-8", "Keeps a division by a vanishing squared gradient finite.", .type = FAM_KEY_NUMBER,
     AT(optimizer.epsilon), ABOVE(0, 1)},
    {"optimizer.weight_decay", "0", "Decoupled decay of matrices, times the rate (norms and the prompt have none).",
     .type = FAM_KEY_NUMBER, AT(optimizer.weight_decay), RANGE(0, 1000)},
    {"optimizer.clip", "1", "Largest norm of all gradients together; 0: no limit.", .type = FAM_KEY_NUMBER,
     AT(optimizer.clip), RANGE(0, LARGE)},
    {"optimizer.schedule", "cosine", "The rate after the warm-up.", .type = FAM_KEY_WORD, .words = schedule_name,
     AT(optimizer.schedule)},
    {"optimizer.warmup_steps", NULL, "Steps in which the rate climbs from 0.",
     "100, or all of `train.steps` if they are fewer", .type = FAM_KEY_INTEGER, AT(optimizer.warmup_steps),
     RANGE(0, MANY), .unset = -1},
    {"optimizer.final_fraction", "0.1", "Cosine: what is left of the rate at the last step.", .type = FAM_KEY_NUMBER,
     AT(optimizer.final_fraction), RANGE(0, 1)},
    {"optimizer.bad_steps_max", "10",
     "So many steps in a row whose loss or gradient is not finite (they are skipped) end the run.",
     .type = FAM_KEY_INTEGER, AT(optimizer.bad_steps_max), RANGE(1, MANY), FREE},

    {"train", NULL, "Length and shape of the run.", .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"train.steps", NULL, "Optimizer steps. A run that is resumed may have others, under schedule constant.",
     .type = FAM_KEY_INTEGER, AT(train.steps), RANGE(1, MANY), REQUIRED},
    {"train.sequences", "8", "Sequences of one pass (B).", .type = FAM_KEY_INTEGER, AT(train.sequences),
     RANGE(1, 1 << 20)},
    {"train.tokens_per_step", "0",
     "About so many tokens a step, whatever the sequences' length: passes are accumulated, and "
     "more sequences go into one where they are short. 0: one pass, or `accumulate`.",
     .type = FAM_KEY_INTEGER, AT(train.tokens_per_step), RANGE(0, MANY)},
    {"train.accumulate", "1", "Passes of a step, where `tokens_per_step` is 0.", .type = FAM_KEY_INTEGER,
     AT(train.accumulate), RANGE(1, 1 << 20)},
    {"train.blocks", NULL, "Blocks of a sequence, in modes bswa and fam.", "`curriculum` or `train.tokens` is needed",
     .type = FAM_KEY_INTEGER, AT(train.blocks), RANGE(1, 1 << 20)},
    {"train.tokens", NULL, "Tokens of a sequence, in modes full and swa.", "`train.blocks` or `curriculum` is needed",
     .type = FAM_KEY_INTEGER, AT(train.tokens), RANGE(2, FAM_SETTING_LENGTH_MAX)},
    {"train.carry", "1",
     "Sequences of one document in a row; the memory is handed on from one to the next, the gradient is "
     "not (truncated backpropagation). Mode fam.",
     .type = FAM_KEY_INTEGER, AT(train.carry), RANGE(1, 1 << 20)},
    {"train.stop_gradient_segments", "false",
     "No gradient flows into the keys and values of earlier blocks (an ablation).", .type = FAM_KEY_BOOLEAN,
     AT(train.stop_gradient_segments)},
    {"train.state_passing_probability", "0",
     "Random State Passing: how likely a sequence begins with the memory that the step "
     "before ended with. Mode fam.",
     .type = FAM_KEY_NUMBER, AT(train.state_passing_probability), RANGE(0, 1)},
    {"train.state_passing_start", "0", "The first step of it.", .type = FAM_KEY_INTEGER, AT(train.state_passing_start),
     RANGE(0, MANY)},
    {"train.random_position_offset", "false",
     "Random Position Offset: half of the sequences begin at a position drawn at "
     "random. Matters under `fam_positions` zero.",
     .type = FAM_KEY_BOOLEAN, AT(train.random_position_offset)},
    {"train.state_noise", "0",
     "Normal noise added to the memory at each update: its standard deviation as a part of the "
     "row's RMS. Mode fam.",
     .type = FAM_KEY_NUMBER, AT(train.state_noise), RANGE(0, 10)},
    {"train.state_noise_start", "0", "The first step of it.", .type = FAM_KEY_INTEGER, AT(train.state_noise_start),
     RANGE(0, MANY)},
    {"train.recompute", "none",
     "What the backward pass makes again instead of keeping it: nothing, each layer, or each layer a "
     "span of blocks at a time. Less memory, more time, the same result.",
     .type = FAM_KEY_WORD, .words = recompute_name, AT(train.recompute), FREE},
    {"train.seed", "1", "All that is random follows from it.", .type = FAM_KEY_INTEGER, AT(train.seed),
     RANGE(0, SEED_MAX)},
    {"train.dtype", NULL, "Arithmetic of activations.", "bf16 where the device computes in it, else f32",
     .type = FAM_KEY_WORD, .words = dtype_name, AT(train.dtype), .unset = FAM_AUTO},

    {"curriculum", NULL,
     "Short sequences first: the level, in blocks a sequence, doubles when what is remembered is remembered "
     "well. Instead of `train.blocks`.",
     .type = FAM_KEY_GROUP, AT(curriculum.on)},
    {"curriculum.from_blocks", "2", "The first level, and the fewest blocks drawn.", .type = FAM_KEY_INTEGER,
     AT(curriculum.from_blocks), RANGE(1, 1 << 20)},
    {"curriculum.to_blocks", NULL, "The last level.", .type = FAM_KEY_INTEGER, AT(curriculum.to_blocks),
     RANGE(1, 1 << 20), REQUIRED},
    {"curriculum.accuracy", "0.97", "The level doubles when the running accuracy on answer tokens passes this.",
     .type = FAM_KEY_NUMBER, AT(curriculum.accuracy), ABOVE(0, 1)},
    {"curriculum.window", "50", "Steps at the level that this accuracy is taken over.", .type = FAM_KEY_INTEGER,
     AT(curriculum.window), RANGE(1, 1 << 20)},
    {"curriculum.at_level", "0.5",
     "How likely a step is at the level itself; else its length is drawn from `from_blocks` up to "
     "the level.",
     .type = FAM_KEY_NUMBER, AT(curriculum.at_level), ABOVE(0, 1)},
    {"curriculum.recover_steps", "0", "After a promotion the rate climbs back in so many steps; 0: it stays as it is.",
     .type = FAM_KEY_INTEGER, AT(curriculum.recover_steps), RANGE(0, MANY)},
    {"curriculum.recover_fraction", "0.1", "The part of the rate that this climb begins at.", .type = FAM_KEY_NUMBER,
     AT(curriculum.recover_fraction), RANGE(0, 1)},

    {"data", NULL, "Where sequences come from: entries, drawn by their shares.", .type = FAM_KEY_ENTRIES, AT(data),
     .count = offsetof(fam_recipe, data_count), .most = FAM_RECIPE_DATA_MAX, REQUIRED},

    {"validation", NULL,
     "Measuring during training on what is not trained on. All of it may change in a run that is resumed.",
     .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"validation.every", "0", "Steps between validations; 0: never.", .type = FAM_KEY_INTEGER, AT(validation.every),
     RANGE(0, MANY), FREE},
    {"validation.sequences", "16", "Sequences drawn of each entry, the same ones every time.", .type = FAM_KEY_INTEGER,
     AT(validation.sequences), RANGE(1, 1 << 20), FREE},
    {"validation.blocks", "0", "Blocks of a sequence; 0: as many as training's longest.", .type = FAM_KEY_INTEGER,
     AT(validation.blocks), RANGE(0, 1 << 20), FREE},
    {"validation.seed", "1000003", "What is drawn follows from it; differs from `train.seed`.", .type = FAM_KEY_INTEGER,
     AT(validation.seed), RANGE(0, SEED_MAX), FREE},
    {"validation.data", NULL, "Entries as in `data`, with files of their own.",
     "the tasks of `data`, drawn with the other seed", .type = FAM_KEY_ENTRIES, AT(validation.data),
     .count = offsetof(fam_recipe, validation.data_count), .most = FAM_RECIPE_DATA_MAX, FREE},

    {"output", NULL, "Checkpoints and metrics.", .type = FAM_KEY_GROUP, .offset = FAM_KEY_ALWAYS},
    {"output.every", "500", "Steps between checkpoints; 0: only at the end, and when the run is stopped.",
     .type = FAM_KEY_INTEGER, AT(output.every), RANGE(0, MANY), FREE},
    {"output.seconds", "0", "Seconds between checkpoints, beside `every`; 0: not by time.", .type = FAM_KEY_INTEGER,
     AT(output.seconds), RANGE(0, 1e9), FREE},
    {"output.keep", "3", "Checkpoints that stay; the oldest goes.", .type = FAM_KEY_INTEGER, AT(output.keep),
     RANGE(2, 1 << 20), FREE},
    {"output.log_every", "1", "Steps between lines of metrics.", .type = FAM_KEY_INTEGER, AT(output.log_every),
     RANGE(1, MANY), FREE},
    {.path = NULL},
};

#undef AT
#define AT(member) .offset = offsetof(fam_data_options, member)
#define KIND(name) (1u << FAM_DATA_##name)
#define LISTS (KIND(NEEDLE) | KIND(RECALL) | KIND(OVERWRITE))
#define TASKS (LISTS | KIND(PASSKEY) | KIND(PASSKEY_LANDMARK))
#define FILES (KIND(TEXT) | KIND(JSONL))
#define EVERY (TASKS | FILES)

const fam_key fam_recipe_entry_keys[] = {
    {"kind", NULL,
     "What the entry is. A task (the first five) is drawn from the seed; text and jsonl are read from a file.",
     .type = FAM_KEY_WORD, .words = fam_data_kind_name, AT(kind), .kinds = EVERY, REQUIRED},
    {"share", "1", "How many of the sequences come from it, in proportion to the other entries' shares.",
     .type = FAM_KEY_NUMBER, AT(share), RANGE(0, LARGE), .kinds = EVERY},
    {"name", NULL, "Its name in metrics.", "the kind", .type = FAM_KEY_TEXT, AT(name), .kinds = EVERY, FREE},
    {"path", NULL,
     "The file; needle: the text that needles lie in. In a run that is resumed it may have moved, its contents "
     "are compared.",
     "needed by text and jsonl; needle: a built-in text", .type = FAM_KEY_PATH, AT(path), .kinds = FILES | KIND(NEEDLE),
     FREE},
    {"digits", "5", "Digits of a key or value.", .type = FAM_KEY_INTEGER, AT(digits), RANGE(1, 18), .kinds = TASKS},
    {"keys", "1", "How many keys are said.", .type = FAM_KEY_INTEGER, AT(keys), RANGE(1, 1 << 16), .kinds = LISTS},
    {"asked", "1", "How many of them are asked for.", .type = FAM_KEY_INTEGER, AT(asked), RANGE(1, 1 << 16),
     .kinds = LISTS},
    {"depth_from", "0", "Where a key stands at the earliest: 0 is the beginning of the text, 1 its end.",
     .type = FAM_KEY_NUMBER, AT(depth_from), RANGE(0, 1), .kinds = TASKS},
    {"depth_to", NULL, "And at the latest; drawn evenly between.", "passkey: as `depth_from`, others: 1",
     .type = FAM_KEY_NUMBER, AT(depth_to), RANGE(0, 1), .kinds = TASKS, .unset = -1},
    {"rest_weight", "0", "Loss weight of a token that is no answer (an answer's is 1).", .type = FAM_KEY_NUMBER,
     AT(rest_weight), RANGE(0, LARGE), .kinds = TASKS},
    {"rest_share", "0", "Instead: all tokens that are no answer weigh together so much of what the answers weigh.",
     .type = FAM_KEY_NUMBER, AT(rest_share), RANGE(0, LARGE), .kinds = TASKS},
    {"weight", "1", "Loss weight of a token of the text, or of a completion or reply.", .type = FAM_KEY_NUMBER,
     AT(weight), RANGE(0, LARGE), .kinds = FILES},
    {"repeat_tokens", "0",
     "So many consecutive tokens, drawn at random, are to be repeated at the end of the sequence (the "
     "paper's own task; it took 256); 0: none.",
     .type = FAM_KEY_INTEGER, AT(repeat_tokens), RANGE(0, 1 << 20), .kinds = FILES},
    {"repeat_weight", "0.1", "Loss weight of a repeated token.", .type = FAM_KEY_NUMBER, AT(repeat_weight),
     RANGE(0, LARGE), .kinds = FILES},
    {"shuffle", "false", "Documents in an order drawn from the seed (8 bytes of memory a document).",
     .type = FAM_KEY_BOOLEAN, AT(shuffle), .kinds = KIND(JSONL)},
    {"skip_bad", "0", "So many broken lines are skipped and counted; one more ends the run.", .type = FAM_KEY_INTEGER,
     AT(skip_bad), RANGE(0, MANY), .kinds = KIND(JSONL)},
    {"too_long", "refuse", "A conversation or completion that is longer than a sequence.", .type = FAM_KEY_WORD,
     .words = too_long_name, AT(too_long), .kinds = KIND(JSONL)},
    {"pack", "true", "Sequences are filled with several documents, without a mask between them.",
     .type = FAM_KEY_BOOLEAN, AT(pack), .kinds = KIND(JSONL)},
    {.path = NULL},
};

const char *fam_key_name(const fam_key *key)
{
    const char *point = strrchr(key->path, '.');
    return point ? point + 1 : key->path;
}

bool fam_key_is_in(const fam_key *key, const char *group)
{
    size_t length = strlen(group);
    if (length == 0)
        return !strchr(key->path, '.');
    return strncmp(key->path, group, length) == 0 && key->path[length] == '.' && !strchr(key->path + length + 1, '.');
}

bool fam_key_group_is_on(const fam_key *key, const fam_recipe *recipe)
{
    return key->offset == FAM_KEY_ALWAYS || *(const bool *)((const char *)recipe + key->offset);
}
