/* undo_words.c - the part of undo data that is about words which differ by a constant.

   Shifting a library adds one number to every address in it: two of the three words of each relative relocation,
   one of each symbol, and the words that they fill.  As bytes, the originals of these would be a large part of the
   file.  As one bit for each word they are a 64th of it, and since tables repeat themselves the bits pack well: zeros
   between two words are cheaper than the description of a new range up to quite some distance. */
#include "undo_words.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* MAX_GAP: unmarked words that a range goes on over, measured on shifted libraries. */
enum { LEB128_MAX = 10, MAX_GAP = 2048, BYTE = 8 };

size_t fp_leb128_size(uint64_t value)
{
	size_t size = 1;

	while (value >>= 7)
		size++;
	return size;
}

int fp_leb128_append(struct fp_buffer *buffer, uint64_t value)
{
	unsigned char bytes[LEB128_MAX];
	size_t size = 0;

	do {
		bytes[size] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		size++;
	} while (value >>= 7);
	return fp_buffer_append(buffer, bytes, size);
}

bool fp_leb128_read(const unsigned char *bytes, size_t end, size_t *position, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *position < end && shift < 64; shift += 7) {
		unsigned char byte = bytes[(*position)++];

		if (shift == 63 && byte > 1)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static uint64_t read_word(const unsigned char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return le64toh(word);
}

static void write_word(unsigned char *bytes, uint64_t value)
{
	value = htole64(value);
	memcpy(bytes, &value, sizeof(value));
}

void fp_undo_words_start(struct fp_undo_words *words, const uint64_t *constants, size_t count)
{
	*words = (struct fp_undo_words){ 0 };
	while (words->count < count && words->count < FP_UNDO_CONSTANTS) {
		words->constants[words->count].value = constants[words->count];
		words->count++;
	}
}

static int close_range(struct fp_undo_constant *constant)
{
	int error;

	if (!constant->length)
		return 0;
	error = fp_leb128_append(&constant->pairs, constant->start - constant->written);
	if (!error)
		error = fp_leb128_append(&constant->pairs, constant->length);
	constant->written = constant->start + constant->length;
	constant->range_count++;
	constant->length = 0;
	return error;
}

static int mark(struct fp_undo_constant *constant, uint64_t word)
{
	static const unsigned char zeros[MAX_GAP / BYTE + 1];
	uint64_t bit, have;
	int error = 0;

	if (constant->length && word - constant->start - constant->length > MAX_GAP)
		error = close_range(constant);
	if (!error && !constant->length)
		constant->start = word;
	bit = word - constant->start;
	have = (constant->length + BYTE - 1) / BYTE;
	if (!error)
		error = fp_buffer_append(&constant->bits, zeros, bit / BYTE + 1 - have);
	if (error)
		return error;
	constant->length = bit + 1;
	constant->bits.bytes[constant->bits.size - 1] |= (unsigned char)(1 << bit % BYTE);
	return 0;
}

int fp_undo_words_add(struct fp_undo_words *words, const unsigned char *original,
		      const unsigned char *rewritten, size_t at)
{
	uint64_t word = at / FP_UNDO_WORD;
	uint64_t difference = read_word(rewritten + word * FP_UNDO_WORD) -
			      read_word(original + word * FP_UNDO_WORD);

	for (size_t i = 0; i < words->count; i++)
		if (difference == words->constants[i].value)
			return mark(&words->constants[i], word);
	return 1;
}

bool fp_undo_words_used(const struct fp_undo_words *words)
{
	for (size_t i = 0; i < words->count; i++)
		if (words->constants[i].bits.size)
			return true;
	return false;
}

int fp_undo_words_append_ranges(struct fp_undo_words *words, struct fp_buffer *payload)
{
	int error = fp_leb128_append(payload, words->count);

	for (size_t i = 0; i < words->count && !error; i++) {
		struct fp_undo_constant *constant = &words->constants[i];

		error = close_range(constant);
		if (!error)
			error = fp_leb128_append(payload, constant->value);
		if (!error)
			error = fp_leb128_append(payload, constant->range_count);
		if (!error)
			error = fp_buffer_append(payload, constant->pairs.bytes,
						 constant->pairs.size);
	}
	return error;
}

int fp_undo_words_append_bits(const struct fp_undo_words *words, struct fp_buffer *payload)
{
	int error = 0;

	for (size_t i = 0; i < words->count && !error; i++)
		error = fp_buffer_append(payload, words->constants[i].bits.bytes,
					 words->constants[i].bits.size);
	return error;
}

void fp_undo_words_free(struct fp_undo_words *words)
{
	for (size_t i = 0; i < words->count; i++) {
		fp_buffer_free(&words->constants[i].pairs);
		fp_buffer_free(&words->constants[i].bits);
	}
}

bool fp_undo_words_skip(const struct fp_buffer *payload, size_t *position)
{
	uint64_t constants, ranges, number;

	if (!fp_leb128_read(payload->bytes, payload->size, position, &constants) || !constants)
		return false;
	for (uint64_t i = 0; i < constants; i++) {
		if (!fp_leb128_read(payload->bytes, payload->size, position, &number) ||
		    !fp_leb128_read(payload->bytes, payload->size, position, &ranges))
			return false;
		for (uint64_t range = 0; range < ranges; range++)
			if (!fp_leb128_read(payload->bytes, payload->size, position, &number) ||
			    !fp_leb128_read(payload->bytes, payload->size, position, &number))
				return false;
	}
	return true;
}

/* Subtracts VALUE from those of the LENGTH words at WORDS that BITS marks; false when a bit behind them is set. */
static bool subtract(unsigned char *words, uint64_t length, const unsigned char *bits,
		     uint64_t value)
{
	for (uint64_t i = 0; i < (length + BYTE - 1) / BYTE; i++)
		for (unsigned byte = bits[i]; byte; byte &= byte - 1) {
			uint64_t word = i * BYTE + (unsigned)__builtin_ctz(byte);

			if (word >= length)
				return false;
			write_word(words + word * FP_UNDO_WORD,
				   read_word(words + word * FP_UNDO_WORD) - value);
		}
	return true;
}

bool fp_undo_words_apply(const struct fp_buffer *payload, size_t ranges, size_t bits,
			 struct fp_buffer *original)
{
	uint64_t limit = original->size / FP_UNDO_WORD;
	uint64_t constants, value, count, gap, length;

	if (!fp_leb128_read(payload->bytes, payload->size, &ranges, &constants))
		return false;
	for (uint64_t i = 0; i < constants; i++) {
		uint64_t end = 0;

		if (!fp_leb128_read(payload->bytes, payload->size, &ranges, &value) ||
		    !fp_leb128_read(payload->bytes, payload->size, &ranges, &count))
			return false;
		for (uint64_t range = 0; range < count; range++) {
			if (!fp_leb128_read(payload->bytes, payload->size, &ranges, &gap) ||
			    !fp_leb128_read(payload->bytes, payload->size, &ranges, &length) ||
			    !length || gap > limit - end || length > limit - end - gap ||
			    (length + BYTE - 1) / BYTE > payload->size - bits)
				return false;
			if (!subtract(original->bytes + (end + gap) * FP_UNDO_WORD, length,
				      payload->bytes + bits, value))
				return false;
			end += gap + length;
			bits += (length + BYTE - 1) / BYTE;
		}
	}
	return bits == payload->size;
}
