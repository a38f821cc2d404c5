/* relocate.c - gives one library a fixed address. */
#include <string.h>

#include "../rewrite/carrier.h"
#include "../rewrite/shift.h"
#include "internal.h"
#include "policy.h"

static int replace(struct fp_run *run, const char *path, struct fp_object *object,
		   const struct fp_object *original, const struct fp_buffer *file,
		   struct fp_relocate_result *result, struct fp_why *why)
{
	if (file->size == object->size && memcmp(file->bytes, object->image, file->size) == 0) {
		result->outcome = FP_OUTCOME_UNCHANGED;
		return 0;
	}
	return fp_run_replace(run, path, object, original, file, NULL, why);
}

int fp_run_relocate(struct fp_run *run, const char *path, uint64_t base,
		    struct fp_relocate_result *result, struct fp_why *why)
{
	struct fp_object *object, *original = NULL;
	struct fp_buffer restored = { 0 }, file = { 0 };
	int error;

	*result = (struct fp_relocate_result){ .base = base };
	path = fp_run_inside(run, path);
	error = fp_loader_open(run->loader, path, &object, why);
	if (error)
		return error;
	if (fp_carrier_stub(object))
		return fp_why_set(why, FP_REASON_FLOATS, object->path, "it is the carrier");
	error = fp_run_open_original(object, &restored, &original, why);
	if (!error)
		error = fp_shift_allowed(original, why);
	if (!error)
		error = fp_policy_changeable(object, why);
	if (!error)
		error = fp_shift_library(original, base, NULL, &file, why);
	if (!error) {
		result->next = base + fp_shift_room(original);
		result->original_size = original->size;
		result->added_size = file.size - original->size;
		error = replace(run, path, object, original, &file, result, why);
	}
	if (original != object)
		fp_object_close(original);
	fp_buffer_free(&restored);
	fp_buffer_free(&file);
	return error;
}
