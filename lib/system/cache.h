/* cache.h - what earlier runs found out about the files of a system.

   It is a help, never needed: a file is known only as long as its key is the same, and what a run writes it checks as if there
   were no cache. */
#ifndef FP_CACHE_H
#define FP_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "../arena.h"
#include "../graph/closure.h"
#include "../graph/strmap.h"
#include "run.h"

/* What changes when a file or directory changes; all zero: it is not there.  Times are in nanoseconds. */
struct fp_file_key {
	uint64_t device, inode, size;
	int64_t modified, changed;
};

enum fp_cached_kind {
	FP_CACHED_NEW, /* nothing is known yet */
	FP_CACHED_OTHER,
	FP_CACHED_PROGRAM,
	FP_CACHED_LIBRARY,
	FP_CACHED_KINDS
};

/* A file.  Of programs the path is the real one inside the root, of libraries also each name under which ld.so finds it. */
struct fp_cached_file {
	const char *path;
	uint32_t index; /* in the cache */
	struct fp_file_key key;
	enum fp_cached_kind kind;

	/* Why it is not prelinked (a program) or floats (a library); reason 0: it is, or does not. */
	enum fp_reason reason;
	int error;
	const char *why_file, *detail; /* null without a reason */

	/* Of a program that was looked at: */
	bool is_judged;
	struct fp_program_result result;
	uint32_t *members; /* indexes of the files that it loads, ld.so among them */
	uint32_t member_count;
	uint32_t *directories; /* and of what fp_trace lists */
	uint32_t directory_count;
	uint32_t *answers;
	uint32_t answer_count;

	/* Of a library: */
	bool is_placed;      /* it was decided whether it is fixed */
	bool is_guarded;     /* it floats because of an exposed program */
	uint64_t base, room; /* of a fixed one; 0: it floats */

	/* For the run that uses it; not kept. */
	bool is_current; /* the key is that of the file now */
	bool is_checked; /* is_current is set */
	bool is_met;     /* the run has met it */
	bool is_kept;    /* for the next run */
	bool is_moved;   /* a library that is another file now, or gets another place */
	bool is_chosen;  /* a program that is worked on */
	bool is_used;    /* a library that a program loads that is not worked on */
};

struct fp_cached_directory {
	const char *path;
	struct fp_file_key key;
	bool is_current;
};

struct fp_cached_answer {
	const char *name, *path; /* as struct fp_cache_answer */
	bool is_current;
};

struct fp_cache {
	/* What the results depend on besides the files: a digest of configuration, options and machine. */
	uint64_t environment;
	const char *
		interpreter; /* whose ld.so.cache gave the answers, inside the root; null: none has been asked */
	const char *cache_path; /* and where that is */
	struct fp_file_key cache_key;

	struct fp_cached_file **files;
	struct fp_cached_directory *directories;
	struct fp_cached_answer *answers;
	size_t file_count, file_space, directory_count, directory_space, answer_count, answer_space;

	struct fp_strmap by_path, directories_by_path, answers_by_name;
	struct fp_arena arena;
	bool is_changed; /* since it was read */
};

struct fp_file_key fp_file_key(const struct stat *stat);
bool fp_file_key_same(const struct fp_file_key *a, const struct fp_file_key *b);

/* An empty cache; null when memory is out. */
struct fp_cache *fp_cache_new(uint64_t environment);
void fp_cache_free(struct fp_cache *cache);

/* Reads the file PATH of the host, which must be a cache of ENVIRONMENT, if that is not null.  Reasons: FP_REASON_SYSTEM,
   FP_REASON_NOT_REGULAR, FP_REASON_BAD_CACHE, FP_REASON_CHANGED. */
int fp_cache_load(const char *path, const uint64_t *environment, struct fp_cache **ret_cache,
		  struct fp_why *why);

/* Whether PATH may be overwritten with a cache: a text or an ELF file was named by mistake.  Reason: FP_REASON_BAD_CACHE. */
int fp_cache_replaceable(const char *path, struct fp_why *why);

/* The same as fp_cache_load for a run that can do without.  What is missing, damaged, of another version or of another ENVIRONMENT gives an empty cache.
   Null: out of memory. */
struct fp_cache *fp_cache_read(const char *path, uint64_t environment);

/* Writes CACHE to the file PATH of the host, whose directory is made if need be. */
int fp_cache_write(const struct fp_cache *cache, const char *path, struct fp_why *why);

/* The file PATH, or null. */
struct fp_cached_file *fp_cache_find(const struct fp_cache *cache, const char *path);

/* The file PATH, made when it is not there; null when memory is out. */
struct fp_cached_file *fp_cache_add(struct fp_cache *cache, const char *path);

/* Indexes of a directory and an answer, made when they are not there; UINT32_MAX when memory is out. */
uint32_t fp_cache_add_directory(struct fp_cache *cache, const char *path);
uint32_t fp_cache_add_answer(struct fp_cache *cache, const struct fp_cache_answer *answer);

/* A copy of the files that are kept (is_kept) and what they refer to; null when memory is out. */
struct fp_cache *fp_cache_copy(const struct fp_cache *cache);

/* Notes why FILE is not prelinked or floats; WHY without a reason: it is, or does not.  Returns 0 or -ENOMEM. */
int fp_cache_set_why(struct fp_cache *cache, struct fp_cached_file *file, const struct fp_why *why);

/* Forgets what is known of FILE but its path. */
void fp_cached_reset(struct fp_cached_file *file);

#endif
