/* directives.c - what the lines of the configuration mean: directories, exclusions, includes, placement, thresholds. */
#include "directives.h"

#include <fastprelink/abi.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A word of the line that is read, while it is expanded. */
struct words {
	struct fp_config_reader *reader;
	struct fp_patterns *patterns;
	int value;
	bool one_file_system, dereference;
};

static int no_memory(const struct fp_config_reader *reader)
{
	return fp_why_system(reader->why, ENOMEM, reader->file->path, "read");
}

/* Makes a refusal of ERROR, which the expansion of WORD gave; one that has a reason already is passed on. */
static int expanded(const struct fp_config_reader *reader, int error, const char *word)
{
	switch (error) {
	case -EINVAL:
		return fp_config_bad_line(reader, "a brace without its partner", word);
	case -E2BIG:
		return fp_config_bad_line(reader, "stands for too many names", word);
	default:
		return error;
	}
}

static int add_pattern(const char *word, void *context)
{
	struct words *words = context;
	struct fp_config *config = words->reader->config;
	int error =
		fp_patterns_add(words->patterns, &config->arena, &config->root, word, words->value);

	if (error == -EINVAL)
		return fp_config_bad_line(words->reader, "neither an absolute path nor a name",
					  word);
	return error ? no_memory(words->reader) : 0;
}

/* Adds what WORD stands for to PATTERNS. */
static int read_pattern(struct fp_config_reader *reader, struct fp_patterns *patterns,
			const char *word, int value)
{
	struct words words = { .reader = reader, .patterns = patterns, .value = value };

	return expanded(reader, fp_expand_braces(word, add_pattern, &words), word);
}

/* Puts WORD into the digest of what was read. */
static void digest(struct fp_config *config, const char *word)
{
	for (; *word; word++)
		config->digest = fp_mix(config->digest, (unsigned char)*word);
	config->digest = fp_mix(config->digest, 0);
}

int fp_config_exclude_word(struct fp_config_reader *reader, const char *word)
{
	digest(reader->config, word);
	return read_pattern(reader, &reader->config->excluded, word, 0);
}

static int read_float_for(struct fp_config_reader *reader, const char *word)
{
	return read_pattern(reader, &reader->config->float_for, word, 0);
}

static int read_float(struct fp_config_reader *reader, const char *word)
{
	return read_pattern(reader, &reader->config->libraries, word, FP_CONFIG_FLOATS);
}

static int read_fix(struct fp_config_reader *reader, const char *word)
{
	return read_pattern(reader, &reader->config->libraries, word, FP_CONFIG_FIXED);
}

static int read_placement(struct fp_config_reader *reader, const char *word)
{
	static const char *const names[] = {
		[FP_PLACEMENT_DEFAULT] = "default",
		[FP_PLACEMENT_FIXED] = "fixed",
		[FP_PLACEMENT_FLOATING] = "aslr",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && strcmp(word, names[i]) == 0) {
			reader->config->settings.placement = (enum fp_placement)i;
			return 0;
		}
	return fp_config_bad_line(reader, "placement is default, fixed or aslr, not", word);
}

static int read_carrier(struct fp_config_reader *reader, const char *word)
{
	if (strcmp(word, "auto") != 0 && strcmp(word, "no") != 0)
		return fp_config_bad_line(reader, "carrier is auto or no, not", word);
	reader->config->settings.no_carrier = strcmp(word, "no") == 0;
	return 0;
}

static int read_number(struct fp_config_reader *reader, const char *word, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(word, &end, 10);
	if (!isdigit((unsigned char)*word) || *end || errno || *ret_number > UINT32_MAX)
		return fp_config_bad_line(reader, "not a number", word);
	return 0;
}

static int read_min_saved(struct fp_config_reader *reader, const char *word)
{
	return read_number(reader, word, &reader->config->settings.min_saved_us);
}

static int read_min_library_words(struct fp_config_reader *reader, const char *word)
{
	return read_number(reader, word, &reader->config->settings.min_library_words);
}

static const struct directive {
	const char *name;
	const char *argument;
	int (*read)(struct fp_config_reader *reader, const char *word);
} directives[] = {
	{ "float-for", "one pattern", read_float_for },
	{ "float", "one pattern", read_float },
	{ "fix", "one pattern", read_fix },
	{ "placement", "one word", read_placement },
	{ "carrier", "one word", read_carrier },
	{ "min-saved-us", "one number", read_min_saved },
	{ "min-library-words", "one number", read_min_library_words },
};

/* The place of PATH in the list of directories, or where it belongs. */
static size_t directory_place(const struct fp_config *config, const char *path)
{
	size_t low = 0, high = config->directory_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strcmp(config->directories[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Adds DIRECTORY; for one that is there, the new line counts. */
static int insert_directory(struct fp_config *config, const struct fp_config_directory *directory)
{
	size_t at = directory_place(config, directory->path);
	struct fp_config_directory *list = config->directories;

	if (at < config->directory_count && strcmp(list[at].path, directory->path) == 0) {
		list[at] = *directory;
		return 0;
	}
	if (config->directory_count == config->directory_capacity) {
		size_t capacity = config->directory_capacity ? config->directory_capacity * 2 : 32;

		list = reallocarray(list, capacity, sizeof(*list));
		if (!list)
			return -ENOMEM;
		config->directories = list;
		config->directory_capacity = capacity;
	}
	memmove(list + at + 1, list + at, (config->directory_count - at) * sizeof(*list));
	list[at] = *directory;
	config->directory_count++;
	return 0;
}

/* A directory or file of the list, as it is named; what is not there is passed over. */
static int add_directory(const char *word, void *context)
{
	const struct words *words = context;
	struct fp_config *config = words->reader->config;
	const struct fp_path *path = fp_root_resolve(&config->root, word);
	struct fp_config_directory directory = {
		.one_file_system = words->one_file_system,
		.dereference = words->dereference,
	};
	struct stat stat;

	if (!path)
		return no_memory(words->reader);
	if (path->error || lstat(*path->host ? path->host : "/", &stat) != 0)
		return 0;
	directory.path = fp_arena_string(&config->arena, path->canonical);
	directory.device = stat.st_dev;
	directory.is_directory = S_ISDIR(stat.st_mode);
	if (!directory.path || insert_directory(config, &directory) != 0)
		return no_memory(words->reader);
	return 0;
}

static int include_file(const char *word, void *context)
{
	return fp_config_include(((const struct words *)context)->reader, word);
}

static int expand_path(const struct words *words, const char *word, fp_expand_visit *visit)
{
	int error;

	if (word[0] != '/')
		return fp_config_bad_line(words->reader, "not an absolute path", word);
	error = fp_expand_glob(&words->reader->config->root, word, visit, (void *)words);
	return error == -ENOMEM ? no_memory(words->reader) : error;
}

static int expand_directory(const char *word, void *context)
{
	return expand_path(context, word, add_directory);
}

static int expand_include(const char *word, void *context)
{
	return expand_path(context, word, include_file);
}

/* A line of classic prelink's: options, and one path. */
static int read_path_line(struct fp_config_reader *reader, char **line, size_t count)
{
	struct words words = { .reader = reader };
	bool exclude = false, include = false;
	size_t i = 0;

	for (; i < count && line[i][0] == '-'; i++) {
		if (strcmp(line[i], "-l") == 0)
			words.one_file_system = true;
		else if (strcmp(line[i], "-h") == 0)
			words.dereference = true;
		else if (strcmp(line[i], "-b") == 0)
			exclude = true;
		else if (strcmp(line[i], "-c") == 0)
			include = true;
		else
			return fp_config_bad_line(reader, "unknown option", line[i]);
	}
	if (include && i > 1)
		return fp_config_bad_line(reader, "-c goes with no other option", "");
	if (i + 1 != count)
		return fp_config_bad_line(reader,
					  i == count ? "a path is missing" : "more than one path",
					  i == count ? "" : line[i + 1]);
	if (exclude)
		return fp_config_exclude_word(reader, line[i]);
	return expanded(
		reader,
		fp_expand_braces(line[i], include ? expand_include : expand_directory, &words),
		line[i]);
}

int fp_config_directive(struct fp_config_reader *reader, char **words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		digest(reader->config, words[i]);
	if (strchr("/-{", words[0][0]))
		return read_path_line(reader, words, count);
	for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
		char *what;

		if (strcmp(words[0], directives[i].name) != 0)
			continue;
		if (count == 2)
			return directives[i].read(reader, words[1]);
		what = fp_arena_format(&reader->config->arena, "%s takes %s", directives[i].name,
				       directives[i].argument);
		return what ? fp_config_bad_line(reader, what, "") : no_memory(reader);
	}
	return fp_config_bad_line(reader, "unknown directive", words[0]);
}
