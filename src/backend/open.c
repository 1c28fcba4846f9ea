/*
 * backend/open.c: see open.h. The one file that knows all devices.
 */
#include "backend/open.h"

#include <sched.h>
#include <string.h>

#include "backend/cpu/cpu.h"

static int available_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > FAM_POOL_THREADS_MAX ? FAM_POOL_THREADS_MAX : count;
}

fam_status fam_backend_open(fam_backend **out, fam_backend_choice *choice, fam_memory *memory,
                            const fam_backend_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_cpu_isa best = fam_cpu_best_isa(), isa = best;
    FAM_FAIL_IF(options->device && strcmp(options->device, "cpu") != 0, FAM_STATUS_UNSUPPORTED,
                "device: found %s, need cpu (this build has no other)", options->device);
    FAM_FAIL_IF(options->isa && !fam_cpu_isa_from_name(&isa, options->isa), FAM_STATUS_INVALID_ARGUMENT,
                "isa: found %s, need portable, avx2, avx512, avx512vnni, avx512bf16 or amx", options->isa);
    const fam_dtype natural = best >= FAM_CPU_AVX512BF16 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
    const fam_cpu_options cpu = {
        .threads = options->threads == FAM_AUTO ? available_processors() : options->threads,
        .dtype = options->dtype == FAM_AUTO ? natural : (fam_dtype)options->dtype,
        .isa = isa};
    *choice = (fam_backend_choice){.isa = fam_cpu_isa_name(isa), .threads = cpu.threads};
    FAM_TRY(fam_cpu_backend_create(out, memory, &cpu, error));
done:
    return status;
}
