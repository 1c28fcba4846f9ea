/*
 * The GGUF reader on wrong files: each way in which the container can be wrong (rows G1 to G32), truncation, flipped
 * bits, failing allocations, and the limits. A refusal must name the file and the place, leave *out alone and hold no
 * memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gguf_walk.h"
#include "gguf_writer.h"
#include "suite.h"

static const char NAME[] = "test.gguf";

static void refuse_bytes(gguf_bytes file, fam_status status, const char *text)
{
    fam_error error = {FAM_OK, ""};
    fam_status got = gguf_parse_copy(file.data, file.size, NULL, &error);
    gguf_bytes_free(&file);
    if (got != status || error.status != status || !strstr(error.message, text) ||
        strncmp(error.message, "test.gguf: ", 11) != 0 || !strstr(error.message, "need "))
        fail_msg("found status %d, '%s', need status %d with '%s'", got, got == FAM_OK ? "" : error.message, status,
                 text);
}

static void refuse(gguf_writer *writer, fam_status status, const char *text)
{
    refuse_bytes(gguf_writer_finish(writer), status, text);
}

static void accept(gguf_writer *writer)
{
    gguf_bytes file = gguf_writer_finish(writer);
    fam_error error = {FAM_OK, ""};
    uint64_t sum;
    if (gguf_parse_copy(file.data, file.size, &sum, &error) != FAM_OK)
        fail_msg("refused: %s", error.message);
    gguf_bytes_free(&file);
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static void short_files_are_refused(void **state) /* G1 */
{
    (void)state;
    gguf_bytes file = gguf_writer_sample(3);
    for (size_t size = 0; size < 24; size++) {
        gguf_bytes part = {0};
        gguf_bytes_add(&part, file.data, size);
        refuse_bytes(part, FAM_STATUS_BAD_FORMAT, "too short for GGUF header");
    }
    gguf_bytes_free(&file);
}

static void other_magics_are_named(void **state) /* G2 */
{
    (void)state;
    const struct {
        const char *magic;
        fam_status status;
        const char *text;
    } rows[] = {
        {"lmgg", FAM_STATUS_UNSUPPORTED, "'ggml'"},     {"fmgg", FAM_STATUS_UNSUPPORTED, "'ggmf'"},
        {"tjgg", FAM_STATUS_UNSUPPORTED, "'ggjt'"},     {"algg", FAM_STATUS_UNSUPPORTED, "'ggla'"},
        {"ggjt", FAM_STATUS_UNSUPPORTED, "'ggjt'"},     {"ggml", FAM_STATUS_UNSUPPORTED, "'ggml'"},
        {"FUGG", FAM_STATUS_UNSUPPORTED, "big-endian"}, {"PK\3\4", FAM_STATUS_BAD_FORMAT, "50 4b 03 04"},
        {"gguf", FAM_STATUS_BAD_FORMAT, "magic"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        memcpy(w.magic, rows[i].magic, 4);
        refuse(&w, rows[i].status, rows[i].text);
    }
}

static void other_versions_and_byte_orders_are_refused(void **state) /* G3 */
{
    (void)state;
    const uint32_t versions[] = {0, 1, 4, UINT32_MAX, 0x03000000, 0x02000000};
    const char *texts[] = {
        "byte 4: found 0, need 2 or 3", "found 1,", "found 4,", "found 4294967295", "big-endian", "big-endian"};
    for (size_t i = 0; i < 6; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        w.version = versions[i];
        refuse(&w, FAM_STATUS_UNSUPPORTED, texts[i]);
    }
}

static void counts_that_the_file_cannot_hold_are_refused_before_any_allocation(void **state) /* G4, G5 */
{
    (void)state;
    const uint64_t counts[] = {(uint64_t)1 << 63, UINT64_MAX, 1000, 5, FAM_GGUF_TENSORS_MAX + 1};
    for (size_t i = 0; i < 2 * sizeof counts / sizeof *counts; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_u32(&w, "k", 1);
        gguf_writer_u32(&w, "l", 1);
        *(i % 2 ? &w.tensors : &w.keys) = counts[i / 2];
        gguf_bytes file = gguf_writer_finish(&w);
        fam_memory memory;
        fam_error error;
        fam_gguf *gguf = NULL;
        fam_memory_init(&memory);
        assert_int_equal(fam_gguf_parse(&gguf, &memory, NAME, file.data, file.size, NULL, NULL, &error),
                         FAM_STATUS_BAD_FORMAT);
        assert_non_null(
            strstr(error.message, i % 2 ? "number of tensors: byte 8: found" : "number of keys: byte 16: found"));
        assert_true(memory.peak_bytes < 1000);
        gguf_bytes_free(&file);
    }
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

static void bad_key_names_are_refused(void **state) /* G6, G7 */
{
    (void)state;
    const uint64_t lengths[] = {0, 65536, UINT64_MAX, (uint64_t)1 << 63, 30000};
    const char *texts[] = {"key name: byte 24: found an empty one", "found a length of 65536 bytes, need at most 65535",
                           "found a length of 18446744073709551615 bytes", "found a length of 9223372036854775808",
                           "what is left of the file"};
    for (size_t i = 0; i < 5; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_bytes_add_u64(&w.metadata, lengths[i]);
        for (int k = 0; k < 100; k++)
            gguf_bytes_add_u32(&w.metadata, 0x61616161);
        w.keys = 1;
        refuse(&w, FAM_STATUS_BAD_FORMAT, texts[i]);
    }
    const char names[][4] = {"a\0b", "a\xff\xff", "\xc0\x80z", "\xed\xa0\x80"};
    for (size_t i = 0; i < 4; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_bytes_add_u64(&w.metadata, 3);
        gguf_bytes_add(&w.metadata, names[i], 3);
        gguf_bytes_add_u32(&w.metadata, FAM_GGUF_U32);
        gguf_bytes_add_u32(&w.metadata, 1);
        w.keys = 1;
        refuse(&w, FAM_STATUS_BAD_FORMAT, i == 0 ? "key name: byte 24: found a NUL" : "found broken UTF-8");
    }
}

static void the_longest_key_is_read(void **state)
{
    (void)state;
    static char key[65536 + 1];
    memset(key, 'k', 65536);
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_writer_u8(&w, key, 1);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "need at most 65535");
    key[65535] = '\0';
    gguf_writer_begin(&w);
    gguf_writer_u8(&w, key, 1);
    gguf_writer_u8(&w, "short", 1);
    key[0] = 'l';
    gguf_writer_u8(&w, key, 1);
    accept(&w);
    gguf_writer_begin(&w);
    gguf_writer_u8(&w, key, 1);
    gguf_writer_u8(&w, key, 1);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "found it a second time"); /* the end of the line survives a long name */
}

static void duplicate_names_are_refused(void **state) /* G8, G19 */
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_writer_u32(&w, "same", 1);
    gguf_writer_u32(&w, "other", 1);
    gguf_writer_u32(&w, "same", 1);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "key name: key 'same', byte 65: found it a second time");
    gguf_writer_begin(&w);
    float zeros[8] = {0};
    gguf_writer_tensor(&w, "twin", 0, 1, (int64_t[]){8}, zeros, 32);
    gguf_writer_tensor(&w, "twin", 0, 1, (int64_t[]){8}, zeros, 32);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "tensor 'twin'");
    gguf_writer_begin(&w); /* a key and a tensor may share a name */
    gguf_writer_u32(&w, "both", 1);
    gguf_writer_tensor(&w, "both", 0, 1, (int64_t[]){8}, zeros, 32);
    accept(&w);
}

static void unknown_value_types_are_refused(void **state) /* G9, G12 */
{
    (void)state;
    const uint32_t types[] = {13, 14, UINT32_MAX, 0x80000000u};
    for (size_t i = 0; i < 4; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_key(&w, "k", types[i], "12345678", 8);
        refuse(&w, FAM_STATUS_BAD_FORMAT, "value type: key 'k', byte 33: found");
        gguf_writer_begin(&w);
        gguf_writer_array(&w, "k", types[i], (uint64_t)1 << 60, "12345678", 8);
        refuse(&w, FAM_STATUS_BAD_FORMAT, "array type: key 'k', byte 37: found");
    }
}

static void bad_string_lengths_are_refused(void **state) /* G10 */
{
    (void)state;
    const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, 6, ((uint64_t)64 << 20) + 1};
    for (size_t i = 0; i < 4; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_key(&w, "k", FAM_GGUF_STRING, NULL, 0);
        gguf_bytes_add_u64(&w.metadata, lengths[i]);
        gguf_bytes_add(&w.metadata, "12345", 5);
        w.alignment = 1; /* no padding behind */
        refuse(&w, FAM_STATUS_BAD_FORMAT, "string: key 'k', byte 37: found a length of");
        gguf_writer_begin(&w);
        gguf_writer_array(&w, "k", FAM_GGUF_STRING, 1, NULL, 0);
        gguf_bytes_add_u64(&w.metadata, lengths[i]);
        gguf_bytes_add(&w.metadata, "12345", 5);
        w.alignment = 1;
        refuse(&w, FAM_STATUS_BAD_FORMAT, "string: key 'k', byte 49: found a length of");
    }
}

static void bad_array_lengths_are_refused(void **state) /* G11 */
{
    (void)state;
    const uint64_t counts[] = {
        (uint64_t)1 << 60, (uint64_t)1 << 61, (uint64_t)1 << 62, UINT64_MAX, (1 << 26) + 1, 1 << 26, 9};
    const uint32_t types[] = {FAM_GGUF_U8, FAM_GGUF_U16, FAM_GGUF_F32, FAM_GGUF_F64, FAM_GGUF_STRING, FAM_GGUF_BOOL};
    for (size_t i = 0; i < 7; i++) {
        for (size_t k = 0; k < 6; k++) {
            gguf_writer w;
            gguf_writer_begin(&w);
            gguf_writer_array(&w, "k", types[k], counts[i], "\0\0\0\0\0\0\0\0", 8);
            w.alignment = 1;
            refuse(&w, FAM_STATUS_BAD_FORMAT,
                   counts[i] > 1 << 26 ? "array length: key 'k', byte 41: found" : "key 'k', byte 49: found");
        }
    }
}

static void nested_arrays_are_refused_at_any_depth(void **state) /* G13 */
{
    (void)state;
    const int depths[] = {2, 3, 4, 5, 10, 100000};
    for (size_t i = 0; i < 6; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_key(&w, "k", FAM_GGUF_ARRAY, NULL, 0);
        for (int depth = 1; depth < depths[i]; depth++) {
            gguf_bytes_add_u32(&w.metadata, FAM_GGUF_ARRAY);
            gguf_bytes_add_u64(&w.metadata, 1);
        }
        gguf_bytes_add_u32(&w.metadata, FAM_GGUF_U8);
        gguf_bytes_add_u64(&w.metadata, 1);
        gguf_bytes_add(&w.metadata, "", 1);
        refuse(&w, FAM_STATUS_UNSUPPORTED, "array type: key 'k', byte 37: found an array of arrays");
    }
}

static void bools_are_0_or_1(void **state) /* G14 */
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_writer_key(&w, "k", FAM_GGUF_BOOL, "\7", 1);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "bool: key 'k', byte 37: found 7, need 0 or 1");
    gguf_writer_begin(&w);
    gguf_writer_array(&w, "k", FAM_GGUF_BOOL, 3, "\1\0\2", 3);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "bool: key 'k', byte 51: found 2, need 0 or 1");
}

static void alignment_is_a_power_of_two(void **state) /* G15 */
{
    (void)state;
    float zeros[16] = {0};
    const uint32_t wrong[] = {0, 3, 33, 1u << 31, 1u << 22, UINT32_MAX};
    gguf_writer w;
    for (size_t i = 0; i < 6; i++) {
        gguf_writer_begin(&w);
        gguf_writer_u32(&w, "general.alignment", wrong[i]);
        refuse(&w, FAM_STATUS_BAD_FORMAT, "alignment: key 'general.alignment', byte ");
    }
    gguf_writer_begin(&w);
    gguf_writer_u64(&w, "general.alignment", 32);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "found u64");
    gguf_writer_begin(&w);
    gguf_writer_string(&w, "general.alignment", "32");
    refuse(&w, FAM_STATUS_BAD_FORMAT, "found string");
    gguf_writer_begin(&w);
    uint32_t number = 32;
    gguf_writer_array(&w, "general.alignment", FAM_GGUF_U32, 1, &number, 4);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "found array");
    for (uint32_t alignment = 1; alignment <= 4096; alignment *= 8) {
        gguf_writer_begin(&w);
        w.alignment = alignment;
        gguf_writer_u32(&w, "general.alignment", alignment);
        gguf_writer_tensor(&w, "a", 0, 1, (int64_t[]){7}, zeros, 28);
        gguf_writer_tensor(&w, "b", 0, 1, (int64_t[]){9}, zeros, 36);
        accept(&w);
    }
}

static void parts_of_a_split_model_are_refused(void **state)
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_writer_u16(&w, "split.no", 0);
    gguf_writer_u16(&w, "split.count", 3);
    refuse(&w, FAM_STATUS_UNSUPPORTED, "key 'split.count': found one of 3 parts");
    gguf_writer_begin(&w);
    gguf_writer_u16(&w, "split.count", 1);
    accept(&w);
    gguf_writer_begin(&w);
    gguf_writer_string(&w, "split.count", "2");
    refuse(&w, FAM_STATUS_BAD_FORMAT, "split.count");
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static void bad_tensor_names_are_refused(void **state) /* G19 */
{
    (void)state;
    const uint64_t lengths[] = {0, 64, 65, (uint64_t)1 << 32, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_bytes_add_u64(&w.infos, lengths[i]);
        for (int k = 0; k < 100; k++)
            gguf_bytes_add(&w.infos, "x", 1);
        w.tensors = 1;
        refuse(&w, FAM_STATUS_BAD_FORMAT, i == 0 ? "tensor name: byte 24: found an empty one" : "need at most 63");
    }
    const char names[][4] = {"a\0b", "a\xff\xff"};
    for (size_t i = 0; i < 2; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_bytes_add_u64(&w.infos, 3);
        gguf_bytes_add(&w.infos, names[i], 3);
        for (int k = 0; k < 4; k++)
            gguf_bytes_add_u32(&w.infos, 0);
        w.tensors = 1;
        refuse(&w, FAM_STATUS_BAD_FORMAT,
               i == 0 ? "tensor name: byte 24: found a NUL" : "tensor name: byte 24: found broken UTF-8");
    }
}

static void bad_shapes_are_refused(void **state) /* G20, G21, G22, G24 */
{
    (void)state;
    const uint64_t big = (uint64_t)1 << 32;
    const struct {
        uint32_t type, n_dims;
        uint64_t dims[5];
        const char *text;
    } rows[] = {
        {0, 5, {1, 1, 1, 1, 1}, "number of dimensions: tensor 't', byte 33: found 5, need at most 4"},
        {0, 1, {0}, "dimension: tensor 't', byte 37: found 0, need 1 to"},
        {0, 2, {8, 0}, "dimension: tensor 't', byte 45: found 0"},
        {0, 1, {UINT64_MAX}, "found 18446744073709551615, need 1 to"},
        {0, 1, {(uint64_t)1 << 63}, "found 9223372036854775808, need 1 to"},
        {0, 2, {big, big}, "need a product of all dimensions up to"}, /* wraps to exactly 0 */
        {0, 4, {1, big, 1, big}, "need a product of all dimensions up to"},
        {0, 2, {3, INT64_MAX}, "need a product of all dimensions up to"},
        {0, 1, {INT64_MAX}, "need less than 2^64 bytes"},
        {0, 2, {INT64_MAX / 2, 2}, "need less than 2^64 bytes"},
        {0, 2, {2, INT64_MAX / 2}, "need less than 2^64 bytes"},
        {0, 2, {((uint64_t)1 << 42) + 1, 1}, "tensor data: tensor 't', byte 96: found the end of the file at byte "},
        {1, 1, {INT64_MAX / 2}, "found the end of the file"},
        {2, 1, {33}, "found 33 elements in a row of type Q4_0, need a multiple of 32"},
        {3, 2, {31, 32}, "found 31 elements in a row of type Q4_1"},
        {8, 2, {16, 2}, "found 16 elements in a row of type Q8_0"},
        {8, 0, {0}, "found 1 elements in a row of type Q8_0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_tensor_info(&w, "t", rows[i].type, rows[i].n_dims, rows[i].dims, 0);
        gguf_bytes_add(&w.data, "data", 4);
        refuse(&w, FAM_STATUS_BAD_FORMAT, rows[i].text);
    }
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_bytes_add_string(&w.infos, "t");
    gguf_bytes_add_u32(&w.infos, UINT32_MAX); /* dimensions */
    for (int i = 0; i < 100; i++)
        gguf_bytes_add_u64(&w.infos, 1);
    w.tensors = 1;
    refuse(&w, FAM_STATUS_BAD_FORMAT, "found 4294967295, need at most 4");
}

static void sums_that_wrap_are_refused(void **state) /* G22 */
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w); /* bytes just below 2^64: padding wraps */
    gguf_writer_tensor_info(&w, "t", 1, 1, (uint64_t[]){INT64_MAX}, 0);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "tensor size: tensor 't'");
    const uint64_t half = (uint64_t)1 << 62; /* elements of 2 bytes: two such tensors end at 2^64 */
    gguf_writer_begin(&w);
    gguf_writer_tensor_info(&w, "a", 1, 1, (uint64_t[]){half}, 0);
    gguf_writer_tensor_info(&w, "b", 1, 1, (uint64_t[]){half}, 2 * half);
    refuse(&w, FAM_STATUS_BAD_FORMAT, "tensor size: tensor 'b'");
}

static void other_tensor_types_are_refused_by_name(void **state) /* G23 */
{
    (void)state;
    const struct {
        uint32_t type;
        const char *text;
    } rows[] = {
        {20, "tensor type: tensor 'blk.0.x', byte 51: found type 20, IQ4_NL, which is not supported, need one of F32"},
        {4, "found type 4, Q4_2 (removed from ggml)"},
        {31, "found type 31, Q4_0_4_4 (removed from ggml)"},
        {39, "found type 39, MXFP4"},
        {26, "found type 26, I32"},
        {99, "found type 99, which is not known"},
        {UINT32_MAX, "found type 4294967295, which is not known"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_tensor_info(&w, "blk.0.x", rows[i].type, 1, (uint64_t[]){32}, 0);
        refuse(&w, FAM_STATUS_UNSUPPORTED, rows[i].text);
    }
}

static void tensors_must_lie_one_after_another(void **state) /* G25, G26 */
{
    (void)state;
    const struct {
        uint64_t first, second;
        const char *text;
    } rows[] = {
        {0, 33, "tensor offset: tensor 'b', byte 98: found 33, need a multiple of 32"},
        {0, 32, "found 32 (backwards or overlapping), need 64"},
        {0, 0, "found 0 (backwards or overlapping), need 64"},
        {0, 96, "found 96 (a hole before it), need 64"},
        {32, 96, "tensor 'a', byte 57: found 32 (a hole before it), need 0"},
        {64, 0, "found 64 (a hole before it), need 0"},
        {0, (uint64_t)1 << 40, "a hole before it"},
        {0, UINT64_MAX - 31, "a hole before it"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_tensor_info(&w, "a", 0, 2, (uint64_t[]){3, 4}, rows[i].first); /* 48 bytes */
        gguf_writer_tensor_info(&w, "b", 0, 2, (uint64_t[]){3, 4}, rows[i].second);
        for (int k = 0; k < 50; k++)
            gguf_bytes_add_u64(&w.data, 0);
        refuse(&w, FAM_STATUS_BAD_FORMAT, rows[i].text);
    }
    for (int missing = 0; missing <= 1; missing++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_tensor_info(&w, "a", 0, 1, (uint64_t[]){16}, 0);
        gguf_bytes file = gguf_writer_finish(&w);
        for (int k = 0; k < 64 - missing; k++)
            gguf_bytes_add(&file, "x", 1);
        if (missing)
            refuse_bytes(file, FAM_STATUS_BAD_FORMAT,
                         "tensor data: tensor 'a', byte 64: found the end of the file at byte 127, need 64 bytes");
        else {
            assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), FAM_OK);
            gguf_bytes_free(&file);
        }
    }
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static void every_truncation_is_refused(void **state) /* G27 */
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        gguf_bytes file = gguf_writer_sample(version);
        assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), FAM_OK);
        for (size_t size = 0; size < file.size; size++) {
            fam_error error = {FAM_OK, ""};
            fam_status status = gguf_parse_copy(file.data, size, NULL, &error);
            if (status != FAM_STATUS_BAD_FORMAT || !strstr(error.message, "test.gguf: "))
                fail_msg("%zu of %zu bytes: found status %d '%s', need a refusal", size, file.size, status,
                         error.message);
        }
        gguf_bytes_free(&file);
    }
}

static void every_bit_flip_is_survived(void **state)
{
    (void)state;
    gguf_bytes file = gguf_writer_sample(3);
    size_t refused = 0;
    assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), FAM_OK);
    for (size_t bit = 0; bit < 8 * file.size; bit++) {
        uint64_t sum;
        file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused += gguf_parse_copy(file.data, file.size, &sum, NULL) != FAM_OK;
        file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_in_range(refused, 1000, 8 * file.size);
    gguf_bytes_free(&file);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    gguf_bytes file = gguf_writer_sample(3);
    char path[] = "/tmp/fam-test-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, file.data, file.size), file.size);
    close(fd);
    for (int from_file = 0; from_file <= 1; from_file++) {
        size_t fail_at = 1;
        fam_status status = FAM_STATUS_OUT_OF_MEMORY;
        for (; status != FAM_OK; fail_at++) {
            fam_memory memory;
            fam_gguf *gguf = NULL;
            fam_error error;
            fam_memory_init(&memory);
            memory.fail_at = fail_at;
            status = from_file ? fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error)
                               : fam_gguf_parse(&gguf, &memory, NAME, file.data, file.size, NULL, NULL, &error);
            if (status != FAM_OK) {
                assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
                assert_non_null(strstr(error.message, "out of memory"));
                assert_null(gguf);
            }
            fam_gguf_free(gguf);
            assert_int_equal(memory.bytes, 0);
        }
        assert_in_range(fail_at, 7, 20); /* object, path, four tables, names */
    }
    unlink(path);
    gguf_bytes_free(&file);
}

/* ---- limits and time --------------------------------------------------------------------------------------------- */

static double processor_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

#if defined(__SANITIZE_ADDRESS__)
enum { PATIENCE = 10 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { PATIENCE = 10 };
#else
enum { PATIENCE = 1 };
#endif
#else
enum { PATIENCE = 1 };
#endif

static gguf_bytes many_keys(size_t count)
{
    gguf_writer w;
    gguf_writer_begin(&w);
    for (size_t i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%zx", i);
        gguf_writer_u8(&w, key, 0);
    }
    return gguf_writer_finish(&w);
}

static void many_keys_take_no_time(void **state) /* G32 */
{
    (void)state;
    gguf_bytes file = many_keys(FAM_GGUF_KEYS_MAX);
    double start = processor_seconds();
    assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), FAM_OK);
    assert_true(processor_seconds() - start < PATIENCE);
    gguf_bytes_free(&file);
    refuse_bytes(many_keys(FAM_GGUF_KEYS_MAX + 1), FAM_STATUS_BAD_FORMAT, "found 65537, need at most 65536");
    file = many_keys(1000000);
    start = processor_seconds();
    assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), FAM_STATUS_BAD_FORMAT);
    assert_true(processor_seconds() - start < PATIENCE);
    gguf_bytes_free(&file);
}

static gguf_bytes many_tensors(size_t count)
{
    gguf_writer w;
    gguf_writer_begin(&w);
    w.alignment = 1;
    gguf_writer_u32(&w, "general.alignment", 1);
    for (size_t i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zx", i);
        gguf_writer_tensor_info(&w, name, 1, 0, NULL, 2 * i);
    }
    gguf_bytes zeros = {0};
    for (size_t i = 0; i < count; i++)
        gguf_bytes_add(&zeros, "\0", 2);
    gguf_bytes_add(&w.data, zeros.data, zeros.size);
    gguf_bytes_free(&zeros);
    return gguf_writer_finish(&w);
}

static void many_tensors_take_no_time_and_little_memory(void **state) /* G32 */
{
    (void)state;
    gguf_bytes file = many_tensors(FAM_GGUF_TENSORS_MAX);
    fam_memory memory;
    fam_error error;
    fam_gguf *gguf = NULL;
    fam_memory_init(&memory);
    double start = processor_seconds();
    assert_int_equal(fam_gguf_parse(&gguf, &memory, NAME, file.data, file.size, NULL, NULL, &error), FAM_OK);
    assert_true(processor_seconds() - start < PATIENCE);
    assert_true(memory.peak_bytes < ((size_t)64 << 20) + 16 * file.size);
    assert_ptr_equal(fam_gguf_tensor(gguf, "fffff"), fam_gguf_tensor_at(gguf, 0xfffff));
    fam_gguf_free(gguf);
    gguf_bytes_free(&file);
    refuse_bytes(many_tensors(FAM_GGUF_TENSORS_MAX + 1), FAM_STATUS_BAD_FORMAT, "found 1048577, need at most 1048576");
}

static void strings_and_arrays_are_read_up_to_their_limits(void **state)
{
    (void)state;
    const size_t limit = (size_t)64 << 20;
    char *zeros = calloc(1, limit + 1);
    assert_non_null(zeros);
    for (size_t extra = 0; extra <= 1; extra++) {
        gguf_writer w;
        gguf_writer_begin(&w);
        gguf_writer_key(&w, "k", FAM_GGUF_STRING, NULL, 0);
        gguf_bytes_add_u64(&w.metadata, limit + extra);
        gguf_bytes_add(&w.metadata, zeros, limit + extra);
        gguf_bytes file = gguf_writer_finish(&w);
        assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), extra ? FAM_STATUS_BAD_FORMAT : FAM_OK);
        gguf_bytes_free(&file);
        gguf_writer_begin(&w);
        gguf_writer_array(&w, "k", FAM_GGUF_U8, limit + extra, zeros, limit + extra);
        file = gguf_writer_finish(&w);
        assert_int_equal(gguf_parse_copy(file.data, file.size, NULL, NULL), extra ? FAM_STATUS_BAD_FORMAT : FAM_OK);
        gguf_bytes_free(&file);
    }
    free(zeros);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(short_files_are_refused),
    cmocka_unit_test(other_magics_are_named),
    cmocka_unit_test(other_versions_and_byte_orders_are_refused),
    cmocka_unit_test(counts_that_the_file_cannot_hold_are_refused_before_any_allocation),
    cmocka_unit_test(bad_key_names_are_refused),
    cmocka_unit_test(the_longest_key_is_read),
    cmocka_unit_test(duplicate_names_are_refused),
    cmocka_unit_test(unknown_value_types_are_refused),
    cmocka_unit_test(bad_string_lengths_are_refused),
    cmocka_unit_test(bad_array_lengths_are_refused),
    cmocka_unit_test(nested_arrays_are_refused_at_any_depth),
    cmocka_unit_test(bools_are_0_or_1),
    cmocka_unit_test(alignment_is_a_power_of_two),
    cmocka_unit_test(parts_of_a_split_model_are_refused),
    cmocka_unit_test(bad_tensor_names_are_refused),
    cmocka_unit_test(bad_shapes_are_refused),
    cmocka_unit_test(sums_that_wrap_are_refused),
    cmocka_unit_test(other_tensor_types_are_refused_by_name),
    cmocka_unit_test(tensors_must_lie_one_after_another),
    cmocka_unit_test(every_truncation_is_refused),
    cmocka_unit_test(every_bit_flip_is_survived),
    cmocka_unit_test(every_failing_allocation_is_an_error),
    cmocka_unit_test(many_keys_take_no_time),
    cmocka_unit_test(many_tensors_take_no_time_and_little_memory),
    cmocka_unit_test(strings_and_arrays_are_read_up_to_their_limits),
};
SUITE_MAIN(tests)
