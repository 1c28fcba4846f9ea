/*
 * Chat templates against transformers' rendering (tests/oracle/chat_template.py), their recognition, and stop strings.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/random.h"
#include "suite.h"
#include "text/chat.h"
#include "text/stop.h"
#include "token_list.h"

#define SMOLLM2 "build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"
#define FIXTURE "tests/fixtures/chat_template/smollm2.json"
#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

static json_t *read_fixture(void)
{
    json_error_t where;
    json_t *value = json_load_file(suite_path(FIXTURE), 0, &where);
    if (!value)
        fail_msg("%s: %s", FIXTURE, where.text);
    return value;
}

static size_t messages_of(const json_t *conversation, fam_message *out)
{
    size_t i;
    json_t *message;
    json_array_foreach(json_object_get(conversation, "messages"), i, message) out[i] = (fam_message){
        json_string_value(json_object_get(message, "role")), json_string_value(json_object_get(message, "content"))};
    return i;
}

typedef struct rendering {
    char text[4096];
    size_t length, specials;
} rendering;

static fam_status collect(void *context, const char *text, size_t size, bool special, fam_error *unused)
{
    (void)unused;
    rendering *r = context;
    assert_true(r->length + size < sizeof r->text);
    memcpy(r->text + r->length, text, size);
    r->length += size;
    r->text[r->length] = '\0';
    r->specials += special;
    return FAM_OK;
}

static fam_chat_format *format_of(const char *name, const char *template_text)
{
    fam_chat_format *format;
    fam_memory_init(&memory);
    assert_ok(fam_chat_format_create(&format, &memory, "test", name, template_text, &error));
    return format;
}

static void conversations_read_as_transformers_renders_them(void **state)
{
    (void)state;
    json_t *fixture = read_fixture(), *conversation;
    fam_chat_format *format = format_of(NULL, json_string_value(json_object_get(fixture, "template")));
    assert_string_equal(fam_chat_format_default_system(format), SMOLLM2_SYSTEM);
    assert_string_equal(fam_chat_format_name(format), "chatml");
    size_t i;
    json_array_foreach(json_object_get(fixture, "conversations"), i, conversation)
    {
        fam_message messages[8];
        size_t count = messages_of(conversation, messages);
        bool prompt = json_is_true(json_object_get(conversation, "add_generation_prompt"));
        rendering whole = {.length = 0};
        const char *want = json_string_value(json_object_get(conversation, "text"));
        assert_ok(fam_chat_render(format, messages, count, 0, prompt, collect, &whole, &error));
        assert_string_equal(whole.text, want);
        /* In two steps it is the same; only an answer, which the model wrote itself, is left out between. */
        for (size_t first = 1; first < count; first++) {
            rendering steps = {.length = 0};
            bool answered = strcmp(messages[first - 1].role, "assistant") == 0;
            assert_ok(fam_chat_render(format, messages, first - answered, 0, answered, collect, &steps, &error));
            if (answered && first > 1) {
                assert_ok(
                    collect(&steps, messages[first - 1].content, strlen(messages[first - 1].content), false, NULL));
                assert_ok(collect(&steps, "<|im_end|>", 10, true, NULL));
            }
            if (answered && first == 1)
                continue;
            assert_ok(fam_chat_render(format, messages, count, first, prompt, collect, &steps, &error));
            assert_string_equal(steps.text, want);
            assert_int_equal(steps.specials, whole.specials);
        }
    }
    assert_true(i >= 10);
    fam_chat_format_free(format);
    json_decref(fixture);
    assert_int_equal(memory.bytes, 0);
}

static void conversations_have_the_ids_of_transformers(void **state)
{
    (void)state;
    if (!fam_path_exists(suite_path(SMOLLM2))) {
        print_message("%s is not there: make downloads it\n", SMOLLM2);
        skip();
    }
    fam_tokenizer *tokenizer;
    json_t *fixture = read_fixture(), *conversation;
    assert_ok(fam_tokenizer_open(&tokenizer, suite_path(SMOLLM2), &error));
    size_t i;
    int without_ids = 0;
    json_array_foreach(json_object_get(fixture, "conversations"), i, conversation)
    {
        fam_message messages[8];
        size_t count = messages_of(conversation, messages);
        bool prompt = json_is_true(json_object_get(conversation, "add_generation_prompt"));
        const json_t *want = json_object_get(conversation, "ids");
        token_list ids = {0};
        assert_ok(fam_chat_encode(tokenizer, i % 2 ? NULL : "chatml", messages, count, 0, prompt, token_list_sink, &ids,
                                  &error));
        if (json_is_array(want)) {
            assert_int_equal(ids.count, json_array_size(want));
            for (size_t k = 0; k < ids.count; k++)
                assert_int_equal(ids.ids[k], json_integer_value(json_array_get(want, k)));
        } else { /* a message holds the text of special tokens: only those of the format are special */
            size_t specials = 0;
            for (size_t k = 0; k < ids.count; k++)
                specials += fam_tokenizer_is_special(tokenizer, ids.ids[k]);
            assert_int_equal(specials, 2 * (count + 1) + prompt);
            without_ids++;
        }
        token_list_free(&ids);
    }
    assert_int_equal(without_ids, 1);
    fam_tokenizer_free(tokenizer);
    json_decref(fixture);
}

#define LOOP                                                                                                           \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"             \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static void templates_are_known_however_they_are_spelled(void **state)
{
    (void)state;
    const struct {
        const char *text, *system;
    } known[] = {
        {"{% for message in messages %}" LOOP, NULL},
        {"{%for message in messages%}{{ \"<|im_start|>\" + message.role + \"\\n\" + message.content + "
         "\"<|im_end|>\\n\" }}"
         "{%endfor%}{%if add_generation_prompt%}{{\"<|im_start|>assistant\n\"}}{%endif%}\n",
         NULL},
        {"{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
         "{% for message in messages %}" LOOP,
         NULL},
        {"{%- for message in messages -%}\n  <|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
         "  {% endfor %}\n{# a remark #}\n{%- if add_generation_prompt %}\n<|im_start|>assistant\n  {% endif -%} ",
         NULL},
        {"{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
         "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}" LOOP,
         "You are a helpful assistant."},
        {"{% for message in messages %}{% if loop.first and messages[0].role != \"system\" %}"
         "<|im_start|>system\nIt's \"me\"<|im_end|>\n{% endif %}" LOOP,
         "It's \"me\""},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fam_chat_format *format = format_of(NULL, known[i].text);
        const char *system = fam_chat_format_default_system(format);
        if (known[i].system)
            assert_string_equal(system, known[i].system);
        else
            assert_null(system);
        fam_chat_format_free(format);
        assert_int_equal(memory.bytes, 0);
    }
}

static void other_templates_are_refused_with_advice(void **state)
{
    (void)state;
    static char large[70000];
    memset(large, ' ', sizeof large - 1);
    const char *const unknown[] = {
        "",
        "{% for message in messages %}",
        "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        "{% for message in messages %}" LOOP "!",
        "{% for message in messages %} " LOOP,
        "{% for message in messages %}\n  " LOOP, /* Jinja keeps blanks before an expression */
        "{% for message in messages[1:] %}" LOOP,
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']|trim + "
        "'<|im_end|>' +"
        " '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\n' + now() + '<|im_end|>\\n' }}{% endif %}" LOOP,
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\na<|im_end|>\\n<|im_start|>user\\nb<|im_end|>\\n' }}{% endif %}" LOOP,
        "{% for i in range(1000000000) %}{{ 'x' * 1000000 }}{% endfor %}",
        "{% while true %}",
        "{{ 'no end }}",
        "{% \"",
        "{{",
        "\x01\x02",
        large,
    };
    fam_memory_init(&memory);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        fam_chat_format *format;
        assert_int_equal(fam_chat_format_create(&format, &memory, "m.gguf", NULL, unknown[i], &error),
                         FAM_STATUS_UNSUPPORTED);
        assert_string_equal(error.message,
                            "m.gguf: chat template: found an unknown one, need one that is known, or the "
                            "option --chat-template chatml");
        assert_null(format);
        /* With the option it is taken, without a default system prompt. */
        assert_ok(fam_chat_format_create(&format, &memory, "m.gguf", "chatml", unknown[i], &error));
        assert_null(fam_chat_format_default_system(format));
        fam_chat_format_free(format);
    }
    fam_chat_format *format;
    assert_int_equal(fam_chat_format_create(&format, &memory, "m", NULL, NULL, &error), FAM_STATUS_UNSUPPORTED);
    assert_int_equal(fam_chat_format_create(&format, &memory, "m", "jinja", NULL, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_equal(memory.bytes, 0);
}

static void wrong_messages_are_refused(void **state)
{
    (void)state;
    fam_chat_format *format = format_of("chatml", NULL);
    const struct {
        fam_message message;
        size_t first;
    } wrong[] = {{{"robot", "x"}, 0}, {{NULL, "x"}, 0}, {{"user", NULL}, 0}, {{"user", "x"}, 2}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rendering out = {.length = 0};
        assert_int_equal(fam_chat_render(format, &wrong[i].message, 1, wrong[i].first, true, collect, &out, &error),
                         FAM_STATUS_INVALID_ARGUMENT);
        assert_int_equal(out.length, 0);
    }
    rendering out = {.length = 0};
    assert_ok(fam_chat_render(format, NULL, 0, 0, true, collect, &out, &error));
    assert_string_equal(out.text, "<|im_start|>assistant\n");
    fam_chat_format_free(format);
}

static void recognition_survives_lack_of_memory(void **state)
{
    (void)state;
    json_t *fixture = read_fixture();
    const char *text = json_string_value(json_object_get(fixture, "template"));
    fam_chat_format *format;
    size_t failures = 0;
    for (size_t at = 1;; at++) {
        fam_memory_init(&memory);
        memory.fail_at = at;
        fam_status status = fam_chat_format_create(&format, &memory, "m", NULL, text, &error);
        if (status == FAM_OK)
            break;
        failures++;
        assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        assert_int_equal(memory.bytes, 0);
    }
    assert_true(failures >= 4);
    assert_string_equal(fam_chat_format_default_system(format), SMOLLM2_SYSTEM);
    fam_chat_format_free(format);
    json_decref(fixture);
}

/* ---- stop strings ---- */

/* What comes out of a text fed in pieces; *which is the string found, -1 if none. */
static size_t run_stop(fam_stop *stop, const char *text, size_t size, fam_random *random, char *out, int64_t *which)
{
    size_t used = 0, ready_size;
    const char *ready;
    bool found = false;
    fam_stop_reset(stop);
    for (size_t at = 0; at < size && !found;) {
        size_t n = random ? fam_random_next(random) % 4 : size;
        n = n < size - at ? n : size - at;
        assert_ok(fam_stop_feed(stop, text + at, n, &ready, &ready_size, &found, &error));
        memcpy(out + used, ready, ready_size);
        used += ready_size;
        at += n;
    }
    *which = fam_stop_which(stop);
    if (!found) {
        fam_stop_finish(stop, &ready, &ready_size);
        memcpy(out + used, ready, ready_size);
        used += ready_size;
    }
    out[used] = '\0';
    return used;
}

static void stop_strings_are_found_and_never_shown(void **state)
{
    (void)state;
    const char *const strings[] = {"###", "\nUser:", "end", "<<end"};
    const struct {
        const char *text, *shown;
        int64_t which;
    } cases[] = {
        {"abc", "abc", -1},     {"", "", -1},          {"a##b###c", "a##b", 0},
        {"##", "##", -1},       {"a\nUser:b", "a", 1}, {"a\nUserb", "a\nUserb", -1},
        {"x<<end", "x", 3},     {"x<end", "x<", 2},    {"####", "", 0},
        {"\n\nUser:", "\n", 1}, {"<<<end", "<", 3},
    };
    fam_memory_init(&memory);
    fam_stop *stop;
    fam_random random;
    fam_random_seed(&random, 1);
    assert_ok(fam_stop_create(&stop, &memory, strings, 4, &error));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int run = 0; run < 20; run++) {
            char out[64];
            int64_t which;
            run_stop(stop, cases[i].text, strlen(cases[i].text), run ? &random : NULL, out, &which);
            assert_string_equal(out, cases[i].shown);
            assert_int_equal(which, cases[i].which);
        }
    const char *ready;
    size_t size;
    bool found;
    fam_stop_reset(stop);
    assert_ok(fam_stop_feed(stop, "ab\nUs", 5, &ready, &size, &found, &error));
    assert_int_equal(size, 2); /* no more is held back than may begin a stop string */
    assert_ok(fam_stop_feed(stop, "e!", 2, &ready, &size, &found, &error));
    assert_int_equal(size, 5);
    fam_stop_free(stop);
    assert_int_equal(memory.bytes, 0);
}

/* Against searching the whole text, over an alphabet of two so that beginnings overlap. */
static void stop_strings_agree_with_a_plain_search(void **state)
{
    (void)state;
    fam_memory_init(&memory);
    fam_random random;
    fam_random_seed(&random, 9);
    for (int run = 0; run < 5000; run++) {
        char strings[3][6], text[40], out[40];
        const char *pointers[3];
        size_t best_end = SIZE_MAX, best_begin = 0, size = fam_random_next(&random) % 39;
        for (int k = 0; k < 3; k++) {
            size_t n = 1 + fam_random_next(&random) % 5;
            for (size_t i = 0; i < n; i++)
                strings[k][i] = "ab"[fam_random_next(&random) % 2];
            strings[k][n] = '\0';
            pointers[k] = strings[k];
        }
        for (size_t i = 0; i < size; i++)
            text[i] = "aab"[fam_random_next(&random) % 3];
        text[size] = '\0';
        for (int k = 0; k < 3; k++) {
            const char *at = strstr(text, strings[k]);
            size_t end = at ? (size_t)(at - text) + strlen(strings[k]) : SIZE_MAX;
            if (at && (end < best_end || (end == best_end && (size_t)(at - text) < best_begin))) {
                best_end = end;
                best_begin = (size_t)(at - text);
            }
        }
        size_t want = best_end == SIZE_MAX ? size : best_begin;
        fam_stop *stop;
        int64_t which;
        assert_ok(fam_stop_create(&stop, &memory, pointers, 3, &error));
        assert_int_equal(run_stop(stop, text, size, &random, out, &which), want);
        assert_memory_equal(out, text, want);
        assert_int_equal(which >= 0, best_end != SIZE_MAX);
        fam_stop_free(stop);
    }
    assert_int_equal(memory.bytes, 0);
}

static void wrong_stop_strings_are_refused(void **state)
{
    (void)state;
    fam_memory_init(&memory);
    fam_stop *stop;
    const char *const empty[] = {"a", ""};
    assert_int_equal(fam_stop_create(&stop, &memory, empty, 2, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "stop string 1: found an empty one, need text");
    static const char *many[FAM_STOP_STRINGS_MAX + 1];
    for (size_t i = 0; i <= FAM_STOP_STRINGS_MAX; i++)
        many[i] = "x";
    assert_int_equal(fam_stop_create(&stop, &memory, many, FAM_STOP_STRINGS_MAX + 1, &error),
                     FAM_STATUS_INVALID_ARGUMENT);
    assert_ok(fam_stop_create(&stop, &memory, many, FAM_STOP_STRINGS_MAX, &error));
    fam_stop_free(stop);
    assert_ok(fam_stop_create(&stop, &memory, NULL, 0, &error));
    const char *ready;
    size_t size;
    bool found;
    assert_ok(fam_stop_feed(stop, "text", 4, &ready, &size, &found, &error));
    assert_int_equal(size, 4);
    fam_stop_free(stop);
    assert_int_equal(memory.bytes, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(conversations_read_as_transformers_renders_them),
    cmocka_unit_test(conversations_have_the_ids_of_transformers),
    cmocka_unit_test(templates_are_known_however_they_are_spelled),
    cmocka_unit_test(other_templates_are_refused_with_advice),
    cmocka_unit_test(wrong_messages_are_refused),
    cmocka_unit_test(recognition_survives_lack_of_memory),
    cmocka_unit_test(stop_strings_are_found_and_never_shown),
    cmocka_unit_test(stop_strings_agree_with_a_plain_search),
    cmocka_unit_test(wrong_stop_strings_are_refused),
};
SUITE_MAIN(tests)
