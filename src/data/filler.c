/*
 * data/filler.c: see filler.h.
 */
#include "data/filler.h"

#include <stdio.h>
#include <string.h>

#include "data/text_file.h"
#include "data/words.h"

/* Every drawn word begins with a blank, so that words joined as ids are the ids of the joined text. */

static fam_status encode_text(fam_id_list *list, fam_encoder *encoder, const char *text, fam_error *error)
{
    return fam_id_list_encode(list, encoder, text, strlen(text), true, error);
}

static void init(fam_filler *filler, fam_memory *memory)
{
    *filler = (fam_filler){.memory = memory};
    filler->lead.memory = filler->text.memory = filler->words.memory = filler->begin.memory = memory;
}

void fam_filler_destroy(fam_filler *filler)
{
    if (!filler->memory)
        return;
    fam_free(filler->memory, filler->lead.ids);
    fam_free(filler->memory, filler->text.ids);
    fam_free(filler->memory, filler->words.ids);
    fam_free(filler->memory, filler->begin.ids);
    fam_free(filler->memory, filler->ends);
    *filler = (fam_filler){0};
}

fam_status fam_filler_grass(fam_filler *out, fam_memory *memory, fam_encoder *encoder, bool line, fam_error *error)
{
#define GRASS "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
    enum { REPEATS = 128 }; /* so that a copy is long enough to be fast */
    fam_status status = FAM_OK;
    init(out, memory);
    FAM_TRY(encode_text(&out->lead, encoder, line ? GRASS : " " GRASS, error));
    FAM_TRY(encode_text(&out->text, encoder, " " GRASS, error));
    size_t once = out->text.count;
    FAM_TRY(fam_id_list_reserve(&out->text, (REPEATS - 1) * once, error));
    for (int i = 1; i < REPEATS; i++)
        memcpy(out->text.ids + (size_t)i * once, out->text.ids, once * sizeof *out->text.ids);
    out->text.count = REPEATS * once;
done:
    if (status != FAM_OK)
        fam_filler_destroy(out);
    return status;
#undef GRASS
}

/* Puts one word at the end of the words. */
static fam_status put_word(fam_filler *filler, fam_encoder *encoder, const char *text, fam_error *error)
{
    fam_status status = FAM_OK;
    if (filler->begin.count == 0)
        FAM_TRY(fam_id_list_put(&filler->begin, 0, error));
    FAM_TRY(encode_text(&filler->words, encoder, text, error));
    FAM_TRY(fam_id_list_put(&filler->begin, (int32_t)filler->words.count, error));
done:
    return status;
}

static fam_status put_group(fam_filler *filler, fam_encoder *encoder, char slot, const char *const *words, int count,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    fam_word_group *group = &filler->groups[filler->group_count++];
    int32_t first = filler->begin.count ? (int32_t)filler->begin.count - 1 : 0;
    *group = (fam_word_group){.slot = slot, .first = first, .end = first + count};
    for (int i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%s%s", slot == ',' || slot == '.' ? "" : " ", words[i]);
        FAM_TRY(put_word(filler, encoder, text, error));
    }
done:
    return status;
}

fam_status fam_filler_letters(fam_filler *out, fam_memory *memory, fam_encoder *encoder, fam_error *error)
{
    enum { WORDS = 2048, LETTERS_MAX = 6 };
    static const char *const templates[] = {"w"};
    fam_status status = FAM_OK;
    fam_random random;
    fam_random_seed(&random, 0);
    init(out, memory);
    out->templates = templates;
    out->template_count = 1;
    out->groups[0] = (fam_word_group){.slot = 'w', .end = WORDS};
    out->group_count = 1;
    for (int i = 0; i < WORDS; i++) {
        char text[LETTERS_MAX + 2] = " ";
        int64_t length = 1 + fam_draw_below(&random, LETTERS_MAX);
        for (int64_t k = 1; k <= length; k++)
            text[k] = (char)('a' + fam_draw_below(&random, 26));
        FAM_TRY(put_word(out, encoder, text, error));
    }
done:
    if (status != FAM_OK)
        fam_filler_destroy(out);
    return status;
}

/* Whether a token ends a sentence: a full stop, question or exclamation mark is its last character but for blanks and
 * quotes, or it has a line break. */
static bool ends_sentence(const char *bytes, size_t length)
{
    if (memchr(bytes, '\n', length))
        return true;
    while (length && memchr(" \"')", bytes[length - 1], 4))
        length--;
    return length && memchr(".?!", bytes[length - 1], 3);
}

static fam_status find_ends(fam_filler *filler, const fam_tokenizer *tokenizer, fam_error *error)
{
    fam_status status = FAM_OK;
    filler->ids_max = fam_tokenizer_vocab_size(tokenizer);
    FAM_TRY_ALLOC(filler->ends, fam_alloc_zeroed(filler->memory, (size_t)filler->ids_max), "task");
    for (int64_t id = 0; id < filler->ids_max; id++) {
        size_t length;
        const char *bytes = fam_tokenizer_bytes(tokenizer, (int32_t)id, &length);
        filler->ends[id] = bytes && ends_sentence(bytes, length);
    }
done:
    return status;
}

fam_status fam_filler_sentences(fam_filler *out, fam_memory *memory, fam_encoder *encoder,
                                const fam_tokenizer *tokenizer, fam_error *error)
{
    static const char *const comma[] = {","}, *const stop[] = {"."};
    const struct {
        char slot;
        const char *const *words;
        int count;
    } groups[] = {{'N', fam_words_nouns, fam_words_noun_count},
                  {'A', fam_words_adjectives, fam_words_adjective_count},
                  {'V', fam_words_verbs, fam_words_verb_count},
                  {'D', fam_words_adverbs, fam_words_adverb_count},
                  {'T', fam_words_openers, fam_words_opener_count},
                  {'t', fam_words_articles, fam_words_article_count},
                  {'L', fam_words_leads, fam_words_lead_count},
                  {'P', fam_words_prepositions, fam_words_preposition_count},
                  {'C', fam_words_conjunctions, fam_words_conjunction_count},
                  {',', comma, 1},
                  {'.', stop, 1}};
    fam_status status = FAM_OK;
    init(out, memory);
    out->templates = fam_words_templates;
    out->template_count = fam_words_template_count;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        FAM_TRY(put_group(out, encoder, groups[i].slot, groups[i].words, groups[i].count, error));
    FAM_TRY(find_ends(out, tokenizer, error));
done:
    if (status != FAM_OK)
        fam_filler_destroy(out);
    return status;
}

fam_status fam_filler_file(fam_filler *out, fam_memory *memory, fam_encoder *encoder, const fam_tokenizer *tokenizer,
                           const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    char *text = NULL;
    size_t size;
    init(out, memory);
    out->anywhere = true;
    FAM_TRY(fam_text_file_read_beginning(&text, &size, memory, path, FAM_HAYSTACK_BYTES_MAX, error));
    FAM_TRY(fam_id_list_encode(&out->text, encoder, text, size, false, error));
    FAM_FAIL_IF(out->text.count == 0, FAM_STATUS_BAD_FORMAT, "%s: text: found no token, need some text", path);
    FAM_TRY(find_ends(out, tokenizer, error));
done:
    fam_free(memory, text);
    if (status != FAM_OK)
        fam_filler_destroy(out);
    return status;
}

/* The first token of a sentence, at or after a token drawn at random. */
static int64_t draw_sentence(const fam_filler *filler, fam_random *random)
{
    int64_t count = (int64_t)filler->text.count, drawn = fam_draw_below(random, count);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = (drawn + i) % count, before = (at + count - 1) % count;
        if (filler->ends[filler->text.ids[before]] && !filler->ends[filler->text.ids[at]])
            return at;
    }
    return 0; /* no sentence ends: from the beginning */
}

void fam_filler_begin(const fam_filler *filler, fam_filler_place *place, fam_random *random)
{
    *place = (fam_filler_place){.in_lead = filler->lead.count > 0, .slot = ""};
    fam_random_seed(&place->random, fam_random_next(random));
    if (filler->anywhere)
        place->at = draw_sentence(filler, &place->random);
}

void fam_filler_restart(const fam_filler *filler, fam_filler_place *place)
{
    place->word_count = 0;
    if (filler->lead.count == 0)
        return;
    place->in_lead = true;
    place->at = 0;
}

static void read_text(const fam_filler *filler, fam_filler_place *place, int32_t *ids, int64_t count)
{
    while (count) {
        const fam_id_list *list = place->in_lead ? &filler->lead : &filler->text;
        int64_t n = (int64_t)list->count - place->at;
        if (n > count)
            n = count;
        memcpy(ids, list->ids + place->at, (size_t)n * sizeof *ids);
        ids += n;
        count -= n;
        place->at += n;
        if (place->at == (int64_t)list->count) {
            place->at = 0;
            place->in_lead = false;
        }
    }
}

static void draw_word(const fam_filler *filler, fam_filler_place *place)
{
    if (*place->slot == '\0')
        place->slot = filler->templates[fam_draw_below(&place->random, filler->template_count)];
    const fam_word_group *group = filler->groups;
    while (group->slot != *place->slot)
        group++;
    place->slot++;
    int64_t word = group->first + fam_draw_below(&place->random, group->end - group->first);
    place->word = filler->words.ids + filler->begin.ids[word];
    place->word_count = filler->begin.ids[word + 1] - filler->begin.ids[word];
}

void fam_filler_read(const fam_filler *filler, fam_filler_place *place, int32_t *ids, int64_t count)
{
    if (filler->text.count) {
        read_text(filler, place, ids, count);
        return;
    }
    while (count) {
        if (place->word_count == 0)
            draw_word(filler, place);
        *ids++ = *place->word++;
        place->word_count--;
        count--;
    }
}
