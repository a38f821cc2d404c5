/* config.c - reads the files of the configuration: a directive a line, words between blanks, '#' starts a comment. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "directives.h"
#include "shipped_conf.h"

#include "policy.h"

enum { MAX_FILE = 1024 * 1024, MAX_WORDS = 8, MAX_DEPTH = 16, MAX_FILES = 4096 };

static const char vendor_directory[] = "/usr/lib/fastprelink.conf.d";
static const char local_directory[] = "/etc/fastprelink.conf.d";
static const char main_file[] = "/etc/fastprelink.conf";

static int no_memory(const struct fp_config_reader *reader, const char *path)
{
	return fp_why_system(reader->why, ENOMEM, path, "read");
}

int fp_config_bad_line(const struct fp_config_reader *reader, const char *what, const char *word)
{
	const struct fp_config_file *file = reader->file;

	/* What the command line says has no line. */
	if (!file->line)
		return fp_why_set(reader->why, FP_REASON_BAD_CONFIGURATION, file->path,
				  "%s%s%.160s", what, *word ? ": " : "", word);
	return fp_why_set(reader->why, FP_REASON_BAD_CONFIGURATION, file->path,
			  "line %u: %s%s%.160s", file->line, what, *word ? ": " : "", word);
}

static int read_line(struct fp_config_reader *reader, char *line)
{
	static const char blanks[] = " \t\r\f\v";
	char *words[MAX_WORDS], *save;
	size_t count = 0;

	for (char *word = strtok_r(line, blanks, &save); word && word[0] != '#';
	     word = strtok_r(NULL, blanks, &save)) {
		if (count == MAX_WORDS)
			return fp_config_bad_line(reader, "too many words", "");
		if (strlen(word) >= PATH_MAX)
			return fp_config_bad_line(reader, "longer than any path", word);
		words[count++] = word;
	}
	return count ? fp_config_directive(reader, words, count) : 0;
}

/* The whole of the file PATH, open as FD, ended by a null and malloced. */
static int read_text(const struct fp_config_reader *reader, const char *path, int fd,
		     char **ret_text)
{
	size_t size = 0;
	ssize_t got = 1;
	char *text = malloc(MAX_FILE + 1);

	if (!text)
		return no_memory(reader, path);
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
		return fp_why_system(reader->why, error, path, "read");
	}
	text[size] = '\0';
	if (strlen(text) != size) {
		free(text);
		return fp_why_set(reader->why, FP_REASON_BAD_CONFIGURATION, path,
				  "not a text file");
	}
	*ret_text = text;
	return 0;
}

/* Carries out the lines of TEXT, which is FILE's. */
static int read_lines(struct fp_config_reader *reader, struct fp_config_file *file, char *text)
{
	int error = 0;
	char *line;

	file->includer = reader->file;
	reader->file = file;
	while (!error && (line = strsep(&text, "\n"))) {
		file->line++;
		error = read_line(reader, line);
	}
	reader->file = file->includer;
	return error;
}

/* Whether the file STAT may be read now: it is not being read, and there is an end to it. */
static int check_nesting(const struct fp_config_reader *reader, const struct stat *stat,
			 const char *path)
{
	unsigned depth = 0;

	for (const struct fp_config_file *f = reader->file; f; f = f->includer) {
		if (f->inode == stat->st_ino && f->device == stat->st_dev)
			return fp_config_bad_line(reader, "included again from within itself",
						  path);
		depth++;
	}
	if (depth == MAX_DEPTH)
		return fp_config_bad_line(reader, "too many files one in the other", path);
	if (reader->file && reader->file_count >= MAX_FILES)
		return fp_config_bad_line(reader, "too many files", path);
	return 0;
}

/* Reads the file HOST; one that is not there is empty. */
static int read_file(struct fp_config_reader *reader, const char *host)
{
	int fd = open(host, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error;
	struct fp_config_file file = { .path = host };
	char *text = NULL;
	struct stat stat;

	if (fd < 0)
		return errno == ENOENT ? 0 : fp_why_system(reader->why, errno, host, "open");
	if (fstat(fd, &stat) != 0)
		error = fp_why_system(reader->why, errno, host, "stat");
	else if (!S_ISREG(stat.st_mode))
		error = fp_why_set(reader->why, FP_REASON_NOT_REGULAR, host, "%s", "");
	else
		error = check_nesting(reader, &stat, host);
	if (!error)
		error = read_text(reader, host, fd, &text);
	close(fd);
	if (error)
		return error;
	file.device = stat.st_dev;
	file.inode = stat.st_ino;
	reader->file_count++;
	error = read_lines(reader, &file, text);
	free(text);
	return error;
}

/* A link to /dev/null hides what it stands for, in a root without devices too. */
int fp_config_include(struct fp_config_reader *reader, const char *path)
{
	const struct fp_path *resolved = fp_root_resolve(&reader->config->root, path);

	if (!resolved)
		return no_memory(reader, path);
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
static int read_directory(struct fp_config_reader *reader, const char *host, struct list *ret_list)
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
static int find_directory(struct fp_config_reader *reader, const char *path, const char **ret_host)
{
	const struct fp_path *resolved = fp_root_resolve(&reader->config->root, path);

	if (!resolved)
		return no_memory(reader, path);
	if (resolved->error && resolved->error != ENOENT && resolved->error != ENOTDIR)
		return fp_why_system(reader->why, resolved->error, path, "open");
	*ret_host = !resolved->error && resolved->is_directory ? resolved->host : NULL;
	return 0;
}

/* Where the vendor's files are. */
enum vendor { IN_ROOT, ON_HOST, BUILT_IN };

/* The names of the files that are built in: what is shipped, for a program that is not installed. */
static int list_built_in(struct fp_config_reader *reader, struct list *ret_list)
{
	size_t count = sizeof(shipped_files) / sizeof(shipped_files[0]);

	ret_list->names = calloc(count, sizeof(struct dirent *));
	for (size_t i = 0; ret_list->names && i < count; i++) {
		ret_list->names[i] = calloc(1, sizeof(struct dirent));
		if (!ret_list->names[i])
			return no_memory(reader, shipped_files[i].name);
		strcpy(ret_list->names[i]->d_name, shipped_files[i].name);
		ret_list->count++;
	}
	return ret_list->names ? 0 : no_memory(reader, main_file);
}

static int read_built_in(struct fp_config_reader *reader, const char *name)
{
	struct fp_config_file file = { .path = name };
	size_t i = 0;
	char *text;
	int error;

	while (strcmp(shipped_files[i].name, name) != 0)
		i++;
	text = strdup(shipped_files[i].text);
	if (!text)
		return no_memory(reader, name);
	error = read_lines(reader, &file, text);
	free(text);
	return error;
}

static int read_named(struct fp_config_reader *reader, const char *directory, enum vendor vendor,
		      const char *name)
{
	const char *path = fp_arena_format(&reader->config->arena, "%s/%s", directory, name);

	if (!path)
		return no_memory(reader, directory);
	return vendor == BUILT_IN  ? read_built_in(reader, name)
	       : vendor == ON_HOST ? read_file(reader, path)
				   : fp_config_include(reader, path);
}

/* Where they are, and which. */
static int list_vendor(struct fp_config_reader *reader, const char *host, enum vendor *ret_vendor,
		       struct list *ret_list)
{
	const char *shipped = NULL;
	int error = find_directory(reader, vendor_directory, &shipped);

	if (error)
		return error;
	*ret_vendor = shipped ? IN_ROOT : access(host, F_OK) == 0 ? ON_HOST : BUILT_IN;
	return *ret_vendor == BUILT_IN ? list_built_in(reader, ret_list)
				       : read_directory(reader, shipped ? shipped : host, ret_list);
}

/* Reads both directories as one. */
static int read_directories(struct fp_config_reader *reader, const char *host)
{
	const char *local = NULL;
	struct list defaults = { 0 }, names = { 0 };
	enum vendor vendor = IN_ROOT;
	int error = list_vendor(reader, host, &vendor, &defaults), i = 0, k = 0;

	if (!error)
		error = find_directory(reader, local_directory, &local);
	if (!error && local)
		error = read_directory(reader, local, &names);
	while (!error && (i < defaults.count || k < names.count)) {
		int order = i == defaults.count ? 1
			    : k == names.count
				    ? -1
				    : strcmp(defaults.names[i]->d_name, names.names[k]->d_name);

		if (order < 0)
			error = read_named(reader, vendor == IN_ROOT ? vendor_directory : host,
					   vendor, defaults.names[i]->d_name);
		else
			error = read_named(reader, local_directory, IN_ROOT,
					   names.names[k]->d_name);
		i += order <= 0;
		k += order >= 0;
	}
	list_free(&defaults);
	list_free(&names);
	return error;
}

/* The file that SOURCE names, or the usual one. */
static int read_main_file(struct fp_config_reader *reader, const struct fp_config_source *source)
{
	const struct fp_path *path;

	if (!source->file)
		return fp_config_include(reader, main_file);
	path = source->file[0] == '/' ? fp_root_resolve(&reader->config->root, source->file) : NULL;
	if (source->file[0] == '/' && !path)
		return no_memory(reader, source->file);
	if (path && path->error)
		return fp_why_system(reader->why, path->error, source->file, "open");
	/* A relative name is the caller's. */
	if (!path && access(source->file, F_OK) != 0)
		return fp_why_system(reader->why, errno, source->file, "open");
	return read_file(reader, path ? path->host : source->file);
}

int fp_config_read(const struct fp_config_source *source, struct fp_config **ret_config,
		   struct fp_why *why)
{
	struct fp_config_reader reader = { .config = calloc(1, sizeof(*reader.config)),
					   .why = why };
	int error;

	if (!reader.config)
		return no_memory(&reader, main_file);
	reader.config->settings = (struct fp_config_settings){
		.placement = FP_PLACEMENT_DEFAULT,
		.min_saved_us = FP_POLICY_MIN_SAVED_US,
		.min_library_words = FP_POLICY_MIN_LIBRARY_WORDS,
	};
	error = fp_root_init(&reader.config->root, source->root) == 0
			? 0
			: no_memory(&reader, main_file);
	if (!error)
		error = read_directories(&reader,
					 source->vendor ? source->vendor : FP_VENDOR_CONFIGURATION);
	if (!error)
		error = read_main_file(&reader, source);
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
	fp_patterns_free(&config->float_for);
	fp_patterns_free(&config->libraries);
	fp_patterns_free(&config->excluded);
	fp_root_free(&config->root);
	free(config->directories);
	fp_arena_free(&config->arena);
	free(config);
}

const struct fp_config_settings *fp_config_settings(const struct fp_config *config)
{
	return &config->settings;
}

const struct fp_config_directory *fp_config_directories(const struct fp_config *config,
							size_t *ret_count)
{
	*ret_count = config->directory_count;
	return config->directories;
}

bool fp_config_floats_for(const struct fp_config *config, const char *path)
{
	return fp_patterns_find(&config->float_for, path) != NULL;
}

enum fp_config_library fp_config_library(const struct fp_config *config, const char *path)
{
	const struct fp_pattern *pattern = fp_patterns_find(&config->libraries, path);

	return pattern ? (enum fp_config_library)pattern->value : FP_CONFIG_SILENT;
}

int fp_config_exclude(struct fp_config *config, const char *pattern, struct fp_why *why)
{
	struct fp_config_file file = { .path = "-b" };
	struct fp_config_reader reader = { .config = config, .file = &file, .why = why };

	return fp_config_exclude_word(&reader, pattern);
}

bool fp_config_excludes_path(const struct fp_config *config, const char *path)
{
	return fp_patterns_find_path(&config->excluded, path) != NULL;
}

bool fp_config_excludes_name(const struct fp_config *config, const char *name)
{
	return fp_patterns_find_name(&config->excluded, name) != NULL;
}

bool fp_config_excludes(const struct fp_config *config, const char *path)
{
	char above[PATH_MAX];
	size_t length = strlen(path);

	if (length >= sizeof(above) || fp_patterns_find(&config->excluded, path))
		return true;
	if (fp_config_excludes_path(config, "/"))
		return true;
	memcpy(above, path, length + 1);
	while (length-- > 1) {
		if (above[length] != '/')
			continue;
		above[length] = '\0';
		if (fp_config_excludes_path(config, above))
			return true;
	}
	return false;
}

static bool is_below(const struct fp_config_directory *directory, const char *path)
{
	size_t length = strlen(directory->path);

	if (length == 1)
		return true;
	return strncmp(path, directory->path, length) == 0 &&
	       (!path[length] || (directory->is_directory && path[length] == '/'));
}

bool fp_config_covers(const struct fp_config *config, const char *path, dev_t device)
{
	for (size_t i = 0; i < config->directory_count; i++) {
		const struct fp_config_directory *directory = &config->directories[i];

		if (is_below(directory, path) &&
		    (!directory->one_file_system || directory->device == device))
			return !fp_config_excludes(config, path);
	}
	return false;
}

uint64_t fp_config_digest(const struct fp_config *config)
{
	return config->digest;
}
