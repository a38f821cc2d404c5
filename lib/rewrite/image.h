/* image.h - a file while it is rewritten: the original bytes, what is appended, and the section headers. */
#ifndef FP_IMAGE_H
#define FP_IMAGE_H

#include "../elf/object.h"
#include "undo.h"

enum { FP_MAX_NEW_SECTIONS = 12 };

struct fp_new_section {
	const char *name;
	Elf64_Shdr header; /* sh_name is set at the end */
};

struct fp_image {
	const struct fp_object *original;
	struct fp_buffer
		file; /* starts as a copy of the original; offsets into the original stay valid */
	struct fp_buffer shdrs; /* Elf64_Shdr[]: the original headers, to be edited */
	struct fp_new_section added[FP_MAX_NEW_SECTIONS];
	unsigned added_count;
	unsigned dynbss; /* index of the original section that becomes .dynbss; 0: none */
	unsigned names; /* index of the section name table; 0: the original has none */
	/* What was added to addresses, for fp_undo_build; 0: nothing, set it before fp_image_finish. */
	uint64_t shift;
};

/* Starts with the bytes of ORIGINAL, which must stay open. */
int fp_image_begin(struct fp_image *image, const struct fp_object *original);

/* Appends SIZE bytes aligned for HEADER's sh_addralign as a new section; HEADER's sh_offset and sh_size are set here.
   *RET_INDEX, when not null, is the section's index. */
int fp_image_add(struct fp_image *image, const char *name, Elf64_Shdr header, const void *bytes,
		 size_t size, unsigned *ret_index);

/* As fp_image_add for bytes that are in the file already. */
int fp_image_cover(struct fp_image *image, const char *name, Elf64_Shdr header,
		   unsigned *ret_index);

/* The section headers of the original, for editing. */
Elf64_Shdr *fp_image_headers(struct fp_image *image);

/* Puts the original sections that MOVED marks (one byte for each index) behind the others in the header table, which
   tools expect in the order of the file, and renumbers what refers to sections: links, symbols. */
int fp_image_reorder(struct fp_image *image, const unsigned char *moved);

/* Adds .gnu.prelink_undo, the undo data, the section names and the section headers, and seals the file.
   The result is image->file. */
int fp_image_finish(struct fp_image *image);

void fp_image_free(struct fp_image *image);

#endif
