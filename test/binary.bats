#!/usr/bin/env bats
# The file that ships: what is in it, how large it is, how much memory it takes, and how it is built.
load helper
setup_file() { build_server; }

teardown() { stop_server; }

@test "it is a static executable that needs nothing" {
  run -0 readelf --file-header --program-headers --dynamic --relocs --wide "$root/server"
  [[ $output == *'EXEC (Executable file)'* || $output == *'DYN (Position-Independent'* ]]
  [[ $output == *'There is no dynamic section'* && $output == *'There are no relocations'* && $output != *INTERP* ]]
  run -0 nm --undefined-only "$root/server.debug"
  [[ -z $output ]] || fail "$output"
}

@test "no segment is writable and executable, and the stack is not executable" {
  run -0 readelf --program-headers --wide "$root/server"
  ! grep --perl-regexp '^ +LOAD .* RWE ' <<<"$output" || fail "$output"
  grep --quiet --perl-regexp '^ +GNU_STACK .* RW +0x' <<<"$output" || fail "$output"
}

@test "the shipped instructions are those of the file with symbols" {
  local name address offset size
  while read -r name address offset size; do
    objcopy --dump-section "$name=$BATS_TEST_TMPDIR/debug" "$root/server.debug" /dev/null
    # Both files are loaded from their beginning, so where a section lies in memory says where it is in the file.
    tail --bytes=+"$((0x$address % 0x400000 + 1))" "$root/server" | head --bytes="$((0x$size))" >"$BATS_TEST_TMPDIR/shipped"
    cmp "$BATS_TEST_TMPDIR/shipped" "$BATS_TEST_TMPDIR/debug"
  done < <(readelf --section-headers --wide "$root/server.debug" | sed --quiet --regexp-extended \
    's/.* (\.text|\.rodata) +PROGBITS +([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) .*/\1 \2 \3 \4/p')
  [[ -s $BATS_TEST_TMPDIR/shipped ]]
}

@test "nothing is in the file behind what the kernel loads" {
  run -0 readelf --file-header --program-headers --wide "$root/server"
  grep --quiet 'Number of section headers: *0$' <<<"$output"
  local offset size
  read -r offset size < <(awk '$1 == "LOAD" { line = $2 " " $5 } END { print line }' <<<"$output")
  [[ $(stat --format=%s "$root/server") == $((offset + size)) ]] || fail "$output"
}

@test "it is smaller than 12 KiB" {
  run -0 stat --format=%s "$root/server"
  ((output < 12288)) || fail "$output bytes"
}

@test "no kind of request takes more instructions than its bound" {
  run -0 python3 "$root/test/count.py" --bounds
  printf '# %s\n' "${lines[@]}" >&3
}

@test "it is built by either compiler, without a warning, wherever the folder is" {
  local compiler
  cp "$root/server.cpp" "$root/build.sh" "$BATS_TEST_TMPDIR"
  for compiler in g++ clang++; do
    if ! command -v "$compiler" >/dev/null; then continue; fi
    CXX=$compiler run -0 "$BATS_TEST_TMPDIR/build.sh"
    [[ $output =~ ^'server: '[0-9]+' bytes'$ ]] || fail "$output"
    run -0 "$BATS_TEST_TMPDIR/server" --version
  done
}

@test "a missing compiler is one line that says what to install" {
  CXX=no-such-compiler run -1 "$root/build.sh"
  [[ ${#lines[@]} == 1 && $output == *"no-such-compiler"*"apt-get install"* ]] || fail "$output"
}

rss_kib() { awk '/^Rss:/ { print $2 }' "/proc/$server_pid/smaps_rollup"; }

@test "memory: under 150 KiB idle, under 1 MiB with 16,000 open connections that were all served" {
  start_server
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
