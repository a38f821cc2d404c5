/* scope.h - which objects of a scope can define a name, without asking each. */
#ifndef FP_SCOPE_H
#define FP_SCOPE_H

#include "../graph/closure.h"

struct fp_scope_index;

/* The number of symbols that an index over the COUNT members SCOPE of CLOSURE has; 0 where there can be none: an object has no GNU
   hash table. */
size_t fp_scope_symbols(const struct fp_closure *closure, const size_t *scope, size_t count);

/* An index over these members, in this order; SCOPE must outlive it.  Null when memory is out. */
struct fp_scope_index *fp_scope_index_new(const struct fp_closure *closure, const size_t *scope,
					  size_t count);
void fp_scope_index_free(struct fp_scope_index *index);

/* False when no other symbol of the scope can have the name of symbol SYMBOL of MEMBER, which is in the scope and defines it. */
bool fp_scope_is_shared(const struct fp_scope_index *index, size_t member, uint32_t symbol);

/* Where a search for names that hash to GNU_HASH starts. */
size_t fp_scope_start(const struct fp_scope_index *index, uint32_t gnu_hash);

/* Steps through the members that have a symbol with such a name, in the order of the scope.  False after the last one. */
bool fp_scope_next(const struct fp_scope_index *index, uint32_t gnu_hash, size_t *position,
		   size_t *ret_member);

#endif
