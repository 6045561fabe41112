# Names for tasks; build.sh owns how the server is built.
.PHONY: all server help install uninstall test container fuzz fuzz-shipped fuzz-small crowd crosscheck soak bench slices \
  chart count size asm man lint clean

FUZZ_SECONDS ?= 60
CROWD_SECONDS ?= 30
SOAK_SECONDS ?= 600
RESULTS ?= test/charts/bench.json

PREFIX ?= /usr/local

# $(call need,PROGRAM:PACKAGE...): one line, before any work is done, if programs are missing. PROGRAM alone is in a package
# of that name.
need = @programs= packages=; \
  for pair in $(1); do \
    command -v $${pair%:*} >/dev/null || programs="$$programs $${pair%:*}" packages="$$packages $${pair\#*:}"; \
  done; \
  test -z "$$programs" || { echo "make $@: no$$programs: apt-get install$$packages" >&2; exit 1; }

all: server
	@echo "./server is built; 'make help' lists the tasks"

server:
	./build.sh --if-needed

help:
	@echo 'make             build ./server'
	@echo 'make install     program, manual page, systemd units to PREFIX (/usr/local), below DESTDIR; make uninstall'
	@echo 'make test        all tests; with ARCH=aarch64, ARCH=riscv64 or MARCH=x86-64 those that can differ there'
	@echo 'make container   the container image, by buildah; as root'
	@echo 'make lint        shellcheck, clang-format, clang-tidy'
	@echo 'make fuzz        the source under libFuzzer for FUZZ_SECONDS (60), twice'
	@echo 'make crowd       many connections on a simulated kernel for CROWD_SECONDS (30)'
	@echo 'make soak        good and bad traffic at once for SOAK_SECONDS (600)'
	@echo 'make crosscheck  where nginx reads the test tables otherwise'
	@echo 'make bench       cost and latency beside other servers, in 14 minutes; QUICK=1 in two; make chart shows it'
	@echo 'make slices      CPU per request in alternating slices of 50 ms, in three minutes'
	@echo 'make count       instructions per request, by valgrind'
	@echo 'make size        where every byte of the file goes'
	@echo 'make asm         the instructions with their source; FUNCTION=run_worker: only those of functions of that name'
	@echo 'make man         the manual page, in .man/'
	@echo 'make clean       remove what was built'

# systemd's units name /usr/local/bin/mote.
install: man
	install -D --mode=755 server $(DESTDIR)$(PREFIX)/bin/mote
	install -D --mode=644 .man/mote.8 $(DESTDIR)$(PREFIX)/share/man/man8/mote.8
	install --directory $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in mote.service mote.socket; do \
	  sed 's|/usr/local/bin|$(PREFIX)/bin|' test/deploy/$$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit; \
	done
uninstall:
	rm --force $(DESTDIR)$(PREFIX)/bin/mote $(DESTDIR)$(PREFIX)/share/man/man8/mote.8 \
	  $(DESTDIR)$(PREFIX)/lib/systemd/system/mote.service $(DESTDIR)$(PREFIX)/lib/systemd/system/mote.socket

# One line if bats does not know what is used here.
new_bats = @printf '%s\n' 'Bats 1.8.0' "$$(bats --version)" | sort --version-sort --check=quiet || \
  { echo "make $@: $$(bats --version) is too old: 1.8 or newer is needed" >&2; exit 1; }
test_tools = g++ bats parallel python3 curl nc:netcat-openbsd pgrep:procps

# The files run at the same time, for most tests wait most of the time. Behind them, one by one, run those that measure
# milliseconds and CPU time.
JOBS ?= 10
ifeq ($(ARCH)$(MARCH),)
test:
	$(call need,$(test_tools) groff:groff-base haproxy help2man nginx:nginx-light patch slowhttptest strace valgrind wrk)
	$(new_bats)
	./build.sh --if-needed
	@echo 'This takes three minutes. The lines of a file are printed when all of its tests have run.'
	@status=0; \
	bats --print-output-on-failure --jobs $(JOBS) --filter-tags '!alone' test || status=1; \
	bats --print-output-on-failure --filter-tags alone $$(grep --files-with-matches 'tags=alone' test/*.bats) || status=1; \
	exit $$status
else
# With MARCH=x86-64 what has no vector instructions for the scans, with ARCH=aarch64 or riscv64 what a cross compiler makes,
# under an emulator. Of the tests only what can differ there: the scans and all that is read with them, numbers, the file
# itself; with another architecture system calls, their structures, and how a thread starts, too. What an emulator does
# otherwise than a kernel is left out by name.
files = binary bytes chunked connection differential expectations field_lines framing fuzz host limits request_line \
  routes validate $(if $(ARCH),connections shutdown start_up statistics)
test:
	$(call need,$(test_tools) $(if $(ARCH),$(ARCH)-linux-gnu-g++:g++-$(ARCH)-linux-gnu qemu-$(ARCH)-static:qemu-user-static))
	$(new_bats)
	@echo 'This takes $(if $(ARCH),two minutes,a minute). The lines of a file are printed when all of its tests have run.'
	bats --print-output-on-failure --jobs $(JOBS) $(files:%=test/%.bats)
endif

# The image by Debian's buildah, and how it runs; as root.
container:
	$(call need,bats curl buildah debootstrap kubectl:kubernetes-client)
	@echo 'This takes a minute before the first line: debootstrap makes the base image.'
	CONTAINER=yes bats test/container.bats

# The server's own source under libFuzzer and sanitizers, from the rows of the test tables on: see test/fuzz.cpp. Twice, for
# FUZZ_SECONDS each: as it ships, and with limits so small that the fuzzer's short inputs reach them. What is found stays
# in .fuzz/, and so does the corpus; the options are libFuzzer's.
small_limits = TUNE(input_size, 1024) TUNE(head_limit, 400) TUNE(request_line_limit, 200) TUNE(output_size, 2048) \
  TUNE(block_count, 3) TUNE(stash_count, 32) TUNE(stash_size, 64) TUNE(extension_limit, 100) TUNE(trailer_limit, 120) \
  TUNE(answer_content_limit, 1024) TUNE(run_size, 1100) TUNE(sendfile_size, 600) TUNE(produce_limit, 3000) \
  TUNE(part_work, 16) TUNE(call_work, 64)
fuzz: fuzz-shipped fuzz-small
fuzz-shipped fuzz-small: fuzz-%:
	$(call need,python3 clang++:clang)
	rm --force --recursive .fuzz/rows
	mkdir --parents .fuzz/rows .fuzz/$*
	python3 test/cases.py --corpus .fuzz/rows $(if $(filter small,$*),8000=200 16384=400 4096=100) test/*.bats
	clang++ -std=c++20 -march=x86-64-v2 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -fno-sanitize-coverage=trace-cmp $(if $(filter small,$*),-DMOTE_TUNABLES="$(small_limits)") \
	  -o .fuzz/fuzz-$* test/fuzz.cpp
	.fuzz/fuzz-$* -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=10 -dict=test/fuzz.dict -artifact_prefix=.fuzz/ \
	  -print_final_stats=1 $(FUZZ_OPTIONS) .fuzz/$* .fuzz/rows

# Many connections at once under sanitizers, on a kernel that is played: see test/crowd.cpp. Its limits are those of the
# small fuzzer and further ones. CROWD_SEED=N begins with that seed, as a finding prints it. (Copying nothing from nullptr
# is no finding: our own memcpy may be asked for that.)
crowd_limits = $(small_limits) TUNE(connection_limit, 24) TUNE(events_per_wait, 8) TUNE(accept_turns, 4) \
  TUNE(end_turns, 3) TUNE(linger_limit, 3000) TUNE(head_timeout_s, 3) TUNE(content_timeout_s, 4) \
  TUNE(idle_timeout_s, 6) TUNE(send_timeout_s, 3) TUNE(linger_timeout_s, 2)
crowd: .fuzz/crowd
	.fuzz/crowd $(CROWD_SECONDS) $(CROWD_SEED)
.fuzz/crowd: test/crowd.cpp server.cpp Makefile
	$(call need,$(firstword $(CXX)):g++)
	mkdir --parents .fuzz
	$(CXX) -std=c++20 -march=x86-64-v2 -g -O1 -Wall -Wextra -fsanitize=address,undefined -fno-sanitize-recover=all \
	  -fno-sanitize=nonnull-attribute -DMOTE_TUNABLES="$(crowd_limits)" -o $@.$$$$ test/crowd.cpp && mv $@.$$$$ $@

# Where nginx reads the rows of the test tables otherwise, and no note says why this server is right.
crosscheck:
	$(call need,python3 nginx:nginx-light)
	python3 test/crosscheck.py test/*.bats

# Ten minutes of good, bad, slow and aborted traffic at once: see test/soak.py.
soak:
	$(call need,python3 wrk)
	./build.sh --if-needed
	python3 test/soak.py $(SOAK_SECONDS)

# Cost per request and latency beside a server that parses nothing, and others, in 14 minutes; with QUICK=1 a rough look
# in two. See test/bench.py for its settings; it says what is missing.
bench:
	$(call need,python3)
	./build.sh --if-needed
	python3 test/bench.py

# What a request costs beside the floor, and beside SERVER= if it is given, in three minutes: the ratios by which
# changes are judged. See test/slices.py.
slices:
	$(call need,python3)
	./build.sh --if-needed
	python3 test/slices.py

# The charts and figures of README.md and test/README.md from the results of an earlier run.
chart:
	$(call need,python3)
	python3 test/chart.py $(RESULTS) test/charts README.md test/README.md

# Instructions per request, by valgrind.
count:
	$(call need,python3 valgrind)
	python3 test/count.py

# Where every byte of the file goes: headers, hot and cold code by function, constants.
size:
	$(call need,python3)
	./build.sh --if-needed
	python3 test/size.py server server.debug

# The shipped instructions with the source lines that they come from. FUNCTION= takes a name without its namespace and
# arguments.
only_function = | awk '/^[0-9a-f]+ <.*>:$$/ { is_shown = /[ <:]$(FUNCTION)[(<>]/; is_found = is_found || is_shown } \
  is_shown { print } \
  END { if (!is_found) { print "make asm: no function $(FUNCTION); it may be inlined" >"/dev/stderr"; exit 1 } }'
asm: server
	@objdump --disassemble --demangle --source --no-show-raw-insn server.debug $(if $(FUNCTION),$(only_function))

# The manual page, to be looked at with man --local-file.
man:
	$(call need,help2man)
	./build.sh --if-needed
	mkdir --parents .man
	test/man.sh >.man/mote.8

lint:
	$(call need,shellcheck clang-format clang-tidy)
	shellcheck build.sh .ci/run test/arena.sh test/boot.sh test/man.sh test/*.bash test/*.bats
	clang-format --dry-run --Werror server.cpp test/addresses.cpp test/crowd.cpp test/fuzz.cpp test/kernel.cpp \
	  test/scans.cpp test/slices.c
	clang-tidy --quiet server.cpp -- -std=c++20 -ffreestanding -march=x86-64-v2

clean:
	rm --force server server.debug .settings
	rm --force --recursive .fuzz .cross .boot .man .variants
