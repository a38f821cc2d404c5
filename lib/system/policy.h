/* policy.h - which programs and libraries are left as they are, and why. */
#ifndef FP_POLICY_H
#define FP_POLICY_H

#include "../graph/closure.h"
#include "../rewrite/table.h"

/* Whether the file of OBJECT may be changed at all: it can be replaced, and nothing checks its contents.  Reasons: those of
   fp_commit_allowed, FP_REASON_SELF_CHECKED. */
int fp_policy_changeable(const struct fp_object *object, struct fp_why *why);

/* Whether PROGRAM is one that can be accelerated. Reasons: FP_REASON_NOT_EXECUTABLE, FP_REASON_SETUID,
   FP_REASON_UNSUPPORTED. */
int fp_policy_program(const struct fp_object *program, struct fp_why *why);

/* Whether a start of the program of CLOSURE gains enough; COUNTS as fp_table_count gives them.
   Reason: FP_REASON_LITTLE_GAIN. */
int fp_policy_gain(const struct fp_closure *closure, const struct fp_table_counts *counts,
		   struct fp_why *why);

/* Whether a fixed address for LIBRARY saves its programs enough.  Reason: FP_REASON_LITTLE_GAIN. */
int fp_policy_library_gain(const struct fp_object *library, struct fp_why *why);

#endif
