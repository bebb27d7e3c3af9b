# SPDX-License-Identifier: BSD-2-Clause
# The front door. Everything is built by Meson; this only knows the short words.

BUILD ?= build
PREFIX ?= /usr/local

.PHONY: help run test bench deps build install clean
help:
	@echo 'make run      set up, build, and watch a running VM move (the demo)'
	@echo 'make test     set up, build, and run every test'
	@echo 'make bench    set up, build, and measure'
	@echo 'make deps     install the missing Debian packages, configure'
	@echo 'make install  install the command, library, headers and manuals'

deps:
	@scripts/setup test $(BUILD)

build:
	@scripts/setup build $(BUILD)
	@echo 'make: building in $(BUILD)'
	@ninja -C $(BUILD) --quiet

run: build
	@$(BUILD)/tidemark demo

test: deps
	@echo 'make: building in $(BUILD)'
	@ninja -C $(BUILD) --quiet
	@scripts/run-tests $(BUILD)

bench: build
	@meson test -C $(BUILD) --no-rebuild --benchmark --verbose

install: build
	@meson configure $(BUILD) --prefix $(PREFIX)
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD)
