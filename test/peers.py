"""What the tests' own clients share: connections, requests, and a look at the server's process."""
import os
import pathlib
import re
import signal
import socket
import struct
import threading
import time

OK = b"GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def connect(port, receive_buffer=0, source="127.0.0.1", timeout=15):
    peer = socket.socket()
    if receive_buffer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    peer.settimeout(timeout)
    peer.bind((source, 0))
    peer.connect(("127.0.0.1", port))
    return peer


def answer_to(port, request):
    """All that comes back on a connection of its own, whose peer sends this and ends its side."""
    with connect(port) as peer:
        peer.sendall(request)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
        return answer


def number(n):
    """A request whose answer is `n`."""
    return b"GET /baseline11?n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % n


class Answers:
    """The responses that come in on a connection, one by one."""

    def __init__(self, peer):
        self.peer, self.held, self.at = peer, b"", 0  # what is held before `at` has been returned

    def _more(self):
        piece = self.peer.recv(65536)
        self.held, self.at = self.held[self.at:] + piece, 0
        return piece

    def next(self):
        """Status, head and content of the next response; None at the end of the stream between responses."""
        while (end := self.held.find(b"\r\n\r\n", self.at)) < 0:
            if not self._more():
                assert not self.held, f"the stream ended inside a response: {self.held!r}"
                return None
        head, self.at = self.held[self.at:end], end + 4
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(self.held) < self.at + size:
            assert self._more(), f"the stream ended inside content: {self.held!r}"
        content, self.at = self.held[self.at:self.at + size], self.at + size
        return int(head[9:12]), head, content


def abort(peer):
    """Closes with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def descriptors(pid):
    """Open descriptors, in the descriptor table that holds most of them; or, where the kernel does not show these, open
    connections by the server's own count."""
    tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    try:
        return max(len(os.listdir(task / "fd")) for task in tasks)
    except PermissionError:
        return sum(numbers["open"] for numbers in counted(pid, len(tasks) - 1))


def is_running(pid):
    """Whether that process has not ended. A zombie has; others than root may not list its descriptors."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_seconds(pid):
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def fair_clock(pid):
    """Seconds. It stands still while a thread of that process or of this one waits for a CPU that others have."""
    return time.monotonic() - sum(int((task / "schedstat").read_text().split()[1]) for process in (pid, "self")
                                  for task in pathlib.Path(f"/proc/{process}/task").iterdir()) / 1e9


def memory_kib(pid, name="VmRSS"):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def tcp_sockets(local_port):
    """This machine's TCP sockets with that port, as proc(5) shows them, and of both versions of IP: its columns."""
    for table in pathlib.Path("/proc/net/tcp"), pathlib.Path("/proc/net/tcp6"):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            if line.split()[1].endswith(f":{local_port:04X}"):
                yield line.split()


def queues(local_port, remote_port):
    """Bytes that the socket between these ports of 127.0.0.1 has not been rid of, and bytes that nobody has read. None
    without it. By sock_diag(7), which looks up this one socket: /proc/net/tcp is a walk through all there are."""
    host, any_socket, request = socket.inet_aton("127.0.0.1"), b"\xff" * 8, 20  # SOCK_DIAG_BY_FAMILY
    asked = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xffffffff) + \
        struct.pack(">HH4s12x4s12xI8s", local_port, remote_port, host, host, 0, any_socket)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:  # NETLINK_SOCK_DIAG
        netlink.send(struct.pack("=IHHII", 16 + len(asked), request, 1, 0, 0) + asked)
        answer = netlink.recv(4096)
    # Where there is no such socket, the answer is an error or the listener.
    if struct.unpack_from("=H", answer, 4)[0] != request or struct.unpack_from(">H", answer, 22)[0] != remote_port:
        return None
    unread, unsent = struct.unpack_from("=II", answer, 16 + 4 + 48 + 4)
    return [unsent, unread]


def has_ipv6():
    """Whether there is ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.01)


def counted(pid, workers=1):
    """What each worker says on SIGUSR1 that it has counted: a dictionary each. The server's log is $server_log."""
    log = pathlib.Path(os.environ["server_log"])

    def said():
        return [line for line in log.read_text().splitlines(True) if line.endswith("exhausted\n") and not line.startswith("mote: all ")]
    before = len(said())
    os.kill(pid, signal.SIGUSR1)
    wait_until(lambda: len(said()) == before + workers)
    return [{name: int(number) for number, name in re.findall("([0-9]+) ([a-z0-9 ]+)", line)}
            for line in said()[-workers:]]


def wait_until_read(port, *peers):
    """Until the server has received all that these have sent."""
    wait_until(lambda: all(queues(port, peer.getsockname()[1])[1] == 0 for peer in peers))


def times_of_answers(port, pid, seconds, pause):
    """Of one request after the other on one connection, with such a pause between: in ms, from the shortest on."""
    times = []
    with connect(port) as peer:
        answers = Answers(peer)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = fair_clock(pid)
            peer.sendall(OK)
            assert answers.next()[0] == 200
            times.append((fair_clock(pid) - start) * 1000)
            time.sleep(pause)
    return sorted(times)


def percentile(times):
    """What 99 of 100 do not exceed."""
    return times[len(times) * 99 // 100]


class Probe(threading.Thread):
    """Opens a connection every 100 ms, and remembers how long the answer took and what went wrong."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.times, self.failures, self.is_over = port, [], [], threading.Event()
        self.start()

    def run(self):
        while not self.is_over.wait(0.1):
            start = time.monotonic()
            try:
                with connect(self.port, source="127.0.0.9", timeout=5) as peer:
                    peer.sendall(LAST)
                    assert Answers(peer).next()[0] == 200
            except (OSError, AssertionError, TypeError) as error:
                self.failures.append(repr(error))
            self.times.append(time.monotonic() - start)

    def stop(self):
        self.is_over.set()
        self.join()
        assert not self.failures, self.failures
        assert self.times, "the probe was never sent"
        return max(self.times)
