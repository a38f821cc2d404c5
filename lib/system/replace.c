/* replace.c - opens the original of a file, and puts a rewritten file in its place. */
#include <string.h>

#include "../rewrite/commit.h"
#include "internal.h"

int fp_run_open_original(struct fp_object *object, struct fp_buffer *buffer,
			 struct fp_object **ret_original, struct fp_why *why)
{
	int error;

	*ret_original = object;
	if (!fp_undo_present(object))
		return 0;
	error = fp_undo_restore(object, buffer, why);
	return error ? error
		     : fp_object_from_memory(object->path, buffer->bytes, buffer->size,
					     ret_original, why);
}

/* Whether the undo data of FILE gives back ORIGINAL: the last look before the file is replaced. */
static int check_undo(const struct fp_object *original, const struct fp_buffer *file,
		      struct fp_why *why)
{
	struct fp_object *object = NULL;
	struct fp_buffer restored = { 0 };
	int error = fp_object_from_memory(original->path, file->bytes, file->size, &object, why);

	if (!error)
		error = fp_undo_restore(object, &restored, why);
	if (!error && (restored.size != original->size ||
		       memcmp(restored.bytes, original->image, restored.size) != 0))
		error = fp_why_set(why, FP_REASON_MALFORMED, original->path,
				   "it could not be restored");
	fp_buffer_free(&restored);
	fp_object_close(object);
	return error;
}

int fp_run_replace(struct fp_run *run, const char *name, const struct fp_object *object,
		   const struct fp_object *original, const struct fp_buffer *file,
		   struct fp_why *why)
{
	int error = check_undo(original, file, why);

	if (error || run->options.dry_run)
		return error;
	error = fp_commit(object->path, &object->stat, file->bytes, file->size, why);
	if (!error)
		fp_loader_forget(run->loader, name);
	return error;
}
