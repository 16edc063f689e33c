# A thin front: CMakePresets.json says how things are built, scripts/ and tools/ do the rest.

PREFIX ?= /usr/local
DESTDIR ?=
SOURCES = $(sort $(shell find src tests bench tools include fuzz -name '*.[ch]' 2>/dev/null))

.DEFAULT_GOAL := build
.PHONY: run test build check bench debug asan tsan fuzz torture install format clean help setup

run: setup            ## install what is missing, build, start the daemon; Ctrl-C ends it
	@$(MAKE) --no-print-directory build
	@scripts/run

test: setup tests/peers/node_modules tests/web/node_modules  ## install what is missing, build, run the whole suite
	@$(MAKE) --no-print-directory build
	ctest --preset release

build: build/build.ninja  ## the programs, into build/bin/
	cmake --build --preset release

check: build          ## format, clang-tidy, cppcheck, house rules, types, mingw
	scripts/check $(SOURCES)

bench: build          ## measure, as ratios within one run
	cmake --build --preset release --target benches
	MEMKEEP_BIN=$(CURDIR)/build/bin python3 bench/run.py

asan tsan debug: %: build-%/build.ninja  ## build and run the suite under a sanitizer, or with lock ranks
	cmake --build --preset $@
	ctest --preset $@

fuzz: setup           ## build the fuzz targets with clang, run each for some seconds
	cmake -S . -B build-fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DMEMKEEP_FUZZ=ON \
	  -DMEMKEEP_SANITIZE=fuzzer-no-link,address,undefined
	cmake --build build-fuzz --target fuzz
	ctest --test-dir build-fuzz -L fuzz --output-on-failure

torture: build        ## kill everything at random 500 times, and 500 times more without waiting
	MEMKEEP_BIN=$(CURDIR)/build/bin python3 tests/torture.py --kills 500
	MEMKEEP_BIN=$(CURDIR)/build/bin python3 tests/torture.py --kills 500 --reckless

install: build        ## PREFIX= and DESTDIR= as usual
	DESTDIR=$(DESTDIR) cmake --install build --prefix $(PREFIX)

format:               ## rewrite the C sources in the house style
	clang-format-14 -i $(SOURCES)

clean:                ## remove every build folder
	rm -rf build build-debug build-asan build-tsan build-fuzz

help:                 ## this list
	@sed -n 's/^\([a-z ]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup:
	@scripts/setup

tests/%/node_modules: tests/%/package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --prefix tests/$*
	@touch $@

build/build.ninja: CMakePresets.json
	cmake --preset release

build-%/build.ninja: CMakePresets.json
	cmake --preset $*
