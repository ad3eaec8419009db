# SPDX-License-Identifier: Apache-2.0
# The only build system. `make help` lists the targets.
.DEFAULT_GOAL := all
SHELL := /bin/bash
VERSION := 0.1.0
B := build
MODE ?= debug
PREFIX ?= /usr/local
CC ?= gcc

WARN := -Wall -Wextra -Wshadow -Wvla -Wundef -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -Werror
OPT_debug := -O2 -g -DTANDEM_DEBUG=1
OPT_release := -O2 -g -DTANDEM_DEBUG=0
OPT_san := -O1 -g -DTANDEM_DEBUG=1 -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
CFLAGS += -std=gnu11 $(OPT_$(MODE)) $(WARN) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DTANDEM_VERSION='"$(VERSION)"' \
	-I. -Isrc -Ihelper -I$(B)/gen -I/usr/share/include/llhttp -fno-strict-aliasing -fstack-protector-strong
LIBS := -luv -lsqlite3 -ljansson -lyaml -lexpat -lssl -lcrypto -lpthread -lm

LOW := base wire
DAEMON_DIRS := base json loop wire http store ledger spawn instance image sched task service lane object queue stream trigger app api daemon
CORE_SRC := $(foreach d,$(filter-out daemon,$(DAEMON_DIRS)),$(wildcard src/$(d)/*.c))
DAEMON_SRC := $(wildcard src/daemon/*.c)
CLI_SRC := $(wildcard src/cli/*.c) $(foreach d,base json wire advise,$(wildcard src/$(d)/*.c)) src/http/client.c src/http/ca.c src/http/parse.c \
	src/sched/policy.c src/sched/known.c src/sched/lane_model.c src/image/reference.c src/app/tree.c src/app/interpolate.c src/ledger/prices.c
LOW_SRC := $(foreach d,$(LOW),$(wildcard src/$(d)/*.c))
LLHTTP_SRC := $(wildcard /usr/share/llhttp/*.c)
LIBS += $(if $(LLHTTP_SRC),,-lllhttp) # Debian 13 has it as a library

INIT_SRC := $(wildcard helper/init/*.c helper/snap/*.c) src/base/err.c src/wire/fds.c
# tandem-init is static, without a heap, and runs in every sandbox: of the sanitizers it has UBSan, which ends it by a trap.
INIT_CFLAGS = $(filter-out -fsanitize=% -fno-sanitize-recover=%,$(CFLAGS)) \
	$(if $(filter san,$(MODE)),-fsanitize=undefined -fsanitize-undefined-trap-on-error)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
LLHTTP_OBJ := $(patsubst /usr/share/llhttp/%.c,$(B)/obj/llhttp/%.o,$(LLHTTP_SRC))
BINS := $(addprefix $(B)/,tandem tandemd tandem-spawner tandem-init tandem-unpack tandem-net)

all: $(BINS) ## build everything into build/

.PHONY: release
release: ## the same for users, into build/release: optimised, without what only tests need
	$(MAKE) MODE=release B=build/release all

# What the daemon and `tandem env` look for beside the binaries, as make install lays it out.
$(B)/spec:
	@mkdir -p $(B)
	ln -sfnr $(notdir $@) $@ # relative: the path to the checkout may be closed to the daemon
# Byte code lies beside the source, for sandboxes cannot write it; checked: a shim that was edited still runs as it is.
PY_COMPILE := /usr/bin/python3 -m compileall -q --invalidation-mode checked-hash
SHIM_FILES := $(shell find shim -type f ! -path '*/__pycache__/*' ! -name '*.md')
$(B)/shim.made: $(SHIM_FILES)
	@rm -rf $(B)/shim && mkdir -p $(B)/shim
	cp -r shim/* $(B)/shim/
	$(PY_COMPILE) $(B)/shim/python
	$(CC) $(INIT_CFLAGS) -fPIC -shared -o $(B)/shim/node/reseed.node shim/node/reseed.c
	chmod -R a+rX $(B)/shim
	@touch $@
$(B)/tandem $(B)/tandemd: | $(B)/shim.made $(B)/spec

$(B)/tandem: $(call obj,$(CLI_SRC)) $(LLHTTP_OBJ)
	$(CC) $(CFLAGS) -o $@ $^ -ljansson -lyaml -lcrypto -lm $(if $(LLHTTP_SRC),,-lllhttp)
$(B)/tandemd: $(call obj,$(CORE_SRC) $(DAEMON_SRC)) $(LLHTTP_OBJ)
	$(CC) $(CFLAGS) -o $@ $^ $(LIBS)
# Static: every sandbox begins as a copy of this process, and each library would be five more mappings to copy.
$(B)/tandem-spawner: $(call obj,$(wildcard helper/spawner/*.c) $(LOW_SRC))
	$(CC) $(CFLAGS) $(if $(filter san,$(MODE)),,-static) -o $@ $^
$(B)/tandem-init: $(patsubst %.c,$(B)/init/%.o,$(INIT_SRC))
	$(CC) $(INIT_CFLAGS) -static -o $@ $^
$(B)/tandem-net: $(call obj,$(wildcard helper/net/*.c) $(LOW_SRC))
	$(CC) $(CFLAGS) -o $@ $^ -lnftables
$(B)/tandem-unpack: $(call obj,$(wildcard helper/unpack/*.c) $(LOW_SRC))
	$(CC) $(CFLAGS) -o $@ $^ -larchive -lseccomp -lcrypto

$(B)/init/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(INIT_CFLAGS) -MMD -c -o $@ $<
# Copied to where it runs: whatever needs the linker in there would point to where it was.
$(B)/init/helper/snap/arena.o: helper/snap/arena.c
	@mkdir -p $(@D)
	$(CC) $(INIT_CFLAGS) -fno-stack-protector -fcf-protection=none -MMD -MT $@ -c -o $@.tmp $<
	@if readelf -rW $@.tmp | grep -q 'rela.arena_text'; then echo "$<: has relocations" >&2; exit 1; fi
	@mv $@.tmp $@
$(B)/obj/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	$(CC) -O2 -g -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp -c -o $@ $<
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -c -o $@ $<

# The system call filter is compiled once, at build time (architecture, section 4).
$(B)/gen/seccomp_filter.h: tools/gen-seccomp.c spec/syscalls.txt
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -Wall -D_GNU_SOURCE -o $(B)/gen/gen-seccomp tools/gen-seccomp.c -lseccomp
	$(B)/gen/gen-seccomp spec/syscalls.txt > $@.tmp && mv $@.tmp $@
$(call obj,$(wildcard helper/spawner/*.c)): $(B)/gen/seccomp_filter.h
$(B)/init/helper/init/main.o: $(B)/gen/seccomp_filter.h

# SQL migrations, in order of number, compiled in.
$(B)/gen/migrations.h: tools/gen-migrations $(sort $(wildcard spec/migrations/*.sql))
	@mkdir -p $(@D)
	tools/gen-migrations $(filter %.sql,$^) > $@.tmp && mv $@.tmp $@
$(call obj,src/store/store.c): $(B)/gen/migrations.h

TEST_SRC := $(wildcard tests/*/test_*.c)
TEST_BINS := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_SRC))
# An archive, so that a test links what it uses, and no more.
$(B)/core.a: $(call obj,$(CORE_SRC) $(wildcard src/advise/*.c)) $(LLHTTP_OBJ)
	@rm -f $@
	ar rcsD $@ $^
$(B)/tests/%: $(B)/obj/tests/%.o $(B)/core.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(LIBS)

-include tests/tests.mk packaging/install.mk bench/bench.mk examples/demo.mk
-include $(shell find $(B)/obj $(B)/init -name '*.d' 2>/dev/null)

.PHONY: all help clean
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
clean: ## remove build/
	rm -rf $(B)
