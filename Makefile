# Names for tasks; build.sh owns how the server is built.
.PHONY: all test bench size asm lint clean

all: server

server: server.cpp build.sh
	./build.sh

test: server
	bats test

# Cost per request beside a server that parses nothing, and nginx: see test/bench.py for its settings.
bench: server
	python3 test/bench.py

# Bytes of each section, then of each function and constant, largest last.
size: server
	size --format=sysv server
	nm --size-sort --print-size --radix=d --demangle server.debug | \
	  sed 's/(anonymous namespace):://g' | awk '{ $$1 = ""; $$2 += 0; print }'

# The shipped instructions with the source lines that they come from.
asm: server
	objdump --disassemble --demangle --source --no-show-raw-insn server.debug

lint:
	shellcheck build.sh .ci/run test/helper.bash test/*.bats
	clang-format --dry-run --Werror server.cpp
	clang-tidy --quiet server.cpp -- -std=c++20 -ffreestanding -march=x86-64-v2

clean:
	rm --force server server.debug
