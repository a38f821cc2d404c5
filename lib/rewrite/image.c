/* image.c - a file while it is rewritten: appends sections and finishes the file with its undo data. */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fp_image_begin(struct fp_image *image, const struct fp_object *original)
{
	int error;

	*image = (struct fp_image){ .original = original };
	if (original->shstrtab)
		image->names = original->ehdr->e_shstrndx;
	/* Room for what is added to all but the smallest files, so that nothing is copied again. */
	error = fp_buffer_reserve(&image->file, original->size + original->size / 4);
	if (!error)
		error = fp_buffer_append(&image->file, original->image, original->size);
	if (!error && original->shnum)
		error = fp_buffer_append(&image->shdrs, original->shdr,
					 original->shnum * sizeof(Elf64_Shdr));
	if (!error && !original->shnum) {
		static const Elf64_Shdr null_section;

		error = fp_buffer_append(&image->shdrs, &null_section, sizeof(null_section));
	}
	return error;
}

Elf64_Shdr *fp_image_headers(struct fp_image *image)
{
	return (Elf64_Shdr *)image->shdrs.bytes;
}

/* The original sections; new ones are numbered behind them. */
static unsigned kept_count(const struct fp_image *image)
{
	return (unsigned)(image->shdrs.size / sizeof(Elf64_Shdr));
}

int fp_image_cover(struct fp_image *image, const char *name, Elf64_Shdr header, unsigned *ret_index)
{
	if (image->added_count == FP_MAX_NEW_SECTIONS)
		return -ENOSPC;
	image->added[image->added_count] = (struct fp_new_section){ name, header };
	if (ret_index)
		*ret_index = kept_count(image) + image->added_count;
	image->added_count++;
	return 0;
}

int fp_image_add(struct fp_image *image, const char *name, Elf64_Shdr header, const void *bytes,
		 size_t size, unsigned *ret_index)
{
	int error = fp_buffer_align(&image->file, header.sh_addralign ? header.sh_addralign : 1);

	header.sh_offset = image->file.size;
	header.sh_size = size;
	if (!error)
		error = fp_buffer_append(&image->file, bytes, size);
	return error ? error : fp_image_cover(image, name, header, ret_index);
}

static Elf64_Word renumbered(const struct fp_image *image, const unsigned *numbers,
			     Elf64_Word section)
{
	return section < image->original->shnum ? numbers[section] : section;
}

/* What refers to sections by number: gABI chapters "Section Header" and "Symbol Table". */
static void renumber(struct fp_image *image, Elf64_Shdr *header, const unsigned *numbers)
{
	unsigned char *bytes = image->file.bytes + header->sh_offset;

	header->sh_link = renumbered(image, numbers, header->sh_link);
	if (header->sh_type == SHT_RELA || header->sh_type == SHT_REL ||
	    (header->sh_flags & SHF_INFO_LINK))
		header->sh_info = renumbered(image, numbers, header->sh_info);
	if (header->sh_type != SHT_SYMTAB && header->sh_type != SHT_DYNSYM)
		return;
	for (uint64_t i = 0; i < header->sh_size / sizeof(Elf64_Sym); i++) {
		Elf64_Sym symbol;

		memcpy(&symbol, bytes + i * sizeof(symbol), sizeof(symbol));
		symbol.st_shndx = (Elf64_Section)renumbered(image, numbers, symbol.st_shndx);
		memcpy(bytes + i * sizeof(symbol), &symbol, sizeof(symbol));
	}
}

int fp_image_reorder(struct fp_image *image, const unsigned char *moved)
{
	unsigned count = image->original->shnum, next = 0;
	Elf64_Shdr *headers = fp_image_headers(image), *copy;
	unsigned *numbers;

	/* Files with that many sections number them elsewhere too; their order is left as it is. */
	if (!count || count >= SHN_LORESERVE)
		return 0;
	copy = malloc(count * sizeof(*copy));
	numbers = malloc(count * sizeof(*numbers));
	if (!copy || !numbers) {
		free(copy);
		free(numbers);
		return -ENOMEM;
	}
	memcpy(copy, headers, count * sizeof(*copy));
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < count; i++)
			if (moved[i] == pass)
				numbers[i] = next++;
	for (unsigned i = 0; i < count; i++) {
		headers[numbers[i]] = copy[i];
		if (copy[i].sh_type != SHT_NULL && copy[i].sh_type != SHT_NOBITS)
			renumber(image, &headers[numbers[i]], numbers);
	}
	image->names = numbers[image->names];
	free(copy);
	free(numbers);
	return 0;
}

/* The classic undo section, which elfutils' libdwfl and others read to line up separate debug information: ELF
   header, program headers, and section headers without the first. */
static int add_classic_undo(struct fp_image *image)
{
	const struct fp_object *original = image->original;
	struct fp_buffer undo = { 0 };
	int error = fp_buffer_append(&undo, original->ehdr, sizeof(Elf64_Ehdr));

	if (!error)
		error = fp_buffer_append(&undo, original->phdr,
					 original->phnum * sizeof(Elf64_Phdr));
	if (!error && original->shnum > 1)
		error = fp_buffer_append(&undo, original->shdr + 1,
					 (original->shnum - 1) * sizeof(Elf64_Shdr));
	if (!error)
		error = fp_image_add(
			image, ".gnu.prelink_undo",
			(Elf64_Shdr){ .sh_type = SHT_PROGBITS, .sh_addralign = 8, .sh_entsize = 1 },
			undo.bytes, undo.size, NULL);
	fp_buffer_free(&undo);
	return error;
}

/* Compares with the original while the fields that are not yet known differ in every byte. */
static int add_undo(struct fp_image *image, unsigned *ret_added)
{
	Elf64_Ehdr *ehdr = (Elf64_Ehdr *)image->file.bytes, kept = *ehdr;
	const Elf64_Ehdr *original = image->original->ehdr;
	struct fp_buffer undo = { 0 };
	int error;

	ehdr->e_shoff = ~original->e_shoff;
	ehdr->e_shentsize = (uint16_t)~original->e_shentsize;
	ehdr->e_shnum = (uint16_t)~original->e_shnum;
	ehdr->e_shstrndx = (uint16_t)~original->e_shstrndx;
	error = fp_undo_build(image->original->image, image->original->size, image->file.bytes,
			      image->file.size, &image->shift, image->shift != 0, &undo);
	*ehdr = kept;
	*ret_added = image->added_count;
	if (!error)
		error = fp_image_add(image, FP_UNDO_SECTION,
				     (Elf64_Shdr){ .sh_type = SHT_PROGBITS, .sh_addralign = 8 },
				     undo.bytes, undo.size, NULL);
	fp_buffer_free(&undo);
	return error;
}

/* The new name table: the old one with the new names behind it. */
static int add_names(struct fp_image *image, unsigned *ret_index)
{
	static const char own[] = ".shstrtab", dynbss[] = ".dynbss";
	const struct fp_object *original = image->original;
	struct fp_buffer names = { 0 };
	int error = 0;

	if (original->shstrtab)
		error = fp_buffer_append(&names, original->shstrtab,
					 original->shdr[original->ehdr->e_shstrndx].sh_size);
	else
		error = fp_buffer_append(&names, "", 1);
	if (image->dynbss && !error) {
		fp_image_headers(image)[image->dynbss].sh_name = (Elf64_Word)names.size;
		error = fp_buffer_append(&names, dynbss, sizeof(dynbss));
	}
	for (unsigned i = 0; i < image->added_count && !error; i++) {
		image->added[i].header.sh_name = (Elf64_Word)names.size;
		error = fp_buffer_append(&names, image->added[i].name,
					 strlen(image->added[i].name) + 1);
	}
	if (!error && original->shstrtab) {
		Elf64_Shdr *table = &fp_image_headers(image)[image->names];

		table->sh_offset = image->file.size;
		table->sh_size = names.size;
		*ret_index = image->names;
		error = fp_buffer_append(&image->file, names.bytes, names.size);
	} else if (!error) {
		Elf64_Shdr header = { .sh_type = SHT_STRTAB, .sh_addralign = 1 };

		header.sh_name = (Elf64_Word)names.size;
		error = fp_buffer_append(&names, own, sizeof(own));
		if (!error)
			error = fp_image_add(image, own, header, names.bytes, names.size,
					     ret_index);
	}
	fp_buffer_free(&names);
	return error;
}

int fp_image_finish(struct fp_image *image)
{
	unsigned undo = 0, names = 0, count;
	Elf64_Ehdr *ehdr;
	size_t table;
	int error = add_classic_undo(image);

	if (!error)
		error = add_undo(image, &undo);
	if (!error)
		error = add_names(image, &names);
	if (!error)
		error = fp_buffer_align(&image->file, 8);
	table = image->file.size;
	if (!error)
		error = fp_buffer_append(&image->file, image->shdrs.bytes, image->shdrs.size);
	for (unsigned i = 0; i < image->added_count && !error; i++)
		error = fp_buffer_append(&image->file, &image->added[i].header, sizeof(Elf64_Shdr));
	if (error)
		return error;
	count = kept_count(image) + image->added_count;
	if (count >= SHN_LORESERVE || names >= SHN_LORESERVE)
		return -E2BIG;
	ehdr = (Elf64_Ehdr *)image->file.bytes;
	ehdr->e_shoff = table;
	ehdr->e_shentsize = sizeof(Elf64_Shdr);
	ehdr->e_shnum = (Elf64_Half)count;
	ehdr->e_shstrndx = (Elf64_Half)names;
	return fp_undo_seal(image->file.bytes, image->file.size,
			    image->added[undo].header.sh_offset);
}

void fp_image_free(struct fp_image *image)
{
	fp_buffer_free(&image->file);
	fp_buffer_free(&image->shdrs);
}
