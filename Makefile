# Names for tasks; build.sh owns how the server is built.
.PHONY: all test container fuzz crosscheck soak bench chart count size asm man lint clean

FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
RESULTS ?= test/charts/bench.json

all: server

server: server.cpp build.sh
	./build.sh

# With ARCH=aarch64 or riscv64: what a cross compiler makes, under an emulator. What that does otherwise than a kernel is
# left out, and no more than that. With MARCH=x86-64: what has no vector instructions for the scans.
ifdef ARCH
test:
	mkdir --parents .cross
	bats --formatter tap test >.cross/$(ARCH).log || { grep '^[^o]' .cross/$(ARCH).log; exit 1; }
	grep ' # skip ' .cross/$(ARCH).log
	test "$$(grep --count '^ok .* # skip emulated: ' .cross/$(ARCH).log)" = 27
else
test: $(if $(MARCH),,server)
	bats test
endif

# The image by Debian's buildah, and how it runs; as root.
container:
	CONTAINER=yes bats test/container.bats

# The server's own source under libFuzzer and sanitizers, from the rows of the test tables on: see test/fuzz.cpp. What
# is found stays in .fuzz/, and so does the corpus; the options are libFuzzer's.
fuzz:
	mkdir --parents .fuzz/rows .fuzz/corpus
	python3 test/cases.py --corpus .fuzz/rows test/*.bats
	clang++ -std=c++20 -march=x86-64-v2 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -fno-sanitize-coverage=trace-cmp -o .fuzz/fuzz test/fuzz.cpp
	.fuzz/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=10 -dict=test/fuzz.dict -artifact_prefix=.fuzz/ \
	  -print_final_stats=1 $(FUZZ_OPTIONS) .fuzz/corpus .fuzz/rows

# Where nginx reads the rows of the test tables otherwise, and no note says why this server is right.
crosscheck:
	python3 test/crosscheck.py test/*.bats

# Ten minutes of good, bad, slow and aborted traffic at once: see test/soak.py.
soak: server
	python3 test/soak.py $(SOAK_SECONDS)

# Cost per request beside a server that parses nothing, and nginx, in seven to nine minutes; with QUICK=1 a rough look
# in one. See test/bench.py for its settings.
bench: server
	python3 test/bench.py

# The README's charts and figures from the results of an earlier run.
chart:
	python3 test/chart.py $(RESULTS) test/charts README.md

# Instructions per request, by valgrind.
count:
	python3 test/count.py

# Where every byte of the file goes: headers, hot and cold code by function, constants.
size: server
	python3 test/size.py server server.debug

# The shipped instructions with the source lines that they come from.
asm: server
	objdump --disassemble --demangle --source --no-show-raw-insn server.debug

# The manual page, to be looked at with man --local-file.
man: server
	mkdir --parents .man
	test/man.sh >.man/mote.8

lint:
	shellcheck build.sh .ci/run test/arena.sh test/boot.sh test/man.sh test/helper.bash test/*.bats
	clang-format --dry-run --Werror server.cpp test/fuzz.cpp test/kernel.cpp test/scans.cpp
	clang-tidy --quiet server.cpp -- -std=c++20 -ffreestanding -march=x86-64-v2

clean:
	rm --force server server.debug
	rm --force --recursive .fuzz .cross .boot .man
