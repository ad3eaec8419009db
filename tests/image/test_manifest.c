/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"

#include <signal.h>
#include <stdlib.h>

#include "base/buf.h"
#include "tests/test.h"

#define HEX  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BLOB "{\"digest\": \"sha256:" HEX "\", \"size\": 5}"

static struct image_manifest m;

TEST(manifest)
{
	static const struct {
		const char *text, *error;
	} t[] = {
		{"{\"schemaVersion\": 2, \"config\": " BLOB ", \"layers\": [" BLOB ", " BLOB "]}", NULL},
		{"{\"schemaVersion\": 2, \"config\": " BLOB ", \"layers\": []}", NULL},
		{"{\"schemaVersion\": 1, \"fsLayers\": []}", "of no kind that is known here (schema 1)"},
		{"{\"schemaVersion\": 2, \"manifests\": []}", "of no kind that is known"},
		{"{\"schemaVersion\": 2, \"layers\": []}", "has no size"},
		{"{\"schemaVersion\": 2, \"config\": {\"size\": 1, \"digest\": \"sha512:00\"}, \"layers\": []}",
		 "\"sha512:00\" is no digest"},
		{"{\"schemaVersion\": 2, \"config\": {\"size\": 1, \"digest\": \"../../x\"}, \"layers\": []}",
		 "is no digest"},
		{"{\"schemaVersion\": 2, \"config\": " BLOB ", \"layers\": [{}]}", "has no size"},
		{"nonsense", "the image's manifest"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct err e = {0};

		CHECK(image_manifest_parse(str_of(t[i].text), &m, &e) == (t[i].error ? -1 : 0));
		CHECK(!t[i].error || strstr(e.text, t[i].error));
	}
}

TEST(too_many_layers)
{
	for (unsigned n = LIM_IMAGE_LAYERS; n <= LIM_IMAGE_LAYERS + 1; n++) {
		auto_buf b = {0};
		struct err e = {0};

		buf_adds(&b, "{\"schemaVersion\": 2, \"config\": " BLOB ", \"layers\": [");
		for (unsigned i = 0; i < n; i++)
			buf_addf(&b, "%s" BLOB, i ? "," : "");
		buf_adds(&b, "]}");
		CHECK(image_manifest_parse(buf_str(&b), &m, &e) == (n > LIM_IMAGE_LAYERS ? -1 : 0));
		CHECK(n <= LIM_IMAGE_LAYERS || e.kind == ERR_LIMIT);
	}
}

TEST(config)
{
	static const char text[] =
		"{\"config\": {\"Entrypoint\": [\"/bin/sh\", \"-c\"], \"Cmd\": [\"\"], \"Env\": [\"A=b\", \"C=\"], "
		"\"User\": \"www-data:1\", \"WorkingDir\": \"/srv\", \"StopSignal\": \"SIGQUIT\", "
		"\"ExposedPorts\": {\"80/tcp\": {}, \"53/udp\": {}, \"443\": {}, \"x\": {}, \"70000/tcp\": {}}, "
		"\"Volumes\": {\"/b\": {}, \"/a\": {}, \"relative\": {}}, \"Labels\": {\"k\": \"v\", \"n\": 1}}}";
	struct image_config c;
	struct err e = {0};

	CHECK(image_config_parse(str_of(text), &c, &e) == 0);
	CHECK_STR(c.entrypoint[0], "/bin/sh");
	CHECK_STR(c.entrypoint[1], "-c");
	CHECK(!c.entrypoint[2]);
	CHECK_STR(c.cmd[0], "");
	CHECK(!c.cmd[1]);
	CHECK_STR(c.env[1], "C=");
	CHECK_STR(c.user, "www-data:1");
	CHECK_STR(c.workdir, "/srv");
	CHECK(c.stop_signal == SIGQUIT);
	CHECK(c.n_ports == 3 && c.ports[0].port == 80 && !c.ports[0].udp && c.ports[1].udp && c.ports[2].port == 443);
	CHECK_STR(c.volumes[0], "/a");
	CHECK_STR(c.volumes[1], "/b");
	CHECK(!c.volumes[2]);
	CHECK(c.n_labels == 1);
	CHECK_STR(c.labels[0].value, "v");
	image_config_done(&c);

	CHECK(image_config_parse(STR("{\"config\": null}"), &c, &e) == 0);
	CHECK(!c.entrypoint[0] && !c.cmd[0] && !c.env[0] && !c.volumes[0] && !c.user[0] && c.stop_signal == SIGTERM);
	image_config_done(&c);
	image_config_done(&c);
	CHECK(image_config_parse(STR("{\"config\": {\"Cmd\": [\"a\\u0000b\"]}}"), &c, &e) < 0);
	CHECK(image_config_parse(STR("{\"config\": {\"Env\": [1]}}"), &c, &e) < 0);
}

TEST(stop_signals)
{
	static const struct {
		const char *text;
		int number;
	} t[] = {{"SIGTERM", 15},    {"TERM", 15}, {"9", 9}, {"SIGRTMIN+3", 37}, {"RTMIN+0", 34}, {"", 15},
		 {"SIGRTMIN+31", 0}, {"65", 0},	   {"0", 0}, {"SIGNONE", 0},	 {"SIG", 0}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		auto_buf b = {0};
		struct image_config c;
		struct err e = {0};

		buf_addf(&b, "{\"config\": {\"StopSignal\": \"%s\"}}", t[i].text);
		CHECK(image_config_parse(buf_str(&b), &c, &e) == (t[i].number ? 0 : -1));
		CHECK(!t[i].number || c.stop_signal == t[i].number);
		if (t[i].number)
			image_config_done(&c);
	}
}

TEST(rootfs)
{
	static const struct {
		const char *text, *error;
	} t[] = {
		{"{\"os\": \"linux\", \"architecture\": \"amd64\", \"rootfs\": {\"diff_ids\": [\"sha256:" HEX "\"]}}",
		 NULL},
		{"{\"rootfs\": {\"diff_ids\": [\"sha256:" HEX "\"]}}", NULL},
		{"{\"os\": \"windows\", \"rootfs\": {\"diff_ids\": [\"sha256:" HEX "\"]}}", "windows/?"},
		{"{\"architecture\": \"arm64\", \"rootfs\": {\"diff_ids\": [\"sha256:" HEX "\"]}}",
		 "this machine runs linux/amd64"},
		{"{\"rootfs\": {\"diff_ids\": []}}", "names 0 layers, its manifest 1"},
		{"{\"rootfs\": {\"diff_ids\": {}}}", "names 0 layers"},
		{"{\"rootfs\": {\"diff_ids\": [\"x\"]}}", "is no digest"},
		{"{}", "names 0 layers"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		char(*ids)[65] = NULL;
		struct err e = {0};
		int64_t created = -1;

		CHECK(image_rootfs_parse(str_of(t[i].text), "amd64", 1, &ids, &created, &e) == (t[i].error ? -1 : 0));
		if (t[i].error) {
			CHECK(strstr(e.text, t[i].error));
		} else {
			CHECK_STR(ids[0], HEX);
			CHECK(created == 0);
		}
		free(ids);
	}
}

TEST(created)
{
	static const struct {
		const char *text;
		int64_t us;
	} t[] = {{"2026-01-02T03:04:05Z", 1767323045000000},
		 {"2026-01-02T03:04:05.123456789Z", 1767323045000000},
		 {"0001-01-01T00:00:00Z", 0},
		 {"yesterday", 0},
		 {"9999999-01-01T00:00:00Z", 0},
		 {"", 0}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		auto_buf b = {0};
		char(*ids)[65];
		int64_t created;

		buf_addf(&b, "{\"created\": \"%s\", \"rootfs\": {\"diff_ids\": []}}", t[i].text);
		CHECK(image_rootfs_parse(buf_str(&b), "amd64", 0, &ids, &created, NULL) == 0);
		CHECK(created == t[i].us);
		free(ids);
	}
}
