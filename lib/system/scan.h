/* scan.h - finding executables and prelinked files in a system, cheaply. */
#ifndef FP_SCAN_H
#define FP_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "config.h"

/* Called with the host path of a file that was found; a result other than 0 ends the scan. */
typedef int fp_scan_visit(const char *path, void *context);

/* Called with the host path of what is there but could not be read, and its errno; as fp_scan_visit otherwise. */
typedef int fp_scan_unreadable(const char *path, int error, void *context);

/* Calls VISIT for every regular file below ROOT (null: "/") that carries undo data, or shows that it once did: programs, libraries and
   carriers.  Looked
   at are the directories of a system in which programs and libraries are installed:
   bin, sbin, every lib*, usr, opt, srv, home and root, and those of CONFIG, unless that is null.  /proc, /sys, /dev, /run, /tmp, /var, /mnt and /media
   hold none, or those of other systems.  Each directory's names are taken in byte order; symbolic links are not followed; a
   file or directory with several names is met once, under the first one; see
   fp_walk_tree.  Returns what VISIT or UNREADABLE returned, 0 at the end, or -ENOMEM. */
int fp_scan_prelinked(const char *root, const struct fp_config *config, fp_scan_visit *visit,
		      fp_scan_unreadable *unreadable, void *context);

/* Called as fp_scan_visit for an executable file, with what lstat gives. */
typedef int fp_scan_visit_executable(const char *path, const struct stat *stat, void *context);

/* Calls VISIT for every regular file that anybody may execute below the directories of ROOT in which packages install
   programs: those of fp_scan_prelinked without srv, home and root, and without include, src, doc, man, locale and the like
   below usr.  The order is the same, but files are met under each of their names, and what cannot be read is passed over.  No file is opened; those whose names end as
   data files' do (.html, .py, .png) are not looked at. */
int fp_scan_executables(const char *root, fp_scan_visit_executable *visit, void *context);

/* Called as fp_scan_visit for a library that has a fixed address: BASE, and the ROOM from there on (as fp_layout_room)
   that nothing else may be mapped into. */
typedef int fp_scan_visit_fixed(const char *path, uint64_t base, uint64_t room, void *context);

/* Calls VISIT for every library below the same directories that was shifted to an address in its machine's window. */
int fp_scan_fixed(const char *root, fp_scan_visit_fixed *visit, void *context);

/* True when the file PATH of the host is one of these libraries. */
bool fp_scan_fixed_file(const char *path, uint64_t *ret_base, uint64_t *ret_room);

/* True when PATH is an ELF file with a section of undo data, or what is left of one: it has our segment, or an address in the window and
   no section headers where it says.  Reads a few hundred bytes and believes none of them. */
bool fp_scan_is_prelinked(const char *path);

#endif
