/* verify.c - is every prelinked file intact, and does every program start accelerated?

   Two lists of files: the prelinked ones, wherever they are, and the programs that the configuration covers.  Each file is looked at by
   itself, on all processors; libraries are opened once, by the loader that all closures share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/strmap.h"
#include "../rewrite/carrier.h"
#include "../rewrite/program.h"
#include "parallel.h"
#include "policy.h"
#include "scan.h"
#include "select.h"
#include "start.h"

struct file {
	const char *path; /* on the host */
	bool prelinked;   /* it carries undo data */
	bool failed;
	int unreadable; /* the errno of the walk that met it, or 0 */
	struct fp_verify_result result;
	struct fp_why *why; /* what is said when it has failed; null: memory is out */
};

struct verification {
	struct fp_run *run;
	struct file *files;
	size_t count, space;
	struct fp_strmap by_path; /* those that are prelinked */
	fp_verify_visit *visit;
	void *context;
	struct fp_arena arena;
};

static int add_file(struct verification *verification, const char *path, bool prelinked)
{
	struct file file = { .path = fp_arena_string(&verification->arena, path),
			     .prelinked = prelinked };

	if (verification->count == verification->space) {
		size_t space = verification->space ? verification->space * 2 : 256;
		struct file *files = reallocarray(verification->files, space, sizeof(*files));

		if (!files)
			return -ENOMEM;
		verification->files = files;
		verification->space = space;
	}
	if (!file.path)
		return -ENOMEM;
	verification->files[verification->count++] = file;
	return prelinked ? fp_strmap_put(&verification->by_path, file.path, (void *)file.path) : 0;
}

/* A fp_scan_unreadable: what could not be looked at is not known to be as it should be. */
static int add_unreadable(const char *path, int error, void *context)
{
	struct verification *verification = context;
	int result = add_file(verification, path, false);

	if (!result)
		verification->files[verification->count - 1].unreadable = error;
	return result;
}

static bool is_stopped(const struct verification *verification)
{
	const struct fp_run_options *options = &verification->run->options;

	return options->stop && *options->stop;
}

/* A fp_scan_visit. */
static int add_prelinked(const char *path, void *context)
{
	struct verification *verification = context;

	return is_stopped(verification) ? -EINTR : add_file(verification, path, true);
}

/* A fp_select_visit. */
static int add_program(const struct fp_selected *file, void *context)
{
	struct verification *verification = context;

	if (is_stopped(verification))
		return -EINTR;
	if (file->kind != FP_SELECT_PROGRAM || fp_strmap_get(&verification->by_path, file->host))
		return 0;
	return add_file(verification, file->host, false);
}

static int find_files(struct verification *verification, struct fp_why *why)
{
	struct fp_run *run = verification->run;
	const struct fp_selection programs = { .root = run->root,
					       .config = run->config,
					       .whole_system = true };
	int error = fp_scan_prelinked(run->root, run->config, add_prelinked, add_unreadable,
				      verification);

	if (!error)
		error = fp_select(&programs, add_program, verification, why);
	return error;
}

static enum fp_verified kind_of(const struct fp_object *object)
{
	return fp_object_section(object, FP_STUB_SECTION) ? FP_VERIFIED_CARRIER
	       : fp_object_is_program(object)             ? FP_VERIFIED_PROGRAM
							  : FP_VERIFIED_LIBRARY;
}

static int check_intact(const struct fp_object *object, struct fp_why *why)
{
	struct fp_buffer original = { 0 };
	int error = fp_undo_restore(object, &original, why);

	fp_buffer_free(&original);
	return error;
}

static int check_start(struct verification *verification, const char *path,
		       struct fp_verify_result *result, struct fp_why *why)
{
	struct fp_closure *closure;
	enum fp_decline decline = FP_ACCELERATED;
	int error = fp_closure_build(verification->run->loader, path, &closure, why);

	if (error)
		return error;
	error = fp_start_check(verification->run, closure, &decline, why);
	result->accelerated = !error;
	result->decline = decline;
	fp_closure_free(closure);
	return error;
}

/* A file with undo data. */
static int check_prelinked(struct verification *verification, const char *path,
			   struct fp_verify_result *result, struct fp_why *why)
{
	struct fp_object *object;
	int error = fp_loader_open(verification->run->loader, path, &object, why);

	if (error)
		return error;
	result->kind = kind_of(object);
	error = check_intact(object, why);
	result->intact = !error;
	if (!error && result->kind == FP_VERIFIED_CARRIER)
		error = fp_run_check_carrier(verification->run, object, why);
	if (!error && result->kind == FP_VERIFIED_PROGRAM)
		error = check_start(verification, path, result, why);
	return error;
}

/* As fp_policy_changeable, but whether the file can be written just now, by whom runs this, does not matter. */
static int check_changeable(const struct fp_object *object, struct fp_why *why)
{
	int error = fp_policy_changeable(object, why);

	return error && why->reason == FP_REASON_SYSTEM ? 0 : error;
}

/* Whether a run would prelink the program of CLOSURE, which carries no undo data. */
static int check_wanted(const struct verification *verification, const struct fp_closure *closure,
			struct fp_why *why)
{
	const struct fp_object *program = closure->members[0].object;
	struct fp_table_counts counts;
	size_t carrier = 0;
	int error;

	if (fp_program_table(program))
		return fp_why_set(why, FP_REASON_MODIFIED, program->path, "%s", "");
	error = fp_policy_program(program, why);
	if (!error)
		error = check_changeable(program, why);
	if (!error)
		error = fp_run_weigh_program(verification->run, closure, &counts, &carrier, why);
	if (!error && !fp_carrier_stub(closure->members[carrier].object))
		error = check_changeable(closure->members[carrier].object, why);
	return error;
}

/* True when the file HOST, which cannot be opened as an object, was prelinked once. */
static bool is_remains(const char *host)
{
	unsigned char *bytes = NULL;
	struct stat stat;
	size_t size;
	bool remains = fp_run_read_file(host, &bytes, &size, &stat, NULL) == 0 &&
		       fp_undo_remains(bytes, size);

	free(bytes);
	return remains;
}

/* The program FILE, without undo data. */
static int check_plain(struct verification *verification, const struct file *file,
		       struct fp_verify_result *result, struct fp_why *why)
{
	struct fp_run *run = verification->run;
	struct fp_closure *closure;
	int error = fp_closure_build(run->loader, fp_run_inside(run, file->path), &closure, why);

	result->kind = FP_VERIFIED_PROGRAM;
	if (!error) {
		error = check_wanted(verification, closure, why);
		fp_closure_free(closure);
	} else if ((why->reason == FP_REASON_TRUNCATED || why->reason == FP_REASON_MALFORMED) &&
		   is_remains(file->path)) {
		error = fp_why_set(why, FP_REASON_MODIFIED, file->path, "%s", "");
	}
	if (!error)
		return fp_why_set(why, FP_REASON_NOT_PRELINKED, "", "%s", "");
	/* What could not be looked at, or is damaged, is not as it should be. */
	result->left_alone = why->reason != FP_REASON_SYSTEM &&
			     why->reason != FP_REASON_NO_MEMORY &&
			     why->reason != FP_REASON_MODIFIED;
	return error;
}

/* Verifies one file. */
static void work(size_t index, void *context)
{
	struct verification *verification = context;
	struct file *file = &verification->files[index];
	const char *path = fp_run_inside(verification->run, file->path);
	struct fp_why why = { 0 };
	int error;

	file->result.prelinked = file->prelinked;
	error = file->unreadable  ? fp_why_system(&why, file->unreadable, file->path, "read")
		: file->prelinked ? check_prelinked(verification, path, &file->result, &why)
				  : check_plain(verification, file, &file->result, &why);
	file->failed = error != 0;
	if (error) {
		file->why = malloc(sizeof(why));
		if (file->why)
			*file->why = why;
	}
	fp_run_stay_small(verification->run);
}

static int finish(size_t index, void *context)
{
	struct verification *verification = context;
	const struct fp_run_options *options = &verification->run->options;
	struct file *file = &verification->files[index];
	static const struct fp_why fine, no_memory = { .reason = FP_REASON_NO_MEMORY };
	int result;

	if (options->on_progress)
		options->on_progress(FP_PHASE_VERIFY, index + 1, verification->count, file->path,
				     options->visit_context);
	result = verification->visit(file->path, &file->result,
				     !file->failed ? &fine
				     : file->why   ? file->why
						   : &no_memory,
				     verification->context);
	free(file->why);
	file->why = NULL;
	return result;
}

int fp_run_verify(struct fp_run *run, fp_verify_visit *visit, void *context, struct fp_why *why)
{
	struct verification verification = { .run = run, .visit = visit, .context = context };
	const struct fp_parallel job = { .work = work,
					 .finish = finish,
					 .context = &verification,
					 .stop = run->options.stop,
					 .threads = run->options.threads };
	int error = fp_run_configure(run, why);

	if (!error) {
		error = find_files(&verification, why);
		if (!error)
			error = fp_parallel_run(&job, verification.count);
		if (error == -ENOMEM)
			fp_why_system(why, ENOMEM, "", "verify");
	}
	for (size_t i = 0; i < verification.count; i++)
		free(verification.files[i].why);
	free(verification.files);
	fp_strmap_free(&verification.by_path);
	fp_arena_free(&verification.arena);
	return error;
}
