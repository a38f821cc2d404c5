/* stamp.c - marks a shifted library as prelinked, as classic prelink does.

   DT_CHECKSUM is the CRC-32 of all allocated sections in the order of their headers, computed while both marks are 0.
   DT_GNU_PRELINKED was the time; here it is made from the contents.  Readers of debug information know by them that the
   addresses are not those of the separate debug file, and the table of a program knows by them one rewriting of a library from
   another: the build id stays the same.

   So every shifted library must have both.  Linkers but lld leave spare DT_NULLs.  Where there are not two of them, the
   marks take the places of entries that are there for speed or for the sake of the format: of those below no loader
   needs any. */
#include "stamp.h"

#include <fastprelink/abi.h>

#include "crc32.h"

enum { STAMPS = 2 };

/* Entries that may give way, in this order.  glibc 2.36 to 2.43 does the relative relocations that DT_RELACOUNT counts with
   all others where it is missing (sysdeps/x86_64/dl-machine.h:elf_machine_rela), follows the version tables by
   their links (elf/dl-version.c), and never looks at the size of a symbol. */
static const int64_t dispensable[] = { DT_RELACOUNT, DT_VERNEEDNUM, DT_VERDEFNUM, DT_SYMENT };

/* The index of the only entry TAG, or -1. */
static int64_t only_entry(const struct fp_object *object, int64_t tag)
{
	int64_t found = -1;

	for (size_t i = 0; i < object->dynamic_count; i++) {
		if (object->dynamic[i].d_tag != tag)
			continue;
		if (found >= 0)
			return -1;
		found = (int64_t)i;
	}
	return found;
}

/* Finds entries for the marks; returns how many. */
static unsigned find_places(const struct fp_object *original, size_t *places)
{
	unsigned count = 0;

	while (count < STAMPS && count < original->dynamic_spare) {
		places[count] = original->dynamic_count + count;
		count++;
	}
	for (size_t i = 0; count < STAMPS && i < sizeof(dispensable) / sizeof(dispensable[0]);
	     i++) {
		int64_t entry = only_entry(original, dispensable[i]);

		if (entry >= 0)
			places[count++] = (size_t)entry;
	}
	return count;
}

static uint32_t checksum(const struct fp_image *image)
{
	const Elf64_Shdr *sections = (const Elf64_Shdr *)image->shdrs.bytes;
	uint32_t crc = 0;

	for (unsigned i = 1; i < image->original->shnum; i++) {
		const Elf64_Shdr *section = &sections[i];

		if ((section->sh_flags & (SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR)) &&
		    section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL)
			crc = fp_crc32(crc, image->file.bytes + section->sh_offset,
				       section->sh_size);
	}
	return crc;
}

bool fp_stamp_possible(const struct fp_object *original)
{
	size_t places[STAMPS];

	return find_places(original, places) == STAMPS;
}

void fp_stamp(struct fp_image *image)
{
	const struct fp_object *original = image->original;
	Elf64_Dyn *entries =
		(Elf64_Dyn *)(image->file.bytes +
			      ((const unsigned char *)original->dynamic - original->image));
	size_t places[STAMPS];
	uint64_t hash;

	find_places(original, places);
	entries[places[0]] = (Elf64_Dyn){ .d_tag = DT_GNU_PRELINKED };
	entries[places[1]] = (Elf64_Dyn){ .d_tag = DT_CHECKSUM };
	hash = fp_checksum((const uint64_t *)image->file.bytes, original->size / sizeof(uint64_t));
	entries[places[1]].d_un.d_val = checksum(image);
	entries[places[0]].d_un.d_val = (uint32_t)(hash ^ hash >> 32);
	if (!entries[places[0]].d_un.d_val)
		entries[places[0]].d_un.d_val = 1;
}
