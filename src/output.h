/* output.h - everything the command says: lines, JSON Lines, summary and progress. */
#ifndef FP_OUTPUT_H
#define FP_OUTPUT_H

#include "junit.h"
#include "options.h"
#include "progress.h"
#include "tally.h"

/* What has been said so far. */
struct output {
	const struct options *options;
	size_t file_total, file_index; /* for the progress */
	struct progress progress;
	struct tally tally;
	struct junit junit;
	bool failed; /* standard output could not be written */
	int error;   /* its errno */
};

void output_start(struct output *output, const struct options *options, size_t file_total);

/* The next file is being worked on. */
void output_progress(struct output *output, const char *file);
/* A fp_progress_visit; CONTEXT is the output. */
void output_phase(enum fp_phase phase, size_t done, size_t total, const char *file, void *context);

/* What became of FILE. */
void output_prelinked(struct output *output, const char *file,
		      const struct fp_program_result *result);
/* A fp_library_visit; CONTEXT is the output. */
void output_library(const struct fp_library_result *result, void *context);
void output_shifted(struct output *output, const char *file,
		    const struct fp_relocate_result *result);
void output_restored(struct output *output, const char *file);
void output_intact(struct output *output, const char *file);
void output_digest(struct output *output, const char *file, const char *digest);
void output_content(struct output *output, const void *bytes, size_t size);
/* What a symbol of the program FILE or its libraries binds to.  These lines are not flushed one by one: there are many. */
void output_binding(struct output *output, const char *file,
		    const struct fp_binding_result *result);
/* What the cache knows of a file. */
void output_known(struct output *output, const struct fp_known *known);
void output_skipped(struct output *output, const char *file, const struct fp_why *why);

/* True for a run over so many files that not each one gets a line, and the summary tells more. */
bool output_is_brief(const struct output *output);

/* Verification of a system.  With --junit, output_verify_start opens that file, and output_verify_end, after a run to the end, fills
   it.  Both return 0, or -1 after a message. */
int output_verify_start(struct output *output);
/* A fp_verify_visit; CONTEXT is the output. */
int output_verified(const char *file, const struct fp_verify_result *result,
		    const struct fp_why *why, void *context);
int output_verify_end(struct output *output);

/* False when something was skipped that should have been done, or is not as it should be.  Of the programs that a run found itself
   most are no use to prelink: there only failures count. */
bool output_is_complete(const struct output *output);

/* A run ended before FILE and LEFT - 1 more files. */
void output_interrupted(struct output *output, const char *file, size_t left);

/* A run that finds its files itself ended early. */
void output_stopped(struct output *output);

/* The last lines of a run that writes.  CARRIER is what was done about it, or null. */
void output_summary(struct output *output, const struct fp_carrier_result *carrier);

/* What stopped the whole run. */
void output_fatal(struct output *output, const struct fp_why *why);

/* Ends standard output.  Returns 0, or -1 after a message when not all of it was written. */
int output_end(struct output *output);

#endif
