#!/usr/bin/env bats
# The arena's validation: what a benchmark's user checks before believing its figures. The fragmentation check is made
# exhaustive: each request shape is cut at every byte (RFC 9112 section 2.2: a message is a stream of octets).
load helper
setup_file() { start_server; }
teardown_file() { stop_server; }

url() { echo "http://127.0.0.1:$server_port$1"; }

@test "GET /baseline11 returns the sum of the query" {
  run -0 curl --silent --fail "$(url '/baseline11?a=13&b=42')"
  [[ $output == 55 ]]
}

@test "POST /baseline11 adds content with a Content-Length" {
  run -0 curl --silent --fail --data 20 "$(url '/baseline11?a=13&b=42')"
  [[ $output == 75 ]]
}

@test "POST /baseline11 adds chunked content" {
  run -0 curl --silent --fail --header 'Transfer-Encoding: chunked' --data 20 "$(url '/baseline11?a=13&b=42')"
  [[ $output == 75 ]]
}

@test "GET /pipeline answers ok" {
  run -0 curl --silent --fail "$(url /pipeline)"
  [[ $output == ok ]]
}

@test "every answer is text/plain" {
  local arguments
  for arguments in '/baseline11?a=1&b=2' '/baseline11?a=1&b=2 --data 3' /pipeline /delay/10; do
    # shellcheck disable=SC2086  # a path and perhaps an option
    run -0 curl --silent --fail --output /dev/null --write-out '%{content_type}' "$(url)"$arguments
    [[ $output == text/plain ]] || fail "$arguments: $output"
  done
}

@test "random operands are added, not remembered" {
  local _ a b c
  for _ in {1..20}; do
    a=$((RANDOM * RANDOM)) b=$((RANDOM - 16384)) c=$((RANDOM))
    run -0 curl --silent --fail "$(url "/baseline11?a=$a&b=$b")"
    [[ $output == $((a + b)) ]] || fail "$a + $b: $output"
    run -0 curl --silent --fail --data "$c" "$(url "/baseline11?a=$a&b=$b")"
    [[ $output == $((a + b + c)) ]] || fail "$a + $b + $c: $output"
  done
}

@test "two random contents on one connection give two answers" {
  local first=$((RANDOM)) second=$((RANDOM + 40000))
  run -0 curl --silent --fail --data "$first" "$(url '/baseline11?a=13&b=42')" \
    --next --silent --fail --data "$second" --write-out ' %{num_connects}' "$(url '/baseline11?a=13&b=42')"
  [[ $output == "$((55 + first))$((55 + second)) 0" ]]
}

# Sets `us` to the microseconds that curl has measured. It prints seconds with six decimals.
set_us() { us=$((10#${1/./})); }

# take PATH: sets `output` to the content of a GET, and `us` to the time that it took.
take() {
  run -0 curl --silent --fail --write-out ' %{time_total}' "$(url "$1")"
  set_us "${output##* }"
  output=${output% *}
}

@test "GET /delay/MS answers MS after that time" {
  local _ ms
  for _ in {1..10}; do
    ms=$((10 + RANDOM % 81))
    take "/delay/$ms"
    [[ $output == "$ms" ]] || fail "$ms: $output"
    ((us >= ms * 900 && us < 2000000)) || fail "$ms ms: $us us"
  done
}

@test "GET /delay/0 answers 0" {
  take /delay/0
  [[ $output == 0 ]] || fail "$output"
  ((us < 2000000)) || fail "$us us"
}

@test "a delay is as long as the request says" {
  take /delay/500
  local long=$us
  take /delay/10
  ((long - us >= 300000 && long < 2000000)) || fail "500 ms: $long us; 10 ms: $us us"
}

@test "32 delays at once overlap, and each is answered with its own number" {
  local n ms list='' sum_ms=0 start=$EPOCHREALTIME line
  for n in {0..31}; do
    ms=$((100 + 12 * n + RANDOM % 12))
    list+=,$ms
    sum_ms=$((sum_ms + ms))
  done
  # Beside parallel transfers curl prints a progress meter on standard error.
  run -0 --separate-stderr curl --silent --fail --parallel --parallel-immediate --parallel-max 32 \
    --output "$BATS_TEST_TMPDIR/#1" --write-out '%{url_effective} %{time_total}\n' "$(url "/delay/{${list#,}}")"
  ((${#lines[@]} == 32)) || fail "$output"
  python3 -c "import sys; sys.exit($EPOCHREALTIME - $start > $sum_ms / 2000)" || fail "one after the other: $output"
  for line in "${lines[@]}"; do
    ms=${line% *}
    ms=${ms##*/}
    [[ $(<"$BATS_TEST_TMPDIR/$ms") == "$ms" ]] || fail "$ms: $(<"$BATS_TEST_TMPDIR/$ms")"
    set_us "${line##* }"
    ((us >= ms * 900)) || fail "$line"
  done
}

# The request shapes of the fragmentation check, one file each, and the contents that they are answered with.
write_shapes() {
  local host='Host: localhost:8080\r\n' post='POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\n'
  local get="GET /baseline11?a=13&b=42 HTTP/1.1\r\n$host" chunked='Transfer-Encoding: chunked\r\n'
  shape get 55 "$get\r\n"
  shape get_lower_case 55 'GET /baseline11?a=13&b=42 HTTP/1.1\r\nhost: localhost\r\nuser-agent: x\r\naccept: */*\r\n\r\n'
  shape post 75 "${post}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n20"
  shape post_one_chunk 75 "$post$chunked\r\n2\r\n20\r\n0\r\n\r\n"
  shape post_two_chunks 75 "$post$chunked\r\n1\r\n2\r\n1\r\n0\r\n0\r\n\r\n"
  shape post_extensions_and_trailer -145 "$post$chunked\r\n001;a=b\r\n-\r\n3 ; c=\"d\"\r\n200\r\n0\r\nX-Sum: 1\r\n\r\n"
  shape pipelined 'ok 55 75 75 ok' "GET /pipeline HTTP/1.1\r\n$host\r\n$get\r\n${post}Content-Length: 2\r\n\r\n20$post\
$chunked\r\n2\r\n20\r\n0\r\n\r\nGET /pipeline HTTP/1.1\r\n$host\r\n"
  shape head '' "HEAD /pipeline HTTP/1.1\r\n$host\r\n"
  shape head_then_get 'ok' "HEAD /baseline11?a=1 HTTP/1.1\r\n$host\r\nGET /pipeline HTTP/1.1\r\n$host\r\n"
  shape close 55 "${get}Connection: close\r\n\r\n"
  shape http_1_0 ok 'GET /pipeline HTTP/1.0\r\n\r\n'
  shape http_1_0_keep_alive 'ok ok' \
    'GET /pipeline HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /pipeline HTTP/1.0\r\n\r\n'
  shape empty_lines_before ok "\r\n\r\nGET /pipeline HTTP/1.1\r\n$host\r\n"
  shape content_of_a_get '55 ok' "${get}Content-Length: 5\r\n\r\nGET /GET /pipeline HTTP/1.1\r\n$host\r\n"
  shape errors_in_between '404 Not Found 405 Method Not Allowed ok' \
    "GET /nowhere HTTP/1.1\r\n$host\r\nPUT /pipeline HTTP/1.1\r\n${host}Content-Length: 3\r\n\r\nabc\
GET /pipeline HTTP/1.1\r\n$host\r\n"
  shape refused 'ok 400 Bad Request' "GET /pipeline HTTP/1.1\r\n$host\r\nGET /pipeline HTTP/1.1\r\n\
Host : a\r\n\r\nGET /pipeline HTTP/1.1\r\n$host\r\n"
  shape refused_chunk '400 Bad Request' "$post$chunked\r\n2\r\n20x\r\n0\r\n\r\nGET /pipeline HTTP/1.1\r\n$host\r\n"
}

# shape NAME CONTENTS BYTES: checks the answer to the bytes sent whole, and writes them to a file.
shape() {
  exchange "$3"
  local contents
  contents=$(grep --invert-match --perl-regexp '^HTTP/|^[A-Z][A-Za-z-]*: |^$' <<<"${response//HTTP\/1.1/$'\n'HTTP\/1.1}" |
    xargs)
  [[ $contents == "$2" ]] || fail "$1: expected the contents '$2', got '$contents'"
  env printf "$3" >"$BATS_TEST_TMPDIR/$1"
}

@test "each request shape gives the same answers however it is split" {
  write_shapes
  run timeout 120 python3 "$BATS_TEST_DIRNAME/fragmentation.py" "$server_port" "$BATS_TEST_TMPDIR"/*
  [[ $status == 0 && $(grep --count " 0 differ$" <<<"$output") == 34 ]] || fail "$output"
}
