/* arena.h - memory that is given out piece by piece and released all at once. */
#ifndef FP_ARENA_H
#define FP_ARENA_H

#include <stddef.h>

struct fp_arena {
	struct fp_arena_block *blocks;
	char *next, *end;
	size_t block; /* size of the open block */
};

/* SIZE zeroed bytes aligned for any type, or null when memory is out; valid until fp_arena_free. */
void *fp_arena_alloc(struct fp_arena *arena, size_t size);

/* As fp_arena_alloc for COUNT elements of SIZE bytes; null also when the product overflows. */
void *fp_arena_array(struct fp_arena *arena, size_t count, size_t size);

/* A copy of TEXT, or of its first LENGTH bytes, ended by a null. */
char *fp_arena_string(struct fp_arena *arena, const char *text);
char *fp_arena_substring(struct fp_arena *arena, const char *text, size_t length);

/* printf into the arena. */
char *fp_arena_format(struct fp_arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void fp_arena_free(struct fp_arena *arena);

#endif
