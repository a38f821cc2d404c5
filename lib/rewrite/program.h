/* program.h - puts the table of a closure into its program. */
#ifndef FP_PROGRAM_H
#define FP_PROGRAM_H

#include "../graph/closure.h"
#include "undo.h"

/* Writes into *RET_FILE the program ORIGINAL with TABLE (struct fp_table, unfinished) in a new read-only segment, with
   the classic dynamic entries, .gnu.liblist and .gnu.conflict, and with undo data.  CLOSURE gives the names of
   the libraries.  Reasons: FP_REASON_NO_ROOM, FP_REASON_PAYLOAD. */
int fp_program_rewrite(const struct fp_object *original, const struct fp_closure *closure,
		       const struct fp_buffer *table, struct fp_buffer *ret_file,
		       struct fp_why *why);

/* Data behind the image of ORIGINAL belongs to somebody who finds it by the file's end.  Reason: FP_REASON_PAYLOAD. */
int fp_program_check_payload(const struct fp_object *original, struct fp_why *why);

/* Whether fp_program_rewrite would do it, for as little as that takes; *RET_ADDED is by how much it would grow with a table of TABLE_SIZE
   bytes, the undo data aside, which are small. */
int fp_program_possible(const struct fp_object *original, const struct fp_closure *closure,
			uint64_t table_size, uint64_t *ret_added, struct fp_why *why);

/* The table in the prelinked PROGRAM, checked as far as fp_table_matches and readers of the header need; null when there is
   none or it is not a table of this version. */
const struct fp_table *fp_program_table(const struct fp_object *program);

#endif
