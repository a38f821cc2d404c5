/* base.c - tables of pointers, a variable for COPY, functions to interpose and to call lazily. */
#include "base.h"
#include <string.h>
int counter = 40;
int *counter_pointer = &counter;
int square(int side)
{
	return side * side;
}
int twice(int value)
{
	return 2 * value;
}
int hooked(void)
{
	return 1;
}
struct shape shapes[2] = { { "square", square }, { "twice", twice } };
static const char *const words[] = { "zero", "one", "two", "three", "four", "five" };
__attribute__((constructor)) static void begin(void)
{
	counter += (int)strlen(words[3]);
}
