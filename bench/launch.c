/* launch.c - starts programs and measures each start: its time, its page faults, its memory at program entry.
 *
 *     launch --runs N [--warmup N] SIDE...    time whole processes, the sides taken in turn
 *     launch --at-entry SIDE...               stop each side at its entry point, once, and look at its memory
 *
 * A SIDE is  [--root DIR] [--env NAME=VALUE]... --argc N ARG...  where ARG... are N words, the first of them the
 * path of the program inside the root.  The programs get /dev/null as their standard files.
 *
 * Results are lines of words on stdout, written when everything has been run, so that nothing is printed between
 * two starts:
 *     run SIDE WALL_NS USER_US SYSTEM_US MINOR_FAULTS MAJOR_FAULTS WAIT_STATUS
 *     entry SIDE KEY VALUE          KEY: MinorFaults, or a field of smaps_rollup (kB)
 *     mapped SIDE PATH              a file that is mapped at program entry
 *
 * The parent is small and starts the program by vfork, so that the time is the program's and not that of copying
 * an interpreter's address space.  */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct side {
	const char *root; /* null: none */
	char **argv;      /* null-terminated */
	char **envp;
};

struct sample {
	uint64_t wall_ns;
	struct rusage usage;
	int status;
};

extern char **environ;

static int null_fd;

static void fail(const char *what)
{
	fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void usage(const char *problem)
{
	fprintf(stderr, "launch: %s (the usage is on top of launch.c)\n", problem);
	exit(2);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		fail("memory");
	return memory;
}

static size_t count_strings(char **strings)
{
	size_t count = 0;

	while (strings[count])
		count++;
	return count;
}

/* Sets NAME=VALUE in the null-terminated list ENVP, which has room for one more. */
static void set_variable(char **envp, char *assignment)
{
	size_t name_length = strcspn(assignment, "=") + 1;
	char **variable;

	for (variable = envp; *variable; variable++) {
		if (!strncmp(*variable, assignment, name_length))
			break;
	}
	*variable = assignment;
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < 0)
		usage("not a number");
	return value;
}

/* Reads one SIDE from the null-terminated WORDS; returns what follows it. */
static char **parse_side(char **words, struct side *side)
{
	size_t argc;

	memset(side, 0, sizeof(*side));
	side->envp = allocate(count_strings(environ) + count_strings(words) + 1, sizeof(char *));
	memcpy(side->envp, environ, count_strings(environ) * sizeof(char *));
	for (; words[0] && words[1]; words += 2) {
		if (!strcmp(words[0], "--root")) {
			side->root = words[1];
		} else if (!strcmp(words[0], "--env")) {
			set_variable(side->envp, words[1]);
		} else if (!strcmp(words[0], "--argc")) {
			argc = (size_t)number(words[1]);
			words += 2;
			if (!argc || argc > count_strings(words))
				usage("--argc does not fit");
			side->argv = allocate(argc + 1, sizeof(char *));
			memcpy(side->argv, words, argc * sizeof(char *));
			return words + argc;
		} else {
			break;
		}
	}
	usage("a side needs --argc");
	return NULL;
}

/* In the child, after vfork or fork: becomes the program.  Returns the step that failed, with errno. */
static const char *become(const struct side *side)
{
	if (dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(null_fd, 2) < 0)
		return "dup2";
	if (side->root && (chroot(side->root) || chdir("/")))
		return side->root;
	execve(side->argv[0], side->argv, side->envp);
	return side->argv[0];
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void run_once(const struct side *side, struct sample *ret_sample)
{
	const char *volatile failed = NULL;
	volatile int error = 0;
	uint64_t start = now_ns();
	pid_t child = vfork();

	if (!child) {
		failed = become(side);
		error = errno;
		_exit(127);
	}
	if (child < 0)
		fail("vfork");
	while (wait4(child, &ret_sample->status, 0, &ret_sample->usage) < 0) {
		if (errno != EINTR)
			fail("wait4");
	}
	ret_sample->wall_ns = now_ns() - start;
	if (failed) {
		errno = error;
		fail(failed);
	}
}

/* Takes the sides in turn; every second round in the opposite order, so that no side always follows the same
   other one. */
static void time_sides(const struct side *sides, size_t side_count, size_t runs, size_t warmup)
{
	struct sample *samples = allocate(runs * side_count, sizeof(*samples));
	struct sample unused;
	size_t round, i, which;

	for (round = 0; round < warmup; round++) {
		for (i = 0; i < side_count; i++)
			run_once(&sides[i], &unused);
	}
	for (round = 0; round < runs; round++) {
		for (i = 0; i < side_count; i++) {
			which = round % 2 ? side_count - 1 - i : i;
			run_once(&sides[which], &samples[round * side_count + which]);
		}
	}
	for (i = 0; i < runs * side_count; i++) {
		const struct rusage *used = &samples[i].usage;

		printf("run %zu %" PRIu64 " %ld %ld %ld %ld %d\n", i % side_count,
		       samples[i].wall_ns, used->ru_utime.tv_sec * 1000000 + used->ru_utime.tv_usec,
		       used->ru_stime.tv_sec * 1000000 + used->ru_stime.tv_usec, used->ru_minflt,
		       used->ru_majflt, samples[i].status);
	}
	free(samples);
}

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	file = fopen(path, "re");
	if (!file)
		fail(path);
	return file;
}

static uint64_t entry_point(pid_t pid)
{
	FILE *file = open_proc(pid, "auxv");
	uint64_t entry = 0;
	Elf64_auxv_t item;

	while (!entry && fread(&item, sizeof(item), 1, file) == 1) {
		if (item.a_type == AT_ENTRY)
			entry = item.a_un.a_val;
	}
	fclose(file);
	if (!entry)
		usage("no AT_ENTRY");
	return entry;
}

static long minor_faults(pid_t pid)
{
	FILE *file = open_proc(pid, "stat");
	char line[1024], *after_name = NULL;
	long faults = 0;

	if (fgets(line, sizeof(line), file))
		after_name = strrchr(line, ')');
	fclose(file);
	if (!after_name || sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %ld", &faults) != 1)
		usage("/proc/PID/stat has another form");
	return faults;
}

/* Prints the sums over all mappings, without the page that the breakpoint made private. */
static void print_rollup(pid_t pid, size_t side)
{
	FILE *file = open_proc(pid, "smaps_rollup");
	long value, page = sysconf(_SC_PAGESIZE) / 1024;
	char line[1024], key[64];

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63[A-Za-z_]: %ld kB", key, &value) != 2)
			continue;
		if (!strcmp(key, "Private_Dirty") || !strcmp(key, "Anonymous"))
			value -= page;
		printf("entry %zu %s %ld\n", side, key, value);
	}
	fclose(file);
}

static void print_mapped_files(pid_t pid, size_t side)
{
	FILE *file = open_proc(pid, "maps");
	char *line = NULL, *path, *last = NULL;
	size_t room = 0;

	while (getline(&line, &room, file) > 0) {
		path = strchr(line, '/');
		if (!path || (last && !strcmp(path, last)))
			continue;
		printf("mapped %zu %s", side, path);
		free(last);
		last = strdup(path);
	}
	free(last);
	free(line);
	fclose(file);
}

/* Lets the traced PID run to the address ENTRY, where a breakpoint instruction is put. */
static void run_to_entry(pid_t pid, uint64_t entry)
{
	struct user_regs_struct registers;
	int status, signal_number = 0;
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, pid, entry, 0);
	if (errno)
		fail("PTRACE_PEEKTEXT");
	word = (long)(((unsigned long)word & ~0xfful) | 0xcc);
	if (ptrace(PTRACE_POKETEXT, pid, entry, word))
		fail("PTRACE_POKETEXT");
	for (;;) {
		if (ptrace(PTRACE_CONT, pid, 0, signal_number))
			fail("PTRACE_CONT");
		if (waitpid(pid, &status, 0) < 0)
			fail("waitpid");
		if (!WIFSTOPPED(status))
			usage("the program ended before its entry point");
		signal_number = WSTOPSIG(status);
		if (signal_number != SIGTRAP)
			continue;
		if (ptrace(PTRACE_GETREGS, pid, 0, &registers))
			fail("PTRACE_GETREGS");
		if (registers.rip == entry + 1)
			return;
		signal_number = 0;
	}
}

static void look_at_entry(const struct side *side, size_t which)
{
	long faults_before;
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		const char *failed = "PTRACE_TRACEME";
		int errors = fcntl(2, F_DUPFD_CLOEXEC, 3);

		if (!ptrace(PTRACE_TRACEME, 0, 0, 0))
			failed = become(side);
		dprintf(errors, "launch: %s: %s\n", failed, strerror(errno));
		_exit(127);
	}
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
	if (!WIFSTOPPED(status))
		exit(2);
	if (ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL))
		fail("PTRACE_SETOPTIONS");
	faults_before = minor_faults(child);
	run_to_entry(child, entry_point(child));
	printf("entry %zu MinorFaults %ld\n", which, minor_faults(child) - faults_before);
	print_rollup(child, which);
	print_mapped_files(child, which);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

int main(int argc, char **argv)
{
	struct side *sides = allocate((size_t)argc, sizeof(*sides));
	size_t side_count = 0, runs = 0, warmup = 0, i;
	int at_entry = 0;

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		fail("/dev/null");
	for (argv++; *argv; argv++) {
		if (!strcmp(*argv, "--at-entry"))
			at_entry = 1;
		else if (!strcmp(*argv, "--runs") && argv[1])
			runs = (size_t)number(*++argv);
		else if (!strcmp(*argv, "--warmup") && argv[1])
			warmup = (size_t)number(*++argv);
		else
			break;
	}
	while (*argv)
		argv = parse_side(argv, &sides[side_count++]);
	if (!side_count || at_entry == (runs > 0))
		usage("sides and one of --runs and --at-entry are needed");
	if (at_entry) {
		for (i = 0; i < side_count; i++)
			look_at_entry(&sides[i], i);
	} else {
		time_sides(sides, side_count, runs, warmup);
	}
	for (i = 0; i < side_count; i++) {
		free(sides[i].argv);
		free(sides[i].envp);
	}
	free(sides);
	return 0;
}
