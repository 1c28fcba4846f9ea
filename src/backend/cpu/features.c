/*
 * backend/cpu/features.c: feature bits by cpuid, the operating system's part by xgetbv, AMX's permission by arch_prctl.
 */
#include "backend/cpu/features.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum {
    ARCH_REQ_XCOMP_PERM = 0x1023,
    XFEATURE_XTILEDATA = 18,
    XCR0_AVX = 0x6,     /* SSE and AVX state */
    XCR0_AVX512 = 0xe6, /* and opmask, upper halves, upper registers */
    XCR0_AMX = 0x60000  /* tile configuration and data */
};

typedef struct cpuid_words {
    unsigned a, b, c, d;
} cpuid_words;

static cpuid_words ask(unsigned leaf, unsigned subleaf)
{
    cpuid_words w = {0, 0, 0, 0};
    if (!__get_cpuid_count(leaf, subleaf, &w.a, &w.b, &w.c, &w.d))
        memset(&w, 0, sizeof w);
    return w;
}

static bool bit(unsigned word, int number)
{
    return word >> number & 1;
}

/* Which register state the operating system saves. */
static unsigned saved_state(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

fam_cpu_isa fam_cpu_best_isa(void)
{
    cpuid_words basic = ask(1, 0), extended = ask(7, 0), more = ask(7, 1);
    if (!bit(basic.c, 27)) /* OSXSAVE */
        return FAM_CPU_PORTABLE;
    unsigned state = saved_state();
    bool avx2 = bit(extended.b, 5) && bit(basic.c, 12) /* FMA */ && bit(basic.c, 29) /* F16C */;
    if (!avx2 || (state & XCR0_AVX) != XCR0_AVX)
        return FAM_CPU_PORTABLE;
    bool avx512 = bit(extended.b, 16) /* F */ && bit(extended.b, 17) /* DQ */ && bit(extended.b, 30) /* BW */ &&
                  bit(extended.b, 31) /* VL */;
    if (!avx512 || (state & XCR0_AVX512) != XCR0_AVX512)
        return FAM_CPU_AVX2;
    if (!bit(extended.c, 11)) /* AVX512_VNNI */
        return FAM_CPU_AVX512;
    if (!bit(more.a, 5)) /* AVX512_BF16 */
        return FAM_CPU_AVX512VNNI;
    bool amx = bit(extended.d, 22) /* BF16 */ && bit(extended.d, 24) /* TILE */ && bit(extended.d, 25) /* INT8 */;
    if (!amx || (state & XCR0_AMX) != XCR0_AMX || syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0)
        return FAM_CPU_AVX512BF16;
    return FAM_CPU_AMX;
}

#else

fam_cpu_isa fam_cpu_best_isa(void)
{
    return FAM_CPU_PORTABLE;
}

#endif

static const char *const isa_names[FAM_CPU_ISA_COUNT] = {"portable",   "avx2",       "avx512",
                                                         "avx512vnni", "avx512bf16", "amx"};

const char *fam_cpu_isa_name(fam_cpu_isa isa)
{
    return (unsigned)isa < FAM_CPU_ISA_COUNT ? isa_names[isa] : "unknown";
}

bool fam_cpu_isa_from_name(fam_cpu_isa *out, const char *name)
{
    for (int i = 0; i < FAM_CPU_ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (fam_cpu_isa)i;
            return true;
        }
    }
    return false;
}
