/* natural.h - writes into a fixed library what its references bind to when it is loaded alone. */
#ifndef FP_NATURAL_H
#define FP_NATURAL_H

#include "../graph/closure.h"
#include "image.h"

/* What the words of a library are to hold. */
struct fp_natural {
	const struct fp_closure *closure; /* of the library alone: member 0 */
	const fp_addr *bases; /* of each member: the address that it has or gets; 0: it floats */
};

/* Fills words of IMAGE, a copy of the original of member 0 that is shifted already.  Only words whose target is fixed, or no
   address at all, are filled; at start ld.so or the runtime fills the others. */
int fp_natural_apply(struct fp_image *image, const struct fp_natural *natural, struct fp_why *why);

#endif
