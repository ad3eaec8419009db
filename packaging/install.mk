# SPDX-License-Identifier: Apache-2.0
# make install [PREFIX=/usr/local] [DESTDIR=]: the release build, built in a folder of its own. tandem finds the rest by its own place:
# the folder that it lies in, if tandem-spawner lies there too, else ../libexec/tandem.
DESTDIR ?=
INSTALL_B := build/release
UNIT_DIR ?= $(if $(filter /usr,$(PREFIX)),/usr/lib,/etc)/systemd/system
SYSUSERS_DIR ?= $(if $(filter /usr,$(PREFIX)),/usr/lib,/etc)/sysusers.d
BASH_DIR := $(PREFIX)/share/bash-completion/completions
ZSH_DIR := $(PREFIX)/share/zsh/site-functions
FISH_DIR := $(PREFIX)/share/fish/vendor_completions.d
LIBEXEC := $(PREFIX)/libexec/tandem
SPEC_FILES := $(filter-out spec/migrations,$(wildcard spec/*.json spec/*.txt))

.PHONY: install uninstall
install: ## the release build below PREFIX (/usr/local), with systemd unit, man pages and completion
	@tools/deps build
	$(MAKE) --no-print-directory -s -j$$(nproc) MODE=release B=$(INSTALL_B) all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBEXEC)/spec $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(BASH_DIR) $(DESTDIR)$(ZSH_DIR) $(DESTDIR)$(FISH_DIR) \
		$(DESTDIR)$(UNIT_DIR) $(DESTDIR)$(SYSUSERS_DIR) $(addprefix $(DESTDIR)$(LIBEXEC)/,$(sort $(dir $(SHIM_FILES))))
	install -m 755 $(INSTALL_B)/tandem $(DESTDIR)$(PREFIX)/bin/tandem
	install -m 755 $(addprefix $(INSTALL_B)/,tandemd tandem-spawner tandem-init tandem-unpack tandem-net) $(DESTDIR)$(LIBEXEC)/
	install -m 644 $(SPEC_FILES) $(DESTDIR)$(LIBEXEC)/spec/
	for f in $(filter-out %.c,$(SHIM_FILES)); do install -m 644 $$f $(DESTDIR)$(LIBEXEC)/$$f || exit 1; done
	install -m 644 $(INSTALL_B)/shim/node/reseed.node $(DESTDIR)$(LIBEXEC)/shim/node/
	$(PY_COMPILE) $(DESTDIR)$(LIBEXEC)/shim/python
	install -m 644 docs/man/tandem.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 docs/man/tandem.yaml.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	$(INSTALL_B)/tandem completion bash > $(DESTDIR)$(BASH_DIR)/tandem
	$(INSTALL_B)/tandem completion zsh > $(DESTDIR)$(ZSH_DIR)/_tandem
	$(INSTALL_B)/tandem completion fish > $(DESTDIR)$(FISH_DIR)/tandem.fish
	sed 's|@BINDIR@|$(PREFIX)/bin|' packaging/tandem.service > $(DESTDIR)$(UNIT_DIR)/tandem.service
	install -m 644 packaging/tandem.sysusers $(DESTDIR)$(SYSUSERS_DIR)/tandem.conf
	@echo "installed below $(DESTDIR)$(PREFIX). To start: systemd-sysusers; systemctl daemon-reload; systemctl enable --now tandem"
	@echo "after an upgrade: systemctl reload tandem (no connection is refused, no instance restarted)"

uninstall: ## remove what `make install` put there; state in /var/lib/tandem stays
	rm -f $(DESTDIR)$(PREFIX)/bin/tandem $(DESTDIR)$(PREFIX)/share/man/man1/tandem.1 \
		$(DESTDIR)$(PREFIX)/share/man/man5/tandem.yaml.5 $(DESTDIR)$(BASH_DIR)/tandem $(DESTDIR)$(ZSH_DIR)/_tandem \
		$(DESTDIR)$(FISH_DIR)/tandem.fish $(DESTDIR)$(UNIT_DIR)/tandem.service $(DESTDIR)$(SYSUSERS_DIR)/tandem.conf
	rm -rf $(DESTDIR)$(LIBEXEC)
