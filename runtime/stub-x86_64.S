/* stub-x86_64.S - the code in the carrier: looks for tables in the program and lets the runtime use them.
   SPDX-License-Identifier: 0BSD

   ld.so calls it as an IFUNC resolver while it relocates the carrier.  It ends by jumping to the resolver whose place
   it took, whatever happened before.  A program without tables costs it three short scans: the environment, the auxiliary
   vector and the program headers.  The installer fills the parameters in; there is nothing else to relocate. */

#define AT_PHDR	  3
#define AT_PHNUM  5
#define AT_SECURE 23
#define PHDR_SIZE 56
#define FP_SEGMENT_FLAGS 0x04600004	/* abi.h */
#define PHDR_FLAGS 4			/* offset of p_flags */
#define RUNTIME_MAX 16384		/* FP_MAX_RUNTIME_SIZE */
#define HEADER_SIZE 24			/* magic, entry point, size */
#define FRAME	    32			/* room for it */

#define VARIABLES   8			/* the last two need a closer look */
#define STACK_NEAR 0x100000		/* how far above the stack pointer argc may be */

#define SYS_read   0
#define SYS_close  3
#define SYS_mmap   9
#define SYS_munmap 11
#define SYS_pread64 17
#define SYS_openat 257

	.text
	.globl	fp_stub
fp_stub:
	endbr64
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	sub	$FRAME, %rsp	/* stack aligned: return address and five pushes */

	/* The anchor is a GOT slot for a variable of ld.so's that points to, or near, where the kernel put argc. */
	lea	parameters(%rip), %rbx
	movslq	(%rbx), %rax
	mov	(%rbx,%rax), %rax
	test	%rax, %rax
	jz	.Lout
	mov	(%rax), %rax
	movslq	8(%rbx), %rdx
	add	%rdx, %rax
	/* At a start that is a little way up the stack.  A thread that loads another libc has a stack of its own,
	   which may be too small for what follows. */
	mov	%rax, %rdx
	sub	%rsp, %rdx
	cmp	$STACK_NEAR, %rdx
	ja	.Lout
	mov	(%rax), %rdx
	lea	16(%rax,%rdx,8), %r12	/* environment */
	mov	%r12, %r13
1:	add	$8, %r13
	cmpq	$0, -8(%r13)
	jne	1b			/* auxiliary vector */

	mov	%r13, %rsi
	xor	%ecx, %ecx
	xor	%ebp, %ebp
2:	mov	(%rsi), %rax
	mov	8(%rsi), %rdx
	add	$16, %rsi
	cmp	$AT_PHDR, %rax
	cmove	%rdx, %rdi
	cmp	$AT_PHNUM, %rax
	cmove	%edx, %ecx
	cmp	$AT_SECURE, %rax
	cmove	%edx, %ebp
	test	%rax, %rax
	jnz	2b
	test	%ebp, %ebp
	jnz	.Lout
	sub	$PHDR_SIZE, %rdi
3:	dec	%ecx
	js	.Lout
	add	$PHDR_SIZE, %rdi
	cmpl	$FP_SEGMENT_FLAGS, PHDR_FLAGS(%rdi)
	jne	3b

	/* With one of these variables the runtime would decline; it need not be loaded for that, unless another one asks
	   what it says (rt.c has the list too). */
	mov	%r12, %rsi
	xor	%edi, %edi
.Lvariable:
	lodsq
	test	%rax, %rax
	jz	.Ldecided
	mov	(%rax), %rdx		/* behind the last string the kernel leaves the program's name and 8 bytes */
	lea	variables(%rip), %r8
	mov	$VARIABLES, %ecx
4:	dec	%ecx
	js	.Lvariable
	cmp	(%r8,%rcx,8), %rdx
	jne	4b
	cmp	$VARIABLES - 2, %ecx
	jb	.Ldeclining
	mov	8(%rax), %edx
	ja	5f
	cmp	not(%rip), %edx		/* LD_BIND_NOT=, and not LD_BIND_NOW= */
	jne	.Lvariable
	jmp	.Ldeclining
5:	cmp	ink(%rip), %edx		/* FASTPRELINK=0; anything else wants to hear of it */
	jne	.Lload
	cmpw	$'0', 12(%rax)
	jne	.Lload
.Ldeclining:
	inc	%edi
	jmp	.Lvariable
.Ldecided:
	test	%edi, %edi
	jnz	.Lout
.Lload:

	/* Open the runtime.  Its header says how long it is; the file must end there, since a mapping that reaches
	   beyond the end of its file would fault. */
	mov	$SYS_openat, %eax
	mov	$-100, %edi		/* AT_FDCWD; the path is absolute */
	lea	12(%rbx), %rsi
	mov	$0x80800, %edx		/* O_RDONLY | O_CLOEXEC | O_NONBLOCK: it might be a pipe */
	syscall
	test	%eax, %eax
	js	.Lout
	mov	%eax, %ebp
	xor	%r14d, %r14d		/* nothing mapped */
	xor	%eax, %eax		/* SYS_read */
	mov	%ebp, %edi
	mov	%rsp, %rsi
	mov	$HEADER_SIZE, %edx
	syscall
	cmp	$HEADER_SIZE, %rax
	jne	.Lclose
	mov	magic(%rip), %rdx
	cmp	(%rsp), %rdx
	jne	.Lclose
	mov	16(%rsp), %rbx		/* size */
	test	$7, %bl
	jnz	.Lclose
	lea	-HEADER_SIZE(%rbx), %rax
	cmp	$RUNTIME_MAX - HEADER_SIZE, %rax
	jae	.Lclose
	mov	$SYS_pread64, %eax
	mov	%ebp, %edi
	mov	%rsp, %rsi
	mov	$HEADER_SIZE, %edx
	lea	-8(%rbx), %r10
	syscall
	cmp	$8, %rax
	jne	.Lclose

	mov	$SYS_mmap, %eax
	xor	%edi, %edi
	mov	%rbx, %rsi
	mov	$5, %edx		/* PROT_READ | PROT_EXEC */
	mov	$2, %r10d		/* MAP_PRIVATE */
	mov	%ebp, %r8d
	xor	%r9d, %r9d
	syscall
	test	%rax, %rax
	js	.Lclose
	mov	%rax, %r14
.Lclose:
	mov	$SYS_close, %eax
	mov	%ebp, %edi
	syscall
	test	%r14, %r14
	jz	.Lout

	/* Nothing of it runs unless its last word is the checksum of all others. */
	mov	%r14, %rsi
	lea	-8(%r14,%rbx), %rdi
	mov	magic(%rip), %rdx
6:	xor	(%rsi), %rdx		/* fp_mix */
	imul	factor(%rip), %rdx
	mov	%rdx, %rcx
	shr	$29, %rcx
	xor	%rcx, %rdx
	add	$8, %rsi
	cmp	%rdi, %rsi
	jb	6b
	cmp	(%rsi), %rdx
	jne	.Lunmap

	mov	%r13, %rdi
	mov	%r12, %rsi
	lea	fp_stub(%rip), %rdx
	mov	8(%r14), %rax
	add	%r14, %rax
	call	*%rax
.Lunmap:
	mov	$SYS_munmap, %eax
	mov	%r14, %rdi
	mov	%rbx, %rsi
	syscall

.Lout:
	lea	parameters(%rip), %rbx
	movslq	4(%rbx), %rax
	add	%rbx, %rax
	add	$FRAME, %rsp
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	jmp	*%rax			/* the original resolver returns to ld.so */

	.balign	4
magic:	.quad	0x4d49544e55525046	/* FP_RUNTIME_MAGIC */
factor:	.quad	0x9e3779b97f4a7c15	/* fp_mix */
variables:
	.ascii	"LD_AUDIT", "LD_DEBUG", "LD_DYNAM", "LD_PROFI", "LD_TRACE", "GLIBC_TU"
	.ascii	"LD_BIND_", "FASTPREL"
not:	.ascii	"NOT="
ink:	.ascii	"INK="
	/* Filled in by the installer; the path of the runtime, ended by a null, follows. */
	.globl	fp_stub_parameters
fp_stub_parameters:
parameters:
	.long	0			/* the anchor slot, from here */
	.long	0			/* the original resolver, from here */
	.long	0			/* argc, from where the anchor's variable points to */

	.section .note.GNU-stack, "", @progbits
