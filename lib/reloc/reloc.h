/* reloc.h - what a relocation does, in words that all machines share. */
#ifndef FP_RELOC_H
#define FP_RELOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The neutral kinds.  Everything above this folder speaks of kinds only. */
enum fp_reloc_kind {
	FP_RELOC_UNKNOWN = 0, /* the loader would refuse it */
	FP_RELOC_NONE,        /* nothing to do */
	FP_RELOC_RELATIVE,    /* word = bias + addend */
	FP_RELOC_WORD,        /* word = symbol + addend */
	FP_RELOC_SLOT,        /* word = symbol (GLOB_DAT) */
	FP_RELOC_JUMP_SLOT,   /* word = symbol, bound lazily where that is allowed */
	FP_RELOC_COPY,        /* the symbol's initial value is copied */
	FP_RELOC_IRELATIVE,   /* word = result of calling bias + addend */
	FP_RELOC_TLS,         /* module ids, offsets and descriptors of thread-local storage */
	FP_RELOC_OTHER,       /* defined, but rare: sizes, 32-bit and PC-relative words */
};

/* How a look-up on behalf of a relocation treats candidates (glibc's type classes,
   sysdeps/generic/ldsodefs.h ELF_RTYPE_CLASS_*). */
enum {
	FP_CLASS_PLT =
		1, /* an undefined symbol with a value (canonical PLT address) does not count */
	FP_CLASS_COPY = 2, /* the executable's own symbols do not count */
};

/* Whether the addend is an address in the object itself, so that it moves when the object is shifted. */
enum fp_addend {
	FP_ADDEND_NUMBER = 0, /* never */
	FP_ADDEND_ADDRESS,    /* always */
	FP_ADDEND_OF_NONE,    /* without a symbol (index 0): then the loader adds only the bias */
	FP_ADDEND_MISSING, /* without a symbol the value is the bias, which nothing here can shift */
};

struct fp_reloc_type {
	enum fp_reloc_kind kind;
	const char *name;     /* what it makes, in a word or two; null unless has_symbol */
	uint8_t size;         /* bytes written at r_offset; 0: as many as the symbol has */
	uint8_t lookup_class; /* FP_CLASS_* */
	bool has_symbol;
	enum fp_addend addend;
};

/* A tag of the dynamic section that only this machine has. */
struct fp_machine_tag {
	int64_t tag;
	bool is_address;
};

/* True for the kinds whose words come from a look-up and nothing else. */
bool fp_reloc_is_word(const struct fp_reloc_type *type);

/* What the engine must know of a machine. */
struct fp_machine {
	uint16_t elf_machine; /* EM_* */
	const struct fp_reloc_type *types;
	size_t type_count;
	uint32_t relative_type;
	const char *interpreter; /* of programs for glibc, by the psABI */
	const struct fp_machine_tag *tags;
	size_t tag_count;
	uint64_t page_size;
	uint64_t window_start, window_end; /* where shifted libraries may lie */
};

/* The machine with e_machine ELF_MACHINE, or null. */
const struct fp_machine *fp_machine_find(uint16_t elf_machine);

/* The properties of relocation type TYPE; of kind FP_RELOC_UNKNOWN when it is not defined. */
const struct fp_reloc_type *fp_machine_reloc(const struct fp_machine *machine, uint32_t type);

#endif
