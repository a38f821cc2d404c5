/* stamp.h - marks a shifted library as prelinked. */
#ifndef FP_STAMP_H
#define FP_STAMP_H

#include "image.h"

/* Writes DT_GNU_PRELINKED and DT_CHECKSUM into the dynamic section of IMAGE, which is complete but for them and for what
   fp_image_finish adds.  Reason: FP_REASON_NO_ROOM. */
int fp_stamp(struct fp_image *image, struct fp_why *why);

#endif
