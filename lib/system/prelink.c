/* prelink.c - prelinks programs: plan, carriers, libraries, tables.

   Theory of operation.  Each phase goes over all programs before the next one starts, since a library belongs to many of them and is
   written once:

   1. look: closures are built, and what lies in a program or its closure decides whether it is prelinked; what it loads is
      added to the placing, in the order of the programs;
   2. the placing is decided; carriers are installed;
   3. compare: is the program's table that of its closure as it is and as it is to be?
   4. libraries of programs for which it is not are written;
   5. write: these programs' closures are built again, from the new files, and bound.

   Phases 1, 3, 4 and 5 run on all processors.  Nothing that is written depends on which thread is the first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../graph/strmap.h"
#include "../rewrite/carrier.h"
#include "../rewrite/program.h"
#include "../rewrite/table.h"
#include "batch.h"
#include "parallel.h"
#include "policy.h"
#include "select.h"

enum {
	BATCH = 64, /* programs that are written before their old files are let go */
	/* Bytes of files in memory: where no images are made besides, where some are, and while there is one of a large file. */
	MAX_RESIDENT_DRY = 640 << 20,
	MAX_RESIDENT = 256 << 20,
	MAX_RESIDENT_LARGE = 64 << 20,
};

/* One program of the run. */
struct job {
	const char *path;              /* as given */
	struct fp_closure *closure;    /* until its libraries are written */
	size_t carrier;                /* member that has or gets the stub */
	bool failed;                   /* WHY says why */
	bool current;                  /* its table is right */
	const struct job *first;       /* null, or the same program, named earlier */
	struct stat stat;              /* of its file; all zero: nobody knows */
	struct fp_cached_file *cached; /* null: nothing is noted */
	struct fp_program_result result;
	struct fp_why why;
};

/* A library that programs of the run have as their carrier, and what came of it. */
struct carrier {
	struct carrier *next;
	const char *path;
	bool failed, replaced;
	struct fp_why why;
};

struct fp_batch {
	struct fp_run *run;
	struct job *jobs;
	size_t count, first; /* first: of those that are written now */
	struct carrier *carriers;
	struct fp_strmap by_path; /* of struct job: programs that may be written */
	fp_program_visit *visit;
	void *context;
	struct fp_arena arena;
};

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

/* For a dry run: which members of CLOSURE will be fixed; to be freed; null when memory is out. */
static bool *plan(const struct fp_run *run, const struct fp_closure *closure)
{
	bool *planned = calloc(closure->count, sizeof(*planned));

	for (size_t i = 1; planned && i < closure->count; i++) {
		const struct fp_object *object = closure->members[i].object;
		const struct fp_placed *placed = fp_placing_find(run->placing, object->path);

		planned[i] = placed && placed->base && !fp_placed_is_settled(placed, object);
	}
	return planned;
}

/* Builds the table of CLOSURE; in a dry run as it would be. */
static int build_table(const struct fp_run *run, const struct fp_closure *closure, size_t carrier,
		       struct fp_buffer *ret_table, struct fp_table_counts *ret_counts,
		       struct fp_why *why)
{
	bool *planned = NULL;
	int error;

	if (run->options.dry_run) {
		planned = plan(run, closure);
		if (!planned)
			return fp_why_system(why, ENOMEM, closure->members[0].name, "plan");
	}
	error = fp_table_build(closure, carrier, planned, ret_table, ret_counts, why);
	free(planned);
	return error;
}

/* Builds the program's new file and puts it in place of the old one. */
static int rewrite_program(struct fp_run *run, const struct fp_closure *closure, size_t carrier,
			   struct fp_program_result *result, struct stat *ret_stat,
			   struct fp_why *why)
{
	struct fp_object *program = closure->members[0].object, *original = NULL;
	struct fp_buffer restored = { 0 }, table = { 0 }, file = { 0 };
	struct fp_table_counts counts = { 0 };
	bool is_large = fp_run_begin_large(run, program->size);
	int error = fp_run_open_original(program, &restored, &original, why);

	if (!error)
		error = build_table(run, closure, carrier, &table, &counts, why);
	if (!error) {
		fill_result(result, closure, &counts, original->size);
		error = run->options.dry_run
				? fp_program_possible(original, closure, table.size,
						      &result->added_size, why)
				: fp_program_rewrite(original, closure, &table, &file, why);
	}
	if (!error && !run->options.dry_run) {
		result->added_size = file.size - original->size;
		if (file.size == program->size &&
		    memcmp(file.bytes, program->image, file.size) == 0) {
			result->outcome = FP_OUTCOME_UNCHANGED;
		} else {
			error = fp_run_replace(run, closure->members[0].name, program, original,
					       &file, ret_stat, why);
		}
	}
	if (original != program)
		fp_object_close(original);
	fp_buffer_free(&restored);
	fp_buffer_free(&table);
	fp_buffer_free(&file);
	if (is_large)
		fp_run_end_large(run);
	return error;
}

int fp_run_weigh_program(const struct fp_run *run, const struct fp_closure *closure,
			 struct fp_table_counts *counts, size_t *ret_carrier, struct fp_why *why)
{
	const struct fp_object *program = closure->members[0].object;

	*ret_carrier = fp_carrier_find(closure);
	if (*ret_carrier == closure->count)
		return fp_why_set(why, FP_REASON_NO_CARRIER, program->path,
				  "it does not load libc.so.6");
	fp_table_count(closure, *ret_carrier, counts);
	return run->options.force || fp_program_table(program)
		       ? 0
		       : fp_policy_gain(closure, counts,
					fp_config_settings(run->config)->min_saved_us, why);
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
	return error ? error : fp_run_weigh_program(run, closure, counts, ret_carrier, why);
}

/* True when the program's table is that of its closure as it is and as it is to be. */
static bool is_current(const struct fp_run *run, const struct fp_closure *closure, size_t carrier)
{
	const struct fp_table *table = fp_program_table(closure->members[0].object);

	return table && fp_run_libraries_settled(run, closure) &&
	       fp_table_matches(table, closure, carrier);
}

void fp_run_stay_small(struct fp_run *run)
{
	unsigned long long total, resident, shared = 0;
	unsigned long long limit = run->options.dry_run ? MAX_RESIDENT_DRY
				   : run->has_large     ? MAX_RESIDENT_LARGE
							: MAX_RESIDENT;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return;
	/* The third number: pages of files (proc(5)). */
	if (fscanf(file, "%llu %llu %llu", &total, &resident, &shared) == 3 &&
	    shared * (unsigned long long)sysconf(_SC_PAGESIZE) > limit)
		fp_loader_trim(run->loader);
	fclose(file);
}

static void fail(struct job *job, const struct fp_why *why)
{
	if (why)
		job->why = *why;
	job->failed = true;
}

/* Phase 1, for one program. */
static void look(size_t index, void *context)
{
	struct fp_batch *batch = context;
	struct fp_run *run = batch->run;
	struct job *job = &batch->jobs[index];
	struct fp_table_counts counts = { 0 };
	int error = fp_closure_build(run->loader, fp_run_inside(run, job->path), &job->closure,
				     &job->why);

	if (!error)
		error = check_program(run, job->closure, &counts, &job->carrier, &job->why);
	if (!error || (job->closure && job->why.reason == FP_REASON_LITTLE_GAIN)) {
		fill_result(&job->result, job->closure, &counts,
			    fp_undo_original_size(job->closure->members[0].object));
		job->result.saved_ns = fp_policy_saved_ns(job->closure, &counts);
	}
	if (job->closure)
		job->stat = job->closure->members[0].object->stat;
	if (error)
		fail(job, NULL);
	fp_run_stay_small(run);
}

static void progress(const struct fp_batch *batch, enum fp_phase phase, size_t done)
{
	const struct fp_run_options *options = &batch->run->options;

	if (options->on_progress)
		options->on_progress(phase, done, batch->count, batch->jobs[done - 1].path,
				     options->visit_context);
}

static void drop_closure(struct job *job)
{
	if (job->closure)
		fp_closure_free(job->closure);
	job->closure = NULL;
}

/* Adds what JOB loads to the placing, unless the program was there before. */
static int add_libraries(struct fp_batch *batch, struct job *job)
{
	const struct fp_run *run = batch->run;
	const char *path = job->closure->members[0].object->path;

	job->first = fp_strmap_get(&batch->by_path, path);
	if (job->first)
		return 0;
	if (fp_strmap_put(&batch->by_path, path, job) != 0)
		return -ENOMEM;
	/* Without a carrier nobody would use what fixed libraries hold. */
	if (run->options.no_carrier && !fp_carrier_stub(job->closure->members[job->carrier].object))
		return 0;
	return fp_placing_add(run->placing, job->closure, job->carrier, NULL);
}

static int looked(size_t index, void *context)
{
	struct fp_batch *batch = context;
	struct job *job = &batch->jobs[index];
	int error = batch->run->cache
			    ? fp_note_closure(batch->run, job->closure, job->path, &job->cached)
			    : 0;

	if (!error && !job->failed)
		error = add_libraries(batch, job);
	else if (!error && job->closure && batch->run->cache)
		error = fp_placing_add_fixed(batch->run->placing, job->closure);
	if (job->failed || job->first)
		drop_closure(job);
	progress(batch, FP_PHASE_PLAN, index + 1);
	return error;
}

/* The file of the carrier HOST is another one now, under all of its names. */
static void note_carrier(const struct fp_run *run, const char *host)
{
	struct stat stat;

	if (!run->cache || lstat(host, &stat) != 0)
		return;
	for (size_t i = 0; i < run->cache->file_count; i++) {
		struct fp_cached_file *file = run->cache->files[i];
		const char *real = file->kind == FP_CACHED_LIBRARY
					   ? fp_loader_resolve(run->loader, file->path)
					   : NULL;

		if (real && strcmp(real, host) == 0)
			file->key = fp_file_key(&stat);
	}
}

/* The carrier of JOB, which is made current when it is met first; null when memory is out. */
static struct carrier *ensure_carrier(struct fp_batch *batch, const struct job *job)
{
	const char *path = job->closure->members[job->carrier].object->path;
	struct carrier *carrier = batch->carriers;

	while (carrier && strcmp(carrier->path, path) != 0)
		carrier = carrier->next;
	if (carrier)
		return carrier;
	carrier = fp_arena_alloc(&batch->arena, sizeof(*carrier));
	if (!carrier || !(carrier->path = fp_arena_string(&batch->arena, path)))
		return NULL;
	carrier->failed = fp_run_ensure_carrier(batch->run, job->closure, job->carrier,
						&carrier->replaced, &carrier->why) != 0;
	if (carrier->replaced)
		note_carrier(batch->run, path);
	carrier->next = batch->carriers;
	batch->carriers = carrier;
	return carrier;
}

/* Phase 2. */
static int ensure_carriers(struct fp_batch *batch)
{
	for (size_t i = 0; i < batch->count && !batch->run->options.no_carrier; i++) {
		struct job *job = &batch->jobs[i];
		const struct carrier *carrier;

		if (job->failed || job->first)
			continue;
		if (batch->run->options.stop && *batch->run->options.stop)
			return -EINTR;
		carrier = ensure_carrier(batch, job);
		if (!carrier)
			return -ENOMEM;
		if (carrier->failed)
			fail(job, &carrier->why);
		if (carrier->failed || carrier->replaced)
			drop_closure(job);
	}
	return 0;
}

/* Makes sure that JOB, if it is to be worked on, has a closure of the files as they are now. */
static bool has_closure(struct fp_run *run, struct job *job)
{
	if (job->first)
		return false;
	if (!job->closure && !job->failed &&
	    fp_closure_build(run->loader, fp_run_inside(run, job->path), &job->closure,
			     &job->why) != 0)
		fail(job, NULL);
	return !job->failed;
}

/* Phase 3, for one program. */
static void compare(size_t index, void *context)
{
	struct fp_batch *batch = context;
	const struct fp_run_options *options = &batch->run->options;
	struct job *job = &batch->jobs[index];

	if (!has_closure(batch->run, job))
		return;
	job->result.accelerated = fp_carrier_stub(job->closure->members[job->carrier].object) ||
				  (options->dry_run && !options->no_carrier);
	job->current = is_current(batch->run, job->closure, job->carrier);
	/* The table says nothing of the rest of the file. */
	if (job->current && fp_undo_check(job->closure->members[0].object, &job->why) != 0)
		fail(job, NULL);
	fp_run_stay_small(batch->run);
}

static int want_libraries(size_t index, void *context)
{
	struct fp_batch *batch = context;
	struct job *job = &batch->jobs[index];

	if (job->closure)
		fp_run_want_libraries(batch->run, job->closure, job->current);
	/* The files of the others are about to change. */
	if (!job->current && !batch->run->options.dry_run)
		drop_closure(job);
	return 0;
}

/* What is said of a program that has the right table. */
static void recount(struct job *job)
{
	const struct fp_object *program = job->closure->members[0].object;
	struct fp_table_counts counts;

	fp_table_recount(fp_program_table(program), job->closure, job->carrier, &counts);
	fill_result(&job->result, job->closure, &counts, fp_undo_original_size(program));
	job->result.added_size = program->size - job->result.original_size;
	job->result.outcome = FP_OUTCOME_UNCHANGED;
}

/* Phase 5, for one program. */
static void write_one(size_t index, void *context)
{
	struct fp_batch *batch = context;
	struct fp_run *run = batch->run;
	struct job *job = &batch->jobs[batch->first + index];

	if (!has_closure(run, job))
		return;
	if (job->current || is_current(run, job->closure, job->carrier)) {
		recount(job);
	} else {
		job->stat = job->closure->members[0].object->stat;
		if (rewrite_program(run, job->closure, job->carrier, &job->result, &job->stat,
				    &job->why) != 0)
			fail(job, NULL);
		/* In a dry run the libraries are still as they were, and so is the table. */
		else if (run->options.dry_run && !fp_run_libraries_settled(run, job->closure))
			job->result.outcome = FP_OUTCOME_DONE;
	}
	drop_closure(job);
	fp_run_stay_small(run);
}

static int tell(size_t index, void *context)
{
	struct fp_batch *batch = context;
	struct job *job = &batch->jobs[batch->first + index];

	if (job->first) {
		job->failed = job->first->failed;
		job->why = job->first->why;
		job->result = job->first->result;
		job->result.outcome = FP_OUTCOME_UNCHANGED;
	}
	if (!job->failed)
		job->why.reason = FP_REASON_NONE;
	progress(batch, FP_PHASE_PROGRAMS, batch->first + index + 1);
	if (job->cached &&
	    fp_note_program(batch->run, job->cached, &job->stat, &job->result, &job->why) != 0)
		return -ENOMEM;
	return batch->visit(job->path, &job->result, &job->why, batch->context);
}

static int write_programs(struct fp_batch *batch, struct fp_parallel *job)
{
	int error = 0;

	/* In a dry run there are no old files. */
	size_t size = batch->run->options.dry_run ? batch->count : BATCH;

	for (; batch->first < batch->count && !error; batch->first += size) {
		size_t left = batch->count - batch->first;

		error = fp_parallel_run(job, left < size ? left : size);
		fp_loader_sweep(batch->run->loader);
	}
	return error;
}

int fp_batch_new(struct fp_run *run, const char *const *paths, size_t count,
		 fp_program_visit *visit, void *context, struct fp_batch **ret_batch,
		 struct fp_why *why)
{
	struct fp_batch *batch = calloc(1, sizeof(*batch));

	if (batch)
		batch->jobs = calloc(count + 1, sizeof(*batch->jobs));
	if (!batch || !batch->jobs) {
		free(batch);
		return fp_why_system(why, ENOMEM, "", "prelink");
	}
	batch->run = run;
	batch->count = count;
	batch->visit = visit;
	batch->context = context;
	for (size_t i = 0; i < count; i++)
		batch->jobs[i].path = paths[i];
	*ret_batch = batch;
	return 0;
}

void fp_batch_free(struct fp_batch *batch)
{
	if (!batch)
		return;
	for (size_t i = 0; i < batch->count; i++)
		drop_closure(&batch->jobs[i]);
	free(batch->jobs);
	fp_strmap_free(&batch->by_path);
	fp_arena_free(&batch->arena);
	free(batch);
}

/* The reason in WHY when memory is out; other errors have theirs. */
static int explain(int error, struct fp_why *why)
{
	return error == -ENOMEM ? fp_why_system(why, ENOMEM, "", "prelink") : error;
}

int fp_batch_look(struct fp_batch *batch, struct fp_why *why)
{
	struct fp_run *run = batch->run;
	const struct fp_parallel job = { .work = look,
					 .finish = looked,
					 .context = batch,
					 .stop = run->options.stop,
					 .threads = run->options.threads };
	int error;

	fp_placing_free(run->placing);
	run->placing = NULL;
	error = fp_placing_new(run, batch->count, &run->placing, why);
	if (!error)
		error = explain(fp_parallel_run(&job, batch->count), why);
	return error;
}

int fp_batch_write(struct fp_batch *batch, struct fp_why *why)
{
	struct fp_run *run = batch->run;
	struct fp_parallel job = { .work = compare,
				   .finish = want_libraries,
				   .context = batch,
				   .stop = run->options.stop,
				   .threads = run->options.threads };
	int error = run->options.libs_only ? 0 : ensure_carriers(batch);

	if (!error)
		error = fp_parallel_run(&job, batch->count);
	if (!error)
		error = fp_run_place_libraries(run);
	job.work = write_one;
	job.finish = tell;
	if (!error && !run->options.libs_only)
		error = write_programs(batch, &job);
	return explain(error, why);
}

int fp_run_tell_unreadable(const struct fp_run *run, const char *path, int error,
			   fp_program_visit *visit, void *context)
{
	const struct fp_program_result nothing = { 0 };
	const char *inside = fp_run_inside(run, path);
	struct fp_why why = { 0 };

	fp_why_system(&why, error, inside, "read");
	return visit(inside, &nothing, &why, context);
}

/* The programs of a request. */
struct list {
	struct fp_arena arena;
	const char **paths;
	size_t count, space;
	const struct fp_run *run;
	fp_program_visit *visit; /* of what could not be read */
	void *context;
};

/* A fp_select_unreadable. */
static int tell_unreadable(const char *path, int error, void *context)
{
	const struct list *list = context;

	return fp_run_tell_unreadable(list->run, path, error, list->visit, list->context);
}

/* A fp_select_visit: of directories, only programs. */
static int collect(const struct fp_selected *file, void *context)
{
	struct list *list = context;

	if (!file->is_named && file->kind != FP_SELECT_PROGRAM)
		return 0;
	if (list->count == list->space) {
		size_t space = list->space ? list->space * 2 : 256;
		const char **paths = reallocarray(list->paths, space, sizeof(*paths));

		if (!paths)
			return -ENOMEM;
		list->paths = paths;
		list->space = space;
	}
	list->paths[list->count] = fp_arena_string(&list->arena, file->path);
	return list->paths[list->count++] ? 0 : -ENOMEM;
}

static bool has_directory(const struct fp_run *run, const struct fp_request *request)
{
	bool found = false;

	for (size_t i = 0; i < request->path_count && !found; i++) {
		const char *path = fp_run_inside(run, request->paths[i]);
		const char *host = path[0] == '/' ? fp_loader_resolve(run->loader, path) : path;
		struct stat stat;

		found = host && lstat(host, &stat) == 0 && S_ISDIR(stat.st_mode);
	}
	return found;
}

static int prelink(struct fp_run *run, const char *const *paths, size_t count,
		   fp_program_visit *visit, void *context, struct fp_why *why)
{
	struct fp_batch *batch = NULL;
	int error = fp_batch_new(run, paths, count, visit, context, &batch, why);

	if (!error)
		error = fp_batch_look(batch, why);
	if (!error)
		error = fp_placing_decide(run->placing, why);
	if (!error)
		error = fp_batch_write(batch, why);
	fp_batch_free(batch);
	return error;
}

int fp_run_prelink(struct fp_run *run, const struct fp_request *request, fp_program_visit *visit,
		   void *context, struct fp_why *why)
{
	struct fp_selection selection = {
		.root = run->root,
		.paths = request->paths,
		.path_count = request->path_count,
		.one_file_system = request->one_file_system,
		.dereference = request->dereference,
		.unreadable = tell_unreadable,
	};
	struct list list = { .run = run, .visit = visit, .context = context };
	int error = fp_run_configure(run, why);

	if (error)
		return error;
	if (request->all || request->paths_are_changes)
		return fp_run_whole(run, request, visit, context, why);
	if (!has_directory(run, request))
		return prelink(run, (const char *const *)request->paths, request->path_count, visit,
			       context, why);
	selection.config = run->config;
	error = fp_select(&selection, collect, &list, why);
	if (!error)
		error = prelink(run, list.paths, list.count, visit, context, why);
	free(list.paths);
	fp_arena_free(&list.arena);
	return error;
}
