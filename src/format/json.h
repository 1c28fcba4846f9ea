/*
 * format/json.h: JSON text from files that are not trusted, by jansson: duplicates refused, depth and size bounded,
 * and typed access whose errors name the file and the key. No jansson type crosses into other rooms' headers but here.
 *
 * Strict JSON: no comments, no NaN or Infinity, no byte order mark, no NUL in strings, UTF-8 only, integers within 64
 * bits. jansson allocates by malloc, outside of any fam_memory; it takes some 10 to 20 bytes for each byte of text.
 * Values that are not shared may be used by one thread each.
 */
#ifndef FAM_FORMAT_JSON_H
#define FAM_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/memory.h"

/* Nesting that jansson follows (its JSON_PARSER_MAX_DEPTH); deeper text is refused. */
enum { FAM_JSON_DEPTH_MAX = 2048, FAM_JSON_BYTES_MAX = 1 << 30 };

/* Parses `size` bytes; `name` stands for the file in messages ("<name>: not JSON: line 3 column 7: ..."). The top level
 * is an object or an array. The caller releases *out with json_decref. FAM_STATUS_BAD_FORMAT, FAM_STATUS_OUT_OF_MEMORY.
 */
fam_status fam_json_parse(json_t **out, const char *name, const char *text, size_t size, fam_error *error);
/* Reads a file of at most `limit` bytes and parses it; the top level must be an object. */
fam_status fam_json_read(json_t **out, fam_memory *memory, const char *path, size_t limit, fam_error *error);

/* Replaces a file with the text of a value: indented, members in their order, numbers as short as keeps them exact. */
fam_status fam_json_write(const char *path, fam_memory *memory, const json_t *value, fam_error *error);

/* Typed members of an object. A missing or null member: FAM_STATUS_BAD_FORMAT if `required`, else *out stays. `where`
 * names the object in messages (a file, or "<file>: rope_scaling"). An integer is written without point or exponent; a
 * number for _f64 may be either. A string lives as long as the object. */
fam_status fam_json_i64(const json_t *object, const char *where, const char *key, bool required, int64_t *out,
                        fam_error *error);
fam_status fam_json_f64(const json_t *object, const char *where, const char *key, bool required, double *out,
                        fam_error *error);
fam_status fam_json_bool(const json_t *object, const char *where, const char *key, bool required, bool *out,
                         fam_error *error);
fam_status fam_json_string(const json_t *object, const char *where, const char *key, bool required, const char **out,
                           fam_error *error);
/* A member that is an object or an array (JSON_OBJECT, JSON_ARRAY); it belongs to `object`. */
fam_status fam_json_child(json_t *object, const char *where, const char *key, json_type type, bool required,
                          json_t **out, fam_error *error);

/* Walks the members of one large object without building it, so that a header of 100 MB costs no more memory than its
 * largest member. Begin with {name, text, size, 0}. Each call gives one member: `key` (a JSON string, to be released by
 * the caller), and where its value's text lies; *key is NULL at the end of the object, which must be the end of the
 * text but for spaces. The caller must parse every value (fam_json_walk_value): only then is all of it known to be
 * JSON. The walk does not see duplicates. */
typedef struct fam_json_walk {
    const char *name, *text;
    size_t size, at;
} fam_json_walk;
fam_status fam_json_walk_next(fam_json_walk *walk, json_t **key, size_t *value_at, size_t *value_size,
                              fam_error *error);
/* Parses a value of any type at that place, of at most `limit` bytes. */
fam_status fam_json_walk_value(json_t **out, const fam_json_walk *walk, size_t value_at, size_t value_size,
                               size_t limit, fam_error *error);

/* A value in few words, for "found X" in messages: a number, a short string in quotes, "an array". */
enum { FAM_JSON_WORDS_SIZE = 96 };
const char *fam_json_words(const json_t *value, char buffer[FAM_JSON_WORDS_SIZE]);

#endif
