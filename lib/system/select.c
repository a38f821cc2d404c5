/* select.c - which files a run is about: those that are named, and those of the configured directories.

   Most files of a system are none of ours, and a run with nothing to do is mostly this walk.  So a name that is excluded costs nothing, any other
   regular file one fstatat, and only what is not known from an earlier run is opened. */
#include "select.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../graph/rootpath.h"
#include "../reloc/reloc.h"
#include "../rewrite/commit.h"
#include "walk.h"

enum { HEAD_SIZE = 2048, MAX_DYNAMIC = 1024, MAX_PHDRS = 128 };

struct select {
	const struct fp_selection *what;
	fp_select_visit *visit;
	void *context;
	struct fp_root root;
	size_t prefix;
	bool one_file_system, dereference; /* in the directory that is walked */
};

/* The head of a file, and its program headers, which tools move to its end. */
struct head {
	_Alignas(Elf64_Ehdr) unsigned char bytes[HEAD_SIZE];
	Elf64_Phdr elsewhere[MAX_PHDRS];
	const Elf64_Phdr *phdr;
	size_t count;
};

/* Finds the program headers of the file FD, of whose head SIZE bytes are read. */
static void find_headers(struct head *head, int fd, size_t size)
{
	const Elf64_Ehdr *ehdr = (const void *)head->bytes;
	size_t wanted = ehdr->e_phnum < MAX_PHDRS ? ehdr->e_phnum : MAX_PHDRS;
	ssize_t got;

	head->count = 0;
	if (ehdr->e_phentsize != sizeof(*head->phdr) || ehdr->e_phoff > INT64_MAX)
		return;
	if (ehdr->e_phoff % _Alignof(Elf64_Phdr) == 0 && ehdr->e_phoff <= size &&
	    wanted <= (size - ehdr->e_phoff) / sizeof(*head->phdr)) {
		head->phdr = (const void *)(head->bytes + ehdr->e_phoff);
		head->count = wanted;
		return;
	}
	got = pread(fd, head->elsewhere, wanted * sizeof(*head->phdr), (off_t)ehdr->e_phoff);
	head->phdr = head->elsewhere;
	head->count = got > 0 ? (size_t)got / sizeof(*head->phdr) : 0;
}

/* The program header of type TYPE, or null. */
static const Elf64_Phdr *find_segment(const struct head *head, Elf64_Word type)
{
	for (size_t i = 0; i < head->count; i++)
		if (head->phdr[i].p_type == type)
			return &head->phdr[i];
	return NULL;
}

/* As fp_object_is_program for the file FD of type ET_DYN with an interpreter: libraries that can be started as well, libc.so.6
   for one, say neither that they are position-independent executables nor have they a place for a debugger's. */
static bool says_program(int fd, const Elf64_Phdr *dynamic)
{
	Elf64_Dyn entries[MAX_DYNAMIC];
	size_t size = dynamic->p_filesz < sizeof(entries) ? dynamic->p_filesz : sizeof(entries);
	ssize_t got = dynamic->p_offset <= INT64_MAX
			      ? pread(fd, entries, size, (off_t)dynamic->p_offset)
			      : -1;

	for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(*entries); i++) {
		if (entries[i].d_tag == DT_NULL)
			break;
		if (entries[i].d_tag == DT_DEBUG ||
		    (entries[i].d_tag == DT_FLAGS_1 && (entries[i].d_un.d_val & DF_1_PIE)))
			return true;
	}
	return false;
}

static enum fp_select_kind read_kind(int fd, const struct stat *stat)
{
	const mode_t anybody = S_IXUSR | S_IXGRP | S_IXOTH;
	struct head head;
	const Elf64_Ehdr *ehdr = (const void *)head.bytes;
	const Elf64_Phdr *dynamic;
	ssize_t got = pread(fd, head.bytes, sizeof(head.bytes), 0);
	bool program;

	if (got < (ssize_t)sizeof(*ehdr) || memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0 ||
	    ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    !fp_machine_find(ehdr->e_machine))
		return FP_SELECT_OTHER;
	find_headers(&head, fd, (size_t)got);
	dynamic = find_segment(&head, PT_DYNAMIC);
	if (!dynamic || !dynamic->p_filesz)
		return FP_SELECT_OTHER;
	if (find_segment(&head, PT_INTERP))
		program = ehdr->e_type == ET_EXEC || says_program(fd, dynamic);
	else if (ehdr->e_type == ET_EXEC || says_program(fd, dynamic))
		return FP_SELECT_OTHER; /* static */
	else
		program = false;
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return FP_SELECT_OTHER;
	return !program                    ? FP_SELECT_LIBRARY
	       : (stat->st_mode & anybody) ? FP_SELECT_PROGRAM
					   : FP_SELECT_OTHER;
}

/* A rule of the walk: a regular file that no name excludes. */
static int select_file(struct fp_walk *walk, int parent, const char *name, const char *path,
		       void *context)
{
	const struct select *select = context;
	const struct fp_selection *what = select->what;
	struct stat stat;
	struct fp_selected file = { .path = path + select->prefix, .host = path, .stat = &stat };
	int fd, first = 1;

	if (fp_config_excludes_path(what->config, file.path) ||
	    fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(stat.st_mode))
		return 0;
	/* Without files that are named, directories alone can lead to a file twice. */
	if (stat.st_nlink > 1 || what->path_count)
		first = fp_walk_meet(walk, &stat);
	if (first <= 0)
		return first;
	if (what->known && what->known(path, &stat, &file.kind, select->context))
		return select->visit(&file, select->context);
	fd = fp_walk_open(parent, name, 0);
	if (fd < 0)
		return fp_walk_unreadable(walk, path, errno);
	file.kind = read_kind(fd, &stat);
	close(fd);
	return select->visit(&file, select->context);
}

/* What a killed run left is nobody's, whatever the configuration says. */
static bool ignores(const char *name, void *context)
{
	const struct select *select = context;

	return strncmp(name, FP_TEMPORARY_PREFIX, strlen(FP_TEMPORARY_PREFIX)) == 0 ||
	       fp_config_excludes_name(select->what->config, name);
}

static bool enters(const char *path, void *context)
{
	const struct select *select = context;

	return !fp_config_excludes_path(select->what->config, path + select->prefix);
}

/* A rule of the walk. */
static int tell_unreadable(const char *path, int error, void *context)
{
	const struct select *select = context;

	return select->what->unreadable ? select->what->unreadable(path, error, select->context)
					: 0;
}

/* Follows a link to a file or directory inside the root. */
static int select_link(struct fp_walk *walk, const char *path, void *context)
{
	struct select *select = context;
	const struct fp_path *target;

	if (!select->dereference)
		return 0;
	target = fp_root_resolve(&select->root, path + select->prefix);
	if (!target)
		return -ENOMEM;
	if (target->error || fp_config_excludes(select->what->config, target->canonical))
		return 0;
	return fp_walk_tree(walk, target->host, select->one_file_system);
}

/* PATH, which may have the root's prefix, inside the root; *REAL is what it leads to, null: nothing.  False: out of memory. */
static bool find_named(struct select *select, const char **path, const struct fp_path **ret_real)
{
	char real[PATH_MAX];
	const struct fp_path *found;

	*ret_real = NULL;
	*path = fp_root_inside(&select->root, *path);
	if ((*path)[0] == '/')
		found = fp_root_resolve(&select->root, *path);
	else if (!select->prefix && realpath(*path, real))
		found = fp_root_resolve(&select->root, real);
	else
		return true;
	if (found && !found->error)
		*ret_real = found;
	return found != NULL;
}

/* As a directory that the walk finds it in would: when it is a file that the configuration covers. */
static int select_change(struct select *select, struct fp_walk *walk, const struct fp_path *real)
{
	const struct fp_config *config = select->what->config;
	struct stat stat;

	if (real && lstat(real->host, &stat) == 0 && S_ISREG(stat.st_mode) &&
	    fp_config_covers(config, real->canonical, stat.st_dev))
		return fp_walk_tree(walk, real->host, true);
	if (select->what->ret_passed_over)
		++*select->what->ret_passed_over;
	return 0;
}

static int select_named(struct select *select, struct fp_walk *walk, const char *path)
{
	struct stat stat = { 0 };
	struct fp_selected file = { .stat = &stat, .is_named = true };
	const struct fp_path *real;
	int first = 1;

	if (!find_named(select, &path, &real))
		return -ENOMEM;
	if (select->what->paths_are_changes)
		return select_change(select, walk, real);
	if (real && real->is_directory) {
		select->one_file_system = select->what->one_file_system;
		select->dereference = select->what->dereference;
		return fp_walk_tree(walk, *real->host ? real->host : "/", select->one_file_system);
	}
	file.path = path;
	file.host = real ? real->host : path;
	if (real && lstat(real->host, &stat) == 0)
		first = fp_walk_meet(walk, &stat);
	return first > 0 ? select->visit(&file, select->context) : first;
}

static int select_system(struct select *select, struct fp_walk *walk)
{
	size_t count;
	const struct fp_config_directory *directories =
		fp_config_directories(select->what->config, &count);
	int result = 0;

	for (size_t i = 0; i < count && !result; i++) {
		const struct fp_path *path = fp_root_resolve(&select->root, directories[i].path);

		if (!path)
			return -ENOMEM;
		if (path->error || fp_config_excludes(select->what->config, path->canonical))
			continue;
		select->one_file_system = directories[i].one_file_system;
		select->dereference = directories[i].dereference;
		result =
			fp_walk_tree(walk, *path->host ? path->host : "/", select->one_file_system);
	}
	return result;
}

int fp_select(const struct fp_selection *what, fp_select_visit *visit, void *context,
	      struct fp_why *why)
{
	struct select select = { .what = what, .visit = visit, .context = context };
	const struct fp_walk_rules rules = {
		.file = select_file,
		.ignores = ignores,
		.enters = enters,
		.link = select_link,
		.unreadable = tell_unreadable,
		.context = &select,
	};
	struct fp_walk *walk = fp_walk_new(&rules);
	int result = walk && fp_root_init(&select.root, what->root) == 0 ? 0 : -ENOMEM;

	if (!result)
		select.prefix = strlen(select.root.prefix);
	for (size_t i = 0; i < what->path_count && !result; i++)
		result = select_named(&select, walk, what->paths[i]);
	if (!result && what->whole_system)
		result = select_system(&select, walk);
	fp_root_free(&select.root);
	fp_walk_free(walk);
	return result == -ENOMEM ? fp_why_system(why, ENOMEM, what->root, "select") : result;
}
