/* undo_format.h - how undo data lies in a file; doc/format.md tells the same in words. */
#ifndef FP_UNDO_FORMAT_H
#define FP_UNDO_FORMAT_H

#include <stdint.h>

/* The section ".fastprelink.undo" (SHT_PROGBITS, not allocated) of a rewritten file holds one struct
   fp_undo_header and, right behind it, packed_size bytes of payload; nothing follows.  All numbers are
   little-endian; nothing in it depends on the machine the file is for.

   The payload is one zstd frame (with its content size, without a checksum or a dictionary) of raw_size
   bytes.  Unpacked it is:

     1. range_count pairs (gap, length), each number an unsigned LEB128 of at most ten bytes.  A range
        starts GAP bytes behind the end of the range before it (the first: behind offset 0) and has
        LENGTH > 0 bytes.  So ranges ascend and cannot overlap; none reaches behind original_size.
     2. only in version 2: the word ranges, for words that differ by a constant, as those of a shifted
        library do.  First their constants: their number (at least 1), then for each of them the
        constant and the number of its ranges, and that many pairs (gap, length), counted in words.  A
        word is 8 bytes; word 0 is at offset 0.  The gap counts from the end of the range before it
        under the same constant, or from word 0.  All numbers are LEB128 as above.
     3. the original bytes of the ranges of 1, in the same order, without separators.
     4. only in version 2: for each word range, in the same order, (length + 7) / 8 bytes with a bit for
        each of its words, the lowest bit of a byte first; unused bits are zero.

   The original is: the first original_size bytes of the rewritten file (zeros where that is shorter), from
   whose marked words, as little-endian numbers, the constant is subtracted, and in which then the ranges of 1
   are replaced; its SHA-256 is original_digest.

   The seal is the SHA-256 of the whole rewritten file in which the 32 bytes of the seal are zero.

   Limits, for the writer and every reader: raw_size is at most FP_UNDO_EXPANSION times the size of the
   rewritten file; original_size is at most the size of the rewritten file plus raw_size.

   Versions: magic and version stay where they are for ever.  A reader knows every version up to its own;
   it refuses later ones without looking further. */

#define FP_UNDO_MAGIC "FPLNUNDO"

enum {
	FP_UNDO_VERSION = 2, /* the last one that is known */
	FP_UNDO_PLAIN = 1,   /* the version that is written when there are no word ranges */
	FP_UNDO_WORD = 8,
	FP_UNDO_CONSTANTS = 8, /* at most */
	FP_UNDO_EXPANSION = 16,
	FP_UNDO_ALIGNMENT = 8, /* of the section's file offset; readers do not rely on it */
};

struct fp_undo_header {
	unsigned char magic[8]; /* FP_UNDO_MAGIC without its null */
	uint32_t version;       /* FP_UNDO_PLAIN or FP_UNDO_VERSION */
	uint32_t header_size;   /* sizeof(struct fp_undo_header): where the payload starts */
	uint64_t original_size;
	uint64_t range_count; /* those of 1 */
	uint64_t raw_size;    /* of the payload, unpacked */
	uint64_t packed_size; /* of the payload, as it lies here */
	unsigned char original_digest[32];
	unsigned char seal[32];
};

_Static_assert(sizeof(struct fp_undo_header) == 112, "the header has no padding");

#endif
