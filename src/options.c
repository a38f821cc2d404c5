/* options.c - parses the command line and refuses what does not go together. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <popt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* What popt stores while it parses. */
struct raw {
	int dry_run, force, undo, all, verify, verbose, json, version, help, usage, ld_so_conf;
	int md5, sha, sha256, bindings;
	int fixed, aslr, random, conserve_memory;
	int dereference, one_file_system, libs_only, quick, no_update_cache, print_cache, errors,
		init;
	char *root, *undo_output, *carrier, *runtime, *runtime_source, *library_path, *preload;
	char *base, *seed, *scan_root;
	char *config_file, *cache_file, *files_from, *junit;
	char **excluded;
};

static enum options_result wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static enum options_result wrong(const char *format, ...)
{
	va_list arguments;

	fputs("fastprelink: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("; see fastprelink --help\n", stderr);
	return OPTIONS_WRONG;
}

struct given {
	int value;
	const char *name;
};

/* The name of the first option of LIST that was given, or null. */
static const char *first_given(const struct given *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].value)
			return list[i].name;
	return NULL;
}

/* --bindings only reads, and says all that it finds. */
static enum options_result check_bindings(const struct raw *raw)
{
	const struct given others[] = {
		{ raw->undo, "--undo" },
		{ raw->verify, "--verify" },
		{ raw->md5, "--md5" },
		{ raw->sha, "--sha" },
		{ raw->sha256, "--sha256" },
		{ raw->base != NULL, "--reloc-only" },
		{ raw->aslr, "--aslr" },
		{ raw->fixed, "--fixed" },
		{ raw->random, "--random" },
		{ raw->conserve_memory, "--conserve-memory" },
		{ raw->dry_run, "--dry-run" },
		{ raw->force, "--force" },
		{ raw->carrier != NULL, "--carrier" },
		{ raw->all, "--all" },
	};
	const char *other = first_given(others, sizeof(others) / sizeof(others[0]));

	if (raw->bindings && other)
		return wrong("--bindings and %s do not go together", other);
	return OPTIONS_RUN;
}

/* Options about what is selected and remembered, where nothing is. */
static enum options_result check_selection(const struct raw *raw, const char *reading)
{
	/* What a verification of the system heeds as well. */
	const struct given covering[] = {
		{ raw->excluded != NULL, "--black-list" },
		{ raw->config_file != NULL, "--config-file" },
		{ raw->all && !raw->undo, "--all" },
	};
	const struct given selecting[] = {
		{ raw->quick, "--quick" },
		{ raw->libs_only, "--libs-only" },
		{ raw->dereference, "--dereference" },
		{ raw->one_file_system, "--one-file-system" },
		{ raw->files_from != NULL, "--files-from" },
		{ raw->no_update_cache, "--no-update-cache" },
		{ raw->print_cache, "--print-cache" },
		{ raw->cache_file != NULL, "--cache-file" },
	};
	const char *other = raw->undo       ? "--undo"
			    : reading       ? reading
			    : raw->base     ? "--reloc-only"
			    : raw->bindings ? "--bindings"
					    : NULL;
	const char *selected = first_given(selecting, sizeof(selecting) / sizeof(selecting[0]));

	if (!selected && !(raw->verify && raw->all))
		selected = first_given(covering, sizeof(covering) / sizeof(covering[0]));
	if (selected && other)
		return wrong("%s and %s do not go together", selected, other);
	return OPTIONS_RUN;
}

static enum options_result check_names(const struct raw *raw, char *const *files, size_t count)
{
	const struct given names[] = {
		{ raw->config_file && !*raw->config_file, "--config-file" },
		{ raw->cache_file && !*raw->cache_file, "--cache-file" },
		{ raw->files_from && !*raw->files_from, "--files-from" },
		{ raw->junit && !*raw->junit, "--junit" },
		{ raw->undo_output && !*raw->undo_output, "--undo-output" },
	};
	const char *empty = first_given(names, sizeof(names) / sizeof(names[0]));

	for (size_t i = 0; i < count && !empty; i++)
		if (!*files[i])
			return wrong("a file's name is empty");
	return empty ? wrong("%s needs the name of a file", empty) : OPTIONS_RUN;
}

/* What does not go together; the same pairs as in classic prelink where it has the options. */
static enum options_result check_combinations(const struct raw *raw, size_t file_count)
{
	const struct given digests[] = {
		{ raw->md5, "--md5" },
		{ raw->sha, "--sha" },
		{ raw->sha256, "--sha256" },
	};
	const struct given placements[] = {
		{ raw->aslr, "--aslr" },
		{ raw->fixed, "--fixed" },
		{ raw->random, "--random" },
		{ raw->seed != NULL, "--seed" },
		{ raw->conserve_memory, "--conserve-memory" },
	};
	const char *digest = first_given(digests, 3);
	const char *reading = raw->verify ? "--verify" : digest, *placing;
	enum options_result result;

	if (raw->md5 + raw->sha + raw->sha256 > 1)
		return wrong("only one of --md5, --sha and --sha256 can be given");
	if (reading && raw->undo)
		return wrong("--undo and %s do not go together", reading);
	if (raw->base && (raw->undo || reading))
		return wrong("--reloc-only and %s do not go together",
			     raw->undo ? "--undo" : reading);
	if (raw->base && raw->all)
		return wrong("--reloc-only and --all do not go together");
	if (digest && raw->all)
		return wrong("--all and %s do not go together", digest);
	if (raw->junit && (!raw->verify || !raw->all))
		return wrong("--junit needs --verify --all");
	if (reading && raw->dry_run)
		return wrong("--dry-run and %s do not go together", reading);
	placing = first_given(placements, 5);
	if (placing && (raw->undo || reading || raw->base))
		return wrong("%s and %s do not go together", placing,
			     raw->undo ? "--undo"
			     : reading ? reading
				       : "--reloc-only");
	if (raw->aslr && first_given(placements + 1, 4))
		return wrong("--aslr and %s do not go together", first_given(placements + 1, 4));
	if (raw->seed && !raw->random)
		return wrong("--seed needs --random");
	if (raw->undo_output && !raw->undo)
		return wrong("--undo-output needs --undo");
	if (raw->undo_output && raw->all)
		return wrong("--undo-output and --all do not go together");
	if (raw->undo_output && file_count != 1)
		return wrong("--undo-output needs exactly one file");
	if (raw->all && (file_count || raw->files_from))
		return wrong("--all takes no files");
	if (raw->print_cache && (file_count || raw->files_from || raw->all))
		return wrong("--print-cache takes no files");
	if (!raw->all && !file_count && !raw->files_from && !raw->print_cache)
		return wrong("no files given");
	if (raw->carrier && strcmp(raw->carrier, "auto") != 0 && strcmp(raw->carrier, "no") != 0)
		return wrong("--carrier is \"auto\" or \"no\", not \"%s\"", raw->carrier);
	if (raw->runtime && raw->runtime[0] != '/')
		return wrong("--runtime needs an absolute path, not \"%s\"", raw->runtime);
	result = check_selection(raw, reading);
	return result == OPTIONS_RUN ? check_bindings(raw) : result;
}

/* Reads TEXT, a decimal number or, with 0x in front, a hexadecimal one; false when it is anything else. */
static bool read_address(const char *text, uint64_t *ret_address)
{
	bool hexadecimal = text[0] == '0' && (text[1] | 0x20) == 'x';
	char *end;

	if (!isdigit((unsigned char)*text) || (hexadecimal && !isxdigit((unsigned char)text[2])))
		return false;
	errno = 0;
	*ret_address = strtoull(text, &end, hexadecimal ? 16 : 10);
	return errno == 0 && !*end;
}

/* TEXT, or null when it is empty. */
static const char *non_empty(const char *text)
{
	return text && *text ? text : NULL;
}

static void take_strings(struct options *options, const struct raw *raw)
{
	char *const strings[OPTIONS_STRINGS] = {
		raw->root,           raw->undo_output,  raw->carrier,     raw->runtime,
		raw->runtime_source, raw->library_path, raw->preload,     raw->base,
		raw->seed,           raw->scan_root,    raw->config_file, raw->cache_file,
		raw->files_from,     raw->junit,
	};

	memcpy(options->strings, strings, sizeof(strings));
	options->excluded = raw->excluded;
}

static void fill(struct options *options, const struct raw *raw)
{
	bool digest = raw->md5 || raw->sha || raw->sha256;

	options->action = raw->base          ? ACTION_RELOCATE
			  : raw->undo        ? ACTION_UNDO
			  : digest           ? ACTION_DIGEST
			  : raw->verify      ? ACTION_VERIFY
			  : raw->bindings    ? ACTION_BINDINGS
			  : raw->print_cache ? ACTION_CACHE
					     : ACTION_PRELINK;
	options->digest = raw->md5 ? FP_DIGEST_MD5 : raw->sha ? FP_DIGEST_SHA1 : FP_DIGEST_SHA256;
	options->all = raw->all;
	options->verbose = raw->verbose;
	options->json = raw->json;
	options->undo_output = raw->undo_output;
	options->junit = raw->junit;
	options->dereference = raw->dereference;
	options->one_file_system = raw->one_file_system;
	options->files_from = raw->files_from;
	options->run.config = raw->config_file;
	options->run.cache = raw->cache_file;
	options->run.no_cache_update = raw->no_update_cache;
	options->run.libs_only = raw->libs_only;
	options->run.excluded = raw->excluded;
	options->run.root = non_empty(raw->root);
	options->run.preload = non_empty(raw->preload);
	options->run.scan_root = non_empty(raw->scan_root);
	options->run.use_ld_so_conf = raw->ld_so_conf;
	options->run.runtime = raw->runtime;
	options->run.dry_run = raw->dry_run;
	options->run.force = raw->force;
	options->run.placement = raw->aslr    ? FP_PLACEMENT_FLOATING
				 : raw->fixed ? FP_PLACEMENT_FIXED
					      : FP_PLACEMENT_CONFIGURED;
	options->run.random = raw->random;
	options->run.conserve_memory = raw->conserve_memory;
	options->run.carrier_chosen = raw->carrier != NULL;
	options->run.no_carrier = raw->carrier && strcmp(raw->carrier, "no") == 0;
	/* As in classic prelink the search path defaults to the loader's; that of this system says
	   nothing about another root. */
	options->run.library_path = non_empty(raw->library_path    ? raw->library_path
					      : !options->run.root ? getenv("LD_LIBRARY_PATH")
								   : NULL);
	options->run.runtime_source = raw->runtime_source
					      ? raw->runtime_source
					      : non_empty(getenv("FASTPRELINK_RUNTIME_SOURCE"));
}

/* Copies the file names, which belong to CONTEXT; false when memory is out. */
static bool read_files(poptContext context, struct options *options)
{
	const char **files = poptGetArgs(context);
	size_t count = 0;

	while (files && files[count])
		count++;
	options->files = calloc(count + 1, sizeof(*options->files));
	for (; options->files && options->file_count < count; options->file_count++) {
		options->files[options->file_count] = strdup(files[options->file_count]);
		if (!options->files[options->file_count])
			return false;
	}
	return options->files != NULL;
}

static void free_context(poptContext *context)
{
	poptFreeContext(*context);
}

enum options_result options_parse(int argc, const char **argv, struct options *ret_options)
{
	struct raw raw = { 0 };
	/* What the help does not show is for few; the manual has all. */
	const struct poptOption what[] = {
		{ "all", 'a', POPT_ARG_NONE, &raw.all, 0, "the whole system; also with -u and -y",
		  NULL },
		{ "undo", 'u', POPT_ARG_NONE, &raw.undo, 0, "restore the exact originals", NULL },
		{ "undo-output", 'o', POPT_ARG_STRING, &raw.undo_output, 0,
		  "with -u FILE: write its original to OUT", "OUT" },
		{ "verify", 'y', POPT_ARG_NONE, &raw.verify, 0,
		  "check; one FILE: write its original to stdout", NULL },
		{ "sha256", 0, POPT_ARG_NONE, &raw.sha256, 0,
		  "print the original's digest (--sha, --md5)", NULL },
		{ "sha", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.sha, 0,
		  "check; print the original's SHA-1 digest", NULL },
		{ "md5", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.md5, 0,
		  "check; print the original's MD5 digest", NULL },
		{ "bindings", 0, POPT_ARG_NONE, &raw.bindings, 0,
		  "only list what the symbols bind to", NULL },
		{ "reloc-only", 'r', POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &raw.base, 0,
		  "only shift libraries to addresses from ADDR on", "ADDR" },
		{ "print-cache", 'p', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.print_cache, 0,
		  "only print the cache", NULL },
		POPT_TABLEEND
	};
	const struct poptOption how[] = {
		{ "dry-run", 'n', POPT_ARG_NONE, &raw.dry_run, 0,
		  "say what would be done, change nothing", NULL },
		{ "force", 'f', POPT_ARG_NONE, &raw.force, 0, "also what has too little to gain",
		  NULL },
		{ "aslr", 0, POPT_ARG_NONE, &raw.aslr, 0,
		  "let all libraries float, at random addresses", NULL },
		{ "fixed", 0, POPT_ARG_NONE, &raw.fixed, 0, "fix all libraries that can be fixed",
		  NULL },
		{ "random", 'R', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.random, 0,
		  "new fixed addresses, chosen at random", NULL },
		{ "seed", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &raw.seed, 0,
		  "with -R: choose as the run with this seed", "N" },
		{ "conserve-memory", 'm', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN,
		  &raw.conserve_memory, 0, "one address for libraries that never meet", NULL },
		{ "carrier", 0, POPT_ARG_STRING, &raw.carrier, 0,
		  "no: leave libc alone (default: auto)", "auto|no" },
		{ "runtime", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &raw.runtime, 0,
		  "where programs find the runtime at start", "PATH" },
		{ "runtime-source", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN,
		  &raw.runtime_source, 0, "install the runtime from FILE", "FILE" },
		{ "scan-root", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &raw.scan_root, 0,
		  "look for other fixed libraries below DIR", "DIR" },
		/* Classic prelink's, for what is done anyway. */
		{ "errors", 'e', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.errors, 0, "",
		  NULL },
		{ "init", 'i', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.init, 0, "", NULL },
		POPT_TABLEEND
	};
	const struct poptOption which[] = {
		{ "root", 0, POPT_ARG_STRING, &raw.root, 0, "work on the system inside DIR",
		  "DIR" },
		{ "config-file", 'c', POPT_ARG_STRING, &raw.config_file, 0,
		  "instead of /etc/fastprelink.conf", "CONF" },
		{ "black-list", 'b', POPT_ARG_ARGV, &raw.excluded, 0,
		  "leave files and directories alone", "PATTERN" },
		{ "files-from", 0, POPT_ARG_STRING, &raw.files_from, 0,
		  "names of files that have changed; -: stdin", "FILE" },
		{ "dereference", 'h', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.dereference, 0,
		  "follow symbolic links in directories", NULL },
		{ "one-file-system", 'l', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN,
		  &raw.one_file_system, 0, "stay on a directory's file system", NULL },
		{ "libs-only", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.libs_only, 0,
		  "only libraries", NULL },
		{ "quick", 'q', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.quick, 0,
		  "trust the times in the cache", NULL },
		{ "no-update-cache", 'N', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN,
		  &raw.no_update_cache, 0, "do not write the cache", NULL },
		{ "cache-file", 'C', POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &raw.cache_file, 0,
		  "where results are kept", "CACHE" },
		{ "ld-library-path", 0, POPT_ARG_STRING, &raw.library_path, 0,
		  "assume it at start (--ld-preload likewise)", "PATHS" },
		{ "ld-preload", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &raw.preload, 0,
		  "assume this LD_PRELOAD at start", "PATHS" },
		{ "ld-so-conf", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.ld_so_conf, 0,
		  "without ld.so.cache, go by ld.so.conf", NULL },
		POPT_TABLEEND
	};
	const struct poptOption said[] = {
		{ "verbose", 'v', POPT_ARG_NONE, &raw.verbose, 0, "a line for every file", NULL },
		{ "json", 0, POPT_ARG_NONE, &raw.json, 0, "a JSON object for every file", NULL },
		{ "junit", 0, POPT_ARG_STRING, &raw.junit, 0,
		  "with -y -a: also write a JUnit report", "FILE" },
		{ "version", 'V', POPT_ARG_NONE, &raw.version, 0, "print the version", NULL },
		{ "help", '?', POPT_ARG_NONE, &raw.help, 0, "print this help", NULL },
		{ "usage", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &raw.usage, 0,
		  "print a short form of it", NULL },
		POPT_TABLEEND
	};
	const struct poptOption table[] = {
		{ NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)what, 0,
		  "What to do, instead of prelinking each PROGRAM:", NULL },
		{ NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)how, 0, "How to prelink:", NULL },
		{ NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)which, 0, "Where:", NULL },
		{ NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)said, 0, "What is said:", NULL },
		POPT_TABLEEND
	};
	__attribute__((cleanup(free_context))) poptContext context =
		poptGetContext("fastprelink", argc, argv, table, 0);
	struct options *options = ret_options;
	enum options_result result;
	int error;

	*options = (struct options){ 0 };
	if (!context)
		return wrong("out of memory");
	poptSetOtherOptionHelp(context, "[OPTION...] PROGRAM...");
	error = poptGetNextOpt(context);
	take_strings(options, &raw);
	if (error < -1)
		return wrong("%s: %s", poptBadOption(context, POPT_BADOPTION_NOALIAS),
			     poptStrerror(error));
	if (raw.help)
		poptPrintHelp(context, stdout, 0);
	else if (raw.usage)
		poptPrintUsage(context, stdout, 0);
	else if (raw.version)
		puts("fastprelink " PACKAGE_VERSION);
	if (raw.help || raw.usage || raw.version)
		return OPTIONS_DONE;
	if (!read_files(context, options))
		return wrong("out of memory");
	if (raw.base && !read_address(raw.base, &options->base))
		return wrong("--reloc-only needs an address, not \"%s\"", raw.base);
	if (raw.seed ? !read_address(raw.seed, &options->run.seed)
		     : raw.random && getrandom(&options->run.seed, 4, 0) != 4)
		return wrong("--seed needs a number, not \"%s\"", raw.seed ? raw.seed : "");
	result = check_names(&raw, options->files, options->file_count);
	if (result == OPTIONS_RUN)
		result = check_combinations(&raw, options->file_count);
	if (result == OPTIONS_RUN)
		fill(options, &raw);
	return result;
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < OPTIONS_STRINGS; i++)
		free(options->strings[i]);
	for (size_t i = 0; options->excluded && options->excluded[i]; i++)
		free(options->excluded[i]);
	free(options->excluded);
	while (options->file_count)
		free(options->files[--options->file_count]);
	free(options->files);
}
