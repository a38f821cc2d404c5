/* main.c - the fastprelink command: hands each file to the engine and reports what became of it. */
#include "options.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_SKIPPED = 1, EXIT_FATAL = 2 };

/* Bytes that the allocator keeps for the next file, in a block and in each arena; 32 MiB is the most that it takes for a block. */
enum { KEPT_BLOCK = 32 << 20, KEPT_MEMORY = 32 << 20 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	interrupted = number;
}

/* The first interrupt ends the run after the file that is being worked on, so that no temporary file stays behind; the
   second one kills as usual. */
static void catch_interrupts(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = interrupt,
				    .sa_flags = SA_RESTART | SA_RESETHAND };
	struct sigaction old;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(numbers[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* A file that is opened must not become standard output: its content would be overwritten by messages.  What is put in
   the place of a closed descriptor fails as that would. */
static int fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return -1;
	return 0;
}

/* Each file takes and frees some images of it: memory that went back to the kernel in between would have to be cleared, and faulted
   in, again and again. */
static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK);
	mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
}

/* One file of a run; reports itself. */
typedef void file_action(struct fp_run *run, struct output *output, const char *file);

/* A fp_program_visit. */
static int say_prelinked(const char *file, const struct fp_program_result *result,
			 const struct fp_why *why, void *context)
{
	struct output *output = context;

	if (why->reason)
		output_skipped(output, file, why);
	else
		output_prelinked(output, file, result);
	return interrupted ? -EINTR : 0;
}

static void undo_file(struct fp_run *run, struct output *output, const char *file)
{
	const struct options *options = output->options;
	struct fp_why why = { 0 };
	unsigned char *bytes;
	size_t size;
	int error;

	if (options->run.dry_run) {
		error = fp_run_original(run, file, FP_PLAIN_NONE, &bytes, &size, &why);
		if (!error)
			free(bytes);
	} else {
		error = fp_run_undo(run, file, options->undo_output, &why);
	}
	if (error)
		output_skipped(output, file, &why);
	else
		output_restored(output, file);
}

/* One file is written out, as integrity tools expect, and then one that is not prelinked is its own original. */
static void verify_file(struct fp_run *run, struct output *output, const char *file)
{
	const struct options *options = output->options;
	bool content = options->file_count == 1 && !options->json;
	struct fp_why why = { 0 };
	unsigned char *bytes;
	size_t size;

	if (fp_run_original(run, file, content ? FP_PLAIN_SOUND : FP_PLAIN_NONE, &bytes, &size,
			    &why) != 0) {
		output_skipped(output, file, &why);
		return;
	}
	if (content)
		output_content(output, bytes, size);
	else
		output_intact(output, file);
	free(bytes);
}

static void digest_file(struct fp_run *run, struct output *output, const char *file)
{
	struct fp_why why = { 0 };
	char digest[FP_DIGEST_HEX];
	unsigned char *bytes;
	size_t size;

	if (fp_run_original(run, file, FP_PLAIN_ANY, &bytes, &size, &why) != 0) {
		output_skipped(output, file, &why);
		return;
	}
	fp_digest_hex(output->options->digest, bytes, size, digest);
	free(bytes);
	output_digest(output, file, digest);
}

struct binding_context {
	struct output *output;
	const char *file;
};

static int say_binding(const struct fp_binding_result *result, void *context)
{
	const struct binding_context *binding = context;

	output_binding(binding->output, binding->file, result);
	return interrupted || binding->output->failed ? -EINTR : 0;
}

static void bindings_file(struct fp_run *run, struct output *output, const char *file)
{
	struct binding_context context = { output, file };
	struct fp_why why = { 0 };

	if (fp_run_bindings(run, file, say_binding, &context, &why) != 0 && why.reason)
		output_skipped(output, file, &why);
}

static void each_file(struct fp_run *run, struct output *output, file_action *action,
		      char *const *files, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (interrupted) {
			output_interrupted(output, files[i], count - i);
			return;
		}
		output_progress(output, files[i]);
		action(run, output, files[i]);
	}
}

/* Libraries one behind the other; one that is skipped takes no room. */
static void relocate_files(struct fp_run *run, struct output *output, const struct options *options)
{
	uint64_t base = options->base;

	for (size_t i = 0; i < options->file_count; i++) {
		const char *file = options->files[i];
		struct fp_relocate_result result;
		struct fp_why why = { 0 };

		if (interrupted) {
			output_interrupted(output, file, options->file_count - i);
			return;
		}
		output_progress(output, file);
		if (fp_run_relocate(run, file, base, &result, &why) == 0) {
			output_shifted(output, file, &result);
			base = result.next;
		} else {
			output_skipped(output, file, &why);
		}
	}
}

struct file_list {
	char **files;
	size_t count, capacity;
};

static int collect(const char *path, void *context)
{
	struct file_list *list = context;

	if (interrupted)
		return -EINTR;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 256;
		char **files = reallocarray(list->files, capacity, sizeof(*files));

		if (!files)
			return -ENOMEM;
		list->files = files;
		list->capacity = capacity;
	}
	list->files[list->count] = strdup(path);
	if (!list->files[list->count])
		return -ENOMEM;
	list->count++;
	return 0;
}

/* Where the list of prelinked files goes, and what is said meanwhile. */
struct undo_walk {
	struct file_list list;
	struct output *output;
};

static int collect_prelinked(const char *path, void *context)
{
	struct undo_walk *walk = context;

	return collect(path, &walk->list);
}

static int say_unreadable(const char *path, int error, void *context)
{
	struct undo_walk *walk = context;
	struct fp_why why = { 0 };

	fp_why_system(&why, error, path, "read");
	output_skipped(walk->output, path, &why);
	return interrupted ? -EINTR : 0;
}

static void free_list(struct file_list *list)
{
	while (list->count)
		free(list->files[--list->count]);
	free(list->files);
}

/* Restores everything; with nothing prelinked left, the runtime goes too. */
static int undo_all(struct fp_run *run, struct output *output, const struct options *options)
{
	struct undo_walk walk = { .output = output };
	struct fp_why why = { 0 };
	int error = fp_run_each_prelinked(run, collect_prelinked, say_unreadable, &walk);

	if (!error) {
		output->file_total = walk.list.count;
		each_file(run, output, undo_file, walk.list.files, walk.list.count);
		if (!output->tally.skipped && !interrupted && !options->run.dry_run &&
		    fp_run_remove_runtime(run, &why) != 0)
			output_skipped(output, why.file, &why);
	} else if (error != -EINTR) {
		fp_why_system(&why, -error, NULL, "find prelinked files");
		output_fatal(output, &why);
	}
	free_list(&walk.list);
	return error;
}

/* Splits the names in TEXT, which is changed and must stay as long as LIST: they end with null bytes if there are any, else with
   newlines.  -ENOMEM or 0. */
static int split_names(char *text, size_t size, struct file_list *list)
{
	char end = memchr(text, '\0', size) ? '\0' : '\n';
	int error = 0;

	for (char *at = text, *stop; at < text + size && !error; at = stop + 1) {
		stop = memchr(at, end, (size_t)(text + size - at));
		if (!stop)
			stop = text + size;
		*stop = '\0';
		if (*at)
			error = collect(at, list);
	}
	return error;
}

/* Reads the names in the file NAME; "-" is standard input. */
static int read_names(const char *name, struct file_list *list)
{
	FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	char *text = NULL;
	size_t size = 0, space = 0, got;
	int error = file ? 0 : -errno, read_errno = 0;

	do {
		char *larger;

		if (!error && space - size < 4096) {
			space = space ? space * 2 : 65536;
			larger = realloc(text, space + 1);
			if (larger)
				text = larger;
			else
				error = -ENOMEM;
		}
		errno = 0;
		got = error ? 0 : fread(text + size, 1, space - size, file);
		read_errno = errno;
		size += got;
	} while (got);
	if (!error && ferror(file))
		error = read_errno ? -read_errno : -EIO;
	if (!error)
		error = split_names(text, size, list);
	free(text);
	if (file && file != stdin)
		fclose(file);
	return error;
}

static int prelink_all(struct fp_run *run, struct output *output, const struct options *options)
{
	struct fp_request request = { .paths = options->files,
				      .path_count = options->file_count,
				      .one_file_system = options->one_file_system,
				      .dereference = options->dereference,
				      .paths_are_changes = options->files_from != NULL,
				      .all = options->all };
	struct file_list list = { 0 };
	struct fp_why why = { 0 };
	size_t told;
	int error = options->files_from ? read_names(options->files_from, &list) : 0;

	if (error) {
		fp_why_system(&why, -error, options->files_from, "read");
	} else {
		for (size_t i = 0; i < options->file_count && list.files && !error; i++)
			error = collect(options->files[i], &list);
		if (list.files) {
			request.paths = list.files;
			request.path_count = list.count;
		}
		error = fp_run_prelink(run, &request, say_prelinked, output, &why);
	}
	told = output->tally.done + output->tally.unchanged + output->tally.skipped;
	if (error == -EINTR && told < options->file_count)
		output_interrupted(output, options->files[told], options->file_count - told);
	else if (error == -EINTR)
		output_stopped(output);
	else if (error)
		output_fatal(output, &why);
	free_list(&list);
	return error == -EINTR ? 0 : error;
}

static int verify_all(struct fp_run *run, struct output *output)
{
	struct fp_why why = { 0 };
	int error = output_verify_start(output);

	if (error)
		return error;
	error = fp_run_verify(run, output_verified, output, &why);
	if (!error)
		return output_verify_end(output);
	if (error != -EINTR)
		output_fatal(output, &why);
	else if (!output->failed)
		output_stopped(output);
	return error;
}

/* A fp_known_visit. */
static int say_known(const struct fp_known *known, void *context)
{
	struct output *output = context;

	output_known(output, known);
	return interrupted || output->failed ? -EINTR : 0;
}

static int print_cache(struct fp_run *run, struct output *output)
{
	struct fp_why why = { 0 };
	int error = fp_run_each_known(run, say_known, output, &why);

	if (error && error != -EINTR)
		output_fatal(output, &why);
	return error == -EINTR ? 0 : error;
}

static int run_action(struct fp_run *run, struct output *output, const struct options *options)
{
	static file_action *const actions[] = {
		[ACTION_UNDO] = undo_file,
		[ACTION_VERIFY] = verify_file,
		[ACTION_DIGEST] = digest_file,
		[ACTION_BINDINGS] = bindings_file,
	};
	int error = 0;

	if (options->all && options->action == ACTION_UNDO)
		error = undo_all(run, output, options);
	else if (options->all && options->action == ACTION_VERIFY)
		error = verify_all(run, output);
	else if (options->action == ACTION_PRELINK)
		error = prelink_all(run, output, options);
	else if (options->action == ACTION_CACHE)
		error = print_cache(run, output);
	else if (options->action == ACTION_RELOCATE)
		relocate_files(run, output, options);
	else
		each_file(run, output, actions[options->action], options->files,
			  options->file_count);
	if (options->action == ACTION_PRELINK && !error)
		output_summary(output, fp_run_carrier(run));
	else if (options->action == ACTION_RELOCATE ||
		 (options->action == ACTION_UNDO && !options->undo_output && !error))
		output_summary(output, NULL);
	return error;
}

static int run_command(struct output *output, const struct options *options)
{
	struct fp_why why = { 0 };
	struct fp_run *run;
	struct fp_run_options run_options = options->run;
	int error;

	run_options.on_library = output_library;
	run_options.on_progress = output_phase;
	run_options.visit_context = output;
	run_options.stop = &interrupted;
	error = fp_run_new(&run_options, &run, &why);

	if (error) {
		output_fatal(output, &why);
		return EXIT_FATAL;
	}
	error = run_action(run, output, options);
	fp_run_free(run);
	return error ? EXIT_FATAL : !output_is_complete(output) ? EXIT_SKIPPED : EXIT_DONE;
}

int main(int argc, char **argv)
{
	struct options options;
	struct output output;
	int status = EXIT_FATAL;

	if (fill_standard_descriptors() != 0)
		return EXIT_FATAL;
	catch_interrupts();
	keep_memory();
	switch (options_parse(argc, (const char **)argv, &options)) {
	case OPTIONS_RUN:
		output_start(&output, &options, options.file_count);
		status = run_command(&output, &options);
		if (output_end(&output) != 0)
			status = EXIT_FATAL;
		break;
	case OPTIONS_DONE:
		output_start(&output, &options, 0);
		status = output_end(&output) == 0 ? EXIT_DONE : EXIT_FATAL;
		break;
	case OPTIONS_WRONG:
		break;
	}
	options_free(&options);
	if (interrupted)
		raise(interrupted);
	return status;
}
