/* seal.c - writes its size into a runtime image and ends it with its checksum; a tool of the build.
   SPDX-License-Identifier: 0BSD */
#include <stdio.h>
#include <stdlib.h>

#include "../include/fastprelink/abi.h"

int main(int argc, char **argv)
{
	static uint64_t words[FP_MAX_RUNTIME_SIZE / 8];
	size_t count;
	FILE *file;

	if (argc != 3) {
		fprintf(stderr, "usage: seal IMAGE OUTPUT\n");
		return 2;
	}
	file = fopen(argv[1], "rb");
	if (!file) {
		perror(argv[1]);
		return 1;
	}
	count = fread(words, 1, sizeof(words), file);
	fclose(file);
	if (count < 32 || count > sizeof(words) - 16) {
		fprintf(stderr, "%s: %zu bytes do not make a runtime\n", argv[1], count);
		return 1;
	}
	count = (count + 7) / 8;
	words[2] = (count + 1) * 8;
	words[count] = fp_runtime_checksum(words, count);
	file = fopen(argv[2], "wb");
	if (!file || fwrite(words, 8, count + 1, file) != count + 1 || fclose(file) != 0) {
		perror(argv[2]);
		return 1;
	}
	return 0;
}
