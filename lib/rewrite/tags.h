/* tags.h - what the values of dynamic entries are. */
#ifndef FP_TAGS_H
#define FP_TAGS_H

#include "../elf/object.h"

enum fp_tag_kind {
	FP_TAG_UNKNOWN,
	FP_TAG_VALUE,   /* a number, a size, an offset of a string, or nothing */
	FP_TAG_ADDRESS, /* an address in the object */
};

/* The kind of TAG in an object for MACHINE. */
enum fp_tag_kind fp_tag_kind(const struct fp_machine *machine, int64_t tag);

#endif
