/* walk.h - the one walk through directories: each directory and file once, in byte order, with as few system calls as will do. */
#ifndef FP_WALK_H
#define FP_WALK_H

#include <stdbool.h>
#include <sys/stat.h>

struct fp_walk;

/* What to do with what is met.  PATH is the whole name on the host, NAME its last part; both are valid during the call only.  A
   result other than 0 ends the walk. */
struct fp_walk_rules {
	/* A regular file in the directory PARENT. */
	int (*file)(struct fp_walk *walk, int parent, const char *name, const char *path,
		    void *context);
	/* Whether files of this name can be passed over unseen, where a directory is known not to have the name; null: none. */
	bool (*ignores)(const char *name, void *context);
	/* Whether the directory PATH is to be entered; null: all are. */
	bool (*enters)(const char *path, void *context);
	/* A symbolic link; null: they are passed over.  The function may call fp_walk_tree. */
	int (*link)(struct fp_walk *walk, const char *path, void *context);
	/* What is there but cannot be read, with its errno; null: it is passed over. */
	int (*unreadable)(const char *path, int error, void *context);
	void *context;
};

/* RULES stay the caller's.  Null: out of memory. */
struct fp_walk *fp_walk_new(const struct fp_walk_rules *rules);
void fp_walk_free(struct fp_walk *walk);

/* Walks PATH, a directory or a file; a symbolic link counts as one met on the way.  Directories that the walk has been in are not
   entered again, whatever their name.  Kernel file systems (proc, sysfs and the like) and automounter triggers are not entered; with
   ONE_FILE_SYSTEM no other device's directories either.  What vanishes meanwhile is not there.  Returns what a rule returned, 0 at
   the end, or -ENOMEM. */
int fp_walk_tree(struct fp_walk *walk, const char *path, bool one_file_system);

/* Notes the file STAT: 1 when it is met for the first time, 0 when it was noted before, or -ENOMEM. */
int fp_walk_meet(struct fp_walk *walk, const struct stat *stat);

/* Tells the rules that PATH could not be read because of ERROR, unless that says that there is no such file any more.  Returns what
   the rule returned, or 0. */
int fp_walk_unreadable(const struct fp_walk *walk, const char *path, int error);

/* Opens the file NAME of PARENT or, if so told by FLAGS, a directory, for reading and nothing else to happen. */
int fp_walk_open(int parent, const char *name, int flags);

#endif
