/* shift.c - moves a library to another address.

   Theory of operation.  ld.so asks the kernel for the address that the first segment of a library names; where that is
   free, the load bias is 0.  So a library gets a fixed address by adding one number, the shift, to every address in its
   file.  A library works wherever it is loaded, so it has no address that the loader does not know of: an address is in a
   header, in the dynamic section, in a symbol, or where or what a relocation says.  Everything else, unwind tables
   among it, speaks of distances.  What debuggers read without loading it (.symtab, section headers, relocations
   kept by the linker) is shifted too.  Notes of systemtap's probes keep the addresses that they have: readers compare
   the section .stapsdt.base with what the note says of it.

   The words in memory: those of relative relocations get the value that they have when the load bias is 0, so that nothing
   need be written then.  Lazily bound PLT slots hold the address of their PLT entry, to which ld.so adds the load bias (glibc
   sysdeps/x86_64/dl-machine.h:elf_machine_lazy_rel); they are shifted, and the second word of the GOT stays 0,
   since with anything else there ld.so would compute the slots from it.  The words of other relocations may hold what they
   bind to at the fixed addresses (natural.c); ld.so writes them whatever they hold. */
#include "shift.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../layout/layout.h"
#include "image.h"
#include "stamp.h"
#include "tags.h"
#include "tail.h"

enum { WORD = 8 };

struct shifter {
	const struct fp_object *original;
	struct fp_image image;
	fp_addr base, shift;
	const struct fp_natural *natural; /* null: the words are left as they are */
	bool is_draft; /* it is only to be seen whether it can be done: nothing is written */
	bool out_of_file;                 /* a word that must be changed is not in the file */
	struct fp_why *why;
};

static int unsupported(const struct shifter *shifter, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int unsupported(const struct shifter *shifter, const char *format, ...)
{
	char detail[FP_WHY_DETAIL];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	return fp_why_set(shifter->why, FP_REASON_UNSUPPORTED, shifter->original->path, "%s",
			  detail);
}

/* Where in the new file the bytes are that lie at AT in the original; not for drafts. */
static void *in_image(const struct shifter *shifter, const void *at)
{
	return shifter->image.file.bytes + ((const unsigned char *)at - shifter->original->image);
}

static uint64_t read_word(const void *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

static void write_word(const struct shifter *shifter, const void *at, uint64_t value)
{
	if (!shifter->is_draft)
		memcpy(in_image(shifter, at), &value, sizeof(value));
}

/* The word of the new file that lies at AT in the original. */
static uint64_t new_word(const struct shifter *shifter, const void *at)
{
	return read_word(shifter->is_draft ? at : in_image(shifter, at));
}

/* The address space that the segments of ORIGINAL span, in whole pages. */
static uint64_t extent(const struct fp_object *original)
{
	uint64_t page = original->machine->page_size;
	fp_addr start = fp_object_first_load(original)->p_vaddr & -page, end = start;

	for (unsigned i = 0; i < original->phnum; i++)
		if (original->phdr[i].p_type == PT_LOAD)
			end = original->phdr[i].p_vaddr + original->phdr[i].p_memsz;
	return (end - start + page - 1) & -page;
}

/* What the sections ask for, and not p_align, which is as large as the largest page of any system. */
uint64_t fp_shift_alignment(const struct fp_object *original)
{
	uint64_t largest = original->machine->page_size;

	for (unsigned i = 1; i < original->shnum; i++)
		if ((original->shdr[i].sh_flags & SHF_ALLOC) &&
		    original->shdr[i].sh_addralign > largest)
			largest = original->shdr[i].sh_addralign;
	for (unsigned i = 0; i < original->phnum; i++)
		if ((original->phdr[i].p_type == PT_TLS ||
		     (original->phdr[i].p_type == PT_LOAD && !original->shnum)) &&
		    original->phdr[i].p_align > largest)
			largest = original->phdr[i].p_align;
	return largest;
}

uint64_t fp_shift_room(const struct fp_object *original)
{
	return fp_layout_room(extent(original), fp_shift_alignment(original),
			      original->machine->page_size);
}

static int check_base(const struct shifter *shifter)
{
	const struct fp_machine *machine = shifter->original->machine;
	uint64_t align = fp_shift_alignment(shifter->original), size = extent(shifter->original);

	if (shifter->base % machine->page_size != 0)
		return unsupported(shifter, "the base 0x%llx is not a multiple of a page",
				   (unsigned long long)shifter->base);
	if (shifter->base < machine->window_start || shifter->base > machine->window_end ||
	    size > machine->window_end - shifter->base)
		return unsupported(shifter,
				   "0x%llx bytes at the base 0x%llx are not inside 0x%llx-0x%llx",
				   (unsigned long long)size, (unsigned long long)shifter->base,
				   (unsigned long long)machine->window_start,
				   (unsigned long long)machine->window_end);
	if (shifter->shift % align != 0)
		return unsupported(shifter, "the base 0x%llx is not aligned to 0x%llx",
				   (unsigned long long)shifter->base, (unsigned long long)align);
	return 0;
}

/* True when P describes memory, and not only a part of the file. */
static bool is_mapped(const struct fp_object *original, const Elf64_Phdr *p)
{
	switch (p->p_type) {
	case PT_NULL:
	case PT_GNU_STACK:
		return false;
	case PT_LOAD:
	case PT_DYNAMIC:
	case PT_PHDR:
	case PT_TLS:
	case PT_GNU_RELRO:
		return true;
	default:
		return p->p_filesz && fp_object_at(original, p->p_vaddr, p->p_filesz) ==
					      original->image + p->p_offset;
	}
}

static void shift_headers(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;
	Elf64_Ehdr *ehdr = in_image(shifter, original->ehdr);
	Elf64_Shdr *sections = fp_image_headers(&shifter->image);
	uint64_t align = fp_shift_alignment(original);

	if (ehdr->e_entry)
		ehdr->e_entry += shifter->shift;
	for (unsigned i = 0; i < original->phnum; i++) {
		Elf64_Phdr *p = in_image(shifter, &original->phdr[i]);

		if (!is_mapped(original, &original->phdr[i]))
			continue;
		if (p->p_paddr == p->p_vaddr)
			p->p_paddr += shifter->shift;
		p->p_vaddr += shifter->shift;
		/* With more than a page ld.so would need free space around the base. */
		if (p->p_type == PT_LOAD && p->p_align > align)
			p->p_align = align;
	}
	for (unsigned i = 1; i < original->shnum; i++)
		if ((sections[i].sh_flags & SHF_ALLOC) && sections[i].sh_type != SHT_NULL)
			sections[i].sh_addr += shifter->shift;
}

static int shift_dynamic(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;

	for (size_t i = 0; i < original->dynamic_count; i++) {
		const Elf64_Dyn *entry = &original->dynamic[i];

		switch (fp_tag_kind(original->machine, entry->d_tag)) {
		case FP_TAG_ADDRESS:
			write_word(shifter, &entry->d_un.d_ptr, entry->d_un.d_ptr + shifter->shift);
			break;
		case FP_TAG_VALUE:
			break;
		case FP_TAG_UNKNOWN:
			if (entry->d_un.d_ptr && fp_object_at(original, entry->d_un.d_ptr, 1))
				return unsupported(shifter,
						   "the dynamic entry 0x%llx may hold an address",
						   (unsigned long long)entry->d_tag);
			break;
		}
	}
	return 0;
}

/* True when ld.so adds the load bias to the value of SYMBOL (glibc sysdeps/generic/ldsodefs.h:SYMBOL_ADDRESS).  A
   symbol of value 0 is one that it does not find (elf/dl-lookup.c:check_match), unless it need not be looked up; it must not
   be found afterwards either. */
static bool is_address(const Elf64_Sym *symbol)
{
	unsigned visibility = ELF64_ST_VISIBILITY(symbol->st_other);

	return symbol->st_shndx != SHN_ABS && ELF64_ST_TYPE(symbol->st_info) != STT_TLS &&
	       (symbol->st_value || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL ||
		visibility == STV_HIDDEN || visibility == STV_INTERNAL);
}

static void shift_dynamic_symbols(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;
	const unsigned char *table = (const unsigned char *)original->symtab;
	size_t count = original->symbol_count;

	/* Hash tables and relocations need not lead to all of them. */
	for (unsigned i = 1; i < original->shnum; i++)
		if (original->shdr[i].sh_type == SHT_DYNSYM &&
		    original->image + original->shdr[i].sh_offset == table &&
		    original->shdr[i].sh_size / sizeof(Elf64_Sym) > count)
			count = original->shdr[i].sh_size / sizeof(Elf64_Sym);
	for (size_t i = 1; i < count; i++) {
		const Elf64_Sym *symbol = &original->symtab[i];

		if (is_address(symbol))
			write_word(shifter, &symbol->st_value, symbol->st_value + shifter->shift);
	}
}

/* The symbols of .symtab, for debuggers: those that lie in a section of the process. */
static int shift_symbols(struct shifter *shifter, const Elf64_Shdr *table)
{
	const struct fp_object *original = shifter->original;
	const unsigned char *bytes = original->image + table->sh_offset;

	if (table->sh_entsize != sizeof(Elf64_Sym))
		return unsupported(shifter, "a symbol table of another format");
	for (uint64_t i = 0; i < table->sh_size / sizeof(Elf64_Sym); i++) {
		const unsigned char *at = bytes + i * sizeof(Elf64_Sym);
		Elf64_Sym symbol;

		memcpy(&symbol, at, sizeof(symbol));
		if (symbol.st_shndx == SHN_XINDEX)
			return unsupported(shifter, "too many sections");
		if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= original->shnum ||
		    !(original->shdr[symbol.st_shndx].sh_flags & SHF_ALLOC) ||
		    ELF64_ST_TYPE(symbol.st_info) == STT_TLS)
			continue;
		write_word(shifter, at + offsetof(Elf64_Sym, st_value),
			   symbol.st_value + shifter->shift);
	}
	return 0;
}

/* Relocations that the linker kept for other tools (--emit-relocs): where they are.  What they are against are
   symbols. */
static int shift_kept_relocations(struct shifter *shifter, const Elf64_Shdr *table)
{
	const struct fp_object *original = shifter->original;
	const unsigned char *bytes = original->image + table->sh_offset;

	if (table->sh_info >= original->shnum ||
	    !(original->shdr[table->sh_info].sh_flags & SHF_ALLOC))
		return 0;
	if (table->sh_entsize != sizeof(Elf64_Rela))
		return unsupported(shifter, "a relocation table of another format");
	for (uint64_t i = 0; i < table->sh_size / sizeof(Elf64_Rela); i++) {
		const unsigned char *at =
			bytes + i * sizeof(Elf64_Rela) + offsetof(Elf64_Rela, r_offset);

		write_word(shifter, at, read_word(at) + shifter->shift);
	}
	return 0;
}

static int shift_tables(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;
	int error = 0;

	for (unsigned i = 1; i < original->shnum && !error; i++) {
		const Elf64_Shdr *section = &original->shdr[i];

		if (section->sh_flags & SHF_ALLOC)
			continue;
		if (section->sh_type == SHT_SYMTAB)
			error = shift_symbols(shifter, section);
		else if (section->sh_type == SHT_RELA)
			error = shift_kept_relocations(shifter, section);
	}
	return error;
}

/* True when ADDR lies in code that the file holds. */
static bool is_code(const struct fp_object *original, fp_addr addr)
{
	for (unsigned i = 0; i < original->phnum; i++) {
		const Elf64_Phdr *p = &original->phdr[i];

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && addr >= p->p_vaddr &&
		    addr - p->p_vaddr < p->p_filesz)
			return true;
	}
	return false;
}

/* A slot that is bound lazily holds the address of its PLT entry; in an object that binds now it may hold anything. */
static int shift_jump_slot(struct shifter *shifter, const Elf64_Rela *rela)
{
	const struct fp_object *original = shifter->original;
	const void *slot = fp_object_at(original, rela->r_offset, WORD);
	fp_addr entry = slot ? read_word(slot) : 0;

	if (entry && is_code(original, entry))
		write_word(shifter, slot, entry + shifter->shift);
	else if (!fp_object_binds_now(original))
		return unsupported(shifter, "the PLT slot at 0x%llx does not lead to the PLT",
				   (unsigned long long)rela->r_offset);
	return 0;
}

static int shift_relocations(struct shifter *shifter, const struct fp_rela_table *table,
			     bool is_plt)
{
	const struct fp_object *original = shifter->original;
	int error = 0;

	for (size_t i = 0; i < table->count && !error; i++) {
		const Elf64_Rela *rela = &table->rela[i];
		const struct fp_reloc_type *type =
			fp_machine_reloc(original->machine, (uint32_t)ELF64_R_TYPE(rela->r_info));
		uint64_t value = (uint64_t)rela->r_addend + shifter->shift;
		const void *word;

		if (type->kind == FP_RELOC_NONE)
			continue;
		write_word(shifter, &rela->r_offset, rela->r_offset + shifter->shift);
		if (type->addend == FP_ADDEND_ADDRESS ||
		    (type->addend == FP_ADDEND_OF_NONE && !ELF64_R_SYM(rela->r_info)))
			write_word(shifter, &rela->r_addend, value);
		else if (type->addend == FP_ADDEND_MISSING && !ELF64_R_SYM(rela->r_info))
			return unsupported(shifter, "relocation type %u without a symbol",
					   (unsigned)ELF64_R_TYPE(rela->r_info));
		if (type->kind == FP_RELOC_RELATIVE) {
			/* Where the file does not hold the word ld.so writes it. */
			word = fp_object_at(original, rela->r_offset, WORD);
			if (word)
				write_word(shifter, word, value);
		} else if (is_plt && type->kind == FP_RELOC_JUMP_SLOT) {
			error = shift_jump_slot(shifter, rela);
		}
	}
	return error;
}

static void shift_relr_word(fp_addr addr, void *context)
{
	struct shifter *shifter = context;
	const void *at = fp_object_at(shifter->original, addr, WORD);

	if (at)
		write_word(shifter, at, new_word(shifter, at) + shifter->shift);
	else
		shifter->out_of_file = true;
}

/* gABI "Relative Relocation Table": only even words are addresses.  ld.so adds the load bias to the words named. */
static int shift_relr(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;

	fp_object_each_relr(original, shift_relr_word, shifter);
	if (shifter->out_of_file)
		return unsupported(shifter, "a relative relocation outside of the file");
	for (size_t i = 0; i < original->relr_count; i++)
		if ((original->relr[i] & 1) == 0)
			write_word(shifter, &original->relr[i], original->relr[i] + shifter->shift);
	return 0;
}

/* The first word of the GOT is the address of the dynamic section (psABI, "Global Offset Table"), unless a relocation has
   been there. */
static void shift_got_word(struct shifter *shifter, fp_addr got)
{
	const void *at = fp_object_at(shifter->original, got, WORD);

	if (at && new_word(shifter, at) == shifter->original->dynamic_addr)
		write_word(shifter, at, shifter->original->dynamic_addr + shifter->shift);
}

static int shift_got(struct shifter *shifter)
{
	static const char *const names[] = { ".got.plt", ".got" };
	const struct fp_object *original = shifter->original;
	const void *second;

	for (size_t i = 0; i < original->dynamic_count; i++) {
		if (original->dynamic[i].d_tag != DT_PLTGOT)
			continue;
		shift_got_word(shifter, original->dynamic[i].d_un.d_ptr);
		second = fp_object_at(original, original->dynamic[i].d_un.d_ptr + WORD, WORD);
		if (second && read_word(second) && !fp_object_binds_now(original))
			return unsupported(shifter, "the second word of the GOT is not 0");
	}
	/* Without a PLT nothing names it. */
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const Elf64_Shdr *section = fp_object_section(original, names[i]);

		if (section && (section->sh_flags & SHF_ALLOC))
			shift_got_word(shifter, section->sh_addr);
	}
	return 0;
}

static int shift(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;
	int error;

	if (!shifter->is_draft)
		shift_headers(shifter);
	error = shift_dynamic(shifter);
	if (error)
		return error;
	shift_dynamic_symbols(shifter);
	error = shift_tables(shifter);
	if (!error)
		error = shift_relr(shifter);
	if (!error)
		error = shift_relocations(shifter, &original->rela, false);
	if (!error)
		error = shift_relocations(shifter, &original->jmprel, true);
	if (!error)
		error = shift_got(shifter);
	if (!error && shifter->natural)
		error = fp_natural_apply(&shifter->image, shifter->natural, shifter->why);
	if (!error && !fp_stamp_possible(original))
		error = fp_why_set(shifter->why, FP_REASON_NO_ROOM, original->path,
				   "for two entries in the dynamic section");
	if (error || shifter->is_draft)
		return error;
	if (fp_tail_extend(&shifter->image) != 0)
		return fp_why_system(shifter->why, ENOMEM, original->path, "shift");
	fp_stamp(&shifter->image);
	return 0;
}

/* Makes the image, complete but for what fp_image_finish adds, unless it is a draft. */
static int make_image(struct shifter *shifter)
{
	const struct fp_object *original = shifter->original;
	int error = fp_shift_allowed(original, shifter->why);

	if (error)
		return error;
	shifter->shift = shifter->base - (fp_object_first_load(original)->p_vaddr &
					  -original->machine->page_size);
	error = check_base(shifter);
	if (error)
		return error;
	if (!shifter->is_draft)
		error = fp_image_begin(&shifter->image, original);
	return error ? fp_why_system(shifter->why, -error, original->path, "shift")
		     : shift(shifter);
}

int fp_shift_library(const struct fp_object *original, fp_addr base,
		     const struct fp_natural *natural, struct fp_buffer *ret_file,
		     struct fp_why *why)
{
	struct shifter shifter = {
		.original = original, .base = base, .natural = natural, .why = why
	};
	int error = make_image(&shifter);

	if (!error) {
		shifter.image.shift = shifter.shift;
		error = fp_image_finish(&shifter.image);
		if (error)
			error = fp_why_system(why, -error, original->path, "shift");
	}
	if (!error) {
		*ret_file = shifter.image.file;
		shifter.image.file = (struct fp_buffer){ 0 };
	}
	fp_image_free(&shifter.image);
	return error;
}

int fp_shift_possible(const struct fp_object *original, fp_addr base, struct fp_why *why)
{
	struct shifter shifter = {
		.original = original, .base = base, .is_draft = true, .why = why
	};

	return make_image(&shifter);
}
