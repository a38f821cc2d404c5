/* versions.c - checks that every symbol version an object needs is defined where it is needed from.

   glibc elf/dl-version.c:_dl_check_map_versions.  The tables are walked as ld.so walks them, by
   their links and not by their counts, with every step checked. */
#include "internal.h"

#include <string.h>

#ifndef DT_RELR
#define DT_RELR 36
#endif

#define RELR_VERSION "GLIBC_ABI_DT_RELR"

enum { MAX_RECORDS = 1 << 20 };

/* A check in progress: of the needs of one node. */
struct check {
	const struct fp_search *search;
	const struct fp_node *node;
	size_t records;  /* how many were looked at, so that linked tables cannot take forever */
	bool knows_relr; /* RELR_VERSION is among the needs */
	struct fp_why *why;
};

/* The value of the last TAG of OBJECT, or 0. */
static fp_addr tag_value(const struct fp_object *object, int64_t tag)
{
	fp_addr value = 0;

	for (size_t i = 0; i < object->dynamic_count; i++)
		if (object->dynamic[i].d_tag == tag)
			value = object->dynamic[i].d_un.d_ptr;
	return value;
}

static const char *string_at(const struct fp_object *object, uint32_t offset)
{
	return offset < object->strtab_size ? object->strtab + offset : NULL;
}

/* Copies the record at ADDR, which need not be aligned: ld.so does not ask for it. */
static bool read_record(const struct fp_object *object, fp_addr addr, void *record, size_t size)
{
	const void *at = fp_object_at(object, addr, size);

	if (at)
		memcpy(record, at, size);
	return at != NULL;
}

static int malformed(const struct check *check, const struct fp_object *object)
{
	return fp_why_set(check->why, FP_REASON_MALFORMED, object->path,
			  "bad symbol version tables");
}

/* 1 when OBJECT defines the version NAME, whose hash is HASH, or has no versions at all; else 0
   (glibc elf/dl-version.c:match_symbol). */
static int defines(struct check *check, const struct fp_object *object, const char *name,
		   uint32_t hash)
{
	fp_addr at = tag_value(object, DT_VERDEF);

	if (!at)
		return 1;
	for (;;) {
		const char *defined = NULL;
		Elf64_Verdaux aux;
		Elf64_Verdef def;

		if (!read_record(object, at, &def, sizeof(def)) || def.vd_version != 1 ||
		    ++check->records > MAX_RECORDS)
			return malformed(check, object);
		if (def.vd_hash == hash) {
			if (read_record(object, at + def.vd_aux, &aux, sizeof(aux)))
				defined = string_at(object, aux.vda_name);
			if (!defined)
				return malformed(check, object);
			if (strcmp(defined, name) == 0)
				return 1;
		}
		if (!def.vd_next)
			return 0;
		at += def.vd_next;
	}
}

/* The versions that are needed from PROVIDER; AT is the first of them. */
static int check_list(struct check *check, const struct fp_node *provider, fp_addr at)
{
	const struct fp_object *object = check->node->object;

	for (;;) {
		const char *name = NULL;
		Elf64_Vernaux aux;
		int found;

		if (read_record(object, at, &aux, sizeof(aux)))
			name = string_at(object, aux.vna_name);
		if (!name || ++check->records > MAX_RECORDS)
			return malformed(check, object);
		found = defines(check, provider->object, name, aux.vna_hash);
		if (found < 0)
			return found;
		if (!found && !(aux.vna_flags & VER_FLG_WEAK))
			return fp_why_set(check->why, FP_REASON_MISSING_VERSION, object->path,
					  "%s in %s", name, provider->path);
		if (strcmp(name, RELR_VERSION) == 0)
			check->knows_relr = true;
		if (!aux.vna_next)
			return 0;
		at += aux.vna_next;
	}
}

/* An object with DT_RELR that does not say so to libc may not run (glibc 57292f5741). */
static int check_relr(const struct check *check)
{
	const struct fp_object *object = check->node->object;

	if (check->knows_relr || !tag_value(object, DT_RELR))
		return 0;
	for (size_t i = 0; i < object->needed_count; i++)
		if (strncmp(object->needed[i], "libc.so.", 8) == 0)
			return fp_why_set(check->why, FP_REASON_MISSING_VERSION, object->path,
					  "DT_RELR without " RELR_VERSION);
	return 0;
}

static int check_node(struct check *check)
{
	const struct fp_object *object = check->node->object;
	fp_addr at = tag_value(object, DT_VERNEED);
	int error;

	if (!at)
		return 0;
	for (;;) {
		const struct fp_node *provider;
		const char *file = NULL;
		Elf64_Verneed need;

		if (read_record(object, at, &need, sizeof(need)))
			file = string_at(object, need.vn_file);
		if (!file || need.vn_version != 1 || ++check->records > MAX_RECORDS)
			return malformed(check, object);
		provider = fp_search_named(check->search->list, check->search->list_count, file);
		if (!provider)
			return fp_why_set(check->why, FP_REASON_MISSING_LIBRARY, object->path,
					  "%s, whose versions it needs", file);
		error = check_list(check, provider, at + need.vn_aux);
		if (error)
			return error;
		if (!need.vn_next)
			return check_relr(check);
		at += need.vn_next;
	}
}

int fp_versions_check(const struct fp_search *search, struct fp_why *why)
{
	struct check check = { .search = search, .why = why };
	int error = 0;

	for (size_t i = 0; !error && i < search->list_count; i++) {
		check.node = search->list[i];
		check.records = 0;
		check.knows_relr = false;
		error = check_node(&check);
	}
	return error;
}
