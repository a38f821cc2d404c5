/* ldconf.c - the directories of /etc/ld.so.conf, for a root whose ld.so.cache was never made.

   ld.so itself never reads this file: ldconfig does, and writes what it finds into the cache.
   Without a cache a program of that root finds only what lies in the default directories.  So
   this is used only when it is asked for (fp_loader_options.use_ld_so_conf), by someone who will
   run ldconfig in that root before its programs are started. */
#include "internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 8, MAX_FILES = 1024, MAX_DIRS = 4096 };

struct reader {
	struct fp_root *root;
	struct fp_arena *arena;
	struct fp_dirs dirs;
	size_t space;
	unsigned depth, files;
};

static int read_conf(struct reader *reader, const char *path);

/* glibc elf/ldconfig.c:add_dir_1: "=TYPE" and slashes at the end are dropped. */
static int add_directory(struct reader *reader, char *line)
{
	size_t length = strcspn(line, "=");

	while (length && isspace((unsigned char)line[length - 1]))
		length--;
	while (length && line[length - 1] == '/')
		length--;
	if (!length || line[0] != '/' || reader->dirs.count == MAX_DIRS)
		return 0;
	if (reader->dirs.count == reader->space) {
		size_t space = reader->space ? reader->space * 2 : 32;
		const char **names = fp_arena_array(reader->arena, space, sizeof(*names));

		if (!names)
			return -ENOMEM;
		if (reader->dirs.count)
			memcpy(names, reader->dirs.names, reader->dirs.count * sizeof(*names));
		reader->dirs.names = names;
		reader->space = space;
	}
	line = fp_arena_format(reader->arena, "%.*s/", (int)length, line);
	if (!line)
		return -ENOMEM;
	reader->dirs.names[reader->dirs.count++] = line;
	return 0;
}

static int skip_dots(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Reads what the components of PATTERN from the one at REST on match below DIRECTORY, which ends
   with a slash, in the order of names (glob(3)). */
static int read_matches(struct reader *reader, const char *directory, const char *rest)
{
	size_t length = strcspn(rest, "/");
	char *component = fp_arena_substring(reader->arena, rest, length);
	const struct fp_path *path;
	struct dirent **entries;
	int count, error = 0;

	if (!component)
		return -ENOMEM;
	rest += length;
	rest += strspn(rest, "/");
	if (!strpbrk(component, "*?[\\")) {
		char *next = fp_arena_format(reader->arena, "%s%s%s", directory, component,
					     *rest ? "/" : "");

		if (!next)
			return -ENOMEM;
		return *rest ? read_matches(reader, next, rest) : read_conf(reader, next);
	}
	path = fp_root_resolve(reader->root, directory);
	if (!path)
		return -ENOMEM;
	if (path->error)
		return 0;
	count = scandir(path->host, &entries, component[0] == '.' ? NULL : skip_dots, NULL);
	if (count < 0)
		return errno == ENOMEM ? -ENOMEM : 0;
	/* scandir's alphasort goes by the locale; the order must not. */
	for (int i = 1; i < count; i++)
		for (int j = i; j > 0 && strcmp(entries[j - 1]->d_name, entries[j]->d_name) > 0;
		     j--) {
			struct dirent *swap = entries[j];

			entries[j] = entries[j - 1];
			entries[j - 1] = swap;
		}
	for (int i = 0; i < count; i++) {
		if (!error && fnmatch(component, entries[i]->d_name, FNM_PERIOD) == 0) {
			char *next = fp_arena_format(reader->arena, "%s%s%s", directory,
						     entries[i]->d_name, *rest ? "/" : "");

			if (!next)
				error = -ENOMEM;
			else
				error = *rest ? read_matches(reader, next, rest)
					      : read_conf(reader, next);
		}
		free(entries[i]);
	}
	free(entries);
	return error;
}

/* One word of an "include" line in the file FROM (glibc elf/ldconfig.c:parse_conf_include). */
static int read_include(struct reader *reader, const char *from, const char *pattern)
{
	const char *slash = strrchr(from, '/');
	char *directory;

	if (pattern[0] == '/')
		return read_matches(reader, "/", pattern + strspn(pattern, "/"));
	directory = fp_arena_substring(reader->arena, from, (size_t)(slash + 1 - from));
	return directory ? read_matches(reader, directory, pattern) : -ENOMEM;
}

/* glibc elf/ldconfig.c:parse_conf. */
static int read_line(struct reader *reader, const char *path, char *line)
{
	char *word;
	int error = 0;

	*strchrnul(line, '#') = '\0';
	while (isspace((unsigned char)*line))
		line++;
	if (!*line || (strncasecmp(line, "hwcap", 5) == 0 && isblank((unsigned char)line[5])))
		return 0;
	if (strncmp(line, "include", 7) != 0 || !isblank((unsigned char)line[7]))
		return add_directory(reader, line);
	line += 8;
	while (!error && (word = strsep(&line, " \t")))
		if (*word)
			error = read_include(reader, path, word);
	return error;
}

/* A pipe or a device is no configuration file, and opening it must not wait. */
static FILE *open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat stat;
	FILE *file = NULL;

	if (fd >= 0 && fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode))
		file = fdopen(fd, "r");
	if (fd >= 0 && !file)
		close(fd);
	return file;
}

static int read_conf(struct reader *reader, const char *path)
{
	const struct fp_path *resolved = fp_root_resolve(reader->root, path);
	char *line = NULL;
	size_t space = 0;
	ssize_t length;
	FILE *file;
	int error = 0;

	if (!resolved)
		return -ENOMEM;
	if (resolved->error || reader->depth == MAX_DEPTH || reader->files++ == MAX_FILES)
		return 0;
	file = open_regular(resolved->host);
	if (!file)
		return 0;
	reader->depth++;
	while (!error && (length = getline(&line, &space, file)) >= 0) {
		if (length && line[length - 1] == '\n')
			line[length - 1] = '\0';
		error = read_line(reader, path, line);
	}
	reader->depth--;
	free(line);
	fclose(file);
	return error;
}

int fp_ldconf_read(struct fp_root *root, struct fp_arena *arena, struct fp_dirs *ret_dirs)
{
	struct reader reader = { .root = root, .arena = arena };
	int error = read_conf(&reader, "/etc/ld.so.conf");

	if (!error)
		*ret_dirs = reader.dirs;
	return error;
}
