/*
 * data/source_place.c: the place of a source as bytes, little-endian:
 *
 *   0   8  magic "FAMDATA1"
 *   8   4  version (1)          12  4  entries
 *   16  8  seed                 24  32 random numbers that choose entries
 *   56     for each entry: 8 kind, 8 number of a file's bytes (0: no file), 16 XXH3-128 of them,
 *          then fam_place word by word: random (4), draw, epoch, at, used, bad_now, sequences, epochs, bad, skipped
 *          XXH3-64 of everything before
 */
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "data/source_private.h"

enum { VERSION = 1, HEAD_BYTES = 56, PLACE_WORDS = 13, ENTRY_BYTES = 32 + 8 * PLACE_WORDS, HASH_BYTES = 8 };

static const char magic[8] = {'F', 'A', 'M', 'D', 'A', 'T', 'A', '1'};

static void place_to_words(uint64_t words[PLACE_WORDS], const fam_place *place)
{
    const fam_source_counts *counts = &place->counts;
    const uint64_t rest[] = {place->draw,
                             place->epoch,
                             place->at,
                             place->used,
                             place->bad_now,
                             (uint64_t)counts->sequences,
                             (uint64_t)counts->epochs,
                             (uint64_t)counts->bad_records,
                             (uint64_t)counts->skipped_records};
    memcpy(words, place->random.word, sizeof place->random.word);
    memcpy(words + 4, rest, sizeof rest);
}

static void place_from_words(fam_place *place, const uint64_t words[PLACE_WORDS])
{
    *place = (fam_place){.draw = words[4],
                         .epoch = words[5],
                         .at = words[6],
                         .used = words[7],
                         .bad_now = words[8],
                         .counts = {.sequences = (int64_t)words[9],
                                    .epochs = (int64_t)words[10],
                                    .bad_records = (int64_t)words[11],
                                    .skipped_records = (int64_t)words[12]}};
    memcpy(place->random.word, words, sizeof place->random.word);
}

static size_t place_bytes(const fam_source *source)
{
    return HEAD_BYTES + (size_t)source->count * ENTRY_BYTES + HASH_BYTES;
}

fam_status fam_source_save(const fam_source *source, uint8_t **out, size_t *size, fam_error *error)
{
    fam_status status = FAM_OK;
    uint8_t *bytes = NULL;
    size_t total = place_bytes(source);
    *out = NULL;
    for (int64_t i = 0; i < source->count; i++)
        if (source->entries[i].has_file)
            FAM_TRY(fam_text_file_hash(&source->entries[i].file, error));
    FAM_TRY_ALLOC(bytes, fam_alloc_zeroed(source->memory, total), "data: place");
    const uint32_t numbers[] = {VERSION, (uint32_t)source->count};
    memcpy(bytes, magic, sizeof magic);
    memcpy(bytes + 8, numbers, sizeof numbers);
    memcpy(bytes + 16, &source->seed, 8);
    memcpy(bytes + 24, source->random.word, sizeof source->random.word);
    for (int64_t i = 0; i < source->count; i++) {
        const fam_entry *entry = &source->entries[i];
        uint8_t *to = bytes + HEAD_BYTES + (size_t)i * ENTRY_BYTES;
        uint64_t head[2] = {(uint64_t)entry->options->kind, entry->has_file ? entry->file.input.size : 0};
        uint64_t words[PLACE_WORDS];
        place_to_words(words, &entry->place);
        memcpy(to, head, sizeof head);
        memcpy(to + 16, entry->file.hash, sizeof entry->file.hash);
        memcpy(to + 32, words, sizeof words);
    }
    uint64_t hash = XXH3_64bits(bytes, total - HASH_BYTES);
    memcpy(bytes + total - HASH_BYTES, &hash, HASH_BYTES);
    *out = bytes;
    *size = total;
done:
    return status;
}

static bool random_is_dead(const fam_random *random)
{
    return !(random->word[0] | random->word[1] | random->word[2] | random->word[3]);
}

/* The frame: everything but what the entries are at. */
static fam_status check_frame(const fam_source *source, const uint8_t *data, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(size < HEAD_BYTES + HASH_BYTES || memcmp(data, magic, sizeof magic) != 0, FAM_STATUS_BAD_FORMAT,
                "data: place: byte 0: found %zu bytes of something else, need \"FAMDATA1\"", size);
    uint32_t version = fam_read_u32(data + 8), count = fam_read_u32(data + 12);
    FAM_FAIL_IF(version != VERSION, FAM_STATUS_BAD_FORMAT, "data: place: version: found %u, need %d", version, VERSION);
    FAM_FAIL_IF(fam_read_u64(data + size - HASH_BYTES) != XXH3_64bits(data, size - HASH_BYTES), FAM_STATUS_BAD_FORMAT,
                "data: place: checksum: found another, need that of its %zu bytes", size);
    FAM_FAIL_IF(count != (uint64_t)source->count, FAM_STATUS_MISMATCH,
                "data: place: entries: found %u saved, need %lld as the recipe has", count, (long long)source->count);
    FAM_FAIL_IF(size != place_bytes(source), FAM_STATUS_BAD_FORMAT, "data: place: size: found %zu bytes, need %zu",
                size, place_bytes(source));
done:
    return status;
}

static fam_status check_numbers(const fam_entry *entry, const fam_place *place, fam_error *error)
{
    const uint64_t most = INT64_MAX / 2; /* so that counting on never overflows */
    const fam_source_counts *counts = &place->counts;
    const uint64_t all[] = {place->draw,
                            place->epoch,
                            place->bad_now,
                            (uint64_t)counts->sequences,
                            (uint64_t)counts->epochs,
                            (uint64_t)counts->bad_records,
                            (uint64_t)counts->skipped_records};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] > most)
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "data: place: count: found %llu, need at most %llu",
                                 (unsigned long long)all[i], (unsigned long long)most);
    bool idle = entry->task ? place->epoch || place->at || place->used || place->bad_now : place->draw > 0;
    if (idle || random_is_dead(&place->random))
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                             "data: place: %s: found numbers that it never has, need its own",
                             fam_data_kind_name((int)entry->options->kind));
    return FAM_OK;
}

/* The place of one entry, from what was saved of it, which need not be true. */
static fam_status read_entry(fam_place *out, fam_entry *entry, const uint8_t *data, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *name = fam_data_kind_name((int)entry->options->kind);
    uint64_t words[PLACE_WORDS], kind = fam_read_u64(data), bytes = fam_read_u64(data + 8);
    uint64_t has = entry->has_file ? entry->file.input.size : 0;
    static const uint8_t none[16];
    FAM_FAIL_IF(kind != (uint64_t)entry->options->kind, FAM_STATUS_MISMATCH,
                "data: place: kind: found number %llu saved, need %d (%s) as the recipe has", (unsigned long long)kind,
                (int)entry->options->kind, name);
    const char *path = entry->has_file ? entry->file.path : name;
    FAM_FAIL_IF(bytes != has, FAM_STATUS_MISMATCH, "%s: content: found %llu bytes, need the %llu that were read so far",
                path, (unsigned long long)has, (unsigned long long)bytes);
    if (entry->has_file)
        FAM_TRY(fam_text_file_hash(&entry->file, error));
    FAM_FAIL_IF(memcmp(entry->has_file ? entry->file.hash : none, data + 16, 16) != 0, FAM_STATUS_MISMATCH,
                "%s: content: found another than what was read so far, need the same file", path);
    memcpy(words, data + 32, sizeof words);
    place_from_words(out, words);
    FAM_TRY(check_numbers(entry, out, error));
    if (!entry->task)
        FAM_TRY(fam_entry_check_place(entry, out, error));
done:
    return status;
}

fam_status fam_source_restore(fam_source *source, const uint8_t *data, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_place *places = NULL;
    fam_random random;
    uint64_t seed = source->seed;
    FAM_TRY(check_frame(source, data, size, error));
    memcpy(random.word, data + 24, sizeof random.word);
    FAM_FAIL_IF(random_is_dead(&random), FAM_STATUS_BAD_FORMAT,
                "data: place: random numbers: found zeros, need a state that goes on");
    FAM_TRY_ALLOC(places, fam_alloc_array(source->memory, (size_t)source->count, sizeof *places), "data: place");
    fam_source_seed(source, fam_read_u64(data + 16));
    for (int64_t i = 0; i < source->count; i++)
        FAM_TRY(read_entry(&places[i], &source->entries[i], data + HEAD_BYTES + (size_t)i * ENTRY_BYTES, error));
    for (int64_t i = 0; i < source->count; i++)
        source->entries[i].place = places[i];
    source->random = random;
done:
    if (status != FAM_OK)
        fam_source_seed(source, seed);
    fam_free(source->memory, places);
    return status;
}
