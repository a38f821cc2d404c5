/* run.c - one run of the engine: plan, closure, carrier, libraries, table, program, for one program after the other. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/closure.h"
#include "../graph/rootpath.h"
#include "../rewrite/carrier.h"
#include "../rewrite/program.h"
#include "../rewrite/table.h"
#include "internal.h"
#include "policy.h"

int fp_run_new(const struct fp_run_options *options, struct fp_run **ret_run, struct fp_why *why)
{
	struct fp_run *run = calloc(1, sizeof(*run));
	struct fp_loader_options loader = {
		.root = options->root,
		.library_path = options->library_path,
		.preload = options->preload,
		.use_ld_so_conf = options->use_ld_so_conf,
	};
	int error;

	if (!run)
		return fp_why_system(why, ENOMEM, "", "start");
	run->options = *options;
	run->runtime = options->runtime ? options->runtime : FP_RUNTIME_PATH;
	if (options->root) {
		size_t length = strlen(options->root);

		while (length && options->root[length - 1] == '/')
			length--;
		run->root = length ? fp_arena_substring(&run->arena, options->root, length) : NULL;
	}
	loader.root = run->root;
	error = run->runtime[0] == '/' && strlen(run->runtime) < FP_WHY_FILE
			? fp_loader_new(&loader, &run->loader, why)
			: fp_why_set(why, FP_REASON_UNSUPPORTED, run->runtime,
				     "not an absolute path");
	if (error) {
		fp_run_free(run);
		return error;
	}
	*ret_run = run;
	return 0;
}

void fp_run_free(struct fp_run *run)
{
	if (!run)
		return;
	fp_placing_free(run->placing);
	fp_loader_free(run->loader);
	fp_arena_free(&run->arena);
	free(run);
}

const struct fp_carrier_result *fp_run_carrier(const struct fp_run *run)
{
	return &run->carrier;
}

const char *fp_run_inside(const struct fp_run *run, const char *path)
{
	const struct fp_root root = { .prefix = run->root ? run->root : "" };

	return fp_root_inside(&root, path);
}

const char *fp_run_on_host(struct fp_run *run, const char *path)
{
	return run->root ? fp_arena_format(&run->arena, "%s%s", run->root, path) : path;
}

static void fill_result(struct fp_program_result *result, const struct fp_closure *closure,
			const struct fp_table_counts *counts, uint64_t original_size)
{
	result->object_count = closure->count;
	result->relocation_count = counts->relocations;
	result->resolved_count = counts->resolved;
	result->relative_count = counts->relative;
	result->lazy_count = counts->lazy;
	result->residual_count = counts->residual;
	result->left_objects = counts->left_objects;
	result->original_size = original_size;
}

/* Builds the program's new file and puts it in place of the old one. */
static int rewrite_program(struct fp_run *run, const struct fp_closure *closure, size_t carrier,
			   struct fp_program_result *result, struct fp_why *why)
{
	struct fp_object *program = closure->members[0].object, *original = NULL;
	struct fp_buffer restored = { 0 }, table = { 0 }, file = { 0 };
	struct fp_table_counts counts = { 0 };
	int error = fp_run_open_original(program, &restored, &original, why);

	if (!error)
		error = fp_table_build(closure, carrier, &table, &counts, why);
	if (!error) {
		fill_result(result, closure, &counts, original->size);
		error = fp_program_rewrite(original, closure, &table, &file, why);
	}
	if (!error) {
		result->added_size = file.size - original->size;
		if (file.size == program->size &&
		    memcmp(file.bytes, program->image, file.size) == 0) {
			result->outcome = FP_OUTCOME_UNCHANGED;
		} else {
			error = fp_run_replace(run, closure->members[0].name, program, original,
					       &file, why);
		}
	}
	if (original != program)
		fp_object_close(original);
	fp_buffer_free(&restored);
	fp_buffer_free(&table);
	fp_buffer_free(&file);
	return error;
}

/* Whether the program of CLOSURE is to be prelinked, as far as its file and its closure tell.  COUNTS and *RET_CARRIER are set
   when it may be. */
static int check_program(const struct fp_run *run, const struct fp_closure *closure,
			 struct fp_table_counts *counts, size_t *ret_carrier, struct fp_why *why)
{
	const struct fp_object *program = closure->members[0].object;
	int error = fp_policy_program(program, why);

	if (!error)
		error = fp_policy_changeable(program, why);
	if (error)
		return error;
	*ret_carrier = fp_carrier_find(closure);
	if (*ret_carrier == closure->count)
		return fp_why_set(why, FP_REASON_NO_CARRIER, program->path,
				  "it does not load libc.so.6");
	fp_table_count(closure, *ret_carrier, counts);
	return run->options.force || fp_program_table(program)
		       ? 0
		       : fp_policy_gain(closure, counts, why);
}

/* Adds the libraries of the program PATH to what is placed. */
static int plan_program(struct fp_run *run, struct fp_placing *placing, const char *path,
			struct fp_why *why)
{
	struct fp_closure *closure;
	struct fp_table_counts counts;
	size_t carrier;
	int error = fp_closure_build(run->loader, fp_run_inside(run, path), &closure, NULL);

	if (error)
		return error == -ENOMEM ? fp_why_system(why, ENOMEM, path, "place") : 0;
	/* Without a carrier nobody would use what fixed libraries hold. */
	if (check_program(run, closure, &counts, &carrier, NULL) == 0 &&
	    (!run->options.no_carrier || fp_carrier_stub(closure->members[carrier].object)))
		error = fp_placing_add(placing, closure, carrier, why);
	fp_closure_free(closure);
	return error;
}

int fp_run_plan(struct fp_run *run, char *const *paths, size_t count, struct fp_why *why)
{
	struct fp_placing *placing = NULL;
	int error = fp_placing_new(&run->options, run->root, run->loader, count, &placing, why);

	for (size_t i = 0; i < count && !error; i++)
		error = plan_program(run, placing, paths[i], why);
	if (!error)
		error = fp_placing_decide(placing, why);
	if (error) {
		fp_placing_free(placing);
		return error;
	}
	fp_placing_free(run->placing);
	run->placing = placing;
	return 0;
}

/* Builds *CLOSURE anew, after files of it were replaced. */
static int rebuild(struct fp_run *run, struct fp_closure **closure, const char *path,
		   struct fp_why *why)
{
	fp_closure_free(*closure);
	*closure = NULL;
	return fp_closure_build(run->loader, path, closure, why);
}

/* True when the program's table is that of its closure as it is and as it is to be. */
static bool is_current(const struct fp_run *run, const struct fp_closure *closure, size_t carrier)
{
	const struct fp_table *table = fp_program_table(closure->members[0].object);

	return table && fp_run_libraries_settled(run, closure) &&
	       fp_table_matches(table, closure, carrier);
}

static int prelink(struct fp_run *run, struct fp_closure **closure, const char *path,
		   struct fp_program_result *result, struct fp_why *why)
{
	struct fp_table_counts counts = { 0 };
	const struct fp_object *program = (*closure)->members[0].object;
	size_t carrier = 0;
	bool replaced = false, current;
	int error = check_program(run, *closure, &counts, &carrier, why);

	if (!error || (why && why->reason == FP_REASON_LITTLE_GAIN))
		fill_result(result, *closure, &counts, fp_undo_original_size(program));
	if (!error && !run->options.no_carrier)
		error = fp_run_ensure_carrier(run, *closure, carrier, &replaced, why);
	if (!error && replaced)
		error = rebuild(run, closure, path, why);
	if (error)
		return error;
	result->accelerated = fp_carrier_stub((*closure)->members[carrier].object) ||
			      (run->options.dry_run && !run->options.no_carrier);
	current = is_current(run, *closure, carrier);
	fp_run_place_libraries(run, *closure, current);
	if (!current && !run->options.dry_run) {
		error = rebuild(run, closure, path, why);
		if (error)
			return error;
		current = is_current(run, *closure, carrier);
	}
	if (!current) {
		error = rewrite_program(run, *closure, carrier, result, why);
		/* In a dry run the libraries are still as they were, and so is the table. */
		if (run->options.dry_run && !fp_run_libraries_settled(run, *closure))
			result->outcome = FP_OUTCOME_DONE;
		return error;
	}
	fp_table_recount(fp_program_table((*closure)->members[0].object), *closure, carrier,
			 &counts);
	fill_result(result, *closure, &counts,
		    fp_undo_original_size((*closure)->members[0].object));
	result->outcome = FP_OUTCOME_UNCHANGED;
	return 0;
}

int fp_run_prelink(struct fp_run *run, const char *path, struct fp_program_result *result,
		   struct fp_why *why)
{
	struct fp_closure *closure = NULL;
	char *const paths[] = { (char *)path };
	int error;

	*result = (struct fp_program_result){ 0 };
	error = run->placing ? 0 : fp_run_plan(run, paths, 1, why);
	path = fp_run_inside(run, path);
	if (!error)
		error = fp_closure_build(run->loader, path, &closure, why);
	if (!error)
		error = prelink(run, &closure, path, result, why);
	if (closure)
		fp_closure_free(closure);
	return error;
}
