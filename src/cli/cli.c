/* SPDX-License-Identifier: Apache-2.0 */
/* What all verbs share: messages, colours, durations, where things lie. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include "base/enc.h"
#include "base/mem.h"
#include "cli/cli.h"

void cli_settle(struct cli *c)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (!c->state)
		c->state = getenv("TANDEM_STATE");
	if (!c->state || !*c->state)
		c->state = "/var/lib/tandem";
	c->json = c->output && !strcmp(c->output, "json");
	c->color_out = !c->no_color && !(no && *no) && isatty(1) && !(term && !strcmp(term, "dumb"));
	snprintf(c->sock, sizeof(c->sock), "%s/admin.sock", c->state);
}

int cli_fail(const struct err *e)
{
	auto_free char *text = cli_clean(xstrdup(e->text)); /* it may be a function's, or the daemon's of one */

	fprintf(stderr, "tandem: %s\n", text);
	return e->kind == ERR_TIMEOUT ? CLI_TIMEOUT : CLI_FAILED;
}

char *cli_clean(char *s)
{
	return cli_clean_n(s, strlen(s));
}

char *cli_clean_n(char *s, size_t left)
{
	size_t n;

	for (char *p = s; left; p += n, left -= n) {
		n = enc_utf8_seq(p, left);
		if (*p != '\n' && *p != '\t' && enc_utf8_moves(p, n))
			memset(p, ' ', n);
		n += !n; /* no UTF-8 */
	}
	return s;
}

int cli_failf(const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	fprintf(stderr, "tandem: %s\n", cli_clean(text));
	return CLI_FAILED;
}

int cli_can_write(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	auto_free char *dir = !slash ? xstrdup(".") : str_dup((struct str){path, (size_t)(slash - path) + 1});
	struct stat st;

	if (!path[0] || !strcmp(slash ? slash + 1 : path, "") || (stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
		return err_set(e, ERR_INVALID, "\"%s\" is no name of a file", path);
	return access(dir, W_OK | X_OK) < 0 ? err_sys(e, errno, "write to %s", dir) : 0;
}

int cli_usage(struct cli *c, const char *fmt, ...)
{
	va_list ap;

	fputs("tandem: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (c->verb)
		fprintf(stderr, "\nusage: tandem %s%s%s\nmore: tandem %s --help\n", c->verb->name,
			*c->verb->args ? " " : "", c->verb->args, c->verb->name);
	else
		fputs("\nmore: tandem --help\n", stderr);
	return CLI_USAGE;
}

void cli_note(struct cli *c, const char *fmt, ...)
{
	va_list ap;

	if (c->quiet)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

const char *cli_tint(const struct cli *c, enum tint t)
{
	static const char *const code[] = {"", "\033[2m", "\033[1m", "\033[31m", "\033[32m", "\033[33m"};

	return c->color_out ? code[t] : "";
}

static int64_t unit_us(const char *p, size_t n)
{
	static const struct {
		const char *name;
		int64_t us;
	} units[] = {{"", 1000000},	  {"s", 1000000},	{"ms", 1000},	      {"m", 60000000},
		     {"h", 3600000000ll}, {"d", 86400000000ll}, {"w", 604800000000ll}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == n && !memcmp(units[i].name, p, n))
			return units[i].us;
	return 0;
}

int cli_duration(struct str s, int64_t *ret_us)
{
	int64_t sum = 0;

	if (!s.n)
		return -1;
	while (s.n) {
		size_t d = 0, u;
		int64_t v, us;

		while (d < s.n && isdigit((unsigned char)s.p[d]))
			d++;
		for (u = d; u < s.n && isalpha((unsigned char)s.p[u]);)
			u++;
		us = unit_us(s.p + d, u - d);
		if (!us || str_to_i64((struct str){s.p, d}, 0, 1000000000, &v) < 0)
			return -1;
		if (__builtin_mul_overflow(v, us, &v) || __builtin_add_overflow(sum, v, &sum))
			return -1;
		s.p += u, s.n -= u;
	}
	*ret_us = sum;
	return 0;
}

int cli_libexec(char *out, size_t size, struct err *e)
{
	char exe[PATH_MAX], probe[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n < 0)
		return err_sys(e, errno, "read /proc/self/exe");
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (!slash)
		return err_set(e, ERR_NOT_FOUND, "cannot tell where this program lies (%s)", exe);
	*slash = 0;
	snprintf(probe, sizeof(probe), "%s/tandem-spawner", exe);
	if (access(probe, X_OK) == 0) {
		if ((size_t)snprintf(out, size, "%s", exe) >= size)
			return err_set(e, ERR_LIMIT, "the path %s is too long", exe);
		return 0;
	}
	slash = strrchr(exe, '/');
	if (slash)
		*slash = 0;
	snprintf(probe, sizeof(probe), "%s/libexec/tandem/tandem-spawner", exe);
	if (access(probe, X_OK) < 0)
		return err_set(
			e, ERR_NOT_FOUND,
			"tandem-spawner lies neither beside this program nor at %s; install it with: sudo make install",
			probe);
	if ((size_t)snprintf(out, size, "%s/libexec/tandem", exe) >= size)
		return err_set(e, ERR_LIMIT, "the path %s is too long", exe);
	return 0;
}

void cli_shell_quote(struct buf *out, struct str s)
{
	buf_addc(out, '\'');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\'')
			buf_adds(out, "'\\''");
		else
			buf_addc(out, s.p[i]);
	}
	buf_addc(out, '\'');
}

char *cli_cell(const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;

	va_start(ap, fmt);
	if (vasprintf(&p, fmt, ap) < 0)
		abort();
	va_end(ap);
	return p;
}
