/* directives.h - what the lines of the configuration mean; shared by config.c and directives.c only. */
#ifndef FP_DIRECTIVES_H
#define FP_DIRECTIVES_H

#include "config.h"
#include "pattern.h"

struct fp_config {
	struct fp_config_settings settings;
	struct fp_config_directory *directories; /* in byte order */
	size_t directory_count, directory_capacity;
	struct fp_patterns float_for, libraries, excluded;
	uint64_t digest; /* of all words read */
	struct fp_root root;
	struct fp_arena arena;
};

/* A file that is being read. */
struct fp_config_file {
	struct fp_config_file *includer; /* or null */
	dev_t device;
	ino_t inode;
	const char *path; /* on the host */
	unsigned line;
};

struct fp_config_reader {
	struct fp_config *config;
	struct fp_config_file *file; /* the innermost one */
	unsigned file_count;         /* read so far */
	struct fp_why *why;
};

/* Sets FP_REASON_BAD_CONFIGURATION for the line that is read: WHAT is wrong, and with which WORD (may be empty). */
int fp_config_bad_line(const struct fp_config_reader *reader, const char *what, const char *word);

/* Carries out the directive that the COUNT > 0 WORDS are. */
int fp_config_directive(struct fp_config_reader *reader, char **words, size_t count);

/* Carries out "-b WORD". */
int fp_config_exclude_word(struct fp_config_reader *reader, const char *word);

/* Reads PATH inside the root as part of the configuration; one that is not there is empty. */
int fp_config_include(struct fp_config_reader *reader, const char *path);

#endif
