/* internal.h - shared by the files of lib/system only. */
#ifndef FP_SYSTEM_INTERNAL_H
#define FP_SYSTEM_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "../graph/closure.h"
#include "../rewrite/table.h"
#include "cache.h"
#include "config.h"
#include "place.h"
#include "run.h"

struct fp_run {
	struct fp_run_options options;
	const char *root; /* without a slash at its end; null: "/" */
	const char *runtime;
	struct fp_loader *loader;
	struct fp_carrier_result carrier;
	struct fp_config *config;   /* null until it is needed */
	struct fp_placing *placing; /* null until it is decided */
	struct fp_cache *cache;     /* null: nothing is noted */
	pthread_mutex_t large;      /* held while a large file is rewritten */
	_Atomic(bool) has_large;    /* the same, for who only wants to know */
	struct fp_arena arena;
};

/* Of large files, SIZE bytes, only one is rewritten at a time, since that takes twice their size in memory.  Returns whether it is one: then
   fp_run_end_large is to be called. */
bool fp_run_begin_large(struct fp_run *run, size_t size);
void fp_run_end_large(struct fp_run *run);

/* Reads the configuration, once, and lets it decide what the options leave open.  Reason: FP_REASON_BAD_CONFIGURATION. */
int fp_run_configure(struct fp_run *run, struct fp_why *why);

/* Where the cache is, on the host.  That of another root is kept outside of it: what is in there would not be the same in two copies.
   Returns 0 or -ENAMETOOLONG. */
int fp_run_cache_path(const struct fp_run *run, char ret_path[PATH_MAX]);

/* PATH as seen inside the root: names may be given with the root's prefix or without it. */
const char *fp_run_inside(const struct fp_run *run, const char *path);

/* PATH, absolute inside the root, as the host names it, whether or not it is there; null, with an errno, when a link on the way leads nowhere
   or memory is out. */
const char *fp_run_on_host(struct fp_run *run, const char *path);

/* Makes the directories above PATH, on the host, that are not there. */
int fp_run_make_parents(const char *path, struct fp_why *why);

/* Reads the regular file PATH whole; *RET_BYTES is malloced. */
int fp_run_read_file(const char *path, unsigned char **ret_bytes, size_t *ret_size,
		     struct stat *ret_stat, struct fp_why *why);

/* Puts the runtime where the stub looks for it, unless it is there. */
int fp_run_install_runtime(struct fp_run *run, struct fp_why *why);

/* Makes sure that the closure has a carrier with a current stub, and that the runtime is there.
   *RET_REPLACED: the carrier is a new file, so that the closure must be built again. */
int fp_run_ensure_carrier(struct fp_run *run, const struct fp_closure *closure, size_t index,
			  bool *ret_replaced, struct fp_why *why);

/* Whether the closure of a program has a carrier, *RET_CARRIER, and enough to gain; COUNTS are set then, and where there is little to
   gain. */
int fp_run_weigh_program(const struct fp_run *run, const struct fp_closure *closure,
			 struct fp_table_counts *counts, size_t *ret_carrier, struct fp_why *why);

/* Whether the file PATH, inside the root, is a runtime that a stub takes.  Reason: FP_REASON_NO_RUNTIME. */
int fp_run_check_runtime(const struct fp_run *run, const char *path, struct fp_why *why);

/* Whether the carrier OBJECT has a stub of this release, which finds the runtime.  Reasons: FP_REASON_NO_STUB, FP_REASON_OTHER_STUB,
   FP_REASON_NO_RUNTIME. */
int fp_run_check_carrier(const struct fp_run *run, const struct fp_object *object,
			 struct fp_why *why);

/* The original of OBJECT: itself, or, when it carries undo data, what that restores.  *RET_ORIGINAL is to be closed when
   it is not OBJECT; BUFFER holds its bytes. */
int fp_run_open_original(struct fp_object *object, struct fp_buffer *buffer,
			 struct fp_object **ret_original, struct fp_why *why);

/* Replaces OBJECT, the file NAME inside the root, by FILE, after its undo data have been seen to give back ORIGINAL.  In a dry run
   only the latter is done.  RET_STAT as for fp_commit. */
int fp_run_replace(struct fp_run *run, const char *name, const struct fp_object *object,
		   const struct fp_object *original, const struct fp_buffer *file,
		   struct stat *ret_stat, struct fp_why *why);

/* True when every library of CLOSURE has the placement that was decided. */
bool fp_run_libraries_settled(const struct fp_run *run, const struct fp_closure *closure);

/* The libraries of CLOSURE are used.  IS_CURRENT: by a program whose table says that their files are right. */
void fp_run_want_libraries(const struct fp_run *run, const struct fp_closure *closure,
			   bool is_current);

/* Gives all libraries that are wanted the placement that was decided, and reports them.  What cannot be written is reported as skipped and
   stays as it is; closures must be built again in any case.  Returns as fp_parallel_run. */
int fp_run_place_libraries(struct fp_run *run);

/* Notes in the run's cache the program PATH and, unless CLOSURE is null, what it depends on; *RET_FILE is the program. */
int fp_note_closure(struct fp_run *run, const struct fp_closure *closure, const char *path,
		    struct fp_cached_file **ret_file);

/* Notes what came of the program FILE, whose file is STAT now. */
int fp_note_program(struct fp_run *run, struct fp_cached_file *file, const struct stat *stat,
		    const struct fp_program_result *result, const struct fp_why *why);

/* Gives memory back when the contents of files take much of it; any thread may call it at any time. */
void fp_run_stay_small(struct fp_run *run);

#endif
