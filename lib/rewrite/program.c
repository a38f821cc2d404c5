/* program.c - puts the table of a closure into its program.

   Theory of operation.  The table, .gnu.liblist and .gnu.conflict make one new read-only segment behind all others, in
   memory and in the file; the table is its start.  That takes one program header.  Linkers put the interpreter's name
   and the notes right behind the program headers; only program headers, section headers and debugging symbols refer to
   those, so they move into the new segment and the program headers grow where they are.  Where that is too little (since binutils 2.44 the ABI note is
   elsewhere) the hash tables behind them, which only the dynamic section refers to, move along.  That keeps the headers in
   the first segment, where strip, objcopy and kernels before 5.18 expect them; strip damages a program whose headers lie in
   another.  Where there is still too little to move, the program headers themselves move into the new segment, whose address
   and file offset then keep the distance that the first segment has, so that those kernels find them too (their AT_PHDR
   is the first segment's load address plus e_phoff). */
#include "program.h"

#include <errno.h>
#include <fastprelink/abi.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "table.h"

#ifndef SHT_GNU_LIBLIST
#define SHT_GNU_LIBLIST 0x6ffffff7
#endif

enum {
	PAGE = 4096,
	NEW_PHDRS = 1,
	NEW_SECTIONS = 6,    /* table, conflicts, list and names of libraries, undo data twice */
	MAX_GAP = 16,        /* padding between notes */
	MAX_HOLE = 16 << 20, /* padding in the file for headers that move */
	MAX_PADDING = 64,    /* bytes behind the ELF image that are no payload */
};

/* The range behind the program headers that can move as one: interpreter name, notes, and hash tables if need be. */
struct block {
	fp_off start, end; /* equal: none */
	fp_addr addr;
	fp_addr moved_to;
};

struct rewriter {
	const struct fp_object *original;
	const struct fp_closure *closure;
	struct fp_image image;
	struct block block;
	bool headers_move;
	fp_addr addr;  /* of the new segment */
	fp_off offset; /* in the file */
	fp_addr headers_addr;
	struct fp_why *why;
};

static int no_room(const struct rewriter *rewriter, const char *what)
{
	return fp_why_set(rewriter->why, FP_REASON_NO_ROOM, rewriter->original->path, "%s", what);
}

static bool is_movable(const Elf64_Phdr *p)
{
	return p->p_type == PT_INTERP || p->p_type == PT_NOTE || p->p_type == PT_GNU_PROPERTY;
}

/* True when S is a hash table that only the dynamic section refers to, and holds all of it. */
static bool is_hash_table(const struct fp_object *object, const Elf64_Shdr *s)
{
	const struct fp_gnu_hash *gnu = &object->gnu_hash;
	const struct fp_sysv_hash *sysv = &object->sysv_hash;
	const unsigned char *start = object->image + s->sh_offset;
	const void *end;

	if (s->sh_type == SHT_GNU_HASH && gnu->chain_zero && start + 16 == (const void *)gnu->bloom)
		end = gnu->chain_zero == gnu->buckets ? gnu->buckets + gnu->bucket_count
						      : gnu->chain_zero + object->symbol_count;
	else if (s->sh_type == SHT_HASH && sysv->chain && start + 8 == (const void *)sysv->buckets)
		end = sysv->chain + sysv->chain_count;
	else
		return false;
	return (const unsigned char *)end <= start + s->sh_size;
}

/* Widens END to the nearest end of a movable range of OBJECT that follows END or, paddings aside, starts before it; false when
   there is none. */
static bool extend(const struct fp_object *object, fp_off start, bool hash_tables, fp_off *end)
{
	fp_off nearest = 0;

	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];
		fp_off limit = p->p_offset + p->p_filesz;

		if (is_movable(p) && p->p_offset >= start && p->p_offset <= *end + MAX_GAP &&
		    limit > *end && (!nearest || limit < nearest))
			nearest = limit;
	}
	for (unsigned i = 1; i < object->shnum && hash_tables; i++) {
		const Elf64_Shdr *s = &object->shdr[i];
		fp_off limit = s->sh_offset + s->sh_size;

		if (s->sh_offset >= start && s->sh_offset <= *end + MAX_GAP && limit > *end &&
		    (!nearest || limit < nearest) && is_hash_table(object, s))
			nearest = limit;
	}
	if (!nearest)
		return false;
	*end = nearest;
	return true;
}

/* True when a movable range reaches over END: one note segment may hold what others hold in parts. */
static bool is_split(const struct fp_object *object, fp_off start, fp_off end)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (is_movable(p) && p->p_offset >= start && p->p_offset < end &&
		    p->p_offset + p->p_filesz > end)
			return true;
	}
	return false;
}

/* The end of as many movable ranges from START on as SIZE bytes need; START when they are not enough.  What is not needed,
   the build id above all, stays where tools look first. */
static fp_off movable_end(const struct fp_object *object, fp_off start, fp_off size,
			  bool hash_tables)
{
	fp_off end = start;

	while (end - start < size || is_split(object, start, end))
		if (!extend(object, start, hash_tables, &end))
			return start;
	return end;
}

/* True when sections other than those that move, or symbols, lie in [START, END) of the file. */
static bool is_referred_to(const struct fp_object *object, fp_off start, fp_off end, fp_addr addr)
{
	for (unsigned i = 1; i < object->shnum; i++) {
		const Elf64_Shdr *s = &object->shdr[i];
		bool inside = s->sh_offset >= start && s->sh_offset + s->sh_size <= end;

		if (s->sh_type == SHT_NOBITS || !s->sh_size || s->sh_offset >= end ||
		    s->sh_offset + s->sh_size <= start)
			continue;
		if (!inside || (s->sh_type != SHT_NOTE && !is_hash_table(object, s) &&
				strcmp(object->shstrtab + s->sh_name, ".interp") != 0))
			return true;
	}
	for (size_t i = 1; i < object->symbol_count; i++)
		if (object->symtab[i].st_shndx != SHN_UNDEF && object->symtab[i].st_value >= addr &&
		    object->symtab[i].st_value < addr + (end - start))
			return true;
	return false;
}

/* Finds what can make room for NEW_PHDRS program headers; an empty block when it is not enough. */
static struct block find_block(const struct fp_object *object)
{
	fp_off start = object->ehdr->e_phoff + object->phnum * sizeof(Elf64_Phdr);
	fp_off size = NEW_PHDRS * sizeof(Elf64_Phdr), end = movable_end(object, start, size, false);
	struct block block = { 0 };

	if (end == start)
		end = movable_end(object, start, size, true);
	if (end == start)
		return block;
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type != PT_LOAD || p->p_offset > object->ehdr->e_phoff ||
		    p->p_offset + p->p_filesz < end)
			continue;
		block.addr = p->p_vaddr + (start - p->p_offset);
		if (is_referred_to(object, start, end, block.addr))
			break;
		block.start = start;
		block.end = end;
		return block;
	}
	return (struct block){ 0 };
}

int fp_program_check_payload(const struct fp_object *original, struct fp_why *why)
{
	uint64_t trailing = fp_object_trailing(original);

	if (trailing > MAX_PADDING)
		return fp_why_set(why, FP_REASON_PAYLOAD, original->path, "%llu bytes",
				  (unsigned long long)trailing);
	return 0;
}

/* Decides where the new segment and the program headers go.  Headers that move keep the distance between address and
   file offset that the first segment has: the kernel before 5.18 takes e_phoff for an address relative to that one.  Either
   addresses or file bytes are skipped for it. */
static int decide(struct rewriter *rewriter)
{
	const struct fp_object *object = rewriter->original;
	const Elf64_Phdr *first = fp_object_first_load(object);
	fp_addr distance = first->p_vaddr - first->p_offset;

	rewriter->addr = fp_object_free_page(object);
	rewriter->offset = (object->size + PAGE - 1) & ~(fp_off)(PAGE - 1);
	rewriter->block = find_block(object);
	rewriter->headers_move = rewriter->block.start == rewriter->block.end;
	if (!rewriter->headers_move)
		return 0;
	if (rewriter->addr < rewriter->offset + distance)
		rewriter->addr = rewriter->offset + distance;
	if (rewriter->addr - distance - rewriter->offset > MAX_HOLE)
		return no_room(rewriter,
			       "the program headers would be too far from the file's end");
	rewriter->offset = rewriter->addr - distance;
	return 0;
}

/* Pads the file up to the new segment. */
static int pad(struct rewriter *rewriter)
{
	struct fp_buffer *file = &rewriter->image.file;
	int error = fp_buffer_reserve(file, rewriter->offset);

	if (!error)
		error = fp_buffer_align(file, PAGE);
	while (!error && file->size < rewriter->offset)
		error = fp_buffer_append(file, &(char[PAGE]){ 0 }, PAGE);
	return error;
}

static int add_section(struct rewriter *rewriter, const char *name, Elf64_Shdr header,
		       const void *bytes, size_t size, unsigned *ret_index, fp_addr *ret_addr)
{
	int error = fp_buffer_align(&rewriter->image.file, header.sh_addralign);

	header.sh_flags |= SHF_ALLOC;
	header.sh_addr = rewriter->addr + (rewriter->image.file.size - rewriter->offset);
	*ret_addr = header.sh_addr;
	return error ? error : fp_image_add(&rewriter->image, name, header, bytes, size, ret_index);
}

/* Debugging symbols (crt1 has one for a note) follow the block. */
static void move_symbols(struct rewriter *rewriter)
{
	const struct fp_object *object = rewriter->original;
	const struct block *block = &rewriter->block;

	for (unsigned i = 1; i < object->shnum; i++) {
		const Elf64_Shdr *s = &object->shdr[i];

		if (s->sh_type != SHT_SYMTAB || s->sh_offset % 8 != 0)
			continue;
		for (uint64_t j = 0; j < s->sh_size / sizeof(Elf64_Sym); j++) {
			Elf64_Sym *symbol =
				(Elf64_Sym *)(rewriter->image.file.bytes + s->sh_offset) + j;

			if (symbol->st_shndx != SHN_UNDEF && symbol->st_shndx < SHN_LORESERVE &&
			    symbol->st_value >= block->addr &&
			    symbol->st_value < block->addr + (block->end - block->start))
				symbol->st_value += block->moved_to - block->addr;
		}
	}
}

/* The dynamic section leads to the hash tables of the block. */
static void move_hash_tables(struct rewriter *rewriter)
{
	const struct fp_object *object = rewriter->original;
	const struct block *block = &rewriter->block;
	Elf64_Dyn *dynamic =
		(Elf64_Dyn *)(rewriter->image.file.bytes +
			      ((const unsigned char *)object->dynamic - object->image));

	for (size_t i = 0; i < object->dynamic_count; i++)
		if ((dynamic[i].d_tag == DT_GNU_HASH || dynamic[i].d_tag == DT_HASH) &&
		    dynamic[i].d_un.d_ptr >= block->addr &&
		    dynamic[i].d_un.d_ptr - block->addr < block->end - block->start)
			dynamic[i].d_un.d_ptr += block->moved_to - block->addr;
}

/* Copies the movable block into the segment; its section headers and symbols follow it. */
static int move_block(struct rewriter *rewriter)
{
	struct block *block = &rewriter->block;
	const struct fp_object *object = rewriter->original;
	Elf64_Shdr *shdrs = fp_image_headers(&rewriter->image);
	unsigned char *moved;
	fp_off at;
	int error;

	/* Notes and hash tables are aligned to 4 or 8 bytes. */
	error = fp_buffer_align(&rewriter->image.file, 16);
	if (!error)
		error = fp_buffer_append(&rewriter->image.file, &(char[16]){ 0 },
					 block->start % 16);
	at = rewriter->image.file.size;
	block->moved_to = rewriter->addr + (at - rewriter->offset);
	if (!error)
		error = fp_buffer_append(&rewriter->image.file, object->image + block->start,
					 block->end - block->start);
	if (error)
		return error;
	memset(rewriter->image.file.bytes + block->start, 0, block->end - block->start);
	moved = calloc(object->shnum + 1, 1);
	if (!moved)
		return -ENOMEM;
	for (unsigned i = 1; i < object->shnum; i++) {
		const Elf64_Shdr *s = &object->shdr[i];

		if (s->sh_type == SHT_NOBITS || s->sh_offset < block->start ||
		    s->sh_offset >= block->end || !s->sh_size)
			continue;
		shdrs[i].sh_offset = at + (s->sh_offset - block->start);
		shdrs[i].sh_addr = block->moved_to + (s->sh_addr - block->addr);
		moved[i] = 1;
	}
	move_symbols(rewriter);
	move_hash_tables(rewriter);
	error = fp_image_reorder(&rewriter->image, moved);
	free(moved);
	return error;
}

static int reserve_headers(struct rewriter *rewriter)
{
	Elf64_Phdr room[NEW_PHDRS] = { 0 };
	int error;

	error = fp_buffer_align(&rewriter->image.file, sizeof(uint64_t));
	if (error)
		return error;
	rewriter->headers_addr = rewriter->addr + (rewriter->image.file.size - rewriter->offset);
	error = fp_buffer_append(&rewriter->image.file, rewriter->original->phdr,
				 rewriter->original->phnum * sizeof(Elf64_Phdr));
	return error ? error : fp_buffer_append(&rewriter->image.file, room, sizeof(room));
}

/* The classic list of libraries: names, for tools; what is compared at start is in our own table. */
static int add_liblist(struct rewriter *rewriter, fp_addr *ret_addr, uint64_t *ret_size)
{
	struct fp_buffer names = { 0 }, list = { 0 };
	unsigned strings = 0;
	fp_addr addr;
	int error = fp_buffer_append(&names, "", 1);

	for (size_t i = 1; i < rewriter->closure->count && !error; i++) {
		const struct fp_member *member = &rewriter->closure->members[i];
		Elf64_Lib lib = { .l_name = (Elf64_Word)names.size };

		error = fp_buffer_append(&names, member->soname, strlen(member->soname) + 1);
		if (!error)
			error = fp_buffer_append(&list, &lib, sizeof(lib));
	}
	if (!error)
		error = add_section(rewriter, ".gnu.libstr",
				    (Elf64_Shdr){ .sh_type = SHT_STRTAB, .sh_addralign = 1 },
				    names.bytes, names.size, &strings, &addr);
	*ret_size = list.size;
	if (!error)
		error = add_section(rewriter, ".gnu.liblist",
				    (Elf64_Shdr){ .sh_type = SHT_GNU_LIBLIST,
						  .sh_addralign = 4,
						  .sh_link = strings,
						  .sh_entsize = sizeof(Elf64_Lib) },
				    list.bytes, list.size, NULL, ret_addr);
	fp_buffer_free(&names);
	fp_buffer_free(&list);
	return error;
}

/* Adds the four classic entries where the linker left room for them; nothing of ours depends on them. */
static void add_dynamic_entries(struct rewriter *rewriter, fp_addr liblist, uint64_t liblist_size,
				fp_addr conflict)
{
	const struct fp_object *object = rewriter->original;
	Elf64_Dyn entries[] = {
		{ .d_tag = DT_GNU_LIBLISTSZ, .d_un.d_val = liblist_size },
		{ .d_tag = DT_GNU_LIBLIST, .d_un.d_ptr = liblist },
		{ .d_tag = DT_GNU_CONFLICTSZ, .d_un.d_val = 0 },
		{ .d_tag = DT_GNU_CONFLICT, .d_un.d_ptr = conflict },
	};
	size_t at = (size_t)((const unsigned char *)(object->dynamic + object->dynamic_count) -
			     object->image);

	if (object->dynamic_spare >= sizeof(entries) / sizeof(entries[0]))
		memcpy(rewriter->image.file.bytes + at, entries, sizeof(entries));
}

static void move_segment(const struct rewriter *rewriter, Elf64_Phdr *p)
{
	const struct block *block = &rewriter->block;
	fp_off start = rewriter->offset + (block->moved_to - rewriter->addr);

	if (!is_movable(p) || p->p_offset < block->start || p->p_offset >= block->end)
		return;
	p->p_vaddr = p->p_paddr = block->moved_to + (p->p_offset - block->start);
	p->p_offset = start + (p->p_offset - block->start);
}

/* Writes the program headers: the old ones, and the new PT_LOAD behind the last PT_LOAD. */
static void write_headers(struct rewriter *rewriter)
{
	const struct fp_object *object = rewriter->original;
	Elf64_Ehdr *ehdr = (Elf64_Ehdr *)rewriter->image.file.bytes;
	fp_off size = rewriter->image.file.size - rewriter->offset;
	unsigned last = 0, count = 0;
	Elf64_Phdr *out;

	if (rewriter->headers_move)
		ehdr->e_phoff = rewriter->offset + (rewriter->headers_addr - rewriter->addr);
	out = (Elf64_Phdr *)(rewriter->image.file.bytes + ehdr->e_phoff);
	for (unsigned i = 0; i < object->phnum; i++)
		if (object->phdr[i].p_type == PT_LOAD)
			last = i;
	for (unsigned i = 0; i < object->phnum; i++) {
		Elf64_Phdr p = object->phdr[i];

		if (p.p_type == PT_PHDR) {
			p.p_filesz = p.p_memsz = (object->phnum + NEW_PHDRS) * sizeof(Elf64_Phdr);
			if (rewriter->headers_move) {
				p.p_offset = ehdr->e_phoff;
				p.p_vaddr = p.p_paddr = rewriter->headers_addr;
			}
		}
		move_segment(rewriter, &p);
		out[count++] = p;
		if (i == last)
			out[count++] = (Elf64_Phdr){ .p_type = PT_LOAD,
						     .p_flags = FP_SEGMENT_FLAGS,
						     .p_offset = rewriter->offset,
						     .p_vaddr = rewriter->addr,
						     .p_paddr = rewriter->addr,
						     .p_filesz = size,
						     .p_memsz = size,
						     .p_align = PAGE };
	}
	ehdr->e_phnum = (Elf64_Half)count;
}

static int rewrite(struct rewriter *rewriter, const struct fp_buffer *table)
{
	fp_addr liblist = 0, conflict = 0, table_addr = 0;
	uint64_t liblist_size = 0;
	struct fp_object *finished;
	struct fp_table *written;
	int error = decide(rewriter);

	if (error)
		return error;
	error = pad(rewriter);
	if (!error)
		error = add_section(rewriter, ".fastprelink",
				    (Elf64_Shdr){ .sh_type = SHT_PROGBITS, .sh_addralign = 8 },
				    table->bytes, table->size, NULL, &table_addr);
	if (!error)
		error = add_section(rewriter, ".gnu.conflict",
				    (Elf64_Shdr){ .sh_type = SHT_RELA,
						  .sh_addralign = 8,
						  .sh_entsize = sizeof(Elf64_Rela) },
				    NULL, 0, NULL, &conflict);
	if (!error)
		error = rewriter->headers_move ? reserve_headers(rewriter) : move_block(rewriter);
	if (!error)
		error = add_liblist(rewriter, &liblist, &liblist_size);
	if (error)
		return fp_why_system(rewriter->why, -error, rewriter->original->path, "rewrite");
	write_headers(rewriter);
	add_dynamic_entries(rewriter, liblist, liblist_size, conflict);

	/* The program's own identity covers what has just been written. */
	error = fp_object_from_memory(rewriter->original->path, rewriter->image.file.bytes,
				      rewriter->image.file.size, &finished, rewriter->why);
	if (error)
		return error;
	written = (struct fp_table *)fp_object_at(finished, table_addr, table->size);
	error = fp_table_finish(written, finished, rewriter->why);
	fp_object_close(finished);
	if (error)
		return error;
	error = fp_image_finish(&rewriter->image);
	return error ? fp_why_system(rewriter->why, -error, rewriter->original->path, "rewrite")
		     : 0;
}

static int check_original(const struct rewriter *rewriter)
{
	return rewriter->original->phnum + NEW_PHDRS > PN_XNUM - 1
		       ? no_room(rewriter, "too many program headers")
		       : fp_program_check_payload(rewriter->original, rewriter->why);
}

int fp_program_possible(const struct fp_object *original, const struct fp_closure *closure,
			uint64_t table_size, uint64_t *ret_added, struct fp_why *why)
{
	struct rewriter rewriter = { .original = original, .closure = closure, .why = why };
	int error = check_original(&rewriter);

	if (!error)
		error = decide(&rewriter);
	if (error)
		return error;
	*ret_added = rewriter.offset - original->size + table_size +
		     (rewriter.block.end - rewriter.block.start);
	for (size_t i = 1; i < closure->count; i++)
		*ret_added += sizeof(Elf64_Lib) + strlen(closure->members[i].soname) + 1;
	/* The classic undo section and the new section headers. */
	*ret_added += sizeof(Elf64_Ehdr) + original->phnum * sizeof(Elf64_Phdr) +
		      (2 * original->shnum + NEW_SECTIONS) * sizeof(Elf64_Shdr);
	return 0;
}

int fp_program_rewrite(const struct fp_object *original, const struct fp_closure *closure,
		       const struct fp_buffer *table, struct fp_buffer *ret_file,
		       struct fp_why *why)
{
	struct rewriter rewriter = { .original = original, .closure = closure, .why = why };
	int error = check_original(&rewriter);

	if (error)
		return error;
	error = fp_image_begin(&rewriter.image, original);
	if (error)
		error = fp_why_system(why, -error, original->path, "rewrite");
	else
		error = rewrite(&rewriter, table);
	if (!error) {
		*ret_file = rewriter.image.file;
		rewriter.image.file = (struct fp_buffer){ 0 };
	}
	fp_image_free(&rewriter.image);
	return error;
}

const struct fp_table *fp_program_table(const struct fp_object *program)
{
	for (unsigned i = 0; i < program->phnum; i++) {
		const Elf64_Phdr *p = &program->phdr[i];
		const struct fp_table *table;

		if (p->p_type != PT_LOAD || p->p_flags != FP_SEGMENT_FLAGS ||
		    p->p_filesz < sizeof(*table) || p->p_offset % 8 != 0)
			continue;
		table = (const struct fp_table *)(program->image + p->p_offset);
		if (table->magic != FP_TABLE_MAGIC || table->version != FP_TABLE_VERSION ||
		    table->size > p->p_filesz || table->size < sizeof(*table) ||
		    table->objects % 8 != 0 || table->objects > table->size ||
		    table->carrier >= table->object_count ||
		    table->object_count >
			    (table->size - table->objects) / sizeof(struct fp_table_object))
			return NULL;
		return table;
	}
	return NULL;
}
