/* tail.c - lets the file hold the zeros at the end of a segment.

   The memory of a segment may be longer than its bytes in the file; the rest, .bss, is zero (gABI chapter "Program
   Header").  ld.so clears what is left of the last page that comes from the file, and maps new memory behind it (glibc
   elf/dl-map-segments.h:_dl_map_segments).  So that page becomes private in every process, even where nothing ever
   writes it, and there is one mapping more.  Where the file itself has the zeros neither happens.  In their place linkers
   put sections that no process maps, the section headers and their names; the former go to the end of the file,
   the latter are written anew anyway.  In the file the zeros are a hole. */
#include "tail.h"

#include <string.h>

enum {
	MAX_ZEROS = 64 * 1024, /* bytes; a larger .bss is better not in the file */
	MAX_MOVED = 64 * 1024, /* bytes of sections that give way */
};

static bool overlaps(fp_off start, uint64_t size, fp_off from, fp_off to)
{
	return size && start < to && from < start + size;
}

static bool is_moved(const struct fp_image *image, unsigned index, fp_off from, fp_off to)
{
	const Elf64_Shdr *section = &image->original->shdr[index];

	return section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL &&
	       index != image->names && overlaps(section->sh_offset, section->sh_size, from, to);
}

/* True when the bytes [FROM, TO) of the file belong to nothing but a few sections that are not mapped. */
static bool is_free(const struct fp_image *image, const Elf64_Phdr *segment, fp_off from, fp_off to)
{
	const struct fp_object *original = image->original;
	uint64_t moved = 0;

	for (unsigned i = 0; i < original->phnum; i++)
		if (&original->phdr[i] != segment && original->phdr[i].p_type != PT_NULL &&
		    overlaps(original->phdr[i].p_offset, original->phdr[i].p_filesz, from, to))
			return false;
	if (overlaps(original->ehdr->e_phoff, original->phnum * sizeof(Elf64_Phdr), from, to))
		return false;
	for (unsigned i = 1; i < original->shnum; i++) {
		if (!is_moved(image, i, from, to))
			continue;
		if (original->shdr[i].sh_flags & SHF_ALLOC)
			return false;
		moved += original->shdr[i].sh_size;
	}
	return moved <= MAX_MOVED;
}

/* Appends copies of the sections that lie in [FROM, TO). */
static int move_sections(struct fp_image *image, fp_off from, fp_off to)
{
	int error = 0;

	for (unsigned i = 1; i < image->original->shnum && !error; i++) {
		Elf64_Shdr *section = &fp_image_headers(image)[i];
		fp_off source = section->sh_offset;

		if (!is_moved(image, i, from, to))
			continue;
		error = fp_buffer_align(&image->file,
					section->sh_addralign ? section->sh_addralign : 1);
		if (!error)
			error = fp_buffer_reserve(&image->file,
						  image->file.size + section->sh_size);
		if (error)
			break;
		section->sh_offset = image->file.size;
		error = fp_buffer_append(&image->file, image->file.bytes + source,
					 section->sh_size);
	}
	return error;
}

/* The sections of the zeros have bytes in the file now: tools that write the file anew shall keep them.  .bss is the name of a
   section without bytes; with bytes classic prelink called it .dynbss, and gdb knows that. */
static void fill_sections(struct fp_image *image, const Elf64_Phdr *segment, fp_off from, fp_off to)
{
	for (unsigned i = 1; i < image->original->shnum; i++) {
		Elf64_Shdr *section = &fp_image_headers(image)[i];
		const Elf64_Shdr *original = &image->original->shdr[i];
		fp_off offset = segment->p_offset + (original->sh_addr - segment->p_vaddr);

		if (original->sh_type != SHT_NOBITS || (original->sh_flags & SHF_TLS) ||
		    !(original->sh_flags & SHF_ALLOC) || offset < from || offset > to ||
		    original->sh_size > to - offset)
			continue;
		if (image->original->shstrtab &&
		    strcmp(image->original->shstrtab + original->sh_name, ".bss") == 0)
			image->dynbss = i;
		section->sh_type = SHT_PROGBITS;
		section->sh_offset = offset;
	}
}

static int extend(struct fp_image *image, unsigned index)
{
	const struct fp_object *original = image->original;
	const Elf64_Phdr *segment = &original->phdr[index];
	fp_off from = segment->p_offset + segment->p_filesz;
	fp_off to = segment->p_offset + segment->p_memsz;
	Elf64_Phdr *extended;
	int error = 0;

	if (segment->p_type != PT_LOAD || segment->p_filesz == 0 || to <= from ||
	    to - from > MAX_ZEROS || !is_free(image, segment, from, to))
		return 0;
	if (to > image->file.size)
		error = fp_buffer_zeros(&image->file, to - image->file.size);
	if (!error)
		error = move_sections(image, from, to);
	if (error)
		return error;
	memset(image->file.bytes + from, 0, to - from);
	fill_sections(image, segment, from, to);
	extended = (Elf64_Phdr *)(image->file.bytes +
				  ((const unsigned char *)segment - original->image));
	extended->p_filesz = segment->p_memsz;
	return 0;
}

int fp_tail_extend(struct fp_image *image)
{
	int error = 0;

	for (unsigned i = 0; i < image->original->phnum && !error; i++)
		error = extend(image, i);
	return error;
}
