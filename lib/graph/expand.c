/* expand.c - replaces $ORIGIN, $LIB and $PLATFORM, and splits lists of directories. */
#include "internal.h"

#include <errno.h>
#include <string.h>

static bool continues_name(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* The length of NAME or {NAME} at TEXT, or 0 (glibc elf/dl-load.c:is_dst). */
static size_t token_length(const char *text, const char *name)
{
	bool curly = text[0] == '{';
	size_t length = strlen(name);

	text += curly;
	if (strncmp(text, name, length) != 0)
		return 0;
	if (curly)
		return text[length] == '}' ? length + 2 : 0;
	return continues_name(text[length]) ? 0 : length;
}

/* The length of the token behind a dollar at TEXT, or 0; its value, which may be null. */
static size_t match_token(const struct fp_tokens *tokens, const char *text, const char **ret_value)
{
	const struct {
		const char *name, *value;
	} known[] = {
		{ "ORIGIN", tokens->origin },
		{ "PLATFORM", tokens->platform },
		{ "LIB", tokens->lib },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t length = token_length(text, known[i].name);

		if (length) {
			*ret_value = known[i].value;
			return length;
		}
	}
	return 0;
}

/* glibc elf/dl-load.c:_dl_dst_substitute, without secure mode. */
char *fp_tokens_expand(const struct fp_tokens *tokens, struct fp_arena *arena, const char *text,
		       bool *ret_found)
{
	char *result = NULL, *out = NULL;
	size_t size = 1;
	bool found = false;

	/* Once to measure, once to write. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (const char *at = text; *at;) {
			const char *value = at;
			size_t token = *at == '$' ? match_token(tokens, at + 1, &value) : 0;
			size_t length = 1;

			if (token) {
				found = true;
				if (!value) {
					if (ret_found)
						*ret_found = true;
					return fp_arena_string(arena, "");
				}
				length = strlen(value);
			}
			if (pass)
				out = mempcpy(out, value, length);
			else
				size += length;
			at += token ? token + 1 : 1;
		}
		if (pass == 0) {
			result = out = fp_arena_alloc(arena, size);
			if (!result)
				return NULL;
		}
	}
	if (ret_found)
		*ret_found = found;
	return result;
}

/* NAME with one slash at its end, unless it is a slash (glibc elf/dl-load.c:fillin_rpath). */
static char *end_with_slash(struct fp_arena *arena, const char *name)
{
	size_t length = strlen(name);

	while (length > 1 && name[length - 1] == '/')
		length--;
	return fp_arena_format(arena, "%.*s%s", (int)length, name,
			       name[length - 1] == '/' ? "" : "/");
}

/* glibc elf/dl-load.c:decompose_rpath, fillin_rpath.

   A relative directory is one below the current directory that the program will be started in.
   Nothing is known of that, so it is taken to hold no library; if it does, another file is loaded
   than was prelinked, which the start notices. */
int fp_dirs_split(const char *text, const char *separators, const struct fp_tokens *tokens,
		  struct fp_arena *arena, struct fp_dirs *ret_dirs)
{
	struct fp_dirs dirs = { 0 };
	size_t parts = 1;

	for (const char *at = text; *at; at++)
		parts += strchr(separators, *at) != NULL;
	dirs.names = fp_arena_array(arena, parts, sizeof(*dirs.names));
	if (!dirs.names)
		return -ENOMEM;
	while (parts-- > 0) {
		size_t length = strcspn(text, separators), known = 0;
		char *name = fp_arena_substring(arena, text, length);

		text += length + (text[length] != '\0');
		if (name)
			name = fp_tokens_expand(tokens, arena, name, NULL);
		if (!name)
			return -ENOMEM;
		if (name[0] != '/')
			continue;
		name = end_with_slash(arena, name);
		if (!name)
			return -ENOMEM;
		while (known < dirs.count && strcmp(dirs.names[known], name) != 0)
			known++;
		if (known == dirs.count)
			dirs.names[dirs.count++] = name;
	}
	*ret_dirs = dirs;
	return 0;
}
