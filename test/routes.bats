#!/usr/bin/env bats
# What is served: the routes, and what every answer has (RFC 9110 sections 6.6.1, 8, 9.3, 10.2 and 15).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }
# A test with a server of its own says so.
teardown() { if [[ -n ${has_own_server:-} ]]; then stop_server; fi; }

get() { exchange "GET $1 HTTP/1.1\r\nHost: a\r\n\r\n"; }
post() { exchange "POST $1 HTTP/1.1\r\nHost: a\r\nContent-Length: $(env printf "$2" | wc --bytes)\r\n\r\n$2"; }

@test "a sum adds every integer of the query, and nothing else" {
  local row
  for row in 'a=1&b=2:3' 'a=1:1' ':0' 'a:0' '=5:5' 'a=:0' 'a=1&:1' '&&a=1&&b=2:3' 'a=1&a=1:2' 'x=-7&y=3:-4' 'a=1.5&b=2:2' \
    'a=1x&b=2:2' 'a=x1&b=2:2' 'a=--1&b=2:2' 'a=-&b=2:2' 'a=0x10&b=2:2' 'a=1=2&b=2:2' 'a=+1&b=2:2' 'a=%%31&b=2:2' \
    'a=007&b=2:9' 'a=1?&b=2:2'; do
    get "/baseline11?${row%:*}"
    assert_body "${row##*:}" "$row"
  done
}

@test "integers are signed, have 64 bits, and sums wrap around" {
  local row
  for row in 'a=9223372036854775807:9223372036854775807' 'a=-9223372036854775808:-9223372036854775808' \
    'a=9223372036854775808&b=1:1' 'a=-9223372036854775809&b=1:1' 'a=99999999999999999999999999&b=1:1' \
    'a=9223372036854775807&b=1:-9223372036854775808' 'a=-9223372036854775808&b=-1:9223372036854775807' \
    'a=18446744073709551617&b=1:1' 'a=000000000000000000000000000005:5'; do
    get "/baseline11?${row%:*}"
    assert_body "${row##*:}" "$row"
  done
}

@test "content counts if it is an integer with white space around it" {
  local row
  for row in '20:21' ' 20:21' '20\r\n:21' '\t\r\n 20 \n:21' '-20:-19' '2 0:1' '20x:1' 'x:1' '- 20:1' ' :1' ':1' '--1:1' \
    '9223372036854775808:1'; do
    post '/baseline11?a=1' "${row%:*}"
    assert_body "${row##*:}" "$row"
  done
}

@test "an unknown path gets a 404 with a text" {
  get /nowhere
  assert_statuses 404
  assert_body '404 Not Found'
  refute_field Connection
}

@test "a known path without the method gets a 405 with Allow" {
  exchange 'POST /pipeline HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 405
  assert_field 'Allow: GET, HEAD, OPTIONS'
  assert_body '405 Method Not Allowed'
  exchange 'DELETE /baseline11 HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses 405
  assert_field 'Allow: GET, HEAD, POST, OPTIONS'
}

@test "HEAD gets the head of the GET" {
  local path found
  for path in /pipeline '/baseline11?a=13&b=42' /nowhere; do
    get "$path"
    found=${response%%$'\n\n'*}
    exchange "HEAD $path HTTP/1.1\r\nHost: a\r\n\r\n"
    [[ $(sed '/^Date/d' <<<"$response") == $(sed '/^Date/d' <<<"$found") ]] || fail "GET: $found"
  done
}

@test "a refused HEAD gets no content either" {
  exchange 'HEAD /pipeline HTTP/1.1\r\n\r\n'
  assert_refused 400
  assert_body "$response" # nothing behind the head
  exchange 'HEAD /pipeline HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx'
  assert_refused 400
  assert_body "$response"
}

@test "every answer has its fields, and no others" {
  local line names
  for line in 'GET /pipeline' 'GET /baseline11?a=1' 'POST /baseline11' 'HEAD /pipeline' 'GET /nowhere'; do
    exchange "$line HTTP/1.1\r\nHost: a\r\n\r\n"
    names=$(sed --quiet 's/^\([A-Za-z-]*\): .*/\1/p; /^$/q' <<<"$response" | xargs)
    [[ $names == 'Server Content-Type Date Content-Length' ]] || fail "$line: $names"
    assert_field 'Server: mote'
    assert_field 'Content-Type: text/plain'
  done
}

@test "Content-Length is the length of the content" {
  run -0 python3 - "$server_port" <<'PYTHON'
import socket, sys
integers = ("-5", "123456789", "1234567890", "-1234567890", "9223372036854775807", "-9223372036854775808")
for path in ("/pipeline", "/nowhere", *(f"/baseline11?a={integer}" for integer in integers)):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = client.makefile("rb").read()  # to the end, whatever the field says
    head, _, content = answer.partition(b"\r\n\r\n")
    assert content and b"Content-Length: %d" % len(content) in head.split(b"\r\n"), answer
PYTHON
}

@test "Date follows the clock during a connection" {
  run -0 python3 - "$server_port" <<'PYTHON'
import email.utils, socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
seen = set()
for _ in range(25):
    before = int(time.time())
    client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = client.recv(4096).decode()
    text = answer.partition("\r\nDate: ")[2].partition("\r\n")[0]
    at = email.utils.parsedate_to_datetime(text).timestamp()
    assert time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(at)) == text, text
    # The tick may be some milliseconds late.
    assert before - 1 <= at <= time.time(), (before, at)
    seen.add(at)
    time.sleep(0.1)
assert len(seen) >= 3, seen
PYTHON
}

@test "Date changes with the second, whenever the connection began" {
  run -0 python3 - "$server_port" <<'PYTHON'
import email.utils, socket, sys, time
def sleep_until(part): time.sleep((part - time.time()) % 1)
def date(client):
    client.sendall(b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n")
    text = client.recv(4096).decode().partition("\r\nDate: ")[2].partition("\r\n")[0]
    return email.utils.parsedate_to_datetime(text).timestamp()
time.sleep(1.2)  # without a connection the clock stands still
sleep_until(0.6)
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
for _ in range(2):
    date(client)
    sleep_until(0.2)
    assert date(client) == int(time.time()), time.time()
PYTHON
}

@test "Date is right on every day of three centuries" {
  local program=$BATS_TEST_TMPDIR/dates
  cat >"$program.cpp" <<CPP
#include "$root/server.cpp"
extern "C" [[gnu::used, gnu::force_align_arg_pointer, noreturn]] void put_dates() {
    char head[head_size];
    for (uint64_t day = 0; day < 110000; day++) {
        put_head(head, day * 86400 + day * 11 % 86400);
        (void)write(1, head, head_size);
    }
    exit_group(0);
}
CPP
  g++ -std=c++20 -Os -march=x86-64-v2 -ffreestanding -fno-exceptions -fno-rtti -fno-stack-protector -fno-pie -nostdlib \
    -static -Wl,--entry=put_dates -o "$program" "$program.cpp"
  "$program" >"$program.txt"
  run -0 python3 - "$program.txt" <<'PYTHON'
import datetime, sys
heads = open(sys.argv[1], newline="").read().split("HTTP/1.1 200 OK\r\n")
assert heads.pop(0) == "" and len(heads) == 110000, len(heads)
for day, head in enumerate(heads):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=day, seconds=day * 11 % 86400)
    date = at.strftime("Date: %a, %d %b %Y %H:%M:%S GMT")
    assert head == f"Server: mote\r\nContent-Type: text/plain\r\n{date}\r\nContent-Length: ", head
PYTHON
}

@test "a new route is a struct and a row; its answer has a Content-Length, or is too large and becomes a 500" {
  local folder=$BATS_FILE_TMPDIR/more size path functions='' rows=''
  mkdir --parents "$folder"
  cp "$root/build.sh" "$folder"
  for size in 0 1 9 10 11 99 100 101 256; do
    functions+="struct Text$size { void answer(Answer \\&answer) const {"
    functions+=" answer.text<\"$(printf '%*s' "$size" '' | tr ' ' x)\">(); } };\\n"
    rows+="    {to_get, \"/$size\"_b, functions_of<Text$size>},\\n"
    # The same by the way for content that only the running server knows.
    functions+="struct Bytes$size { void answer(Answer \\&answer) const {"
    functions+=" answer.text(\"$(printf '%*s' "$size" '' | tr ' ' x)\"_b); } };\\n"
    rows+="    {to_get, \"/bytes/$size\"_b, functions_of<Bytes$size>},\\n"
  done
  functions+='constexpr char page[answer_content_limit + 1]{};\n'
  functions+='struct Largest { void answer(Answer \&answer) const { answer.text({page, answer_content_limit}); } };\n'
  functions+='struct TooLarge { void answer(Answer \&answer) const { answer.text({page, sizeof page}); } };\n'
  rows+='    {to_get, "/largest"_b, functions_of<Largest>},\n    {to_get, "/large"_b, functions_of<TooLarge>},\n'
  functions+='struct Made { void answer(Answer \&answer) const { answer.text("201 Created", "application/json", "[1]"_b); } };\n'
  rows+='    {to_get, "/made"_b, functions_of<Made>},\n'
  # The longest status and type together, with the longest content, one byte more, and an error of a route's own.
  local type
  type=$(printf '%*s' 250 '' | tr ' ' x)
  functions+="struct Wide { void answer(Answer \\&answer) const { answer.text(\"299 ok\", \"$type\", {page, answer_content_limit}); } };\\n"
  functions+="struct TooWide { void answer(Answer \\&answer) const { answer.text(\"299 oky\", \"$type\", \"\"_b); } };\\n"
  functions+='struct Gone { void answer(Answer \&answer) const { answer.text("410 Gone", "text/plain", "gone"_b); } };\n'
  rows+='    {to_get, "/wide"_b, functions_of<Wide>},\n    {to_get, "/too-wide"_b, functions_of<TooWide>},\n'
  rows+='    {to_get, "/gone"_b, functions_of<Gone>},\n'
  sed "s|^// The functions of a route. What|$functions&|; s|^constexpr Route routes\[\] = {|&\\n$rows|" "$root/server.cpp" >"$folder/server.cpp"
  "$folder/build.sh"
  has_own_server=yes
  server_program=$folder/server start_server --threads 1
  for path in /{,bytes/}{0,1,9,10,11,99,100,101,256}; do
    size=${path##*/}
    exchange "GET $path HTTP/1.1\r\nHost: a\r\n\r\nHEAD $path HTTP/1.1\r\nHost: a\r\n\r\nGET $path HTTP/1.0\r\n\r\n"
    assert_statuses '200 200 200' "$path"
    assert_field "Content-Length: $size"
    [[ $(grep --count "Content-Length: $size\$" <<<"$response") == 3 ]] || fail "$path"
    [[ $(tr --delete --complement x <<<"${response//text/}" | wc --bytes) == $((2 * size)) ]] || fail "$path"
  done
  exchange 'GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /9 HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses '500 200'
  run -0 bash -c "curl --silent --fail http://127.0.0.1:$server_port/largest | cmp - <(head --bytes=32768 /dev/zero)"
  run -0 bash -c "curl --silent --fail http://127.0.0.1:$server_port/wide | cmp - <(head --bytes=32768 /dev/zero)"
  exchange 'GET /too-wide HTTP/1.1\r\nHost: a\r\n\r\nGET /gone HTTP/1.1\r\nHost: a\r\n\r\n'
  assert_statuses '500 410'
  kill -USR1 "$server_pid"
  wait_until grep --quiet ' 4xx' "$server_log"
  [[ $(grep --only-matching '[0-9]* 4xx, [0-9]* 5xx' "$server_log" | awk '{ a += $1; b += $3 } END { print a, b }') == '1 2' ]] || fail "$(<"$server_log")"
  exchange 'GET /made HTTP/1.1\r\nHost: a\r\n\r\nHEAD /made HTTP/1.0\r\n\r\n'
  assert_statuses '201 201'
  [[ $(grep --invert-match '^Date: ' <<<"$response") == 'HTTP/1.1 201 Created
Server: mote
Content-Type: application/json
Content-Length: 3

[1]HTTP/1.1 201 Created
Server: mote
Content-Type: application/json
Content-Length: 3
Connection: close' ]] || fail
}
