/* guard.c - which libraries keep random addresses for the sake of exposed programs.

   Theory of operation.  Who attacks a program from outside needs addresses of code in it.  A library with a fixed address has the same
   one in every process, so whatever an exposed program loads floats, for all programs: an address belongs to the file.  Exposed
   are programs that run with more rights than who starts them, and those that the configuration names.

   One walk looks at modes, attributes and names of executable files, without opening any.  Then the closures of the few that
   are exposed are followed.  Libraries are known by their real paths. */
#include "guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "../graph/strmap.h"
#include "scan.h"

/* An exposed program that the walk has found. */
struct exposed {
	struct exposed *next;
	const char *path;
	enum fp_guard_kind kind;
};

struct fp_guard {
	struct fp_loader *loader;
	struct fp_strmap libraries; /* of struct fp_guard_entry, by the host's path */
	struct fp_guard_counts counts;
	struct fp_arena arena;
};

/* The walk. */
struct finder {
	const struct fp_config *config;
	struct fp_guard *guard;
	size_t prefix; /* length of the root's name before every path */
	struct exposed *first, **last;
};

const char *fp_guard_kind_name(enum fp_guard_kind kind)
{
	static const char *const names[] = { "none", "setuid", "setgid", "capabilities", "named" };

	return names[kind];
}

enum fp_guard_kind fp_guard_exposure(const struct fp_config *config, const char *path,
				     const char *host, const struct stat *stat)
{
	if (stat->st_mode & S_ISUID)
		return FP_GUARD_SETUID;
	/* Without the group's execute bit it stands for mandatory locking. */
	if ((stat->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		return FP_GUARD_SETGID;
	if (lgetxattr(host, "security.capability", NULL, 0) > 0)
		return FP_GUARD_CAPABILITIES;
	return fp_config_floats_for(config, path) ? FP_GUARD_NAMED : FP_GUARD_NONE;
}

static int visit(const char *path, const struct stat *stat, void *context)
{
	struct finder *finder = context;
	const char *inside = path + finder->prefix;
	enum fp_guard_kind kind = fp_guard_exposure(finder->config, inside, path, stat);
	struct exposed *exposed;

	if (kind == FP_GUARD_NONE)
		return 0;
	exposed = fp_arena_alloc(&finder->guard->arena, sizeof(*exposed));
	if (!exposed)
		return -ENOMEM;
	exposed->path = fp_arena_string(&finder->guard->arena, inside);
	exposed->kind = kind;
	*finder->last = exposed;
	finder->last = &exposed->next;
	return exposed->path ? 0 : -ENOMEM;
}

/* True when WHY says that the file is no dynamic program of this machine at all, a script for instance. */
static bool is_no_program(const struct fp_why *why)
{
	switch (why->reason) {
	case FP_REASON_NOT_REGULAR:
	case FP_REASON_NOT_ELF:
	case FP_REASON_WRONG_CLASS:
	case FP_REASON_WRONG_MACHINE:
	case FP_REASON_WRONG_TYPE:
	case FP_REASON_STATIC:
	case FP_REASON_NOT_EXECUTABLE:
		return true;
	default:
		return false;
	}
}

static int add_libraries(struct fp_guard *guard, const struct fp_closure *closure,
			 struct fp_guard_entry *entry)
{
	for (size_t i = 1; i < closure->count; i++) {
		const char *path = closure->members[i].object->path;

		if (fp_strmap_get(&guard->libraries, path))
			continue;
		path = fp_arena_string(&guard->arena, path);
		if (!path || fp_strmap_put(&guard->libraries, path, entry) != 0)
			return -ENOMEM;
		guard->counts.libraries++;
	}
	return 0;
}

int fp_guard_add(struct fp_guard *guard, const char *path, enum fp_guard_kind kind)
{
	struct fp_guard_entry *entry;
	struct fp_closure *closure;
	struct fp_why local = { 0 };
	int error = fp_closure_build(guard->loader, path, &closure, &local);

	if (error && local.reason == FP_REASON_NO_MEMORY)
		return -ENOMEM;
	if (error) {
		guard->counts.failed += !is_no_program(&local);
		return 0;
	}
	guard->counts.programs[kind]++;
	entry = fp_arena_alloc(&guard->arena, sizeof(*entry));
	if (entry) {
		entry->kind = kind;
		entry->program = fp_arena_string(&guard->arena, path);
	}
	error = entry && entry->program ? add_libraries(guard, closure, entry) : -ENOMEM;
	fp_closure_free(closure);
	return error;
}

struct fp_guard *fp_guard_new(struct fp_loader *loader)
{
	struct fp_guard *guard = calloc(1, sizeof(*guard));

	if (guard)
		guard->loader = loader;
	return guard;
}

int fp_guard_scan(struct fp_guard *guard, const char *root, const struct fp_config *config)
{
	struct finder finder = { .config = config, .guard = guard };
	int error;

	finder.last = &finder.first;
	finder.prefix = root ? strlen(root) : 0;
	while (finder.prefix && root[finder.prefix - 1] == '/')
		finder.prefix--;
	error = fp_scan_executables(root, visit, &finder);
	for (struct exposed *e = finder.first; e && !error; e = e->next)
		error = fp_guard_add(guard, e->path, e->kind);
	return error;
}

void fp_guard_free(struct fp_guard *guard)
{
	if (!guard)
		return;
	fp_strmap_free(&guard->libraries);
	fp_arena_free(&guard->arena);
	free(guard);
}

const struct fp_guard_entry *fp_guard_find(const struct fp_guard *guard, const char *host)
{
	return fp_strmap_get(&guard->libraries, host);
}

const struct fp_guard_counts *fp_guard_counts(const struct fp_guard *guard)
{
	return &guard->counts;
}
