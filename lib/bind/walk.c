/* walk.c - goes through what ld.so looks up when it relocates, in its order (glibc elf/do-rel.h:elf_dynamic_do_Rel). */
#include <errno.h>
#include <stdlib.h>

#include "bind.h"

/* The answer to the last look-up of an object serves relocations with the same symbol and class that
   follow (elf/dl-reloc.c:RESOLVE_MAP, l_lookup_cache). */
struct last_lookup {
	uint32_t symbol; /* 0: none yet */
	uint8_t lookup_class;
};

static int bind_table(const struct fp_closure *closure, struct fp_binder *binder, size_t holder,
		      const struct fp_rela_table *table, size_t first, struct last_lookup *last,
		      fp_reference_visit *visit, void *context)
{
	const struct fp_object *object = closure->members[holder].object;
	int error = 0;

	for (size_t i = first; i < table->count && !error; i++) {
		uint64_t info = table->rela[i].r_info;
		uint32_t symbol = (uint32_t)ELF64_R_SYM(info);
		struct fp_reference reference = {
			.holder = holder,
			.symbol = &object->symtab[symbol],
			.type = fp_machine_reloc(object->machine, (uint32_t)ELF64_R_TYPE(info)),
		};
		uint8_t lookup_class = reference.type->lookup_class;

		if (!reference.type->has_symbol || !symbol || !fp_bind_looks_up(reference.symbol) ||
		    (last->symbol == symbol && last->lookup_class == lookup_class))
			continue;
		*last = (struct last_lookup){ symbol, lookup_class };
		reference.version = fp_bind_version(object, symbol);
		error = fp_bind(binder, holder, symbol, lookup_class, &reference.binding);
		if (!error && visit)
			error = visit(&reference, context);
	}
	return error;
}

int fp_bind_object(const struct fp_closure *closure, struct fp_binder *binder, size_t holder,
		   bool now, fp_reference_visit *visit, void *context)
{
	const struct fp_object *object = closure->members[holder].object;
	struct last_lookup last = { 0 };
	int error = bind_table(closure, binder, holder, &object->rela, object->relative_count,
			       &last, visit, context);

	return error || !now ? error
			     : bind_table(closure, binder, holder, &object->jmprel, 0, &last, visit,
					  context);
}

/* ld.so relocates itself a second time only where it is one of the libraries (elf/rtld.c:dl_main). */
int fp_bind_closure(const struct fp_closure *closure, struct fp_binder *binder,
		    fp_reference_visit *visit, void *context)
{
	size_t *order = calloc(closure->count, sizeof(size_t));
	int error = order ? 0 : -ENOMEM;

	for (size_t i = 0; i < closure->count && !error; i++)
		order[closure->members[i].relocation_rank] = i;
	for (size_t i = 0; i < closure->count && !error; i++)
		if (!closure->members[order[i]].is_loader || closure->loader_listed)
			error = fp_bind_object(closure, binder, order[i], true, visit, context);
	free(order);
	return error;
}
