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

struct exposed {
	struct exposed *next;
	struct fp_guard_entry entry;
};

struct fp_guard {
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
	static const char *const names[] = { "setuid", "setgid", "capabilities", "named" };

	return names[kind];
}

static bool is_exposed(const struct finder *finder, const char *path, const struct stat *stat,
		       enum fp_guard_kind *ret_kind)
{
	if (stat->st_mode & S_ISUID)
		*ret_kind = FP_GUARD_SETUID;
	/* Without the group's execute bit it stands for mandatory locking. */
	else if ((stat->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		*ret_kind = FP_GUARD_SETGID;
	else if (lgetxattr(path, "security.capability", NULL, 0) > 0)
		*ret_kind = FP_GUARD_CAPABILITIES;
	else if (fp_config_floats_for(finder->config, path + finder->prefix))
		*ret_kind = FP_GUARD_NAMED;
	else
		return false;
	return true;
}

static int visit(const char *path, const struct stat *stat, void *context)
{
	struct finder *finder = context;
	enum fp_guard_kind kind;
	struct exposed *exposed;

	if (!is_exposed(finder, path, stat, &kind))
		return 0;
	exposed = fp_arena_alloc(&finder->guard->arena, sizeof(*exposed));
	if (!exposed)
		return -ENOMEM;
	exposed->entry.program = fp_arena_string(&finder->guard->arena, path + finder->prefix);
	exposed->entry.kind = kind;
	*finder->last = exposed;
	finder->last = &exposed->next;
	return exposed->entry.program ? 0 : -ENOMEM;
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

static int follow(struct fp_guard *guard, struct fp_loader *loader, struct exposed *exposed)
{
	struct fp_closure *closure;
	struct fp_why local = { 0 };
	int error = fp_closure_build(loader, exposed->entry.program, &closure, &local);

	if (error && local.reason == FP_REASON_NO_MEMORY)
		return -ENOMEM;
	if (error) {
		guard->counts.failed += !is_no_program(&local);
		return 0;
	}
	guard->counts.programs[exposed->entry.kind]++;
	error = add_libraries(guard, closure, &exposed->entry);
	fp_closure_free(closure);
	return error;
}

int fp_guard_new(struct fp_loader *loader, const char *root, const struct fp_config *config,
		 struct fp_guard **ret_guard, struct fp_why *why)
{
	struct fp_guard *guard = calloc(1, sizeof(*guard));
	struct finder finder = { .config = config, .guard = guard };
	int error = -ENOMEM;

	finder.last = &finder.first;
	finder.prefix = root ? strlen(root) : 0;
	while (finder.prefix && root[finder.prefix - 1] == '/')
		finder.prefix--;
	if (guard)
		error = fp_scan_executables(root, visit, &finder);
	for (struct exposed *e = finder.first; e && !error; e = e->next)
		error = follow(guard, loader, e);
	if (error) {
		fp_guard_free(guard);
		return fp_why_system(why, ENOMEM, root, "scan");
	}
	*ret_guard = guard;
	return 0;
}

void fp_guard_free(struct fp_guard *guard)
{
	if (!guard)
		return;
	fp_strmap_free(&guard->libraries);
	fp_arena_free(&guard->arena);
	free(guard);
}

const struct fp_guard_entry *fp_guard_find(const struct fp_guard *guard,
					   const struct fp_object *object)
{
	return fp_strmap_get(&guard->libraries, object->path);
}

const struct fp_guard_counts *fp_guard_counts(const struct fp_guard *guard)
{
	return &guard->counts;
}
