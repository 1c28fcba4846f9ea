/*
 * text/tokenizer_json.h: the parts that read a tokenizer.json share this.
 */
#ifndef FAM_TEXT_TOKENIZER_JSON_H
#define FAM_TEXT_TOKENIZER_JSON_H

#include <jansson.h>

#include "text/tokenizer_private.h"

/* Fills the tokenizer's splits from the value of "pre_tokenizer" (NULL: absent), and mixes patterns into its
 * fingerprint. */
fam_status fam_tokenizer_read_splits(fam_tokenizer *tokenizer, json_t *pre_tokenizer, fam_error *error);

#endif
