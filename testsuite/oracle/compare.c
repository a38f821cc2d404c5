/* compare.c - compares two snapshots that entry.c made of one program.

   usage: compare [--relocated] PLAIN OTHER [NOW]

   The slots are those of PLAIN, the run under plain ld.so.  Two words are equal when they are the same number, or lie at
   the same offset of the same object, link map, stack or thread block.  --relocated: no constructor has run yet, so also
   every other word of every writable segment (except the dynamic sections) must be equal, and the same amount of
   memory be mapped.  NOW is a run under plain ld.so with LD_BIND_NOW=1: a PLT slot may also hold what it holds there.  Prints one line per difference; then counts.  Exit status 0: equal, 1: not. */
#include <elf.h>
#include <errno.h>
#include <error.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

enum { PAGE = 4096, SHOWN = 50 };

struct segment {
	struct segment_record record;
	const unsigned char *bytes;
};

struct object {
	struct object_record record;
	char *name;
	const char *strings;
	struct segment *segments;
	const unsigned char *slots;
};

struct map {
	struct map_record record;
	char *name;
};

struct snapshot {
	struct snapshot_header header;
	struct object *objects;
	struct map *maps;
};

static struct snapshot plain, other, now;
static bool relocated;
static unsigned long differences, words, anonymous;

static const unsigned char *take(const unsigned char **from, void *to, size_t size)
{
	const unsigned char *bytes = *from;
	if (to)
		memcpy(to, bytes, size);
	*from += size;
	return bytes;
}

static void snapshot_load(const char *path, struct snapshot *snapshot)
{
	FILE *stream = fopen(path, "r");
	if (stream == NULL || fseek(stream, 0, SEEK_END) < 0)
		error(2, errno, "%s", path);
	size_t size = (size_t)ftell(stream);
	unsigned char *bytes = malloc(size + 1);
	rewind(stream);
	if (fread(bytes, 1, size, stream) != size)
		error(2, errno, "%s", path);
	fclose(stream);
	const unsigned char *from = bytes;
	take(&from, &snapshot->header, sizeof(snapshot->header));
	if (snapshot->header.magic != SNAPSHOT_MAGIC)
		error(2, 0, "%s: not a snapshot", path);
	snapshot->objects = calloc(snapshot->header.object_count, sizeof(*snapshot->objects));
	snapshot->maps = calloc(snapshot->header.map_count, sizeof(*snapshot->maps));
	for (uint32_t i = 0; i < snapshot->header.object_count; i++) {
		struct object *object = &snapshot->objects[i];
		take(&from, &object->record, sizeof(object->record));
		object->name = strndup((const char *)from, object->record.name_size);
		take(&from, NULL, object->record.name_size);
		object->strings = (const char *)take(&from, NULL, object->record.string_size);
		object->segments = calloc(object->record.segment_count + 1, sizeof(struct segment));
		for (uint32_t k = 0; k < object->record.segment_count; k++) {
			struct segment *segment = &object->segments[k];
			take(&from, &segment->record, sizeof(segment->record));
			if (segment->record.saved)
				segment->bytes = take(&from, NULL, segment->record.size);
		}
		object->slots =
			take(&from, NULL, object->record.slot_count * sizeof(struct slot_record));
	}
	for (uint32_t i = 0; i < snapshot->header.map_count; i++) {
		struct map *map = &snapshot->maps[i];
		take(&from, &map->record, sizeof(map->record));
		map->name = strndup((const char *)from, map->record.name_size);
		take(&from, NULL, map->record.name_size);
	}
}

static const char *label(uint32_t index)
{
	return plain.objects[index].name[0] ? plain.objects[index].name : "program";
}

static void differ(const char *where, uint64_t offset, const char *what, const char *detail)
{
	if (differences++ < SHOWN)
		printf("%s+%#lx: %s%s%s\n", where, offset, what, *detail ? ": " : "", detail);
}

static const struct map *map_at(const struct snapshot *snapshot, uint64_t address)
{
	for (uint32_t i = 0; i < snapshot->header.map_count; i++)
		if (address >= snapshot->maps[i].record.start &&
		    address < snapshot->maps[i].record.end)
			return &snapshot->maps[i];
	return NULL;
}

/* Writes to TEXT what ADDRESS means in SNAPSHOT. */
static const char *describe(const struct snapshot *snapshot, uint64_t address, char text[4200])
{
	for (uint32_t i = 0; i < snapshot->header.object_count; i++) {
		const struct object *object = &snapshot->objects[i];
		if (address >= object->record.first && address < object->record.end) {
			snprintf(text, 4200, "%s+%#lx", object->name[0] ? object->name : "program",
				 address - object->record.origin);
			return text;
		}
	}
	const struct map *map = map_at(snapshot, address);
	snprintf(text, 4200, "%#lx%s%s", address, map ? " in " : "",
		 map ? map->name[0] ? map->name : "anonymous memory" : "");
	return text;
}

static bool in_object(const struct snapshot *snapshot, uint64_t address)
{
	for (uint32_t i = 0; i < snapshot->header.object_count; i++)
		if (address >= snapshot->objects[i].record.first &&
		    address < snapshot->objects[i].record.end)
			return true;
	return false;
}

/* Whether A and B, outside of everything, lie as far from one object each: a symbol with a large addend. */
static bool equally_far(const struct snapshot *expected, uint64_t a, uint64_t b)
{
	for (uint32_t i = 0; i < expected->header.object_count; i++)
		if (a - expected->objects[i].record.origin == b - other.objects[i].record.origin)
			return true;
	return false;
}

/* Whether A in the plain process EXPECTED means what B means in the other.  LENIENT: two addresses of anonymous memory are
   equal, for words that constructors may have written. */
static bool same(const struct snapshot *expected, uint64_t a, uint64_t b, bool lenient)
{
	bool inside = false;
	for (uint32_t i = 0; i < expected->header.object_count; i++) {
		const struct object_record *p = &expected->objects[i].record,
					   *o = &other.objects[i].record;
		if (a == p->link_map && b == o->link_map)
			return true;
		if (a < p->first || a > p->end) /* one past the end belongs to it too */
			continue;
		if (a - p->origin == b - o->origin)
			return true;
		inside = inside || a < p->end;
	}
	if (inside)
		return false;
	const struct map *pm = map_at(expected, a), *om = map_at(&other, b);
	if (pm == NULL || om == NULL)
		return (a == b && pm == om) || equally_far(expected, a, b);
	if (strcmp(pm->name, "[stack]") == 0 || strcmp(pm->name, "[vdso]") == 0)
		return strcmp(pm->name, om->name) == 0 &&
		       (lenient ||
			a - expected->header.stack_pointer == b - other.header.stack_pointer ||
			a - pm->record.start == b - om->record.start);
	if (a - expected->header.thread_pointer == b - other.header.thread_pointer)
		return true;
	if (in_object(&other, b))
		return false;
	anonymous++;
	return lenient;
}

/* Whether A and B are both the address of the dynamic section of object INDEX as its headers give it.  The first word of the
   GOT holds that; no relocation changes it. */
static bool same_link_address(uint32_t index, uint64_t a, uint64_t b)
{
	const struct object_record *p = &plain.objects[index].record,
				   *o = &other.objects[index].record;
	return a == p->linked + p->dynamic && b == o->linked + o->dynamic;
}

static const unsigned char *bytes_at(const struct object *object, uint64_t offset, uint64_t size)
{
	for (uint32_t i = 0; i < object->record.segment_count; i++) {
		const struct segment *segment = &object->segments[i];
		uint64_t start = segment->record.offset;
		if (segment->bytes && offset >= start &&
		    offset + size <= start + segment->record.size)
			return segment->bytes + (offset - start);
	}
	return NULL;
}

static uint64_t word_get(const unsigned char *bytes, unsigned size)
{
	uint64_t word = 0;
	memcpy(&word, bytes, size);
	return word;
}

static void word_differs(uint32_t index, uint64_t offset, uint64_t a, uint64_t b,
			 const char *symbol, uint32_t type)
{
	char detail[9000], plain_text[4200], other_text[4200];
	snprintf(detail, sizeof(detail), "type %u %s: plain %s, now %s", type, symbol,
		 describe(&plain, a, plain_text), describe(&other, b, other_text));
	differ(label(index), offset, "word", detail);
}

/* Whether SLOT of object INDEX is a PLT slot and VALUE what NOW, if there is one, holds in it. */
static bool is_bound(uint32_t index, const struct slot_record *slot, uint64_t value)
{
	if (slot->type != R_X86_64_JUMP_SLOT || now.objects == NULL)
		return false;
	const unsigned char *bound = bytes_at(&now.objects[index], slot->offset, slot->size);
	return bound && same(&now, word_get(bound, slot->size), value, false);
}

/* Compares the slots of object INDEX; MARKS gets one byte per word of its address range. */
static void slots_compare(uint32_t index, unsigned char *marks)
{
	const struct object *p = &plain.objects[index], *o = &other.objects[index];
	for (uint32_t i = 0; i < p->record.slot_count; i++) {
		struct slot_record slot;
		memcpy(&slot, p->slots + i * sizeof(slot), sizeof(slot));
		const unsigned char *a = bytes_at(p, slot.offset, slot.size);
		const unsigned char *b = bytes_at(o, slot.offset, slot.size);
		if (a == NULL || b == NULL) {
			differ(label(index), slot.offset, "a slot outside the writable segments",
			       "");
			continue;
		}
		uint64_t bias_a = 0, bias_b = 0;
		if (slot.type == R_X86_64_PC32 || slot.type == R_X86_64_PC64) {
			bias_a = p->record.origin + slot.offset;
			bias_b = o->record.origin + slot.offset;
		}
		for (uint32_t done = 0; done < slot.size; done += 8) {
			unsigned size = slot.size - done < 8 ? slot.size - done : 8;
			uint64_t x = word_get(a + done, size), y = word_get(b + done, size);
			if (bias_a && size == 4) {
				x = (uint64_t)(int64_t)(int32_t)x;
				y = (uint64_t)(int64_t)(int32_t)y;
			}
			words++;
			if (slot.type == SLOT_GOT && same_link_address(index, x, y))
				continue;
			if (!same(&plain, x + bias_a, y + bias_b,
				  !relocated || slot.type == R_X86_64_TLSDESC) &&
			    !is_bound(index, &slot, y))
				word_differs(index, slot.offset + done, x + bias_a, y + bias_b,
					     slot.name ? p->strings + slot.name : "", slot.type);
		}
		uint64_t start = slot.offset + p->record.origin - p->record.first;
		for (uint64_t at = start / 8; at <= (start + slot.size - 1) / 8; at++)
			marks[at] = 1;
	}
}

/* Whether A and B may be malloc's tcache_key, the one number that libc draws before constructors run (since glibc 2.43,
   elf/libc_early_init.c). */
static bool is_random(uint64_t a, uint64_t b)
{
	static bool seen;
	if (seen || a >> 48 == 0 || b >> 48 == 0)
		return false;
	seen = true;
	return true;
}

/* Compares the words of object INDEX that no relocation fills: nobody else may have written them. */
static void rest_compare(uint32_t index, const unsigned char *marks, bool lenient)
{
	const struct object *p = &plain.objects[index], *o = &other.objects[index];
	for (uint32_t i = 0; i < p->record.segment_count; i++) {
		const struct segment *segment = &p->segments[i];
		if (segment->bytes == NULL || !(segment->record.flags & PF_W))
			continue;
		uint64_t offset = segment->record.offset + (-segment->record.offset & 7);
		for (; offset + 8 <= segment->record.offset + segment->record.size; offset += 8) {
			uint64_t at = offset + p->record.origin - p->record.first;
			if (marks[at / 8] || offset - p->record.dynamic < p->record.dynamic_size)
				continue;
			const unsigned char *b = bytes_at(o, offset, 8);
			uint64_t x = word_get(bytes_at(p, offset, 8), 8),
				 y = b ? word_get(b, 8) : ~x;
			if (x != y && !same_link_address(index, x, y) &&
			    !same(&plain, x, y, lenient) && !(lenient && is_random(x, y)))
				word_differs(index, offset, x, y, "(not relocated)", 0);
		}
	}
}

static void pages_compare(uint32_t index)
{
	const struct object_record *p = &plain.objects[index].record,
				   *o = &other.objects[index].record;
	for (uint32_t i = 0; i < p->segment_count; i++) {
		const struct segment_record *segment = &plain.objects[index].segments[i].record;
		uint64_t start = (p->origin + segment->offset) & -(uint64_t)PAGE;
		for (uint64_t at = start; at < p->origin + segment->offset + segment->size;
		     at += PAGE) {
			const struct map *a = map_at(&plain, at);
			const struct map *b = map_at(&other, at - p->origin + o->origin);
			char detail[64];
			snprintf(detail, sizeof(detail), "plain %s, now %s",
				 a ? a->record.permissions : "none",
				 b ? b->record.permissions : "none");
			if (!a || !b || strcmp(a->record.permissions, b->record.permissions) != 0)
				differ(label(index), at - p->origin, "page permissions", detail);
		}
	}
	uint64_t end = (p->relro + p->relro_size) & -(uint64_t)PAGE;
	for (uint64_t at = p->relro & -(uint64_t)PAGE; at < end; at += PAGE) {
		const struct map *b = map_at(&other, at + o->origin);
		if (b && b->record.permissions[1] == 'w')
			differ(label(index), at, "RELRO page is writable", "");
	}
}

/* Bytes of anonymous memory outside every object, heap and stack. */
static uint64_t anonymous_size(const struct snapshot *snapshot)
{
	uint64_t size = 0;
	for (uint32_t i = 0; i < snapshot->header.map_count; i++) {
		const struct map *map = &snapshot->maps[i];
		for (uint64_t at = map->record.start; !map->name[0] && at < map->record.end;
		     at += PAGE)
			size += in_object(snapshot, at) ? 0 : PAGE;
	}
	return size;
}

/* Whether the program's segments have pages between them that belong to none. */
static bool program_has_holes(const struct snapshot *snapshot)
{
	const struct object *program = &snapshot->objects[0];
	uint64_t end = 0;
	for (uint32_t i = 0; i < program->record.segment_count; i++) {
		const struct segment_record *segment = &program->segments[i].record;
		if (i > 0 && (segment->offset & -(uint64_t)PAGE) > end)
			return true;
		end = (segment->offset + segment->size + PAGE - 1) & -(uint64_t)PAGE;
	}
	return false;
}

static void maps_compare(void)
{
	for (uint32_t i = 0; i < other.header.map_count; i++) {
		const struct map *map = &other.maps[i];
		bool known = map->name[0] == '\0' && (map->record.permissions[2] != 'x' ||
						      in_object(&other, map->record.start));
		known = known || strcmp(map->name, "[heap]") == 0;
		for (uint32_t k = 0; k < plain.header.map_count && !known; k++)
			known = strcmp(plain.maps[k].name, map->name) == 0 &&
				(map->name[0] || plain.maps[k].record.permissions[2] == 'x');
		if (!known)
			differ(map->name[0] ? map->name : "anonymous", map->record.start,
			       "a mapping that the plain process has not", map->record.permissions);
	}
	uint64_t a = anonymous_size(&plain), b = anonymous_size(&other);
	char detail[64];
	snprintf(detail, sizeof(detail), "plain %lu, now %lu bytes", a, b);
	/* Of a program with holes ld.so allocates an entry for each segment (glibc elf/dl-find_object.c:
	   _dlfo_process_initial), and the table is one more; ld.so gets memory by two pages. */
	uint64_t more = program_has_holes(&plain) ? 2 * PAGE : 0;
	if (relocated && a != b && b != a + more)
		differ("anonymous", 0, "another amount of memory outside the objects", detail);
}

static bool name_ends(const char *name, const char *end)
{
	size_t size = strlen(name), tail = strlen(end);
	return size >= tail && strcmp(name + size - tail, end) == 0;
}

int main(int argc, char **argv)
{
	relocated = argc > 1 && strcmp(argv[1], "--relocated") == 0;
	char **files = argv + 1 + relocated;
	int count = argc - 1 - relocated;
	if (count != 2 && count != 3)
		error(2, 0, "usage: compare [--relocated] PLAIN OTHER [NOW]");
	snapshot_load(files[0], &plain);
	snapshot_load(files[1], &other);
	if (count == 3)
		snapshot_load(files[2], &now);
	if (count == 3 && now.header.object_count != plain.header.object_count)
		error(2, 0, "%s: other objects", files[2]);
	if (plain.header.object_count != other.header.object_count) {
		printf("plain has %u objects, now %u\n", plain.header.object_count,
		       other.header.object_count);
		return 1;
	}
	for (uint32_t i = 0; i < plain.header.object_count; i++)
		if (strcmp(plain.objects[i].name, other.objects[i].name) != 0)
			differ(plain.objects[i].name, 0, "another object", other.objects[i].name);
	if (differences)
		return 1;
	for (uint32_t i = 0; i < plain.header.object_count; i++) {
		const struct object_record *record = &plain.objects[i].record;
		unsigned char *marks = calloc((record->end - record->first) / 8 + 1, 1);
		bool loader = name_ends(record->name_size ? plain.objects[i].name : "",
					"/ld-linux-x86-64.so.2");
		slots_compare(i, marks);
		if (relocated && !loader)
			rest_compare(i, marks, name_ends(plain.objects[i].name, "/libc.so.6"));
		free(marks);
	}
	for (uint32_t i = 0; i < plain.header.object_count; i++)
		pages_compare(i);
	maps_compare();
	if (differences > SHOWN)
		printf("... and %lu more\n", differences - SHOWN);
	printf("%u objects, %lu words, %lu anonymous, %lu differences\n", plain.header.object_count,
	       words, anonymous, differences);
	return differences != 0;
}
