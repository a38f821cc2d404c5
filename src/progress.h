/* progress.h - a progress bar on the terminal that standard error is. */
#ifndef FP_PROGRESS_H
#define FP_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
	bool wanted, shown;
	const char *phase; /* that is shown */
	uint64_t drawn;    /* when it was drawn last, in milliseconds */
};

/* Where standard error is no terminal, or one that cannot erase a line (TERM is dumb or not set), nothing will be shown. */
void progress_start(struct progress *progress);

/* DONE of TOTAL files of PHASE (a word that stays valid) are done; FILE was the last one.  Drawn ten times a second at most. */
void progress_show(struct progress *progress, const char *phase, size_t done, size_t total,
		   const char *file);

/* Wipes the bar: something else is about to be written.  It comes back when it is drawn next. */
void progress_clear(struct progress *progress);

#endif
