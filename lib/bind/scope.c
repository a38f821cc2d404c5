/* scope.c - which objects of a scope can define a name, without asking each.

   ld.so asks every object of the scope in turn; each question reads that object's Bloom filter, which is in no cache.  The hash of each
   name that an object defines stands in its DT_GNU_HASH table already, so one table can hold those of all objects of a
   scope.  Its entries are put in in the order of the scope and never taken out; with linear probing they are met in that order.

   Most names have one definition in a scope: for the symbols of which this is certain, nobody needs to look (answers.h). */
#include "scope.h"

#include <stdlib.h>

struct entry {
	uint32_t
		hash; /* without the lowest bit, which the object's table does not have; plus 1; 0: free */
	uint32_t symbol; /* counted through all members */
};

enum { BITS = 64, BATCH = 16 };

struct fp_scope_index {
	struct entry *entries;
	size_t mask;
	/* For each symbol of the scope a bit: other symbols hash to the same. */
	uint64_t *shared;
	const size_t *scope;
	uint32_t *first; /* by place in the scope, and one behind: the number of its first symbol */
	uint32_t *base;  /* the same by member */
	size_t count;
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

static void share(struct fp_scope_index *index, uint32_t symbol)
{
	index->shared[symbol / BITS] |= (uint64_t)1 << symbol % BITS;
}

/* Adds SYMBOL of the object whose symbols start at FIRST. */
static void add(struct fp_scope_index *index, uint32_t key, uint32_t first, uint32_t symbol)
{
	size_t at = slot_of(index, key);

	for (; index->entries[at].hash; at = (at + 1) & index->mask) {
		const struct entry *entry = &index->entries[at];

		if (entry->hash != key)
			continue;
		share(index, entry->symbol);
		share(index, symbol);
		/* An object is there once for each hash, unless others came between. */
		if (entry->symbol >= first)
			return;
	}
	index->entries[at] = (struct entry){ .hash = key, .symbol = symbol };
}

/* Adds the COUNT first entries of BATCH; that they are scattered over the table is met by asking for all of them first. */
static void add_batch(struct fp_scope_index *index, const struct entry *batch, size_t count,
		      uint32_t first)
{
	for (size_t i = 0; i < count; i++)
		__builtin_prefetch(&index->entries[slot_of(index, batch[i].hash)], 1);
	for (size_t i = 0; i < count; i++)
		add(index, batch[i].hash, first, batch[i].symbol);
}

static void add_object(struct fp_scope_index *index, const struct fp_gnu_hash *gnu, uint32_t first)
{
	struct entry batch[BATCH];
	size_t count = 0;

	for (uint32_t b = 0; gnu->bloom && b < gnu->bucket_count; b++) {
		const uint32_t *chain = &gnu->chain_zero[gnu->buckets[b]];

		if (!gnu->buckets[b])
			continue;
		do {
			batch[count++] = (struct entry){
				.hash = key_of(*chain),
				.symbol = first + (uint32_t)(chain - gnu->chain_zero),
			};
			if (count == BATCH) {
				add_batch(index, batch, count, first);
				count = 0;
			}
		} while ((*chain++ & 1) == 0);
	}
	add_batch(index, batch, count, first);
}

struct fp_scope_index *fp_scope_index_new(const struct fp_closure *closure, const size_t *scope,
					  size_t count)
{
	struct fp_scope_index *index = calloc(1, sizeof(*index));
	size_t total = fp_scope_symbols(closure, scope, count), capacity = 64;

	while (capacity < total * 2)
		capacity *= 2;
	if (index) {
		index->entries = calloc(capacity, sizeof(struct entry));
		index->shared = calloc(total / BITS + 1, sizeof(*index->shared));
		index->first = calloc(count + 1, sizeof(*index->first));
		index->base = calloc(closure->count, sizeof(*index->base));
	}
	if (!index || !index->entries || !index->shared || !index->first || !index->base ||
	    total > UINT32_MAX) {
		fp_scope_index_free(index);
		return NULL;
	}
	index->mask = capacity - 1;
	index->scope = scope;
	index->count = count;
	for (size_t i = 0; i < count; i++) {
		const struct fp_object *object = closure->members[scope[i]].object;

		index->base[scope[i]] = index->first[i];
		index->first[i + 1] = index->first[i] + (uint32_t)object->symbol_count;
		add_object(index, &object->gnu_hash, index->first[i]);
	}
	return index;
}

void fp_scope_index_free(struct fp_scope_index *index)
{
	if (!index)
		return;
	free(index->entries);
	free(index->shared);
	free(index->first);
	free(index->base);
	free(index);
}

bool fp_scope_is_shared(const struct fp_scope_index *index, size_t member, uint32_t symbol)
{
	uint32_t bit = index->base[member] + symbol;

	return index->shared[bit / BITS] >> bit % BITS & 1;
}

size_t fp_scope_start(const struct fp_scope_index *index, uint32_t gnu_hash)
{
	return slot_of(index, key_of(gnu_hash));
}

/* The member that has SYMBOL. */
static size_t member_of(const struct fp_scope_index *index, uint32_t symbol)
{
	size_t low = 0, high = index->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (index->first[middle] <= symbol)
			low = middle;
		else
			high = middle;
	}
	return index->scope[low];
}

bool fp_scope_next(const struct fp_scope_index *index, uint32_t gnu_hash, size_t *position,
		   size_t *ret_member)
{
	uint32_t key = key_of(gnu_hash);
	size_t at = *position;

	for (; index->entries[at].hash; at = (at + 1) & index->mask)
		if (index->entries[at].hash == key) {
			*ret_member = member_of(index, index->entries[at].symbol);
			*position = (at + 1) & index->mask;
			return true;
		}
	return false;
}
