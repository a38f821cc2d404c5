/* search.c - finds the file for a name that an object needs, as glibc's elf/dl-load.c does.

   A name is first compared with those of the objects that are already there: with the path each
   was found at, the names it was asked for by, and its DT_SONAME (elf/dl-load.c:_dl_map_object,
   elf/dl-misc.c:_dl_name_match_p).  A name with a slash is a path.  Any other is looked for in

     1. if the object that needs it has no DT_RUNPATH: DT_RPATH of it, of what loaded it, and so on;
     2. LD_LIBRARY_PATH;
     3. DT_RUNPATH of the object that needs it;
     4. ld.so.cache, but with DF_1_NODEFLIB nothing from the default directories;
     5. the default directories, unless it has DF_1_NODEFLIB;

   in every directory first in the subdirectories for this processor.  Files for other machines
   are passed over, and so are those that cannot be opened; any other failure ends the search
   through a list. */
#include "internal.h"

#include <errno.h>
#include <string.h>

enum { MAX_NODES = 16384 };

#define VDSO_NAME "linux-vdso.so.1"

static uint32_t hash_name(const char *text)
{
	uint32_t hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash;
}

static struct fp_name *new_name(struct fp_search *search, const char *text)
{
	struct fp_name *name = fp_arena_alloc(&search->scratch, sizeof(*name));

	if (!name)
		return NULL;
	*name = (struct fp_name){ .text = text, .hash = hash_name(text) };
	return name;
}

static bool is_named(const struct fp_name *name, const char *text, uint32_t hash)
{
	return name->hash == hash && strcmp(name->text, text) == 0;
}

static void add_name(struct fp_node *node, struct fp_name *name)
{
	struct fp_name **end = &node->names;

	while (*end)
		end = &(*end)->next;
	*end = name;
}

/* The directory of PATH, which is absolute (glibc elf/dl-object.c:_dl_new_object). */
static char *origin_of(struct fp_arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/');

	return fp_arena_substring(arena, path, slash == path ? 1 : (size_t)(slash - path));
}

static int reserve_node(struct fp_search *search)
{
	size_t space = search->node_space ? search->node_space * 2 : 64;
	struct fp_node **nodes;

	if (search->node_count < search->node_space)
		return 0;
	nodes = fp_arena_array(&search->scratch, space, sizeof(struct fp_node *));
	if (!nodes)
		return -ENOMEM;
	if (search->node_count)
		memcpy(nodes, search->nodes, search->node_count * sizeof(*nodes));
	search->nodes = nodes;
	search->node_space = space;
	return 0;
}

struct fp_node *fp_search_add(struct fp_search *search, struct fp_object *object, const char *path,
			      const char *name, struct fp_node *loader)
{
	struct fp_node *node = fp_arena_alloc(&search->scratch, sizeof(*node));

	if (!node || reserve_node(search) != 0)
		return NULL;
	node->object = object;
	node->loader = loader;
	node->path = fp_arena_string(search->arena, path);
	name = fp_arena_string(search->arena, name);
	if (!node->path || !name)
		return NULL;
	node->origin = origin_of(&search->scratch, node->path);
	/* The path is a name too, and in front: _dl_name_match_p compares l_name first. */
	node->names = new_name(search, name);
	if (!node->origin || !node->names)
		return NULL;
	if (strcmp(name, path) != 0) {
		node->names->next = new_name(search, node->path);
		if (!node->names->next)
			return NULL;
	}
	if (object->soname) {
		node->soname = new_name(search, object->soname);
		if (!node->soname)
			return NULL;
	}
	search->nodes[search->node_count++] = node;
	return node;
}

static bool answers(const struct fp_node *node, const char *text, uint32_t hash)
{
	for (const struct fp_name *name = node->names; name; name = name->next)
		if (is_named(name, text, hash))
			return true;
	return false;
}

struct fp_node *fp_search_named(struct fp_node **nodes, size_t count, const char *name)
{
	uint32_t hash = hash_name(name);

	for (size_t i = 0; i < count; i++)
		if (answers(nodes[i], name, hash))
			return nodes[i];
	return NULL;
}

/* The loaded node that NAME means; its DT_SONAME becomes a name of it when that is what matched
   (glibc elf/dl-load.c:_dl_map_object). */
static struct fp_node *find_loaded(struct fp_search *search, const char *name)
{
	uint32_t hash = hash_name(name);

	for (size_t i = 0; i < search->node_count; i++) {
		struct fp_node *node = search->nodes[i];

		if (answers(node, name, hash))
			return node;
		if (node->soname && !node->soname_added && is_named(node->soname, name, hash)) {
			add_name(node, node->soname);
			node->soname_added = true;
			return node;
		}
	}
	return NULL;
}

struct fp_tokens fp_search_tokens(const struct fp_search *search, const struct fp_node *node)
{
	return (struct fp_tokens){ .origin = node->origin,
				   .lib = search->interpreter->lib,
				   .platform = search->loader->cpu.platform };
}

/* DT_RPATH counts only without DT_RUNPATH (glibc elf/get-dynamic-info.h). */
static int read_dirs(struct fp_search *search, struct fp_node *node)
{
	struct fp_tokens tokens = fp_search_tokens(search, node);
	const char *text = node->object->runpath ? node->object->runpath : node->object->rpath;

	if (node->has_dirs)
		return 0;
	node->has_dirs = true;
	if (!text || !*text)
		return 0;
	return fp_dirs_split(text, ":", &tokens, &search->scratch,
			     node->object->runpath ? &node->runpath : &node->rpath);
}

/* One file name that is being looked for. */
struct quest {
	struct fp_search *search;
	const char *name;
	struct fp_object *object; /* what was found */
	char *path;               /* and where: ld.so's name of it */
	struct fp_why *why;
};

/* Returns as fp_loader_try. */
static int try_path(struct quest *quest, char *path)
{
	int error = path ? fp_loader_try(quest->search->loader, path, &quest->object, quest->why)
			 : fp_why_system(quest->why, ENOMEM, quest->name, "open");

	if (!error)
		quest->path = path;
	return error;
}

/* 1 when DIRECTORY, with a slash at its end, exists, else 0, or -ENOMEM. */
static int directory_exists(struct quest *quest, const char *directory)
{
	const struct fp_path *path = fp_root_resolve(&quest->search->loader->root, directory);

	if (!path)
		return fp_why_system(quest->why, ENOMEM, directory, "open");
	return !path->error && path->is_directory;
}

/* An error after which the next directory is tried (glibc elf/dl-load.c:open_path; ENOTDIR since
   2.39). */
static bool goes_on(const struct quest *quest, int error)
{
	return error == ENOENT || error == EACCES ||
	       (error == ENOTDIR && quest->search->interpreter->glibc_minor >= 39);
}

/* 0 when it is found, ENOENT when not, negative when the whole search ends (glibc
   elf/dl-load.c:open_path). */
static int try_dirs(struct quest *quest, const struct fp_dirs *dirs)
{
	const struct fp_dirs *below = &quest->search->interpreter->subdirectories;
	struct fp_arena *scratch = &quest->search->scratch;

	for (size_t i = 0; i < dirs->count; i++) {
		int last = ENOENT;

		if (fp_trace_directory(quest->search, dirs->names[i]) != 0)
			return fp_why_system(quest->why, ENOMEM, quest->name, "open");
		if (directory_exists(quest, dirs->names[i]) == 0)
			continue;
		for (size_t j = 0; j < below->count; j++) {
			char *directory =
				fp_arena_format(scratch, "%s%s", dirs->names[i], below->names[j]);
			int exists = directory ? directory_exists(quest, directory) : -ENOMEM;

			if (exists < 0 ||
			    (exists && fp_trace_directory(quest->search, directory) != 0))
				return fp_why_system(quest->why, ENOMEM, quest->name, "open");
			if (!exists)
				continue;
			last = try_path(quest,
					fp_arena_format(scratch, "%s%s", directory, quest->name));
			if (last <= 0)
				return last;
		}
		if (!goes_on(quest, last))
			return ENOENT;
	}
	return ENOENT;
}

static int try_rpaths(struct quest *quest, struct fp_node *requester)
{
	int error = ENOENT;

	if (requester->object->runpath)
		return ENOENT;
	for (struct fp_node *node = requester; node && error == ENOENT; node = node->loader) {
		if (read_dirs(quest->search, node) != 0)
			return fp_why_system(quest->why, ENOMEM, quest->name, "open");
		error = try_dirs(quest, &node->rpath);
	}
	return error;
}

static bool in_system_dirs(const struct fp_interpreter *interpreter, const char *path)
{
	for (size_t i = 0; i < interpreter->system_dirs.count; i++) {
		const char *directory = interpreter->system_dirs.names[i];

		if (strncmp(path, directory, strlen(directory)) == 0)
			return true;
	}
	return false;
}

static int try_cache(struct quest *quest, const struct fp_node *requester)
{
	const struct fp_interpreter *interpreter = quest->search->interpreter;
	const char *path;
	int error;

	if (!interpreter->cache)
		return try_dirs(quest, &interpreter->conf_dirs);
	path = fp_interpreter_ask(quest->search->loader, interpreter, quest->name);
	if (fp_trace_answer(quest->search, quest->name, path) != 0)
		return fp_why_system(quest->why, ENOMEM, quest->name, "open");
	if (!path)
		return ENOENT;
	if ((requester->object->flags_1 & DF_1_NODEFLIB) && in_system_dirs(interpreter, path))
		return ENOENT;
	error = try_path(quest, fp_arena_string(&quest->search->scratch, path));
	return error > 0 ? ENOENT : error;
}

/* Looks for a name without a slash (glibc elf/dl-load.c:_dl_map_object). */
static int try_everywhere(struct quest *quest, struct fp_node *requester)
{
	struct fp_search *search = quest->search;
	int error = try_rpaths(quest, requester);

	if (error == ENOENT)
		error = try_dirs(quest, &search->library_path);
	if (error == ENOENT && read_dirs(search, requester) != 0)
		return fp_why_system(quest->why, ENOMEM, quest->name, "open");
	if (error == ENOENT)
		error = try_dirs(quest, &requester->runpath);
	if (error == ENOENT)
		error = try_cache(quest, requester);
	if (error == ENOENT && !(requester->object->flags_1 & DF_1_NODEFLIB))
		error = try_dirs(quest, &search->interpreter->system_dirs);
	return error;
}

static bool same_file(const struct fp_object *a, const struct fp_object *b)
{
	return a == b || (a->stat.st_dev == b->stat.st_dev && a->stat.st_ino == b->stat.st_ino);
}

/* What ld.so demands of an object that is not the program (glibc
   elf/dl-load.c:_dl_map_object_from_fd). */
static int check_library(const struct fp_search *search, const struct fp_object *object,
			 struct fp_why *why)
{
	if (!object->dynamic)
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "no dynamic section");
	if (object->ehdr->e_type != ET_DYN || (object->flags_1 & DF_1_PIE))
		return fp_why_set(why, FP_REASON_UNSUPPORTED, object->path,
				  "a program that another one loads");
	/* ld.so does not know its own file, nor the program's, and would load it again. */
	for (size_t i = 0; i < 2; i++)
		if (same_file(search->nodes[i]->object, object))
			return fp_why_set(why, FP_REASON_UNSUPPORTED, object->path,
					  "loaded twice under different names");
	if (search->node_count >= MAX_NODES)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, object->path, "too many libraries");
	return 0;
}

/* Gives the node of what QUEST found: one that has the same file already, or a new one. */
static int enter(struct quest *quest, struct fp_node *requester, struct fp_node **ret_node)
{
	struct fp_search *search = quest->search;
	int error;

	for (size_t i = search->alone ? 0 : 2; i < search->node_count; i++) {
		struct fp_node *node = search->nodes[i];
		struct fp_name *name;

		if (i == 1 || !same_file(node->object, quest->object))
			continue;
		name = new_name(search, fp_arena_string(search->arena, quest->name));
		if (!name)
			return fp_why_system(quest->why, ENOMEM, quest->name, "open");
		add_name(node, name);
		*ret_node = node;
		return 0;
	}
	error = check_library(search, quest->object, quest->why);
	if (error)
		return error;
	*ret_node = fp_search_add(search, quest->object, quest->path, quest->name, requester);
	return *ret_node ? 0 : fp_why_system(quest->why, ENOMEM, quest->name, "open");
}

int fp_search_load(struct fp_search *search, struct fp_node *requester, const char *name,
		   struct fp_node **ret_node, struct fp_why *why)
{
	struct quest quest = { .search = search, .name = name, .why = why };
	struct fp_tokens tokens = fp_search_tokens(search, requester);
	const char *asker = requester->object->path;
	char *path;
	int error;

	*ret_node = find_loaded(search, name);
	if (*ret_node)
		return 0;
	if (strcmp(name, VDSO_NAME) == 0)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, asker, "needs the kernel's %s", name);
	if (!strchr(name, '/')) {
		error = try_everywhere(&quest, requester);
	} else {
		path = fp_tokens_expand(&tokens, &search->scratch, name, NULL);
		if (path && path[0] != '/')
			return fp_why_set(why, FP_REASON_UNSUPPORTED, asker,
					  "needs %s, which depends on the current directory", name);
		error = try_path(&quest, path);
	}
	if (error > 0)
		return fp_why_set(why, FP_REASON_MISSING_LIBRARY, asker, "%s", name);
	return error ? error : enter(&quest, requester, ret_node);
}
