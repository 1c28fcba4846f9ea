/*
 * text/regex.c: see regex.h. Compiling and matching; the translation of patterns is in regex_translate.c.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

#include "text/regex.h"
#include "text/regex_translate.h"

enum {
    PATTERN_BYTES_MAX = 1 << 16,
    MATCH_STEPS_MAX = 10 * 1000 * 1000, /* well under a second */
    HEAP_KIB_MAX = 32 * 1024,
    JIT_STACK_MIN = 32 * 1024,
    JIT_STACK_MAX = 4 * 1024 * 1024
};

struct fam_regex {
    fam_memory *memory;
    pcre2_general_context *general;
    pcre2_code *code;
    bool looks_behind;
    char *where;
};

struct fam_regex_scratch {
    fam_memory *memory;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static void *pcre2_alloc(PCRE2_SIZE size, void *memory)
{
    return fam_alloc(memory, size);
}

static void pcre2_release(void *block, void *memory)
{
    fam_free(memory, block);
}

/* Compiles what was translated; the error offset refers to the translation, so it is not told. */
static fam_status compile(fam_regex *regex, const char *where, const char *pattern, size_t length, bool literal,
                          fam_error *error)
{
    fam_status status = FAM_OK;
    int code;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = NULL;
    FAM_TRY_ALLOC(context, pcre2_compile_context_create(regex->general), "tokenizer: regular expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | (literal ? PCRE2_LITERAL : PCRE2_MULTILINE);
    if (literal)
        options &= ~(uint32_t)(PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, length, options, &code, &offset, context);
    if (!regex->code) {
        char text[200] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        FAM_FAIL_IF(code == PCRE2_ERROR_HEAP_FAILED, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", where);
        FAM_FAIL_IF(true, FAM_STATUS_BAD_FORMAT, "%s: pattern: found %s, need a regular expression", where, text);
    }
    uint32_t empty = 0, behind = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &empty);
    pcre2_pattern_info(regex->code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
    FAM_FAIL_IF(empty, FAM_STATUS_BAD_FORMAT, "%s: pattern: found one that matches nothing, need at least a character",
                where);
    regex->looks_behind |= behind > 0;
    /* Where there is no just-in-time compiler the same matches are found more slowly. */
    int jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
    FAM_FAIL_IF(jit == PCRE2_ERROR_NOMEMORY, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", where);
done:
    pcre2_compile_context_free(context);
    return status;
}

fam_status fam_regex_compile(fam_regex **out, fam_memory *memory, const char *where, const char *pattern, size_t length,
                             bool literal, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_regex *regex = NULL;
    char *translated = NULL;
    *out = NULL;
    FAM_FAIL_IF(length == 0 || length > PATTERN_BYTES_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: pattern: found %zu bytes, need 1 to %d", where, length, PATTERN_BYTES_MAX);
    FAM_TRY_ALLOC(regex, fam_alloc_zeroed(memory, sizeof *regex), where);
    regex->memory = memory;
    FAM_TRY_ALLOC(regex->where, fam_strdup(memory, where), where);
    FAM_TRY_ALLOC(regex->general, pcre2_general_context_create(pcre2_alloc, pcre2_release, memory), where);
    if (!literal) {
        FAM_TRY(fam_regex_translate(&translated, &length, &regex->looks_behind, memory, where, pattern, length, error));
        pattern = translated;
    }
    FAM_TRY(compile(regex, where, pattern, length, literal, error));
    *out = regex;
    regex = NULL;
done:
    fam_free(memory, translated);
    fam_regex_free(regex);
    return status;
}

void fam_regex_free(fam_regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    fam_free(regex->memory, regex->where);
    fam_free(regex->memory, regex);
}

bool fam_regex_looks_behind(const fam_regex *regex)
{
    return regex->looks_behind;
}

fam_status fam_regex_scratch_create(fam_regex_scratch **out, fam_memory *memory, const fam_regex *regex,
                                    fam_error *error)
{
    fam_status status = FAM_OK;
    fam_regex_scratch *scratch;
    const char *what = "tokenizer: regular expression";
    *out = NULL;
    FAM_TRY_ALLOC(scratch, fam_alloc_zeroed(memory, sizeof *scratch), what);
    scratch->memory = memory;
    FAM_TRY_ALLOC(scratch->data, pcre2_match_data_create(1, regex->general), what);
    FAM_TRY_ALLOC(scratch->context, pcre2_match_context_create(regex->general), what);
    pcre2_set_match_limit(scratch->context, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(scratch->context, HEAP_KIB_MAX);
    uint32_t jit = 0;
    pcre2_config(PCRE2_CONFIG_JIT, &jit);
    if (jit) {
        FAM_TRY_ALLOC(scratch->stack, pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, regex->general), what);
        pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
    }
    *out = scratch;
    scratch = NULL;
done:
    fam_regex_scratch_free(scratch);
    return status;
}

void fam_regex_scratch_free(fam_regex_scratch *scratch)
{
    if (!scratch)
        return;
    pcre2_jit_stack_free(scratch->stack);
    pcre2_match_context_free(scratch->context);
    pcre2_match_data_free(scratch->data);
    fam_free(scratch->memory, scratch);
}

fam_status fam_regex_find(fam_found *found, size_t *start, size_t *end, const fam_regex *regex,
                          fam_regex_scratch *scratch, const uint8_t *text, size_t from, size_t size, bool final,
                          fam_error *error)
{
    uint32_t options = PCRE2_NO_UTF_CHECK | (final ? 0 : PCRE2_PARTIAL_HARD);
    int code = pcre2_match(regex->code, text, size, from, options, scratch->data, scratch->context);
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(scratch->data);
    if (code == PCRE2_ERROR_NOMATCH) {
        *found = FAM_FOUND_NONE;
        return FAM_OK;
    }
    if (code == PCRE2_ERROR_NOMEMORY)
        return fam_out_of_memory(error, regex->where);
    if (code < 0 && code != PCRE2_ERROR_PARTIAL) {
        char reason[200] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                             "%s: pattern: found a text on which it takes too long (%s), need at most %d steps",
                             regex->where, reason, MATCH_STEPS_MAX);
    }
    *found = code == PCRE2_ERROR_PARTIAL ? FAM_FOUND_MORE : FAM_FOUND;
    *start = offsets[0];
    *end = offsets[1];
    return FAM_OK;
}
