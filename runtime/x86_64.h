/* x86_64.h - what the runtime must know of x86-64: system calls and relocation types.
   SPDX-License-Identifier: 0BSD */
#ifndef FP_RUNTIME_X86_64_H
#define FP_RUNTIME_X86_64_H

#include <elf.h>

#define RELOC_RELATIVE  R_X86_64_RELATIVE
#define RELOC_WORD      R_X86_64_64
#define RELOC_SLOT      R_X86_64_GLOB_DAT
#define RELOC_JUMP_SLOT R_X86_64_JUMP_SLOT

enum {
	CALL_READ = 0,
	CALL_WRITE = 1,
	CALL_CLOSE = 3,
	CALL_MMAP = 9,
	CALL_MUNMAP = 11,
	CALL_PREAD = 17,
	CALL_MREMAP = 25,
	CALL_MADVISE = 28,
	CALL_EXIT = 231,
	CALL_CLOCK_GETTIME = 228,
	CALL_OPENAT = 257,
};

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif
