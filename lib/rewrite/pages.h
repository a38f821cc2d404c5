/* pages.h - which pages of an object the runtime writes. */
#ifndef FP_PAGES_H
#define FP_PAGES_H

#include <fastprelink/abi.h>

#include "undo.h"

/* Appends to *RET_FILLS a struct fp_table_fill for every range of pages of member INDEX, OBJECT, that is worth
   preparing in one go: written nearly everywhere and in one file-backed segment.  NOW: the runtime fills DT_JMPREL too. */
int fp_pages_collect(const struct fp_object *object, uint32_t index, bool now,
		     struct fp_buffer *ret_fills);

#endif
