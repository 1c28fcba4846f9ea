/*
 * --session: what was read is not read again, what was interrupted goes on, what has changed is refused.
 */
#include "run.h"
#include "tiny_model.h"

static const char question[] = " And then?";

static run_result done(run_result result)
{
    expect_code(result, 0);
    return result;
}

static long long tokens_of(const char *session)
{
    run_result result = done(run("inspect", session, "--json"));
    json_t *object = run_json(result.out);
    long long tokens = run_integer(object, "tokens_read");
    json_decref(object);
    run_free(&result);
    return tokens;
}

static void assert_same_files(const char *a, const char *b)
{
    size_t a_size, b_size;
    char *one = run_slurp(a, &a_size), *two = run_slurp(b, &b_size);
    if (a_size != b_size || memcmp(one, two, a_size) != 0)
        fail_msg("%s and %s differ", a, b);
    free(one);
    free(two);
}

/* A text of about `words` words, with a few characters of several bytes. */
static const char *write_book(const char *name, int words, unsigned seed)
{
    static const char *const list[] = {"the", "earth", "was", "without", "form", "and", "void;", "dark\xc3\xa9", "42",
                                       "\xe2\x80\x94", "face", "of", "deep.\n"};
    char *text = malloc((size_t)words * 10 + 1), *p = text;
    for (int i = 0; i < words; i++) {
        seed = seed * 1664525u + 1013904223u;
        p += sprintf(p, "%s ", list[(seed >> 8) % 13]);
    }
    const char *path = run_write(name, text, (size_t)(p - text));
    free(text);
    return path;
}

/* Starts the plan with a pipe as standard input; SIGINT when the program has read all before it and waits there. */
static run_result interrupted_at_standard_input(run_plan plan)
{
    int ends[2], left = 1;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    plan.input_fd = ends[0];
    run_child child = run_start(&plan);
    assert_int_equal(write(ends[1], " ", 1), 1);
    while (left > 0) {
        siginfo_t ended = {0};
        assert_int_equal(waitid(P_PID, (id_t)child.pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
        if (ended.si_pid == child.pid)
            break;
        usleep(5000);
        assert_int_equal(ioctl(ends[0], FIONREAD, &left), 0);
    }
    usleep(50000);
    assert_int_equal(kill(child.pid, SIGINT), 0);
    run_result result = run_finish(child);
    close(ends[0]);
    close(ends[1]);
    return result;
}

static void session_that_continues_equals_one_that_was_not_stopped(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *whole = run_file("whole"), *parts = run_file("parts");
    const char *const forbid_end = "0=-inf", *const forbid_end_of_turn = "2=-inf";
    run_result one = done(run("generate", model, "--prompt", "In the beginning", "--max-tokens", "20", "--session", whole,
                              "--temperature", "0.8", "--seed", "9", "--logit-bias", forbid_end, "--logit-bias",
                              forbid_end_of_turn));
    run_result a = done(run("generate", model, "--prompt", "In the beginning", "--max-tokens", "12", "--session", parts,
                            "--temperature", "0.8", "--seed", "9", "--logit-bias", forbid_end, "--logit-bias",
                            forbid_end_of_turn));
    run_result b = done(run("generate", model, "--max-tokens", "8", "--session", parts));
    char both[4096];
    snprintf(both, sizeof both, "%s%s", a.out, b.out);
    assert_string_equal(both, one.out);
    assert_true(strlen(one.out) > 20);
    assert_int_equal(tokens_of(whole), tokens_of(parts));
    assert_same_files(whole, parts);
    run_free(&one), run_free(&a), run_free(&b);
}

static void no_save_leaves_the_session_as_it_is(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s"), *book = write_book("book", 500, 1);
    run_result read = done(run("generate", model, "--file", book, "--max-tokens", "0", "--session", session));
    assert_string_equal(read.out, "");
    size_t size;
    char *before = run_slurp(session, &size);
    run_result one = done(run("generate", model, "--session", session, "--no-save", "--prompt", question));
    run_result two = done(run("generate", model, "--session", session, "--no-save", "--prompt", question));
    assert_string_equal(one.out, two.out);
    size_t after_size;
    char *after = run_slurp(session, &after_size);
    assert_int_equal(size, after_size);
    assert_memory_equal(before, after, size);
    free(before), free(after);
    run_free(&read), run_free(&one), run_free(&two);
}

static void file_that_was_read_is_not_read_again(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s"), *book = write_book("book", 500, 1);
    run_result first = done(run("generate", model, "--file", book, "--prompt", question, "--session", session,
                                "--max-tokens", "2"));
    long long tokens = tokens_of(session);
    run_result told = done(run("inspect", session));
    expect_contains(told.out, "book: complete, ");
    run_free(&told);
    run_result second = done(run("generate", model, "--file", book, "--prompt", question, "--session", session,
                                 "--max-tokens", "2"));
    expect_contains(second.err, "the session has read it, it is not read again");
    assert_true(tokens_of(session) - tokens < 20);
    assert_true(tokens > 500);
    run_free(&first), run_free(&second);
    /* On standard input it is read again. */
    size_t size;
    char *text = run_slurp(book, &size);
    run_plan plan = {.arguments = {"generate", model, "--file", "-", "--session", session, "--max-tokens", "0"}, .input = text};
    run_result third = done(run_plan_now(plan));
    assert_true(tokens_of(session) > tokens + 500);
    run_free(&third);
    free(text);
}

static void changed_file_is_refused(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s"), *book = write_book("book", 500, 1);
    run_result read = done(run("generate", model, "--file", book, "--max-tokens", "0", "--session", session));
    run_free(&read);
    size_t size;
    char *before = run_slurp(session, &size), *text = run_slurp(book, NULL);
    text[100] ^= 1;
    run_write_text("book", text);
    expect_refused(run("generate", model, "--file", book, "--session", session), 3, "book: it has changed");
    text[100] ^= 1;
    text[strlen(text) - 1] = '\0';
    run_write_text("book", text);
    expect_refused(run("generate", model, "--file", book, "--session", session), 3, "book: it has changed");
    size_t after_size;
    char *after = run_slurp(session, &after_size);
    assert_true(size == after_size && memcmp(before, after, size) == 0);
    free(before), free(after), free(text);
}

/* The book is longer than two pieces of 8,192 tokens; standard input follows it. */
static void interrupted_reading_goes_on_where_it_stopped(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *book = write_book("book", 9000, 1);
    const char *whole = run_file("whole"), *parts = run_file("parts");
    run_plan plan = {.arguments = {"generate", model, "--file", book, "--file", "-", "--prompt", question, "--session", whole,
                                   "--max-tokens", "5"},
                     .input = " the end"};
    run_result one = done(run_plan_now(plan));
    plan.arguments[9] = parts;
    run_result stopped = interrupted_at_standard_input(plan);
    expect_code(stopped, 130);
    assert_string_equal(stopped.out, "");
    expect_contains(stopped.err, "interrupted after ");
    expect_contains(stopped.err, "the same command goes on");
    long long tokens = tokens_of(parts);
    assert_true(tokens >= 8192 && tokens % 8192 == 0);
    run_result told = done(run("inspect", parts, "--json"));
    json_t *object = run_json(told.out), *input = json_array_get(json_object_get(object, "inputs"), 0);
    assert_int_equal(run_integer(input, "tokens"), tokens);
    assert_string_equal(json_string_value(json_array_get(json_object_get(input, "paths"), 0)), book);
    assert_true(json_is_false(json_object_get(input, "complete")));
    json_decref(object);
    run_free(&told);
    run_result two = done(run_plan_now(plan));
    expect_contains(two.err, "continuing after ");
    assert_string_equal(one.out, two.out);
    assert_same_files(whole, parts);
    run_free(&one), run_free(&stopped), run_free(&two);
}

static void interrupted_in_the_middle_of_a_piece_reads_every_token_once(void **state)
{
    (void)state;
    const char *model = tiny_model("m", NULL), *ids = run_write_ids("ids", 400000, 2000, 5), *session = run_file("s");
    run_plan plan = {.arguments = {"generate", model, "--ids-file", ids, "--session", session, "--max-tokens", "0",
                                   "--save-every", "1", "--threads", "1"}};
    int stops = 0;
    for (bool more = true; more; stops++) {
        struct stat before = {0}, now = {0};
        stat(session, &before);
        run_child child = run_start(&plan);
        for (int i = 0; i < 3000 && waitpid(child.pid, NULL, WNOHANG | WNOWAIT) == 0; i++) {
            usleep(10000);
            if (i == 5 + stops * 20 || (stat(session, &now) == 0 && now.st_ino != before.st_ino)) {
                kill(child.pid, SIGINT);
                break;
            }
        }
        run_result result = run_finish(child);
        more = result.code == 130;
        if (!more)
            expect_code(result, 0);
        run_free(&result);
    }
    assert_int_equal(tokens_of(session), 400000);
}

static void interrupted_file_that_changes_is_refused(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *book = write_book("book", 9000, 1), *session = run_file("s");
    run_plan plan = {.arguments = {"generate", model, "--file", book, "--file", "-", "--session", session},
                     .input = " the end"};
    run_result stopped = interrupted_at_standard_input(plan);
    expect_code(stopped, 130);
    run_free(&stopped);
    long long tokens = tokens_of(session);
    char *text = run_slurp(book, NULL), need[64];
    text[10] ^= 1;
    run_write_text("book", text);
    expect_refused(run_plan_now(plan), 3, "it has changed");
    text[10] ^= 1;
    size_t size = strlen(text);
    run_write("book", text, size - 1);
    expect_refused(run_plan_now(plan), 3, "it has changed");
    run_write("book", text, size);
    /* Other files, or the same in another order, would read a part of it twice. */
    run_result refused = run("generate", model, "--file", write_book("other", 5, 2), "--file", book, "--session", session);
    expect_code(refused, 2);
    expect_contains(refused.err, "the session stopped while it was read");
    run_free(&refused);
    /* A question about what was read so far is allowed, and the reading can still go on after it. */
    run_result asked = done(run("generate", model, "--prompt", question, "--session", session, "--max-tokens", "3"));
    snprintf(need, sizeof need, "book only the first %lld,%03lld tokens were read", tokens / 1000, tokens % 1000);
    expect_contains(asked.err, need);
    run_free(&asked);
    run_result rest = done(run_plan_now(plan));
    run_free(&rest);
    free(text);
}

/* Stopped again before anything new was read, and perhaps before the old was checked: the place in the book stays. */
static void interrupted_at_once_keeps_the_place(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *book = write_book("book", 9000, 1), *session = run_file("s");
    run_plan plan = {.arguments = {"generate", model, "--file", book, "--file", "-", "--session", session, "--max-tokens",
                                   "0"},
                     .input = " the end"};
    run_result stopped = interrupted_at_standard_input(plan);
    expect_code(stopped, 130);
    run_free(&stopped);
    long long tokens = tokens_of(session);
    for (int i = 0; i < 15; i++) {
        run_child child = run_start(&plan);
        usleep(2000 * (useconds_t)(i + 1));
        kill(child.pid, SIGINT);
        run_result again = run_finish(child);
        run_free(&again);
        if (tokens_of(session) != tokens)
            break; /* it was faster, and has read on */
    }
    run_result rest = done(run_plan_now(plan));
    run_free(&rest);
}

static void a_file_that_grows_too_large_is_an_error(void **state)
{
    (void)state;
    const char *model = tiny_model("m", NULL), *ids = run_write_ids("ids", 100, 2000, 5), *session = run_file("s");
    const struct rlimit small = {.rlim_cur = 512, .rlim_max = 512};
    run_plan plan = {.arguments = {"generate", model, "--ids-file", ids, "--session", session, "--max-tokens", "0"}};
    run_child child = run_start(&plan);
    assert_int_equal(prlimit(child.pid, RLIMIT_FSIZE, &small, NULL), 0);
    run_result result = run_finish(child);
    expect_code(result, 5);
    run_free(&result);
    assert_int_not_equal(access(session, F_OK), 0);
}

static void interruption_without_a_session_says_what_is_lost(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *book = write_book("book", 9000, 1);
    run_plan plan = {.arguments = {"generate", model, "--file", book, "--file", "-", "--stats"}};
    run_result stopped = interrupted_at_standard_input(plan);
    expect_code(stopped, 130);
    expect_contains(stopped.err, "nothing is kept without --session");
    json_t *stats = run_stats(stopped.err);
    assert_true(run_integer(stats, "tokens_read") >= 8192 && run_integer(stats, "tokens_read") % 8192 == 0);
    json_decref(stats);
    run_free(&stopped);
}

static void what_was_read_before_a_failure_is_kept(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *book = write_book("book", 9000, 1), *session = run_file("s");
    run_plan plan = {.arguments = {"generate", model, "--file", book, "--file", "/proc/self/mem", "--session", session}};
    expect_refused(run_plan_now(plan), 5, "/proc/self/mem: cannot read: Input/output error");
    long long tokens = tokens_of(session);
    assert_true(tokens >= 8192 && tokens % 8192 == 0);
    plan.arguments[5] = run_write_text("rest", " the end");
    run_result rest = done(run_plan_now(plan));
    expect_contains(rest.err, "continuing after ");
    run_free(&rest);
    /* Nothing was read: nothing is saved. */
    plan = (run_plan){.arguments = {"generate", model, "--file", "/proc/self/mem", "--session", run_file("none")}};
    expect_refused(run_plan_now(plan), 5, "/proc/self/mem: cannot read");
    assert_int_equal(access(run_file("none"), F_OK), -1);
    /* The context is full while generating: what was read is there. */
    plan = (run_plan){.arguments = {"generate", model, "--mode", "full", "--context", "50", "--prompt", "the earth", "--session",
                                    run_file("full"), "--logit-bias", "0=-inf", "--logit-bias", "2=-inf"}};
    run_result full = run_plan_now(plan);
    expect_code(full, 2);
    expect_contains(full.err, "--mode bswa");
    assert_true(full.out_size > 0);
    assert_int_equal(tokens_of(run_file("full")), 50);
    run_free(&full);
}

static void session_of_another_model_or_setting_is_refused(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s");
    run_result read = done(run("generate", model, "--prompt", "the earth", "--max-tokens", "3", "--session", session));
    run_free(&read);
    size_t size;
    char *before = run_slurp(session, &size);
    const char *const other[][2] = {{"--mode", "bswa"}, {"--block-size", "32"}, {"--memory-segments", "1"}, {"--dtype", "f32"}};
    for (size_t i = 0; i < 4; i++) {
        run_result result = run("generate", model, "--prompt", "x", "--session", session, other[i][0], other[i][1]);
        expect_code(result, 3);
        run_free(&result);
    }
    run_result forgotten = run("generate", model, "--prompt", "x", "--session", session, "--mode", "bswa");
    expect_contains(forgotten.err, "mode: found fam, need bswa: was --adapter forgotten?");
    run_free(&forgotten);
    run_result golden = run("generate", suite_path("tests/golden/fam_rms_m1"), "--session", session);
    expect_code(golden, 3);
    run_free(&golden);
    for (size_t at = 0; at < size; at += 97) {
        before[at] ^= 4;
        run_write("broken", before, size);
        before[at] ^= 4;
        run_result result = run("generate", model, "--session", run_file("broken"), "--no-save", "--max-tokens", "1");
        expect_code(result, 3);
        run_free(&result);
    }
    run_write("broken", "", 0);
    expect_refused(run("generate", model, "--session", run_file("broken")), 3, "broken: ");
    free(before);
}

static void session_is_never_the_model_or_an_input(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *book = write_book("book", 50, 1);
    size_t size, after_size;
    char *before = run_slurp(book, &size);
    expect_refused(run("generate", model, "--file", book, "--session", book), 3, "book");
    char *after = run_slurp(book, &after_size);
    assert_true(size == after_size && memcmp(before, after, size) == 0);
    free(before), free(after);
}

/* ---- chat --------------------------------------------------------------------------------------------------------- */

static void chat_answers_line_by_line_and_goes_on_tomorrow(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *one = run_file("one"), *two = run_file("two");
    run_plan plan = {.arguments = {"chat", model, "--chat-template", "chatml", "--max-tokens", "6", "--session", one},
                     .input = "the earth\n\nand the deep"};
    run_result whole = done(run_plan_now(plan));
    plan.arguments[7] = two;
    plan.input = "the earth\n";
    run_result first = done(run_plan_now(plan));
    plan.input = "and the deep\n";
    run_result second = done(run_plan_now(plan));
    char both[8192];
    snprintf(both, sizeof both, "%s%s", first.out, second.out);
    assert_string_equal(both, whole.out);
    assert_same_files(one, two);
    plan.arguments[8] = "--system";
    plan.arguments[9] = "Be brief.";
    expect_refused(run_plan_now(plan), 2, "--system: found a conversation that has begun");
    run_free(&whole), run_free(&first), run_free(&second);
}

static void chat_reads_exactly_the_template(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *chat = run_file("chat"), *session = run_file("s");
    /* Replies of one token, always the same: the conversation is then known in advance. */
    run_result word = done(run("tokenize", model, "--prompt", " the"));
    char bias[32], *the = word.out;
    the[strcspn(the, "\n")] = '\0';
    snprintf(bias, sizeof bias, "%s=1000", the);
    run_plan plan = {.arguments = {"chat", model, "--chat-template", "chatml", "--max-tokens", "1", "--session", chat,
                                   "--system", "Be brief.", "--logit-bias", bias},
                     .input = "the earth\nand the deep\n"};
    run_result result = done(run_plan_now(plan));
    assert_string_equal(result.out, " the\n the\n");
    run_free(&result);
    run_result read = done(run("generate", model, "--special", "--max-tokens", "0", "--session", session, "--prompt",
                               "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe earth<|im_end|>\n"
                               "<|im_start|>assistant\n the<|im_end|>\n<|im_start|>user\nand the deep<|im_end|>\n"
                               "<|im_start|>assistant\n the<|im_end|>"));
    run_free(&read);
    assert_int_equal(tokens_of(chat), tokens_of(session));
    run_result a = done(run("generate", model, "--session", chat, "--no-save", "--max-tokens", "10", "--temperature", "0"));
    run_result b = done(run("generate", model, "--session", session, "--no-save", "--max-tokens", "10", "--temperature", "0"));
    assert_string_equal(a.out, b.out);
    run_free(&a), run_free(&b), run_free(&word);
}

static void chat_without_a_template_is_refused(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    run_plan plan = {.arguments = {"chat", model}, .input = "hello\n"};
    expect_refused(run_plan_now(plan), 3, "--chat-template");
    plan.arguments[2] = "--chat-template";
    plan.arguments[3] = "nonsense";
    expect_refused(run_plan_now(plan), 2, "\"nonsense\", need \"chatml\"");
}

/* A chat whose standard input is a pipe; ends[1] writes into it. */
static run_child chat_start(const char *model, const char *max_tokens, const char *session, int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    run_plan plan = {.arguments = {"chat", model, "--chat-template", "chatml", "--max-tokens", max_tokens, "--session", session,
                                   "--logit-bias", "0=-inf", "--logit-bias", "2=-inf"},
                     .input_fd = ends[0]};
    return run_start(&plan);
}

static void wait_for_output(const run_child *child, off_t size)
{
    struct stat about = {0};
    for (int i = 0; i < 6000 && about.st_size < size; i++) {
        usleep(5000);
        fstat(child->out, &about);
    }
    assert_true(about.st_size >= size);
}

/* Until nothing more has come for a second; returns the size. */
static off_t wait_for_silence(const run_child *child)
{
    off_t size = -1;
    for (int quiet = 0; quiet < 50; quiet++) {
        struct stat about;
        fstat(child->out, &about);
        if (about.st_size != size)
            quiet = 0;
        size = about.st_size;
        usleep(20000);
    }
    return size;
}

static void ctrl_c_ends_a_reply_and_at_the_prompt_the_conversation(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s");
    int ends[2];
    run_child child = chat_start(model, "100000000", session, ends);
    assert_int_equal(write(ends[1], "the earth\n", 10), 10);
    wait_for_output(&child, 20);
    kill(child.pid, SIGINT); /* the reply would never end */
    off_t size = wait_for_silence(&child);
    assert_int_equal(write(ends[1], "and the deep\n", 13), 13);
    wait_for_output(&child, size + 10);
    kill(child.pid, SIGINT);
    wait_for_silence(&child);
    kill(child.pid, SIGINT); /* at the prompt */
    run_result result = run_finish(child);
    expect_code(result, 130);
    expect_contains(result.err, "interrupted; the session is saved");
    run_free(&result);
    close(ends[0]), close(ends[1]);
    run_plan plan = {.arguments = {"chat", model, "--chat-template", "chatml", "--max-tokens", "3", "--session", session},
                     .input = "go on\n"};
    result = done(run_plan_now(plan));
    run_free(&result);
}

static void second_ctrl_c_exits_at_once(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s");
    int ends[2];
    run_child child = chat_start(model, "100000000", session, ends);
    assert_int_equal(write(ends[1], "the earth\n", 10), 10);
    wait_for_output(&child, 20);
    kill(child.pid, SIGSTOP);
    kill(child.pid, SIGINT);
    kill(child.pid, SIGTERM); /* both are pending: the second handler runs before the program looks */
    kill(child.pid, SIGCONT);
    run_result result = run_finish(child);
    expect_code(result, 130);
    assert_string_equal(result.err, "");
    assert_int_equal(access(session, F_OK), -1);
    run_free(&result);
    close(ends[0]), close(ends[1]);
}

static void model_that_shrinks_while_it_is_used_is_an_error(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char weights[600];
    int ends[2];
    snprintf(weights, sizeof weights, "%s/model.safetensors", model);
    run_child child = chat_start(model, "5", run_file("s"), ends);
    assert_int_equal(write(ends[1], "the earth\n", 10), 10);
    wait_for_output(&child, 5);
    assert_int_equal(truncate(weights, 100), 0);
    assert_int_equal(write(ends[1], "the earth\n", 10), 10);
    close(ends[1]);
    run_result result = run_finish(child);
    expect_code(result, 5);
    assert_string_equal(result.err, "fam: a mapped file shrank or failed while it was read\n");
    run_free(&result);
    close(ends[0]);
}

static const struct CMUnitTest tests[] = {
    test_in_folder(session_that_continues_equals_one_that_was_not_stopped),
    test_in_folder(no_save_leaves_the_session_as_it_is),
    test_in_folder(file_that_was_read_is_not_read_again),
    test_in_folder(changed_file_is_refused),
    test_in_folder(interrupted_reading_goes_on_where_it_stopped),
    test_in_folder(interrupted_in_the_middle_of_a_piece_reads_every_token_once),
    test_in_folder(interrupted_file_that_changes_is_refused),
    test_in_folder(interrupted_at_once_keeps_the_place),
    test_in_folder(a_file_that_grows_too_large_is_an_error),
    test_in_folder(interruption_without_a_session_says_what_is_lost),
    test_in_folder(what_was_read_before_a_failure_is_kept),
    test_in_folder(session_of_another_model_or_setting_is_refused),
    test_in_folder(session_is_never_the_model_or_an_input),
    test_in_folder(chat_answers_line_by_line_and_goes_on_tomorrow),
    test_in_folder(chat_reads_exactly_the_template),
    test_in_folder(chat_without_a_template_is_refused),
    test_in_folder(ctrl_c_ends_a_reply_and_at_the_prompt_the_conversation),
    test_in_folder(second_ctrl_c_exits_at_once),
    test_in_folder(model_that_shrinks_while_it_is_used_is_an_error),
};

SUITE_MAIN(tests)
