#!/usr/bin/env bats
# Start-up and the end: arguments, messages, exit statuses, workers.
load helper
setup_file() { build_server; }

teardown() { stop_server; }

# refuse_arguments MESSAGE ARGUMENT...: one line on standard error, nothing on standard output, status 2.
refuse_arguments() {
  local message=$1 output errors status=0
  shift
  errors=$BATS_TEST_TMPDIR/errors
  output=$(timeout 10 "${server[@]}" "$@" 2>"$errors") || status=$?
  [[ $status == 2 && -z $output && $(<"$errors") == "mote: $message (see --help)" ]] ||
    fail "server $*: status $status, '$output', '$(<"$errors")'"
}

@test "arguments that mean nothing are refused with one line and status 2" {
  refuse_arguments 'unknown argument: -x' -x
  refuse_arguments 'unknown argument: 8080' 8080
  refuse_arguments 'unknown argument: ' ''
  refuse_arguments 'unknown argument: --port=1' --port=1
  refuse_arguments 'a number is missing' --port
  refuse_arguments 'a number is missing' --threads 1 --threads
  local number
  for number in 0 65536 -1 x 1x ' 1' '1 ' '' 99999999999999999999; do
    refuse_arguments "not a number in range: $number" --port "$number"
  done
  refuse_arguments 'not a number in range: 0' --threads 0
  refuse_arguments 'not a number in range: 1025' --threads 1025
  refuse_arguments 'not a number in range: 0' --user 0
  refuse_arguments 'not a number in range: 4294967295' --user 4294967295 # it would mean: nobody else
}

@test "an argument longer than a line is cut" {
  run -2 "${server[@]}" "$(printf 'x%.0s' {1..5000})"
  [[ ${#lines[@]} == 1 && ${#output} -lt 512 && $output == 'mote: unknown argument: xxx'* ]] || fail "${#output} bytes"
}

@test "--help and --version answer on standard output with status 0" {
  run -0 --separate-stderr "${server[@]}" --help
  local option
  for option in --port --threads --user --reuse-port --no-sandbox --help --version; do
    [[ $output == *"$option"* ]] || fail "$option is missing: $output"
  done
  # shellcheck disable=SC2154  # set by run
  [[ -z $stderr ]]
  run -0 --separate-stderr "${server[@]}" --version
  [[ $output == "mote $(sed --quiet 's/^#define MOTE_VERSION "\([^"]*\)".*/\1/p' "$root/server.cpp")" && -z $stderr ]]
}

@test "the start is one line with the name, version, address, port and number of workers" {
  start_server --threads 3
  # Where the kernel has no filters there is a line about that, too: see sandbox.bats.
  [[ $(grep --invert-match 'not filtered' "$server_log") == \
    "$("${server[@]}" --version) listening on 0.0.0.0:$server_port with 3 workers" ]]
}

@test "there is one worker a CPU that the process may run on, each on its own" {
  natively 'the emulator has a thread of its own'
  local cpu cpus
  start_server
  cpus=$(nproc)
  [[ $(find "/proc/$server_pid/task" -maxdepth 1 -mindepth 1 | wc --lines) == $((cpus + 1)) ]]
  for cpu in /proc/"$server_pid"/task/*; do
    if [[ ${cpu##*/} != "$server_pid" ]]; then sed --quiet 's/Cpus_allowed_list:\t//p' "$cpu/status"; fi
  done | sort --unique >"$BATS_TEST_TMPDIR/cpus"
  [[ $(wc --lines <"$BATS_TEST_TMPDIR/cpus") == "$cpus" ]] || fail "$(<"$BATS_TEST_TMPDIR/cpus")"
  stop_server
  local first
  first=$(sed --quiet 's/^Cpus_allowed_list:\t\([0-9]*\).*/\1/p' /proc/self/status)
  local server_command=(taskset --cpu-list "$first")
  start_server
  grep --quiet 'with 1 worker$' "$server_log"
}

@test "more workers than CPUs share them, and all serve" {
  start_server --threads 64
  local _
  for _ in {1..100}; do
    run -0 curl --silent --fail "http://127.0.0.1:$server_port/pipeline"
    [[ $output == ok ]]
  done
}

@test "each worker has its own descriptors, and no others'" {
  natively 'descriptors are not private'
  start_server --threads 3
  local task
  for task in /proc/"$server_pid"/task/*; do
    local sockets epolls
    sockets=$(find "$task/fd" -lname 'socket:*' | wc --lines)
    epolls=$(find "$task/fd" -lname '*eventpoll*' | wc --lines)
    if [[ ${task##*/} == "$server_pid" ]]; then
      [[ $sockets == 0 && $epolls == 0 ]] || fail "the main thread has $sockets sockets"
    else
      [[ $sockets == 1 && $epolls == 1 ]] || fail "a worker has $sockets sockets and $epolls epolls"
    fi
  done
}

@test "inherited descriptors are closed" {
  exec 7</dev/null
  start_server --threads 1
  exec 7<&-
  [[ -z $(find "/proc/$server_pid/fd" -name 7) ]]
}

@test "the descriptor limit is raised to the hard limit" {
  local server_command=(prlimit --nofile=100:2000)
  start_server --threads 1
  [[ $(sed --quiet 's/^Max open files *\([0-9]*\) *\([0-9]*\) .*/\1 \2/p' "/proc/$server_pid/limits") == '2000 2000' ]]
}

@test "a port in use is one line and status 1" {
  start_server
  run -1 --separate-stderr timeout 10 "${server[@]}" --port "$server_port"
  [[ -z $output && $stderr == "mote: bind to port $server_port: Address already in use (errno 98)" ]] || fail "$stderr"
}

@test "a port that was in use a moment ago can be used again" {
  start_server
  local port=$server_port number
  for number in 1 2 3; do
    # The server closes first, which leaves a TIME_WAIT on its port; nc -N may be faster than the answer.
    run -0 python3 - "$port" <<'PYTHON'
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
client.sendall(b"GET /pipeline HTTP/1.0\r\n\r\n")
answer = b""
while piece := client.recv(4096):
    answer += piece
assert answer.startswith(b"HTTP/1.1 200"), answer
PYTHON
    stop_server
    server_log=$BATS_TEST_TMPDIR/$number.log # a new one: the old one says "listening" until it is truncated
    "${server[@]}" --port "$port" 2>"$server_log" 3>&- &
    server_pid=$!
    wait_until grep --quiet listening "$server_log" || fail "$(<"$server_log")"
  done
}

@test "a failure at start names the call and the kernel's reason" {
  natively 'the emulator does not start with so few descriptors'
  run -1 --separate-stderr timeout 10 prlimit --nofile=4:4 "${server[@]}" --port 1
  [[ $stderr =~ ^'mote: '[a-z_0-9]+': Too many open files (errno 24)'$ || $stderr == *'Permission denied (errno 13)' ]] ||
    fail "$stderr"
  [[ ${#stderr_lines[@]} == 1 ]]
}

@test "it listens on every address" {
  start_server --threads 1
  response=$(printf 'GET /pipeline HTTP/1.0\r\n\r\n' | timeout 10 nc -N 127.0.0.2 "$server_port" | tr --delete '\r')
  assert_statuses 200
}

@test "every inherited descriptor is closed" {
  natively 'the emulator has descriptors of its own'
  local server_command=(bash -c 'exec "$@" 3</dev/null 9</dev/null' bash)
  start_server --threads 1
  run -0 ls -l "/proc/$server_pid/fd"
  # The standard streams, and the order to stop.
  [[ ${#lines[@]} == 5 && $output == *'3 -> anon_inode:[timerfd]' ]] || fail "$output"
}

@test "without --port it is 8080" {
  run timeout 1 "${server[@]}"
  [[ $output == *' listening on 0.0.0.0:8080 '* || $output == *'bind to port 8080: Address already in use'* ]] ||
    fail "$output"
}

@test "being stopped and continued does not end it" {
  start_server --threads 1
  kill -STOP "$server_pid"
  kill -CONT "$server_pid"
  sleep 0.1
  exchange 'GET /pipeline HTTP/1.0\r\n\r\n'
  assert_statuses 200
}
