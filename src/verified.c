/* verified.c - what is said about the verification of a system. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "records.h"
#include "say.h"
#include "text.h"

int output_verify_start(struct output *output)
{
	const char *path = output->options->junit;
	int error = path ? junit_open(&output->junit, path) : 0;

	if (!error)
		return 0;
	complain(output, "%s: open: %s", path, strerror(-error));
	return -1;
}

static void add_to_report(struct output *output, const char *file,
			  const struct fp_verify_result *result, const struct fp_why *why,
			  const char *message)
{
	junit_add(&output->junit, record_kind(result->kind), file,
		  result->left_alone ? JUNIT_SKIPPED
		  : why->reason      ? JUNIT_FAILED
				     : JUNIT_PASSED,
		  fp_reason_id(why->reason), message);
}

int output_verified(const char *file, const struct fp_verify_result *result,
		    const struct fp_why *why, void *context)
{
	struct output *output = context;
	const struct options *options = output->options;
	const char *other = output_other_file(output, file, why);
	char message[TEXT_LINE], text[2 * FP_WHY_DETAIL], declines[48] = "";

	tally_verified(&output->tally, result, why);
	text_reason(why, text, sizeof(text));
	if (result->decline)
		snprintf(declines, sizeof(declines), "; the runtime declines (%u)",
			 result->decline);
	snprintf(message, sizeof(message), "%s%s%s%s", other ? other : "", other ? ": " : "", text,
		 declines);
	add_to_report(output, file, result, why, message);
	if (why->reason && !result->left_alone)
		complain(output, "%s: %s", file, message);
	if (options->json)
		say_json(output, record_verified(options, file, result, why, other));
	else if (options->verbose && result->left_alone)
		say(output, "%s: left alone: %s", file, message);
	else if (options->verbose && !why->reason)
		say(output, "%s: %s", file, result->accelerated ? "accelerated" : "intact");
	return output->failed ? -EIO : 0;
}

static json_t *summary_record(const struct output *output)
{
	const struct tally *tally = &output->tally;

	return json_pack("{s:s, s:I, s:I, s:I, s:o, s:I, s:o}", "summary", "verify", "intact",
			 (json_int_t)tally->intact, "accelerated", (json_int_t)tally->accelerated,
			 "left_alone", (json_int_t)tally->left_alone, "left_alone_by",
			 record_reasons(tally->left_by), "differing", (json_int_t)tally->skipped,
			 "differing_by", record_reasons(tally->skipped_by));
}

int output_verify_end(struct output *output)
{
	const struct tally *tally = &output->tally;
	int error = junit_write(&output->junit, "fastprelink --verify --all");

	if (error)
		complain(output, "%s: write: %s", output->options->junit, strerror(-error));
	if (output->options->json)
		say_json(output, summary_record(output));
	say(output,
	    "%zu files checked: %zu prelinked and intact, %zu programs accelerated, %zu left "
	    "alone; %zu differ",
	    tally->done + tally->left_alone + tally->skipped, tally->intact, tally->accelerated,
	    tally->left_alone, tally->skipped);
	return error ? -1 : 0;
}
