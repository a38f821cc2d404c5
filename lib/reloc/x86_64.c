/* x86_64.c - the relocation types of x86-64 (psABI, table "Relocation Types"; what the loader does
   with them: glibc sysdeps/x86_64/dl-machine.h:elf_machine_rela). */
#include <elf.h>

#include "machines.h"

#ifndef R_X86_64_RELATIVE64
#define R_X86_64_RELATIVE64 38
#endif

static const struct fp_reloc_type types[] = {
	[R_X86_64_NONE] = { .kind = FP_RELOC_NONE },
	[R_X86_64_64] = { .kind = FP_RELOC_WORD,
			  .name = "word",
			  .size = 8,
			  .has_symbol = true,
			  .addend = FP_ADDEND_OF_NONE },
	[R_X86_64_GLOB_DAT] = { .kind = FP_RELOC_SLOT,
				.name = "slot",
				.size = 8,
				.has_symbol = true,
				.addend = FP_ADDEND_MISSING },
	[R_X86_64_JUMP_SLOT] = { .kind = FP_RELOC_JUMP_SLOT,
				 .name = "plt",
				 .size = 8,
				 .lookup_class = FP_CLASS_PLT,
				 .has_symbol = true,
				 .addend = FP_ADDEND_MISSING },
	[R_X86_64_RELATIVE] = { .kind = FP_RELOC_RELATIVE, .size = 8, .addend = FP_ADDEND_ADDRESS },
	[R_X86_64_RELATIVE64] = { .kind = FP_RELOC_OTHER, .size = 8, .addend = FP_ADDEND_ADDRESS },
	[R_X86_64_COPY] = { .kind = FP_RELOC_COPY,
			    .name = "copy",
			    .lookup_class = FP_CLASS_COPY,
			    .has_symbol = true,
			    .addend = FP_ADDEND_MISSING },
	[R_X86_64_IRELATIVE] = { .kind = FP_RELOC_IRELATIVE,
				 .size = 8,
				 .addend = FP_ADDEND_ADDRESS },
	[R_X86_64_DTPMOD64] = { .kind = FP_RELOC_TLS,
				.name = "tls-module",
				.size = 8,
				.lookup_class = FP_CLASS_PLT,
				.has_symbol = true },
	[R_X86_64_DTPOFF64] = { .kind = FP_RELOC_TLS,
				.name = "tls-module-offset",
				.size = 8,
				.lookup_class = FP_CLASS_PLT,
				.has_symbol = true },
	[R_X86_64_TPOFF64] = { .kind = FP_RELOC_TLS,
			       .name = "tls-offset",
			       .size = 8,
			       .lookup_class = FP_CLASS_PLT,
			       .has_symbol = true },
	[R_X86_64_TLSDESC] = { .kind = FP_RELOC_TLS,
			       .name = "tls-descriptor",
			       .size = 16,
			       .lookup_class = FP_CLASS_PLT,
			       .has_symbol = true },
	[R_X86_64_32] = { .kind = FP_RELOC_OTHER,
			  .name = "word32",
			  .size = 4,
			  .has_symbol = true,
			  .addend = FP_ADDEND_MISSING },
	[R_X86_64_PC32] = { .kind = FP_RELOC_OTHER,
			    .name = "pc-relative",
			    .size = 4,
			    .has_symbol = true,
			    .addend = FP_ADDEND_OF_NONE },
	[R_X86_64_SIZE32] = { .kind = FP_RELOC_OTHER,
			      .name = "size32",
			      .size = 4,
			      .has_symbol = true },
	[R_X86_64_SIZE64] = { .kind = FP_RELOC_OTHER,
			      .name = "size",
			      .size = 8,
			      .has_symbol = true },
};

/* psABI, table "Additional Dynamic Section Entries" (DT_X86_64_PLT and its companions). */
static const struct fp_machine_tag tags[] = {
	{ 0x70000000, true },  /* DT_X86_64_PLT */
	{ 0x70000001, false }, /* DT_X86_64_PLTSZ */
	{ 0x70000003, false }, /* DT_X86_64_PLTENT */
};

const struct fp_machine fp_machine_x86_64 = {
	.elf_machine = EM_X86_64,
	.types = types,
	.type_count = sizeof(types) / sizeof(types[0]),
	.relative_type = R_X86_64_RELATIVE,
	.interpreter = "/lib64/ld-linux-x86-64.so.2",
	.tags = tags,
	.tag_count = sizeof(tags) / sizeof(tags[0]),
	.page_size = 4096,
	/* The sanitizers leave this window alone. */
	.window_start = 0x3000000000,
	.window_end = 0x4000000000,
};
