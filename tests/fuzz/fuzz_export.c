/*
 * Fuzz target: a GGUF model, exported to both formats. What is written must open again; what is refused leaves nothing.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export/private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], model[80], out[80];

/* In memory where the system has such a place: each input is some hundred system calls. */
static void make_folder(void)
{
    if (*folder)
        return;
    snprintf(folder, sizeof folder, "%s/fam-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    snprintf(model, sizeof model, "%s/m", folder);
    snprintf(out, sizeof out, "%s/o", folder);
}

static void remove_out(void)
{
    DIR *list = opendir(out);
    for (struct dirent *entry; list && (entry = readdir(list));)
        unlinkat(dirfd(list), entry->d_name, 0);
    if (list)
        closedir(list);
    remove(out);
}

static void export_to(int format)
{
    fam_error error = {FAM_OK, ""};
    fam_export_fault fault = {0};
    fam_export_options options;
    fam_memory memory;
    fam_checkpoint *checkpoint = NULL;
    fam_export_options_init(&options);
    options.out = out;
    options.format = format;
    fam_status status = fam_export_faulty(model, &options, NULL, &fault, &error);
    if (fault.bytes_left != 0 || (status != FAM_OK) != (access(out, F_OK) != 0))
        abort();
    if (status != FAM_OK)
        return;
    fam_memory_init(&memory);
    if (fam_checkpoint_open(&checkpoint, &memory, out, NULL, &error) != FAM_OK) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    fam_checkpoint_free(checkpoint);
    remove_out();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_folder();
    int fd = open(model, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd) != 0)
        abort();
    export_to(FAM_EXPORT_HF);
    export_to(FAM_EXPORT_GGUF);
    return 0;
}
