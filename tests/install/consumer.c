/*
 * tests/install/consumer.c: a program that knows libfam only as installed: its headers, its library, fam.pc.
 * Prints "ok" after a call that succeeds and a call that fails as documented.
 */
#include <fam/fam.h>
#include <fam/tokenizer.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    fam_error error;
    fam_tokenizer *tokenizer = NULL;
    if (strcmp(fam_status_text(FAM_OK), "ok") != 0)
        return 1;
    if (fam_tokenizer_open(&tokenizer, "/nonexistent/model.gguf", &error) != FAM_STATUS_NOT_FOUND) {
        fprintf(stderr, "a missing model gave: %s\n", error.message);
        return 1;
    }
    fam_tokenizer_free(tokenizer);
    puts("ok");
    return 0;
}
