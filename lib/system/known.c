/* known.c - where the cache of a run is, and what it knows, for people. */
#include <errno.h>
#include <fastprelink/abi.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define CACHE_DIRECTORY "/var/cache/fastprelink"

static uint64_t digest_text(const char *text)
{
	uint64_t hash = 0;

	while (*text)
		hash = fp_mix(hash, (unsigned char)*text++);
	return hash;
}

int fp_run_cache_path(const struct fp_run *run, char ret_path[PATH_MAX])
{
	char *real;
	int length;

	if (run->options.cache)
		length = snprintf(ret_path, PATH_MAX, "%s", run->options.cache);
	else if (!run->root)
		length = snprintf(ret_path, PATH_MAX, CACHE_DIRECTORY "/system");
	else {
		real = realpath(run->root, NULL);
		length = snprintf(ret_path, PATH_MAX, CACHE_DIRECTORY "/root-%016llx",
				  (unsigned long long)digest_text(real ? real : run->root));
		free(real);
	}
	return length > 0 && length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int compare_paths(const void *a, const void *b)
{
	const struct fp_cached_file *const *left = a, *const *right = b;

	return strcmp((*left)->path, (*right)->path);
}

static int tell(const struct fp_cached_file *file, struct fp_known *known, fp_known_visit *visit,
		void *context)
{
	*known = (struct fp_known){ .path = file->path,
				    .is_program = file->kind == FP_CACHED_PROGRAM,
				    .base = file->base,
				    .room = file->room };
	known->is_judged = known->is_program ? file->is_judged : file->is_placed;
	known->why.reason = file->reason;
	known->why.error = file->error;
	snprintf(known->why.file, sizeof(known->why.file), "%s", file->why_file ?: "");
	snprintf(known->why.detail, sizeof(known->why.detail), "%s", file->detail ?: "");
	return visit(known, context);
}

int fp_run_each_known(struct fp_run *run, fp_known_visit *visit, void *context, struct fp_why *why)
{
	struct fp_known *known = calloc(1, sizeof(*known));
	struct fp_cache *cache = NULL;
	char path[PATH_MAX];
	int result = known ? 0 : fp_why_system(why, ENOMEM, "", "read");

	if (!result && fp_run_cache_path(run, path) != 0)
		result = fp_why_system(why, ENAMETOOLONG, run->options.cache, "read");
	if (!result)
		result = fp_cache_load(path, NULL, &cache, why);
	if (!result && cache->file_count)
		qsort(cache->files, cache->file_count, sizeof(struct fp_cached_file *),
		      compare_paths);
	for (size_t i = 0; !result && i < cache->file_count; i++) {
		enum fp_cached_kind kind = cache->files[i]->kind;

		if (kind == FP_CACHED_PROGRAM || kind == FP_CACHED_LIBRARY)
			result = tell(cache->files[i], known, visit, context);
	}
	fp_cache_free(cache);
	free(known);
	return result;
}
