/* snapshot.h - the file in which entry.c leaves a stopped process for compare.c. */
#ifndef ORACLE_SNAPSHOT_H
#define ORACLE_SNAPSHOT_H

#include <stdint.h>

/* A snapshot is: header; per object: its record, name, strings, segments (each followed by its bytes
   when SAVED), slots; then the memory maps, each followed by its name.  Nothing is aligned. */

#define SNAPSHOT_MAGIC 0x31706e73656c6361ull

struct snapshot_header {
	uint64_t magic;
	uint64_t stack_pointer; /* at the first instruction of ld.so */
	uint64_t thread_pointer;
	uint32_t object_count, map_count;
};

/* One entry of the link-map list.  Offsets within an object count from its ORIGIN: the program's load bias, or
   the address of a library's first segment, so that a library moved to another base compares equal. */
struct object_record {
	uint64_t origin, end; /* end: of the last segment, rounded to pages */
	uint64_t first;       /* address of the first segment, rounded down */
	uint64_t link_map;
	uint64_t linked; /* what the object's own headers call the address at origin */
	uint64_t dynamic, dynamic_size; /* offset from origin; bytes */
	uint64_t relro, relro_size;     /* likewise */
	uint32_t name_size, string_size, segment_count, slot_count;
};

struct segment_record {
	uint64_t offset, size; /* from origin; bytes in memory */
	uint32_t flags, saved;
};

enum { SLOT_GOT = 0xffff }; /* one of the first three words of DT_PLTGOT */

struct slot_record {
	uint64_t offset; /* from origin */
	uint32_t size;   /* bytes the relocation fills */
	uint32_t type;   /* R_X86_64_... or SLOT_GOT */
	uint32_t name;   /* in the object's strings; 0: no symbol */
};

struct map_record {
	uint64_t start, end, file_offset;
	char permissions[8];
	uint32_t name_size;
};

#endif
