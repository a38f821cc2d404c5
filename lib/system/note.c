/* note.c - what a run finds out goes into its cache. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* The file of MEMBER as it is now. */
static struct fp_cached_file *note_member(struct fp_cache *cache, const struct fp_member *member)
{
	struct fp_cached_file *file = fp_cache_add(cache, member->name);
	struct fp_file_key key = fp_file_key(&member->object->stat);

	if (!file)
		return NULL;
	if (!fp_file_key_same(&file->key, &key)) {
		fp_cached_reset(file);
		file->key = key;
		cache->is_changed = true;
	}
	if (file->kind != FP_CACHED_PROGRAM)
		file->kind = FP_CACHED_LIBRARY;
	file->is_current = file->is_checked = true;
	return file;
}

static int note_members(struct fp_cache *cache, const struct fp_closure *closure,
			struct fp_cached_file *program)
{
	uint32_t *members = fp_arena_array(&cache->arena, closure->count, sizeof(*members));

	if (!members)
		return -ENOMEM;
	for (size_t i = 1; i < closure->count; i++) {
		const struct fp_cached_file *file = note_member(cache, &closure->members[i]);

		if (!file)
			return -ENOMEM;
		members[i - 1] = file->index;
	}
	program->members = members;
	program->member_count = (uint32_t)closure->count - 1;
	return 0;
}

static int note_trace(struct fp_cache *cache, const struct fp_trace *trace,
		      struct fp_cached_file *program)
{
	program->directories = fp_arena_array(&cache->arena, trace->directory_count + 1,
					      sizeof(*program->directories));
	program->answers =
		fp_arena_array(&cache->arena, trace->answer_count + 1, sizeof(*program->answers));
	if (!program->directories || !program->answers)
		return -ENOMEM;
	for (size_t i = 0; i < trace->directory_count; i++) {
		program->directories[i] = fp_cache_add_directory(cache, trace->directories[i]);
		if (program->directories[i] == UINT32_MAX)
			return -ENOMEM;
	}
	for (size_t i = 0; i < trace->answer_count; i++) {
		program->answers[i] = fp_cache_add_answer(cache, &trace->answers[i]);
		if (program->answers[i] == UINT32_MAX)
			return -ENOMEM;
	}
	program->directory_count = (uint32_t)trace->directory_count;
	program->answer_count = (uint32_t)trace->answer_count;
	return 0;
}

/* The cache has one ld.so's answers; a system has one ld.so. */
static int note_interpreter(struct fp_cache *cache, const struct fp_closure *closure)
{
	if (cache->interpreter)
		return 0;
	cache->interpreter =
		fp_arena_string(&cache->arena, closure->members[closure->loader_index].name);
	cache->cache_path = fp_arena_string(&cache->arena, closure->trace.cache_path);
	return cache->interpreter && cache->cache_path ? 0 : -ENOMEM;
}

int fp_note_closure(struct fp_run *run, const struct fp_closure *closure, const char *path,
		    struct fp_cached_file **ret_file)
{
	struct fp_cache *cache = run->cache;
	struct fp_cached_file *file =
		fp_cache_add(cache, closure ? closure->members[0].name : fp_run_inside(run, path));
	int error;

	if (!file)
		return -ENOMEM;
	cache->is_changed = true;
	fp_cached_reset(file);
	file->kind = FP_CACHED_PROGRAM;
	*ret_file = file;
	if (!closure)
		return 0;
	error = note_interpreter(cache, closure);
	if (!error)
		error = note_members(cache, closure, file);
	/* Another ld.so, another cache: such a program is looked at every time. */
	if (!error && strcmp(cache->cache_path, closure->trace.cache_path) == 0) {
		error = note_trace(cache, &closure->trace, file);
		file->is_judged = true;
	}
	return error;
}

/* True when WHY, for which PROGRAM is not prelinked, holds as long as the program and what it depends on are the same. */
static bool is_lasting(const struct fp_why *why)
{
	switch (why->reason) {
	case FP_REASON_SYSTEM:
	case FP_REASON_NO_MEMORY:
	case FP_REASON_CHANGED:
	case FP_REASON_CARRIER_FAILED:
	case FP_REASON_SELF_CHECKED:
	case FP_REASON_MISSING_LIBRARY:
	case FP_REASON_MISSING_VERSION:
	case FP_REASON_NO_RUNTIME:
		return false;
	default:
		return true;
	}
}

int fp_note_program(struct fp_run *run, struct fp_cached_file *file, const struct stat *stat,
		    const struct fp_program_result *result, const struct fp_why *why)
{
	file->key = fp_file_key(stat);
	file->result = *result;
	file->is_judged &= is_lasting(why);
	file->is_current = file->is_checked = true;
	return fp_cache_set_why(run->cache, file, why);
}
