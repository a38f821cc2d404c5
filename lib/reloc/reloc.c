/* reloc.c - finds a machine and the properties of its relocation types. */
#include "machines.h"

static const struct fp_machine *const machines[] = {
	&fp_machine_x86_64,
};

const struct fp_machine *fp_machine_find(uint16_t elf_machine)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
		if (machines[i]->elf_machine == elf_machine)
			return machines[i];
	return NULL;
}

const struct fp_reloc_type *fp_machine_reloc(const struct fp_machine *machine, uint32_t type)
{
	static const struct fp_reloc_type unknown = { .kind = FP_RELOC_UNKNOWN };

	return type < machine->type_count ? &machine->types[type] : &unknown;
}

bool fp_reloc_is_word(const struct fp_reloc_type *type)
{
	return type->kind == FP_RELOC_WORD || type->kind == FP_RELOC_SLOT ||
	       type->kind == FP_RELOC_JUMP_SLOT;
}
