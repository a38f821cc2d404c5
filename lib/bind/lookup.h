/* lookup.h - finds a symbol's definition in one object, as ld.so does. */
#ifndef FP_LOOKUP_H
#define FP_LOOKUP_H

#include "../elf/object.h"

/* What is looked for. */
struct fp_query {
	const char *name;
	uint32_t gnu_hash;
	uint32_t sysv_hash; /* valid when sysv_hash_known */
	bool sysv_hash_known;
	const Elf64_Sym *reference;       /* the symbol that refers; may itself be the definition */
	const struct fp_version *version; /* null: none asked for */
	uint8_t lookup_class;             /* FP_CLASS_* */
};

/* The hash of NAME in DT_GNU_HASH tables (glibc sysdeps/generic/dl-new-hash.h). */
uint32_t fp_gnu_hash(const char *name);

/* Looks QUERY up in OBJECT's hash table.  Returns the definition, whatever its visibility and binding, or null.
   *RET_DISPUTED is set when glibc releases do not agree: until 2.38 a definition without version ended the search,
   since then an exact match behind it wins (elf/dl-lookup.c:check_match). */
const Elf64_Sym *fp_lookup(const struct fp_object *object, struct fp_query *query,
			   bool *ret_disputed);

#endif
