/* text.c - how names, sizes and reasons are written. */
#include "text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_printable(const char *text, char *ret_text, size_t size)
{
	size_t used = 0;

	for (; *text && used + 5 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			used += (size_t)snprintf(ret_text + used, size - used, "\\%03o", c);
		else
			ret_text[used++] = *text;
	}
	ret_text[used] = '\0';
}

char *text_one_line(const char *text)
{
	char *line = malloc(2 * strlen(text) + 1), *at = line;

	for (; line && *text; text++) {
		const char *letter = *text == '\n'   ? "n"
				     : *text == '\r' ? "r"
				     : *text == '\\' ? "\\"
						     : NULL;

		if (letter)
			*at++ = '\\';
		*at++ = letter ? *letter : *text;
	}
	if (line)
		*at = '\0';
	return line;
}

void text_reason(const struct fp_why *why, char *ret_text, size_t size)
{
	if (why->reason == FP_REASON_SYSTEM)
		snprintf(ret_text, size, "%s", why->detail[0] ? why->detail : strerror(why->error));
	else
		snprintf(ret_text, size, "%s%s%s", fp_reason_text(why->reason),
			 why->detail[0] ? ": " : "", why->detail);
}

uint64_t text_kilobytes(uint64_t size)
{
	return size / 1000 + (size % 1000 != 0);
}

/* The length of the UTF-8 sequence at AT (RFC 3629), 0 when there is none. */
static unsigned utf8_length(const unsigned char *at)
{
	unsigned length = *at < 0x80   ? 1
			  : *at < 0xc2 ? 0
			  : *at < 0xe0 ? 2
			  : *at < 0xf0 ? 3
			  : *at < 0xf5 ? 4
				       : 0;

	for (unsigned i = 1; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than need be, a surrogate, or beyond U+10FFFF. */
	if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) ||
	    (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}

static bool is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned length;

	for (; *at; at += length) {
		length = utf8_length(at);
		if (!length)
			return false;
	}
	return true;
}

char *text_utf8(const char *text)
{
	char *escaped, *at;

	if (is_utf8(text))
		return strdup(text);
	escaped = malloc(4 * strlen(text) + 1);
	if (!escaped)
		return NULL;
	for (at = escaped; *text; text++)
		if ((unsigned char)*text < 0x80)
			*at++ = *text;
		else
			at += sprintf(at, "\\x%02x", (unsigned char)*text);
	*at = '\0';
	return escaped;
}
