#!/usr/bin/env bats
# The tasks of the Makefile: what they say, install and need.
load helper
setup_file() { build_server; }

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

@test "a task whose tool is missing says in one line which package has it" {
  natively 'the tasks are the same'
  local task program make
  make=$(command -v make)
  mkdir "$BATS_TEST_TMPDIR/bin"
  for program in bash sh env; do ln --symbolic "$(command -v "$program")" "$BATS_TEST_TMPDIR/bin"; done
  while read -r task program; do
    run -2 env PATH="$BATS_TEST_TMPDIR/bin" "$make" --silent --directory="$root" "$task"
    [[ ${lines[0]} == "make ${task%% *}: no "*": apt-get install $program" ]] || fail "$task: $output"
    [[ ${#lines[@]} == 2 && ${lines[1]} == make*:* ]] || fail "$task: $output" # what make says itself
  done <<'TASKS'
lint shellcheck
fuzz-small clang
container buildah
count valgrind
crosscheck nginx-light
TASKS
}
