/* occupy ADDRESS SIZE PROGRAM... - runs PROGRAM with memory mapped at ADDRESS before its first instruction, as another
   user of the address space would: ld.so has to load what asks for that address elsewhere. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(99);
}

int main(int argc, char **argv)
{
	struct user_regs_struct saved, call;
	int status;
	pid_t child;
	long word;

	if (argc < 4)
		return 99;
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(argv[3], argv + 3);
		fail(argv[3]);
	}
	/* Stopped behind the exec; two bytes of code become a system call. */
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_GETREGS, child, 0, &saved) != 0)
		fail("exec");
	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, child, saved.rip, 0);
	if (errno || ptrace(PTRACE_POKETEXT, child, saved.rip, (word & ~0xffffl) | 0x050f) != 0)
		fail("code");
	call = saved;
	call.rax = SYS_mmap;
	call.rdi = strtoull(argv[1], NULL, 0);
	call.rsi = strtoull(argv[2], NULL, 0);
	call.rdx = PROT_NONE;
	call.r10 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	call.r8 = -1;
	call.r9 = 0;
	if (ptrace(PTRACE_SETREGS, child, 0, &call) != 0 ||
	    ptrace(PTRACE_SINGLESTEP, child, 0, 0) != 0 || waitpid(child, &status, 0) != child ||
	    ptrace(PTRACE_GETREGS, child, 0, &call) != 0)
		fail("mmap");
	if (call.rax != strtoull(argv[1], NULL, 0)) {
		errno = (int)-call.rax;
		fail("mmap");
	}
	if (ptrace(PTRACE_POKETEXT, child, saved.rip, word) != 0 ||
	    ptrace(PTRACE_SETREGS, child, 0, &saved) != 0 ||
	    ptrace(PTRACE_DETACH, child, 0, 0) != 0)
		fail("detach");
	if (waitpid(child, &status, 0) != child)
		fail("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
