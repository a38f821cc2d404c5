/* options.h - the command line, parsed and checked. */
#ifndef FP_OPTIONS_H
#define FP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "system/run.h"

enum action {
	ACTION_PRELINK,
	ACTION_UNDO,
	ACTION_VERIFY, /* check, and write the original or a line for each file */
	ACTION_DIGEST, /* check, and write a digest of the original */
	ACTION_RELOCATE,
	ACTION_BINDINGS, /* say what symbols bind to */
	ACTION_CACHE,    /* say what the cache knows */
};

enum { OPTIONS_STRINGS = 14 };

/* Everything that was asked for; release it with options_free. */
struct options {
	enum action action;
	struct fp_run_options run;
	bool all, verbose, json;
	enum fp_digest digest;
	const char *undo_output; /* null: in place */
	const char *junit;       /* report of a verification; null: none */
	/* Which files, and what is known about them from earlier runs. */
	bool dereference, one_file_system;
	const char *files_from; /* null: not given */
	char **excluded;        /* owned; patterns, ended by null; null: none */
	uint64_t base;          /* of the first library, for ACTION_RELOCATE */
	char **files;
	size_t file_count;
	char *strings[OPTIONS_STRINGS]; /* owned; what run and the others point to */
};

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE,  /* help or the version was asked for and has been printed */
	OPTIONS_WRONG, /* a message has been printed */
};

enum options_result options_parse(int argc, const char **argv, struct options *ret_options);

void options_free(struct options *options);

#endif
