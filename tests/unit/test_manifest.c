/*
 * MANIFEST: what is written is read, and what is made up is refused with the right words, though its hash is right.
 */
#include "snapshot_fixture.h"

#define HASH "0123456789abcdef0123456789abcdef"
#define FILE_A "{\"path\": \"a\", \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}"
#define HEAD "{\"format\": \"fam checkpoint\", \"version\": 1, \"step\": 7, \"files\": "

/* `body` and the last two lines, signed; freed by free. */
static char *signed_text(const char *body, size_t *size)
{
    size_t room = strlen(body) + 100;
    char *text = malloc(room);
    *size = (size_t)snprintf(text, room, "%s,\n  \"xxh3_128\": \"" HASH "\"\n}\n", body);
    manifest_sign(text, *size);
    return text;
}

/* Parses an exact copy, so that a sanitizer sees a byte too many. */
static fam_status parse(fam_manifest *out, fam_memory *memory, const char *text, size_t size, fam_error *error)
{
    char *exact = malloc(size + !size);
    memcpy(exact, text, size);
    fam_status status = fam_manifest_parse(out, memory, "run/MANIFEST", exact, size, error);
    free(exact);
    return status;
}

static void expect_refusal(const char *body, fam_status status, const char *words)
{
    fam_memory memory;
    fam_manifest manifest;
    size_t size;
    char *text = signed_text(body, &size);
    fam_memory_init(&memory);
    refused(parse(&manifest, &memory, text, size, error), status, words);
    refused(parse(&manifest, &memory, text, size, error), status, "run/MANIFEST: ");
    assert_int_equal(manifest.count, 0);
    assert_int_equal(memory.bytes, 0);
    free(text);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "z", "a/b/c", "a", "with \"quotes\" and \\", "d\xc3\xa9j\xc3\xa0 vu", "...", "a.", "1/2/3/4/5/6/7/8"};
    fam_memory memory;
    fam_manifest manifest, back;
    char *text;
    size_t size;
    fam_memory_init(&memory);
    fam_manifest_init(&manifest, &memory, INT64_MAX);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        fam_file_hash hash;
        fam_hash_bytes(&hash, paths[i], i);
        hash.bytes = i == 3 ? INT64_MAX : i;
        ok(fam_manifest_add(&manifest, "here", paths[i], &hash, error));
    }
    ok(fam_manifest_write(&text, &size, &manifest, error));
    assert_int_equal(strlen(text), size);
    ok(parse(&back, &memory, text, size, error));
    assert_true(back.step == INT64_MAX && back.count == manifest.count);
    for (int64_t i = 0; i < back.count; i++) {
        assert_true(i == 0 || strcmp(back.files[i - 1].path, back.files[i].path) < 0);
        assert_string_equal(back.files[i].path, manifest.files[i].path);
        assert_string_equal(back.files[i].hash.digits, manifest.files[i].hash.digits);
        assert_true(back.files[i].hash.bytes == manifest.files[i].hash.bytes);
    }
    fam_manifest_clear(&back);
    fam_free(&memory, text);
    ok(fam_manifest_add(&manifest, "here", "z", &manifest.files[0].hash, error));
    refused(fam_manifest_write(&text, &size, &manifest, error), FAM_STATUS_INVALID_ARGUMENT, "\"z\": found it twice");
    fam_manifest_clear(&manifest);
    ok(fam_manifest_write(&text, &size, &manifest, error)); /* no files at all */
    ok(parse(&back, &memory, text, size, error));
    assert_int_equal(back.count, 0);
    fam_manifest_clear(&back);
    fam_free(&memory, text);
    assert_int_equal(memory.bytes, 0);
}

static void paths_stay_inside(void **state)
{
    (void)state;
    static const struct {
        const char *path, *words;
    } cases[] = {
        {"", "an empty path"},
        {"/etc/passwd", "empty component"},
        {"../x", "\"..\""},
        {"a/../../x", "\"..\""},
        {"..", "\"..\""},
        {".", "\"..\""},
        {"a/./b", "\"..\""},
        {"a//b", "empty component"},
        {"a/", "empty component"},
        {"MANIFEST", "MANIFEST itself"},
        {"1/2/3/4/5/6/7/8/9", "nested too deep"},
    };
    fam_memory memory;
    fam_manifest manifest;
    fam_file_hash hash = {.bytes = 1, .digits = HASH};
    char body[2000], *large = malloc(1000);
    fam_memory_init(&memory);
    fam_manifest_init(&manifest, &memory, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(body, sizeof body, HEAD "[{\"path\": \"%s\", \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}]",
                 cases[i].path);
        expect_refusal(body, FAM_STATUS_BAD_FORMAT, cases[i].words);
        refused(fam_manifest_add(&manifest, "here", cases[i].path, &hash, error), FAM_STATUS_INVALID_ARGUMENT,
                cases[i].words);
    }
    memset(large, 'x', 1000);
    large[FAM_MANIFEST_PATH_MAX + 1] = '\0';
    snprintf(body, sizeof body, HEAD "[{\"path\": \"%s\", \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}]", large);
    expect_refusal(body, FAM_STATUS_BAD_FORMAT, "too long");
    refused(fam_manifest_add(&manifest, "here", large, &hash, error), FAM_STATUS_INVALID_ARGUMENT, "too long");
    large[FAM_MANIFEST_PATH_MAX] = '\0';
    ok(fam_manifest_add(&manifest, "here", large, &hash, error));
    refused(fam_manifest_add(&manifest, "here", "a\xff", &hash, error), FAM_STATUS_INVALID_ARGUMENT, "not UTF-8");
    fam_manifest_clear(&manifest);
    free(large);
    assert_int_equal(memory.bytes, 0);
}

static void what_is_made_up_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        fam_status status;
        const char *words;
    } cases[] = {
        {"", FAM_STATUS_BAD_FORMAT, "not JSON"},
        {"[1", FAM_STATUS_BAD_FORMAT, "not JSON"},
        {"{\"format\": \"fam checkpoint\"", FAM_STATUS_BAD_FORMAT, "version: found nothing"},
        {"{\"format\": 5", FAM_STATUS_BAD_FORMAT, "format: found 5"},
        {"{\"version\": 1", FAM_STATUS_BAD_FORMAT, "format: found nothing"},
        {"{\"format\": \"other\", \"version\": 1, \"step\": 7, \"files\": []", FAM_STATUS_BAD_FORMAT,
         "format: found \"other\""},
        {"{\"format\": \"fam checkpoint\", \"version\": 2", FAM_STATUS_UNSUPPORTED, "version: found 2, need at most 1"},
        {"{\"format\": \"fam checkpoint\", \"version\": 9223372036854775807", FAM_STATUS_UNSUPPORTED, "newer fam"},
        {"{\"format\": \"fam checkpoint\", \"version\": 0", FAM_STATUS_BAD_FORMAT, "version: found 0"},
        {"{\"format\": \"fam checkpoint\", \"version\": -1", FAM_STATUS_BAD_FORMAT, "version: found -1"},
        {"{\"format\": \"fam checkpoint\", \"version\": 1.0", FAM_STATUS_BAD_FORMAT, "version: found the real number"},
        {"{\"format\": \"fam checkpoint\", \"version\": \"1\"", FAM_STATUS_BAD_FORMAT, "version: found \"1\""},
        {"{\"format\": \"fam checkpoint\", \"version\": 1, \"files\": []", FAM_STATUS_BAD_FORMAT,
         "step: found nothing"},
        {"{\"format\": \"fam checkpoint\", \"version\": 1, \"step\": -1, \"files\": []", FAM_STATUS_BAD_FORMAT,
         "step: found -1"},
        {"{\"format\": \"fam checkpoint\", \"version\": 1, \"step\": 9223372036854775808, \"files\": []",
         FAM_STATUS_BAD_FORMAT, "too big integer"},
        {"{\"format\": \"fam checkpoint\", \"version\": 1, \"step\": 1e3, \"files\": []", FAM_STATUS_BAD_FORMAT,
         "step: found the real"},
        {"{\"format\": \"fam checkpoint\", \"version\": 1, \"step\": null, \"files\": []", FAM_STATUS_BAD_FORMAT,
         "step: found null"},
        {"{\"format\": \"fam checkpoint\", \"version\": 1, \"step\": 7", FAM_STATUS_BAD_FORMAT, "files: found nothing"},
        {HEAD "{}", FAM_STATUS_BAD_FORMAT, "files: found an object"},
        {HEAD "[], \"more\": 1", FAM_STATUS_BAD_FORMAT, "members: found 6"},
        {HEAD "[], \"step\": 8", FAM_STATUS_BAD_FORMAT, "duplicate"},
        {HEAD "[], \"xxh3_128\": 1", FAM_STATUS_BAD_FORMAT, "duplicate"},
        {HEAD "[1]", FAM_STATUS_BAD_FORMAT, "files[0]: found something else"},
        {HEAD "[" FILE_A ", {}]", FAM_STATUS_BAD_FORMAT, "files[1]: found something else"},
        {HEAD "[" FILE_A ", " FILE_A "]", FAM_STATUS_BAD_FORMAT, "files[1]: path: found \"a\" again"},
        {HEAD "[{\"path\": \"b\", \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}, " FILE_A "]", FAM_STATUS_BAD_FORMAT,
         "out of order"},
        {HEAD "[{\"path\": 1, \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}]", FAM_STATUS_BAD_FORMAT,
         "files[0]: path: found 1"},
        {HEAD "[{\"path\": \"a\\u0000b\", \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}]", FAM_STATUS_BAD_FORMAT,
         "not JSON"},
        {HEAD "[{\"path\": \"a\", \"bytes\": -1, \"xxh3_128\": \"" HASH "\"}]", FAM_STATUS_BAD_FORMAT,
         "bytes: found -1"},
        {HEAD "[{\"path\": \"a\", \"bytes\": 1.5, \"xxh3_128\": \"" HASH "\"}]", FAM_STATUS_BAD_FORMAT,
         "bytes: found the real"},
        {HEAD "[{\"path\": \"a\", \"bytes\": 18446744073709551616, \"xxh3_128\": \"" HASH "\"}]", FAM_STATUS_BAD_FORMAT,
         "too big integer"},
        {HEAD "[{\"path\": \"a\", \"bytes\": 1, \"xxh3_128\": \"0123\"}]", FAM_STATUS_BAD_FORMAT,
         "xxh3_128: found \"0123\""},
        {HEAD "[{\"path\": \"a\", \"bytes\": 1, \"xxh3_128\": \"0123456789ABCDEF0123456789ABCDEF\"}]",
         FAM_STATUS_BAD_FORMAT, "hexadecimal"},
        {HEAD "[{\"path\": \"a\", \"bytes\": 1, \"xxh3_128\": \"" HASH "0\"}]", FAM_STATUS_BAD_FORMAT, "hexadecimal"},
        {HEAD "[{\"path\": \"a\", \"bytes\": 1, \"hash\": \"" HASH "\"}]", FAM_STATUS_BAD_FORMAT,
         "xxh3_128: found nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(cases[i].body, cases[i].status, cases[i].words);
}

static void sizes_and_depths_are_bounded(void **state)
{
    (void)state;
    fam_memory memory;
    fam_manifest manifest;
    enum { DEEP = 1000000 };
    char *body = malloc(DEEP + 200), *at = body + sprintf(body, HEAD);
    memset(at, '[', DEEP);
    at[DEEP] = '\0';
    expect_refusal(body, FAM_STATUS_BAD_FORMAT, "depth");
    free(body);
    body = malloc(110 * (FAM_MANIFEST_FILES_MAX + 2));
    for (int count = FAM_MANIFEST_FILES_MAX; count <= FAM_MANIFEST_FILES_MAX + 1; count++) {
        at = body + sprintf(body, HEAD);
        for (int i = 0; i < count; i++)
            at += sprintf(at, "%c{\"path\": \"%06d\", \"bytes\": 1, \"xxh3_128\": \"" HASH "\"}", i ? ',' : '[', i);
        sprintf(at, "]");
        if (count > FAM_MANIFEST_FILES_MAX) {
            expect_refusal(body, FAM_STATUS_BAD_FORMAT, "files: found 4097, need at most 4096");
            continue;
        }
        size_t size;
        char *text = signed_text(body, &size);
        fam_memory_init(&memory);
        ok(parse(&manifest, &memory, text, size, error));
        assert_int_equal(manifest.count, count);
        fam_manifest_clear(&manifest);
        free(text);
    }
    free(body);
    body = calloc(1, FAM_MANIFEST_BYTES_MAX + 2);
    memset(body, ' ', FAM_MANIFEST_BYTES_MAX + 1);
    refused(parse(&manifest, &memory, body, FAM_MANIFEST_BYTES_MAX + 1, error), FAM_STATUS_BAD_FORMAT, "size: found ");
    free(body);
    refused(parse(&manifest, &memory, "", 0, error), FAM_STATUS_BAD_FORMAT, "too short: found 0 bytes");
    assert_int_equal(memory.bytes, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_written_is_read),
    cmocka_unit_test(paths_stay_inside),
    cmocka_unit_test(what_is_made_up_is_refused),
    cmocka_unit_test(sizes_and_depths_are_bounded),
};
SUITE_MAIN(tests)
