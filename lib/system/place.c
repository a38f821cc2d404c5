/* place.c - which libraries of a run get a fixed address, and which one.

   Each library that a program of the run loads either floats, for the first reason that holds, or is fixed.  A fixed library keeps the
   address that its file has.  The others get theirs in the order in which ld.so maps them in the first program that loads
   them, so the order of the programs counts where they are new, and never afterwards. */
#include "place.h"

#include <errno.h>
#include <fastprelink/abi.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/strmap.h"
#include "../layout/layout.h"
#include "../rewrite/carrier.h"
#include "../rewrite/shift.h"
#include "internal.h"
#include "policy.h"
#include "scan.h"

enum { BITS = 64 };

/* Behind a program that does not float the kernel puts the heap. */
static const uint64_t HEAP_ROOM = 4ull << 30;

struct fp_placing {
	const struct fp_run *run;
	const struct fp_run_options *options;
	const struct fp_guard *guard; /* null: to be asked for */
	bool is_known;                /* fp_placing_know */
	bool is_covered;              /* fp_placing_cover */
	struct fp_placed **list;      /* in the order in which they were added */
	size_t count, capacity;
	size_t program_count, program_words;
	struct fp_strmap by_path;
	struct fp_range *occupied; /* by fixed libraries that are not in the list */
	size_t occupied_count;
	struct fp_arena arena;
};

int fp_placing_new(const struct fp_run *run, size_t program_count, struct fp_placing **ret_placing,
		   struct fp_why *why)
{
	struct fp_placing *placing = calloc(1, sizeof(*placing));

	if (!placing)
		return fp_why_system(why, ENOMEM, run->root, "place");
	placing->run = run;
	placing->options = &run->options;
	if (run->options.conserve_memory)
		placing->program_words = program_count / BITS + 1;
	*ret_placing = placing;
	return 0;
}

void fp_placing_free(struct fp_placing *placing)
{
	if (!placing)
		return;
	free(placing->list);
	free(placing->occupied);
	fp_strmap_free(&placing->by_path);
	fp_arena_free(&placing->arena);
	free(placing);
}

struct fp_placed *fp_placing_find(const struct fp_placing *placing, const char *host)
{
	return fp_strmap_get(&placing->by_path, host);
}

struct fp_placed *fp_placing_at(const struct fp_placing *placing, size_t index)
{
	return index < placing->count ? placing->list[index] : NULL;
}

/* The address that the file of OBJECT has from us, or 0. */
static fp_addr current_base(const struct fp_object *object)
{
	return fp_object_is_fixed(object) && fp_undo_present(object) ? fp_object_base(object) : 0;
}

bool fp_placed_is_settled(const struct fp_placed *placed, const struct fp_object *object)
{
	return placed->locked || current_base(object) == placed->base;
}

static struct fp_placed *append(struct fp_placing *placing, const struct fp_member *member)
{
	struct fp_placed *placed = fp_arena_alloc(&placing->arena, sizeof(*placed));

	if (placing->count == placing->capacity) {
		size_t capacity = placing->capacity ? placing->capacity * 2 : 256;
		struct fp_placed **list =
			reallocarray(placing->list, capacity, sizeof(struct fp_placed *));

		if (!list)
			return NULL;
		placing->list = list;
		placing->capacity = capacity;
	}
	if (!placed)
		return NULL;
	placed->object = member->object;
	placed->room = fp_shift_room(member->object);
	placed->name = fp_arena_string(&placing->arena, member->name);
	placed->path = fp_arena_string(&placing->arena, member->object->path);
	if (placing->program_words)
		placed->programs =
			fp_arena_array(&placing->arena, placing->program_words, sizeof(uint64_t));
	if (!placed->name || !placed->path || (placing->program_words && !placed->programs) ||
	    fp_strmap_put(&placing->by_path, placed->path, placed) != 0)
		return NULL;
	placed->index = placing->count;
	placing->list[placing->count++] = placed;
	return placed;
}

static int occupy(struct fp_placing *placing, fp_addr base, uint64_t room)
{
	struct fp_range *ranges;

	if (placing->occupied_count % BITS == 0) {
		ranges = reallocarray(placing->occupied, placing->occupied_count + BITS,
				      sizeof(*ranges));
		if (!ranges)
			return -ENOMEM;
		placing->occupied = ranges;
	}
	placing->occupied[placing->occupied_count++] =
		(struct fp_range){ .start = base, .end = base + room };
	return 0;
}

int fp_placing_occupy(struct fp_placing *placing, const char *host, fp_addr base, uint64_t room)
{
	return fp_strmap_get(&placing->by_path, host) ? 0 : occupy(placing, base, room);
}

/* A fp_scan_visit_fixed. */
static int note_occupied(const char *path, uint64_t base, uint64_t room, void *context)
{
	return fp_placing_occupy(context, path, base, room);
}

void fp_placing_know(struct fp_placing *placing, const struct fp_guard *guard)
{
	placing->guard = guard;
	placing->is_known = true;
}

void fp_placing_cover(struct fp_placing *placing)
{
	placing->is_covered = true;
}

/* What PROGRAM, which starts at BASE, needs: without the segment that it gets, or has, when it is prelinked, so that it is the same
   then; the room for the heap is large enough for both. */
static uint64_t program_room(const struct fp_object *program, fp_addr base)
{
	uint64_t page = program->machine->page_size;
	fp_addr end = base;

	for (unsigned i = 0; i < program->phnum; i++) {
		const Elf64_Phdr *p = &program->phdr[i];

		if (p->p_type == PT_LOAD && p->p_flags != FP_SEGMENT_FLAGS &&
		    p->p_vaddr + p->p_memsz > end)
			end = p->p_vaddr + p->p_memsz;
	}
	end = (end + page - 1) & -page;
	return fp_layout_room(end - base, fp_shift_alignment(program), page) + HEAP_ROOM;
}

/* Keeps others off OBJECT, which stays where its linker put it, if that is in the window. */
static int occupy_object(struct fp_placing *placing, const struct fp_object *object)
{
	const struct fp_machine *machine = object->machine;
	fp_addr base = fp_object_base(object);
	uint64_t room =
		fp_object_is_program(object) ? program_room(object, base) : fp_shift_room(object);

	return base < machine->window_end && base + room > machine->window_start
		       ? occupy(placing, base, room)
		       : 0;
}

int fp_placing_add(struct fp_placing *placing, const struct fp_closure *closure, size_t carrier,
		   struct fp_why *why)
{
	for (size_t i = 1; i < closure->count; i++) {
		const struct fp_member *member = &closure->members[i];
		struct fp_placed *placed = fp_placing_find(placing, member->object->path);

		if (!placed)
			placed = append(placing, member);
		if (!placed)
			return fp_why_system(why, ENOMEM, member->name, "place");
		if (i == carrier)
			fp_why_set(&placed->why, FP_REASON_FLOATS, member->object->path,
				   "it is the carrier");
		else if (member->is_loader)
			fp_why_set(&placed->why, FP_REASON_FLOATS, member->object->path, "ld.so");
		if (placed->programs)
			placed->programs[placing->program_count / BITS] |=
				1ull << placing->program_count % BITS;
	}
	placing->program_count++;
	return occupy_object(placing, closure->members[0].object) == 0
		       ? 0
		       : fp_why_system(why, ENOMEM, closure->members[0].name, "place");
}

int fp_placing_add_fixed(struct fp_placing *placing, const struct fp_closure *closure)
{
	for (size_t i = 1; i < closure->count; i++) {
		const struct fp_member *member = &closure->members[i];
		struct fp_placed *placed;

		if (!current_base(member->object) || fp_placing_find(placing, member->object->path))
			continue;
		placed = append(placing, member);
		if (!placed)
			return -ENOMEM;
		placed->is_left = true;
	}
	return 0;
}

/* OBJECT's path inside the root, which is its real one. */
static const char *inside(const struct fp_placing *placing, const struct fp_object *object)
{
	return fp_run_inside(placing->run, object->path);
}

int fp_placing_changeable(const struct fp_placing *placing, const struct fp_object *object,
			  struct fp_why *why)
{
	const struct fp_config *config = placing->run->config;
	const char *path = inside(placing, object);

	if (fp_config_excludes(config, path))
		return fp_why_set(why, FP_REASON_EXCLUDED, object->path, "%s", "");
	if (placing->is_covered && !fp_config_covers(config, path, object->stat.st_dev))
		return fp_why_set(why, FP_REASON_EXCLUDED, object->path, "not in its directories");
	return fp_policy_changeable(object, why);
}

/* The reasons that lie in the library itself. */
static void judge(const struct fp_placing *placing, struct fp_placed *placed)
{
	const struct fp_config *config = placing->run->config;
	struct fp_why *why = &placed->why;
	fp_addr base = current_base(placed->object);
	int error;

	if (why->reason)
		return;
	if (fp_placing_changeable(placing, placed->object, why) != 0) {
		placed->locked = true;
		placed->base = base;
		return;
	}
	if (placing->options->placement == FP_PLACEMENT_FLOATING) {
		fp_why_set(why, FP_REASON_FLOATS, placed->object->path, "as asked for");
		return;
	}
	if (fp_config_library(config, inside(placing, placed->object)) == FP_CONFIG_FLOATS) {
		fp_why_set(why, FP_REASON_FLOATS, placed->object->path, "as configured");
		return;
	}
	/* What has an address now was allowed to have one. */
	error = base ? 0 : fp_shift_allowed(placed->object, why);
	if (!error && !placing->options->force)
		fp_policy_library_gain(placed->object,
				       fp_config_settings(config)->min_library_words, why);
}

/* What no layout has a place for would keep all others from theirs. */
static void judge_size(struct fp_placed *placed)
{
	const struct fp_machine *machine = placed->object->machine;
	uint64_t window = machine->window_end - machine->window_start;

	if (!placed->why.reason && (fp_shift_room(placed->object) > window / 4 ||
				    fp_shift_alignment(placed->object) > window / 64))
		fp_why_set(&placed->why, FP_REASON_NO_ROOM, placed->object->path,
			   "in the window of fixed addresses");
}

/* The reason that lies in who else loads it. */
static void heed(struct fp_placing *placing, const struct fp_guard *guard)
{
	for (size_t i = 0; i < placing->count; i++) {
		struct fp_placed *placed = placing->list[i];
		const struct fp_object *object = placed->object;
		const struct fp_guard_entry *entry = fp_guard_find(guard, object->path);

		if (!entry || placed->why.reason ||
		    fp_config_library(placing->run->config, inside(placing, object)) ==
			    FP_CONFIG_FIXED)
			continue;
		fp_why_set(&placed->why, FP_REASON_FLOATS, object->path, "loaded by %.160s (%s)",
			   entry->program, fp_guard_kind_name(entry->kind));
		placed->guarded = true;
	}
}

static int ask_guard(struct fp_placing *placing, struct fp_why *why)
{
	const struct fp_loader_options options = { .root = placing->run->root };
	struct fp_loader *loader = NULL;
	struct fp_guard *guard = NULL;
	int error;

	if (placing->guard) {
		heed(placing, placing->guard);
		return 0;
	}
	error = fp_loader_new(&options, &loader, why);
	if (error)
		return error;
	guard = fp_guard_new(loader);
	if (guard && fp_guard_scan(guard, placing->run->root, placing->run->config) == 0)
		heed(placing, guard);
	else
		error = fp_why_system(why, ENOMEM, placing->run->root, "scan");
	fp_guard_free(guard);
	fp_loader_free(loader);
	return error;
}

/* Gives the COUNT libraries of LIST, which are to be fixed, their addresses. */
static int lay_out(struct fp_placing *placing, struct fp_placed **list, size_t count,
		   struct fp_place *places)
{
	const struct fp_machine *machine = list[0]->object->machine;
	struct fp_layout layout = {
		.window_start = machine->window_start,
		.window_end = machine->window_end,
		.page_size = machine->page_size,
		.conserve_memory = placing->options->conserve_memory,
		.program_words = placing->program_words,
		.random = placing->options->random,
		.seed = placing->options->seed,
	};
	const char *scan_root = placing->options->scan_root;
	bool is_new = layout.random;
	int error = 0;

	for (size_t i = 0; i < count; i++) {
		places[i] = (struct fp_place){
			.room = fp_shift_room(list[i]->object),
			.alignment = fp_shift_alignment(list[i]->object),
			.base = current_base(list[i]->object),
			.programs = list[i]->programs,
		};
		is_new = is_new || !places[i].base;
	}
	/* Only who moves in needs to know the neighbours. */
	for (size_t i = 0; i < placing->count && !error; i++)
		if (placing->list[i]->why.reason)
			error = occupy_object(placing, placing->list[i]->object);
	if (is_new && !error && !placing->is_known)
		error = fp_scan_fixed(scan_root ? scan_root : placing->run->root, note_occupied,
				      placing);
	layout.occupied = placing->occupied;
	layout.occupied_count = placing->occupied_count;
	if (!error)
		error = fp_layout_assign(&layout, places, count);
	for (size_t i = 0; i < count && !error; i++)
		list[i]->base = places[i].base;
	return error;
}

static int assign(struct fp_placing *placing, struct fp_why *why)
{
	struct fp_placed **fixed = calloc(placing->count + 1, sizeof(struct fp_placed *));
	struct fp_place *places = calloc(placing->count + 1, sizeof(*places));
	size_t count = 0;
	int error = fixed && places ? 0 : -ENOMEM;

	for (size_t i = 0; i < placing->count && !error; i++)
		if (!placing->list[i]->why.reason)
			fixed[count++] = placing->list[i];
	if (!error && count)
		error = lay_out(placing, fixed, count, places);
	if (error == -ENOSPC) {
		for (size_t i = 0; i < count; i++)
			fp_why_set(&fixed[i]->why, FP_REASON_NO_ROOM, fixed[i]->object->path,
				   "in the window of fixed addresses");
		error = 0;
	}
	free(fixed);
	free(places);
	return error ? fp_why_system(why, -error, placing->run->root, "place") : 0;
}

int fp_placing_decide(struct fp_placing *placing, struct fp_why *why)
{
	bool any = false;
	int error = 0;

	for (size_t i = 0; i < placing->count; i++) {
		judge(placing, placing->list[i]);
		judge_size(placing->list[i]);
		any = any || !placing->list[i]->why.reason;
	}
	if (any && placing->options->placement == FP_PLACEMENT_DEFAULT)
		error = ask_guard(placing, why);
	if (!error)
		error = assign(placing, why);
	for (size_t i = 0; i < placing->count && !error; i++) {
		struct fp_placed *placed = placing->list[i];

		placed->wanted = placed->is_left;
		placed->stale = placed->is_left && !fp_placed_is_settled(placed, placed->object);
	}
	return error;
}
