/* records.c - the JSON object that is said of each file. */
#include "records.h"

#include <stdlib.h>

#include "tally.h"
#include "text.h"

json_t *record_text(const char *text)
{
	char *utf8 = text_utf8(text);
	json_t *value = utf8 ? json_string(utf8) : NULL;

	free(utf8);
	return value;
}

const char *record_action(const struct options *options)
{
	static const char *const names[] = {
		[ACTION_PRELINK] = "prelink",   [ACTION_UNDO] = "undo",
		[ACTION_VERIFY] = "verify",     [ACTION_DIGEST] = "digest",
		[ACTION_RELOCATE] = "relocate", [ACTION_BINDINGS] = "bindings",
		[ACTION_CACHE] = "cache",
	};

	return names[options->action];
}

json_t *record_file(const struct options *options, const char *file, const char *outcome)
{
	return json_pack("{s:o, s:s, s:s, s:b}", "file", record_text(file), "action",
			 record_action(options), "outcome", outcome, "dry_run",
			 options->run.dry_run);
}

json_t *record_program(const struct options *options, const char *file, const char *outcome,
		       const struct fp_program_result *result)
{
	json_t *record = record_file(options, file, outcome);

	if (record)
		json_object_update_new(
			record, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}",
					  "objects", (json_int_t)result->object_count,
					  "relocations", (json_int_t)result->relocation_count,
					  "resolved", (json_int_t)result->resolved_count,
					  "relative", (json_int_t)result->relative_count, "lazy",
					  (json_int_t)result->lazy_count, "residual",
					  (json_int_t)result->residual_count, "left_objects",
					  (json_int_t)result->left_objects, "original_size",
					  (json_int_t)result->original_size, "added_size",
					  (json_int_t)result->added_size, "saved_ns",
					  (json_int_t)result->saved_ns, "accelerated",
					  result->accelerated));
	return record;
}

/* The members that say why. */
static void add_reason(json_t *record, const struct fp_why *why)
{
	char text[2 * FP_WHY_DETAIL];

	text_reason(why, text, sizeof(text));
	json_object_set_new(record, "reason", json_string(fp_reason_id(why->reason)));
	json_object_set_new(record, "text", record_text(text));
}

json_t *record_library(const struct options *options, const struct fp_library_result *result)
{
	json_t *record = record_file(options, result->path,
				     result->outcome == FP_OUTCOME_DONE ? "placed" : "unchanged");

	if (!record)
		return NULL;
	json_object_set_new(record, "placement", json_string(result->base ? "fixed" : "floating"));
	if (result->base)
		json_object_set_new(record, "base", json_integer((json_int_t)result->base));
	if (result->why.reason)
		add_reason(record, &result->why);
	json_object_set_new(record, "original_size",
			    json_integer((json_int_t)result->original_size));
	json_object_set_new(record, "added_size", json_integer((json_int_t)result->added_size));
	return record;
}

json_t *record_known(const struct options *options, const struct fp_known *known)
{
	const char *outcome = !known->is_judged    ? "unknown"
			      : known->base        ? "fixed"
			      : !known->is_program ? "floating"
			      : known->why.reason  ? "skipped"
						   : "prelinked";
	json_t *record = record_file(options, known->path, outcome);

	if (!record)
		return NULL;
	json_object_set_new(record, "kind", json_string(known->is_program ? "program" : "library"));
	if (known->base) {
		json_object_set_new(record, "base", json_integer((json_int_t)known->base));
		json_object_set_new(record, "room", json_integer((json_int_t)known->room));
	}
	if (known->why.reason)
		add_reason(record, &known->why);
	return record;
}

json_t *record_shifted(const struct options *options, const char *file, const char *outcome,
		       const struct fp_relocate_result *result)
{
	json_t *record = record_file(options, file, outcome);

	if (record)
		json_object_update_new(
			record, json_pack("{s:I, s:I, s:I}", "base", (json_int_t)result->base,
					  "original_size", (json_int_t)result->original_size,
					  "added_size", (json_int_t)result->added_size));
	return record;
}

json_t *record_digest(const struct options *options, const char *file, const char *digest)
{
	json_t *record = record_file(options, file, "intact");

	if (record)
		json_object_set_new(record, "digest", record_text(digest));
	return record;
}

static const char *binding_outcome(const struct fp_binding_result *result)
{
	return result->disputed    ? "disputed"
	       : result->undefined ? "undefined"
	       : result->provider  ? "bound"
				   : "unbound";
}

json_t *record_binding(const struct options *options, const char *file,
		       const struct fp_binding_result *result)
{
	json_t *record = record_file(options, file, binding_outcome(result));

	if (record)
		json_object_update_new(
			record,
			json_pack("{s:o, s:o, s:o, s:s, s:o, s:I, s:b, s:b}", "holder",
				  record_text(result->holder), "symbol",
				  record_text(result->symbol), "version",
				  result->version ? record_text(result->version) : json_null(),
				  "kind", result->kind, "provider",
				  result->provider ? record_text(result->provider) : json_null(),
				  "value", (json_int_t)result->value, "ifunc", result->is_ifunc,
				  "unique", result->is_unique));
	return record;
}

json_t *record_refusal(const struct options *options, const char *file, const char *outcome,
		       const struct fp_why *why, const char *other)
{
	json_t *record = record_file(options, file, outcome);

	if (!record)
		return NULL;
	add_reason(record, why);
	if (other)
		json_object_set_new(record, "about", record_text(other));
	return record;
}

const char *record_kind(enum fp_verified kind)
{
	static const char *const names[] = {
		[FP_VERIFIED_FILE] = "file",
		[FP_VERIFIED_PROGRAM] = "program",
		[FP_VERIFIED_LIBRARY] = "library",
		[FP_VERIFIED_CARRIER] = "carrier",
	};

	return names[kind];
}

json_t *record_verified(const struct options *options, const char *file,
			const struct fp_verify_result *result, const struct fp_why *why,
			const char *other)
{
	const char *outcome = result->left_alone    ? "left-alone"
			      : why->reason         ? "differs"
			      : result->accelerated ? "accelerated"
						    : "intact";
	json_t *record = why->reason ? record_refusal(options, file, outcome, why, other)
				     : record_file(options, file, outcome);

	if (!record)
		return NULL;
	json_object_update_new(record,
			       json_pack("{s:s, s:b, s:b}", "kind", record_kind(result->kind),
					 "prelinked", result->prelinked, "intact", result->intact));
	if (result->decline)
		json_object_set_new(record, "decline", json_integer(result->decline));
	return record;
}

json_t *record_reasons(const size_t *counts)
{
	enum fp_reason reasons[FP_REASON_COUNT];
	size_t count = tally_reasons(counts, reasons);
	json_t *record = json_object();

	for (size_t i = 0; record && i < count; i++)
		json_object_set_new(record, fp_reason_id(reasons[i]),
				    json_integer((json_int_t)counts[reasons[i]]));
	return record;
}
