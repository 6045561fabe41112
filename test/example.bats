#!/usr/bin/env bats
# What a user of this source changes: the README's route, and more routes in test/example/routes.patch.
load helper
setup_file() {
  build_with_more
  build_example example
  start_server
}
teardown_file() { stop_server; }
# A test with a server of its own says so.
teardown() { if [[ -n ${has_own_server:-} ]]; then stop_server; fi; }

# has_row PATH: whether the source in the current folder has a row for this path.
has_row() { grep --quiet --fixed-strings "\"$1\"_b, functions_of<" server.cpp; }

# The README's route, where it says; its command for the patch; both in the current folder. What the source has already
# stays as it is.
add_readme_route() {
  if has_row /ping; then return; fi
  sed --quiet '/^struct Ping {/,/^};/p' "$root/README.md" >struct
  sed --quiet '/^constexpr Route routes\[\] = {/{n;p;q}' "$root/README.md" >row
  [[ -s struct && -s row ]] || fail 'the README has no struct Ping, or no row for it'
  sed --in-place '/^\/\/ Everything this server answers/{
    r struct
    N
  }
  /^constexpr Route routes\[\] = {/r row' server.cpp
}
add_example() {
  if has_row '/hello/*'; then return; fi
  local command
  command=$(grep --only-matching '^patch .*routes\.patch' "$root/README.md")
  eval "${command/test\/example/$root/test/example}"
}

# check_readme_commands: runs those that ask for the example's routes. Each has its output behind it.
check_readme_commands() {
  local command expected count=0
  while IFS='#' read -r command expected; do
    run -0 bash -c "${command//:8080/:$server_port}" 2>/dev/null
    [[ $output == "${expected# }" ]] || fail "$command: $output"
    count=$((count + 1))
  done < <(sed --quiet '/^## Add a route/,/^## Limits/s/^curl /&--silent /p' "$root/README.md")
  ((count == 4)) || fail "$count commands"
}

# build_example NAME [SCRIPT]: builds the server with the patch in a folder of its own, and lets start_server take it
# from then on. The script is for sed and changes the source further.
build_example() {
  local folder=$BATS_FILE_TMPDIR/$1
  mkdir --parents "$folder"
  cp "$root/server.cpp" "$root/build.sh" "$folder"
  cd "$folder" || return
  add_example
  sed --in-place "${2:-}" server.cpp
  build_here
}
# build_here: builds what is in the current folder, and lets start_server take it from then on.
build_here() {
  if ! ./build.sh >log 2>&1; then
    cat log >&2
    return 1
  fi
  export server_program=$PWD/server
}

# routes STRUCT ROW...: the script for sed that adds a struct and rows of the table, behind all that ship but "/*".
routes() {
  echo "/^\/\/ The functions of a route. What/i $1"
  shift
  local row
  for row in "$@"; do echo "/^    {to_any, \"\/[*]\"_b/i \\    $row"; done
}

@test "the patch says nothing but the name of the file, and changes it as if it were made for it" {
  if [[ $(own_rows) != 0 ]]; then skip 'the source has routes of its own'; fi
  cd "$BATS_TEST_TMPDIR"
  cp "$root/server.cpp" .
  run -0 patch --strip=1 <"$root/test/example/routes.patch"
  [[ $output == 'patching file server.cpp' ]] || fail "$output
Lines have moved. To make the patch anew: cp server.cpp old; patch --strip=1 --no-backup-if-mismatch <the patch;
{ sed '/^---/,\$d' the patch; diff --unified --label a/server.cpp --label b/server.cpp old server.cpp; } >its new text"
  run -0 ls
  [[ $output == server.cpp ]] || fail "$output"
}

@test "the README's route and the patch go together in any order, without a word or another file" {
  local order step path checked=$BATS_TEST_TMPDIR/checked.cpp
  has_own_server=yes
  touch "$checked"
  for order in 'add_readme_route add_example' 'add_example add_readme_route'; do
    mkdir "$BATS_TEST_TMPDIR/${order%% *}"
    cd "$BATS_TEST_TMPDIR/${order%% *}"
    cp "$root/server.cpp" "$root/build.sh" .
    for step in $order; do
      run -0 "$step"
      [[ -z $output ]] || fail "$order: $output"
    done
    rm --force struct row
    [[ $(ls) == $'build.sh\nserver.cpp' ]] || fail "$order: $(ls)"
    if cmp --quiet server.cpp "$checked"; then continue; fi # the other order's source to the byte
    cp server.cpp "$checked"
    build_here
    [[ $(<log) == 'server: '*' bytes' ]] || fail "$order: $(<log)"
    start_server
    check_rows <<'ROWS'
200 open pong GET /ping HTTP/1.1\r\nHost: a{END}
200 open Hello,_you! GET /hello?name=you HTTP/1.1\r\nHost: a{END}
200 open ok {HIDDEN}
ROWS
    check_readme_commands
    stop_server
  done
}

@test "the bound on the file's size allows for routes of one's own, and says how to raise it where they need more" {
  local folder=$BATS_TEST_TMPDIR/checkout size=
  mkdir "$folder"
  cp --recursive "$root/server.cpp" "$root/build.sh" "$root/README.md" "$root/test" "$folder"
  cd "$folder" || return
  # The other bats's own variables would be taken for this one's.
  check_size() {
    run env --ignore-environment PATH="$PATH" HOME="$BATS_TEST_TMPDIR" TMPDIR="$BATS_TEST_TMPDIR" \
      "$BATS_ROOT/bin/bats" --filter 'the file has at most' test/binary.bats
  }
  add_readme_route
  add_example
  check_size
  [[ $status == 0 && $output == *'ok 1 the file has at most '* ]] || fail "$output"
  size=$((1024 * ($(root=$folder own_rows) + 3)))
  sed --in-place "s/answer.text<\"pong\">()/answer.text<Literal<$size>(\"pong\" \"$(printf '%*s' $((size - 5)) '')\")>()/" server.cpp
  check_size
  [[ $status == 1 && $output == *'over its bound of '*'To raise it, change shipped_size or own_row_size in this test of test/binary.bats'* ]] || fail "$output"
}

@test "the example builds without a warning" {
  [[ $(<"$BATS_FILE_TMPDIR/example/log") == 'server: '*' bytes' ]] || fail "$(<"$BATS_FILE_TMPDIR/example/log")"
}

@test "clang++ builds the example without a warning" {
  if ! command -v clang++ >/dev/null; then skip 'there is no clang++'; fi
  CXX=clang++ build_example clang
  [[ $(<"$BATS_FILE_TMPDIR/clang/log") == 'server: '*' bytes' ]] || fail "$(<"$BATS_FILE_TMPDIR/clang/log")"
}

@test "the rest of the path is the name that is greeted, up to 16 bytes, undecoded" {
  check_rows <<'ROWS'
200 open Hello,_World! GET /hello/World HTTP/1.1\r\nHost: a{END}
200 open Hello,_W! GET /hello/W HTTP/1.1\r\nHost: a{END}
200 open Hello,_0123456789abcdef! GET /hello/0123456789abcdef HTTP/1.1\r\nHost: a{END}
200 open Hello,_a%20b! GET /hello/a%20b HTTP/1.1\r\nHost: a{END}
200 open Hello,_a/b/! GET /hello/a/b/ HTTP/1.1\r\nHost: a{END}
200 open Hello,_:@-.~!$&'()*+! GET /hello/:@-.~!$&'()*+ HTTP/1.1\r\nHost: a{END}
200 open Hello,_World! GET /hello/World? HTTP/1.1\r\nHost: a{END}
200 open Hello,_World! GET /hello/World?name=?&other=/x HTTP/1.1\r\nHost: a{END}
200 open Hello,_World! GET /hello/World?<x*2000> HTTP/1.1\r\nHost: a{END}
200 open Hello,_World! GET http://a/hello/World?x HTTP/1.1\r\nHost: a{END}
200 open "" HEAD /hello/World HTTP/1.1\r\nHost: a{END}
200 close Hello,_World! GET /hello/World HTTP/1.0{END}
200 close Hello,_World! GET /hello/World HTTP/1.1\r\nHost: a\r\nConnection: close{END}
200,200,200 open Hello,_B! GET /hello/Somebody HTTP/1.1\r\nHost: a{END}{GET}\r\nGET /hello/B HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "a name is kept while the content of its request arrives" {
  check_rows <<'ROWS'
200 open Hello,_World! GET /hello/World HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nEarth
200 open Hello,_World! GET /hello/World HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0{END}
200,200 open 21 GET /hello/0123456789abcdef HTTP/1.1\r\nHost: a{END}{POST}Content-Length: 2\r\n\r\n20
ROWS
}

@test "an empty name gets a 404, a long one a 414, and the connection stays open" {
  check_rows <<'ROWS'
404 open 404_Not_Found\r\n GET /hello/ HTTP/1.1\r\nHost: a{END}
404 open - GET /hello/?World HTTP/1.1\r\nHost: a{END}
404 open "" HEAD /hello/ HTTP/1.1\r\nHost: a{END}
404 close - GET /hello/ HTTP/1.0{END}
414 open 414_URI_Too_Long\r\n GET /hello/0123456789abcdefg HTTP/1.1\r\nHost: a{END}
414 open - GET /hello/<x*256> HTTP/1.1\r\nHost: a{END}
414 open - GET /hello/<x*272> HTTP/1.1\r\nHost: a{END}
414 open - GET /hello/<x*7000>?x HTTP/1.1\r\nHost: a{END}
414 open - GET /hello/0123456789abcdefg HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nEarth
414,200 open Hello,_B! GET /hello/<C*17> HTTP/1.1\r\nHost: a{END}GET /hello/B HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "a parameter of the query is a name, as it stands there, and the first one counts" {
  check_rows <<'ROWS'
200 open Hello,_you! GET /hello?name=you HTTP/1.1\r\nHost: a{END}
200 open Hello,_0123456789abcdef! GET /hello?name=0123456789abcdef HTTP/1.1\r\nHost: a{END}
200 open Hello,_you! GET /hello?x=1&name=you&y HTTP/1.1\r\nHost: a{END}
200 open Hello,_a! GET /hello?name=a&name=b HTTP/1.1\r\nHost: a{END}
200 open Hello,_you! GET /hello?&&names=x&xname=y&Name=z&name&name=you HTTP/1.1\r\nHost: a{END}
200 open Hello,_a%20b+c! GET /hello?name=a%20b+c HTTP/1.1\r\nHost: a{END}
200 open Hello,_=a?b;c! GET /hello?name==a?b;c HTTP/1.1\r\nHost: a{END}
200 open Hello,_you! GET /hello/?name=you HTTP/1.1\r\nHost: a{END}
200 open Hello,_you! GET http://a/hello?name=you HTTP/1.1\r\nHost: a{END}
200 close Hello,_you! GET /hello?name=you HTTP/1.0{END}
200 open "" HEAD /hello?name=you HTTP/1.1\r\nHost: a{END}
200 open Hello,_you! GET /hello?name=you HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nEarth
404 open - GET /hello? HTTP/1.1\r\nHost: a{END}
404 open - GET /hello?name HTTP/1.1\r\nHost: a{END}
404 open - GET /hello?name= HTTP/1.1\r\nHost: a{END}
404 open - GET /hello?name=&name=b HTTP/1.1\r\nHost: a{END}
404 open - GET /hello?nam=x&names=x&NAME=x HTTP/1.1\r\nHost: a{END}
414 open - GET /hello?name=0123456789abcdefg HTTP/1.1\r\nHost: a{END}
414 open - GET /hello?name=<x*7000> HTTP/1.1\r\nHost: a{END}
200,200 open Hello,_B! GET /hello?name=Anna HTTP/1.1\r\nHost: a{END}GET /hello?name=B HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "another path gets a 404, a malformed rest a 400" {
  check_rows <<'ROWS'
404 open - GET /hello HTTP/1.1\r\nHost: a{END}
404 open - GET /hello?/World HTTP/1.1\r\nHost: a{END}
404 open - GET /helloX HTTP/1.1\r\nHost: a{END}
404 open - GET /helloX/World HTTP/1.1\r\nHost: a{END}
404 open - GET /hell HTTP/1.1\r\nHost: a{END}
404 open - GET /Hello/World HTTP/1.1\r\nHost: a{END}
404 open - GET //hello/World HTTP/1.1\r\nHost: a{END}
404 open - GET /x?/hello/World HTTP/1.1\r\nHost: a{END}
404 open - POST /hello HTTP/1.1\r\nHost: a{END}
404 open - GET /page/ HTTP/1.1\r\nHost: a{END}
404 open - GET /pages HTTP/1.1\r\nHost: a{END}
400 close - GET /hello/ World HTTP/1.1\r\nHost: a{END}
400 close - GET /hello/World HTTP/1.1{END}
# nginx takes a quotation mark. A URI has none (RFC 3986 appendix A).
400 close - GET /hello/W"6 HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "HEAD, OPTIONS, 405 and Allow follow from the row" {
  local path
  for path in /hello/World '/hello/World?x' /hello/0123456789abcdef '/hello?name=x' /page /json; do
    for method in POST DELETE; do
      exchange "$method $path HTTP/1.1\r\nHost: a\r\n\r\n"
      assert_statuses 405 "$method $path"
      assert_field 'Allow: GET, HEAD, OPTIONS'
    done
    exchange "OPTIONS $path HTTP/1.1\r\nHost: a\r\n\r\n"
    assert_statuses 200 "$path"
    assert_field 'Allow: GET, HEAD, OPTIONS'
  done
  # Whether there is such a path is for the route to say, before the method counts.
  exchange 'POST /hello/ HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 404
  exchange 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_field 'Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH'
  exchange 'HEAD /hello/World HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_field 'Content-Length: 13'
  exchange 'HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_field 'Content-Length: 65536'
  assert_body "$response" # nothing behind the head
}

@test "the other routes work as before" {
  check_rows <<'ROWS'
200 open ok {HIDDEN}
200 open 55 GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: a{END}
200 open 75 POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n20
200 open 21 {CHUNKED}2\r\n20\r\n0{END}
404 open - GET /nowhere HTTP/1.1\r\nHost: a{END}
405 open - POST /pipeline HTTP/1.1\r\nHost: a{END}
ROWS
}

@test "a request split at any byte gets the same answer" {
  run_peers <<'PYTHON'
request = b"GET /hello/World?a=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nEarth"
peers = [connect(port) for _ in request]
for cut, peer in enumerate(peers):
    peer.sendall(request[:cut])
for cut, peer in enumerate(peers):
    peer.sendall(request[cut:])
    assert Answers(peer).next()[::2] == (200, b"Hello, World!"), cut
PYTHON
}

@test "concurrent connections keep their own names" {
  run_peers <<'PYTHON'
names = [b"%x" % n * (n + 1) for n in range(16)]
peers = [connect(port) for _ in names]
for name, peer in zip(names, peers):
    peer.sendall(b"GET /hello/%s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n" % name)
for peer in peers:
    assert peer.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"  # its head has gone by
for peer in peers:
    peer.sendall(b"2")
for name, peer in zip(reversed(names), reversed(peers)):
    peer.sendall(b"0")
    assert Answers(peer).next()[::2] == (200, b"Hello, %s!" % name), name
PYTHON
}

# The page as the comment in the patch says it.
page='visible = "".join(map(chr, range(0x21, 0x7f))) * 4
page = "".join(visible[n % 94:][:63] + "\n" for n in range(1024)).encode()
assert len(page) == 65536
'

@test "an answer of 64 KiB is complete for GET and HEAD, with and without keep-alive" {
  run_peers <<PYTHON
$page
from email.parser import BytesHeaderParser
def ask(method, version, fields=b""):
    with connect(port) as peer:
        peer.sendall(b"%s /page HTTP/%s\r\nHost: a\r\n%s\r\n" % (method, version, fields))
        peer.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    assert line == b"HTTP/1.1 200 OK", line
    fields = BytesHeaderParser().parsebytes(fields)
    assert fields["Content-Length"] == "65536", fields["Content-Length"]
    assert content == (b"" if method == b"HEAD" else page), content
    return fields["Connection"]
for method in b"GET", b"HEAD":
    assert ask(method, b"1.1") is None
    assert ask(method, b"1.1", b"Connection: close\r\n") == "close"
    assert ask(method, b"1.0") == "close"
    assert ask(method, b"1.0", b"Connection: keep-alive\r\n") == "keep-alive"
PYTHON
}

# The example with routes of two tests.
build_with_more() {
  build_example more "$(
    routes 'constexpr char fixed[40000]{1, 2, 3}; struct Fixed { Status take_request(Request \&) { return Status::ok; } void answer(Answer \&answer) const { answer.head(40000); } Part part_at(uint64_t offset, char *, size_t, AnswerContext \&) const { return {Bytes{fixed, 40000}.after(offset), false}; } };' \
      '{to_get, "/fixed/*"_b, functions_of<Fixed>},'
    rows '{to_get, "/hello/"_b, functions_of<Pipeline>},' \
      '{to_get, "/hello/all"_b, functions_of<Pipeline>},' \
      '{to_post, "/hello/all"_b, functions_of<Json>},' \
      '{to_get, "/sum/"_b, functions_of<Pipeline>},' -- \
      '{bit(Method::put), "/hello/*"_b, functions_of<Hello>},' \
      '{to_get, "/sum/*"_b, functions_of<First>},' \
      "{to_get, \"$long*\"_b, functions_of<Hello>},"
    # The rest of the path, added to the sum.
    echo '/^\/\/ The functions of a route. What/i struct [[gnu::packed]] First : QuerySum {'
    echo '/^\/\/ The functions of a route. What/i Status take_request(Request \&request) { Integer i; i.take(request.rest); sum = uint64_t(i.value); return Status::ok; } };'
  )"
}
long=/a/beginning/of/more/than/32/bytes/
start_with_more() {
  has_own_server=yes
  server_program=$BATS_FILE_TMPDIR/more/server start_server
}

@test "long content may be a constant" {
  start_with_more
  run_peers <<'PYTHON'
with connect(port, receive_buffer=4096) as peer:
    peer.sendall(b"GET /fixed/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert Answers(peer).next()[::2] == (200, bytes([1, 2, 3]) + bytes(39997))
PYTHON
}

@test "pipelined answers of 64 KiB arrive in order at a peer that reads late" {
  run_peers <<PYTHON
$page
peer = connect(port, receive_buffer=4096)
def is_read():
    """Whether the server has read all requests within half a second: it does not while it holds answers back."""
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if queues(port, peer.getsockname()[1])[1] == 0:
            return True
        time.sleep(0.005)
    return False
count = 0
while is_read():
    for count in range(count, count + 100):
        peer.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\nGET /hello/%d HTTP/1.1\r\nHost: a\r\n\r\n" % count)
    count += 1
peer.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
answers = Answers(peer)
for n in range(count):
    assert answers.next()[::2] == (200, page), n
    assert answers.next()[::2] == (200, b"Hello, %d!" % n), n
status, head, content = answers.next()
assert (status, content) == (200, page) and b"\r\nConnection: close" in head, head
assert answers.next() is None
PYTHON
}

# rows ROW...: the script for sed that puts them before or, behind "--", after the example's.
rows() {
  local at='/^constexpr Route routes\[\] = {/a' row
  for row in "$@"; do
    if [[ $row == -- ]]; then at='/^    {to_get, "\/hello\/[*]"_b/a'; else echo "$at \\    $row"; fi
  done
}

@test "rows for a path come before rows for a prefix of it, and have their own methods" {
  local row
  start_with_more
  check_rows <<ROWS
200 open ok GET /hello/ HTTP/1.1\r\nHost: a{END}
200 open ok GET /hello/?x HTTP/1.1\r\nHost: a{END}
200 open ok GET /hello/all HTTP/1.1\r\nHost: a{END}
200 open - POST /hello/all HTTP/1.1\r\nHost: a{END}
200 open Hello,_al! GET /hello/al HTTP/1.1\r\nHost: a{END}
200 open Hello,_all/! GET /hello/all/ HTTP/1.1\r\nHost: a{END}
200 open - PUT /hello/al HTTP/1.1\r\nHost: a{END}
404 open - GET /sum HTTP/1.1\r\nHost: a{END}
200 open ok GET /sum/ HTTP/1.1\r\nHost: a{END}
200 open 5 GET /sum/5? HTTP/1.1\r\nHost: a{END}
200 open 8 GET /sum/5?a=1&b=2 HTTP/1.1\r\nHost: a{END}
200 open 3 GET /sum/a=7?a=1&b=2 HTTP/1.1\r\nHost: a{END}
404 open - GET ${long%/} HTTP/1.1\r\nHost: a{END}
404 open - GET ${long%?/}X/ HTTP/1.1\r\nHost: a{END}
404 open - GET $long HTTP/1.1\r\nHost: a{END}
200 open Hello,_W! GET ${long}W?x HTTP/1.1\r\nHost: a{END}
ROWS
  for row in '/hello/:GET, HEAD' '/hello/all:GET, HEAD, POST' '/hello/al:GET, HEAD, PUT' '/sum/:GET, HEAD'; do
    exchange "DELETE ${row%:*} HTTP/1.1\r\nHost: a\r\n\r\n"
    assert_statuses 405 "$row"
    assert_field "Allow: ${row##*:}, OPTIONS"
  done
}

@test "a route chooses its status and its content type" {
  check_rows <<'ROWS'
200 open {"greeting":_"Hello!"} GET /json HTTP/1.1\r\nHost: a{END}
200 open {"greeting":_"Hello!"} GET /json?x HTTP/1.1\r\nHost: a{END}
200 close "" HEAD /json HTTP/1.0{END}
201 open {"size":_20} POST /notes HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n<x*20>
201 open {"size":_2} POST /notes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0{END}
201 close {"size":_0} POST /notes HTTP/1.1\r\nHost: a\r\nConnection: close{END}
ROWS
  exchange 'POST /notes HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_field 'HTTP/1.1 201 Created'
  assert_field 'Content-Type: application/json'
  exchange 'GET /json HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_field 'Content-Type: application/json'
}

@test "the example adds lines to the section Routes only" {
  run -0 sed --quiet 's/^@@ -\([0-9]*\).*/\1/p' "$root/test/example/routes.patch"
  local routes connections line
  routes=$(grep --line-number '^// ---- Routes' "$root/server.cpp" | cut --delimiter=: --fields=1)
  connections=$(grep --line-number '^// ---- Worker -' "$root/server.cpp" | cut --delimiter=: --fields=1)
  for line in $output; do
    ((routes < line && line < connections)) || fail "line $line is outside"
  done
  ! grep --quiet '^-[^-]' "$root/test/example/routes.patch" || fail 'a line is changed'
}

@test "an unreachable row does not compile, nor does a route that keeps too much" {
  local row
  for row in '{to_get, "/hello/all"_b, functions_of<Pipeline>},' '{to_post, "/page"_b, functions_of<Page>},' \
    '{to_get, "/hello/a/*"_b, functions_of<Hello>},'; do
    run build_example unreached "$(rows -- "$row")"
    [[ $status == 1 && $output == *'rows with one path stand together'* ]] || fail "$row: $output"
  done
  run build_example large 's/^    char name\[16\];/    char name[17];/'
  [[ $status == 1 && $output == *'a route keeps too much of a request'* ]] || fail "$output"
}

@test "a route that keeps a pointer, or has functions that would not be called, does not compile" {
  local reason body
  while IFS='|' read -r reason body; do
    run build_example refused "$(routes "struct Refused { void answer(Answer \\&answer) const { answer.text<\"\">(); } $body };" \
      '{to_get, "/refused/*"_b, functions_of<Refused>},')"
    [[ $status == 1 && $output == *"static assertion failed: $reason"* ]] || fail "$body: $output"
  done <<'BODIES'
a route keeps a pointer|Bytes query; Status take_request(Request \&) { return Status::ok; }
a route keeps a pointer|const char *at; Status take_request(Request \&) { return Status::ok; }
a route keeps a pointer|struct [[gnu::packed]] { char size; Bytes bytes; } name; Status take_request(Request \&) { return Status::ok; }
a route keeps a pointer|const Request *request; Status take_request(Request \&) { return Status::ok; }
a route keeps a pointer|union { const char *at; char byte; } name; Status take_request(Request \&) { return Status::ok; }
a route with delay_ms(), part_at() or answers_at_once has a take_request()|uint32_t delay_ms() const { return 1; }
a route with delay_ms(), part_at() or answers_at_once has a take_request()|static constexpr bool answers_at_once = true;
a route with is_long() or pause_ms() has a part_at()|bool is_long() const { return true; }
a route with is_long() or pause_ms() has a part_at()|uint32_t pause_ms() const { return 1; }
answers_at_once is a static constexpr bool, and true|bool answers_at_once() const { return true; }
a route's struct has no copy constructor and no destructor|Refused() {} Refused(const Refused \&) {}
what answers at once is neither late nor long, and sees no content|static constexpr bool answers_at_once = true; uint32_t delay_ms() const { return 1; } Status take_request(Request \&) { return Status::ok; }
what answers at once is neither late nor long, and sees no content|static constexpr bool answers_at_once = true; void take_piece(Bytes) {} Status take_request(Request \&) { return Status::ok; }
BODIES
}

# A route that writes a byte of the query back, from where it stood or from a copy, after the content or after a delay.
@test "the fuzzer's kernel finds a route that reads bytes after the call that it was given them in" {
  local folder=$BATS_TEST_TMPDIR copied='kept = uint64_t(*query.data);' by_address='kept = reinterpret_cast<uint64_t>(query.data);'
  local from_copy='char(kept)' from_address='*reinterpret_cast<const char *>(kept)' when way
  mkdir "$folder/test"
  cp "$root/test/fuzz.cpp" "$folder/test"
  cp "$root/server.cpp" "$folder"
  for way in copy address; do
    local take=$copied give=$from_copy
    if [[ $way == address ]]; then take=$by_address give=$from_address; fi
    sed --in-place "$(
      routes "struct [[gnu::packed]] Kept_$way { uint64_t kept = 0; bool is_late = false; uint32_t delay_ms() const { return is_late ? 5 : 0; } Status take_request(Request \\&request) { is_late = *request.rest.data == 'l'; return Status::ok; } void take_query(Bytes query) { $take } void answer(Answer \\&answer) const { const char byte = $give; answer.text({\\&byte, 1}); } };" \
        "{to_post, \"/$way/*\"_b, functions_of<Kept_$way>},"
    )" "$folder/server.cpp"
    env printf "\0POST /$way/content?w HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n20" >"$folder/$way-content"
    env printf "\0POST /$way/late?w HTTP/1.1\r\nHost: a\r\n\r\n" >"$folder/$way-late"
  done
  compile -O1 -DMOTE_REPLAY -o "$folder/fuzz" "$folder/test/fuzz.cpp"
  for when in content late; do
    run -0 "${emulator[@]}" "$folder/fuzz" "$folder/copy-$when"
    run "${emulator[@]}" "$folder/fuzz" "$folder/address-$when"
    [[ $status != 0 && $output == *'fuzz: another answer than expected'* ]] || fail "$when: $output"
  done
}
