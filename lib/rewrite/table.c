/* table.c - builds the table that lets the runtime fill the words of one closure.

   Theory of operation.  The runtime walks each object's own relocation tables, which are mapped anyway; what it
   lacks is what the symbols bind to.  Linkers sort relocations by symbol, so the words of one symbol stand together: a
   "run".  The table therefore holds one value (four bytes) and one target code (one byte) per run, in the order in which
   the runtime meets the runs, and no index at all.  fill_words() in the runtime and fp_runs_bind() in runs.c must walk alike.

   A fixed library holds its words already, but for those that bind otherwise in this program: these are rows (rows.c), with four
   bytes more for where the word is.

   What cannot be computed beforehand is residual: it goes, as an ordinary relocation, into a short table that the runtime
   gives to ld.so instead of the object's own. */
#include "table.h"

#include <errno.h>
#include <fastprelink/identity.h>
#include <stdlib.h>
#include <string.h>

#include "holder.h"
#include "pages.h"
#include "relative.h"

enum { WHOLE_SEGMENT_LIMIT = 1 << 30 };

static uint16_t dynamic_entry(const struct fp_object *object, int64_t tag)
{
	uint16_t found = FP_NO_ENTRY;

	for (size_t i = 0; i < object->dynamic_count && i < FP_NO_ENTRY; i++)
		if (object->dynamic[i].d_tag == tag)
			found = (uint16_t)i;
	return found;
}

static fp_addr dynamic_value(const struct fp_object *object, int64_t tag)
{
	uint16_t entry = dynamic_entry(object, tag);

	return entry == FP_NO_ENTRY ? 0 : object->dynamic[entry].d_un.d_ptr;
}

/* The part of the record that says what to fill. */
static void describe(const struct fp_object *object, struct fp_table_object *record)
{
	record->relative_count = (uint32_t)object->relative_count;
	record->rela = object->rela.addr;
	record->rela_count = (uint32_t)object->rela.count;
	record->jmprel = object->jmprel.addr;
	record->jmprel_count = (uint32_t)object->jmprel.count;
	record->relr = dynamic_value(object, DT_RELR);
	record->relr_count = (uint32_t)object->relr_count;
	record->rela_entry = dynamic_entry(object, DT_RELA);
	record->relasz_entry = dynamic_entry(object, DT_RELASZ);
	record->relacount_entry = dynamic_entry(object, DT_RELACOUNT);
	record->pltrelsz_entry = dynamic_entry(object, DT_PLTRELSZ);
	record->relrsz_entry = dynamic_entry(object, DT_RELRSZ);
}

/* Puts the holder's arrays into its stream; the offsets are made absolute when the streams are joined. */
static int write_stream(const struct fp_holder *holder, struct fp_buffer *stream,
			struct fp_table_object *record)
{
	int error;

	record->run_count = holder->run_count;
	record->residual = 0;
	record->residual_count = (uint32_t)(holder->residual.size / sizeof(Elf64_Rela));
	error = fp_buffer_append(stream, holder->residual.bytes, holder->residual.size);
	record->relative = (uint32_t)stream->size;
	if (!error && !holder->slots)
		error = fp_relative_encode(holder->object, stream);
	record->relative_words = (uint32_t)((stream->size - record->relative) / sizeof(uint64_t));
	record->slots = (uint32_t)stream->size;
	if (!error && holder->slots)
		error = fp_buffer_append(stream, holder->slots,
					 holder->run_count * sizeof(uint32_t));
	record->values = (uint32_t)stream->size;
	if (!error)
		error = fp_buffer_append(stream, holder->values,
					 holder->run_count * sizeof(uint32_t));
	record->target_list = (uint32_t)stream->size;
	record->target_count = holder->target_count;
	if (!error)
		error = fp_buffer_append(stream, holder->target_list,
					 holder->target_count * sizeof(uint16_t));
	record->targets = (uint32_t)stream->size;
	if (!error)
		error = fp_buffer_append(stream, holder->targets, holder->run_count);
	return error ? error : fp_buffer_align(stream, 8);
}

/* True when ld.so's lazy pass over DT_JMPREL changes nothing at bias zero. */
static bool lazy_pass_is_idle(const struct fp_object *object)
{
	for (size_t i = 0; i < object->jmprel.count; i++)
		if (fp_machine_reloc(object->machine,
				     (uint32_t)ELF64_R_TYPE(object->jmprel.rela[i].r_info))
			    ->kind != FP_RELOC_JUMP_SLOT)
			return false;
	return true;
}

/* Binds the words as rows where the holder has room for them, else as runs. */
static int bind_words(struct fp_table_builder *builder, struct fp_holder *holder, bool now)
{
	const struct fp_object *object = holder->object;
	int error;

	if (holder->slots) {
		error = fp_rows_bind(builder, holder, object->rela.rela, object->rela.count);
		if (!error && now)
			error = fp_rows_bind(builder, holder, object->jmprel.rela,
					     object->jmprel.count);
		else if (!error && lazy_pass_is_idle(object))
			error = fp_rows_bind_ahead(builder, holder);
		return error;
	}
	error = fp_runs_bind(builder, holder, object->rela.rela + object->relative_count,
			     object->rela.count - object->relative_count);
	if (!error && now)
		error = fp_runs_bind(builder, holder, object->jmprel.rela, object->jmprel.count);
	return error;
}

static int fill_member(struct fp_table_builder *builder, size_t index)
{
	struct fp_object *object = builder->closure->members[index].object;
	struct fp_table_object *record = &builder->records[index];
	bool now = fp_object_binds_now(object), fixed = false;
	size_t words = object->rela.count + object->jmprel.count;
	struct fp_holder holder = {
		.index = index,
		.object = object,
		.values = malloc((words + 1) * sizeof(uint32_t)),
		.targets = malloc(words + 1),
		.codes = calloc(builder->closure->count, sizeof(int16_t)),
	};
	int error = holder.values && holder.targets && holder.codes ? 0 : -ENOMEM;

	record->flags |= FP_OBJECT_FILL | (now ? (uint32_t)FP_OBJECT_BIND_NOW : 0);
	if (!error && builder->fixed[index])
		error = fp_rows_possible(object, &fixed);
	if (!error && fixed) {
		record->flags |= FP_OBJECT_ROWS |
				 (lazy_pass_is_idle(object) ? (uint32_t)FP_OBJECT_NO_LAZY : 0);
		holder.slots = malloc((words + 1) * sizeof(uint32_t));
		if (!holder.slots)
			error = -ENOMEM;
	}
	describe(object, record);
	if (!error)
		error = bind_words(builder, &holder, now);
	if (fixed)
		builder->counts.rows += holder.run_count;
	if (!error)
		error = write_stream(&holder, &builder->streams[index], record);
	if (!error && fixed)
		error = fp_pages_collect_rows(&holder, now, &builder->fills);
	else if (!error)
		error = fp_pages_collect(object, (uint32_t)index, now, &builder->fills);
	free(holder.values);
	free(holder.targets);
	free(holder.slots);
	free(holder.codes);
	fp_buffer_free(&holder.residual);
	return error;
}

/* Binds all members in the order in which ld.so relocates them. */
static int bind_members(struct fp_table_builder *builder)
{
	const struct fp_closure *closure = builder->closure;
	size_t *order = calloc(closure->count, sizeof(size_t));
	int error = order ? 0 : -ENOMEM;

	for (size_t i = 0; i < closure->count && !error; i++)
		order[closure->members[i].relocation_rank] = i;
	for (size_t i = 0; i < closure->count && !error; i++) {
		size_t index = order[i];
		bool filled = fp_table_fills(closure, index, builder->carrier);

		fp_table_count_object(closure->members[index].object, filled, &builder->counts);
		/* Objects that ld.so relocates by itself look unique symbols up too, and may enter them first. */
		error = filled ? fill_member(builder, index)
			       : fp_bind_object(closure, builder->binder, index,
						fp_object_binds_now(closure->members[index].object),
						NULL, NULL);
	}
	free(order);
	return error;
}

int fp_table_identify(const struct fp_object *object, struct fp_table_object *record,
		      struct fp_why *why)
{
	const Elf64_Phdr *first = fp_object_first_load(object);
	const void *bytes = object->build_id;

	record->base = fp_object_base(object);
	record->dynamic = object->dynamic_addr;
	record->dynamic_count = (uint32_t)object->dynamic_count;
	record->shape = fp_shape(object->dynamic, record->dynamic_count);
	record->identity_start = object->build_id_addr;
	record->identity_size = (uint32_t)object->build_id_size;
	if (!bytes) {
		/* The ELF header tells where the section headers are, which is nothing that is mapped. */
		uint64_t skipped = first->p_offset == 0 && first->p_filesz > sizeof(Elf64_Ehdr)
					   ? sizeof(Elf64_Ehdr)
					   : 0;

		if ((first->p_flags & (PF_R | PF_W)) != PF_R ||
		    first->p_filesz > WHOLE_SEGMENT_LIMIT)
			return fp_why_set(
				why, FP_REASON_UNSUPPORTED, object->path,
				"no build id, and its first segment does not tell it from others");
		record->identity_start = first->p_vaddr + skipped;
		record->identity_size = (uint32_t)(first->p_filesz - skipped);
		bytes = object->image + first->p_offset + skipped;
	}
	record->identity = fp_identity(bytes, record->identity_size);
	return 0;
}

/* Joins header, records, IFUNCs and streams; makes every offset count from the table's start. */
static int join(struct fp_table_builder *builder, struct fp_buffer *ret_table)
{
	size_t count = builder->closure->count;
	struct fp_table header = {
		.magic = FP_TABLE_MAGIC,
		.version = FP_TABLE_VERSION,
		.object_count = (uint32_t)count,
		.carrier = (uint32_t)builder->carrier,
		.loader = (uint32_t)builder->closure->loader_index,
		.objects = sizeof(header),
		.ifuncs = (uint32_t)(sizeof(header) + count * sizeof(struct fp_table_object)),
		.ifunc_count = builder->ifunc_count,
		.word_count = builder->counts.resolved,
	};
	uint64_t position = header.ifuncs + builder->ifunc_count * sizeof(struct fp_table_ifunc);
	int error;

	header.fills = (uint32_t)position;
	header.fill_count = (uint32_t)(builder->fills.size / sizeof(struct fp_table_fill));
	position += builder->fills.size;
	for (size_t i = 0; i < count; i++) {
		struct fp_table_object *record = &builder->records[i];

		if (!(record->flags & FP_OBJECT_FILL))
			continue;
		record->residual += (uint32_t)position;
		record->relative += (uint32_t)position;
		record->slots += (uint32_t)position;
		record->values += (uint32_t)position;
		record->target_list += (uint32_t)position;
		record->targets += (uint32_t)position;
		position += builder->streams[i].size;
		if (position > INT32_MAX)
			return -EFBIG;
	}
	header.size = (uint32_t)position;
	error = fp_buffer_reserve(ret_table, position);
	if (!error)
		error = fp_buffer_append(ret_table, &header, sizeof(header));
	if (!error)
		error = fp_buffer_append(ret_table, builder->records,
					 count * sizeof(struct fp_table_object));
	if (!error)
		error = fp_buffer_append(ret_table, builder->ifuncs,
					 builder->ifunc_count * sizeof(struct fp_table_ifunc));
	if (!error)
		error = fp_buffer_append(ret_table, builder->fills.bytes, builder->fills.size);
	for (size_t i = 0; i < count && !error; i++)
		error = fp_buffer_append(ret_table, builder->streams[i].bytes,
					 builder->streams[i].size);
	return error;
}

int fp_table_build(const struct fp_closure *closure, size_t carrier, const bool *planned,
		   struct fp_buffer *ret_table, struct fp_table_counts *ret_counts,
		   struct fp_why *why)
{
	struct fp_table_builder *builder;
	const char *program = closure->members[0].name;
	int error = 0;

	if (!closure->loader_listed)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, program,
				  "ld.so is not among its objects");
	if (closure->count > FP_MAX_OBJECTS)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, program, "more than %d objects",
				  FP_MAX_OBJECTS);
	builder = calloc(1, sizeof(*builder));
	if (!builder)
		return fp_why_system(why, ENOMEM, program, "build table");
	builder->closure = closure;
	builder->carrier = carrier;
	builder->planned = planned;
	builder->records = calloc(closure->count, sizeof(struct fp_table_object));
	builder->streams = calloc(closure->count, sizeof(struct fp_buffer));
	builder->fixed = calloc(closure->count, sizeof(bool));
	if (!builder->records || !builder->streams || !builder->fixed)
		error = -ENOMEM;
	if (!error)
		error = fp_binder_new(closure, &builder->binder, why);
	for (size_t i = 0; i < closure->count && !error; i++) {
		error = fp_table_identify(closure->members[i].object, &builder->records[i], why);
		builder->fixed[i] = fp_object_is_fixed(closure->members[i].object) ||
				    (planned && planned[i]);
		if (builder->fixed[i])
			builder->records[i].flags |= FP_OBJECT_FIXED;
		if (error)
			goto out;
	}
	if (!error)
		error = bind_members(builder);
	if (!error)
		error = join(builder, ret_table);
	if (error)
		error = fp_why_system(why, -error, program, "build table");
	*ret_counts = builder->counts;
out:
	for (size_t i = 0; builder->streams && i < closure->count; i++)
		fp_buffer_free(&builder->streams[i]);
	fp_buffer_free(&builder->fills);
	fp_binder_free(builder->binder);
	free(builder->streams);
	free(builder->records);
	free(builder->fixed);
	free(builder);
	return error;
}

int fp_table_finish(struct fp_table *table, const struct fp_object *program, struct fp_why *why)
{
	struct fp_table_object *records =
		(struct fp_table_object *)((char *)table + table->objects);
	int error = fp_table_identify(program, &records[0], why);

	table->head = fp_table_head(table);
	table->checksum = fp_table_checksum(table);
	return error;
}

/* In the order of runtime/check.c, so that both say the same. */
enum fp_decline fp_table_compare(const struct fp_table *table, const struct fp_closure *closure,
				 size_t *ret_index)
{
	const struct fp_table_object *records =
		(const struct fp_table_object *)((const char *)table + table->objects);
	size_t i;

	if (table->size % 8 != 0 || fp_table_checksum(table) != table->checksum)
		return FP_DECLINE_CHECKSUM;
	for (i = 0; i < closure->count && i < table->object_count; i++) {
		const struct fp_object *object = closure->members[i].object;

		*ret_index = i;
		if (object->dynamic_addr != records[i].dynamic ||
		    fp_object_base(object) != records[i].base ||
		    (i == table->loader) != (i == closure->loader_index))
			return FP_DECLINE_OBJECT_DIFFERS;
	}
	if (table->object_count != closure->count)
		return FP_DECLINE_OBJECT_COUNT;
	for (i = 0; i < closure->count; i++) {
		struct fp_table_object now = { 0 };

		*ret_index = i;
		if (fp_table_identify(closure->members[i].object, &now, NULL) != 0 ||
		    now.identity != records[i].identity || now.shape != records[i].shape)
			return FP_DECLINE_OBJECT_DIFFERS;
	}
	return FP_ACCELERATED;
}

bool fp_table_matches(const struct fp_table *table, const struct fp_closure *closure,
		      size_t carrier)
{
	size_t index;

	return table->carrier == carrier &&
	       fp_table_compare(table, closure, &index) == FP_ACCELERATED;
}
