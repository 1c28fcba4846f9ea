/*
 * data/task_private.h: what a task is made of, for task.c and episode.c.
 */
#ifndef FAM_DATA_TASK_PRIVATE_H
#define FAM_DATA_TASK_PRIVATE_H

#include "data/filler.h"
#include "data/task.h"

enum { FAM_TASK_DIGITS_MAX = 18, FAM_TASK_KEYS_MAX = 1 << 16, FAM_TASK_TEXT_MAX = 512 /* bytes of one saying */ };

/* How a task says things. In a text %K is the key and %V the value. */
typedef struct fam_wording {
    const char *head;       /* at the beginning, after BOS if the tokenizer adds one */
    const char *saying;     /* of a value */
    const char *question;   /* for a value, with the answer at its end */
    const char *next;       /* between an answer and the next question */
    bool value_after_blank; /* %V begins with a blank */
    int sayings;            /* of each key; the last one counts */
    bool between_sentences; /* a saying waits for a sentence of the filler to end */
} fam_wording;

/* The keys a task may draw: words of one kind, number 0 to count - 1. */
typedef struct fam_key_space {
    int64_t count; /* 0: the task has no words for keys */
    int letters;   /* words of so many letters; 0: nouns, with an adjective before if `adjectives` */
    bool adjectives;
} fam_key_space;

struct fam_task {
    fam_memory *memory;
    const fam_tokenizer *tokenizer;
    const fam_wording *wording;
    int64_t digits, keys, asked, tokens_min;
    fam_key_space space;
    fam_id_list head;
    fam_filler filler;
};

/* Writes %K ("" where there is none) or %V into `out`, with the blank before it; returns the length. */
size_t fam_task_write_key(const fam_task *task, int64_t key, char *out);
size_t fam_task_write_value(const fam_task *task, int64_t value, char *out);
/* Writes a text of the wording; returns its length. */
size_t fam_task_write(const char *text, const char *key, const char *value, char out[FAM_TASK_TEXT_MAX]);

#endif
