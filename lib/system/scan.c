/* scan.c - walks directories for ELF files and executables, and looks into headers for undo data and addresses. */
#include "scan.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../layout/layout.h"
#include "../reloc/reloc.h"
#include "../rewrite/commit.h"
#include "../rewrite/undo.h"

/* What linux/magic.h has not had for ever. */
#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif
#ifndef TRACEFS_MAGIC
#define TRACEFS_MAGIC 0x74726163
#endif
#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif

enum {
	MAX_DEPTH = 128,
	MAX_SECTIONS = 65536,
	MAX_SECTION_NAMES = 1024 * 1024,
};

struct identity {
	dev_t device;
	ino_t inode;
};

/* One walk.  Only what can be met twice is remembered: directories (bind mounts) and files with several names. */
struct walk {
	/* What to do with the regular file NAME in the directory PARENT; PATH is its whole name. */
	int (*file)(struct walk *walk, int parent, const char *name, const char *path);
	fp_scan_visit *visit;
	fp_scan_visit_executable *visit_executable;
	void *context;
	size_t root_length; /* of the part of a path that is the root's; set where data is passed over */
	bool skips_data;
	struct identity *seen; /* open addressing; inode 0: free */
	size_t seen_count, seen_capacity;
	unsigned depth;
};

static size_t seen_slot(const struct identity *seen, size_t capacity, struct identity id)
{
	uint64_t hash = ((uint64_t)id.inode ^ (uint64_t)id.device << 40) * 0x9e3779b97f4a7c15;
	size_t slot = (size_t)(hash >> 32) & (capacity - 1);

	while (seen[slot].inode && (seen[slot].inode != id.inode || seen[slot].device != id.device))
		slot = (slot + 1) & (capacity - 1);
	return slot;
}

static int seen_grow(struct walk *walk)
{
	size_t capacity = walk->seen_capacity ? walk->seen_capacity * 2 : 1024;
	struct identity *seen = calloc(capacity, sizeof(*seen));

	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < walk->seen_capacity; i++)
		if (walk->seen[i].inode)
			seen[seen_slot(seen, capacity, walk->seen[i])] = walk->seen[i];
	free(walk->seen);
	walk->seen = seen;
	walk->seen_capacity = capacity;
	return 0;
}

/* 1 when the file STAT was met for the first time, 0 when it was met before, or -ENOMEM. */
static int first_meeting(struct walk *walk, const struct stat *stat)
{
	struct identity id = { stat->st_dev, stat->st_ino };
	size_t slot;
	int error;

	if (walk->seen_count >= walk->seen_capacity / 2) {
		error = seen_grow(walk);
		if (error)
			return error;
	}
	slot = seen_slot(walk->seen, walk->seen_capacity, id);
	if (walk->seen[slot].inode)
		return 0;
	walk->seen[slot] = id;
	walk->seen_count++;
	return 1;
}

static bool is_kernel_file_system(int fd)
{
	static const unsigned long magics[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC,   DEVPTS_SUPER_MAGIC,  CGROUP_SUPER_MAGIC,
		DEBUGFS_MAGIC,    TRACEFS_MAGIC, CGROUP2_SUPER_MAGIC, SECURITYFS_MAGIC,
		SELINUX_MAGIC,    BPF_FS_MAGIC,  EFIVARFS_MAGIC,      PSTOREFS_MAGIC,
		BINFMTFS_MAGIC,   MQUEUE_MAGIC,  AUTOFS_SUPER_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) != 0)
		return true;
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if ((uint32_t)fs.f_type == (uint32_t)magics[i])
			return true;
	return false;
}

/* A name in a directory, with the kind of file that readdir gave (DT_UNKNOWN: it did not say). */
struct name {
	char *name;
	unsigned char type;
};

struct names {
	struct name *list;
	size_t count, capacity;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static void names_free(struct names *names)
{
	while (names->count)
		free(names->list[--names->count].name);
	free(names->list);
	*names = (struct names){ 0 };
}

static int names_add(struct names *names, const struct dirent *entry)
{
	if (names->count == names->capacity) {
		size_t capacity = names->capacity ? names->capacity * 2 : 64;
		struct name *list = reallocarray(names->list, capacity, sizeof(*list));

		if (!list)
			return -ENOMEM;
		names->list = list;
		names->capacity = capacity;
	}
	names->list[names->count].type = entry->d_type;
	names->list[names->count].name = strdup(entry->d_name);
	if (!names->list[names->count].name)
		return -ENOMEM;
	names->count++;
	return 0;
}

/* The names in DIRECTORY that can matter, sorted: regular files and directories.  What cannot be read is not there. */
static int read_names(DIR *directory, struct names *ret_names)
{
	struct names names = { 0 };
	const struct dirent *entry;

	while ((entry = readdir(directory))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (entry->d_type != DT_REG && entry->d_type != DT_DIR &&
		    entry->d_type != DT_UNKNOWN)
			continue;
		if (names_add(&names, entry) != 0) {
			names_free(&names);
			return -ENOMEM;
		}
	}
	if (names.count)
		qsort(names.list, names.count, sizeof(*names.list), compare_names);
	*ret_names = names;
	return 0;
}

static char *join(const char *directory, const char *name)
{
	size_t length = strlen(directory);
	char *path;

	if (asprintf(&path, "%s%s%s", directory, length && directory[length - 1] == '/' ? "" : "/",
		     name) < 0)
		return NULL;
	return path;
}

/* Opens a file or, if so told by FLAGS, a directory, for reading and nothing else to happen. */
static int open_name(int parent, const char *name, int flags)
{
	return openat(parent, name,
		      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
}

static bool is_elf(int fd, struct stat *ret_stat)
{
	unsigned char magic[SELFMAG];

	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0 && fstat(fd, ret_stat) == 0 &&
	       S_ISREG(ret_stat->st_mode);
}

static int walk_elf(struct walk *walk, int parent, const char *name, const char *path)
{
	int fd = open_name(parent, name, 0), first = 1;
	struct stat stat;
	bool elf;

	if (fd < 0)
		return 0;
	elf = is_elf(fd, &stat);
	close(fd);
	if (!elf)
		return 0;
	if (stat.st_nlink > 1)
		first = first_meeting(walk, &stat);
	return first > 0 ? walk->visit(path, walk->context) : first;
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

/* As walk_elf, without a look at data and at what a killed run left, which is never loaded. */
static int walk_likely_elf(struct walk *walk, int parent, const char *name, const char *path)
{
	bool temporary = strncmp(name, FP_TEMPORARY_PREFIX, strlen(FP_TEMPORARY_PREFIX)) == 0;

	return temporary || is_data(name) ? 0 : walk_elf(walk, parent, name, path);
}

static int walk_executable(struct walk *walk, int parent, const char *name, const char *path)
{
	struct stat stat;

	if (is_data(name) || fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(stat.st_mode) || !(stat.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return 0;
	return walk->visit_executable(path, &stat, walk->context);
}

/* True for large directories in which no package installs programs or libraries. */
static bool holds_data(const struct walk *walk, const char *path)
{
	static const char *const names[] = {
		"include",     "src",        "share/doc",    "share/fonts", "share/help",
		"share/icons", "share/info", "share/locale", "share/man",   "share/zoneinfo",
	};

	path += walk->root_length;
	path += strspn(path, "/");
	if (!walk->skips_data || strncmp(path, "usr/", 4) != 0)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(path + 4, names[i]) == 0)
			return true;
	return false;
}

static int walk_names(struct walk *walk, DIR *directory, const char *path, dev_t device);

/* Walks the directory open as FD, which it takes over.  DEVICE is its parent's; where it changes, the kind of
   file system is looked at. */
static int walk_directory(struct walk *walk, int fd, const char *path, const dev_t *device)
{
	struct stat stat;
	DIR *directory;
	int result;

	if (fstat(fd, &stat) != 0 || walk->depth == MAX_DEPTH ||
	    ((!device || *device != stat.st_dev) && is_kernel_file_system(fd))) {
		close(fd);
		return 0;
	}
	result = first_meeting(walk, &stat);
	if (result <= 0) {
		close(fd);
		return result;
	}
	directory = fdopendir(fd);
	if (!directory) {
		close(fd);
		return -ENOMEM;
	}
	walk->depth++;
	result = walk_names(walk, directory, path, stat.st_dev);
	walk->depth--;
	closedir(directory);
	return result;
}

/* Walks what NAME in the directory PARENT is, if it is a directory or an ELF file; PATH is its whole name. */
static int walk_name(struct walk *walk, int parent, const struct name *name, const char *path,
		     const dev_t *device)
{
	unsigned char type = name->type;
	struct stat stat;
	int fd;

	if (type == DT_UNKNOWN) {
		if (fstatat(parent, name->name, &stat, AT_SYMLINK_NOFOLLOW) != 0)
			return 0;
		type = S_ISREG(stat.st_mode) ? DT_REG : S_ISDIR(stat.st_mode) ? DT_DIR : DT_LNK;
	}
	if (type == DT_REG)
		return walk->file(walk, parent, name->name, path);
	if (type != DT_DIR || holds_data(walk, path))
		return 0;
	fd = open_name(parent, name->name, O_DIRECTORY);
	return fd < 0 ? 0 : walk_directory(walk, fd, path, device);
}

static int walk_names(struct walk *walk, DIR *directory, const char *path, dev_t device)
{
	struct names names;
	int result = read_names(directory, &names);

	if (result)
		return result;
	for (size_t i = 0; i < names.count && !result; i++) {
		char *child = join(path, names.list[i].name);

		result = child ? walk_name(walk, dirfd(directory), &names.list[i], child, &device)
			       : -ENOMEM;
		free(child);
	}
	names_free(&names);
	return result;
}

static int walk_all(struct walk *walk, const char *const *directories)
{
	int result = 0;

	for (size_t i = 0; directories[i] && !result; i++)
		result = walk_name(walk, AT_FDCWD,
				   &(struct name){ (char *)directories[i], DT_UNKNOWN },
				   directories[i], NULL);
	free(walk->seen);
	return result;
}

int fp_scan_elf(const char *const *directories, fp_scan_visit *visit, void *context)
{
	struct walk walk = { .file = walk_elf, .visit = visit, .context = context };

	return walk_all(&walk, directories);
}

/* NAME is a directory of the root: those of packages, and those of users, where no package installs anything. */
static bool holds_programs(const struct walk *walk, const char *name)
{
	static const char *const names[] = { "bin", "sbin", "usr", "opt", "srv", "home", "root" };
	size_t count = walk->skips_data ? 4 : sizeof(names) / sizeof(names[0]);

	for (size_t i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strncmp(name, "lib", 3) == 0;
}

/* Walks those directories of ROOT in which programs and libraries are installed. */
static int walk_system(struct walk *walk, const char *root)
{
	struct names names;
	char **directories;
	size_t kept = 0;
	DIR *directory;
	int result;

	if (!root || !*root)
		root = "/";
	walk->root_length = strlen(root);
	directory = opendir(root);
	if (!directory)
		return 0;
	result = read_names(directory, &names);
	closedir(directory);
	if (result)
		return result;
	directories = calloc(names.count + 1, sizeof(*directories));
	if (!directories)
		result = -ENOMEM;
	for (size_t i = 0; i < names.count && !result; i++) {
		if (!holds_programs(walk, names.list[i].name))
			continue;
		directories[kept] = join(root, names.list[i].name);
		result = directories[kept++] ? 0 : -ENOMEM;
	}
	if (!result)
		result = walk_all(walk, (const char *const *)directories);
	while (kept)
		free(directories[--kept]);
	free(directories);
	names_free(&names);
	return result;
}

int fp_scan_executables(const char *root, fp_scan_visit_executable *visit, void *context)
{
	struct walk walk = { .file = walk_executable,
			     .skips_data = true,
			     .visit_executable = visit,
			     .context = context };

	return walk_system(&walk, root);
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

bool fp_scan_is_prelinked(const char *path)
{
	Elf64_Ehdr ehdr;
	int fd = open_elf(path, &ehdr);
	bool result;

	if (fd < 0)
		return false;
	result = has_section(fd, &ehdr, FP_UNDO_SECTION);
	close(fd);
	return result;
}

struct prelinked_scan {
	fp_scan_visit *visit;
	void *context;
};

static int visit_prelinked(const char *path, void *context)
{
	const struct prelinked_scan *scan = context;

	return fp_scan_is_prelinked(path) ? scan->visit(path, scan->context) : 0;
}

int fp_scan_prelinked(const char *root, fp_scan_visit *visit, void *context)
{
	struct prelinked_scan scan = { visit, context };
	struct walk walk = { .file = walk_elf, .visit = visit_prelinked, .context = &scan };

	return walk_system(&walk, root);
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

struct fixed_scan {
	fp_scan_visit_fixed *visit;
	void *context;
};

static int visit_fixed(const char *path, void *context)
{
	const struct fixed_scan *scan = context;
	const struct fp_machine *machine;
	uint64_t base, room;
	Elf64_Ehdr ehdr;
	int fd = open_elf(path, &ehdr);
	bool fixed;

	if (fd < 0)
		return 0;
	machine = fp_machine_find(ehdr.e_machine);
	fixed = machine && read_place(fd, &ehdr, machine, &base, &room) &&
		has_section(fd, &ehdr, FP_UNDO_SECTION);
	close(fd);
	return fixed ? scan->visit(path, base, room, scan->context) : 0;
}

int fp_scan_fixed(const char *root, fp_scan_visit_fixed *visit, void *context)
{
	struct fixed_scan scan = { visit, context };
	struct walk walk = {
		.file = walk_likely_elf, .skips_data = true, .visit = visit_fixed, .context = &scan
	};

	return walk_system(&walk, root);
}
