/*
 * The edges of what is accepted: settings whose sizes no machine has, heads wider than the kernels', options of
 * programs built against another header, positions at their limit. All of it comes from small files and options of the
 * caller.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/checkpoint.h"
#include "model/model.h"
#include "run.h"
#include "scratch.h"
#include "session/internal.h"
#include "session_bytes.h"
#include "tiny_model.h"

/* ---- a model of one head whose width is given ----------------------------------------------------------------------
 */

enum { LAYERS = 2, HIDDEN = 2, FAM_ROWS = 2 };

static void add(tiny_list *list, const float *data, const char *name, int64_t rows, int64_t columns)
{
    tiny_list_add(list, name, rows, columns);
    list->tensors[list->count - 1].data = (const uint8_t *)data;
}

/* `more` goes into config.json. A prompt is there, too. */
static void write_model(const char *directory, int64_t head_dim, const char *more)
{
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    tiny_list *list = malloc(sizeof *list);
    float *data = malloc((size_t)(head_dim * HIDDEN + 64) * sizeof *data);
    char name[96], config[1024];
    assert_true(list && data);
    for (int64_t i = 0; i < head_dim * HIDDEN + 64; i++)
        data[i] = (float)(i * 37 % 101 - 50) / 100.0f;
    tiny_list_begin(list);
    add(list, data, "model.embed_tokens.weight", TINY_V, HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++) {
        for (int i = 0; i < 7; i++) {
            bool o = i == 3, mlp = i > 3;
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, modules[i]);
            add(list, data + i, name, mlp || o ? HIDDEN : head_dim, o ? head_dim : HIDDEN);
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", layer);
        add(list, data, name, 0, HIDDEN);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", layer);
        add(list, data, name, 0, HIDDEN);
    }
    add(list, data, "model.norm.weight", 0, HIDDEN);
    add(list, data, "fam.prompt", FAM_ROWS, HIDDEN);
    tiny_list_write(list, directory, "model.safetensors");
    snprintf(
        config, sizeof config,
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": %d, \"hidden_size\": "
        "%d, "
        "\"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": 1, \"num_key_value_heads\": 1, "
        "\"head_dim\": %lld, \"tie_word_embeddings\": true, \"max_position_embeddings\": 64%s}",
        TINY_V, HIDDEN, HIDDEN, LAYERS, (long long)head_dim, more);
    scratch_write_text(directory, "config.json", config);
    free(list);
    free(data);
}

static void write_prompt(const char *directory)
{
    tiny_list *list = malloc(sizeof *list);
    assert_non_null(list);
    tiny_list_begin(list);
    tiny_list_add(list, "fam.prompt", FAM_ROWS, HIDDEN);
    tiny_list_write(list, directory, "fam_prompt.safetensors");
    free(list);
}

/* ---- sizes ---------------------------------------------------------------------------------------------------------
 */

/* With heads of 512 the last one's keys and values are 2^64 bytes, which an unchecked product makes 0. */
static const struct {
    int mode;
    int64_t block_size, memory_segments, window, context;
    const char *json;
} extremes[] = {
    {FAM_MODE_BSWA, (int64_t)1 << 30, (1 << 20) - 1, FAM_AUTO, FAM_AUTO,
     "{\"mode\": \"bswa\", \"block_size\": 1073741824, \"memory_segments\": 1048575}"},
    {FAM_MODE_FAM, (int64_t)1 << 30, (1 << 20) - 1, FAM_AUTO, FAM_AUTO,
     "{\"mode\": \"fam\", \"block_size\": 1073741824, \"memory_segments\": 1048575}"},
    {FAM_MODE_BSWA, (int64_t)1 << 31, 1 << 20, FAM_AUTO, FAM_AUTO,
     "{\"mode\": \"bswa\", \"block_size\": 2147483648, \"memory_segments\": 1048576}"},
    {FAM_MODE_FULL, FAM_AUTO, FAM_AUTO, FAM_AUTO, (int64_t)1 << 40, NULL},
    {FAM_MODE_BSWA, (int64_t)1 << 31, (1 << 20) - 1, FAM_AUTO, FAM_AUTO,
     "{\"mode\": \"bswa\", \"block_size\": 2147483648, \"memory_segments\": 1048575}"},
};
enum { EXTREMES = sizeof extremes / sizeof *extremes };

static void expect_too_large(const char *path, const fam_engine_options *options)
{
    fam_engine *engine = NULL;
    fam_engine_fault fault = {.bytes_left = 1};
    run_refused(fam_engine_open_faulty(&engine, path, options, &fault, error), FAM_STATUS_INVALID_ARGUMENT,
                "ring of keys and values: found a size of");
    assert_null(engine);
    assert_int_equal(fault.bytes_left, 0);
}

static void rings_that_no_machine_holds_are_refused(void **state)
{
    (void)state;
    const char *plain = scratch_make();
    write_model(plain, 512, "");
    for (int i = 0; i < EXTREMES; i++) {
        fam_engine_options options = run_options();
        options.mode = extremes[i].mode;
        options.block_size = extremes[i].block_size;
        options.memory_segments = extremes[i].memory_segments;
        options.context = extremes[i].context;
        expect_too_large(plain, &options);
        if (!extremes[i].json)
            continue;
        const char *adapter_path = scratch_make();
        const fam_adapter_option adapter = {.path = adapter_path, .scale = 1};
        scratch_write_text(adapter_path, "fam_config.json", extremes[i].json);
        if (extremes[i].mode == FAM_MODE_FAM)
            write_prompt(adapter_path);
        options = run_options();
        options.adapters = &adapter;
        options.adapter_count = 1;
        expect_too_large(plain, &options);
        scratch_remove(adapter_path);
        const char *own = scratch_make();
        char more[256];
        snprintf(more, sizeof more, ", \"fam\": %s", extremes[i].json);
        write_model(own, 512, more);
        expect_too_large(own, NULL);
        scratch_remove(own);
    }
    scratch_remove(plain);
}

/* Beyond the limits of each setting by itself. */
static void settings_stop_at_their_limits(void **state)
{
    (void)state;
    fam_engine *engine = NULL;
    const char *plain = scratch_make();
    write_model(plain, 4, "");
    for (int i = 0; i < 5; i++) {
        fam_engine_options options = run_options();
        int64_t *const settings[] = {&options.block_size, &options.memory_segments, &options.window,
                                     &options.fam_length, &options.context};
        static const char *const names[] = {"block_size", "memory_segments", "window", "fam_length", "context"};
        const int64_t limits[] = {FAM_SETTING_LENGTH_MAX, FAM_MEMORY_SEGMENTS_MAX, FAM_SETTING_LENGTH_MAX,
                                  FAM_SETTING_LENGTH_MAX, FAM_POSITION_MAX};
        *settings[i] = limits[i] + 1;
        run_refused(fam_engine_open(&engine, plain, &options, error), FAM_STATUS_INVALID_ARGUMENT, names[i]);
        *settings[i] = INT64_MAX;
        run_refused(fam_engine_open(&engine, plain, &options, error), FAM_STATUS_INVALID_ARGUMENT, names[i]);
    }
    scratch_remove(plain);
}

/* A span of the most tokens with a model so wide, or a state so long, that its scratch could not be counted. The model
 * is only said to be wide: it must be refused before that matters. */
static void spans_that_no_machine_holds_are_refused(void **state)
{
    (void)state;
    const char *path = scratch_make();
    fam_engine *engine = NULL;
    fam_session *session = NULL;
    fam_memory_report report;
    fam_session_options options;
    fam_engine_options engine_options = run_options();
    engine_options.mode = FAM_MODE_FAM;
    engine_options.block_size = 1;
    write_model(path, 4, "");
    run_ok(fam_engine_open(&engine, path, &engine_options, error));
    fam_session_options_init(&options);
    options.span = 1 << 24;
    fam_model *model = engine->model;
    const fam_model right = *model;
    for (int i = 0; i < 4; i++) {
        int64_t *const sizes[] = {&model->config.intermediate_size, &model->config.hidden_size, &model->config.head_dim,
                                  &model->window.fam_length};
        *sizes[i] = i < 3 ? 1 << 24 : (int64_t)1 << 31;
        uint64_t before = engine->memory.allocations;
        run_refused(fam_memory_estimate(engine, &options, &report, error), FAM_STATUS_INVALID_ARGUMENT,
                    "found a size of");
        run_refused(fam_session_create(&session, engine, &options, error), FAM_STATUS_INVALID_ARGUMENT,
                    "found a size of");
        assert_null(session);
        assert_true(engine->memory.allocations == before);
        *model = right;
    }
    options.span++;
    run_refused(fam_session_create(&session, engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "span");
    fam_engine_free(engine);
    scratch_remove(path);
}

/* ---- heads ---------------------------------------------------------------------------------------------------------
 */

static void read_some(const char *path, const fam_engine_options *options)
{
    static const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1};
    fam_engine *engine = NULL;
    fam_session *session = NULL;
    run_ok(fam_engine_open(&engine, path, options, error));
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_feed(session, tokens, 0, 11, 6);
    assert_non_null(fam_session_logits(session));
    fam_session_free(session);
    fam_engine_free(engine);
}

static void heads_wider_than_the_kernels_are_refused(void **state)
{
    (void)state;
    static const int64_t wide[] = {FAM_HEAD_DIM_MAX + 2, 131072};
    static const char *const levels[] = {NULL, "portable"};
    const char *widest = scratch_make();
    write_model(widest, FAM_HEAD_DIM_MAX, "");
    for (int level = 0; level < 2; level++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++)
            for (int mode = FAM_MODE_FULL; mode <= FAM_MODE_FAM; mode += FAM_MODE_FAM) {
                fam_engine_options options = run_options();
                options.isa = levels[level];
                options.dtype = dtype;
                options.mode = mode;
                options.block_size = 4;
                read_some(widest, &options);
                for (int i = 0; i < 2; i++) {
                    fam_engine *engine = NULL;
                    const char *path = scratch_make();
                    write_model(path, wide[i], "");
                    run_refused(fam_engine_open(&engine, path, &options, error), FAM_STATUS_UNSUPPORTED,
                                "head size: found");
                    scratch_remove(path);
                }
            }
    scratch_remove(widest);
}

/* ---- options of another header
 * --------------------------------------------------------------------------------------- */

typedef void options_init(void *options, size_t size);

static void init_engine(void *options, size_t size)
{
    fam_engine_options_init_sized(options, size);
}

static void init_session(void *options, size_t size)
{
    fam_session_options_init_sized(options, size);
}

static void init_sampling(void *options, size_t size)
{
    fam_sampling_init_sized(options, size);
}

static void init_generate(void *options, size_t size)
{
    fam_generate_options_init_sized(options, size);
}

static const struct {
    options_init *init;
    size_t size;
} structs[] = {{init_engine, sizeof(fam_engine_options)},
               {init_session, sizeof(fam_session_options)},
               {init_sampling, sizeof(fam_sampling)},
               {init_generate, sizeof(fam_generate_options)}};

enum { ROOM = 512, GUARD = 0xa5 };

/* An older header's struct is shorter: what lies behind it is the caller's. A newer one's is longer: its new members
 * are 0. Both begin with the defaults, and with the size that was given. */
static void defaults_fill_the_callers_struct_and_no_more(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof structs / sizeof *structs; s++) {
        union {
            size_t size;
            uint8_t bytes[ROOM];
        } whole, other;
        structs[s].init(&whole, structs[s].size);
        assert_int_equal(whole.size, structs[s].size);
        for (size_t size = sizeof(size_t); size <= structs[s].size + 64; size += 4) {
            memset(&other, GUARD, sizeof other);
            structs[s].init(&other, size);
            assert_int_equal(other.size, size);
            for (size_t i = sizeof(size_t); i < ROOM; i++) {
                int want = i >= size ? GUARD : i >= structs[s].size ? 0 : whole.bytes[i];
                if (other.bytes[i] != want)
                    fail_msg("struct %zu of %zu bytes, byte %zu: found %d, need %d", s, size, i, other.bytes[i], want);
            }
        }
    }
}

/* The macros give the size of the struct that they are called on. */
static void init_notes_the_size_of_the_struct(void **state)
{
    (void)state;
    fam_engine_options engine;
    fam_session_options session;
    fam_sampling sampling;
    fam_generate_options generate;
    fam_engine_options_init(&engine);
    fam_session_options_init(&session);
    fam_sampling_init(&sampling);
    fam_generate_options_init(&generate);
    assert_int_equal(engine.size, sizeof engine);
    assert_int_equal(session.size, sizeof session);
    assert_int_equal(sampling.size, sizeof sampling);
    assert_int_equal(generate.size, sizeof generate);
    assert_int_equal(engine.block_size, FAM_AUTO);
    assert_int_equal(session.span, FAM_AUTO);
    assert_true(sampling.top_p == 1 && sampling.repetition_penalty == 1 && sampling.temperature == 0);
    assert_int_equal(generate.max_tokens, 256);
}

static void longer_structs_are_refused_and_shorter_ones_work(void **state)
{
    (void)state;
    struct {
        fam_engine_options options;
        void *newer;
    } engine_options;
    struct {
        fam_session_options options;
        void *newer;
    } options;
    struct {
        fam_sampling options;
        void *newer;
    } sampling;
    struct {
        fam_generate_options options;
        void *newer;
    } generate;
    run_case golden;
    fam_engine *other = NULL;
    fam_session *session = NULL;
    const fam_status bad = FAM_STATUS_INVALID_ARGUMENT;
    run_case_open(&golden, "swa");
    fam_engine *engine = run_engine(&golden, NULL);
    fam_engine_options_init_sized(&engine_options.options, sizeof engine_options);
    fam_session_options_init_sized(&options.options, sizeof options);
    fam_sampling_init_sized(&sampling.options, sizeof sampling);
    fam_generate_options_init_sized(&generate.options, sizeof generate);
    run_refused(fam_engine_open(&other, golden.directory, &engine_options.options, error), bad, "size");
    run_refused(fam_session_create(&session, engine, &options.options, error), bad, "size");
    fam_session_options_init_sized(&options.options, offsetof(fam_session_options, start_state));
    run_ok(fam_session_create(&session, engine, &options.options, error));
    run_feed(session, golden.tokens, 0, 5, 5);
    run_refused(fam_session_set_sampling(session, &sampling.options, error), bad, "size");
    run_refused(fam_session_generate(session, &generate.options, NULL, error), bad, "size");
    fam_sampling_init_sized(&sampling.options, offsetof(fam_sampling, logit_bias));
    sampling.options.logit_bias = (const fam_logit_bias *)8; /* not the caller's, in his header */
    sampling.options.logit_bias_count = 3;
    run_ok(fam_session_set_sampling(session, &sampling.options, error));
    fam_generate_options_init_sized(&generate.options, offsetof(fam_generate_options, on_text));
    generate.options.max_tokens = 2;
    memset(&generate.options.on_text, GUARD, sizeof generate.options.on_text);
    run_ok(fam_session_generate(session, &generate.options, NULL, error));
    assert_int_equal(fam_session_position(session), 7);
    fam_engine_options_init_sized(&engine_options.options, offsetof(fam_engine_options, log));
    memset(&engine_options.options.log, GUARD, sizeof engine_options.options.log);
    run_ok(fam_engine_open(&other, golden.directory, &engine_options.options, error));
    fam_engine_free(other);
    fam_session_free(session);
    fam_engine_free(engine);
    run_case_close(&golden);
}

/* ---- positions
 * ------------------------------------------------------------------------------------------------------- */

enum { ROOM_LEFT = 20 }; /* between the offset and the limit */

/* Offset plus index may be 2^40 itself: ROOM_LEFT + 1 tokens fit. */
static void the_last_position_is_read_and_saved(void **state)
{
    (void)state;
    static const char *const names[] = {"fam_float", "swa", "full_mqa_offset"};
    const char *directory = scratch_make();
    for (size_t i = 0; i < 3; i++) {
        run_case golden;
        fam_session_options options;
        fam_session *session = NULL, *restored = NULL;
        size_t consumed = 9;
        int32_t tokens[ROOM_LEFT + 2] = {1, 2, 3};
        const char *path = scratch_path(directory, names[i]);
        run_case_open(&golden, names[i]);
        fam_engine *engine = run_engine(&golden, NULL);
        fam_session_options_init(&options);
        options.position_offset = FAM_POSITION_MAX - ROOM_LEFT;
        run_ok(fam_session_create(&session, engine, &options, error));
        run_refused(fam_session_feed(session, tokens, ROOM_LEFT + 2, &consumed, error), FAM_STATUS_CONTEXT_FULL,
                    "position");
        assert_int_equal(consumed, 0);
        run_feed(session, tokens, 0, ROOM_LEFT + 1, 8);
        run_refused(fam_session_feed(session, tokens, 1, &consumed, error), FAM_STATUS_CONTEXT_FULL, "position");
        run_refused(fam_session_accept(session, 1, error), FAM_STATUS_CONTEXT_FULL, "position");
        run_refused(fam_session_generate(session, NULL, NULL, error), FAM_STATUS_CONTEXT_FULL, "position");
        run_ok(fam_session_save(session, path, error));
        run_ok(fam_session_create(&restored, engine, NULL, error));
        run_ok(fam_session_restore(restored, path, error));
        assert_int_equal(fam_session_position(restored), ROOM_LEFT + 1);
        run_refused(fam_session_feed(restored, tokens, 1, &consumed, error), FAM_STATUS_CONTEXT_FULL, "position");

        session_bytes bytes = session_bytes_read(path);
        int64_t beyond = FAM_POSITION_MAX - ROOM_LEFT + 1;
        memcpy(bytes.data + session_bytes_field("offset"), &beyond, sizeof beyond);
        session_bytes_sign(&bytes);
        run_write(path, bytes.data, bytes.size);
        run_refused(fam_session_restore(restored, path, error), FAM_STATUS_BAD_FORMAT, "position and offset");
        session_bytes_free(&bytes);
        fam_session_free(session);
        fam_session_free(restored);
        options.position_offset = FAM_POSITION_MAX; /* one token fits */
        run_ok(fam_session_create(&session, engine, &options, error));
        run_feed(session, tokens, 0, 1, 1);
        run_refused(fam_session_feed(session, tokens, 1, &consumed, error), FAM_STATUS_CONTEXT_FULL, "position");
        fam_session_free(session);
        fam_engine_free(engine);
        run_case_close(&golden);
    }
    scratch_remove(directory);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rings_that_no_machine_holds_are_refused),
    cmocka_unit_test(settings_stop_at_their_limits),
    cmocka_unit_test(spans_that_no_machine_holds_are_refused),
    cmocka_unit_test(heads_wider_than_the_kernels_are_refused),
    cmocka_unit_test(defaults_fill_the_callers_struct_and_no_more),
    cmocka_unit_test(init_notes_the_size_of_the_struct),
    cmocka_unit_test(longer_structs_are_refused_and_shorter_ones_work),
    cmocka_unit_test(the_last_position_is_read_and_saved),
};
SUITE_MAIN(tests)
