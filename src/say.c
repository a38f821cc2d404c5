/* say.c - how anything gets to standard output and standard error; the progress bar makes way for it. */
#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

static void note_failure(struct output *output)
{
	if (!output->failed)
		output->error = errno;
	output->failed = true;
}

/* Lines are flushed one by one, but for those of long lists: a reader sees each as soon as it is known. */
static int end_line(const struct output *output)
{
	enum action action = output->options->action;

	return action == ACTION_BINDINGS || action == ACTION_CACHE ? 0 : fflush(stdout);
}

void say(struct output *output, const char *format, ...)
{
	char line[TEXT_LINE], printable[TEXT_LINE];
	va_list arguments;

	if (output->options->json)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	text_printable(line, printable, sizeof(printable));
	progress_clear(&output->progress);
	if (printf("%s\n", printable) < 0 || end_line(output) != 0)
		note_failure(output);
}

void say_exactly(struct output *output, const char *format, ...)
{
	va_list arguments;
	int written;

	progress_clear(&output->progress);
	va_start(arguments, format);
	written = vprintf(format, arguments);
	va_end(arguments);
	if (written < 0 || putchar('\n') == EOF || end_line(output) != 0)
		note_failure(output);
}

void say_json(struct output *output, json_t *record)
{
	char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;

	progress_clear(&output->progress);
	if (!text)
		errno = ENOMEM;
	if (!text || printf("%s\n", text) < 0 || end_line(output) != 0)
		note_failure(output);
	free(text);
	json_decref(record);
}

void say_bytes(struct output *output, const void *bytes, size_t size)
{
	if (fwrite(bytes, 1, size, stdout) != size || fflush(stdout) != 0)
		note_failure(output);
}

void say_end(struct output *output)
{
	progress_clear(&output->progress);
	errno = 0;
	if (fclose(stdout) != 0)
		note_failure(output);
}

void complain(struct output *output, const char *format, ...)
{
	char line[TEXT_LINE], printable[TEXT_LINE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	text_printable(line, printable, sizeof(printable));
	progress_clear(&output->progress);
	fprintf(stderr, "fastprelink: %s\n", printable);
}
