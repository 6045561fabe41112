#!/usr/bin/env bats
# The tasks of the Makefile: what they say, install and need.
load helper

@test "make help has a line for every task" {
  natively 'the tasks are the same'
  run -0 make --no-print-directory --directory="$root" help
  local task
  for task in install uninstall test container lint fuzz crowd soak crosscheck bench chart slices count size asm man clean; do
    grep --quiet "make $task\b" <<<"$output" || fail "no $task: $output"
  done
  local line
  for line in "${lines[@]}"; do ((${#line} <= 120)) || fail "$line"; done
}

@test "make install copies the program, its manual page and its units, and make uninstall removes them" {
  natively 'the tasks are the same'
  [[ -z ${MARCH:-} ]] || skip 'it installs the usual build'
  local folder=$BATS_TEST_TMPDIR/folder
  run -0 make --directory="$root" install DESTDIR="$folder" PREFIX=/opt/mote
  [[ $("$folder/opt/mote/bin/mote" --version) == mote\ * ]]
  cmp "$root/server" "$folder/opt/mote/bin/mote"
  grep --quiet '^ExecStart=/opt/mote/bin/mote$' "$folder/opt/mote/lib/systemd/system/mote.service"
  [[ -s $folder/opt/mote/lib/systemd/system/mote.socket ]]
  grep --quiet '^.TH MOTE "8"' "$folder/opt/mote/share/man/man8/mote.8"
  run -0 make --directory="$root" uninstall DESTDIR="$folder" PREFIX=/opt/mote
  run -0 find "$folder" -type f
  [[ -z $output ]] || fail "$output"
}

@test "make asm FUNCTION=NAME prints the instructions of the functions of that name" {
  natively 'the tasks are the same'
  [[ -z ${MARCH:-} ]] || skip 'it prints the usual build'
  local name printed
  while read -r name printed; do
    run -0 make --silent --directory="$root" asm FUNCTION="$name"
    [[ $(grep --extended-regexp '^[0-9a-f]+ <.*>:$' <<<"$output") == *"$printed>:" ]] || fail "$name: $output"
    (($(grep --count --extended-regexp '^[0-9a-f]+ <.*>:$' <<<"$output") == 1)) || fail "$name: $output"
    grep --quiet --extended-regexp '^ +[0-9a-f]+:' <<<"$output" || fail "no instructions of $name: $output"
  done <<'FUNCTIONS'
run_worker <(anonymous namespace)::run_worker((anonymous namespace)::Worker&)
must <(anonymous namespace)::must(char const*, long)
_start <_start
FUNCTIONS
  run -2 --separate-stderr make --silent --directory="$root" asm FUNCTION=run_work
  # shellcheck disable=SC2154  # set by run
  [[ -z $output && ${stderr_lines[0]} == 'make asm: no function run_work; it may be inlined' ]] || fail "$output" "$stderr"
}

@test "a task whose tools are missing says in one line which packages have them, and does nothing" {
  natively 'the tasks are the same'
  local task packages make
  make=$(command -v make)
  mkdir "$BATS_TEST_TMPDIR/bin"
  for program in bash sh env; do ln --symbolic "$(command -v "$program")" "$BATS_TEST_TMPDIR/bin"; done
  while IFS='|' read -r task packages; do
    # shellcheck disable=SC2086 # words
    run -2 env PATH="$BATS_TEST_TMPDIR/bin" "$make" --silent --directory="$root" $task
    [[ ${lines[0]} == "make "*": no "*": apt-get install $packages" ]] || fail "$task: $output"
    [[ ${#lines[@]} == 2 && ${lines[1]} == make*:* ]] || fail "$task: $output" # what make says itself
  done <<'TASKS'
test|g++ bats parallel python3 curl netcat-openbsd procps groff-base haproxy help2man nginx-light patch slowhttptest strace valgrind wrk
test MARCH=x86-64|g++ bats parallel python3 curl netcat-openbsd procps
test ARCH=aarch64|g++ bats parallel python3 curl netcat-openbsd procps g++-aarch64-linux-gnu qemu-user-static
lint|shellcheck clang-format clang-tidy
fuzz-small|python3 clang
container|bats curl buildah debootstrap kubernetes-client
count|python3 valgrind
crosscheck|python3 nginx-light
bench|python3
soak|python3 wrk
slices|python3
size|python3
chart|python3
man|help2man
install|help2man
TASKS
}

@test "an older bats gets one line" {
  natively 'the tasks are the same'
  local version
  mkdir "$BATS_TEST_TMPDIR/bin"
  # shellcheck disable=SC2016 # the program knows it
  printf '%s\n' '#!/bin/sh' 'echo "Bats $version"' >"$BATS_TEST_TMPDIR/bin/bats"
  chmod +x "$BATS_TEST_TMPDIR/bin/bats"
  for version in 1.2.1 1.7.9; do
    PATH=$BATS_TEST_TMPDIR/bin:$PATH version=$version run -2 make --silent --directory="$root" test
    [[ ${lines[0]} == "make test: Bats $version is too old: 1.8 or newer is needed" && ${#lines[@]} == 2 ]] || fail "$output"
  done
  for version in 1.8.0 1.8.2 1.10.0 2.0.0; do
    PATH=$BATS_TEST_TMPDIR/bin:$PATH version=$version run -0 make --silent --directory="$root" test
    [[ $output != *'too old'* ]] || fail "$output"
  done
}

@test "a test file alone says in one line which packages it needs" {
  natively 'the helper is the same'
  source "$root/test/setup_suite.bash"
  load() { :; } # the helper is loaded
  PATH=$BATS_TEST_TMPDIR run -1 setup_suite
  [[ $output == 'no curl nc pgrep python3: apt-get install curl netcat-openbsd procps python3' ]] || fail "$output"
}
