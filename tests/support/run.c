/*
 * tests/support/run.c: see run.h.
 */
#include "run.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/json.h"

double run_error(const float *got, const float *want, size_t count)
{
    double largest = 0, difference = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= INFINITY) || isinf(d))
            return INFINITY;
        difference = d > difference ? d : difference;
        largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
    }
    return difference / (largest > 0 ? largest : 1);
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

void run_directory_make(run_directory *directory)
{
    snprintf(directory->path, sizeof directory->path, "/tmp/fam-test-XXXXXX");
    assert_non_null(mkdtemp(directory->path));
}

void run_directory_remove(const run_directory *directory)
{
    DIR *dir = opendir(directory->path);
    char path[400];
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", directory->path, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(directory->path);
}

const char *run_path(const run_directory *directory, const char *name)
{
    static char buffers[4][200];
    static unsigned next;
    char *buffer = buffers[next++ % 4];
    snprintf(buffer, sizeof buffers[0], "%s/%s", directory->path, name);
    return buffer;
}

uint8_t *run_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot open", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    uint8_t *data = malloc((size_t)length + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)length, file), length);
    fclose(file);
    if (size)
        *size = (size_t)length;
    return data;
}

void run_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        fail_msg("%s: cannot create", path);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static json_t *read_json(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

int32_t *run_ids(const char *path, const char *key, size_t *count)
{
    json_t *json = read_json(path);
    const json_t *array = json;
    while (key && *key) {
        char part[64];
        size_t n = strcspn(key, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, key);
        array = json_is_array(array) ? json_array_get(array, (size_t)atoi(part)) : json_object_get(array, part);
        key += n + (key[n] == '/');
    }
    assert_true(json_is_array(array));
    *count = json_array_size(array);
    int32_t *ids = malloc(*count * sizeof *ids + 1);
    assert_non_null(ids);
    for (size_t i = 0; i < *count; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    json_decref(json);
    return ids;
}

/* ---- golden cases ------------------------------------------------------------------------------------------------- */

static float *read_start_state(const char *path)
{
    fam_memory memory;
    fam_safetensors *file;
    fam_memory_init(&memory);
    run_ok(fam_safetensors_open(&file, &memory, path, error));
    const fam_tensor *tensor = fam_safetensors_tensor(file, "state");
    assert_non_null(tensor);
    float *state = malloc(tensor->bytes);
    assert_non_null(state);
    memcpy(state, tensor->data, tensor->bytes);
    fam_safetensors_free(file);
    return state;
}

void run_case_open(run_case *out, const char *name)
{
    char path[1200];
    *out = (run_case){0};
    snprintf(out->directory, sizeof out->directory, "%s/tests/golden/%s", suite_root(), name);
    snprintf(path, sizeof path, "%s/case.json", out->directory);
    json_t *json = read_json(path);
    const char *adapter = json_string_value(json_object_get(json, "adapter")),
               *start = json_string_value(json_object_get(json, "start_state"));
    if (adapter)
        snprintf(out->adapter, sizeof out->adapter, "%s/%s", out->directory, adapter);
    out->offset = json_integer_value(json_object_get(json, "offset"));
    out->tokens = run_ids(path, "tokens", &out->count);
    if (start) {
        snprintf(path, sizeof path, "%s/%s", out->directory, start);
        out->start_state = read_start_state(path);
    }
    json_decref(json);
}

void run_case_close(run_case *golden)
{
    free(golden->tokens);
    free(golden->start_state);
    *golden = (run_case){0};
}

fam_engine_options run_options(void)
{
    fam_engine_options options;
    fam_engine_options_init(&options);
    options.dtype = FAM_DTYPE_F32;
    options.threads = 1;
    return options;
}

fam_engine *run_engine(const run_case *golden, const fam_engine_options *given)
{
    fam_engine *engine = NULL;
    fam_engine_options options = given ? *given : run_options();
    const fam_adapter_option adapter = {.path = golden->adapter, .scale = 1};
    if (golden->adapter[0]) {
        options.adapters = &adapter;
        options.adapter_count = 1;
    }
    run_ok(fam_engine_open(&engine, golden->directory, &options, error));
    return engine;
}

fam_session *run_session(fam_engine *engine, const run_case *golden, int64_t span)
{
    fam_session *session = NULL;
    fam_session_options options;
    fam_session_options_init(&options);
    options.span = span;
    options.position_offset = golden->offset;
    options.start_state = golden->start_state;
    run_ok(fam_session_create(&session, engine, &options, error));
    return session;
}

void run_feed(fam_session *session, const int32_t *tokens, size_t from, size_t to, size_t piece)
{
    while (from < to) {
        size_t n = to - from < piece ? to - from : piece, consumed = 0;
        run_ok(fam_session_feed(session, tokens + from, n, &consumed, error));
        assert_int_equal(consumed, n);
        from += n;
    }
}

/* ---- pictures ----------------------------------------------------------------------------------------------------- */

void run_take_picture(run_picture *out, const fam_engine *engine, fam_session *session)
{
    fam_engine_info info;
    fam_engine_info_get(engine, &info);
    size_t state = (size_t)(info.layers * info.fam_length * info.hidden_size);
    out->logits = (size_t)info.vocab_size;
    out->count = out->logits + state;
    out->values = calloc(out->count, sizeof(float));
    assert_non_null(out->values);
    const float *logits = fam_session_logits(session);
    if (logits)
        memcpy(out->values, logits, out->logits * sizeof(float));
    if (state > 0)
        run_ok(fam_session_state(session, out->values + out->logits, error));
}

void run_picture_free(run_picture *picture)
{
    free(picture->values);
    *picture = (run_picture){0};
}

void run_assert_same(const run_picture *a, const run_picture *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->values, b->values, a->count * sizeof(float));
}

void run_assert_near(const run_picture *a, const run_picture *b, double tolerance)
{
    assert_int_equal(a->count, b->count);
    double logits = run_error(a->values, b->values, a->logits),
           state = run_error(a->values + a->logits, b->values + b->logits, a->count - a->logits);
    if (!(logits <= tolerance && state <= tolerance))
        fail_msg("found errors %g of the logits and %g of the state, need at most %g", logits, state, tolerance);
}
