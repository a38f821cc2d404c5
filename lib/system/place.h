/* place.h - which libraries of a run get a fixed address, and which one. */
#ifndef FP_PLACE_H
#define FP_PLACE_H

#include "../graph/closure.h"
#include "guard.h"
#include "run.h"

/* One library that the programs of the run load. */
struct fp_placed {
	const char *name;         /* path inside the root, as ld.so found it */
	const char *path;         /* real path on the host */
	size_t index;             /* in the order in which they were added */
	struct fp_object *object; /* as it is until the placement is decided */
	fp_addr base;             /* the address it is to have; 0: it floats */
	uint64_t room;            /* as fp_shift_room */
	struct fp_why why;        /* why it floats */
	bool locked;              /* the file stays as it is */
	bool guarded;             /* it floats because of an exposed program */
	bool is_left;             /* it was fixed for a program that does not load it any more */
	bool wanted;              /* a program that is prelinked loads it, or it is left */
	bool stale;               /* one that is not current does: the file must be looked at */
	struct stat stat;         /* of the file, once it was looked at */
	uint64_t *programs;       /* with conserve_memory: a bit for each program that loads it */
};

struct fp_placing;
struct fp_run;

/* For a batch of at most PROGRAM_COUNT programs of RUN, which is configured. */
int fp_placing_new(const struct fp_run *run, size_t program_count, struct fp_placing **ret_placing,
		   struct fp_why *why);
void fp_placing_free(struct fp_placing *placing);

/* Adds the libraries of a program that will be prelinked; CARRIER is the member that has or gets the stub.  The order of
   the calls is the order in which libraries that have no address yet get one. */
int fp_placing_add(struct fp_placing *placing, const struct fp_closure *closure, size_t carrier,
		   struct fp_why *why);

/* Adds the libraries of a program that will not be prelinked which are fixed all the same, so that they follow the rules too.  Returns 0
   or -ENOMEM. */
int fp_placing_add_fixed(struct fp_placing *placing, const struct fp_closure *closure);

/* Whatever else is fixed in the system is known: for each of these libraries fp_placing_occupy is called, so nobody needs to look for
   them; and GUARD, which stays the caller's, knows the exposed programs. */
void fp_placing_know(struct fp_placing *placing, const struct fp_guard *guard);

/* The library HOST (a real path on the host) has ROOM bytes from BASE on; one that was added itself does not count.  Returns 0 or -ENOMEM. */
int fp_placing_occupy(struct fp_placing *placing, const char *host, fp_addr base, uint64_t room);

/* Only libraries that the configuration covers may be changed. */
void fp_placing_cover(struct fp_placing *placing);

/* Whether the file of OBJECT may be changed: as far as the configuration (FP_REASON_EXCLUDED) and the file itself tell. */
int fp_placing_changeable(const struct fp_placing *placing, const struct fp_object *object,
			  struct fp_why *why);

/* Decides for all that were added; nothing can be added afterwards.  Reasons: FP_REASON_BAD_CONFIGURATION, FP_REASON_NO_MEMORY. */
int fp_placing_decide(struct fp_placing *placing, struct fp_why *why);

/* The libraries in the order in which they were added: the one at INDEX, null behind the last one. */
struct fp_placed *fp_placing_at(const struct fp_placing *placing, size_t index);

/* The library HOST (a real path on the host), or null. */
struct fp_placed *fp_placing_find(const struct fp_placing *placing, const char *host);

/* True when OBJECT, the current state of PLACED, has the placement that was decided. */
bool fp_placed_is_settled(const struct fp_placed *placed, const struct fp_object *object);

#endif
