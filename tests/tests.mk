# SPDX-License-Identifier: Apache-2.0
# How to test. Everything that counts goes through tools/run-tests.
T ?=
FUZZ_SECONDS ?= 60
FUZZ_SRC := $(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c))
FUZZ_BINS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))
OPT_fuzz := -O1 -g -DTANDEM_DEBUG=1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
FUZZ_DRIVER_fuzz := -fsanitize=fuzzer
FUZZ_DRIVER := $(if $(FUZZ_DRIVER_$(MODE)),,$(B)/obj/tests/fuzz/replay.o)

$(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(FUZZ_DRIVER) $(B)/core.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(FUZZ_DRIVER_$(MODE)) -o $@ $^ $(LIBS) -larchive



.PHONY: test units test-bins fuzz-bins e2e hostile soak san fuzz vm lint format tidy need-root
.SECONDARY: # keep objects that only a pattern asks for
$(B)/obj/tests/%.o: CFLAGS += -Itests
need-root:
	@[ "$$(id -u)" = 0 ] || { echo "make $(firstword $(MAKECMDGOALS)) needs root: run it with sudo" >&2; exit 1; }

test-bins: $(TEST_BINS) fuzz-bins $(B)/examples/native/bootstrap
fuzz-bins: $(FUZZ_BINS)

test: need-root ## everything: units, fuzz corpora, the real binaries with real clients (needs root); T=FILE for one
	@tools/deps build run demo test
	@tools/npm-deps || echo "make test: going on without the npm packages; what needs them will be skipped"
	@echo "building"
	@$(MAKE) --no-print-directory -s -j$$(nproc) all test-bins
	@tools/run-tests --build $(B) $(if $(T),$(T),--skips tests/expected-skips units corpora \
		$(sort $(dir $(wildcard tests/*/test_*.py))))

units: test-bins ## C unit tests and fuzz corpora alone (no root)
	@tools/run-tests --build $(B) $(if $(T),$(T),units corpora)
e2e: need-root all test-bins ## the real binaries with real clients (needs root)
	@tools/run-tests --build $(B) tests/e2e
hostile: need-root all ## programs that try to break out of the sandbox (needs root)
	@tools/run-tests --build $(B) tests/hostile
soak: need-root all test-bins ## SOAK_SECONDS (600): nothing may grow; SOAK_KILLS (1000): nothing is lost; WAKE_WORKLOADS (5000) (root)
	SOAK_SECONDS=$(or $(SOAK_SECONDS),600) TANDEM_BUILD=$(abspath $(B)) /usr/bin/python3 -B tests/soak/test_churn.py
	SOAK_KILLS=$(or $(SOAK_KILLS),1000) TANDEM_BUILD=$(abspath $(B)) /usr/bin/python3 -B tests/soak/test_promises.py
	WAKE_WORKLOADS=$(or $(WAKE_WORKLOADS),5000) TANDEM_BUILD=$(abspath $(B)) /usr/bin/python3 -B tests/soak/test_wakes.py
san: ## units, corpora, snapshots and the unpacker's zoo with ASan and UBSan, in build/san
	@$(MAKE) --no-print-directory -s -j$$(nproc) MODE=san B=build/san all test-bins
	@UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_stack_use_after_return=1 \
		tools/run-tests --build build/san units corpora tests/unpack tests/snap
fuzz: ## explore with libFuzzer, FUZZ_SECONDS (60) each; T=NAME for one; new inputs go to build/fuzz/corpus
	@$(MAKE) --no-print-directory -s -j$$(nproc) MODE=fuzz CC=clang WARN= B=build/fuzz fuzz-bins
	@for t in $(if $(T),$(T),$(patsubst tests/fuzz/%.c,%,$(FUZZ_SRC))); do \
		echo "== $$t, $(FUZZ_SECONDS) s"; mkdir -p build/fuzz/corpus/$$t build/fuzz/found; \
		build/fuzz/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=build/fuzz/found/$$t- build/fuzz/corpus/$$t $$(ls -d tests/fuzz/corpus/$$t 2>/dev/null) \
			|| exit 1; done
vm: all test-bins ## sandbox, snapshot, hostile and end-to-end tests on Debian's own kernel with pure cgroup v2, in qemu
	@tools/vm --build $(B)

C_FILES = $(shell git ls-files '*.c' '*.h')
lint: ## format, layers, words, documents
	@command -v clang-format-14 >/dev/null || tools/deps lint
	@rc=0; for c in format layers words docs; do tools/check-$$c || rc=1; done; exit $$rc
format: ## clang-format over all C files
	clang-format-14 -i $(C_FILES)
tidy: ## clang-tidy and cppcheck (slow, advice rather than law)
	@tools/deps lint
	clang-tidy --quiet $(filter src/% helper/%,$(filter %.c,$(C_FILES))) -- -std=gnu11 -D_GNU_SOURCE \
		-DTANDEM_VERSION='"$(VERSION)"' -Isrc -Ihelper -I$(B)/gen -I/usr/share/include
	cppcheck --quiet --enable=warning,portability --inline-suppr --suppress=missingInclude --error-exitcode=1 \
		--std=c11 -Isrc -Ihelper src helper

# Programs whose images tests/snap takes: ordinary ones, as a function might be.
$(B)/tests/snap/zoo: $(wildcard tests/snap/zoo*.c tests/snap/zoo.h)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g -Wall -Wextra -D_GNU_SOURCE -o $@ $(filter %.c,$^) -lm -lpthread
test-bins: $(B)/tests/snap/zoo
