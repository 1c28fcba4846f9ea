/*
 * cli/ids.h: token ids written as text: a JSON array of integers, or decimals between blanks. Parsed as a stream.
 */
#ifndef CLI_IDS_H
#define CLI_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fam/tokenizer.h"

typedef struct ids_parser {
    const char *name;   /* for messages */
    int64_t vocab_size; /* ids must be below */
    uint64_t offset;    /* of the next byte */
    int64_t value;
    bool in_number, array, begun, closed, after_number, after_comma;
} ids_parser;

void ids_parser_init(ids_parser *parser, const char *name, int64_t vocab_size);
fam_status ids_parser_feed(ids_parser *parser, const char *text, size_t size, fam_token_sink *sink, void *context,
                           fam_error *error);
fam_status ids_parser_finish(ids_parser *parser, fam_token_sink *sink, void *context, fam_error *error);

#endif
