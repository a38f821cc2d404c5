/* config.h - what the administrator and the distribution say about programs and libraries. */
#ifndef FP_CONFIG_H
#define FP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../reason.h"
#include "run.h"

struct fp_config;

/* Where the configuration is read from. */
struct fp_config_source {
	const char *root; /* of the system; null: "/" */
	const char
		*file; /* inside the root; null: /etc/fastprelink.conf, which need not be there */
	const char *
		vendor; /* directory on the host; null: the one that is installed with this library */
};

/* Reads the configuration: the files NAME.conf of /usr/lib/fastprelink.conf.d and /etc/fastprelink.conf.d inside the root, in byte
   order of their names, where a name in the latter hides the same one in the former; then the file.  What is not there is
   empty, but for a file that SOURCE names.  Where the root has no /usr/lib/fastprelink.conf.d, the host's directory of the
   vendor is read instead; where that is not there either, what is built in, which is the same.
   Reasons: FP_REASON_BAD_CONFIGURATION, with the file, and the line in the detail; FP_REASON_NOT_REGULAR. */
int fp_config_read(const struct fp_config_source *source, struct fp_config **ret_config,
		   struct fp_why *why);

void fp_config_free(struct fp_config *config);

/* One directory, or file, of the list of what belongs to the system; each is there once. */
struct fp_config_directory {
	const char *path; /* real, inside the root */
	dev_t device;
	bool is_directory;
	bool one_file_system; /* what is on other devices does not belong to it (-l) */
	bool dereference;     /* symbolic links in it are followed (-h) */
};

/* The list, in byte order. */
const struct fp_config_directory *fp_config_directories(const struct fp_config *config,
							size_t *ret_count);

/* Whether the file PATH, on DEVICE, belongs to the system: it is one of the list or below one, and not excluded.  PATH is the
   real path inside the root, here and below. */
bool fp_config_covers(const struct fp_config *config, const char *path, dev_t device);

/* Adds PATTERN, as the directive "-b PATTERN" does; for what the command line says.  Reason: FP_REASON_BAD_CONFIGURATION. */
int fp_config_exclude(struct fp_config *config, const char *pattern, struct fp_why *why);

/* Whether the file PATH is not to be touched. */
bool fp_config_excludes(const struct fp_config *config, const char *path);

/* The same in steps, for a walk: whether the file or directory PATH is excluded by a path, when nothing above it is; whether
   files with the name NAME are. */
bool fp_config_excludes_path(const struct fp_config *config, const char *path);
bool fp_config_excludes_name(const struct fp_config *config, const char *name);

/* Whether what the program PATH loads shall float (float-for). */
bool fp_config_floats_for(const struct fp_config *config, const char *path);

/* What the configuration says about the placement of one library; the last line that matches it counts. */
enum fp_config_library {
	FP_CONFIG_SILENT, /* nothing: the general rules hold */
	FP_CONFIG_FLOATS,
	FP_CONFIG_FIXED, /* also where an exposed program loads it */
};

enum fp_config_library fp_config_library(const struct fp_config *config, const char *path);

/* What holds for the whole system; where the configuration says nothing, the defaults. */
struct fp_config_settings {
	enum fp_placement placement;
	bool no_carrier;
	uint64_t min_saved_us;      /* that a start must gain for a program to be prelinked */
	uint64_t min_library_words; /* that a library must have relocated to be fixed */
};

const struct fp_config_settings *fp_config_settings(const struct fp_config *config);

/* A number for all that was read, whatever directories it stands for: another configuration has another one. */
uint64_t fp_config_digest(const struct fp_config *config);

#endif
