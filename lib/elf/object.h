/* object.h - an ELF object: opened, checked once and completely, then free to be indexed. */
#ifndef FP_OBJECT_H
#define FP_OBJECT_H

#include <elf.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "../arena.h"
#include "../reason.h"
#include "../reloc/reloc.h"

/* An address as the object's headers give it (p_vaddr, st_value, r_offset), before any load bias. */
typedef uint64_t fp_addr;
/* An offset in a file. */
typedef uint64_t fp_off;

#ifndef PT_GNU_PROPERTY
#define PT_GNU_PROPERTY 0x6474e553
#endif

/* One version that symbols of an object are defined with or ask for, indexed as DT_VERSYM
   does (glibc elf/dl-version.c:_dl_check_map_versions). */
struct fp_version {
	uint32_t hash;    /* ELF hash of the name; 0: no version (index 0, 1 or unused) */
	bool hidden;      /* a reference that only a symbol with exactly this version satisfies */
	const char *name; /* null when hash is 0 */
	const char *file; /* soname the version is needed from; null for a defined version */
};

/* The GNU hash table (DT_GNU_HASH) as it is searched. */
struct fp_gnu_hash {
	const uint64_t *bloom; /* null: the object has none */
	const uint32_t *buckets;
	const uint32_t *chain_zero; /* indexed by symbol index: chain less symbol_offset */
	uint32_t bucket_count, bloom_mask, bloom_shift, symbol_offset;
};

/* The System V hash table (DT_HASH). */
struct fp_sysv_hash {
	const uint32_t *buckets, *chain;
	uint32_t bucket_count, chain_count;
};

/* A table of RELA relocations: pointer into the image, entries, address. */
struct fp_rela_table {
	const Elf64_Rela *rela;
	size_t count;
	fp_addr addr;
};

/* Everything the engine knows of one file.  After fp_object_open has returned 0:
   - every program header lies in the file, and the PT_LOADs ascend and do not overlap;
   - every table below lies in the file-backed part of one PT_LOAD and is aligned for its type;
   - every string offset (soname, needed, paths, symbol and version names) ends inside strtab;
   - every hash bucket and chain leads to an index below symbol_count and every chain ends;
   - every versym index has an entry in versions;
   - every relocation's symbol is below symbol_count, and its word lies in a PT_LOAD. */
struct fp_object {
	char *path;                 /* the name it was opened under, root included */
	const unsigned char *image; /* the whole file, read-only */
	size_t size;
	struct stat stat;

	const struct fp_machine *machine;
	const Elf64_Ehdr *ehdr;
	const Elf64_Phdr *phdr;
	const Elf64_Shdr *shdr; /* null when there are none */
	unsigned phnum, shnum;
	const char *shstrtab; /* null when there are none; every sh_name ends inside it */

	const Elf64_Dyn *dynamic; /* null for a static object; ends with DT_NULL */
	size_t dynamic_count;     /* entries before the first DT_NULL */
	size_t dynamic_spare;     /* further DT_NULLs behind the one that ends it */
	fp_addr dynamic_addr;

	const char *strtab;
	size_t strtab_size;
	const Elf64_Sym *symtab;
	size_t symbol_count;
	const uint16_t *versym; /* null: unversioned */
	struct fp_version *versions;
	size_t version_count;
	struct fp_gnu_hash gnu_hash;
	struct fp_sysv_hash sysv_hash;

	struct fp_rela_table rela;   /* DT_RELA without what DT_JMPREL covers too */
	struct fp_rela_table jmprel; /* DT_JMPREL */
	size_t relative_count;       /* leading R_*_RELATIVE entries of rela (DT_RELACOUNT) */
	const uint64_t *relr;
	size_t relr_count;

	const char *interpreter; /* PT_INTERP, or null */
	const char *soname, *rpath, *runpath;
	const char **needed; /* needed_count DT_NEEDED names, in order */
	size_t needed_count;
	uint64_t flags,
		flags_1; /* DT_FLAGS with DT_SYMBOLIC, DT_TEXTREL, DT_BIND_NOW folded in; DT_FLAGS_1 */
	bool has_audit;        /* DT_AUDIT or DT_DEPAUDIT */
	bool has_debug;        /* DT_DEBUG */
	bool dynamic_writable; /* PT_DYNAMIC has PF_W */
	bool rela_unwritable;  /* a word of rela or jmprel lies in a segment without PF_W */

	const unsigned char *build_id; /* null when there is none */
	size_t build_id_size;
	fp_addr build_id_addr;

	uint32_t number; /* among the objects of its loader, from 1; 0: it belongs to none */
	/* What its references were found to bind to before (bind/answers.h); null: nothing yet. */
	_Atomic(_Atomic(uint64_t) *) answers;
	_Atomic(int8_t) rows; /* of rewrite/rows.c: 1 or -1 where it is known whether rows are possible */

	struct fp_arena arena; /* owns path, versions, needed */
	void *elf;             /* libelf's descriptor */
	bool mapped;           /* image is our own mapping */
};

/* Opens and checks the file PATH.  On success *RET_OBJECT is to be closed with fp_object_close.
   Returns 0, or a negative errno with the reason in WHY. */
int fp_object_open(const char *path, struct fp_object **ret_object, struct fp_why *why);

/* As fp_object_open for SIZE bytes at IMAGE, which must outlive the object; PATH is for messages only. */
int fp_object_from_memory(const char *path, const void *image, size_t size,
			  struct fp_object **ret_object, struct fp_why *why);

void fp_object_close(struct fp_object *object);

/* Gives the memory back that the image of a file takes; pages that are used again are read again. */
void fp_object_trim(const struct fp_object *object);

/* The bytes of [ADDR, ADDR + SIZE) in the image, or null unless one PT_LOAD holds all of them in the file. */
const void *fp_object_at(const struct fp_object *object, fp_addr addr, uint64_t size);

/* The first PT_LOAD: there is always one. */
const Elf64_Phdr *fp_object_first_load(const struct fp_object *object);

/* The first free page behind all segments (gABI chapter "Program Loading"): where another one may go. */
fp_addr fp_object_free_page(const struct fp_object *object);

/* The page of the first PT_LOAD: where the object's map starts, without the bias. */
fp_addr fp_object_base(const struct fp_object *object);

/* Calls VISIT for the address of every word that DT_RELR names, in order. */
void fp_object_each_relr(const struct fp_object *object, void (*visit)(fp_addr addr, void *context),
			 void *context);

/* The section named NAME, or null. */
const Elf64_Shdr *fp_object_section(const struct fp_object *object, const char *name);

/* The number of bytes behind everything that headers, segments and sections speak of, where somebody may have put data
   that he finds by the file's end.  Without section headers whatever no segment holds counts. */
uint64_t fp_object_trailing(const struct fp_object *object);

/* True for an executable: ET_EXEC, or ET_DYN that the kernel starts (PT_INTERP with DF_1_PIE or DT_DEBUG). */
bool fp_object_is_program(const struct fp_object *object);

/* True for a library that was given an address (fp_shift_library): loaded there, it holds its words already. */
bool fp_object_is_fixed(const struct fp_object *object);

/* True when ld.so binds all of it at start (DF_BIND_NOW, DF_1_NOW). */
bool fp_object_binds_now(const struct fp_object *object);

#endif
