/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An addon for Node: reseed() gives the OpenSSL in the process new entropy from the system, which no JavaScript can.
 * OpenSSL notices a fork by the process number, and that is the same in every process made from one image. Its first
 * generator takes the entropy at once, those of all threads follow it.
 *
 * Loaded only where an image is made. Node-API is stable, and what is used of it is declared here: there is nothing to
 * install for building it.
 */
#include <stddef.h>
#include <sys/random.h>

struct napi_env;
struct napi_value;
struct napi_info;
extern int napi_create_function(struct napi_env *env, const char *name, size_t length,
				struct napi_value *(*call)(struct napi_env *, struct napi_info *), void *data,
				struct napi_value **ret);
extern int napi_throw_error(struct napi_env *env, const char *code, const char *text);
extern void RAND_add(const void *bytes, int n, double entropy) __attribute__((weak));
struct napi_value *napi_register_module_v1(struct napi_env *env, struct napi_value *exports);

static struct napi_value *reseed(struct napi_env *env, struct napi_info *info)
{
	unsigned char seed[32];

	(void)info;
	if (!RAND_add || getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		napi_throw_error(env, NULL, "OpenSSL cannot be given new entropy");
	else
		RAND_add(seed, sizeof(seed), sizeof(seed));
	return NULL;
}

/* The module is the function. */
struct napi_value *napi_register_module_v1(struct napi_env *env, struct napi_value *exports)
{
	napi_create_function(env, "reseed", sizeof("reseed") - 1, reseed, NULL, &exports);
	return exports;
}
