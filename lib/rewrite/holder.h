/* holder.h - the table while it grows, and one object while its words are bound: shared by table.c, runs.c and rows.c. */
#ifndef FP_HOLDER_H
#define FP_HOLDER_H

#include "table.h"

/* The table while it grows. */
struct fp_table_builder {
	const struct fp_closure *closure;
	struct fp_binder *binder;
	size_t carrier;
	const bool *planned; /* as for fp_table_build */
	bool *fixed;         /* by member: it is fixed, or will be */
	struct fp_table_object *records;
	struct fp_table_ifunc ifuncs[FP_MAX_IFUNCS];
	uint32_t ifunc_count;
	struct fp_buffer
		*streams; /* one per object: its part of the table, offsets from its own start */
	struct fp_buffer fills; /* struct fp_table_fill[] */
	struct fp_table_counts counts;
};

/* One holder while its words are bound. */
struct fp_holder {
	size_t index;
	const struct fp_object *object;
	uint32_t *values; /* of each run or row, as are the targets */
	uint8_t *targets;
	uint32_t *slots;    /* of each row; null: there are runs */
	uint32_t run_count; /* runs or rows so far */
	uint16_t target_list[FP_MAX_TARGETS];
	uint32_t target_count;
	int16_t *codes; /* by member: its target code, 0: none yet */
	struct fp_buffer residual;
};

/* The code of member TARGET in the holder's list; FP_TARGET_RESIDUAL when the list is full. */
uint8_t fp_holder_target(struct fp_holder *holder, size_t target);

/* Encodes BINDING as the value and the target code of a run or row. */
void fp_holder_encode(struct fp_table_builder *builder, struct fp_holder *holder,
		      const struct fp_binding *binding, uint32_t *ret_value, uint8_t *ret_target);

/* Leaves RELA to ld.so. */
int fp_holder_leave(struct fp_table_builder *builder, struct fp_holder *holder,
		    const Elf64_Rela *rela);

/* Binds COUNT relocations as runs, walking as the runtime's fill_words does. */
int fp_runs_bind(struct fp_table_builder *builder, struct fp_holder *holder,
		 const Elf64_Rela *table, size_t count);

/* Whether the words of the fixed library OBJECT can be told one by one: no two of its relocations write the same.  *RET_POSSIBLE
   is set when it returns 0; -ENOMEM. */
int fp_rows_possible(struct fp_object *object, bool *ret_possible);

/* Compares what COUNT relocations of a fixed object give with what its file holds; what differs becomes a row each. */
int fp_rows_bind(struct fp_table_builder *builder, struct fp_holder *holder,
		 const Elf64_Rela *table, size_t count);

/* Makes rows of lazily bound slots, as far as their pages are written in nearly every process: DT_JMPREL of the holder must have
   nothing but such slots, and its other words be bound.  Returns 0 or -ENOMEM. */
int fp_rows_bind_ahead(struct fp_table_builder *builder, struct fp_holder *holder);

#endif
