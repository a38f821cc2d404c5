/* config.h - what the administrator and the distribution say about programs and libraries. */
#ifndef FP_CONFIG_H
#define FP_CONFIG_H

#include <stdbool.h>

#include "../reason.h"

struct fp_config;

/* Reads the configuration of the system below ROOT (null: "/"): the files NAME.conf of /usr/lib/fastprelink.conf.d and
   /etc/fastprelink.conf.d, in byte order of their names, where a name in the latter hides the same one in the former; then
   /etc/fastprelink.conf.  What is not there is empty.  Where the root has no /usr/lib/fastprelink.conf.d, the host's directory
   VENDOR is read instead (null: the one that is installed with this library).
   Reasons: FP_REASON_BAD_CONFIGURATION, with the file, and the line in the detail; FP_REASON_NOT_REGULAR. */
int fp_config_read(const char *root, const char *vendor, struct fp_config **ret_config,
		   struct fp_why *why);

void fp_config_free(struct fp_config *config);

/* Whether what the program PATH loads shall float (float-for).  PATH is the real path inside the root. */
bool fp_config_floats_for(const struct fp_config *config, const char *path);

#endif
