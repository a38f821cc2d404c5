/* user.c - a library over the base library: pointers into it, thread-local data, a hook it hopes is interposed. */
#include "base.h"
#include <stdlib.h>
struct shape *chosen[] = { &shapes[1], &shapes[0] };
int (*hook)(void) = hooked;
__thread int per_thread = 7;
int total(int value)
{
	per_thread += chosen[0]->area(value) + chosen[1]->area(value);
	return per_thread + hook() + atoi("5");
}
