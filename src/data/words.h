/*
 * data/words.h: English words and sentence templates for the built-in text, and what needles are
 * about (nouns, and "adjective-noun" where more are needed).
 */
#ifndef FAM_DATA_WORDS_H
#define FAM_DATA_WORDS_H

extern const char *const fam_words_nouns[], *const fam_words_adjectives[], *const fam_words_verbs[];
extern const char *const fam_words_adverbs[], *const fam_words_openers[], *const fam_words_articles[];
extern const char *const fam_words_leads[], *const fam_words_prepositions[], *const fam_words_conjunctions[];
extern const int fam_words_noun_count, fam_words_adjective_count, fam_words_verb_count, fam_words_adverb_count;
extern const int fam_words_opener_count, fam_words_article_count, fam_words_lead_count;
extern const int fam_words_preposition_count, fam_words_conjunction_count;

/* Letters are slots: T and t articles (first word, others), A adjective, N noun, V verb, D adverb, P preposition,
 * C conjunction, L what stands before a comma; ',' and '.' are themselves. */
extern const char *const fam_words_templates[];
extern const int fam_words_template_count;

#endif
