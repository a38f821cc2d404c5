/* pages.h - which pages of an object are written at start. */
#ifndef FP_PAGES_H
#define FP_PAGES_H

#include <fastprelink/abi.h>

#include "holder.h"

/* Appends to *RET_FILLS a struct fp_table_fill for every range of pages of member INDEX, OBJECT, that is worth
   preparing in one go: written nearly everywhere and in one file-backed segment.  NOW: the runtime fills DT_JMPREL too. */
int fp_pages_collect(const struct fp_object *object, uint32_t index, bool now,
		     struct fp_buffer *ret_fills);

/* The same for a fixed library, when its rows and residual relocations are known: exactly the pages that are written
   before the program starts, however few.  NOW: ld.so binds it at start. */
int fp_pages_collect_rows(const struct fp_holder *holder, bool now, struct fp_buffer *ret_fills);

#endif
