/* current.h - what of a cache still holds. */
#ifndef FP_CURRENT_H
#define FP_CURRENT_H

#include "internal.h"

/* The key of PATH, inside the root, as it is now; links are followed. */
struct fp_file_key fp_current_key(const struct fp_run *run, const char *path);

/* True when FILE, of RUN's cache, is the file that the cache knows. */
bool fp_current_file(const struct fp_run *run, struct fp_cached_file *file);

/* Compares all directories, and all answers of ld.so.cache, of RUN's cache with those of the system; the cache has the new state then. */
void fp_current_directories(const struct fp_run *run);
void fp_current_answers(const struct fp_run *run);

/* Marks the libraries that the configuration covers now and did not, or the other way round (is_moved): it names directories, and these
   come and go. */
void fp_current_covers(const struct fp_run *run);

/* Makes the keys of directories and of ld.so.cache what they are after files were written. */
void fp_current_refresh(const struct fp_run *run);

/* True when PROGRAM may have to be done again.  Directories and answers have been compared. */
bool fp_current_is_affected(const struct fp_run *run, struct fp_cached_file *program);

#endif
