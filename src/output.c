/* output.c - what is said of each file. */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "records.h"
#include "say.h"
#include "text.h"

enum { MANY_FILES = 20 }; /* a run over more says less of each */

void output_start(struct output *output, const struct options *options, size_t file_total)
{
	*output = (struct output){ .options = options, .file_total = file_total };
	progress_start(&output->progress);
}

void output_progress(struct output *output, const char *file)
{
	static const char *const phases[] = {
		[ACTION_PRELINK] = "programs",   [ACTION_UNDO] = "restoring",
		[ACTION_VERIFY] = "checking",    [ACTION_DIGEST] = "checking",
		[ACTION_RELOCATE] = "libraries", [ACTION_BINDINGS] = "binding",
	};

	output->file_index++;
	if (output->file_total > 1)
		progress_show(&output->progress, phases[output->options->action],
			      output->file_index, output->file_total, file);
}

void output_phase(enum fp_phase phase, size_t done, size_t total, const char *file, void *context)
{
	static const char *const phases[] = {
		[FP_PHASE_PLAN] = "reading",
		[FP_PHASE_LIBRARIES] = "libraries",
		[FP_PHASE_PROGRAMS] = "programs",
		[FP_PHASE_VERIFY] = "checking",
	};
	struct output *output = context;

	if (total > 1)
		progress_show(&output->progress, phases[phase], done, total, file);
}

static void say_program(struct output *output, const char *file, const char *outcome,
			const struct fp_program_result *result)
{
	char counts[256] = "", left[64] = "", added[32] = "";

	if (result->left_objects)
		snprintf(left, sizeof(left), ", %" PRIu64 " objects left alone",
			 result->left_objects);
	if (result->added_size)
		snprintf(added, sizeof(added), ", +%" PRIu64 " kB",
			 text_kilobytes(result->added_size));
	if (result->object_count)
		snprintf(counts, sizeof(counts),
			 ": %zu objects, %" PRIu64 " of %" PRIu64 " relocations resolved, %" PRIu64
			 " lazy, %" PRIu64 " left to ld.so%s%s",
			 result->object_count, result->resolved_count, result->relocation_count,
			 result->lazy_count, result->residual_count, left, added);
	say(output, "%s: %s%s%s", file, outcome, counts,
	    result->accelerated ? "" : "; no carrier, starts as before");
}

void output_prelinked(struct output *output, const char *file,
		      const struct fp_program_result *result)
{
	const struct options *options = output->options;
	bool unchanged = tally_program(&output->tally, file, result);

	if (options->json)
		say_json(output, record_program(options, file,
						unchanged ? "unchanged" : "prelinked", result));
	else if (options->verbose || options->run.dry_run)
		say_program(output, file,
			    unchanged              ? "unchanged"
			    : options->run.dry_run ? "would be prelinked"
						   : "prelinked",
			    result);
}

static void say_library(struct output *output, const struct fp_library_result *result)
{
	bool written = result->outcome == FP_OUTCOME_DONE;
	const char *would = written && output->options->run.dry_run ? "would be " : "";
	char why[2 * FP_WHY_DETAIL];

	text_reason(&result->why, why, sizeof(why));
	if (result->base && result->why.reason)
		say(output, "%s: stays fixed at 0x%" PRIx64 ": %s", result->path, result->base,
		    why);
	else if (!result->base)
		say(output, "%s: %s%s: %s", result->path, would,
		    written ? "restored, floats" : "floats", why);
	else if (written && result->added_size)
		say(output, "%s: %sfixed at 0x%" PRIx64 ", +%" PRIu64 " kB", result->path, would,
		    result->base, text_kilobytes(result->added_size));
	else
		say(output, "%s: %sfixed at 0x%" PRIx64, result->path, would, result->base);
}

void output_library(const struct fp_library_result *result, void *context)
{
	struct output *output = context;
	const struct options *options = output->options;

	if (result->skipped) {
		output_skipped(output, result->path, &result->why);
		return;
	}
	tally_library(&output->tally, result);
	if (options->json)
		say_json(output, record_library(options, result));
	else if (options->verbose || (options->run.dry_run && result->outcome == FP_OUTCOME_DONE))
		say_library(output, result);
}

void output_known(struct output *output, const struct fp_known *known)
{
	const char *kind = known->is_program ? "program" : "library", *what = "";
	char text[2 * FP_WHY_DETAIL] = "";

	if (output->options->json) {
		say_json(output, record_known(output->options, known));
		return;
	}
	if (known->why.reason)
		text_reason(&known->why, text, sizeof(text));
	if (known->base) {
		say(output, "%s: %s, fixed at 0x%" PRIx64 ", room 0x%" PRIx64 "%s%s", known->path,
		    kind, known->base, known->room, text[0] ? ": " : "", text);
		return;
	}
	if (!known->is_judged)
		what = known->is_program ? "to be looked at again" : "of no prelinked program";
	else if (known->is_program)
		what = known->why.reason ? "skipped" : "prelinked";
	else
		what = "floats";
	say(output, "%s: %s, %s%s%s", known->path, kind, what, text[0] ? ": " : "", text);
}

void output_shifted(struct output *output, const char *file,
		    const struct fp_relocate_result *result)
{
	const struct options *options = output->options;
	bool unchanged = tally_file(&output->tally, result->outcome);

	if (options->json)
		say_json(output, record_shifted(options, file, unchanged ? "unchanged" : "shifted",
						result));
	else if (options->verbose || options->run.dry_run)
		say(output, "%s: %s 0x%" PRIx64 ", +%" PRIu64 " kB", file,
		    unchanged              ? "unchanged at"
		    : options->run.dry_run ? "would be shifted to"
					   : "shifted to",
		    result->base, text_kilobytes(result->added_size));
}

void output_restored(struct output *output, const char *file)
{
	const struct options *options = output->options;

	output->tally.done++;
	if (options->json)
		say_json(output, record_file(options, file, "restored"));
	else if (options->run.dry_run)
		say(output, "%s: would be restored", file);
	else if (options->verbose)
		say(output, "%s: restored", file);
}

void output_intact(struct output *output, const char *file)
{
	output->tally.done++;
	if (output->options->json)
		say_json(output, record_file(output->options, file, "intact"));
	else
		say(output, "%s: intact", file);
}

/* The line is that of md5sum and its sisters, which mark a name that would take more than its line. */
void output_digest(struct output *output, const char *file, const char *digest)
{
	bool marked = strpbrk(file, "\\\n\r") != NULL;
	char *name = marked ? text_one_line(file) : strdup(file);
	struct fp_why why = { 0 };

	if (!name) {
		fp_why_system(&why, ENOMEM, file, "print");
		output_skipped(output, file, &why);
		return;
	}
	output->tally.done++;
	if (output->options->json)
		say_json(output, record_digest(output->options, file, digest));
	else
		say_exactly(output, "%s%s  %s", marked ? "\\" : "", digest, name);
	free(name);
}

void output_content(struct output *output, const void *bytes, size_t size)
{
	output->tally.done++;
	say_bytes(output, bytes, size);
}

void output_binding(struct output *output, const char *file, const struct fp_binding_result *result)
{
	if (output->options->json)
		say_json(output, record_binding(output->options, file, result));
	else
		say(output, "%s: %s %s%s%s => %s%s%s%s", result->holder, result->kind,
		    result->symbol, result->version ? "@" : "",
		    result->version ? result->version : "",
		    result->provider    ? result->provider
		    : result->undefined ? "not found"
					: "nothing",
		    result->is_ifunc ? " (ifunc)" : "", result->is_unique ? " (unique)" : "",
		    result->disputed ? " (disputed)" : "");
}

/* Whether A and B, which may have the root's prefix or not, name one file. */
static bool same_file(const char *a, const char *b, const char *root)
{
	const char *const paths[2] = { a, b };
	size_t length = root ? strlen(root) : 0;
	char host[2][2 * FP_WHY_FILE];
	struct stat stats[2];

	while (length && root[length - 1] == '/')
		length--;
	for (int i = 0; i < 2; i++) {
		bool prefixed = !length ||
				(strncmp(paths[i], root, length) == 0 && paths[i][length] == '/');

		snprintf(host[i], sizeof(host[i]), "%.*s%s", prefixed ? 0 : (int)length,
			 root ? root : "", paths[i]);
	}
	return strcmp(host[0], host[1]) == 0 ||
	       (stat(host[0], &stats[0]) == 0 && stat(host[1], &stats[1]) == 0 &&
		stats[0].st_dev == stats[1].st_dev && stats[0].st_ino == stats[1].st_ino);
}

const char *output_other_file(const struct output *output, const char *file,
			      const struct fp_why *why)
{
	return why->file[0] && !same_file(why->file, file, output->options->run.root) ? why->file
										      : NULL;
}

/* True for a run that finds its files itself. */
static bool finds_files(const struct options *options)
{
	return options->action == ACTION_PRELINK && (options->all || options->files_from);
}

bool output_is_brief(const struct output *output)
{
	const struct options *options = output->options;

	return !options->verbose &&
	       (options->all || options->files_from || output->file_total > MANY_FILES);
}

bool output_is_complete(const struct output *output)
{
	return !(finds_files(output->options) ? output->tally.failed : output->tally.skipped);
}

void output_skipped(struct output *output, const char *file, const struct fp_why *why)
{
	const char *other = output_other_file(output, file, why);
	char text[2 * FP_WHY_DETAIL];

	size_t failed = output->tally.failed;

	tally_skipped(&output->tally, why);
	text_reason(why, text, sizeof(text));
	/* Most programs of a system have little to gain: where they are many, they are only counted. */
	if (!output_is_brief(output) || output->tally.failed > failed ||
	    (!finds_files(output->options) && why->reason != FP_REASON_LITTLE_GAIN))
		complain(output, "%s: %s%s%s", file, other ? other : "", other ? ": " : "", text);
	if (output->options->json)
		say_json(output, record_refusal(output->options, file, "skipped", why, other));
}

void output_interrupted(struct output *output, const char *file, size_t left)
{
	complain(output, "%s: interrupted: %zu files not done", file, left);
}

void output_stopped(struct output *output)
{
	complain(output, "interrupted: not everything is done; run it again");
}

void output_fatal(struct output *output, const struct fp_why *why)
{
	char text[2 * FP_WHY_DETAIL];

	text_reason(why, text, sizeof(text));
	complain(output, "%s%s%s", why->file, why->file[0] ? ": " : "", text);
}

int output_end(struct output *output)
{
	say_end(output);
	tally_free(&output->tally);
	junit_free(&output->junit);
	if (!output->failed)
		return 0;
	complain(output, "standard output: write: %s",
		 strerror(output->error ? output->error : EIO));
	return -1;
}
