/* pages.c - prepares ranges of pages that are about to be written nearly everywhere.
   SPDX-License-Identifier: 0BSD */
#include "rt.h"

void prepare_pages(const struct fp_table *table, const struct link_map *const *maps)
{
	(void)table;
	(void)maps;
}
