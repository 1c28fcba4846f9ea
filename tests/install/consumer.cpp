/*
 * tests/install/consumer.cpp: the same from C++: the headers must compile there, and the names link unmangled.
 */
#include <fam/fam.h>
#include <fam/tokenizer.h>

#include <iostream>
#include <string>

int main()
{
    fam_error error;
    fam_sampling sampling;
    fam_sampling_init(&sampling);
    fam_tokenizer *tokenizer = nullptr;
    if (sampling.size != sizeof sampling || std::string(fam_status_text(FAM_OK)) != "ok")
        return 1;
    if (fam_tokenizer_open(&tokenizer, "/nonexistent/model.gguf", &error) != FAM_STATUS_NOT_FOUND) {
        std::cerr << "a missing model gave: " << error.message << "\n";
        return 1;
    }
    fam_tokenizer_free(tokenizer);
    std::cout << "ok\n";
    return 0;
}
