# Makefile: the commands of the project by short names. The build itself is CMake, out of tree in build/; what a command
# does stands in scripts/. `make help` lists them.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CMAKE ?= cmake
GENERATOR := $(shell command -v ninja >/dev/null 2>&1 && echo '-G Ninja')

.DEFAULT_GOAL := build
.PHONY: build program test demo tutorial bench bench-train install oracle mutation fuzz clean help

# A build folder keeps the generator that it was made with.
define configure
	@mkdir -p $(BUILD)
	@$(CMAKE) -S . -B $(BUILD) $(if $(wildcard $(BUILD)/CMakeCache.txt),,$(GENERATOR)) $(1) >$(BUILD)/configure.log 2>&1 || \
	    { cat $(BUILD)/configure.log; \
	      echo 'make: cannot configure; scripts/install-deps.sh build installs what is missing on Debian' >&2; exit 1; }
endef

build:
	$(call configure)
	@$(CMAKE) --build $(BUILD) -j $(JOBS)

# Only the program, without the tests.
program:
	$(call configure)
	@$(CMAKE) --build $(BUILD) -j $(JOBS) --target fam_program

install:
	$(call configure,-DCMAKE_INSTALL_PREFIX=$(PREFIX))
	@$(CMAKE) --build $(BUILD) -j $(JOBS)
	@DESTDIR='$(DESTDIR)' $(CMAKE) --install $(BUILD)

test:
	@scripts/test.sh

demo:
	@scripts/demo.sh

tutorial:
	@scripts/tutorial.sh

bench:
	@scripts/bench.sh

bench-train:
	$(call configure)
	@$(CMAKE) --build $(BUILD) -j $(JOBS) --target bench_training
	@scripts/bench_train.py

oracle:
	@tests/oracle/make.sh

mutation:
	@scripts/mutation.sh

fuzz:
	@scripts/fuzz.sh

clean:
	rm -rf $(BUILD)

help:
	@echo 'make                 builds the program and the library in $(BUILD)/ (the program is $(BUILD)/fam)'
	@echo 'make demo            installs what is missing, builds, and shows the memory at work in three minutes;'
	@echo '                     DEMO_FULL=1 runs the long form: 8,000 tokens a round and the whole Bible'
	@echo 'make tutorial        teaches a very small memory from nothing in three minutes, measures and draws it'
	@echo 'make test            installs what is missing, builds, runs all tests; FAM_TEST_QUICK=1 for the first stage only'
	@echo 'make bench           measures speed and memory, beside llama.cpp where it can be built; BENCH_FULL=1 for 1,000,000 tokens'
	@echo 'make bench-train     measures training, beside PyTorch where FAM_TORCH_PYTHON names a Python that has it'
	@echo 'make install         installs under PREFIX=$(PREFIX) (DESTDIR too)'
	@echo 'make mutation        breaks the code on purpose, patch by patch, and checks that the tests notice'
	@echo 'make fuzz            runs each fuzz target for FUZZ_SECONDS=60'
	@echo 'make oracle          makes the reference answers of the tests again (needs Python with torch and transformers)'
	@echo 'make clean           removes $(BUILD)/, downloads included'
