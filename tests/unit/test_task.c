/*
 * Tasks: what an episode says, that it has exactly the tokens asked for, and the ids that the tokenizer would give its
 * text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "byte_tokenizer.h"
#include "data/task.h"
#include "scratch.h"
#include "suite.h"

#define SMOLLM2 "build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"
#define HEAD                                                                                                           \
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "   \
    "about the important information there."
#define GRASS "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

static fam_tokenizer *open_tokenizer(const char *name)
{
    fam_tokenizer *tokenizer;
    fam_memory_init(&memory);
    if (!name)
        return byte_tokenizer_open(&memory);
    assert_ok(fam_tokenizer_from_path(&tokenizer, &memory, suite_path(name), NULL, NULL, &error));
    return tokenizer;
}

/* Bytes; SmolLM2's splits with few merges; GPT-2's, which join digits; Llama 3's, which take three digits at a time. */
static const char *const tokenizers[] = {NULL, "tests/fixtures/tokenizer/reduced/smollm.gguf",
                                         "tests/fixtures/tokenizer/reduced/gpt2",
                                         "tests/fixtures/tokenizer/reduced/split_llama3"};
enum { TOKENIZERS = sizeof tokenizers / sizeof *tokenizers, KINDS = FAM_DATA_OVERWRITE + 1 };

static fam_task *make_task(const fam_tokenizer *tokenizer, fam_data_kind kind, int64_t digits, int64_t keys,
                           int64_t asked)
{
    fam_task *task;
    fam_task_options options = {.kind = kind, .digits = digits, .keys = keys, .asked = asked};
    assert_ok(fam_task_create(&task, &memory, &options, tokenizer, &error));
    return task;
}

/* A whole episode, read in pieces of at most `piece`. */
typedef struct reading {
    int32_t *ids;
    uint8_t *answers;
    char *text, *answer; /* the text; fam_episode_answer */
    size_t text_size;
} reading;

static void read_episode(reading *out, const fam_task *task, const fam_tokenizer *tokenizer, const fam_draw *draw,
                         int64_t piece)
{
    fam_episode *episode;
    int64_t count = 0, got;
    assert_ok(fam_episode_create(&episode, task, draw, &error));
    out->ids = malloc((size_t)(draw->tokens + piece) * sizeof *out->ids);
    out->answers = malloc((size_t)(draw->tokens + piece));
    memset(out->answers, 7, (size_t)(draw->tokens + piece));
    while ((got = fam_episode_read(episode, out->ids + count, out->answers + count, piece)) > 0) {
        assert_true(got <= piece);
        count += got;
        assert_true(count <= draw->tokens);
    }
    assert_int_equal(count, draw->tokens);
    assert_int_equal(fam_episode_read(episode, out->ids, out->answers, 0), 0);
    for (int64_t i = 0; i < count; i++)
        assert_in_range(out->answers[i], 0, 1);
    out->answer = strdup(fam_episode_answer(episode));
    assert_ok(
        fam_tokenizer_decode(&out->text, &out->text_size, &memory, tokenizer, out->ids, (size_t)count, true, &error));
    fam_episode_free(episode);
}

static void reading_free(reading *r)
{
    free(r->ids);
    free(r->answers);
    free(r->answer);
    fam_free(&memory, r->text);
}

static void close_all(fam_task *task, fam_tokenizer *tokenizer)
{
    fam_task_free(task);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

/* ---- what is said ---- */

static void passkey_says_what_the_fixtures_say(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    fam_task *task = make_task(tokenizer, FAM_DATA_PASSKEY, 5, 1, 1);
    fam_draw draw = {.seed = 1, .number = 2, .tokens = 1000};
    reading r;
    char want[2000];
    size_t size;
    read_episode(&r, task, tokenizer, &draw, 1000);
    assert_int_equal(strlen(r.answer), 5);
    size =
        (size_t)sprintf(want, HEAD " The pass key is %s. Remember it. %s is the pass key. " GRASS " " GRASS " " GRASS,
                        r.answer, r.answer);
    assert_memory_equal(r.text, want, size);
    size = (size_t)sprintf(want, "\nWhat is the pass key? The pass key is %s", r.answer);
    assert_string_equal(r.text + 1000 - size, want);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(r.answers[i], i >= 995);
    reading_free(&r);
    close_all(task, tokenizer);
}

static void landmark_has_filler_before_and_after(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    fam_task *task = make_task(tokenizer, FAM_DATA_PASSKEY_LANDMARK, 5, 1, 1);
    char want[4000], lines[2][1000];
    int key;
    reading r;
    fam_draw draw = {.seed = 1, .number = 2, .tokens = 1200, .depth_from = 0.25, .depth_to = 0.25};
    read_episode(&r, task, tokenizer, &draw, 7);
    /* the lines of the original program, joined as it joins them */
    int found =
        sscanf(r.text + strlen(HEAD "\n"),
               "%999[^\n]\nThe pass key is %d. Remember it. %*d is the pass key.\n%999[^\n]", lines[0], &key, lines[1]);
    assert_int_equal(found, 3);
    snprintf(want, sizeof want,
             HEAD
             "\n%s\nThe pass key is %d. Remember it. %d is the pass key.\n%s\nWhat is the pass key? The pass key is %s",
             lines[0], key, key, lines[1], r.answer);
    assert_string_equal(r.text, want);
    assert_int_equal(key, atoi(r.answer));
    size_t first = strlen(lines[0]), second = strlen(lines[1]);
    assert_in_range(first * 3, second - 3, second + 3);
    assert_memory_equal(lines[0], GRASS " " GRASS " " GRASS, first);
    for (size_t i = 0; i < second; i++)
        assert_int_equal(lines[1][i], (GRASS " ")[i % strlen(GRASS " ")]);
    reading_free(&r);
    close_all(task, tokenizer);
}

/* Says "<word>=<value>" once or twice for each key, and asks "<word>?<value>" at the end. */
static void check_pairs(const reading *r, int64_t keys, int64_t asked, int said_times)
{
    char said[64][8] = {{0}}, value[64][8], copy[4000], answers[1000] = "";
    int64_t pairs = 0, words = 0, questions = 0;
    int times[64] = {0};
    snprintf(copy, sizeof copy, "%s", r->text);
    assert_int_equal(copy[0], ' ');
    char *rest;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest), words++) {
        char key[8], number[8];
        int64_t i = 0;
        int size = 0;
        if (sscanf(word, "%7[a-z]=%7[0-9]%n", key, number, &size) == 2) {
            assert_int_equal(word[size], 0);
            assert_int_equal(questions, 0);
            while (i < pairs && strcmp(said[i], key) != 0)
                i++;
            assert_true(i < 64);
            if (i == pairs)
                pairs++;
            else
                assert_string_not_equal(value[i], number);
            strcpy(said[i], key);
            strcpy(value[i], number);
            times[i]++;
        } else if (sscanf(word, "%7[a-z]?%7[0-9]%n", key, number, &size) == 2) {
            assert_int_equal(word[size], 0);
            while (i < pairs && strcmp(said[i], key) != 0)
                i++;
            assert_true(i < pairs);
            assert_string_equal(number, value[i]); /* the last that was said */
            said[i][0] = '\0';                     /* each is asked once */
            sprintf(answers + strlen(answers), "%s%s", questions++ ? " " : "", number);
        } else {
            assert_int_equal(word[strspn(word, "abcdefghijklmnopqrstuvwxyz")], 0);
        }
    }
    assert_int_equal(pairs, keys);
    assert_int_equal(questions, asked);
    for (int64_t i = 0; i < keys; i++)
        assert_int_equal(times[i], said_times);
    assert_string_equal(answers, r->answer);
}

static void recall_asks_for_what_was_said_and_overwrite_for_the_last(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++)
        for (int k = 0; k < 20; k++) {
            fam_tokenizer *tokenizer = open_tokenizer(tokenizers[t]);
            int64_t keys = 1 + k, asked = 1 + k / 2, digits = 1 + k % 3;
            fam_data_kind kind = k % 2 ? FAM_DATA_RECALL : FAM_DATA_OVERWRITE;
            fam_task *task = make_task(tokenizer, kind, digits, keys, asked);
            fam_draw draw = {.seed = 3, .number = (uint64_t)k, .tokens = 700, .depth_to = 1};
            reading r;
            read_episode(&r, task, tokenizer, &draw, 64);
            check_pairs(&r, keys, asked, kind == FAM_DATA_RECALL ? 1 : 2);
            reading_free(&r);
            close_all(task, tokenizer);
        }
}

static void a_symbol_fits_into_a_block_of_32_bytes(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    fam_task *task = make_task(tokenizer, FAM_DATA_RECALL, 1, 1, 1);
    assert_int_equal(fam_task_tokens_min(task), 8); /* " k=7 k?7" */
    fam_task_free(task);
    task = make_task(tokenizer, FAM_DATA_OVERWRITE, 1, 1, 1);
    assert_int_equal(fam_task_tokens_min(task), 12);
    fam_task_free(task);
    task = make_task(tokenizer, FAM_DATA_RECALL, 1, 6, 2); /* 6 of 26 letters */
    assert_int_equal(fam_task_tokens_min(task), 32);
    close_all(task, tokenizer);
}

static void needles_stand_between_sentences_and_are_asked_for(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer("tests/fixtures/tokenizer/reduced/smollm.gguf");
    for (int keys = 1; keys <= 100; keys = 5 * keys + 15) {
        fam_task *task = make_task(tokenizer, FAM_DATA_NEEDLE, 7, keys, keys > 2 ? 3 : 1);
        fam_draw draw = {.seed = 5, .number = 1, .tokens = 12000, .depth_to = 1};
        reading r;
        int found = 0;
        read_episode(&r, task, tokenizer, &draw, 1000);
        const char *questions = strchr(r.text, '\n'), *answer = r.answer;
        for (const char *at = r.text; (at = strstr(at, " The special magic number for ")) && at < questions;
             at++, found++) {
            assert_int_equal(at[-1], '.');
            char word[64], number[16];
            int size = 0;
            assert_int_equal(sscanf(at, " The special magic number for %63s is %15[0-9].%n", word, number, &size), 2);
            assert_int_equal(strlen(number), 7);
            assert_true(at[size] == ' ' || at[size] == '\n');
            assert_non_null(strchr(" \n", at[size]));
            assert_int_equal(strchr(word, '-') != NULL, keys > 60);
        }
        assert_int_equal(found, keys);
        for (const char *line = questions; line; line = strchr(line + 1, '\n')) {
            char word[64], again[64], number[16], said[200];
            assert_int_equal(
                sscanf(line,
                       "\nWhat is the special magic number for %63[^?]? The special magic number for %63s is %15[0-9]",
                       word, again, number),
                3);
            assert_string_equal(word, again);
            sprintf(said, " The special magic number for %s is %s.", word, number);
            assert_non_null(strstr(r.text, said));
            assert_memory_equal(answer, number, 7);
            answer += answer[7] ? 8 : 7;
        }
        assert_int_equal(*answer, 0);
        reading_free(&r);
        fam_task_free(task);
    }
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

static void depth_is_where_the_key_stands(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    fam_task *task = make_task(tokenizer, FAM_DATA_RECALL, 1, 1, 1);
    int quarter[4] = {0};
    for (int i = 0; i < 400; i++) {
        reading r;
        fam_draw draw = {.seed = 9, .number = (uint64_t)i, .tokens = 408, .depth_to = 1};
        read_episode(&r, task, tokenizer, &draw, 408);
        int64_t at = strchr(r.text, '=') - r.text - 2;
        assert_in_range(at, 0, 400);
        quarter[at < 400 ? at / 100 : 3]++;
        reading_free(&r);
        draw.depth_from = draw.depth_to = 0.75;
        read_episode(&r, task, tokenizer, &draw, 408);
        assert_int_equal(strchr(r.text, '=') - r.text - 2, 300);
        reading_free(&r);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(quarter[i], 70, 130);
    close_all(task, tokenizer);
}

static void a_file_is_the_haystack(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    char text[4000] = "";
    for (int i = 0; i < 60; i++)
        sprintf(text + strlen(text), "Sentence number %d stands here, \xc3\xa4s it is. ", i);
    scratch_write_text(directory, "hay.txt", text);
    fam_task *task;
    fam_task_options options = {FAM_DATA_NEEDLE, 4, 1, 1, scratch_path(directory, "hay.txt")};
    assert_ok(fam_task_create(&task, &memory, &options, tokenizer, &error));
    int first_seen[60] = {0}, starts = 0;
    for (int i = 0; i < 40; i++) {
        fam_draw draw = {.seed = 2, .number = (uint64_t)i, .tokens = 5000, .depth_from = 0.5, .depth_to = 1};
        reading r;
        int number;
        read_episode(&r, task, tokenizer, &draw, 333);
        assert_int_equal(sscanf(strstr(r.text, "afterwards."), "afterwards. Sentence number %d stands", &number), 1);
        first_seen[number] = 1;
        assert_non_null(strstr(r.text, " it is. The special magic number for "));
        reading_free(&r);
    }
    for (int i = 0; i < 60; i++)
        starts += first_seen[i];
    assert_true(starts > 15);
    fam_task_free(task);
    const struct {
        const char *name, *text, *need;
        fam_status status;
    } bad[] = {{"none.txt", NULL, "none.txt", FAM_STATUS_NOT_FOUND},
               {"empty.txt", "", "empty", FAM_STATUS_BAD_FORMAT},
               {"bom.txt", "\xef\xbb\xbfText", "byte order mark", FAM_STATUS_BAD_FORMAT},
               {"broken.txt", "Te\xff", "byte 2: found 0xff", FAM_STATUS_BAD_FORMAT},
               {"t.txt.GZ", "Text", "compressed", FAM_STATUS_BAD_FORMAT}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (bad[i].text)
            scratch_write_text(directory, bad[i].name, bad[i].text);
        options.path = scratch_path(directory, bad[i].name);
        assert_int_equal(fam_task_create(&task, &memory, &options, tokenizer, &error), bad[i].status);
        if (!strstr(error.message, bad[i].need))
            fail_msg("%s", error.message);
    }
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
}

/* ---- ids ---- */

static fam_draw draw_of(int number, int64_t tokens)
{
    fam_draw draw = {.seed = 11, .number = (uint64_t)number, .tokens = tokens, .depth_to = number % 3 ? 1 : 0};
    draw.depth_from = number % 3 == 2 ? 1 : 0;
    return draw;
}

/* Where two rows of ids differ, at most `most` ids of `a` have no counterpart in `b`. */
static int64_t differing(const int32_t *a, int64_t a_count, const int32_t *b, int64_t b_count)
{
    int64_t differ = 0, i = 0, k = 0;
    while (i < a_count && k < b_count) {
        if (a[i] == b[k]) {
            i++;
            k++;
            continue;
        }
        int64_t best = 1000, best_i = 0, best_k = 0; /* goes on where three in a row are the same */
        for (int64_t x = 0; x < 20; x++)
            for (int64_t y = 0; y < 20; y++)
                if (x + y < best && i + x + 3 <= a_count && k + y + 3 <= b_count &&
                    memcmp(a + i + x, b + k + y, 12) == 0) {
                    best = x + y;
                    best_i = x;
                    best_k = y;
                }
        if (best == 1000)
            return 1000;
        i += best_i;
        k += best_k;
        differ++;
    }
    return differ;
}

static void ids_are_those_of_the_text_but_where_filler_is_cut(void **state)
{
    (void)state;
    for (int t = 0; t < TOKENIZERS; t++)
        for (int kind = 0; kind < KINDS; kind++) {
            fam_tokenizer *tokenizer = open_tokenizer(tokenizers[t]);
            fam_task *task = make_task(tokenizer, (fam_data_kind)kind, 5, 4, 2);
            for (int i = 0; i < 30; i++) {
                fam_draw draw = draw_of(i, fam_task_tokens_min(task) + 40 * i);
                reading r, again;
                int32_t *ids;
                size_t count;
                read_episode(&r, task, tokenizer, &draw, 1 + i);
                read_episode(&again, task, tokenizer, &draw, 100000); /* the same in pieces of any size */
                assert_memory_equal(r.ids, again.ids, (size_t)draw.tokens * sizeof *r.ids);
                assert_memory_equal(r.answers, again.answers, (size_t)draw.tokens);
                assert_ok(fam_tokenizer_encode(&ids, &count, &memory, tokenizer, r.text, r.text_size, true, &error));
                int64_t cuts = kind < FAM_DATA_RECALL ? 2 : 9; /* one before each saying, and before the questions */
                if (differing(r.ids, draw.tokens, ids, (int64_t)count) > cuts)
                    fail_msg("tokenizer %d, kind %d, draw %d: \"%s\"", t, kind, i, r.text);
                if (t == 0)
                    assert_int_equal(differing(r.ids, draw.tokens, ids, (int64_t)count), 0);
                fam_free(&memory, ids);
                reading_free(&r);
                reading_free(&again);
            }
            close_all(task, tokenizer);
        }
}

static void answers_are_the_tokens_of_the_answer(void **state)
{
    (void)state;
    for (int t = 0; t < TOKENIZERS; t++)
        for (int kind = 0; kind < KINDS; kind++) {
            fam_tokenizer *tokenizer = open_tokenizer(tokenizers[t]);
            fam_task *task = make_task(tokenizer, (fam_data_kind)kind, 4, 3, 3);
            fam_draw draw = draw_of(kind, 2000);
            reading r;
            char found[100] = "";
            size_t at = 0;
            read_episode(&r, task, tokenizer, &draw, 77);
            for (int64_t i = 0; i < draw.tokens; i++) {
                size_t length;
                const char *bytes = fam_tokenizer_bytes(tokenizer, r.ids[i], &length);
                if (!r.answers[i])
                    continue;
                if (at && !r.answers[i - 1])
                    found[at++] = ' ';
                for (size_t k = 0; k < length; k++)
                    if (bytes[k] != ' ') /* a blank that the tokenizer joins with digits */
                        found[at++] = bytes[k];
            }
            assert_string_equal(found, r.answer);
            if (t < 2) /* a digit is a token */
                assert_true(r.answers[draw.tokens - 4] && !r.answers[draw.tokens - 5]);
            reading_free(&r);
            close_all(task, tokenizer);
        }
}

static void the_fewest_tokens_are_enough_and_one_less_is_refused(void **state)
{
    (void)state;
    for (int t = 0; t < TOKENIZERS; t++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int keys = 1; keys < 200; keys = 4 * keys + 1) {
                fam_tokenizer *tokenizer = open_tokenizer(tokenizers[t]);
                fam_task *task = make_task(tokenizer, (fam_data_kind)kind, 3, keys, (keys + 1) / 2);
                fam_draw draw = draw_of(1, fam_task_tokens_min(task));
                for (int i = 0; i < 10; i++) {
                    reading r;
                    draw.number = (uint64_t)i;
                    read_episode(&r, task, tokenizer, &draw, 50);
                    reading_free(&r);
                }
                draw.tokens--;
                fam_episode *episode;
                assert_int_equal(fam_episode_create(&episode, task, &draw, &error), FAM_STATUS_INVALID_ARGUMENT);
                assert_null(episode);
                close_all(task, tokenizer);
            }
}

static void draws_differ_and_are_the_same_everywhere(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    /* of the ids of ten draws of 700 to 16,000 tokens; they change when what is drawn changes, and then runs change */
    static const uint64_t want[KINDS] = {0x2ce1b6666d33e1ae, 0xee9706920923b2e1, 0x248a3c798dbb6a21, 0xc3c6faa4027ee55c,
                                         0xa4abd992d6c14737};
    for (int kind = 0; kind < KINDS; kind++) {
        fam_task *task = make_task(tokenizer, (fam_data_kind)kind, 5, 3, 2);
        char answers[10][40];
        uint64_t hash = 0;
        for (int i = 0; i < 10; i++) {
            fam_draw draw = draw_of(i, 700 + i * 1700);
            reading r;
            read_episode(&r, task, tokenizer, &draw, 1000);
            hash = XXH3_64bits_withSeed(r.ids, (size_t)draw.tokens * sizeof *r.ids, hash);
            strcpy(answers[i], r.answer);
            for (int k = 0; k < i; k++)
                assert_string_not_equal(answers[i], answers[k]);
            reading_free(&r);
        }
        if (hash != want[kind])
            fail_msg("%s: found 0x%llx, need 0x%llx", fam_data_kind_name(kind), (unsigned long long)hash,
                     (unsigned long long)want[kind]);
        fam_task_free(task);
    }
    fam_tokenizer_free(tokenizer);
}

/* ---- limits ---- */

static void a_long_episode_takes_no_more_memory(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        fam_tokenizer *tokenizer = open_tokenizer("tests/fixtures/tokenizer/reduced/smollm.gguf");
        fam_task *task = make_task(tokenizer, (fam_data_kind)kind, 5, 2, 1);
        size_t held[2];
        for (int i = 0; i < 2; i++) {
            fam_episode *episode;
            fam_draw draw = {.seed = 1, .tokens = i ? 10000000 : 1000, .depth_to = 1};
            static int32_t ids[4096];
            static uint8_t answers[4096];
            int64_t count = 0, got;
            assert_ok(fam_episode_create(&episode, task, &draw, &error));
            held[i] = memory.bytes;
            size_t allocations = memory.allocations;
            while ((got = fam_episode_read(episode, ids, answers, 4096)) > 0)
                count += got;
            assert_int_equal(count, draw.tokens);
            assert_int_equal(memory.allocations, allocations);
            fam_episode_free(episode);
        }
        assert_true(held[1] <= held[0]);
        close_all(task, tokenizer);
    }
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer(NULL);
    fam_task *task;
    const struct {
        fam_task_options options;
        const char *need;
    } bad[] = {{{FAM_DATA_PASSKEY, 0, 1, 1, NULL}, "digits: found 0"},
               {{FAM_DATA_PASSKEY, 19, 1, 1, NULL}, "digits: found 19"},
               {{FAM_DATA_RECALL, 1, 0, 1, NULL}, "keys: found 0"},
               {{FAM_DATA_RECALL, 1, 65537, 1, NULL}, "keys: found 65537"},
               {{FAM_DATA_OVERWRITE, 1, 4, 5, NULL}, "asked: found 5, need 1 to 4"},
               {{FAM_DATA_OVERWRITE, 1, 4, 0, NULL}, "asked: found 0"},
               {{FAM_DATA_NEEDLE, 1, 20000, 1, NULL}, "keys: found 20000"},
               {{FAM_DATA_RECALL, 1, 1, 1, "x"}, "path: found x"},
               {{FAM_DATA_TEXT, 1, 1, 1, NULL}, "kind: found text"},
               {{(fam_data_kind)77, 1, 1, 1, NULL}, "kind: found an unknown one"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fam_task_create(&task, &memory, &bad[i].options, tokenizer, &error),
                         FAM_STATUS_INVALID_ARGUMENT);
        assert_null(task);
        if (!strstr(error.message, bad[i].need))
            fail_msg("%s", error.message);
    }
    task = make_task(tokenizer, FAM_DATA_RECALL, 18, 65536, 65536);
    const double depths[][2] = {{-0.1, 0}, {0, 1.1}, {0.5, 0.4}, {0.0 / 0.0, 1}, {0, 0.0 / 0.0}};
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        fam_episode *episode;
        fam_draw draw = {.tokens = 1 << 24, .depth_from = depths[i][0], .depth_to = depths[i][1]};
        assert_int_equal(fam_episode_create(&episode, task, &draw, &error), FAM_STATUS_INVALID_ARGUMENT);
    }
    close_all(task, tokenizer);
    for (int kind = -1; kind <= FAM_DATA_JSONL + 1; kind++)
        assert_int_equal(fam_data_kind_name(kind) != NULL, kind >= 0 && kind <= FAM_DATA_JSONL);
}

static void a_vocabulary_that_cannot_say_it_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"1\":1}}}";
    fam_tokenizer *tokenizer;
    fam_task *task;
    fam_memory_init(&memory);
    assert_ok(fam_tokenizer_parse_json(&tokenizer, &memory, "few", text, sizeof text - 1, NULL, NULL, 0, &error));
    for (int kind = 0; kind < KINDS; kind++) {
        fam_task_options options = {.kind = (fam_data_kind)kind, .digits = 1, .keys = 1, .asked = 1};
        assert_int_equal(fam_task_create(&task, &memory, &options, tokenizer, &error), FAM_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "no token for the byte"));
    }
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        fam_tokenizer *tokenizer = open_tokenizer(NULL);
        size_t held = memory.bytes;
        for (size_t n = 1;; n++) {
            fam_task *task = NULL;
            fam_episode *episode = NULL;
            fam_task_options options = {.kind = (fam_data_kind)kind, .digits = 5, .keys = 3, .asked = 2};
            fam_draw draw = {.tokens = 2000, .depth_to = 1};
            atomic_store(&memory.allocations, 0);
            memory.fail_at = n;
            fam_status status = fam_task_create(&task, &memory, &options, tokenizer, &error);
            if (status == FAM_OK)
                status = fam_episode_create(&episode, task, &draw, &error);
            memory.fail_at = 0;
            fam_episode_free(episode);
            fam_task_free(task);
            assert_int_equal(memory.bytes, held);
            if (status == FAM_OK)
                break;
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        }
        fam_tokenizer_free(tokenizer);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(passkey_says_what_the_fixtures_say),
    cmocka_unit_test(landmark_has_filler_before_and_after),
    cmocka_unit_test(recall_asks_for_what_was_said_and_overwrite_for_the_last),
    cmocka_unit_test(a_symbol_fits_into_a_block_of_32_bytes),
    cmocka_unit_test(needles_stand_between_sentences_and_are_asked_for),
    cmocka_unit_test(depth_is_where_the_key_stands),
    cmocka_unit_test(a_file_is_the_haystack),
    cmocka_unit_test(ids_are_those_of_the_text_but_where_filler_is_cut),
    cmocka_unit_test(answers_are_the_tokens_of_the_answer),
    cmocka_unit_test(the_fewest_tokens_are_enough_and_one_less_is_refused),
    cmocka_unit_test(draws_differ_and_are_the_same_everywhere),
    cmocka_unit_test(a_long_episode_takes_no_more_memory),
    cmocka_unit_test(numbers_out_of_range_are_refused),
    cmocka_unit_test(a_vocabulary_that_cannot_say_it_is_refused),
    cmocka_unit_test(every_allocation_may_fail),
};

SUITE_MAIN(tests)
