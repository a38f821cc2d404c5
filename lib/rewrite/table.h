/* table.h - the table that lets the runtime fill the words of one closure. */
#ifndef FP_TABLE_BUILD_H
#define FP_TABLE_BUILD_H

#include <fastprelink/abi.h>

#include "../bind/bind.h"
#include "undo.h"

/* What the table does with the relocations of a closure, counted in words. */
struct fp_table_counts {
	uint64_t relocations; /* all that ld.so processes at start, lazy ones included */
	uint64_t resolved;    /* filled from the table */
	uint64_t relative;    /* of resolved */
	uint64_t
		lazy; /* PLT slots of objects that bind lazily, those that rows bind ahead included */
	uint64_t residual; /* entries left to ld.so in objects that are filled; 0 before binding */
	uint64_t rows;     /* of resolved: words that fixed libraries do not hold; after binding */
	uint64_t left_objects; /* such objects, carrier and ld.so included */
	uint64_t symbols; /* symbol runs: look-ups that ld.so would make for what is resolved */
};

/* Whether the runtime fills the words of member INDEX when member CARRIER has the stub. */
bool fp_table_fills(const struct fp_closure *closure, size_t index, size_t carrier);

/* Adds OBJECT's relocations to COUNTS, except for what only binding them tells. */
void fp_table_count_object(const struct fp_object *object, bool filled,
			   struct fp_table_counts *counts);

/* Counts without binding anything: how much there is to gain. */
void fp_table_count(const struct fp_closure *closure, size_t carrier,
		    struct fp_table_counts *ret_counts);

/* As fp_table_count, for a closure whose table is TABLE: what was found out by binding is taken from it. */
void fp_table_recount(const struct fp_table *table, const struct fp_closure *closure,
		      size_t carrier, struct fp_table_counts *ret_counts);

/* Builds the table of CLOSURE into *RET_TABLE, complete but for what depends on where the program's own sections
   end up: fp_table_finish does that.  CARRIER is the member that has, or will have, the stub.  PLANNED, null unless the table is only to be
   measured, tells by member which libraries will be fixed: their words are then taken for what they bind to. */
int fp_table_build(const struct fp_closure *closure, size_t carrier, const bool *planned,
		   struct fp_buffer *ret_table, struct fp_table_counts *ret_counts,
		   struct fp_why *why);

/* What the runtime would say of TABLE, taken from a prelinked program, when the objects of CLOSURE are loaded as they are now, each where
   it asks to be: FP_ACCELERATED or FP_DECLINE_CHECKSUM, _OBJECT_COUNT or _OBJECT_DIFFERS; then *RET_INDEX is the first object
   that differs. */
enum fp_decline fp_table_compare(const struct fp_table *table, const struct fp_closure *closure,
				 size_t *ret_index);

/* True when TABLE, taken from a prelinked program, lists the objects of CLOSURE as they are now. */
bool fp_table_matches(const struct fp_table *table, const struct fp_closure *closure,
		      size_t carrier);

/* Records PROGRAM, the rewritten image, as what the table belongs to, and sets the checksum. */
int fp_table_finish(struct fp_table *table, const struct fp_object *program, struct fp_why *why);

/* Fills the part of RECORD that tells OBJECT from any other. */
int fp_table_identify(const struct fp_object *object, struct fp_table_object *record,
		      struct fp_why *why);

#endif
