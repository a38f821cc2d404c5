/* shift.h - moves a library to another address. */
#ifndef FP_SHIFT_H
#define FP_SHIFT_H

#include "natural.h"
#include "undo.h"

/* Whether the library ORIGINAL may have a fixed address at all.  Reasons: FP_REASON_NOT_LIBRARY, FP_REASON_STATIC,
   FP_REASON_FLOATS, FP_REASON_OTHER_LIBC, FP_REASON_PAYLOAD, FP_REASON_UNSUPPORTED. */
int fp_shift_allowed(const struct fp_object *original, struct fp_why *why);

/* Writes into *RET_FILE the library ORIGINAL, which carries no undo data, with the page of its first PT_LOAD at the address BASE,
   a multiple of a page in the machine's window.  Reasons: those of fp_shift_allowed, and FP_REASON_UNSUPPORTED where
   something may hold an address that is not understood or BASE does not fit; FP_REASON_NO_ROOM where the dynamic section cannot
   take the marks.  With NATURAL, which may be null, the words hold what they bind to when the library is loaded alone. */
int fp_shift_library(const struct fp_object *original, fp_addr base,
		     const struct fp_natural *natural, struct fp_buffer *ret_file,
		     struct fp_why *why);

/* Whether fp_shift_library would do it, for as little as that takes. */
int fp_shift_possible(const struct fp_object *original, fp_addr base, struct fp_why *why);

/* What the base of ORIGINAL must be a multiple of for everything in it to be aligned as it is; at least a page. */
uint64_t fp_shift_alignment(const struct fp_object *original);

/* The address space from its base on that ORIGINAL needs to be mapped there, with what must stay free behind it. */
uint64_t fp_shift_room(const struct fp_object *original);

#endif
