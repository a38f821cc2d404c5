/* ldcache.h - /etc/ld.so.cache, read directly. */
#ifndef FP_LDCACHE_H
#define FP_LDCACHE_H

#include <stdbool.h>
#include <stdint.h>

struct fp_ldcache;

/* What decides between entries of one name. */
struct fp_ldcache_rules {
	unsigned isa; /* bit N: x86-64-vN+1 */
	bool legacy;  /* glibc 2.36: entries for old hardware capabilities count */
	bool avx512_1;
	const char *platform;
};

/* Reads the cache PATH of the host.  A missing, unreadable or damaged file gives null, as for
   ld.so. Returns 0 or -ENOMEM. */
int fp_ldcache_open(const char *path, struct fp_ldcache **ret_cache);
void fp_ldcache_free(struct fp_ldcache *cache);

/* The file that CACHE gives for NAME, or null; valid as long as CACHE. */
const char *fp_ldcache_find(const struct fp_ldcache *cache, const char *name,
			    const struct fp_ldcache_rules *rules);

#endif
