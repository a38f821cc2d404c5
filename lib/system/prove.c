/* prove.c - runs programs with a new carrier before it replaces the old one. */
#include "prove.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../rewrite/commit.h"

enum { TIME_LIMIT = 20 /* seconds for one program */ };

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

/* What is tried: the library as a program, true, and a shell that starts true; through ld.so by name, which
   works below any root, and, on the running system, directly too. */
static int try_all(const struct fp_closure *closure, size_t carrier, const char *root,
		   const char *directory, const char *file, struct fp_why *why)
{
	static const char *const programs[][3] = {
		{ "/bin/true", NULL, NULL },
		{ "/bin/sh", "-c", "exec /bin/true" },
	};
	const char *path = closure->members[carrier].object->path;
	char *loader = closure->members[closure->loader_index].object->path;
	char *search = NULL, *variable = NULL, *parent = strdup(path);
	int error = 0;

	if (!parent || asprintf(&search, "%s:%s", directory, dirname(parent)) < 0 ||
	    asprintf(&variable, "LD_LIBRARY_PATH=%s", directory) < 0) {
		error = fp_why_system(why, ENOMEM, path, "prove");
	} else {
		char *plain[] = { "PATH=/usr/bin:/bin", NULL },
		     *searching[] = { plain[0], variable, NULL };
		char *banner[] = { loader, (char *)file, NULL };

		if (closure->members[carrier].object->interpreter)
			error = run(banner, plain, path, why);
		for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]) && !error; i++) {
			char *host = NULL, *arguments[8];

			if (asprintf(&host, "%s%s", root ? root : "", programs[i][0]) < 0) {
				error = fp_why_system(why, ENOMEM, path, "prove");
				break;
			}
			arguments[0] = loader;
			arguments[1] = "--library-path";
			arguments[2] = search;
			arguments[3] = host;
			arguments[4] = (char *)programs[i][1];
			arguments[5] = (char *)programs[i][2];
			arguments[6] = NULL;
			if (access(host, X_OK) == 0) {
				error = run(arguments, plain, path, why);
				if (!error && !root)
					error = run(arguments + 3, searching, path, why);
			}
			free(host);
		}
	}
	free(variable);
	free(search);
	free(parent);
	return error;
}

int fp_prove_carrier(const struct fp_closure *closure, size_t carrier, const char *root,
		     const void *image, size_t size, struct fp_why *why)
{
	const struct fp_member *member = &closure->members[carrier];
	char *copy = strdup(member->object->path), *directory = NULL, *file = NULL;
	int error = 0;

	/* Beside the library: the file system must allow execution there. */
	if (!copy || asprintf(&directory, "%s/.#fastprelink.XXXXXX", dirname(copy)) < 0)
		error = fp_why_system(why, ENOMEM, member->object->path, "prove");
	else if (!mkdtemp(directory))
		error = fp_why_system(why, errno, member->object->path,
				      "make a directory to try the carrier in");
	if (!error) {
		if (asprintf(&file, "%s/%s", directory, member->soname) < 0)
			error = fp_why_system(why, ENOMEM, member->object->path, "prove");
		if (!error)
			error = fp_commit_new(file, 0755, image, size, why);
		if (!error)
			error = try_all(closure, carrier, root, directory, file, why);
		if (file)
			unlink(file);
		rmdir(directory);
	}
	free(file);
	free(directory);
	free(copy);
	return error;
}
