/* tally.c - what a run has done, counted. */
#include "tally.h"

#include <stdlib.h>
#include <string.h>

void tally_free(struct tally *tally)
{
	for (size_t i = 0; i < TALLY_HEAVIEST; i++)
		free(tally->heaviest[i].file);
}

bool tally_file(struct tally *tally, enum fp_outcome outcome)
{
	if (outcome == FP_OUTCOME_UNCHANGED)
		tally->unchanged++;
	else
		tally->done++;
	return outcome == FP_OUTCOME_UNCHANGED;
}

/* Keeps FILE if it is one of the heaviest; without memory for its name it is left out. */
static void weigh(struct tally *tally, const char *file, uint64_t saved_ns)
{
	struct tally_program *list = tally->heaviest;
	size_t place = TALLY_HEAVIEST;
	char *copy;

	while (place && (!list[place - 1].file || list[place - 1].saved_ns < saved_ns))
		place--;
	copy = place < TALLY_HEAVIEST ? strdup(file) : NULL;
	if (!copy)
		return;
	free(list[TALLY_HEAVIEST - 1].file);
	memmove(&list[place + 1], &list[place], (TALLY_HEAVIEST - 1 - place) * sizeof(*list));
	list[place] = (struct tally_program){ copy, saved_ns };
}

bool tally_program(struct tally *tally, const char *file, const struct fp_program_result *result)
{
	if (result->accelerated) {
		tally->accelerated++;
		tally->saved_ns += result->saved_ns;
		weigh(tally, file, result->saved_ns);
	} else {
		tally->unaccelerated++;
	}
	if (result->outcome == FP_OUTCOME_DONE)
		tally->added += result->added_size;
	return tally_file(tally, result->outcome);
}

void tally_library(struct tally *tally, const struct fp_library_result *result)
{
	tally->fixed += result->base != 0;
	tally->floating += result->base == 0;
	tally->placed += result->outcome == FP_OUTCOME_DONE;
	tally->added += result->added_size;
	if (!result->base)
		tally->floating_by[result->why.reason]++;
}

/* True for what is no property of the file, or is damage. */
static bool is_failure(enum fp_reason reason)
{
	switch (reason) {
	case FP_REASON_SYSTEM:
	case FP_REASON_NO_MEMORY:
	case FP_REASON_CHANGED:
	case FP_REASON_CARRIER_FAILED:
	case FP_REASON_NO_RUNTIME:
	case FP_REASON_MODIFIED:
		return true;
	default:
		return false;
	}
}

void tally_skipped(struct tally *tally, const struct fp_why *why)
{
	tally->failed += is_failure(why->reason);
	tally->skipped++;
	tally->skipped_by[why->reason]++;
}

void tally_verified(struct tally *tally, const struct fp_verify_result *result,
		    const struct fp_why *why)
{
	tally->intact += result->intact;
	tally->accelerated += result->accelerated;
	if (result->left_alone) {
		tally->left_alone++;
		tally->left_by[why->reason]++;
	} else if (why->reason) {
		tally_skipped(tally, why);
	} else {
		tally->done++;
	}
}

size_t tally_reasons(const size_t *counts, enum fp_reason *ret_reasons)
{
	size_t found = 0;

	for (enum fp_reason reason = FP_REASON_NONE; reason < FP_REASON_COUNT; reason++) {
		size_t place = found;

		if (!counts[reason])
			continue;
		for (; place && counts[ret_reasons[place - 1]] < counts[reason]; place--)
			ret_reasons[place] = ret_reasons[place - 1];
		ret_reasons[place] = reason;
		found++;
	}
	return found;
}
