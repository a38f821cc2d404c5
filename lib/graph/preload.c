/* preload.c - the libraries of LD_PRELOAD and /etc/ld.so.preload (glibc elf/rtld.c:dl_main). */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRELOAD_FILE "/etc/ld.so.preload"

enum { MAX_SIZE = 1 << 20 };

/* Like ld.so, which says so and starts the program all the same, this passes over what is not found
   (glibc elf/rtld.c:do_preload). */
static int load(struct fp_search *search, const char *name, struct fp_why *why)
{
	struct fp_node *node;
	struct fp_why local = { 0 };
	int error = fp_search_load(search, search->nodes[0], name, &node, &local);

	if (!error || local.reason == FP_REASON_MISSING_LIBRARY)
		return 0;
	if (why)
		*why = local;
	return error;
}

static int load_list(struct fp_search *search, char *list, const char *separators,
		     struct fp_why *why)
{
	char *name;
	int error = 0;

	while (!error && (name = strsep(&list, separators)))
		if (*name)
			error = load(search, name, why);
	return error;
}

/* The text of the preload file, to be freed; null when there is none that can be read. */
static char *read_preload_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat stat;
	char *text = NULL;
	ssize_t got = -1;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size <= MAX_SIZE) {
		text = calloc(1, (size_t)stat.st_size + 1);
		if (text)
			got = read(fd, text, (size_t)stat.st_size);
	}
	close(fd);
	if (got < 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int load_file(struct fp_search *search, struct fp_why *why)
{
	const struct fp_path *path = fp_root_resolve(&search->loader->root, PRELOAD_FILE);
	char *text;
	int error;

	if (!path)
		return fp_why_system(why, ENOMEM, PRELOAD_FILE, "open");
	text = path->error ? NULL : read_preload_file(path->host);
	if (!text)
		return 0;
	for (char *at = text; (at = strchr(at, '#'));)
		while (*at && *at != '\n')
			*at++ = ' ';
	error = load_list(search, text, ": \t\n", why);
	free(text);
	return error;
}

int fp_search_preload(struct fp_search *search, struct fp_why *why)
{
	char *list = NULL;
	int error = 0;

	if (search->loader->preload) {
		list = fp_arena_string(&search->scratch, search->loader->preload);
		if (!list)
			return fp_why_system(why, ENOMEM, search->loader->preload, "open");
		error = load_list(search, list, " :", why);
	}
	return error ? error : load_file(search, why);
}
