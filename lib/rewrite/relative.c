/* relative.c - a compact list of the words that only need the load bias. */
#include "relative.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 8, BITS = 63 /* words that one bitmap speaks for */ };

static int compare_addresses(const void *a, const void *b)
{
	fp_addr left = *(const fp_addr *)a, right = *(const fp_addr *)b;

	return (left > right) - (left < right);
}

/* True when the word of RELA holds its addend in the file. */
static bool holds_addend(const struct fp_object *object, const Elf64_Rela *rela)
{
	const void *word = fp_object_at(object, rela->r_offset, WORD);

	return rela->r_offset % WORD == 0 && word && memcmp(word, &rela->r_addend, WORD) == 0;
}

/* gABI "Relative Relocation Table": an address, then bitmaps of the words behind it. */
static int encode(const fp_addr *addresses, size_t count, struct fp_buffer *ret_relr)
{
	int error = 0;

	for (size_t i = 0; i < count && !error;) {
		fp_addr base = addresses[i++];

		error = fp_buffer_append(ret_relr, &base, sizeof(base));
		base += WORD;
		while (i < count && !error && addresses[i] - base < BITS * WORD) {
			uint64_t bitmap = 1;

			for (; i < count && addresses[i] - base < BITS * WORD; i++)
				bitmap |= 1ull << ((addresses[i] - base) / WORD + 1);
			error = fp_buffer_append(ret_relr, &bitmap, sizeof(bitmap));
			base += BITS * WORD;
		}
	}
	return error;
}

int fp_relative_encode(const struct fp_object *object, struct fp_buffer *ret_relr)
{
	size_t count = object->relative_count;
	fp_addr *addresses;
	bool sorted = true;
	int error = 0;

	for (size_t i = 0; i < count; i++)
		if (!holds_addend(object, &object->rela.rela[i]))
			return 0;
	addresses = malloc((count + 1) * sizeof(fp_addr));
	if (!addresses)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		addresses[i] = object->rela.rela[i].r_offset;
		sorted &= !i || addresses[i - 1] <= addresses[i];
	}
	/* Linkers sort them. */
	if (!sorted)
		qsort(addresses, count, sizeof(fp_addr), compare_addresses);
	for (size_t i = 1; i < count; i++)
		if (addresses[i] == addresses[i - 1])
			count = 0; /* named twice: leave it to the plain table */
	if (count)
		error = encode(addresses, count, ret_relr);
	free(addresses);
	return error;
}
