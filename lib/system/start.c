/* start.c - would a prelinked program start accelerated? */
#include "start.h"

#include "../layout/layout.h"
#include "../rewrite/program.h"
#include "policy.h"

/* What OBJECT takes of the address space when it is where its file says. */
struct span {
	fp_addr start, end;
	uint64_t room; /* that must be free from start on for it to get there */
};

static struct span span_of(const struct fp_object *object)
{
	uint64_t page = object->machine->page_size, alignment = page;
	struct span span = { .start = fp_object_base(object) };

	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type != PT_LOAD)
			continue;
		span.end = (p->p_vaddr + p->p_memsz + page - 1) / page * page;
		if (p->p_align > alignment)
			alignment = p->p_align;
	}
	span.room = fp_layout_room(span.end - span.start, alignment, page);
	return span;
}

/* True when the file of member INDEX says where it is loaded. */
static bool has_place(const struct fp_closure *closure, size_t index)
{
	const struct fp_object *object = closure->members[index].object;

	return fp_object_is_fixed(object) || (index == 0 && object->ehdr->e_type == ET_EXEC);
}

/* The first member that cannot be mapped at its address because another one, *RET_OTHER, has been mapped there; 0 when there is
   none.  They are mapped in the order of the list. */
static size_t find_displaced(const struct fp_closure *closure, size_t *ret_other)
{
	for (size_t i = 1; i < closure->count; i++) {
		struct span span;

		if (!has_place(closure, i))
			continue;
		span = span_of(closure->members[i].object);
		for (size_t j = 0; j < i; j++) {
			struct span other;

			if (!has_place(closure, j))
				continue;
			other = span_of(closure->members[j].object);
			if (other.start < span.start + span.room && span.start < other.end) {
				*ret_other = j;
				return i;
			}
		}
	}
	return 0;
}

/* The program itself, and whether the runtime would take its table. */
static int check_program(const struct fp_object *program, enum fp_decline *ret_decline,
			 struct fp_why *why)
{
	int error = fp_policy_program(program, why);

	if (error) {
		*ret_decline = program->has_debug ? FP_DECLINE_SECURE : FP_DECLINE_NO_DEBUG;
		return error;
	}
	if (fp_program_table(program))
		return 0;
	*ret_decline = FP_DECLINE_FORMAT;
	return fp_why_set(why, FP_REASON_TABLE_FORMAT, program->path, "%s", "");
}

static int check_objects(const struct fp_closure *closure, enum fp_decline *ret_decline,
			 struct fp_why *why)
{
	const struct fp_member *members = closure->members;
	const struct fp_table *table = fp_program_table(members[0].object);
	size_t index = 0, other = 0;

	*ret_decline = fp_table_compare(table, closure, &index);
	if (*ret_decline == FP_DECLINE_CHECKSUM)
		return fp_why_set(why, FP_REASON_TABLE_DAMAGED, members[0].object->path, "%s", "");
	if (*ret_decline == FP_DECLINE_OBJECT_COUNT)
		return fp_why_set(why, FP_REASON_OBJECT_COUNT, members[0].object->path,
				  "%u then, %zu now", table->object_count, closure->count);
	if (*ret_decline)
		return fp_why_set(why, FP_REASON_OBJECT_DIFFERS, members[index].name, "%s", "");
	index = find_displaced(closure, &other);
	if (!index)
		return 0;
	*ret_decline = FP_DECLINE_DISPLACED;
	return fp_why_set(why, FP_REASON_DISPLACED, members[index].name, "%s is in its place",
			  members[other].name);
}

int fp_start_check(const struct fp_run *run, const struct fp_closure *closure,
		   enum fp_decline *ret_decline, struct fp_why *why)
{
	int error = check_program(closure->members[0].object, ret_decline, why);

	if (!error)
		error = check_objects(closure, ret_decline, why);
	if (!error) {
		const struct fp_table *table = fp_program_table(closure->members[0].object);

		error = fp_run_check_carrier(run, closure->members[table->carrier].object, why);
	}
	return error;
}
