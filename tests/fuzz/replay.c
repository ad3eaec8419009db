/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over stored inputs (files, or folders of them), and over each cut short: what `make test` does
 * without clang. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/def.h"

#define INPUT_MAX (4 << 20)
#define CUTS	  64 /* per input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned inputs;

/* Each run gets its own allocation of exactly n bytes, so that the sanitizers see one byte too far. */
static void run_copy(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	if (n)
		memcpy(copy, data, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(INPUT_MAX);
	size_t n;

	if (!f || !data) {
		printf("%s: cannot be read\n", path);
		if (f)
			fclose(f);
		free(data);
		return -1;
	}
	n = fread(data, 1, INPUT_MAX, f);
	fclose(f);
	printf("%s\n", path);
	run_copy(data, n);
	for (size_t i = 0; i < CUTS && i < n; i++)
		run_copy(data, n * i / CUTS);
	free(data);
	inputs++;
	return 0;
}

static int run_folder(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);
	int rc = n < 0 ? -1 : 0;

	for (int i = 0; i < n; i++) {
		char file[4096];

		if (entries[i]->d_name[0] != '.' &&
		    snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name) < (int)sizeof(file))
			rc |= run_file(file);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return rc;
}

int main(int argc, char **argv)
{
	int rc = 0;

	setvbuf(stdout, NULL, _IOLBF, 0); /* the last line names the input that killed us */
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) < 0)
			continue;
		rc |= S_ISDIR(st.st_mode) ? run_folder(argv[i]) : run_file(argv[i]);
	}
	if (inputs == 0)
		printf("no stored input found\n");
	printf("%s: %u passed, %d failed, 0 skipped\n", argv[0], inputs, rc || !inputs);
	return rc || !inputs;
}
