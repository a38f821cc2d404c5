/* run.c - one run of the engine: closure, carrier, table, program, commit, for one program after the other. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../graph/closure.h"
#include "../rewrite/carrier.h"
#include "../rewrite/commit.h"
#include "../rewrite/program.h"
#include "../rewrite/table.h"
#include "internal.h"
#include "policy.h"
#include "prove.h"
#include "scan.h"

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
	size_t length = run->root ? strlen(run->root) : 0;

	if (length && strncmp(path, run->root, length) == 0 &&
	    (path[length] == '/' || !path[length]))
		return path[length] ? path + length : "/";
	return path;
}

static const char *on_host(struct fp_run *run, const char *path)
{
	return run->root ? fp_arena_format(&run->arena, "%s%s", run->root, path) : path;
}

/* Reads the regular file PATH whole; *RET_BYTES is malloced. */
static int read_file(const char *path, unsigned char **ret_bytes, size_t *ret_size,
		     struct stat *ret_stat, struct fp_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error = 0;
	size_t size = 0;
	unsigned char *bytes = NULL;

	if (fd < 0)
		return fp_why_system(why, errno, path, "open");
	if (fstat(fd, ret_stat) != 0)
		error = fp_why_system(why, errno, path, "stat");
	else if (!S_ISREG(ret_stat->st_mode))
		error = fp_why_set(why, FP_REASON_NOT_REGULAR, path, "%s", "");
	else if (!(bytes = malloc((size_t)ret_stat->st_size + 1)))
		error = fp_why_system(why, ENOMEM, path, "read");
	while (!error && size < (size_t)ret_stat->st_size) {
		ssize_t count = read(fd, bytes + size, (size_t)ret_stat->st_size - size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			error = fp_why_system(why, errno, path, "read");
		else if (count == 0)
			error = fp_why_set(why, FP_REASON_CHANGED, path, "%s", "");
		else
			size += (size_t)count;
	}
	close(fd);
	if (error) {
		free(bytes);
		return error;
	}
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

/* Makes the directories above PATH. */
static int make_parents(const char *path, struct fp_why *why)
{
	char *copy = strdup(path);
	int error = copy ? 0 : fp_why_system(why, ENOMEM, path, "mkdir");

	for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash && !error;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) != 0 && errno != EEXIST)
			error = fp_why_system(why, errno, copy, "mkdir");
		*slash = '/';
	}
	free(copy);
	return error;
}

static bool is_runtime(const unsigned char *bytes, size_t size)
{
	const uint64_t *words = (const uint64_t *)bytes;

	return size >= 32 && size % 8 == 0 && size < FP_MAX_RUNTIME_SIZE &&
	       words[0] == FP_RUNTIME_MAGIC && words[2] == size &&
	       fp_runtime_checksum(words, size / 8 - 1) == words[size / 8 - 1];
}

/* Puts the runtime where the stub looks for it, unless it is there. */
static int install_runtime(struct fp_run *run, struct fp_why *why)
{
	const char *source =
		run->options.runtime_source ? run->options.runtime_source : FP_RUNTIME_PATH;
	const char *path = on_host(run, run->runtime);
	unsigned char *bytes = NULL, *old = NULL;
	size_t size = 0, old_size = 0;
	struct stat stat;
	int error;

	if (!path)
		return fp_why_system(why, ENOMEM, run->runtime, "install");
	error = read_file(source, &bytes, &size, &stat, why);
	if (error)
		return error;
	if (!is_runtime(bytes, size))
		error = fp_why_set(why, FP_REASON_MALFORMED, source,
				   "not a runtime of fastprelink");
	if (!error && read_file(path, &old, &old_size, &stat, NULL) == 0 && old_size == size &&
	    memcmp(old, bytes, size) == 0) {
		free(old);
		free(bytes);
		return 0;
	}
	free(old);
	if (!error && !run->options.dry_run) {
		error = make_parents(path, why);
		if (!error)
			error = fp_commit_new(path, 0755, bytes, size, why);
	}
	free(bytes);
	return error;
}

/* Replaces the carrier by one with the current stub, after programs have run with it. */
static int install_carrier(struct fp_run *run, const struct fp_closure *closure, size_t index,
			   struct fp_why *why)
{
	struct fp_object *object = closure->members[index].object, *original = NULL;
	struct fp_buffer restored = { 0 }, file = { 0 };
	int error = fp_run_open_original(object, &restored, &original, why);

	if (!error)
		error = fp_carrier_rewrite(original, run->runtime, &file, why);
	if (!error && !run->options.dry_run) {
		error = fp_prove_carrier(closure, index, run->root, file.bytes, file.size, why);
		if (!error)
			error = fp_run_replace(run, closure->members[index].name, object, original,
					       &file, why);
	}
	if (!error)
		run->carrier.added_size = file.size - original->size;
	if (original != object)
		fp_object_close(original);
	fp_buffer_free(&restored);
	fp_buffer_free(&file);
	return error;
}

/* Makes sure that the closure has a carrier with a current stub, and that the runtime is there.
   *RET_REPLACED: the carrier is a new file, so that the closure must be built again. */
static int ensure_carrier(struct fp_run *run, const struct fp_closure *closure, size_t index,
			  bool *ret_replaced, struct fp_why *why)
{
	const struct fp_member *member = &closure->members[index];
	bool current = fp_carrier_is_current(member->object, run->runtime);
	int error = current ? 0 : fp_policy_changeable(member->object, why);

	*ret_replaced = false;
	if (!error)
		error = install_runtime(run, why);
	if (error)
		return error;
	if (!run->carrier.path[0])
		strncpy(run->carrier.path, member->name, sizeof(run->carrier.path) - 1);
	if (current) {
		if (!run->carrier.added_size)
			run->carrier.outcome = FP_OUTCOME_UNCHANGED;
		return 0;
	}
	error = install_carrier(run, closure, index, why);
	if (error)
		return error;
	run->carrier.outcome = FP_OUTCOME_DONE;
	*ret_replaced = !run->options.dry_run;
	return 0;
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
		error = ensure_carrier(run, *closure, carrier, &replaced, why);
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
	if (!current)
		return rewrite_program(run, *closure, carrier, result, why);
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

int fp_run_undo(struct fp_run *run, const char *path, const char *output, struct fp_why *why)
{
	struct fp_object *object;
	struct fp_buffer original = { 0 };
	int error = fp_loader_open(run->loader, fp_run_inside(run, path), &object, why);

	if (error)
		return error;
	error = fp_undo_restore(object, &original, why);
	if (!error && output)
		error = fp_commit_like(output, &object->stat, original.bytes, original.size, why);
	else if (!error && !run->options.dry_run)
		error = fp_commit(object->path, &object->stat, original.bytes, original.size, why);
	if (!error && !output)
		fp_loader_forget(run->loader, fp_run_inside(run, path));
	fp_buffer_free(&original);
	return error;
}

int fp_run_each_prelinked(struct fp_run *run, int (*visit)(const char *path, void *context),
			  void *context)
{
	return fp_scan_prelinked(run->root, visit, context);
}

int fp_run_remove_runtime(struct fp_run *run, struct fp_why *why)
{
	const char *path = on_host(run, run->runtime);

	if (!path)
		return fp_why_system(why, ENOMEM, run->runtime, "remove");
	/* Without a root it is the package's file. */
	if (!run->root && strcmp(run->runtime, FP_RUNTIME_PATH) == 0)
		return 0;
	if (!run->options.dry_run && unlink(path) != 0 && errno != ENOENT)
		return fp_why_system(why, errno, path, "remove");
	return 0;
}

/* Reads the file PATH, which is its own original unless it is what is left of a prelinked one. */
static int read_plain(const char *path, unsigned char **ret_bytes, size_t *ret_size,
		      struct fp_why *why)
{
	struct stat stat;
	int error = read_file(path, ret_bytes, ret_size, &stat, why);

	if (error || !fp_undo_remains(*ret_bytes, *ret_size))
		return error;
	free(*ret_bytes);
	return fp_why_set(why, FP_REASON_MODIFIED, path, "%s", "");
}

int fp_run_original(struct fp_run *run, const char *path, enum fp_plain plain,
		    unsigned char **ret_bytes, size_t *ret_size, struct fp_why *why)
{
	const char *within = fp_run_inside(run, path), *host = on_host(run, within);
	struct fp_object *object;
	struct fp_buffer original = { 0 };
	struct fp_why opening = { 0 };
	int error;

	if (!host)
		return fp_why_system(why, ENOMEM, path, "read");
	error = fp_loader_open(run->loader, within, &object, &opening);
	if (error && why)
		*why = opening;
	if (error && plain == FP_PLAIN_SOUND &&
	    (opening.reason == FP_REASON_TRUNCATED || opening.reason == FP_REASON_MALFORMED))
		return error;
	if (plain != FP_PLAIN_NONE && (error || !fp_undo_present(object)))
		return read_plain(error ? host : object->path, ret_bytes, ret_size, why);
	if (!error)
		error = fp_undo_restore(object, &original, why);
	if (!error) {
		*ret_bytes = original.bytes;
		*ret_size = original.size;
	}
	return error;
}
