/* policy.c - which programs and libraries are left as they are, and why. */
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../rewrite/commit.h"
#include "../rewrite/program.h"

/* What a start is spared, measured with bench/start. */
enum {
	LOOKUP_NS = 40,       /* one look-up that ld.so is spared, */
	LOOKUP_OBJECT_NS = 2, /* and for each object of the scope */
	WORD_NS = 15,         /* one word that it need not fill */
};

/* Files that hold a checksum of their neighbour NAME: of OpenSSL's, libgcrypt's and fipscheck's self tests, and of NSS. */
static const char *const checksum_names[] = { "%s/.%s.hmac", "%s/%s.hmac", "%s/.%s.chk",
					      "%s/%s.chk" };

/* NSS names libfoo.so's checksum libfoo.chk. */
static int has_checksum(const char *directory, const char *name, char **ret_path)
{
	static const char library[] = ".so";
	size_t length = strlen(name);
	char *stem = strdup(name);
	int found = 0;

	if (!stem)
		return -ENOMEM;
	if (length > sizeof(library) - 1 &&
	    strcmp(name + length - (sizeof(library) - 1), library) == 0)
		stem[length - (sizeof(library) - 1)] = '\0';
	for (unsigned i = 0; i < 2 * sizeof(checksum_names) / sizeof(checksum_names[0]) && !found;
	     i++) {
		char *path = NULL;

		if (asprintf(&path, checksum_names[i / 2], directory, i % 2 ? stem : name) < 0) {
			found = -ENOMEM;
		} else if (access(path, F_OK) == 0) {
			*ret_path = path;
			found = 1;
		} else {
			free(path);
		}
	}
	free(stem);
	return found;
}

int fp_policy_changeable(const struct fp_object *object, struct fp_why *why)
{
	int error = fp_commit_allowed(object->path, &object->stat, why), found;
	char *directory, *slash, *checksum = NULL;

	if (error)
		return error;
	directory = strdup(object->path);
	if (!directory)
		return fp_why_system(why, ENOMEM, object->path, "check");
	slash = strrchr(directory, '/');
	if (slash) {
		*slash = '\0';
		found = has_checksum(directory, slash + 1, &checksum);
	} else {
		found = has_checksum(".", directory, &checksum);
	}
	if (found < 0)
		error = fp_why_system(why, ENOMEM, object->path, "check");
	else if (found)
		error = fp_why_set(why, FP_REASON_SELF_CHECKED, object->path, "%s", checksum);
	free(checksum);
	free(directory);
	return error;
}

int fp_policy_program(const struct fp_object *program, struct fp_why *why)
{
	const char *path = program->path;

	if (!fp_object_is_program(program))
		return fp_why_set(why, FP_REASON_NOT_EXECUTABLE, path, "%s", "");
	if (program->stat.st_mode & (S_ISUID | S_ISGID))
		return fp_why_set(why, FP_REASON_SETUID, path, "mode %04o",
				  program->stat.st_mode & 07777);
	if (getxattr(path, "security.capability", NULL, 0) > 0)
		return fp_why_set(why, FP_REASON_SETUID, path, "file capabilities");
	if (!program->has_debug)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, path, "no DT_DEBUG entry");
	return fp_program_check_payload(program, why);
}

uint64_t fp_policy_saved_ns(const struct fp_closure *closure, const struct fp_table_counts *counts)
{
	return counts->symbols * (LOOKUP_NS + LOOKUP_OBJECT_NS * closure->count) +
	       counts->resolved * WORD_NS;
}

int fp_policy_gain(const struct fp_closure *closure, const struct fp_table_counts *counts,
		   uint64_t min_saved_us, struct fp_why *why)
{
	if (fp_policy_saved_ns(closure, counts) / 1000 >= min_saved_us)
		return 0;
	return fp_why_set(why, FP_REASON_LITTLE_GAIN, closure->members[0].object->path,
			  "%llu symbolic and %llu relative words",
			  (unsigned long long)(counts->resolved - counts->relative),
			  (unsigned long long)counts->relative);
}

int fp_policy_library_gain(const struct fp_object *library, uint64_t min_words, struct fp_why *why)
{
	size_t words = library->rela.count + library->relr_count +
		       (fp_object_binds_now(library) ? library->jmprel.count : 0);

	if (words >= min_words)
		return 0;
	return fp_why_set(why, FP_REASON_LITTLE_GAIN, library->path, "%zu words", words);
}
