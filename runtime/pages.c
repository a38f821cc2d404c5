/* pages.c - prepares ranges of pages that are about to be written.
   SPDX-License-Identifier: 0BSD

   Every page of a private file mapping costs a page fault and a copy when it is first written.  One system call does
   that for a whole range at a fraction of the cost; the huge pages in a large range are cheaper still as anonymous
   memory, filled from the file.  But where huge pages are scarce the kernel moves memory around to make one, which takes
   longer than all the rest; so they are used only where plenty are free.  All of it is optional: where a call fails the
   pages are simply written. */
#include "rt.h"

enum {
	PAGE = 4096,
	HUGE_PAGE = 2 * 1024 * 1024,
	MIN_TOTAL = 128,            /* pages: fewer are not worth looking at /proc */
	HUGE_ORDER = 9,             /* a huge page is 2^9 pages */
	MIN_FREE = 256,             /* huge pages that must be free for some to be taken */
	READ_WRITE = 3,             /* PROT_READ | PROT_WRITE */
	PRIVATE_ANONYMOUS = 0x22,   /* MAP_PRIVATE | MAP_ANONYMOUS */
	MOVE_FIXED = 3,             /* MREMAP_MAYMOVE | MREMAP_FIXED */
	ADVICE_HUGE_PAGE = 14,      /* MADV_HUGEPAGE */
	ADVICE_POPULATE_WRITE = 23, /* MADV_POPULATE_WRITE, Linux 5.14 */
	CURRENT_DIRECTORY = -100,   /* AT_FDCWD */
	READ_CLOEXEC = 0x80000,     /* O_RDONLY | O_CLOEXEC */
};

/* The stack may be small, so files are read a little at a time. */
enum { CHUNK = 512 };

struct text {
	long file, at, size;
	char chunk[CHUNK];
};

static long open_file(const char *path)
{
	return system_call(CALL_OPENAT, CURRENT_DIRECTORY, (long)path, READ_CLOEXEC, 0, 0, 0);
}

static void close_file(long file)
{
	system_call(CALL_CLOSE, file, 0, 0, 0, 0, 0);
}

/* The next character, 0 at the end. */
static char next_character(struct text *text)
{
	if (text->at == text->size) {
		text->at = 0;
		text->size = system_call(CALL_READ, text->file, (long)text->chunk, CHUNK, 0, 0, 0);
		if (text->size <= 0) {
			text->size = 0;
			return 0;
		}
	}
	return text->chunk[text->at++];
}

/* ld.so itself does not call madvise or mremap, so a seccomp filter may kill a process that does: they are used only
   where the kernel says that there is no filter. */
static int is_unfiltered(void)
{
	static const char wanted[] = "\nSeccomp:\t0\n";
	struct text text = { .file = open_file("/proc/self/status") };
	unsigned matched = 0;
	char c;

	if (text.file < 0)
		return 0;
	/* Only the first character of what is wanted can start it anew. */
	while (wanted[matched] && (c = next_character(&text)) != 0)
		matched = c == wanted[matched] ? matched + 1 : c == wanted[0];
	close_file(text.file);
	return !wanted[matched];
}

/* How many huge pages are free, by /proc/buddyinfo: for each zone of memory a line "Node 0, zone Normal" and the numbers of
   free blocks of 1, 2, 4, ... pages. */
static uint64_t free_huge_pages(void)
{
	struct text text = { .file = open_file("/proc/buddyinfo") };
	uint64_t total = 0, number = 0;
	unsigned order = 0;
	char c, before = 0;
	int in_number = 0;

	if (text.file < 0)
		return 0;
	do {
		c = next_character(&text);
		if (c >= '0' && c <= '9' && (in_number || before == ' ')) {
			number = number * 10 + (uint64_t)(c - '0');
			in_number = 1;
		} else if (in_number) {
			if (order >= HUGE_ORDER)
				total += number << (order - HUGE_ORDER);
			order++;
			number = 0;
			in_number = 0;
		}
		if (c == ',')
			order = 0;
		before = c;
	} while (c);
	close_file(text.file);
	return total;
}

/* Opens the file that OBJECT was mapped from; negative when it is another one by now: then its first page, with
   headers and build id, differs from the mapped one. */
static long open_mapped(const struct fp_table_object *object, const struct link_map *map)
{
	uint64_t chunk[CHUNK / 8];
	const uint64_t *mapped = (const uint64_t *)(map->l_addr + object->base);
	long file = open_file(map->l_name);
	unsigned same = 0;

	if (file < 0)
		return file;
	while (same < PAGE / 8 &&
	       system_call(CALL_READ, file, (long)chunk, CHUNK, 0, 0, 0) == CHUNK) {
		unsigned i = 0;

		while (i < CHUNK / 8 && chunk[i] == mapped[same + i])
			i++;
		if (i < CHUNK / 8)
			break;
		same += i;
	}
	if (same == PAGE / 8)
		return file;
	close_file(file);
	return -1;
}

/* Replaces SIZE bytes at START, whole huge pages, by anonymous memory with the same contents.  The new memory is complete
   before the mapping of the file goes away, and stands in huge pages too, so that these move as they are. */
static int replace_range(const struct fp_table_object *object, const struct link_map *map,
			 uint64_t start, uint64_t size, uint64_t offset)
{
	long file = open_mapped(object, map), area, copy, moved = -1;

	if (file < 0)
		return 0;
	area = system_call(CALL_MMAP, 0, (long)(size + HUGE_PAGE), READ_WRITE, PRIVATE_ANONYMOUS,
			   -1, 0);
	if (area > 0) {
		copy = (area + HUGE_PAGE - 1) & -(long)HUGE_PAGE;
		system_call(CALL_MADVISE, copy, (long)size, ADVICE_HUGE_PAGE, 0, 0, 0);
		if (system_call(CALL_PREAD, file, copy, (long)size, (long)offset, 0, 0) ==
		    (long)size)
			moved = system_call(CALL_MREMAP, copy, (long)size, (long)size, MOVE_FIXED,
					    (long)start, 0);
		system_call(CALL_MUNMAP, area, (long)(size + HUGE_PAGE), 0, 0, 0, 0);
	}
	close_file(file);
	return moved == (long)start;
}

static int populate(uint64_t start, uint64_t end)
{
	return start == end || system_call(CALL_MADVISE, (long)start, (long)(end - start),
					   ADVICE_POPULATE_WRITE, 0, 0, 0) == 0;
}

/* Prepares one range; 0 when the kernel does not know how. */
static int prepare_range(const struct fp_table_object *object, const struct link_map *map,
			 const struct fp_table_fill *fill, int replace)
{
	uint64_t start = map->l_addr + fill->start, end = start + (uint64_t)fill->page_count * PAGE;
	uint64_t huge_start = (start + HUGE_PAGE - 1) & -(uint64_t)HUGE_PAGE;
	uint64_t huge_end = end & -(uint64_t)HUGE_PAGE;

	if (replace && fill->file_offset != FP_NOT_REPLACEABLE && huge_start < huge_end &&
	    replace_range(object, map, huge_start, huge_end - huge_start,
			  fill->file_offset + (huge_start - start)))
		return populate(start, huge_start) && populate(huge_end, end);
	return populate(start, end);
}

void prepare_pages(const struct fp_table *table, const struct link_map *const *maps)
{
	const struct fp_table_fill *fills =
		(const struct fp_table_fill *)((const char *)table + table->fills);
	const struct fp_table_object *objects = table_objects(table);
	uint64_t total = 0, largest = 0;
	int replace;

	for (uint32_t i = 0; i < table->fill_count; i++) {
		uint64_t size = (uint64_t)fills[i].page_count * PAGE;

		total += fills[i].page_count;
		if (fills[i].file_offset != FP_NOT_REPLACEABLE && size > largest)
			largest = size;
	}
	if (total < MIN_TOTAL || !is_unfiltered())
		return;
	replace = largest >= HUGE_PAGE && free_huge_pages() >= MIN_FREE;
	for (uint32_t i = 0; i < table->fill_count; i++)
		if (!prepare_range(&objects[fills[i].object], maps[fills[i].object], &fills[i],
				   replace))
			return;
}
