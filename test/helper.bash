# What the test files share: a server of their own, raw bytes to and from it, and assertions that say what they saw.
# `load helper` in each file; start_server in its setup_file, stop_server in its teardown_file.

if ! command -v bats_require_minimum_version >/dev/null; then
  echo "bats $BATS_VERSION is too old: 1.8 or newer is needed" >&2
  return 1
fi
bats_require_minimum_version 1.8.0

# bats --jobs runs files at the same time, but the tests of a file one by one: most files share a server. Those whose
# tests have servers of their own, and mostly wait, unset this behind `load`.
BATS_NO_PARALLELIZE_WITHIN_FILE=true

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
built=$root # the folder of the server that is tested
emulator=() # words to put before it
tools=      # what the names of its linker's tools begin with
export PYTHONPATH=$root/test PYTHONDONTWRITEBYTECODE=1

# With ARCH=aarch64 or riscv64 the tests are about what a cross compiler makes, under an emulator, with MARCH about what is
# built for that instruction set.
if [[ -n ${ARCH:-} && $ARCH != "$(uname --machine)" ]]; then
  built=$root/.cross/$ARCH
  emulator=("qemu-$ARCH-static")
  tools=$ARCH-linux-gnu-
  export CXX=${tools}g++
elif [[ -n ${MARCH:-} ]]; then
  built=$root/.cross/$MARCH
fi
server=("${emulator[@]}" "$built/server")

# What a sandboxed server has is shown to those only who may trace any process (bit 19 of their capabilities). Others start
# a server that a test looks into with this option.
visible=()
if [[ $(</proc/self/status) =~ CapEff:[[:space:]]*([0-9a-f]+) ]] && (((0x${BASH_REMATCH[1]} >> 19 & 1) == 0)); then
  visible=(--no-sandbox)
fi

# Skips a test that is about what an emulator does otherwise.
natively() {
  if ((${#emulator[@]} != 0)); then skip "emulated: $1"; fi
}

# The folder of this test, or that of its file while the file is set up.
own_folder() { echo "${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}"; }

# need PROGRAM:PACKAGE...: one line if programs are missing. PROGRAM alone is in a package of that name.
need() {
  local pair programs='' packages=''
  for pair in "$@"; do
    if ! command -v "${pair%:*}" >/dev/null; then programs+=" ${pair%:*}" packages+=" ${pair#*:}"; fi
  done
  if [[ -n $programs ]]; then
    echo "no$programs: apt-get install$packages" >&2
    return 1
  fi
}

# build_into FOLDER NAME=NUMBER...: builds the server with these tunables if it is missing there, or made of something else
# than it should be. Tests that run at the same time wait here for one another.
build_into() {
  mkdir --parents "$1"
  (
    flock 9
    OUTPUT=$1 "$root/build.sh" --if-needed "${@:2}" >&2
  ) 9<"$1"
}

# Time limits that a test can wait for, and no other limit for content.
short_limits=(head_timeout_s=1 content_timeout_s=2 idle_timeout_s=3 send_timeout_s=2 linger_timeout_s=1
  content_limit=4294967295)
# Blocks that a test can fill, and time to do so.
few_blocks=(block_count=4 head_timeout_s=100 send_timeout_s=60)

# build_variant NAME=NUMBER...: lets start_server take a server with other tunables from then on. Tests with the same ones,
# in the same order, share it.
build_variant() {
  local IFS=,
  build_into "$built/.variants/$*" "$@"
  export server_program="$built/.variants/$*/server"
}

# build_edited SCRIPT...: builds the server from a source that these scripts of sed have changed, where no tunable does,
# and lets start_server take it from then on.
build_edited() {
  local folder arguments=() script
  folder=$(own_folder)/edited
  for script in "$@"; do arguments+=(--expression="$script"); done
  mkdir --parents "$folder"
  cp "$root/build.sh" "$folder"
  sed "${arguments[@]}" "$root/server.cpp" >"$folder/server.cpp"
  ! cmp --quiet "$root/server.cpp" "$folder/server.cpp" || fail "nothing is changed by: $*"
  "$folder/build.sh" >&2
  export server_program=$folder/server
}

# own_rows: how many rows of the table of routes are not among those that ship.
own_rows() {
  sed --quiet '/^constexpr Route routes\[\] = {/,/^};/s/^ *{[^"]*"\([^"]*\)"_b,.*/\1/p' "$root/server.cpp" |
    grep --count --invert-match --line-regexp '/pipeline\|/baseline11\|/delay/[*]\|/echo\|/[*]' || true
}

# before_ok LINE: a script for sed that puts a line of C++ before the one that answers /pipeline.
before_ok() {
  local line='void answer(Answer \&answer) const {' end='answer.text<"ok">(); }'
  echo "s|^    ${line/\\/} $end\$|    $line $1 $end|"
}

# Starts a server on a free port: sets server_port and server_pid, and server_log, where its standard error goes.
# Arguments: further options for the server. server_command may hold words to put before it. With MOTE_PORT it is
# somebody else's server that is tested, which listens there, with MOTE_SERVER another program.
start_server() {
  if [[ -n ${MOTE_PORT:-} ]]; then
    export server_port=$MOTE_PORT
    return
  fi
  if [[ -n ${MOTE_SERVER:-} ]]; then
    local server_program=$MOTE_SERVER
  fi
  server_log=$(own_folder)/server.log
  : >"$server_log" # an earlier server's line must not be taken for this one's
  # Descriptor 3 belongs to bats, which waits until nobody has it open any more.
  "${server_command[@]}" "${emulator[@]}" "${server_program:-$built/server}" --port 0 "$@" 2>"$server_log" 3>&- &
  server_pid=$!
  wait_until server_is_settled
  server_port=$(sed --quiet 's/^mote.*:\([0-9]*\)\/ (.*/\1/p' "$server_log") # none at a path
  export server_port server_pid server_log
  is_listening || fail "it did not start: $(<"$server_log")"
}

# Starts a server with one worker under strace, whose options say which of its system calls fail. strace puts another
# number in the place of such a call, which the sandbox would not let through.
start_under_strace() {
  local server_command=(strace --daemonize --follow-forks --output=/dev/null "$@")
  start_server --threads 1 --no-sandbox
}

# Asked often, and so without a process.
listening_line=$'(^|\n)mote [0-9.]*: [^\n]* workers?, user [0-9]*, '
is_listening() { [[ $(<"$server_log") =~ $listening_line ]]; }
server_is_settled() { is_listening || server_is_gone; }

# Ends the server; one that does not end by itself is killed, and the test fails.
stop_server() {
  if [[ -n ${MOTE_PORT:-} || -z ${server_pid:-} ]] || server_is_gone; then return; fi
  kill "$server_pid"
  if ! wait_until server_is_gone; then
    kill -KILL "$server_pid"
    return 1
  fi
}

# Waits for the end of a server that was told to stop, and expects status 0 within some seconds.
await_end() {
  local start=$EPOCHREALTIME status=0
  wait_until server_is_gone || fail 'it has not ended'
  wait "$server_pid" || status=$?
  [[ $status == 0 ]] || fail "exit status $status"
  python3 -c "import sys; sys.exit($EPOCHREALTIME - $start > ${1:-1})" || fail "it took longer than ${1:-1} s"
}

# In a file's other processes the server is nobody's child: a zombie is as good as gone.
server_is_gone() {
  local stat # asked often, and so without a process: the state stands behind the name in parentheses
  { read -r stat <"/proc/$server_pid/stat"; } 2>/dev/null || return 0
  [[ ${stat##*) } == Z* ]]
}

# has_answered PID LOG COUNT: whether a worker of that server has answered so many requests. It says so on SIGUSR1.
has_answered() {
  kill -USR1 "$1"
  local said
  said=$(sed --quiet 's/.* \([0-9]*\) requests.*/\1/p' "$2" | tail --lines=1)
  ((${said:-0} >= $3))
}

# free_ports COUNT: prints ports that nobody has, and that stay free while nobody listens there: connections get theirs from
# 32768 on (ip(7)), and each test has a range of its own.
free_ports() {
  python3 -c 'import random, socket, sys, zlib
ports, first = [], 10000 + 50 * (zlib.crc32(sys.argv[2].encode()) % 400)
while len(ports) < int(sys.argv[1]):
    port = random.randrange(first, first + 50)
    try:
        if port not in ports:
            socket.create_server(("", port)).close()
            ports.append(port)
    except OSError:
        pass
print(*ports)' "$1" "$BATS_TEST_FILENAME $BATS_TEST_NUMBER"
}

# Compiles a program of the tests' own for what the server is built for: arguments as for the compiler.
compile() {
  local options=(-static) # where there is no library for it to run with
  if ((${#emulator[@]} == 0)); then options=("-march=${MARCH:-x86-64-v2}"); fi
  "${CXX:-g++}" -std=c++20 "${options[@]}" "$@"
}

# Runs a command every 10 ms until it succeeds, for at most ten seconds.
wait_until() {
  local _
  for _ in {1..1000}; do
    if "$@"; then return 0; fi
    sleep 0.01
  done
  echo "gave up waiting: $*" >&2
  return 1
}

# Sends bytes, given as for printf, then the end of the stream, and reads to the end: sets response, CR removed.
exchange() {
  response=$(env printf "$1" | timeout 10 nc -N 127.0.0.1 "$server_port" | tr --delete '\r')
}

# The status codes of all responses, in order.
statuses() {
  local found
  found=$(grep --only-matching --perl-regexp '^(?:.*[^\n])?HTTP/1\.1 \K\d{3}' <<<"$response") || true
  echo "${found//$'\n'/ }"
}

fail() {
  printf '%s\n' "$@" "--- the response was:" "${response:-(nothing)}" >&2
  return 1
}

# assert_statuses "200 404" [what was sent]
assert_statuses() {
  local found
  found=$(statuses) || true
  [[ $found == "$1" ]] || fail "expected status $1, got '$found'" "${2:-}"
}

# assert_body TEXT [what was sent]: the last response ends in an empty line and this content.
assert_body() {
  [[ ${response##*$'\n\n'} == "$1" ]] || fail "expected content '$1'" "${2:-}"
}

assert_field() {
  [[ $'\n'$response$'\n' == *$'\n'"$1"$'\n'* ]] || fail "expected the field line '$1'"
}

refute_field() {
  if grep --quiet --ignore-case "^$1:" <<<"$response"; then fail "expected no field $1"; fi
}

# assert_refused STATUS [what was sent]: one answer, and the connection ends behind it.
assert_refused() {
  assert_statuses "$1" "${2:-}" && assert_field 'Connection: close'
}

# Runs the Python program on standard input with server_port and server_pid as `port` and `pid`, and with test/peers.py.
run_peers() {
  { printf 'from peers import *\nport, pid = %d, %d\n' "$server_port" "$server_pid" && cat; } | timeout 60 python3 -
}

# Checks the rows on standard input against the server: see test/cases.py.
check_rows() { python3 "$root/test/cases.py" "$server_port"; }

has_a_connection() {
  kill -USR1 "$server_pid"
  grep --quiet ' 1 open' "$server_log"
}

# Starts a server and a peer whose content does not end; the server is told to end when that is there.
end_during_content() {
  start_server --threads 1
  run_peers <<'PYTHON' &
peer = connect(port)
peer.sendall(b"POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
try:
    while peer.recv(100): pass
except ConnectionError:
    pass
PYTHON
  wait_until has_a_connection
  kill "$server_pid"
}
