/* closure.c - a program and everything that ld.so loads with it, in ld.so's order.

   The list starts with the program and the preloaded libraries; each object of it, in turn,
   appends what it needs and is not in it yet (glibc elf/dl-deps.c:_dl_map_object_deps).  The
   link map list that the process shows has the same order: ld.so itself, which is there from the
   start, is moved to where it is first needed (elf/rtld.c:dl_main).  Objects that name filters
   are refused: they would be put before the object that names them, and ld.so has open bugs
   there. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 64 };

static int no_memory(const struct fp_object *object, struct fp_why *why)
{
	return fp_why_system(why, ENOMEM, object->path, "read");
}

static int check_program(const struct fp_object *object, struct fp_why *why)
{
	if (!object->interpreter && object->ehdr->e_type == ET_DYN && object->dynamic &&
	    !(object->flags_1 & DF_1_PIE))
		return fp_why_set(why, FP_REASON_NOT_EXECUTABLE, object->path, "%s", "");
	if (!object->interpreter || !object->dynamic)
		return fp_why_set(why, FP_REASON_STATIC, object->path, "%s", "");
	if (!fp_object_is_program(object))
		return fp_why_set(why, FP_REASON_NOT_EXECUTABLE, object->path, "%s", "");
	if (object->has_audit)
		return fp_why_set(why, FP_REASON_AUDITED, object->path, "%s", "");
	if (object->interpreter[0] != '/')
		return fp_why_set(why, FP_REASON_UNSUPPORTED, object->path,
				  "interpreter %s depends on the current directory",
				  object->interpreter);
	return 0;
}

static int check_library(const struct fp_object *object, struct fp_why *why)
{
	if (fp_object_is_program(object) || object->ehdr->e_type != ET_DYN)
		return fp_why_set(why, FP_REASON_NOT_LIBRARY, object->path, "%s", "");
	if (!object->dynamic)
		return fp_why_set(why, FP_REASON_STATIC, object->path, "%s", "");
	return 0;
}

/* Makes the two nodes that are there before anything is searched: the program and its interpreter.
   */
static int start(struct fp_search *search, struct fp_object *program, struct fp_why *why)
{
	const char *root = search->loader->root.prefix;
	const char *usual = search->alone ? program->machine->interpreter : program->interpreter;
	struct fp_object *interpreter;
	struct fp_tokens tokens;
	struct fp_node *node;
	int error = search->alone ? check_library(program, why) : check_program(program, why);

	if (error)
		return error;
	error = fp_loader_try(search->loader, usual, &interpreter, why);
	if (error > 0)
		return fp_why_set(why, FP_REASON_MISSING_LIBRARY, program->path, "%s", usual);
	if (!error && interpreter == program)
		return fp_why_set(why, FP_REASON_NOT_LIBRARY, program->path, "%s", "");
	if (!error)
		error = fp_interpreter_get(search->loader, interpreter, &search->interpreter, why);
	if (error)
		return error;
	/* A program's link map has an empty name, which no library is asked for by; its DT_SONAME counts.
	   $ORIGIN is the directory of /proc/self/exe, the real path (glibc
	   sysdeps/unix/sysv/linux/dl-origin.c:_dl_get_origin). */
	node = fp_search_add(search, program, program->path + strlen(root),
			     program->path + strlen(root), NULL);
	if (!node)
		return no_memory(program, why);
	if (!search->alone) {
		node->names->text = "";
		node->names->hash = 0;
	}
	/* Known by the name in PT_INTERP and by its DT_SONAME. */
	node = fp_search_add(search, interpreter, usual, usual, NULL);
	if (!node)
		return no_memory(program, why);
	node->names->next = node->soname;
	node->soname_added = true;
	if (!search->loader->library_path || !*search->loader->library_path)
		return 0;
	tokens = fp_search_tokens(search, search->nodes[0]);
	if (fp_dirs_split(search->loader->library_path, ":;", &tokens, &search->scratch,
			  &search->library_path) != 0)
		return no_memory(program, why);
	return 0;
}

static int append(struct fp_search *search, struct fp_node *node, size_t *space)
{
	struct fp_node **list;

	if (node->listed)
		return 0;
	if (search->list_count == *space) {
		*space = *space ? *space * 2 : 64;
		list = fp_arena_array(&search->scratch, *space, sizeof(struct fp_node *));
		if (!list)
			return -ENOMEM;
		if (search->list_count)
			memcpy(list, search->list, search->list_count * sizeof(*list));
		search->list = list;
	}
	node->listed = true;
	search->list[search->list_count++] = node;
	return 0;
}

static bool has_filter(const struct fp_object *object)
{
	for (size_t i = 0; i < object->dynamic_count; i++)
		if (object->dynamic[i].d_tag == DT_AUXILIARY ||
		    object->dynamic[i].d_tag == DT_FILTER)
			return true;
	return false;
}

/* Loads what NODE needs and appends it. */
static int append_needed(struct fp_search *search, struct fp_node *node, size_t *space,
			 struct fp_why *why)
{
	struct fp_object *object = node->object;
	struct fp_tokens tokens = fp_search_tokens(search, node);

	if (has_filter(object))
		return fp_why_set(why, FP_REASON_UNSUPPORTED, object->path,
				  "names a filter or an auxiliary library");
	node->needed = fp_arena_array(&search->scratch, object->needed_count + 1,
				      sizeof(struct fp_node *));
	if (!node->needed)
		return no_memory(object, why);
	for (size_t i = 0; i < object->needed_count; i++) {
		const char *name = object->needed[i];
		bool found = false;
		int error;

		if (strchr(name, '$')) {
			name = fp_tokens_expand(&tokens, &search->scratch, name, &found);
			if (!name)
				return no_memory(object, why);
			if (found && !*name)
				return fp_why_set(why, FP_REASON_MISSING_LIBRARY, object->path,
						  "%s", object->needed[i]);
		}
		error = fp_search_load(search, node, name, &node->needed[i], why);
		if (error)
			return error;
		if (append(search, node->needed[i], space) != 0)
			return no_memory(object, why);
		node->needed_count++;
	}
	return 0;
}

/* Fills the breadth-first list.  At the end ld.so is in it, at the end when nothing needs it. */
static int build_list(struct fp_search *search, bool *ret_loader_listed, struct fp_why *why)
{
	const struct fp_object *program = search->nodes[0]->object;
	size_t space = 0;
	int error = search->alone ? 0 : fp_search_preload(search, why);

	if (error)
		return error;
	if (append(search, search->nodes[0], &space) != 0)
		return no_memory(program, why);
	for (size_t i = 2; i < search->node_count; i++)
		if (append(search, search->nodes[i], &space) != 0)
			return no_memory(program, why);
	for (size_t i = 0; i < search->list_count; i++) {
		error = append_needed(search, search->list[i], &space, why);
		if (error)
			return error;
	}
	*ret_loader_listed = search->nodes[1]->listed || search->interpreter->glibc_minor >= 41;
	return append(search, search->nodes[1], &space) == 0 ? 0 : no_memory(program, why);
}

static int fill_dependencies(struct fp_closure *closure, struct fp_member *member,
			     const struct fp_node *node)
{
	member->dependencies =
		fp_arena_array(&closure->arena, node->needed_count, sizeof(*member->dependencies));
	if (!member->dependencies)
		return -ENOMEM;
	for (size_t i = 0; i < node->needed_count; i++) {
		unsigned index = (unsigned)node->needed[i]->index;
		size_t known = 0;

		while (known < member->dependency_count && member->dependencies[known] != index)
			known++;
		if (known == member->dependency_count)
			member->dependencies[member->dependency_count++] = index;
	}
	return 0;
}

static int fill_members(struct fp_closure *closure, const struct fp_search *search,
			struct fp_node **order)
{
	closure->count = search->list_count;
	closure->members =
		fp_arena_array(&closure->arena, closure->count, sizeof(*closure->members));
	if (!closure->members)
		return -ENOMEM;
	for (size_t i = 0; i < closure->count; i++)
		search->list[i]->index = i;
	for (size_t i = 0; i < closure->count; i++) {
		const struct fp_node *node = search->list[i];
		struct fp_member *member = &closure->members[i];

		member->object = node->object;
		member->name = node->path;
		member->soname = node->object->soname ? node->object->soname
				 : i                  ? node->names->text
						      : node->path;
		member->is_loader = node == search->nodes[1];
		if (fill_dependencies(closure, member, node) != 0)
			return -ENOMEM;
	}
	for (size_t rank = 0; rank < closure->count; rank++)
		closure->members[order[rank]->index].relocation_rank = (unsigned)rank;
	closure->alone = search->alone;
	closure->trace = search->trace;
	closure->trace.cache_path =
		fp_arena_string(&closure->arena, search->interpreter->cache_path);
	if (!closure->trace.cache_path)
		return -ENOMEM;
	closure->loader_index = search->nodes[1]->index;
	closure->glibc_minor = search->interpreter->glibc_minor;
	return 0;
}

/* Fills the rows of bits: each member's is its own bit and the rows of its dependencies.  In the
   order of relocation dependencies come first, so that, but for cycles, one round is enough. */
static int fill_reach(struct fp_closure *closure, struct fp_node **order)
{
	size_t words = (closure->count + BITS - 1) / BITS;
	bool changed = true;

	closure->reach = fp_arena_array(&closure->arena, closure->count * words, sizeof(uint64_t));
	if (!closure->reach)
		return -ENOMEM;
	for (size_t i = 0; i < closure->count; i++)
		closure->reach[i * words + i / BITS] |= (uint64_t)1 << (i % BITS);
	while (changed) {
		changed = false;
		for (size_t rank = 0; rank < closure->count; rank++) {
			const struct fp_member *member = &closure->members[order[rank]->index];
			uint64_t *row = closure->reach + order[rank]->index * words;

			for (size_t d = 0; d < member->dependency_count; d++) {
				const uint64_t *other =
					closure->reach + member->dependencies[d] * words;

				for (size_t w = 0; w < words; w++) {
					changed |= (other[w] & ~row[w]) != 0;
					row[w] |= other[w];
				}
			}
		}
	}
	return 0;
}

static int build(struct fp_search *search, struct fp_closure *closure, const char *path,
		 struct fp_why *why)
{
	struct fp_object *program;
	struct fp_node **order;
	int error = fp_loader_get(search->loader, path, &program, why);

	if (!error)
		error = start(search, program, why);
	if (!error)
		error = build_list(search, &closure->loader_listed, why);
	if (!error)
		error = fp_versions_check(search, why);
	if (error)
		return error;
	order = fp_arena_array(&search->scratch, search->list_count, sizeof(struct fp_node *));
	if (!order)
		return no_memory(program, why);
	error = fp_order_relocations(search, order, why);
	if (error)
		return error;
	if (fill_members(closure, search, order) != 0 || fill_reach(closure, order) != 0)
		return no_memory(program, why);
	return 0;
}

static int build_closure(struct fp_loader *loader, const char *path, bool alone,
			 struct fp_closure **ret_closure, struct fp_why *why)
{
	struct fp_closure *closure = calloc(1, sizeof(*closure));
	struct fp_search search = { .loader = loader, .alone = alone };
	int error;

	if (!closure)
		return fp_why_system(why, ENOMEM, path, "read");
	search.arena = &closure->arena;
	fp_loader_lock(loader);
	error = build(&search, closure, path, why);
	fp_loader_unlock(loader);
	fp_arena_free(&search.scratch);
	if (error) {
		fp_closure_free(closure);
		return error;
	}
	*ret_closure = closure;
	return 0;
}

int fp_closure_build(struct fp_loader *loader, const char *path, struct fp_closure **ret_closure,
		     struct fp_why *why)
{
	return build_closure(loader, path, false, ret_closure, why);
}

int fp_closure_build_alone(struct fp_loader *loader, const char *path,
			   struct fp_closure **ret_closure, struct fp_why *why)
{
	return build_closure(loader, path, true, ret_closure, why);
}

void fp_closure_free(struct fp_closure *closure)
{
	if (!closure)
		return;
	fp_arena_free(&closure->arena);
	free(closure);
}

bool fp_closure_reaches(const struct fp_closure *closure, size_t from, size_t to)
{
	size_t words = (closure->count + BITS - 1) / BITS;

	return (closure->reach[from * words + to / BITS] >> (to % BITS)) & 1;
}
