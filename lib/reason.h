/* reason.h - why a file was refused, skipped or left alone: one code, one file, one detail. */
#ifndef FP_REASON_H
#define FP_REASON_H

/* Every refusal the engine can give.  The names are stable: they appear in machine output
   and in the manual.  The one-line texts are in reason.c. */
enum fp_reason {
	FP_REASON_NONE = 0,
	FP_REASON_SYSTEM, /* a system call failed: see fp_why.error */
	FP_REASON_NO_MEMORY,
	FP_REASON_NOT_REGULAR, /* a directory, device, pipe, ... */
	FP_REASON_NOT_ELF,
	FP_REASON_TRUNCATED,   /* something lies behind the end of the file */
	FP_REASON_WRONG_CLASS, /* not a 64-bit little-endian object */
	FP_REASON_WRONG_MACHINE,
	FP_REASON_WRONG_TYPE,      /* neither an executable nor a shared object */
	FP_REASON_STATIC,          /* no dynamic section or no program interpreter */
	FP_REASON_OTHER_LIBC,      /* its program interpreter is not glibc's */
	FP_REASON_OLD_LIBC,        /* glibc before 2.36 */
	FP_REASON_MALFORMED,       /* a header or a table contradicts itself */
	FP_REASON_UNSUPPORTED,     /* valid, but of a kind that is not handled */
	FP_REASON_MISSING_LIBRARY, /* a dependency is not found */
	FP_REASON_MISSING_VERSION, /* a needed symbol version is not there */
	FP_REASON_NOT_EXECUTABLE,  /* a library was given where a program is needed */
	FP_REASON_NOT_LIBRARY,     /* a program was given where a library is needed */
	FP_REASON_FLOATS,          /* a library that must not get a fixed address */
	FP_REASON_AUDITED,         /* DT_AUDIT or DT_DEPAUDIT: the loader resolves otherwise */
	FP_REASON_SETUID,          /* runs in secure mode: never accelerated */
	FP_REASON_HARD_LINKED,     /* the file has other names */
	FP_REASON_IMMUTABLE,    /* immutable, append-only, under fs-verity, or signed (IMA, EVM) */
	FP_REASON_PAYLOAD,      /* data behind the ELF image that is not understood */
	FP_REASON_SELF_CHECKED, /* a file beside it holds its checksum */
	FP_REASON_LITTLE_GAIN,  /* too few relocations */
	FP_REASON_NO_ROOM,      /* no place for program headers or the stub */
	FP_REASON_NO_CARRIER,   /* the program loads neither a library with a stub nor libc.so.6 */
	FP_REASON_NO_ANCHOR, /* the carrier has no IRELATIVE relocation, or no slot that leads to the stack */
	FP_REASON_CARRIER_FAILED, /* a program did not run with the new carrier */
	FP_REASON_NOT_PRELINKED,  /* nothing to undo or verify */
	FP_REASON_MODIFIED, /* changed after it was prelinked, or what is left of a prelinked file */
	FP_REASON_NEWER_FORMAT,      /* written by a later fastprelink */
	FP_REASON_CHANGED,           /* replaced by someone else while it was being prelinked */
	FP_REASON_BAD_CONFIGURATION, /* a line of the configuration that is not understood */
	FP_REASON_EXCLUDED,          /* the configuration says that the file is not to be touched */
	FP_REASON_OBJECT_COUNT, /* what loads with a program are other files than its table lists, */
	FP_REASON_OBJECT_DIFFERS, /* one of them is another build, */
	FP_REASON_DISPLACED,      /* or will not be at its address */
	FP_REASON_TABLE_FORMAT,   /* a table of another release */
	FP_REASON_TABLE_DAMAGED,  /* its checksum does not match */
	FP_REASON_NO_STUB,        /* the carrier that a table names has no stub */
	FP_REASON_OTHER_STUB,     /* or that of another release */
	FP_REASON_NO_RUNTIME,     /* the stub would not find the runtime, or not take it */
	FP_REASON_BAD_CACHE,      /* a file that is to be read, or replaced, as a cache is none */
	FP_REASON_COUNT
};

enum { FP_WHY_FILE = 4096, FP_WHY_DETAIL = 240 };

/* A refusal: the code, errno for FP_REASON_SYSTEM (else 0), the file it is about and what exactly. */
struct fp_why {
	enum fp_reason reason;
	int error;
	char file[FP_WHY_FILE];
	char detail[FP_WHY_DETAIL];
};

/* Fills WHY (which may be null) and returns the negative errno that stands for REASON. */
int fp_why_set(struct fp_why *why, enum fp_reason reason, const char *file, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Fills WHY (which may be null) from ERROR, a positive errno; returns -ERROR. */
int fp_why_system(struct fp_why *why, int error, const char *file, const char *operation);

/* The stable identifier of REASON ("not-elf") and its text ("not an ELF file"). */
const char *fp_reason_id(enum fp_reason reason);
const char *fp_reason_text(enum fp_reason reason);

#endif
