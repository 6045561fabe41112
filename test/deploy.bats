#!/usr/bin/env bats
# The files of test/deploy: what they allow is what the server takes, and behind their proxies what dies or is replaced costs
# no request.
load helper
unset BATS_NO_PARALLELIZE_WITHIN_FILE

proxy_pid=
wrk_pid=
server_pids=()
teardown() {
  if [[ -n $wrk_pid ]]; then kill "$wrk_pid" || true; fi
  if [[ -n $proxy_pid ]]; then
    kill "$proxy_pid"
    wait "$proxy_pid" || true # its status is what the signal was
  fi
  local server_pid
  for server_pid in "${server_pids[@]}"; do stop_server; done
}

# Starts server N (1 to 3) on its port, the same each time.
start_numbered() {
  "${server[@]}" --threads 1 --port "${ports[$1]}" 2>"$BATS_TEST_TMPDIR/server.$1" 3>&- &
  server_pids[$1]=$!
  wait_until grep --quiet ' (.* worker' "$BATS_TEST_TMPDIR/server.$1" || fail "$(<"$BATS_TEST_TMPDIR/server.$1")" \
    "$(grep "$(printf ':%04X ' "${ports[$1]}")" /proc/net/tcp /proc/net/tcp6)" # who has the port
}

# Three servers, the proxy that "$@" starts, with their ports in PORT and PORT_1 to PORT_3, and load on it; meanwhile one
# server is killed and started again, another one ends by a signal and is started again.
lose_servers_under_load() {
  read -r -a ports <<<"$(free_ports 4)"
  local number
  for number in 1 2 3; do start_numbered "$number"; done
  PORT=${ports[0]} PORT_1=${ports[1]} PORT_2=${ports[2]} PORT_3=${ports[3]} "$@" >"$BATS_TEST_TMPDIR/proxy" 2>&1 3>&- &
  proxy_pid=$!
  is_answering() { [[ $(curl --silent "http://127.0.0.1:${ports[0]}/pipeline") == ok ]]; }
  wait_until is_answering
  wrk --threads 1 --connections 64 --duration 30s --timeout 4s --script "$root/test/requests.lua" \
    "http://127.0.0.1:${ports[0]}" -- baseline >"$BATS_TEST_TMPDIR/wrk" 3>&- &
  wrk_pid=$!
  for number in 1 2 3; do wait_until has_answered "${server_pids[$number]}" "$BATS_TEST_TMPDIR/server.$number" 500; done # under load
  kill -KILL "${server_pids[1]}"
  wait "${server_pids[1]}" || true # its status is what the signal was
  sleep 0.5 # until a proxy has found out, and gone on without it
  kill "${server_pids[2]}"
  wait "${server_pids[2]}"
  start_numbered 1
  start_numbered 2
  for number in 1 2 3; do wait_until has_answered "${server_pids[$number]}" "$BATS_TEST_TMPDIR/server.$number" 500; done # more than health checks do
  kill -INT "$wrk_pid"
  wait "$wrk_pid"
  wrk_pid=
  output=$(grep --invert-match latencies "$BATS_TEST_TMPDIR/wrk")
  echo "# $(grep --only-matching '[0-9]* requests in.*s' <<<"$output")" >&3
  [[ $output != *'Non-2xx'* && $output != *'Socket errors'* ]] || fail "$output"
  (($(sed --quiet 's/ *\([0-9]*\) requests in .*/\1/p' <<<"$output") > 1000)) || fail "$output"
}

@test "the limits of memory and descriptors allow all connections that the workers accept" {
  python3 - "$root" <<'PYTHON'
import pathlib, re, sys
root = pathlib.Path(sys.argv[1])

def found(file, pattern):
    return int(re.search(pattern, (root / file).read_text(), re.MULTILINE)[1])

def tunable(name):
    return found("server.cpp", rf"^constexpr size_t {name} = (\d+);")

connections = tunable("connection_limit")
state, timer, long_answer = 32, 16, 48
worker = connections * (1.45 * 1024 + state + timer + long_answer) + tunable("block_count") * (96 << 10) + (16 << 20)
workers = found("test/deploy/kubernetes.yaml", r'args: \["--threads", "(\d+)"\]')
pod = found("test/deploy/kubernetes.yaml", r"limits: .*memory: (\d+)Mi}") << 20
assert 1.1 * workers * worker < pod < 1.5 * workers * worker, (worker, pod)
share = found("test/deploy/mote.service", r"^MemoryMax=(\d+)%$") / 100 * (512 << 20)
assert 1.1 * worker < share < 1.5 * worker, (worker, share)
assert found("test/deploy/mote.service", r"^LimitNOFILE=(\d+)$") == connections + tunable("reserved_descriptors")
PYTHON
}

@test "HAProxy loses no request while one server dies, another is replaced, and both return" {
  lose_servers_under_load haproxy -f "$root/test/deploy/haproxy.cfg"
}

@test "HAProxy sends requests again that mote answered with 503, and its clients see none of that" {
  local proxy_port
  start_server --threads 2
  server_pids=("$server_pid")
  proxy_port=$(free_ports 1)
  PORT=$proxy_port PORT_1=$server_port haproxy -f "$root/test/deploy/retries.cfg" >"$BATS_TEST_TMPDIR/proxy" 2>&1 3>&- &
  proxy_pid=$!
  proxy_answers() { curl --silent --fail "http://127.0.0.1:$proxy_port/pipeline"; }
  wait_until proxy_answers
  run_peers <<PYTHON
import collections
def statuses(port):
    with connect(port) as peer:
        answers = Answers(peer)
        found = collections.Counter()
        for _ in range(400):
            peer.sendall(b"GET /?s=10&r=503:20 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            status, _, content = answers.next()
            assert content == b".123456789", content
            found[status] += 1
        return found
assert statuses($proxy_port) == {200: 400}
failed, answered = (sum(worker[name] for worker in counted(pid, 2)) for name in ("5xx", "requests"))
# 100 are to be expected of 500.
assert failed >= 20 and answered >= 400 + failed, (failed, answered)
assert statuses(port)[503] >= 20  # without the proxy
PYTHON
}

@test "nginx loses no request in the same situation" {
  sed 's/127.0.0.1:808\([123]\)/127.0.0.1:PORT_\1/; s/127.0.0.1:8000/127.0.0.1:PORT/; s|/tmp/mote-nginx.pid|'"$BATS_TEST_TMPDIR/pid"'|' \
    "$root/test/deploy/nginx.conf" >"$BATS_TEST_TMPDIR/form"
  start_nginx() {
    sed "s/PORT_1/$PORT_1/; s/PORT_2/$PORT_2/; s/PORT_3/$PORT_3/; s/PORT/$PORT/" "$BATS_TEST_TMPDIR/form" >"$BATS_TEST_TMPDIR/nginx.conf"
    exec nginx -c "$BATS_TEST_TMPDIR/nginx.conf" -g 'daemon off;'
  }
  lose_servers_under_load start_nginx
}
