/* check.c - checks relocations, hash tables and symbols, so that later code indexes freely. */
#include "internal.h"

#include <string.h>

static int check_table(struct fp_object *object, const struct fp_rela_table *table,
		       uint32_t *max_symbol, struct fp_why *why)
{
	const Elf64_Phdr *segment = NULL;

	for (size_t i = 0; i < table->count; i++) {
		const Elf64_Rela *rela = &table->rela[i];
		const struct fp_reloc_type *type =
			fp_machine_reloc(object->machine, (uint32_t)ELF64_R_TYPE(rela->r_info));
		uint32_t symbol = (uint32_t)ELF64_R_SYM(rela->r_info);

		if (type->kind == FP_RELOC_UNKNOWN)
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "unknown relocation type %u",
					  (unsigned)ELF64_R_TYPE(rela->r_info));
		if (symbol > *max_symbol)
			*max_symbol = symbol;
		if (type->kind == FP_RELOC_NONE)
			continue;
		/* Neighbouring relocations nearly always lie in one segment. */
		if (segment && rela->r_offset >= segment->p_vaddr &&
		    rela->r_offset - segment->p_vaddr < segment->p_memsz &&
		    type->size <= segment->p_memsz - (rela->r_offset - segment->p_vaddr))
			continue;
		if (!fp_object_covers(object, rela->r_offset, type->size ? type->size : 1))
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "relocation at 0x%llx outside the segments",
					  (unsigned long long)rela->r_offset);
		for (unsigned p = 0; p < object->phnum; p++)
			if (object->phdr[p].p_type == PT_LOAD &&
			    rela->r_offset >= object->phdr[p].p_vaddr &&
			    rela->r_offset - object->phdr[p].p_vaddr < object->phdr[p].p_memsz)
				segment = &object->phdr[p];
	}
	return 0;
}

/* gABI "Relative Relocation Table": an even word is an address, an odd one a bitmap of the 63 words behind.  An address
   need not be that of an aligned word. */
static int check_relr(struct fp_object *object, struct fp_why *why)
{
	fp_addr where = 0;

	for (size_t i = 0; i < object->relr_count; i++) {
		uint64_t entry = object->relr[i];
		fp_addr last;

		if ((entry & 1) == 0) {
			last = entry;
			where = entry + 8;
		} else if ((entry >>= 1) != 0) {
			last = where + 8 * (63 - (uint64_t)__builtin_clzll(entry));
			where += 8 * 63;
		} else {
			where += 8 * 63;
			continue;
		}
		if ((i == 0 && (object->relr[0] & 1)) || !fp_object_covers(object, last, 8))
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "relative relocation outside the segments");
	}
	return 0;
}

int fp_object_check_relocations(struct fp_object *object, struct fp_why *why)
{
	uint32_t max_symbol = 0;
	int error = check_table(object, &object->rela, &max_symbol, why);

	if (!error)
		error = check_table(object, &object->jmprel, &max_symbol, why);
	if (!error)
		error = check_relr(object, why);
	if (error)
		return error;
	for (size_t i = 0; i < object->relative_count; i++)
		if (ELF64_R_TYPE(object->rela.rela[i].r_info) != object->machine->relative_type)
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "DT_RELACOUNT counts other relocations too");
	if (max_symbol >= object->symbol_count)
		object->symbol_count = (size_t)max_symbol + 1;
	return 0;
}

/* The GNU hash table (binutils bfd/elflink.c writes it, glibc elf/dl-setup_hash.c reads it): four words,
   the Bloom filter, buckets, and one chain word for every symbol from symbol_offset on. */
static int read_gnu_hash(struct fp_object *object, fp_addr addr, struct fp_why *why)
{
	const uint32_t *header = fp_object_table(object, addr, 4, 4, 4);
	struct fp_gnu_hash *hash = &object->gnu_hash;
	const uint32_t *chain;
	fp_addr buckets, chains;
	uint32_t last = 0;

	if (!header)
		goto bad;
	hash->bucket_count = header[0];
	hash->symbol_offset = header[1];
	hash->bloom_mask = header[2] - 1;
	hash->bloom_shift = header[3];
	if (!header[2] || (header[2] & (header[2] - 1)) != 0 || hash->bloom_shift > 31)
		goto bad;
	hash->bloom = fp_object_table(object, addr + 16, header[2], sizeof(uint64_t), 8);
	buckets = addr + 16 + (uint64_t)header[2] * sizeof(uint64_t);
	hash->buckets = fp_object_table(object, buckets, hash->bucket_count, 4, 4);
	if (!hash->bloom || !hash->buckets)
		goto bad;
	chains = buckets + (uint64_t)hash->bucket_count * 4;
	for (uint32_t i = 0; i < hash->bucket_count; i++) {
		if (hash->buckets[i] && hash->buckets[i] < hash->symbol_offset)
			goto bad;
		if (hash->buckets[i] > last)
			last = hash->buckets[i];
	}
	if (!last) {
		if (!hash->bucket_count)
			goto empty;
		/* Never searched: no bucket leads to a chain. */
		hash->chain_zero = hash->buckets;
		return 0;
	}
	/* The chains lie behind one another, so the last one's end bounds them all. */
	for (;; last++) {
		chain = fp_object_table(object, chains + 4 * (uint64_t)(last - hash->symbol_offset),
					1, 4, 4);
		if (!chain || last == UINT32_MAX)
			goto bad;
		if (*chain & 1)
			break;
	}
	chain = fp_object_table(object, chains, (uint64_t)last - hash->symbol_offset + 1, 4, 4);
	if (!chain)
		goto bad;
	hash->chain_zero = chain - hash->symbol_offset;
	if (last >= object->symbol_count)
		object->symbol_count = (size_t)last + 1;
	return 0;
empty:
	/* No buckets: the loader skips the object (l_nbuckets == 0). */
	return 0;
bad:
	return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad GNU hash table");
}

/* gABI chapter "Hash Table". */
static int read_sysv_hash(struct fp_object *object, fp_addr addr, struct fp_why *why)
{
	const uint32_t *header = fp_object_table(object, addr, 2, 4, 4);
	struct fp_sysv_hash *hash = &object->sysv_hash;
	uint32_t steps;

	if (!header)
		goto bad;
	hash->bucket_count = header[0];
	hash->chain_count = header[1];
	hash->buckets = fp_object_table(object, addr + 8, hash->bucket_count, 4, 4);
	hash->chain = fp_object_table(object, addr + 8 + 4 * (uint64_t)hash->bucket_count,
				      hash->chain_count, 4, 4);
	if (!hash->buckets || !hash->chain)
		goto bad;
	/* A chain that visits more entries than there are goes in circles. */
	steps = 0;
	for (uint32_t i = 0; i < hash->bucket_count; i++)
		for (uint32_t at = hash->buckets[i]; at != STN_UNDEF; at = hash->chain[at])
			if (at >= hash->chain_count || steps++ > hash->chain_count)
				goto bad;
	if (hash->chain_count > object->symbol_count)
		object->symbol_count = hash->chain_count;
	return 0;
bad:
	return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad hash table");
}

int fp_object_read_hashes(struct fp_object *object, fp_addr gnu_hash, fp_addr sysv_hash,
			  struct fp_why *why)
{
	int error = 0;

	if (sysv_hash)
		error = read_sysv_hash(object, sysv_hash, why);
	if (!error && gnu_hash)
		error = read_gnu_hash(object, gnu_hash, why);
	return error;
}

int fp_object_check_symbols(struct fp_object *object, struct fp_why *why)
{
	for (size_t i = 0; i < object->symbol_count; i++) {
		if (object->symtab[i].st_name >= object->strtab_size)
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "bad name of symbol %zu", i);
		if (object->versym && (object->versym[i] & 0x7fffu) >= object->version_count)
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "bad version of symbol %zu", i);
	}
	return 0;
}
