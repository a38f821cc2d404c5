/* summary.c - the last lines of a run that writes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "records.h"
#include "say.h"
#include "text.h"

/* How the summary names the carrier; empty when there is nothing to say. */
static void format_carrier(const struct output *output, const struct fp_carrier_result *carrier,
			   char *ret_text, size_t size)
{
	const struct options *options = output->options;

	if (carrier->path[0])
		snprintf(ret_text, size, "; carrier %s: %s", carrier->path,
			 carrier->outcome == FP_OUTCOME_UNCHANGED ? "unchanged"
			 : options->run.dry_run                   ? "would be installed"
								  : "installed");
	else if (output->tally.unaccelerated)
		snprintf(ret_text, size, "; no carrier: %zu will start as before",
			 output->tally.unaccelerated);
	else
		ret_text[0] = '\0';
}

static json_t *carrier_record(const struct fp_carrier_result *carrier)
{
	if (!carrier || !carrier->path[0])
		return json_null();
	return json_pack("{s:o, s:s, s:I}", "file", record_text(carrier->path), "outcome",
			 carrier->outcome == FP_OUTCOME_UNCHANGED ? "unchanged" : "installed",
			 "added_size", (json_int_t)carrier->added_size);
}

/* Bytes that were added to files, the carrier included. */
static uint64_t added(const struct tally *tally, const struct fp_carrier_result *carrier)
{
	return tally->added + (carrier ? carrier->added_size : 0);
}

static json_t *heaviest_record(const struct tally *tally)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < TALLY_HEAVIEST && tally->heaviest[i].file; i++)
		json_array_append_new(
			list, json_pack("{s:o, s:I}", "file", record_text(tally->heaviest[i].file),
					"saved_ns", (json_int_t)tally->heaviest[i].saved_ns));
	return list;
}

static json_t *summary_record(const struct output *output, const struct fp_carrier_result *carrier)
{
	const struct options *options = output->options;
	const struct tally *tally = &output->tally;

	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, "
			 "s:o, s:o*, s:o}",
			 "summary", record_action(options), "dry_run", options->run.dry_run, "done",
			 (json_int_t)tally->done, "unchanged", (json_int_t)tally->unchanged,
			 "skipped", (json_int_t)tally->skipped, "skipped_by",
			 record_reasons(tally->skipped_by), "accelerated",
			 (json_int_t)tally->accelerated, "unaccelerated",
			 (json_int_t)tally->unaccelerated, "fixed", (json_int_t)tally->fixed,
			 "floating", (json_int_t)tally->floating, "floating_by",
			 record_reasons(tally->floating_by), "placed", (json_int_t)tally->placed,
			 "added_size", (json_int_t)added(tally, carrier), "saved_ns",
			 (json_int_t)tally->saved_ns, "heaviest", heaviest_record(tally), "seed",
			 options->run.random ? json_integer((json_int_t)options->run.seed) : NULL,
			 "carrier", carrier_record(carrier));
}

/* A line for each reason, with the number of files that it holds for. */
static void say_reasons(struct output *output, const char *what, const size_t *counts)
{
	enum fp_reason reasons[FP_REASON_COUNT];
	size_t count = tally_reasons(counts, reasons);

	for (size_t i = 0; i < count; i++)
		say(output, "%zu %s: %s", counts[reasons[i]], what, fp_reason_text(reasons[i]));
}

/* What all starts together are spared says little; how much it is for one program, and for which ones most, says more. */
static void say_saved(struct output *output)
{
	const struct tally *tally = &output->tally;
	char heaviest[TEXT_LINE] = "";
	size_t used = 0;

	if (!tally->accelerated)
		return;
	for (size_t i = 0; i < TALLY_HEAVIEST && tally->heaviest[i].file; i++) {
		const char *slash = strrchr(tally->heaviest[i].file, '/');

		used += (size_t)snprintf(heaviest + used, sizeof(heaviest) - used,
					 "%s%.256s %.1f ms", i ? ", " : "",
					 slash ? slash + 1 : tally->heaviest[i].file,
					 (double)tally->heaviest[i].saved_ns / 1e6);
	}
	say(output, "%zu programs accelerated, about %.1f ms per start on average: %s",
	    tally->accelerated, (double)tally->saved_ns / 1e6 / (double)tally->accelerated,
	    heaviest);
}

static void say_details(struct output *output, const struct fp_carrier_result *carrier)
{
	const struct tally *tally = &output->tally;

	say_reasons(output, "skipped", tally->skipped_by);
	say_reasons(output, "floating", tally->floating_by);
	say(output, "%" PRIu64 " kB %s", text_kilobytes(added(tally, carrier)),
	    output->options->run.dry_run ? "to add" : "added");
	say_saved(output);
}

static void say_prelinked(struct output *output, const struct fp_carrier_result *carrier)
{
	const struct options *options = output->options;
	const struct tally *tally = &output->tally;
	char text[sizeof(carrier->path) + 64], seed[32] = "";

	if (options->verbose || output_is_brief(output))
		say_details(output, carrier);
	format_carrier(output, carrier, text, sizeof(text));
	if (options->run.random)
		snprintf(seed, sizeof(seed), ", seed %" PRIu64, options->run.seed);
	if (tally->fixed || tally->placed)
		say(output, "%zu libraries at fixed addresses, %zu floating; %zu %s%s",
		    tally->fixed, tally->floating, tally->placed,
		    options->run.dry_run ? "to write" : "written", seed);
	say(output, "%zu %s, %zu unchanged, %zu skipped%s", tally->done,
	    options->run.dry_run ? "to prelink" : "prelinked", tally->unchanged, tally->skipped,
	    text);
}

void output_summary(struct output *output, const struct fp_carrier_result *carrier)
{
	const struct options *options = output->options;
	const struct tally *tally = &output->tally;

	if (options->json) {
		say_json(output, summary_record(output, carrier));
		return;
	}
	if (output_is_brief(output) && options->action != ACTION_PRELINK)
		say_reasons(output, "skipped", tally->skipped_by);
	if (options->action == ACTION_UNDO)
		say(output, "%zu %s, %zu skipped", tally->done,
		    options->run.dry_run ? "to restore" : "restored", tally->skipped);
	else if (options->action == ACTION_RELOCATE)
		say(output, "%zu %s, %zu unchanged, %zu skipped", tally->done,
		    options->run.dry_run ? "to shift" : "shifted", tally->unchanged,
		    tally->skipped);
	else
		say_prelinked(output, carrier);
}
