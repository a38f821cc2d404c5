/* select.h - which files a run is about: those that are named, and those of the configured directories. */
#ifndef FP_SELECT_H
#define FP_SELECT_H

#include "config.h"

#include <sys/stat.h>

/* What a file is, as far as its head says; nothing is checked. */
enum fp_select_kind {
	FP_SELECT_UNKNOWN, /* a named file: nobody has looked */
	FP_SELECT_OTHER, /* neither of the following: data, scripts, static programs, files for other machines */
	FP_SELECT_PROGRAM, /* dynamic, and executable by somebody */
	FP_SELECT_LIBRARY,
	FP_SELECT_KINDS
};

struct fp_selected {
	const char *path;        /* inside the root; as it was named, otherwise real */
	const char *host;        /* the same on the host */
	const struct stat *stat; /* all zero for a named file that is not there */
	enum fp_select_kind kind;
	bool is_named; /* by itself, not by its directory */
};

/* Called for each file; a result other than 0 ends the selection. */
typedef int fp_select_visit(const struct fp_selected *file, void *context);

/* Called with the host path of what is there but could not be read, and its errno; as fp_select_visit otherwise. */
typedef int fp_select_unreadable(const char *path, int error, void *context);

/* Asked before a file is opened: true when the kind of HOST, which is STAT, is known. */
typedef bool fp_select_known(const char *host, const struct stat *stat,
			     enum fp_select_kind *ret_kind, void *context);

struct fp_selection {
	const char *root; /* null: "/" */
	const struct fp_config *config;
	char *const *paths; /* files and directories, with the root's prefix or without */
	size_t path_count;
	bool one_file_system, dereference; /* in directories of PATHS */
	/* PATHS are what a package manager has changed: no directories, and only files that the configuration covers count. */
	bool paths_are_changes;
	bool whole_system;                /* also everything that the configuration covers */
	fp_select_known *known;           /* or null */
	fp_select_unreadable *unreadable; /* or null: it is passed over */
	size_t *ret_passed_over; /* counts those of PATHS that are not there or not covered; or null */
};

/* Calls VISIT for each file of WHAT: first PATHS in their order, then the configured directories in byte order; directories contribute
   each directory's regular files in byte order of their names, without those that the configuration excludes by name or
   path.  A file is met once, under its first name.  Symbolic links in directories are passed over, unless they are to be followed: then
   they stand for the real path inside the root.
   Files of kind FP_SELECT_OTHER are reported too, so that they can be known the next time.  A named file is reported whatever
   it is, without being opened.  Returns what VISIT returned, 0 at the end, or -ENOMEM with WHY. */
int fp_select(const struct fp_selection *what, fp_select_visit *visit, void *context,
	      struct fp_why *why);

#endif
