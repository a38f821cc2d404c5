/* interp.c - the program interpreter: is it glibc's, of which release, and what is built into it.

   Three things are chosen when a glibc is built: its default directories, $LIB, and where
   ld.so.cache lies.  ld.so holds them as strings, so they are read from there and are right for
   every distribution. */
#include "internal.h"

#include <errno.h>
#include <string.h>

#define SONAME "ld-linux-x86-64.so.2" /* glibc shlib-versions; gABI x86-64 */

enum { OLDEST_MINOR = 36, MAX_DIRS = 16 };

/* The printable string that ends at the null byte at END, when a null byte is before it. */
static const char *string_before(const char *start, const char *end)
{
	const char *at = end;

	while (at > start && at[-1] >= ' ' && at[-1] <= '~')
		at--;
	return at > start && at[-1] == '\0' ? at : NULL;
}

static bool is_directory_name(const char *text, size_t length)
{
	return length >= 5 && text[0] == '/' && text[length - 1] == '/' &&
	       memmem(text, length, "/lib", 4) != NULL;
}

/* The default directories stand behind one another, each with a slash at its end (glibc
   elf/dl-load.c:system_dirs, elf/gen-trusted-dirs.awk): the first such sequence is taken. */
static void find_system_dirs(struct fp_interpreter *interpreter, const char **names)
{
	const char *image = (const char *)interpreter->object->image;
	const char *end = image + interpreter->object->size, *at = image, *stop;
	size_t count = 0;

	for (; count < MAX_DIRS && at < end; at = stop + 1) {
		stop = memchr(at, '\0', (size_t)(end - at));
		if (!stop)
			break;
		if (string_before(image, stop) == at && is_directory_name(at, (size_t)(stop - at)))
			names[count++] = at;
		else if (count)
			break;
	}
	interpreter->system_dirs = (struct fp_dirs){ .names = names, .count = count };
}

static int read_system_dirs(struct fp_interpreter *interpreter, struct fp_arena *arena)
{
	static const char *const usual[] = { "/lib/x86_64-linux-gnu/",
					     "/usr/lib/x86_64-linux-gnu/",
					     "/lib64/",
					     "/usr/lib64/",
					     "/lib/",
					     "/usr/lib/" };
	const char **names = fp_arena_array(arena, MAX_DIRS, sizeof(*names));

	if (!names)
		return -ENOMEM;
	find_system_dirs(interpreter, names);
	if (!interpreter->system_dirs.count) {
		memcpy(names, usual, sizeof(usual));
		interpreter->system_dirs.count = sizeof(usual) / sizeof(usual[0]);
	}
	return 0;
}

/* True when ld.so holds the string TEXT, with a null byte before it. */
static bool holds_string(const struct fp_object *object, const char *text)
{
	const char *at = (const char *)object->image, *end = at + object->size;
	size_t length = strlen(text) + 1;

	while ((at = memmem(at, (size_t)(end - at), text, length))) {
		if (at > (const char *)object->image && at[-1] == '\0')
			return true;
		at++;
	}
	return false;
}

/* glibc's own build makes $LIB the last component of the first default directory; Debian, Ubuntu
   and their like have "lib/x86_64-linux-gnu" (elf/Makefile:trusted-dirs.st, DL_DST_LIB). */
static int read_lib(struct fp_interpreter *interpreter, struct fp_arena *arena)
{
	const char *first = interpreter->system_dirs.names[0] + 1;
	char *name = fp_arena_substring(arena, first, strlen(first) - 1);

	if (!name)
		return -ENOMEM;
	if (strncmp(first, "usr/", 4) == 0)
		name += 4;
	if (strchr(name, '/') && !holds_string(interpreter->object, name))
		name = strrchr(name, '/') + 1;
	interpreter->lib = name;
	return 0;
}

/* SYSCONFDIR "/ld.so.cache" (glibc sysdeps/generic/dl-cache.h). */
static void read_cache_path(struct fp_interpreter *interpreter)
{
	static const char name[] = "/ld.so.cache"; /* with its null byte */
	const char *image = (const char *)interpreter->object->image;
	const char *end = image + interpreter->object->size, *at = image;

	interpreter->cache_path = "/etc/ld.so.cache";
	while ((at = memmem(at, (size_t)(end - at), name, sizeof(name)))) {
		const char *start = string_before(image, at + sizeof(name) - 1);

		if (start && start[0] == '/') {
			interpreter->cache_path = start;
			return;
		}
		at++;
	}
}

/* The N of "ld.so (Debian GLIBC 2.36-9) stable release version 2.36." (glibc
   elf/dl-usage.c:_dl_version), or 0.  Not every release defines a symbol version of its own, so
   those cannot tell; ld.so has had the text since 2.33. */
static unsigned read_minor(const struct fp_object *object)
{
	static const char lead[] = "ld.so ", text[] = " release version 2.";
	const char *at = (const char *)object->image, *end = at + object->size;

	while ((at = memmem(at, (size_t)(end - at), lead, sizeof(lead) - 1))) {
		size_t room = (size_t)(end - at) < 200 ? (size_t)(end - at) : 200;
		const char *found = memmem(at, strnlen(at, room), text, sizeof(text) - 1);
		unsigned minor = 0;

		if (found)
			for (found += sizeof(text) - 1;
			     found < end && *found >= '0' && *found <= '9' && minor < 1000; found++)
				minor = minor * 10 + (unsigned)(*found - '0');
		if (minor)
			return minor;
		at++;
	}
	return 0;
}

static bool defines_version(const struct fp_object *object, const char *name)
{
	for (size_t i = 0; i < object->version_count; i++)
		if (object->versions[i].hash && !object->versions[i].file &&
		    strcmp(object->versions[i].name, name) == 0)
			return true;
	return false;
}

/* Which directories are searched behind those that programs and users name. */
static int read_cache(struct fp_loader *loader, struct fp_interpreter *interpreter)
{
	const struct fp_path *path = fp_root_resolve(&loader->root, interpreter->cache_path);

	if (!path)
		return -ENOMEM;
	if (!path->error && fp_ldcache_open(path->host, &interpreter->cache) != 0)
		return -ENOMEM;
	if (!interpreter->cache && loader->use_ld_so_conf)
		return fp_ldconf_read(&loader->root, &loader->arena, &interpreter->conf_dirs);
	return 0;
}

int fp_interpreter_get(struct fp_loader *loader, struct fp_object *object,
		       struct fp_interpreter **ret_interpreter, struct fp_why *why)
{
	struct fp_interpreter *interpreter = loader->interpreters;
	unsigned minor;

	while (interpreter && interpreter->object != object)
		interpreter = interpreter->next;
	if (interpreter) {
		*ret_interpreter = interpreter;
		return 0;
	}
	if (!object->soname || strcmp(object->soname, SONAME) != 0 ||
	    !defines_version(object, "GLIBC_PRIVATE"))
		return fp_why_set(why, FP_REASON_OTHER_LIBC, object->path, "soname %s",
				  object->soname ? object->soname : "missing");
	minor = read_minor(object);
	if (minor < OLDEST_MINOR)
		return fp_why_set(why, FP_REASON_OLD_LIBC, object->path, minor ? "2.%u" : "unknown",
				  minor);
	interpreter = fp_arena_alloc(&loader->arena, sizeof(*interpreter));
	if (!interpreter)
		return fp_why_system(why, ENOMEM, object->path, "read");
	interpreter->object = object;
	interpreter->glibc_minor = minor;
	read_cache_path(interpreter);
	if (read_system_dirs(interpreter, &loader->arena) != 0 ||
	    read_lib(interpreter, &loader->arena) != 0 ||
	    fp_cpu_subdirectories(&loader->cpu, minor, &loader->arena,
				  &interpreter->subdirectories) != 0 ||
	    read_cache(loader, interpreter) != 0)
		return fp_why_system(why, ENOMEM, object->path, "read");
	interpreter->next = loader->interpreters;
	loader->interpreters = interpreter;
	*ret_interpreter = interpreter;
	return 0;
}
