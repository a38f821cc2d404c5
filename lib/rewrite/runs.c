/* runs.c - binds the words of a floating object as symbol runs.  table.c explains them. */
#include "holder.h"

uint8_t fp_holder_target(struct fp_holder *holder, size_t target)
{
	if (!holder->codes[target]) {
		if (holder->target_count == FP_MAX_TARGETS)
			return FP_TARGET_RESIDUAL;
		holder->codes[target] = (int16_t)(FP_TARGET_FIRST + holder->target_count);
		holder->target_list[holder->target_count++] = (uint16_t)target;
	}
	return (uint8_t)holder->codes[target];
}

/* The index of the IFUNC VALUE of member OBJECT in the table's list, or -1 when that is full. */
static int64_t ifunc_index(struct fp_table_builder *builder, size_t object, uint32_t value)
{
	for (uint32_t i = 0; i < builder->ifunc_count; i++)
		if (builder->ifuncs[i].object == object && builder->ifuncs[i].value == value)
			return i;
	if (builder->ifunc_count == FP_MAX_IFUNCS)
		return -1;
	builder->ifuncs[builder->ifunc_count] = (struct fp_table_ifunc){ (uint32_t)object, value };
	return builder->ifunc_count++;
}

void fp_holder_encode(struct fp_table_builder *builder, struct fp_holder *holder,
		      const struct fp_binding *binding, uint32_t *ret_value, uint8_t *ret_target)
{
	const Elf64_Sym *symbol = binding->symbol;
	uint64_t value;

	*ret_value = 0;
	*ret_target = FP_TARGET_RESIDUAL;
	if (binding->bound == FP_BOUND_NOTHING) {
		*ret_target = FP_TARGET_ABSOLUTE;
		return;
	}
	if (binding->bound != FP_BOUND_SYMBOL || ELF64_ST_TYPE(symbol->st_info) == STT_TLS)
		return;
	if (symbol->st_shndx == SHN_ABS) {
		if (symbol->st_value > UINT32_MAX ||
		    ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
			return;
		*ret_value = (uint32_t)symbol->st_value;
		*ret_target = FP_TARGET_ABSOLUTE;
		return;
	}
	value = symbol->st_value -
		fp_object_base(builder->closure->members[binding->object].object);
	if (value > UINT32_MAX)
		return;
	*ret_value = (uint32_t)value;
	if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC && symbol->st_shndx != SHN_UNDEF) {
		/* Only the carrier is relocated by then, so only its resolvers may run (those of ld.so are not IFUNCs). */
		int64_t index = binding->object == builder->carrier
					? ifunc_index(builder, binding->object, *ret_value)
					: -1;

		if (index < 0)
			return;
		*ret_value = (uint32_t)index;
		*ret_target = FP_TARGET_IFUNC;
		return;
	}
	*ret_target = fp_holder_target(holder, binding->object);
}

int fp_holder_leave(struct fp_table_builder *builder, struct fp_holder *holder,
		    const Elf64_Rela *rela)
{
	builder->counts.residual++;
	return fp_buffer_append(&holder->residual, rela, sizeof(*rela));
}

int fp_runs_bind(struct fp_table_builder *builder, struct fp_holder *holder,
		 const Elf64_Rela *table, size_t count)
{
	uint64_t reference = UINT64_MAX;
	uint8_t target = FP_TARGET_RESIDUAL;
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		const Elf64_Rela *rela = &table[i];
		uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);
		const struct fp_reloc_type *properties =
			fp_machine_reloc(holder->object->machine, type);
		struct fp_binding binding = { 0 };

		switch (properties->kind) {
		case FP_RELOC_NONE:
			continue;
		case FP_RELOC_RELATIVE:
			builder->counts.relative++;
			builder->counts.resolved++;
			continue;
		case FP_RELOC_WORD:
		case FP_RELOC_SLOT:
		case FP_RELOC_JUMP_SLOT:
			break;
		default:
			/* ld.so will look it up: that may enter a unique symbol. */
			if (properties->has_symbol && ELF64_R_SYM(rela->r_info))
				error = fp_bind(builder->binder, holder->index,
						(uint32_t)ELF64_R_SYM(rela->r_info),
						properties->lookup_class, &binding);
			if (!error)
				error = fp_holder_leave(builder, holder, rela);
			continue;
		}
		if (fp_reference(rela->r_info, properties->kind == FP_RELOC_JUMP_SLOT) !=
		    reference) {
			uint32_t run = holder->run_count++;

			reference =
				fp_reference(rela->r_info, properties->kind == FP_RELOC_JUMP_SLOT);
			builder->counts.symbols++;
			error = fp_bind(builder->binder, holder->index,
					(uint32_t)ELF64_R_SYM(rela->r_info),
					properties->lookup_class, &binding);
			if (error)
				return error;
			fp_holder_encode(builder, holder, &binding, &holder->values[run],
					 &holder->targets[run]);
			target = holder->targets[run];
		}
		if (target == FP_TARGET_RESIDUAL || binding.first_unique)
			error = fp_holder_leave(builder, holder, rela);
		if (target != FP_TARGET_RESIDUAL)
			builder->counts.resolved++;
	}
	return error;
}
