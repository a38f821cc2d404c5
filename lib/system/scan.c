/* scan.c - walks directories for ELF files and executables, and looks into headers for undo data and addresses. */
#include "scan.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fastprelink/abi.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../graph/rootpath.h"
#include "../layout/layout.h"
#include "../reloc/reloc.h"
#include "../rewrite/commit.h"
#include "../rewrite/undo.h"
#include "walk.h"

enum {
	MAX_SECTIONS = 65536,
	MAX_SECTION_NAMES = 1024 * 1024,
};

/* What one scan does with what the walk meets. */
struct scan {
	fp_scan_visit *visit;
	fp_scan_visit_executable *visit_executable;
	void *context;
	size_t root_length; /* of the part of a path that is the root's */
	bool skips_data;
};

static bool is_elf(int fd, struct stat *ret_stat)
{
	unsigned char magic[SELFMAG];

	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0 && fstat(fd, ret_stat) == 0 &&
	       S_ISREG(ret_stat->st_mode);
}

/* A rule of the walk for files, as the other scan_* functions. */
static int scan_elf(struct fp_walk *walk, int parent, const char *name, const char *path,
		    void *context)
{
	const struct scan *scan = context;
	int fd = fp_walk_open(parent, name, 0), first = 1;
	struct stat stat;
	bool elf;

	if (fd < 0)
		return fp_walk_unreadable(walk, path, errno);
	elf = is_elf(fd, &stat);
	close(fd);
	if (!elf)
		return 0;
	if (stat.st_nlink > 1)
		first = fp_walk_meet(walk, &stat);
	return first > 0 ? scan->visit(path, scan->context) : first;
}

static int compare_endings(const void *key, const void *element)
{
	return strcmp(key, *(const char *const *)element);
}

/* True when NAME ends as files do that no linker writes and ld.so is never asked for: text, pictures, archives.  They are
   nine in ten of a system's files. */
static bool is_data(const char *name)
{
	/* In byte order. */
	static const char *const endings[] = {
		"ads",  "c",    "cc",   "cmake",   "conf", "cpp",  "css",  "desktop", "el",  "elc",
		"gif",  "go",   "gz",   "h",       "hpp",  "htm",  "html", "inc",     "jpg", "js",
		"json", "list", "md",   "md5sums", "mo",   "pas",  "pdf",  "pl",      "pm",  "png",
		"po",   "py",   "pyc",  "pyi",     "qm",   "qml",  "rst",  "svg",     "ttf", "txt",
		"ui",   "vim",  "woff", "woff2",   "xml",  "yaml",
	};
	const char *dot = strrchr(name, '.');

	return dot && bsearch(dot + 1, endings, sizeof(endings) / sizeof(endings[0]),
			      sizeof(endings[0]), compare_endings);
}

static bool ignores_data(const char *name, void *context)
{
	(void)context;
	return is_data(name);
}

/* What a killed run left; it is never loaded, and the next run that writes there may remove it at any time. */
static bool ignores_left_over(const char *name, void *context)
{
	(void)context;
	return strncmp(name, FP_TEMPORARY_PREFIX, strlen(FP_TEMPORARY_PREFIX)) == 0;
}

static bool ignores_unlikely(const char *name, void *context)
{
	return ignores_left_over(name, context) || ignores_data(name, context);
}

static int scan_executable(struct fp_walk *walk, int parent, const char *name, const char *path,
			   void *context)
{
	const struct scan *scan = context;
	struct stat stat;

	(void)walk;
	if (fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(stat.st_mode) ||
	    !(stat.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return 0;
	return scan->visit_executable(path, &stat, scan->context);
}

/* False for large directories in which no package installs programs or libraries. */
static bool enters(const char *path, void *context)
{
	static const char *const names[] = {
		"include",     "src",        "share/doc",    "share/fonts", "share/help",
		"share/icons", "share/info", "share/locale", "share/man",   "share/zoneinfo",
	};
	const struct scan *scan = context;
	const char *slash = strrchr(path, '/');

	if (slash && ignores_left_over(slash + 1, NULL))
		return false;
	path += scan->root_length;
	path += strspn(path, "/");
	if (!scan->skips_data || strncmp(path, "usr/", 4) != 0)
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(path + 4, names[i]) == 0)
			return false;
	return true;
}

/* NAME is a directory of the root: those of packages, and those of users, where no package installs anything. */
static bool holds_programs(const char *name, bool skips_data)
{
	static const char *const names[] = { "bin", "sbin", "usr", "opt", "srv", "home", "root" };
	size_t count = skips_data ? 4 : sizeof(names) / sizeof(names[0]);

	for (size_t i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strncmp(name, "lib", 3) == 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Walks the directories that CONFIG names. */
static int scan_configured(struct fp_walk *walk, const struct fp_config *config, const char *root)
{
	size_t count;
	const struct fp_config_directory *directories = fp_config_directories(config, &count);
	struct fp_root inside;
	int result = fp_root_init(&inside, root);

	for (size_t i = 0; i < count && !result; i++) {
		const struct fp_path *path = fp_root_resolve(&inside, directories[i].path);

		if (!path)
			result = -ENOMEM;
		else if (!path->error)
			result = fp_walk_tree(walk, *path->host ? path->host : "/",
					      directories[i].one_file_system);
	}
	fp_root_free(&inside);
	return result;
}

/* Walks those directories of ROOT in which programs and libraries are installed, and those of CONFIG. */
static int scan_system(const struct fp_walk_rules *rules, struct scan *scan, const char *root,
		       const struct fp_config *config)
{
	struct fp_walk *walk = fp_walk_new(rules);
	struct dirent **names = NULL;
	int count, result = walk ? 0 : -ENOMEM;

	if (!root || !*root)
		root = "/";
	scan->root_length = strlen(root);
	count = walk ? scandir(root, &names, NULL, compare_names) : 0;
	/* Without its first directory nothing is known of a system, even where there is none. */
	if (count < 0 && rules->unreadable)
		result = rules->unreadable(root, errno, rules->context);
	for (int i = 0; i < count; i++) {
		char *path;

		if (!result && holds_programs(names[i]->d_name, scan->skips_data)) {
			if (asprintf(&path, "%s%s%s", root,
				     root[scan->root_length - 1] == '/' ? "" : "/",
				     names[i]->d_name) < 0) {
				result = -ENOMEM;
			} else {
				result = fp_walk_tree(walk, path, false);
				free(path);
			}
		}
		free(names[i]);
	}
	free(names);
	if (!result && config)
		result = scan_configured(walk, config, scan->root_length > 1 ? root : NULL);
	fp_walk_free(walk);
	return result;
}

int fp_scan_executables(const char *root, fp_scan_visit_executable *visit, void *context)
{
	struct scan scan = { .skips_data = true, .visit_executable = visit, .context = context };
	const struct fp_walk_rules rules = {
		.file = scan_executable, .ignores = ignores_data, .enters = enters, .context = &scan
	};

	return scan_system(&rules, &scan, root, NULL);
}

/* Reads [OFFSET, OFFSET + SIZE) of FD into new memory; null when the file has not got it. */
static void *read_range(int fd, uint64_t offset, size_t size)
{
	void *bytes;

	if (offset > INT64_MAX - size)
		return NULL;
	bytes = malloc(size);
	if (bytes && pread(fd, bytes, size, (off_t)offset) != (ssize_t)size) {
		free(bytes);
		bytes = NULL;
	}
	return bytes;
}

/* gABI chapter "Section Header Table": where there are too many sections for the ELF header, section 0 has
   their number and the index of the name table. */
static Elf64_Shdr *read_sections(int fd, const Elf64_Ehdr *ehdr, size_t *ret_count,
				 size_t *ret_names)
{
	size_t count = ehdr->e_shnum, names = ehdr->e_shstrndx;
	Elf64_Shdr *first, *sections;

	if (ehdr->e_shoff == 0 || ehdr->e_shentsize != sizeof(Elf64_Shdr))
		return NULL;
	if (count == 0 || names == SHN_XINDEX) {
		first = read_range(fd, ehdr->e_shoff, sizeof(*first));
		if (!first)
			return NULL;
		if (count == 0)
			count = first->sh_size <= MAX_SECTIONS ? first->sh_size : 0;
		if (names == SHN_XINDEX)
			names = first->sh_link;
		free(first);
	}
	if (count == 0 || count > MAX_SECTIONS || names >= count)
		return NULL;
	sections = read_range(fd, ehdr->e_shoff, count * sizeof(*sections));
	if (sections) {
		*ret_count = count;
		*ret_names = names;
	}
	return sections;
}

static bool has_section(int fd, const Elf64_Ehdr *ehdr, const char *name)
{
	size_t count, index, size, length = strlen(name) + 1;
	Elf64_Shdr *sections = read_sections(fd, ehdr, &count, &index);
	char *names = NULL;
	bool found = false;

	if (!sections)
		return false;
	size = sections[index].sh_size;
	if (size && size <= MAX_SECTION_NAMES)
		names = read_range(fd, sections[index].sh_offset, size);
	for (size_t i = 1; names && i < count && !found; i++)
		found = sections[i].sh_name < size && size - sections[i].sh_name >= length &&
			memcmp(names + sections[i].sh_name, name, length) == 0;
	free(names);
	free(sections);
	return found;
}

/* Opens PATH and reads its header; -1 when it is not a 64-bit little-endian ELF file. */
static int open_elf(const char *path, Elf64_Ehdr *ret_ehdr)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0 && pread(fd, ret_ehdr, sizeof(*ret_ehdr), 0) == sizeof(*ret_ehdr) &&
	    memcmp(ret_ehdr->e_ident, ELFMAG, SELFMAG) == 0 &&
	    ret_ehdr->e_ident[EI_CLASS] == ELFCLASS64 && ret_ehdr->e_ident[EI_DATA] == ELFDATA2LSB)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Where the library open as FD asks to be loaded.  False when it is none, or asks for nothing in the window. */
static bool read_place(int fd, const Elf64_Ehdr *ehdr, const struct fp_machine *machine,
		       uint64_t *ret_base, uint64_t *ret_room)
{
	uint64_t page = machine->page_size, start = 0, end = 0, alignment = 0;
	Elf64_Phdr *phdr;

	if (ehdr->e_type != ET_DYN || ehdr->e_phentsize != sizeof(*phdr))
		return false;
	phdr = read_range(fd, ehdr->e_phoff, ehdr->e_phnum * sizeof(*phdr));
	for (unsigned i = 0; phdr && i < ehdr->e_phnum; i++) {
		const Elf64_Phdr *p = &phdr[i];

		if (p->p_type != PT_LOAD && p->p_type != PT_TLS)
			continue;
		if (p->p_align > alignment)
			alignment = p->p_align;
		if (p->p_type == PT_LOAD && !start)
			start = p->p_vaddr / page * page;
		if (p->p_type == PT_LOAD && p->p_memsz <= UINT64_MAX - p->p_vaddr)
			end = p->p_vaddr + p->p_memsz;
	}
	free(phdr);
	if (start < machine->window_start || start >= machine->window_end || end <= start ||
	    end > machine->window_end || alignment > machine->window_end)
		return false;
	*ret_base = start;
	*ret_room = fp_layout_room(end - start, alignment, page);
	return true;
}

/* The file open as FD has our segment, or it was cut and asks for an address that only we give. */
static bool is_remains(int fd, const Elf64_Ehdr *ehdr)
{
	const struct fp_machine *machine = fp_machine_find(ehdr->e_machine);
	Elf64_Phdr *phdr = NULL;
	struct stat stat;
	uint64_t base, room;
	bool found = false;

	if (!machine)
		return false;
	if (ehdr->e_phentsize == sizeof(*phdr))
		phdr = read_range(fd, ehdr->e_phoff, ehdr->e_phnum * sizeof(*phdr));
	for (unsigned i = 0; phdr && i < ehdr->e_phnum && !found; i++)
		found = phdr[i].p_type == PT_LOAD && phdr[i].p_flags == FP_SEGMENT_FLAGS;
	free(phdr);
	return found || (fstat(fd, &stat) == 0 && ehdr->e_shoff > (uint64_t)stat.st_size &&
			 read_place(fd, ehdr, machine, &base, &room));
}

bool fp_scan_is_prelinked(const char *path)
{
	Elf64_Ehdr ehdr;
	int fd = open_elf(path, &ehdr);
	bool result;

	if (fd < 0)
		return false;
	result = has_section(fd, &ehdr, FP_UNDO_SECTION) || is_remains(fd, &ehdr);
	close(fd);
	return result;
}

struct prelinked_scan {
	fp_scan_visit *visit;
	fp_scan_unreadable *unreadable;
	void *context;
};

static int visit_prelinked(const char *path, void *context)
{
	const struct prelinked_scan *prelinked = context;

	return fp_scan_is_prelinked(path) ? prelinked->visit(path, prelinked->context) : 0;
}

/* A rule of the walk. */
static int tell_unreadable(const char *path, int error, void *context)
{
	const struct scan *scan = context;
	const struct prelinked_scan *prelinked = scan->context;

	return prelinked->unreadable(path, error, prelinked->context);
}

int fp_scan_prelinked(const char *root, const struct fp_config *config, fp_scan_visit *visit,
		      fp_scan_unreadable *unreadable, void *context)
{
	struct prelinked_scan prelinked = { visit, unreadable, context };
	struct scan scan = { .visit = visit_prelinked, .context = &prelinked };
	const struct fp_walk_rules rules = { .file = scan_elf,
					     .ignores = ignores_left_over,
					     .enters = enters,
					     .unreadable = tell_unreadable,
					     .context = &scan };

	return scan_system(&rules, &scan, root, config);
}

bool fp_scan_fixed_file(const char *path, uint64_t *ret_base, uint64_t *ret_room)
{
	const struct fp_machine *machine;
	Elf64_Ehdr ehdr;
	int fd = open_elf(path, &ehdr);
	bool fixed;

	if (fd < 0)
		return false;
	machine = fp_machine_find(ehdr.e_machine);
	fixed = machine && read_place(fd, &ehdr, machine, ret_base, ret_room) &&
		has_section(fd, &ehdr, FP_UNDO_SECTION);
	close(fd);
	return fixed;
}

struct fixed_scan {
	fp_scan_visit_fixed *visit;
	void *context;
};

static int visit_fixed(const char *path, void *context)
{
	const struct fixed_scan *scan = context;
	uint64_t base, room;

	return fp_scan_fixed_file(path, &base, &room) ? scan->visit(path, base, room, scan->context)
						      : 0;
}

int fp_scan_fixed(const char *root, fp_scan_visit_fixed *visit, void *context)
{
	struct fixed_scan fixed = { visit, context };
	struct scan scan = { .skips_data = true, .visit = visit_fixed, .context = &fixed };
	const struct fp_walk_rules rules = {
		.file = scan_elf, .ignores = ignores_unlikely, .enters = enters, .context = &scan
	};

	return scan_system(&rules, &scan, root, NULL);
}
