/* memory.c - what a compiler may call in freestanding code too; the linker leaves out what it did not.
   SPDX-License-Identifier: 0BSD */
#include <stddef.h>

void *memset(void *to, int byte, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);

void *memset(void *to, int byte, size_t size)
{
	unsigned char *at = to;

	while (size--)
		*at++ = (unsigned char)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	unsigned char *at = to;
	const unsigned char *next = from;

	while (size--)
		*at++ = *next++;
	return to;
}
