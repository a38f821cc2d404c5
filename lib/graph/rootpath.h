/* rootpath.h - path names as a process that is confined to a root directory sees them. */
#ifndef FP_ROOTPATH_H
#define FP_ROOTPATH_H

#include <stdbool.h>

#include "../arena.h"
#include "strmap.h"

struct fp_root {
	/* What stands before every path on the host: "" or a path without a slash at its end. */
	const char *prefix;
	struct fp_arena arena;
	struct fp_strmap paths; /* of struct fp_path, by the path that was asked for */
};

/* What a path leads to. */
struct fp_path {
	int error;             /* 0, or the positive errno that open would give */
	const char *canonical; /* without symbolic links; null when there is an error */
	const char *host;      /* the same with the prefix */
	bool is_directory;
};

/* DIRECTORY is the root, or null for the system's own.  Returns 0 or -ENOMEM. */
int fp_root_init(struct fp_root *root, const char *directory);
void fp_root_free(struct fp_root *root);

/* Follows PATH, absolute inside ROOT, once; later calls give the same answer.  Null: out of memory.
   */
const struct fp_path *fp_root_resolve(struct fp_root *root, const char *path);

/* PATH as seen inside ROOT: names may be given with the root's prefix or without it. */
const char *fp_root_inside(const struct fp_root *root, const char *path);

/* Makes the next fp_root_resolve of PATH look again if there was nothing. */
void fp_root_forget(struct fp_root *root, const char *path);

#endif
