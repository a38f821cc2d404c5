/* tail.h - lets the file hold the zeros at the end of a segment. */
#ifndef FP_TAIL_H
#define FP_TAIL_H

#include "image.h"

/* Extends the segments of IMAGE, whose contents are complete, by zeros to their size in memory, so that ld.so need not clear and map
   them.  Where that is too much, or something is in the way, a segment stays as it is.  Returns 0 or -ENOMEM. */
int fp_tail_extend(struct fp_image *image);

#endif
