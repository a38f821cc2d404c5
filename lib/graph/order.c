/* order.c - the order in which ld.so relocates the objects of a closure.

   ld.so sorts the breadth-first list so that every object comes before those it needs, and
   relocates from the back.  The sort is a depth-first walk over DT_NEEDED that is started at
   every object, from the last to the first of the list; an object is placed, from the back, when
   all it needs has been placed (glibc elf/dl-sort-maps.c:_dl_sort_maps_dfs; GLIBC_TUNABLES can
   ask for the older algorithm, which the runtime takes as a reason to decline).  The program's
   own dependencies are not known yet at that point (elf/dl-deps.c leaves its l_initfini empty)
   and are not walked; it is put in front whatever needs it.  Since 2.39 libc.so.6 is relocated
   before all others (elf/rtld.c:dl_main, bug 31083); ld.so relocates itself last. */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* A node that is being walked, and the next of what it needs. */
struct step {
	struct fp_node *node;
	size_t next;
};

/* Walks from NODE; *HEAD moves down, one entry for each node that is placed. */
static void walk(struct fp_node *node, struct step *stack, struct fp_node ***head)
{
	size_t depth = 0;

	if (node->visited)
		return;
	node->visited = true;
	stack[depth++] = (struct step){ .node = node };
	while (depth) {
		struct step *top = &stack[depth - 1];
		struct fp_node *next;

		if (top->next == top->node->needed_count) {
			*--*head = top->node;
			depth--;
			continue;
		}
		next = top->node->needed[top->next++];
		if (!next->visited) {
			next->visited = true;
			stack[depth++] = (struct step){ .node = next };
		}
	}
}

/* Moves NODE to place TO among the first COUNT of ORDER; what is between moves by one. */
static void move(struct fp_node **order, size_t count, const struct fp_node *node, size_t to)
{
	struct fp_node *moved;
	size_t from = 0;

	while (from < count && order[from] != node)
		from++;
	if (from == count)
		return;
	moved = order[from];
	if (from > to)
		memmove(&order[to + 1], &order[to], (from - to) * sizeof(*order));
	else
		memmove(&order[from], &order[from + 1], (to - from) * sizeof(*order));
	order[to] = moved;
}

/* The first loaded object whose DT_SONAME is libc's (glibc elf/dl-load.c: libc_map). */
static const struct fp_node *find_libc(const struct fp_search *search)
{
	for (size_t i = 0; i < search->node_count; i++) {
		const char *soname = search->nodes[i]->object->soname;

		if (soname && strcmp(soname, "libc.so.6") == 0)
			return search->nodes[i];
	}
	return NULL;
}

int fp_order_relocations(struct fp_search *search, struct fp_node **order, struct fp_why *why)
{
	size_t count = search->list_count;
	struct step *stack = fp_arena_array(&search->scratch, count, sizeof(*stack));
	struct fp_node **sorted = fp_arena_array(&search->scratch, count, sizeof(struct fp_node *));
	struct fp_node **head = sorted + count;
	struct fp_node *program = search->list[0];
	size_t program_needed = program->needed_count;

	if (!stack || !sorted)
		return fp_why_system(why, ENOMEM, program->object->path, "sort");
	program->needed_count = 0;
	for (size_t i = count; i-- > 0;)
		walk(search->list[i], stack, &head);
	program->needed_count = program_needed;
	move(sorted, count, program, 0);
	for (size_t i = 0; i < count; i++)
		order[i] = sorted[count - 1 - i];
	if (search->interpreter->glibc_minor >= 39)
		move(order, count, find_libc(search), 0);
	move(order, count, search->nodes[1], count - 1);
	return 0;
}
