/* arena.c - memory that is given out piece by piece and released all at once. */
#include "arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 2 * 1024, LAST_BLOCK = 64 * 1024 };

struct fp_arena_block {
	struct fp_arena_block *next;
	alignas(max_align_t) char bytes[];
};

void *fp_arena_alloc(struct fp_arena *arena, size_t size)
{
	struct fp_arena_block *block;
	size_t room;
	void *result;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (size > (size_t)(arena->end - arena->next)) {
		size_t regular = !arena->block               ? FIRST_BLOCK
				 : arena->block < LAST_BLOCK ? arena->block * 2
							     : LAST_BLOCK;
		bool large = size > regular / 4;

		room = large ? size : regular;
		block = calloc(1, sizeof(*block) + room);
		if (!block)
			return NULL;
		block->next = arena->blocks;
		arena->blocks = block;
		/* A large piece gets a block of its own; the open block stays open. */
		if (large)
			return block->bytes;
		arena->block = regular;
		arena->next = block->bytes;
		arena->end = block->bytes + room;
	}
	result = arena->next;
	arena->next += size;
	return result;
}

void *fp_arena_array(struct fp_arena *arena, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	return fp_arena_alloc(arena, bytes);
}

char *fp_arena_substring(struct fp_arena *arena, const char *text, size_t length)
{
	char *copy = fp_arena_alloc(arena, length + 1);

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

char *fp_arena_string(struct fp_arena *arena, const char *text)
{
	return fp_arena_substring(arena, text, strlen(text));
}

char *fp_arena_format(struct fp_arena *arena, const char *format, ...)
{
	va_list arguments;
	char *text = NULL, *copy;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	if (!text)
		return NULL;
	copy = fp_arena_string(arena, text);
	free(text);
	return copy;
}

void fp_arena_free(struct fp_arena *arena)
{
	while (arena->blocks) {
		struct fp_arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	arena->next = arena->end = NULL;
	arena->block = 0;
}
