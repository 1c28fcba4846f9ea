/*
 * cli/note.c: see note.h. A session file is input like any other: everything in the note is checked.
 */
#include "note.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "numbers.h"
#include "sources.h"

enum { NOTE_VERSION = 1 };

static const char *const kind_names[] = {"file", "ids-file", "prompt", "ids"};

/* Checked entry of "read" or of a reading's "sources". */
typedef struct note_entry {
    const char *kind, *path, *hash;
    json_int_t bytes, size;
} note_entry;

static bool entry_get(note_entry *out, json_t *object)
{
    out->size = -1;
    if (json_unpack(object, "{s:s, s:s, s:I, s:s, s?I}", "kind", &out->kind, "path", &out->path, "bytes", &out->bytes,
                    "xxh3_128", &out->hash, "size", &out->size) != 0)
        return false;
    return out->bytes >= 0 && strlen(out->hash) == 32;
}

static bool check_readings(json_t *list)
{
    size_t i, k;
    json_t *reading, *item;
    json_array_foreach(list, i, reading)
    {
        json_int_t tokens;
        json_t *sources;
        note_entry entry;
        if (json_unpack(reading, "{s:I, s:o}", "tokens", &tokens, "sources", &sources) != 0 || tokens < 0 ||
            json_array_size(sources) == 0)
            return false;
        json_array_foreach(sources, k, item)
        {
            if (!entry_get(&entry, item))
                return false;
        }
    }
    return json_is_array(list);
}

static bool check_root(json_t *root)
{
    json_int_t version;
    json_t *read, *unfinished, *item;
    size_t i;
    note_entry entry;
    if (json_unpack(root, "{s:I, s:o, s:o}", "fam_note", &version, "read", &read, "unfinished", &unfinished) != 0 ||
        version != NOTE_VERSION || !json_is_array(read))
        return false;
    json_array_foreach(read, i, item)
    {
        if (!entry_get(&entry, item))
            return false;
    }
    return check_readings(unfinished);
}

fam_status note_load(cli_note *out, const fam_session *session, const char *path, fam_error *error)
{
    memset(out, 0, sizeof *out);
    size_t size = 0;
    const void *data = fam_session_note(session, &size);
    if (!data || size == 0)
        out->root = json_pack("{s:i, s:[], s:[]}", "fam_note", NOTE_VERSION, "read", "unfinished");
    else
        out->root = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
    if (!out->root && !data)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: note: out of memory", path);
    if (!out->root || !check_root(out->root))
        return failure(error, FAM_STATUS_BAD_FORMAT, "%s: note: found bytes of another program, need a note of version %d",
                       path, NOTE_VERSION);
    return FAM_OK;
}

void note_free(cli_note *note)
{
    json_decref(note->root);
    memset(note, 0, sizeof *note);
}

/* Released with free; NULL: out of memory. */
static char *encode_path(const char *path)
{
    char *out = malloc(3 * strlen(path) + 1), *p = out;
    for (; out && *path; path++) {
        unsigned char byte = (unsigned char)*path;
        if (byte >= 0x20 && byte < 0x7f && byte != '%')
            *p++ = (char)byte;
        else
            p += sprintf(p, "%%%02x", byte);
    }
    if (p)
        *p = '\0';
    return out;
}

static bool same_source(const note_entry *entry, const cli_source *source)
{
    if (strcmp(entry->kind, kind_names[source->kind]) != 0)
        return false;
    if (!source_is_file(source))
        return true;
    char *path = encode_path(source->name);
    bool same = path && strcmp(path, entry->path) == 0;
    free(path);
    return same;
}

static fam_status changed(const cli_source *source, unsigned long long bytes, fam_error *error)
{
    return failure(error, FAM_STATUS_MISMATCH, "%s: it has changed: found other content, need the file of %llu bytes "
                   "as it was when the session read it", source_label(source), bytes);
}

static fam_status check_read_file(const cli_source *source, const note_entry *entry, fam_error *error)
{
    char hash[33];
    uint64_t bytes;
    fam_status status = source_hash_file(hash, &bytes, source->name, UINT64_MAX, error);
    if (status == FAM_OK && (bytes != (uint64_t)entry->bytes || strcmp(hash, entry->hash) != 0))
        return changed(source, (unsigned long long)entry->bytes, error);
    return status;
}

/* Takes out the files that were read to their end before. */
static fam_status drop_read(const cli_note *note, cli_source *sources, size_t *count, fam_error *error)
{
    json_t *read = json_object_get(note->root, "read"), *item;
    size_t kept = 0, k;
    for (size_t i = 0; i < *count; i++) {
        bool known = false;
        json_array_foreach(read, k, item)
        {
            note_entry entry;
            if (known || !source_is_file(&sources[i]) || !entry_get(&entry, item) || !same_source(&entry, &sources[i]))
                continue;
            fam_status status = check_read_file(&sources[i], &entry, error);
            if (status != FAM_OK)
                return status;
            message("%s: the session has read it, it is not read again", sources[i].name);
            known = true;
        }
        if (!known)
            sources[kept++] = sources[i];
    }
    *count = kept;
    return FAM_OK;
}

/* How many of the reading's sources are the first of the given ones, if all of them are; else 0. */
static size_t match(json_t *reading, const cli_source *sources, size_t count)
{
    json_t *list = json_object_get(reading, "sources"), *item;
    size_t i;
    if (json_array_size(list) > count)
        return 0;
    json_array_foreach(list, i, item)
    {
        note_entry entry;
        if (!entry_get(&entry, item) || !same_source(&entry, &sources[i]))
            return 0;
    }
    return json_array_size(list);
}

/* A prompt belongs to the reading only if it begins with the same words. */
static bool same_prompt(const note_entry *entry, const cli_source *source)
{
    char hash[33];
    if (entry->bytes > source->size)
        return false;
    source_hash_text(hash, source->name, (size_t)entry->bytes);
    return strcmp(hash, entry->hash) == 0;
}

static fam_status expect(json_t *reading, cli_source *sources, size_t matched, bool *applies, fam_error *error)
{
    json_t *list = json_object_get(reading, "sources");
    *applies = true;
    for (size_t i = 0; i < matched; i++) {
        note_entry entry;
        entry_get(&entry, json_array_get(list, i));
        if (!source_is_file(&sources[i]) && !same_prompt(&entry, &sources[i])) {
            *applies = false;
            if (i == 0)
                return FAM_OK;
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--prompt: the session stopped inside another prompt: need "
                           "that one to go on, or no --file to ask something else");
        }
        if (!source_is_stdin(&sources[i]) && entry.size >= 0 && sources[i].size != entry.size && source_is_file(&sources[i]))
            return changed(&sources[i], (unsigned long long)entry.size, error);
        sources[i].expected = true;
        sources[i].expected_bytes = (uint64_t)entry.bytes;
        memcpy(sources[i].expected_hash, entry.hash, sizeof sources[i].expected_hash);
    }
    return FAM_OK;
}

/* Which file a reading stopped in cannot be told, as neighbouring texts are encoded as one: tells of all of them. */
static void tell_partial(json_t *reading)
{
    const char *first = NULL;
    size_t files = 0, k;
    json_t *item;
    json_array_foreach(json_object_get(reading, "sources"), k, item)
    {
        note_entry entry;
        if (!entry_get(&entry, item) || (strcmp(entry.kind, "file") != 0 && strcmp(entry.kind, "ids-file") != 0))
            continue;
        if (files++ == 0)
            first = strcmp(entry.path, "-") == 0 ? "standard input" : entry.path;
    }
    char tokens[NUMBER_GROUPED_BYTES];
    number_grouped(tokens, json_integer_value(json_object_get(reading, "tokens")));
    if (files == 1)
        message("note: of %s only the first %s tokens were read", first, tokens);
    else if (files > 1)
        message("note: of %s and %zu more only the first %s tokens were read", first, files - 1, tokens);
}

/* A file of which a part was read may only go on where it stopped: never be read a second time by accident. */
static fam_status refuse_partial(json_t *unfinished, const cli_source *sources, size_t count, fam_error *error)
{
    size_t u, k;
    json_t *reading, *item;
    json_array_foreach(unfinished, u, reading)
    {
        json_array_foreach(json_object_get(reading, "sources"), k, item)
        {
            note_entry entry;
            entry_get(&entry, item);
            for (size_t i = 0; i < count; i++) {
                if (source_is_file(&sources[i]) && !source_is_stdin(&sources[i]) && same_source(&entry, &sources[i]))
                    return failure(error, FAM_STATUS_INVALID_ARGUMENT, "%s: the session stopped while it was read: need "
                                   "the same files in the same order to go on", sources[i].name);
            }
        }
        tell_partial(reading);
    }
    return FAM_OK;
}

fam_status note_plan(cli_note *note, cli_source *sources, size_t *count, fam_error *error)
{
    fam_status status = drop_read(note, sources, count, error);
    json_t *unfinished = json_object_get(note->root, "unfinished"), *reading;
    size_t u;
    if (status != FAM_OK)
        return status;
    json_array_foreach(unfinished, u, reading)
    {
        size_t matched = match(reading, sources, *count);
        if (matched == 0)
            continue;
        status = expect(reading, sources, matched, &note->resumes, error);
        if (status != FAM_OK)
            return status;
        if (!note->resumes)
            continue;
        note->unfinished = u;
        note->skipped = json_integer_value(json_object_get(reading, "tokens"));
        return FAM_OK;
    }
    return refuse_partial(unfinished, sources, *count, error);
}

static json_t *source_json(const cli_source *source)
{
    char *path = encode_path(source_is_file(source) ? source->name : "");
    json_t *object = path ? json_pack("{s:s, s:s, s:I, s:I, s:s}", "kind", kind_names[source->kind], "path", path, "bytes",
                                      (json_int_t)source->bytes, "size", (json_int_t)source->size, "xxh3_128", source->hash)
                          : NULL;
    free(path);
    return object;
}

/* The sources that the consumed ids depend on. */
static json_t *sources_json(const cli_source *sources, size_t count, int64_t consumed)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count && sources[i].begun && (i == 0 || consumed > sources[i].ids_before); i++) {
        if (json_array_append_new(list, source_json(&sources[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

fam_status note_store_reading(cli_note *note, fam_session *session, cli_source *sources, size_t count, int64_t consumed,
                              bool finished, fam_error *error)
{
    json_t *read = json_object_get(note->root, "read"), *unfinished = json_object_get(note->root, "unfinished");
    int64_t total = note->skipped + consumed;
    bool good = true;
    if (consumed == 0 && !finished)
        return FAM_OK; /* nothing new, and perhaps stopped before the old was checked again: what is noted stays */
    if (note->resumes)
        json_array_remove(unfinished, note->unfinished);
    note->resumes = false;
    if (finished) {
        for (size_t i = 0; i < count; i++) {
            if (!source_is_file(&sources[i]) || source_is_stdin(&sources[i]))
                continue;
            json_t *entry = source_json(&sources[i]);
            good = good && entry && (count > 1 || json_object_set_new(entry, "tokens", json_integer(total)) == 0);
            good = json_array_append_new(read, entry) == 0 && good;
        }
    } else if (total > 0) {
        json_t *list = sources_json(sources, count, total);
        good = list && json_array_append_new(unfinished, json_pack("{s:I, s:o}", "tokens", (json_int_t)total, "sources",
                                                                   list)) == 0;
        note->unfinished = json_array_size(unfinished) - 1;
        note->resumes = good;
    }
    if (!good)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the session's note: out of memory");
    return note_store(note, session, error);
}

static const char *entry_label(const note_entry *entry)
{
    if (strcmp(entry->kind, "prompt") == 0)
        return "--prompt";
    return strcmp(entry->path, "-") == 0 ? "standard input" : entry->path;
}

json_t *note_describe(json_t *root, size_t *messages)
{
    size_t i, k;
    json_t *item, *source, *list = check_root(root) ? json_array() : NULL;
    if (!list)
        return NULL;
    note_entry entry;
    json_array_foreach(json_object_get(root, "read"), i, item)
    {
        entry_get(&entry, item);
        json_t *tokens = json_object_get(item, "tokens");
        json_array_append_new(list, json_pack("{s:[s], s:O*, s:I, s:b}", "paths", entry_label(&entry), "tokens",
                                              json_is_integer(tokens) ? tokens : NULL, "bytes", entry.bytes, "complete", 1));
    }
    json_array_foreach(json_object_get(root, "unfinished"), i, item)
    {
        json_t *paths = json_array();
        json_array_foreach(json_object_get(item, "sources"), k, source)
        {
            entry_get(&entry, source);
            json_array_append_new(paths, json_string(entry_label(&entry)));
        }
        json_array_append_new(list, json_pack("{s:o, s:O, s:b}", "paths", paths, "tokens", json_object_get(item, "tokens"),
                                              "complete", 0));
    }
    *messages = json_array_size(json_object_get(json_object_get(root, "chat"), "messages"));
    return list;
}

fam_status note_store(const cli_note *note, fam_session *session, fam_error *error)
{
    char *text = json_dumps(note->root, JSON_COMPACT);
    if (!text)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the session's note: out of memory");
    fam_status status = fam_session_set_note(session, text, strlen(text), error);
    free(text);
    return status;
}
