/* pattern.h - file name patterns of the configuration: braces, wildcards, and lists of them that answer fast. */
#ifndef FP_PATTERN_H
#define FP_PATTERN_H

#include <stdbool.h>

#include "../graph/rootpath.h"

/* One pattern of a list.  With a slash in front it is compared with whole paths, otherwise with their last names. */
struct fp_pattern {
	struct fp_pattern *next;
	const char *glob;
	size_t literal; /* bytes of it before its first wildcard */
	size_t serial;  /* later patterns of a list have higher ones */
	int value;      /* the caller's */
};

/* All zero is an empty list.  Memory is the arena's that the patterns are added with, but for fp_patterns_free. */
struct fp_patterns {
	struct fp_pattern *paths, *names; /* newest first */
	struct fp_strmap literals;        /* names without wildcards */
	struct fp_strmap endings; /* "*.ENDING" by ENDING, which has neither dot nor wildcard */
	size_t count;
};

/* Adds GLOB, one without braces.  What stands before its first wildcard is followed inside ROOT as far as it exists, so that a
   path through symbolic links stands for the real one.  Returns 0; -EINVAL: neither an absolute path nor a name; -ENOMEM. */
int fp_patterns_add(struct fp_patterns *patterns, struct fp_arena *arena, struct fp_root *root,
		    const char *glob, int value);

void fp_patterns_free(struct fp_patterns *patterns);

/* The pattern added last of those that match PATH, a real path inside the root, or null. */
const struct fp_pattern *fp_patterns_find(const struct fp_patterns *patterns, const char *path);

/* As fp_patterns_find for patterns with a slash alone, and for patterns of NAME, the last one of a path, alone. */
const struct fp_pattern *fp_patterns_find_path(const struct fp_patterns *patterns,
					       const char *path);
const struct fp_pattern *fp_patterns_find_name(const struct fp_patterns *patterns,
					       const char *name);

/* Called with one word of an expansion; a result other than 0 ends it. */
typedef int fp_expand_visit(const char *word, void *context);

/* Calls VISIT for each word that WORD with its braces stands for, as shells expand them: "a{b,c{d,e}}" is ab, acd, ace.  A backslash
   takes a brace's or a comma's meaning.  Returns what VISIT returned; -EINVAL: a brace without its partner; -E2BIG: more words than anybody
   writes; -ENOMEM. */
int fp_expand_braces(const char *word, fp_expand_visit *visit, void *context);

/* Calls VISIT for each path inside ROOT that GLOB, an absolute path without braces, matches, in byte order; for one
   without wildcards whether it exists or not.  Returns as fp_expand_braces. */
int fp_expand_glob(struct fp_root *root, const char *glob, fp_expand_visit *visit, void *context);

#endif
