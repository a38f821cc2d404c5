/* records.h - the JSON object that is said of each file.  Every function gives null when memory is out. */
#ifndef FP_RECORDS_H
#define FP_RECORDS_H

#include <jansson.h>

#include "options.h"

/* TEXT as a JSON string, as text_utf8 gives it. */
json_t *record_text(const char *text);

/* What --json calls the action. */
const char *record_action(const struct options *options);

/* The members that every record about a file has. */
json_t *record_file(const struct options *options, const char *file, const char *outcome);

json_t *record_program(const struct options *options, const char *file, const char *outcome,
		       const struct fp_program_result *result);
json_t *record_library(const struct options *options, const struct fp_library_result *result);
json_t *record_shifted(const struct options *options, const char *file, const char *outcome,
		       const struct fp_relocate_result *result);
json_t *record_digest(const struct options *options, const char *file, const char *digest);
json_t *record_binding(const struct options *options, const char *file,
		       const struct fp_binding_result *result);

json_t *record_known(const struct options *options, const struct fp_known *known);

json_t *record_verified(const struct options *options, const char *file,
			const struct fp_verify_result *result, const struct fp_why *why,
			const char *other);

/* COUNTS, one for each reason, that are not 0, under the identifiers of the reasons. */
json_t *record_reasons(const size_t *counts);

/* The name of KIND in JSON and JUnit. */
const char *record_kind(enum fp_verified kind);

/* Why something is as it is; OTHER is the file that it is about, where that is not FILE, or null. */
json_t *record_refusal(const struct options *options, const char *file, const char *outcome,
		       const struct fp_why *why, const char *other);

#endif
