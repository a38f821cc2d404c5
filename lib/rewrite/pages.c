/* pages.c - which pages of an object are written at start.

   A page that is written once costs a page fault and a copy.  Ranges of such pages can be prepared by one system call
   each, which costs a fraction of the faults; a page in between that nobody writes costs a copy for nothing.

   In a floating object nearly all pages are written, in ranges; a short one is left alone.  In a fixed library few are, and
   scattered; each is prepared, and no other: what stays clean is what fixed libraries are for. */
#include "pages.h"

#include <errno.h>
#include <stdlib.h>

enum {
	PAGE = 4096,
	MIN_PAGES = 4,  /* of floating objects: a shorter range is left alone */
	GAP_SHARE = 32, /* of their ranges may be unwritten at a time, and one page always */
};

/* Marks, one byte for each page, of the file-backed pages of one segment. */
struct marks {
	const Elf64_Phdr *segment;
	fp_addr start;
	size_t count;
	bool replaceable;
	unsigned char *written; /* 0, WRITTEN or OCCUPIED */
};

enum { WRITTEN = 1, OCCUPIED = 2 };

static void mark(struct marks *marks, fp_addr addr)
{
	uint64_t page = (addr - marks->start) / PAGE;

	if (addr >= marks->start && page < marks->count && marks->written[page] != OCCUPIED)
		marks->written[page] = WRITTEN;
}

/* ld.so has written to the dynamic section by then: those pages are its own and must keep their contents. */
static void occupy_dynamic(struct marks *marks, const struct fp_object *object)
{
	fp_addr end = object->dynamic_addr + (object->dynamic_count + 1) * sizeof(Elf64_Dyn);

	for (size_t page = 0; page < marks->count; page++)
		if (marks->start + page * PAGE < end &&
		    marks->start + (page + 1) * PAGE > object->dynamic_addr)
			marks->written[page] = OCCUPIED;
}

static void mark_table(struct marks *marks, const struct fp_object *object,
		       const struct fp_rela_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct fp_reloc_type *type = fp_machine_reloc(
			object->machine, (uint32_t)ELF64_R_TYPE(table->rela[i].r_info));

		if (type->kind == FP_RELOC_RELATIVE || type->kind == FP_RELOC_WORD ||
		    type->kind == FP_RELOC_SLOT || type->kind == FP_RELOC_JUMP_SLOT)
			mark(marks, table->rela[i].r_offset);
	}
}

static void mark_relr(fp_addr addr, void *context)
{
	mark(context, addr);
}

static int append_range(const struct marks *marks, uint32_t index, size_t first, size_t end,
			struct fp_buffer *ret_fills)
{
	fp_addr start = marks->start + first * PAGE;
	struct fp_table_fill fill = {
		.object = index,
		.page_count = (uint32_t)(end - first),
		.start = start,
		.file_offset = marks->replaceable ? marks->segment->p_offset +
							    (start - marks->segment->p_vaddr)
						  : FP_NOT_REPLACEABLE,
	};

	return fp_buffer_append(ret_fills, &fill, sizeof(fill));
}

static int append_ranges(const struct marks *marks, uint32_t index, struct fp_buffer *ret_fills)
{
	int error = 0;

	for (size_t first = 0; first < marks->count && !error; first++) {
		size_t end = first, gap = 0;

		if (marks->written[first] != WRITTEN)
			continue;
		for (size_t page = first;
		     page < marks->count && gap <= 1 + (page - first) / GAP_SHARE &&
		     marks->written[page] != OCCUPIED;
		     page++)
			if (marks->written[page]) {
				end = page + 1;
				gap = 0;
			} else {
				gap++;
			}
		if (end - first >= MIN_PAGES)
			error = append_range(marks, index, first, end, ret_fills);
		first = end;
	}
	return error;
}

/* True when the first page of OBJECT is mapped as it is in the file, so that the runtime can compare the two. */
static bool first_page_is_mapped(const struct fp_object *object)
{
	const Elf64_Phdr *first = fp_object_first_load(object);

	return first->p_offset == 0 && first->p_filesz >= PAGE && !(first->p_flags & PF_W);
}

/* The anonymous memory that takes its place is readable and writable: so must the segment be, and nothing more. */
static bool is_plain_data(const Elf64_Phdr *segment)
{
	return (segment->p_flags & (PF_R | PF_W | PF_X)) == (PF_R | PF_W);
}

int fp_pages_collect(const struct fp_object *object, uint32_t index, bool now,
		     struct fp_buffer *ret_fills)
{
	int error = 0;

	for (unsigned i = 0; i < object->phnum && !error; i++) {
		const Elf64_Phdr *p = &object->phdr[i];
		struct marks marks = { .segment = p,
				       .start = p->p_vaddr & ~(fp_addr)(PAGE - 1),
				       .replaceable = index != 0 && is_plain_data(p) &&
						      first_page_is_mapped(object) };

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_W) || !p->p_filesz)
			continue;
		/* Whole pages of the file only: the last one may be shared with zeros that the loader clears. */
		marks.count = (p->p_vaddr + p->p_filesz - marks.start) / PAGE;
		marks.written = calloc(marks.count + 1, 1);
		if (!marks.written)
			return -ENOMEM;
		occupy_dynamic(&marks, object);
		mark_table(&marks, object, &object->rela);
		if (now)
			mark_table(&marks, object, &object->jmprel);
		fp_object_each_relr(object, mark_relr, &marks);
		error = append_ranges(&marks, index, ret_fills);
		free(marks.written);
	}
	return error;
}

/* Appends the ranges of pages that are marked, and nothing else. */
static int append_exact(const struct marks *marks, uint32_t index, struct fp_buffer *ret_fills)
{
	int error = 0;

	for (size_t first = 0, end; first < marks->count && !error; first = end + 1) {
		end = first;
		while (end < marks->count && marks->written[end])
			end++;
		if (end > first)
			error = append_range(marks, index, first, end, ret_fills);
	}
	return error;
}

/* Whether the runtime writes to dynamic entries of this kind (runtime/fill.c:cut_relocations). */
static bool is_cut(int64_t tag)
{
	return tag == DT_RELA || tag == DT_RELASZ || tag == DT_RELACOUNT || tag == DT_PLTRELSZ ||
	       tag == DT_RELRSZ;
}

/* Marks what ld.so writes besides relocating: the second and third word of the GOT of an object that is bound lazily
   (glibc sysdeps/x86_64/dl-machine.h:elf_machine_runtime_setup). */
static void mark_got(struct marks *marks, const struct fp_object *object)
{
	for (size_t i = 0; i < object->dynamic_count; i++)
		if (object->dynamic[i].d_tag == DT_PLTGOT)
			for (unsigned word = 1; word <= 2; word++)
				mark(marks,
				     object->dynamic[i].d_un.d_ptr + word * sizeof(uint64_t));
}

int fp_pages_collect_rows(const struct fp_holder *holder, bool now, struct fp_buffer *ret_fills)
{
	const struct fp_object *object = holder->object;
	const Elf64_Rela *residual = (const Elf64_Rela *)holder->residual.bytes;
	int error = 0;

	for (unsigned i = 0; i < object->phnum && !error; i++) {
		const Elf64_Phdr *p = &object->phdr[i];
		struct marks marks = { .segment = p, .start = p->p_vaddr & ~(fp_addr)(PAGE - 1) };

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_W) || !p->p_filesz)
			continue;
		marks.count = (p->p_vaddr + p->p_filesz - marks.start + PAGE - 1) / PAGE;
		marks.written = calloc(marks.count + 1, 1);
		if (!marks.written)
			return -ENOMEM;
		for (uint32_t row = 0; row < holder->run_count; row++)
			mark(&marks, fp_object_base(object) + holder->slots[row]);
		for (size_t r = 0; r < holder->residual.size / sizeof(*residual); r++)
			mark(&marks, residual[r].r_offset);
		for (size_t entry = 0; entry < object->dynamic_count; entry++)
			if (is_cut(object->dynamic[entry].d_tag))
				mark(&marks, object->dynamic_addr + entry * sizeof(Elf64_Dyn));
		if (!now && object->jmprel.count)
			mark_got(&marks, object);
		error = append_exact(&marks, (uint32_t)holder->index, ret_fills);
		free(marks.written);
	}
	return error;
}
