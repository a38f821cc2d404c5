/* whole.c - prelinks a whole system, and afterwards only what a change affects.

   Theory of operation.  The cache knows of each program which files it loads, which directories were searched for them and what
   ld.so.cache said, and of each library where it is.  A program is affected when any of these is not what it was.  Nothing else
   needs to be opened: for the rest a stat of each file tells that all is as it should be.

   Affected programs are looked at together.  Where that moves a library, or lets one float that was fixed, the other programs that load
   it are affected too, and the batch is looked at again with them, until there are no more.

   The first run finds an empty cache; then everything is affected.  So does one after a change of the configuration or of fastprelink
   itself, which is part of the cache's key. */
#include <errno.h>
#include <fastprelink/abi.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rewrite/shift.h"
#include "batch.h"
#include "current.h"
#include "scan.h"
#include "select.h"

struct whole {
	struct fp_run *run;
	const struct fp_request *request;
	struct fp_cache *cache;
	struct fp_guard *guard;           /* null: not needed yet */
	struct fp_cached_file **programs; /* of the system, in the order in which they were met */
	size_t program_count, program_space;
	bool some_gone;     /* what was a program is none any more */
	const char **paths; /* of the batch */
	size_t path_count;
	struct fp_batch *batch;
	fp_program_visit *visit;
	void *context;
};

static uint64_t mix_text(uint64_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = fp_mix(hash, (unsigned char)*text);
	return fp_mix(hash, text != NULL);
}

static uint64_t mix_file(uint64_t hash, struct fp_run *run, const char *path)
{
	struct fp_file_key key = { 0 };
	struct stat stat;
	const char *host = fp_loader_resolve(run->loader, path);

	if (host && lstat(host, &stat) == 0)
		key = fp_file_key(&stat);
	hash = fp_mix(fp_mix(hash, key.inode), key.size);
	return fp_mix(fp_mix(hash, (uint64_t)key.modified), (uint64_t)key.changed);
}

/* What results depend on besides files that the cache lists. */
static uint64_t environment(struct fp_run *run)
{
	const struct fp_run_options *options = &run->options;
	uint64_t hash = mix_text(FP_TABLE_VERSION, PACKAGE_VERSION);

	hash = fp_mix(hash, fp_config_digest(run->config));
	hash = fp_mix(hash, options->placement);
	hash = fp_mix(hash, (uint64_t)options->no_carrier |
				    (uint64_t)options->conserve_memory << 1 |
				    (uint64_t)options->use_ld_so_conf << 2 |
				    (uint64_t)options->force << 3);
	hash = mix_text(hash, options->library_path);
	hash = mix_text(hash, options->preload);
	hash = mix_text(hash, run->runtime);
	hash = mix_file(hash, run, "/etc/ld.so.preload");
	return fp_mix(hash, fp_loader_machine(run->loader));
}

/* Selection */

static int append(struct whole *whole, struct fp_cached_file *file)
{
	if (whole->program_count == whole->program_space) {
		size_t space = whole->program_space ? whole->program_space * 2 : 512;
		struct fp_cached_file **list =
			reallocarray(whole->programs, space, sizeof(struct fp_cached_file *));

		if (!list)
			return -ENOMEM;
		whole->programs = list;
		whole->program_space = space;
	}
	whole->programs[whole->program_count++] = file;
	return 0;
}

static enum fp_cached_kind as_cached(enum fp_select_kind kind)
{
	return kind == FP_SELECT_PROGRAM   ? FP_CACHED_PROGRAM
	       : kind == FP_SELECT_LIBRARY ? FP_CACHED_LIBRARY
					   : FP_CACHED_OTHER;
}

/* A fp_select_known. */
static bool is_known(const char *host, const struct stat *stat, enum fp_select_kind *ret_kind,
		     void *context)
{
	static const enum fp_select_kind kinds[FP_CACHED_KINDS] = {
		[FP_CACHED_OTHER] = FP_SELECT_OTHER,
		[FP_CACHED_PROGRAM] = FP_SELECT_PROGRAM,
		[FP_CACHED_LIBRARY] = FP_SELECT_LIBRARY,
	};
	const struct whole *whole = context;
	const struct fp_cached_file *file =
		fp_cache_find(whole->cache, fp_run_inside(whole->run, host));
	struct fp_file_key key = fp_file_key(stat);

	if (!file || file->kind == FP_CACHED_NEW || !fp_file_key_same(&file->key, &key))
		return false;
	*ret_kind = kinds[file->kind];
	return true;
}

/* A fixed library that no earlier run has met keeps others off its place. */
static void read_base(struct fp_cached_file *file, const char *host)
{
	uint64_t base, room;

	if (fp_scan_fixed_file(host, &base, &room)) {
		file->base = base;
		file->room = room;
	}
}

/* A fp_select_visit. */
static int meet(const struct fp_selected *selected, void *context)
{
	struct whole *whole = context;
	struct fp_cached_file *file = fp_cache_add(whole->cache, selected->path);
	struct fp_file_key key = fp_file_key(selected->stat);

	if (!file)
		return -ENOMEM;
	if (file->kind == FP_CACHED_NEW || !fp_file_key_same(&file->key, &key)) {
		whole->some_gone |=
			file->kind == FP_CACHED_PROGRAM && selected->kind != FP_SELECT_PROGRAM;
		fp_cached_reset(file);
		file->key = key;
		file->kind = as_cached(selected->kind);
		whole->cache->is_changed = true;
		/* Who loads it must be looked at, though the key is right from now on. */
		file->is_moved = file->kind == FP_CACHED_LIBRARY;
		if (file->is_moved)
			read_base(file, selected->host);
	}
	file->is_current = file->is_checked = true;
	if (file->is_met)
		return 0;
	file->is_met = true;
	return file->kind == FP_CACHED_PROGRAM ? append(whole, file) : 0;
}

/* A fp_select_unreadable. */
static int tell_unreadable(const char *path, int error, void *context)
{
	const struct whole *whole = context;

	return fp_run_tell_unreadable(whole->run, path, error, whole->visit, whole->context);
}

/* The programs that the cache knows, also those that wait for something; what was selected before comes first. */
static int append_cached(struct whole *whole)
{
	for (size_t i = 0; i < whole->cache->file_count; i++) {
		struct fp_cached_file *file = whole->cache->files[i];

		if (file->kind == FP_CACHED_PROGRAM && !file->is_met && append(whole, file) != 0)
			return -ENOMEM;
	}
	return 0;
}

static int select_files(struct whole *whole, struct fp_why *why)
{
	const struct fp_request *request = whole->request;
	/* Without results of an earlier run nobody knows what a change affects. */
	bool all = request->all || !whole->cache->file_count;
	const struct fp_selection selection = {
		.root = whole->run->root,
		.config = whole->run->config,
		.paths = request->paths,
		.path_count = request->path_count,
		.one_file_system = request->one_file_system,
		.dereference = request->dereference,
		.paths_are_changes = request->paths_are_changes,
		.whole_system = all,
		.known = is_known,
		.unreadable = tell_unreadable,
	};
	int error = fp_select(&selection, meet, whole, why);

	if (!error && !all)
		error = append_cached(whole);
	return error;
}

/* Planning */

/* Puts what is affected into the batch; *RET_MORE: something was added.  Nothing is known of it any more until it is done, so that the next
   run comes back to it when this one ends early. */
static int choose(struct whole *whole, bool *ret_more)
{
	const char **paths = reallocarray(whole->paths, whole->program_count + 1, sizeof(char *));

	if (!paths)
		return -ENOMEM;
	whole->paths = paths;
	*ret_more = false;
	for (size_t i = 0; i < whole->program_count; i++) {
		struct fp_cached_file *program = whole->programs[i];

		if (program->is_chosen || !fp_current_is_affected(whole->run, program))
			continue;
		/* One that the cache knows, but that is gone. */
		if (!program->is_met && !fp_current_key(whole->run, program->path).inode)
			continue;
		program->is_chosen = *ret_more = true;
		program->is_judged = false;
		whole->paths[whole->path_count++] = program->path;
	}
	return 0;
}

/* What libraries do for the sake of others */

/* Exposed programs count wherever they are, whether or not the configuration covers them. */
static int make_guard(struct whole *whole)
{
	if (!whole->guard)
		whole->guard = fp_guard_new(whole->run->loader);
	else
		return 0;
	return whole->guard ? fp_guard_scan(whole->guard, whole->run->root, whole->run->config)
			    : -ENOMEM;
}

/* Marks the libraries that are fixed and must float, or floated for the sake of a program that does not load them any more. */
static int heed_guard(struct whole *whole)
{
	int error;

	if (whole->run->options.placement != FP_PLACEMENT_DEFAULT)
		return 0;
	error = make_guard(whole);
	for (size_t i = 0; i < whole->cache->file_count && !error; i++) {
		struct fp_cached_file *file = whole->cache->files[i];
		const char *host;
		bool guarded;

		if (!file->is_placed)
			continue;
		host = fp_loader_resolve(whole->run->loader, file->path);
		guarded = host && fp_guard_find(whole->guard, host) &&
			  fp_config_library(whole->run->config, fp_run_inside(whole->run, host)) !=
				  FP_CONFIG_FIXED;
		file->is_moved |= guarded ? file->base != 0 : file->is_guarded;
	}
	return error;
}

/* Tells the placing what the cache knows of libraries that are not in it. */
static int occupy(struct whole *whole)
{
	struct fp_placing *placing = whole->run->placing;
	int error = 0;

	fp_placing_know(placing, whole->guard);
	fp_placing_cover(placing);
	for (size_t i = 0; i < whole->cache->file_count && !error; i++) {
		struct fp_cached_file *file = whole->cache->files[i];
		const char *host;

		if (!file->base || !fp_current_file(whole->run, file))
			continue;
		host = fp_loader_resolve(whole->run->loader, file->path);
		if (host)
			error = fp_placing_occupy(placing, host, file->base, file->room);
	}
	return error;
}

/* Marks the libraries that will be somewhere else than where they are, under all of their names. */
static void mark_moved(struct whole *whole)
{
	for (size_t i = 0; i < whole->cache->file_count; i++) {
		struct fp_cached_file *file = whole->cache->files[i];
		const struct fp_placed *placed = NULL;
		const char *host = file->kind == FP_CACHED_LIBRARY
					   ? fp_loader_resolve(whole->run->loader, file->path)
					   : NULL;

		if (host)
			placed = fp_placing_find(whole->run->placing, host);
		if (placed && !fp_placed_is_settled(placed, placed->object))
			file->is_moved = true;
	}
}

/* Looks at the batch until nothing more is affected. */
static int plan(struct whole *whole, struct fp_why *why)
{
	bool more;
	int error = heed_guard(whole);

	if (!error)
		error = choose(whole, &more);
	for (more = whole->path_count; more && !error;) {
		fp_batch_free(whole->batch);
		whole->batch = NULL;
		error = fp_batch_new(whole->run, whole->paths, whole->path_count, whole->visit,
				     whole->context, &whole->batch, why);
		if (!error)
			error = fp_batch_look(whole->batch, why);
		if (!error)
			error = occupy(whole);
		if (!error)
			error = fp_placing_decide(whole->run->placing, why);
		if (error)
			break;
		mark_moved(whole);
		error = choose(whole, &more);
	}
	return error;
}

static void take_why(const struct fp_cached_file *file, struct fp_why *ret_why)
{
	ret_why->reason = file->reason;
	ret_why->error = file->error;
	snprintf(ret_why->file, sizeof(ret_why->file), "%s", file->why_file ?: "");
	snprintf(ret_why->detail, sizeof(ret_why->detail), "%s", file->detail ?: "");
}

/* Tells of the libraries that are used, once each, under the first of their names; those that the batch places report themselves. */
static int tell_libraries(struct whole *whole, struct fp_library_result *library)
{
	const struct fp_run *run = whole->run;
	struct fp_strmap told = { 0 };
	int error = 0;

	for (size_t i = 0; i < whole->cache->file_count && !error; i++) {
		struct fp_cached_file *file = whole->cache->files[i];
		const char *host = file->is_placed && file->is_used
					   ? fp_loader_resolve(run->loader, file->path)
					   : NULL;

		if (!host || fp_strmap_get(&told, host) ||
		    (whole->batch && fp_placing_find(run->placing, host)))
			continue;
		error = fp_strmap_put(&told, host, file);
		library->path = file->path;
		library->base = file->base;
		take_why(file, &library->why);
		if (!error)
			run->options.on_library(library, run->options.visit_context);
	}
	fp_strmap_free(&told);
	return error;
}

/* Tells of the programs, and of the libraries, that are not in the batch. */
static int tell_unaffected(struct whole *whole)
{
	struct fp_library_result library = { .outcome = FP_OUTCOME_UNCHANGED };
	int result = 0;

	for (size_t i = 0; i < whole->program_count && !result; i++) {
		struct fp_cached_file *program = whole->programs[i];

		if (program->is_chosen ||
		    (!program->is_met && !fp_current_file(whole->run, program)))
			continue;
		for (uint32_t m = 0; m < program->member_count && !program->reason; m++)
			whole->cache->files[program->members[m]]->is_used = true;
		take_why(program, &library.why);
		result =
			whole->visit(program->path, &program->result, &library.why, whole->context);
	}
	return !result && whole->run->options.on_library ? tell_libraries(whole, &library) : result;
}

/* Whether a program that the cache knows is gone: it may have been an exposed one. */
static bool some_are_gone(struct whole *whole)
{
	for (size_t i = 0; i < whole->cache->file_count && !whole->some_gone; i++) {
		const struct fp_cached_file *file = whole->cache->files[i];

		whole->some_gone = file->kind == FP_CACHED_PROGRAM && !file->is_met &&
				   !fp_current_key(whole->run, file->path).inode;
	}
	return whole->some_gone;
}

static bool has_prelinked(const struct whole *whole)
{
	for (size_t i = 0; i < whole->program_count; i++)
		if (!whole->programs[i]->is_chosen && whole->programs[i]->is_judged &&
		    !whole->programs[i]->reason)
			return true;
	return false;
}

static int go_through(struct whole *whole, struct fp_why *why)
{
	bool more;
	int error = select_files(whole, why);

	if (error)
		return error;
	fp_current_directories(whole->run);
	fp_current_answers(whole->run);
	fp_current_covers(whole->run);
	error = choose(whole, &more);
	if (!error && (more || some_are_gone(whole)))
		error = plan(whole, why);
	/* Programs that are right as they are need it too. */
	if (!error && !whole->run->options.no_carrier && has_prelinked(whole))
		error = fp_run_install_runtime(whole->run, why);
	if (!error)
		error = tell_unaffected(whole);
	if (!error && whole->batch)
		error = fp_batch_write(whole->batch, why);
	return error;
}

/* What was met, or is still there; libraries are kept with the programs that load them.  True: something is left out. */
static bool mark_kept(struct whole *whole)
{
	bool some_left = false;

	for (size_t i = 0; i < whole->cache->file_count; i++) {
		struct fp_cached_file *file = whole->cache->files[i];

		file->is_kept = file->is_met || (!whole->request->all &&
						 fp_current_key(whole->run, file->path).inode);
		some_left |= !file->is_kept;
	}
	return some_left;
}

/* The walk was over before the run installed it. */
static void note_runtime(struct whole *whole)
{
	const struct fp_run *run = whole->run;
	const char *host = fp_loader_resolve(run->loader, run->runtime);
	struct fp_cached_file *file;
	struct stat stat;

	if (!host || lstat(host, &stat) != 0 || !S_ISREG(stat.st_mode) ||
	    !fp_config_covers(run->config, fp_run_inside(run, host), stat.st_dev))
		return;
	file = fp_cache_add(whole->cache, fp_run_inside(run, host));
	if (file && (file->kind == FP_CACHED_NEW || file->kind == FP_CACHED_OTHER)) {
		file->key = fp_file_key(&stat);
		file->kind = FP_CACHED_OTHER;
		file->is_met = true;
	}
}

/* A cache that cannot be written is none. */
static void keep(struct whole *whole, const char *path)
{
	const struct fp_run_options *options = &whole->run->options;
	struct fp_cache *copy;

	if (options->dry_run || options->no_cache_update)
		return;
	if (whole->cache->is_changed) {
		note_runtime(whole);
		fp_current_refresh(whole->run);
	}
	if (mark_kept(whole)) {
		copy = fp_cache_copy(whole->cache);
		if (copy &&
		    (whole->cache->is_changed || copy->file_count != whole->cache->file_count))
			(void)fp_cache_write(copy, path, NULL);
		fp_cache_free(copy);
	} else if (whole->cache->is_changed) {
		(void)fp_cache_write(whole->cache, path, NULL);
	}
}

int fp_run_whole(struct fp_run *run, const struct fp_request *request, fp_program_visit *visit,
		 void *context, struct fp_why *why)
{
	struct whole whole = { .run = run, .request = request, .visit = visit, .context = context };
	bool anew = run->options.force || run->options.random;
	char path[PATH_MAX];
	size_t directories;
	int error;

	fp_config_directories(run->config, &directories);
	if (request->all && !directories)
		return fp_why_set(why, FP_REASON_BAD_CONFIGURATION, run->root,
				  "no directory is configured");
	if (fp_run_cache_path(run, path) != 0)
		return fp_why_system(why, ENAMETOOLONG, run->options.cache, "read");
	error = run->options.cache ? fp_cache_replaceable(path, why) : 0;
	if (error)
		return error;
	whole.cache = anew ? fp_cache_new(environment(run)) : fp_cache_read(path, environment(run));
	run->cache = whole.cache;
	error = whole.cache ? go_through(&whole, why) : -ENOMEM;
	if (error == -ENOMEM)
		error = fp_why_system(why, ENOMEM, "", "prelink");
	/* What was found out before a run was stopped holds as well. */
	if (whole.cache && (!error || error == -EINTR))
		keep(&whole, path);
	fp_batch_free(whole.batch);
	fp_guard_free(whole.guard);
	run->cache = NULL;
	fp_cache_free(whole.cache);
	free(whole.programs);
	free(whole.paths);
	return error;
}
