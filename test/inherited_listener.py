"""A service manager: hands a listener over to servers, one after the other, and looks at what each does with it.

usage: inherited_listener.py SCENARIO COMMAND...     which function below, and how to call the server
"""
import os
import pathlib
import re
import signal
import socket
import sys
import tempfile
import time

from peers import cpu_seconds


def wakings(pid):
    """How often its threads have gone to sleep."""
    return sum(int(line.split()[1]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
               for line in (task / "status").read_text().splitlines() if line.startswith("voluntary"))


started = []


def start(listener, *arguments, pid_offset=0, count="1"):
    """A server that inherits the listener as a service manager hands it over. Its process and what it says first."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(listener.fileno(), 100)
        os.dup2(write, 2)
        os.dup2(100, 3)
        os.environ["LISTEN_PID"] = str(os.getpid() + pid_offset)
        if count is not None:
            os.environ["LISTEN_FDS"] = count
        os.execvp(sys.argv[2], [*sys.argv[2:], "--threads", "3", *arguments])
    started.append(pid)
    os.close(write)
    return pid, os.fdopen(read).readline()


def end(pid):
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, 0)[1] == 0


def connect(address):
    peer = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect(address)
    return peer


def is_answered(peer):
    peer.sendall(b"GET /pipeline HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := peer.recv(4096):
        answer += piece
    return answer.endswith(b"\r\n\r\nok")


def tcp_listener():
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)  # one that blocks
    assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    return listener, listener.getsockname()


def one_server_after_the_other():
    listener, address = tcp_listener()
    for _ in range(2):
        pid, said = start(listener, "--port", "1", "--address", "192.0.2.1")  # these mean nothing now
        assert f" descriptor 3 (port {address[1]}) (3 workers," in said, said
        assert all(is_answered(connect(address)) for _ in range(50))
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1  # what it accepts inherits that
        idle = connect(address)
        end(pid)
        idle.close()
        begin = time.monotonic()
        waiting = connect(address)  # nobody has stopped the listener
        assert time.monotonic() - begin < 0.5
        pid, said = start(listener)
        assert is_answered(waiting)
        end(pid)


def a_connection_wakes_one_worker():
    listener, address = tcp_listener()
    pid, _ = start(listener, "--threads", "8")
    before = wakings(pid)
    peers = []
    for _ in range(50):
        peers.append(connect(address))
        time.sleep(0.005)  # until those that it has woken up sleep again
    assert wakings(pid) - before < 2 * 50, wakings(pid) - before  # not all eight each time
    assert all(map(is_answered, peers))
    end(pid)


def new_connections_go_to_the_new_server():
    """While one server finishes what is under way, another one gets all new connections."""
    listener, address = tcp_listener()
    old, _ = start(listener)
    held = connect(address)
    held.sendall(b"POST /baseline11 HTTP/1.0\r\nContent-Length: 1\r\n\r\n")
    assert is_answered(connect(address))
    os.kill(old, signal.SIGTERM)
    time.sleep(0.6)  # more than the quarter of a second in which it still accepts
    new, _ = start(listener)
    for _ in range(20):
        peer = connect(address)
        peer.settimeout(2)
        assert is_answered(peer)
    assert cpu_seconds(old) < 0.1, cpu_seconds(old)  # nothing that it does not watch wakes it up
    held.sendall(b"7")
    assert held.recv(4096).endswith(b"7")
    held.close()
    assert os.waitpid(old, 0)[1] == 0
    end(new)


def a_listener_at_a_path():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/socket"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(100)
        pid, said = start(listener)
        assert " descriptor 3 (3 workers," in said, said
        assert all(is_answered(connect(path)) for _ in range(50))
        end(pid)


def none_for_this_process():
    listener, _ = tcp_listener()
    for given in {"pid_offset": 1}, {"pid_offset": 1, "count": "2"}, {"count": None}, {"count": "0"}:
        pid, said = start(listener, "--port", "0", **given)
        assert re.search(r" http://(\[::\]|0\.0\.0\.0):[1-9]", said), (given, said)
        end(pid)


def what_it_does_not_take():
    """One line and status 1 each."""
    def refused(listener, expected, count="1"):
        pid, said = start(listener, count=count)
        assert said == f"mote: {expected}\n", said
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1

    listener, address = tcp_listener()
    for count in "2", "10", "99999999999999999999":
        refused(listener, f"{count} listeners inherited instead of one (LISTEN_FDS)", count)
    for count in "", "x", "1x", " 1", "-1", "+1":
        refused(listener, f"not a number of listeners: {count} (LISTEN_FDS)", count)

    def bound(*kind):
        made = socket.socket(*kind)
        if kind[0] == socket.AF_INET:
            made.bind(("127.0.0.1", 0))
        return made
    datagrams, records = bound(socket.AF_INET, socket.SOCK_DGRAM), bound(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    records.bind("")
    records.listen()  # it accepts connections, but they are no streams
    for other in datagrams, bound(socket.AF_INET), bound(socket.AF_UNIX), connect(address), records:
        refused(other, "descriptor 3 is not a listener (LISTEN_FDS)")
    with open("/dev/null") as null:
        refused(null, "descriptor 3: Socket operation on non-socket (errno 88)")


try:
    globals()[sys.argv[1]]()
finally:
    for pid in started:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
        except ChildProcessError:  # it has ended
            pass
