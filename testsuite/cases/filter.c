/* filter.c - runs a program under a seccomp filter that kills at any call plain ld.so and a small main do not make.
   usage: filter PROGRAM [ARGUMENT...] */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int allowed[] = {
	SYS_execve, SYS_brk,       SYS_mmap,       SYS_munmap,          SYS_mprotect,
	SYS_access, SYS_openat,    SYS_read,       SYS_pread64,         SYS_newfstatat,
	SYS_fstat,  SYS_close,     SYS_arch_prctl, SYS_set_tid_address, SYS_set_robust_list,
	SYS_rseq,   SYS_prlimit64, SYS_getrandom,  SYS_readlink,        SYS_getcwd,
	SYS_write,  SYS_writev,    SYS_futex,      SYS_exit_group,
};

int main(int argc, char **argv)
{
	enum { COUNT = sizeof(allowed) / sizeof(*allowed) };
	struct sock_filter code[COUNT + 3];
	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, nr));
	for (int i = 0; i < COUNT; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i],
							   COUNT - i, 0);
	code[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { COUNT + 3, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
		perror("filter");
		return 125;
	}
	execv(argv[1], argv + 1);
	return 126;
}
