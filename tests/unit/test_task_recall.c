/*
 * The adapter that comes with the project was trained on these wordings: it recalls what tasks hide, far outside of its
 * window.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUITE_TIMEOUT 600
#include "base/file.h"
#include "data/task.h"
#include "fam/fam.h"
#include "suite.h"

#define SMOLLM2 "build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"

enum { TOKENS = 2048, ANSWER = 5 }; /* eight blocks of 256, which is all that it sees at a time */

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

static fam_engine *open_engine(void)
{
    fam_engine *engine;
    fam_engine_options options;
    fam_adapter_option adapter = {.path = suite_path("models/smollm2-memory"), .scale = 1};
    if (!fam_path_exists(suite_path(SMOLLM2))) {
        print_message("%s is not there: make downloads it\n", SMOLLM2);
        skip();
    }
    fam_engine_options_init(&options);
    options.adapters = &adapter;
    options.adapter_count = 1;
    assert_ok(fam_engine_open(&engine, suite_path(SMOLLM2), &options, &error));
    return engine;
}

static bool gather(void *context, int32_t token, const char *text, size_t length)
{
    (void)token;
    strncat(context, text, length);
    return true;
}

/* Reads an episode up to its answer, and lets the model go on. */
static void expect_recall(fam_engine *engine, fam_data_kind kind, uint64_t number)
{
    static int32_t ids[TOKENS];
    static uint8_t answers[TOKENS];
    fam_task *task;
    fam_episode *episode;
    fam_session *session;
    fam_generate_options generate;
    char said[100] = "";
    fam_task_options options = {.kind = kind, .digits = ANSWER, .keys = 1, .asked = 1};
    fam_draw draw = {.seed = 1, .number = number, .tokens = TOKENS};
    assert_ok(fam_task_create(&task, &memory, &options, fam_engine_tokenizer(engine), &error));
    assert_ok(fam_episode_create(&episode, task, &draw, &error));
    assert_int_equal(fam_episode_read(episode, ids, answers, TOKENS), TOKENS);
    assert_true(answers[TOKENS - ANSWER] && !answers[TOKENS - ANSWER - 1]);
    assert_ok(fam_session_create(&session, engine, NULL, &error));
    assert_ok(fam_session_feed(session, ids, TOKENS - ANSWER, NULL, &error));
    fam_generate_options_init(&generate);
    generate.max_tokens = ANSWER;
    generate.on_text = gather;
    generate.context = said;
    assert_ok(fam_session_generate(session, &generate, NULL, &error));
    if (strcmp(said, fam_episode_answer(episode)) != 0)
        fail_msg("%s: found \"%s\", need \"%s\"", fam_data_kind_name((int)kind), said, fam_episode_answer(episode));
    fam_session_free(session);
    fam_episode_free(episode);
    fam_task_free(task);
}

static void the_shipped_memory_recalls_what_tasks_hide(void **state)
{
    (void)state;
    fam_engine *engine = open_engine();
    fam_memory_init(&memory);
    expect_recall(engine, FAM_DATA_PASSKEY, 2);
    expect_recall(engine, FAM_DATA_NEEDLE, 1);
    assert_int_equal(memory.bytes, 0);
    fam_engine_free(engine);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_shipped_memory_recalls_what_tasks_hide),
};

SUITE_MAIN(tests)
