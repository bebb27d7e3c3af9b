# SPDX-License-Identifier: BSD-2-Clause
# The front door. Everything is built by Meson; this only knows the short words.

BUILD ?= build
PREFIX ?= /usr/local

.PHONY: help run run-disk test asan tsan fuzz campaign soak bench deps build install clean
help:
	@echo 'make run      set up, build, and watch a running VM move (the demo)'
	@echo 'make run-disk set up, build, and kill a disk server under a Linux guest'
	@echo 'make test     set up, build, and run every test'
	@echo 'make tsan     the tests with threads, under ThreadSanitizer'
	@echo 'make asan     all tests, under ASan and UBSan'
	@echo 'make campaign crashes and kills, all of them, with five seeds'
	@echo 'make soak     the tests with threads on a loaded machine, ROUNDS=200'
	@echo 'make fuzz     a minute of each fuzz target, seeded with what is real'
	@echo 'make bench    set up, build, and measure'
	@echo 'make deps     install the missing Debian packages, configure'
	@echo 'make install  install the command, library, headers and manuals'

deps:
	@scripts/setup test $(BUILD)

build:
	@scripts/setup build $(BUILD)
	@echo 'make: building in $(BUILD)'
	@ninja -C $(BUILD) --quiet

# On a busy host the guest may stand longer than the demo asks: then it is moved
# all the same, and said.
run: build
	@$(BUILD)/tidemark demo --stop-anyway

# A Linux guest on a served disk, the server killed in the middle.
run-disk:
	@scripts/setup disk $(BUILD)
	@echo 'make: building in $(BUILD)'
	@ninja -C $(BUILD) --quiet
	@examples/run-disk/run $(BUILD)/tidemark $(BUILD)/guest-kernel

test: deps
	@echo 'make: building in $(BUILD)'
	@ninja -C $(BUILD) --quiet
	@scripts/run-tests $(BUILD)

# A build of its own: sanitized objects do not mix with others.
TSAN_TESTS = dirty_threads producers slots precopy_slots precopy disk queue \
	qcow2 qcow2_queue control sink move rearm cbt durable driver
tsan: deps
	@[ -f build-tsan/build.ninja ] || meson setup build-tsan \
		-Db_sanitize=thread -Db_lundef=false -Dc_args=-Wno-tsan >/dev/null
	@ninja -C build-tsan --quiet
	@TSAN_OPTIONS='halt_on_error=1 exitcode=66' \
		scripts/run-tests build-tsan $(TSAN_TESTS)

# What limits memory does not do so here, and strangers' programs are not
# linked to it: the tests know (SANITIZED).
asan: deps
	@[ -f build-asan/build.ninja ] || meson setup build-asan \
		-Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan --quiet
	@ASAN_OPTIONS='detect_leaks=1 halt_on_error=1' \
		UBSAN_OPTIONS='halt_on_error=1 print_stacktrace=1' \
		scripts/run-tests build-asan

# Builds on its own, in build-fuzz, with clang.
fuzz:
	@fuzz/run

# Every prefix of the recorded writes, hundreds of kills, other seeds: minutes.
campaign: deps
	@ninja -C $(BUILD) --quiet
	@for seed in 1 2 3 4 5; do \
		SEED=$$seed $(BUILD)/tests/unit/qcow2_test || exit 1; \
		CAMPAIGN=1 SEED=$$seed $(BUILD)/tests/unit/qcow2_crash_test || \
			exit 1; \
		CAMPAIGN=1 SEED=$$seed $(BUILD)/tests/unit/qcow2_queue_test || \
			exit 1; \
		CAMPAIGN=1 SEED=$$seed $(BUILD)/tests/unit/cbt_random_test || \
			exit 1; \
		CAMPAIGN=1 SEED=$$seed $(BUILD)/tests/unit/cbt_cuts_test || \
			exit 1; \
		CAMPAIGN=1 SEED=$$seed SRC=$(CURDIR) \
			TIDEMARK=$(CURDIR)/$(BUILD)/tidemark \
			bash tests/sh/nbd-stress.sh || exit 1; \
		KILLS=400 SEED=$$seed SRC=$(CURDIR) \
			TIDEMARK=$(CURDIR)/$(BUILD)/tidemark \
			bash tests/sh/cbt-serve.sh || exit 1; \
	done
	@for test in live-kills snapshot-shadow snapshot-linux backup-power; do \
		CAMPAIGN=1 SRC=$(CURDIR) BUILD=$(CURDIR)/$(BUILD) \
			TIDEMARK=$(CURDIR)/$(BUILD)/tidemark \
			bash tests/sh/$$test.sh || exit 1; \
	done

	@CAMPAIGN=1 SRC=$(CURDIR) TIDEMARK=$(CURDIR)/$(BUILD)/tidemark \
		bash tests/sh/rbd.sh || [ $$? = 77 ]
	@CAMPAIGN=1 SRC=$(CURDIR) TIDEMARK=$(CURDIR)/$(BUILD)/tidemark \
		bash tests/sh/qcow2-damage.sh
	@scripts/mutate --list=tests/data/mutants.txt
	@scripts/mutate

ROUNDS ?= 200
soak: deps
	@ninja -C $(BUILD) --quiet
	@scripts/soak $(BUILD) $(ROUNDS)

bench: build
	@meson test -C $(BUILD) --no-rebuild --benchmark --verbose

install: build
	@meson configure $(BUILD) --prefix $(PREFIX)
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD)
