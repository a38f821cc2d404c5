/* undo.h - the data that brings a rewritten file back, byte for byte, with nothing but the file. */
#ifndef FP_UNDO_H
#define FP_UNDO_H

#include "../elf/object.h"
#include "digest.h"

#define FP_UNDO_SECTION ".fastprelink.undo"

/* A growing byte buffer, the form in which a file is rewritten.  Zero-initialised is empty. */
struct fp_buffer {
	unsigned char *bytes;
	size_t size, capacity;
};

int fp_buffer_reserve(struct fp_buffer *buffer, size_t size);
int fp_buffer_append(struct fp_buffer *buffer, const void *bytes, size_t size);
int fp_buffer_zeros(struct fp_buffer *buffer, size_t size);
/* Appends zeros until the size is a multiple of ALIGNMENT (a power of two). */
int fp_buffer_align(struct fp_buffer *buffer, size_t alignment);
void fp_buffer_free(struct fp_buffer *buffer);

/* Describes in *RET_UNDO how to get the ORIGINAL_SIZE bytes of ORIGINAL from REWRITTEN, of which
   only [0, ORIGINAL_SIZE) matters: the original bytes of every range that differs, compressed, and the
   SHA-256 of the original.  Made by comparing, so it does not depend on what the rewriter did.  The first
   ORIGINAL_SIZE bytes must not change any more afterwards, so the undo data itself goes behind them.
   CONSTANTS is a hint (it may be empty): words that differ by one of these COUNT numbers, of which the first
   FP_UNDO_CONSTANTS matter, take a bit each.
   Returns 0, -ENOMEM, or -EFBIG when more was changed than undo data may describe (undo_format.h). */
int fp_undo_build(const void *original, size_t original_size, const void *rewritten,
		  size_t rewritten_size, const uint64_t *constants, size_t count,
		  struct fp_buffer *ret_undo);

/* Writes into the undo data at UNDO_OFFSET of the finished image its own digest: SHA-256 over the whole image with
   that field zero.  Any later change of the file shows.  Returns 0, or -EINVAL when there is no undo data. */
int fp_undo_seal(void *image, size_t size, size_t undo_offset);

/* True when OBJECT carries undo data (of any version). */
bool fp_undo_present(const struct fp_object *object);

/* True when the SIZE bytes of an ELF file hold undo data, whether or not a section still leads to it: the file was
   prelinked and is damaged when it cannot be opened as an object that fp_undo_present knows. */
bool fp_undo_remains(const void *bytes, size_t size);

/* The size of the original of OBJECT as its undo data tells, unchecked; its own size when it carries none. */
uint64_t fp_undo_original_size(const struct fp_object *object);

/* Restores the original of OBJECT into *RET_ORIGINAL and checks it against its digest.  Reasons: FP_REASON_NOT_PRELINKED,
   FP_REASON_NEWER_FORMAT, FP_REASON_MODIFIED (the seal or the digest does not match), FP_REASON_MALFORMED. */
int fp_undo_restore(const struct fp_object *object, struct fp_buffer *ret_original,
		    struct fp_why *why);

/* Whether OBJECT, a prelinked file, is what was written: it has its undo data, and their seal matches.  Reasons as fp_undo_restore. */
int fp_undo_check(const struct fp_object *object, struct fp_why *why);

/* As fp_undo_restore without looking at the digests: for who made OBJECT and compares the result itself. */
int fp_undo_apply(const struct fp_object *object, struct fp_buffer *ret_original,
		  struct fp_why *why);

#endif
