/* relative.h - a compact list of the words that only need the load bias. */
#ifndef FP_RELATIVE_H
#define FP_RELATIVE_H

#include "undo.h"

/* Appends to *RET_RELR the addresses of OBJECT's leading relative relocations in the encoding of DT_RELR, when the file's
   words hold the addends already (GNU ld writes them, other linkers do not): then adding the bias to the words gives
   what the relocations give, and their table need not be read.  Otherwise appends nothing. */
int fp_relative_encode(const struct fp_object *object, struct fp_buffer *ret_relr);

#endif
