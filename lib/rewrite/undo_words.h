/* undo_words.h - the part of undo data that is about words which differ by a constant; for undo.c only. */
#ifndef FP_UNDO_WORDS_H
#define FP_UNDO_WORDS_H

#include "undo.h"
#include "undo_format.h"

/* VALUE as unsigned LEB128: its size, appending it, and reading it at *POSITION, which moves behind it; false when the
   number does not end before END or does not fit. */
size_t fp_leb128_size(uint64_t value);
int fp_leb128_append(struct fp_buffer *buffer, uint64_t value);
bool fp_leb128_read(const unsigned char *bytes, size_t end, size_t *position, uint64_t *ret_value);

/* The word ranges of one constant; the last one stays open. */
struct fp_undo_constant {
	uint64_t value;
	uint64_t start, length; /* of the open range, in words; length 0: none */
	uint64_t written;       /* end of the last range in pairs */
	uint64_t range_count;
	struct fp_buffer pairs, bits; /* bits: those of closed and open ranges */
};

struct fp_undo_words {
	size_t count;
	struct fp_undo_constant constants[FP_UNDO_CONSTANTS];
};

void fp_undo_words_start(struct fp_undo_words *words, const uint64_t *constants, size_t count);

/* Takes the word around offset AT, behind all that were taken, if its values differ by one of the constants.  Returns 0
   when it was taken, 1 when it is none of them, or -ENOMEM. */
int fp_undo_words_add(struct fp_undo_words *words, const unsigned char *original,
		      const unsigned char *rewritten, size_t at);

bool fp_undo_words_used(const struct fp_undo_words *words);

/* Ends the open ranges and appends parts 2 and 4 of the payload (undo_format.h); in this order. */
int fp_undo_words_append_ranges(struct fp_undo_words *words, struct fp_buffer *payload);
int fp_undo_words_append_bits(const struct fp_undo_words *words, struct fp_buffer *payload);

void fp_undo_words_free(struct fp_undo_words *words);

/* Moves *POSITION from the start of part 2 of PAYLOAD behind its end; false when it is malformed. */
bool fp_undo_words_skip(const struct fp_buffer *payload, size_t *position);

/* Subtracts the constants in ORIGINAL.  RANGES and BITS are where parts 2 and 4 of PAYLOAD start; false when a range does
   not lie in ORIGINAL or part 4 is not exactly the rest of the payload. */
bool fp_undo_words_apply(const struct fp_buffer *payload, size_t ranges, size_t bits,
			 struct fp_buffer *original);

#endif
