/* rt.c - the runtime: checks that what ld.so mapped is what was prelinked, then fills every word the
   table lists and leaves ld.so only the rest.
   SPDX-License-Identifier: 0BSD

   It runs once, called by the stub while ld.so relocates the carrier, and is unmapped when it returns.  At that
   point every object of the program is mapped and writable; those that depend on the carrier are not yet relocated.
   Whatever is not exactly as recorded makes it return before it has written anything: then ld.so does its usual work.

   The order of the checks is the order of their cost; but the records of the objects are followed only after the
   checksum of the table's head, and the rest only after that of the whole table. */
#include "rt.h"

static void read_auxv(struct start *start)
{
	for (const uint64_t *entry = start->auxv; entry[0] != AT_NULL; entry += 2)
		switch (entry[0]) {
		case AT_PHDR:
			start->phdr = (const Elf64_Phdr *)entry[1];
			break;
		case AT_PHNUM:
			start->phnum = entry[1];
			break;
		case AT_BASE:
			start->loader_base = entry[1];
			break;
		case AT_SECURE:
			start->secure = entry[1];
			break;
		case AT_SYSINFO_EHDR:
			start->vdso = entry[1];
			break;
		default:
			break;
		}
}

static void read_program_headers(struct start *start)
{
	const Elf64_Phdr *end = start->phdr + start->phnum;

	for (const Elf64_Phdr *p = start->phdr; p < end; p++)
		if (p->p_type == PT_PHDR)
			start->program_bias = (uint64_t)start->phdr - p->p_vaddr;
	for (const Elf64_Phdr *p = start->phdr; p < end; p++) {
		if (p->p_type == PT_DYNAMIC)
			start->dynamic = (const Elf64_Dyn *)(start->program_bias + p->p_vaddr);
		if (p->p_type == PT_LOAD && p->p_flags == FP_SEGMENT_FLAGS) {
			start->table = (const struct fp_table *)(start->program_bias + p->p_vaddr);
			start->table_size = p->p_memsz;
		}
	}
}

/* True when TEXT starts with NAME; *RET_REST is what follows then. */
static int starts_with(const char *text, const char *name, const char **ret_rest)
{
	while (*name)
		if (*text++ != *name++)
			return 0;
	*ret_rest = text;
	return 1;
}

/* Reads our own variables; a decline for those that change what ld.so resolves or reports (glibc
   elf/rtld.c:process_envvars).  The stub knows them by their first eight letters, and so do we. */
static enum fp_decline read_environment(struct start *start)
{
	static const char changing[][16] = { "AUDIT", "BIND_NOT=", "DEBUG",
					     "DYNAM", "PROFI",     "TRACE" };
	enum fp_decline decline = FP_ACCELERATED;
	const char *rest;

	for (char **entry = start->envp; *entry; entry++) {
		if (starts_with(*entry, "LD_", &rest)) {
			const char *value;

			if (starts_with(rest, "BIND_NOW=", &value))
				start->bind_now |= *value != '\0';
			for (unsigned i = 0; i < sizeof(changing) / sizeof(changing[0]); i++)
				if (starts_with(rest, changing[i], &rest))
					decline = FP_DECLINE_ENVIRONMENT;
		} else if (starts_with(*entry, "GLIBC_TUNABLES=", &rest)) {
			decline = FP_DECLINE_ENVIRONMENT;
		} else if (starts_with(*entry, "FASTPRELINK", &rest)) {
			if (starts_with(rest, "_DEBUG=", &rest))
				start->debug = *rest && *rest != '0';
			else if (starts_with(rest, "=0", &rest) && !*rest)
				decline = FP_DECLINE_DISABLED;
			else if (starts_with(rest, "=require", &rest) && !*rest)
				start->required = 1;
		}
	}
	return decline;
}

/* Called by the stub; see fp_runtime_entry. */
void fp_runtime(const uint64_t *auxv, char **envp, const void *stub)
{
	struct start start = { .auxv = auxv, .envp = envp, .stub = stub };
	enum fp_decline decline;
	uint64_t began = 0;

	read_auxv(&start);
	read_program_headers(&start);
	if (!start.table)
		return;
	decline = read_environment(&start);
	if (start.debug)
		began = microseconds();
	if (!decline && !table_is_known(start.table, start.table_size))
		decline = FP_DECLINE_FORMAT;
	if (!decline) {
		const struct link_map *maps[start.table->object_count];

		decline = check(&start, maps);
		if (!decline)
			accelerate(start.table, maps, !start.bind_now);
	}
	/* A second carrier, in a namespace of its own, finds nothing to do; that is no decline of the start. */
	if (decline == FP_DECLINE_NOT_STARTING)
		return;
	if (start.debug || (start.required && decline))
		report(&start, decline, began);
}
