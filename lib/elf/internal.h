/* internal.h - shared by the files of lib/elf only. */
#ifndef FP_ELF_INTERNAL_H
#define FP_ELF_INTERNAL_H

#include "object.h"

/* Reads the dynamic section of OBJECT, whose segments are checked, and fills everything from strtab to has_debug. */
int fp_object_read_dynamic(struct fp_object *object, struct fp_why *why);

/* Fills versions from DT_VERDEF and DT_VERNEED (addresses and counts; 0 where absent). */
int fp_object_read_versions(struct fp_object *object, fp_addr verdef, uint64_t verdef_count,
			    fp_addr verneed, uint64_t verneed_count, struct fp_why *why);

/* Fills gnu_hash and sysv_hash (addresses; 0 where absent) and raises symbol_count to what they reach. */
int fp_object_read_hashes(struct fp_object *object, fp_addr gnu_hash, fp_addr sysv_hash,
			  struct fp_why *why);

/* Checks every relocation and raises symbol_count to what they name; checks symbols and versym last. */
int fp_object_check_relocations(struct fp_object *object, struct fp_why *why);
int fp_object_check_symbols(struct fp_object *object, struct fp_why *why);

/* As fp_object_at, and ADDR is a multiple of ALIGNMENT. */
const void *fp_object_table(const struct fp_object *object, fp_addr addr, uint64_t count,
			    size_t element_size, size_t alignment);

/* True when [ADDR, ADDR + SIZE) lies in the memory of one PT_LOAD. */
bool fp_object_covers(const struct fp_object *object, fp_addr addr, uint64_t size);

#endif
