/* install.c - puts the carrier and the runtime in place, and takes the runtime away. */
#include <errno.h>
#include <fastprelink/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../rewrite/carrier.h"
#include "../rewrite/commit.h"
#include "internal.h"
#include "policy.h"
#include "prove.h"

int fp_run_make_parents(const char *path, struct fp_why *why)
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

int fp_run_check_runtime(const struct fp_run *run, const char *path, struct fp_why *why)
{
	const char *host = fp_loader_resolve(run->loader, path);
	unsigned char *bytes = NULL;
	struct stat stat;
	size_t size;
	int error = host ? fp_run_read_file(host, &bytes, &size, &stat, NULL) : -ENOENT;
	bool taken = !error && is_runtime(bytes, size);

	free(bytes);
	return taken ? 0
		     : fp_why_set(why, FP_REASON_NO_RUNTIME, path, "%s",
				  error ? "it cannot be read" : "it is not a whole one");
}

int fp_run_check_carrier(const struct fp_run *run, const struct fp_object *object,
			 struct fp_why *why)
{
	const char *runtime = fp_carrier_runtime(object);

	if (!fp_carrier_stub(object))
		return fp_why_set(why, FP_REASON_NO_STUB, object->path, "%s", "");
	if (!runtime)
		return fp_why_set(why, FP_REASON_OTHER_STUB, object->path, "%s", "");
	return fp_run_check_runtime(run, runtime, why);
}

static int read_source(const struct fp_run *run, unsigned char **ret_bytes, size_t *ret_size,
		       struct fp_why *why)
{
	const char *source =
		run->options.runtime_source ? run->options.runtime_source : FP_RUNTIME_PATH;
	struct stat stat;
	int error = fp_run_read_file(source, ret_bytes, ret_size, &stat, why);

	if (error == -ENOENT)
		return fp_why_set(why, FP_REASON_NO_RUNTIME, source,
				  "install fastprelink, or name the file with --runtime-source");
	if (error || is_runtime(*ret_bytes, *ret_size))
		return error;
	free(*ret_bytes);
	return fp_why_set(why, FP_REASON_NO_RUNTIME, source, "not a runtime of fastprelink");
}

int fp_run_install_runtime(struct fp_run *run, struct fp_why *why)
{
	const char *path = fp_run_on_host(run, run->runtime);
	unsigned char *bytes = NULL, *old = NULL;
	size_t size = 0, old_size = 0;
	struct stat stat;
	int error;

	if (!path)
		return fp_why_system(why, errno, run->runtime, "install");
	error = read_source(run, &bytes, &size, why);
	if (error)
		return error;
	if (fp_run_read_file(path, &old, &old_size, &stat, NULL) == 0 && old_size == size &&
	    memcmp(old, bytes, size) == 0) {
		free(old);
		free(bytes);
		return 0;
	}
	free(old);
	if (!run->options.dry_run) {
		error = fp_run_make_parents(path, why);
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
					       &file, NULL, why);
	}
	if (!error)
		run->carrier.added_size = file.size - original->size;
	if (original != object)
		fp_object_close(original);
	fp_buffer_free(&restored);
	fp_buffer_free(&file);
	return error;
}

int fp_run_ensure_carrier(struct fp_run *run, const struct fp_closure *closure, size_t index,
			  bool *ret_replaced, struct fp_why *why)
{
	const struct fp_member *member = &closure->members[index];
	bool current = fp_carrier_is_current(member->object, run->runtime);
	int error = current ? 0 : fp_placing_changeable(run->placing, member->object, why);

	*ret_replaced = false;
	if (!error)
		error = fp_run_install_runtime(run, why);
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

int fp_run_remove_runtime(struct fp_run *run, struct fp_why *why)
{
	const char *path = fp_run_on_host(run, run->runtime);

	if (!path)
		return fp_why_system(why, errno, run->runtime, "remove");
	/* Without a root it is the package's file. */
	if (!run->root && strcmp(run->runtime, FP_RUNTIME_PATH) == 0)
		return 0;
	if (!run->options.dry_run && unlink(path) != 0 && errno != ENOENT)
		return fp_why_system(why, errno, path, "remove");
	return 0;
}
