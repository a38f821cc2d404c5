/* bind.h - what every symbol reference of a closure binds to when the program starts. */
#ifndef FP_BIND_H
#define FP_BIND_H

#include "../graph/closure.h"

enum fp_bound {
	FP_BOUND_SYMBOL,    /* to a definition */
	FP_BOUND_NOTHING,   /* a weak reference without a definition: the value is zero */
	FP_BOUND_UNDEFINED, /* ld.so reports an error, now or when the function is first called */
	FP_BOUND_DISPUTED, /* glibc releases do not agree; or ld.so has something to say about it */
};

struct fp_binding {
	enum fp_bound bound;
	size_t object;           /* member that defines it, for FP_BOUND_SYMBOL */
	const Elf64_Sym *symbol; /* in that member's symbol table */
	bool first_unique; /* this reference enters it into the table of STB_GNU_UNIQUE symbols */
};

/* Binds references one by one: as at the start of the program or, when the closure is that of a library alone, in that library's
   own scope.  STB_GNU_UNIQUE makes the result depend on what was bound before, so ask in relocation
   order, and only for what ld.so looks up at start. */
struct fp_binder;

int fp_binder_new(const struct fp_closure *closure, struct fp_binder **ret_binder,
		  struct fp_why *why);
void fp_binder_free(struct fp_binder *binder);

/* Binds the reference of member HOLDER through its symbol SYMBOL on behalf of a relocation of LOOKUP_CLASS.
   Returns 0 or -ENOMEM. */
int fp_bind(struct fp_binder *binder, size_t holder, uint32_t symbol, uint8_t lookup_class,
	    struct fp_binding *ret_binding);

#endif
