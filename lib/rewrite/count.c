/* count.c - which objects the runtime fills, and what that amounts to. */
#include "table.h"

/* True when ADDR lies in a writable segment; *LAST remembers the one that was found. */
static bool is_writable(const struct fp_object *object, fp_addr addr, const Elf64_Phdr **last)
{
	if (*last && addr >= (*last)->p_vaddr && addr - (*last)->p_vaddr < (*last)->p_memsz)
		return true;
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type == PT_LOAD && (p->p_flags & PF_W) && addr >= p->p_vaddr &&
		    addr - p->p_vaddr < p->p_memsz) {
			*last = p;
			return true;
		}
	}
	return false;
}

struct relr_words {
	const struct fp_object *object;
	const Elf64_Phdr *last;
	bool writable;
	uint64_t count;
};

static void visit_relr(fp_addr addr, void *context)
{
	struct relr_words *words = context;

	words->count++;
	words->writable &= is_writable(words->object, addr, &words->last);
}

/* True when everything the runtime would write in OBJECT lies in segments that are writable at start. */
static bool words_are_writable(const struct fp_object *object)
{
	struct relr_words relr = { .object = object, .writable = !object->rela_unwritable };

	fp_object_each_relr(object, visit_relr, &relr);
	return relr.writable;
}

/* Whether the runtime fills the words of member INDEX.  Objects that ld.so relocates before the carrier may be
   read-only by the time the stub runs; only those that depend on the carrier are certain to come after it. */
bool fp_table_fills(const struct fp_closure *closure, size_t index, size_t carrier)
{
	const struct fp_member *member = &closure->members[index];
	const struct fp_object *object = member->object;

	return !member->is_loader && index != carrier &&
	       member->relocation_rank > closure->members[carrier].relocation_rank &&
	       fp_closure_reaches(closure, index, carrier) && object->dynamic_writable &&
	       !(object->flags & DF_TEXTREL) && object->rela.count && words_are_writable(object);
}

void fp_table_count_object(const struct fp_object *object, bool filled,
			   struct fp_table_counts *counts)
{
	struct relr_words words = { .object = object };
	uint64_t relr;

	fp_object_each_relr(object, visit_relr, &words);
	relr = words.count;
	counts->relocations += object->rela.count + object->jmprel.count + relr;
	if (!filled) {
		counts->left_objects++;
		return;
	}
	counts->relative += object->relative_count + relr;
	counts->resolved += object->relative_count + relr;
	if (!fp_object_binds_now(object))
		counts->lazy += object->jmprel.count;
}

/* How often the COUNT relocations of TABLE begin to refer to another symbol: ld.so remembers the last answer (glibc
   elf/dl-reloc.c:RESOLVE_MAP). */
static uint64_t count_symbols(const struct fp_object *object, const Elf64_Rela *table, size_t count)
{
	uint64_t reference = UINT64_MAX, symbols = 0;

	for (size_t i = 0; i < count; i++) {
		const struct fp_reloc_type *type =
			fp_machine_reloc(object->machine, (uint32_t)ELF64_R_TYPE(table[i].r_info));
		uint64_t asked = fp_reference(table[i].r_info, type->kind == FP_RELOC_JUMP_SLOT);

		symbols += type->has_symbol && asked != reference;
		reference = type->has_symbol ? asked : reference;
	}
	return symbols;
}

void fp_table_count(const struct fp_closure *closure, size_t carrier,
		    struct fp_table_counts *ret_counts)
{
	*ret_counts = (struct fp_table_counts){ 0 };
	for (size_t i = 0; i < closure->count; i++) {
		const struct fp_object *object = closure->members[i].object;
		bool filled = fp_table_fills(closure, i, carrier);

		fp_table_count_object(object, filled, ret_counts);
		if (filled) {
			const Elf64_Rela *rela = object->rela.rela + object->relative_count;
			uint64_t words = object->rela.count - object->relative_count;

			ret_counts->resolved += words;
			ret_counts->symbols += count_symbols(object, rela, words);
			if (fp_object_binds_now(object)) {
				ret_counts->resolved += object->jmprel.count;
				ret_counts->symbols += count_symbols(object, object->jmprel.rela,
								     object->jmprel.count);
			}
		}
	}
}

void fp_table_recount(const struct fp_table *table, const struct fp_closure *closure,
		      size_t carrier, struct fp_table_counts *ret_counts)
{
	const struct fp_table_object *records =
		(const struct fp_table_object *)((const char *)table + table->objects);

	fp_table_count(closure, carrier, ret_counts);
	ret_counts->resolved = table->word_count;
	for (uint32_t i = 0; i < table->object_count; i++)
		if (records[i].flags & FP_OBJECT_FILL) {
			ret_counts->residual += records[i].residual_count;
			if (records[i].flags & FP_OBJECT_ROWS)
				ret_counts->rows += records[i].run_count;
		}
}
