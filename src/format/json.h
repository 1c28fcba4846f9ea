/*
 * format/json.h: JSON text from files that are not trusted, by jansson: duplicates refused, depth and size bounded,
 * and typed access whose errors name the file and the key. No jansson type crosses into other rooms' headers but here.
 */
#ifndef FAM_FORMAT_JSON_H
#define FAM_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/memory.h"

/* Parses `size` bytes; `name` stands for the file in messages ("<name>: not JSON: line 3 column 7: ..."). The caller
 * releases *out with json_decref. */
fam_status fam_json_parse(json_t **out, const char *name, const char *text, size_t size, fam_error *error);
/* Reads a file of at most `limit` bytes and parses it; the top level must be an object. */
fam_status fam_json_read(json_t **out, fam_memory *memory, const char *path, size_t limit, fam_error *error);

/* Typed members of an object. A missing or null member: FAM_STATUS_BAD_FORMAT if `required`, else *out stays. `where`
 * names the object in messages (a file, or "<file>: rope_scaling"). */
fam_status fam_json_i64(const json_t *object, const char *where, const char *key, bool required, int64_t *out,
                        fam_error *error);
fam_status fam_json_f64(const json_t *object, const char *where, const char *key, bool required, double *out,
                        fam_error *error);
fam_status fam_json_bool(const json_t *object, const char *where, const char *key, bool required, bool *out,
                         fam_error *error);
fam_status fam_json_string(const json_t *object, const char *where, const char *key, bool required, const char **out,
                           fam_error *error);

#endif
