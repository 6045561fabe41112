#!/usr/bin/env bats
# Start-up and the end: arguments, messages, exit statuses, workers.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE
setup_file() {
  export any_ip='[::]' # as the server calls it, even if no interface has an address of IPv6
  if ! has_ipv6_sockets; then any_ip=0.0.0.0; fi
}

teardown() { stop_server; }

# The kernel, or a container's filter, may refuse IPv6 altogether.
has_ipv6_sockets() { python3 -c 'import socket; socket.socket(socket.AF_INET6)' 2>/dev/null; }

has_ipv6() { python3 -c 'import socket; socket.create_server(("::1", 0), family=socket.AF_INET6)' 2>/dev/null; }

# refuse_arguments MESSAGE ARGUMENT...: one line on standard error, nothing on standard output, status 2.
refuse_arguments() {
  local message=$1 output errors status=0
  shift
  errors=$BATS_TEST_TMPDIR/errors
  output=$(timeout 10 "${server[@]}" "$@" 2>"$errors") || status=$?
  [[ $status == 2 && -z $output && $(<"$errors") == "mote: $message (see --help)" ]] ||
    fail "server $*: status $status, '$output', '$(<"$errors")'"
}

@test "bad arguments are refused with one line and status 2" {
  refuse_arguments 'unknown argument: -x' -x
  refuse_arguments 'unknown argument: 8080' 8080
  refuse_arguments 'unknown argument: ' ''
  refuse_arguments 'unknown argument:  ' ' '
  refuse_arguments 'unknown argument: -' -
  refuse_arguments 'unknown argument: --' --
  refuse_arguments 'unknown argument: --por' --por
  refuse_arguments 'unknown argument: --ports' --ports
  refuse_arguments 'unknown argument: --pin=1' --pin=1
  refuse_arguments 'unknown argument: -V1' -V1
  refuse_arguments 'unknown argument: -u1' -u1
  local name # with a part of its line in the help
  for name in '--port N' '--port ' '--user UID' '--help        this text'; do
    refuse_arguments "unknown argument: $name" "$name" 1
  done
  refuse_arguments '--port: no value' --port
  refuse_arguments '-t: no value' --threads 1 -t
  refuse_arguments '--port: , --port is not a number from 0 to 65535' '-p, --port'
  local number
  for number in 65536 -1 x 1x ' 1' '1 ' '' 99999999999999999999; do
    refuse_arguments "--port: $number is not a number from 0 to 65535" --port "$number"
    refuse_arguments "--port: $number is not a number from 0 to 65535" "--port=$number"
    PORT=$number refuse_arguments "PORT: $number is not a number from 0 to 65535"
  done
  refuse_arguments '--port: =1 is not a number from 0 to 65535' -p=1
  refuse_arguments '--threads: 0 is not a number from 1 to 1024' --threads 0
  refuse_arguments '--threads: 1025 is not a number from 1 to 1024' -t1025
  refuse_arguments '--user: 0 is not a number from 1 to 4294967294' --user=0
  refuse_arguments '--user: 4294967295 is not a number from 1 to 4294967294' --user 4294967295 # it would mean: nobody else
}

@test "an argument longer than a line is cut in the message" {
  run -2 "${server[@]}" "$(printf 'x%.0s' {1..5000})"
  [[ ${#lines[@]} == 1 && ${#output} -lt 512 && $output == 'mote: unknown argument: xxx'* ]] || fail "${#output} bytes"
}

@test "a bad address is refused" {
  local address
  for address in '' x 1 1.2.3 1.2.3.4.5 1.2.3. .1.2.3 1..2.3 256.0.0.1 1.2.3.1000 4294967297.0.0.1 1.2.3.4x ' 1.2.3.4' \
    1.2.3.-4 0x7f.0.0.1 localhost : :1 1: ::: 1:::2 ::1: 1::2::3 1:2:3:4:5:6:7 1:2:3:4:5:6:7: 1:2:3:4:5:6:7:8:9 \
    1:2:3:4:5:6:7:8:: ::1:2:3:4:5:6:7:8 1::2:3:4:5:6:7:8 1:2:3:4::5:6:7:8 12345:: ::g '[::1]' '::1 ' ::1%lo 1.2.3.4:80 ::1.2.3.4 \
    unix:@name; do
    refuse_arguments "--address: $address is not an address like 127.0.0.1, ::1 or unix:PATH" --address "$address"
  done
}

@test "addresses are read as the C library reads them" {
  natively 'the calls are those of the emulator'
  # What bind is asked for is all that matters: it fails, and the server ends.
  local text
  for text in 127.0.0.1 127.255.255.254 192.0.2.255 1.02.003.4 :: ::1 1:: 2001:db8:: 2001:DB8:0:0:8:800:200c:417A ::ffff:7f00:1 \
    1:2:3:4:5:6:7:8 1::8 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1:2:3::5:6:7:8 0:0:0:0:0:0:0:1 fe80::00ff; do
    if [[ $text == *:* ]] && ! has_ipv6_sockets; then skip 'there is no IPv6 here'; fi
    run -1 strace --trace=bind --inject=bind:error=EADDRINUSE --output="$BATS_TEST_TMPDIR/calls" \
      "$built/server" --threads 1 --address "$text"
    python3 - "$text" "$BATS_TEST_TMPDIR/calls" <<'PYTHON' || fail "$text:" "$(<"$BATS_TEST_TMPDIR/calls")"
import ipaddress, re, sys
text, calls = sys.argv[1], open(sys.argv[2]).read()
found = re.search(r'inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"', calls)[1]
text = re.sub(r"(?<![0-9a-fA-F:.])0+(?=[0-9]+\.)|(?<=\.)0+(?=[0-9])", "", text)  # Python refuses leading zeros
assert ipaddress.ip_address(found) == ipaddress.ip_address(text), found
PYTHON
  done
}

@test "200,000 addresses are accepted, and mean the same, as with inet_pton" {
  compile -O1 -Wall -Wextra -o "$BATS_TEST_TMPDIR/addresses" "$root/test/addresses.cpp"
  run -0 "${emulator[@]}" "$BATS_TEST_TMPDIR/addresses"
  echo "# $output" >&3
}

@test "--help fits a screen, and the README shows the same" {
  run -0 --separate-stderr "${server[@]}" --help
  # shellcheck disable=SC2154  # set by run
  [[ ${#lines[@]} -le 24 && -z $stderr ]]
  local line
  for line in "${lines[@]}"; do
    ((${#line} <= 80)) || fail "$line"
    grep --quiet --line-regexp --fixed-strings -- "$line" "$root/README.md" || fail "not in the README: $line"
  done
  local help=$output option
  for option in -a -p -t -h -V --address --port --threads --user --reuse-port --pin --no-sandbox --help --version; do
    grep --quiet --word-regexp -- "$option" <<<"$help" || fail "$option is missing: $help"
  done
  run -0 "${server[@]}" -h
  [[ $output == "$help" ]]
}

@test "--version goes to standard output with status 0" {
  run -0 "${server[@]}" -V
  local short=$output
  run -0 --separate-stderr "${server[@]}" --version
  [[ $output == "$short" ]]
  [[ $output == "mote $(sed --quiet 's/^#define MOTE_VERSION "\([^"]*\)".*/\1/p' "$root/server.cpp")" && -z $stderr ]]
}

@test "a value follows its option, or stands behind \`=\` or the letter; PORT in the environment is the default port" {
  local port other arguments
  read -r port other <<<"$(free_ports 2)"
  for arguments in "--port $port" "--port=$port" "-p $port" "-p$port" "--port $other -p$port"; do
    # shellcheck disable=SC2086 # words
    start_server $arguments -t1 --address=127.0.0.1
    [[ $server_port == "$port" ]] || fail "$arguments: $server_port"
    stop_server
  done
  start_server -p"$port" # the option goes before
  [[ $server_port == "$port" ]]
  stop_server
  PORT=$other run timeout 1 "${server[@]}" --address 127.0.0.1
  [[ $output == *" http://127.0.0.1:$other/ ("* ]] || fail "$output"
}

@test "a start prints one line with name, version, URL, number of workers, user, and whether it is sandboxed" {
  start_server --threads 3
  local user=$EUID
  if ((user == 0)); then user=65534; fi
  # Where the kernel has no filters there is a line about that, too: see sandbox.bats.
  [[ $(grep --invert-match 'not filtered' "$server_log") == \
    "$("${server[@]}" --version): http://$any_ip:$server_port/ (3 workers, user $user, sandboxed)" ]]
  stop_server
  start_server --threads 1 --no-sandbox
  [[ $(<"$server_log") == "$("${server[@]}" --version): http://$any_ip:$server_port/ (1 worker, user $EUID, no sandbox)" ]]
}

# The CPUs that each worker may run on, a line a worker.
workers_cpus() {
  local task
  for task in /proc/"$server_pid"/task/*; do
    if [[ ${task##*/} != "$server_pid" ]]; then sed --quiet 's/Cpus_allowed_list:\t//p' "$task/status"; fi
  done
}

@test "there is one worker per allowed CPU, and the scheduler decides where it runs" {
  natively 'the emulator has a thread of its own'
  local allowed
  allowed=$(sed --quiet 's/^Cpus_allowed_list:\t//p' /proc/self/status)
  start_server
  [[ $(workers_cpus) == "$(yes "$allowed" | head --lines="$(nproc)")" ]] || fail "$(workers_cpus)"
  stop_server
  local server_command=(taskset --cpu-list "${allowed%%[,-]*}")
  start_server
  grep --quiet '(1 worker,' "$server_log"
}

@test "with --pin each worker has its own CPU" {
  natively 'the emulator has a thread of its own'
  start_server --pin
  [[ $(workers_cpus | sort --unique | grep --count --extended-regexp '^[0-9]+$') == "$(nproc)" ]] || fail "$(workers_cpus)"
}

@test "only --pin asks for a CPU, and a refusal gets one line" {
  natively 'the emulator makes calls of its own'
  local refusing=(strace --follow-forks --output="$BATS_TEST_TMPDIR/calls" --trace=/affinity
    --inject=/affinity:error=EPERM)
  local server_command=("${refusing[@]}" --daemonize)
  start_server --threads 2 --no-sandbox
  exchange 'GET /pipeline HTTP/1.0\r\n\r\n'
  assert_statuses 200
  run ! grep affinity "$BATS_TEST_TMPDIR/calls"
  refusing=("${refusing[@]/\/affinity/sched_setaffinity}")
  run -1 --separate-stderr timeout 10 "${refusing[@]}" "$built/server" --port 0 --pin --no-sandbox
  [[ -z $output && $stderr == 'mote: sched_setaffinity: Operation not permitted (errno 1)' ]] || fail "$stderr"
}

@test "more workers than CPUs share the CPUs, and all serve" {
  start_server --threads 64
  # A connection each.
  run -0 curl --silent --fail --header 'Connection: close' "http://127.0.0.1:$server_port/pipeline?[1-100]"
  [[ $output == "$(printf 'ok%.0s' {1..100})" ]] || fail "$output"
}

@test "each worker has its own descriptors only" {
  natively 'descriptors are not private'
  start_server --threads 3 "${visible[@]}"
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
  exec 77</dev/null
  start_server --threads 1 "${visible[@]}"
  exec 77<&-
  [[ -z $(find "/proc/$server_pid/fd" -name 77) ]]
}

@test "the descriptor limit is raised to the hard limit" {
  local server_command=(prlimit --nofile=100:2000)
  start_server --threads 1
  [[ $(sed --quiet 's/^Max open files *\([0-9]*\) *\([0-9]*\) .*/\1 \2/p' "/proc/$server_pid/limits") == '2000 2000' ]]
}

@test "a descriptor limit that cannot be read is left alone" {
  natively 'the emulator makes calls of its own'
  local limits
  limits=$(grep '^Max open files' /proc/self/limits)
  start_under_strace --trace=prlimit64 --inject=prlimit64:error=EPERM:when=1
  [[ $(grep '^Max open files' "/proc/$server_pid/limits") == "$limits" ]]
  exchange 'GET /pipeline HTTP/1.0\r\n\r\n'
  assert_statuses 200
}

@test "a port in use gets one line and status 1" {
  start_server
  run -1 --separate-stderr timeout 10 "${server[@]}" --port "$server_port"
  [[ -z $output && $stderr == "mote: bind to http://$any_ip:$server_port/: Address already in use (errno 98)" ]] || fail "$stderr"
}

@test "a port can be reused at once" {
  local port number
  port=$(free_ports 1)
  for number in 1 2 3 4; do
    server_log=$BATS_TEST_TMPDIR/$number.log # a new one: the old one says "listening" until it is truncated
    "${server[@]}" --port "$port" 2>"$server_log" 3>&- &
    server_pid=$!
    wait_until grep --quiet ' (.* worker' "$server_log" || fail "$(<"$server_log")"
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
  done
}

@test "a failure at start names the call and the kernel's reason" {
  natively 'the emulator does not start with so few descriptors'
  run -1 --separate-stderr timeout 10 prlimit --nofile=4:4 "${server[@]}" --port 1
  [[ $stderr =~ ^'mote: '[a-z_0-9]+': Too many open files (errno 24)'$ || $stderr == *'Permission denied (errno 13)' ]] ||
    fail "$stderr"
  [[ ${#stderr_lines[@]} == 1 ]]
}

@test "every reason that a start can meet has the C library's words" {
  natively 'the calls are those of the emulator'
  local -A numbers reasons
  local name number reason
  while read -r name number reason; do
    numbers[$name]=$number reasons[$name]=$reason
  done < <(python3 -c 'import errno, os
for name in dir(errno):
    if name[0] == "E": print(name, getattr(errno, name), os.strerror(getattr(errno, name)))')
  reasons[ESTALE]='Unknown error' # one that has none
  # The call that fails, what the line names, options of strace and of the server, and how that call can fail. If it is
  # the workers', the first one's line is the only one.
  local call what tracing options names met=(9 88) # an inherited descriptor's, see below
  while IFS='|' read -r call what tracing options names; do
    for name in $names; do
      # shellcheck disable=SC2086  # several words, or none
      run -1 --separate-stderr timeout 10 strace --follow-forks --quiet=all --output=/dev/null \
        --trace="/$call|setgroups|setresgid|landlock" $tracing --inject="$call:error=$name" \
        "$built/server" --threads 4 --port 0 $options
      [[ -z $output && $stderr == "mote: $what: ${reasons[$name]} (errno ${numbers[$name]})" ]] ||
        fail "$call, $name: $stderr"
      if [[ $name != ESTALE ]]; then met+=("${numbers[$name]}"); fi
    done
  done <<'CALLS'
socket|socket||--address 127.0.0.1|EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPERM
bind|bind to http://127.0.0.1:0/||--address 127.0.0.1|EACCES EADDRINUSE EADDRNOTAVAIL EINVAL ENOMEM EPERM
bind|bind to unix:/x/y||--address unix:/x/y|EDQUOT EIO ELOOP ENAMETOOLONG ENOENT ENOSPC ENOTDIR EOPNOTSUPP EOVERFLOW EROFS ESTALE
listen|listen|||EACCES EADDRINUSE EOPNOTSUPP
getsockname|getsockname|||ENOBUFS
mmap|mmap|||EAGAIN ENOMEM
memfd_create|memfd_create|||EACCES EMFILE ENFILE ENOMEM ENOSYS EPERM
ftruncate|ftruncate|||EFBIG EINVAL ENOSPC EPERM
timerfd_create|timerfd_create|||EINVAL EMFILE ENFILE ENOMEM EPERM
epoll_create1|epoll_create1|||EMFILE ENFILE ENOMEM
epoll_ctl|epoll_ctl|||EINVAL ENOMEM ENOSPC
clone|clone|||EAGAIN ENOMEM ENOSYS EPERM
sched_setaffinity|sched_setaffinity||--pin|EINVAL EPERM
setgroups|setgroups||--user 5|EINVAL ENOMEM EPERM
setresgid|setresgid|--inject=setgroups:retval=0|--user 5|EINVAL EPERM
setresuid|setresuid|--inject=setgroups,setresgid:retval=0|--user 5|EAGAIN EINVAL EPERM
landlock_restrict_self|landlock|--inject=landlock_create_ruleset:retval=7||E2BIG EINVAL ENOMEM EPERM
CALLS
  # No other text takes room.
  diff <(printf '%s\n' "${met[@]}" | sort --numeric-sort --unique) \
    <(sed --quiet '/^constexpr uint8_t reasons/,/;/p' "$root/server.cpp" | grep --only-matching '\b[0-9]\+\b')
}

@test "an address of another machine, a path that leads nowhere, and a small limit on files get one line" {
  natively 'the emulator is stopped by the limit itself'
  local folder=$BATS_TEST_TMPDIR address reason
  ln --symbolic loop "$folder/loop"
  touch "$folder/file"
  while IFS='|' read -r address reason; do
    run -1 --separate-stderr timeout 10 "${server[@]}" --port 0 --address "$address"
    [[ -z $output && $stderr == "mote: bind to "*": $reason" ]] || fail "$address: $stderr"
  done <<ADDRESSES
192.0.2.1|Cannot assign requested address (errno 99)
unix:$folder/loop/socket|Too many levels of symbolic links (errno 40)
unix:$folder/file/socket|Not a directory (errno 20)
ADDRESSES
  # Without the signal, which would end it before it can say so.
  run -1 --separate-stderr bash -c 'trap "" XFSZ; ulimit -f 64; exec timeout 10 "$@"' bash "${server[@]}" --port 0
  [[ -z $output && $stderr == 'mote: ftruncate: File too large (errno 27)' ]] || fail "$stderr"
}

# answers_on ADDRESS: whether it is answered there.
answers_on() { [[ $(curl --silent --globoff --max-time 5 --noproxy '*' "http://$1:$server_port/pipeline") == ok ]]; }

@test "it listens on every address of both versions of IP" {
  start_server --threads 1
  answers_on 127.0.0.2
  if has_ipv6; then answers_on '[::1]'; else echo '# there is no IPv6 here' >&3; fi
}

@test "it does so for any default of IPV6_V6ONLY" {
  natively 'the calls are those of the emulator'
  if ! has_ipv6; then skip 'there is no IPv6 here'; fi
  unshare --net true || skip 'this system does not let a test make a network namespace'
  # As bindv6only would have it: an option that is not set to 0 stays at 1.
  local server_command=(unshare --net bash -c 'echo 1 >/proc/sys/net/ipv6/bindv6only && ip link set lo up && exec "$@"' bash)
  start_server --threads 1
  [[ $(nsenter --net --target "$server_pid" \
    curl --silent --max-time 5 --noproxy '*' "http://127.0.0.1:$server_port/pipeline") == ok ]]
}

@test "without IPv6 it listens on every IPv4 address" {
  natively 'the emulator makes its own calls'
  # The first socket is the one that tries whether there is IPv6.
  start_under_strace --trace=socket --inject=socket:error=EAFNOSUPPORT:when=1
  grep --quiet " http://0.0.0.0:$server_port/ (1 worker," "$server_log"
  answers_on 127.0.0.2
  if has_ipv6; then run ! answers_on '[::1]'; fi
}

@test "--address takes one address" {
  start_server --threads 1 --address 127.0.0.3
  grep --quiet " http://127.0.0.3:$server_port/ (1 worker," "$server_log"
  answers_on 127.0.0.3
  run ! answers_on 127.0.0.1
  stop_server
  if ! has_ipv6; then skip 'there is no IPv6 here'; fi
  start_server --threads 2 -a ::1
  answers_on '[::1]'
  run ! answers_on 127.0.0.1
}

@test "--address unix:PATH listens at a path only" {
  local path=$BATS_TEST_TMPDIR/socket
  start_server --threads 2 --address "unix:$path"
  grep --quiet " unix:$path (2 workers," "$server_log"
  [[ $(stat --format=%A "$path") == srwxrwxrwx ]] # who may open the folder may connect
  run ! answers_on 127.0.0.1
  run -0 timeout 60 python3 "$root/test/unix_peers.py" "$path"
}

@test "a server at a path drains without spinning" {
  natively 'the emulator makes calls of its own'
  local trace=$BATS_TEST_TMPDIR/trace
  local server_command=(strace --daemonize --follow-forks --output="$trace")
  start_server --threads 2 --address "unix:$BATS_TEST_TMPDIR/socket"
  stop_server
  wait_until grep --quiet '+++ exited with 0 +++' "$trace"
  # It ticks every eighth of a second, for a quarter of one.
  (($(grep --count 'epoll_pwait(' "$trace") < 60)) || fail "$(tail --lines=60 "$trace")"
}

@test "a path in use, a missing folder and a long path get one line" {
  local path=$BATS_TEST_TMPDIR/socket
  start_server --threads 1 --address "unix:$path"
  run -1 --separate-stderr timeout 10 "${server[@]}" --address "unix:$path"
  [[ -z $output && $stderr == "mote: bind to unix:$path: Address already in use (errno 98)" ]] || fail "$stderr"
  run -1 --separate-stderr timeout 10 "${server[@]}" --address "unix:$path.missing/socket"
  [[ -z $output && $stderr == "mote: bind to unix:$path.missing/socket: No such file or directory (errno 2)" ]] ||
    fail "$stderr"
  cd "$BATS_TEST_TMPDIR"
  local longest
  printf -v longest '%107s' ''
  longest=${longest// /x}
  for path in '' @name @ "${longest}x"; do
    run -2 --separate-stderr timeout 10 "${server[@]}" --address "unix:$path"
    [[ -z $output && $stderr == "mote: --address: unix:$path is not an address like 127.0.0.1, ::1 or unix:PATH (see --help)" ]] || fail "$stderr"
  done
  stop_server
  start_server --threads 1 --address "unix:$longest"
  [[ $(curl --silent --max-time 5 --unix-socket "$longest" http://mote/pipeline) == ok ]]
}

# all_workers_answer: whether none of 60 connections, which the kernel spreads over the workers, is left without an answer.
all_workers_answer() {
  run_peers <<'PYTHON'
for _ in range(60):
    with connect(port) as peer:
        peer.sendall(LAST)
        assert Answers(peer).next()[0] == 200
PYTHON
}

@test "--port 0 takes a free port, and the first line names it" {
  start_server --threads 3 --port 0
  local taken
  taken=$(sed --quiet 's|.* http://[^ ]*:\([0-9]*\)/ (3 workers,.*|\1|p' "$server_log")
  ((taken > 0))
  server_port=$taken all_workers_answer
}

@test "an inherited listener is used by all workers, and left to the next server" {
  timeout 60 python3 "$root/test/inherited_listener.py" one_server_after_the_other "${server[@]}"
  timeout 60 python3 "$root/test/inherited_listener.py" a_listener_at_a_path "${server[@]}"
}

@test "every worker has its listener, whichever standard streams are closed" {
  natively 'the emulator opens the standard streams'
  local closed server_command
  for closed in '<&-' '>&-' '<&- >&-'; do
    server_command=(bash -c "exec \"\$@\" $closed" bash)
    start_server --threads 3 --address 127.0.0.1
    all_workers_answer || fail "closed: $closed"
    stop_server
  done
}

@test "every worker has its listener, where inherited descriptors cannot be closed" {
  natively 'the calls are those of the emulator'
  # As before Linux 5.9. What stays open is in the midst of the listeners.
  local server_command=(bash -c 'exec strace --daemonize --follow-forks --output=/dev/null --trace=close_range \
    --inject=close_range:error=ENOSYS "$@" 6</dev/null' bash)
  start_server --threads 4 --no-sandbox
  all_workers_answer
}

@test "a listener meant for another process is ignored, and so is none" {
  timeout 60 python3 "$root/test/inherited_listener.py" none_for_this_process "${server[@]}"
}

@test "several listeners, a bad number, and a descriptor that does not accept get one line each" {
  timeout 60 python3 "$root/test/inherited_listener.py" what_it_does_not_take "${server[@]}"
  if ((${#emulator[@]} != 0)); then return; fi # the emulator's own may be there
  # shellcheck disable=SC2016 # the inner shell is the process
  run -1 --separate-stderr timeout 10 bash -c 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3>&-' bash "$built/server"
  [[ -z $output && $stderr == 'mote: descriptor 3: Bad file descriptor (errno 9)' ]] || fail "$stderr"
}

@test "every inherited descriptor is closed" {
  natively 'the emulator has descriptors of its own'
  local server_command=(bash -c 'exec "$@" 3</dev/null 9</dev/null' bash)
  start_server --threads 1 "${visible[@]}"
  run -0 ls -l "/proc/$server_pid/fd"
  # The standard streams, the order to stop, and the file that holds the run.
  [[ ${#lines[@]} == 6 && $output == *'3 -> anon_inode:[timerfd]'*'memfd:'* ]] || fail "$output"
}

@test "the default port is 8080" {
  run timeout 1 "${server[@]}"
  [[ $output == *" http://$any_ip:8080/ "* || $output == *"bind to http://$any_ip:8080/: Address already in use"* ]] ||
    fail "$output"
}

@test "SIGSTOP and SIGCONT do not end it" {
  start_server --threads 1
  kill -STOP "$server_pid"
  kill -CONT "$server_pid"
  sleep 0.1
  exchange 'GET /pipeline HTTP/1.0\r\n\r\n'
  assert_statuses 200
}

@test "a server without connections does not wake up" {
  start_server --threads 1
  exchange 'GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  sleep 1.2 # the last tick of its clock
  local before
  before=$(cat "/proc/$server_pid/task"/*/schedstat)
  sleep 1.2
  [[ $(cat "/proc/$server_pid/task"/*/schedstat) == "$before" ]]
}
