/* machines.h - the machine tables that reloc.c chooses from. */
#ifndef FP_MACHINES_H
#define FP_MACHINES_H

#include "reloc.h"

extern const struct fp_machine fp_machine_x86_64;

#endif
