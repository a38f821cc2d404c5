/* commit.h - replacing a file: old or new, never half.  The only place that renames. */
#ifndef FP_COMMIT_H
#define FP_COMMIT_H

#include <stddef.h>
#include <sys/stat.h>

#include "../reason.h"

#define FP_TEMPORARY_PREFIX ".#fastprelink."

/* Replaces the file PATH by the SIZE bytes of IMAGE: write a temporary file in the same directory, copy mode, owner,
   times (to the nanosecond) and every extended attribute (ACLs and capabilities are among them), sync, rename, sync the
   directory.  PATH itself must not be a symbolic link.  EXPECTED is the fstat of what was read: when the file at PATH is
   another by now, nothing is done (FP_REASON_CHANGED).  Whole blocks of zeros become holes.  On any failure the temporary file is gone and PATH is as it was.
   Temporary names start with FP_TEMPORARY_PREFIX and do not look like a library's.  *RET_STAT, if RET_STAT is not null, is the fstat
   of the new file in its place. */
int fp_commit(const char *path, const struct stat *expected, const void *image, size_t size,
	      struct stat *ret_stat, struct fp_why *why);

/* Writes a new file PATH with MODE by the same steps; it may replace an older regular file,
   and nothing else. */
int fp_commit_new(const char *path, mode_t mode, const void *image, size_t size,
		  struct fp_why *why);

/* As fp_commit_new with the mode, the times and, where that is permitted, the owner of LIKE; without the owner,
   set-id bits are dropped. */
int fp_commit_like(const char *path, const struct stat *like, const void *image, size_t size,
		   struct fp_why *why);

/* Whether PATH may be replaced at all: a regular file in a directory that can be written, with one name,
   not immutable, append-only or under fs-verity, without an IMA or EVM signature.  fp_commit checks the same. */
int fp_commit_allowed(const char *path, const struct stat *expected, struct fp_why *why);

#endif
