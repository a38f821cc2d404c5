/* current.c - what of a cache still holds.

   A program holds as long as its file, the files that it loads, the directories that ld.so searches for these and the answers of ld.so.cache
   are what they were.  A directory counts by its times: it is another one as soon as a name in it comes or goes.  An answer counts by what it is:
   ld.so.cache is written anew by every other package. */
#include "current.h"

#include <string.h>
#include <unistd.h>

struct fp_file_key fp_current_key(const struct fp_run *run, const char *path)
{
	const char *host = fp_loader_resolve(run->loader, path);
	struct stat stat;

	return host && lstat(host, &stat) == 0 ? fp_file_key(&stat) : (struct fp_file_key){ 0 };
}

bool fp_current_file(const struct fp_run *run, struct fp_cached_file *file)
{
	if (!file->is_checked) {
		struct fp_file_key key = fp_current_key(run, file->path);

		file->is_current = fp_file_key_same(&key, &file->key);
		file->is_checked = true;
	}
	return file->is_current;
}

void fp_current_directories(const struct fp_run *run)
{
	struct fp_cache *cache = run->cache;

	for (size_t i = 0; i < cache->directory_count; i++) {
		struct fp_cached_directory *directory = &cache->directories[i];
		struct fp_file_key key = fp_current_key(run, directory->path);

		directory->is_current = fp_file_key_same(&key, &directory->key);
		cache->is_changed |= !directory->is_current;
		directory->key = key;
	}
}

/* Asks a new ld.so.cache what the old one was asked. */
void fp_current_answers(const struct fp_run *run)
{
	struct fp_cache *cache = run->cache;
	struct fp_file_key key;
	bool same;

	if (!cache->interpreter)
		return;
	key = fp_current_key(run, cache->cache_path);
	same = fp_file_key_same(&key, &cache->cache_key);
	for (size_t i = 0; i < cache->answer_count; i++) {
		struct fp_cached_answer *answer = &cache->answers[i];
		const char *path = answer->path;

		if (!same && fp_loader_ask_cache(run->loader, cache->interpreter, answer->name,
						 &path, NULL) != 0)
			path = "";
		answer->is_current = path && answer->path ? strcmp(path, answer->path) == 0
							  : path == answer->path;
	}
	cache->cache_key = key;
	cache->is_changed |= !same;
}

void fp_current_refresh(const struct fp_run *run)
{
	struct fp_cache *cache = run->cache;

	for (size_t i = 0; i < cache->directory_count; i++)
		cache->directories[i].key = fp_current_key(run, cache->directories[i].path);
	if (cache->cache_path)
		cache->cache_key = fp_current_key(run, cache->cache_path);
}

/* What floats anyway, the carrier for one, is the same when it is excluded. */
void fp_current_covers(const struct fp_run *run)
{
	for (size_t i = 0; i < run->cache->file_count; i++) {
		struct fp_cached_file *file = run->cache->files[i];
		const char *host =
			file->is_placed ? fp_loader_resolve(run->loader, file->path) : NULL;
		bool excluded = file->reason == FP_REASON_EXCLUDED;

		if (host)
			file->is_moved |= fp_config_covers(run->config, fp_run_inside(run, host),
							   file->key.device)
						  ? excluded
						  : file->base && !excluded;
	}
}

/* Earlier runs could not give the library the place that it should have, or what kept them from it may be gone though the file is what
   it was. */
static bool was_skipped(const struct fp_cached_file *library)
{
	switch (library->reason) {
	case FP_REASON_NONE:
		return false;
	case FP_REASON_SYSTEM:
		return true;
	case FP_REASON_SELF_CHECKED: /* the detail is the checksum's name */
		return !library->is_placed || !library->detail ||
		       access(library->detail, F_OK) != 0;
	default:
		return !library->is_placed;
	}
}

bool fp_current_is_affected(const struct fp_run *run, struct fp_cached_file *program)
{
	const struct fp_cache *cache = run->cache;

	if (!program->is_judged || !fp_current_file(run, program))
		return true;
	for (uint32_t i = 0; i < program->member_count; i++) {
		struct fp_cached_file *member = cache->files[program->members[i]];

		if (member->is_moved || !fp_current_file(run, member) || was_skipped(member))
			return true;
	}
	for (uint32_t i = 0; i < program->directory_count; i++)
		if (!cache->directories[program->directories[i]].is_current)
			return true;
	for (uint32_t i = 0; i < program->answer_count; i++)
		if (!cache->answers[program->answers[i]].is_current)
			return true;
	return false;
}
