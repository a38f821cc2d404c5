/* layout.c - where fixed libraries go.

   Theory of operation.  Libraries stand one behind the other, page by page: page tables cover densely what is used, and 136
   libraries 2 MiB apart would cost 0.4 MB of them in every process.  What a library needs free behind itself is part of
   its room (fp_layout_room), so rooms never overlap, whatever order a program maps them in.

   A base that a library has is kept, since programs hold addresses that depend on it.  Those that keep theirs are placed
   first; then each of the others goes into the first gap that is large enough behind the one placed before, so that bases
   ascend in the order in which ld.so maps.  When the window ends, any gap will do.

   What is taken is a list of ranges in order of address.  Ranges that touch become one, so the list has an
   entry for each gap, not for each library.  When memory is conserved, ranges that no program has both of may overlap; then
   they stay apart, and a new library goes into the first gap from the start. */
#include "layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Since Linux 6.7 a file mapping of 2 MiB and more gets the address asked for only if so much is free behind it too (mm/huge_memory.c:
   __thp_get_unmapped_area). */
enum { LARGE = 2 << 20 };

enum { MAX_DRAWS = 1000 };

uint64_t fp_layout_room(uint64_t size, uint64_t alignment, uint64_t page_size)
{
	/* For more than a page ld.so asks for so much more (glibc elf/dl-map-segments.h:_dl_map_segment). */
	if (alignment > page_size)
		size += alignment;
	if (size >= LARGE)
		size += LARGE;
	return (size + page_size - 1) / page_size * page_size;
}

/* What is taken.  Without programs: for everybody. */
struct taken {
	fp_addr start, end;
	const uint64_t *programs;
};

struct map {
	const struct fp_layout *layout;
	struct taken *list; /* by start; has room for all there will ever be */
	size_t count;
};

/* The number of ranges of MAP that start below ADDR. */
static size_t count_below(const struct map *map, fp_addr addr)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->list[middle].start < addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void take(struct map *map, fp_addr start, fp_addr end, const uint64_t *programs)
{
	size_t at = count_below(map, start);
	struct taken *list = map->list;

	if (!map->layout->conserve_memory) {
		if (at && list[at - 1].end >= start) {
			start = list[--at].start;
			end = end > list[at].end ? end : list[at].end;
		}
		while (at < map->count && list[at].start <= end) {
			end = end > list[at].end ? end : list[at].end;
			map->count--;
			memmove(&list[at], &list[at + 1], (map->count - at) * sizeof(*list));
		}
	}
	memmove(&list[at + 1], &list[at], (map->count - at) * sizeof(*list));
	list[at] = (struct taken){ start, end, programs };
	map->count++;
}

static bool may_meet(const struct map *map, const uint64_t *a, const uint64_t *b)
{
	if (!map->layout->conserve_memory || !a || !b)
		return true;
	for (size_t i = 0; i < map->layout->program_words; i++)
		if (a[i] & b[i])
			return true;
	return false;
}

/* The room of PLACE in whole pages; 0 when it exceeds every window. */
static uint64_t room(const struct map *map, const struct fp_place *place)
{
	uint64_t page = map->layout->page_size;

	return place->room > UINT64_MAX - page ? 0 : (place->room + page - 1) / page * page;
}

static uint64_t alignment(const struct map *map, const struct fp_place *place)
{
	uint64_t page = map->layout->page_size;

	return place->alignment > page ? place->alignment : page;
}

/* The first address from FROM on where PLACE fits; 0 when there is none. */
static fp_addr find_gap(const struct map *map, const struct fp_place *place, fp_addr from)
{
	fp_addr end = map->layout->window_end, at = from;
	uint64_t size = room(map, place), align = alignment(map, place);
	/* Ranges that do not overlap end in the order in which they start. */
	size_t i = map->layout->conserve_memory ? 0 : count_below(map, from);

	if (i)
		i--;
	for (;; i++) {
		uint64_t beyond = at % align;

		if (at >= end || (beyond && align - beyond >= end - at))
			return 0;
		if (beyond)
			at += align - beyond;
		if (!size || size > end - at)
			return 0;
		if (i == map->count || map->list[i].start >= at + size)
			return at;
		if (map->list[i].end > at && may_meet(map, place->programs, map->list[i].programs))
			at = map->list[i].end;
	}
}

static void take_occupied(struct map *map)
{
	const struct fp_layout *layout = map->layout;

	for (size_t i = 0; i < layout->occupied_count; i++) {
		fp_addr start = layout->occupied[i].start, end = layout->occupied[i].end;

		if (start < layout->window_start)
			start = layout->window_start;
		if (end > layout->window_end)
			end = layout->window_end;
		if (start < end)
			take(map, start, end, NULL);
	}
}

/* Writes into BASES those of PLACES, new ones from START on; places keep theirs if KEEP. */
static int assign(struct map *map, const struct fp_place *places, size_t count, fp_addr start,
		  bool keep, fp_addr *bases)
{
	const struct fp_layout *layout = map->layout;
	fp_addr next = start;

	for (size_t i = 0; i < count; i++) {
		fp_addr base = places[i].base;

		bases[i] = 0;
		if (!keep || base < layout->window_start || find_gap(map, &places[i], base) != base)
			continue;
		bases[i] = base;
		take(map, base, base + room(map, &places[i]), places[i].programs);
	}
	for (size_t i = 0; i < count; i++) {
		if (bases[i])
			continue;
		bases[i] = find_gap(map, &places[i], next);
		if (!bases[i])
			bases[i] = find_gap(map, &places[i], layout->window_start);
		if (!bases[i])
			return -ENOSPC;
		take(map, bases[i], bases[i] + room(map, &places[i]), places[i].programs);
		if (!layout->conserve_memory)
			next = bases[i] + room(map, &places[i]);
	}
	return 0;
}

/* Sebastiano Vigna's splitmix64. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A number below COUNT, each as likely as the others. */
static uint64_t random_below(uint64_t *state, uint64_t count)
{
	uint64_t surplus = -count % count, number;

	do
		number = next_random(state);
	while (number < surplus);
	return number % count;
}

static bool is_free(const struct map *map, fp_addr addr)
{
	size_t below = count_below(map, addr + 1);

	return !below || map->list[below - 1].end <= addr;
}

static void clear(struct map *map)
{
	map->count = 0;
	take_occupied(map);
}

/* The number of pages of the window that a start can be at, so that everything has room above it. */
static int count_starts(struct map *map, const struct fp_place *places, size_t count,
			fp_addr *bases, uint64_t *ret_count)
{
	const struct fp_layout *layout = map->layout;
	uint64_t page = layout->page_size, span = 0;
	uint64_t size = layout->window_end - layout->window_start;
	int error = assign(map, places, count, layout->window_start, false, bases);

	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		uint64_t end = bases[i] + room(map, &places[i]) - layout->window_start;

		span = end > span ? end : span;
	}
	/* Elsewhere there may be more to skip to an aligned address. */
	for (size_t i = 0; i < count; i++) {
		uint64_t more = alignment(map, &places[i]) - page;

		span += more < size - span ? more : size - span;
	}
	*ret_count = (size - span) / page + 1;
	return 0;
}

/* As assign, with everything at new bases above a random start, which is free. */
static int assign_random(struct map *map, const struct fp_place *places, size_t count,
			 fp_addr *bases)
{
	const struct fp_layout *layout = map->layout;
	uint64_t state = layout->seed, starts;
	fp_addr start = layout->window_start;
	int error = count_starts(map, places, count, bases, &starts);

	if (error)
		return error;
	clear(map);
	for (int draw = 0; draw < MAX_DRAWS; draw++) {
		start = layout->window_start + random_below(&state, starts) * layout->page_size;
		if (is_free(map, start))
			break;
	}
	error = assign(map, places, count, start, false, bases);
	if (error != -ENOSPC)
		return error;
	/* What is occupied leaves gaps of other sizes there. */
	clear(map);
	return assign(map, places, count, layout->window_start, false, bases);
}

static fp_addr first_start(const struct fp_layout *layout)
{
	uint64_t page = layout->page_size;

	if (layout->start <= layout->window_start || layout->start >= layout->window_end)
		return layout->window_start;
	return (layout->start + page - 1) / page * page;
}

int fp_layout_assign(const struct fp_layout *layout, struct fp_place *places, size_t count)
{
	struct map map = { .layout = layout };
	fp_addr *bases = calloc(count + 1, sizeof(*bases));
	int error = -ENOMEM;

	map.list = calloc(count + layout->occupied_count + 1, sizeof(*map.list));
	if (bases && map.list && layout->random) {
		/* The first try is for its size alone, so that nothing is in its way. */
		error = assign_random(&map, places, count, bases);
	} else if (bases && map.list) {
		take_occupied(&map);
		error = assign(&map, places, count, first_start(layout), true, bases);
	}
	for (size_t i = 0; i < count && !error; i++)
		places[i].base = bases[i];
	free(map.list);
	free(bases);
	return error;
}
