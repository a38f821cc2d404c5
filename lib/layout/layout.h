/* layout.h - where fixed libraries go. */
#ifndef FP_LAYOUT_H
#define FP_LAYOUT_H

#include "../elf/object.h"

/* One library: what it needs, and where it is. */
struct fp_place {
	uint64_t room;      /* bytes that it keeps others from, as fp_layout_room gives them */
	uint64_t alignment; /* its base is a multiple of it; 0: of a page */
	fp_addr base;       /* the base that it has; 0: none yet */
	/* For conserve_memory: a bit for each program that loads it, program_words words.  Null: it may be
	   loaded by any. */
	const uint64_t *programs;
};

/* The room of a library whose segments span SIZE bytes and are aligned to ALIGNMENT: in whole pages, with what must be free
   behind them for the kernel and ld.so to give them the address they ask for. */
uint64_t fp_layout_room(uint64_t size, uint64_t alignment, uint64_t page_size);

struct fp_range {
	fp_addr start, end; /* end is the first address behind it */
};

struct fp_layout {
	fp_addr window_start, window_end;
	uint64_t page_size;
	fp_addr start; /* where new libraries go, if there is room above it; 0: the window's start */
	const struct fp_range
		*occupied; /* by libraries that are not among the places; in any order */
	size_t occupied_count;
	bool conserve_memory; /* places may overlap that no program loads both of */
	size_t program_words;
	bool random; /* everything gets a new base, above a start that depends on seed */
	uint64_t seed;
};

/* Gives every one of the COUNT places a base.  A place keeps the one it has, unless that is not aligned, outside of the
   window, or overlaps an occupied range or an earlier place that keeps its own.  The others follow in their order, which
   should be that in which ld.so maps, each behind the one before.  The same input gives the same bases.
   Returns 0, -ENOMEM, or -ENOSPC when one of them fits nowhere; PLACES are untouched then. */
int fp_layout_assign(const struct fp_layout *layout, struct fp_place *places, size_t count);

#endif
