/* carrier.h - puts the stub into the library that every program loads first. */
#ifndef FP_CARRIER_H
#define FP_CARRIER_H

#include "../graph/closure.h"
#include "undo.h"

#define FP_STUB_SECTION ".fastprelink.stub"

/* The member of CLOSURE that is, or is to be, the carrier: one that has a stub already, else libc.so.6.
   Returns its index, or closure->count when there is none. */
size_t fp_carrier_find(const struct fp_closure *closure);

/* The address of the stub that OBJECT carries, 0 when it carries none. */
fp_addr fp_carrier_stub(const struct fp_object *object);

/* Where the stub that OBJECT carries looks for the runtime; null when it is not a stub of this release. */
const char *fp_carrier_runtime(const struct fp_object *object);

/* True when the stub that OBJECT carries is this release's and looks for the runtime at RUNTIME. */
bool fp_carrier_is_current(const struct fp_object *object, const char *runtime);

/* Writes into *RET_FILE the library ORIGINAL with a stub that looks for the runtime at the absolute path RUNTIME.
   Reasons: FP_REASON_NO_ROOM, FP_REASON_NO_ANCHOR. */
int fp_carrier_rewrite(const struct fp_object *original, const char *runtime,
		       struct fp_buffer *ret_file, struct fp_why *why);

#endif
