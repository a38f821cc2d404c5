/* parallel.c - the same work for many items, on all processors, with results in order. */
#include "parallel.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

enum { MAX_THREADS = 64 };

struct crew {
	const struct fp_parallel *job;
	size_t count;
	pthread_mutex_t lock; /* of what follows */
	size_t next;          /* to be started */
	size_t finished;      /* all before it are */
	bool *done;
	int result;
};

static unsigned thread_count(const struct fp_parallel *job, size_t count)
{
	unsigned threads = job->threads;
	cpu_set_t set;

	if (!threads)
		threads = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set)
								       : 1;
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	return threads > count ? (unsigned)count : threads;
}

/* Takes the next item; false at the end. */
static bool take(struct crew *crew, size_t *ret_index)
{
	if (crew->job->stop && *crew->job->stop && !crew->result && crew->next < crew->count)
		crew->result = -EINTR;
	if (crew->result || crew->next == crew->count)
		return false;
	*ret_index = crew->next++;
	return true;
}

/* Item INDEX is done: finishes it, and those behind it that waited for it. */
static void finish(struct crew *crew, size_t index)
{
	crew->done[index] = true;
	for (; crew->finished < crew->next && crew->done[crew->finished]; crew->finished++)
		if (crew->job->finish && (!crew->result || crew->result == -EINTR)) {
			int result = crew->job->finish(crew->finished, crew->job->context);

			crew->result = result ? result : crew->result;
		}
}

static void *run(void *argument)
{
	struct crew *crew = argument;
	size_t index;

	pthread_mutex_lock(&crew->lock);
	while (take(crew, &index)) {
		pthread_mutex_unlock(&crew->lock);
		crew->job->work(index, crew->job->context);
		pthread_mutex_lock(&crew->lock);
		finish(crew, index);
	}
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

int fp_parallel_run(const struct fp_parallel *job, size_t count)
{
	struct crew crew = { .job = job, .count = count, .done = calloc(count + 1, sizeof(bool)) };
	unsigned threads = thread_count(job, count), started = 0;
	pthread_t others[MAX_THREADS];

	if (!crew.done)
		return -ENOMEM;
	pthread_mutex_init(&crew.lock, NULL);
	/* This thread works too; where no other can be made it does all. */
	while (started + 1 < threads && pthread_create(&others[started], NULL, run, &crew) == 0)
		started++;
	run(&crew);
	while (started)
		pthread_join(others[--started], NULL);
	pthread_mutex_destroy(&crew.lock);
	free(crew.done);
	return crew.result;
}
