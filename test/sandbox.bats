#!/usr/bin/env bats
# What the server gives up once it has started: its identity, privileges, files, and the system calls it has no use for.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
teardown() { stop_server; }

ok='GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'

# Builds the server with a line of C++ more at the beginning of what answers /pipeline. Further arguments: scripts of
# sed, to change more of it.
build_with() {
  build_edited "$(before_ok "$1")" "${@:2}"
}

# status_of FIELD: its value in /proc for all threads, each one once.
status_of() { sed --quiet "s/^$1:[ \t]*//p" "/proc/$server_pid/task"/*/status | sort --unique; }

# own FIELD: its value for the test itself. A container may have filtered its calls, and let nothing gain privileges.
own() { sed --quiet "s/^$1:[ \t]*//p" /proc/self/status; }

# Whether every thread is behind the filter: the main thread comes last, behind its line. Kernels older than 5.9 do not count
# filters.
is_filtered() {
  local filters
  filters=$(own Seccomp_filters)
  [[ $(status_of Seccomp) == 2 && (-z $filters || $(status_of Seccomp_filters) == $((filters + 1))) ]]
}

# Whether no thread has a capability, nor one to pass on.
has_no_capabilities() {
  local set
  for set in CapInh CapPrm CapEff CapAmb; do
    [[ $(status_of $set) == 0000000000000000 ]] || fail "$set: $(status_of $set)"
  done
}

@test "every thread has a filter, cannot gain privileges, and cannot be debugged" {
  natively 'seccomp is not emulated'
  start_server --threads 3
  wait_until is_filtered
  [[ $(find "/proc/$server_pid/task" -mindepth 1 -maxdepth 1 | wc --lines) == 4 && $(status_of NoNewPrivs) == 1 ]]
  [[ $(stat --format=%u "/proc/$server_pid/environ") == 0 ]]
}

@test "--no-sandbox keeps everything" {
  start_server --no-sandbox
  exchange "$ok"
  assert_statuses 200
  local field
  for field in Seccomp Seccomp_filters NoNewPrivs Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb; do
    [[ $(status_of $field) == "$(own $field)" ]] || fail "$field: '$(status_of $field)', not '$(own $field)'"
  done
}

@test "the filter allows exactly the calls that the server makes once it has started" {
  natively 'seccomp is not emulated'
  local trace=$BATS_TEST_TMPDIR/trace
  local server_command=(strace --daemonize --follow-forks --output="$trace")
  start_server --threads 2
  local _
  for _ in 1 2 3 4; do # both workers have a part
    exchange "$ok"
    assert_statuses 200
    exchange 'bad request\r\n\r\n'
    assert_statuses 400
  done
  exchange 'GET /delay/5 HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_body 5
  exchange 'GET /?s=100k HTTP/1.1\r\nHost: a\r\n\r\nGET /?x=5 HTTP/1.1\r\nHost: a\r\n\r\n' # a long answer, a reset
  kill -USR1 "$server_pid"
  wait_until grep --quiet accepted "$server_log"
  stop_server
  wait_until grep --quiet '+++ exited with 0 +++' "$trace"
  # Of each thread the calls behind that of the filter. A call that others interrupt stands in two lines.
  awk '$2 ~ /^seccomp\(/ { is_behind[$1] = 1; next }
       is_behind[$1] && match($2, /^[a-z_0-9]+\(/) { print substr($2, 1, RLENGTH - 1) }' "$trace" |
    sort --unique >"$BATS_TEST_TMPDIR/called"
  sed --quiet '/^constexpr Sys steady_calls/,/^};/s/Sys::\([a-z_0-9]*\),/\n\1\n/gp' "$root/server.cpp" |
    grep --extended-regexp '^[a-z_0-9]+$' | sort >"$BATS_TEST_TMPDIR/listed"
  diff "$BATS_TEST_TMPDIR/called" "$BATS_TEST_TMPDIR/listed"
}

@test "a forbidden call ends the process, and so does an allowed one of another architecture" {
  natively 'seccomp is not emulated'
  # Each is made by a route of its own. Numbers of x32 have bit 30 set; 45 is recvfrom here, and brk where a program of
  # 32 bits calls.
  # shellcheck disable=SC2016
  local calls=('(void)trap(Sys::socket, 0, 0, 0);' '(void)trap(Sys(long(Sys::sendto) + 0x40000000), 0, 0, 0);'
    'long result; asm volatile("int $0x80" : "=a"(result) : "a"(45L), "b"(0L) : "memory");')
  local number call ask edits=()
  for number in "${!calls[@]}"; do
    edits+=("/^\/\/ The functions of a route. What/i struct Call$number { void answer(Answer \&answer) const {\
      ${calls[number]} answer.text<\"ok\">(); } };"
      "/^constexpr Route routes\[\] = {/a {to_get, \"/call/$number\"_b, functions_of<Call$number>},")
  done
  build_edited "${edits[@]}"
  for number in "${!calls[@]}"; do
    call=${calls[number]} ask="GET /call/$number HTTP/1.1\r\nHost: a\r\n\r\n"
    start_server --no-sandbox
    exchange "$ask"
    if [[ -z $response && $call == *0x80* ]]; then continue; fi # this kernel runs no programs of 32 bits
    assert_statuses 200 "$call"
    stop_server
    start_server
    exchange "$ask"
    [[ -z $response ]] || fail "$call"
    wait_until server_is_gone
    local status=0
    wait "$server_pid" || status=$?
    ((status == 128 + 31)) || fail "$call: status $status" # SIGSYS
  done
}

# A port that only a privileged server can bind.
free_low_port() {
  python3 -c 'import random, socket
for port in random.sample(range(600, 1000), 100):
    try:
        socket.create_server(("", port)).close()
        print(port)
        break
    except OSError:
        pass'
}

@test "root becomes nobody, or --user, without groups and capabilities, once the port is bound" {
  natively 'the emulator has a thread of its own, which stays root'
  ((UID == 0)) || skip 'only root can become somebody else'
  local port user
  port=$(free_low_port)
  for user in 65534 1234; do
    local options=()
    if ((user == 1234)); then options=(--user 1234); fi
    server_log=$BATS_TEST_TMPDIR/log
    : >"$server_log"
    setpriv --groups=7,8 "${server[@]}" --port "$port" "${options[@]}" 2>"$server_log" 3>&- &
    server_pid=$!
    wait_until grep --quiet ' (.* worker' "$server_log"
    server_port=$port exchange "$ok"
    assert_statuses 200
    [[ $(status_of Uid) == "$user"$'\t'"$user"$'\t'"$user"$'\t'"$user" ]] || fail "$(status_of Uid)"
    [[ $(status_of Gid) == "$user"$'\t'"$user"$'\t'"$user"$'\t'"$user" && -z $(status_of Groups | tr --delete ' \n') ]]
    has_no_capabilities
    stop_server
  done
}

# Lets start_server take a copy of the server that is where others may read it.
copy_for_others() {
  server_program=$BATS_TEST_TMPDIR/server
  cp "$built/server" "$server_program"
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR" "$server_program"
}

@test "a user other than root keeps its identity, and cannot change it" {
  natively 'the emulator has a thread of its own, which stays root'
  ((UID == 0)) || skip 'only root can start it as another user'
  copy_for_others
  local server_command=(setpriv --reuid=4321 --regid=4321 --clear-groups)
  start_server
  exchange "$ok"
  assert_statuses 200
  [[ $(status_of Uid) == 4321$'\t'4321$'\t'4321$'\t'4321 ]]
  [[ $(stat --format=%u "/proc/$server_pid/environ") == 0 ]] # as what must not be debugged is root's there
  stop_server
  run -1 --separate-stderr "${server_command[@]}" "$server_program" --port 1 --user 5
  [[ ${#stderr_lines[@]} == 1 ]]
  run -1 --separate-stderr "${server_command[@]}" "$server_program" --port 0 --user 5
  [[ -z $output && $stderr == 'mote: setgroups: Operation not permitted (errno 1)' ]] || fail "$stderr"
}

@test "an inherited capability is gone once the port is bound" {
  natively 'the emulator has a thread of its own, which keeps it'
  ((UID == 0)) || skip 'only root can start it as another user'
  copy_for_others
  local port
  port=$(free_low_port)
  local starting=(setpriv --reuid=4321 --regid=4321 --clear-groups '--inh-caps=+net_bind_service,+setpcap'
    --ambient-caps=+net_bind_service)
  server_log=$BATS_TEST_TMPDIR/log
  "${starting[@]}" "$server_program" --port "$port" 2>"$server_log" 3>&- &
  server_pid=$!
  wait_until grep --quiet ' (.* worker' "$server_log"
  server_port=$port exchange "$ok"
  assert_statuses 200
  has_no_capabilities
  stop_server
  local server_command=("${starting[@]}")
  start_server --no-sandbox
  [[ $(status_of CapAmb) == 0000000000000400 ]] || fail "$(status_of CapAmb)"
}

@test "root of a user namespace without other users is told so, and gives up the rest" {
  natively 'seccomp is not emulated'
  unshare --user --map-root-user true || skip 'this system does not let a test make a user namespace'
  local server_command=(unshare --user --map-root-user)
  start_server
  exchange "$ok"
  assert_statuses 200
  [[ $(grep --invert-match ' (.* worker' "$server_log") == \
    'mote: still root: setgroups: Operation not permitted (errno 1)' ]] || fail "$(<"$server_log")"
  has_no_capabilities
  wait_until is_filtered
  [[ $(status_of NoNewPrivs) == 1 && $(status_of Uid) == "$UID"$'\t'"$UID"$'\t'"$UID"$'\t'"$UID" ]]
  stop_server
  run -1 --separate-stderr timeout 10 "${server_command[@]}" "$built/server" --port 0 --user 5
  [[ -z $output && $stderr == 'mote: setgroups: Operation not permitted (errno 1)' ]] || fail "$stderr"
}

@test "a half-refused change of identity, and capabilities that cannot be dropped, get a line each" {
  natively 'the emulator makes calls of its own'
  ((UID == 0)) || skip 'only root can become somebody else'
  local call
  for call in setresgid setresuid; do
    local server_command=(strace --daemonize --follow-forks --output=/dev/null --trace="$call,capset"
      --inject="$call,capset:error=EPERM")
    start_server
    exchange "$ok"
    assert_statuses 200
    [[ $(grep --invert-match ' (.* worker' "$server_log") == "mote: still root: $call: Operation not permitted (errno 1)
mote: capabilities kept: capset: Operation not permitted (errno 1)" ]] || fail "$(<"$server_log")"
    stop_server
    run -1 --separate-stderr timeout 10 "${server_command[@]/--daemonize/--quiet=all}" "$built/server" --port 0 --user 5
    [[ -z $output && $stderr == "mote: $call: Operation not permitted (errno 1)" ]] || fail "$stderr"
  done
}

@test "a kernel without seccomp gets one line, and no failure" {
  natively 'seccomp is not emulated'
  local server_command=(strace --daemonize --follow-forks --output=/dev/null --trace=seccomp
    --inject=seccomp:error=EINVAL)
  start_server
  exchange "$ok"
  assert_statuses 200
  [[ $(grep --invert-match ' (.* worker' "$server_log") == 'mote: system calls not filtered: seccomp: Invalid argument (errno 22)' ]]
}

# Prints the version of Landlock that the kernel has, or a negative number.
landlock_version() { python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))'; }

@test "Landlock alone forbids files, and bind and connect of sockets" {
  natively 'Landlock is not emulated'
  local version call
  version=$(landlock_version)
  ((version > 0)) || skip 'this kernel has no Landlock'
  local file # not below the tests' folder, where nobody else may look anyway
  file=$(mktemp)
  chmod 666 "$file"
  # The numbers of open, truncate and connect on x86-64.
  local calls=("trap(Sys(2), address(\\\"$file\\\"), 0)" "trap(Sys(76), address(\\\"$file\\\"), 0)")
  if ((version < 3)); then calls=("${calls[0]}"); fi
  if ((version >= 4)); then
    local socket='const long made = trap(Sys::socket, AF_INET, SOCK_STREAM, 0); constexpr sockaddr_inet to{AF_INET, 0x0f27, {127, 0, 0, 1}, {}, 0};'
    calls+=("[] { $socket return trap(Sys::bind, made, address(\\&to), sizeof to); }()"
      "[] { $socket return trap(Sys(42), made, address(\\&to), sizeof to); }()")
  fi
  # With the filter out of the way, an answer comes only if every call is refused with EACCES.
  local checks='' count=0
  for call in "${calls[@]}"; do checks+="if ($call != -13) { exit_group($((++count))); } "; done
  build_with "$checks" \
    's/return seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);/return long(program.length);/'
  start_server
  exchange "$ok"
  rm "$file"
  local status=0
  if server_is_gone; then wait "$server_pid" || status=$?; fi
  [[ $status == 0 ]] || fail "allowed: ${calls[status - 1]}"
  assert_statuses 200
}
