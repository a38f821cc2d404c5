/* junit.c - a report in the XML that continuous integration reads as that of JUnit. */
#include "junit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

int junit_open(struct junit *junit, const char *path)
{
	*junit = (struct junit){ .file = fopen(path, "we") };
	if (!junit->file)
		return -errno;
	junit->cases = open_memstream(&junit->text, &junit->size);
	if (junit->cases)
		return 0;
	junit_free(junit);
	return -ENOMEM;
}

/* The entity for C where an attribute cannot hold it, or null. */
static const char *entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	default:
		return NULL;
	}
}

/* True for U+FFFE and U+FFFF, which UTF-8 has and XML 1.0 has not. */
static bool is_no_character(const char *at)
{
	return strncmp(at, "\xef\xbf\xbe", 3) == 0 || strncmp(at, "\xef\xbf\xbf", 3) == 0;
}

/* Writes the attribute NAME.  Control characters and what is not UTF-8 are written as text_printable and text_utf8 do. */
static void put_attribute(FILE *file, const char *name, const char *value)
{
	char printable[TEXT_LINE];
	char *text;

	text_printable(value, printable, sizeof(printable));
	text = text_utf8(printable);
	fprintf(file, " %s=\"", name);
	for (const char *at = text; at && *at; at++) {
		if (is_no_character(at)) {
			fputc('?', file);
			at += 2;
		} else if (entity(*at)) {
			fputs(entity(*at), file);
		} else {
			fputc(*at, file);
		}
	}
	fputc('"', file);
	free(text);
}

void junit_add(struct junit *junit, const char *class, const char *name, enum junit_outcome outcome,
	       const char *type, const char *message)
{
	if (!junit->cases)
		return;
	junit->count++;
	fputs("  <testcase", junit->cases);
	put_attribute(junit->cases, "classname", class);
	put_attribute(junit->cases, "name", name);
	if (outcome == JUNIT_PASSED) {
		fputs("/>\n", junit->cases);
		return;
	}
	fputs(">\n", junit->cases);
	if (outcome == JUNIT_FAILED) {
		junit->failures++;
		fputs("   <failure", junit->cases);
		put_attribute(junit->cases, "type", type);
	} else {
		junit->skipped++;
		fputs("   <skipped", junit->cases);
	}
	put_attribute(junit->cases, "message", message);
	fputs("/>\n  </testcase>\n", junit->cases);
}

int junit_write(struct junit *junit, const char *name)
{
	int error = 0;

	if (!junit->file)
		return 0;
	if (fflush(junit->cases) != 0 || ferror(junit->cases)) {
		error = -ENOMEM;
	} else {
		fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n <testsuite",
		      junit->file);
		put_attribute(junit->file, "name", name);
		fprintf(junit->file,
			" tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"%zu\">\n",
			junit->count, junit->failures, junit->skipped);
		fwrite(junit->text, 1, junit->size, junit->file);
		fputs(" </testsuite>\n</testsuites>\n", junit->file);
	}
	errno = EIO;
	if (!error && ferror(junit->file))
		error = -errno;
	if (fclose(junit->file) != 0 && !error)
		error = -errno;
	junit->file = NULL;
	return error;
}

void junit_free(struct junit *junit)
{
	if (junit->file)
		fclose(junit->file);
	if (junit->cases)
		fclose(junit->cases);
	free(junit->text);
	*junit = (struct junit){ 0 };
}
