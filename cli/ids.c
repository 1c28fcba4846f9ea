/*
 * cli/ids.c: see ids.h. Layout: blanks* '[' blanks* (id blanks* (',' blanks* id blanks*)*)? ']' blanks*, or
 * blanks* (id blanks+)*; blanks are space, tab, carriage return and newline; an id is decimal digits.
 */
#include "ids.h"

#include <string.h>

#include "message.h"

void ids_parser_init(ids_parser *parser, const char *name, int64_t vocab_size)
{
    memset(parser, 0, sizeof *parser);
    parser->name = name;
    parser->vocab_size = vocab_size;
}

static fam_status wrong(const ids_parser *parser, char found, const char *need, fam_error *error)
{
    return failure(error, FAM_STATUS_BAD_FORMAT, "%s: ids: byte %llu: found '%c', need %s", parser->name,
                   (unsigned long long)parser->offset, found, need);
}

static fam_status end_number(ids_parser *parser, fam_token_sink *sink, void *context, fam_error *error)
{
    parser->in_number = false;
    parser->after_number = true;
    parser->after_comma = false;
    int32_t id = (int32_t)parser->value;
    if (!sink(context, &id, 1))
        return failure(error, FAM_STATUS_CANCELLED, "%s: cancelled", parser->name);
    return FAM_OK;
}

static fam_status add_digit(ids_parser *parser, char digit, fam_error *error)
{
    if (!parser->in_number && parser->array && parser->after_number)
        return wrong(parser, digit, "',' or ']'", error);
    parser->value = (parser->in_number ? parser->value * 10 : 0) + (digit - '0');
    parser->in_number = true;
    if (parser->value >= parser->vocab_size)
        return failure(error, FAM_STATUS_BAD_FORMAT, "%s: ids: byte %llu: found an id of %lld or more, need 0 to %lld",
                       parser->name, (unsigned long long)parser->offset, (long long)parser->value,
                       (long long)parser->vocab_size - 1);
    return FAM_OK;
}

static fam_status add_byte(ids_parser *parser, char byte, fam_token_sink *sink, void *context, fam_error *error)
{
    bool digit = byte >= '0' && byte <= '9';
    bool blank = byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
    if (parser->closed && !blank)
        return wrong(parser, byte, "nothing after ']'", error);
    if (digit) {
        parser->begun = true;
        return add_digit(parser, byte, error);
    }
    if (parser->in_number) {
        fam_status status = end_number(parser, sink, context, error);
        if (status != FAM_OK)
            return status;
    }
    if (blank)
        return FAM_OK;
    if (byte == '[' && !parser->begun) {
        parser->begun = parser->array = true;
    } else if (byte == ',' && parser->array && parser->after_number) {
        parser->after_number = false;
        parser->after_comma = true;
    } else if (byte == ']' && parser->array && !parser->after_comma) {
        parser->closed = true;
    } else {
        return wrong(parser, byte, parser->array ? "an id" : "decimal digits and blanks, or a JSON array", error);
    }
    return FAM_OK;
}

fam_status ids_parser_feed(ids_parser *parser, const char *text, size_t size, fam_token_sink *sink, void *context,
                           fam_error *error)
{
    for (size_t i = 0; i < size; i++, parser->offset++) {
        fam_status status = add_byte(parser, text[i], sink, context, error);
        if (status != FAM_OK)
            return status;
    }
    return FAM_OK;
}

fam_status ids_parser_finish(ids_parser *parser, fam_token_sink *sink, void *context, fam_error *error)
{
    if (parser->in_number) {
        fam_status status = end_number(parser, sink, context, error);
        if (status != FAM_OK)
            return status;
    }
    if (parser->array && !parser->closed)
        return failure(error, FAM_STATUS_BAD_FORMAT, "%s: ids: byte %llu: found the end, need ']'", parser->name,
                       (unsigned long long)parser->offset);
    return FAM_OK;
}
