/* scope.c - which objects of a scope can define a name, without asking each.

   ld.so asks every object of the scope in turn; each question reads that object's Bloom filter, which is in no cache.  The hash of each
   name that an object defines stands in its DT_GNU_HASH table already, so one table can hold those of all objects of a
   scope.  Its entries are put in in the order of the scope and never taken out; with linear probing they are met in that order. */
#include "scope.h"

#include <stdlib.h>

struct entry {
	uint32_t
		hash; /* without the lowest bit, which the object's table does not have; plus 1; 0: free */
	uint32_t member;
};

struct fp_scope_index {
	struct entry *entries;
	size_t mask;
};

static uint32_t key_of(uint32_t hash)
{
	return (hash >> 1) + 1;
}

static size_t slot_of(const struct fp_scope_index *index, uint32_t key)
{
	return key * 0x9e3779b1u & index->mask;
}

size_t fp_scope_symbols(const struct fp_closure *closure, const size_t *scope, size_t count)
{
	size_t total = 1;

	for (size_t i = 0; i < count; i++) {
		const struct fp_object *object = closure->members[scope[i]].object;

		if (!object->gnu_hash.bloom && object->sysv_hash.bucket_count)
			return 0;
		total += object->symbol_count;
	}
	return total;
}

static void add(struct fp_scope_index *index, uint32_t hash, size_t member)
{
	uint32_t key = key_of(hash);
	size_t at = slot_of(index, key);

	while (index->entries[at].hash) {
		/* An object is there once for each hash, unless others came between. */
		if (index->entries[at].hash == key && index->entries[at].member == member)
			return;
		at = (at + 1) & index->mask;
	}
	index->entries[at] = (struct entry){ .hash = key, .member = (uint32_t)member };
}

struct fp_scope_index *fp_scope_index_new(const struct fp_closure *closure, const size_t *scope,
					  size_t count)
{
	struct fp_scope_index *index = calloc(1, sizeof(*index));
	size_t total = fp_scope_symbols(closure, scope, count), capacity = 64;

	while (capacity < total * 2)
		capacity *= 2;
	if (index)
		index->entries = calloc(capacity, sizeof(struct entry));
	if (!index || !index->entries) {
		free(index);
		return NULL;
	}
	index->mask = capacity - 1;
	for (size_t i = 0; i < count; i++) {
		const struct fp_object *object = closure->members[scope[i]].object;
		const struct fp_gnu_hash *gnu = &object->gnu_hash;

		for (uint32_t b = 0; gnu->bloom && b < gnu->bucket_count; b++) {
			const uint32_t *chain = &gnu->chain_zero[gnu->buckets[b]];

			if (!gnu->buckets[b])
				continue;
			do
				add(index, *chain, scope[i]);
			while ((*chain++ & 1) == 0);
		}
	}
	return index;
}

void fp_scope_index_free(struct fp_scope_index *index)
{
	if (!index)
		return;
	free(index->entries);
	free(index);
}

size_t fp_scope_start(const struct fp_scope_index *index, uint32_t gnu_hash)
{
	return slot_of(index, key_of(gnu_hash));
}

bool fp_scope_next(const struct fp_scope_index *index, uint32_t gnu_hash, size_t *position,
		   size_t *ret_member)
{
	uint32_t key = key_of(gnu_hash);
	size_t at = *position;

	for (; index->entries[at].hash; at = (at + 1) & index->mask)
		if (index->entries[at].hash == key) {
			*ret_member = index->entries[at].member;
			*position = (at + 1) & index->mask;
			return true;
		}
	return false;
}
