/* driver.c - shows what the configuration says about the system and its files.

     driver config ROOT VENDOR FILE PATH...  prints the settings, the directories with their options, and for each PATH whether it
                                             is covered, excluded, and how it is placed; or what is wrong.  "-" as ROOT or FILE: none */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "system/config.h"

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
	static const char *const placements[] = { "default", "fixed", "aslr" };
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

int main(int argc, char **argv)
{
	if (argc >= 5 && strcmp(argv[1], "config") == 0)
		return show_config(argv + 2);
	return 2;
}
