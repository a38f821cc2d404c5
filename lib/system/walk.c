/* walk.c - the one walk through directories: each directory and file once, in byte order, with as few system calls as will do.

   A directory is opened, its names are read and sorted, and then each is handled.  The names of the directories that the walk is in
   lie one behind the other in one buffer, and so do their entries; the path is made in another.  A name that does not
   matter costs no system call and no memory. */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

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

enum { MAX_DEPTH = 128, READ_SIZE = 64 * 1024, MAX_NAME = 256 };

struct identity {
	dev_t device;
	ino_t inode;
};

/* A name in a directory, with the kind of file that it was said to be (DT_UNKNOWN: nothing was said). */
struct entry {
	uint64_t start; /* the first bytes of the name, most significant first */
	size_t name;    /* offset in the names */
	unsigned char type;
};

struct fp_walk {
	const struct fp_walk_rules *rules;
	struct identity *seen; /* open addressing; inode 0: free */
	size_t seen_count, seen_capacity;
	struct entry *entries;
	size_t entry_count, entry_capacity;
	char *names;
	size_t names_size, names_capacity;
	char *path;
	size_t path_capacity;
	char *block; /* what the kernel says about a directory */
	unsigned depth;
	bool one_file_system;
};

struct fp_walk *fp_walk_new(const struct fp_walk_rules *rules)
{
	struct fp_walk *walk = calloc(1, sizeof(*walk));

	if (!walk)
		return NULL;
	walk->rules = rules;
	walk->block = malloc(READ_SIZE);
	if (!walk->block) {
		free(walk);
		return NULL;
	}
	return walk;
}

void fp_walk_free(struct fp_walk *walk)
{
	if (!walk)
		return;
	free(walk->seen);
	free(walk->entries);
	free(walk->names);
	free(walk->path);
	free(walk->block);
	free(walk);
}

static size_t seen_slot(const struct identity *seen, size_t capacity, struct identity id)
{
	uint64_t hash = ((uint64_t)id.inode ^ (uint64_t)id.device << 40) * 0x9e3779b97f4a7c15;
	size_t slot = (size_t)(hash >> 32) & (capacity - 1);

	while (seen[slot].inode && (seen[slot].inode != id.inode || seen[slot].device != id.device))
		slot = (slot + 1) & (capacity - 1);
	return slot;
}

static int seen_grow(struct fp_walk *walk)
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

int fp_walk_meet(struct fp_walk *walk, const struct stat *stat)
{
	struct identity id = { stat->st_dev, stat->st_ino };
	size_t slot;

	if (walk->seen_count >= walk->seen_capacity / 2 && seen_grow(walk) != 0)
		return -ENOMEM;
	slot = seen_slot(walk->seen, walk->seen_capacity, id);
	if (walk->seen[slot].inode)
		return 0;
	walk->seen[slot] = id;
	walk->seen_count++;
	return 1;
}

int fp_walk_open(int parent, const char *name, int flags)
{
	return openat(parent, name,
		      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
}

int fp_walk_unreadable(const struct fp_walk *walk, const char *path, int error)
{
	/* ELOOP: a link has taken the file's place. */
	if (!walk->rules->unreadable || error == ENOENT || error == ENOTDIR || error == ELOOP)
		return 0;
	return walk->rules->unreadable(path, error, walk->rules->context);
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

/* Makes room in *BUFFER, of *CAPACITY elements of SIZE bytes, for COUNT. */
static int reserve(void *buffer, size_t *capacity, size_t count, size_t size)
{
	size_t wanted = *capacity ? *capacity : 1024;
	void **pointer = buffer, *larger;

	if (count <= *capacity)
		return 0;
	while (wanted < count)
		wanted *= 2;
	larger = reallocarray(*pointer, wanted, size);
	if (!larger)
		return -ENOMEM;
	*pointer = larger;
	*capacity = wanted;
	return 0;
}

static bool matters(const struct fp_walk *walk, const struct dirent64 *entry)
{
	switch (entry->d_type) {
	case DT_REG:
		return !walk->rules->ignores ||
		       !walk->rules->ignores(entry->d_name, walk->rules->context);
	case DT_LNK:
		return walk->rules->link;
	case DT_DIR:
		return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	default:
		return entry->d_type == DT_UNKNOWN;
	}
}

static int add_entry(struct fp_walk *walk, const struct dirent64 *dirent)
{
	size_t length = strlen(dirent->d_name) + 1;
	struct entry *entry;

	if (reserve(&walk->entries, &walk->entry_capacity, walk->entry_count + 1, sizeof(*entry)) ||
	    reserve(&walk->names, &walk->names_capacity, walk->names_size + length, 1))
		return -ENOMEM;
	entry = &walk->entries[walk->entry_count++];
	*entry = (struct entry){ .name = walk->names_size, .type = dirent->d_type };
	for (size_t i = 0; i < sizeof(entry->start); i++)
		entry->start =
			entry->start << 8 | (i < length ? (unsigned char)dirent->d_name[i] : 0);
	memcpy(walk->names + walk->names_size, dirent->d_name, length);
	walk->names_size += length;
	return 0;
}

static int compare_entries(const void *a, const void *b, void *names)
{
	const struct entry *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return strcmp((const char *)names + x->name, (const char *)names + y->name);
}

/* Adds the names that matter in the directory FD, sorted, behind the others. -ENOMEM, a rule's result, or 0. */
static int read_entries(struct fp_walk *walk, int fd)
{
	size_t first = walk->entry_count;
	ssize_t got;

	while ((got = getdents64(fd, walk->block, READ_SIZE)) > 0)
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *dirent = (const void *)(walk->block + at);

			if (matters(walk, dirent) && add_entry(walk, dirent) != 0)
				return -ENOMEM;
			at += dirent->d_reclen;
		}
	if (got < 0)
		return fp_walk_unreadable(walk, walk->path, errno);
	if (walk->entry_count > first)
		qsort_r(walk->entries + first, walk->entry_count - first, sizeof(*walk->entries),
			compare_entries, walk->names);
	return 0;
}

static int walk_directory(struct fp_walk *walk, int fd, size_t length, const dev_t *device);

/* Handles the file NAME of PARENT, whose whole name walk->path, LENGTH bytes long, has become. */
static int walk_name(struct fp_walk *walk, int parent, const char *name, unsigned char type,
		     size_t length, const dev_t *device)
{
	const struct fp_walk_rules *rules = walk->rules;
	struct stat stat;
	int fd;

	if (type == DT_UNKNOWN) {
		if (fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) != 0)
			return fp_walk_unreadable(walk, walk->path, errno);
		type = IFTODT(stat.st_mode);
		if (type == DT_REG && rules->ignores && rules->ignores(name, rules->context))
			return 0;
	}
	if (type == DT_REG)
		return rules->file(walk, parent, name, walk->path, rules->context);
	if (type == DT_LNK)
		return rules->link ? rules->link(walk, walk->path, rules->context) : 0;
	if (type != DT_DIR || (rules->enters && !rules->enters(walk->path, rules->context)))
		return 0;
	fd = fp_walk_open(parent, name, O_DIRECTORY);
	return fd < 0 ? fp_walk_unreadable(walk, walk->path, errno)
		      : walk_directory(walk, fd, length, device);
}

/* Handles the entries from FIRST on, which are those of the directory FD; LENGTH is that of its name. */
static int walk_entries(struct fp_walk *walk, int fd, size_t first, size_t length, dev_t device)
{
	size_t end = walk->entry_count;
	int result = 0;

	if (length && walk->path[length - 1] != '/')
		length++;
	for (size_t i = first; i < end && !result; i++) {
		const struct entry entry = walk->entries[i];
		size_t size = strlen(walk->names + entry.name);

		if (reserve(&walk->path, &walk->path_capacity, length + size + 1, 1) != 0)
			return -ENOMEM;
		if (length)
			walk->path[length - 1] = '/';
		memcpy(walk->path + length, walk->names + entry.name, size + 1);
		result = walk_name(walk, fd, walk->path + length, entry.type, length + size,
				   &device);
	}
	return result;
}

/* Walks the directory open as FD, which it takes over; LENGTH is that of its name.  DEVICE is its parent's; where it changes, the
   kind of file system is looked at. */
static int walk_directory(struct fp_walk *walk, int fd, size_t length, const dev_t *device)
{
	size_t entries = walk->entry_count, names = walk->names_size;
	struct stat stat;
	int result = 0;

	if (walk->depth >= MAX_DEPTH)
		result = fp_walk_unreadable(walk, walk->path, ENAMETOOLONG);
	else if (fstat(fd, &stat) == 0 &&
		 ((device && *device == stat.st_dev) ||
		  (!(device && walk->one_file_system) && !is_kernel_file_system(fd))))
		result = fp_walk_meet(walk, &stat);
	if (result > 0) {
		walk->depth++;
		result = read_entries(walk, fd);
		if (!result)
			result = walk_entries(walk, fd, entries, length, stat.st_dev);
		walk->depth--;
		walk->entry_count = entries;
		walk->names_size = names;
	}
	close(fd);
	return result;
}

int fp_walk_tree(struct fp_walk *walk, const char *path, bool one_file_system)
{
	/* A rule for links calls this in the middle of a walk, which goes on with its own path. */
	char *outer = walk->path;
	size_t outer_capacity = walk->path_capacity, length = strlen(path);
	bool outer_limit = walk->one_file_system;
	int result;

	walk->path = NULL;
	walk->path_capacity = 0;
	walk->one_file_system = one_file_system;
	result = reserve(&walk->path, &walk->path_capacity, length + MAX_NAME, 1);
	if (!result) {
		memcpy(walk->path, path, length + 1);
		result = walk_name(walk, AT_FDCWD, path, DT_UNKNOWN, length, NULL);
	}
	free(walk->path);
	walk->path = outer;
	walk->path_capacity = outer_capacity;
	walk->one_file_system = outer_limit;
	return result;
}
