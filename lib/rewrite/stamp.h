/* stamp.h - marks a shifted library as prelinked. */
#ifndef FP_STAMP_H
#define FP_STAMP_H

#include "image.h"

/* Whether the dynamic section of ORIGINAL has entries for the marks. */
bool fp_stamp_possible(const struct fp_object *original);

/* Writes DT_GNU_PRELINKED and DT_CHECKSUM into the dynamic section of IMAGE, which has entries for them and is complete but for them
   and for what fp_image_finish adds. */
void fp_stamp(struct fp_image *image);

#endif
