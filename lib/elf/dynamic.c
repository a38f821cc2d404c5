/* dynamic.c - reads the dynamic section and finds the tables it names. */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* The tags that are read once; the last occurrence counts (glibc elf/get-dynamic-info.h:elf_get_dynamic_info). */
enum tag {
	TAG_STRTAB,
	TAG_STRSZ,
	TAG_SYMTAB,
	TAG_SYMENT,
	TAG_HASH,
	TAG_GNU_HASH,
	TAG_VERSYM,
	TAG_VERDEF,
	TAG_VERDEFNUM,
	TAG_VERNEED,
	TAG_VERNEEDNUM,
	TAG_RELA,
	TAG_RELASZ,
	TAG_RELAENT,
	TAG_RELACOUNT,
	TAG_REL,
	TAG_JMPREL,
	TAG_PLTREL,
	TAG_PLTRELSZ,
	TAG_RELR,
	TAG_RELRSZ,
	TAG_SONAME,
	TAG_RPATH,
	TAG_RUNPATH,
	TAG_COUNT
};

static const int64_t tag_numbers[TAG_COUNT] = {
	[TAG_STRTAB] = DT_STRTAB,
	[TAG_STRSZ] = DT_STRSZ,
	[TAG_SYMTAB] = DT_SYMTAB,
	[TAG_SYMENT] = DT_SYMENT,
	[TAG_HASH] = DT_HASH,
	[TAG_GNU_HASH] = DT_GNU_HASH,
	[TAG_VERSYM] = DT_VERSYM,
	[TAG_VERDEF] = DT_VERDEF,
	[TAG_VERDEFNUM] = DT_VERDEFNUM,
	[TAG_VERNEED] = DT_VERNEED,
	[TAG_VERNEEDNUM] = DT_VERNEEDNUM,
	[TAG_RELA] = DT_RELA,
	[TAG_RELASZ] = DT_RELASZ,
	[TAG_RELAENT] = DT_RELAENT,
	[TAG_RELACOUNT] = DT_RELACOUNT,
	[TAG_REL] = DT_REL,
	[TAG_JMPREL] = DT_JMPREL,
	[TAG_PLTREL] = DT_PLTREL,
	[TAG_PLTRELSZ] = DT_PLTRELSZ,
	[TAG_RELR] = DT_RELR,
	[TAG_RELRSZ] = DT_RELRSZ,
	[TAG_SONAME] = DT_SONAME,
	[TAG_RPATH] = DT_RPATH,
	[TAG_RUNPATH] = DT_RUNPATH,
};

struct tags {
	uint64_t value[TAG_COUNT];
	bool present[TAG_COUNT];
};

static void collect(struct fp_object *object, struct tags *tags)
{
	for (size_t i = 0; i < object->dynamic_count; i++) {
		const Elf64_Dyn *d = &object->dynamic[i];

		switch (d->d_tag) {
		case DT_NEEDED:
			object->needed_count++;
			continue;
		case DT_SYMBOLIC:
			object->flags |= DF_SYMBOLIC;
			continue;
		case DT_TEXTREL:
			object->flags |= DF_TEXTREL;
			continue;
		case DT_BIND_NOW:
			object->flags |= DF_BIND_NOW;
			continue;
		case DT_FLAGS:
			object->flags |= d->d_un.d_val;
			continue;
		case DT_FLAGS_1:
			object->flags_1 |= d->d_un.d_val;
			continue;
		case DT_AUDIT:
		case DT_DEPAUDIT:
			object->has_audit = true;
			continue;
		case DT_DEBUG:
			object->has_debug = true;
			continue;
		default:
			break;
		}
		for (unsigned tag = 0; tag < TAG_COUNT; tag++)
			if (d->d_tag == tag_numbers[tag]) {
				tags->value[tag] = d->d_un.d_val;
				tags->present[tag] = true;
			}
	}
}

static int malformed(const struct fp_object *object, struct fp_why *why, const char *what)
{
	return fp_why_set(why, FP_REASON_MALFORMED, object->path, "%s", what);
}

static int find_dynamic(struct fp_object *object, struct fp_why *why)
{
	const Elf64_Phdr *found = NULL;
	size_t entries;

	for (unsigned i = 0; i < object->phnum; i++)
		if (object->phdr[i].p_type == PT_DYNAMIC)
			found = &object->phdr[i];
	if (!found)
		return 0;
	object->dynamic_addr = found->p_vaddr;
	object->dynamic_writable = (found->p_flags & PF_W) != 0;
	entries = found->p_filesz / sizeof(Elf64_Dyn);
	object->dynamic = fp_object_table(object, found->p_vaddr, entries, sizeof(Elf64_Dyn), 8);
	if (!object->dynamic)
		return malformed(object, why, "the dynamic section lies outside the segments");
	while (object->dynamic_count < entries &&
	       object->dynamic[object->dynamic_count].d_tag != DT_NULL)
		object->dynamic_count++;
	if (object->dynamic_count == entries)
		return malformed(object, why, "the dynamic section does not end");
	while (object->dynamic_count + 1 + object->dynamic_spare < entries &&
	       object->dynamic[object->dynamic_count + 1 + object->dynamic_spare].d_tag == DT_NULL)
		object->dynamic_spare++;
	return 0;
}

static int read_strings(struct fp_object *object, const struct tags *tags, struct fp_why *why)
{
	size_t needed = 0;

	if (!tags->present[TAG_STRTAB] || !tags->present[TAG_STRSZ] || !tags->value[TAG_STRSZ])
		return malformed(object, why, "no dynamic string table");
	object->strtab_size = tags->value[TAG_STRSZ];
	object->strtab = fp_object_at(object, tags->value[TAG_STRTAB], object->strtab_size);
	if (!object->strtab || object->strtab[object->strtab_size - 1] != '\0')
		return malformed(object, why, "bad dynamic string table");
	for (unsigned tag = TAG_SONAME; tag <= TAG_RUNPATH; tag++)
		if (tags->present[tag] && tags->value[tag] >= object->strtab_size)
			return malformed(object, why, "bad string in the dynamic section");
	if (tags->present[TAG_SONAME])
		object->soname = object->strtab + tags->value[TAG_SONAME];
	if (tags->present[TAG_RPATH])
		object->rpath = object->strtab + tags->value[TAG_RPATH];
	if (tags->present[TAG_RUNPATH])
		object->runpath = object->strtab + tags->value[TAG_RUNPATH];

	object->needed = fp_arena_array(&object->arena, object->needed_count + 1, sizeof(char *));
	if (!object->needed)
		return fp_why_system(why, ENOMEM, object->path, "read");
	for (size_t i = 0; i < object->dynamic_count; i++) {
		const Elf64_Dyn *d = &object->dynamic[i];

		if (d->d_tag != DT_NEEDED)
			continue;
		if (d->d_un.d_val >= object->strtab_size)
			return malformed(object, why, "bad string in the dynamic section");
		object->needed[needed++] = object->strtab + d->d_un.d_val;
	}
	return 0;
}

static int find_rela(struct fp_object *object, fp_addr addr, uint64_t size,
		     struct fp_rela_table *table, struct fp_why *why)
{
	if (!size)
		return 0;
	table->addr = addr;
	table->count = size / sizeof(Elf64_Rela);
	table->rela = fp_object_table(object, addr, table->count, sizeof(Elf64_Rela), 8);
	if (!table->rela || size % sizeof(Elf64_Rela) != 0)
		return malformed(object, why, "a relocation table lies outside the segments");
	return 0;
}

/* glibc elf/dynamic-link.h:_ELF_DYNAMIC_DO_RELOC: DT_JMPREL follows DT_RELA's range, or is its end, or stands apart. */
static int read_relocations(struct fp_object *object, const struct tags *tags, struct fp_why *why)
{
	uint64_t rela_size = tags->value[TAG_RELASZ], plt_size = tags->value[TAG_PLTRELSZ];
	fp_addr rela = tags->value[TAG_RELA], plt = tags->value[TAG_JMPREL];
	int error;

	if (tags->present[TAG_REL] ||
	    (tags->present[TAG_PLTREL] && tags->value[TAG_PLTREL] != DT_RELA) ||
	    (tags->present[TAG_RELAENT] && tags->value[TAG_RELAENT] != sizeof(Elf64_Rela)))
		return fp_why_set(why, FP_REASON_UNSUPPORTED, object->path,
				  "relocations without addends");
	if (!tags->present[TAG_RELA])
		rela = rela_size = 0;
	if (!tags->present[TAG_JMPREL] || !tags->present[TAG_PLTREL])
		plt = plt_size = 0;
	if (plt_size && rela_size && plt_size <= rela_size && rela + rela_size == plt + plt_size)
		rela_size -= plt_size;
	error = find_rela(object, rela, rela_size, &object->rela, why);
	if (!error)
		error = find_rela(object, plt, plt_size, &object->jmprel, why);
	if (error)
		return error;
	object->relative_count = tags->value[TAG_RELACOUNT];
	if (object->relative_count > object->rela.count)
		return malformed(object, why, "DT_RELACOUNT is too large");
	object->relr_count = tags->value[TAG_RELRSZ] / sizeof(uint64_t);
	if (tags->present[TAG_RELR] && object->relr_count) {
		object->relr = fp_object_table(object, tags->value[TAG_RELR], object->relr_count,
					       sizeof(uint64_t), 8);
		if (!object->relr)
			return malformed(object, why, "DT_RELR lies outside the segments");
	} else {
		object->relr_count = 0;
	}
	return fp_object_check_relocations(object, why);
}

/* The value of TAG or, without it, a number that is never reached: ld.so does not look at these counts (elf/dl-version.c). */
static uint64_t count_or_all(const struct tags *tags, enum tag tag)
{
	return tags->present[tag] ? tags->value[tag] : UINT64_MAX;
}

int fp_object_read_dynamic(struct fp_object *object, struct fp_why *why)
{
	struct tags tags = { 0 };
	int error = find_dynamic(object, why);

	if (error || !object->dynamic)
		return error;
	collect(object, &tags);
	error = read_strings(object, &tags, why);
	if (error)
		return error;
	if (!tags.present[TAG_SYMTAB] ||
	    (tags.present[TAG_SYMENT] && tags.value[TAG_SYMENT] != sizeof(Elf64_Sym)))
		return malformed(object, why, "no dynamic symbol table");
	object->symbol_count = 1;
	error = read_relocations(object, &tags, why);
	if (!error)
		error = fp_object_read_hashes(object, tags.value[TAG_GNU_HASH],
					      tags.value[TAG_HASH], why);
	if (error)
		return error;
	object->symtab = fp_object_table(object, tags.value[TAG_SYMTAB], object->symbol_count,
					 sizeof(Elf64_Sym), 8);
	if (!object->symtab)
		return malformed(object, why, "the symbol table lies outside the segments");
	error = fp_object_read_versions(object,
					tags.present[TAG_VERDEF] ? tags.value[TAG_VERDEF] : 0,
					count_or_all(&tags, TAG_VERDEFNUM),
					tags.present[TAG_VERNEED] ? tags.value[TAG_VERNEED] : 0,
					count_or_all(&tags, TAG_VERNEEDNUM), why);
	if (error)
		return error;
	/* Without versions the loader does not look at DT_VERSYM (elf/dl-version.c). */
	if (tags.present[TAG_VERSYM] && object->version_count) {
		object->versym = fp_object_table(object, tags.value[TAG_VERSYM],
						 object->symbol_count, sizeof(uint16_t), 2);
		if (!object->versym)
			return malformed(object, why,
					 "the version table lies outside the segments");
	}
	return fp_object_check_symbols(object, why);
}
