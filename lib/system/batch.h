/* batch.h - programs that are prelinked together; shared by prelink.c and whole.c. */
#ifndef FP_BATCH_H
#define FP_BATCH_H

#include "internal.h"

struct fp_batch;

/* For the COUNT programs PATHS of RUN, which is configured; they stay the caller's; VISIT as in fp_run_prelink. */
int fp_batch_new(struct fp_run *run, const char *const *paths, size_t count,
		 fp_program_visit *visit, void *context, struct fp_batch **ret_batch,
		 struct fp_why *why);
void fp_batch_free(struct fp_batch *batch);

/* Looks at the programs and adds their libraries to a new placing of the run, which is then to be decided.  Returns as
   fp_run_prelink. */
int fp_batch_look(struct fp_batch *batch, struct fp_why *why);

/* Writes what was decided.  Returns as fp_run_prelink. */
int fp_batch_write(struct fp_batch *batch, struct fp_why *why);

/* Tells VISIT that PATH, on the host, could not be looked at because of ERROR. */
int fp_run_tell_unreadable(const struct fp_run *run, const char *path, int error,
			   fp_program_visit *visit, void *context);

/* fp_run_prelink for a request with ALL or PATHS_ARE_CHANGES, for a run that is configured. */
int fp_run_whole(struct fp_run *run, const struct fp_request *request, fp_program_visit *visit,
		 void *context, struct fp_why *why);

#endif
