/* report.c - says on standard error what the runtime decided.
   SPDX-License-Identifier: 0BSD */
#include "rt.h"

/* Each text has a fixed width, because pointers in a table would need relocation. */
static const char reasons[FP_DECLINE_COUNT][64] = {
	[FP_ACCELERATED] = "accelerated",
	[FP_DECLINE_DISABLED] = "disabled by FASTPRELINK=0",
	[FP_DECLINE_NOT_STARTING] = "the program has started already",
	[FP_DECLINE_NO_DEBUG] = "the program has no DT_DEBUG entry",
	[FP_DECLINE_LOADER_COMMAND] = "started through ld.so",
	[FP_DECLINE_SECURE] = "runs with raised privileges",
	[FP_DECLINE_ENVIRONMENT] = "the environment changes how symbols are resolved",
	[FP_DECLINE_FORMAT] = "the table has a format this runtime does not know",
	[FP_DECLINE_OBJECT_COUNT] = "more or fewer objects are loaded than were prelinked",
	[FP_DECLINE_OBJECT_DIFFERS] = "an object is not the one that was prelinked",
	[FP_DECLINE_CARRIER] = "another carrier called",
	[FP_DECLINE_CHECKSUM] = "the table is damaged",
	[FP_DECLINE_DISPLACED] = "a library is not at its fixed address",
};

struct line {
	char text[512];
	unsigned size;
};

static void add(struct line *line, const char *text)
{
	while (*text && line->size < sizeof(line->text) - 1)
		line->text[line->size++] = *text++;
}

static void add_number(struct line *line, uint64_t number)
{
	char digits[24];
	unsigned i = sizeof(digits) - 1;

	digits[i] = 0;
	do
		digits[--i] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	add(line, digits + i);
}

uint64_t microseconds(void)
{
	struct {
		int64_t seconds, nanoseconds;
	} now = { 0, 0 };

	system_call(CALL_CLOCK_GETTIME, 1 /* CLOCK_MONOTONIC */, (long)&now, 0, 0, 0, 0);
	return (uint64_t)(now.seconds * 1000000 + now.nanoseconds / 1000);
}

void report(const struct start *start, enum fp_decline decline, uint64_t began)
{
	struct line line = { .size = 0 };

	add(&line, "fastprelink: ");
	if (decline) {
		add(&line, "declined (");
		add_number(&line, decline);
		add(&line, "): ");
		add(&line, reasons[decline]);
		if ((decline == FP_DECLINE_OBJECT_DIFFERS || decline == FP_DECLINE_DISPLACED) &&
		    start->differing) {
			add(&line, ": ");
			add(&line, *start->differing ? start->differing : "the program");
		}
	} else {
		add(&line, "accelerated: ");
		add_number(&line, start->table->object_count);
		add(&line, " objects, ");
		add_number(&line, start->table->word_count);
		add(&line, " words");
	}
	if (began) {
		add(&line, ", ");
		add_number(&line, microseconds() - began);
		add(&line, " us");
	}
	line.text[line.size++] = '\n';
	system_call(CALL_WRITE, 2, (long)line.text, line.size, 0, 0, 0);
	if (decline && start->required)
		system_call(CALL_EXIT, 127, 0, 0, 0, 0, 0);
}
