/* crc32.c - the checksum that DT_CHECKSUM holds. */
#include "crc32.h"

#include <endian.h>
#include <string.h>

enum { SLICES = 8 };

/* Row K is the remainder of a byte with K bytes of zeros behind it, so that eight bytes take eight look-ups that do not
   wait for each other. */
static void fill_table(uint32_t table[SLICES][256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t remainder = i;

		for (int bit = 0; bit < 8; bit++)
			remainder = remainder >> 1 ^ (remainder & 1 ? 0xedb88320 : 0);
		table[0][i] = remainder;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int row = 1; row < SLICES; row++)
			table[row][i] = table[row - 1][i] >> 8 ^ table[0][table[row - 1][i] & 0xff];
}

uint32_t fp_crc32(uint32_t crc, const void *bytes, size_t size)
{
	uint32_t table[SLICES][256];
	const unsigned char *at = bytes;

	fill_table(table);
	crc = ~crc;
	for (; size >= SLICES; size -= SLICES, at += SLICES) {
		uint64_t word;
		uint32_t next = 0;

		memcpy(&word, at, sizeof(word));
		word = le64toh(word) ^ crc;
		for (int i = 0; i < SLICES; i++)
			next ^= table[SLICES - 1 - i][word >> 8 * i & 0xff];
		crc = next;
	}
	while (size--)
		crc = crc >> 8 ^ table[0][(crc ^ *at++) & 0xff];
	return ~crc;
}
