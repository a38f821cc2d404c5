/* fill.c - fills the words of the objects from the table.
   SPDX-License-Identifier: 0BSD */
#include "rt.h"

/* What filling the words of one holder needs at hand. */
struct holder {
	const struct fp_table_object *object;
	uint64_t bias;
	const uint32_t *values;
	const uint8_t *targets;
	const uint64_t *target_bases; /* by target code */
	const uint64_t *ifuncs;       /* results */
};

static void fill_relr(const uint64_t *relr, uint64_t count, uint64_t bias)
{
	uint64_t *where = NULL;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t entry = relr[i];

		if ((entry & 1) == 0) {
			where = (uint64_t *)(bias + entry);
			*where++ += bias;
			continue;
		}
		for (uint64_t *word = where; (entry >>= 1) != 0; word++)
			if (entry & 1)
				*word += bias;
		where += 63;
	}
}

static void fill_relative(const Elf64_Rela *rela, uint64_t count, uint64_t bias)
{
	for (uint64_t i = 0; i < count; i++)
		*(uint64_t *)(bias + rela[i].r_offset) = bias + (uint64_t)rela[i].r_addend;
}

/* Fills the words of COUNT relocations whose first symbol run is RUN; returns the run behind the last one. */
static uint64_t fill_words(const struct holder *holder, const Elf64_Rela *rela, uint64_t count,
			   uint64_t run)
{
	uint64_t reference = UINT64_MAX, value = 0, bias = holder->bias;
	int residual = 0;

	for (const Elf64_Rela *end = rela + count; rela < end; rela++) {
		uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);

		if (type == RELOC_RELATIVE) {
			*(uint64_t *)(bias + rela->r_offset) = bias + (uint64_t)rela->r_addend;
			continue;
		}
		if (type != RELOC_WORD && type != RELOC_SLOT && type != RELOC_JUMP_SLOT)
			continue;
		if (fp_reference(rela->r_info, type == RELOC_JUMP_SLOT) != reference) {
			uint8_t target = holder->targets[run];

			reference = fp_reference(rela->r_info, type == RELOC_JUMP_SLOT);
			value = holder->values[run++];
			residual = target == FP_TARGET_RESIDUAL;
			if (target == FP_TARGET_IFUNC)
				value = holder->ifuncs[value];
			else
				value += holder->target_bases[target];
		}
		if (!residual)
			*(uint64_t *)(bias + rela->r_offset) =
				value + (type == RELOC_WORD ? (uint64_t)rela->r_addend : 0);
	}
	return run;
}

/* Writes the words of a fixed object that its file does not hold. */
static void fill_rows(const struct holder *holder, const uint32_t *slots, uint64_t start)
{
	for (uint32_t i = 0; i < holder->object->run_count; i++) {
		uint8_t target = holder->targets[i];
		uint64_t value = holder->values[i];

		*(uint64_t *)(start + slots[i]) = target == FP_TARGET_IFUNC
							  ? holder->ifuncs[value]
							  : value + holder->target_bases[target];
	}
}

static void set_entry(Elf64_Dyn *dynamic, uint16_t entry, uint64_t value)
{
	if (entry != FP_NO_ENTRY)
		dynamic[entry].d_un.d_val = value;
}

/* Leaves ld.so the residual relocations only.  It reads these entries when it comes to the object (glibc
   elf/dynamic-link.h:_ELF_DYNAMIC_DO_RELOC). */
static void cut_relocations(const struct fp_table *table, const struct fp_table_object *object,
			    const struct link_map *map, int lazy)
{
	Elf64_Dyn *dynamic = (Elf64_Dyn *)map->l_ld;

	/* Even an empty table moves: where DT_RELA stood, ld.so could take it for a neighbour of DT_JMPREL. */
	set_entry(dynamic, object->rela_entry, (uint64_t)table + object->residual);
	set_entry(dynamic, object->relasz_entry, object->residual_count * sizeof(Elf64_Rela));
	set_entry(dynamic, object->relacount_entry, 0);
	set_entry(dynamic, object->relrsz_entry, 0);
	if ((object->flags & FP_OBJECT_BIND_NOW) || (lazy && (object->flags & FP_OBJECT_NO_LAZY)))
		set_entry(dynamic, object->pltrelsz_entry, 0);
}

static void fill_object(const struct fp_table *table, const struct fp_table_object *object,
			const struct link_map *map, const uint64_t *bases, const uint64_t *ifuncs,
			int lazy)
{
	const char *start = (const char *)table;
	const uint16_t *list = (const uint16_t *)(start + object->target_list);
	uint64_t target_bases[FP_TARGET_FIRST + FP_MAX_TARGETS], run;
	const Elf64_Rela *rela = (const Elf64_Rela *)(map->l_addr + object->rela);
	struct holder holder = {
		.object = object,
		.bias = map->l_addr,
		.values = (const uint32_t *)(start + object->values),
		.targets = (const uint8_t *)(start + object->targets),
		.target_bases = target_bases,
		.ifuncs = ifuncs,
	};

	target_bases[FP_TARGET_RESIDUAL] = target_bases[FP_TARGET_ABSOLUTE] = 0;
	for (uint32_t i = 0; i < object->target_count; i++)
		target_bases[FP_TARGET_FIRST + i] = bases[list[i]];

	if (object->flags & FP_OBJECT_ROWS) {
		fill_rows(&holder, (const uint32_t *)(start + object->slots), object->base);
		cut_relocations(table, object, map, lazy);
		return;
	}
	fill_relr((const uint64_t *)(map->l_addr + object->relr), object->relr_count, map->l_addr);
	if (object->relative_words)
		fill_relr((const uint64_t *)(start + object->relative), object->relative_words,
			  map->l_addr);
	else
		fill_relative(rela, object->relative_count, map->l_addr);
	run = fill_words(&holder, rela + object->relative_count,
			 object->rela_count - object->relative_count, 0);
	if (object->flags & FP_OBJECT_BIND_NOW)
		fill_words(&holder, (const Elf64_Rela *)(map->l_addr + object->jmprel),
			   object->jmprel_count, run);
	cut_relocations(table, object, map, lazy);
}

void accelerate(const struct fp_table *table, const struct link_map *const *maps, int lazy)
{
	const struct fp_table_object *objects = table_objects(table);
	const struct fp_table_ifunc *functions =
		(const struct fp_table_ifunc *)((const char *)table + table->ifuncs);
	uint64_t bases[table->object_count], ifuncs[table->ifunc_count + 1];

	for (uint32_t i = 0; i < table->object_count; i++)
		bases[i] = maps[i]->l_addr + objects[i].base;
	prepare_pages(table, maps);
	/* The resolvers lie in objects that are relocated by now, so none of them waits for our words. */
	for (uint32_t i = 0; i < table->ifunc_count; i++)
		ifuncs[i] =
			((uint64_t(*)(void))(bases[functions[i].object] + functions[i].value))();
	for (uint32_t i = 0; i < table->object_count; i++)
		if (objects[i].flags & FP_OBJECT_FILL)
			fill_object(table, &objects[i], maps[i], bases, ifuncs, lazy);
}
