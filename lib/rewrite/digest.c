/* digest.c - digests of whole images, computed by nettle. */
#include "digest.h"

#include <nettle/md5.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <nettle/version.h>

/* nettle 4.0 took the length argument out of its digest functions. */
#if NETTLE_VERSION_MAJOR >= 4
#define FINISH(name, context, size, digest) name##_digest((context), (digest))
#else
#define FINISH(name, context, size, digest) name##_digest((context), (size), (digest))
#endif

void fp_sha256_with_hole(const void *bytes, size_t size, size_t hole, size_t hole_size,
			 unsigned char ret_digest[FP_SHA256_SIZE])
{
	static const unsigned char zeros[64];
	const unsigned char *at = bytes;
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, hole, at);
	for (size_t left = hole_size; left;) {
		size_t part = left < sizeof(zeros) ? left : sizeof(zeros);

		sha256_update(&context, part, zeros);
		left -= part;
	}
	sha256_update(&context, size - hole - hole_size, at + hole + hole_size);
	FINISH(sha256, &context, FP_SHA256_SIZE, ret_digest);
}

void fp_sha256(const void *bytes, size_t size, unsigned char ret_digest[FP_SHA256_SIZE])
{
	fp_sha256_with_hole(bytes, size, 0, 0, ret_digest);
}

static void hex(const unsigned char *digest, size_t size, char *ret_hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		*ret_hex++ = digits[digest[i] >> 4];
		*ret_hex++ = digits[digest[i] & 15];
	}
	*ret_hex = '\0';
}

void fp_digest_hex(enum fp_digest kind, const void *bytes, size_t size, char ret_hex[FP_DIGEST_HEX])
{
	union {
		struct md5_ctx md5;
		struct sha1_ctx sha1;
	} context;
	unsigned char digest[FP_SHA256_SIZE];

	switch (kind) {
	case FP_DIGEST_MD5:
		md5_init(&context.md5);
		md5_update(&context.md5, size, bytes);
		FINISH(md5, &context.md5, MD5_DIGEST_SIZE, digest);
		hex(digest, MD5_DIGEST_SIZE, ret_hex);
		break;
	case FP_DIGEST_SHA1:
		sha1_init(&context.sha1);
		sha1_update(&context.sha1, size, bytes);
		FINISH(sha1, &context.sha1, SHA1_DIGEST_SIZE, digest);
		hex(digest, SHA1_DIGEST_SIZE, ret_hex);
		break;
	case FP_DIGEST_SHA256:
		fp_sha256(bytes, size, digest);
		hex(digest, FP_SHA256_SIZE, ret_hex);
		break;
	}
}
