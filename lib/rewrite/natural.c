/* natural.c - writes into a fixed library what its references bind to when it is loaded alone.

   Most programs bind a library's references as the library alone would.  Where one does not (a symbol is interposed, or
   copied into the program), its table has a row for the word: it is the comparison with what the file holds that makes
   the rows (rows.c), so nothing depends on what is written here but how many there are. */
#include "natural.h"

#include <errno.h>
#include <fastprelink/abi.h>
#include <string.h>

#include "../bind/bind.h"

struct filler {
	struct fp_image *image;
	const struct fp_natural *natural;
	struct fp_binder *binder;
};

/* What BINDING is at the fixed addresses; false when that is known at start only.  The objects of the closure may stand
   at other addresses in their files than the ones they get. */
static bool is_known(const struct fp_natural *natural, const struct fp_binding *binding,
		     fp_addr *ret_value)
{
	const Elf64_Sym *symbol = binding->symbol;
	fp_addr base;

	*ret_value = 0;
	if (binding->bound == FP_BOUND_NOTHING)
		return true;
	if (binding->bound != FP_BOUND_SYMBOL || ELF64_ST_TYPE(symbol->st_info) == STT_TLS ||
	    ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
		return false;
	*ret_value = symbol->st_value;
	if (symbol->st_shndx == SHN_ABS)
		return true;
	base = natural->bases[binding->object];
	*ret_value += base - fp_object_base(natural->closure->members[binding->object].object);
	return base != 0;
}

static int fill_table(const struct filler *filler, const struct fp_rela_table *table)
{
	const struct fp_object *original = filler->image->original;
	uint64_t reference = UINT64_MAX;
	fp_addr value = 0;
	bool known = false;

	for (size_t i = 0; i < table->count; i++) {
		const Elf64_Rela *rela = &table->rela[i];
		const struct fp_reloc_type *type =
			fp_machine_reloc(original->machine, (uint32_t)ELF64_R_TYPE(rela->r_info));
		uint64_t asked = fp_reference(rela->r_info, type->kind == FP_RELOC_JUMP_SLOT);
		const unsigned char *word;
		uint64_t result;

		if (!fp_reloc_is_word(type))
			continue;
		if (asked != reference) {
			struct fp_binding binding;
			int error = fp_bind(filler->binder, 0, (uint32_t)ELF64_R_SYM(rela->r_info),
					    type->lookup_class, &binding);

			if (error)
				return error;
			reference = asked;
			known = is_known(filler->natural, &binding, &value);
			/* Without a symbol there is only the load bias (psABI, symbol index 0). */
			if (!ELF64_R_SYM(rela->r_info))
				value = filler->natural->bases[0] - fp_object_base(original);
		}
		word = fp_object_at(original, rela->r_offset, sizeof(result));
		if (!known || !word)
			continue;
		result = value + (type->kind == FP_RELOC_WORD ? (uint64_t)rela->r_addend : 0);
		memcpy(filler->image->file.bytes + (word - original->image), &result,
		       sizeof(result));
	}
	return 0;
}

int fp_natural_apply(struct fp_image *image, const struct fp_natural *natural, struct fp_why *why)
{
	const struct fp_object *original = image->original;
	struct filler filler = { .image = image, .natural = natural };
	int error;

	/* The file on disk may be a rewritten one, but its symbols must be those of the original. */
	if (natural->closure->members[0].object->symbol_count != original->symbol_count)
		return fp_why_set(why, FP_REASON_CHANGED, original->path, "%s", "");
	error = fp_binder_new(natural->closure, &filler.binder, why);
	if (error)
		return error;
	error = fill_table(&filler, &original->rela);
	if (!error && fp_object_binds_now(original))
		error = fill_table(&filler, &original->jmprel);
	fp_binder_free(filler.binder);
	return error ? fp_why_system(why, -error, original->path, "bind") : 0;
}
