/* rt.h - shared by the files of the runtime.
   SPDX-License-Identifier: 0BSD */
#ifndef FP_RT_H
#define FP_RT_H

#include <link.h>
#include <stddef.h>

#include "../include/fastprelink/abi.h"
#include "../include/fastprelink/identity.h"
#if defined __x86_64__
#include "x86_64.h"
#else
#error "the runtime does not know this machine"
#endif

/* One start of a program. */
struct start {
	const uint64_t *auxv;
	char **envp;
	const void *stub;
	const Elf64_Phdr *phdr;
	uint64_t phnum, loader_base, vdso, secure;
	uint64_t program_bias;
	const Elf64_Dyn *dynamic; /* the program's */
	const struct fp_table *table;
	uint64_t table_size;
	int debug, required, bind_now;
	const char *differing; /* name of the object that differs, for the message */
};

/* The recorded objects, as many as TABLE counts. */
static inline const struct fp_table_object *table_objects(const struct fp_table *table)
{
	return (const struct fp_table_object *)((const char *)table + table->objects);
}

/* check.c: whether the program may be accelerated.  MAPS has room for the recorded objects and is filled
   with their link maps on success. */
int table_is_known(const struct fp_table *table, uint64_t size);
enum fp_decline check(struct start *start, const struct link_map **maps);

/* pages.c: prepares large ranges that are about to be written; a failure only costs time. */
void prepare_pages(const struct fp_table *table, const struct link_map *const *maps);

/* fill.c: fills the words and leaves ld.so the rest. */
void accelerate(const struct fp_table *table, const struct link_map *const *maps, int lazy);

/* report.c: what FASTPRELINK_DEBUG and FASTPRELINK=require show; the latter ends the process when DECLINE is not zero. */
uint64_t microseconds(void);
void report(const struct start *start, enum fp_decline decline, uint64_t began);

#endif
