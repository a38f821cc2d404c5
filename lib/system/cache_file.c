/* cache_file.c - the file in which the cache is kept between runs.

   A header, then numbers as unsigned LEB128 and texts as length and bytes, in the order of `put_...` below.  The file may have been
   damaged or made by anybody: whatever does not fit makes it an empty cache. */
#include <elf.h>
#include <errno.h>
#include <fastprelink/abi.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../rewrite/commit.h"
#include "../rewrite/undo_words.h"
#include "cache.h"
#include "internal.h"

#define MAGIC "FPCACHE\n"

enum { MAX_SIZE = 256 << 20, MAX_TEXT = 1 << 16 };

struct header {
	char magic[8];
	uint64_t environment;
	uint64_t size;     /* of what follows, padded to whole words */
	uint64_t checksum; /* fp_checksum of it */
};

/* Writing: the first failure is kept, and everything after it does nothing. */
struct writer {
	struct fp_buffer buffer;
	int error;
};

static void put(struct writer *writer, uint64_t value)
{
	if (!writer->error)
		writer->error = fp_leb128_append(&writer->buffer, value);
}

/* Null is another text than the empty one. */
static void put_text(struct writer *writer, const char *text)
{
	put(writer, text ? strlen(text) + 1 : 0);
	if (text && !writer->error)
		writer->error = fp_buffer_append(&writer->buffer, text, strlen(text));
}

static void put_key(struct writer *writer, const struct fp_file_key *key)
{
	put(writer, key->device);
	put(writer, key->inode);
	put(writer, key->size);
	put(writer, (uint64_t)key->modified);
	put(writer, (uint64_t)key->changed);
}

static void put_list(struct writer *writer, const uint32_t *list, uint32_t count)
{
	put(writer, count);
	for (uint32_t i = 0; i < count; i++)
		put(writer, list[i]);
}

static void put_program(struct writer *writer, const struct fp_cached_file *file)
{
	const struct fp_program_result *r = &file->result;

	put(writer, r->object_count);
	put(writer, r->relocation_count);
	put(writer, r->resolved_count);
	put(writer, r->relative_count);
	put(writer, r->lazy_count);
	put(writer, r->residual_count);
	put(writer, r->left_objects);
	put(writer, r->original_size);
	put(writer, r->added_size);
	put(writer, r->saved_ns);
	put(writer, r->accelerated);
	put_list(writer, file->members, file->member_count);
	put_list(writer, file->directories, file->directory_count);
	put_list(writer, file->answers, file->answer_count);
}

static void put_file(struct writer *writer, const struct fp_cached_file *file)
{
	put_text(writer, file->path);
	put_key(writer, &file->key);
	put(writer, file->kind);
	put(writer, file->reason);
	if (file->reason) {
		put(writer, (uint64_t)file->error);
		put_text(writer, file->why_file);
		put_text(writer, file->detail);
	}
	put(writer, file->is_judged);
	if (file->is_judged)
		put_program(writer, file);
	put(writer, file->is_placed);
	put(writer, file->is_guarded);
	put(writer, file->base);
	put(writer, file->room);
}

static void put_cache(struct writer *writer, const struct fp_cache *cache)
{
	put_text(writer, cache->interpreter);
	put_text(writer, cache->cache_path);
	put_key(writer, &cache->cache_key);
	put(writer, cache->file_count);
	put(writer, cache->directory_count);
	put(writer, cache->answer_count);
	for (size_t i = 0; i < cache->file_count; i++)
		put_file(writer, cache->files[i]);
	for (size_t i = 0; i < cache->directory_count; i++) {
		put_text(writer, cache->directories[i].path);
		put_key(writer, &cache->directories[i].key);
	}
	for (size_t i = 0; i < cache->answer_count; i++) {
		put_text(writer, cache->answers[i].name);
		put_text(writer, cache->answers[i].path);
	}
}

int fp_cache_write(const struct fp_cache *cache, const char *path, struct fp_why *why)
{
	struct header header = { .magic = MAGIC, .environment = cache->environment };
	struct writer writer = { .error = 0 };
	unsigned char *body;
	int error;

	writer.error = fp_buffer_append(&writer.buffer, &header, sizeof(header));
	put_cache(&writer, cache);
	if (!writer.error)
		writer.error = fp_buffer_align(&writer.buffer, sizeof(uint64_t));
	if (writer.error) {
		error = fp_why_system(why, ENOMEM, path, "write");
	} else {
		body = writer.buffer.bytes + sizeof(header);
		header.size = writer.buffer.size - sizeof(header);
		header.checksum = fp_checksum((const uint64_t *)body, header.size / 8);
		memcpy(writer.buffer.bytes, &header, sizeof(header));
		error = fp_run_make_parents(path, why);
		if (!error)
			error = fp_commit_new(path, 0644, writer.buffer.bytes, writer.buffer.size,
					      why);
	}
	fp_buffer_free(&writer.buffer);
	return error;
}

/* Reading: BAD is set at the first thing that does not fit, and then everything gives 0. */
struct reader {
	const unsigned char *bytes;
	size_t size, at;
	struct fp_arena *arena;
	bool bad;
};

static uint64_t get(struct reader *reader)
{
	uint64_t value = 0;

	if (!reader->bad && !fp_leb128_read(reader->bytes, reader->size, &reader->at, &value))
		reader->bad = true;
	return reader->bad ? 0 : value;
}

static uint64_t get_below(struct reader *reader, uint64_t limit)
{
	uint64_t value = get(reader);

	reader->bad |= value >= limit;
	return reader->bad ? 0 : value;
}

/* A number of things that take a byte each at least. */
static uint32_t get_count(struct reader *reader)
{
	return (uint32_t)get_below(reader, (reader->size - reader->at < UINT32_MAX
						    ? reader->size - reader->at
						    : UINT32_MAX - 1) +
						   1);
}

static const char *get_text(struct reader *reader)
{
	uint64_t length = get_below(reader, MAX_TEXT);
	const char *text;

	if (reader->bad || !length)
		return NULL;
	length--;
	if (length > reader->size - reader->at ||
	    memchr(reader->bytes + reader->at, '\0', length)) {
		reader->bad = true;
		return NULL;
	}
	text = fp_arena_substring(reader->arena, (const char *)reader->bytes + reader->at, length);
	reader->at += length;
	reader->bad |= !text;
	return text;
}

static const char *get_path(struct reader *reader)
{
	const char *path = get_text(reader);

	reader->bad |= !path || path[0] != '/';
	return reader->bad ? "" : path;
}

static struct fp_file_key get_key(struct reader *reader)
{
	struct fp_file_key key;

	key.device = get(reader);
	key.inode = get(reader);
	key.size = get(reader);
	key.modified = (int64_t)get(reader);
	key.changed = (int64_t)get(reader);
	return key;
}

static uint32_t *get_list(struct reader *reader, size_t limit, uint32_t *ret_count)
{
	uint32_t count = get_count(reader);
	uint32_t *list = fp_arena_array(reader->arena, count, sizeof(*list));

	reader->bad |= !list;
	for (uint32_t i = 0; i < count && !reader->bad; i++)
		list[i] = (uint32_t)get_below(reader, limit);
	*ret_count = reader->bad ? 0 : count;
	return list;
}

static void get_program(struct reader *reader, struct fp_cached_file *file, const size_t counts[3])
{
	struct fp_program_result *r = &file->result;

	r->outcome = FP_OUTCOME_UNCHANGED;
	r->object_count = get(reader);
	r->relocation_count = get(reader);
	r->resolved_count = get(reader);
	r->relative_count = get(reader);
	r->lazy_count = get(reader);
	r->residual_count = get(reader);
	r->left_objects = get(reader);
	r->original_size = get(reader);
	r->added_size = get(reader);
	r->saved_ns = get(reader);
	r->accelerated = get_below(reader, 2);
	file->members = get_list(reader, counts[0], &file->member_count);
	file->directories = get_list(reader, counts[1], &file->directory_count);
	file->answers = get_list(reader, counts[2], &file->answer_count);
}

static void get_file(struct reader *reader, struct fp_cache *cache, const size_t counts[3])
{
	const char *path = get_path(reader);
	size_t known = cache->file_count;
	struct fp_cached_file *file = reader->bad ? NULL : fp_cache_add(cache, path);

	/* A path that is there twice would shift the indexes. */
	if (!file || cache->file_count == known) {
		reader->bad = true;
		return;
	}
	file->key = get_key(reader);
	file->kind = get_below(reader, FP_CACHED_KINDS);
	file->reason = get_below(reader, FP_REASON_COUNT);
	if (file->reason) {
		file->error = (int)get_below(reader, INT_MAX);
		file->why_file = get_text(reader);
		file->detail = get_text(reader);
		reader->bad |= !file->why_file || !file->detail;
	}
	file->is_judged = get_below(reader, 2);
	if (file->is_judged)
		get_program(reader, file, counts);
	file->is_placed = get_below(reader, 2);
	file->is_guarded = get_below(reader, 2);
	file->base = get(reader);
	file->room = get(reader);
	reader->bad |= file->base + file->room < file->base;
}

/* Nothing loads a program. */
static bool members_are_libraries(const struct fp_cache *cache)
{
	for (size_t i = 0; i < cache->file_count; i++)
		for (uint32_t m = 0; m < cache->files[i]->member_count; m++)
			if (cache->files[cache->files[i]->members[m]]->is_judged)
				return false;
	return true;
}

static void get_cache(struct reader *reader, struct fp_cache *cache)
{
	size_t counts[3];

	cache->interpreter = get_text(reader);
	cache->cache_path = get_text(reader);
	/* Both, or neither. */
	reader->bad |= cache->interpreter ? !cache->cache_path || cache->cache_path[0] != '/'
					  : cache->cache_path != NULL;
	cache->cache_key = get_key(reader);
	for (unsigned i = 0; i < 3; i++)
		counts[i] = get_count(reader);
	for (size_t i = 0; i < counts[0] && !reader->bad; i++)
		get_file(reader, cache, counts);
	for (size_t i = 0; i < counts[1] && !reader->bad; i++) {
		const char *path = get_path(reader);
		struct fp_file_key key = get_key(reader);

		reader->bad |= fp_cache_add_directory(cache, path) != i;
		if (!reader->bad)
			cache->directories[i].key = key;
	}
	for (size_t i = 0; i < counts[2] && !reader->bad; i++) {
		struct fp_cache_answer answer = { .name = get_text(reader) };

		answer.path = get_text(reader);
		reader->bad |= !answer.name || fp_cache_add_answer(cache, &answer) != i;
		if (!reader->bad)
			cache->answers[i].is_current = false;
	}
}

/* Whether BYTES are a whole cache, of ENVIRONMENT unless that is null, which is put into CACHE. */
static bool parse(struct fp_cache *cache, const unsigned char *bytes, size_t size,
		  const uint64_t *environment)
{
	const unsigned char *body = bytes + sizeof(struct header);
	struct reader reader = { .bytes = body, .arena = &cache->arena };
	struct header header;

	if (size < sizeof(header))
		return false;
	memcpy(&header, bytes, sizeof(header));
	if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0 ||
	    (environment && header.environment != *environment) || header.size % 8 ||
	    header.size != size - sizeof(header) ||
	    header.checksum != fp_checksum((const uint64_t *)body, header.size / 8))
		return false;
	cache->environment = header.environment;
	reader.size = header.size;
	get_cache(&reader, cache);
	return !reader.bad && members_are_libraries(cache);
}

int fp_cache_load(const char *path, const uint64_t *environment, struct fp_cache **ret_cache,
		  struct fp_why *why)
{
	struct fp_cache *cache = fp_cache_new(0);
	struct stat stat;
	unsigned char *bytes = NULL;
	size_t size = 0;
	int error = 0;

	if (!cache)
		error = fp_why_system(why, ENOMEM, path, "read");
	else if (lstat(path, &stat) != 0)
		error = fp_why_system(why, errno, path, "stat");
	else if (!S_ISREG(stat.st_mode))
		error = fp_why_set(why, FP_REASON_NOT_REGULAR, path, "%s", "");
	else if (stat.st_size > MAX_SIZE)
		error = fp_why_set(why, FP_REASON_BAD_CACHE, path, "too large");
	else
		error = fp_run_read_file(path, &bytes, &size, &stat, why);
	if (!error && !parse(cache, bytes, size, environment))
		error = fp_why_set(why, FP_REASON_BAD_CACHE, path, "%s", "");
	free(bytes);
	if (error) {
		fp_cache_free(cache);
		return error;
	}
	cache->is_changed = false;
	*ret_cache = cache;
	return 0;
}

static bool is_text(const unsigned char *bytes, size_t size)
{
	if (!memchr(bytes, '\n', size))
		return false;
	for (size_t i = 0; i < size; i++)
		if (bytes[i] < ' ' && (bytes[i] < '\t' || bytes[i] > '\r'))
			return false;
	return true;
}

int fp_cache_replaceable(const char *path, struct fp_why *why)
{
	unsigned char start[512] = { 0 };
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, start, sizeof(start));

	if (fd >= 0)
		close(fd);
	if (size <= 0 || memcmp(start, MAGIC, sizeof(MAGIC) - 1) == 0 ||
	    (memcmp(start, ELFMAG, SELFMAG) != 0 && !is_text(start, (size_t)size)))
		return 0;
	return fp_why_set(why, FP_REASON_BAD_CACHE, path, "it would be lost, name another file");
}

struct fp_cache *fp_cache_read(const char *path, uint64_t environment)
{
	struct fp_cache *cache;

	return fp_cache_load(path, &environment, &cache, NULL) == 0 ? cache
								    : fp_cache_new(environment);
}
