/* calls.h - the seam: the system calls of a commit that can fail, so that a test can make them fail. */
#ifndef FP_CALLS_H
#define FP_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Every call asks fp_fault first.  A test is built with FP_FAULTS and decides there which call fails, and
   with what errno (0: none). */
#ifdef FP_FAULTS
int fp_fault(const char *call);
#else
static inline int fp_fault(const char *call)
{
	(void)call;
	return 0;
}
#endif

static inline bool fault(const char *call)
{
	int error = fp_fault(call);

	if (error)
		errno = error;
	return error != 0;
}

static inline int sys_open(int directory, const char *name, int flags, mode_t mode)
{
	return fault("open") ? -1 : openat(directory, name, flags | O_CLOEXEC, mode);
}

static inline int sys_stat(int fd, struct stat *ret_stat)
{
	return fault("stat") ? -1 : fstat(fd, ret_stat);
}

static inline int sys_lstat(int directory, const char *name, struct stat *ret_stat)
{
	return fault("lstat") ? -1 : fstatat(directory, name, ret_stat, AT_SYMLINK_NOFOLLOW);
}

static inline int sys_get_flags(int fd, int *ret_flags)
{
	return fault("ioctl") ? -1 : ioctl(fd, FS_IOC_GETFLAGS, ret_flags);
}

static inline int sys_access(int directory, const char *name, int mode)
{
	return fault("access") ? -1 : faccessat(directory, name, mode, AT_EACCESS);
}

static inline int sys_allocate(int fd, off_t offset, off_t size)
{
	int result;

	do
		result = fault("fallocate") ? -1 : fallocate(fd, 0, offset, size);
	while (result != 0 && errno == EINTR);
	return result;
}

static inline ssize_t sys_write(int fd, const void *bytes, size_t size, off_t offset)
{
	return fault("write") ? -1 : pwrite(fd, bytes, size, offset);
}

static inline int sys_truncate(int fd, off_t size)
{
	return fault("ftruncate") ? -1 : ftruncate(fd, size);
}

static inline int sys_chown(int fd, uid_t owner, gid_t group)
{
	return fault("fchown") ? -1 : fchown(fd, owner, group);
}

static inline int sys_chmod(int fd, mode_t mode)
{
	return fault("fchmod") ? -1 : fchmod(fd, mode);
}

static inline ssize_t sys_list_xattrs(int fd, char *list, size_t size)
{
	return fault("flistxattr") ? -1 : flistxattr(fd, list, size);
}

static inline ssize_t sys_get_xattr(int fd, const char *name, void *value, size_t size)
{
	return fault("fgetxattr") ? -1 : fgetxattr(fd, name, value, size);
}

static inline int sys_set_xattr(int fd, const char *name, const void *value, size_t size)
{
	return fault("fsetxattr") ? -1 : fsetxattr(fd, name, value, size, 0);
}

static inline int sys_remove_xattr(int fd, const char *name)
{
	return fault("fremovexattr") ? -1 : fremovexattr(fd, name);
}

static inline int sys_set_times(int fd, const struct timespec times[2])
{
	return fault("futimens") ? -1 : futimens(fd, times);
}

static inline int sys_sync(int fd)
{
	int result;

	do
		result = fault("fsync") ? -1 : fsync(fd);
	while (result != 0 && errno == EINTR);
	return result;
}

static inline int sys_rename(int directory, const char *from, const char *to)
{
	return fault("rename") ? -1 : renameat(directory, from, directory, to);
}

#endif
