/* driver.c - shows what the engine's placement parts decide: layout, configuration, guarded and fixed libraries.

     driver layout                 reads a layout from standard input, one number or word after the other:
                                   start random? seed conserve? words, occupied ranges (count, then start end), places
                                   (count, then room alignment base and WORDS words); prints the bases or "full"
     driver config ROOT VENDOR PATH...  prints for each PATH 1 where float-for matches, else 0; or what is wrong
     driver guard ROOT VENDOR PATH...   prints for each library PATH kind and program, or "-", after the counts
     driver fixed ROOT             prints path, base and room of each fixed library */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout/layout.h"
#include "system/guard.h"
#include "system/scan.h"

static uint64_t number(void)
{
	uint64_t value;

	if (scanf("%" SCNu64, &value) != 1)
		exit(2);
	return value;
}

static int show_layout(void)
{
	const struct fp_machine *machine = fp_machine_find(EM_X86_64);
	struct fp_layout layout = { .window_start = machine->window_start,
				    .window_end = machine->window_end,
				    .page_size = machine->page_size };
	struct fp_range *occupied;
	struct fp_place *places;
	size_t count;
	int error;

	layout.start = number();
	layout.random = number();
	layout.seed = number();
	layout.conserve_memory = number();
	layout.program_words = number();
	layout.occupied_count = number();
	layout.occupied = occupied = calloc(layout.occupied_count + 1, sizeof(*occupied));
	for (size_t i = 0; i < layout.occupied_count; i++) {
		occupied[i].start = number();
		occupied[i].end = number();
	}
	count = number();
	places = calloc(count + 1, sizeof(*places));
	for (size_t i = 0; i < count; i++) {
		uint64_t *programs = calloc(layout.program_words + 1, sizeof(*programs));

		places[i].room = number();
		places[i].alignment = number();
		places[i].base = number();
		places[i].programs = layout.program_words ? programs : NULL;
		for (size_t w = 0; w < layout.program_words; w++)
			programs[w] = number();
	}
	error = fp_layout_assign(&layout, places, count);
	if (error)
		return puts(error == -ENOSPC ? "full" : "error") < 0;
	for (size_t i = 0; i < count; i++)
		printf("%" PRIu64 "\n", (uint64_t)places[i].base);
	return 0;
}

static int complain(const struct fp_why *why)
{
	printf("%s: %s: %s\n", fp_reason_id(why->reason), why->file, why->detail);
	return 1;
}

static int show_config(const char *root, const char *vendor, char **paths)
{
	const struct fp_config_source source = { .root = root, .vendor = vendor };
	struct fp_config *config;
	struct fp_why why;

	if (fp_config_read(&source, &config, &why) != 0)
		return complain(&why);
	for (; *paths; paths++)
		printf("%d\n", fp_config_floats_for(config, *paths));
	fp_config_free(config);
	return 0;
}

static void show_guards(struct fp_loader *loader, const struct fp_guard *guard, char **paths)
{
	const struct fp_guard_counts *counts = fp_guard_counts(guard);

	for (int kind = FP_GUARD_NONE + 1; kind < FP_GUARD_KINDS; kind++)
		printf("%s=%zu ", fp_guard_kind_name(kind), counts->programs[kind]);
	printf("failed=%zu libraries=%zu\n", counts->failed, counts->libraries);
	for (; *paths; paths++) {
		const struct fp_guard_entry *entry;
		struct fp_object *object;
		struct fp_why why;

		if (fp_loader_open(loader, *paths, &object, &why) != 0) {
			complain(&why);
			continue;
		}
		entry = fp_guard_find(guard, object->path);
		if (entry)
			printf("%s %s\n", fp_guard_kind_name(entry->kind), entry->program);
		else
			puts("-");
	}
}

static int show_guard(const char *root, const char *vendor, char **paths)
{
	const struct fp_config_source source = { .root = root, .vendor = vendor };
	struct fp_loader_options options = { .root = root };
	struct fp_config *config = NULL;
	struct fp_loader *loader = NULL;
	struct fp_guard *guard = NULL;
	struct fp_why why;
	int error = fp_config_read(&source, &config, &why);

	if (!error)
		error = fp_loader_new(&options, &loader, &why);
	if (!error)
		guard = fp_guard_new(loader);
	if (error)
		complain(&why);
	else if (!guard || fp_guard_scan(guard, root, config) != 0)
		puts("out of memory");
	else
		show_guards(loader, guard, paths);
	fp_guard_free(guard);
	fp_loader_free(loader);
	fp_config_free(config);
	return error != 0;
}

static int print_fixed(const char *path, uint64_t base, uint64_t room, void *context)
{
	(void)context;
	printf("%s %#" PRIx64 " %#" PRIx64 "\n", path, base, room);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "layout") == 0)
		return show_layout();
	if (argc >= 4 && strcmp(argv[1], "config") == 0)
		return show_config(argv[2], argv[3], argv + 4);
	if (argc >= 4 && strcmp(argv[1], "guard") == 0)
		return show_guard(argv[2], argv[3], argv + 4);
	if (argc == 3 && strcmp(argv[1], "fixed") == 0)
		return fp_scan_fixed(argv[2], print_fixed, NULL) != 0;
	return 2;
}
