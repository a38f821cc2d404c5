/* trace.c - what a closure depends on besides the files that are in it. */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* Makes room for one more element of SIZE bytes behind the COUNT of LIST; null when memory is out. */
static void *grow(struct fp_search *search, void *list, size_t count, size_t *space, size_t size)
{
	void *larger;

	if (count < *space)
		return list;
	*space = *space ? *space * 2 : 16;
	larger = fp_arena_array(search->arena, *space, size);
	if (larger && count)
		memcpy(larger, list, count * size);
	return larger;
}

int fp_trace_directory(struct fp_search *search, const char *directory)
{
	struct fp_trace *trace = &search->trace;
	const char **list;

	for (size_t i = 0; i < trace->directory_count; i++)
		if (strcmp(trace->directories[i], directory) == 0)
			return 0;
	list = grow(search, trace->directories, trace->directory_count, &search->directory_space,
		    sizeof(*list));
	if (!list)
		return -ENOMEM;
	trace->directories = list;
	list[trace->directory_count] = fp_arena_string(search->arena, directory);
	return list[trace->directory_count++] ? 0 : -ENOMEM;
}

int fp_trace_answer(struct fp_search *search, const char *name, const char *path)
{
	struct fp_trace *trace = &search->trace;
	struct fp_cache_answer *list = grow(search, trace->answers, trace->answer_count,
					    &search->answer_space, sizeof(*list));

	if (!list)
		return -ENOMEM;
	trace->answers = list;
	list += trace->answer_count++;
	list->name = fp_arena_string(search->arena, name);
	if (path)
		list->path = fp_arena_string(search->arena, path);
	return list->name && (!path || list->path) ? 0 : -ENOMEM;
}

const char *fp_interpreter_ask(const struct fp_loader *loader,
			       const struct fp_interpreter *interpreter, const char *name)
{
	struct fp_ldcache_rules rules = { .isa = loader->cpu.isa,
					  .avx512_1 = loader->cpu.avx512_1,
					  .platform = loader->cpu.platform,
					  .legacy = interpreter->glibc_minor < 37 };
	const char *path =
		interpreter->cache ? fp_ldcache_find(interpreter->cache, name, &rules) : NULL;

	return path && path[0] == '/' ? path : NULL;
}

int fp_loader_ask_cache(struct fp_loader *loader, const char *interpreter, const char *name,
			const char **ret_path, struct fp_why *why)
{
	struct fp_interpreter *found;
	struct fp_object *object;
	int error;

	fp_loader_lock(loader);
	error = fp_loader_get(loader, interpreter, &object, why);
	if (!error)
		error = fp_interpreter_get(loader, object, &found, why);
	if (!error)
		*ret_path = fp_interpreter_ask(loader, found, name);
	fp_loader_unlock(loader);
	return error;
}
