/* driver.c - shows what the configuration says about the system and its files.

     driver config ROOT VENDOR FILE PATH...  prints the settings, the directories with their options, and for each PATH whether it
                                             is covered, excluded, and how it is placed; or what is wrong.  "-" as ROOT or FILE: none
     driver exclude ROOT PATTERN PATH        prints whether PATH is excluded once PATTERN is, by the command line
     driver select ROOT VENDOR FILE OPTIONS PATH...  prints kind and path of each selected file, and how many names were passed over.
                                             OPTIONS are letters: a, the whole system; l, h; c, the paths are changes; k, everything
                                             is known to be data; q, only the count is printed */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "system/select.h"

static const char *given(const char *argument)
{
	return strcmp(argument, "-") == 0 ? NULL : argument;
}

static int complain(const struct fp_why *why)
{
	printf("%s: %s: %s\n", fp_reason_id(why->reason), why->file, why->detail);
	return 1;
}

static void show_path(const struct fp_config *config, const char *path)
{
	static const char *const placements[] = { "silent", "floats", "fixed" };
	size_t count;
	const struct fp_config_directory *directories = fp_config_directories(config, &count);

	printf("%s%s%s%s\n", path,
	       fp_config_covers(config, path, count ? directories[0].device : 0) ? " covered" : "",
	       fp_config_excludes(config, path) ? " excluded " : " ",
	       placements[fp_config_library(config, path)]);
}

static int show_config(char **arguments)
{
	const struct fp_config_source source = { .root = given(arguments[0]),
						 .vendor = arguments[1],
						 .file = given(arguments[2]) };
	static const char *const placements[] = {
		[FP_PLACEMENT_DEFAULT] = "default",
		[FP_PLACEMENT_FIXED] = "fixed",
		[FP_PLACEMENT_FLOATING] = "aslr",
	};
	const struct fp_config_directory *directories;
	const struct fp_config_settings *settings;
	struct fp_config *config;
	struct fp_why why;
	size_t count;

	if (fp_config_read(&source, &config, &why) != 0)
		return complain(&why);
	settings = fp_config_settings(config);
	printf("placement=%s carrier=%s saved=%" PRIu64 " words=%" PRIu64 "\n",
	       placements[settings->placement], settings->no_carrier ? "no" : "auto",
	       settings->min_saved_us, settings->min_library_words);
	directories = fp_config_directories(config, &count);
	for (size_t i = 0; i < count; i++)
		printf("%s%s%s%s\n", directories[i].one_file_system ? "-l " : "",
		       directories[i].dereference ? "-h " : "", directories[i].path,
		       directories[i].is_directory ? "/" : "");
	for (arguments += 3; *arguments; arguments++)
		show_path(config, *arguments);
	fp_config_free(config);
	return 0;
}

static int show_exclusion(char **arguments)
{
	const struct fp_config_source source = { .root = arguments[0], .vendor = "/nonexistent" };
	struct fp_config *config;
	struct fp_why why;

	if (fp_config_read(&source, &config, &why) != 0 ||
	    fp_config_exclude(config, arguments[1], &why) != 0)
		return complain(&why);
	printf("%d\n", fp_config_excludes(config, arguments[2]));
	fp_config_free(config);
	return 0;
}

struct selecting {
	size_t counts[FP_SELECT_KINDS];
	bool quiet;
};

static int show_selected(const struct fp_selected *file, void *context)
{
	static const char *const kinds[] = { "unknown", "other", "program", "library" };
	struct selecting *selecting = context;

	selecting->counts[file->kind]++;
	if (!selecting->quiet)
		printf("%s%s %s\n", kinds[file->kind], file->is_named ? " named" : "", file->path);
	return 0;
}

static bool know(const char *host, const struct stat *stat, enum fp_select_kind *ret_kind,
		 void *context)
{
	(void)host;
	(void)stat;
	(void)context;
	*ret_kind = FP_SELECT_OTHER;
	return true;
}

static int show_selection(char **arguments)
{
	const struct fp_config_source source = { .root = given(arguments[0]),
						 .vendor = arguments[1],
						 .file = given(arguments[2]) };
	size_t passed_over = 0;
	const char *options = arguments[3];
	struct fp_selection what = {
		.root = source.root,
		.paths = arguments + 4,
		.whole_system = strchr(options, 'a'),
		.one_file_system = strchr(options, 'l'),
		.dereference = strchr(options, 'h'),
		.paths_are_changes = strchr(options, 'c'),
		.known = strchr(options, 'k') ? know : NULL,
		.ret_passed_over = &passed_over,
	};
	struct selecting selecting = { .quiet = strchr(options, 'q') };
	struct fp_config *config;
	struct fp_why why;

	while (what.paths[what.path_count])
		what.path_count++;
	if (fp_config_read(&source, &config, &why) != 0)
		return complain(&why);
	what.config = config;
	if (fp_select(&what, show_selected, &selecting, &why) != 0)
		return complain(&why);
	if (selecting.quiet)
		printf("other=%zu programs=%zu libraries=%zu\n", selecting.counts[FP_SELECT_OTHER],
		       selecting.counts[FP_SELECT_PROGRAM], selecting.counts[FP_SELECT_LIBRARY]);
	if (what.paths_are_changes)
		printf("%zu passed over\n", passed_over);
	fp_config_free(config);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5 && strcmp(argv[1], "config") == 0)
		return show_config(argv + 2);
	if (argc == 5 && strcmp(argv[1], "exclude") == 0)
		return show_exclusion(argv + 2);
	if (argc >= 6 && strcmp(argv[1], "select") == 0)
		return show_selection(argv + 2);
	return 2;
}
