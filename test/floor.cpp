// floor: the cheapest server that mote's design could be - the limit that the project is measured against.
// It parses nothing: each recv() is answered by constant bytes, one response for every REQUEST_BYTES received
// (0 = one response per recv). A recv of exactly CLOSE_BYTES is the connection's last: it is answered with
// "Connection: close" and closed. Same system calls, flags and thread as the real thing; no HTTP, no timers, no checks.
// Freestanding like the real thing: touching few pages matters on virtual machines.
//   g++ -O2 -std=c++20 -nostdlib -static -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
//       -fno-pie -no-pie -o floor floor.cpp && ./floor PORT REQUEST_BYTES [CLOSE_BYTES]
using u64 = unsigned long;
static inline long sys(long n, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}
enum { CLOSE = 3, SOCKET = 41, SENDTO = 44, RECVFROM = 45, BIND = 49, LISTEN = 50, SETSOCKOPT = 54, EXIT = 60,
       EPOLL_WAIT = 232, EPOLL_CTL = 233, ACCEPT4 = 288, EPOLL_CREATE1 = 291, PRLIMIT = 302 };
struct __attribute__((packed)) Event { unsigned events; u64 data; };
static Event events[256];
static char in[32768], out[65536];
// 117 bytes: what an honest answer takes, with Server and Date
static const char response[] = "HTTP/1.1 200 OK\r\nServer: mote\r\nDate: Tue, 24 Nov 2026 08:42:25 GMT\r\n"
                               "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
static const char last_response[] = "HTTP/1.1 200 OK\r\nServer: mote\r\nDate: Tue, 24 Nov 2026 08:42:25 GMT\r\n"
                                    "Content-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

static long number(const char *text) {
    long value = 0;
    while (*text >= '0' && *text <= '9') value = value * 10 + (*text++ - '0');
    return value;
}

extern "C" [[noreturn]] __attribute__((used)) void begin(long *stack) {
    const char **argv = (const char **)(stack + 1);
    long port = number(argv[1]), request_bytes = number(argv[2]), size = sizeof response - 1;
    long close_bytes = stack[0] > 3 ? number(argv[3]) : 0;
    for (long at = 0; at + size <= (long)sizeof out; at += size)
        for (long i = 0; i < size; i++) out[at + i] = response[i];
    u64 files[2];
    sys(PRLIMIT, 0, 7, 0, (long)files);
    files[0] = files[1];
    sys(PRLIMIT, 0, 7, (long)files);
    int one = 1, listener = sys(SOCKET, 2, 1 | 0x800), epoll = sys(EPOLL_CREATE1);
    sys(SETSOCKOPT, listener, 1, 2, (long)&one, 4);
    sys(SETSOCKOPT, listener, 1, 15, (long)&one, 4);
    sys(SETSOCKOPT, listener, 6, 1, (long)&one, 4);
    unsigned char address[16] = {2, 0, (unsigned char)(port >> 8), (unsigned char)port};
    if (sys(BIND, listener, (long)address, 16) < 0 || sys(LISTEN, listener, 65535) < 0) sys(EXIT, 1);
    Event event{1, (u64)listener};
    sys(EPOLL_CTL, epoll, 1, listener, (long)&event);
    for (int timeout = -1;;) {
        long ready = sys(EPOLL_WAIT, epoll, (long)events, 256, timeout);
        timeout = ready > 0 ? 0 : -1;
        for (long i = 0; i < ready; i++) {
            long fd = events[i].data;
            if (fd == listener) {
                for (long client; (client = sys(ACCEPT4, listener, 0, 0, 0x800)) >= 0;) {
                    event = {0x80002001u, (u64)client};
                    sys(EPOLL_CTL, epoll, 1, client, (long)&event);
                }
                continue;
            }
            long got = sys(RECVFROM, fd, (long)in, sizeof in);
            if (got <= 0) { sys(CLOSE, fd); continue; }
            if (got == close_bytes) {
                sys(SENDTO, fd, (long)last_response, sizeof last_response - 1, 0x4000);
                sys(CLOSE, fd);
                continue;
            }
            sys(SENDTO, fd, (long)out, (request_bytes ? got / request_bytes : 1) * size, 0x4000);
        }
    }
}
asm(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call begin\n");
