/* abi.h - the on-disk format and the contract between rewriter, stub and runtime.
   SPDX-License-Identifier: 0BSD

   A prelinked program holds one table, at the start of the PT_LOAD segment whose flags are FP_SEGMENT_FLAGS.
   All numbers are in the machine's byte order (little endian on every machine supported), all
   offsets count from the table's start.  doc/format.md explains the format; this header defines it. */
#ifndef FASTPRELINK_ABI_H
#define FASTPRELINK_ABI_H

#include <stdint.h>

/* p_flags of the segment that starts with the table: PF_R and a mark in PF_MASKOS, the bits that gABI leaves to operating
   systems and that kernel and loader do not look at. */
#define FP_SEGMENT_FLAGS 0x04600004u

/* "FPRELINK" in memory. */
#define FP_TABLE_MAGIC   0x4b4e494c45525046ull
#define FP_TABLE_VERSION 2u

/* The runtime image starts with this word ("FPRUNTIM" in memory), the offset of its entry point and its size in bytes; its last
   word is fp_runtime_checksum of all words before it. */
#define FP_RUNTIME_MAGIC 0x4d49544e55525046ull

/* Limits that let the runtime keep its working memory on the stack. */
enum {
	FP_MAX_OBJECTS = 2048,
	FP_MAX_TARGETS = 250, /* objects that one holder's words lead to */
	FP_MAX_IFUNCS = 1024,
	FP_MAX_RUNTIME_SIZE = 16 * 1024,
};

struct fp_table {
	uint64_t magic;
	uint32_t version;
	uint32_t size;     /* of the whole table in bytes, a multiple of 8 */
	uint64_t checksum; /* fp_checksum of everything behind this field */
	uint64_t head; /* fp_checksum of what is behind this field up to the end of the objects */
	uint32_t object_count; /* link-map entries without the vDSO; [0] is the program */
	uint32_t carrier;      /* index of the object that holds the stub */
	uint32_t loader;       /* index of the program interpreter */
	uint32_t objects;      /* offset of struct fp_table_object[object_count] */
	uint32_t ifuncs;       /* offset of struct fp_table_ifunc[ifunc_count] */
	uint32_t ifunc_count;
	uint32_t fills; /* offset of struct fp_table_fill[fill_count] */
	uint32_t fill_count;
	uint64_t word_count; /* words that ld.so does not fill, for reports */
};

/* Position of an entry in the dynamic section that the runtime changes; none: the object has no such entry. */
enum { FP_NO_ENTRY = 0xffff };

enum {
	FP_OBJECT_FILL = 1, /* the runtime fills its words and cuts its relocation tables down */
	FP_OBJECT_BIND_NOW = 2, /* with FILL: those of DT_JMPREL too */
	FP_OBJECT_FIXED = 4, /* its load bias must be 0: words of others hold addresses in it */
	FP_OBJECT_ROWS = 8,  /* with FILL and FIXED: its file holds its words, but for those in rows */
	FP_OBJECT_NO_LAZY = 16, /* with ROWS: DT_JMPREL needs ld.so only under LD_BIND_NOW */
};

/* One object as it must be found at start, and, with FP_OBJECT_FILL, what to do with it. */
struct fp_table_object {
	uint64_t shape;    /* fp_shape of its dynamic section */
	uint64_t identity; /* fp_identity of the bytes at identity_start */
	uint64_t base;     /* page of the first PT_LOAD: the object's map starts at l_addr + base */
	uint64_t dynamic;  /* address of the dynamic section: l_ld is l_addr + dynamic */
	/* Address of the build id, or of the first segment without the ELF header. */
	uint64_t identity_start;
	uint32_t identity_size;
	uint32_t dynamic_count; /* entries before DT_NULL */
	uint32_t flags;         /* FP_OBJECT_* */

	/* What follows is for FP_OBJECT_FILL. */
	uint32_t relative_count; /* leading entries of rela */
	uint64_t rela, jmprel, relr;
	uint32_t rela_count, jmprel_count, relr_count;

	/* Symbol runs: maximal sequences of word relocations with one fp_reference, in table order, counted anew in
	   jmprel.  Each has a value (uint32_t, from the target's map start) and a target (uint8_t code). */
	uint32_t run_count;
	/* With FP_OBJECT_ROWS every run is a row, for one word: offset of uint32_t[run_count], the words from the map's
	   start. */
	uint32_t slots;
	uint32_t values, targets; /* offsets of uint32_t[run_count], uint8_t[run_count] */
	uint32_t
		target_list; /* offset of uint16_t[target_count]: object of code FP_TARGET_FIRST + i */
	uint32_t target_count;

	/* The leading relative relocations once more, encoded as DT_RELR: used instead of them when
	   the count is not zero. */
	uint32_t relative; /* offset of uint64_t[relative_words] */
	uint32_t relative_words;

	uint32_t residual; /* offset of Elf64_Rela[residual_count], what ld.so still has to do */
	uint32_t residual_count;
	uint16_t rela_entry, relasz_entry, relacount_entry, pltrelsz_entry, relrsz_entry;
	uint16_t reserved;
};

/* Target codes of a run. */
enum {
	FP_TARGET_RESIDUAL = 0, /* ld.so does it; the value is unused */
	FP_TARGET_IFUNC = 1,    /* the value is an index of ifuncs */
	FP_TARGET_ABSOLUTE = 2, /* the value is the word */
	FP_TARGET_FIRST = 3,    /* first of target_list */
};

/* An IFUNC symbol whose resolver the runtime calls: only in objects that are relocated by then. */
struct fp_table_ifunc {
	uint32_t object;
	uint32_t value; /* resolver, from the object's map start */
};

/* A range of pages that will be written, in a floating object nearly everywhere, and is worth preparing in one go. */
struct fp_table_fill {
	uint32_t object;
	uint32_t page_count; /* of 4096 bytes */
	uint64_t start;      /* address, page-aligned */
	uint64_t
		file_offset; /* of the same bytes in the object's file; FP_NOT_REPLACEABLE: do not read it anew */
};

#define FP_NOT_REPLACEABLE UINT64_MAX

/* Why the runtime left a start to ld.so; FASTPRELINK_DEBUG=1 prints the number. */
enum fp_decline {
	FP_ACCELERATED = 0,
	FP_DECLINE_DISABLED = 1,   /* FASTPRELINK=0 */
	FP_DECLINE_NOT_STARTING,   /* _r_debug.r_state is not RT_ADD: a later dlopen or dlmopen */
	FP_DECLINE_NO_DEBUG,       /* the program's DT_DEBUG does not lead to a link map */
	FP_DECLINE_LOADER_COMMAND, /* started as "ld.so program" */
	FP_DECLINE_SECURE,         /* AT_SECURE */
	FP_DECLINE_ENVIRONMENT,    /* a variable that changes how ld.so resolves */
	FP_DECLINE_FORMAT,         /* a table of a version this runtime does not know */
	FP_DECLINE_OBJECT_COUNT,   /* other objects are loaded than were prelinked */
	FP_DECLINE_OBJECT_DIFFERS, /* an object is not the recorded file */
	FP_DECLINE_CARRIER,        /* the stub that called is not the recorded carrier's */
	FP_DECLINE_CHECKSUM,       /* the table is damaged */
	FP_DECLINE_DISPLACED,      /* a fixed object is not at its address */
	FP_DECLINE_COUNT
};

/* The runtime's entry point as the stub calls it: the auxiliary vector, the environment and where the stub runs. */
typedef void fp_runtime_entry(const uint64_t *auxv, char **envp, const void *stub);

/* What the words of one run have in common: the symbol of relocation INFO (r_info), and whether it is looked up as a
   function to be called. */
static inline uint64_t fp_reference(uint64_t info, int is_jump_slot)
{
	return (info >> 32) << 1 | (uint64_t)(is_jump_slot != 0);
}

/* One step of the checksum that table, runtime image and identities share: 64-bit words, order counts. */
static inline uint64_t fp_mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 29);
}

/* Checksum of COUNT words. Four lanes, so that it runs at memory speed. */
static inline uint64_t fp_checksum(const uint64_t *words, uint64_t count)
{
	uint64_t lane0 = 1, lane1 = 2, lane2 = 3, lane3 = 4, i = 0;

	for (; i + 4 <= count; i += 4) {
		lane0 = fp_mix(lane0, words[i]);
		lane1 = fp_mix(lane1, words[i + 1]);
		lane2 = fp_mix(lane2, words[i + 2]);
		lane3 = fp_mix(lane3, words[i + 3]);
	}
	for (; i < count; i++)
		lane0 = fp_mix(lane0, words[i]);
	return fp_mix(fp_mix(fp_mix(lane0, lane1), lane2), lane3);
}

/* What fp_table.checksum and fp_table.head must be.  The head must lie inside the table. */
static inline uint64_t fp_table_checksum(const struct fp_table *table)
{
	return fp_checksum((const uint64_t *)table + 3, table->size / 8 - 3);
}

static inline uint64_t fp_table_head(const struct fp_table *table)
{
	uint64_t end =
		table->objects + (uint64_t)table->object_count * sizeof(struct fp_table_object);

	return fp_checksum((const uint64_t *)table + 4, end / 8 - 4);
}

/* Checksum of COUNT words of a runtime image, simple enough for the stub. */
static inline uint64_t fp_runtime_checksum(const uint64_t *words, uint64_t count)
{
	uint64_t hash = FP_RUNTIME_MAGIC;

	for (uint64_t i = 0; i < count; i++)
		hash = fp_mix(hash, words[i]);
	return hash;
}

#endif
