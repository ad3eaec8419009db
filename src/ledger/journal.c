/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/journal.h"
#include <stdarg.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"

#define BURST	  20
#define EVERY_US  10000000
#define AGAIN_US  60000000
#define SLOTS	  1024 /* who shares one shares its limit, for as long as both say something */
#define KIND_MAX  31
#define ABOUT_MAX 160

struct slot {
	int64_t full_us; /* monotonic: when it may say BURST lines at once again */
	int64_t said_us;
	uint64_t said; /* hash of the last line */
	uint32_t left_out;
};
struct journal {
	struct logs *logs;
	struct log_stream *log;
	uint64_t seed;
	struct slot slots[SLOTS];
};

struct journal *journal_new(struct logs *lg)
{
	struct journal *j = xcalloc(1, sizeof(*j));

	j->logs = lg;
	j->log = logs_get(lg, JOURNAL_LOG);
	j->seed = rand_u64();
	return j;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	log_stream_release(j->log);
	free(j);
}

static uint64_t mix(uint64_t h, const char *text)
{
	do
		h = (h ^ (unsigned char)*text) * 0x100000001b3;
	while (*text++);
	return h ^ h >> 32;
}

/* The same again within a minute is counted, not said. */
static bool take(struct slot *s, uint64_t line)
{
	int64_t now = clock_now_us();

	if (s->full_us < now)
		s->full_us = now;
	if ((s->said == line && s->said_us && now - s->said_us < AGAIN_US) ||
	    s->full_us - now > (int64_t)(BURST - 1) * EVERY_US) {
		s->left_out++;
		return false;
	}
	s->full_us += EVERY_US;
	s->said_us = now;
	s->said = line;
	return true;
}

/* Of a word, no space either. */
static void put_clean(struct buf *out, const char *text, size_t max, char space)
{
	size_t n = strlen(text);

	for (size_t i = 0, k; i < n && i < max; i += k) {
		k = enc_utf8_seq(text + i, n - i);
		if (!k || text[i] == ' ' || enc_utf8_moves(text + i, k))
			buf_addc(out, space);
		else
			buf_add(out, text + i, k);
		k = k ? k : 1;
	}
}

void journal_add(struct journal *j, const char *subject, const char *kind, const char *fmt, ...)
{
	char text[JOURNAL_TEXT_BYTES], word[KIND_MAX + 1];
	auto_buf line = {0};
	struct slot *s;
	uint64_t key;
	va_list ap;

	if (!j)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	key = mix(mix(j->seed, subject), kind);
	s = &j->slots[key % SLOTS];
	if (!take(s, mix(key, text)))
		return;
	put_clean(&line, *subject ? subject : "-", ABOUT_MAX, '_');
	buf_addc(&line, ' ');
	put_clean(&line, text, sizeof(text), ' ');
	if (s->left_out)
		buf_addf(&line, " (%u more before it were left out)", s->left_out);
	s->left_out = 0;
	strlcpy_(word, kind, sizeof(word));
	log_stream_add(j->log, "event", word, buf_str(&line));
	logs_flush(j->logs);
}

bool journal_split(struct str line, struct journal_line *ret)
{
	struct str rest;

	return str_cut(line, ' ', &ret->when, &rest) && str_cut(rest, ' ', &ret->kind, &rest) &&
	       str_cut(rest, ' ', &ret->subject, &ret->text);
}

bool journal_about(const struct journal_line *l, const char *about)
{
	struct str first, rest;
	size_t n = strlen(about);

	return !n || str_eqc(l->subject, about) || (str_cut(l->subject, '/', &first, &rest) && str_eqc(first, about)) ||
	       (str_ends(l->subject, about) && l->subject.p[l->subject.n - n - 1] == '/');
}
