/* prove.h - runs programs with a new carrier before it replaces the old one. */
#ifndef FP_PROVE_H
#define FP_PROVE_H

#include "../graph/closure.h"

/* Starts a few programs with the SIZE bytes of IMAGE in place of member CARRIER of CLOSURE: the library itself, where it
   is a program too, and what of true and sh there is below ROOT (null: "/").  Each must end well.  The new file stands in a
   directory of its own for that; nothing else is changed.  Reason: FP_REASON_CARRIER_FAILED. */
int fp_prove_carrier(const struct fp_closure *closure, size_t carrier, const char *root,
		     const void *image, size_t size, struct fp_why *why);

#endif
