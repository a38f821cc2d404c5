/* object.c - opens an ELF file and checks its headers and segments. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_PHNUM = 512 };

static int check_identity(const struct fp_object *object, struct fp_why *why)
{
	const unsigned char *ident = object->image;
	const Elf64_Ehdr *ehdr = (const Elf64_Ehdr *)object->image;
	const char *path = object->path;

	if (object->size < SELFMAG || memcmp(ident, ELFMAG, SELFMAG) != 0)
		return fp_why_set(why, FP_REASON_NOT_ELF, path, "%s", "");
	if (object->size < sizeof(Elf64_Ehdr))
		return fp_why_set(why, FP_REASON_TRUNCATED, path, "%zu bytes", object->size);
	if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB)
		return fp_why_set(why, FP_REASON_WRONG_CLASS, path, "class %u, data %u",
				  ident[EI_CLASS], ident[EI_DATA]);
	if (!fp_machine_find(ehdr->e_machine))
		return fp_why_set(why, FP_REASON_WRONG_MACHINE, path, "machine %u",
				  ehdr->e_machine);
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return fp_why_set(why, FP_REASON_WRONG_TYPE, path, "type %u", ehdr->e_type);
	if (ident[EI_VERSION] != EV_CURRENT || ehdr->e_ehsize != sizeof(Elf64_Ehdr) ||
	    ehdr->e_phentsize != sizeof(Elf64_Phdr) || ehdr->e_phnum > MAX_PHNUM ||
	    (ehdr->e_shoff && ehdr->e_shentsize != sizeof(Elf64_Shdr)))
		return fp_why_set(why, FP_REASON_MALFORMED, path, "bad ELF header");
	if (ehdr->e_phoff % 8 != 0)
		return fp_why_set(why, FP_REASON_UNSUPPORTED, path,
				  "program headers at an offset that is no multiple of 8");
	return 0;
}

/* [OFFSET, OFFSET + SIZE) lies in the file. */
static bool in_file(const struct fp_object *object, fp_off offset, uint64_t size)
{
	return offset <= object->size && size <= object->size - offset;
}

/* gABI chapter "Program Header"; the loader's own demands: glibc elf/dl-load.c:_dl_map_object_from_fd. */
static int check_segments(struct fp_object *object, struct fp_why *why)
{
	fp_addr end = 0;
	unsigned loads = 0;

	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type == PT_NULL)
			continue;
		/* Nobody reads what RELRO covers in the file; lld rounds it up to whole pages. */
		if (p->p_type != PT_GNU_RELRO && !in_file(object, p->p_offset, p->p_filesz))
			return fp_why_set(why, FP_REASON_TRUNCATED, object->path,
					  "segment %u lies behind the end of the file", i);
		if (p->p_vaddr + p->p_memsz < p->p_vaddr || p->p_offset + p->p_filesz < p->p_offset)
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "segment %u wraps around", i);
		if (p->p_type != PT_LOAD)
			continue;
		if (p->p_filesz > p->p_memsz || (p->p_offset - p->p_vaddr) % PAGE != 0 ||
		    (p->p_align & (p->p_align - 1)) != 0 || (loads && p->p_vaddr < end))
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "segment %u is inconsistent", i);
		end = p->p_vaddr + p->p_memsz;
		loads++;
	}
	if (!loads)
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "no PT_LOAD segment");
	return 0;
}

static int check_sections(struct fp_object *object, size_t shstrndx, struct fp_why *why)
{
	const Elf64_Shdr *strings;

	for (unsigned i = 1; i < object->shnum; i++) {
		const Elf64_Shdr *s = &object->shdr[i];

		if (s->sh_type != SHT_NOBITS && s->sh_type != SHT_NULL &&
		    !in_file(object, s->sh_offset, s->sh_size))
			return fp_why_set(why, FP_REASON_TRUNCATED, object->path,
					  "section %u lies behind the end of the file", i);
	}
	if (!object->shnum || shstrndx == SHN_UNDEF)
		return 0;
	if (shstrndx >= object->shnum || object->shdr[shstrndx].sh_type != SHT_STRTAB)
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad section name table");
	strings = &object->shdr[shstrndx];
	object->shstrtab = (const char *)object->image + strings->sh_offset;
	if (!strings->sh_size || object->shstrtab[strings->sh_size - 1] != '\0')
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad section name table");
	for (unsigned i = 0; i < object->shnum; i++)
		if (object->shdr[i].sh_name >= strings->sh_size)
			return fp_why_set(why, FP_REASON_MALFORMED, object->path,
					  "bad name of section %u", i);
	return 0;
}

static int read_headers(struct fp_object *object, struct fp_why *why)
{
	size_t phnum, shnum = 0, shstrndx = 0;
	const Elf64_Ehdr *ehdr = (const Elf64_Ehdr *)object->image;
	Elf *elf;
	int error;

	object->ehdr = ehdr;
	if (!in_file(object, ehdr->e_phoff, (uint64_t)ehdr->e_phnum * sizeof(Elf64_Phdr)))
		return fp_why_set(why, FP_REASON_TRUNCATED, object->path,
				  "program headers lie behind the end of the file");
	if (ehdr->e_shoff &&
	    !in_file(object, ehdr->e_shoff,
		     (uint64_t)(ehdr->e_shnum ? ehdr->e_shnum : 1) * sizeof(Elf64_Shdr)))
		return fp_why_set(why, FP_REASON_TRUNCATED, object->path,
				  "section headers lie behind the end of the file");
	elf_version(EV_CURRENT);
	/* libelf takes a writable pointer but does not write to native objects. */
	elf = elf_memory((char *)object->image, object->size);
	object->elf = elf;
	if (!elf || elf_kind(elf) != ELF_K_ELF || elf_getphdrnum(elf, &phnum) != 0 || !phnum ||
	    elf_getshdrnum(elf, &shnum) != 0 || (shnum && elf_getshdrstrndx(elf, &shstrndx) != 0))
		return fp_why_set(why, FP_REASON_MALFORMED, object->path, "%s", elf_errmsg(-1));
	object->phdr = (const Elf64_Phdr *)(object->image + ehdr->e_phoff);
	object->phnum = ehdr->e_phnum;
	if (phnum != object->phnum)
		return fp_why_set(why, FP_REASON_MALFORMED, object->path,
				  "bad program header count");
	if (shnum) {
		if (ehdr->e_shoff % 8 != 0 ||
		    !in_file(object, ehdr->e_shoff, (uint64_t)shnum * sizeof(Elf64_Shdr)))
			return fp_why_set(why, FP_REASON_TRUNCATED, object->path,
					  "section headers lie behind the end of the file");
		object->shdr = (const Elf64_Shdr *)(object->image + ehdr->e_shoff);
		object->shnum = (unsigned)shnum;
	}
	error = check_segments(object, why);
	return error ? error : check_sections(object, shstrndx, why);
}

static int read_interpreter(struct fp_object *object, struct fp_why *why)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type != PT_INTERP)
			continue;
		if (!p->p_filesz || object->image[p->p_offset + p->p_filesz - 1] != '\0')
			return fp_why_set(why, FP_REASON_MALFORMED, object->path, "bad PT_INTERP");
		object->interpreter = (const char *)object->image + p->p_offset;
	}
	return 0;
}

/* gABI chapter "Note Section": name size, descriptor size, type; both padded to the segment's alignment. */
static void read_build_id(struct fp_object *object)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];
		uint64_t align = p->p_align == 8 ? 8 : 4, position = 0;

		if (p->p_type != PT_NOTE || !fp_object_at(object, p->p_vaddr, p->p_filesz) ||
		    p->p_offset % 4 != 0)
			continue;
		while (p->p_filesz - position >= sizeof(Elf64_Nhdr)) {
			const unsigned char *at = object->image + p->p_offset + position;
			const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;
			uint64_t name = ((uint64_t)note->n_namesz + align - 1) & ~(align - 1);
			uint64_t desc = sizeof(*note) + name;
			uint64_t size =
				desc + (((uint64_t)note->n_descsz + align - 1) & ~(align - 1));

			if (desc + note->n_descsz > p->p_filesz - position)
				break;
			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof("GNU") &&
			    memcmp(at + sizeof(*note), "GNU", sizeof("GNU")) == 0 &&
			    note->n_descsz >= 8 && note->n_descsz <= 64) {
				object->build_id = at + desc;
				object->build_id_size = note->n_descsz;
				object->build_id_addr = p->p_vaddr + position + desc;
				return;
			}
			if (size >= p->p_filesz - position)
				break;
			position += size;
		}
	}
}

static int read_object(struct fp_object *object, struct fp_why *why)
{
	int error = check_identity(object, why);

	if (!error)
		error = read_headers(object, why);
	if (!error)
		error = read_interpreter(object, why);
	if (error)
		return error;
	object->machine = fp_machine_find(object->ehdr->e_machine);
	read_build_id(object);
	return fp_object_read_dynamic(object, why);
}

static struct fp_object *object_new(const char *path, struct fp_why *why)
{
	struct fp_object *object = calloc(1, sizeof(*object));

	if (object)
		object->path = fp_arena_string(&object->arena, path);
	if (!object || !object->path) {
		free(object);
		fp_why_system(why, ENOMEM, path, "open");
		return NULL;
	}
	return object;
}

static int map_file(struct fp_object *object, struct fp_why *why)
{
	int fd = open(object->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	void *image;
	int error = 0;

	if (fd < 0)
		return fp_why_system(why, errno, object->path, "open");
	if (fstat(fd, &object->stat) != 0) {
		error = fp_why_system(why, errno, object->path, "stat");
	} else if (!S_ISREG(object->stat.st_mode)) {
		error = fp_why_set(why, FP_REASON_NOT_REGULAR, object->path, "%s", "");
	} else if (object->stat.st_size == 0) {
		error = fp_why_set(why, FP_REASON_NOT_ELF, object->path, "empty");
	} else {
		object->size = (size_t)object->stat.st_size;
		image = mmap(NULL, object->size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (image == MAP_FAILED) {
			object->size = 0;
			error = fp_why_system(why, errno, object->path, "mmap");
		} else {
			object->image = image;
			object->mapped = true;
		}
	}
	close(fd);
	return error;
}

int fp_object_open(const char *path, struct fp_object **ret_object, struct fp_why *why)
{
	struct fp_object *object = object_new(path, why);
	int error;

	if (!object)
		return -ENOMEM;
	error = map_file(object, why);
	if (!error)
		error = read_object(object, why);
	if (error) {
		fp_object_close(object);
		return error;
	}
	*ret_object = object;
	return 0;
}

int fp_object_from_memory(const char *path, const void *image, size_t size,
			  struct fp_object **ret_object, struct fp_why *why)
{
	struct fp_object *object = object_new(path, why);
	int error;

	if (!object)
		return -ENOMEM;
	object->image = image;
	object->size = size;
	error = read_object(object, why);
	if (error) {
		fp_object_close(object);
		return error;
	}
	*ret_object = object;
	return 0;
}

void fp_object_close(struct fp_object *object)
{
	if (!object)
		return;
	if (object->elf)
		elf_end(object->elf);
	if (object->mapped)
		munmap((void *)object->image, object->size);
	free(atomic_load(&object->answers));
	fp_arena_free(&object->arena);
	free(object);
}

void fp_object_trim(const struct fp_object *object)
{
	if (object->mapped)
		(void)madvise((void *)object->image, object->size, MADV_DONTNEED);
}

/* How many bytes from the end of P on other segments go on with, in memory as in the file: patchelf cuts tables in two so. */
static uint64_t continued(const struct fp_object *object, const Elf64_Phdr *p)
{
	uint64_t size = 0;

	for (const Elf64_Phdr *end = object->phdr + object->phnum, *next = p + 1;
	     next < end && p->p_filesz == p->p_memsz; next++) {
		if (next->p_type != PT_LOAD)
			continue;
		if (next->p_vaddr != p->p_vaddr + p->p_memsz ||
		    next->p_offset != p->p_offset + p->p_filesz)
			break;
		size += next->p_filesz;
		p = next;
	}
	return size;
}

const void *fp_object_at(const struct fp_object *object, fp_addr addr, uint64_t size)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];
		uint64_t left;

		if (p->p_type != PT_LOAD || addr < p->p_vaddr || addr - p->p_vaddr > p->p_filesz)
			continue;
		left = p->p_filesz - (addr - p->p_vaddr);
		if (size <= left || (left && size - left <= continued(object, p)))
			return object->image + p->p_offset + (addr - p->p_vaddr);
	}
	return NULL;
}

bool fp_object_covers(const struct fp_object *object, fp_addr addr, uint64_t size)
{
	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if (p->p_type == PT_LOAD && addr >= p->p_vaddr && addr - p->p_vaddr <= p->p_memsz &&
		    size <= p->p_memsz - (addr - p->p_vaddr))
			return true;
	}
	return false;
}

const void *fp_object_table(const struct fp_object *object, fp_addr addr, uint64_t count,
			    size_t element_size, size_t alignment)
{
	uint64_t size;
	const unsigned char *at;

	if (__builtin_mul_overflow(count, element_size, &size))
		return NULL;
	at = fp_object_at(object, addr, size);
	return at && (size_t)(at - object->image) % alignment == 0 ? at : NULL;
}

const Elf64_Phdr *fp_object_first_load(const struct fp_object *object)
{
	const Elf64_Phdr *p = object->phdr;

	while (p->p_type != PT_LOAD)
		p++;
	return p;
}

fp_addr fp_object_free_page(const struct fp_object *object)
{
	fp_addr end = 0;

	for (unsigned i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *p = &object->phdr[i];

		if ((p->p_type == PT_LOAD || p->p_type == PT_TLS) && p->p_vaddr + p->p_memsz > end)
			end = p->p_vaddr + p->p_memsz;
	}
	return (end + PAGE - 1) & ~(fp_addr)(PAGE - 1);
}

fp_addr fp_object_base(const struct fp_object *object)
{
	return fp_object_first_load(object)->p_vaddr & ~(fp_addr)(PAGE - 1);
}

void fp_object_each_relr(const struct fp_object *object, void (*visit)(fp_addr addr, void *context),
			 void *context)
{
	fp_addr where = 0;

	for (size_t i = 0; i < object->relr_count; i++) {
		uint64_t entry = object->relr[i];

		if ((entry & 1) == 0) {
			visit(entry, context);
			where = entry + 8;
			continue;
		}
		for (fp_addr at = where; (entry >>= 1) != 0; at += 8)
			if (entry & 1)
				visit(at, context);
		where += 8 * 63;
	}
}

const Elf64_Shdr *fp_object_section(const struct fp_object *object, const char *name)
{
	if (object->shstrtab)
		for (unsigned i = 1; i < object->shnum; i++)
			if (strcmp(object->shstrtab + object->shdr[i].sh_name, name) == 0)
				return &object->shdr[i];
	return NULL;
}

uint64_t fp_object_trailing(const struct fp_object *object)
{
	fp_off end = object->ehdr->e_phoff + object->phnum * sizeof(Elf64_Phdr);

	if (object->shnum && object->ehdr->e_shoff + object->shnum * sizeof(Elf64_Shdr) > end)
		end = object->ehdr->e_shoff + object->shnum * sizeof(Elf64_Shdr);
	for (unsigned i = 0; i < object->phnum; i++)
		if (object->phdr[i].p_type != PT_GNU_RELRO &&
		    object->phdr[i].p_offset + object->phdr[i].p_filesz > end)
			end = object->phdr[i].p_offset + object->phdr[i].p_filesz;
	for (unsigned i = 1; i < object->shnum; i++)
		if (object->shdr[i].sh_type != SHT_NOBITS &&
		    object->shdr[i].sh_offset + object->shdr[i].sh_size > end)
			end = object->shdr[i].sh_offset + object->shdr[i].sh_size;
	return object->size - end;
}

bool fp_object_is_program(const struct fp_object *object)
{
	if (object->ehdr->e_type == ET_EXEC)
		return true;
	return object->interpreter && ((object->flags_1 & DF_1_PIE) || object->has_debug);
}

bool fp_object_is_fixed(const struct fp_object *object)
{
	fp_addr base = fp_object_base(object);
	bool prelinked = false, checksum = false;

	for (size_t i = 0; i < object->dynamic_count; i++) {
		prelinked |= object->dynamic[i].d_tag == DT_GNU_PRELINKED;
		checksum |= object->dynamic[i].d_tag == DT_CHECKSUM;
	}
	return object->ehdr->e_type == ET_DYN && prelinked && checksum &&
	       base >= object->machine->window_start && base < object->machine->window_end &&
	       !fp_object_is_program(object);
}

bool fp_object_binds_now(const struct fp_object *object)
{
	return (object->flags & DF_BIND_NOW) || (object->flags_1 & DF_1_NOW);
}
