/* prove.c - runs programs with a new carrier before it replaces the old one. */
#include "prove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../rewrite/commit.h"

enum {
	TIME_LIMIT = 20, /* seconds for one program */
	STALE = 600,     /* seconds: no trial takes that long */
};

/* In the child: no input, no output, no inherited settings, and an end. */
static void become(char *const *arguments, char *const *environment)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		_exit(126);
	signal(SIGALRM, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	alarm(TIME_LIMIT);
	execve(arguments[0], arguments, environment);
	_exit(126);
}

/* Runs ARGUMENTS; returns 0 when it exits with 0. */
static int run(char *const *arguments, char *const *environment, const char *carrier,
	       struct fp_why *why)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return fp_why_system(why, errno, arguments[0], "fork");
	if (child == 0)
		become(arguments, environment);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return fp_why_system(why, errno, arguments[0], "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return fp_why_set(why, FP_REASON_CARRIER_FAILED, carrier, "%s: signal %d",
				  arguments[0], WTERMSIG(status));
	return fp_why_set(why, FP_REASON_CARRIER_FAILED, carrier, "%s: exit status %d",
			  arguments[0], WEXITSTATUS(status));
}

/* How the programs are started: through ld.so by name with a search path, which works below any root, and, on the running
   system, directly too. */
struct trial {
	const char *carrier; /* its path, for messages */
	char *loader;
	char *search;   /* directories: the new carrier's, then the old one's */
	char *variable; /* LD_LIBRARY_PATH=the new carrier's */
	bool direct;
};

static char path_variable[] = "PATH=/usr/bin:/bin";

/* Tries PROGRAM, a host path, with up to two arguments; a program that is not there proves nothing. */
static int try_program(const struct trial *trial, char *program, char *first, char *second,
		       struct fp_why *why)
{
	char library_path[] = "--library-path";
	char *arguments[] = { trial->loader, library_path, trial->search, program,
			      first,         second,       NULL };
	char *plain[] = { path_variable, NULL },
	     *searching[] = { path_variable, trial->variable, NULL };
	int error;

	if (access(program, X_OK) != 0)
		return 0;
	error = run(arguments, plain, trial->carrier, why);
	if (!error && trial->direct)
		error = run(arguments + 3, searching, trial->carrier, why);
	return error;
}

/* What is tried: the library as a program, true, and a shell that starts true. */
static int try_all(const struct trial *trial, const char *root, char *file, bool is_program,
		   struct fp_why *why)
{
	char *banner[] = { trial->loader, file, NULL }, *plain[] = { path_variable, NULL };
	char option[] = "-c", command[] = "exec /bin/true";
	char *nothing = NULL, *shell = NULL;
	int error = 0;

	if (asprintf(&nothing, "%s/bin/true", root ? root : "") < 0 ||
	    asprintf(&shell, "%s/bin/sh", root ? root : "") < 0)
		error = fp_why_system(why, ENOMEM, trial->carrier, "prove");
	if (!error && is_program)
		error = run(banner, plain, trial->carrier, why);
	if (!error)
		error = try_program(trial, nothing, NULL, NULL, why);
	if (!error)
		error = try_program(trial, shell, option, command, why);
	free(nothing);
	free(shell);
	return error;
}

/* Removes what a run that was killed has left: directories of ours in PARENT, older than any trial takes. */
static void remove_stale(const char *parent, const char *name)
{
	DIR *directory = opendir(parent);
	const struct dirent *entry;
	struct stat stat;
	int inner;

	while (directory && (entry = readdir(directory))) {
		if (strncmp(entry->d_name, FP_TEMPORARY_PREFIX, sizeof(FP_TEMPORARY_PREFIX) - 1) !=
		    0)
			continue;
		inner = openat(dirfd(directory), entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (inner < 0)
			continue;
		if (fstat(inner, &stat) == 0 && stat.st_uid == geteuid() &&
		    time(NULL) - stat.st_mtime > STALE) {
			unlinkat(inner, name, 0);
			unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
		}
		close(inner);
	}
	if (directory)
		closedir(directory);
}

int fp_prove_carrier(const struct fp_closure *closure, size_t carrier, const char *root,
		     const void *image, size_t size, struct fp_why *why)
{
	const struct fp_member *member = &closure->members[carrier];
	char *copy = strdup(member->object->path), *parent = copy ? dirname(copy) : NULL;
	struct trial trial = { .carrier = member->object->path,
			       .loader = closure->members[closure->loader_index].object->path,
			       .direct = !root };
	char *directory = NULL, *file = NULL;
	int error = 0;

	if (parent)
		remove_stale(parent, member->soname);
	/* Beside the library: the file system must allow execution there. */
	if (!parent || asprintf(&directory, "%s/" FP_TEMPORARY_PREFIX "XXXXXX", parent) < 0)
		error = fp_why_system(why, ENOMEM, member->object->path, "prove");
	else if (!mkdtemp(directory))
		error = fp_why_system(why, errno, member->object->path,
				      "make a directory to try the carrier in");
	if (!error) {
		if (asprintf(&file, "%s/%s", directory, member->soname) < 0)
			error = fp_why_system(why, ENOMEM, member->object->path, "prove");
		if (!error)
			error = fp_commit_new(file, 0755, image, size, why);
		if (!error && (asprintf(&trial.search, "%s:%s", directory, parent) < 0 ||
			       asprintf(&trial.variable, "LD_LIBRARY_PATH=%s", directory) < 0))
			error = fp_why_system(why, ENOMEM, member->object->path, "prove");
		if (!error)
			error = try_all(&trial, root, file, member->object->interpreter != NULL,
					why);
		if (file)
			unlink(file);
		rmdir(directory);
	}
	free(trial.search);
	free(trial.variable);
	free(file);
	free(directory);
	free(copy);
	return error;
}
