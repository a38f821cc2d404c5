/* tags.c - what the values of dynamic entries are (gABI chapter "Dynamic Section"; glibc elf/elf.h for those of GNU
   and Solaris). */
#include "tags.h"

/* Tags in order; a row speaks for [first, last]. */
static const struct row {
	int64_t first, last;
	enum fp_tag_kind kind;
} rows[] = {
	{ DT_NULL, DT_PLTRELSZ, FP_TAG_VALUE },
	{ DT_PLTGOT, DT_RELA, FP_TAG_ADDRESS },
	{ DT_RELASZ, DT_SYMENT, FP_TAG_VALUE },
	{ DT_INIT, DT_FINI, FP_TAG_ADDRESS },
	{ DT_SONAME, DT_RPATH, FP_TAG_VALUE },
	/* Ignored, but elfutils' elflint wants an address of the object. */
	{ DT_SYMBOLIC, DT_SYMBOLIC, FP_TAG_ADDRESS },
	{ DT_REL, DT_REL, FP_TAG_ADDRESS },
	/* DT_DEBUG is among these: the loader fills it in, in programs only. */
	{ DT_RELSZ, DT_TEXTREL, FP_TAG_VALUE },
	{ DT_JMPREL, DT_JMPREL, FP_TAG_ADDRESS },
	{ DT_BIND_NOW, DT_BIND_NOW, FP_TAG_VALUE },
	{ DT_INIT_ARRAY, DT_FINI_ARRAY, FP_TAG_ADDRESS },
	{ DT_INIT_ARRAYSZ, DT_FLAGS, FP_TAG_VALUE },
	{ DT_PREINIT_ARRAY, DT_PREINIT_ARRAY, FP_TAG_ADDRESS },
	{ DT_PREINIT_ARRAYSZ, DT_PREINIT_ARRAYSZ, FP_TAG_VALUE },
	{ DT_SYMTAB_SHNDX, DT_SYMTAB_SHNDX, FP_TAG_ADDRESS },
	{ DT_RELRSZ, DT_RELRSZ, FP_TAG_VALUE },
	{ DT_RELR, DT_RELR, FP_TAG_ADDRESS },
	{ DT_RELRENT, DT_RELRENT, FP_TAG_VALUE },
	{ DT_VALRNGLO, DT_VALRNGHI, FP_TAG_VALUE },
	{ DT_GNU_HASH, DT_GNU_LIBLIST, FP_TAG_ADDRESS },
	/* In the range of addresses, but offsets of strings. */
	{ DT_CONFIG, DT_AUDIT, FP_TAG_VALUE },
	{ DT_VERSYM, DT_VERSYM, FP_TAG_ADDRESS },
	{ DT_RELACOUNT, DT_FLAGS_1, FP_TAG_VALUE },
	{ DT_VERDEF, DT_VERDEF, FP_TAG_ADDRESS },
	{ DT_VERDEFNUM, DT_VERDEFNUM, FP_TAG_VALUE },
	{ DT_VERNEED, DT_VERNEED, FP_TAG_ADDRESS },
	{ DT_VERNEEDNUM, DT_VERNEEDNUM, FP_TAG_VALUE },
	{ DT_AUXILIARY, DT_FILTER, FP_TAG_VALUE },
};

enum fp_tag_kind fp_tag_kind(const struct fp_machine *machine, int64_t tag)
{
	for (size_t i = 0; i < machine->tag_count; i++)
		if (machine->tags[i].tag == tag)
			return machine->tags[i].is_address ? FP_TAG_ADDRESS : FP_TAG_VALUE;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (tag >= rows[i].first && tag <= rows[i].last)
			return rows[i].kind;
	return FP_TAG_UNKNOWN;
}
