/* libraries.c - gives the libraries of a run the placement that was decided. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../rewrite/commit.h"
#include "../rewrite/shift.h"
#include "internal.h"
#include "parallel.h"

/* The addresses that the members of CLOSURE have or get; to be freed; null when memory is out. */
static fp_addr *planned_bases(const struct fp_run *run, const struct fp_closure *closure)
{
	fp_addr *bases = calloc(closure->count, sizeof(*bases));

	for (size_t i = 0; bases && i < closure->count; i++) {
		const struct fp_object *object = closure->members[i].object;
		const struct fp_placed *placed = fp_placing_find(run->placing, object->path);

		if (placed)
			bases[i] = placed->base;
		else if (fp_object_is_fixed(object))
			bases[i] = fp_object_base(object);
	}
	return bases;
}

/* The new file of PLACED, whose original is ORIGINAL, with the words that it has when it is loaded alone.  Where that cannot be told,
   because something it needs is missing, programs hold these words. */
static int build_fixed(struct fp_run *run, const struct fp_placed *placed,
		       const struct fp_object *original, struct fp_buffer *ret_file,
		       struct fp_why *why)
{
	struct fp_closure *closure = NULL;
	struct fp_natural natural;
	fp_addr *bases;
	int error = fp_closure_build_alone(run->loader, placed->name, &closure, NULL);

	if (error == -ENOMEM)
		return fp_why_system(why, ENOMEM, placed->name, "bind");
	if (error)
		return fp_shift_library(original, placed->base, NULL, ret_file, why);
	bases = planned_bases(run, closure);
	natural = (struct fp_natural){ .closure = closure, .bases = bases };
	error = bases ? fp_shift_library(original, placed->base, &natural, ret_file, why)
		      : fp_why_system(why, ENOMEM, placed->name, "bind");
	free(bases);
	fp_closure_free(closure);
	return error;
}

/* Makes the file of PLACED, now OBJECT, what was decided. */
static int make_placed(struct fp_run *run, struct fp_placed *placed, struct fp_object *object,
		       struct fp_library_result *result, struct fp_why *why)
{
	struct fp_object *original = NULL;
	struct fp_buffer restored = { 0 }, file = { 0 };
	bool is_large = fp_run_begin_large(run, object->size);
	int error = fp_run_open_original(object, &restored, &original, why);

	if (!error && !placed->base) {
		result->outcome = FP_OUTCOME_DONE;
		result->original_size = original->size;
		if (!run->options.dry_run)
			error = fp_commit(object->path, &object->stat, restored.bytes,
					  restored.size, &placed->stat, why);
		if (!error && !run->options.dry_run)
			fp_loader_forget(run->loader, placed->name);
	} else if (!error && run->options.dry_run && !fp_placed_is_settled(placed, object)) {
		result->outcome = FP_OUTCOME_DONE;
		result->original_size = original->size;
		error = fp_shift_possible(original, placed->base, why);
	} else if (!error) {
		error = build_fixed(run, placed, original, &file, why);
		if (!error && (file.size != object->size ||
			       memcmp(file.bytes, object->image, file.size) != 0)) {
			result->outcome = FP_OUTCOME_DONE;
			result->original_size = original->size;
			result->added_size = file.size - original->size;
			error = fp_run_replace(run, placed->name, object, original, &file,
					       &placed->stat, why);
		}
	}
	if (original != object)
		fp_object_close(original);
	fp_buffer_free(&restored);
	fp_buffer_free(&file);
	if (is_large)
		fp_run_end_large(run);
	return error;
}

/* True when it lies in the library itself that it cannot be fixed. */
static bool is_lasting(enum fp_reason reason)
{
	return reason == FP_REASON_UNSUPPORTED || reason == FP_REASON_NO_ROOM ||
	       reason == FP_REASON_FLOATS || reason == FP_REASON_MALFORMED;
}

/* Makes one library what was decided; a failure leaves it as it is. */
static void place(struct fp_run *run, struct fp_placed *placed, struct fp_library_result *result)
{
	struct fp_object *object = NULL;
	int error = fp_loader_open(run->loader, placed->name, &object, &result->why);

	if (!error)
		placed->stat = object->stat;
	/* What floats, and is to float, is left alone. */
	if (!error && (placed->base || !fp_placed_is_settled(placed, object)))
		error = make_placed(run, placed, object, result, &result->why);
	if (error) {
		result->skipped = !is_lasting(result->why.reason);
		result->outcome = FP_OUTCOME_UNCHANGED;
		result->base = object && fp_object_is_fixed(object) ? fp_object_base(object) : 0;
	}
}

bool fp_run_libraries_settled(const struct fp_run *run, const struct fp_closure *closure)
{
	for (size_t i = 1; i < closure->count; i++) {
		const struct fp_object *object = closure->members[i].object;
		const struct fp_placed *placed = fp_placing_find(run->placing, object->path);

		if (placed && !fp_placed_is_settled(placed, object))
			return false;
	}
	return true;
}

void fp_run_want_libraries(const struct fp_run *run, const struct fp_closure *closure,
			   bool is_current)
{
	for (size_t i = 1; i < closure->count; i++) {
		struct fp_placed *placed =
			fp_placing_find(run->placing, closure->members[i].object->path);

		if (placed) {
			placed->wanted = true;
			placed->stale |= !is_current && !placed->locked;
		}
	}
}

/* All libraries while they are placed. */
struct placing {
	struct fp_run *run;
	struct fp_library_result *results;
	size_t count;
};

static void work(size_t index, void *context)
{
	struct placing *placing = context;
	struct fp_placed *placed = fp_placing_at(placing->run->placing, index);

	placing->results[index] = (struct fp_library_result){ .path = placed->name,
							      .outcome = FP_OUTCOME_UNCHANGED,
							      .base = placed->base,
							      .why = placed->why };
	if (placed->stale)
		place(placing->run, placed, &placing->results[index]);
	fp_run_stay_small(placing->run);
}

/* Puts what came of a library into the cache. */
static int note(const struct fp_run *run, struct fp_cached_file *file,
		const struct fp_placed *placed, const struct fp_library_result *result)
{
	file->is_placed = !result->skipped;
	file->is_guarded = placed->guarded;
	file->base = result->base;
	file->room = result->base ? placed->room : 0;
	if (placed->stale)
		file->key = fp_file_key(&placed->stat);
	return fp_cache_set_why(run->cache, file, &result->why);
}

/* A library may be known under several names. */
static int note_all(const struct placing *placing)
{
	const struct fp_run *run = placing->run;
	int error = 0;

	for (size_t i = 0; i < run->cache->file_count && !error; i++) {
		struct fp_cached_file *file = run->cache->files[i];
		const struct fp_placed *placed = NULL;
		const char *host = file->kind == FP_CACHED_LIBRARY
					   ? fp_loader_resolve(run->loader, file->path)
					   : NULL;

		if (host)
			placed = fp_placing_find(run->placing, host);
		if (placed && placed->wanted)
			error = note(run, file, placed, &placing->results[placed->index]);
	}
	return error;
}

static int finish(size_t index, void *context)
{
	const struct placing *placing = context;
	const struct fp_run_options *options = &placing->run->options;

	if (options->on_library && fp_placing_at(placing->run->placing, index)->wanted)
		options->on_library(&placing->results[index], options->visit_context);
	if (options->on_progress)
		options->on_progress(FP_PHASE_LIBRARIES, index + 1, placing->count,
				     placing->results[index].path, options->visit_context);
	return 0;
}

int fp_run_place_libraries(struct fp_run *run)
{
	struct placing placing = { .run = run };
	struct fp_parallel job = { .work = work,
				   .finish = finish,
				   .context = &placing,
				   .stop = run->options.stop,
				   .threads = run->options.threads };
	int error;

	while (fp_placing_at(run->placing, placing.count))
		placing.count++;
	placing.results = calloc(placing.count + 1, sizeof(*placing.results));
	if (!placing.results)
		return -ENOMEM;
	error = fp_parallel_run(&job, placing.count);
	/* Only now: other libraries are made for the addresses that were decided, whatever came of it first. */
	for (size_t i = 0; i < placing.count && !error; i++)
		fp_placing_at(run->placing, i)->base = placing.results[i].base;
	if (!error && run->cache)
		error = note_all(&placing);
	free(placing.results);
	return error;
}
