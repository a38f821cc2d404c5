/* lookup.c - finds a symbol's definition in one object, as ld.so does (glibc elf/dl-lookup.c). */
#include "lookup.h"

#include <string.h>

uint32_t fp_gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		hash = hash * 33 + *c;
	return hash;
}

/* gABI chapter "Hash Table". */
static uint32_t sysv_hash(const char *name)
{
	uint32_t hash = 0;

	for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
		hash = (hash << 4) + *c;
		hash ^= hash >> 24 & 0xf0;
		hash &= 0x0fffffff;
	}
	return hash;
}

/* How one candidate fares: it ends the search, or is remembered in case nothing better comes. */
struct candidates {
	const Elf64_Sym *fallback;
	unsigned fallback_count;
};

/* elf/dl-lookup.c:check_match.  True when symbol INDEX of OBJECT is the definition. */
static bool matches(const struct fp_object *object, const struct fp_query *query, uint32_t index,
		    struct candidates *candidates)
{
	const Elf64_Sym *symbol = &object->symtab[index];
	unsigned type = ELF64_ST_TYPE(symbol->st_info);
	const struct fp_version *version;
	uint16_t versym;

	if (symbol->st_value == 0 && symbol->st_shndx != SHN_ABS && type != STT_TLS)
		return false;
	if ((query->lookup_class & FP_CLASS_PLT) && symbol->st_shndx == SHN_UNDEF)
		return false;
	switch (type) {
	case STT_NOTYPE:
	case STT_OBJECT:
	case STT_FUNC:
	case STT_COMMON:
	case STT_TLS:
	case STT_GNU_IFUNC:
		break;
	default:
		return false;
	}
	if (symbol != query->reference &&
	    strcmp(object->strtab + symbol->st_name, query->name) != 0)
		return false;
	if (!object->versym)
		return true;

	versym = object->versym[index];
	version = &object->versions[versym & 0x7fff];
	if (query->version) {
		if (version->hash == query->version->hash && version->hash &&
		    strcmp(version->name, query->version->name) == 0)
			return true;
		if (query->version->hidden || version->hash || (versym & 0x8000))
			return false;
	} else {
		/* Without a version the base or first version satisfies at once, a later default if it is the only one. */
		if ((versym & 0x7fff) < 3)
			return true;
		if (versym & 0x8000)
			return false;
	}
	if (candidates->fallback_count++ == 0)
		candidates->fallback = symbol;
	return false;
}

const Elf64_Sym *fp_lookup(const struct fp_object *object, struct fp_query *query,
			   bool *ret_disputed)
{
	const struct fp_gnu_hash *gnu = &object->gnu_hash;
	const struct fp_sysv_hash *sysv = &object->sysv_hash;
	struct candidates candidates = { 0 };
	const Elf64_Sym *found = NULL;

	if (gnu->bloom) {
		uint32_t hash = query->gnu_hash;
		uint64_t word = gnu->bloom[hash / 64 & gnu->bloom_mask];
		const uint32_t *chain;
		uint32_t first;

		if (!gnu->bucket_count ||
		    !(word >> (hash & 63) & word >> (hash >> gnu->bloom_shift & 63) & 1))
			return NULL;
		first = gnu->buckets[hash % gnu->bucket_count];
		if (!first)
			return NULL;
		chain = &gnu->chain_zero[first];
		do {
			uint32_t index = (uint32_t)(chain - gnu->chain_zero);

			if ((*chain ^ hash) >> 1 == 0 &&
			    matches(object, query, index, &candidates)) {
				found = &object->symtab[index];
				break;
			}
		} while ((*chain++ & 1) == 0);
	} else if (sysv->bucket_count) {
		if (!query->sysv_hash_known) {
			query->sysv_hash = sysv_hash(query->name);
			query->sysv_hash_known = true;
		}
		for (uint32_t index = sysv->buckets[query->sysv_hash % sysv->bucket_count];
		     index != STN_UNDEF; index = sysv->chain[index])
			if (matches(object, query, index, &candidates)) {
				found = &object->symtab[index];
				break;
			}
	}
	if (query->version && candidates.fallback_count && (found || candidates.fallback_count > 1))
		*ret_disputed = true;
	if (found)
		return found;
	return candidates.fallback_count == 1 ? candidates.fallback : NULL;
}
