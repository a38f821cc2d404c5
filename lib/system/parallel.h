/* parallel.h - the same work for many items, on all processors, with results in order. */
#ifndef FP_PARALLEL_H
#define FP_PARALLEL_H

#include <signal.h>
#include <stddef.h>

struct fp_parallel {
	/* Does the work for one item, on any thread. */
	void (*work)(size_t index, void *context);
	/* Called for each item when it and all before it are done: one call at a time, in the order of the items.  What is
	   not 0 ends the whole.  May be null. */
	int (*finish)(size_t index, void *context);
	void *context;
	const volatile sig_atomic_t
		*stop;    /* null, or not 0 when no further item is to be started */
	unsigned threads; /* 0: as many as the process may use processors */
};

/* Does all COUNT items.  Returns 0, what finish returned, or -EINTR when it was stopped.  Items that were started are done in any
   case; they are finished unless finish has returned non-zero. */
int fp_parallel_run(const struct fp_parallel *job, size_t count);

#endif
