/*
 * Session files that are damaged, made up, or of something else: refused with the right words, and the session that was
 * to be restored goes on as if nothing had been asked. Writing them is tested in test_session_save.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "format/session_file.h"
#include "run.h"
#include "session_bytes.h"

/* A session on a small model, the file of another session of the same engine, and a place for files. */
typedef struct fixture {
    run_directory directory;
    run_case golden;
    fam_engine *engine;
    fam_session *live;
    run_picture picture; /* of the live session */
    session_bytes file;
} fixture;

enum { READ = 60, NOTE = 40 };

static void fixture_open(fixture *f, const char *name, fam_dtype dtype)
{
    fam_engine_options options = run_options();
    fam_sampling sampling;
    const fam_logit_bias bias = {.id = 4, .bias = 1.5f};
    options.dtype = dtype;
    run_directory_make(&f->directory);
    run_case_open(&f->golden, name);
    f->engine = run_engine(&f->golden, &options);
    fam_session *saved = run_session(f->engine, &f->golden, 64);
    fam_sampling_init(&sampling);
    sampling.temperature = 0.7;
    sampling.logit_bias = &bias;
    sampling.logit_bias_count = 1;
    run_ok(fam_session_set_sampling(saved, &sampling, error));
    run_feed(saved, f->golden.tokens, 0, READ - 5, 20);
    fam_generate_options generate;
    fam_generate_options_init(&generate);
    generate.max_tokens = 5;
    run_ok(fam_session_generate(saved, &generate, NULL, error));
    char note[NOTE] = "what of the input was consumed";
    run_ok(fam_session_set_note(saved, note, NOTE, error));
    run_ok(fam_session_save(saved, run_path(&f->directory, "good.session"), error));
    f->file = session_bytes_read(run_path(&f->directory, "good.session"));
    fam_session_free(saved);
    f->live = run_session(f->engine, &f->golden, 64);
    run_feed(f->live, f->golden.tokens, 3, 20, 7);
    run_take_picture(&f->picture, f->engine, f->live);
}

static void fixture_close(fixture *f)
{
    session_bytes_free(&f->file);
    run_picture_free(&f->picture);
    fam_session_free(f->live);
    fam_engine_free(f->engine);
    run_case_close(&f->golden);
    run_directory_remove(&f->directory);
}

/* M14: after a refusal the session stands where it stood, and holds what it held. */
static void assert_live_is_untouched(fixture *f)
{
    run_picture now;
    size_t note;
    assert_int_equal(fam_session_position(f->live), 17);
    assert_null(fam_session_note(f->live, &note));
    run_take_picture(&now, f->engine, f->live);
    run_assert_same(&now, &f->picture);
    run_picture_free(&now);
}

static void refused(fixture *f, const session_bytes *bytes, fam_status status, const char *words)
{
    const char *path = run_path(&f->directory, "bad.session");
    run_write(path, bytes->data, bytes->size);
    run_refused(fam_session_restore(f->live, path, error), status, words);
    run_refused(fam_session_restore(f->live, path, error), status, "bad.session: ");
    assert_live_is_untouched(f);
}

/* A copy with one field of the header changed by adding to it, signed again. */
static void refused_with_field(fixture *f, const char *field, int64_t add, size_t size, fam_status status,
                               const char *words)
{
    session_bytes bytes = session_bytes_copy(&f->file);
    size_t at = session_bytes_field(field);
    int64_t value = 0;
    memcpy(&value, bytes.data + at, size);
    value += add;
    memcpy(bytes.data + at, &value, size);
    session_bytes_sign(&bytes);
    refused(f, &bytes, status, words);
    session_bytes_free(&bytes);
}

/* ---- what a file is ------------------------------------------------------------------------------------------------ */

static void a_signed_copy_is_as_good_as_the_file(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    session_bytes bytes = session_bytes_copy(&f.file);
    session_bytes_sign(&bytes);
    assert_memory_equal(bytes.data, f.file.data, bytes.size);
    session_bytes_replace(&bytes, SESSION_BYTES_NOTE, "other", 5);
    run_write(run_path(&f.directory, "copy.session"), bytes.data, bytes.size);
    run_ok(fam_session_restore(f.live, run_path(&f.directory, "copy.session"), error));
    size_t size;
    assert_memory_equal(fam_session_note(f.live, &size), "other", 5);
    assert_int_equal(size, 5);
    assert_int_equal(fam_session_position(f.live), READ);
    session_bytes_free(&bytes);
    fixture_close(&f);
}

static void inspecting_tells_what_is_in_it(void **state)
{
    (void)state;
    fixture f;
    fam_session_file_info info;
    fam_engine_info engine;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    fam_engine_info_get(f.engine, &engine);
    run_ok(fam_session_file_inspect(run_path(&f.directory, "good.session"), &info, error));
    assert_int_equal(info.version, 1);
    assert_int_equal(info.tokens_read, READ);
    assert_int_equal(info.layers, engine.layers);
    assert_int_equal(info.hidden_size, engine.hidden_size);
    assert_int_equal(info.vocab_size, engine.vocab_size);
    assert_int_equal(info.mode, engine.mode);
    assert_int_equal(info.block_size, engine.block_size);
    assert_int_equal(info.memory_segments, engine.memory_segments);
    assert_int_equal(info.fam_length, engine.fam_length);
    assert_int_equal(info.file_bytes, f.file.size);
    assert_int_equal(info.state_bytes, engine.layers * engine.fam_length * engine.hidden_size * 4);
    assert_int_equal(info.ring_bytes, 2 * READ * engine.layers * engine.kv_heads * engine.head_dim * 4);
    assert_int_equal(info.note_bytes, NOTE);
    run_refused(fam_session_file_inspect(run_path(&f.directory, "nothing"), &info, error), FAM_STATUS_NOT_FOUND, "nothing");
    fixture_close(&f);
}

/* M1, M2, M3 */
static void other_files_and_versions_are_named(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    session_bytes bytes = session_bytes_copy(&f.file);
    for (bytes.size = 0; bytes.size < session_bytes_header(&f.file); bytes.size++)
        refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "too short");
    bytes.size = f.file.size;
    for (int i = 0; i < 8; i++) {
        bytes.data[i] ^= 0x20;
        refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "magic");
        bytes.data[i] ^= 0x20;
    }
    const struct {
        uint32_t version;
        fam_status status;
        const char *words;
    } versions[] = {{0, FAM_STATUS_BAD_FORMAT, "version"},
                    {2, FAM_STATUS_UNSUPPORTED, "newer"},
                    {0x7fffffff, FAM_STATUS_UNSUPPORTED, "newer"},
                    {0x01000000, FAM_STATUS_UNSUPPORTED, "big-endian"}};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        memcpy(bytes.data + 8, &versions[i].version, 4);
        session_bytes_sign(&bytes);
        refused(&f, &bytes, versions[i].status, versions[i].words);
    }
    session_bytes_free(&bytes);
    fixture_close(&f);
}

/* ---- M4: of something else ----------------------------------------------------------------------------------------- */

static void sessions_of_other_models_and_settings_are_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    refused_with_field(&f, "dtype", 1, 4, FAM_STATUS_MISMATCH, "dtype");
    refused_with_field(&f, "mode", -1, 4, FAM_STATUS_MISMATCH, "mode");
    refused_with_field(&f, "state_norm", -1, 4, FAM_STATUS_MISMATCH, "state_norm");
    refused_with_field(&f, "positions", 1, 4, FAM_STATUS_MISMATCH, "fam_positions");
    const char *const numbers[] = {"layers",     "hidden_size", "kv_heads",        "head_dim",
                                   "vocab_size", "block_size",  "memory_segments", "fam_length"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        refused_with_field(&f, numbers[i], 1, 8, FAM_STATUS_MISMATCH, numbers[i]);
    refused_with_field(&f, "model", 1, 1, FAM_STATUS_MISMATCH, "another model");
    refused_with_field(&f, "tokenizer", 1, 1, FAM_STATUS_MISMATCH, "another tokenizer");
    fixture_close(&f);
    fixture_open(&f, "swa", FAM_DTYPE_F32);
    refused_with_field(&f, "window", 1, 8, FAM_STATUS_MISMATCH, "window");
    fixture_close(&f);
}

/* The same weights under another scale of the adapter, or none, are another model. */
static void sessions_of_other_engines_are_refused(void **state)
{
    (void)state;
    fixture f;
    fam_engine *engine;
    fam_session *session;
    fam_engine_options options = run_options();
    fixture_open(&f, "fam_lora_rsp_train", FAM_DTYPE_F32);
    fam_adapter_option adapter = {.path = f.golden.adapter, .scale = 0.5};
    const char *good = run_path(&f.directory, "good.session");
    options.adapters = &adapter;
    options.adapter_count = 1;
    run_ok(fam_engine_open(&engine, f.golden.directory, &options, error));
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_refused(fam_session_restore(session, good, error), FAM_STATUS_MISMATCH, "another model");
    fam_session_free(session);
    fam_engine_free(engine);
    adapter.scale = 1;
    options.mode = FAM_MODE_BSWA;
    run_ok(fam_engine_open(&engine, f.golden.directory, &options, error));
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_refused(fam_session_restore(session, good, error), FAM_STATUS_MISMATCH, "mode");
    fam_session_free(session);
    fam_engine_free(engine);
    options.mode = FAM_AUTO;
    run_ok(fam_engine_open(&engine, f.golden.directory, &options, error));
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_ok(fam_session_restore(session, good, error));
    fam_session_free(session);
    fam_engine_free(engine);
    fixture_close(&f);
}

/* ---- M5, M6: damage ------------------------------------------------------------------------------------------------ */

static void every_truncation_is_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    session_bytes bytes = session_bytes_copy(&f.file);
    for (int section = 0; section <= FAM_SECTION_COUNT; section++)
        for (int delta = -1; delta <= 1; delta++) {
            bytes.size = session_bytes_section(&f.file, section) + (size_t)delta;
            refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, ":");
        }
    for (bytes.size = 4096; bytes.size < f.file.size; bytes.size += 4096)
        refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, ":");
    for (size_t cut = 1; cut <= 40; cut++) {
        bytes.size = f.file.size - cut;
        refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, ":");
    }
    for (size_t size = 0; size < f.file.size; size++) {
        fam_session_file file;
        fam_error error;
        uint8_t *exact = malloc(size + !size); /* so that a sanitizer sees a byte too many */
        memcpy(exact, f.file.data, size);
        assert_int_equal(fam_session_file_parse(&file, "cut", exact, size, &error), FAM_STATUS_BAD_FORMAT);
        free(exact);
        if (size > 4096)
            size += 96;
    }
    /* M11 */
    bytes.data = realloc(bytes.data, f.file.size + 8);
    memset(bytes.data + f.file.size, 0, 8);
    bytes.size = f.file.size + 1;
    refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "size");
    bytes.size = f.file.size + 8;
    refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "size");
    session_bytes_free(&bytes);
    fixture_close(&f);
}

static void every_header_bit_is_guarded(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    session_bytes bytes = session_bytes_copy(&f.file);
    size_t header = session_bytes_header(&bytes);
    for (size_t bit = 0; bit < 8 * header; bit++) {
        fam_session_file file;
        fam_error error = {0};
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        fam_status status = fam_session_file_parse(&file, "flipped", bytes.data, bytes.size, &error);
        assert_true(status == FAM_STATUS_BAD_FORMAT || (status == FAM_STATUS_UNSUPPORTED && bit / 8 >= 8 && bit / 8 < 12));
        const char *words = bit / 8 < 8 ? "magic" : bit / 8 < 12 ? "session file" : "header";
        assert_non_null(strstr(error.message, words));
        if (bit % 41 == 0)
            refused(&f, &bytes, status, words);
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    session_bytes_free(&bytes);
    fixture_close(&f);
}

static void damage_in_the_body_names_its_block(void **state)
{
    (void)state;
    fixture f;
    fam_random random;
    fam_random_seed(&random, 6);
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    enum { LARGE = 5 << 19 };
    uint8_t *note = calloc(1, LARGE);
    session_bytes bytes = session_bytes_copy(&f.file);
    session_bytes_replace(&bytes, SESSION_BYTES_NOTE, note, LARGE); /* so that there are three blocks */
    size_t header = session_bytes_header(&bytes), end = session_bytes_section(&bytes, FAM_SECTION_COUNT);
    for (int round = 0; round < 10000; round++) {
        fam_session_file file;
        fam_error error = {0};
        char words[64];
        size_t span = round % 2 ? bytes.size : header + 65536; /* half of them where state and ring are */
        size_t at = header + fam_random_next(&random) % (span - header);
        uint8_t mask = (uint8_t)(1 << fam_random_next(&random) % 8);
        snprintf(words, sizeof words, "block %zu:", at / FAM_SESSION_BLOCK);
        if (at >= end) /* a block's hash, the hash of the whole, the end magic */
            snprintf(words, sizeof words, "%s",
                     at + 24 < bytes.size ? "checksum of block" : at + 8 < bytes.size ? "whole" : "end magic");
        bytes.data[at] ^= mask;
        assert_int_equal(fam_session_file_parse(&file, "flipped", bytes.data, bytes.size, &error), FAM_STATUS_BAD_FORMAT);
        if (!strstr(error.message, words))
            fail_msg("byte %zu: found \"%s\", need \"%s\"", at, error.message, words);
        if (round % 500 == 0)
            refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, words);
        bytes.data[at] ^= mask;
    }
    for (size_t at = end; at < bytes.size; at++) { /* all of the hashes and the end */
        fam_session_file file;
        bytes.data[at] ^= 1;
        assert_int_equal(fam_session_file_parse(&file, "flipped", bytes.data, bytes.size, NULL), FAM_STATUS_BAD_FORMAT);
        bytes.data[at] ^= 1;
    }
    free(note);
    session_bytes_free(&bytes);
    fixture_close(&f);
}

/* ---- M7 to M10, M19: right checksums, wrong contents ---------------------------------------------------------------- */

static void section_lengths_must_fit(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - 100, (uint64_t)1 << 63, (uint64_t)8 << 30, f.file.size};
    for (int section = 0; section < FAM_SECTION_COUNT; section++)
        for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
            session_bytes bytes = session_bytes_copy(&f.file);
            session_bytes_set_length(&bytes, section, huge[i]);
            session_bytes_sign_header(&bytes);
            refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "section");
            session_bytes_free(&bytes);
        }
    /* Bytes that move from one section to the next leave the sum right. */
    for (int section = 0; section + 1 < FAM_SECTION_COUNT; section++)
        for (int sign = -1; sign <= 1; sign += 2) {
            session_bytes bytes = session_bytes_copy(&f.file);
            session_bytes_set_length(&bytes, section, session_bytes_length(&bytes, section) + (uint64_t)(8 * sign));
            session_bytes_set_length(&bytes, section + 1, session_bytes_length(&bytes, section + 1) - (uint64_t)(8 * sign));
            session_bytes_sign(&bytes);
            refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, section < 3 ? "section" : "sampler");
            session_bytes_free(&bytes);
        }
    session_bytes bytes = session_bytes_copy(&f.file);
    uint8_t *large = calloc(1, FAM_SESSION_NOTE_MAX + 1);
    session_bytes_replace(&bytes, SESSION_BYTES_NOTE, large, FAM_SESSION_NOTE_MAX + 1);
    refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "note");
    free(large);
    session_bytes_free(&bytes);
    fixture_close(&f);
}

static void positions_must_be_possible(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    refused_with_field(&f, "position", -READ - 1, 8, FAM_STATUS_BAD_FORMAT, "position");
    refused_with_field(&f, "position", (int64_t)1 << 41, 8, FAM_STATUS_BAD_FORMAT, "position");
    refused_with_field(&f, "position", INT64_MAX - READ, 8, FAM_STATUS_BAD_FORMAT, "position");
    refused_with_field(&f, "position", 1, 8, FAM_STATUS_BAD_FORMAT, "section"); /* not what the ring holds */
    refused_with_field(&f, "position", -READ, 8, FAM_STATUS_BAD_FORMAT, "section");
    refused_with_field(&f, "offset", -1, 8, FAM_STATUS_BAD_FORMAT, "offset");
    refused_with_field(&f, "offset", ((int64_t)1 << 40) + 1, 8, FAM_STATUS_BAD_FORMAT, "offset");
    refused_with_field(&f, "offset", ((int64_t)1 << 40) - 1, 8, FAM_STATUS_BAD_FORMAT, "offset");
    refused_with_field(&f, "with_residual", -1, 4, FAM_STATUS_BAD_FORMAT, "with_residual");
    refused_with_field(&f, "with_residual", 1, 4, FAM_STATUS_BAD_FORMAT, "with_residual");
    refused_with_field(&f, "mode", 4, 4, FAM_STATUS_BAD_FORMAT, "mode");
    refused_with_field(&f, "layers", -100, 8, FAM_STATUS_BAD_FORMAT, "layers");
    refused_with_field(&f, "hidden_size", (int64_t)1 << 40, 8, FAM_STATUS_BAD_FORMAT, "hidden_size");
    fixture_close(&f);
    fixture_open(&f, "full_gqa_tied", FAM_DTYPE_F32);
    fam_engine_options options = run_options();
    options.context = READ - 1;
    fam_engine *small = run_engine(&f.golden, &options);
    fam_session *session = run_session(small, &f.golden, 8);
    run_refused(fam_session_restore(session, run_path(&f.directory, "good.session"), error), FAM_STATUS_CONTEXT_FULL,
                "--context");
    fam_session_free(session);
    fam_engine_free(small);
    fixture_close(&f);
}

/* Sampler section: 6 f64, i64, u64, 4 u64, 4 u32, then ids (session/sampler.c). */
static void sampler_contents_are_checked(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    enum { COUNTS = 96, RECENT = 112, BIAS = RECENT + 4 * READ, GENERATED = BIAS + 8 };
    const double not_a_number = NAN, negative = -1;
    const float infinite = INFINITY;
    const int32_t ids[] = {-1, 135, INT32_MAX};
    const uint32_t many = 1025, large = 0x20000000, zero = 0;
    const struct {
        size_t at;
        const void *value;
        size_t size;
        const char *words;
    } changes[] = {
        {0, &not_a_number, 8, "temperature"}, {0, &negative, 8, "temperature"},  {8, &not_a_number, 8, "top_p"},
        {16, &negative, 8, "min_p"},          {24, &negative, 8, "repetition"},  {32, &not_a_number, 8, "presence"},
        {48, &negative, 8, "top_k"},          {COUNTS, &many, 4, "counts"},      {COUNTS, &large, 4, "counts"},
        {COUNTS + 4, &large, 4, "counts"},    {COUNTS + 8, &large, 4, "counts"}, {COUNTS, &zero, 4, "counts"},
        {RECENT, &ids[0], 4, "recent"},       {RECENT + 8, &ids[1], 4, "recent"},
        {BIAS - 4, &ids[2], 4, "recent"},     {BIAS, &ids[1], 4, "logit_bias"},  {BIAS + 4, &infinite, 4, "logit_bias"},
        {GENERATED, &ids[1], 4, "generated"}, {GENERATED + 4, &zero, 4, "generated"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        session_bytes bytes = session_bytes_copy(&f.file);
        size_t at = session_bytes_section(&bytes, SESSION_BYTES_SAMPLER) + changes[i].at;
        assert_true(at + changes[i].size <= session_bytes_section(&bytes, SESSION_BYTES_NOTE));
        memcpy(bytes.data + at, changes[i].value, changes[i].size);
        session_bytes_sign(&bytes);
        refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, changes[i].words);
        session_bytes_free(&bytes);
    }
    session_bytes bytes = session_bytes_copy(&f.file);
    session_bytes_replace(&bytes, SESSION_BYTES_SAMPLER, NULL, 0);
    refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "sampler");
    session_bytes_free(&bytes);
    fixture_close(&f);
}

static void numbers_must_be_finite(void **state)
{
    (void)state;
    for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
        fixture f;
        fixture_open(&f, "fam_rms_init_m3", (fam_dtype)dtype);
        for (int section = SESSION_BYTES_STATE; section <= SESSION_BYTES_HIDDEN; section++) {
            size_t begin = session_bytes_section(&f.file, section), end = session_bytes_section(&f.file, section + 1);
            bool narrow = section == SESSION_BYTES_RING && dtype == FAM_DTYPE_BF16;
            const uint32_t wide_bits[] = {0x7fc00000, 0x7f800000, 0xff800000, 0x7f800001};
            const uint16_t narrow_bits[] = {0x7fc0, 0x7f80, 0xff80, 0x7f81};
            size_t width = narrow ? 2 : 4;
            const size_t places[] = {begin, begin + (end - begin) / 2 / width * width, end - width};
            for (int p = 0; p < 3; p++)
                for (int i = 0; i < 4; i++) {
                    session_bytes bytes = session_bytes_copy(&f.file);
                    if (narrow)
                        memcpy(bytes.data + places[p], &narrow_bits[i], 2);
                    else
                        memcpy(bytes.data + places[p], &wide_bits[i], 4);
                    session_bytes_sign(&bytes);
                    refused(&f, &bytes, FAM_STATUS_BAD_FORMAT, "NaN or infinity");
                    session_bytes_free(&bytes);
                }
        }
        fixture_close(&f);
    }
}

/* ---- M12, M13, M18, and P12 ----------------------------------------------------------------------------------------- */

static void empty_sessions_can_be_saved(void **state)
{
    (void)state;
    const char *const names[] = {"full_gqa_tied", "swa", "bswa_m0", "fam_rms_init_m3", "fam_rsp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fixture f;
        run_picture want, got;
        fixture_open(&f, names[i], FAM_DTYPE_F32);
        fam_session *fresh = run_session(f.engine, &f.golden, 64);
        run_ok(fam_session_save(fresh, run_path(&f.directory, "empty.session"), error));
        run_ok(fam_session_restore(f.live, run_path(&f.directory, "empty.session"), error));
        assert_int_equal(fam_session_position(f.live), 0);
        assert_null(fam_session_logits(f.live));
        run_feed(fresh, f.golden.tokens, 0, f.golden.count, 9);
        run_feed(f.live, f.golden.tokens, 0, f.golden.count, 9);
        run_take_picture(&want, f.engine, fresh);
        run_take_picture(&got, f.engine, f.live);
        run_assert_same(&got, &want);
        run_picture_free(&want);
        run_picture_free(&got);
        fam_session_free(fresh);
        fixture_close(&f);
    }
}

static void paths_that_are_no_files_are_refused_at_once(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "swa", FAM_DTYPE_F32);
    run_refused(fam_session_restore(f.live, run_path(&f.directory, "none"), error), FAM_STATUS_NOT_FOUND, "none");
    assert_int_equal(mkfifo(run_path(&f.directory, "fifo"), 0600), 0);
    run_refused(fam_session_restore(f.live, run_path(&f.directory, "fifo"), error), FAM_STATUS_IO, "fifo");
    run_refused(fam_session_restore(f.live, f.directory.path, error), FAM_STATUS_IO, f.directory.path);
    run_refused(fam_session_restore(f.live, "/dev/zero", error), FAM_STATUS_IO, "/dev/zero");
    run_refused(fam_session_restore(f.live, "", error), FAM_STATUS_NOT_FOUND, "");
    assert_live_is_untouched(&f);
    fixture_close(&f);
}

/* A file of version 1 as it was when version 1 was new: 45 tokens of fam_train in float32, then five drawn ones. */
static void version_1_loads_for_ever(void **state)
{
    (void)state;
    run_case golden;
    run_picture got, want;
    const char *path = suite_path("tests/fixtures/session/v1.session");
    run_case_open(&golden, "fam_train");
    fam_engine *engine = run_engine(&golden, NULL);
    fam_session *session = run_session(engine, &golden, 64), *again = run_session(engine, &golden, 64);
    run_ok(fam_session_restore(session, path, error));
    assert_int_equal(fam_session_position(session), 50);
    size_t size;
    assert_string_equal(fam_session_note(session, &size), "version 1");
    assert_int_equal(size, 10);
    int32_t drawn[5];
    session_bytes bytes = session_bytes_read(path);
    size_t sampler = session_bytes_section(&bytes, SESSION_BYTES_SAMPLER);
    memcpy(drawn, bytes.data + sampler + 112 + 4 * 45, sizeof drawn); /* the newest of the recent ids */
    session_bytes_free(&bytes);
    run_feed(again, golden.tokens, 0, 45, 45);
    run_feed(again, drawn, 0, 5, 1);
    run_take_picture(&got, engine, session);
    run_take_picture(&want, engine, again);
    run_assert_near(&got, &want, 1e-4);
    run_feed(session, golden.tokens, 0, 20, 20);
    run_feed(again, golden.tokens, 0, 20, 20);
    run_picture_free(&got);
    run_picture_free(&want);
    run_take_picture(&got, engine, session);
    run_take_picture(&want, engine, again);
    run_assert_near(&got, &want, 1e-4);
    run_picture_free(&got);
    run_picture_free(&want);
    fam_session_free(session);
    fam_session_free(again);
    fam_engine_free(engine);
    run_case_close(&golden);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_signed_copy_is_as_good_as_the_file),
    cmocka_unit_test(inspecting_tells_what_is_in_it),
    cmocka_unit_test(other_files_and_versions_are_named),
    cmocka_unit_test(sessions_of_other_models_and_settings_are_refused),
    cmocka_unit_test(sessions_of_other_engines_are_refused),
    cmocka_unit_test(every_truncation_is_refused),
    cmocka_unit_test(every_header_bit_is_guarded),
    cmocka_unit_test(damage_in_the_body_names_its_block),
    cmocka_unit_test(section_lengths_must_fit),
    cmocka_unit_test(positions_must_be_possible),
    cmocka_unit_test(sampler_contents_are_checked),
    cmocka_unit_test(numbers_must_be_finite),
    cmocka_unit_test(empty_sessions_can_be_saved),
    cmocka_unit_test(paths_that_are_no_files_are_refused_at_once),
    cmocka_unit_test(version_1_loads_for_ever),
};
SUITE_MAIN(tests)
