/*
 * data/reader.c: text and JSONL files as a row of documents, each found again by its place alone.
 *
 * A text file is read in pieces. A piece is a function of where it begins: so many bytes go through a fresh encoder,
 * and the next piece begins where the text begins that the encoder still held back. So the ids are those of the whole
 * text (but where a word is longer than a piece), and going on from a saved place means reading one piece again.
 *
 * A shuffled file's order is a permutation computed from seed and epoch, one record at a time: the offsets of the lines
 * are all that is kept.
 */
#include <string.h>

#include "data/source_private.h"
#include "text/tokenizer.h"

enum { PIECE_BYTES = 1 << 16, ROUNDS = 8 };

static bool is_text(const fam_entry *entry)
{
    return entry->options->kind == FAM_DATA_TEXT;
}

/* ---- the order of a shuffled file -------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    return fam_splitmix64(&x);
}

/* Number `i` of a permutation of [0, count): a Feistel network over the next even number of bits, walked until it is
 * within. */
static uint64_t permute(uint64_t i, uint64_t count, uint64_t key)
{
    int half = 1;
    while (half < 32 && (uint64_t)1 << 2 * half < count)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (int round = 0; round < ROUNDS; round++) {
            uint64_t next = left ^ (mix(right ^ mix(key + (uint64_t)round)) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= count);
    return i;
}

uint64_t fam_entry_offset(const fam_entry *entry, const fam_place *place)
{
    if (!entry->index)
        return place->at;
    return entry->index[permute(place->at, entry->records, mix(entry->seed ^ mix(place->epoch)))];
}

static bool is_blank(const uint8_t *line, size_t size)
{
    while (size && (line[size - 1] == ' ' || line[size - 1] == '\t' || line[size - 1] == '\r'))
        size--;
    return size == 0;
}

static fam_status make_index(fam_entry *entry, fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t capacity = 0, next;
    for (uint64_t at = 0; at < entry->file.input.size; at = next) {
        const uint8_t *line;
        size_t size;
        FAM_TRY(fam_text_file_line(&entry->file, &line, &size, at, &next, error));
        if (is_blank(line, size))
            continue;
        if (entry->records == capacity) {
            capacity = capacity + capacity / 2 + 1024;
            uint64_t *grown = fam_realloc(entry->memory, entry->index, capacity * sizeof *grown);
            FAM_FAIL_IF(!grown, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory for %llu offsets", entry->file.path,
                        (unsigned long long)capacity);
            entry->index = grown;
        }
        entry->index[entry->records++] = at;
    }
    if (entry->records) {
        uint64_t *fitting = fam_realloc(entry->memory, entry->index, entry->records * sizeof *fitting);
        entry->index = fitting ? fitting : entry->index;
    }
done:
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static fam_status load_piece(fam_entry *entry, uint64_t at, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_document *document = &entry->document;
    fam_encoder *encoder = entry->reader.encoder;
    uint64_t left = entry->file.input.size - at;
    size_t size = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, used;
    bool last = size == left;
    const uint8_t *text;
    entry->loaded = false;
    fam_document_clear(document);
    fam_encoder_reset(encoder);
    document->ids.short_of_memory = false;
    FAM_TRY(fam_text_file_read(&entry->file, &text, at, size, error));
    FAM_TRY(fam_text_file_validate(entry->file.path, text, size, at, last, &used, error));
    if (at == 0 && fam_tokenizer_adds_bos(entry->tokenizer))
        FAM_TRY(fam_id_list_put(&document->ids, fam_tokenizer_bos(entry->tokenizer), error));
    FAM_TRY(fam_document_mark(document, 0, 0, error));
    size_t from = document->ids.count;
    FAM_TRY(fam_encoder_feed(encoder, (const char *)text, used, fam_id_list_sink, &document->ids, error));
    size_t held = fam_encoder_held(encoder);
    bool cut = held >= used; /* a word as long as the piece */
    if (last || cut)
        FAM_TRY(fam_encoder_finish(encoder, fam_id_list_sink, &document->ids, error));
    if (last && fam_tokenizer_eos(entry->tokenizer) >= 0)
        FAM_TRY(fam_id_list_put(&document->ids, fam_tokenizer_eos(entry->tokenizer), error));
    FAM_TRY(fam_document_mark(document, FAM_TOKEN_TRAINED, from, error));
    entry->loaded = true;
    entry->loaded_offset = at;
    entry->loaded_end = at + (last || cut ? used : used - held);
done:
    if (status == FAM_STATUS_CANCELLED && document->ids.short_of_memory)
        status = fam_out_of_memory(error, entry->file.path);
    fam_encoder_reset(encoder);
    return status;
}

/* The line at `offset` as a document; *blank: there is nothing on it. loaded_end is behind it if it could be read at
 * all.
 */
static fam_status load_record(fam_entry *entry, uint64_t offset, bool *blank, fam_error *error)
{
    fam_status status = FAM_OK;
    const uint8_t *line;
    size_t size;
    entry->loaded = false;
    entry->loaded_end = offset;
    *blank = false;
    FAM_TRY(fam_text_file_line(&entry->file, &line, &size, offset, &entry->loaded_end, error));
    *blank = is_blank(line, size);
    if (*blank)
        goto done;
    FAM_TRY(fam_record_read(&entry->document, &entry->reader, (const char *)line, size, error));
    entry->loaded = true;
    entry->loaded_offset = offset;
done:
    return status;
}

fam_status fam_entry_blame(fam_entry *entry, uint64_t offset, fam_error *error)
{
    fam_error told = *error, ignored;
    uint64_t line;
    if (fam_text_file_line_number(&entry->file, offset, &line, &ignored) != FAM_OK)
        return fam_error_prefix(error, told.status, entry->file.path);
    return fam_error_set(error, told.status, "%s: record: line %llu: %s", entry->file.path, (unsigned long long)line,
                         told.message);
}

static uint64_t place_end(const fam_entry *entry)
{
    return entry->index ? entry->records : entry->file.input.size;
}

static void wrap(const fam_entry *entry, fam_place *place)
{
    if (place->at < place_end(entry))
        return;
    place->at = 0;
    place->bad_now = 0;
    place->epoch++;
    place->counts.epochs++;
}

void fam_entry_advance(const fam_entry *entry, fam_place *place)
{
    place->at = entry->index ? place->at + 1 : entry->loaded_end;
    place->used = 0;
    wrap(entry, place);
}

/* A bad line: counted if so many are allowed. */
static fam_status skip_bad(fam_entry *entry, fam_place *place, fam_error *error)
{
    if (place->bad_now >= (uint64_t)entry->options->skip_bad)
        return fam_entry_blame(entry, fam_entry_offset(entry, place), error);
    place->bad_now++;
    place->counts.bad_records++;
    return FAM_OK;
}

fam_status fam_entry_load(fam_entry *entry, fam_place *place, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_error unused, *told = error ? error : &unused;
    uint64_t first_epoch = place->epoch;
    for (;;) {
        uint64_t offset = fam_entry_offset(entry, place);
        bool nothing = false;
        FAM_FAIL_IF(place->epoch > first_epoch + 1, FAM_STATUS_BAD_FORMAT,
                    "%s: records: found none in the whole file, need one to train on", entry->file.path);
        if (!entry->loaded || entry->loaded_offset != offset) {
            status = is_text(entry) ? load_piece(entry, offset, told) : load_record(entry, offset, &nothing, told);
            if (status == FAM_STATUS_BAD_FORMAT && !is_text(entry) && entry->loaded_end > offset) {
                FAM_TRY(skip_bad(entry, place, told));
                status = FAM_OK;
                nothing = true;
            }
            FAM_TRY(status);
        }
        if (!nothing && place->used < entry->document.ids.count)
            break;
        fam_entry_advance(entry, place);
    }
done:
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

fam_status fam_entry_open_file(fam_entry *entry, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_place place = {.used = 0};
    bool shuffled = !is_text(entry) && entry->options->shuffle;
    FAM_TRY(fam_record_reader_create(&entry->reader, entry->memory, entry->tokenizer, error));
    if (shuffled)
        FAM_TRY(make_index(entry, error));
    FAM_FAIL_IF(shuffled && entry->records == 0, FAM_STATUS_BAD_FORMAT,
                "%s: records: found none in the whole file, need one to train on", entry->file.path);
    FAM_TRY(fam_entry_load(entry, &place, error));
done:
    return status;
}

fam_status fam_entry_check_place(fam_entry *entry, const fam_place *place, fam_error *error)
{
    fam_status status = FAM_OK;
    const uint8_t *before;
    bool nothing = false;
    FAM_FAIL_IF(place->at >= place_end(entry), FAM_STATUS_BAD_FORMAT,
                "place: found record or byte %llu, need below %llu", (unsigned long long)place->at,
                (unsigned long long)place_end(entry));
    uint64_t offset = fam_entry_offset(entry, place);
    if (!is_text(entry) && offset > 0) {
        FAM_TRY(fam_text_file_read(&entry->file, &before, offset - 1, 1, error));
        FAM_FAIL_IF(*before != '\n', FAM_STATUS_BAD_FORMAT, "place: found byte %llu, need the beginning of a line",
                    (unsigned long long)offset);
    }
    if (place->used == 0 && !is_text(entry))
        goto done;
    FAM_TRY(is_text(entry) ? load_piece(entry, offset, error) : load_record(entry, offset, &nothing, error));
    FAM_FAIL_IF(nothing || (place->used && place->used >= entry->document.ids.count), FAM_STATUS_BAD_FORMAT,
                "place: found %llu tokens used of %zu, need fewer", (unsigned long long)place->used,
                nothing ? 0 : entry->document.ids.count);
done:
    return status;
}
