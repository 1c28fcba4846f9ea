/*
 * data/task.c: tasks and their wordings; what one draw of them is, is in episode.c. See task.h, and docs/TASKS.md for
 * where the wordings come from.
 */
#include <stdio.h>
#include <string.h>

#include "data/task_private.h"
#include "data/words.h"

#define DESCRIPTION                                                                                                    \
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "   \
    "about the important information there."
#define PASS_KEY "The pass key is%V. Remember it.%V is the pass key."

static const fam_wording wordings[] = {
    [FAM_DATA_PASSKEY] = {.head = DESCRIPTION,
                          .saying = " " PASS_KEY,
                          .question = "\nWhat is the pass key? The pass key is%V",
                          .next = "",
                          .value_after_blank = true,
                          .sayings = 1},
    [FAM_DATA_PASSKEY_LANDMARK] = {.head = DESCRIPTION "\n",
                                   .saying = "\n" PASS_KEY "\n",
                                   .question = "\nWhat is the pass key? The pass key is%V",
                                   .next = "",
                                   .value_after_blank = true,
                                   .sayings = 1},
    [FAM_DATA_NEEDLE] = {.head = "Some special magic numbers are hidden within the following text. Make sure to "
                                 "memorize it. I will quiz you about the numbers afterwards.",
                         .saying = " The special magic number for%K is%V.",
                         .question = "\nWhat is the special magic number for%K? The special magic number for%K is%V",
                         .next = ".",
                         .value_after_blank = true,
                         .sayings = 1,
                         .between_sentences = true},
    [FAM_DATA_RECALL] = {.head = "", .saying = "%K=%V", .question = "%K?%V", .next = "", .sayings = 1},
    [FAM_DATA_OVERWRITE] = {.head = "", .saying = "%K=%V", .question = "%K?%V", .next = "", .sayings = 2}};

static bool is_passkey(fam_data_kind kind)
{
    return kind == FAM_DATA_PASSKEY || kind == FAM_DATA_PASSKEY_LANDMARK;
}

size_t fam_task_write_key(const fam_task *task, int64_t key, char *out)
{
    const fam_key_space *space = &task->space;
    size_t length = 0;
    out[0] = '\0';
    if (space->count == 0)
        return 0;
    if (!space->letters)
        return (size_t)sprintf(out, " %s%s%s",
                               space->adjectives ? fam_words_adjectives[key / fam_words_noun_count] : "",
                               space->adjectives ? "-" : "", fam_words_nouns[key % fam_words_noun_count]);
    out[length++] = ' ';
    for (int i = 0; i < space->letters; i++, key /= 26)
        out[length++] = (char)('a' + key % 26);
    out[length] = '\0';
    return length;
}

size_t fam_task_write_value(const fam_task *task, int64_t value, char *out)
{
    return (size_t)sprintf(out, "%s%0*lld", task->wording->value_after_blank ? " " : "", (int)task->digits,
                           (long long)value);
}

size_t fam_task_write(const char *text, const char *key, const char *value, char out[FAM_TASK_TEXT_MAX])
{
    size_t length = 0;
    for (; *text; text++) {
        const char *part = text[0] != '%' ? NULL : text[1] == 'K' ? key : value;
        if (!part) {
            out[length++] = *text;
            continue;
        }
        size_t n = strlen(part);
        memcpy(out + length, part, n);
        length += n;
        text++;
    }
    out[length] = '\0';
    return length;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

static fam_status check_numbers(const fam_task_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *name = fam_data_kind_name((int)options->kind);
    FAM_FAIL_IF(options->kind > FAM_DATA_OVERWRITE || !name, FAM_STATUS_INVALID_ARGUMENT,
                "task: kind: found %s, need passkey, passkey_landmark, needle, recall or overwrite",
                name ? name : "an unknown one");
    FAM_FAIL_IF(options->digits < 1 || options->digits > FAM_TASK_DIGITS_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "task %s: digits: found %lld, need 1 to %d", name, (long long)options->digits, FAM_TASK_DIGITS_MAX);
    FAM_FAIL_IF(options->path && options->kind != FAM_DATA_NEEDLE, FAM_STATUS_INVALID_ARGUMENT,
                "task %s: path: found %s, need none (its text is drawn)", name, options->path);
    if (is_passkey(options->kind))
        goto done;
    FAM_FAIL_IF(options->keys < 1 || options->keys > FAM_TASK_KEYS_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "task %s: keys: found %lld, need 1 to %d", name, (long long)options->keys, FAM_TASK_KEYS_MAX);
    FAM_FAIL_IF(options->asked < 1 || options->asked > options->keys, FAM_STATUS_INVALID_ARGUMENT,
                "task %s: asked: found %lld, need 1 to %lld (its keys)", name, (long long)options->asked,
                (long long)options->keys);
done:
    return status;
}

/* The shortest words of which there are twice as many as needed, so that which of them are drawn tells nothing. */
static fam_status choose_keys(fam_task *task, fam_data_kind kind, fam_error *error)
{
    fam_key_space *space = &task->space;
    if (is_passkey(kind))
        return FAM_OK;
    if (kind != FAM_DATA_NEEDLE) {
        for (space->count = 1; space->count < 2 * task->keys; space->letters++)
            space->count *= 26;
        return FAM_OK;
    }
    space->adjectives = 2 * task->keys > fam_words_noun_count;
    space->count = (int64_t)fam_words_noun_count * (space->adjectives ? fam_words_adjective_count : 1);
    if (2 * task->keys <= space->count)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "task needle: keys: found %lld, need 1 to %lld",
                         (long long)task->keys, (long long)space->count / 2);
}

static fam_status make_filler(fam_task *task, const fam_task_options *options, fam_encoder *encoder, fam_error *error)
{
    switch (options->kind) {
    case FAM_DATA_PASSKEY:
        return fam_filler_grass(&task->filler, task->memory, encoder, false, error);
    case FAM_DATA_PASSKEY_LANDMARK:
        return fam_filler_grass(&task->filler, task->memory, encoder, true, error);
    case FAM_DATA_NEEDLE:
        return options->path
                   ? fam_filler_file(&task->filler, task->memory, encoder, task->tokenizer, options->path, error)
                   : fam_filler_sentences(&task->filler, task->memory, encoder, task->tokenizer, error);
    default:
        return fam_filler_letters(&task->filler, task->memory, encoder, error);
    }
}

/* ---- the fewest tokens ------------------------------------------------------------------------------------------- */

/* The most tokens that each part of a wording can take. */
typedef struct bounds {
    fam_id_list scratch;
    fam_encoder *encoder;
    int64_t key, value;
} bounds;

static fam_status count_ids(bounds *b, const char *text, size_t size, int64_t *count, fam_error *error)
{
    b->scratch.count = 0;
    fam_status status = fam_id_list_encode(&b->scratch, b->encoder, text, size, true, error);
    *count = (int64_t)b->scratch.count;
    return status;
}

/* Of a wording's text: what stands between keys and values, and those. Adds to *sum. */
static fam_status bound_text(bounds *b, const char *text, int64_t *sum, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t count;
    while (*text) {
        size_t length = strcspn(text, "%");
        FAM_TRY(count_ids(b, text, length, &count, error));
        *sum += count;
        text += length;
        if (*text) {
            *sum += text[1] == 'K' ? b->key : b->value;
            text += 2;
        }
    }
done:
    return status;
}

/* Letters and digits are at most a token each; of words the longest counts. */
static fam_status bound_key(bounds *b, const fam_task *task, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t noun = 0, adjective = 0, count;
    char text[64];
    b->key = task->space.letters ? 1 + task->space.letters : 0;
    if (task->space.count == 0 || task->space.letters)
        goto done;
    for (int i = 0; i < fam_words_noun_count; i++) {
        FAM_TRY(count_ids(b, text, (size_t)sprintf(text, " %s", fam_words_nouns[i]), &count, error));
        noun = count > noun ? count : noun;
        FAM_TRY(count_ids(b, text, (size_t)sprintf(text, "-%s", fam_words_nouns[i]), &count, error));
        noun = count > noun && task->space.adjectives ? count : noun;
    }
    for (int i = 0; task->space.adjectives && i < fam_words_adjective_count; i++) {
        FAM_TRY(count_ids(b, text, (size_t)sprintf(text, " %s", fam_words_adjectives[i]), &count, error));
        adjective = count > adjective ? count : adjective;
    }
    b->key = noun + adjective;
done:
    return status;
}

static fam_status find_tokens_min(fam_task *task, fam_encoder *encoder, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_wording *wording = task->wording;
    bounds b = {.scratch.memory = task->memory, .encoder = encoder};
    int64_t saying = 0, question = 0, next = 0, count;
    FAM_TRY(count_ids(&b, "0123456789", 10, &count, error)); /* can it spell digits? */
    FAM_TRY(bound_key(&b, task, error));
    b.value = task->digits + (wording->value_after_blank ? 1 : 0);
    FAM_TRY(bound_text(&b, wording->saying, &saying, error));
    FAM_TRY(bound_text(&b, wording->question, &question, error));
    FAM_TRY(bound_text(&b, wording->next, &next, error));
    task->tokens_min = (int64_t)task->head.count + task->keys * wording->sayings * saying + task->asked * question +
                       (task->asked - 1) * next;
done:
    fam_free(task->memory, b.scratch.ids);
    return status;
}

fam_status fam_task_create(fam_task **out, fam_memory *memory, const fam_task_options *options,
                           const fam_tokenizer *tokenizer, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_task *task = NULL;
    fam_encoder *encoder = NULL;
    *out = NULL;
    FAM_TRY(check_numbers(options, error));
    FAM_TRY(fam_encoder_create(&encoder, tokenizer, false, error));
    FAM_TRY_ALLOC(task, fam_alloc_zeroed(memory, sizeof *task), "task");
    task->memory = task->head.memory = memory;
    task->tokenizer = tokenizer;
    task->wording = &wordings[options->kind];
    task->digits = options->digits;
    task->keys = is_passkey(options->kind) ? 1 : options->keys;
    task->asked = is_passkey(options->kind) ? 1 : options->asked;
    FAM_TRY(choose_keys(task, options->kind, error));
    if (fam_tokenizer_adds_bos(tokenizer))
        FAM_TRY(fam_id_list_put(&task->head, fam_tokenizer_bos(tokenizer), error));
    FAM_TRY(fam_id_list_encode(&task->head, encoder, task->wording->head, strlen(task->wording->head), true, error));
    FAM_TRY(make_filler(task, options, encoder, error));
    FAM_TRY(find_tokens_min(task, encoder, error));
    *out = task;
    task = NULL;
done:
    fam_encoder_free(encoder);
    fam_task_free(task);
    return status;
}

void fam_task_free(fam_task *task)
{
    if (!task)
        return;
    fam_filler_destroy(&task->filler);
    fam_free(task->memory, task->head.ids);
    fam_free(task->memory, task);
}

int64_t fam_task_tokens_min(const fam_task *task)
{
    return task->tokens_min;
}
