/* pattern.c - file name patterns of the configuration: braces, wildcards, and lists of them that answer fast. */
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BRACES = 4096, MAX_NESTING = 64, MAX_PATHS = 65536 };

static const char wildcards[] = "*?[\\";

/* GLOB with what stands before its first wildcard followed as far as it exists; null when memory is out. */
static const char *make_real(struct fp_arena *arena, struct fp_root *root, const char *glob)
{
	size_t length = strcspn(glob, wildcards);

	if (glob[length])
		while (glob[length] != '/')
			length--;
	while (length > 0) {
		char *head = fp_arena_substring(arena, glob, length);
		const struct fp_path *path = head ? fp_root_resolve(root, head) : NULL;

		if (!path)
			return NULL;
		if (!path->error)
			return fp_arena_format(arena, "%s%s",
					       strcmp(path->canonical, "/") == 0 && glob[length]
						       ? ""
						       : path->canonical,
					       glob + length);
		while (glob[length - 1] != '/')
			length--;
		length--;
	}
	return fp_arena_string(arena, glob);
}

/* What follows the dot of GLOB when it is "*.ENDING", else null. */
static const char *plain_ending(const char *glob)
{
	return strncmp(glob, "*.", 2) == 0 && !strpbrk(glob + 2, wildcards) &&
			       !strchr(glob + 2, '.')
		       ? glob + 2
		       : NULL;
}

static void push(struct fp_pattern **list, struct fp_pattern *pattern)
{
	pattern->next = *list;
	*list = pattern;
}

int fp_patterns_add(struct fp_patterns *patterns, struct fp_arena *arena, struct fp_root *root,
		    const char *glob, int value)
{
	struct fp_pattern *pattern = fp_arena_alloc(arena, sizeof(*pattern));
	char *copy = fp_arena_string(arena, glob);
	size_t length = strlen(glob);

	if (!pattern || !copy)
		return -ENOMEM;
	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = '\0';
	if (!length || (copy[0] != '/' && strchr(copy, '/')))
		return -EINVAL;
	pattern->glob = copy[0] == '/' ? make_real(arena, root, copy) : copy;
	if (!pattern->glob)
		return -ENOMEM;
	pattern->literal = strcspn(pattern->glob, wildcards);
	pattern->serial = ++patterns->count;
	pattern->value = value;
	if (copy[0] == '/')
		push(&patterns->paths, pattern);
	else if (!pattern->glob[pattern->literal])
		return fp_strmap_put(&patterns->literals, pattern->glob, pattern);
	else if (plain_ending(pattern->glob))
		return fp_strmap_put(&patterns->endings, plain_ending(pattern->glob), pattern);
	else
		push(&patterns->names, pattern);
	return 0;
}

void fp_patterns_free(struct fp_patterns *patterns)
{
	fp_strmap_free(&patterns->literals);
	fp_strmap_free(&patterns->endings);
	*patterns = (struct fp_patterns){ 0 };
}

static const struct fp_pattern *later(const struct fp_pattern *a, const struct fp_pattern *b)
{
	return !a || (b && b->serial > a->serial) ? b : a;
}

/* The first pattern of LIST that matches TEXT. */
static const struct fp_pattern *find(const struct fp_pattern *list, const char *text, int flags)
{
	for (; list; list = list->next)
		if (strncmp(list->glob, text, list->literal) == 0 &&
		    (list->glob[list->literal] ? fnmatch(list->glob, text, flags) == 0
					       : !text[list->literal]))
			break;
	return list;
}

const struct fp_pattern *fp_patterns_find_path(const struct fp_patterns *patterns, const char *path)
{
	return find(patterns->paths, path, FNM_PATHNAME);
}

const struct fp_pattern *fp_patterns_find_name(const struct fp_patterns *patterns, const char *name)
{
	const char *dot = strrchr(name, '.');

	return later(
		later(find(patterns->names, name, 0), fp_strmap_get(&patterns->literals, name)),
		dot ? fp_strmap_get(&patterns->endings, dot + 1) : NULL);
}

const struct fp_pattern *fp_patterns_find(const struct fp_patterns *patterns, const char *path)
{
	const char *slash = strrchr(path, '/');

	return later(fp_patterns_find_path(patterns, path),
		     fp_patterns_find_name(patterns, slash ? slash + 1 : path));
}

/* An expansion in progress. */
struct expansion {
	struct fp_root *root;
	fp_expand_visit *visit;
	void *context;
	unsigned count, depth;
};

/* The first of the characters STOPS in TEXT outside of inner braces, or null. */
static const char *find_outside(const char *text, const char *stops)
{
	unsigned depth = 0;

	for (; *text; text++) {
		if (depth == 0 && strchr(stops, *text))
			return text;
		if (*text == '\\' && text[1])
			text++;
		else if (*text == '{')
			depth++;
		else if (*text == '}' && depth > 0)
			depth--;
	}
	return NULL;
}

static int expand_braces(struct expansion *expansion, const char *word)
{
	const char *open = find_outside(word, "{}"), *from, *close;
	int error = 0;

	if (!open)
		return ++expansion->count > MAX_BRACES ? -E2BIG
						       : expansion->visit(word, expansion->context);
	close = *open == '{' ? find_outside(open + 1, "}") : NULL;
	if (!close)
		return -EINVAL;
	if (++expansion->depth > MAX_NESTING)
		return -E2BIG;
	for (from = open + 1; from <= close && !error;) {
		const char *end = find_outside(from, ",}");
		char *next;

		if (asprintf(&next, "%.*s%.*s%s", (int)(open - word), word, (int)(end - from), from,
			     close + 1) < 0)
			return -ENOMEM;
		error = expand_braces(expansion, next);
		free(next);
		from = end + 1;
	}
	expansion->depth--;
	return error;
}

int fp_expand_braces(const char *word, fp_expand_visit *visit, void *context)
{
	struct expansion expansion = { .visit = visit, .context = context };

	return expand_braces(&expansion, word);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int expand_glob(struct expansion *expansion, const char *head, const char *rest);

/* COMPONENT, which has wildcards, stands for names in the directory HEAD. */
static int expand_component(struct expansion *expansion, const char *head, const char *component,
			    const char *rest)
{
	const struct fp_path *directory = fp_root_resolve(expansion->root, *head ? head : "/");
	struct dirent **names = NULL;
	int count, error = 0;

	if (!directory)
		return -ENOMEM;
	if (directory->error || !directory->is_directory)
		return 0;
	count = scandir(*directory->host ? directory->host : "/", &names, NULL, compare_names);
	if (count < 0)
		return errno == ENOMEM ? -ENOMEM : 0;
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		char *next = NULL;

		if (!error && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
		    fnmatch(component, name, FNM_PERIOD) == 0) {
			error = asprintf(&next, "%s/%s", head, name) < 0 ? -ENOMEM : 0;
			if (!error)
				error = expand_glob(expansion, next, rest);
			free(next);
		}
		free(names[i]);
	}
	free(names);
	return error;
}

/* HEAD is done; REST, empty or with slashes in front, is to follow. */
static int expand_glob(struct expansion *expansion, const char *head, const char *rest)
{
	size_t slashes = strspn(rest, "/"), length = strcspn(rest + slashes, "/");
	char *component, *next = NULL;
	int error;

	if (!length)
		return ++expansion->count > MAX_PATHS
			       ? -E2BIG
			       : expansion->visit(*head ? head : "/", expansion->context);
	component = strndup(rest + slashes, length);
	if (!component)
		return -ENOMEM;
	rest += slashes + length;
	if (strpbrk(component, wildcards)) {
		error = expand_component(expansion, head, component, rest);
	} else {
		error = asprintf(&next, "%s/%s", head, component) < 0 ? -ENOMEM : 0;
		if (!error)
			error = expand_glob(expansion, next, rest);
		free(next);
	}
	free(component);
	return error;
}

int fp_expand_glob(struct fp_root *root, const char *glob, fp_expand_visit *visit, void *context)
{
	struct expansion expansion = { .root = root, .visit = visit, .context = context };

	return expand_glob(&expansion, "", glob);
}
