/* progress.c - a progress bar on the terminal that standard error is.

   The line is always shorter than the terminal is wide, so that it never wraps: then going back to its start and erasing to its
   end wipes it.  A byte counts as a column; it never takes more. */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

enum {
	INTERVAL = 100, /* milliseconds between two drawings */
	COLUMNS = 80,   /* where the terminal does not tell */
	BAR = 20,
	WIDE = 60, /* from this width on there is a bar beside the numbers */
};

void progress_start(struct progress *progress)
{
	const char *terminal = getenv("TERM");

	*progress = (struct progress){
		.wanted = isatty(STDERR_FILENO) && terminal && *terminal &&
			  strcmp(terminal, "dumb") != 0,
	};
}

static uint64_t milliseconds(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static size_t terminal_width(void)
{
	struct winsize window;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col
										   : COLUMNS;
}

static bool is_continuation(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

/* Copies TEXT in at most WIDTH bytes: of what is too long the middle goes, since both ends of a path tell more. */
static void shorten(const char *text, char *ret_text, size_t width)
{
	static const char gap[] = "...";
	size_t length = strlen(text), head, tail;

	if (length <= width) {
		memcpy(ret_text, text, length + 1);
		return;
	}
	if (width <= strlen(gap)) {
		ret_text[0] = '\0';
		return;
	}
	head = (width - strlen(gap)) / 2;
	tail = length - (width - strlen(gap) - head);
	/* No character is cut in two. */
	while (head && is_continuation(text[head]))
		head--;
	while (tail < length && is_continuation(text[tail]))
		tail++;
	snprintf(ret_text, width + 1, "%.*s%s%s", (int)head, text, gap, text + tail);
}

static void draw(const char *phase, size_t done, size_t total, const char *file)
{
	char line[TEXT_LINE], printable[TEXT_LINE], name[TEXT_LINE] = "", bar[BAR + 1];
	size_t width = terminal_width() - 1, used;
	size_t filled = total ? done * BAR / total : 0, percent = total ? done * 100 / total : 0;

	memset(bar, ' ', BAR);
	memset(bar, '#', filled < BAR ? filled : BAR);
	bar[BAR] = '\0';
	if (width >= WIDE)
		snprintf(line, sizeof(line), "%-9s [%s] %3zu%% %zu/%zu ", phase, bar, percent, done,
			 total);
	else
		snprintf(line, sizeof(line), "%3zu%% %zu/%zu ", percent, done, total);
	used = strlen(line);
	text_printable(file, printable, sizeof(printable));
	if (width > used && width < sizeof(name))
		shorten(printable, name, width - used);
	fprintf(stderr, "\r\033[K%.*s%s", (int)width, line, name);
}

void progress_show(struct progress *progress, const char *phase, size_t done, size_t total,
		   const char *file)
{
	uint64_t now;

	if (!progress->wanted)
		return;
	now = milliseconds();
	if (progress->phase == phase && now - progress->drawn < INTERVAL)
		return;
	progress->phase = phase;
	progress->drawn = now;
	draw(phase, done, total, file);
	progress->shown = true;
}

void progress_clear(struct progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}
