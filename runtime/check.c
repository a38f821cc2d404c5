/* check.c - whether what ld.so mapped is exactly what was prelinked.
   SPDX-License-Identifier: 0BSD */
#include "rt.h"

int table_is_known(const struct fp_table *table, uint64_t size)
{
	return size >= sizeof(*table) && table->magic == FP_TABLE_MAGIC &&
	       table->version == FP_TABLE_VERSION && table->size <= size &&
	       table->size >= sizeof(*table) && table->size % 8 == 0 && table->object_count &&
	       table->object_count <= FP_MAX_OBJECTS && table->carrier < table->object_count &&
	       table->loader < table->object_count && table->objects >= sizeof(*table) &&
	       table->objects <= table->size && table->objects % 8 == 0 &&
	       table->object_count <=
		       (table->size - table->objects) / sizeof(struct fp_table_object);
}

/* The link map's list as the debugger interface shows it (glibc elf/link.h, gABI "Dynamic Linking"). */
static const struct r_debug *find_debug(const struct start *start)
{
	if (start->dynamic)
		for (const Elf64_Dyn *d = start->dynamic; d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_DEBUG)
				return (const struct r_debug *)d->d_un.d_ptr;
	return NULL;
}

/* Pass one over the link map: as many objects as recorded, each with its dynamic section where it is recorded.  Notes
   their maps in MAPS. */
static enum fp_decline match_list(struct start *start, const struct r_debug *debug,
				  const struct link_map **maps)
{
	const struct fp_table_object *objects = table_objects(start->table);
	uint64_t count = 0;

	for (const struct link_map *map = debug->r_map; map; map = map->l_next) {
		/* The vDSO is no file; ld.so shows it behind the program. */
		if (start->vdso && map->l_addr == start->vdso)
			continue;
		if (count == start->table->object_count)
			return FP_DECLINE_OBJECT_COUNT;
		if ((uint64_t)map->l_ld - map->l_addr != objects[count].dynamic) {
			start->differing = map->l_name;
			return FP_DECLINE_OBJECT_DIFFERS;
		}
		if ((objects[count].flags & FP_OBJECT_FIXED) && map->l_addr != 0) {
			start->differing = map->l_name;
			return FP_DECLINE_DISPLACED;
		}
		maps[count++] = map;
	}
	if (count != start->table->object_count)
		return FP_DECLINE_OBJECT_COUNT;
	return maps[0]->l_addr == start->program_bias &&
			       maps[start->table->loader]->l_addr == start->loader_base
		       ? FP_ACCELERATED
		       : FP_DECLINE_OBJECT_DIFFERS;
}

/* Pass two: the dynamic sections, which ld.so has read, have the recorded shapes. */
static enum fp_decline match_shapes(struct start *start, const struct link_map *const *maps)
{
	const struct fp_table_object *objects = table_objects(start->table);

	for (uint64_t i = 0; i < start->table->object_count; i++) {
		const struct fp_table_object *o = &objects[i];
		const Elf64_Dyn *dynamic = maps[i]->l_ld;
		uint32_t entries = 0;

		start->differing = maps[i]->l_name;
		while (entries < o->dynamic_count && dynamic[entries].d_tag != DT_NULL)
			entries++;
		if (entries != o->dynamic_count || dynamic[entries].d_tag != DT_NULL ||
		    fp_shape(dynamic, entries) != o->shape)
			return FP_DECLINE_OBJECT_DIFFERS;
	}
	return FP_ACCELERATED;
}

/* Pass three: each is the recorded build.  Only when the dynamic section is the recorded one are these bytes certain to be
   mapped; and their pages are touched for the first time. */
static enum fp_decline match_identities(struct start *start, const struct link_map *const *maps)
{
	const struct fp_table_object *objects = table_objects(start->table);

	for (uint64_t i = 0; i < start->table->object_count; i++) {
		const struct fp_table_object *o = &objects[i];

		start->differing = maps[i]->l_name;
		if (fp_identity((const void *)(maps[i]->l_addr + o->identity_start),
				o->identity_size) != o->identity)
			return FP_DECLINE_OBJECT_DIFFERS;
	}
	return FP_ACCELERATED;
}

/* Whether the stub that called lies in the recorded carrier: no other object starts between the carrier's start and the stub. */
static int is_carrier(const struct start *start, const struct link_map *const *maps)
{
	const struct fp_table_object *objects = table_objects(start->table);
	uint64_t stub = (uint64_t)start->stub;
	uint64_t carrier =
		maps[start->table->carrier]->l_addr + objects[start->table->carrier].base;

	for (uint64_t i = 0; i < start->table->object_count; i++) {
		uint64_t at = maps[i]->l_addr + objects[i].base;

		if (at > carrier && at <= stub)
			return 0;
	}
	return stub >= carrier;
}

enum fp_decline check(struct start *start, const struct link_map **maps)
{
	const struct fp_table *table = start->table;
	const struct r_debug *debug;
	enum fp_decline decline;

	if (start->secure)
		return FP_DECLINE_SECURE;
	if (!start->loader_base)
		return FP_DECLINE_LOADER_COMMAND;
	debug = find_debug(start);
	if (!debug || debug->r_version < 1 || !debug->r_map)
		return FP_DECLINE_NO_DEBUG;
	if (debug->r_state != RT_ADD)
		return FP_DECLINE_NOT_STARTING;
	/* The objects' records are few, and what they say is followed; the rest is large, and comes last. */
	if (fp_table_head(table) != table->head)
		return FP_DECLINE_CHECKSUM;
	decline = match_list(start, debug, maps);
	if (decline)
		return decline;
	if (!is_carrier(start, maps))
		return FP_DECLINE_CARRIER;
	decline = match_shapes(start, maps);
	if (!decline)
		decline = match_identities(start, maps);
	if (decline)
		return decline;
	return fp_table_checksum(table) == table->checksum ? FP_ACCELERATED : FP_DECLINE_CHECKSUM;
}
