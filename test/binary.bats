#!/usr/bin/env bats
# The file that ships: what is in it, how large it is, how much memory it takes, and how it is built.
load helper

teardown() { stop_server; }

@test "the file is a static position-independent executable without dependencies" {
  run -0 readelf --file-header --program-headers --dynamic --relocs --wide "$built/server"
  [[ $output == *'Type: '*' DYN ('* ]]
  [[ $output == *'There is no dynamic section'* && $output == *'There are no relocations'* && $output != *INTERP* ]]
  run -0 "${tools}nm" --undefined-only "$built/server.debug"
  [[ -z $output ]] || fail "$output"
}

@test "code is executable, constants and the stack are not, and no segment is writable" {
  run -0 readelf --program-headers --wide "$built/server.debug"
  [[ $(awk '$1 ~ /^(LOAD|GNU_STACK)$/ { $1 = $1; print $1, $7, $8 }' <<<"$output") == \
    $'LOAD R E\nLOAD R 0x1'*$'\nGNU_STACK RW 0x'* ]] || fail "$output"
  grep --quiet --extended-regexp '^ +00 +[.]text *$' <<<"$output" || fail "$output"
  grep --quiet --extended-regexp '^ +01 +[.]rodata *$' <<<"$output" || fail "$output"
}

@test "it is loaded at another address each time" {
  natively 'it is not the kernel that chooses the address'
  [[ $(</proc/sys/kernel/randomize_va_space) != 0 ]] || skip 'this machine loads programs where it always does'
  local code='' _
  for _ in 1 2 3 4; do # any two may be alike
    start_server --no-sandbox
    code+=$(grep '^[0-9a-f-]* r-xp 00000000 .*/server$' "/proc/$server_pid/maps")$'\n'
    stop_server
  done
  (($(sort --unique <<<"$code" | grep --count server) > 1)) || fail "$code"
}

@test "the build refuses addresses in constants, and writable data" {
  local folder=$BATS_TEST_TMPDIR line
  cp "$root/build.sh" "$folder"
  local -A messages=(
    ['static const char *const volatile table[] = {"", ""}; (void)table[0];']='a constant holds an address'
    ['static int state = 1; state *= 3; answer.at += state;']='there is no writable segment'
  )
  for line in "${!messages[@]}"; do
    sed "$(before_ok "$line")" "$root/server.cpp" >"$folder/server.cpp"
    run -1 "$folder/build.sh"
    [[ $output == *"${messages[$line]}"* ]] || fail "$line: $output"
  done
}

@test "an older compiler gets one line" {
  local compiler=$BATS_TEST_TMPDIR/g++
  for version in 'g++ 10.2.1' 'clang 12.0.1'; do
    printf '%s\n' '#!/bin/sh' "case \$1 in --version) echo $version;; *) echo ${version#* };; esac" >"$compiler"
    chmod +x "$compiler"
    CXX=$compiler OUTPUT=$BATS_TEST_TMPDIR/built run -1 "$root/build.sh"
    [[ $output == "build.sh: $compiler ${version#* } is too old: g++ 11, clang++ 13 or newer is needed (or set CXX)" ]] ||
      fail "$output"
  done
}

@test "a build by another compiler, or with other tunables, is not taken for the usual one" {
  natively 'the script is the same'
  local folder=$BATS_TEST_TMPDIR/checkout
  mkdir "$folder"
  cp "$root/server.cpp" "$root/build.sh" "$folder"
  build_variant connection_limit=8
  cp "${server_program%/*}"/{server,server.debug,.settings} "$folder" # newer than the sources
  run -0 "$folder/build.sh" --if-needed connection_limit=8
  [[ -z $output ]] || fail "$output"
  run -0 "$folder/build.sh" --if-needed
  [[ $output == 'server: '*' bytes' ]] || fail "$output"
  run -0 "$folder/build.sh" --if-needed
  [[ -z $output ]] || fail "$output"
  # Where it would build anew it says that there is no such compiler.
  CXX=no-such-compiler run -1 "$folder/build.sh" --if-needed
  touch "$folder/server.cpp"
  printf '#!/bin/sh\nexit 7\n' >"$BATS_TEST_TMPDIR/g++"
  chmod +x "$BATS_TEST_TMPDIR/g++"
  PATH=$BATS_TEST_TMPDIR:$PATH run -7 "$folder/build.sh" --if-needed
}

@test "the shipped file has the instructions of the file with symbols" {
  local name address offset size
  while read -r name address offset size; do
    "${tools}objcopy" --dump-section "$name=$BATS_TEST_TMPDIR/debug" "$built/server.debug" /dev/null
    # The segment of the shipped file that is loaded there says where it is in that file.
    offset=$(readelf --program-headers --wide "$built/server" | while read -r type from to _ length _; do
      if [[ $type == LOAD ]] && ((to <= 0x$address && 0x$address < to + length)); then
        echo "$((0x$address - to + from))"
      fi
    done)
    tail --bytes=+"$((offset + 1))" "$built/server" | head --bytes="$((0x$size))" >"$BATS_TEST_TMPDIR/shipped"
    cmp "$BATS_TEST_TMPDIR/shipped" "$BATS_TEST_TMPDIR/debug"
  done < <(readelf --section-headers --wide "$built/server.debug" | sed --quiet --regexp-extended \
    's/.* (\.text|\.rodata) +PROGBITS +([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) .*/\1 \2 \3 \4/p')
  [[ -s $BATS_TEST_TMPDIR/shipped ]]
}

@test "the file ends where the last segment ends" {
  run -0 readelf --file-header --program-headers --wide "$built/server"
  grep --quiet 'Number of section headers: *0$' <<<"$output"
  local offset size
  read -r offset size < <(awk '$1 == "LOAD" { line = $2 " " $5 } END { print line }' <<<"$output")
  [[ $(stat --format=%s "$built/server") == $((offset + size)) ]] || fail "$output"
}

@test "the parts that \`make size\` prints add up to the file" {
  run -0 python3 "$root/test/size.py" "$built/server" "$built/server.debug"
  local sum=0 size rest
  while read -r size rest; do
    if [[ $rest != *'in the file' ]]; then sum=$((sum + size)); fi
  done < <(grep --extended-regexp '^ {0,5}[0-9]+ ' <<<"$output")
  [[ $sum == "$(stat --format=%s "$built/server")" ]] || fail "$sum: $output"
  local function
  for function in run_worker take_field_line take_request_line answer_rare start; do
    grep --quiet " $function\$" <<<"$output" || fail "$function: $output"
  done
  local hot
  hot=$(sed --quiet '/ hot code$/,/ hot constants$/p' <<<"$output")
  for function in run_worker skip_row take_known_line; do
    grep --quiet " $function\$" <<<"$hot" || fail "$function is not hot: $hot"
  done
}

@test "the file has at most 28,672 bytes, or 32,768 with instructions of four bytes" {
  # Seven and eight pages with the routes that ship. A row of one's own may add `own_row_size`.
  local shipped_size=$((${#emulator[@]} == 0 ? 28672 : 32768)) own_row_size=1024 rows bound
  rows=$(own_rows)
  bound=$((shipped_size + rows * own_row_size))
  run -0 stat --format=%s "$built/server"
  ((output <= bound)) || fail "The file has $output bytes, over its bound of $bound: $shipped_size with the routes that ship,\
 $own_row_size for each of $rows other rows. To raise it, change shipped_size or own_row_size in this test of test/binary.bats."
}

@test "no kind of request takes more instructions or pages than its bound" {
  natively 'the bounds are those of x86-64'
  if [[ -n ${MARCH:-} ]]; then skip 'the bounds are those of the default instruction set'; fi
  if [[ $(own_rows) != 0 ]]; then skip 'the bounds, in test/count.py, are those of the routes that ship'; fi
  if [[ $(g++ -dumpversion) != 12* ]]; then skip 'the bounds, in test/count.py, are those of g++ 12'; fi
  run -0 python3 "$root/test/count.py" --bounds
  printf '# %s\n' "${lines[@]}" >&3
}

# build_without_warning FOLDER COMPILER: builds a copy of the source in the folder.
build_without_warning() {
  mkdir --parents "$1"
  cp "$root/server.cpp" "$root/build.sh" "$1"
  CXX=$2 run -0 "$1/build.sh"
  [[ $output =~ ^'server: '[0-9]+' bytes'$ ]] || fail "$output"
}

@test "g++ and clang++ build it without a warning, and the usual compiler to the same bytes in any folder" {
  local compiler usual=${CXX:-g++} folder=$BATS_TEST_TMPDIR
  for compiler in g++ clang++; do
    if ! command -v "$compiler" >/dev/null; then continue; fi
    build_without_warning "$folder/$compiler" "$compiler"
    run -0 "$folder/$compiler/server" --version
  done
  if [[ ! -d $folder/$usual ]]; then build_without_warning "$folder/$usual" "$usual"; fi
  build_without_warning "$folder/somewhere/else" "$usual"
  cmp "$folder/$usual/server" "$folder/somewhere/else/server"
}

@test "a missing compiler gets one line that says what to install" {
  CXX=no-such-compiler run -1 "$root/build.sh"
  [[ ${#lines[@]} == 1 && $output == *"no-such-compiler"*"apt-get install"* ]] || fail "$output"
}

@test "build.sh takes other values of tunables, and refuses unknown names and values that do not fit" {
  export OUTPUT=$BATS_TEST_TMPDIR/variant
  server_program=$OUTPUT/server
  "$root/build.sh" default_port=1234
  run -1 "${emulator[@]}" "$server_program" --address 192.0.2.1 # which is nobody's
  [[ $output == 'mote: bind to http://192.0.2.1:1234/: '* ]] || fail "$output"

  local before row
  before=$(stat --format=%Y "$server_program")
  while IFS='|' read -r row expected_status message; do
    LC_ALL=C run "-$expected_status" "$root/build.sh" "$row"
    [[ $output == *"$message"* ]] || fail "$row: $output"
  done <<'ARGUMENTS'
idle_timeout=3|1|error: 'idle_timeout' is not a member of 'tunables'
head_timeout_s=300|1|narrowing
head_limit=20000|1|a partial head must leave room in the input buffer
idle_timeout_s|2|build.sh: not a tunable and its value: 'idle_timeout_s'
idle_timeout_s=|2|build.sh: not a tunable and its value: 'idle_timeout_s='
idle_timeout_s=-1|2|build.sh: not a tunable and its value: 'idle_timeout_s=-1'
--help|2|build.sh: not a tunable and its value: '--help'
ARGUMENTS
  [[ $(stat --format=%Y "$server_program") == "$before" ]] || fail 'a build that failed has left a program'
}

rss_kib() { awk '/^Rss:/ { print $2 }' "/proc/$server_pid/smaps_rollup"; }

@test "memory is under 150 KiB when idle, and under 1 MiB with 16,000 connections that were served" {
  natively 'most of the memory is that of the emulator'
  start_server "${visible[@]}"
  exchange 'GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 200
  (($(rss_kib) < 150)) || fail "idle: $(rss_kib) KiB"
  # A client needs one descriptor a connection, too; where the limit is lower there are fewer.
  ulimit -n "$(ulimit -H -n)"
  local count=$(($(ulimit -n) - 100))
  if ((count > 16000)); then count=16000; fi
  run -0 python3 - "$server_port" "$server_pid" "$count" <<'PYTHON'
import pathlib, socket, struct, sys
port, pid, count = map(int, sys.argv[1:])
clients = []
for n in range(count):
    # More than one source address, lest the ephemeral ports run out.
    client = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{2 + n % 4}", 0), timeout=10)
    # Closed with a reset, lest 16,000 ports are taken for a minute (TIME_WAIT).
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n")
    clients.append(client)
for client in clients:
    assert client.recv(4096).endswith(b"\r\n\r\nok")
rss = int(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nRss:")[2].split()[0])
print(f"{count} connections: {rss} KiB")
assert rss < 1024, rss
PYTHON
  echo "# $output" >&3
}
