/* SPDX-License-Identifier: Apache-2.0 */
#include "task/cdi.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/io.h"
#include "tests/test.h"

static const char good[] =
	"{\"cdiVersion\": \"0.5.0\", \"kind\": \"example.com/gpu\", \"devices\": [{\"name\": \"0\", "
	"\"containerEdits\": "
	"{\"deviceNodes\": [{\"path\": \"/dev/gpu0\", \"hostPath\": \"/dev/fuse\"}]}}, {\"name\": \"all\", "
	"\"containerEdits\": {\"deviceNodes\": [{\"path\": \"/dev/gpu0\", \"hostPath\": \"/dev/fuse\"}, {\"path\": "
	"\"/dev/gpu1\"}]}}], \"containerEdits\": {\"deviceNodes\": [{\"path\": \"/dev/gpuctl\"}], \"mounts\": "
	"[{\"hostPath\": \"/usr/lib/x\", \"containerPath\": \"/usr/lib/y\", \"options\": [\"nosuid\", \"ro\"]}], "
	"\"hooks\": [{\"path\": \"/bin/x\"}]}}";
static const char bad[] =
	"{\"kind\": \"example.com/bad\", \"devices\": [{\"name\": \"0\", \"containerEdits\": {\"deviceNodes\": "
	"[{\"path\": 7}]}}]}";

static int give(const char *container, struct cdi *c, struct given *g, struct err *e)
{
	char folder[] = "/tmp/tandem-cdi-XXXXXX", command[64];
	const char *folders[] = {"/nonexistent", mkdtemp(folder), NULL};
	int dir = open(folder, O_RDONLY | O_DIRECTORY), ret;
	auto_json j = json_parse(str_of(container), e);
	struct err none;

	CHECK(dir >= 0 && io_write_file(dir, "b.json", good, sizeof(good) - 1, 0644, &none) == 0 &&
	      io_write_file(dir, "a.json", "{", 1, 0644, &none) == 0 &&
	      io_write_file(dir, "c.json", bad, sizeof(bad) - 1, 0644, &none) == 0);
	*g = (struct given){0};
	ret = given_read(j, g, e) < 0 ? -1 : cdi_give(c, folders, j, g, e);
	for (const char *name = "abc"; *name; name++) {
		snprintf(command, sizeof(command), "%c.json", *name);
		unlinkat(dir, command, 0);
	}
	c->spec[c->n++] = take_ptr(j); /* what is given points into it, too */
	close(dir);
	rmdir(folder);
	return ret;
}

TEST(devices_by_name)
{
	auto_(cdi_done) struct cdi c = {0};
	struct given g;
	struct err e;

	CHECK(give("{\"devices\": [\"example.com/gpu=0\", \"/dev/net/tun\", \"example.com/gpu=all\"]}", &c, &g, &e) ==
	      0);
	CHECK(g.n_devices == 4 && g.n_mounts == 1);
	CHECK_STR(g.devices[0].source, "/dev/net/tun");
	CHECK_STR(g.devices[1].source, "/dev/gpuctl");
	CHECK_STR(g.devices[2].source, "/dev/fuse");
	CHECK_STR(g.devices[2].path, "/dev/gpu0");
	CHECK_STR(g.devices[3].path, "/dev/gpu1");
	CHECK_STR(g.mounts[0].source, "/usr/lib/x");
	CHECK_STR(g.mounts[0].path, "/usr/lib/y");
	CHECK(g.mounts[0].host && g.mounts[0].read_only);
}

TEST(refusals)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"{\"devices\": [\"example.com/gpu=7\"]}",
		 "no *.json in /nonexistent names the device example.com/gpu=7"},
		{"{\"devices\": [\"example.com/other=0\"]}",
		 "no *.json in /nonexistent names the device example.com/other=0"},
		{"{\"devices\": [\"example.com/bad=0\"]}", "devices: a node without path, or more than 64"},
		{"{\"devices\": [\"fuse\"]}",
		 "devices: \"fuse\" is no path below /dev, nor a name like vendor.com/class=one"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_(cdi_done) struct cdi c = {0};
		struct given g;
		struct err e = {0};

		CHECK(give(cases[i].text, &c, &g, &e) < 0);
		CHECK_STR(e.text, cases[i].error);
	}
}
