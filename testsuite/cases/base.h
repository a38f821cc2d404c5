/* base.h - what libbase.so offers to the other parts of the sampler. */
struct shape {
	const char *name;
	int (*area)(int);
};
extern struct shape shapes[2];
extern int counter;
extern int *counter_pointer;
int square(int side);
int twice(int value);
int hooked(void);
