/* run.h - one run of the engine over some programs: what the command, and anybody else, calls. */
#ifndef FP_RUN_H
#define FP_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../reason.h"
#include "../rewrite/digest.h"

enum fp_outcome {
	FP_OUTCOME_DONE,      /* written (or would be, in a dry run) */
	FP_OUTCOME_UNCHANGED, /* already as it should be */
};

/* Where libraries go. */
enum fp_placement {
	FP_PLACEMENT_CONFIGURED, /* as the configuration says */
	FP_PLACEMENT_DEFAULT,    /* fixed, but for those that an exposed program loads */
	FP_PLACEMENT_FIXED,      /* fixed wherever possible */
	FP_PLACEMENT_FLOATING,
};

/* What was decided and done about one library that the programs load. */
struct fp_library_result {
	const char *path; /* inside the root */
	enum fp_outcome outcome;
	bool skipped;                       /* it should have changed, but could not: see why */
	uint64_t base;                      /* 0: it floats */
	uint64_t original_size, added_size; /* bytes; of a file that was written now */
	struct fp_why why;                  /* why it floats */
};

typedef void fp_library_visit(const struct fp_library_result *result, void *context);

/* What a run is at. */
enum fp_phase {
	FP_PHASE_PLAN,      /* reading the programs and what they load */
	FP_PHASE_LIBRARIES, /* giving libraries their addresses */
	FP_PHASE_PROGRAMS,  /* binding and writing programs */
	FP_PHASE_VERIFY,    /* checking files */
};

/* DONE of TOTAL items of PHASE are done; FILE is the last of them. */
typedef void fp_progress_visit(enum fp_phase phase, size_t done, size_t total, const char *file,
			       void *context);

struct fp_run_options {
	const char *config; /* configuration file, inside the root; null: /etc/fastprelink.conf */
	char *const *excluded; /* patterns, as the directive -b, ended by null; null: none */
	const char *cache;     /* file of the host in which results are kept; null: the default */
	bool no_cache_update;
	const char *root;         /* sysroot, or null for "/" */
	const char *library_path; /* LD_LIBRARY_PATH to assume, or null */
	const char *preload;      /* LD_PRELOAD to assume, or null */
	bool use_ld_so_conf;      /* without ld.so.cache, assume the one ldconfig would make */
	const char *
		runtime; /* path of the runtime at start, inside the root; null: the built-in default */
	const char *
		runtime_source; /* file the runtime is installed from; null: the built-in default */
	const char *
		scan_root; /* below it fixed libraries of other programs are looked for; null: root */
	bool dry_run;      /* decide everything, write nothing */
	bool force;        /* also what gains little */
	bool no_carrier;   /* leave libc alone */
	bool carrier_chosen; /* whatever the configuration says of it */
	bool libs_only;      /* place the libraries of the programs, and do not write these */
	enum fp_placement placement;
	bool conserve_memory; /* libraries that no program of the run loads both of may share addresses */
	bool random;          /* every library gets a new address that depends on seed */
	uint64_t seed;
	unsigned threads; /* 0: as many as there are processors */
	const volatile sig_atomic_t
		*stop; /* null, or: when it is not 0 the run ends after what is being worked on */
	/* Called one at a time, each or null, with visit_context: once for each library, and as the run goes on. */
	fp_library_visit *on_library;
	fp_progress_visit *on_progress;
	void *visit_context;
};

/* What was found and done for one program; counts are over its whole closure. */
struct fp_program_result {
	enum fp_outcome outcome;
	size_t object_count;       /* loaded at start, program and ld.so included */
	uint64_t relocation_count; /* words that ld.so fills without us */
	uint64_t resolved_count;   /* of them: filled from the table */
	uint64_t relative_count;   /* of resolved_count: relative */
	uint64_t lazy_count;       /* PLT slots of objects that bind lazily */
	uint64_t saved_ns;         /* of each start, by estimate */
	uint64_t residual_count;   /* left to ld.so: TLS, COPY, IRELATIVE, unique symbols, ... */
	uint64_t left_objects;     /* objects left to ld.so altogether */
	uint64_t original_size, added_size; /* bytes of the program */
	bool accelerated;                   /* false: no carrier, so the tables are not used */
};

struct fp_carrier_result {
	enum fp_outcome outcome;
	char path[4096]; /* of the carrier, inside the root; empty: none was needed yet */
	uint64_t added_size;
};

struct fp_run;

int fp_run_new(const struct fp_run_options *options, struct fp_run **ret_run, struct fp_why *why);
void fp_run_free(struct fp_run *run);

/* What became of the program PATH: RESULT, or, where WHY has a reason, why it is as it was.  RESULT's counts are also filled for
   FP_REASON_LITTLE_GAIN.  What is not 0 ends the run. */
typedef int fp_program_visit(const char *path, const struct fp_program_result *result,
			     const struct fp_why *why, void *context);

/* What a run is about. */
struct fp_request {
	/* Programs, and directories of programs: host paths; inside the root when there is one, with or without the root's
	   prefix. */
	char *const *paths;
	size_t path_count;
	bool one_file_system, dereference; /* in directories of PATHS */
	bool paths_are_changes; /* PATHS are files that have changed, and what they affect is to be found */
	bool all;               /* the whole system: everything that the configuration covers */
};

/* Prelinks the programs of REQUEST in place.  The carrier and the runtime are installed first when they are not there; then the libraries
   of all the programs are placed; then the programs are written.  VISIT is called for each program, one at a time, in the order of
   PATHS.  One file's failure ends nothing.
   With ALL or PATHS_ARE_CHANGES only what has changed since the last such run, or is affected by it, is looked at; the rest is told of
   first, as unchanged, from the cache.  Libraries that the configuration does not cover stay as they are then.
   Returns 0; what VISIT returned; -EINTR when the run was stopped; or another negative errno, with the reason in WHY, when nothing
   could be decided. */
int fp_run_prelink(struct fp_run *run, const struct fp_request *request, fp_program_visit *visit,
		   void *context, struct fp_why *why);

/* What the cache knows of one file. */
struct fp_known {
	const char *
		path; /* inside the root; of libraries also the names under which ld.so finds them */
	bool is_program; /* otherwise a library */
	bool is_judged; /* false: a program that the next run looks at again, or a library that none loads that is prelinked */
	uint64_t base, room; /* of a fixed library, bytes; 0: it floats */
	struct fp_why why;   /* why the program is not prelinked, or the library floats */
};

/* Returns 0 to go on. */
typedef int fp_known_visit(const struct fp_known *known, void *context);

/* Calls VISIT for every program and library that the cache of RUN knows, in byte order of their paths, without a look at the files; stops
   when VISIT returns non-zero and returns that.  A cache that is missing or damaged is an error. */
int fp_run_each_known(struct fp_run *run, fp_known_visit *visit, void *context, struct fp_why *why);

/* What was done about the carrier and the runtime so far. */
const struct fp_carrier_result *fp_run_carrier(const struct fp_run *run);

/* Where a library was shifted to. */
struct fp_relocate_result {
	enum fp_outcome outcome;
	uint64_t base;
	uint64_t next; /* the first address behind it that another library may have */
	uint64_t original_size, added_size; /* bytes of the file */
};

/* Shifts the library PATH in place so that ld.so loads it at BASE where that is free.  A library that is prelinked
   already is shifted from its original. */
int fp_run_relocate(struct fp_run *run, const char *path, uint64_t base,
		    struct fp_relocate_result *result, struct fp_why *why);

/* What ld.so looks up for a relocation, and what it finds. */
struct fp_binding_result {
	const char *holder; /* the object that is relocated; inside the root, as ld.so names it */
	const char *symbol;
	const char *version;      /* asked for; null: none */
	const char *kind;         /* of the relocation: "word", "slot", "plt", "copy", ... */
	const char *provider;     /* the object whose definition it is; null: there is none */
	uint64_t value;           /* st_value of that definition; 0 without one */
	bool undefined;           /* there should be one */
	bool disputed;            /* glibc releases do not agree, or ld.so warns about it */
	bool is_ifunc, is_unique; /* the definition */
};

/* Returns 0 to go on. */
typedef int fp_binding_visit(const struct fp_binding_result *result, void *context);

/* Calls VISIT for everything that ld.so looks up for the program PATH and its libraries, when everything is bound at start, in that
   order.  Changes nothing.  Stops when VISIT returns non-zero and returns that. */
int fp_run_bindings(struct fp_run *run, const char *path, fp_binding_visit *visit, void *context,
		    struct fp_why *why);

/* Restores the original of PATH in place, or into the new file OUTPUT when that is not null (mode, owner and
   times are those of PATH). */
int fp_run_undo(struct fp_run *run, const char *path, const char *output, struct fp_why *why);

/* Calls VISIT for every prelinked file and carrier below the root's program and library directories and those that are configured, in a fixed
   order, and UNREADABLE with an errno for what could not be looked at; stops when one of them returns non-zero and returns that.  A bad
   configuration is none. */
int fp_run_each_prelinked(struct fp_run *run, int (*visit)(const char *path, void *context),
			  int (*unreadable)(const char *path, int error, void *context),
			  void *context);

/* Removes the installed runtime; call it when nothing is prelinked any more. */
int fp_run_remove_runtime(struct fp_run *run, struct fp_why *why);

/* What a file that was verified is. */
enum fp_verified {
	FP_VERIFIED_FILE, /* it could not be told */
	FP_VERIFIED_PROGRAM,
	FP_VERIFIED_LIBRARY,
	FP_VERIFIED_CARRIER,
};

struct fp_verify_result {
	enum fp_verified kind;
	bool prelinked;
	bool intact; /* of what is prelinked: it is what was written, and its original can be restored */
	bool accelerated; /* a program that starts so */
	/* There is a reason, and it is none to complain: a program that a run would leave as it is. */
	bool left_alone;
	unsigned decline; /* enum fp_decline, what the runtime would say at a start; 0: nothing */
};

/* What was found out about PATH: RESULT, and, where WHY has a reason, why it is not intact, or why a program does not start
   accelerated.  What is not 0 ends the run. */
typedef int fp_verify_visit(const char *path, const struct fp_verify_result *result,
			    const struct fp_why *why, void *context);

/* Verifies every prelinked file that fp_run_each_prelinked finds and then all other programs that the configuration covers.  Files must
   be intact: what was written, with an original that can be restored.  Programs must start accelerated, as far as files tell; those
   that are not prelinked are left alone when a run would not prelink them.  Nothing is run, nothing is changed.  VISIT is called for each,
   one at a time, in a fixed order.  Returns 0; what VISIT returned; -EINTR when the run was stopped; or another negative errno, with
   the reason in WHY. */
int fp_run_verify(struct fp_run *run, fp_verify_visit *visit, void *context, struct fp_why *why);

/* Which files count as their own original. */
enum fp_plain {
	FP_PLAIN_NONE, /* none: PATH must be prelinked */
	FP_PLAIN_SOUND, /* not prelinked, and not an ELF file that is cut off or contradicts itself */
	FP_PLAIN_ANY,   /* whatever shows no trace of having been prelinked */
};

/* Gives the original bytes of PATH (malloced) after checking that the file is intact. */
int fp_run_original(struct fp_run *run, const char *path, enum fp_plain plain,
		    unsigned char **ret_bytes, size_t *ret_size, struct fp_why *why);

#endif
