/* guard.h - which libraries keep random addresses for the sake of exposed programs. */
#ifndef FP_GUARD_H
#define FP_GUARD_H

#include "../graph/closure.h"
#include "config.h"

enum fp_guard_kind {
	FP_GUARD_NONE,   /* not exposed */
	FP_GUARD_SETUID, /* the program is set-user-ID, */
	FP_GUARD_SETGID,
	FP_GUARD_CAPABILITIES, /* has file capabilities, */
	FP_GUARD_NAMED,        /* or is named by the configuration */
	FP_GUARD_KINDS
};

/* Why a library floats. */
struct fp_guard_entry {
	const char *
		program; /* inside the root: the first exposed program that loads it, in the order of the scan */
	enum fp_guard_kind kind;
};

struct fp_guard_counts {
	size_t programs[FP_GUARD_KINDS]; /* those whose closures were followed */
	size_t failed; /* those that are dynamic programs, but have no complete closure */
	size_t libraries;
};

struct fp_guard;

/* How the executable file PATH (inside the root; HOST on the host), which is STAT, is exposed. */
enum fp_guard_kind fp_guard_exposure(const struct fp_config *config, const char *path,
				     const char *host, const struct stat *stat);

/* A guard without any program.  LOADER should assume neither a library path nor preloads.  Null: out of memory. */
struct fp_guard *fp_guard_new(struct fp_loader *loader);

/* Adds the exposed program PATH (inside the root) and what it loads at start.  One whose closure cannot be built is passed over.  Returns 0
   or -ENOMEM. */
int fp_guard_add(struct fp_guard *guard, const char *path, enum fp_guard_kind kind);

/* Adds all exposed programs in the system below ROOT (null: "/"), which is the loader's.  Returns 0 or -ENOMEM. */
int fp_guard_scan(struct fp_guard *guard, const char *root, const struct fp_config *config);

void fp_guard_free(struct fp_guard *guard);

/* The exposed program that loads the library HOST, a real path on the host; null: there is none. */
const struct fp_guard_entry *fp_guard_find(const struct fp_guard *guard, const char *host);

const struct fp_guard_counts *fp_guard_counts(const struct fp_guard *guard);

/* A word for KIND: "setuid", "setgid", "capabilities", "named". */
const char *fp_guard_kind_name(enum fp_guard_kind kind);

#endif
