/* guard.h - which libraries keep random addresses for the sake of exposed programs. */
#ifndef FP_GUARD_H
#define FP_GUARD_H

#include "../graph/closure.h"
#include "config.h"

enum fp_guard_kind {
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

/* Finds the exposed programs in the system below ROOT (null: "/") and the libraries that each of them loads at start.  LOADER has the
   same root, and should assume neither a library path nor preloads.  A program whose closure cannot be built is passed
   over.  Returns 0 or -ENOMEM. */
int fp_guard_new(struct fp_loader *loader, const char *root, const struct fp_config *config,
		 struct fp_guard **ret_guard, struct fp_why *why);

void fp_guard_free(struct fp_guard *guard);

/* The exposed program that loads OBJECT, which was opened through a loader with the same root; null: there is none. */
const struct fp_guard_entry *fp_guard_find(const struct fp_guard *guard,
					   const struct fp_object *object);

const struct fp_guard_counts *fp_guard_counts(const struct fp_guard *guard);

/* A word for KIND: "setuid", "setgid", "capabilities", "named". */
const char *fp_guard_kind_name(enum fp_guard_kind kind);

#endif
