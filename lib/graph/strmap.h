/* strmap.h - a map from strings to pointers. */
#ifndef FP_STRMAP_H
#define FP_STRMAP_H

#include <stddef.h>

struct fp_strmap_slot;

/* All zero is an empty map.  Keys and values belong to the caller and outlive the map. */
struct fp_strmap {
	struct fp_strmap_slot *slots;
	size_t size, used;
};

/* The value of KEY, or null. */
void *fp_strmap_get(const struct fp_strmap *map, const char *key);

/* Sets the value of KEY; returns 0, or -ENOMEM, which a key that is there never gives. */
int fp_strmap_put(struct fp_strmap *map, const char *key, void *value);

/* Steps through the values: *POSITION starts at 0; null after the last one.  The order means
   nothing. */
void *fp_strmap_next(const struct fp_strmap *map, size_t *position);

void fp_strmap_free(struct fp_strmap *map);

#endif
