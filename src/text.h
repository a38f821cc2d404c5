/* text.h - how names, sizes and reasons are written. */
#ifndef FP_TEXT_H
#define FP_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "reason.h"

/* The longest line that is written; what is longer is cut off. */
enum { TEXT_LINE = 3 * FP_WHY_FILE };

/* Copies TEXT so that it stays on one line and cannot steer a terminal: control characters become octal escapes. */
void text_printable(const char *text, char *ret_text, size_t size);

/* TEXT with its newlines, carriage returns and backslashes escaped as coreutils' digest tools do, malloced; null when memory is out. */
char *text_one_line(const char *text);

/* What a refusal says behind the file's name.  A failed system call speaks for itself. */
void text_reason(const struct fp_why *why, char *ret_text, size_t size);

/* SIZE in units of 1000 bytes, rounded up: what was added never reads as nothing. */
uint64_t text_kilobytes(uint64_t size);

/* TEXT as UTF-8, malloced; null when memory is out.  File names may be any bytes; where they are not UTF-8, bytes above 0x7f appear as
   \xHH. */
char *text_utf8(const char *text);

#endif
