/* buffer.c - a growing byte buffer. */
#include "undo.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, LARGE = 4 << 20 };

/* Images of large files are written from their start to their end, page fault by page fault where pages are small. */
static void prefer_huge_pages(const unsigned char *bytes, size_t size)
{
	size_t skipped = -(uintptr_t)bytes % PAGE;

	if (size >= LARGE)
		(void)madvise((void *)(bytes + skipped), (size - skipped) & -(size_t)PAGE,
			      MADV_HUGEPAGE);
}

int fp_buffer_reserve(struct fp_buffer *buffer, size_t size)
{
	size_t capacity = buffer->capacity;
	unsigned char *bytes;

	if (size <= capacity)
		return 0;
	/* Half as much again, so that appending byte by byte stays linear. */
	if (__builtin_add_overflow(capacity, capacity / 2, &capacity) || capacity < size)
		capacity = size;
	bytes = realloc(buffer->bytes, capacity);
	if (!bytes)
		return -ENOMEM;
	buffer->bytes = bytes;
	buffer->capacity = capacity;
	prefer_huge_pages(bytes, capacity);
	return 0;
}

int fp_buffer_append(struct fp_buffer *buffer, const void *bytes, size_t size)
{
	size_t end;
	int error;

	if (!size)
		return 0;
	if (__builtin_add_overflow(buffer->size, size, &end))
		return -ENOMEM;
	error = fp_buffer_reserve(buffer, end);
	if (error)
		return error;
	memcpy(buffer->bytes + buffer->size, bytes, size);
	buffer->size = end;
	return 0;
}

int fp_buffer_zeros(struct fp_buffer *buffer, size_t size)
{
	size_t end;
	int error;

	if (!size)
		return 0;
	if (__builtin_add_overflow(buffer->size, size, &end))
		return -ENOMEM;
	error = fp_buffer_reserve(buffer, end);
	if (error)
		return error;
	memset(buffer->bytes + buffer->size, 0, size);
	buffer->size = end;
	return 0;
}

int fp_buffer_align(struct fp_buffer *buffer, size_t alignment)
{
	return fp_buffer_zeros(buffer, -buffer->size & (alignment - 1));
}

void fp_buffer_free(struct fp_buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct fp_buffer){ 0 };
}
