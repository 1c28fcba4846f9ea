/*
 * What llama.cpp makes of a model: the ids of a text, and the greedy ids after them, for check_export.py.
 *
 *   llama_greedy MODEL.gguf TEXT COUNT    prints two lines of ids
 *
 * Built against a llama.cpp tree (SOURCE) and its static libraries (BUILD), by a C++ linker:
 *   cc -c llama_greedy.c -ISOURCE/include -ISOURCE/ggml/include
 *   c++ -o llama_greedy llama_greedy.o BUILD/src/libllama.a BUILD/ggml/src/libggml*.a -fopenmp -lpthread -ldl -lm
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

static void quiet(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN)
        fputs(text, stderr);
}

static int largest(const float *logits, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void print_ids(const llama_token *ids, int count)
{
    for (int i = 0; i < count; i++)
        printf(i ? " %d" : "%d", (int)ids[i]);
    puts("");
}

int main(int argc, char **argv)
{
    enum { ROOM = 4096 };
    static llama_token ids[ROOM];
    if (argc != 4)
        return 2;
    llama_log_set(quiet, NULL);
    struct llama_model_params model_params = llama_model_default_params();
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = ROOM;
    params.n_threads = params.n_threads_batch = 2;
    params.type_k = params.type_v = GGML_TYPE_F32;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    if (!context)
        return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    int wanted = atoi(argv[3]), vocab_size = llama_vocab_n_tokens(vocab);
    int count = llama_tokenize(vocab, argv[2], (int)strlen(argv[2]), ids, ROOM - wanted, false, true);
    if (count < 1)
        return 1;
    print_ids(ids, count);
    for (int done = 0, from = 0; done < wanted; done++) {
        if (llama_decode(context, llama_batch_get_one(ids + from, count - from)) != 0)
            return 1;
        from = count;
        ids[count++] = largest(llama_get_logits_ith(context, -1), vocab_size);
    }
    print_ids(ids + count - wanted, wanted);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
