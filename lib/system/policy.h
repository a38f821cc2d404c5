/* policy.h - which programs and libraries are left as they are, and why. */
#ifndef FP_POLICY_H
#define FP_POLICY_H

#include "../graph/closure.h"
#include "../rewrite/table.h"

/* The thresholds, measured with bench/start; doc/design.md has the table.  The runtime itself costs a start some 100
   microseconds (opening, mapping and checking); below twice that nothing certain is gained.  What linkers put into every library
   makes seven words; with nothing else there is nothing to gain. */
enum { FP_POLICY_MIN_SAVED_US = 200, FP_POLICY_MIN_LIBRARY_WORDS = 8 };

/* Whether the file of OBJECT may be changed at all: it can be replaced, and nothing checks its contents.  Reasons: those of
   fp_commit_allowed, FP_REASON_SELF_CHECKED. */
int fp_policy_changeable(const struct fp_object *object, struct fp_why *why);

/* Whether PROGRAM is one that can be accelerated. Reasons: FP_REASON_NOT_EXECUTABLE, FP_REASON_SETUID,
   FP_REASON_UNSUPPORTED. */
int fp_policy_program(const struct fp_object *program, struct fp_why *why);

/* What a start of the program of CLOSURE saves, by estimate, in nanoseconds; COUNTS as fp_table_count gives them. */
uint64_t fp_policy_saved_ns(const struct fp_closure *closure, const struct fp_table_counts *counts);

/* Whether that is MIN_SAVED_US at least.  Reason: FP_REASON_LITTLE_GAIN. */
int fp_policy_gain(const struct fp_closure *closure, const struct fp_table_counts *counts,
		   uint64_t min_saved_us, struct fp_why *why);

/* Whether a fixed address for LIBRARY saves its programs enough: it has at least MIN_WORDS words to relocate.  Reason:
   FP_REASON_LITTLE_GAIN. */
int fp_policy_library_gain(const struct fp_object *library, uint64_t min_words, struct fp_why *why);

#endif
