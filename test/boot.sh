#!/usr/bin/env bash
# Boots Debian's arm64 kernel in an emulated machine with the server as its first process, and has it answer through the
# emulated network card, show what its threads have, and end on SIGTERM. Prints what happens; exit status 0 if all is
# as it should be. Downloads the kernel and busybox (22 MB), into .boot/; needs g++-aarch64-linux-gnu, qemu-system-arm,
# cpio, curl, xz-utils. It takes about a minute.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mirror=http://deb.debian.org/debian suite=bookworm
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
folder=$root/.boot

mkdir --parents "$folder"
cd "$folder"

# The newest kernel for virtual machines, and busybox, as packages; extracted into files/.
fetch() {
  [[ -d files ]] && return
  curl --silent --fail "$mirror/dists/$suite/main/binary-arm64/Packages.xz" | xz --decompress >packages
  local file
  for file in "$(sed --quiet 's/^Filename: \(.*linux-image-[0-9.-]*-cloud-arm64_.*\)/\1/p' packages | sort --version-sort | tail --lines=1)" \
    "$(sed --quiet 's/^Filename: \(.*busybox-static_.*\)/\1/p' packages)"; do
    echo "fetching $file"
    curl --silent --fail --output package.deb "$mirror/$file"
    dpkg-deb --extract package.deb files
  done
}

# The card's driver and what it is made of, in the order in which they are loaded.
modules=(virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net)

make_root() {
  rm --force --recursive initial
  mkdir --parents initial/{bin,dev,proc,modules}
  cp files/bin/busybox initial/bin
  local module
  for module in "${modules[@]}"; do
    find files/lib/modules -name "$module.ko" -exec cp {} initial/modules \;
  done
  cp "$root/server.cpp" "$root/build.sh" .
  CXX=aarch64-linux-gnu-g++ ./build.sh
  cp server initial
  # Another one that makes a system call of which its filter knows nothing, when it is asked for /pipeline.
  sed --in-place 's|^    void answer(Answer &answer) const { answer.text<"ok">|    void answer(Answer \&answer) const { (void)trap(Sys::socket); answer.text<"ok">|' server.cpp
  CXX=aarch64-linux-gnu-g++ ./build.sh
  cp server initial/forbidden
  # The server becomes what runs this script: process 1. What stands beside it reports when there was time for requests.
  cat >initial/init <<INIT
#!/bin/busybox sh
set -e
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in ${modules[*]}; do busybox insmod /modules/\$module.ko; done
busybox ifconfig lo 127.0.0.1 up
busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
/forbidden --port 9090 --threads 1 &
forbidden=\$!
busybox sleep 2
busybox wget -q -O - http://127.0.0.1:9090/pipeline || true
wait \$forbidden || echo "a forbidden call has ended its process: status \$?"
(
  busybox sleep 14
  echo "kernel: \$(busybox uname -r -m)"
  for task in /proc/1/task/*; do
    echo "thread \${task##*/}: \$(busybox grep -E '^(Uid|Seccomp|NoNewPrivs):' \$task/status | busybox tr '\\t\\n' '  ')"
    echo "thread \${task##*/} has: \$(busybox ls -l \$task/fd | busybox sed -n 's/.* \\([0-9]*\\) -> \\(.*\\)/\\1 \\2,/p' | busybox tr '\\n' ' ')"
  done
  busybox sleep 1
  echo 'sending SIGTERM to process 1'
  busybox kill -TERM 1
) &
exec /server --threads 2
INIT
  chmod +x initial/init
  (cd initial && find . | cpio --quiet --create --format=newc --owner=0:0) | gzip >initial.gz
}

fetch
make_root
qemu-system-aarch64 -machine virt -cpu cortex-a72 -smp 2 -m 512 -nographic -no-reboot \
  -kernel "$(echo files/boot/vmlinuz-*)" -initrd initial.gz -append 'console=ttyAMA0 panic=-1 quiet' \
  -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:8080" -device virtio-net-pci,netdev=net,romfile= \
  >console </dev/null &
machine=$!
trap 'kill "$machine" 2>/dev/null || true' EXIT

for _ in {1..60}; do
  if grep --quiet 'http://.*:8080/' console; then break; fi
  sleep 1
done
check() {
  local answer
  answer=$(curl --silent --max-time 5 "${@:2}")
  echo "curl ${*:2}: $answer"
  [[ $answer == "$1" ]]
}
check 55 "http://127.0.0.1:$port/baseline11?a=13&b=42"
check 75 --data 20 "http://127.0.0.1:$port/baseline11?a=13&b=42"
check 75 --data 20 --header 'Transfer-Encoding: chunked' "http://127.0.0.1:$port/baseline11?a=13&b=42"
for _ in 1 2 3 4 5 6; do check ok "http://127.0.0.1:$port/pipeline"; done # both workers have a part
# A request whose content comes when the order to stop has been given.
python3 - "$port" <<'PYTHON'
import socket, sys, time
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
peer.sendall(b"POST /baseline11?a=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n4")
while "sending SIGTERM" not in open("console").read():
    time.sleep(0.1)
time.sleep(1)
peer.sendall(b"1")
answer = peer.recv(4096)
print("a second after SIGTERM:", answer)
assert b"\r\nConnection: close\r\n" in answer and answer.endswith(b"42")
PYTHON
wait "$machine" || true
trap - EXIT
expect() { grep --quiet --extended-regexp "$1" console || { echo "not seen: $1" >&2; exit 1; }; }
echo '--- the console:'
tr --delete '\r' <console
[[ $(grep --count 'Uid:.*65534.*NoNewPrivs: 1 Seccomp: 2' console) == 3 ]] # the main thread and two workers
# Both workers have sockets, none of which another thread has, and the main thread has none.
[[ $(grep --count '^thread .* has: .*socket:' console) == 2 ]]
[[ -z $(grep --only-matching 'socket:\[[0-9]*\]' console | sort | uniq --repeated) ]]
expect '^thread 1 has: [^:]* anon_inode:.timerfd., .?$'
expect 'a forbidden call has ended its process: status 159' # 128 and SIGSYS
expect 'Attempted to kill init! exitcode=0x00000000' # which is what the kernel says when process 1 has ended with status 0
