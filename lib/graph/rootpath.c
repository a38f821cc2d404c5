/* rootpath.c - follows symbolic links inside a root directory as chroot would.

   An absolute link starts again at the root, ".." does not leave it, and what the links lead to is
   remembered for every path and every directory, because the search rules ask for the same
   directories again and again.  The limits are the kernel's (path_resolution(7)). */
#include "rootpath.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINKS = 40 };

/* A walk in progress: where it is and what is left to follow. */
struct walk {
	char here[PATH_MAX]; /* canonical, "/" or without a slash at its end */
	char rest[PATH_MAX];
	bool is_directory;
};

int fp_root_init(struct fp_root *root, const char *directory)
{
	size_t length = directory ? strlen(directory) : 0;

	*root = (struct fp_root){ 0 };
	while (length && directory[length - 1] == '/')
		length--;
	root->prefix = fp_arena_substring(&root->arena, length ? directory : "", length);
	return root->prefix ? 0 : -ENOMEM;
}

void fp_root_free(struct fp_root *root)
{
	fp_strmap_free(&root->paths);
	fp_arena_free(&root->arena);
}

static void go_up(struct walk *walk)
{
	char *slash = strrchr(walk->here, '/');

	slash[slash == walk->here] = '\0';
}

static int go_down(struct walk *walk, const char *name, size_t length)
{
	size_t end = strlen(walk->here);

	if (end == 1)
		end = 0;
	if (length > NAME_MAX || end + 1 + length >= sizeof(walk->here))
		return ENAMETOOLONG;
	walk->here[end] = '/';
	memcpy(walk->here + end + 1, name, length);
	walk->here[end + 1 + length] = '\0';
	return 0;
}

/* The link at HOST is put in the place of the component that led to it; TAIL is what follows it. */
static int enter_link(struct walk *walk, const char *host, const char *tail)
{
	char target[PATH_MAX];
	ssize_t length = readlink(host, target, sizeof(target));
	size_t tail_length = strlen(tail);

	if (length < 0)
		return errno;
	if (length == 0)
		return ENOENT;
	if ((size_t)length + 1 + tail_length >= sizeof(walk->rest))
		return ENAMETOOLONG;
	memmove(walk->rest + length, tail, tail_length + 1);
	memcpy(walk->rest, target, (size_t)length);
	if (target[0] == '/')
		strcpy(walk->here, "/");
	else
		go_up(walk);
	return 0;
}

/* Follows walk->rest from walk->here, a directory.  Returns 0 or a positive errno. */
static int follow(const struct fp_root *root, struct walk *walk)
{
	const char *at = walk->rest;
	char host[2 * PATH_MAX];
	unsigned links = 0;
	struct stat stat;
	int error;

	walk->is_directory = true;
	while (*at) {
		size_t length;

		at += strspn(at, "/");
		if (!walk->is_directory)
			return ENOTDIR;
		length = strcspn(at, "/");
		if (length == 0 || (length == 1 && at[0] == '.')) {
			at += length;
			continue;
		}
		if (length == 2 && at[0] == '.' && at[1] == '.') {
			go_up(walk);
			at += length;
			continue;
		}
		error = go_down(walk, at, length);
		if (error)
			return error;
		if (strlen(root->prefix) + strlen(walk->here) >= sizeof(host))
			return ENAMETOOLONG;
		strcpy(stpcpy(host, root->prefix), walk->here);
		if (lstat(host, &stat) != 0)
			return errno;
		at += length;
		if (S_ISLNK(stat.st_mode)) {
			if (++links > MAX_LINKS)
				return ELOOP;
			error = enter_link(walk, host, at);
			if (error)
				return error;
			at = walk->rest;
			continue;
		}
		walk->is_directory = S_ISDIR(stat.st_mode);
	}
	return 0;
}

static const struct fp_path *remember(struct fp_root *root, const char *path, int error,
				      const struct walk *walk)
{
	struct fp_path *entry = fp_arena_alloc(&root->arena, sizeof(*entry));
	const char *key = fp_arena_string(&root->arena, path);
	char *host;

	if (!entry || !key)
		return NULL;
	entry->error = error;
	if (!error) {
		host = fp_arena_format(&root->arena, "%s%s", root->prefix, walk->here);
		if (!host)
			return NULL;
		entry->host = host;
		entry->canonical = host + strlen(root->prefix);
		entry->is_directory = walk->is_directory;
	}
	return fp_strmap_put(&root->paths, key, entry) == 0 ? entry : NULL;
}

/* Resolves the whole of PATH from the root. */
static const struct fp_path *resolve_whole(struct fp_root *root, const char *path)
{
	struct walk walk = { .here = "/" };

	strcpy(walk.rest, path);
	return remember(root, path, follow(root, &walk), &walk);
}

/* The last component of PATH starts at LAST; what is before it is looked up by itself. */
static const struct fp_path *resolve_in_parent(struct fp_root *root, const char *path,
					       const char *last)
{
	const struct fp_path *parent;
	struct walk walk;
	size_t length = (size_t)(last - path);

	while (length > 1 && path[length - 1] == '/')
		length--;
	memcpy(walk.here, path, length);
	walk.here[length] = '\0';
	parent = fp_strmap_get(&root->paths, walk.here);
	if (!parent)
		parent = resolve_whole(root, walk.here);
	if (!parent)
		return NULL;
	if (parent->error || !parent->is_directory)
		return remember(root, path, parent->error ? parent->error : ENOTDIR, &walk);
	strcpy(walk.here, parent->canonical);
	strcpy(walk.rest, last);
	return remember(root, path, follow(root, &walk), &walk);
}

const struct fp_path *fp_root_resolve(struct fp_root *root, const char *path)
{
	const struct fp_path *known = fp_strmap_get(&root->paths, path);
	const char *slash;

	if (known)
		return known;
	if (strlen(path) >= PATH_MAX)
		return remember(root, path, ENAMETOOLONG, NULL);
	slash = strrchr(path, '/');
	if (!slash || slash == path || !slash[1])
		return resolve_whole(root, path);
	return resolve_in_parent(root, path, slash + 1);
}

void fp_root_forget(struct fp_root *root, const char *path)
{
	const struct fp_path *known = fp_strmap_get(&root->paths, path);

	if (known && known->error)
		(void)fp_strmap_put(&root->paths, path, NULL);
}

const char *fp_root_inside(const struct fp_root *root, const char *path)
{
	size_t length = strlen(root->prefix);

	if (length && strncmp(path, root->prefix, length) == 0 &&
	    (path[length] == '/' || !path[length]))
		return path[length] ? path + length : "/";
	return path;
}
