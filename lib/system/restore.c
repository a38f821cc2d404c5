/* restore.c - gives back originals: in place, elsewhere, or as bytes to look at. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../rewrite/commit.h"
#include "internal.h"
#include "scan.h"

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
		error = fp_commit(object->path, &object->stat, original.bytes, original.size, NULL,
				  why);
	/* Nobody else has it: a run that restores builds no closures. */
	fp_loader_forget(run->loader, fp_run_inside(run, path));
	fp_loader_sweep(run->loader);
	fp_buffer_free(&original);
	return error;
}

int fp_run_each_prelinked(struct fp_run *run, int (*visit)(const char *path, void *context),
			  int (*unreadable)(const char *path, int error, void *context),
			  void *context)
{
	const struct fp_config *config = fp_run_configure(run, NULL) == 0 ? run->config : NULL;

	return fp_scan_prelinked(run->root, config, visit, unreadable, context);
}

/* Reads the file PATH, which is its own original unless it is what is left of a prelinked one. */
static int read_plain(const char *path, unsigned char **ret_bytes, size_t *ret_size,
		      struct fp_why *why)
{
	struct stat stat;
	int error = fp_run_read_file(path, ret_bytes, ret_size, &stat, why);

	if (error || !fp_undo_remains(*ret_bytes, *ret_size))
		return error;
	free(*ret_bytes);
	return fp_why_set(why, FP_REASON_MODIFIED, path, "%s", "");
}

int fp_run_original(struct fp_run *run, const char *path, enum fp_plain plain,
		    unsigned char **ret_bytes, size_t *ret_size, struct fp_why *why)
{
	const char *within = fp_run_inside(run, path), *host;
	struct fp_object *object;
	struct fp_buffer original = { 0 };
	struct fp_why opening = { 0 };
	int error = fp_loader_open(run->loader, within, &object, &opening);

	if (error && why)
		*why = opening;
	if (error && plain == FP_PLAIN_SOUND &&
	    (opening.reason == FP_REASON_TRUNCATED || opening.reason == FP_REASON_MALFORMED))
		return error;
	host = error ? fp_loader_resolve(run->loader, within) : object->path;
	if (plain != FP_PLAIN_NONE && host && (error || !fp_undo_present(object)))
		return read_plain(host, ret_bytes, ret_size, why);
	if (!error)
		error = fp_undo_restore(object, &original, why);
	if (!error) {
		*ret_bytes = original.bytes;
		*ret_size = original.size;
	}
	fp_run_stay_small(run);
	return error;
}
