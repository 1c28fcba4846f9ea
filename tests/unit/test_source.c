/*
 * Sources: how tasks and documents become sequences, what weighs what, how entries are mixed, and what is refused.
 */
#include "base/file.h"
#include "data/id_list.h"
#include "data_fixture.h"

static const char *directory;

static int setup(void **state)
{
    (void)state;
    fam_memory_init(&memory);
    directory = scratch_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
    return 0;
}

/* One entry over a file with this text, and a tokenizer of bytes. */
typedef struct one {
    fam_tokenizer *tokenizer;
    fam_data_options entry;
    fam_source *source;
} one;

static fam_status try_one(one *o, fam_data_kind kind, const char *text)
{
    scratch_write_text(directory, "data", text);
    o->tokenizer = byte_tokenizer_open(&memory);
    o->entry.kind = kind;
    free(o->entry.path);
    o->entry.path = strdup(scratch_path(directory, "data"));
    return fam_source_create(&o->source, &memory, &o->entry, 1, o->tokenizer, 7, &error);
}

static void open_one(one *o, fam_data_options entry, fam_data_kind kind, const char *text)
{
    *o = (one){.entry = entry};
    assert_ok(try_one(o, kind, text));
}

static void close_one(one *o)
{
    fam_source_free(o->source);
    fam_tokenizer_free(o->tokenizer);
    free(o->entry.path);
}

static fam_source_counts counts(const one *o)
{
    fam_source_counts c;
    fam_source_counts_get(o->source, 0, &c);
    return c;
}

/* The next sequence must be this text with these weights (NULL: not looked at). */
static void expect(one *o, const char *text, const char *weights)
{
    data_sequence s = data_next(o->source, (int64_t)strlen(text));
    assert_string_equal(data_text(&s), text);
    if (weights)
        assert_string_equal(data_weights(&s), weights);
    data_sequence_free(&s);
}

/* ---- tasks ---- */

static void answers_of_tasks_weigh_one_and_the_rest_as_told(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = byte_tokenizer_open(&memory);
    for (int i = 0; i < 3; i++) {
        fam_source *source;
        fam_data_options entry = data_entry(FAM_DATA_RECALL, NULL);
        entry.rest_weight = i == 1 ? 0.25 : 0;
        entry.rest_share = i == 2 ? 0.05 : 0;
        assert_ok(fam_source_create(&source, &memory, &entry, 1, tokenizer, 1, &error));
        data_sequence s = data_next(source, 105);
        assert_int_equal(s.view.entry, 0);
        for (int t = 0; t < 105; t++) {
            float rest = i == 0 ? 0 : i == 1 ? 0.25f : (float)(0.05 * 5 / 99);
            assert_int_equal(s.view.answers[t], t >= 100);
            assert_true(s.view.weights[t] == (t == 0 ? 0 : t >= 100 ? 1 : rest));
        }
        data_sequence_free(&s);
        fam_source_free(source);
    }
    fam_tokenizer_free(tokenizer);
}

static void every_sequence_of_a_task_is_another_and_the_seed_decides(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = byte_tokenizer_open(&memory);
    fam_source *source[3];
    fam_data_options entries[2] = {data_entry(FAM_DATA_RECALL, NULL), data_entry(FAM_DATA_RECALL, NULL)};
    for (int i = 0; i < 3; i++)
        assert_ok(fam_source_create(&source[i], &memory, entries, 2, tokenizer, i == 2 ? 8 : 7, &error));
    data_sequence seen[40];
    for (int n = 0; n < 40; n++) {
        data_sequence other[2];
        seen[n] = data_next(source[0], 64);
        for (int i = 0; i < 2; i++)
            other[i] = data_next(source[1 + i], 64);
        data_assert_same(&seen[n], &other[0]);
        assert_memory_not_equal(seen[n].view.ids, other[1].view.ids, 64 * 4);
        for (int k = 0; k < n; k++) /* also of the other entry, which is the same but for its place in the list */
            assert_memory_not_equal(seen[n].view.ids, seen[k].view.ids, 64 * 4);
        data_sequence_free(&other[0]);
        data_sequence_free(&other[1]);
    }
    for (int n = 0; n < 40; n++)
        data_sequence_free(&seen[n]);
    for (int i = 0; i < 3; i++)
        fam_source_free(source[i]);
    fam_tokenizer_free(tokenizer);
}

static void entries_come_by_their_shares(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = byte_tokenizer_open(&memory);
    fam_source *source;
    fam_data_options entries[4];
    const double shares[4] = {0.5, 2, 0, 1.5};
    int seen[4] = {0};
    for (int i = 0; i < 4; i++) {
        entries[i] = data_entry(FAM_DATA_RECALL, NULL);
        entries[i].share = shares[i];
    }
    assert_ok(fam_source_create(&source, &memory, entries, 4, tokenizer, 1, &error));
    for (int i = 0; i < 4000; i++) {
        data_sequence s = data_next(source, 40);
        seen[s.view.entry]++;
        data_sequence_free(&s);
    }
    assert_in_range(seen[0], 420, 580);
    assert_in_range(seen[1], 1880, 2120);
    assert_int_equal(seen[2], 0);
    for (int i = 0; i < 4; i++) {
        fam_source_counts c;
        fam_source_counts_get(source, i, &c);
        assert_int_equal(c.sequences, seen[i]);
    }
    data_sequence s = data_sequence_make(40);
    assert_ok(fam_source_next_of(source, 2, 40, &s.view, &error));
    assert_int_equal(s.view.entry, 2);
    assert_refused(fam_source_next_of(source, 4, 40, &s.view, &error), FAM_STATUS_INVALID_ARGUMENT, "entry: found 4");
    assert_refused(fam_source_next_of(source, 0, 15, &s.view, &error), FAM_STATUS_INVALID_ARGUMENT, "need at least 16");
    assert_int_equal(fam_source_tokens_min(source), 16);
    data_sequence_free(&s);
    fam_source_free(source);
    fam_tokenizer_free(tokenizer);
}

/* ---- text ---- */

static void text_streams_on_and_begins_again(void **state)
{
    (void)state;
    one o;
    open_one(&o, data_entry(FAM_DATA_TEXT, NULL), FAM_DATA_TEXT, "0123456789");
    expect(&o, "0123", "-+++");
    expect(&o, "456789", "-+++++");
    assert_int_equal(counts(&o).epochs, 0);
    expect(&o, "#012", "-+++");
    assert_int_equal(counts(&o).epochs, 1);
    expect(&o, "3456789#0123456789#012", "-+++++++++++++++++++++");
    assert_int_equal(counts(&o).epochs, 3);
    assert_int_equal(counts(&o).sequences, 4);
    close_one(&o);
}

static void text_of_any_length_has_the_ids_of_the_whole(void **state)
{
    (void)state;
    const char *const names[] = {"tests/fixtures/tokenizer/reduced/smollm.gguf",
                                 "tests/fixtures/tokenizer/reduced/gpt2",
                                 "tests/fixtures/tokenizer/reduced/split_llama3"};
    uint8_t *text;
    size_t size;
    /* real text, three times over, so that pieces end where they fall; with characters of many bytes */
    assert_ok(fam_file_read(&text, &size, &memory, suite_path("tests/oracle/genesis-1.txt"), 1 << 20, &error));
    char *long_text = malloc(250 * (size + 64)), *at = long_text;
    for (int i = 0; i < 240; i++) {
        memcpy(at, text, size);
        at += size;
        at += sprintf(at, " %s\n\n   %d", i % 2 ? "\xc3\xa4\xe6\x97\xa5\xf0\x9f\x99\x82" : "don't", i * 12345);
    }
    assert_true(at - long_text > 4 << 16);
    scratch_write(directory, "long", long_text, (size_t)(at - long_text));
    for (int n = 0; n < 3; n++) {
        fam_tokenizer *tokenizer;
        fam_source *source;
        int32_t *ids;
        size_t count;
        fam_data_options entry = data_entry(FAM_DATA_TEXT, scratch_path(directory, "long"));
        assert_ok(fam_tokenizer_from_path(&tokenizer, &memory, suite_path(names[n]), NULL, NULL, &error));
        assert_ok(
            fam_tokenizer_encode(&ids, &count, &memory, tokenizer, long_text, (size_t)(at - long_text), false, &error));
        assert_ok(fam_source_create(&source, &memory, &entry, 1, tokenizer, 7, &error));
        size_t bos = fam_tokenizer_adds_bos(tokenizer);
        for (size_t done = 0; done + 777 <= count; done += 777) {
            data_sequence s = data_next(source, 777);
            for (size_t t = 0; t < 777; t++)
                if (s.view.ids[t] != (done + t < bos ? fam_tokenizer_bos(tokenizer) : ids[done + t - bos]))
                    fail_msg("%s: token %zu of %zu differs", names[n], done + t, count);
            data_sequence_free(&s);
        }
        fam_source_free(source);
        fam_free(&memory, ids);
        fam_tokenizer_free(tokenizer);
        free(entry.path);
    }
    fam_free(&memory, text);
    free(long_text);
}

static void a_random_segment_is_repeated_at_the_end(void **state)
{
    (void)state;
    fam_data_options entry = data_entry(FAM_DATA_TEXT, NULL);
    entry.repeat_tokens = 10;
    char text[1001];
    for (int i = 0; i < 1000; i++)
        text[i] = (char)('a' + (i * i / 7) % 26);
    text[1000] = '\0';
    one o;
    open_one(&o, entry, FAM_DATA_TEXT, text);
    int64_t marker = (int64_t)strlen("\n[repeat random segment]:"), body = 100 - marker - 10;
    assert_int_equal(fam_source_tokens_min(o.source), marker + 21);
    int from[60] = {0}, different = 0;
    for (int n = 0; n < 30; n++) {
        data_sequence s = data_next(o.source, 100);
        const char *got = data_text(&s);
        assert_memory_equal(got + body, "\n[repeat random segment]:", (size_t)marker);
        bool found = false;
        for (int64_t at = 0; at + 10 <= body && !found; at++)
            if (memcmp(got + at, got + 90, 10) == 0) {
                found = true;
                different += from[at]++ == 0;
            }
        assert_true(found);
        for (int64_t t = 0; t < 100; t++) {
            assert_true(s.view.weights[t] == (t == 0 ? 0 : t < body ? 1 : t < 90 ? 0 : 0.1f));
            assert_int_equal(s.view.answers[t], 0);
        }
        data_sequence_free(&s);
    }
    assert_true(different > 15);
    close_one(&o);
}

static void a_document_shorter_than_the_segment_is_not_repeated(void **state)
{
    (void)state;
    fam_data_options entry = data_entry(FAM_DATA_JSONL, NULL);
    entry.repeat_tokens = 10;
    entry.pack = false;
    one o;
    open_one(&o, entry, FAM_DATA_JSONL, "{\"text\":\"short\"}");
    expect(&o, "short###############################################", NULL);
    close_one(&o);
}

/* ---- jsonl ---- */

#define TEXTS "{\"text\":\"aaa\"}\n{\"text\":\"bbbbbb\"}\n\n{\"text\":\"c\", \"id\":4}"

static void documents_are_packed_with_the_end_token_between(void **state)
{
    (void)state;
    one o;
    open_one(&o, data_entry(FAM_DATA_JSONL, NULL), FAM_DATA_JSONL, TEXTS);
    expect(&o, "aaa#bb", "-+++++");
    expect(&o, "bbbb#c#aa", "-++++++++");
    assert_int_equal(counts(&o).epochs, 1);
    expect(&o, "a#bbbbbb#c#", NULL);
    assert_int_equal(counts(&o).epochs, 2);
    close_one(&o);
}

static void without_packing_each_document_begins_a_sequence(void **state)
{
    (void)state;
    fam_data_options entry = data_entry(FAM_DATA_JSONL, NULL);
    entry.pack = false;
    one o;
    open_one(&o, entry, FAM_DATA_JSONL, TEXTS "\r\n   \r\n");
    expect(&o, "aaa##", "-+++-");
    expect(&o, "bbbbb", "-++++"); /* a long one goes on */
    expect(&o, "b####", "-+---");
    expect(&o, "c####", "-+---");
    expect(&o, "aaa#####", "-+++----");
    close_one(&o);
}

static void a_completion_is_trained_and_its_prompt_is_not(void **state)
{
    (void)state;
    fam_data_options entry = data_entry(FAM_DATA_JSONL, NULL);
    entry.weight = 1;
    one o;
    open_one(&o, entry, FAM_DATA_JSONL,
             "{\"prompt\":\"ask\",\"completion\":\"yes\"}\n{\"completion\":\"OK\",\"prompt\":\"Q: \"}\n");
    expect(&o, "askyes##", "---===+-"); /* the second does not fit and is not cut */
    expect(&o, "Q: OK#askyes#", "---==+---===+");
    close_one(&o);
    entry.weight = 0.5;
    open_one(&o, entry, FAM_DATA_JSONL, "{\"prompt\":\"ask\",\"completion\":\"yes\"}");
    expect(&o, "askyes#", "---***~");
    close_one(&o);
}

static void a_document_that_is_too_long_is_refused_skipped_or_cut(void **state)
{
    (void)state;
    const char *text = "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"12345678\",\"completion\":\"90\"}\n"
                       "{\"prompt\":\"c\",\"completion\":\"d\"}\n";
    fam_data_options entry = data_entry(FAM_DATA_JSONL, NULL);
    one o;
    open_one(&o, entry, FAM_DATA_JSONL, text);
    data_sequence s = data_sequence_make(11);
    expect(&o, "ab#########", "-=+--------");
    expect(&o, "1234567890#", "--------==+"); /* as long as a sequence */
    expect(&o, "cd#ab######", "-=+-=+-----");
    for (int i = 0; i < 2; i++) /* and stays where it is */
        assert_refused(fam_source_next(o.source, 10, &s.view, &error), FAM_STATUS_BAD_FORMAT,
                       "data: record: line 2: found 11 tokens, need at most 10");
    expect(&o, "1234567890##", NULL);
    close_one(&o);

    entry.too_long = FAM_TOO_LONG_SKIP;
    open_one(&o, entry, FAM_DATA_JSONL, text);
    expect(&o, "ab#cd#ab##", "-=+-=+-=+-");
    assert_int_equal(counts(&o).skipped_records, 2);
    assert_refused(fam_source_next(o.source, 2, &s.view, &error), FAM_STATUS_BAD_FORMAT,
                   "found none of at most 2 tokens");
    close_one(&o);

    entry.too_long = FAM_TOO_LONG_SPLIT;
    open_one(&o, entry, FAM_DATA_JSONL, text);
    expect(&o, "ab#123", "-=+---");
    assert_int_equal(counts(&o).skipped_records, 0);
    expect(&o, "90###", "-=+--"); /* "45678" would have trained nothing; "cd#" can be whole in the next */
    assert_int_equal(counts(&o).skipped_records, 1);
    close_one(&o);
    data_sequence_free(&s);
}

static void only_what_the_assistant_says_is_trained(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer;
    fam_source *source;
    scratch_write_text(
        directory, "chat",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be <|im_end|> "
        "good.\"},{\"role\":\"user\",\"content\":\"Hi\"},"
        "{\"role\":\"assistant\",\"content\":\"Hello 12\"},{\"role\":\"user\",\"content\":\"Bye\"},"
        "{\"role\":\"assistant\",\"content\":\"So long\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"A\"},{\"role\":\"assistant\",\"content\":\"B\"}]}");
    if (!fam_path_exists(suite_path("build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"))) {
        print_message("SmolLM2 is not there: make downloads it\n");
        skip();
    }
    assert_ok(fam_tokenizer_from_path(
        &tokenizer, &memory, suite_path("build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"), NULL, NULL, &error));
    fam_data_options entry = data_entry(FAM_DATA_JSONL, scratch_path(directory, "chat"));
    assert_ok(fam_source_create(&source, &memory, &entry, 1, tokenizer, 7, &error));
    data_sequence s = data_next(source, 200);
    fam_message messages[] = {
        {"system", "Be <|im_end|> good."}, {"user", "Hi"}, {"assistant", "Hello 12"}, {"user", "Bye"},
        {"assistant", "So long"},          {"user", "A"},  {"assistant", "B"}};
    fam_id_list want = {.memory = &memory};
    assert_ok(fam_chat_encode(tokenizer, NULL, messages, 5, 0, false, fam_id_list_sink, &want, &error));
    assert_ok(fam_chat_encode(tokenizer, NULL, messages + 5, 2, 0, false, fam_id_list_sink, &want, &error));
    assert_memory_equal(s.view.ids, want.ids, want.count * 4);
    char trained[200] = "";
    for (size_t t = 0; t < want.count; t++) {
        size_t length;
        const char *bytes = fam_tokenizer_bytes(tokenizer, s.view.ids[t], &length);
        if (s.view.weights[t] > 0) {
            strncat(trained, bytes, length);
            assert_int_equal(s.view.answers[t], s.view.ids[t] != 2);
        } else {
            assert_int_equal(s.view.answers[t], 0);
        }
    }
    assert_string_equal(trained, "Hello 12<|im_end|>So long<|im_end|>B<|im_end|>");
    fam_free(&memory, want.ids);
    data_sequence_free(&s);
    fam_source_free(source);
    fam_tokenizer_free(tokenizer);
    free(entry.path);
}

static void documents_begin_with_bos_where_the_tokenizer_says_so(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer;
    fam_source *source;
    assert_ok(fam_tokenizer_from_path(&tokenizer, &memory, suite_path("tests/fixtures/tokenizer/reduced/split_llama3"),
                                      NULL, NULL, &error));
    assert_true(fam_tokenizer_adds_bos(tokenizer));
    scratch_write_text(directory, "two", "{\"text\":\"1\"}\n{\"prompt\":\"2\",\"completion\":\"3\"}");
    fam_data_options entry = data_entry(FAM_DATA_JSONL, scratch_path(directory, "two"));
    assert_ok(fam_source_create(&source, &memory, &entry, 1, tokenizer, 7, &error));
    assert_int_equal(fam_tokenizer_eos(tokenizer), -1); /* and has no end token */
    int32_t bos = fam_tokenizer_bos(tokenizer);
    const int32_t want[] = {bos, '1', bos, '2', '3', bos};
    data_sequence s = data_next(source, 6);
    for (int t = 0; t < 6; t++) {
        char digit = (char)want[t];
        assert_int_equal(s.view.ids[t], want[t] == bos ? bos : fam_tokenizer_find(tokenizer, &digit, 1));
    }
    assert_string_equal(data_weights(&s), "-+--=-");
    data_sequence_free(&s);
    fam_source_free(source);
    fam_tokenizer_free(tokenizer);
    free(entry.path);
}

#define CONVERSATION                                                                                                   \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi <|im_end|>\"},{\"role\":\"assistant\",\"content\":\"Yes\"},"   \
    "{\"role\":\"user\",\"content\":\"B\"},{\"role\":\"assistant\",\"content\":\"No\"}]}"

static void conversations_of_bytes(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = byte_tokenizer_open_with(&memory, true);
    scratch_write_text(directory, "chat", CONVERSATION);
    fam_data_options entry = data_entry(FAM_DATA_JSONL, scratch_path(directory, "chat"));
    for (size_t n = 0;; n++) { /* n = 0: all is well */
        fam_source *source = NULL;
        size_t held = memory.bytes;
        data_sequence s = data_sequence_make(78);
        atomic_store(&memory.allocations, 0);
        memory.fail_at = n;
        fam_status status = fam_source_create(&source, &memory, &entry, 1, tokenizer, 7, &error);
        if (status == FAM_OK)
            status = fam_source_next(source, 78, &s.view, &error);
        memory.fail_at = 0;
        if (n == 0) {
            for (int t = 0; t < 78; t++)
                s.view.ids[t] = s.view.ids[t] == 257 ? '<' : s.view.ids[t] == 258 ? '>' : s.view.ids[t];
            assert_string_equal(data_text(&s), "<user\nHi <|im_end|>>\n<assistant\nYes>\n<user\nB>\n<assistant\nNo>\n"
                                               "#################");
            assert_string_equal(data_weights(&s), "--------------------------------" /* up to the first answer */
                                                  "===+"
                                                  "---------------------"
                                                  "==+"
                                                  "------------------");
        }
        data_sequence_free(&s);
        fam_source_free(source);
        assert_int_equal(memory.bytes, held);
        if (n && status == FAM_OK)
            break;
        assert_int_equal(status, n ? FAM_STATUS_OUT_OF_MEMORY : FAM_OK);
    }
    fam_tokenizer_free(tokenizer);
    free(entry.path);
}

static void a_shuffled_file_gives_each_record_once_an_epoch_in_another_order(void **state)
{
    (void)state;
    enum { RECORDS = 100 };
    char text[RECORDS * 20] = "", orders[3][RECORDS + 1];
    for (int i = 0; i < RECORDS; i++)
        sprintf(text + strlen(text), "{\"text\":\"%c%c\"}\n%s", 'A' + i / 10, '0' + i % 10, i % 7 ? "" : "\n");
    fam_data_options entry = data_entry(FAM_DATA_JSONL, NULL);
    entry.shuffle = true;
    entry.pack = false;
    one o;
    open_one(&o, entry, FAM_DATA_JSONL, text);
    for (int epoch = 0; epoch < 3; epoch++) {
        int seen[RECORDS] = {0}, in_place = 0;
        for (int i = 0; i < RECORDS; i++) {
            data_sequence s = data_next(o.source, 3);
            int record = (s.view.ids[0] - 'A') * 10 + s.view.ids[1] - '0';
            assert_in_range(record, 0, RECORDS - 1);
            assert_int_equal(seen[record]++, 0);
            in_place += record == i;
            orders[epoch][i] = (char)(record + 1);
            data_sequence_free(&s);
        }
        orders[epoch][RECORDS] = '\0';
        assert_true(in_place < 10);
        assert_int_equal(counts(&o).epochs, epoch + 1);
        for (int k = 0; k < epoch; k++)
            assert_string_not_equal(orders[epoch], orders[k]);
    }
    close_one(&o);
}

/* ---- what is refused ---- */

static void bad_lines_are_told_by_place_or_skipped_and_counted(void **state)
{
    (void)state;
    static const struct {
        const char *line, *need;
    } bad[] = {
        {"{\"text\":\"a\"", "line 2: column 11: found"},
        {"nonsense", "line 2: column"},
        {"{\"text\":\"a\"} x", "line 2: column"},
        {"[1]", "found an array, need an object"},
        {"7", "found 7, need an object"},
        {"{\"text\":\"a\",\"text\":\"b\"}", "duplicate object key"},
        {"{\"text\":\"\\u0000\"}", "line 2: column"},
        {"{\"text\":\"\xff\"}", "line 2: column"},
        {"{\"text\":\"\\ud800\"}", "line 2: column"},
        {"{}", "line 2: keys: found none"},
        {"{\"body\":\"a\"}", "keys: found none"},
        {"{\"input_ids\":[1,2]}", "keys: found none"},
        {"{\"text\":\"a\",\"messages\":[]}", "keys: found those of several kinds"},
        {"{\"text\":null}", "text: found null, need a string"},
        {"{\"text\":3}", "text: found 3, need a string"},
        {"{\"text\":\"\"}", "text: found an empty string"},
        {"{\"prompt\":\"a\"}", "completion: found nothing, need a string"},
        {"{\"completion\":\"a\"}", "prompt: found nothing"},
        {"{\"prompt\":\"a\",\"completion\":\"\"}", "completion: found an empty string"},
        {"{\"prompt\":[\"a\"],\"completion\":\"b\"}", "prompt: found an array"},
        {"{\"messages\":{}}", "messages: found an object, need an array"},
        {"{\"messages\":[]}", "found no assistant's"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "found no assistant's"},
        {"{\"messages\":[3]}", "messages[0]: found 3, need an object"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "messages[0]: role: found \"tool\""},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages[0]: content: found nothing"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "messages[0]: content: found null"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
         "messages[0]: role: found assistant, need user"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"a\"}]}",
         "messages[1]: role: found user, need assistant"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"a\"}]}",
         "messages[1]: role: found system"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            char text[400];
            fam_data_options entry = data_entry(FAM_DATA_JSONL, NULL);
            entry.shuffle = shuffle;
            entry.skip_bad = 1;
            snprintf(text, sizeof text, "{\"text\":\"12\"}\n%s\n{\"text\":\"34\"}\n", bad[i].line);
            one o;
            open_one(&o, entry, FAM_DATA_JSONL, text);
            for (int epoch = 1; epoch < 4; epoch++) { /* as many again in each epoch */
                data_sequence s = data_next(o.source, 6);
                if (!shuffle)
                    assert_string_equal(data_text(&s), "12#34#");
                data_sequence_free(&s);
                if (!shuffle)
                    assert_int_equal(counts(&o).bad_records, epoch);
            }
            o.entry.skip_bad = 0; /* and none more */
            data_sequence s = data_sequence_make(12);
            assert_refused(fam_source_next(o.source, 12, &s.view, &error), FAM_STATUS_BAD_FORMAT, bad[i].need);
            assert_non_null(strstr(error.message, "data: record: line 2: "));
            data_sequence_free(&s);
            close_one(&o);
        }
}

static void conversations_need_a_template(void **state)
{
    (void)state;
    one o = {.entry = data_entry(FAM_DATA_JSONL, NULL)};
    o.entry.skip_bad = 5; /* it is not the line that is bad */
    assert_refused(
        try_one(&o, FAM_DATA_JSONL,
                "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"a\"}]}"),
        FAM_STATUS_UNSUPPORTED, "without a chat template");
    close_one(&o);
}

static void files_that_are_no_text_are_refused(void **state)
{
    (void)state;
    static const struct {
        fam_data_kind kind;
        const char *text, *need;
    } bad[] = {{FAM_DATA_JSONL, "", "found an empty one"},
               {FAM_DATA_TEXT, "", "found an empty one"},
               {FAM_DATA_JSONL, "\n \n\r\n\t\n", "records: found none"},
               {FAM_DATA_JSONL, "\xef\xbb\xbf{\"text\":\"a\"}", "byte order mark"},
               {FAM_DATA_TEXT,
                "\xff\xfe"
                "a",
                "UTF-16"},
               {FAM_DATA_TEXT, "\x1f\x8b\x08", "gzip"},
               {FAM_DATA_TEXT, "good \xc3\x28", "byte 5: found 0xc3"},
               {FAM_DATA_TEXT, "good \xc3", "byte 5: found 0xc3"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            one o = {.entry = data_entry(bad[i].kind, NULL)};
            o.entry.shuffle = shuffle;
            assert_refused(try_one(&o, bad[i].kind, bad[i].text), FAM_STATUS_BAD_FORMAT, bad[i].need);
            assert_null(o.source);
            close_one(&o);
        }
    fam_tokenizer *tokenizer = byte_tokenizer_open(&memory);
    fam_source *source;
    scratch_write(directory, "nul", "ab\0cd", 5);
    scratch_write_text(directory, "data.jsonl.gz", "{\"text\":\"a\"}");
    const struct {
        const char *path;
        fam_status status;
        const char *need;
    } paths[] = {{scratch_path(directory, "nul"), FAM_STATUS_BAD_FORMAT, "byte 2: found a NUL"},
                 {scratch_path(directory, "data.jsonl.gz"), FAM_STATUS_BAD_FORMAT, "compressed"},
                 {scratch_path(directory, "none"), FAM_STATUS_NOT_FOUND, "none"},
                 {directory, FAM_STATUS_IO, "found a directory"},
                 {"/dev/zero", FAM_STATUS_IO, "found a special file"},
                 {NULL, FAM_STATUS_INVALID_ARGUMENT, "path: found none"}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        fam_data_options entry = data_entry(FAM_DATA_TEXT, paths[i].path);
        assert_refused(fam_source_create(&source, &memory, &entry, 1, tokenizer, 1, &error), paths[i].status,
                       paths[i].need);
        free(entry.path);
    }
    fam_tokenizer_free(tokenizer);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = byte_tokenizer_open(&memory);
    fam_source *source;
    scratch_write_text(directory, "t", "text");
    char *path = strdup(scratch_path(directory, "t"));
    const struct {
        fam_data_options entry;
        const char *need;
    } bad[] = {
        {{.kind = FAM_DATA_TEXT, .path = path, .share = 0, .weight = 1}, "share: found a sum of 0"},
        {{.kind = FAM_DATA_TEXT, .path = path, .share = -1, .weight = 1}, "share: found -1"},
        {{.kind = FAM_DATA_TEXT, .path = path, .share = 1}, "weight: found 0"},
        {{.kind = FAM_DATA_TEXT, .path = path, .share = 1, .weight = -1}, "weight: found -1"},
        {{.kind = FAM_DATA_TEXT, .path = path, .share = 1, .weight = 1, .repeat_tokens = -1},
         "repeat_tokens: found -1"},
        {{.kind = FAM_DATA_TEXT, .path = path, .share = 1, .weight = 1, .skip_bad = -1}, "skip_bad: found -1"},
        {{.kind = FAM_DATA_RECALL, .share = 1, .keys = 1, .asked = 1}, "digits: found 0"},
        {{.kind = FAM_DATA_RECALL, .share = 1, .keys = 1, .asked = 1, .digits = 1, .depth_from = 1},
         "depth: found 1 to 0"},
        {{.kind = FAM_DATA_PASSKEY, .share = 1, .digits = 1, .rest_weight = 1, .rest_share = 1}, "beside rest_weight"},
        {{.kind = (fam_data_kind)99, .share = 1}, "kind: found 99"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(fam_source_create(&source, &memory, &bad[i].entry, 1, tokenizer, 1, &error),
                       FAM_STATUS_INVALID_ARGUMENT, bad[i].need);
    assert_refused(fam_source_create(&source, &memory, &bad[0].entry, 0, tokenizer, 1, &error),
                   FAM_STATUS_INVALID_ARGUMENT, "found 0 entries");
    free(path);
    fam_tokenizer_free(tokenizer);
}

static void a_file_that_changes_is_noticed(void **state)
{
    (void)state;
    one o;
    open_one(&o, data_entry(FAM_DATA_TEXT, NULL), FAM_DATA_TEXT, "0123456789");
    expect(&o, "0123", NULL);
    data_sequence s = data_sequence_make(4);
    FILE *file = fopen(o.entry.path, "a");
    fputs("more", file);
    fclose(file);
    assert_refused(fam_source_next(o.source, 4, &s.view, &error), FAM_STATUS_IO, "changed since it was opened");
    data_sequence_free(&s);
    close_one(&o);
}

static void text_that_is_trained_on_is_not_measured_with(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = byte_tokenizer_open(&memory);
    const char *const texts[] = {"Some text. It is.", "Some text. It is!", "Other", "Some text. It is."};
    char *path[4];
    fam_source *source[6];
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%d", i);
        scratch_write_text(directory, name, texts[i]);
        path[i] = strdup(scratch_path(directory, name));
        fam_data_options entries[2] = {data_entry(FAM_DATA_PASSKEY, NULL), data_entry(FAM_DATA_TEXT, NULL)};
        entries[1].path = path[i];
        assert_ok(fam_source_create(&source[i], &memory, entries, 2, tokenizer, 1, &error));
    }
    for (int i = 0; i < 2; i++) {
        fam_data_options entry = data_entry(FAM_DATA_NEEDLE, NULL);
        entry.path = path[3];
        assert_ok(fam_source_create(&source[4 + i], &memory, &entry, 1, tokenizer, 1, &error));
    }
    assert_ok(fam_source_check_disjoint(source[0], source[1], &error));
    assert_ok(fam_source_check_disjoint(source[0], source[2], &error));
    assert_refused(fam_source_check_disjoint(source[0], source[3], &error), FAM_STATUS_MISMATCH,
                   "found the same as in");
    assert_refused(fam_source_check_disjoint(source[3], source[0], &error), FAM_STATUS_MISMATCH, path[0]);
    assert_refused(fam_source_check_disjoint(source[4], source[0], &error), FAM_STATUS_MISMATCH, path[3]);
    assert_ok(fam_source_check_disjoint(source[4], source[5], &error)); /* needles differ in any case */
    for (int i = 0; i < 6; i++)
        fam_source_free(source[i]);
    for (int i = 0; i < 4; i++)
        free(path[i]);
    fam_tokenizer_free(tokenizer);
}

#define case_of(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    case_of(answers_of_tasks_weigh_one_and_the_rest_as_told),
    case_of(every_sequence_of_a_task_is_another_and_the_seed_decides),
    case_of(entries_come_by_their_shares),
    case_of(text_streams_on_and_begins_again),
    case_of(text_of_any_length_has_the_ids_of_the_whole),
    case_of(a_random_segment_is_repeated_at_the_end),
    case_of(a_document_shorter_than_the_segment_is_not_repeated),
    case_of(documents_are_packed_with_the_end_token_between),
    case_of(without_packing_each_document_begins_a_sequence),
    case_of(a_completion_is_trained_and_its_prompt_is_not),
    case_of(a_document_that_is_too_long_is_refused_skipped_or_cut),
    case_of(only_what_the_assistant_says_is_trained),
    case_of(documents_begin_with_bos_where_the_tokenizer_says_so),
    case_of(conversations_of_bytes),
    case_of(a_shuffled_file_gives_each_record_once_an_epoch_in_another_order),
    case_of(bad_lines_are_told_by_place_or_skipped_and_counted),
    case_of(conversations_need_a_template),
    case_of(files_that_are_no_text_are_refused),
    case_of(numbers_out_of_range_are_refused),
    case_of(a_file_that_changes_is_noticed),
    case_of(text_that_is_trained_on_is_not_measured_with),
};

SUITE_MAIN(tests)
