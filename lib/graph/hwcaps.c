/* hwcaps.c - what the processor adds to the search: glibc-hwcaps subdirectories and $PLATFORM.

   Everything x86-64 about the search, except ld.so.cache's entry flags, is in this file.  The
   answer is for the processor of this machine; on another one ld.so may load other files, and
   then what was prelinked does not match. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>

enum vendor { VENDOR_OTHER, VENDOR_INTEL, VENDOR_AMD, VENDOR_ZHAOXIN };

/* Registers of the leaves in which the features below lie. */
struct leaves {
	unsigned eax_1, ecx_1, edx_1, ebx_7, ecx_extended;
	enum vendor vendor;
	bool avx_state, avx512_state; /* the system saves the registers */
};

/* glibc sysdeps/x86/cpu-features.c:init_cpu_features. */
static enum vendor find_vendor(unsigned ebx, unsigned ecx, unsigned edx)
{
	unsigned words[] = { ebx, edx, ecx };
	static const struct {
		char text[13];
		enum vendor vendor;
	} vendors[] = {
		{ "GenuineIntel", VENDOR_INTEL },   { "AuthenticAMD", VENDOR_AMD },
		{ "HygonGenuine", VENDOR_AMD },     { "CentaurHauls", VENDOR_ZHAOXIN },
		{ "  Shanghai  ", VENDOR_ZHAOXIN },
	};

	for (size_t i = 0; i < sizeof(vendors) / sizeof(vendors[0]); i++)
		if (memcmp(words, vendors[i].text, sizeof(words)) == 0)
			return vendors[i].vendor;
	return VENDOR_OTHER;
}

static bool bits(unsigned value, unsigned mask)
{
	return (value & mask) == mask;
}

/* These Zhaoxin models have slow AVX, which glibc therefore takes as absent. */
static bool slow_avx(const struct leaves *leaves)
{
	unsigned family = (leaves->eax_1 >> 8) & 15;
	unsigned model = ((leaves->eax_1 >> 4) & 15) + ((leaves->eax_1 >> 12) & 0xf0);

	if (leaves->vendor != VENDOR_ZHAOXIN)
		return false;
	return (family == 6 && (model == 0xf || model == 0x19)) ||
	       (family == 7 && (model == 0x1b || model == 0x3b));
}

static struct leaves read_leaves(void)
{
	unsigned max, eax, ebx, ecx, edx;
	struct leaves leaves = { 0 };

	if (!__get_cpuid(0, &max, &ebx, &ecx, &edx))
		return leaves;
	leaves.vendor = find_vendor(ebx, ecx, edx);
	__get_cpuid(1, &leaves.eax_1, &ebx, &leaves.ecx_1, &leaves.edx_1);
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		leaves.ebx_7 = ebx;
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		leaves.ecx_extended = ecx;
	if (leaves.ecx_1 & bit_OSXSAVE) {
		__asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
		leaves.avx_state = bits(eax, 0x6);
		leaves.avx512_state = bits(eax, 0xe6);
	}
	return leaves;
}

/* glibc sysdeps/x86/get-isa-level.h:get_isa_level, with BMI1 and BMI2 (b80f16adbd), which
   every release branch since 2.36 has. */
static unsigned isa_level(const struct leaves *l)
{
	bool avx = l->avx_state && !slow_avx(l);
	unsigned isa = 0;

	if (!bits(l->edx_1,
		  bit_CMOV | bit_CMPXCHG8B | 1u | bit_FXSAVE | bit_MMX | bit_SSE | bit_SSE2))
		return isa;
	isa |= 1;
	if (!bits(l->ecx_1,
		  bit_CMPXCHG16B | bit_POPCNT | bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2) ||
	    !bits(l->ecx_extended, bit_LAHF_LM))
		return isa;
	isa |= 2;
	if (!avx || !bits(l->ecx_1, bit_AVX | bit_F16C | bit_FMA | bit_MOVBE) ||
	    !bits(l->ebx_7, bit_AVX2 | bit_BMI | bit_BMI2) || !bits(l->ecx_extended, bit_LZCNT))
		return isa;
	isa |= 4;
	if (l->avx512_state &&
	    bits(l->ebx_7, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL))
		isa |= 8;
	return isa;
}

/* glibc sysdeps/x86/cpu-features.c: only Intel processors have a platform of their own. */
static void find_platform(struct fp_cpu *cpu, const struct leaves *l)
{
	bool avx512 = l->avx_state && l->avx512_state && bits(l->ebx_7, bit_AVX512F | bit_AVX512CD);

	if (l->vendor != VENDOR_INTEL)
		return;
	if (avx512 && bits(l->ebx_7, bit_AVX512ER | bit_AVX512PF))
		cpu->platform = "xeon_phi";
	else if (l->avx_state && bits(l->ecx_1, bit_AVX | bit_FMA | bit_MOVBE | bit_POPCNT) &&
		 bits(l->ebx_7, bit_AVX2 | bit_BMI | bit_BMI2) && bits(l->ecx_extended, bit_LZCNT))
		cpu->platform = "haswell";
	cpu->avx512_1 = avx512 && !(l->ebx_7 & bit_AVX512ER) &&
			bits(l->ebx_7, bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
}
#endif

struct fp_cpu fp_cpu_probe(void)
{
	/* The kernel's AT_PLATFORM, where glibc has nothing better. */
	struct fp_cpu cpu = { .platform = "x86_64" };

#ifdef __x86_64__
	struct leaves leaves = read_leaves();

	/* Of other makers glibc reads no features. */
	if (leaves.vendor != VENDOR_OTHER) {
		cpu.isa = isa_level(&leaves);
		find_platform(&cpu, &leaves);
	}
#endif
	return cpu;
}

/* The names of the old scheme: every subset of "tls", the platform and the capabilities is a path,
   and larger sets, with the names on the left weighing more, come first (glibc 2.36
   elf/dl-hwcaps.c:_dl_important_hwcaps). */
static int legacy_subdirectories(const struct fp_cpu *cpu, struct fp_arena *arena,
				 struct fp_dirs *dirs)
{
	const char *names[4];
	unsigned count = 0;

	names[count++] = "x86_64";
	if (cpu->avx512_1)
		names[count++] = "avx512_1";
	names[count++] = cpu->platform;
	names[count++] = "tls";
	for (unsigned set = (1u << count) - 1; set; set--) {
		char path[64];
		int length = 0;

		for (unsigned i = count; i-- > 0;)
			if (set & 1u << i)
				length += snprintf(path + length, sizeof(path) - (size_t)length,
						   "%s/", names[i]);
		dirs->names[dirs->count] = fp_arena_string(arena, path);
		if (!dirs->names[dirs->count++])
			return -ENOMEM;
	}
	return 0;
}

/* glibc elf/dl-hwcaps.c:_dl_important_hwcaps, sysdeps/x86_64/dl-hwcaps-subdirs.c. */
int fp_cpu_subdirectories(const struct fp_cpu *cpu, unsigned glibc_minor, struct fp_arena *arena,
			  struct fp_dirs *ret_dirs)
{
	static const char *const levels[] = { "glibc-hwcaps/x86-64-v4/", "glibc-hwcaps/x86-64-v3/",
					      "glibc-hwcaps/x86-64-v2/" };
	struct fp_dirs dirs = { 0 };

	dirs.names = fp_arena_array(arena, 3 + 16 + 1, sizeof(*dirs.names));
	if (!dirs.names)
		return -ENOMEM;
	for (unsigned i = 0; i < 3; i++)
		if (cpu->isa & 8u >> i)
			dirs.names[dirs.count++] = levels[i];
	if (glibc_minor < 37 && legacy_subdirectories(cpu, arena, &dirs) != 0)
		return -ENOMEM;
	dirs.names[dirs.count++] = "";
	*ret_dirs = dirs;
	return 0;
}
