/* replace.c - reads a file or its original, and puts a rewritten file in its place. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../rewrite/commit.h"
#include "internal.h"

enum {
	LARGE = 32 << 20,
	STEP = 16 << 20, /* bytes that are compared at a time */
};

bool fp_run_begin_large(struct fp_run *run, size_t size)
{
	if (run->options.dry_run || size <= LARGE || pthread_mutex_lock(&run->large) != 0)
		return false;
	run->has_large = true;
	return true;
}

void fp_run_end_large(struct fp_run *run)
{
	run->has_large = false;
	pthread_mutex_unlock(&run->large);
}

int fp_run_read_file(const char *path, unsigned char **ret_bytes, size_t *ret_size,
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

/* Whether ORIGINAL has the bytes RESTORED; of a large file no more than a step is kept in memory. */
static bool is_original(const struct fp_object *original, const struct fp_buffer *restored)
{
	if (restored->size != original->size)
		return false;
	for (size_t at = 0; at < original->size; at += STEP) {
		size_t left = original->size - at;

		if (memcmp(restored->bytes + at, original->image + at, left < STEP ? left : STEP) !=
		    0)
			return false;
		if (original->size > LARGE)
			fp_object_trim(original);
	}
	return true;
}

/* Whether the undo data of FILE gives back ORIGINAL: the last look before the file is replaced. */
static int check_undo(const struct fp_object *original, const struct fp_buffer *file,
		      struct fp_why *why)
{
	struct fp_object *object = NULL;
	struct fp_buffer restored = { 0 };
	int error = fp_object_from_memory(original->path, file->bytes, file->size, &object, why);

	if (original->size > LARGE)
		fp_object_trim(original);
	if (!error)
		error = fp_undo_apply(object, &restored, why);
	if (!error && !is_original(original, &restored))
		error = fp_why_set(why, FP_REASON_MALFORMED, original->path,
				   "it could not be restored");
	fp_buffer_free(&restored);
	fp_object_close(object);
	return error;
}

int fp_run_replace(struct fp_run *run, const char *name, const struct fp_object *object,
		   const struct fp_object *original, const struct fp_buffer *file,
		   struct stat *ret_stat, struct fp_why *why)
{
	int error = check_undo(original, file, why);

	if (error || run->options.dry_run)
		return error;
	error = fp_commit(object->path, &object->stat, file->bytes, file->size, ret_stat, why);
	if (!error)
		fp_loader_forget(run->loader, name);
	return error;
}
