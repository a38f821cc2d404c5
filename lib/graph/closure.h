/* closure.h - an executable, or a library, and everything ld.so loads with it at start, in ld.so's order. */
#ifndef FP_CLOSURE_H
#define FP_CLOSURE_H

#include "../elf/object.h"

/* Where and how libraries are searched: one per run, shared by all closures, so that every file is
   opened and checked once.  Threads may share it. */
struct fp_loader;

struct fp_loader_options {
	const char *root;         /* sysroot prefix, or null for "/" */
	const char *library_path; /* value of LD_LIBRARY_PATH to assume, or null */
	const char *preload;      /* value of LD_PRELOAD to assume, or null */
	/* Search the directories of the root's /etc/ld.so.conf when it has no ld.so.cache.  ld.so
	   never does: right only if ldconfig will be run in the root before its programs are. */
	bool use_ld_so_conf;
};

int fp_loader_new(const struct fp_loader_options *options, struct fp_loader **ret_loader,
		  struct fp_why *why);

/* Closes every object that was opened through LOADER; closures that refer to them are void after
   it. */
void fp_loader_free(struct fp_loader *loader);

/* Opens the file PATH (inside the root; symbolic links are followed as chroot would) once; later
   calls give the same object.  The object belongs to LOADER; its path is the real file's, root
   included. A relative PATH starts at the root, or, without a root, at the current directory. */
int fp_loader_open(struct fp_loader *loader, const char *path, struct fp_object **ret_object,
		   struct fp_why *why);

/* Forgets what was read from PATH, which has been replaced.  Closures that refer to the object it was stay valid until
   fp_loader_sweep. */
void fp_loader_forget(struct fp_loader *loader, const char *path);

/* Where PATH, absolute inside the root, leads to on the host when its symbolic links are followed; null: nowhere, or memory is out.  Valid as
   long as LOADER. */
const char *fp_loader_resolve(struct fp_loader *loader, const char *path);

/* A number for what the search depends on in this machine's processor. */
uint64_t fp_loader_machine(const struct fp_loader *loader);

/* Closes all objects that were forgotten: there must be no closure left that refers to one. */
void fp_loader_sweep(struct fp_loader *loader);

/* Gives the memory back that holds the contents of files; what is used again is read again. */
void fp_loader_trim(struct fp_loader *loader);

/* One object of a closure. */
struct fp_member {
	struct fp_object *object;
	const char *name; /* path inside the root: ld.so's l_name; of the program, its real path */
	const char *soname;     /* DT_SONAME, or the name it was asked for by */
	bool is_loader;         /* the program interpreter itself */
	unsigned *dependencies; /* indexes of its DT_NEEDED objects, in order, without repeats */
	size_t dependency_count;
	unsigned relocation_rank; /* 0 is relocated first; ranks are distinct */
};

/* What ld.so.cache gives for a name. */
struct fp_cache_answer {
	const char *name, *path; /* path: null where it gives none, or none that counts */
};

/* What a closure depends on besides the files of its members. */
struct fp_trace {
	/* Directories, inside the root, that were searched, existing or not: a file that appears in one, or goes from
	   it, may change the closure. */
	const char **directories;
	size_t directory_count;
	const char *cache_path; /* where ld.so.cache was asked; inside the root */
	struct fp_cache_answer *answers;
	size_t answer_count;
};

struct fp_closure {
	struct fp_member *members; /* in link-map order; [0] is the executable */
	size_t count;
	size_t loader_index; /* of the program interpreter */
	/* False: nothing needs the interpreter, and glibc before 2.41 then leaves it out of its
	   link map list.  Here it is the last member. */
	bool loader_listed;
	bool alone;           /* [0] is a library, not a program */
	unsigned glibc_minor; /* N when the interpreter is of glibc 2.N */
	uint64_t *reach;      /* a row of bits for each member: what it reaches */
	struct fp_trace trace;
	struct fp_arena arena;
};

/* What the ld.so.cache of the program interpreter INTERPRETER (inside the root) gives for NAME: *RET_PATH, valid as long as LOADER,
   is as in struct fp_cache_answer. */
int fp_loader_ask_cache(struct fp_loader *loader, const char *interpreter, const char *name,
			const char **ret_path, struct fp_why *why);

/* Follows DT_NEEDED from the program PATH (inside the root) breadth first by ld.so's rules
   (glibc elf/dl-deps.c, elf/dl-load.c) and fixes the order in which ld.so relocates
   (elf/dl-sort-maps.c).  Also checks that every needed version exists, as elf/dl-version.c does.
   On success *RET_CLOSURE is to be freed with fp_closure_free, before LOADER. */
int fp_closure_build(struct fp_loader *loader, const char *path, struct fp_closure **ret_closure,
		     struct fp_why *why);

/* As fp_closure_build for the library PATH, as if a program without search paths of its own opened it: [0] is the library.
   Preloaded libraries are left out.  The interpreter is the machine's usual one; where nothing needs it, it is the last member. */
int fp_closure_build_alone(struct fp_loader *loader, const char *path,
			   struct fp_closure **ret_closure, struct fp_why *why);

void fp_closure_free(struct fp_closure *closure);

/* True when FROM is TO or reaches it through dependencies. */
bool fp_closure_reaches(const struct fp_closure *closure, size_t from, size_t to);

#endif
