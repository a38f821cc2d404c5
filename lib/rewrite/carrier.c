/* carrier.c - puts the stub into the library that every program loads first.

   Theory of operation.  The stub goes into the padding between the end of the code segment and the end of its last
   page; the segment grows over it.  Where the padding is too small the stub makes a segment of its own, behind all others, and a
   program header is given up for it: one mapping more for every process.  ld.so runs it because the last IRELATIVE relocation, the last of all relocations that
   it processes in the object (glibc elf/do-rel.h:elf_dynamic_do_Rel), now names it as the resolver.  It finds the process's
   auxiliary vector through a GOT slot of the library's own that ld.so has filled by then: the one for
   _dl_argv or __libc_stack_end, variables of ld.so. */
#include "carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "stub_bytes.h"

enum {
	PAGE = 4096,
	STUB_ALIGN = 16,
	PARAMETERS = sizeof(fp_stub_bytes) -
		     3 * sizeof(int32_t), /* anchor, resolver, argc; then the path */
};

/* Variables of ld.so, the best first, and where argc is from where they point to.  Programs that copy __libc_stack_end
   (nodejs) have it filled too late for the stub. */
static const struct anchor {
	const char *symbol;
	int32_t argc;
} anchors[] = {
	{ "_dl_argv", -(int32_t)sizeof(char *) },
	{ "__libc_stack_end", 0 },
};

size_t fp_carrier_find(const struct fp_closure *closure)
{
	size_t found = closure->count;

	for (size_t i = 1; i < closure->count; i++) {
		if (fp_carrier_stub(closure->members[i].object))
			return i;
		if (strcmp(closure->members[i].soname, "libc.so.6") == 0)
			found = i;
	}
	return found;
}

/* The last IRELATIVE relocation that ld.so processes, or null. */
static const Elf64_Rela *last_irelative(const struct fp_object *object)
{
	const struct fp_rela_table *tables[] = { &object->jmprel, &object->rela };

	for (unsigned t = 0; t < 2; t++)
		for (size_t i = tables[t]->count; i-- > 0;) {
			const Elf64_Rela *rela = &tables[t]->rela[i];

			if (fp_machine_reloc(object->machine, (uint32_t)ELF64_R_TYPE(rela->r_info))
				    ->kind == FP_RELOC_IRELATIVE)
				return rela;
		}
	return NULL;
}

fp_addr fp_carrier_stub(const struct fp_object *object)
{
	const Elf64_Shdr *section = fp_object_section(object, FP_STUB_SECTION);
	const Elf64_Rela *irelative = section ? last_irelative(object) : NULL;

	return irelative && (fp_addr)irelative->r_addend == section->sh_addr ? section->sh_addr : 0;
}

const char *fp_carrier_runtime(const struct fp_object *object)
{
	const Elf64_Shdr *section = fp_object_section(object, FP_STUB_SECTION);
	const char *bytes;

	if (!section || !fp_carrier_stub(object) || section->sh_size <= sizeof(fp_stub_bytes))
		return NULL;
	bytes = fp_object_at(object, section->sh_addr, section->sh_size);
	return bytes && !bytes[section->sh_size - 1] &&
			       memcmp(bytes, fp_stub_bytes, PARAMETERS) == 0
		       ? bytes + sizeof(fp_stub_bytes)
		       : NULL;
}

bool fp_carrier_is_current(const struct fp_object *object, const char *runtime)
{
	const char *named = fp_carrier_runtime(object);

	return named && strcmp(named, runtime) == 0;
}

/* The address of the GOT slot that ld.so fills with the address of SYMBOL, or 0. */
static fp_addr find_slot(const struct fp_object *object, const char *name)
{
	for (size_t i = object->relative_count; i < object->rela.count; i++) {
		const Elf64_Rela *rela = &object->rela.rela[i];
		const Elf64_Sym *symbol = &object->symtab[ELF64_R_SYM(rela->r_info)];
		const struct fp_reloc_type *type =
			fp_machine_reloc(object->machine, (uint32_t)ELF64_R_TYPE(rela->r_info));

		if (type->kind == FP_RELOC_SLOT && symbol->st_shndx == SHN_UNDEF &&
		    strcmp(object->strtab + symbol->st_name, name) == 0)
			return rela->r_offset;
	}
	return 0;
}

/* The best anchor that OBJECT has a slot for, or null. */
static const struct anchor *find_anchor(const struct fp_object *object, fp_addr *ret_slot)
{
	for (unsigned i = 0; i < sizeof(anchors) / sizeof(anchors[0]); i++) {
		*ret_slot = find_slot(object, anchors[i].symbol);
		if (*ret_slot)
			return &anchors[i];
	}
	return NULL;
}

/* Where the stub goes: behind the code, or into a segment of its own. */
struct place {
	const Elf64_Phdr *code;     /* the segment that grows; null: the stub has its own */
	const Elf64_Phdr *given_up; /* the program header that makes room for that */
	fp_addr addr;
	fp_off offset;
	size_t size;
};

/* The code segment with SIZE unused bytes behind it on its last page; *RET_ADDR is where they start. */
static const Elf64_Phdr *find_padding(const struct fp_object *object, size_t size,
				      fp_addr *ret_addr)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];
		fp_addr start =
			(p->p_vaddr + p->p_filesz + STUB_ALIGN - 1) & ~(fp_addr)(STUB_ALIGN - 1);
		fp_addr end = (p->p_vaddr + p->p_filesz + PAGE - 1) & ~(fp_addr)(PAGE - 1);
		fp_off offset = p->p_offset + p->p_filesz, limit = p->p_offset + (end - p->p_vaddr);
		bool unused = limit <= object->size;

		if (p->p_type != PT_LOAD || (p->p_flags & (PF_X | PF_W)) != PF_X ||
		    p->p_filesz != p->p_memsz || start > end || end - start < size)
			continue;
		for (fp_off at = offset; unused && at < limit; at++)
			unused = object->image[at] == 0;
		for (unsigned j = 0; unused && j < object->phnum; j++) {
			const Elf64_Phdr *other = &object->phdr[j];

			if (other->p_type == PT_LOAD && j != i &&
			    ((other->p_offset < limit &&
			      other->p_offset + other->p_filesz > offset) ||
			     (other->p_vaddr < end &&
			      other->p_vaddr + other->p_memsz > p->p_vaddr)))
				unused = false;
		}
		for (unsigned j = 1; unused && j < object->shnum; j++) {
			const Elf64_Shdr *s = &object->shdr[j];

			if (s->sh_type != SHT_NOBITS && s->sh_offset < limit &&
			    s->sh_offset + s->sh_size > offset)
				unused = false;
		}
		if (unused) {
			*ret_addr = start;
			return p;
		}
	}
	return NULL;
}

/* Distance from the stub's parameters to ADDR; -ERANGE when it does not fit. */
static int distance(fp_addr addr, fp_addr parameters, int32_t *ret_distance)
{
	int64_t value = (int64_t)(addr - parameters);

	*ret_distance = (int32_t)value;
	return *ret_distance == value ? 0 : -ERANGE;
}

static int make_stub(const struct fp_object *original, const char *runtime, fp_addr stub,
		     fp_addr slot, int32_t argc, fp_addr resolver, unsigned char *bytes,
		     struct fp_why *why)
{
	int32_t parameters[3] = { 0, 0, argc };

	if (distance(slot, stub + PARAMETERS, &parameters[0]) != 0 ||
	    distance(resolver, stub + PARAMETERS, &parameters[1]) != 0)
		return fp_why_set(why, FP_REASON_NO_ROOM, original->path,
				  "the stub would be too far away");
	memcpy(bytes, fp_stub_bytes, PARAMETERS);
	memcpy(bytes + PARAMETERS, parameters, sizeof(parameters));
	memcpy(bytes + sizeof(fp_stub_bytes), runtime, strlen(runtime) + 1);
	return 0;
}

/* A program header that ld.so can do without, or null.  What PT_GNU_PROPERTY says ld.so reads from a PT_NOTE of the same
   bytes where there is none (glibc elf/dl-load.c:_dl_process_pt_note). */
static const Elf64_Phdr *find_spare_header(const struct fp_object *object)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type == PT_NULL)
			return p;
		for (unsigned j = 0; p->p_type == PT_GNU_PROPERTY && j < object->phnum; j++)
			if (object->phdr[j].p_type == PT_NOTE &&
			    object->phdr[j].p_offset == p->p_offset &&
			    object->phdr[j].p_filesz == p->p_filesz)
				return p;
	}
	return NULL;
}

/* Decides where a stub of SIZE bytes goes. */
static int find_place(const struct fp_object *original, size_t size, struct place *ret_place,
		      struct fp_why *why)
{
	struct place place = { .size = size };

	place.code = find_padding(original, size, &place.addr);
	if (place.code) {
		place.offset = place.code->p_offset + (place.addr - place.code->p_vaddr);
	} else {
		place.given_up = find_spare_header(original);
		place.addr = fp_object_free_page(original);
		place.offset = (original->size + PAGE - 1) & ~(fp_off)(PAGE - 1);
		if (!place.given_up)
			return fp_why_set(why, FP_REASON_NO_ROOM, original->path,
					  "%zu bytes behind the code", size);
	}
	*ret_place = place;
	return 0;
}

/* The program headers with one for the stub behind the last PT_LOAD, in place of the one that is given up. */
static void write_headers(struct fp_image *image, const struct place *place)
{
	const struct fp_object *original = image->original;
	Elf64_Phdr *out = (Elf64_Phdr *)(image->file.bytes + original->ehdr->e_phoff);
	unsigned last = 0;

	for (unsigned i = 0; i < original->phnum; i++)
		if (original->phdr[i].p_type == PT_LOAD)
			last = i;
	for (unsigned i = 0; i < original->phnum; i++) {
		if (&original->phdr[i] != place->given_up)
			*out++ = original->phdr[i];
		if (i == last)
			*out++ = (Elf64_Phdr){ .p_type = PT_LOAD,
					       .p_flags = PF_R | PF_X,
					       .p_offset = place->offset,
					       .p_vaddr = place->addr,
					       .p_paddr = place->addr,
					       .p_filesz = place->size,
					       .p_memsz = place->size,
					       .p_align = PAGE };
	}
}

/* Puts the BYTES of the stub into their place. */
static int place_stub(struct fp_image *image, const struct place *place, const unsigned char *bytes)
{
	Elf64_Shdr header = { .sh_type = SHT_PROGBITS,
			      .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
			      .sh_addr = place->addr,
			      .sh_offset = place->offset,
			      .sh_size = place->size,
			      .sh_addralign = STUB_ALIGN };
	Elf64_Phdr *grown;
	int error;

	if (place->code) {
		memcpy(image->file.bytes + place->offset, bytes, place->size);
		grown = (Elf64_Phdr *)(image->file.bytes + ((const unsigned char *)place->code -
							    image->original->image));
		grown->p_filesz = grown->p_memsz = place->addr + place->size - grown->p_vaddr;
		return fp_image_cover(image, FP_STUB_SECTION, header, NULL);
	}
	error = fp_buffer_align(&image->file, PAGE);
	if (error)
		return error;
	write_headers(image, place);
	return fp_image_add(image, FP_STUB_SECTION, header, bytes, place->size, NULL);
}

int fp_carrier_rewrite(const struct fp_object *original, const char *runtime,
		       struct fp_buffer *ret_file, struct fp_why *why)
{
	const Elf64_Rela *irelative = last_irelative(original);
	fp_addr slot = 0;
	const struct anchor *anchor = find_anchor(original, &slot);
	struct fp_image image = { 0 };
	struct place place = { 0 };
	Elf64_Rela *redirected;
	unsigned char *stub;
	int error;

	if (!irelative || !anchor)
		return fp_why_set(why, FP_REASON_NO_ANCHOR, original->path, "no %s",
				  irelative ? "slot for _dl_argv" : "IRELATIVE relocation");
	error = find_place(original, sizeof(fp_stub_bytes) + strlen(runtime) + 1, &place, why);
	if (error)
		return error;
	stub = malloc(place.size);
	if (!stub)
		return fp_why_system(why, ENOMEM, original->path, "rewrite");
	error = make_stub(original, runtime, place.addr, slot, anchor->argc,
			  (fp_addr)irelative->r_addend, stub, why);
	if (error)
		goto out;
	error = fp_image_begin(&image, original);
	if (!error)
		error = place_stub(&image, &place, stub);
	if (!error) {
		redirected = (Elf64_Rela *)(image.file.bytes +
					    ((const unsigned char *)irelative - original->image));
		redirected->r_addend = (Elf64_Sxword)place.addr;
		error = fp_image_finish(&image);
	}
	if (error) {
		error = fp_why_system(why, -error, original->path, "rewrite");
	} else {
		*ret_file = image.file;
		image.file = (struct fp_buffer){ 0 };
	}
out:
	fp_image_free(&image);
	free(stub);
	return error;
}
