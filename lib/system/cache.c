/* cache.c - what earlier runs found out about the files of a system, in memory. */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int64_t nanoseconds(struct timespec time)
{
	return (int64_t)((uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec);
}

struct fp_file_key fp_file_key(const struct stat *stat)
{
	return (struct fp_file_key){ .device = stat->st_dev,
				     .inode = stat->st_ino,
				     .size = (uint64_t)stat->st_size,
				     .modified = nanoseconds(stat->st_mtim),
				     .changed = nanoseconds(stat->st_ctim) };
}

bool fp_file_key_same(const struct fp_file_key *a, const struct fp_file_key *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->modified == b->modified && a->changed == b->changed;
}

struct fp_cache *fp_cache_new(uint64_t environment)
{
	struct fp_cache *cache = calloc(1, sizeof(*cache));

	if (cache)
		cache->environment = environment;
	return cache;
}

void fp_cache_free(struct fp_cache *cache)
{
	if (!cache)
		return;
	free(cache->files);
	free(cache->directories);
	free(cache->answers);
	fp_strmap_free(&cache->by_path);
	fp_strmap_free(&cache->directories_by_path);
	fp_strmap_free(&cache->answers_by_name);
	fp_arena_free(&cache->arena);
	free(cache);
}

/* Makes room for one more element of SIZE bytes in the COUNT of *LIST.  Returns 0 or -ENOMEM. */
static int reserve(void **list, size_t count, size_t *space, size_t size)
{
	size_t larger = *space ? *space * 2 : 256;
	void *grown;

	if (count < *space)
		return 0;
	if (larger > UINT32_MAX)
		return -ENOMEM;
	grown = reallocarray(*list, larger, size);
	if (!grown)
		return -ENOMEM;
	*list = grown;
	*space = larger;
	return 0;
}

struct fp_cached_file *fp_cache_find(const struct fp_cache *cache, const char *path)
{
	return fp_strmap_get(&cache->by_path, path);
}

struct fp_cached_file *fp_cache_add(struct fp_cache *cache, const char *path)
{
	struct fp_cached_file *file = fp_cache_find(cache, path);

	if (file)
		return file;
	file = fp_arena_alloc(&cache->arena, sizeof(*file));
	if (!file || !(file->path = fp_arena_string(&cache->arena, path)) ||
	    reserve((void **)&cache->files, cache->file_count, &cache->file_space,
		    sizeof(struct fp_cached_file *)) != 0 ||
	    fp_strmap_put(&cache->by_path, file->path, file) != 0)
		return NULL;
	file->index = (uint32_t)cache->file_count;
	cache->files[cache->file_count++] = file;
	cache->is_changed = true;
	return file;
}

/* The maps hold indexes plus one, since 0 stands for what is not there. */
static void *as_value(size_t index)
{
	return (void *)(uintptr_t)(index + 1);
}

static uint32_t as_index(const void *value)
{
	return (uint32_t)((uintptr_t)value - 1);
}

uint32_t fp_cache_add_directory(struct fp_cache *cache, const char *path)
{
	const void *known = fp_strmap_get(&cache->directories_by_path, path);
	size_t index = cache->directory_count;

	if (known)
		return as_index(known);
	if (reserve((void **)&cache->directories, index, &cache->directory_space,
		    sizeof(*cache->directories)) != 0)
		return UINT32_MAX;
	cache->directories[index] =
		(struct fp_cached_directory){ .path = fp_arena_string(&cache->arena, path) };
	if (!cache->directories[index].path ||
	    fp_strmap_put(&cache->directories_by_path, cache->directories[index].path,
			  as_value(index)) != 0)
		return UINT32_MAX;
	cache->directory_count++;
	return (uint32_t)index;
}

uint32_t fp_cache_add_answer(struct fp_cache *cache, const struct fp_cache_answer *answer)
{
	const void *known = fp_strmap_get(&cache->answers_by_name, answer->name);
	size_t index = known ? as_index(known) : cache->answer_count;
	const char *path = NULL;

	if (answer->path && !(path = fp_arena_string(&cache->arena, answer->path)))
		return UINT32_MAX;
	if (!known) {
		const char *name = fp_arena_string(&cache->arena, answer->name);

		if (!name ||
		    reserve((void **)&cache->answers, index, &cache->answer_space,
			    sizeof(*cache->answers)) != 0 ||
		    fp_strmap_put(&cache->answers_by_name, name, as_value(index)) != 0)
			return UINT32_MAX;
		cache->answers[index].name = name;
		cache->answer_count++;
	}
	/* The latest one counts: it is what ld.so.cache says now. */
	cache->answers[index].path = path;
	cache->answers[index].is_current = true;
	return (uint32_t)index;
}

int fp_cache_set_why(struct fp_cache *cache, struct fp_cached_file *file, const struct fp_why *why)
{
	file->reason = why->reason;
	file->error = why->error;
	file->why_file = file->detail = NULL;
	if (!why->reason)
		return 0;
	file->why_file = fp_arena_string(&cache->arena, why->file);
	file->detail = fp_arena_string(&cache->arena, why->detail);
	return file->why_file && file->detail ? 0 : -ENOMEM;
}

void fp_cached_reset(struct fp_cached_file *file)
{
	*file = (struct fp_cached_file){ .path = file->path,
					 .index = file->index,
					 .is_met = file->is_met,
					 .is_chosen = file->is_chosen };
}

/* The indexes LIST of FROM in TO: what they stand for is there, or is added. */
static int copy_list(struct fp_cache *to, const struct fp_cache *from, const uint32_t *list,
		     uint32_t count,
		     uint32_t (*copy)(struct fp_cache *, const struct fp_cache *, uint32_t),
		     uint32_t **ret_list)
{
	uint32_t *copied = fp_arena_array(&to->arena, count + 1, sizeof(*copied));

	for (uint32_t i = 0; copied && i < count; i++) {
		copied[i] = copy(to, from, list[i]);
		if (copied[i] == UINT32_MAX)
			return -ENOMEM;
	}
	*ret_list = copied;
	return copied ? 0 : -ENOMEM;
}

static uint32_t copy_directory(struct fp_cache *to, const struct fp_cache *from, uint32_t index)
{
	uint32_t copied = fp_cache_add_directory(to, from->directories[index].path);

	if (copied != UINT32_MAX)
		to->directories[copied].key = from->directories[index].key;
	return copied;
}

static uint32_t copy_answer(struct fp_cache *to, const struct fp_cache *from, uint32_t index)
{
	const struct fp_cache_answer answer = { .name = from->answers[index].name,
						.path = from->answers[index].path };

	return fp_cache_add_answer(to, &answer);
}

static uint32_t copy_file(struct fp_cache *to, const struct fp_cache *from, uint32_t index);

/* Fills FILE, which is new in TO, from OLD. */
static int fill_copy(struct fp_cache *to, const struct fp_cache *from, struct fp_cached_file *file,
		     const struct fp_cached_file *old)
{
	const struct fp_cached_file kept = *file;
	int error;

	*file = *old;
	file->path = kept.path;
	file->index = kept.index;
	if (old->reason) {
		file->why_file = fp_arena_string(&to->arena, old->why_file);
		file->detail = fp_arena_string(&to->arena, old->detail);
		if (!file->why_file || !file->detail)
			return -ENOMEM;
	}
	error = copy_list(to, from, old->members, old->member_count, copy_file, &file->members);
	if (!error)
		error = copy_list(to, from, old->directories, old->directory_count, copy_directory,
				  &file->directories);
	if (!error)
		error = copy_list(to, from, old->answers, old->answer_count, copy_answer,
				  &file->answers);
	return error;
}

/* Members are libraries, which have none themselves. */
static uint32_t copy_file(struct fp_cache *to, const struct fp_cache *from, uint32_t index)
{
	const struct fp_cached_file *old = from->files[index];
	size_t count = to->file_count;
	struct fp_cached_file *file = fp_cache_add(to, old->path);

	if (!file || (to->file_count > count && fill_copy(to, from, file, old) != 0))
		return UINT32_MAX;
	return file->index;
}

struct fp_cache *fp_cache_copy(const struct fp_cache *cache)
{
	struct fp_cache *copy = fp_cache_new(cache->environment);
	int error = copy ? 0 : -ENOMEM;

	if (!error && cache->interpreter) {
		copy->interpreter = fp_arena_string(&copy->arena, cache->interpreter);
		copy->cache_path = fp_arena_string(&copy->arena, cache->cache_path);
		copy->cache_key = cache->cache_key;
		error = copy->interpreter && copy->cache_path ? 0 : -ENOMEM;
	}
	for (uint32_t i = 0; i < cache->file_count && !error; i++)
		if (cache->files[i]->is_kept && copy_file(copy, cache, i) == UINT32_MAX)
			error = -ENOMEM;
	if (!error)
		return copy;
	fp_cache_free(copy);
	return NULL;
}
