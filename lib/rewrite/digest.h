/* digest.h - digests of whole images. */
#ifndef FP_DIGEST_H
#define FP_DIGEST_H

#include <stddef.h>

enum { FP_SHA256_SIZE = 32 };

/* SHA-256 of SIZE bytes at BYTES. */
void fp_sha256(const void *bytes, size_t size, unsigned char ret_digest[FP_SHA256_SIZE]);

/* SHA-256 of SIZE bytes at BYTES, of which [HOLE, HOLE + HOLE_SIZE), which lies inside, counts as zeros. */
void fp_sha256_with_hole(const void *bytes, size_t size, size_t hole, size_t hole_size,
			 unsigned char ret_digest[FP_SHA256_SIZE]);

enum fp_digest { FP_DIGEST_MD5, FP_DIGEST_SHA1, FP_DIGEST_SHA256 };

enum { FP_DIGEST_HEX = 2 * FP_SHA256_SIZE + 1 };

/* Lower-case hexadecimal digest of BYTES, null-terminated. */
void fp_digest_hex(enum fp_digest kind, const void *bytes, size_t size,
		   char ret_hex[FP_DIGEST_HEX]);

#endif
