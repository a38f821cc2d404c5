/* output.c - everything the command says: lines, summary, progress and JSON Lines. */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 3 * 4096 };

/* Copies TEXT so that it stays on one line and cannot steer a terminal: control characters become octal escapes. */
static void make_printable(const char *text, char *ret_text, size_t size)
{
	size_t used = 0;

	for (; *text && used + 5 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			used += (size_t)snprintf(ret_text + used, size - used, "\\%03o", c);
		else
			ret_text[used++] = *text;
	}
	ret_text[used] = '\0';
}

static void clear_progress(struct output *output)
{
	if (output->progress_shown)
		fputs("\r\033[K", stderr);
	output->progress_shown = false;
}

static void note_failure(struct output *output)
{
	if (!output->failed)
		output->error = errno;
	output->failed = true;
}

/* Lines are flushed one by one, but for those of long lists: a reader sees each as soon as it is known. */
static int end_line(const struct output *output)
{
	return output->options->action == ACTION_BINDINGS ? 0 : fflush(stdout);
}

static void say(struct output *output, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct output *output, const char *format, ...)
{
	char line[LINE], printable[LINE];
	va_list arguments;

	if (output->options->json)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	make_printable(line, printable, sizeof(printable));
	clear_progress(output);
	if (printf("%s\n", printable) < 0 || end_line(output) != 0)
		note_failure(output);
}

static void complain(struct output *output, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void complain(struct output *output, const char *format, ...)
{
	char line[LINE], printable[LINE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	make_printable(line, printable, sizeof(printable));
	if (output)
		clear_progress(output);
	fprintf(stderr, "fastprelink: %s\n", printable);
}

/* TEXT as a JSON string.  File names may be any bytes; those that are not UTF-8 appear as \xHH. */
static json_t *json_text(const char *text)
{
	json_t *value = json_string(text);
	char *escaped, *at;

	if (value)
		return value;
	escaped = malloc(4 * strlen(text) + 1);
	if (!escaped)
		return NULL;
	for (at = escaped; *text; text++)
		if ((unsigned char)*text < 0x80)
			*at++ = *text;
		else
			at += sprintf(at, "\\x%02x", (unsigned char)*text);
	*at = '\0';
	value = json_string(escaped);
	free(escaped);
	return value;
}

/* Writes OBJECT, which may be null when memory is out, as one line and releases it. */
static void say_json(struct output *output, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	clear_progress(output);
	if (!text)
		errno = ENOMEM;
	if (!text || printf("%s\n", text) < 0 || end_line(output) != 0)
		note_failure(output);
	free(text);
	json_decref(object);
}

static const char *action_name(const struct output *output)
{
	static const char *const names[] = {
		[ACTION_PRELINK] = "prelink",   [ACTION_UNDO] = "undo",
		[ACTION_VERIFY] = "verify",     [ACTION_DIGEST] = "digest",
		[ACTION_RELOCATE] = "relocate", [ACTION_BINDINGS] = "bindings",
	};

	return names[output->options->action];
}

/* The members that every record about a file has. */
static json_t *file_record(const struct output *output, const char *file, const char *outcome)
{
	return json_pack("{s:o, s:s, s:s, s:b}", "file", json_text(file), "action",
			 action_name(output), "outcome", outcome, "dry_run",
			 output->options->run.dry_run);
}

void output_start(struct output *output, const struct options *options, size_t file_total)
{
	const char *terminal = getenv("TERM");

	*output = (struct output){ .options = options, .file_total = file_total };
	output->progress_wanted = file_total > 1 && isatty(STDERR_FILENO) && terminal &&
				  strcmp(terminal, "dumb") != 0;
}

void output_progress(struct output *output, const char *file)
{
	char line[LINE], printable[LINE];
	struct winsize window;
	int columns = 80;

	output->file_index++;
	if (!output->progress_wanted)
		return;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
		columns = window.ws_col;
	snprintf(line, sizeof(line), "[%zu/%zu] %s", output->file_index, output->file_total, file);
	make_printable(line, printable, sizeof(printable));
	fprintf(stderr, "\r\033[K%.*s", columns - 1, printable);
	output->progress_shown = true;
}

/* SIZE in units of 1000 bytes, rounded up: what was added never reads as nothing. */
static uint64_t kilobytes(uint64_t size)
{
	return size / 1000 + (size % 1000 != 0);
}

static void say_program(struct output *output, const char *file, const char *outcome,
			const struct fp_program_result *result)
{
	char counts[256] = "", left[64] = "", added[32] = "";

	if (result->left_objects)
		snprintf(left, sizeof(left), ", %" PRIu64 " objects left alone",
			 result->left_objects);
	if (result->added_size)
		snprintf(added, sizeof(added), ", +%" PRIu64 " kB", kilobytes(result->added_size));
	if (result->object_count)
		snprintf(counts, sizeof(counts),
			 ": %zu objects, %" PRIu64 " of %" PRIu64 " relocations resolved, %" PRIu64
			 " lazy, %" PRIu64 " left to ld.so%s%s",
			 result->object_count, result->resolved_count, result->relocation_count,
			 result->lazy_count, result->residual_count, left, added);
	say(output, "%s: %s%s%s", file, outcome, counts,
	    result->accelerated ? "" : "; no carrier, starts as before");
}

/* Counts a file that was done, or need not be: then it is true. */
static bool count_unchanged(struct output *output, enum fp_outcome outcome)
{
	if (outcome == FP_OUTCOME_UNCHANGED)
		output->unchanged++;
	else
		output->done++;
	return outcome == FP_OUTCOME_UNCHANGED;
}

void output_prelinked(struct output *output, const char *file,
		      const struct fp_program_result *result)
{
	const struct options *options = output->options;
	bool unchanged = count_unchanged(output, result->outcome);
	json_t *record;

	if (!result->accelerated)
		output->unaccelerated++;
	if (options->json) {
		record = file_record(output, file, unchanged ? "unchanged" : "prelinked");
		if (record)
			json_object_update_new(
				record,
				json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}",
					  "objects", (json_int_t)result->object_count,
					  "relocations", (json_int_t)result->relocation_count,
					  "resolved", (json_int_t)result->resolved_count,
					  "relative", (json_int_t)result->relative_count, "lazy",
					  (json_int_t)result->lazy_count, "residual",
					  (json_int_t)result->residual_count, "left_objects",
					  (json_int_t)result->left_objects, "original_size",
					  (json_int_t)result->original_size, "added_size",
					  (json_int_t)result->added_size, "accelerated",
					  result->accelerated));
		say_json(output, record);
	} else if (options->verbose || options->run.dry_run) {
		say_program(output, file,
			    unchanged              ? "unchanged"
			    : options->run.dry_run ? "would be prelinked"
						   : "prelinked",
			    result);
	}
}

/* What a refusal says behind the file's name.  A failed system call speaks for itself. */
static void format_reason(const struct fp_why *why, char *ret_text, size_t size)
{
	if (why->reason == FP_REASON_SYSTEM)
		snprintf(ret_text, size, "%s", why->detail[0] ? why->detail : strerror(why->error));
	else
		snprintf(ret_text, size, "%s%s%s", fp_reason_text(why->reason),
			 why->detail[0] ? ": " : "", why->detail);
}

static json_t *library_record(const struct output *output, const struct fp_library_result *result,
			      const char *outcome, const char *why)
{
	json_t *record = file_record(output, result->path, outcome);

	if (!record)
		return NULL;
	json_object_set_new(record, "placement", json_string(result->base ? "fixed" : "floating"));
	if (result->base)
		json_object_set_new(record, "base", json_integer((json_int_t)result->base));
	if (result->why.reason) {
		json_object_set_new(record, "reason",
				    json_string(fp_reason_id(result->why.reason)));
		json_object_set_new(record, "text", json_text(why));
	}
	json_object_set_new(record, "original_size",
			    json_integer((json_int_t)result->original_size));
	json_object_set_new(record, "added_size", json_integer((json_int_t)result->added_size));
	return record;
}

static void say_library(struct output *output, const struct fp_library_result *result,
			const char *why)
{
	bool written = result->outcome == FP_OUTCOME_DONE;
	const char *would = written && output->options->run.dry_run ? "would be " : "";

	if (result->base && result->why.reason)
		say(output, "%s: stays fixed at 0x%" PRIx64 ": %s", result->path, result->base,
		    why);
	else if (!result->base)
		say(output, "%s: %s%s: %s", result->path, would,
		    written ? "restored, floats" : "floats", why);
	else if (written && result->added_size)
		say(output, "%s: %sfixed at 0x%" PRIx64 ", +%" PRIu64 " kB", result->path, would,
		    result->base, kilobytes(result->added_size));
	else
		say(output, "%s: %sfixed at 0x%" PRIx64, result->path, would, result->base);
}

void output_library(const struct fp_library_result *result, void *context)
{
	struct output *output = context;
	bool written = result->outcome == FP_OUTCOME_DONE;
	char why[2 * FP_WHY_DETAIL];

	if (result->skipped) {
		output_skipped(output, result->path, &result->why);
		return;
	}
	output->fixed += result->base != 0;
	output->floating += result->base == 0;
	output->placed += written;
	format_reason(&result->why, why, sizeof(why));
	if (output->options->json)
		say_json(output,
			 library_record(output, result, written ? "placed" : "unchanged", why));
	else if (output->options->verbose || (output->options->run.dry_run && written))
		say_library(output, result, why);
}

void output_shifted(struct output *output, const char *file,
		    const struct fp_relocate_result *result)
{
	const struct options *options = output->options;
	bool unchanged = count_unchanged(output, result->outcome);
	json_t *record;

	if (options->json) {
		record = file_record(output, file, unchanged ? "unchanged" : "shifted");
		if (record)
			json_object_update_new(
				record,
				json_pack("{s:I, s:I, s:I}", "base", (json_int_t)result->base,
					  "original_size", (json_int_t)result->original_size,
					  "added_size", (json_int_t)result->added_size));
		say_json(output, record);
	} else if (options->verbose || options->run.dry_run) {
		say(output, "%s: %s 0x%" PRIx64 ", +%" PRIu64 " kB", file,
		    unchanged              ? "unchanged at"
		    : options->run.dry_run ? "would be shifted to"
					   : "shifted to",
		    result->base, kilobytes(result->added_size));
	}
}

void output_restored(struct output *output, const char *file)
{
	const struct options *options = output->options;

	output->done++;
	if (options->json)
		say_json(output, file_record(output, file, "restored"));
	else if (options->run.dry_run)
		say(output, "%s: would be restored", file);
	else if (options->verbose)
		say(output, "%s: restored", file);
}

void output_intact(struct output *output, const char *file)
{
	output->done++;
	if (output->options->json)
		say_json(output, file_record(output, file, "intact"));
	else
		say(output, "%s: intact", file);
}

/* The line is that of md5sum and its sisters; the name is the bytes that were given. */
void output_digest(struct output *output, const char *file, const char *digest)
{
	json_t *record;

	output->done++;
	if (output->options->json) {
		record = file_record(output, file, "intact");
		if (record)
			json_object_set_new(record, "digest", json_text(digest));
		say_json(output, record);
		return;
	}
	clear_progress(output);
	if (printf("%s  %s\n", digest, file) < 0 || fflush(stdout) != 0)
		note_failure(output);
}

void output_content(struct output *output, const void *bytes, size_t size)
{
	output->done++;
	if (fwrite(bytes, 1, size, stdout) != size || fflush(stdout) != 0)
		note_failure(output);
}

static const char *binding_outcome(const struct fp_binding_result *result)
{
	return result->disputed    ? "disputed"
	       : result->undefined ? "undefined"
	       : result->provider  ? "bound"
				   : "unbound";
}

void output_binding(struct output *output, const char *file, const struct fp_binding_result *result)
{
	json_t *record;

	if (!output->options->json) {
		say(output, "%s: %s %s%s%s => %s%s%s%s", result->holder, result->kind,
		    result->symbol, result->version ? "@" : "",
		    result->version ? result->version : "",
		    result->provider    ? result->provider
		    : result->undefined ? "not found"
					: "nothing",
		    result->is_ifunc ? " (ifunc)" : "", result->is_unique ? " (unique)" : "",
		    result->disputed ? " (disputed)" : "");
		return;
	}
	record = file_record(output, file, binding_outcome(result));
	if (record)
		json_object_update_new(
			record,
			json_pack("{s:o, s:o, s:o, s:s, s:o, s:I, s:b, s:b}", "holder",
				  json_text(result->holder), "symbol", json_text(result->symbol),
				  "version",
				  result->version ? json_text(result->version) : json_null(),
				  "kind", result->kind, "provider",
				  result->provider ? json_text(result->provider) : json_null(),
				  "value", (json_int_t)result->value, "ifunc", result->is_ifunc,
				  "unique", result->is_unique));
	say_json(output, record);
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

/* The file that WHY is about when that is not FILE, or null. */
static const char *other_file(const struct output *output, const char *file,
			      const struct fp_why *why)
{
	return why->file[0] && !same_file(why->file, file, output->options->run.root) ? why->file
										      : NULL;
}

void output_skipped(struct output *output, const char *file, const struct fp_why *why)
{
	const char *other = other_file(output, file, why);
	char text[2 * FP_WHY_DETAIL];
	json_t *record;

	output->skipped++;
	format_reason(why, text, sizeof(text));
	complain(output, "%s: %s%s%s", file, other ? other : "", other ? ": " : "", text);
	if (!output->options->json)
		return;
	record = file_record(output, file, "skipped");
	if (record) {
		json_object_set_new(record, "reason", json_text(fp_reason_id(why->reason)));
		json_object_set_new(record, "text", json_text(text));
		if (other)
			json_object_set_new(record, "about", json_text(other));
	}
	say_json(output, record);
}

void output_interrupted(struct output *output, const char *file, size_t left)
{
	complain(output, "%s: interrupted: %zu files not done", file, left);
}

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
	else if (output->unaccelerated)
		snprintf(ret_text, size, "; no carrier: %zu will start as before",
			 output->unaccelerated);
	else
		ret_text[0] = '\0';
}

static json_t *carrier_record(const struct fp_carrier_result *carrier)
{
	if (!carrier || !carrier->path[0])
		return json_null();
	return json_pack("{s:o, s:s, s:I}", "file", json_text(carrier->path), "outcome",
			 carrier->outcome == FP_OUTCOME_UNCHANGED ? "unchanged" : "installed",
			 "added_size", (json_int_t)carrier->added_size);
}

void output_summary(struct output *output, const struct fp_carrier_result *carrier)
{
	const struct options *options = output->options;
	char text[sizeof(carrier->path) + 64], seed[32] = "";

	if (options->json) {
		say_json(output,
			 json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o*, s:o}",
				   "summary", action_name(output), "dry_run", options->run.dry_run,
				   "done", (json_int_t)output->done, "unchanged",
				   (json_int_t)output->unchanged, "skipped",
				   (json_int_t)output->skipped, "unaccelerated",
				   (json_int_t)output->unaccelerated, "fixed",
				   (json_int_t)output->fixed, "floating",
				   (json_int_t)output->floating, "placed",
				   (json_int_t)output->placed, "seed",
				   options->run.random ? json_integer((json_int_t)options->run.seed)
						       : NULL,
				   "carrier", carrier_record(carrier)));
		return;
	}
	if (options->action == ACTION_UNDO) {
		say(output, "%zu %s, %zu skipped", output->done,
		    options->run.dry_run ? "to restore" : "restored", output->skipped);
		return;
	}
	if (options->action == ACTION_RELOCATE) {
		say(output, "%zu %s, %zu unchanged, %zu skipped", output->done,
		    options->run.dry_run ? "to shift" : "shifted", output->unchanged,
		    output->skipped);
		return;
	}
	format_carrier(output, carrier, text, sizeof(text));
	if (options->run.random)
		snprintf(seed, sizeof(seed), ", seed %" PRIu64, options->run.seed);
	if (output->fixed || output->placed)
		say(output, "%zu libraries at fixed addresses, %zu floating; %zu %s%s",
		    output->fixed, output->floating, output->placed,
		    options->run.dry_run ? "to write" : "written", seed);
	say(output, "%zu %s, %zu unchanged, %zu skipped%s", output->done,
	    options->run.dry_run ? "to prelink" : "prelinked", output->unchanged, output->skipped,
	    text);
}

void output_fatal(const struct fp_why *why)
{
	char text[2 * FP_WHY_DETAIL];

	format_reason(why, text, sizeof(text));
	complain(NULL, "%s%s%s", why->file, why->file[0] ? ": " : "", text);
}

int output_end(struct output *output)
{
	clear_progress(output);
	errno = 0;
	if (fclose(stdout) != 0)
		note_failure(output);
	if (!output->failed)
		return 0;
	complain(output, "standard output: write: %s",
		 strerror(output->error ? output->error : EIO));
	return -1;
}
