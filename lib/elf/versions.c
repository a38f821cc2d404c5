/* versions.c - the symbol versions an object defines and needs (glibc elf/dl-version.c; LSB "Symbol Versioning"). */
#include "internal.h"

#include <errno.h>

struct table {
	fp_addr addr;
	uint64_t
		count; /* DT_VERDEFNUM or DT_VERNEEDNUM, or more: the links end the table, and every one leads forward */
};

/* Calls PUT for every version; with VERSIONS null only the highest index is wanted. */
struct reader {
	struct fp_object *object;
	struct fp_version *versions;
	unsigned highest;
};

static int bad(const struct reader *reader, struct fp_why *why)
{
	return fp_why_set(why, FP_REASON_MALFORMED, reader->object->path,
			  "bad symbol version tables");
}

static int put(struct reader *reader, unsigned index, struct fp_version version, uint32_t name)
{
	index &= 0x7fff;
	if (name >= reader->object->strtab_size)
		return -1;
	if (index > reader->highest)
		reader->highest = index;
	if (reader->versions) {
		version.name = reader->object->strtab + name;
		reader->versions[index] = version;
	}
	return 0;
}

static int read_definitions(struct reader *reader, struct table table, struct fp_why *why)
{
	fp_addr at = table.addr;

	for (uint64_t i = 0; i < table.count; i++) {
		const Elf64_Verdef *def = fp_object_table(reader->object, at, 1, sizeof(*def), 4);
		const Elf64_Verdaux *aux;

		if (!def || def->vd_version != 1)
			return bad(reader, why);
		aux = fp_object_table(reader->object, at + def->vd_aux, 1, sizeof(*aux), 4);
		if (!aux)
			return bad(reader, why);
		/* The base version is the file's name: no symbol matches it. */
		if ((def->vd_flags & VER_FLG_BASE) == 0 &&
		    put(reader, def->vd_ndx, (struct fp_version){ .hash = def->vd_hash },
			aux->vda_name))
			return bad(reader, why);
		if ((def->vd_flags & VER_FLG_BASE) && (def->vd_ndx & 0x7fffu) > reader->highest)
			reader->highest = def->vd_ndx & 0x7fff;
		if (!def->vd_next)
			break;
		at += def->vd_next;
	}
	return 0;
}

static int read_needs(struct reader *reader, struct table table, struct fp_why *why)
{
	fp_addr at = table.addr;

	for (uint64_t i = 0; i < table.count; i++) {
		const Elf64_Verneed *need =
			fp_object_table(reader->object, at, 1, sizeof(*need), 4);
		fp_addr aux_at;

		if (!need || need->vn_version != 1 || need->vn_file >= reader->object->strtab_size)
			return bad(reader, why);
		aux_at = at + need->vn_aux;
		for (unsigned j = 0; j < need->vn_cnt; j++) {
			const Elf64_Vernaux *aux =
				fp_object_table(reader->object, aux_at, 1, sizeof(*aux), 4);
			struct fp_version version;

			if (!aux)
				return bad(reader, why);
			version = (struct fp_version){
				.hash = aux->vna_hash,
				.hidden = (aux->vna_other & 0x8000) != 0,
				.file = reader->object->strtab + need->vn_file,
			};
			if (put(reader, aux->vna_other, version, aux->vna_name))
				return bad(reader, why);
			if (!aux->vna_next)
				break;
			aux_at += aux->vna_next;
		}
		if (!need->vn_next)
			break;
		at += need->vn_next;
	}
	return 0;
}

static int read_both(struct reader *reader, struct table definitions, struct table needs,
		     struct fp_why *why)
{
	int error = 0;

	/* In the loader's order: a definition of the same index wins. */
	if (needs.addr)
		error = read_needs(reader, needs, why);
	if (!error && definitions.addr)
		error = read_definitions(reader, definitions, why);
	return error;
}

int fp_object_read_versions(struct fp_object *object, fp_addr verdef, uint64_t verdef_count,
			    fp_addr verneed, uint64_t verneed_count, struct fp_why *why)
{
	struct table definitions = { verdef, verdef_count }, needs = { verneed, verneed_count };
	struct reader reader = { .object = object };
	int error = read_both(&reader, definitions, needs, why);

	if (error || !reader.highest)
		return error;
	object->version_count = reader.highest + 1;
	reader.versions =
		fp_arena_array(&object->arena, object->version_count, sizeof(struct fp_version));
	if (!reader.versions)
		return fp_why_system(why, ENOMEM, object->path, "read");
	object->versions = reader.versions;
	return read_both(&reader, definitions, needs, why);
}
