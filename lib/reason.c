/* reason.c - the texts of the reason codes, and how a refusal is recorded. */
#include "reason.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *id, *text;
} reasons[FP_REASON_COUNT] = {
	[FP_REASON_NONE] = { "none", "done" },
	[FP_REASON_SYSTEM] = { "system", "system error" },
	[FP_REASON_NO_MEMORY] = { "no-memory", "out of memory" },
	[FP_REASON_NOT_REGULAR] = { "not-regular", "not a regular file" },
	[FP_REASON_NOT_ELF] = { "not-elf", "not an ELF file" },
	[FP_REASON_TRUNCATED] = { "truncated", "truncated ELF file" },
	[FP_REASON_WRONG_CLASS] = { "wrong-class", "not a 64-bit little-endian ELF file" },
	[FP_REASON_WRONG_MACHINE] = { "wrong-machine", "for another machine" },
	[FP_REASON_WRONG_TYPE] = { "wrong-type", "neither an executable nor a shared object" },
	[FP_REASON_STATIC] = { "static", "statically linked" },
	[FP_REASON_OTHER_LIBC] = { "other-libc", "not a glibc program" },
	[FP_REASON_OLD_LIBC] = { "old-libc", "glibc older than 2.36" },
	[FP_REASON_MALFORMED] = { "malformed", "malformed ELF file" },
	[FP_REASON_UNSUPPORTED] = { "unsupported", "not supported" },
	[FP_REASON_MISSING_LIBRARY] = { "missing-library", "a needed library is missing" },
	[FP_REASON_MISSING_VERSION] = { "missing-version", "a needed symbol version is missing" },
	[FP_REASON_NOT_EXECUTABLE] = { "not-executable", "a library, not a program" },
	[FP_REASON_NOT_LIBRARY] = { "not-library", "a program, not a library" },
	[FP_REASON_FLOATS] = { "floats", "keeps its random address" },
	[FP_REASON_AUDITED] = { "audited", "names audit modules" },
	[FP_REASON_SETUID] = { "setuid", "runs with raised privileges" },
	[FP_REASON_HARD_LINKED] = { "hard-linked", "has other names (hard links)" },
	[FP_REASON_IMMUTABLE] = { "immutable", "the file system does not let it be replaced" },
	[FP_REASON_PAYLOAD] = { "payload", "carries data that is not part of the ELF image" },
	[FP_REASON_SELF_CHECKED] = { "self-checked", "checks its own contents" },
	[FP_REASON_LITTLE_GAIN] = { "little-gain", "too few relocations to gain from" },
	[FP_REASON_NO_ROOM] = { "no-room", "no room for what must be added" },
	[FP_REASON_NO_CARRIER] = { "no-carrier", "no carrier library" },
	[FP_REASON_NO_ANCHOR] = { "no-anchor", "cannot carry the stub" },
	[FP_REASON_CARRIER_FAILED] = { "carrier-failed",
				       "programs do not run with the new carrier" },
	[FP_REASON_NOT_PRELINKED] = { "not-prelinked", "not prelinked" },
	[FP_REASON_MODIFIED] = { "modified", "was modified after it was prelinked" },
	[FP_REASON_NEWER_FORMAT] = { "newer-format", "written by a newer fastprelink" },
	[FP_REASON_CHANGED] = { "changed", "changed while it was read" },
	[FP_REASON_BAD_CONFIGURATION] = { "bad-configuration",
					  "not understood in the configuration" },
	[FP_REASON_EXCLUDED] = { "excluded", "excluded by the configuration" },
	[FP_REASON_OBJECT_COUNT] = { "object-count",
				     "more or fewer objects are loaded than were prelinked" },
	[FP_REASON_OBJECT_DIFFERS] = { "object-differs",
				       "an object is not the one that was prelinked" },
	[FP_REASON_DISPLACED] = { "displaced", "a library is not at its fixed address" },
	[FP_REASON_TABLE_FORMAT] = { "table-format",
				     "the table has a format this runtime does not know" },
	[FP_REASON_TABLE_DAMAGED] = { "table-damaged", "the table is damaged" },
	[FP_REASON_NO_STUB] = { "no-stub", "the carrier has no stub" },
	[FP_REASON_OTHER_STUB] = { "other-stub", "the stub is not that of this release" },
	[FP_REASON_NO_RUNTIME] = { "no-runtime", "the runtime is missing or damaged" },
	[FP_REASON_BAD_CACHE] = { "bad-cache", "not a cache of this release" },
};

const char *fp_reason_id(enum fp_reason reason)
{
	return (unsigned)reason < FP_REASON_COUNT ? reasons[reason].id : "unknown";
}

const char *fp_reason_text(enum fp_reason reason)
{
	return (unsigned)reason < FP_REASON_COUNT ? reasons[reason].text : "unknown reason";
}

/* The errno that callers see for a refusal: what matters to them is only that it is one. */
static int reason_errno(enum fp_reason reason)
{
	return reason == FP_REASON_NO_MEMORY ? ENOMEM : ENOEXEC;
}

int fp_why_set(struct fp_why *why, enum fp_reason reason, const char *file, const char *format, ...)
{
	if (why) {
		va_list arguments;

		why->reason = reason;
		why->error = 0;
		snprintf(why->file, sizeof(why->file), "%s", file ? file : "");
		va_start(arguments, format);
		vsnprintf(why->detail, sizeof(why->detail), format, arguments);
		va_end(arguments);
	}
	return -reason_errno(reason);
}

int fp_why_system(struct fp_why *why, int error, const char *file, const char *operation)
{
	if (why) {
		why->reason = error == ENOMEM ? FP_REASON_NO_MEMORY : FP_REASON_SYSTEM;
		why->error = error;
		snprintf(why->file, sizeof(why->file), "%s", file ? file : "");
		snprintf(why->detail, sizeof(why->detail), "%s: %s", operation, strerror(error));
	}
	return -error;
}
