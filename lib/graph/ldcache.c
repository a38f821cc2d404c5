/* ldcache.c - /etc/ld.so.cache, read directly, every offset checked.

   The file is a table of entries sorted by library name (descending, digits compared as numbers)
   and a string table; offsets of strings count from the header.  There are three layouts: the
   present one ("glibc-ld.so.cache1.1"), the same behind a table of the oldest one
   ("ld.so-1.7.0"), and the oldest one alone (glibc sysdeps/generic/dl-cache.h).  An entry may be
   for one processor level only: then it names a glibc-hwcaps subdirectory by its index in the
   table of an extension section.

   It is read into memory, not mapped: a file that is truncated meanwhile does no harm. */
#include "ldcache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OLD_MAGIC       "ld.so-1.7.0"
#define NEW_MAGIC       "glibc-ld.so.cache1.1"
#define EXTENSION_MAGIC 0xeaa42174u

enum {
	MAX_SIZE = 64 << 20,
	/* FLAG_ELF_LIBC6 | FLAG_X8664_LIB64 (glibc sysdeps/unix/sysv/linux/x86_64/dl-cache.h). */
	ENTRY_FLAGS = 0x303,
	SECTION_HWCAPS = 1,
	PLATFORM_BIT = 48, /* of the first old platform */
	ENDIAN_LITTLE = 2,
};

struct old_entry {
	int32_t flags;
	uint32_t key, value;
};

struct old_header {
	char magic[sizeof(OLD_MAGIC) - 1];
	uint32_t count;
};

struct new_entry {
	int32_t flags;
	uint32_t key, value;
	uint32_t os_version;
	uint64_t hwcap;
};

struct new_header {
	char magic[sizeof(NEW_MAGIC) - 1];
	uint32_t count, string_size;
	uint8_t flags, padding[3];
	uint32_t extension;
	uint32_t unused[3];
};

struct extension {
	uint32_t magic, count;
};

struct section {
	uint32_t tag, flags, offset, size;
};

struct fp_ldcache {
	char *image; /* size bytes, and a null behind them */
	size_t size;
	bool is_new;
	size_t entries, entry_size,
		count;              /* where they start, how long one is, how many there are */
	size_t strings;             /* what the offsets of strings count from */
	size_t hwcaps, hwcap_count; /* offsets of names, counted from the start of the file */
};

_Static_assert(sizeof(struct old_header) == 16 && sizeof(struct new_header) == 48 &&
		       sizeof(struct old_entry) == 12 && sizeof(struct new_entry) == 24,
	       "the layout of ld.so.cache");

/* [OFFSET, OFFSET + COUNT * EACH) lies in the file. */
static bool in_file(const struct fp_ldcache *cache, uint64_t offset, uint64_t count, uint64_t each)
{
	return offset <= cache->size && count <= (cache->size - offset) / each;
}

/* glibc sysdeps/generic/dl-cache.h:cache_extension_load. */
static void find_hwcaps(struct fp_ldcache *cache, uint32_t offset)
{
	struct extension extension;
	struct section section;

	if (offset == 0 || offset % 4 != 0 || !in_file(cache, offset, 1, sizeof(extension)))
		return;
	memcpy(&extension, cache->image + offset, sizeof(extension));
	if (extension.magic != EXTENSION_MAGIC ||
	    !in_file(cache, offset + sizeof(extension), extension.count, sizeof(section)))
		return;
	for (size_t i = 0; i < extension.count; i++) {
		memcpy(&section, cache->image + offset + sizeof(extension) + i * sizeof(section),
		       sizeof(section));
		if (!in_file(cache, section.offset, section.size, 1)) {
			cache->hwcap_count = 0;
			return;
		}
		if (section.tag != SECTION_HWCAPS)
			continue;
		cache->hwcaps = section.offset;
		cache->hwcap_count = section.offset % 4 || section.size % 4 ? 0 : section.size / 4;
	}
}

/* Reads the new header at OFFSET; false when there is none. */
static bool read_new(struct fp_ldcache *cache, size_t offset, bool check_count)
{
	struct new_header header;

	if (!in_file(cache, offset, 1, sizeof(header)))
		return false;
	memcpy(&header, cache->image + offset, sizeof(header));
	if (memcmp(header.magic, NEW_MAGIC, sizeof(header.magic)) != 0)
		return false;
	cache->is_new = true;
	cache->entries = offset + sizeof(header);
	cache->entry_size = sizeof(struct new_entry);
	cache->strings = offset;
	cache->count = header.count;
	/* 0: written before the field existed. */
	if (header.flags != 0 && (header.flags & 3) != ENDIAN_LITTLE)
		cache->count = 0;
	if (!in_file(cache, cache->entries, cache->count, cache->entry_size))
		cache->count = check_count ? 0 : (cache->size - cache->entries) / cache->entry_size;
	find_hwcaps(cache, header.extension);
	return true;
}

/* glibc elf/dl-cache.c:_dl_load_cache_lookup.  False: not a cache. */
static bool read_header(struct fp_ldcache *cache)
{
	struct old_header header;
	size_t behind;

	if (cache->size > sizeof(struct new_header) && read_new(cache, 0, true))
		return cache->count != 0;
	if (cache->size <= sizeof(header))
		return false;
	memcpy(&header, cache->image, sizeof(header));
	if (memcmp(header.magic, OLD_MAGIC, sizeof(header.magic)) != 0 ||
	    !in_file(cache, sizeof(header), header.count, sizeof(struct old_entry)))
		return false;
	behind = sizeof(header) + header.count * sizeof(struct old_entry);
	if (read_new(cache, (behind + 7) & ~(size_t)7, false))
		return cache->count != 0;
	cache->entries = sizeof(header);
	cache->entry_size = sizeof(struct old_entry);
	cache->strings = behind;
	cache->count = header.count;
	return cache->count != 0;
}

static bool read_file(struct fp_ldcache *cache, int fd, size_t size)
{
	while (cache->size < size) {
		ssize_t got = read(fd, cache->image + cache->size, size - cache->size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		cache->size += (size_t)got;
	}
	return true;
}

void fp_ldcache_free(struct fp_ldcache *cache)
{
	if (cache)
		free(cache->image);
	free(cache);
}

int fp_ldcache_open(const char *path, struct fp_ldcache **ret_cache)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error = 0;
	struct fp_ldcache *cache = NULL;
	struct stat stat;

	*ret_cache = NULL;
	if (fd < 0)
		return 0;
	if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0 &&
	    stat.st_size <= MAX_SIZE) {
		cache = calloc(1, sizeof(*cache));
		if (cache)
			cache->image = calloc(1, (size_t)stat.st_size + 1);
		if (!cache || !cache->image)
			error = -ENOMEM;
		else if (read_file(cache, fd, (size_t)stat.st_size) && read_header(cache))
			*ret_cache = cache;
	}
	close(fd);
	if (!*ret_cache)
		fp_ldcache_free(cache);
	return error;
}

/* The string at OFFSET, or null when it lies outside; every string ends, at the latest behind the
   file. */
static const char *string_at(const struct fp_ldcache *cache, uint32_t offset)
{
	return offset < cache->size - cache->strings ? cache->image + cache->strings + offset
						     : NULL;
}

/* Entry INDEX, with nothing in the fields that the oldest layout has not. */
static struct new_entry entry_at(const struct fp_ldcache *cache, size_t index)
{
	struct new_entry entry = { 0 };

	memcpy(&entry, cache->image + cache->entries + index * cache->entry_size,
	       cache->entry_size);
	return entry;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static unsigned read_number(const char **text)
{
	unsigned value = 0;

	while (is_digit(**text))
		value = value * 10 + (unsigned)(*(*text)++ - '0');
	return value;
}

/* The order of names in the cache (glibc elf/dl-cache.c:_dl_cache_libcmp). */
static int compare_names(const char *a, const char *b)
{
	while (*a) {
		if (is_digit(*a) && is_digit(*b)) {
			unsigned number_a = read_number(&a), number_b = read_number(&b);

			if (number_a != number_b)
				return (int)(number_a - number_b);
		} else if (is_digit(*a)) {
			return 1;
		} else if (is_digit(*b)) {
			return -1;
		} else if (*a != *b) {
			return *a - *b;
		} else {
			a++;
			b++;
		}
	}
	return *a - *b;
}

/* Bit 62 alone above the level: the low word is an index of a glibc-hwcaps name
   (dl_cache_hwcap_extension). */
static bool has_named_hwcap(const struct new_entry *entry)
{
	return ((entry->hwcap >> 32) & ~(uint64_t)0x3ff) == 1u << 30;
}

/* How good the subdirectory INDEX is on this processor: 1 is best, 0 is unusable
   (glibc elf/dl-cache.c:glibc_hwcaps_priority, sysdeps/x86_64/dl-hwcaps-subdirs.c). */
static unsigned hwcap_priority(const struct fp_ldcache *cache, uint32_t index, unsigned isa)
{
	static const char names[][10] = { "x86-64-v4", "x86-64-v3", "x86-64-v2" };
	unsigned priority = 0;
	uint32_t offset;

	if (index >= cache->hwcap_count)
		return 0;
	memcpy(&offset, cache->image + cache->hwcaps + (size_t)index * 4, sizeof(offset));
	if (offset >= cache->size)
		return 0;
	for (unsigned i = 0; i < 3; i++) {
		if (!(isa & 8u >> i))
			continue;
		priority++;
		if (strcmp(cache->image + offset, names[i]) == 0)
			return priority;
	}
	return 0;
}

/* Entries for the capabilities of glibc 2.36 and older: only those of this processor, or, later,
   none (glibc elf/dl-cache.c:search_cache). */
static bool legacy_hwcap_fits(uint64_t hwcap, const struct fp_ldcache_rules *rules)
{
	static const char platforms[][9] = { "i586", "i686", "haswell", "xeon_phi" };
	uint64_t platform_mask = (uint64_t)0xf << PLATFORM_BIT, platform = ~(uint64_t)0;
	uint64_t usable = 2 | platform_mask | (uint64_t)1 << 63; /* x86_64, a platform, tls */

	if (!rules->legacy)
		return hwcap == 0;
	if (rules->avx512_1)
		usable |= 4;
	for (unsigned i = 2; i < 4; i++)
		if (strcmp(rules->platform, platforms[i]) == 0)
			platform = (uint64_t)1 << (PLATFORM_BIT + i);
	return (hwcap & ~usable) == 0 &&
	       ((hwcap & platform_mask) == 0 || (hwcap & platform_mask) == platform);
}

/* The best of the entries from FIRST on that have the name; LAST is the last one to look at. */
static const char *best_entry(const struct fp_ldcache *cache, size_t first, size_t last,
			      const char *name, const struct fp_ldcache_rules *rules)
{
	const char *best = NULL;
	unsigned best_priority = 0;

	for (size_t i = first; i <= last; i++) {
		struct new_entry entry = entry_at(cache, i);
		const char *key = string_at(cache, entry.key),
			   *value = string_at(cache, entry.value);
		unsigned priority;

		if (!key || compare_names(name, key) != 0)
			break;
		if (entry.flags != ENTRY_FLAGS || !value)
			continue;
		if (cache->is_new && has_named_hwcap(&entry)) {
			unsigned level = 1u << ((entry.hwcap >> 32) & 31);

			if ((level & rules->isa) != level)
				continue;
			priority = hwcap_priority(cache, (uint32_t)entry.hwcap, rules->isa);
			if (priority && (!best || priority < best_priority)) {
				best_priority = priority;
				best = value;
			}
			continue;
		}
		if (cache->is_new && best)
			break;
		if (cache->is_new && !legacy_hwcap_fits(entry.hwcap, rules))
			continue;
		return value;
	}
	return best;
}

/* glibc elf/dl-cache.c:search_cache. */
const char *fp_ldcache_find(const struct fp_ldcache *cache, const char *name,
			    const struct fp_ldcache_rules *rules)
{
	size_t low = 0, high = cache->count; /* among [low, high) */

	while (low < high) {
		size_t middle = low + (high - 1 - low) / 2;
		const char *key = string_at(cache, entry_at(cache, middle).key);
		int order;

		if (!key)
			return NULL;
		order = compare_names(name, key);
		if (order < 0) {
			low = middle + 1;
		} else if (order > 0) {
			high = middle;
		} else {
			while (middle > 0) {
				key = string_at(cache, entry_at(cache, middle - 1).key);
				if (!key || compare_names(name, key) != 0)
					break;
				middle--;
			}
			return best_entry(cache, middle, high - 1, name, rules);
		}
	}
	return NULL;
}
