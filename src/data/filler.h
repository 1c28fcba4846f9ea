/*
 * data/filler.h: what stands between the keys of a task, without end: a text that repeats, words drawn at random, or
 * sentences of a small grammar.
 *
 * A filler is made once and is immutable, all of it as ids; a place in it belongs to one episode and is plain data.
 * Reading is copying: it cannot fail, and one place gives the same ids whatever the sizes asked for.
 */
#ifndef FAM_DATA_FILLER_H
#define FAM_DATA_FILLER_H

#include "base/random.h"
#include "data/id_list.h"

enum { FAM_FILLER_GROUPS_MAX = 16, FAM_HAYSTACK_BYTES_MAX = 64 << 20 };

/* Words of one part of speech: number `first` up to, but not, `end` of the filler's words. */
typedef struct fam_word_group {
    char slot;
    int32_t first, end;
} fam_word_group;

typedef struct fam_filler {
    fam_memory *memory;
    fam_id_list lead; /* said once, then */
    fam_id_list text; /* this over and over; empty: words are drawn */
    /* Words: number w is text.ids[begin.ids[w] .. begin.ids[w + 1]) of `words`. A sentence is a template, whose letters
     * are slots. */
    fam_id_list words, begin;
    const char *const *templates;
    int32_t template_count;
    fam_word_group groups[FAM_FILLER_GROUPS_MAX];
    int32_t group_count;
    bool anywhere;   /* a text that begins at an offset drawn at random */
    uint8_t *ends;   /* [vocabulary] 1: the token ends a sentence; NULL where nobody asks */
    int64_t ids_max; /* of `ends` */
} fam_filler;

typedef struct fam_filler_place {
    fam_random random;
    int64_t at; /* in lead, and then in text */
    bool in_lead;
    const char *slot;    /* the next of the sentence's template */
    const int32_t *word; /* what is left of a word */
    int64_t word_count;
} fam_filler_place;

/* The filler of Mohtashami and Jaggi ("The grass is green. ..."). With `line`, as the beginning of a line. */
fam_status fam_filler_grass(fam_filler *out, fam_memory *memory, fam_encoder *encoder, bool line, fam_error *error);
/* Words of letters that mean nothing, each after a blank. */
fam_status fam_filler_letters(fam_filler *out, fam_memory *memory, fam_encoder *encoder, fam_error *error);
/* Sentences as technical prose has them, from a small grammar: grammatical, varied, and no real text. */
fam_status fam_filler_sentences(fam_filler *out, fam_memory *memory, fam_encoder *encoder,
                                const fam_tokenizer *tokenizer, fam_error *error);
/* A file's text (of a longer one the first FAM_HAYSTACK_BYTES_MAX bytes), over and over, from a sentence drawn at
 * random. Statuses as fam_text_file_open, and those of its content. */
fam_status fam_filler_file(fam_filler *out, fam_memory *memory, fam_encoder *encoder, const fam_tokenizer *tokenizer,
                           const char *path, fam_error *error);
void fam_filler_destroy(fam_filler *filler);

/* A place at the beginning; what is drawn comes from `random`. */
void fam_filler_begin(const fam_filler *filler, fam_filler_place *place, fam_random *random);
/* After something else was said: back to the beginning of a filler that repeats; the rest of a drawn word is
 * dropped. */
void fam_filler_restart(const fam_filler *filler, fam_filler_place *place);
void fam_filler_read(const fam_filler *filler, fam_filler_place *place, int32_t *ids, int64_t count);

/* An integer in [0, below). */
static inline int64_t fam_draw_below(fam_random *random, int64_t below)
{
    return (int64_t)(fam_random_uniform(random) * (double)below);
}

#endif
