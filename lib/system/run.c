/* run.c - what a run of the engine has from its start to its end, and names inside the root and on the host. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../graph/rootpath.h"
#include "internal.h"

int fp_run_new(const struct fp_run_options *options, struct fp_run **ret_run, struct fp_why *why)
{
	struct fp_run *run = calloc(1, sizeof(*run));
	struct fp_loader_options loader = {
		.root = options->root,
		.library_path = options->library_path,
		.preload = options->preload,
		.use_ld_so_conf = options->use_ld_so_conf,
	};
	int error;

	if (!run)
		return fp_why_system(why, ENOMEM, "", "start");
	pthread_mutex_init(&run->large, NULL);
	run->options = *options;
	run->runtime = options->runtime ? options->runtime : FP_RUNTIME_PATH;
	if (options->root) {
		size_t length = strlen(options->root);

		while (length && options->root[length - 1] == '/')
			length--;
		run->root = length ? fp_arena_substring(&run->arena, options->root, length) : NULL;
	}
	loader.root = run->root;
	error = run->runtime[0] == '/' && strlen(run->runtime) < FP_WHY_FILE
			? fp_loader_new(&loader, &run->loader, why)
			: fp_why_set(why, FP_REASON_UNSUPPORTED, run->runtime,
				     "not an absolute path");
	if (error) {
		fp_run_free(run);
		return error;
	}
	*ret_run = run;
	return 0;
}

void fp_run_free(struct fp_run *run)
{
	if (!run)
		return;
	fp_placing_free(run->placing);
	fp_config_free(run->config);
	fp_loader_free(run->loader);
	fp_arena_free(&run->arena);
	pthread_mutex_destroy(&run->large);
	free(run);
}

int fp_run_configure(struct fp_run *run, struct fp_why *why)
{
	const struct fp_config_source source = { .root = run->root, .file = run->options.config };
	const struct fp_config_settings *settings;
	int error = run->config ? 0 : fp_config_read(&source, &run->config, why);

	for (; run->options.excluded && *run->options.excluded && !error; run->options.excluded++)
		error = fp_config_exclude(run->config, *run->options.excluded, why);
	if (error)
		return error;
	settings = fp_config_settings(run->config);
	if (run->options.placement == FP_PLACEMENT_CONFIGURED)
		run->options.placement = settings->placement;
	if (!run->options.carrier_chosen)
		run->options.no_carrier = settings->no_carrier;
	return 0;
}

const struct fp_carrier_result *fp_run_carrier(const struct fp_run *run)
{
	return &run->carrier;
}

const char *fp_run_inside(const struct fp_run *run, const char *path)
{
	const struct fp_root root = { .prefix = run->root ? run->root : "" };

	return fp_root_inside(&root, path);
}

const char *fp_run_on_host(struct fp_run *run, const char *path)
{
	const char *host = run->root ? run->root : path;

	/* Component by component: a link must not lead out of the root. */
	for (const char *end = path; run->root && *end && host;) {
		const char *start = end + strspn(end, "/");
		const char *inside;
		struct stat stat;

		end = start + strcspn(start, "/");
		inside = fp_arena_substring(&run->arena, path, (size_t)(end - path));
		host = inside ? fp_arena_format(&run->arena, "%s/%.*s", host, (int)(end - start),
						start)
			      : NULL;
		errno = host ? 0 : ENOMEM;
		if (host && lstat(host, &stat) == 0 && S_ISLNK(stat.st_mode)) {
			host = fp_loader_resolve(run->loader, inside);
			errno = host ? 0 : ELOOP;
		}
	}
	return host;
}
