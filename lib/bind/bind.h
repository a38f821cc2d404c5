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

/* As fp_bind for a function that ld.so looks up when it is first called: at any time, if it is not STB_GNU_UNIQUE; if it is, the
   binding may be any of its definitions. */
int fp_bind_lazy(struct fp_binder *binder, size_t holder, uint32_t symbol,
		 struct fp_binding *ret_binding);

/* The version that OBJECT's symbol SYMBOL asks for or has, or null. */
const struct fp_version *fp_bind_version(const struct fp_object *object, uint32_t symbol);

/* False: REFERENCE is to its own object, and nothing is looked up (glibc elf/dl-reloc.c:RESOLVE_MAP). */
bool fp_bind_looks_up(const Elf64_Sym *reference);

/* One look-up and what came of it. */
struct fp_reference {
	size_t holder;
	const Elf64_Sym *symbol;          /* in the holder's symbol table */
	const struct fp_version *version; /* asked for; null: none */
	const struct fp_reloc_type *type; /* of the relocation */
	struct fp_binding binding;
};

/* Returns 0 to go on. */
typedef int fp_reference_visit(const struct fp_reference *reference, void *context);

/* Binds everything that ld.so looks up when it relocates member HOLDER, in its order: the whole of it, or, unless NOW, without
   DT_JMPREL.  Calls VISIT, which may be null, for each look-up; stops when VISIT returns
   non-zero and returns that, or -ENOMEM. */
int fp_bind_object(const struct fp_closure *closure, struct fp_binder *binder, size_t holder,
		   bool now, fp_reference_visit *visit, void *context);

/* As fp_bind_object for all members, in the order in which ld.so relocates them when LD_BIND_NOW is set. */
int fp_bind_closure(const struct fp_closure *closure, struct fp_binder *binder,
		    fp_reference_visit *visit, void *context);

#endif
