/* undo.c - writes and applies the data that brings a rewritten file back, byte for byte.

   The writer compares the original with what was made of it and records the original bytes of every
   range that differs; it knows nothing of ELF.  Two ranges become one where that takes no more bytes
   than the description of a second one.  Words that differ by a number that the caller named, as all
   addresses of a shifted library do, are only marked by a bit (undo_words.c).  The reader believes nothing:
   the seal is checked first, then every number against the limits of undo_format.h, and at last the result
   against its digest. */
#include "undo_words.h"

#include <endian.h>
#include <errno.h>
#include <fastprelink/abi.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* Nine is past the knee for payloads of mostly zeros and costs a tenth of level 19. */
enum { PACK_LEVEL = 9, COMPARE_BLOCK = 4096 };

/* The first offset in [FROM, END) at which A and B differ, or END. */
static size_t first_difference(const unsigned char *a, const unsigned char *b, size_t from,
			       size_t end)
{
	while (end - from >= COMPARE_BLOCK && memcmp(a + from, b + from, COMPARE_BLOCK) == 0)
		from += COMPARE_BLOCK;
	while (end - from >= sizeof(uint64_t) && memcmp(a + from, b + from, sizeof(uint64_t)) == 0)
		from += sizeof(uint64_t);
	while (from < end && a[from] == b[from])
		from++;
	return from;
}

/* The first offset in [FROM, END) at which A and B agree, or END. */
static size_t first_match(const unsigned char *a, const unsigned char *b, size_t from, size_t end)
{
	while (from < end && a[from] != b[from])
		from++;
	return from;
}

/* Collects ranges; the last one stays open because the next may still join it. */
struct range_writer {
	const unsigned char *original;
	size_t start, end; /* of the open range; empty: none */
	size_t written;    /* end of the last range in pairs */
	uint64_t count;
	struct fp_buffer pairs, bytes;
};

static int writer_flush(struct range_writer *writer)
{
	size_t length = writer->end - writer->start;
	int error;

	if (!length)
		return 0;
	error = fp_leb128_append(&writer->pairs, writer->start - writer->written);
	if (!error)
		error = fp_leb128_append(&writer->pairs, length);
	if (!error)
		error = fp_buffer_append(&writer->bytes, writer->original + writer->start, length);
	writer->written = writer->end;
	writer->count++;
	return error;
}

/* Adds the range [START, END), which is not empty and lies behind all before it. */
static int writer_add(struct range_writer *writer, size_t start, size_t end)
{
	size_t gap = start - writer->end, length = writer->end - writer->start;
	int error = 0;

	if (!length ||
	    fp_leb128_size(end - writer->start) + gap >
		    fp_leb128_size(length) + fp_leb128_size(gap) + fp_leb128_size(end - start)) {
		error = writer_flush(writer);
		writer->start = start;
	}
	writer->end = end;
	return error;
}

static int collect_ranges(struct range_writer *writer, struct fp_undo_words *words,
			  const unsigned char *rewritten, size_t original_size,
			  size_t rewritten_size)
{
	size_t common = original_size < rewritten_size ? original_size : rewritten_size;
	size_t start = 0, end, word_end;
	int error = 0;

	while (!error) {
		start = first_difference(writer->original, rewritten, start, common);
		if (start == common)
			break;
		/* With constants every word is looked at by itself. */
		word_end = start - start % FP_UNDO_WORD + FP_UNDO_WORD;
		if (!words->count || word_end > common) {
			word_end = common;
		} else {
			error = fp_undo_words_add(words, writer->original, rewritten, start);
			if (error <= 0) {
				start = word_end;
				continue;
			}
		}
		end = first_match(writer->original, rewritten, start, word_end);
		error = writer_add(writer, start, end);
		start = end;
	}
	if (!error && common < original_size)
		error = writer_add(writer, common, original_size);
	return error ? error : writer_flush(writer);
}

/* Appends RAW as one zstd frame to BUFFER.  The level is fixed and one thread does it: same input, same bytes. */
static int append_packed(struct fp_buffer *buffer, const struct fp_buffer *raw)
{
	size_t bound = ZSTD_compressBound(raw->size), packed;
	ZSTD_CCtx *context;
	int error;

	if (ZSTD_isError(bound))
		return -EFBIG;
	error = fp_buffer_reserve(buffer, buffer->size + bound);
	if (error)
		return error;
	context = ZSTD_createCCtx();
	if (!context)
		return -ENOMEM;
	packed =
		ZSTD_compressCCtx(context, buffer->bytes + buffer->size, bound,
				  raw->size ? raw->bytes : (const void *)"", raw->size, PACK_LEVEL);
	ZSTD_freeCCtx(context);
	if (ZSTD_isError(packed))
		return -ENOMEM;
	buffer->size += packed;
	return 0;
}

static int build_payload(const struct range_writer *writer, struct fp_undo_words *words,
			 struct fp_undo_header *header, size_t rewritten_size,
			 struct fp_buffer *undo)
{
	struct fp_buffer raw = { 0 };
	bool with_words = fp_undo_words_used(words);
	uint64_t limit;
	int error;

	if (__builtin_mul_overflow((uint64_t)rewritten_size, FP_UNDO_EXPANSION, &limit))
		limit = UINT64_MAX;
	error = fp_buffer_append(&raw, writer->pairs.bytes, writer->pairs.size);
	if (!error && with_words)
		error = fp_undo_words_append_ranges(words, &raw);
	if (!error)
		error = fp_buffer_append(&raw, writer->bytes.bytes, writer->bytes.size);
	if (!error && with_words)
		error = fp_undo_words_append_bits(words, &raw);
	if (!error && raw.size > limit)
		error = -EFBIG;
	if (!error)
		error = fp_buffer_append(undo, header, sizeof(*header));
	if (!error)
		error = append_packed(undo, &raw);
	if (!error) {
		header->version = htole32(with_words ? FP_UNDO_VERSION : FP_UNDO_PLAIN);
		header->range_count = htole64(writer->count);
		header->raw_size = htole64(raw.size);
		header->packed_size = htole64(undo->size - sizeof(*header));
		memcpy(undo->bytes, header, sizeof(*header));
	}
	fp_buffer_free(&raw);
	return error;
}

int fp_undo_build(const void *original, size_t original_size, const void *rewritten,
		  size_t rewritten_size, const uint64_t *constants, size_t count,
		  struct fp_buffer *ret_undo)
{
	struct fp_undo_header header = {
		.header_size = htole32(sizeof(header)),
		.original_size = htole64(original_size),
	};
	struct range_writer writer = { .original = original };
	struct fp_undo_words words;
	struct fp_buffer undo = { 0 };
	int error;

	fp_undo_words_start(&words, constants, count);
	memcpy(header.magic, FP_UNDO_MAGIC, sizeof(header.magic));
	fp_sha256(original, original_size, header.original_digest);
	error = collect_ranges(&writer, &words, rewritten, original_size, rewritten_size);
	if (!error)
		error = build_payload(&writer, &words, &header, rewritten_size, &undo);
	fp_undo_words_free(&words);
	fp_buffer_free(&writer.pairs);
	fp_buffer_free(&writer.bytes);
	if (error) {
		fp_buffer_free(&undo);
		return error;
	}
	*ret_undo = undo;
	return 0;
}

int fp_undo_seal(void *image, size_t size, size_t undo_offset)
{
	unsigned char *undo = (unsigned char *)image + undo_offset;

	if (undo_offset > size || size - undo_offset < sizeof(struct fp_undo_header) ||
	    memcmp(undo, FP_UNDO_MAGIC, sizeof(FP_UNDO_MAGIC) - 1) != 0)
		return -EINVAL;
	fp_sha256_with_hole(image, size, undo_offset + offsetof(struct fp_undo_header, seal),
			    FP_SHA256_SIZE, undo + offsetof(struct fp_undo_header, seal));
	return 0;
}

bool fp_undo_present(const struct fp_object *object)
{
	return fp_object_section(object, FP_UNDO_SECTION) != NULL;
}

/* True when the program headers of the ELF file BYTES, as far as they are there, name a table. */
static bool has_table(const unsigned char *bytes, size_t size)
{
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;

	if (size < sizeof(ehdr))
		return false;
	memcpy(&ehdr, bytes, sizeof(ehdr));
	for (uint64_t i = 0; i < ehdr.e_phnum; i++) {
		uint64_t at = ehdr.e_phoff + i * sizeof(phdr);

		if (ehdr.e_phoff > size || at > size - sizeof(phdr))
			return false;
		memcpy(&phdr, bytes + at, sizeof(phdr));
		if (phdr.p_type == PT_LOAD && phdr.p_flags == FP_SEGMENT_FLAGS)
			return true;
	}
	return false;
}

bool fp_undo_remains(const void *bytes, size_t size)
{
	const unsigned char *at = bytes, *end = at + size;
	struct fp_undo_header header;

	if (size < SELFMAG || memcmp(bytes, ELFMAG, SELFMAG) != 0)
		return false;
	if (has_table(bytes, size))
		return true;
	/* The magic alone may be in any file, fastprelink's own first of all. */
	for (; (at = memmem(at, (size_t)(end - at), FP_UNDO_MAGIC, sizeof(header.magic))); at++) {
		if ((size_t)(end - at) < sizeof(header))
			return false;
		memcpy(&header, at, sizeof(header));
		if (le32toh(header.version) >= FP_UNDO_PLAIN &&
		    le32toh(header.version) <= FP_UNDO_VERSION &&
		    le32toh(header.header_size) == sizeof(header) &&
		    le64toh(header.packed_size) <= (size_t)(end - at) - sizeof(header))
			return true;
	}
	return false;
}

uint64_t fp_undo_original_size(const struct fp_object *object)
{
	const Elf64_Shdr *section = fp_object_section(object, FP_UNDO_SECTION);
	struct fp_undo_header header;

	if (!section || section->sh_type == SHT_NOBITS || section->sh_size < sizeof(header))
		return object->size;
	memcpy(&header, object->image + section->sh_offset, sizeof(header));
	return le64toh(header.original_size);
}

static bool is_sealed(const struct fp_object *object, const Elf64_Shdr *section)
{
	uint64_t at = section->sh_offset + offsetof(struct fp_undo_header, seal);
	unsigned char seal[FP_SHA256_SIZE];

	fp_sha256_with_hole(object->image, object->size, at, FP_SHA256_SIZE, seal);
	return memcmp(seal, object->image + at, sizeof(seal)) == 0;
}

/* Reads and checks the header of the undo data in SECTION into *RET_HEADER, numbers in host order. */
static int read_header(const struct fp_object *object, const Elf64_Shdr *section, bool digests,
		       struct fp_undo_header *ret_header, struct fp_why *why)
{
	const char *path = object->path;
	struct fp_undo_header *header = ret_header;
	const unsigned char *undo;
	uint64_t limit;

	if (section->sh_type == SHT_NOBITS || section->sh_offset > object->size ||
	    section->sh_size > object->size - section->sh_offset)
		return fp_why_set(why, FP_REASON_MALFORMED, path, "undo section without data");
	undo = object->image + section->sh_offset;
	if (section->sh_size < offsetof(struct fp_undo_header, header_size) ||
	    memcmp(undo, FP_UNDO_MAGIC, sizeof(header->magic)) != 0)
		return fp_why_set(why, FP_REASON_MALFORMED, path, "not undo data");
	memcpy(&header->version, undo + offsetof(struct fp_undo_header, version),
	       sizeof(header->version));
	header->version = le32toh(header->version);
	if (header->version > FP_UNDO_VERSION)
		return fp_why_set(why, FP_REASON_NEWER_FORMAT, path, "undo data of version %u",
				  header->version);
	if (header->version < FP_UNDO_PLAIN || section->sh_size < sizeof(*header))
		return fp_why_set(why, FP_REASON_MALFORMED, path, "bad header of the undo data");

	if (digests && !is_sealed(object, section))
		return fp_why_set(why, FP_REASON_MODIFIED, path, "%s", "");

	memcpy(header, undo, sizeof(*header));
	header->header_size = le32toh(header->header_size);
	header->original_size = le64toh(header->original_size);
	header->range_count = le64toh(header->range_count);
	header->raw_size = le64toh(header->raw_size);
	header->packed_size = le64toh(header->packed_size);
	if (__builtin_mul_overflow((uint64_t)object->size, FP_UNDO_EXPANSION, &limit))
		limit = UINT64_MAX;
	if (header->header_size != sizeof(*header) ||
	    header->packed_size != section->sh_size - sizeof(*header) || header->raw_size > limit ||
	    header->raw_size > SIZE_MAX - object->size ||
	    header->original_size > object->size + header->raw_size)
		return fp_why_set(why, FP_REASON_MALFORMED, path, "bad header of the undo data");
	return 0;
}

/* Unpacks the SIZE bytes at PACKED, which must be one frame of exactly RAW_SIZE bytes, to the new RAW. */
static int unpack(const struct fp_object *object, const unsigned char *packed, size_t size,
		  size_t raw_size, struct fp_buffer *raw, struct fp_why *why)
{
	if (ZSTD_getFrameContentSize(packed, size) != raw_size ||
	    ZSTD_findFrameCompressedSize(packed, size) != size)
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad undo payload");
	/* One byte more than needed: an empty payload is to have an address too. */
	if (fp_buffer_reserve(raw, raw_size + 1) != 0)
		return fp_why_system(why, ENOMEM, object->path, "undo");
	if (ZSTD_decompress(raw->bytes, raw_size, packed, size) != raw_size)
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad undo payload");
	raw->size = raw_size;
	return 0;
}

/* Puts the ranges of RAW into ORIGINAL.  False when they are not COUNT ascending ranges that lie inside it, with
   exactly their bytes behind them; likewise the word ranges, where there are any. */
static bool apply_ranges(const struct fp_buffer *raw, uint64_t count, bool with_words,
			 struct fp_buffer *original)
{
	size_t bytes = 0, words, bits, pair = 0;
	uint64_t gap, length, end = 0, total = 0;

	/* Once to find where the pairs end and the bytes begin, once to copy. */
	for (uint64_t i = 0; i < count; i++) {
		if (!fp_leb128_read(raw->bytes, raw->size, &bytes, &gap) ||
		    !fp_leb128_read(raw->bytes, raw->size, &bytes, &length) ||
		    length > raw->size - total)
			return false;
		total += length;
	}
	words = bytes;
	if (with_words && !fp_undo_words_skip(raw, &bytes))
		return false;
	if (total > raw->size - bytes)
		return false;
	bits = bytes + total;
	if (with_words ? !fp_undo_words_apply(raw, words, bits, original) : bits != raw->size)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (!fp_leb128_read(raw->bytes, raw->size, &pair, &gap) ||
		    !fp_leb128_read(raw->bytes, raw->size, &pair, &length))
			return false;
		if (!length || gap > original->size - end || length > original->size - end - gap)
			return false;
		memcpy(original->bytes + end + gap, raw->bytes + bytes, length);
		end += gap + length;
		bytes += length;
	}
	return true;
}

/* Sets ORIGINAL to the first SIZE bytes of OBJECT's image, zeros where that is shorter. */
static int copy_kept(const struct fp_object *object, size_t size, struct fp_buffer *original)
{
	size_t kept = size < object->size ? size : object->size;
	int error = fp_buffer_reserve(original, size + 1);

	if (error)
		return error;
	memcpy(original->bytes, object->image, kept);
	memset(original->bytes + kept, 0, size - kept);
	original->size = size;
	return 0;
}

static int restore(const struct fp_object *object, bool digests, struct fp_buffer *ret_original,
		   struct fp_why *why)
{
	const Elf64_Shdr *section = fp_object_section(object, FP_UNDO_SECTION);
	struct fp_buffer raw = { 0 }, original = { 0 };
	unsigned char digest[FP_SHA256_SIZE];
	struct fp_undo_header header;
	int error;

	if (!section)
		return fp_why_set(why,
				  fp_undo_remains(object->image, object->size)
					  ? FP_REASON_MODIFIED
					  : FP_REASON_NOT_PRELINKED,
				  object->path, "%s", "");
	error = read_header(object, section, digests, &header, why);
	if (error)
		return error;
	error = unpack(object, object->image + section->sh_offset + sizeof(header),
		       header.packed_size, header.raw_size, &raw, why);
	if (!error && copy_kept(object, header.original_size, &original) != 0)
		error = fp_why_system(why, ENOMEM, object->path, "undo");
	if (!error &&
	    !apply_ranges(&raw, header.range_count, header.version == FP_UNDO_VERSION, &original))
		error = fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad undo payload");
	if (!error && digests) {
		fp_sha256(original.bytes, original.size, digest);
		if (memcmp(digest, header.original_digest, sizeof(digest)) != 0)
			error = fp_why_set(why, FP_REASON_MODIFIED, object->path,
					   "what undo gives is not the original");
	}
	fp_buffer_free(&raw);
	if (error) {
		fp_buffer_free(&original);
		return error;
	}
	*ret_original = original;
	return 0;
}

int fp_undo_restore(const struct fp_object *object, struct fp_buffer *ret_original,
		    struct fp_why *why)
{
	return restore(object, true, ret_original, why);
}

int fp_undo_apply(const struct fp_object *object, struct fp_buffer *ret_original,
		  struct fp_why *why)
{
	return restore(object, false, ret_original, why);
}

int fp_undo_check(const struct fp_object *object, struct fp_why *why)
{
	const Elf64_Shdr *section = fp_object_section(object, FP_UNDO_SECTION);
	struct fp_undo_header header;

	if (!section)
		return fp_why_set(why, FP_REASON_MODIFIED, object->path, "%s", "");
	return read_header(object, section, true, &header, why);
}
