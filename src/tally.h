/* tally.h - what a run has done, counted. */
#ifndef FP_TALLY_H
#define FP_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "system/run.h"

enum { TALLY_HEAVIEST = 3 };

struct tally {
	size_t done, unchanged, skipped; /* files */
	size_t failed;                   /* of those skipped: something went wrong */
	size_t accelerated;              /* of done and unchanged: programs with a carrier */
	size_t unaccelerated;            /* and without */
	size_t fixed, floating, placed;  /* libraries; of them: written now */
	size_t skipped_by[FP_REASON_COUNT], floating_by[FP_REASON_COUNT];
	/* Of a verification, where those that differ count as skipped. */
	size_t intact, left_alone;
	size_t left_by[FP_REASON_COUNT];
	uint64_t added;    /* bytes, to all files that were written now */
	uint64_t saved_ns; /* at one start of each accelerated program */
	/* Those that save most, the first one first; a null file: there are no more. */
	struct tally_program {
		char *file;
		uint64_t saved_ns;
	} heaviest[TALLY_HEAVIEST];
};

void tally_free(struct tally *tally);

/* Counts a file that was done, or need not be: then it is true. */
bool tally_file(struct tally *tally, enum fp_outcome outcome);

/* Each counts what became of one file; tally_program and tally_file do not go together. */
bool tally_program(struct tally *tally, const char *file, const struct fp_program_result *result);
void tally_library(struct tally *tally, const struct fp_library_result *result);
void tally_skipped(struct tally *tally, const struct fp_why *why);

void tally_verified(struct tally *tally, const struct fp_verify_result *result,
		    const struct fp_why *why);

/* The reasons of COUNTS, one for each reason, that are not 0, most frequent first, into ret_reasons, which has room for
   all.  Returns their number. */
size_t tally_reasons(const size_t *counts, enum fp_reason *ret_reasons);

#endif
