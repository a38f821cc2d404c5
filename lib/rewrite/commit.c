/* commit.c - replaces a file: old or new, never half.

   The order is what makes it safe.  Everything that can fail (space, owner, mode, attributes, times)
   happens to a temporary file that nobody else opens; it is synced before its name changes, so after a
   power cut the name leads to the old file or to all of the new one.  The check that the file is still
   the one that was read comes last before the rename.  From the rename on nothing is reported as failed:
   the new file is in place, and a directory that cannot be synced may at worst come back with the old one.

   System calls go through calls.h; only the search for left-over files does not, since its failures change
   nothing.  A kill can leave a temporary file behind.  Its writer holds a lock on it, so the next commit into the
   directory knows which ones are nobody's and removes them. */
#include "calls.h"
#include "commit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#ifndef FS_VERITY_FL
#define FS_VERITY_FL 0x00100000
#endif

enum { TEMPORARY_TRIES = 100, HOLE = 64 * 1024, XATTR_TRIES = 10 };

/* The file that is replaced: its directory, its name there, itself, and the temporary file that becomes it. */
struct replacement {
	const char *path;
	char *directory_path;
	const char *name;
	int directory, old, fd;
	char temporary[sizeof(FP_TEMPORARY_PREFIX) + 6]; /* empty: there is none */
	struct fp_why *why;
};

static void replacement_close(struct replacement *r)
{
	if (r->temporary[0])
		unlinkat(r->directory, r->temporary, 0);
	if (r->fd >= 0)
		close(r->fd);
	if (r->old >= 0)
		close(r->old);
	if (r->directory >= 0)
		close(r->directory);
	free(r->directory_path);
}

static void free_bytes(char **bytes)
{
	free(*bytes);
}

#define CLEANUP(function) __attribute__((cleanup(function)))
#define REPLACEMENT(file, w)                                                                       \
	{                                                                                          \
		.path = (file), .directory = -1, .old = -1, .fd = -1, .why = (w)                   \
	}

static int failed(const struct replacement *r, const char *operation)
{
	return fp_why_system(r->why, errno, r->path, operation);
}

/* Opens the directory that R->path lies in and splits off the last component. */
static int open_directory(struct replacement *r)
{
	const char *slash = strrchr(r->path, '/');

	r->name = slash ? slash + 1 : r->path;
	if (!slash)
		r->directory_path = strdup(".");
	else if (slash == r->path)
		r->directory_path = strdup("/");
	else
		r->directory_path = strndup(r->path, (size_t)(slash - r->path));
	if (!r->directory_path)
		return failed(r, "open directory");
	r->directory = sys_open(AT_FDCWD, r->directory_path, O_RDONLY | O_DIRECTORY, 0);
	return r->directory < 0 ? failed(r, "open directory") : 0;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* The change time covers content, mode, owner, attributes and number of names. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

/* Whether the name still leads to the file EXPECTED. */
static int check_unchanged(const struct replacement *r, const struct stat *expected)
{
	struct stat now;

	if (sys_lstat(r->directory, r->name, &now) != 0)
		return failed(r, "stat");
	return same_file(&now, expected) ? 0
					 : fp_why_set(r->why, FP_REASON_CHANGED, r->path, "%s", "");
}

/* What the file system itself says against replacing the file, and names that would keep the old one. */
static int check_replaceable(const struct replacement *r)
{
	static const struct {
		int flag;
		const char *text;
	} protections[] = {
		{ FS_IMMUTABLE_FL, "immutable" },
		{ FS_APPEND_FL, "append-only" },
		{ FS_VERITY_FL, "protected by fs-verity" },
	};
	static const char *const signatures[] = { "security.ima", "security.evm" };
	struct stat stat;
	int flags;

	if (sys_stat(r->old, &stat) != 0)
		return failed(r, "stat");
	if (!S_ISREG(stat.st_mode))
		return fp_why_set(r->why, FP_REASON_NOT_REGULAR, r->path, "%s", "");
	if (stat.st_nlink != 1)
		return fp_why_set(r->why, FP_REASON_HARD_LINKED, r->path, "%ju names",
				  (uintmax_t)stat.st_nlink);
	/* File systems without flags answer ENOTTY or EOPNOTSUPP, some (FUSE) EINVAL or ENOSYS. */
	flags = 0;
	if (sys_get_flags(r->old, &flags) != 0 && errno != ENOTTY && errno != EOPNOTSUPP &&
	    errno != EINVAL && errno != ENOSYS)
		return failed(r, "read file flags");
	for (size_t i = 0; i < sizeof(protections) / sizeof(protections[0]); i++)
		if (flags & protections[i].flag)
			return fp_why_set(r->why, FP_REASON_IMMUTABLE, r->path, "%s",
					  protections[i].text);
	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		if (sys_get_xattr(r->old, signatures[i], NULL, 0) >= 0)
			return fp_why_set(r->why, FP_REASON_IMMUTABLE, r->path,
					  "signed: has the attribute %s", signatures[i]);
		if (errno != ENODATA && errno != EOPNOTSUPP)
			return failed(r, "read extended attributes");
	}
	return 0;
}

/* Whether names can be made and taken away in the directory: permission, read-only mounts, flags. */
static int check_directory(const struct replacement *r)
{
	int flags = 0;

	if (sys_get_flags(r->directory, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
		return fp_why_set(r->why, FP_REASON_IMMUTABLE, r->path, "%s directory",
				  flags & FS_IMMUTABLE_FL ? "immutable" : "append-only");
	if (sys_access(r->directory, ".", W_OK | X_OK) != 0)
		return failed(r, "write directory");
	return 0;
}

/* Opens the file that is to be replaced and checks that it is EXPECTED and may be. */
static int open_old(struct replacement *r, const struct stat *expected)
{
	struct stat stat;
	int error;

	if (sys_lstat(r->directory, r->name, &stat) != 0)
		return failed(r, "stat");
	if (!S_ISREG(stat.st_mode))
		return fp_why_set(r->why, FP_REASON_NOT_REGULAR, r->path, "%s", "");
	r->old = sys_open(r->directory, r->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (r->old < 0)
		return failed(r, "open");
	if (sys_stat(r->old, &stat) != 0)
		return failed(r, "stat");
	if (!same_file(&stat, expected))
		return fp_why_set(r->why, FP_REASON_CHANGED, r->path, "%s", "");
	error = check_replaceable(r);
	return error ? error : check_directory(r);
}

/* Removes temporary files whose writer is gone: nobody holds their lock. */
static void remove_left_over(const struct replacement *r)
{
	int fd = openat(r->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), file;
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat stat;

	if (!directory) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(directory))) {
		if (strncmp(entry->d_name, FP_TEMPORARY_PREFIX, sizeof(FP_TEMPORARY_PREFIX) - 1) !=
			    0 ||
		    strlen(entry->d_name) != sizeof(r->temporary) - 1)
			continue;
		file = openat(fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (file < 0)
			continue;
		if (fstat(file, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_uid == geteuid() &&
		    flock(file, LOCK_EX | LOCK_NB) == 0)
			unlinkat(fd, entry->d_name, 0);
		close(file);
	}
	closedir(directory);
}

static void temporary_name(char name[sizeof(FP_TEMPORARY_PREFIX) + 6], int try)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
	char *at = mempcpy(name, FP_TEMPORARY_PREFIX, sizeof(FP_TEMPORARY_PREFIX) - 1);
	uint32_t random;

	/* Randomness only makes a free name likely; early in a boot there may be none. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t)getpid() * TEMPORARY_TRIES + (uint32_t)try;
	for (size_t i = 0; i < 6; i++, random >>= 5)
		*at++ = letters[random % 32];
	*at = '\0';
}

/* Creates and locks the temporary file. */
static int open_temporary(struct replacement *r)
{
	char name[sizeof(r->temporary)];
	struct stat stat;

	for (int try = 0; try < TEMPORARY_TRIES; try++) {
		temporary_name(name, try);
		r->fd = sys_open(r->directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		if (r->fd < 0) {
			if (errno == EEXIST)
				continue;
			return failed(r, "create temporary file");
		}
		memcpy(r->temporary, name, sizeof(name));
		/* Another commit may have taken it for a left-over one before it was locked.  Where locks
		   do not work, that commit cannot lock it either. */
		if ((flock(r->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
		    fstat(r->fd, &stat) == 0 && stat.st_nlink == 1)
			return 0;
		unlinkat(r->directory, r->temporary, 0);
		r->temporary[0] = '\0';
		close(r->fd);
		r->fd = -1;
	}
	errno = EEXIST;
	return failed(r, "create temporary file");
}

static bool is_zero(const unsigned char *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* The first run of blocks at or behind FROM that are written; whole blocks of zeros between runs become holes.
   Returns its length, 0 at the end, and its start. */
static size_t next_run(const unsigned char *image, size_t size, size_t from, size_t *ret_start)
{
	size_t end;

	while (size - from >= HOLE && is_zero(image + from, HOLE))
		from += HOLE;
	for (end = from; end < size; end += HOLE) {
		if (size - end < HOLE) {
			end = size;
			break;
		}
		if (is_zero(image + end, HOLE))
			break;
	}
	*ret_start = from;
	return end - from;
}

static int write_run(const struct replacement *r, const unsigned char *bytes, size_t size,
		     size_t offset)
{
	while (size) {
		ssize_t written = sys_write(r->fd, bytes, size, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written == 0)
			errno = ENOSPC;
		if (written <= 0)
			return failed(r, "write");
		bytes += written;
		offset += (size_t)written;
		size -= (size_t)written;
	}
	return 0;
}

/* Gives the temporary file its content.  All space is taken first, so that a full disk shows at once. */
static int write_image(const struct replacement *r, const unsigned char *image, size_t size)
{
	size_t start, length;
	int error;

	for (size_t at = 0; (length = next_run(image, size, at, &start)); at = start + length)
		if (sys_allocate(r->fd, (off_t)start, (off_t)length) != 0 && errno != EOPNOTSUPP &&
		    errno != ENOSYS)
			return failed(r, "allocate space");
	if (sys_truncate(r->fd, (off_t)size) != 0)
		return failed(r, "set size");
	for (size_t at = 0; (length = next_run(image, size, at, &start)); at = start + length) {
		error = write_run(r, image + start, length, start);
		if (error)
			return error;
	}
	return 0;
}

/* The names of the extended attributes of FD, each ended by a null; the caller frees *RET_LIST. */
static int list_xattrs(const struct replacement *r, int fd, char **ret_list, size_t *ret_size)
{
	for (int try = 0; try < XATTR_TRIES; try++) {
		ssize_t size = sys_list_xattrs(fd, NULL, 0), got;
		char *list;

		if (size < 0 && errno == EOPNOTSUPP)
			size = 0;
		if (size < 0)
			return failed(r, "list extended attributes");
		list = malloc((size_t)size + 1);
		if (!list)
			return failed(r, "list extended attributes");
		got = size ? sys_list_xattrs(fd, list, (size_t)size) : 0;
		if (got >= 0) {
			list[got] = '\0';
			*ret_list = list;
			*ret_size = (size_t)got;
			return 0;
		}
		free(list);
		if (errno != ERANGE)
			return failed(r, "list extended attributes");
	}
	return failed(r, "list extended attributes");
}

/* The value of the attribute NAME of FD.  Returns a negative errno without a reason. */
static int get_xattr(int fd, const char *name, char **ret_value, size_t *ret_size)
{
	for (int try = 0; try < XATTR_TRIES; try++) {
		ssize_t size = sys_get_xattr(fd, name, NULL, 0), got;
		char *value;

		if (size < 0)
			return -errno;
		value = malloc((size_t)size + 1);
		if (!value)
			return -ENOMEM;
		got = size ? sys_get_xattr(fd, name, value, (size_t)size) : 0;
		if (got >= 0) {
			*ret_value = value;
			*ret_size = (size_t)got;
			return 0;
		}
		free(value);
		if (errno != ERANGE)
			return -errno;
	}
	return -ERANGE;
}

static int xattr_failed(const struct replacement *r, int error, const char *name)
{
	char operation[XATTR_NAME_MAX + 32];

	snprintf(operation, sizeof(operation), "keep attribute %s", name);
	return fp_why_system(r->why, error, r->path, operation);
}

static int copy_xattr(const struct replacement *r, const char *name)
{
	CLEANUP(free_bytes) char *old = NULL, *new = NULL;
	size_t old_size, new_size;
	int error = get_xattr(r->old, name, &old, &old_size);

	if (error)
		return xattr_failed(r, -error, name);
	/* A label that the kernel gave the new file by itself need not be set, which may not be permitted. */
	if (get_xattr(r->fd, name, &new, &new_size) == 0 && new_size == old_size &&
	    memcmp(new, old, old_size) == 0)
		return 0;
	return sys_set_xattr(r->fd, name, old, old_size) == 0 ? 0 : xattr_failed(r, errno, name);
}

static bool list_has(const char *list, size_t size, const char *name)
{
	for (size_t at = 0; at < size; at += strlen(list + at) + 1)
		if (strcmp(list + at, name) == 0)
			return true;
	return false;
}

/* Gives the temporary file exactly the extended attributes of the old one: also without an ACL that it inherited from its
   directory. */
static int copy_xattrs(const struct replacement *r)
{
	CLEANUP(free_bytes) char *old = NULL, *new = NULL;
	size_t old_size, new_size;
	int error = list_xattrs(r, r->old, &old, &old_size);

	if (!error)
		error = list_xattrs(r, r->fd, &new, &new_size);
	for (size_t at = 0; !error && at < new_size; at += strlen(new + at) + 1)
		if (!list_has(old, old_size, new + at) && sys_remove_xattr(r->fd, new + at) != 0)
			error = xattr_failed(r, errno, new + at);
	for (size_t at = 0; !error && at < old_size; at += strlen(old + at) + 1)
		error = copy_xattr(r, old + at);
	return error;
}

/* Owner first: it clears set-id bits and capabilities.  The mode after the ACL, which changes it. */
static int copy_metadata(const struct replacement *r, const struct stat *old)
{
	const struct timespec times[2] = { old->st_atim, old->st_mtim };
	struct stat new;
	int error;

	if (sys_chown(r->fd, old->st_uid, old->st_gid) != 0)
		return failed(r, "keep owner");
	error = copy_xattrs(r);
	if (error)
		return error;
	if (sys_chmod(r->fd, old->st_mode & 07777) != 0)
		return failed(r, "keep mode");
	if (sys_set_times(r->fd, times) != 0)
		return failed(r, "keep times");
	/* Some file systems do as if they could. */
	if (sys_stat(r->fd, &new) != 0)
		return failed(r, "stat");
	if (new.st_mode != old->st_mode || new.st_uid != old->st_uid || new.st_gid != old->st_gid) {
		errno = EPERM;
		return failed(r, "keep owner and mode");
	}
	return 0;
}

/* Makes the synced temporary file the file.  Nothing fails after the rename; see the top of this file. */
static int put_in_place(struct replacement *r)
{
	if (sys_rename(r->directory, r->temporary, r->name) != 0)
		return failed(r, "rename");
	r->temporary[0] = '\0';
	(void)sys_sync(r->directory);
	return 0;
}

int fp_commit(const char *path, const struct stat *expected, const void *image, size_t size,
	      struct stat *ret_stat, struct fp_why *why)
{
	CLEANUP(replacement_close) struct replacement r = REPLACEMENT(path, why);
	int error = open_directory(&r);

	if (!error)
		error = open_old(&r, expected);
	if (error)
		return error;
	remove_left_over(&r);
	error = open_temporary(&r);
	if (!error)
		error = write_image(&r, image, size);
	if (!error)
		error = copy_metadata(&r, expected);
	if (error)
		return error;
	if (sys_sync(r.fd) != 0)
		return failed(&r, "sync");
	error = check_unchanged(&r, expected);
	if (!error)
		error = put_in_place(&r);
	/* The rename has set the change time. */
	if (!error && ret_stat && fstat(r.fd, ret_stat) != 0)
		memset(ret_stat, 0, sizeof(*ret_stat));
	return error;
}

/* Writes the new file PATH; SET gives the temporary file its owner, mode and times. */
static int commit_new(struct replacement *r, const void *image, size_t size,
		      int (*set)(const struct replacement *r, const void *context),
		      const void *context)
{
	int error = open_directory(r);
	struct stat old;

	if (error)
		return error;
	if (sys_lstat(r->directory, r->name, &old) == 0 && !S_ISREG(old.st_mode))
		return fp_why_set(r->why, FP_REASON_NOT_REGULAR, r->path, "%s", "");
	remove_left_over(r);
	error = open_temporary(r);
	if (!error)
		error = write_image(r, image, size);
	if (!error)
		error = set(r, context);
	if (error)
		return error;
	return sys_sync(r->fd) == 0 ? put_in_place(r) : failed(r, "sync");
}

static int set_mode(const struct replacement *r, const void *mode)
{
	return sys_chmod(r->fd, *(const mode_t *)mode & 07777) == 0 ? 0 : failed(r, "set mode");
}

int fp_commit_new(const char *path, mode_t mode, const void *image, size_t size, struct fp_why *why)
{
	CLEANUP(replacement_close) struct replacement r = REPLACEMENT(path, why);

	return commit_new(&r, image, size, set_mode, &mode);
}

static int set_like(const struct replacement *r, const void *context)
{
	const struct stat *like = context;
	const struct timespec times[2] = { like->st_atim, like->st_mtim };
	mode_t mode = like->st_mode & 07777;

	/* Set-id bits are for the owner they were made for only. */
	if (sys_chown(r->fd, like->st_uid, like->st_gid) != 0)
		mode &= 0777;
	if (sys_chmod(r->fd, mode) != 0)
		return failed(r, "set mode");
	return sys_set_times(r->fd, times) == 0 ? 0 : failed(r, "set times");
}

int fp_commit_like(const char *path, const struct stat *like, const void *image, size_t size,
		   struct fp_why *why)
{
	CLEANUP(replacement_close) struct replacement r = REPLACEMENT(path, why);

	return commit_new(&r, image, size, set_like, like);
}

int fp_commit_allowed(const char *path, const struct stat *expected, struct fp_why *why)
{
	CLEANUP(replacement_close) struct replacement r = REPLACEMENT(path, why);
	int error = open_directory(&r);

	return error ? error : open_old(&r, expected);
}
