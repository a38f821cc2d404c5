/* start.h - would a prelinked program start accelerated? */
#ifndef FP_START_H
#define FP_START_H

#include "internal.h"

/* Whether the runtime would act at the start of the program of CLOSURE, which has a table, as far as the files tell: the checks of
   runtime/check.c and of the stub, made on files.  *RET_DECLINE is what the runtime would say; FP_ACCELERATED as well where it
   would not be reached.  Reasons: FP_REASON_SETUID, FP_REASON_UNSUPPORTED, FP_REASON_TABLE_FORMAT, FP_REASON_TABLE_DAMAGED,
   FP_REASON_OBJECT_COUNT, FP_REASON_OBJECT_DIFFERS, FP_REASON_DISPLACED, and those of fp_run_check_carrier. */
int fp_start_check(const struct fp_run *run, const struct fp_closure *closure,
		   enum fp_decline *ret_decline, struct fp_why *why);

#endif
