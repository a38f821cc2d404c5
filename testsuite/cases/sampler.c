/* sampler.c - a program that takes copies, addresses and calls from two libraries and interposes a function. */
#include "base.h"
#include <stdio.h>
int total(int value);
int hooked(void)
{
	return 100;
}
extern int (*hook)(void);
static int (*functions[])(int) = { square, twice, total };
int main(void)
{
	int sum = 0;
	for (int i = 0; i < 3; i++)
		sum += functions[i](i + 2);
	*counter_pointer += 1;
	printf("sum %d counter %d same %d %d\n", sum, counter, counter_pointer == &counter,
	       hook == hooked);
	return 0;
}
