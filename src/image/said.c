/* SPDX-License-Identifier: Apache-2.0 */
#include "image/said.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define KEPT_BYTES  4096
#define SHOWN_BYTES 360

void said_init(struct said *s)
{
	*s = (struct said){.fd = -1, .auth = -1};
}

static bool read_some(struct said *s)
{
	char piece[2048];
	ssize_t n = read(s->fd, piece, sizeof(piece));

	if (n <= 0)
		return false;
	buf_add(&s->text, piece, (size_t)n);
	if (s->text.n > KEPT_BYTES)
		buf_drop(&s->text, s->text.n - KEPT_BYTES);
	return true;
}

static void on_words(void *arg, int events)
{
	struct said *s = arg;

	if (!read_some(s))
		loop_fd_want(s->watch, 0);
}

int said_open(struct loop *l, struct said *s, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	s->fd = p[0];
	s->watch = loop_fd_new(l, p[0], LOOP_READ, on_words, s);
	return p[1];
}

/* logfmt: ... level=fatal msg="what went wrong"; what is quoted has \" and \\ in it. */
static struct str last_message(struct str text)
{
	static const char key[] = "level=fatal msg=\"";
	struct str ret = text;

	for (size_t i = 0; i + sizeof(key) - 1 <= text.n; i++)
		if (!memcmp(text.p + i, key, sizeof(key) - 1))
			ret = (struct str){text.p + i + sizeof(key) - 1, text.n - i - (sizeof(key) - 1)};
	return ret;
}

static void one_line(struct str from, char *out, size_t size)
{
	bool quoted = false;
	size_t n = 0;

	for (size_t i = 0; i < from.n && n + 1 < size; i++) {
		unsigned char c = (unsigned char)from.p[i];

		if (!quoted && c == '\\') {
			quoted = true;
			continue;
		}
		if (!quoted && c == '"')
			break;
		if (quoted && c == 'n')
			c = ' ';
		quoted = false;
		out[n++] = c >= 0x20 && c < 0x7f ? (char)c : ' ';
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static enum err_kind kind_of(const char *text)
{
	static const struct {
		const char *words;
		enum err_kind kind;
	} kinds[] = {
		{"manifest unknown", ERR_NOT_FOUND},
		{"name unknown", ERR_NOT_FOUND},
		{"repository name not known", ERR_NOT_FOUND},
		{"unauthorized", ERR_DENIED},
		{"authentication required", ERR_DENIED},
		{"access to the resource is denied", ERR_DENIED},
		{"no image found", ERR_NOT_FOUND},
		{"no space left", ERR_LIMIT},
		{"igest did not match", ERR_CORRUPT},
		{"does not match", ERR_CORRUPT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strstr(text, kinds[i].words))
			return kinds[i].kind;
	return ERR_UNAVAILABLE;
}

void said_error(struct said *s, struct err *e)
{
	char line[SHOWN_BYTES];

	while (read_some(s))
		;
	one_line(last_message(buf_str(&s->text)), line, sizeof(line));
	if (!e->kind)
		err_set(e, kind_of(line), "%s", line[0] ? line : "skopeo was ended before it could say why");
}

void said_done(struct said *s)
{
	loop_fd_free(take_ptr(s->watch));
	close_p(&s->fd);
	s->fd = -1;
	buf_done(&s->text);
}

void said_free(struct said *s)
{
	said_done(s);
	close_p(&s->auth);
	s->auth = -1;
}

int64_t said_bytes(int dir)
{
	DIR *d = fdopendir(dir);
	struct dirent *de;
	struct stat st;
	int64_t sum = 0;

	if (!d) {
		close(dir);
		return 0;
	}
	while ((de = readdir(d)))
		if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += st.st_size;
	closedir(d);
	return sum;
}
