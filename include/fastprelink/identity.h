/* identity.h - tells one build of an object from another by what is mapped of it, without system calls.
   SPDX-License-Identifier: 0BSD */
#ifndef FASTPRELINK_IDENTITY_H
#define FASTPRELINK_IDENTITY_H

#include <elf.h>

#include "abi.h"

/* True when the value of dynamic tag TAG is the same in memory as in the file.  ld.so relocates in place only the addresses
   of the tables that it searches (glibc elf/get-dynamic-info.h); functions, arrays and version tables it does not. */
static inline int fp_tag_is_constant(int64_t tag)
{
	switch (tag) {
	case DT_NEEDED:
	case DT_SONAME:
	case DT_RPATH:
	case DT_RUNPATH:
	case DT_STRSZ:
	case DT_RELASZ:
	case DT_PLTRELSZ:
	case DT_RELRSZ:
	case DT_FLAGS:
	case DT_INIT:
	case DT_FINI:
	case DT_INIT_ARRAY:
	case DT_FINI_ARRAY:
	case DT_PREINIT_ARRAY:
	case DT_VERDEF:
	case DT_VERNEED:
	case DT_INIT_ARRAYSZ:
	case DT_FINI_ARRAYSZ:
	case DT_RELACOUNT:
	case DT_FLAGS_1:
	case DT_VERDEFNUM:
	case DT_VERNEEDNUM:
	case DT_GNU_PRELINKED:
	case DT_CHECKSUM:
		return 1;
	default:
		return 0;
	}
}

/* The shape of a dynamic section with COUNT entries before DT_NULL: every tag, and the values that stay as they are.
   A tool that edits the file in place changes it. */
static inline uint64_t fp_shape(const Elf64_Dyn *dynamic, uint32_t count)
{
	uint64_t hash = count;

	for (uint32_t i = 0; i < count; i++) {
		hash = fp_mix(hash, (uint64_t)dynamic[i].d_tag);
		if (fp_tag_is_constant(dynamic[i].d_tag))
			hash = fp_mix(hash, dynamic[i].d_un.d_val);
	}
	return hash;
}

/* The identity of an object: of the SIZE bytes of its build id or, without one, of its first segment but for the ELF
   header.  Four lanes, as fp_checksum has, because a segment may be large. */
static inline uint64_t fp_identity(const void *bytes, uint32_t size)
{
	const unsigned char *at = bytes;
	uint64_t lanes[4] = { size, 2, 3, 4 }, word;

	for (; size >= 32; size -= 32)
		for (unsigned lane = 0; lane < 4; lane++, at += 8) {
			__builtin_memcpy(&word, at, 8);
			lanes[lane] = fp_mix(lanes[lane], word);
		}
	for (; size >= 8; size -= 8, at += 8) {
		__builtin_memcpy(&word, at, 8);
		lanes[0] = fp_mix(lanes[0], word);
	}
	for (word = 0; size; size--)
		word = word << 8 | at[size - 1];
	lanes[0] = fp_mix(lanes[0], word);
	return fp_mix(fp_mix(fp_mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
}

#endif
