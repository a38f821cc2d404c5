/* place.c - gives the libraries of one program fixed addresses, with their natural bindings: PLACE LIBDIR BASE PROGRAM [FLOATING...].
   Those that are not in LIBDIR, that may not be shifted or whose base names are listed float.  Prints "name base" for
   each library that is placed, in ld.so's order. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../lib/rewrite/shift.h"

enum { MAX = 4096, MAX_ALIGNMENT = 2 << 20 };

static struct {
	struct fp_object *object;
	fp_addr base;
} placed[MAX];
static size_t placed_count;

static void check(int error, const struct fp_why *why)
{
	if (!error)
		return;
	fprintf(stderr, "place: %s: reason %d: %s\n", why->file, (int)why->reason, why->detail);
	exit(1);
}

static const char *base_name(const struct fp_object *object)
{
	return strrchr(object->path, '/') + 1;
}

static fp_addr base_of(const struct fp_object *object)
{
	for (size_t i = 0; i < placed_count; i++)
		if (placed[i].object == object)
			return placed[i].base;
	return 0;
}

/* The first base from NEXT on that OBJECT takes, or 0. */
static fp_addr find_base(const struct fp_object *object, fp_addr next)
{
	for (fp_addr align = 4096; align <= MAX_ALIGNMENT; align *= 2) {
		fp_addr base = (next + align - 1) & -align;
		struct fp_buffer file = { 0 };
		struct fp_why why;

		if (fp_shift_library(object, base, NULL, &file, &why) == 0) {
			fp_buffer_free(&file);
			return base;
		}
	}
	return 0;
}

static void choose(const struct fp_closure *closure, const char *directory, fp_addr next,
		   char *const *floating)
{
	for (size_t i = 1; i < closure->count; i++) {
		struct fp_object *object = closure->members[i].object;
		bool floats = strncmp(object->path, directory, strlen(directory)) != 0;
		fp_addr base;

		for (char *const *name = floating; *name; name++)
			floats |= strcmp(*name, base_name(object)) == 0;
		base = floats ? 0 : find_base(object, next);
		if (!base)
			continue;
		placed[placed_count].object = object;
		placed[placed_count++].base = base;
		next = base + fp_shift_room(object);
		printf("%s %#llx\n", base_name(object), (unsigned long long)base);
	}
}

static void write_file(const char *path, const struct fp_buffer *file)
{
	char name[4096];
	FILE *stream;

	snprintf(name, sizeof(name), "%s.new", path);
	stream = fopen(name, "wb");
	if (!stream || fwrite(file->bytes, 1, file->size, stream) != file->size ||
	    fclose(stream) != 0 || chmod(name, 0755) != 0 || rename(name, path) != 0) {
		fprintf(stderr, "place: %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static void place(struct fp_loader *loader, struct fp_object *object, fp_addr base)
{
	struct fp_closure *alone;
	struct fp_buffer file = { 0 };
	struct fp_why why = { 0 };
	fp_addr *bases;

	check(fp_closure_build_alone(loader, object->path, &alone, &why), &why);
	bases = calloc(alone->count, sizeof(*bases));
	for (size_t i = 0; i < alone->count; i++)
		bases[i] = base_of(alone->members[i].object);
	check(fp_shift_library(object, base, &(struct fp_natural){ alone, bases }, &file, &why),
	      &why);
	write_file(object->path, &file);
	fp_buffer_free(&file);
	fp_closure_free(alone);
	free(bases);
}

int main(int argc, char **argv)
{
	struct fp_loader_options options = { .library_path = argv[1] };
	struct fp_closure *closure;
	struct fp_loader *loader;
	struct fp_why why = { 0 };

	if (argc < 4)
		return 2;
	check(fp_loader_new(&options, &loader, &why), &why);
	check(fp_closure_build(loader, argv[3], &closure, &why), &why);
	choose(closure, argv[1], strtoull(argv[2], NULL, 0), argv + 4);
	for (size_t i = 0; i < placed_count; i++)
		place(loader, placed[i].object, placed[i].base);
	fp_closure_free(closure);
	fp_loader_free(loader);
	return 0;
}
