# SPDX-License-Identifier: Apache-2.0
# Figures come from what users get: the release build, in a folder of its own.
BENCH_B := build/release
BENCH_ARGS ?=

$(B)/bench/direct $(B)/bench/churn: $(B)/bench/%: bench/%.c $(call obj,$(LOW_SRC))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^

# A function in C, as its README builds it.
$(B)/examples/native/bootstrap: examples/native/bootstrap.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -static -o $@ $<

.PHONY: bench bench-build
bench-build:
	@tools/deps build run bench
	$(MAKE) MODE=release B=$(BENCH_B) all $(BENCH_B)/bench/direct $(BENCH_B)/bench/churn $(BENCH_B)/examples/native/bootstrap

bench: bench-build ## measure against nginx, print a table, write build/bench.json (needs root)
	/usr/bin/python3 bench/run.py --bin $(BENCH_B) --out build/bench.json $(BENCH_ARGS)
