/*
 * data/episode.c: one draw of a task. Everything that is said is drawn, encoded and put in its place when the episode
 * is made; reading copies it, and filler between. See task.h.
 */
#include <stdlib.h>
#include <string.h>

#include "data/task_private.h"

enum { PATIENCE_TOKENS = 256 /* that a saying waits for the end of a sentence */ };

/* Something that is said whole, after `at` tokens of filler: ids [begin, answer_begin) and, from there to end, an
 * answer. */
typedef struct part {
    int64_t at, begin, answer_begin, end;
} part;

struct fam_episode {
    const fam_task *task;
    fam_id_list said; /* the ids of all parts */
    part *parts;      /* [part_count] in order */
    int64_t part_count;
    char *answer;
    int64_t filler_tokens; /* of the whole episode */
    /* where reading is: */
    fam_filler_place place;
    int64_t head_read, filler_read, part_index, part_at; /* part_at: in `said`; -1: before the part */
    bool in_sentence;
};

/* What is drawn, while an episode is made. */
typedef struct plan {
    fam_memory *memory;
    const fam_task *task;
    fam_encoder *encoder;
    fam_random random;
    int64_t *keys, *values; /* [keys] number of the word; the value that counts */
    int64_t *order;         /* [sayings] which key each is of */
    bool *said_before;      /* [keys] */
    fam_id_list prefix;     /* scratch */
} plan;

/* Keys that differ, drawn from all that there are. */
static fam_status draw_keys(plan *p, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t count = p->task->space.count;
    uint8_t *taken = NULL;
    if (count == 0)
        goto done;
    FAM_TRY_ALLOC(taken, fam_alloc_zeroed(p->memory, (size_t)count), "episode");
    for (int64_t i = 0; i < p->task->keys;) { /* at most half are taken */
        int64_t drawn = fam_draw_below(&p->random, count);
        if (!taken[drawn])
            p->keys[i++] = drawn;
        taken[drawn] = 1;
    }
done:
    fam_free(p->memory, taken);
    return status;
}

/* A number of the task's digits; the first is none but 0 if it is the only one. Not `other` (-1: any). */
static int64_t draw_value(plan *p, int64_t other)
{
    int64_t from = 0, below = 10;
    for (int64_t i = 1; i < p->task->digits; i++) {
        from = below;
        below *= 10;
    }
    for (;;) {
        int64_t value = from + fam_draw_below(&p->random, below - from);
        if (value != other)
            return value;
    }
}

static void shuffle(fam_random *random, int64_t *items, int64_t count)
{
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t k = fam_draw_below(random, i + 1), kept = items[i];
        items[i] = items[k];
        items[k] = kept;
    }
}

static fam_status encode(plan *p, fam_id_list *list, const char *text, int64_t key, int64_t value, fam_error *error)
{
    char key_text[64], value_text[32], whole[FAM_TASK_TEXT_MAX];
    fam_task_write_key(p->task, key, key_text);
    if (value >= 0)
        fam_task_write_value(p->task, value, value_text);
    else
        strcpy(value_text, p->task->wording->value_after_blank ? " " : "");
    size_t size = fam_task_write(text, key_text, value_text, whole);
    return fam_id_list_encode(list, p->encoder, whole, size, true, error);
}

static fam_status put_saying(fam_episode *episode, plan *p, int64_t which, int64_t at, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t key = p->order[which], value = p->values[key], begin = (int64_t)episode->said.count;
    if (p->task->wording->sayings > 1 && !p->said_before[key])
        value = draw_value(p, value);
    p->said_before[key] = true;
    FAM_TRY(encode(p, &episode->said, p->task->wording->saying, p->keys[key], value, error));
    int64_t end = (int64_t)episode->said.count;
    episode->parts[episode->part_count++] = (part){.at = at, .begin = begin, .answer_begin = end, .end = end};
done:
    return status;
}

/* A question with its answer, which begins where the question alone would have other ids: a tokenizer may take the
 * blank before a number into it. */
static fam_status put_question(fam_episode *episode, plan *p, int64_t key, bool first, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_wording *wording = p->task->wording;
    fam_id_list *said = &episode->said;
    int64_t begin = (int64_t)said->count;
    if (!first)
        FAM_TRY(encode(p, said, wording->next, p->keys[key], 0, error));
    size_t asked = said->count, same = 0;
    FAM_TRY(encode(p, said, wording->question, p->keys[key], p->values[key], error));
    p->prefix.count = 0;
    FAM_TRY(encode(p, &p->prefix, wording->question, p->keys[key], -1, error));
    while (same < p->prefix.count && same < said->count - asked && said->ids[asked + same] == p->prefix.ids[same])
        same++;
    episode->parts[episode->part_count++] =
        (part){.begin = begin, .answer_begin = (int64_t)(asked + same), .end = (int64_t)said->count};
done:
    return status;
}

static fam_status put_answers(fam_episode *episode, const plan *p, const int64_t *asked, fam_error *error)
{
    fam_status status = FAM_OK;
    char text[32];
    size_t length = 0, each = (size_t)p->task->digits + 1;
    FAM_TRY_ALLOC(episode->answer, fam_alloc_array(p->memory, (size_t)p->task->asked, each), "episode");
    for (int64_t i = 0; i < p->task->asked; i++, length += each) {
        fam_task_write_value(p->task, p->values[asked[i]], text);
        memcpy(episode->answer + length, text + (text[0] == ' '), each - 1);
        episode->answer[length + each - 1] = i + 1 < p->task->asked ? ' ' : '\0';
    }
done:
    return status;
}

static int compare_depths(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Says each key as often as the task does, at depths that are drawn, and then asks. */
static fam_status say_and_ask(fam_episode *episode, plan *p, const fam_draw *draw, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_task *task = p->task;
    int64_t sayings = task->keys * task->wording->sayings;
    double *depths = NULL;
    FAM_TRY_ALLOC(depths, fam_alloc_array(p->memory, (size_t)sayings, sizeof *depths), "episode");
    for (int64_t i = 0; i < sayings; i++) {
        p->order[i] = i % task->keys;
        depths[i] = draw->depth_from + (draw->depth_to - draw->depth_from) * fam_random_uniform(&p->random);
    }
    shuffle(&p->random, p->order, sayings);
    qsort(depths, (size_t)sayings, sizeof *depths, compare_depths);
    for (int64_t i = 0; i < sayings; i++)
        FAM_TRY(put_saying(episode, p, i, 0, error));
    for (int64_t i = 0; i < task->keys; i++)
        p->order[i] = i;
    shuffle(&p->random, p->order, task->keys);
    for (int64_t i = 0; i < task->asked; i++)
        FAM_TRY(put_question(episode, p, p->order[i], i == 0, error));
    FAM_TRY(put_answers(episode, p, p->order, error));
    int64_t fixed = (int64_t)(task->head.count + episode->said.count);
    FAM_FAIL_IF(draw->tokens < fixed || draw->tokens < task->tokens_min, FAM_STATUS_INVALID_ARGUMENT,
                "task: tokens: found %lld, need at least %lld", (long long)draw->tokens,
                (long long)(task->tokens_min > fixed ? task->tokens_min : fixed));
    episode->filler_tokens = draw->tokens - fixed;
    for (int64_t i = 0; i < episode->part_count; i++)
        episode->parts[i].at =
            i < sayings ? (int64_t)(depths[i] * (double)episode->filler_tokens + 0.5) : episode->filler_tokens;
done:
    fam_free(p->memory, depths);
    return status;
}

static fam_status make_plan(plan *p, const fam_task *task, const fam_draw *draw, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t keys = (size_t)task->keys, sayings = keys * (size_t)task->wording->sayings;
    uint64_t number = draw->number, seed = draw->seed;
    *p = (plan){.memory = task->memory, .task = task, .prefix.memory = task->memory};
    fam_random_seed(&p->random, fam_splitmix64(&seed) ^ fam_splitmix64(&number));
    FAM_TRY(fam_encoder_create(&p->encoder, task->tokenizer, false, error));
    FAM_TRY_ALLOC(p->keys, fam_alloc_array(p->memory, keys, sizeof *p->keys), "episode");
    FAM_TRY_ALLOC(p->values, fam_alloc_array(p->memory, keys, sizeof *p->values), "episode");
    FAM_TRY_ALLOC(p->order, fam_alloc_array(p->memory, sayings, sizeof *p->order), "episode");
    FAM_TRY_ALLOC(p->said_before, fam_alloc_array(p->memory, keys, sizeof *p->said_before), "episode");
    FAM_TRY(draw_keys(p, error));
    for (size_t i = 0; i < keys; i++)
        p->values[i] = draw_value(p, -1);
done:
    return status;
}

static void plan_destroy(plan *p)
{
    fam_encoder_free(p->encoder);
    fam_free(p->memory, p->keys);
    fam_free(p->memory, p->values);
    fam_free(p->memory, p->order);
    fam_free(p->memory, p->said_before);
    fam_free(p->memory, p->prefix.ids);
}

fam_status fam_episode_create(fam_episode **out, const fam_task *task, const fam_draw *draw, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_episode *episode = NULL;
    plan p = {.memory = task->memory};
    *out = NULL;
    FAM_FAIL_IF(!(draw->depth_from >= 0 && draw->depth_from <= draw->depth_to && draw->depth_to <= 1),
                FAM_STATUS_INVALID_ARGUMENT, "task: depth: found %g to %g, need a range within 0 to 1",
                draw->depth_from, draw->depth_to);
    FAM_TRY(make_plan(&p, task, draw, error));
    FAM_TRY_ALLOC(episode, fam_alloc_zeroed(task->memory, sizeof *episode), "episode");
    episode->task = task;
    episode->said.memory = task->memory;
    episode->part_at = -1;
    size_t parts = (size_t)(task->keys * task->wording->sayings + task->asked);
    FAM_TRY_ALLOC(episode->parts, fam_alloc_array(task->memory, parts, sizeof *episode->parts), "episode");
    FAM_TRY(say_and_ask(episode, &p, draw, error));
    fam_filler_begin(&task->filler, &episode->place, &p.random);
    *out = episode;
    episode = NULL;
done:
    plan_destroy(&p);
    fam_episode_free(episode);
    return status;
}

void fam_episode_free(fam_episode *episode)
{
    if (!episode)
        return;
    fam_memory *memory = episode->task->memory;
    fam_free(memory, episode->said.ids);
    fam_free(memory, episode->parts);
    fam_free(memory, episode->answer);
    fam_free(memory, episode);
}

const char *fam_episode_answer(const fam_episode *episode)
{
    return episode->answer;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* How many tokens of filler come before the next part, at least one of them if any. */
static int64_t filler_due(const fam_episode *episode)
{
    const part *next = &episode->parts[episode->part_index];
    int64_t due = next->at - episode->filler_read;
    if (due > 0)
        return due;
    bool waits = episode->in_sentence && episode->filler_read < episode->filler_tokens && -due < PATIENCE_TOKENS;
    return waits ? 1 : 0;
}

static int64_t read_filler(fam_episode *episode, int32_t *ids, int64_t count)
{
    const fam_task *task = episode->task;
    fam_filler_read(&task->filler, &episode->place, ids, count);
    episode->filler_read += count;
    if (task->wording->between_sentences) {
        int32_t last = ids[count - 1];
        episode->in_sentence = last >= task->filler.ids_max || !task->filler.ends[last];
    }
    return count;
}

static int64_t read_part(fam_episode *episode, int32_t *ids, uint8_t *answers, int64_t max)
{
    const part *now = &episode->parts[episode->part_index];
    int64_t at = episode->part_at < 0 ? now->begin : episode->part_at, count = now->end - at;
    if (count > max)
        count = max;
    memcpy(ids, episode->said.ids + at, (size_t)count * sizeof *ids);
    for (int64_t i = 0; i < count; i++)
        answers[i] = at + i >= now->answer_begin;
    episode->part_at = at + count;
    if (episode->part_at == now->end) {
        episode->part_index++;
        episode->part_at = -1;
        episode->in_sentence = false;
        fam_filler_restart(&episode->task->filler, &episode->place);
    }
    return count;
}

int64_t fam_episode_read(fam_episode *episode, int32_t *ids, uint8_t *answers, int64_t max)
{
    const fam_id_list *head = &episode->task->head;
    int64_t count = 0;
    while (count < max && episode->part_index < episode->part_count) {
        int64_t left = max - count, due;
        if (episode->head_read < (int64_t)head->count) {
            int64_t n = (int64_t)head->count - episode->head_read;
            n = n < left ? n : left;
            memcpy(ids + count, head->ids + episode->head_read, (size_t)n * sizeof *ids);
            memset(answers + count, 0, (size_t)n);
            episode->head_read += n;
            count += n;
        } else if (episode->part_at < 0 && (due = filler_due(episode)) > 0) {
            int64_t n = read_filler(episode, ids + count, due < left ? due : left);
            memset(answers + count, 0, (size_t)n);
            count += n;
        } else {
            count += read_part(episode, ids + count, answers + count, left);
        }
    }
    return count;
}
