/* loader.c - opens every file of a run once, by its real path inside the root.

   Closures may be built by several threads.  A search holds the loader's lock, for what it does is following names that are mostly
   known; it lets go of it while a file is opened and checked, which is the work. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fp_retired {
	struct fp_retired *next;
	struct fp_object *object;
};

static int copy_option(struct fp_arena *arena, const char *text, char **ret_copy)
{
	if (text)
		*ret_copy = fp_arena_string(arena, text);
	return text && !*ret_copy ? -ENOMEM : 0;
}

static int check_root(const char *root, struct fp_why *why)
{
	struct stat status;

	if (!root)
		return 0;
	if (stat(root, &status) != 0)
		return fp_why_system(why, errno, root, "open");
	return S_ISDIR(status.st_mode) ? 0 : fp_why_system(why, ENOTDIR, root, "open");
}

int fp_loader_new(const struct fp_loader_options *options, struct fp_loader **ret_loader,
		  struct fp_why *why)
{
	struct fp_loader *loader;
	int error = check_root(options->root, why);

	if (error)
		return error;
	loader = calloc(1, sizeof(*loader));
	if (!loader)
		return fp_why_system(why, ENOMEM, options->root, "open");
	pthread_mutex_init(&loader->lock, NULL);
	pthread_cond_init(&loader->opened, NULL);
	loader->use_ld_so_conf = options->use_ld_so_conf;
	loader->cpu = fp_cpu_probe();
	if (fp_root_init(&loader->root, options->root) != 0 ||
	    copy_option(&loader->arena, options->library_path, &loader->library_path) != 0 ||
	    copy_option(&loader->arena, options->preload, &loader->preload) != 0) {
		fp_loader_free(loader);
		return fp_why_system(why, ENOMEM, options->root, "open");
	}
	*ret_loader = loader;
	return 0;
}

void fp_loader_lock(struct fp_loader *loader)
{
	pthread_mutex_lock(&loader->lock);
}

void fp_loader_unlock(struct fp_loader *loader)
{
	pthread_mutex_unlock(&loader->lock);
}

void fp_loader_free(struct fp_loader *loader)
{
	struct fp_file *file;
	size_t position = 0;

	if (!loader)
		return;
	while ((file = fp_strmap_next(&loader->files, &position)))
		fp_object_close(file->object);
	fp_loader_sweep(loader);
	for (struct fp_interpreter *i = loader->interpreters; i; i = i->next)
		fp_ldcache_free(i->cache);
	fp_strmap_free(&loader->files);
	fp_root_free(&loader->root);
	fp_arena_free(&loader->arena);
	pthread_cond_destroy(&loader->opened);
	pthread_mutex_destroy(&loader->lock);
	free(loader);
}

/* The entry of the file at PATH, which exists. */
static struct fp_file *find_file(struct fp_loader *loader, const struct fp_path *path)
{
	struct fp_file *file = fp_strmap_get(&loader->files, path->canonical);

	if (file)
		return file;
	file = fp_arena_alloc(&loader->arena, sizeof(*file));
	if (!file || fp_strmap_put(&loader->files, path->canonical, file) != 0)
		return NULL;
	return file;
}

/* glibc elf/dl-load.c:open_verify: of the files that are no use, those that cannot be opened and
   those of another class or machine are passed over, and all others end the search. */
int fp_loader_try(struct fp_loader *loader, const char *path, struct fp_object **ret_object,
		  struct fp_why *why)
{
	const struct fp_path *resolved = fp_root_resolve(&loader->root, path);
	struct fp_why local;
	struct fp_file *file;
	int error;

	if (!resolved)
		return fp_why_system(why, ENOMEM, path, "open");
	if (resolved->error)
		return resolved->error;
	file = find_file(loader, resolved);
	if (!file)
		return fp_why_system(why, ENOMEM, path, "open");
	while (file->opening)
		pthread_cond_wait(&loader->opened, &loader->lock);
	if (!file->object && !file->foreign) {
		struct fp_object *object = NULL;

		file->opening = true;
		fp_loader_unlock(loader);
		error = fp_object_open(resolved->host, &object, &local);
		fp_loader_lock(loader);
		file->object = object;
		if (object)
			object->number = ++loader->object_count;
		file->opening = false;
		pthread_cond_broadcast(&loader->opened);
		if (error && local.reason == FP_REASON_SYSTEM && local.error != ENOMEM)
			return local.error;
		file->foreign = error && (local.reason == FP_REASON_WRONG_CLASS ||
					  local.reason == FP_REASON_WRONG_MACHINE);
		if (error && !file->foreign) {
			if (why)
				*why = local;
			return error;
		}
	}
	if (file->foreign)
		return ENOENT;
	*ret_object = file->object;
	return 0;
}

/* PATH as an absolute one inside the root; to be freed. */
static char *make_absolute(const struct fp_loader *loader, const char *path)
{
	char *here, *absolute = NULL;

	if (path[0] == '/')
		return strdup(path);
	here = loader->root.prefix[0] ? strdup("") : getcwd(NULL, 0);
	if (!here || asprintf(&absolute, "%s/%s", here, path) < 0)
		absolute = NULL;
	free(here);
	return absolute;
}

/* Opens the file at PATH, which the search passed over, for the sake of the reason. */
static int open_again(struct fp_loader *loader, const struct fp_path *path,
		      struct fp_object **ret_object, struct fp_why *why)
{
	struct fp_file *file = find_file(loader, path);
	int error;

	if (!file)
		return fp_why_system(why, ENOMEM, path->host, "open");
	error = fp_object_open(path->host, &file->object, why);
	if (error)
		return error;
	file->foreign = false;
	file->object->number = ++loader->object_count;
	*ret_object = file->object;
	return 0;
}

int fp_loader_get(struct fp_loader *loader, const char *path, struct fp_object **ret_object,
		  struct fp_why *why)
{
	char *absolute = make_absolute(loader, path);
	const struct fp_path *resolved;
	int error;

	if (!absolute)
		return fp_why_system(why, errno, path, "open");
	error = fp_loader_try(loader, absolute, ret_object, why);
	if (error > 0) {
		resolved = fp_root_resolve(&loader->root, absolute);
		if (resolved && !resolved->error)
			error = open_again(loader, resolved, ret_object, why);
		else
			error = fp_why_system(why, error, path, "open");
	}
	free(absolute);
	return error;
}

int fp_loader_open(struct fp_loader *loader, const char *path, struct fp_object **ret_object,
		   struct fp_why *why)
{
	int error;

	fp_loader_lock(loader);
	error = fp_loader_get(loader, path, ret_object, why);
	fp_loader_unlock(loader);
	return error;
}

/* FILE will be read anew. */
static void retire(struct fp_loader *loader, struct fp_file *file)
{
	struct fp_retired *retired = fp_arena_alloc(&loader->arena, sizeof(*retired));

	/* Without memory the object stays open until the process ends, rather than being used
	   again. */
	if (retired) {
		*retired = (struct fp_retired){ .next = loader->retired, .object = file->object };
		loader->retired = retired;
	}
	file->object = NULL;
}

static void forget(struct fp_loader *loader, const char *absolute)
{
	const struct fp_path *resolved;
	struct fp_file *file;

	fp_root_forget(&loader->root, absolute);
	resolved = fp_root_resolve(&loader->root, absolute);
	if (!resolved || resolved->error)
		return;
	file = fp_strmap_get(&loader->files, resolved->canonical);
	if (!file)
		return;
	file->foreign = false;
	if (file->object)
		retire(loader, file);
}

void fp_loader_forget(struct fp_loader *loader, const char *path)
{
	char *absolute = make_absolute(loader, path);

	if (!absolute)
		return;
	fp_loader_lock(loader);
	forget(loader, absolute);
	fp_loader_unlock(loader);
	free(absolute);
}

const char *fp_loader_resolve(struct fp_loader *loader, const char *path)
{
	char *absolute = path[0] == '/' ? NULL : make_absolute(loader, path);
	const struct fp_path *resolved = NULL;

	fp_loader_lock(loader);
	if (absolute || path[0] == '/')
		resolved = fp_root_resolve(&loader->root, absolute ? absolute : path);
	fp_loader_unlock(loader);
	free(absolute);
	return resolved && !resolved->error ? resolved->host : NULL;
}

uint64_t fp_loader_machine(const struct fp_loader *loader)
{
	uint64_t number = (uint64_t)loader->cpu.isa << 1 | loader->cpu.avx512_1;

	for (const char *c = loader->cpu.platform; c && *c; c++)
		number = number * 31 + (unsigned char)*c;
	return number;
}

void fp_loader_sweep(struct fp_loader *loader)
{
	fp_loader_lock(loader);
	for (struct fp_retired *retired = loader->retired; retired; retired = retired->next)
		fp_object_close(retired->object);
	loader->retired = NULL;
	fp_loader_unlock(loader);
}

void fp_loader_trim(struct fp_loader *loader)
{
	const struct fp_file *file;
	size_t position = 0;

	fp_loader_lock(loader);
	while ((file = fp_strmap_next(&loader->files, &position)))
		if (file->object)
			fp_object_trim(file->object);
	for (struct fp_retired *retired = loader->retired; retired; retired = retired->next)
		fp_object_trim(retired->object);
	fp_loader_unlock(loader);
}
