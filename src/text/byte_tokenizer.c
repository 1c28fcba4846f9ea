/*
 * text/byte_tokenizer.c: see byte_tokenizer.h. What is written here tokenizer_json.c must read.
 */
#include "text/byte_tokenizer.h"

#include "base/file.h"
#include "format/json.h"
#include "text/vocabulary.h"

#define END_TEXT "<|endoftext|>"

static json_t *make_vocabulary(void)
{
    json_t *vocab = json_object();
    for (int byte = 0; byte < 256; byte++) {
        char text[3] = {0};
        fam_byte_level_encode((uint8_t)byte, text);
        if (json_object_set_new(vocab, text, json_integer(byte)) != 0) {
            json_decref(vocab);
            return NULL;
        }
    }
    return vocab;
}

static json_t *make_tokenizer(void)
{
    json_t *vocab = make_vocabulary();
    if (!vocab)
        return NULL;
    /* Bytes are never joined, so that words make no difference to ids; but an encoder holds a word back until it ends,
     * and without words the whole text. */
    return json_pack("{s:s, s:n, s:n, s:[{s:i, s:s, s:b, s:b, s:b, s:b, s:b}], s:n, s:{s:s, s:b, s:b, s:b}, s:n,"
                     " s:{s:s, s:b, s:b, s:b}, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:[]}}",
                     "version", "1.0", "truncation", "padding",
                     "added_tokens", "id", FAM_BYTE_TOKENIZER_END, "content", END_TEXT, "single_word", 0, "lstrip", 0,
                     "rstrip", 0, "normalized", 0, "special", 1,
                     "normalizer",
                     "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                     "post_processor",
                     "decoder", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                     "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges");
}

static fam_status write_json(const char *directory, const char *name, json_t *value, fam_memory *memory,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    FAM_FAIL_IF(!value, FAM_STATUS_OUT_OF_MEMORY, "%s: %s: out of memory", directory, name);
    FAM_TRY_ALLOC(path, fam_path_join(memory, directory, name), directory);
    FAM_TRY(fam_json_write(path, memory, value, error));
done:
    fam_free(memory, path);
    json_decref(value);
    return status;
}

fam_status fam_byte_tokenizer_write(const char *directory, fam_memory *memory, fam_error *error)
{
    fam_status status = write_json(directory, "tokenizer.json", make_tokenizer(), memory, error);
    if (status != FAM_OK)
        return status;
    json_t *config = json_pack("{s:s, s:n, s:s, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                               "eos_token", END_TEXT, "add_bos_token", 0, "clean_up_tokenization_spaces", 0);
    return write_json(directory, "tokenizer_config.json", config, memory, error);
}
