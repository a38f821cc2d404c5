/* strmap.c - a map from strings to pointers: open addressing, never more than half full. */
#include "strmap.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { INITIAL_SIZE = 64 };

struct fp_strmap_slot {
	const char *key; /* null: free */
	uint64_t hash;
	void *value;
};

/* FNV-1a. */
static uint64_t hash_string(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
	return hash ^ (hash >> 32);
}

/* The slot that holds KEY, or the free one where it would go. */
static struct fp_strmap_slot *find(const struct fp_strmap *map, const char *key, uint64_t hash)
{
	size_t at = hash & (map->size - 1);

	while (map->slots[at].key &&
	       (map->slots[at].hash != hash || strcmp(map->slots[at].key, key) != 0))
		at = (at + 1) & (map->size - 1);
	return &map->slots[at];
}

void *fp_strmap_get(const struct fp_strmap *map, const char *key)
{
	return map->size ? find(map, key, hash_string(key))->value : NULL;
}

static int grow(struct fp_strmap *map)
{
	struct fp_strmap larger = { .size = map->size ? map->size * 2 : INITIAL_SIZE };

	larger.slots = calloc(larger.size, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < map->size; i++)
		if (map->slots[i].key)
			*find(&larger, map->slots[i].key, map->slots[i].hash) = map->slots[i];
	larger.used = map->used;
	free(map->slots);
	*map = larger;
	return 0;
}

int fp_strmap_put(struct fp_strmap *map, const char *key, void *value)
{
	uint64_t hash = hash_string(key);
	struct fp_strmap_slot *slot = map->size ? find(map, key, hash) : NULL;

	/* A key that is known keeps its place, and the string it was first given. */
	if (slot && slot->key) {
		slot->value = value;
		return 0;
	}
	if (map->used >= map->size / 2 && grow(map) != 0)
		return -ENOMEM;
	slot = find(map, key, hash);
	*slot = (struct fp_strmap_slot){ .key = key, .hash = hash, .value = value };
	map->used++;
	return 0;
}

void *fp_strmap_next(const struct fp_strmap *map, size_t *position)
{
	while (*position < map->size) {
		const struct fp_strmap_slot *slot = &map->slots[(*position)++];

		if (slot->key && slot->value)
			return slot->value;
	}
	return NULL;
}

void fp_strmap_free(struct fp_strmap *map)
{
	free(map->slots);
	*map = (struct fp_strmap){ 0 };
}
