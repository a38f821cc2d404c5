/* shiftable.c - which libraries may be moved to a fixed address. */
#include "shift.h"

#include <string.h>

enum { MAX_PADDING = 64 /* bytes behind the ELF image that are no payload */ };

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What kind of library the loader must find free to place, by its NAME; null: none. */
static const char *floating_kind(const char *name)
{
	static const struct {
		const char *start, *kind;
	} kinds[] = {
		{ "ld-linux", "ld.so" },
		{ "ld.so.", "ld.so" },
		{ "ld64.so.", "ld.so" },
		{ "ld-musl-", "ld.so" },
		{ "libc.so.6", "libc" },
		/* They lay out the address space themselves. */
		{ "libasan", "sanitizer runtime" },
		{ "libtsan", "sanitizer runtime" },
		{ "libubsan", "sanitizer runtime" },
		{ "liblsan", "sanitizer runtime" },
		{ "libmsan", "sanitizer runtime" },
		{ "libhwasan", "sanitizer runtime" },
		{ "libclang_rt.", "sanitizer runtime" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (starts_with(name, kinds[i].start))
			return kinds[i].kind;
	return NULL;
}

static int check_name(const struct fp_object *original, struct fp_why *why)
{
	const char *kind = original->soname ? floating_kind(original->soname) : NULL;

	if (!kind)
		kind = floating_kind(base_name(original->path));
	return kind ? fp_why_set(why, FP_REASON_FLOATS, original->path, "%s", kind) : 0;
}

/* Sections that hold addresses in a form that is not understood yet. */
static int check_sections(const struct fp_object *original, struct fp_why *why)
{
	static const char *const starts[] = { ".debug_",        ".zdebug_", ".gdb_index", ".stab",
					      ".gnu_debugdata", ".mdebug",  ".line" };

	for (unsigned i = 1; original->shstrtab && i < original->shnum; i++) {
		const char *name = original->shstrtab + original->shdr[i].sh_name;

		if (strcmp(name, ".gnu.prelink_undo") == 0)
			return fp_why_set(why, FP_REASON_UNSUPPORTED, original->path,
					  "prelinked by another tool");
		for (size_t k = 0; k < sizeof(starts) / sizeof(starts[0]); k++)
			if (starts_with(name, starts[k]))
				return fp_why_set(why, FP_REASON_FLOATS, original->path,
						  "debug information in %.32s", name);
	}
	return 0;
}

int fp_shift_allowed(const struct fp_object *original, struct fp_why *why)
{
	const char *path = original->path;
	uint64_t trailing = fp_object_trailing(original);
	int error;

	if (fp_object_is_program(original))
		return fp_why_set(why, FP_REASON_NOT_LIBRARY, path, "%s", "");
	if (!original->dynamic)
		return fp_why_set(why, FP_REASON_STATIC, path, "%s", "");
	error = check_name(original, why);
	if (!error)
		error = check_sections(original, why);
	if (error)
		return error;
	for (size_t i = 0; i < original->needed_count; i++)
		if (starts_with(original->needed[i], "libc.") &&
		    strcmp(original->needed[i], "libc.so.6") != 0)
			return fp_why_set(why, FP_REASON_OTHER_LIBC, path, "%.64s",
					  original->needed[i]);
	if (original->flags & DF_TEXTREL)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, path, "text relocations");
	for (size_t i = 0; i < original->dynamic_count; i++)
		if (original->dynamic[i].d_tag == DT_GNU_PRELINKED ||
		    original->dynamic[i].d_tag == DT_CHECKSUM)
			return fp_why_set(why, FP_REASON_UNSUPPORTED, path,
					  "prelinked by another tool");
	if (trailing > MAX_PADDING)
		return fp_why_set(why, FP_REASON_PAYLOAD, path, "%llu bytes",
				  (unsigned long long)trailing);
	return 0;
}
