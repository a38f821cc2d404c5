/* answers.h - what the references of an object were found to bind to, for the next closure that it is in.

   A name that only one object of a scope defines binds there to that object's definition, or to none, whatever else is in the scope.  So
   what was found once in such an object is right in every scope in which nobody else defines the name. */
#ifndef FP_ANSWERS_H
#define FP_ANSWERS_H

#include "../elf/object.h"

/* What the reference of HOLDER through its symbol SYMBOL was found to bind to: the number of the object (fp_object.number), and the index
   of its symbol.  False when nothing is known.  Any thread may ask at any time. */
bool fp_answers_find(const struct fp_object *holder, uint32_t symbol, uint32_t *ret_number,
		     uint32_t *ret_index);

/* Notes that it binds to symbol INDEX of DEFINER, which is its only symbol that such a name hashes to and which is found for every class of
   look-up but FP_CLASS_COPY.  Without memory nothing is noted. */
void fp_answers_note(struct fp_object *holder, uint32_t symbol, const struct fp_object *definer,
		     uint32_t index);

#endif
