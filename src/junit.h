/* junit.h - a report in the XML that continuous integration reads as that of JUnit. */
#ifndef FP_JUNIT_H
#define FP_JUNIT_H

#include <stddef.h>
#include <stdio.h>

/* A report that is being made; all zero is none. */
struct junit {
	FILE *file;
	FILE *cases; /* into text: how many there are is said before them */
	char *text;
	size_t size;
	size_t count, failures, skipped;
};

/* Opens the file PATH, which is emptied.  Returns 0 or a negative errno. */
int junit_open(struct junit *junit, const char *path);

enum junit_outcome { JUNIT_PASSED, JUNIT_FAILED, JUNIT_SKIPPED };

/* Adds the test NAME of the class CLASS; what did not pass did so for the reason TYPE, which MESSAGE explains. */
void junit_add(struct junit *junit, const char *class, const char *name, enum junit_outcome outcome,
	       const char *type, const char *message);

/* Writes the report of the suite NAME and closes the file.  Returns 0 or a negative errno. */
int junit_write(struct junit *junit, const char *name);

/* Gives everything back; what is in the file stays. */
void junit_free(struct junit *junit);

#endif
