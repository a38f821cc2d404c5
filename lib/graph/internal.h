/* internal.h - shared by the files of lib/graph only. */
#ifndef FP_GRAPH_INTERNAL_H
#define FP_GRAPH_INTERNAL_H

#include <pthread.h>

#include "closure.h"
#include "ldcache.h"
#include "rootpath.h"
#include "strmap.h"

/* The strings that replace $ORIGIN, $LIB and $PLATFORM; origin is null where it is not known. */
struct fp_tokens {
	const char *origin, *lib, *platform;
};

/* TEXT with its tokens replaced; "" when one of them has no value.  Null: out of memory.
   *RET_FOUND, which may be null, tells whether there were any. */
char *fp_tokens_expand(const struct fp_tokens *tokens, struct fp_arena *arena, const char *text,
		       bool *ret_found);

/* A list of directories to search, each with a slash at its end. */
struct fp_dirs {
	const char **names;
	size_t count;
};

/* Splits TEXT at any of SEPARATORS, replaces tokens, leaves out repetitions and relative names. */
int fp_dirs_split(const char *text, const char *separators, const struct fp_tokens *tokens,
		  struct fp_arena *arena, struct fp_dirs *ret_dirs);

/* What is in the processor of this machine that matters to the search (hwcaps.c). */
struct fp_cpu {
	unsigned isa;         /* bit N: x86-64-vN+1, as GNU_PROPERTY_X86_ISA_1_* */
	bool avx512_1;        /* glibc 2.36's old subdirectory of that name */
	const char *platform; /* $PLATFORM */
};

struct fp_cpu fp_cpu_probe(void);

/* Subdirectories of every search directory, best first, each with a slash at its end; the last is
   "". */
int fp_cpu_subdirectories(const struct fp_cpu *cpu, unsigned glibc_minor, struct fp_arena *arena,
			  struct fp_dirs *ret_dirs);

/* A program interpreter, and what is built into it. */
struct fp_interpreter {
	struct fp_interpreter *next;
	struct fp_object *object;
	unsigned glibc_minor;       /* N of glibc 2.N */
	struct fp_dirs system_dirs; /* the default directories */
	const char *lib;            /* $LIB */
	const char *cache_path;     /* where ld.so.cache is */
	struct fp_dirs subdirectories;
	struct fp_ldcache *cache; /* null: there is none */
	struct fp_dirs conf_dirs; /* what ldconfig would look through, when there is no cache */
};

/* Reads what is built into OBJECT, which a program names as its interpreter, once. */
int fp_interpreter_get(struct fp_loader *loader, struct fp_object *object,
		       struct fp_interpreter **ret_interpreter, struct fp_why *why);

/* The directories that /etc/ld.so.conf lists. */
int fp_ldconf_read(struct fp_root *root, struct fp_arena *arena, struct fp_dirs *ret_dirs);

/* A file that was opened, or found to be for other machines. */
struct fp_file {
	struct fp_object *object;
	bool foreign;
	bool opening; /* by a thread that has let go of the lock meanwhile */
};

struct fp_loader {
	pthread_mutex_t lock;  /* of everything below that changes */
	pthread_cond_t opened; /* some file is no longer opening */
	struct fp_arena arena;
	struct fp_root root;
	char *library_path, *preload;
	bool use_ld_so_conf;
	struct fp_cpu cpu;
	struct fp_strmap files; /* of struct fp_file, by canonical path */
	uint32_t object_count; /* opened so far */
	struct fp_interpreter *interpreters;
	struct fp_retired
		*retired; /* objects that were forgotten, but closures may still refer to */
};

/* The lock of LOADER, held by who calls any of the functions of this header. */
void fp_loader_lock(struct fp_loader *loader);
void fp_loader_unlock(struct fp_loader *loader);

/* Opens PATH as the search does; lets go of the lock while a file is read.  Returns 0; a positive errno when the search goes on, with ENOENT
   for an object of another class or machine; or a negative errno when it ends there, with the
   reason in WHY. */
int fp_loader_try(struct fp_loader *loader, const char *path, struct fp_object **ret_object,
		  struct fp_why *why);

/* As fp_loader_open, with the lock held. */
int fp_loader_get(struct fp_loader *loader, const char *path, struct fp_object **ret_object,
		  struct fp_why *why);

/* A name that a node answers to. */
struct fp_name {
	struct fp_name *next;
	const char *text;
	uint32_t hash;
};

/* An object while the closure grows: what glibc keeps in its link map. */
struct fp_node {
	struct fp_object *object;
	const char *path;      /* l_name; of the program: its canonical path */
	struct fp_name *names; /* l_libname: the name it was first asked for, and later ones */
	struct fp_name *soname;
	bool soname_added;      /* soname is one of the names */
	struct fp_node *loader; /* what it was first loaded for; null: the program */
	const char *origin;     /* $ORIGIN */
	struct fp_dirs rpath;   /* searched for it and for what it loads */
	struct fp_dirs runpath; /* searched for it */
	bool has_dirs;          /* rpath and runpath are filled */
	bool listed;            /* in the breadth-first list */
	struct fp_node *
		*needed; /* one for each DT_NEEDED, in order; none for the program while sorting */
	size_t needed_count;
	size_t index; /* in the closure */
	bool visited;
};

/* A closure that grows. */
struct fp_search {
	struct fp_loader *loader;
	struct fp_interpreter *interpreter;
	struct fp_arena *arena; /* for everything that the closure keeps */
	struct fp_arena scratch;
	/* In the order in which they were loaded; [0] is the program, [1] is ld.so. */
	struct fp_node **nodes;
	size_t node_count, node_space;
	struct fp_node *
		*list; /* breadth first: glibc's search list and, at the end, its link map list */
	size_t list_count;
	struct fp_dirs library_path;
	bool alone; /* [0] is a library */
	struct fp_trace trace;
	size_t directory_space, answer_space;
};

/* Notes that DIRECTORY was searched, or that ld.so.cache gave PATH for NAME.  Returns 0 or -ENOMEM. */
int fp_trace_directory(struct fp_search *search, const char *directory);
int fp_trace_answer(struct fp_search *search, const char *name, const char *path);

/* What CACHE gives for NAME on this machine, or null. */
const char *fp_interpreter_ask(const struct fp_loader *loader,
			       const struct fp_interpreter *interpreter, const char *name);

/* A new node for OBJECT, which was found as PATH when FOR asked for NAME; null when memory is out.
   */
struct fp_node *fp_search_add(struct fp_search *search, struct fp_object *object, const char *path,
			      const char *name, struct fp_node *loader);

/* The node that answers to NAME in the first COUNT of NODES, or null. */
struct fp_node *fp_search_named(struct fp_node **nodes, size_t count, const char *name);

/* Finds and opens what REQUESTER needs as NAME, whose tokens are replaced. */
int fp_search_load(struct fp_search *search, struct fp_node *requester, const char *name,
		   struct fp_node **ret_node, struct fp_why *why);

/* Loads the objects that options and /etc/ld.so.preload ask for. */
int fp_search_preload(struct fp_search *search, struct fp_why *why);

/* The values of tokens in the strings of NODE. */
struct fp_tokens fp_search_tokens(const struct fp_search *search, const struct fp_node *node);

/* Checks that every version that the listed nodes need exists. */
int fp_versions_check(const struct fp_search *search, struct fp_why *why);

/* Fills ORDER, of list_count entries, with the nodes in the order in which they are relocated. */
int fp_order_relocations(struct fp_search *search, struct fp_node **order, struct fp_why *why);

#endif
