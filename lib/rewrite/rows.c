/* rows.c - the words of a fixed library that its file does not hold.

   When a fixed library is at its address, the words of its file are right wherever they lead to fixed libraries and the
   program binds them as the library alone does.  So each relocation is bound as for a floating object, but
   compared with the word in the file: only where they differ, or where the value is known at start only, the
   table gets a row.  Nothing is assumed about who wrote the file's words, or when.

   Slots that are bound lazily get rows too where their page is written in nearly every process anyway: ld.so's look-up at the
   first call searches as the one at start would, through a list of objects to which libraries opened later are only
   appended (glibc elf/dl-open.c:add_to_global_update), so it finds the same definition. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "holder.h"

enum { WORD = 8, BITS = 64 };

/* One bit for each word of an object's memory. */
struct bitmap {
	uint64_t *bits;
	fp_addr start, end;
};

/* False when it was marked already. */
static bool mark(struct bitmap *bitmap, fp_addr addr)
{
	uint64_t at = (addr - bitmap->start) / WORD;
	uint64_t bit = (uint64_t)1 << at % BITS;

	if (addr < bitmap->start || addr >= bitmap->end || (bitmap->bits[at / BITS] & bit))
		return false;
	bitmap->bits[at / BITS] |= bit;
	return true;
}

/* False when a word of TABLE is marked already. */
static bool mark_table(struct bitmap *bitmap, const struct fp_object *object,
		       const struct fp_rela_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		const Elf64_Rela *rela = &table->rela[i];
		const struct fp_reloc_type *type =
			fp_machine_reloc(object->machine, (uint32_t)ELF64_R_TYPE(rela->r_info));
		fp_addr end = rela->r_offset + (type->size ? type->size : 1);

		if (type->kind == FP_RELOC_NONE)
			continue;
		for (fp_addr at = rela->r_offset & -(fp_addr)WORD; at < end; at += WORD)
			if (!mark(bitmap, at))
				return false;
	}
	return true;
}

int fp_rows_possible(struct fp_object *object, bool *ret_possible)
{
	struct bitmap bitmap = { .start = fp_object_base(object) };
	int known = atomic_load(&object->rows);

	*ret_possible = known > 0;
	if (known)
		return 0;
	for (unsigned i = 0; i < object->phnum; i++)
		if (object->phdr[i].p_type == PT_LOAD)
			bitmap.end = object->phdr[i].p_vaddr + object->phdr[i].p_memsz;
	/* Rows name words by 32 bits. */
	if (bitmap.end - bitmap.start > UINT32_MAX)
		return 0;
	bitmap.bits = calloc((bitmap.end - bitmap.start) / WORD / BITS + 1, sizeof(*bitmap.bits));
	if (!bitmap.bits)
		return -ENOMEM;
	*ret_possible = mark_table(&bitmap, object, &object->rela) &&
			mark_table(&bitmap, object, &object->jmprel);
	atomic_store(&object->rows, *ret_possible ? 1 : -1);
	free(bitmap.bits);
	return 0;
}

/* The word at ADDR as it is when the object is mapped: behind the file's bytes there are zeros. */
static uint64_t held_word(const struct fp_object *object, fp_addr addr)
{
	const void *at = fp_object_at(object, addr, WORD);
	uint64_t word = 0;

	if (at)
		memcpy(&word, at, sizeof(word));
	return word;
}

/* What BINDING is when everything fixed is at its address; false when that is known at start only. */
static bool is_known(const struct fp_table_builder *builder, const struct fp_binding *binding,
		     uint64_t *ret_value)
{
	const Elf64_Sym *symbol = binding->symbol;

	*ret_value = 0;
	if (binding->bound == FP_BOUND_NOTHING)
		return true;
	if (binding->bound != FP_BOUND_SYMBOL || ELF64_ST_TYPE(symbol->st_info) == STT_TLS ||
	    ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
		return false;
	*ret_value = symbol->st_value;
	return symbol->st_shndx == SHN_ABS || builder->fixed[binding->object];
}

/* Whether the file of HOLDER has, or will have, VALUE at ADDR. */
static bool holds(const struct fp_table_builder *builder, const struct fp_holder *holder,
		  fp_addr addr, uint64_t value)
{
	return (builder->planned && builder->planned[holder->index]) ||
	       held_word(holder->object, addr) == value;
}

static void add_row(struct fp_holder *holder, fp_addr addr, uint8_t target, uint64_t value)
{
	holder->slots[holder->run_count] = (uint32_t)(addr - fp_object_base(holder->object));
	holder->values[holder->run_count] = (uint32_t)value;
	holder->targets[holder->run_count++] = target;
}

/* The file of a shifted library holds these; a row is for those of another origin. */
static int bind_relative(struct fp_table_builder *builder, struct fp_holder *holder,
			 const Elf64_Rela *rela)
{
	uint64_t value = (uint64_t)rela->r_addend - fp_object_base(holder->object);
	uint8_t target;

	if (holds(builder, holder, rela->r_offset, (uint64_t)rela->r_addend))
		return 0;
	target = fp_holder_target(holder, holder->index);
	if (target == FP_TARGET_RESIDUAL || value > UINT32_MAX)
		return fp_holder_leave(builder, holder, rela);
	add_row(holder, rela->r_offset, target, value);
	return 0;
}

/* Binds one word.  The first reference to a unique symbol is residual in any case: libraries that are opened later look
   into ld.so's table. */
static int bind_word(struct fp_table_builder *builder, struct fp_holder *holder,
		     const Elf64_Rela *rela, const struct fp_reloc_type *type,
		     const struct fp_binding *binding)
{
	uint64_t addend = type->kind == FP_RELOC_WORD ? (uint64_t)rela->r_addend : 0, known;
	uint32_t value;
	uint8_t target;

	if (is_known(builder, binding, &known) &&
	    holds(builder, holder, rela->r_offset, known + addend)) {
		builder->counts.resolved++;
		return binding->first_unique ? fp_holder_leave(builder, holder, rela) : 0;
	}
	fp_holder_encode(builder, holder, binding, &value, &target);
	if (target == FP_TARGET_RESIDUAL || value + addend > UINT32_MAX ||
	    (target == FP_TARGET_IFUNC && addend))
		return fp_holder_leave(builder, holder, rela);
	builder->counts.resolved++;
	add_row(holder, rela->r_offset, target, value + addend);
	return binding->first_unique ? fp_holder_leave(builder, holder, rela) : 0;
}

int fp_rows_bind(struct fp_table_builder *builder, struct fp_holder *holder,
		 const Elf64_Rela *table, size_t count)
{
	const struct fp_machine *machine = holder->object->machine;
	uint64_t reference = UINT64_MAX;
	struct fp_binding binding = { 0 };
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		const Elf64_Rela *rela = &table[i];
		const struct fp_reloc_type *type =
			fp_machine_reloc(machine, (uint32_t)ELF64_R_TYPE(rela->r_info));
		uint64_t asked = fp_reference(rela->r_info, type->kind == FP_RELOC_JUMP_SLOT);

		if (type->kind == FP_RELOC_NONE)
			continue;
		if (type->kind == FP_RELOC_RELATIVE) {
			/* The leading ones are counted already (fp_table_count_object). */
			if (table != holder->object->rela.rela ||
			    i >= holder->object->relative_count) {
				builder->counts.relative++;
				builder->counts.resolved++;
			}
			error = bind_relative(builder, holder, rela);
			continue;
		}
		if (!fp_reloc_is_word(type)) {
			/* ld.so will look it up: that may enter a unique symbol. */
			struct fp_binding other;

			if (type->has_symbol && ELF64_R_SYM(rela->r_info))
				error = fp_bind(builder->binder, holder->index,
						(uint32_t)ELF64_R_SYM(rela->r_info),
						type->lookup_class, &other);
			if (!error)
				error = fp_holder_leave(builder, holder, rela);
			continue;
		}
		if (asked != reference) {
			reference = asked;
			builder->counts.symbols++;
			error = fp_bind(builder->binder, holder->index,
					(uint32_t)ELF64_R_SYM(rela->r_info), type->lookup_class,
					&binding);
		}
		if (!error)
			error = bind_word(builder, holder, rela, type, &binding);
		binding.first_unique = false;
	}
	return error;
}

/* True when OBJECT runs code of its own at start: the first function of DT_INIT_ARRAY comes with the compiler's
   start files. */
static bool has_constructors(const struct fp_object *object)
{
	for (size_t i = 0; i < object->dynamic_count; i++)
		if (object->dynamic[i].d_tag == DT_INIT_ARRAYSZ)
			return object->dynamic[i].d_un.d_val > WORD;
	return false;
}

/* True when one of the first COUNT rows writes to the page that starts PAGE bytes behind the object's start. */
static bool has_row(const struct fp_holder *holder, uint32_t count, uint64_t page)
{
	for (uint32_t i = 0; i < count; i++)
		if ((holder->slots[i] & -holder->object->machine->page_size) == page)
			return true;
	return false;
}

/* Binds the slot of RELA ahead of its first call; one that ld.so might have something to say about stays lazy. */
static int bind_slot(struct fp_table_builder *builder, struct fp_holder *holder,
		     const Elf64_Rela *rela)
{
	struct fp_binding binding;
	uint32_t value;
	uint8_t target;
	int error = fp_bind_lazy(builder->binder, holder->index,
				 (uint32_t)ELF64_R_SYM(rela->r_info), &binding);

	if (error || binding.bound != FP_BOUND_SYMBOL ||
	    ELF64_ST_BIND(binding.symbol->st_info) == STB_GNU_UNIQUE)
		return error;
	fp_holder_encode(builder, holder, &binding, &value, &target);
	if (target != FP_TARGET_RESIDUAL)
		add_row(holder, rela->r_offset, target, value);
	return 0;
}

int fp_rows_bind_ahead(struct fp_table_builder *builder, struct fp_holder *holder)
{
	const struct fp_object *object = holder->object;
	bool constructors = has_constructors(object), written = false;
	uint64_t page = UINT64_MAX;
	uint32_t rows = holder->run_count;
	int error = 0;

	for (size_t i = 0; i < object->jmprel.count && !error; i++) {
		const Elf64_Rela *rela = &object->jmprel.rela[i];
		uint64_t on =
			(rela->r_offset - fp_object_base(object)) & -object->machine->page_size;

		if (on != page) {
			page = on;
			written = constructors || has_row(holder, rows, page);
		}
		if (written && ELF64_R_SYM(rela->r_info))
			error = bind_slot(builder, holder, rela);
	}
	return error;
}
