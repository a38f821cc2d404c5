/* config.c - reads the configuration: a directive a line, words between blanks, '#' starts a comment. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../graph/rootpath.h"

enum { MAX_FILE = 1024 * 1024, MAX_WORDS = 8 };

static const char vendor_directory[] = "/usr/lib/fastprelink.conf.d";
static const char local_directory[] = "/etc/fastprelink.conf.d";
static const char main_file[] = "/etc/fastprelink.conf";

struct pattern {
	struct pattern *next;
	const char *glob;
	const char *real; /* where GLOB, which names one file, leads to; or null */
};

struct fp_config {
	struct pattern *float_for;
	struct fp_arena arena;
};

struct reader {
	struct fp_config *config;
	struct fp_root root;
	const char *path; /* of the file that is read, on the host */
	unsigned line;
	struct fp_why *why;
};

static int no_memory(const struct reader *reader)
{
	return fp_why_system(reader->why, ENOMEM, reader->path, "read");
}

static int bad_line(const struct reader *reader, const char *what, const char *word)
{
	return fp_why_set(reader->why, FP_REASON_BAD_CONFIGURATION, reader->path,
			  "line %u: %s%s%.80s", reader->line, what, *word ? ": " : "", word);
}

/* float-for GLOB: by the absolute path, or by the last name alone. */
static int read_float_for(struct reader *reader, char **words, size_t count)
{
	struct fp_config *config = reader->config;
	const struct fp_path *path = NULL;
	struct pattern *pattern;

	if (count != 2)
		return bad_line(reader, "float-for takes one pattern", "");
	if (strchr(words[1], '/') && words[1][0] != '/')
		return bad_line(reader, "neither an absolute path nor a name", words[1]);
	pattern = fp_arena_alloc(&config->arena, sizeof(*pattern));
	if (!pattern || !(pattern->glob = fp_arena_string(&config->arena, words[1])))
		return no_memory(reader);
	/* A path that is a symbolic link, /bin/su perhaps, stands for the file. */
	if (words[1][0] == '/' && !strpbrk(words[1], "*?[\\")) {
		path = fp_root_resolve(&reader->root, words[1]);
		if (!path)
			return no_memory(reader);
	}
	if (path && !path->error) {
		pattern->real = fp_arena_string(&config->arena, path->canonical);
		if (!pattern->real)
			return no_memory(reader);
	}
	pattern->next = config->float_for;
	config->float_for = pattern;
	return 0;
}

static int read_directive(struct reader *reader, char **words, size_t count)
{
	static const struct {
		const char *name;
		int (*read)(struct reader *reader, char **words, size_t count);
	} directives[] = {
		{ "float-for", read_float_for },
	};

	for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++)
		if (strcmp(words[0], directives[i].name) == 0)
			return directives[i].read(reader, words, count);
	return bad_line(reader, "unknown directive", words[0]);
}

static int read_line(struct reader *reader, char *line)
{
	static const char blanks[] = " \t\r\f\v";
	char *words[MAX_WORDS], *save;
	size_t count = 0;

	for (char *word = strtok_r(line, blanks, &save); word && word[0] != '#';
	     word = strtok_r(NULL, blanks, &save)) {
		if (count == MAX_WORDS)
			return bad_line(reader, "too many words", "");
		words[count++] = word;
	}
	return count ? read_directive(reader, words, count) : 0;
}

/* The whole of the file open as FD, ended by a null and malloced. */
static int read_text(struct reader *reader, int fd, char **ret_text)
{
	struct stat stat;
	size_t size = 0;
	ssize_t got = 1;
	char *text;

	if (fstat(fd, &stat) != 0)
		return fp_why_system(reader->why, errno, reader->path, "stat");
	if (!S_ISREG(stat.st_mode))
		return fp_why_set(reader->why, FP_REASON_NOT_REGULAR, reader->path, "%s", "");
	text = malloc(MAX_FILE + 1);
	if (!text)
		return no_memory(reader);
	while (got > 0 && size <= MAX_FILE) {
		got = read(fd, text + size, MAX_FILE + 1 - size);
		if (got > 0)
			size += (size_t)got;
		else if (got < 0 && errno == EINTR)
			got = 1;
	}
	if (got < 0 || size > MAX_FILE) {
		int error = got < 0 ? errno : EFBIG;

		free(text);
		return fp_why_system(reader->why, error, reader->path, "read");
	}
	text[size] = '\0';
	if (strlen(text) != size) {
		free(text);
		return fp_why_set(reader->why, FP_REASON_BAD_CONFIGURATION, reader->path,
				  "not a text file");
	}
	*ret_text = text;
	return 0;
}

/* Reads the file HOST; one that is not there is empty. */
static int read_file(struct reader *reader, const char *host)
{
	int fd = open(host, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error;
	char *text = NULL, *rest, *line;

	reader->path = host;
	if (fd < 0)
		return errno == ENOENT ? 0 : fp_why_system(reader->why, errno, host, "open");
	error = read_text(reader, fd, &text);
	close(fd);
	if (error)
		return error;
	reader->line = 0;
	rest = text;
	while (!error && (line = strsep(&rest, "\n"))) {
		reader->line++;
		error = read_line(reader, line);
	}
	free(text);
	return error;
}

/* As read_file for PATH inside the root.  A link to /dev/null hides what it stands for, in a root without devices too. */
static int read_inside(struct reader *reader, const char *path)
{
	const struct fp_path *resolved = fp_root_resolve(&reader->root, path);

	reader->path = path;
	if (!resolved)
		return no_memory(reader);
	if (resolved->error == ENOENT)
		return 0;
	if (resolved->error)
		return fp_why_system(reader->why, resolved->error, path, "open");
	return strcmp(resolved->canonical, "/dev/null") == 0 ? 0
							     : read_file(reader, resolved->host);
}

static int is_configuration(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 &&
	       strcmp(entry->d_name + length - 5, ".conf") == 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

struct list {
	struct dirent **names;
	int count;
};

static void list_free(struct list *list)
{
	while (list->count > 0)
		free(list->names[--list->count]);
	free(list->names);
	*list = (struct list){ 0 };
}

/* The configuration files in the host's directory HOST, sorted; none when it is not there. */
static int read_directory(struct reader *reader, const char *host, struct list *ret_list)
{
	struct list list = { 0 };

	list.count = scandir(host, &list.names, is_configuration, compare_names);
	if (list.count < 0 && errno != ENOENT && errno != ENOTDIR)
		return fp_why_system(reader->why, errno, host, "open");
	if (list.count >= 0)
		*ret_list = list;
	return 0;
}

/* The directory PATH inside the root as the host names it; null when it is not there. */
static int find_directory(struct reader *reader, const char *path, const char **ret_host)
{
	const struct fp_path *resolved = fp_root_resolve(&reader->root, path);

	if (!resolved)
		return no_memory(reader);
	if (resolved->error && resolved->error != ENOENT && resolved->error != ENOTDIR)
		return fp_why_system(reader->why, resolved->error, path, "open");
	*ret_host = !resolved->error && resolved->is_directory ? resolved->host : NULL;
	return 0;
}

static int read_named(struct reader *reader, const char *directory, bool on_host, const char *name)
{
	const char *path = fp_arena_format(&reader->config->arena, "%s/%s", directory, name);

	if (!path)
		return no_memory(reader);
	return on_host ? read_file(reader, path) : read_inside(reader, path);
}

/* Reads both directories as one. */
static int read_directories(struct reader *reader, const char *vendor)
{
	const char *shipped = NULL, *local = NULL;
	struct list defaults = { 0 }, names = { 0 };
	int error = find_directory(reader, vendor_directory, &shipped), i = 0, k = 0;

	if (!error)
		error = find_directory(reader, local_directory, &local);
	if (!error)
		error = read_directory(reader, shipped ? shipped : vendor, &defaults);
	if (!error && local)
		error = read_directory(reader, local, &names);
	while (!error && (i < defaults.count || k < names.count)) {
		int order = i == defaults.count ? 1
			    : k == names.count
				    ? -1
				    : strcmp(defaults.names[i]->d_name, names.names[k]->d_name);

		if (order < 0)
			error = read_named(reader, shipped ? vendor_directory : vendor, !shipped,
					   defaults.names[i]->d_name);
		else
			error = read_named(reader, local_directory, false, names.names[k]->d_name);
		i += order <= 0;
		k += order >= 0;
	}
	list_free(&defaults);
	list_free(&names);
	return error;
}

int fp_config_read(const char *root, const char *vendor, struct fp_config **ret_config,
		   struct fp_why *why)
{
	struct reader reader = { .config = calloc(1, sizeof(*reader.config)), .why = why };
	int error;

	reader.path = main_file;
	if (!reader.config)
		return no_memory(&reader);
	error = fp_root_init(&reader.root, root) == 0 ? 0 : no_memory(&reader);
	if (!error)
		error = read_directories(&reader, vendor ? vendor : FP_VENDOR_CONFIGURATION);
	if (!error)
		error = read_inside(&reader, main_file);
	fp_root_free(&reader.root);
	if (error) {
		fp_config_free(reader.config);
		return error;
	}
	*ret_config = reader.config;
	return 0;
}

void fp_config_free(struct fp_config *config)
{
	if (!config)
		return;
	fp_arena_free(&config->arena);
	free(config);
}

bool fp_config_floats_for(const struct fp_config *config, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	for (const struct pattern *p = config->float_for; p; p = p->next) {
		if (p->real && strcmp(p->real, path) == 0)
			return true;
		if (fnmatch(p->glob, p->glob[0] == '/' ? path : name,
			    p->glob[0] == '/' ? FNM_PATHNAME : 0) == 0)
			return true;
	}
	return false;
}
