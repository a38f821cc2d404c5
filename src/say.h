/* say.h - how anything gets to standard output and standard error; the progress bar makes way for it. */
#ifndef FP_SAY_H
#define FP_SAY_H

#include <jansson.h>

#include "output.h"

/* A line on standard output; nothing with --json. */
void say(struct output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line on standard output that is not changed: names are the bytes that were given. */
void say_exactly(struct output *output, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* RECORD, which may be null when memory is out, as one line on standard output; releases it. */
void say_json(struct output *output, json_t *record);

/* SIZE bytes on standard output. */
void say_bytes(struct output *output, const void *bytes, size_t size);

/* Closes standard output, so that an error of any line before is known. */
void say_end(struct output *output);

/* The file that WHY is about when that is not FILE, or null. */
const char *output_other_file(const struct output *output, const char *file,
			      const struct fp_why *why);

/* A message on standard error. */
void complain(struct output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
