// mote - an HTTP/1.1 origin server in one freestanding file.
//
// It serves a handful of routes (section 5) over keep-alive, pipelined connections, tens of thousands of them, and
// needs nothing but a Linux kernel: no libc, no C++ library, no heap. It leaves out what a proxy in front of it does
// better: TLS, HTTP/2, files, compression, logs.
//
// One worker thread a CPU, each with its own listener, epoll, descriptor table and buffers; workers share nothing but a
// listener that is at a path or was handed over.
// A request's journey, from the bottom of this file to its top:
//
//   8. Start-up      reads the arguments, makes the listeners, starts the workers, waits for a signal
//   7. Worker loop   epoll says readable: one recv into the worker's input buffer
//   6. Connections   every complete request in it is answered into the output buffer, in order: one send
//   5. Routes        which function answers which path, and what an answer looks like
//   4. HTTP grammar  from bytes to a request head, a message framing, a piece of content
//   3. Bytes, text   the words the grammar is written in
//   2. Kernel        the system calls and how a thread starts
//   1. Tunables      every number someone may want to change

#include <stddef.h>
#include <stdint.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// ---- Tunables --------------------------------------------------------------------------------------------------
// Every number that someone may want to change. Sizes are in bytes; the assertions tie together what must agree.
// A build can have other values without an edit of this file: ./build.sh idle_timeout_s=30 content_limit=65536

#define MOTE_VERSION "0.1.0"  // a macro, to be a part of longer texts

namespace tunables {

constexpr uint16_t default_port = 8080;
constexpr size_t worker_limit = 1024;           // the most that --threads takes
constexpr int listen_backlog = 65535;           // connections waiting for accept; the kernel caps it at somaxconn
constexpr size_t connection_limit = 65536;      // a worker; the table costs address space, a page only once it is used
constexpr size_t reserved_descriptors = 16;     // standard streams, listener, epoll, both timers come first
constexpr size_t events_per_wait = 128;         // events of one epoll_wait; 12 bytes each beside the hot state
constexpr size_t stack_size = 4 * 4096 + 2048;  // a worker's; nothing recurses, and its buffers are elsewhere
constexpr size_t accept_turns = 64;             // connections that are accepted in a row before others get a turn
constexpr size_t end_turns = 512;  // connections whose time is over that are ended in a row; some 10 us each

constexpr size_t input_size = 32768;             // one recv; at least a whole head and as much again
constexpr size_t output_size = 8 * 4096 - 2048;  // answers collected for one send
constexpr size_t block_count = 256;              // a worker's connections with output that is held up: 64 KiB each
constexpr size_t stash_count = 16384;            // a worker's pieces for parts of heads that wait for the rest
constexpr size_t stash_size = 1024;              // of such a piece: a longer part takes several
constexpr size_t answer_content_limit = 256;     // the longest response content; raise it with the longest answer

constexpr size_t method_limit = 32;                 // what follows a longer one is not looked at
constexpr size_t request_line_limit = 8000;         // RFC 9112 section 3 recommends to support at least this
constexpr size_t head_limit = 16384;                // request line, field lines and the empty line
constexpr uint32_t content_limit = 1024 * 1024;     // of one request, chunks added up
constexpr uint16_t extension_limit = 4096;          // all chunk extensions of a request, and leading zeros of its sizes
constexpr uint16_t trailer_limit = 4096;            // all trailer fields of a request
constexpr uint32_t linger_limit = 2 * 1024 * 1024;  // thrown away behind a refusal before the connection is closed

// How long a connection may take for what it is at, in seconds, to the end of the last one.
constexpr uint8_t head_timeout_s = 10;     // from accept or the first byte of a request to the end of its head
constexpr uint8_t content_timeout_s = 30;  // from there to the end of its content
constexpr uint8_t idle_timeout_s = 125;    // from an answer to the next request; a client's pool is to be faster
constexpr uint8_t send_timeout_s = 20;     // until the peer has taken the answers that were held up
constexpr uint8_t linger_timeout_s = 2;    // until it has closed behind the last answer

// Once the server is to end: see drain().
constexpr int64_t drain_tick_ms = 125;    // the clock's period; an eighth of a second
constexpr uint8_t drain_grace_ticks = 3;  // ticks for connections that have just begun; the order to stop is the first,
                                          // and the second may be near
constexpr uint8_t drain_first_ticks = 11;  // the same where the first bytes may have to be sent again
constexpr int64_t drain_limit_s = 4;       // then it ends, whatever is still open
constexpr int64_t end_pause_ms = 5;        // between turns of ending connections

constexpr uint32_t nobody = 65534;  // the user and the group that it becomes if it was started as root

}  // namespace tunables

namespace {

using namespace tunables;
#if defined(MOTE_TUNABLES)  // other values, as build.sh defines it: TUNE(idle_timeout_s, 30) TUNE(content_limit, 65536)
#define TUNE(name, value) constexpr decltype(tunables::name) name{value};  // found before the one in tunables
MOTE_TUNABLES
#endif

constexpr size_t answer_limit = answer_content_limit + 512;  // of content and head: checked in section 5

static_assert(input_size >= 2 * head_limit, "a head held back must leave room in the input buffer for the next bytes");
static_assert(head_timeout_s < 127 && content_timeout_s < 127 && idle_timeout_s < 127 && send_timeout_s < 127 &&
                  linger_timeout_s < 127,
              "a deadline is less than 128 ticks away, for it is kept in a byte");
static_assert(stack_size % 16 == 0, "the stack pointer is aligned where a thread starts");
static_assert(request_line_limit < head_limit, "a request line is part of the head");
static_assert(answer_limit <= output_size, "an empty output buffer must take any answer");

// ---- Kernel interface ------------------------------------------------------------------------------------------
// What the kernel offers and how to ask for it: call numbers, structures, one typed wrapper a call, threads, _start.
// Wrappers answer as the kernel does: a count or descriptor, or -errno. Architectures meet in this section, and in four
// primitives of the scans in the next one.

// Of each architecture first the call numbers, its name in filters, the layout of epoll_event, and whether an emulator
// may stand in for the kernel (see start_worker); then the trap, a thread's start and the program's start.

#if defined(__x86_64__)
enum class Sys : long {
    write = 1,
    close = 3,
    mmap = 9,
    rt_sigaction = 13,
    rt_sigprocmask = 14,
    madvise = 28,
    dup = 32,
    getpid = 39,
    socket = 41,
    sendto = 44,
    recvfrom = 45,
    shutdown = 48,
    bind = 49,
    listen = 50,
    getsockname = 51,
    setsockopt = 54,
    getsockopt = 55,
    clone = 56,
    fcntl = 72,
    umask = 95,
    geteuid = 107,
    setgroups = 116,
    setresuid = 117,
    setresgid = 119,
    capset = 126,
    rt_sigtimedwait = 128,
    prctl = 157,
    sched_setaffinity = 203,
    sched_getaffinity = 204,
    clock_gettime = 228,
    exit_group = 231,
    epoll_ctl = 233,
    ppoll = 271,
    epoll_pwait = 281,
    timerfd_create = 283,
    timerfd_settime = 286,
    accept4 = 288,
    epoll_create1 = 291,
    prlimit64 = 302,
    seccomp = 317,
    close_range = 436,
    landlock_create_ruleset = 444,
    landlock_restrict_self = 446,
};

constexpr uint32_t AUDIT_ARCH = 0xc000003e;

struct [[gnu::packed]] epoll_event {  // packed on this architecture only
    uint32_t events;
    uint64_t data;
};

constexpr bool may_be_emulated = false;
#elif defined(__aarch64__) || defined(__riscv)  // the numbers that all newer architectures have
enum class Sys : long {
    epoll_create1 = 20,
    epoll_ctl = 21,
    epoll_pwait = 22,
    dup = 23,
    fcntl = 25,
    close = 57,
    write = 64,
    ppoll = 73,
    timerfd_create = 85,
    timerfd_settime = 86,
    capset = 91,
    exit_group = 94,
    clock_gettime = 113,
    sched_setaffinity = 122,
    sched_getaffinity = 123,
    rt_sigaction = 134,
    rt_sigprocmask = 135,
    rt_sigtimedwait = 137,
    setresuid = 147,
    setresgid = 149,
    setgroups = 159,
    umask = 166,
    prctl = 167,
    getpid = 172,
    geteuid = 175,
    socket = 198,
    bind = 200,
    listen = 201,
    getsockname = 204,
    sendto = 206,
    recvfrom = 207,
    setsockopt = 208,
    getsockopt = 209,
    shutdown = 210,
    clone = 220,
    mmap = 222,
    madvise = 233,
    accept4 = 242,
    prlimit64 = 261,
    seccomp = 277,
    close_range = 436,
    landlock_create_ruleset = 444,
    landlock_restrict_self = 446,
};

#if defined(__aarch64__)
constexpr uint32_t AUDIT_ARCH = 0xc00000b7;
#else
constexpr uint32_t AUDIT_ARCH = 0xc00000f3;
#endif

struct epoll_event {
    uint32_t events;
    uint64_t data;
};

constexpr bool may_be_emulated = true;
#else
#error "this architecture has no block in section 2 yet"
#endif

#if defined(MOTE_HOSTED)  // a test that includes this file plays the kernel
long trap(Sys call, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);
long start_thread(unsigned long flags, void *stack_end, void (*run)(void *), void *argument);

#elif defined(__x86_64__)  // number in rax, arguments in rdi rsi rdx r10 r8 r9; rcx and r11 are lost
[[gnu::always_inline]] inline long trap(Sys call, long a) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(call), "D"(a) : "rcx", "r11", "memory");
    return result;
}

[[gnu::always_inline]] inline long trap(Sys call, long a, long b) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return result;
}

[[gnu::always_inline]] inline long trap(Sys call, long a, long b, long c) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

[[gnu::always_inline]] inline long trap(Sys call, long a, long b, long c, long d) {
    register long r10 asm("r10") = d;
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

[[gnu::always_inline]] inline long trap(Sys call, long a, long b, long c, long d, long e) {
    register long r8 asm("r8") = e;
    register long r10 asm("r10") = d;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(call), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                 : "rcx", "r11", "memory");
    return result;
}

[[gnu::always_inline]] inline long trap(Sys call, long a, long b, long c, long d, long e, long f) {
    register long r9 asm("r9") = f;
    register long r8 asm("r8") = e;
    register long r10 asm("r10") = d;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(call), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

// Starts a thread on the stack that ends at `stack_end`; it calls `run(argument)`, which must not return.
// Returns the thread's id, or -errno. The new thread inherits every register but rax and rsp, so what it needs
// waits in r8 and r9: clone reads neither of them without CLONE_SETTLS.
long start_thread(unsigned long flags, void *stack_end, void (*run)(void *), void *argument) {
    register long parent_tid asm("r10") = 0;
    register void (*entry)(void *) asm("r8") = run;
    register void *parameter asm("r9") = argument;
    long result;
    asm volatile("syscall\n\t"
                 "test %%rax, %%rax\n\t"
                 "jnz 1f\n\t"
                 "xor %%ebp, %%ebp\n\t"  // the outermost frame, for debuggers
                 "mov %%r9, %%rdi\n\t"
                 "call *%%r8\n\t"
                 "ud2\n"
                 "1:"
                 : "=a"(result)
                 : "a"(Sys::clone), "D"(flags), "S"(stack_end), "d"(0L), "r"(parent_tid), "r"(entry), "r"(parameter)
                 : "rcx", "r11", "memory");
    return result;
}

// The kernel enters here with the argument count, the arguments and the environment on the stack.
asm(".globl _start\n"
    ".type _start, @function\n"
    "_start:\n\t"
    "xor %ebp, %ebp\n\t"
    "mov %rsp, %rdi\n\t"
    "and $-16, %rsp\n\t"
    "call start\n\t"
    "ud2\n"
    ".size _start, . - _start\n");

#elif defined(__aarch64__)  // number in x8, arguments in x0 to x5; only x0 is lost
[[gnu::always_inline]] inline long trap(Sys call, long a, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    register Sys x8 asm("x8") = call;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    register long x5 asm("x5") = f;
    asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

// As above: all registers but x0 and sp are inherited. (The order of clone's last two arguments is another one here,
// but they are not read.)
long start_thread(unsigned long flags, void *stack_end, void (*run)(void *), void *argument) {
    register Sys x8 asm("x8") = Sys::clone;
    register unsigned long x0 asm("x0") = flags;
    register void *x1 asm("x1") = stack_end;
    register long parent_tid asm("x2") = 0;
    register void (*entry)(void *) asm("x9") = run;
    register void *parameter asm("x10") = argument;
    asm volatile("svc #0\n\t"
                 "cbnz x0, 1f\n\t"
                 "mov x29, xzr\n\t"  // the outermost frame, for debuggers
                 "mov x0, x10\n\t"
                 "blr x9\n\t"
                 "brk #1\n"
                 "1:"
                 : "+r"(x0)
                 : "r"(x8), "r"(x1), "r"(parent_tid), "r"(entry), "r"(parameter)
                 : "memory");
    return long(x0);
}

asm(".globl _start\n"
    ".type _start, @function\n"
    "_start:\n\t"
    "mov x29, xzr\n\t"
    "mov x0, sp\n\t"
    "bl start\n\t"
    "brk #1\n"
    ".size _start, . - _start\n");

#elif defined(__riscv)  // number in a7, arguments in a0 to a5; only a0 is lost
[[gnu::always_inline]] inline long trap(Sys call, long a, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    register Sys a7 asm("a7") = call;
    register long a0 asm("a0") = a;
    register long a1 asm("a1") = b;
    register long a2 asm("a2") = c;
    register long a3 asm("a3") = d;
    register long a4 asm("a4") = e;
    register long a5 asm("a5") = f;
    asm volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
}

// As above: all registers but a0 and sp are inherited.
long start_thread(unsigned long flags, void *stack_end, void (*run)(void *), void *argument) {
    register Sys a7 asm("a7") = Sys::clone;
    register unsigned long a0 asm("a0") = flags;
    register void *a1 asm("a1") = stack_end;
    register long parent_tid asm("a2") = 0;
    register void (*entry)(void *) asm("a5") = run;
    register void *parameter asm("a6") = argument;
    asm volatile("ecall\n\t"
                 "bnez a0, 1f\n\t"
                 "mv s0, zero\n\t"  // the outermost frame, for debuggers
                 "mv a0, a6\n\t"
                 "jalr a5\n\t"
                 "ebreak\n"
                 "1:"
                 : "+r"(a0)
                 : "r"(a7), "r"(a1), "r"(parent_tid), "r"(entry), "r"(parameter)
                 : "memory");
    return long(a0);
}

asm(".globl _start\n"
    ".type _start, @function\n"
    "_start:\n\t"
    "mv s0, zero\n\t"
    "mv a0, sp\n\t"
    "call start\n\t"
    "ebreak\n"
    ".size _start, . - _start\n");
#endif

// The kernel's constants, by its names and in its headers' groups.
constexpr long EINTR = 4, EAGAIN = 11, EINVAL = 22, EMFILE = 24, EOPNOTSUPP = 95, ENOBUFS = 105;
constexpr int AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, F_SETFL = 4, O_NONBLOCK = 04000;
constexpr int SOCK_STREAM = 1, SOCK_NONBLOCK = 04000, SOCK_CLOEXEC = 02000000;
constexpr int SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_TYPE = 3, SO_LINGER = 13, SO_REUSEPORT = 15, SO_ACCEPTCONN = 30;
constexpr int IPPROTO_IP = 0, IP_MINTTL = 21, IPPROTO_TCP = 6, TCP_NODELAY = 1;
constexpr int IPPROTO_IPV6 = 41, IPV6_V6ONLY = 26, IPV6_MINHOPCOUNT = 73;
constexpr int MSG_PEEK = 2, MSG_NOSIGNAL = 0x4000, SHUT_RD = 0, SHUT_WR = 1;
constexpr uint32_t EPOLLIN = 0x1, EPOLLPRI = 0x2, EPOLLOUT = 0x4, EPOLLRDHUP = 0x2000;
constexpr uint32_t EPOLLEXCLUSIVE = 1u << 28, EPOLLET = 1u << 31;
constexpr int EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3, POLLOUT = 4, PIPE_BUF = 4096;
constexpr unsigned long CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800,
                        CLONE_THREAD = 0x10000, CLONE_SYSVSEM = 0x40000;
constexpr long PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
constexpr int MADV_NOHUGEPAGE = 15, RLIMIT_NOFILE = 7, CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1;
constexpr int SIGHUP = 1, SIGINT = 2, SIGUSR1 = 10, SIGPIPE = 13, SIGTERM = 15, SIG_BLOCK = 0;
constexpr uint16_t BPF_LD_W_ABS = 0x20, BPF_JMP_JEQ_K = 0x15, BPF_RET_K = 0x06;
constexpr int PR_SET_DUMPABLE = 4, PR_SET_NO_NEW_PRIVS = 38;
constexpr long SECCOMP_SET_MODE_FILTER = 1, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4;
constexpr uint32_t SECCOMP_RET_KILL_PROCESS = 0x80000000, SECCOMP_RET_ALLOW = 0x7fff0000;
constexpr long LANDLOCK_CREATE_RULESET_VERSION = 1;

struct sockaddr_inet {  // struct sockaddr_in or sockaddr_in6
    uint16_t family;
    uint16_t port;    // network byte order, as the addresses
    uint8_t ipv4[4];  // where an IPv6 address has its flow information
    uint8_t ipv6[16];
    uint32_t scope;
};
struct sockaddr_un {
    uint16_t family;
    char path[108];
};
union sockaddr_any {
    sockaddr_un local;
    sockaddr_inet inet;
};
struct timespec {
    int64_t tv_sec;
    int64_t tv_nsec;
};
struct itimerspec {
    timespec it_interval;
    timespec it_value;
};
struct pollfd {
    int fd;
    int16_t events, revents;
};
struct rlimit64 {
    uint64_t rlim_cur;
    uint64_t rlim_max;
};
struct sock_filter {  // an instruction of classic BPF
    uint16_t code;
    uint8_t jump_if_true, jump_if_false;
    uint32_t k;
};
struct sock_fprog {
    uint16_t length;
    const sock_filter *filter;
};
struct landlock_ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;  // TCP: bind, connect
};
struct cap_header {
    uint32_t version;
    int pid;  // 0: this thread
};
struct cap_data {  // of 32 capabilities, bit by bit
    uint32_t effective, permitted, inheritable;
};
constexpr uint32_t capability_version = 0x20080522;  // the third one: two of cap_data
using sigset = uint64_t;                             // bit n - 1 is signal n
struct cpu_set {                                     // bit n is CPU n; as many as any kernel is built for
    uint64_t bits[8192 / 64];
};

[[gnu::always_inline]] inline long address(const void *pointer) { return reinterpret_cast<long>(pointer); }

// What a register holds: an integer or an address.
struct Word {
    long value;

    constexpr Word(auto integer) : value(long(integer)) {}
    template <typename Pointed> Word(Pointed *pointer) : value(address(pointer)) {}
};

// Whatever the register holds: for an argument that nobody looks at.
[[gnu::always_inline]] inline Word unused() {
    long value;
    asm volatile("" : "=r"(value));
    return value;
}

// A socket is a long here, for that is what the kernel takes: handing it on costs no conversion.

// Bytes received, 0 at the peer's end of stream, or -errno.
[[nodiscard, gnu::always_inline]] inline long recv(long socket, char *into, size_t size) {
    return trap(Sys::recvfrom, socket, address(into), long(size), 0, 0);  // no address: its size does not matter
}
// As recv would for one byte, which stays where it is: 1, 0 at the end of the stream, or -errno.
[[nodiscard, gnu::cold, gnu::noinline]] long peek(long socket) {
    char byte;
    return trap(Sys::recvfrom, socket, address(&byte), 1, MSG_PEEK, 0);
}
// Bytes taken, perhaps fewer than given, or -errno. A broken connection is an error, not a signal.
[[nodiscard, gnu::always_inline]] inline long send(long socket, const char *data, size_t size) {
    return trap(Sys::sendto, socket, address(data), long(size), MSG_NOSIGNAL, 0);
}
// A processor predicts the first branches of a system call by the last ones taken before it, and those of a parser
// differ from request to request. Behind this loop they are the same each time, so the kernel's path is learned once
// and not once for each way through here: 400 ns less of the 5,300 that mixed requests took on an AMD EPYC, and no
// difference on an Intel Xeon.
[[gnu::always_inline]] inline void level_branch_history() {
    for (int turn = 0; turn < 12; turn++) asm volatile("");  // 10 turns were enough, 8 were not
}
[[nodiscard]] inline long accept4(int listener, int flags) { return trap(Sys::accept4, listener, 0, 0, flags); }
[[nodiscard]] inline long shutdown(long socket, int how) { return trap(Sys::shutdown, socket, how); }
[[nodiscard]] inline long close(long descriptor) { return trap(Sys::close, descriptor); }
[[nodiscard]] inline long write(int descriptor, const char *data, size_t size) {
    return trap(Sys::write, descriptor, address(data), long(size));
}
// Whether a write to the descriptor returns at once, be it with an error. A pipe takes up to PIPE_BUF bytes then.
[[nodiscard]] inline bool is_writable(int descriptor) {
    pollfd asked{descriptor, POLLOUT, 0};
    constexpr timespec at_once{0, 0};
    return trap(Sys::ppoll, address(&asked), 1, address(&at_once), 0, sizeof(sigset)) > 0;
}
// An option that is a number, or SO_LINGER with no seconds: of the two numbers all others look at the first one only.
[[nodiscard, gnu::cold, gnu::noinline]] long setsockopt(long socket, int level, int option, int value) {
    const int values[] = {value, 0};
    return trap(Sys::setsockopt, socket, level, option, address(values), sizeof values);
}
// The value of an option that is a number and not negative, or -errno.
[[nodiscard, gnu::cold, gnu::noinline]] long getsockopt(long socket, int level, int option) {
    int value = 0;
    uint32_t size = sizeof value;
    const long result = trap(Sys::getsockopt, socket, level, option, address(&value), address(&size));
    return result < 0 ? result : value;
}
// The family decides how much of `to` is looked at.
[[nodiscard]] inline long bind(long socket, const sockaddr_any &to) {
    return trap(Sys::bind, socket, address(&to), sizeof to.local);
}
// `data` comes back with every event of `descriptor`; here it is always the descriptor itself.
[[nodiscard, gnu::always_inline]] inline long epoll_ctl(int epoll, int operation, long descriptor, uint32_t events) {
    epoll_event event{events, uint64_t(descriptor)};
    return trap(Sys::epoll_ctl, epoll, operation, descriptor, address(&event));
}
// Waits without a time limit. Events filled in, or -errno.
[[nodiscard, gnu::always_inline]] inline long epoll_wait(int epoll, epoll_event *events, size_t room) {
    return trap(Sys::epoll_pwait, epoll, address(events), long(room), -1, 0);
}
// Expires once, `after_ns` nanoseconds from now, which are less than a second; 0 would switch it off.
[[nodiscard, gnu::noinline]] long timerfd_settime(int timer, int64_t after_ns) {
    const itimerspec when{{0, 0}, {0, after_ns}};
    return trap(Sys::timerfd_settime, timer, 0, address(&when), 0);
}
[[nodiscard]] inline long clock_gettime(int clock, timespec &now) {
    return trap(Sys::clock_gettime, clock, address(&now));
}
[[nodiscard]] inline long prlimit64(int resource, const rlimit64 *set, rlimit64 *old) {
    return trap(Sys::prlimit64, 0, resource, address(set), address(old));
}
// Closes every descriptor from `first` on.
[[nodiscard]] inline long close_from(unsigned first) { return trap(Sys::close_range, first, UINT32_MAX, 0); }
// Zeroed memory that takes up room only where it is touched: the address, or -errno.
[[nodiscard]] inline long map_memory(size_t size) {
    return trap(Sys::mmap, 0, long(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
[[nodiscard]] inline long madvise(void *memory, size_t size, int advice) {
    return trap(Sys::madvise, address(memory), long(size), advice);
}
[[nodiscard]] inline long block_signals(sigset signals) {
    return trap(Sys::rt_sigprocmask, SIG_BLOCK, address(&signals), 0, sizeof signals);
}
// Whether the signal is ignored, as nohup(1) has it for SIGHUP.
[[nodiscard]] inline bool is_ignored(int signal) {
    constexpr uint64_t SIG_IGN = 1;
    uint64_t action[4] = {};  // the kernel's struct sigaction, which begins with the handler
    (void)trap(Sys::rt_sigaction, signal, 0, address(action), sizeof(sigset));  // cannot fail
    return action[0] == SIG_IGN;
}
// The number of a pending signal out of `signals`, waiting for one for as long as `limit` if need be, or -errno. It is
// -EAGAIN when the time is over and -EINTR when the process was stopped and continued meanwhile.
[[nodiscard, gnu::cold, gnu::noinline]] long wait_for_signal(sigset signals, const timespec *limit) {
    return trap(Sys::rt_sigtimedwait, address(&signals), 0, address(limit), sizeof signals);
}
inline long umask(long mode) { return trap(Sys::umask, mode); }
[[nodiscard]] inline long getpid() { return trap(Sys::getpid, unused().value); }
[[nodiscard]] inline uint32_t geteuid() { return uint32_t(trap(Sys::geteuid, unused().value)); }
[[nodiscard, gnu::noinline]] long prctl(int option, long value) { return trap(Sys::prctl, option, value, 0, 0, 0); }
// Takes all capabilities from this thread; those that are ambient go with the others.
[[nodiscard]] inline long drop_capabilities() {
    constexpr cap_header header{capability_version, 0};
    constexpr cap_data none[2] = {};
    return trap(Sys::capset, address(&header), address(none));
}
[[nodiscard]] inline long seccomp(long operation, long flags, const void *argument) {
    return trap(Sys::seccomp, operation, flags, address(argument));
}
// The highest version that the kernel has of Landlock, or -errno.
[[nodiscard]] inline long landlock_version() {
    return trap(Sys::landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
}
[[noreturn]] inline void exit_group(int status) {
    (void)trap(Sys::exit_group, status);
    __builtin_unreachable();
}

// ---- Bytes and text --------------------------------------------------------------------------------------------
// The words that the rest is written in: byte ranges, character classes, decimal numbers, and the mem* functions
// that a compiler may call unasked. Nothing here owns memory.

struct Bytes {
    const char *data;
    size_t size;

    [[nodiscard]] constexpr Bytes first(size_t count) const { return {data, count}; }
    [[nodiscard]] constexpr Bytes after(size_t count) const { return {data + count, size - count}; }
};
consteval Bytes operator""_b(const char *text, size_t size) { return {text, size}; }

constexpr bool operator==(Bytes a, Bytes b) {
    if (a.size != b.size) return false;
    for (size_t i = 0; i < a.size; i++)
        if (a.data[i] != b.data[i]) return false;
    return true;
}

// A place inside a message and the message's end. The bytes that follow the end may be read, up to `overread`, and
// the first of them is NUL: no text that is looked for here holds one, so a comparison that would run past the end
// fails at it, and loops over the classes below stop at it. That spares every other bounds check.
struct Cursor {
    const char *at;
    const char *end;

    [[nodiscard]] constexpr size_t left() const { return size_t(end - at); }
};
constexpr size_t overread = 32;

// An unaligned load.
template <typename Word> [[nodiscard, gnu::always_inline]] inline Word load(const char *at) {
    Word word;
    __builtin_memcpy(&word, at, sizeof word);
    return word;
}

// Whether `size` bytes differ: as few loads of a Word as there can be, the last of which overlaps.
template <typename Word, size_t size>
[[nodiscard, gnu::always_inline]] inline bool differ_in(const char *a, const char *b) {
    if (load<Word>(a) != load<Word>(b)) return true;
    constexpr size_t next = size < 2 * sizeof(Word) ? size - sizeof(Word) : sizeof(Word);
    if constexpr (next == 0) return false;
    else return differ_in<Word, size - next>(a + next, b + next);
}
template <size_t size> [[nodiscard, gnu::always_inline]] inline bool differ(const char *a, const char *b) {
    if constexpr (size >= 8) return differ_in<uint64_t, size>(a, b);
    else if constexpr (size >= 4) return differ_in<uint32_t, size>(a, b);
    else if constexpr (size >= 2) return differ_in<uint16_t, size>(a, b);
    else return differ_in<uint8_t, size>(a, b);
}

// Whether `text` stands at `at`.
template <size_t size>
[[nodiscard, gnu::always_inline]] inline bool stands_at(const char *at, const char (&text)[size]) {
    static_assert(size - 1 <= overread);
    return !differ<size - 1>(at, text);
}

// Whether `text` stands at `at` but for the case of letters. It is in lower case and at least eight bytes long. The
// last word overlaps.
[[nodiscard, gnu::always_inline]] inline bool stands_ignoring_case(const char *at, const char *text, size_t size) {
    const size_t last = size - sizeof(uint64_t);
    for (size_t i = 0;; i = i + sizeof(uint64_t) < last ? i + sizeof(uint64_t) : last) {
        const uint64_t word = load<uint64_t>(text + i);
        const uint64_t case_bits = word >> 1 & 0x2020202020202020;  // of letters, which alone have bit 6 set
        if ((load<uint64_t>(at + i) | case_bits) != word) return false;
        if (i == last) return true;
    }
}

// What a byte may be part of (RFC 9110 sections 5.5 and 5.6, RFC 3986 appendix A). NUL is part of nothing.
// The values are where the classes begin in class_table.
enum class Class : uint8_t {
    token = 0,    // method, field name, list element
    target = 16,  // every visible byte but `"`, "<", ">" and "#": browsers send the others as they are
    host = 32,    // reg-name or IPv4address, but for the "%" of percent-encoding
    ip_literal = 48,
    digit = 64,
    hex_digit = 80,
    white = 96,         // SP and HTAB
    field_value = 112,  // visible bytes, white space and obs-text
};
constexpr size_t row_size = 16, classes_size = size_t(Class::field_value) + row_size;

// One row of sixteen bytes a class, for sixteen bytes of text to be looked up at once: bit n of entry m stands for the
// byte 16 * n + m. So there is no room for bytes from 0x80 on: they belong to field_value alone, whose row lists what
// does not belong to it.
struct ClassTable {
    alignas(row_size) uint8_t rows[classes_size];

    constexpr void add(Class kind, Bytes members) {
        for (size_t i = 0; i < members.size; i++)
            rows[size_t(kind) + uint8_t(members.data[i]) % 16] |= uint8_t(1u << members.data[i] / 16);
    }
    constexpr void add(Class kind, auto... members) { (add(kind, Bytes(members)), ...); }
};

constexpr ClassTable class_table = [] {
    constexpr Bytes digits = "0123456789"_b, letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"_b;
    constexpr Bytes hex_letters = "abcdefABCDEF"_b, uri = "-._~!$&'()*+,;="_b;  // unreserved and sub-delims
    ClassTable table{};
    table.add(Class::token, digits, letters, "!#$%&'*+-.^_`|~"_b);
    table.add(Class::target, digits, letters, uri, ":@/?%[]{}|^`\\"_b);
    table.add(Class::host, digits, letters, uri);
    table.add(Class::ip_literal, digits, hex_letters, ":."_b);
    table.add(Class::digit, digits);
    table.add(Class::hex_digit, digits, hex_letters);
    table.add(Class::white, " \t"_b);
    for (char byte = 0; byte < ' '; byte++)
        if (byte != '\t') table.add(Class::field_value, {&byte, 1});
    table.add(Class::field_value, "\x7f"_b);
    return table;
}();

[[nodiscard]] constexpr bool is_listed(const uint8_t *row, char byte) {
    return (row[uint8_t(byte) % 16] >> uint8_t(byte) / 16 & 1) != 0;
}
[[nodiscard]] constexpr bool is(Class kind, char byte) {
    return is_listed(class_table.rows + size_t(kind), byte) != (kind == Class::field_value);
}

// The first byte from `at` on that is not of the class: at the latest the NUL at the end of the message.
[[nodiscard, maybe_unused]] constexpr const char *skip_by_bytes(Class kind, const char *at) {
    while (is(kind, *at)) at++;
    return at;
}

// Sixteen bytes at a time, where the processor can look sixteen bytes up in sixteen others. A mask has a bit for each
// byte that is -1 and not 0.
#if defined(__SSSE3__)
#define MOTE_VECTORS
using Vector [[gnu::vector_size(16)]] = char;
using Mask = uint32_t;
constexpr Mask whole_mask = 0xffff;
[[nodiscard, gnu::always_inline]] inline Mask mask_of(auto flags) {
    return Mask(__builtin_ia32_pmovmskb128(Vector(flags)));
}
[[nodiscard, gnu::always_inline]] inline size_t first_of(Mask mask) {  // __builtin_ctz costs an extension of its int
    size_t place;
    asm("tzcnt %k1, %k0" : "=r"(place) : "r"(mask) : "cc");  // bsf where it is unknown, for such a mask the same
    return place;
}
[[nodiscard, gnu::always_inline]] inline Vector look_up(Vector table, Vector places) {  // from 0x80 on it is 0
    return __builtin_ia32_pshufb128(table, places);
}
[[gnu::always_inline]] inline void keep_in_register(auto &vector) { asm("" : "+x"(vector)); }
#elif defined(__ARM_NEON)
#define MOTE_VECTORS
using Vector [[gnu::vector_size(16)]] = char;
using Mask = uint64_t;
constexpr Mask whole_mask = 0x8888888888888888;
[[nodiscard, gnu::always_inline]] inline Mask mask_of(auto flags) {  // four bits of each byte are the least there is
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(uint16x8_t(flags), 4)), 0) & whole_mask;
}
[[nodiscard, gnu::always_inline]] inline size_t first_of(Mask mask) { return size_t(__builtin_ctzll(mask)) / 4; }
[[nodiscard, gnu::always_inline]] inline Vector look_up(Vector table, Vector places) {  // from 16 on it is 0
    return Vector(vqtbl1q_u8(uint8x16_t(table), uint8x16_t(places) & uint8_t(0x8f)));
}
[[gnu::always_inline]] inline void keep_in_register(auto &vector) { asm("" : "+w"(vector)); }
#endif

#if defined(MOTE_VECTORS)
// The first byte from `at` on that is not of the class whose row that is, which is not field_value.
[[nodiscard, gnu::hot, gnu::noinline]] const char *skip_row(const uint8_t *row, const char *at) {
    using Words [[gnu::vector_size(16)]] = uint16_t;
    constexpr char none = char(-1);
    constexpr Vector bits = {1,    2,    4,    8,    16,   32,   64,   char(128),  // 1 << byte / 16
                             none, none, none, none, none, none, none, none};
    for (;; at += sizeof(Vector)) {
        const auto bytes = load<Vector>(at);
        const Vector bit = look_up(bits, Vector(Words(bytes) >> 4) & 0x0f);
        // The lower half of each byte is looked up in the row; from 0x80 on the answer is 0. Volatile, or the row would
        // be loaded into one register first and from there copied into another one.
        const Vector found = look_up(*reinterpret_cast<const volatile Vector *>(row), bytes);
        const Mask members = mask_of((found & bit) == bit);
        if (const Mask others = members ^ whole_mask; others != 0) [[likely]]
            return at + first_of(others);
    }
}
// The first one that is not of field_value. (Steps of 32 bytes, with AVX2, were no faster: most values are shorter.)
[[nodiscard, gnu::always_inline]] inline const char *skip_field_value(const char *at) {
    using Codes [[gnu::vector_size(16)]] = uint8_t;
    Codes control = Codes{} + 0x1f, del = Codes{} + 0x7f;
    keep_in_register(control);  // compilers would make them anew at each step
    keep_in_register(del);
    for (;; at += sizeof(Vector)) {
        const auto bytes = load<Codes>(at);
        Mask others = mask_of((bytes <= control) | (bytes == del));
        while (others != 0) {
            const char *const other = at + first_of(others);
            if (*other != '\t') [[likely]]
                return other;
            others &= others - 1;
        }
    }
}
static_assert(sizeof(Vector) <= overread);
#else
[[nodiscard, gnu::hot, gnu::noinline]] const char *skip_row(const uint8_t *row, const char *at) {
    while (is_listed(row, *at)) at++;
    return at;
}
[[nodiscard, gnu::hot, gnu::noinline]] const char *skip_field_value(const char *at) {
    return skip_by_bytes(Class::field_value, at);
}
#endif

// The same as skip_by_bytes, for any class but field_value. On hot paths the class is a template's argument: its row's
// address takes fewer instructions than its number, and more bytes.
template <Class kind> [[nodiscard, gnu::always_inline]] inline const char *skip(const char *at) {
    return skip_row(class_table.rows + size_t(kind), at);
}
[[nodiscard, gnu::cold, gnu::noinline]] const char *skip(Class kind, const char *at) {
    return skip_row(class_table.rows + size_t(kind), at);
}

// OWS (RFC 9110 section 5.6.3)
[[nodiscard]] constexpr bool is_white(char byte) { return byte == ' ' || byte == '\t'; }

// The value of a hexadecimal digit, or more than 15.
[[nodiscard, gnu::always_inline]] constexpr uint32_t hex_value(char byte) {
    const uint32_t digit = uint32_t(byte) - '0', letter = (uint32_t(byte) | 0x20) - 'a';
    return digit <= 9 ? digit : letter <= 5 ? letter + 10 : UINT32_MAX;
}

// Texts that are only looked up on rare paths stand one behind the other, each ended by NUL, and so is the list: that
// costs no table of addresses. (Unaligned, or a compiler may put padding before it.) Text `index` of such a list.
[[nodiscard, gnu::always_inline]] constexpr const char *text_at(const char *texts, size_t index) {
    for (; index != 0; index--)
        while (*texts++ != '\0') {}
    return texts;
}
[[nodiscard]] consteval size_t text_count(const char *texts) {
    size_t count = 0;
    for (; *texts != '\0'; count++) texts = text_at(texts, 1);
    return count;
}
[[nodiscard, gnu::cold]] constexpr Bytes bytes_of(const char *text) {
    size_t size = 0;
    while (text[size] != '\0') size++;
    return {text, size};
}
// Whether `text` is the word that stands at `at`, up to `end`.
[[nodiscard, gnu::cold, gnu::noinline]] bool is_word(const char *at, const char *text, char end) {
    while (*text != '\0')
        if (*text++ != *at++) return false;
    return *at == end;
}

// value / 10, by the multiplication that an optimising compiler would choose: it is too long for one that optimises
// for size, and a division takes ten times as long.
[[nodiscard, gnu::always_inline]] constexpr uint64_t tenth(uint64_t value) {
    constexpr uint64_t reciprocal = 0xcccccccccccccccd;  // 2^67 / 10, rounded up: exact for every 64-bit value
    return uint64_t((static_cast<unsigned __int128>(value) * reciprocal) >> 67);
}

// Writes the decimal digits of `value` in front of `end`; returns where they begin.
[[gnu::hot, gnu::noinline]] char *put_digits(char *end, uint64_t value) {
    do {
        const uint64_t rest = tenth(value);
        *--end = char('0' + (value - rest * 10));
        value = rest;
    } while (value != 0);
    return end;
}
constexpr size_t digits_limit = sizeof "18446744073709551615" - 1;

// Copies `size` bytes in moves of a fixed size, the last of which overlaps. `rep movsb`, which compilers like for
// such lengths when they optimise for size, takes longer to start than this takes to end.
template <size_t size> [[gnu::always_inline]] inline void copy(char *to, const char *from) {
    constexpr size_t width = size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
#pragma GCC unroll 16
    for (size_t i = 0; i + width <= size; i += width) __builtin_memcpy(to + i, from + i, width);
    if constexpr (size % width != 0) __builtin_memcpy(to + size - width, from + size - width, width);
}

// Writes `text`; returns the end.
template <size_t size> [[gnu::always_inline]] inline char *put(char *at, const char (&text)[size]) {
    copy<size - 1>(at, text);
    return at + (size - 1);
}
[[gnu::noinline]] char *put(char *at, Bytes text) {
    __builtin_memcpy(at, text.data, text.size);
    return at + text.size;
}

// Writes `text` up to its NUL, or text_limit bytes of it; returns the end.
constexpr size_t text_limit = 255;
[[gnu::cold, gnu::noinline]] char *put_text(char *at, const char *text) {
    for (size_t i = 0; i < text_limit && text[i] != '\0'; i++) *at++ = text[i];
    return at;
}

// Writes `form`, in which each "$" stands for the text and each "#" for the number that comes next in the words.
// Returns the end.
[[gnu::cold, gnu::noinline]] char *compose(char *at, const char *form, Word a = unused(), Word b = unused(),
                                           Word c = unused()) {
    const Word words[] = {a, b, c};
    const Word *word = words;
    char digits[digits_limit + 1];
    digits[digits_limit] = '\0';
    for (; *form != '\0'; form++) {
        if (*form != '$' && *form != '#') {
            *at++ = *form;
            continue;
        }
        const long value = word++->value;
        at = put_text(at, *form == '$' ? reinterpret_cast<const char *>(value)
                                       : put_digits(digits + digits_limit, uint64_t(value)));
    }
    return at;
}

// An integer, taken piece by piece: ["-"] 1*DIGIT with white space around it, in the range of a signed 64-bit
// integer. Packed, like all that a connection keeps.
struct [[gnu::packed]] Integer {
    // The odd ones have a minus sign.
    enum class State : uint8_t { start, minus, digits, negative_digits, end, negative_end, not_an_integer };

    int64_t value;  // 0 if not an integer
    State state;

    [[gnu::hot, gnu::noinline]] void take(Bytes piece) {
        for (const char *at = piece.data, *const end = at + piece.size; at != end; at++) {
            const unsigned digit = unsigned(*at) - '0';
            if (digit <= 9 && state <= State::negative_digits) [[likely]] {
                state = State(uint8_t(state) | uint8_t(State::digits));
                const bool is_negative = (uint8_t(state) & 1) != 0;
                int64_t taken;
                if (!__builtin_mul_overflow(value, 10, &taken) &&
                    !__builtin_add_overflow(taken, is_negative ? -int64_t(digit) : int64_t(digit), &taken)) [[likely]] {
                    value = taken;
                    continue;
                }
                state = State::not_an_integer;
            } else {
                state = behind_other(state, *at);
            }
            if (state == State::not_an_integer) value = 0;
        }
    }

private:
    // The state behind a byte that is no digit, or that is a digit where none may be.
    [[nodiscard, gnu::hot, gnu::noinline]] static State behind_other(State state, char byte) {
        using enum State;
        if (is_white(byte) || byte == '\r' || byte == '\n') {
            if (state == minus) return not_an_integer;
            return state == digits || state == negative_digits ? State(uint8_t(state) + 2) : state;
        }
        return byte == '-' && state == start ? minus : not_an_integer;
    }
};

// ---- HTTP grammar ----------------------------------------------------------------------------------------------
// From bytes to meaning (RFC 9112). Nothing here does I/O: the same bytes give the same answer however they were
// split on arrival. A parser goes from left to right and stops at the first byte that is wrong, so a refusal does
// not depend on what has arrived behind it either.

// From `connect` on, those that no route can have; `connect` itself is refused with its head.
enum class Method : uint8_t { get, head, post, put, delete_, options, trace, patch, connect, unknown };
alignas(1) constexpr char method_names[] = "GET\0HEAD\0POST\0PUT\0DELETE\0OPTIONS\0TRACE\0PATCH\0CONNECT\0";

enum class Status : uint8_t {
    ok,                  // answered by a route; all others in one place
    options,             // a 200 as well, whose content is its Allow field
    method_not_allowed,  // the last one that has such a field
    bad_request,
    not_found,
    request_timeout,
    content_too_large,
    uri_too_long,
    expectation_failed,
    fields_too_large,
    internal_server_error,
    not_implemented,
    version_not_supported,
};
// The end of a status line, and the content of an error's response, for each status from `options` on.
alignas(1) constexpr char status_texts[] = "200 OK\r\n\0"
                                           "405 Method Not Allowed\r\n\0"
                                           "400 Bad Request\r\n\0"
                                           "404 Not Found\r\n\0"
                                           "408 Request Timeout\r\n\0"
                                           "413 Content Too Large\r\n\0"
                                           "414 URI Too Long\r\n\0"
                                           "417 Expectation Failed\r\n\0"
                                           "431 Request Header Fields Too Large\r\n\0"
                                           "500 Internal Server Error\r\n\0"
                                           "501 Not Implemented\r\n\0"
                                           "505 HTTP Version Not Supported\r\n\0";

static_assert(text_count(method_names) == size_t(Method::unknown));
static_assert(text_count(status_texts) == size_t(Status::version_not_supported));

// What a parser answers. From `refused` on, the distance to it is the status of the refusal. The parsers of a head's parts
// answer `stopped` at the first byte that does not fit, and do not ask why: conclude() decides whether that byte is wrong,
// has not arrived yet, or lies behind a limit. (As wide as a register, for a compiler takes care of the rest of one.)
enum class Parse : size_t { complete, incomplete, stopped, empty_line, refused };
constexpr Parse refuse(Status status) { return Parse(size_t(Parse::refused) + size_t(status)); }
constexpr Status refusal(Parse parse) { return Status(size_t(parse) - size_t(Parse::refused)); }

// How a request's content is delimited (RFC 9112 section 6.3). The values are those of the state that it begins in: see
// Content.
enum class Framing : uint8_t { no_content, content_length, chunked = 3 };

// What a request head says, as far as it matters here.
struct Head {
    enum Fact : unsigned {  // a set of them
        has_transfer_encoding = 1 << 0,
        is_chunked = 1 << 1,
        has_other_coding = 1 << 2,
        expects_continue = 1 << 3,
        expects_other = 1 << 4,
        keeps_alive = 1 << 5,  // Connection: keep-alive
        closes = 1 << 6,       // Connection: close
        has_content_length = 1 << 8,
        has_host = 1 << 9,
        is_http_1_0 = 1 << 10,
        has_rare_request_line = 1 << 11,  // any but those that take_common_request_line knows
    };

    Method method = Method::unknown;
    Framing framing = Framing::no_content;
    unsigned facts = 0;
    uint32_t content_length = 0;      // no more than content_limit + 1, which stands for all that is larger
    const char *target, *target_end;  // path and query; a space stands behind them
    const char *stopped_line;         // where the line begins that parsing has stopped in

    [[nodiscard]] constexpr bool says(unsigned any_of) const { return (facts & any_of) != 0; }
};

// How far a parser has come, and how that ended.
struct Taken {
    const char *at;
    Parse parse;
};

// The text of `form`, up to the first `end` behind its first byte, but for the case of letters that are small there,
// and with any digit for a "#".
[[nodiscard, gnu::cold, gnu::noinline]] Taken take_form(const char *at, const char *form, char end) {
    do {
        char byte = *at;
        if (*form >= 'a') byte |= 0x20;
        if (*form == '#' ? uint8_t(byte - '0') > 9 : byte != *form) return {at, Parse::stopped};
        at++;
    } while (*++form != end);
    return {at, Parse::complete};
}

// uri-host [ ":" port ] (RFC 9110 section 4.2.1, RFC 3986 section 3.2.2), which may be empty. What stands in brackets is
// looked at byte by byte, not as an address: nothing here connects to it.
[[nodiscard, gnu::cold, gnu::noinline]] Taken take_authority(const char *at) {
    if (*at == '[') {
        at = skip(Class::ip_literal, at + 1);
        if (*at != ']' || at[-1] == '[') return {at, Parse::stopped};
        at++;
    } else {
        for (; is(Class::host, *at) || *at == '%'; at++) {
            if (*at != '%') continue;  // else two digits follow (RFC 3986 section 2.1)
            for (int digit = 0; digit < 2; digit++)
                if (!is(Class::hex_digit, *++at)) return {at, Parse::stopped};
        }
    }
    if (*at == ':') at = skip(Class::digit, at + 1);
    return {at, Parse::complete};
}

// A target in any form but origin-form (RFC 9112 section 3.2), up to its path. An authority that is the target's goes
// before that of Host (section 3.2.2), but no route asks for either.
[[nodiscard, gnu::cold]] Taken take_to_path(const char *at, Method method) {
    if (*at == '*' && method == Method::options) {  // asterisk-form
        if (at[1] == ' ') return {at, Parse::complete};
        return {at + 1, Parse::stopped};
    }
    if (method != Method::connect) {  // it has authority-form, which is no more than that
        const Taken http = take_form(at, "http", '\0');
        if (http.parse != Parse::complete) return http;
        const Taken scheme_end = take_form((*http.at | 0x20) == 's' ? http.at + 1 : http.at, "://", '\0');
        if (scheme_end.parse != Parse::complete) return scheme_end;
        at = scheme_end.at;
    }
    if (*at == ':') return {at, Parse::stopped};
    const Taken authority = take_authority(at);
    const bool has_host = authority.at != at;
    const char next = *authority.at;
    if (authority.parse == Parse::complete && has_host && (next == '/' || next == '?' || next == ' ')) return authority;
    return {authority.at, Parse::stopped};
}

// method SP request-target SP HTTP-version CRLF (RFC 9112 section 3)
[[nodiscard, gnu::cold, gnu::noinline]] Taken take_request_line(const char *line, Head &head) {
    head.stopped_line = line;
    const char *at = skip(Class::token, line);
    const Bytes method{line, size_t(at - line)};
    if (method.size == 0) {
        // An empty line before the request (RFC 9112 section 2.2), half of one, or what is no method.
        Taken empty = take_form(line, "\r\n", '\0');
        if (empty.parse == Parse::complete) empty.parse = Parse::empty_line;
        return empty;
    }
    if (method.size > method_limit) return {line, refuse(Status::not_implemented)};  // RFC 9112 section 3
    if (*at != ' ') return {at, Parse::stopped};
    head.method = Method::get;
    head.facts |= Head::has_rare_request_line;
    for (const char *name = method_names; *name != '\0' && !is_word(line, name, ' '); name = text_at(name, 1))
        head.method = Method(uint8_t(head.method) + 1);

    Taken target{++at, Parse::complete};
    if (*at != '/') target = take_to_path(at, head.method);
    if (target.parse == Parse::complete) {
        head.target = target.at;
        target.at = skip(Class::target, target.at);
        head.target_end = target.at;
    }
    if (size_t(target.at - line) > request_line_limit) return {target.at, refuse(Status::uri_too_long)};
    if (target.parse != Parse::complete) return target;

    Taken version = take_form(target.at, " HTTP/#.#\r\n", '\0');  // section 2.3
    if (version.parse == Parse::complete) {
        if (version.at[-5] != '1') version.parse = refuse(Status::version_not_supported);
        if (version.at[-3] == '0') head.facts |= Head::is_http_1_0;
    }
    return version;
}

// The same, faster, for GET and POST, origin-form, and HTTP/1.1.
[[nodiscard, gnu::always_inline]] inline Taken take_common_request_line(const char *line, Head &head) {
    head.method = Method::get;
    const char *target = line + 4;
    if (!stands_at(line, "GET ")) {
        if (!stands_at(line, "POST ")) return take_request_line(line, head);
        head.method = Method::post;
        target++;
    }
    const char *const at = skip<Class::target>(target);
    head.target = target;
    head.target_end = at;
    if (*target == '/' && stands_at(at, " HTTP/1.1\r\n") && at <= line + request_line_limit) [[likely]]
        return {at + 11, Parse::complete};
    return take_request_line(line, head);
}

// The fields that say something about the message's framing or the connection, as lines that are nearly always all
// there is of them. But for Content-Length they are lists: the transfer codings in the order in which they were applied
// (RFC 9112 section 6.1), the expectations (RFC 9110 section 10.1.1), and the options of the connection (RFC 9110
// section 7.6.1).
struct KnownLine {
    uint8_t facts;  // what the line says
    uint8_t other;  // what a line of that name says with any other element
    Bytes text;     // up to a number or CRLF
};
constexpr Bytes content_length_text = "content-length:"_b;
// In the order in which they are tried.
constexpr KnownLine known_line_rows[] = {
    {Head::has_transfer_encoding | Head::is_chunked, Head::has_transfer_encoding | Head::has_other_coding,
     "transfer-encoding: chunked"_b},
    {0, 0, content_length_text},
    {Head::keeps_alive, 0, "connection: keep-alive"_b},
    {Head::closes, 0, "connection: close"_b},
    {Head::expects_continue, Head::expects_other, "expect: 100-continue"_b},
};
consteval bool known_lines_are_sound() {
    for (const KnownLine &line : known_line_rows)
        if (line.text.size < 8 || (line.text.size == content_length_text.size) != (line.text == content_length_text))
            return false;
    return true;
}
static_assert(known_lines_are_sound(), "a line fills a word, and Content-Length is known by its size");
// The same, one behind the other: size, facts, other, text and NUL; 0 behind the last.
consteval size_t known_lines_size() {
    size_t size = 1;
    for (const KnownLine &line : known_line_rows) size += 3 + line.text.size + 1;
    return size;
}
constexpr auto known_lines = [] {
    struct {
        uint8_t bytes[known_lines_size()];
    } lines{};
    uint8_t *at = lines.bytes;
    for (const KnownLine &line : known_line_rows) {
        *at++ = uint8_t(line.text.size);
        *at++ = line.facts;
        *at++ = line.other;
        for (size_t i = 0; i < line.text.size; i++) *at++ = uint8_t(line.text.data[i]);
        at++;
    }
    return lines;
}();

// What the value of a line of KnownLine says: a list (RFC 9110 section 5.6.1), which may have empty elements, and may go
// on in another line. It begins at `at` and ends with CR.
[[nodiscard, gnu::cold, gnu::noinline]] Parse read_list(const char *at, const uint8_t *line, const char *element_text,
                                                        Head &head) {
    head.facts |= line[1] & Head::has_transfer_encoding;
    for (;;) {
        at = skip(Class::white, at);
        if (*at == ',') {
            at++;
            continue;
        }
        if (*at == '\r') return Parse::complete;
        if (head.says(line[1] & Head::is_chunked)) return refuse(Status::bad_request);  // chunked twice, or not last
        const Taken element = take_form(at, element_text, '\0');
        uint8_t facts = element.parse == Parse::complete ? line[1] : line[2];
        for (at = skip(Class::white, element.at); *at != ',' && *at != '\r'; at++) facts = line[2];
        head.facts |= facts;
    }
}

// Content-Length = 1*DIGIT (RFC 9110 section 8.6). A list, even of equal values, is a smuggling attempt.
[[nodiscard, gnu::cold, gnu::noinline]] Parse read_content_length(const char *at, const char *end, Head &head) {
    int64_t number = 0;
    const char *const begin = at = skip(Class::white, at);
    for (unsigned digit; (digit = unsigned(*at) - '0') <= 9; at++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, int64_t(digit), &number))
            break;
    if (at == begin || skip(Class::white, at) != end || head.says(Head::has_content_length))
        return refuse(Status::bad_request);
    head.facts |= Head::has_content_length;
    head.content_length = number > content_limit ? content_limit + 1 : uint32_t(number);
    return Parse::complete;
}

[[nodiscard, gnu::cold, gnu::noinline]] Parse read_host(const char *at, const char *end, Head &head) {
    const Taken host = take_authority(skip(Class::white, at));
    if (host.parse != Parse::complete || skip(Class::white, host.at) != end || head.says(Head::has_host))
        return refuse(Status::bad_request);
    head.facts |= Head::has_host;
    return Parse::complete;
}

// A field line of any form, through its CRLF. Its value is taken as bytes first, and read when all of it is there: so
// each line is read once, however many pieces it comes in.
[[nodiscard, gnu::cold, gnu::noinline]] Taken take_field_line(const char *name, Head &head) {
    const char *const colon = skip(Class::token, name);
    if (colon == name || *colon != ':') return {colon, Parse::stopped};
    const char *const end = skip_field_value(colon + 1);
    if (*end != '\r') return {end, Parse::stopped};
    if (end[1] != '\n') return {end + 1, Parse::stopped};
    Taken taken{end + 2, Parse::complete};
    if (take_form(name, "host:", '\0').parse == Parse::complete) {
        taken.parse = read_host(colon + 1, end, head);
    } else {
        for (const uint8_t *line = known_lines.bytes; *line != 0; line += 3 + *line + 1) {
            const char *const text = reinterpret_cast<const char *>(line + 3);
            const bool is_content_length = *line == content_length_text.size;
            if (take_form(name, text, is_content_length ? '\0' : ' ').parse != Parse::complete) continue;
            taken.parse = is_content_length ? read_content_length(colon + 1, end, head)
                                            : read_list(colon + 1, line, text + (colon - name) + 2, head);
        }
    }
    return taken;
}

// The same, faster, for a line that stands as in KnownLine and says nothing for the second time, and for a
// Content-Length of up to 18 digits. Any other one that begins like these gets here, too.
[[nodiscard, gnu::hot, gnu::noinline]] Taken take_known_line(const char *name, Head &head) {
    for (const uint8_t *line = known_lines.bytes; *line != 0; line += 3 + *line + 1) {
        if (!stands_ignoring_case(name, reinterpret_cast<const char *>(line + 3), *line)) continue;
        const char *end = name + *line;
        uint8_t facts = line[1];
        if (*line == content_length_text.size) {
            if (head.says(Head::has_content_length)) break;
            if (*end == ' ') end++;
            const char *const begin = end;
            uint64_t number = 0;
            for (unsigned digit; (digit = unsigned(*end) - '0') <= 9 && end < begin + 18; end++)
                number = number * 10 + digit;
            if (end == begin || !stands_at(end, "\r\n")) break;
            head.facts |= Head::has_content_length;
            head.content_length = number > content_limit ? content_limit + 1 : uint32_t(number);
            return {end + 2, Parse::complete};
        }
        if (!stands_at(end, "\r\n") || head.says(facts)) break;
        head.facts |= facts;
        return {end + 2, Parse::complete};
    }
    return take_field_line(name, head);
}

// Host as it nearly always stands: one space, a name or an IPv4 address, perhaps a port. Returns where it ends, which
// is behind its CRLF, or `name` if it is anything else.
[[nodiscard, gnu::always_inline]] inline const char *skip_common_host(const char *name, const Head &head) {
    const char *at = name + 5;
    if (*at == ' ') at++;
    at = skip<Class::host>(at);
    if (*at == ':') at = skip<Class::digit>(at + 1);
    return stands_at(at, "\r\n") && !head.says(Head::has_host) ? at + 2 : name;
}

// field-name ":" OWS field-value OWS CRLF (RFC 9112 section 5), as often as there are, and the empty line.
[[nodiscard, gnu::always_inline]] inline Taken take_field_lines(const char *at, Head &head) {
    for (;;) {
        if (stands_at(at, "\r\n")) return {at + 2, Parse::complete};
        const char *const name = at;
        // How the names begin that matter here.
        constexpr uint32_t letters = 1 << 'h' % 32 | 1 << 'c' % 32 | 1 << 't' % 32 | 1 << 'e' % 32;
        const uint32_t begin = load<uint32_t>(at);
        Taken taken;
        if ((letters >> begin % 32 & 1) != 0) [[unlikely]] {
            if ((begin | 0x20202020) == load<uint32_t>("host") && at[4] == ':') at = skip_common_host(name, head);
            if (at != name) {
                head.facts |= Head::has_host;
                continue;
            }
            taken = take_known_line(name, head);
            at = taken.at;
            if (taken.parse == Parse::complete) continue;
        } else {
            at = skip<Class::token>(at);
            if (at != name && *at == ':') [[likely]] {
                at = skip_field_value(at + 1);
                if (stands_at(at, "\r\n")) [[likely]] {
                    at += 2;
                    continue;
                }
            }
            taken = *name == '\r' ? Taken{name + 1, Parse::stopped} : take_field_line(name, head);
        }
        head.stopped_line = name;
        return taken;
    }
}

// The one place that decides where a request ends (RFC 9112 section 6.3). It prefers refusing to guessing: whatever
// two implementations could read differently is what request smuggling is made of.
[[nodiscard]] constexpr Parse decide_framing(Head &head) {
    if (head.method == Method::connect) return refuse(Status::not_implemented);  // its content may be a tunnel's bytes
    if (head.says(Head::has_transfer_encoding)) {
        head.framing = Framing::chunked;
        if (!head.says(Head::is_chunked) || head.says(Head::has_content_length | Head::is_http_1_0))
            return refuse(Status::bad_request);
        if (head.says(Head::has_other_coding)) return refuse(Status::not_implemented);
    } else if (head.content_length != 0) {
        head.framing = Framing::content_length;
        if (head.content_length > content_limit) return refuse(Status::content_too_large);
    }
    return Parse::complete;
}

// Says of a head that begins at `begin`, whose bytes end at `end` and whose parsing has stopped, why: the rest has not
// arrived yet, a byte is wrong, or it is too long. Of two reasons that comes first whose byte comes first, so it does not
// matter what else has arrived.
[[nodiscard, gnu::cold, gnu::noinline]] Parse conclude(const char *begin, const char *end, Taken taken) {
    if (taken.parse == refuse(Status::uri_too_long)) return taken.parse;
    if (size_t(taken.at - begin) > head_limit) return refuse(Status::fields_too_large);
    if (taken.parse != Parse::stopped) return taken.parse;
    return taken.at == end ? Parse::incomplete : refuse(Status::bad_request);
}

// The request head at `cursor`. If it is incomplete, the answer is its start; an empty line before it is taken alone.
[[nodiscard, gnu::always_inline]] inline Taken take_head(Cursor cursor, Head &head) {
    Taken taken = take_common_request_line(cursor.at, head);
    if (taken.parse == Parse::complete) [[likely]]
        taken = take_field_lines(taken.at, head);
    // (The limit may lie behind the input buffer, but still in the worker.)
    if (taken.parse != Parse::complete || taken.at > cursor.at + head_limit) [[unlikely]] {
        taken.parse = conclude(cursor.at, cursor.end, taken);
        if (taken.parse == Parse::incomplete) taken.at = cursor.at;
    } else if ((head.facts & ~Head::keeps_alive) != Head::has_host) [[unlikely]] {  // RFC 9112 section 3.2
        taken.parse =
            head.says(Head::has_host | Head::is_http_1_0) ? decide_framing(head) : refuse(Status::bad_request);
    }
    return taken;
}

// Goes on with a head at `cursor` that was incomplete, in the line in which parsing stopped then. Returns whether it
// still is.
[[nodiscard, gnu::cold, gnu::noinline]] bool is_still_incomplete(Cursor cursor, Head &head) {
    Taken taken{head.stopped_line, Parse::complete};
    if (head.stopped_line == cursor.at) {
        head.facts = 0;
        taken = take_request_line(cursor.at, head);
    }
    if (taken.parse == Parse::complete) taken = take_field_lines(taken.at, head);
    return conclude(cursor.at, cursor.end, taken) == Parse::incomplete;
}

// Where a connection stands inside a request's content. Nothing of the content itself is kept.
struct [[gnu::packed]] Content {
    enum class State : uint8_t {
        none,        // between requests: a head comes next
        length,      // content with a Content-Length
        data,        // chunk-data
        size_start,  // from here on what stands around it
        size,
        line_lf,
        data_cr,
        data_lf,
        end_lf,
        extension_gap,  // from here on every byte counts as overhead
        extension_start,
        extension_name,
        extension_name_gap,
        extension_value_start,
        extension_value,
        quoted,
        quoted_escape,
        quoted_end,
        trailer_start,
        trailer_name,
        trailer_value,
        trailer_lf,
    };

    State state;
    uint32_t left;      // of the content or of the chunk
    uint32_t budget;    // of what further chunks may bring
    uint16_t overhead;  // what chunk extensions, later trailers may still have
};
static_assert(extension_limit <= UINT16_MAX && trailer_limit <= UINT16_MAX);

static_assert(Content::State(Framing::content_length) == Content::State::length &&
              Content::State(Framing::chunked) == Content::State::size_start);

[[nodiscard]] constexpr Content begin_content(const Head &head) {
    return {Content::State(head.framing), head.content_length, content_limit, extension_limit};
}

// What may stand around the chunks' data (RFC 9112 section 7.1): in the state `from`, a byte that matches leads to the
// state `to`. The first step that matches counts; a byte that matches none is refused.
struct ChunkStep {
    Content::State from;
    uint8_t match;  // a byte, or 0x80 and a class
    Content::State to;
};
constexpr uint8_t any(Class kind) { return 0x80 | uint8_t(kind); }
using At = Content::State;
constexpr ChunkStep chunk_steps[] = {
    {At::size_start, any(Class::hex_digit), At::size},
    {At::size, any(Class::hex_digit), At::size},
    {At::size, '\r', At::line_lf},
    {At::size, ';', At::extension_start},
    {At::size, any(Class::white), At::extension_gap},
    {At::line_lf, '\n', At::data},  // or trailer_start, behind the last chunk
    {At::data_cr, '\r', At::data_lf},
    {At::data_lf, '\n', At::size_start},
    {At::end_lf, '\n', At::none},
    {At::extension_gap, any(Class::white), At::extension_gap},
    {At::extension_gap, ';', At::extension_start},
    {At::extension_start, any(Class::white), At::extension_start},
    {At::extension_start, any(Class::token), At::extension_name},
    {At::extension_name, any(Class::token), At::extension_name},
    {At::extension_name, '=', At::extension_value_start},
    {At::extension_name, ';', At::extension_start},
    {At::extension_name, '\r', At::line_lf},
    {At::extension_name, any(Class::white), At::extension_name_gap},
    {At::extension_name_gap, any(Class::white), At::extension_name_gap},
    {At::extension_name_gap, '=', At::extension_value_start},
    {At::extension_name_gap, ';', At::extension_start},
    {At::extension_value_start, any(Class::white), At::extension_value_start},
    {At::extension_value_start, '"', At::quoted},
    {At::extension_value_start, any(Class::token), At::extension_value},
    {At::extension_value, any(Class::token), At::extension_value},
    {At::extension_value, ';', At::extension_start},
    {At::extension_value, '\r', At::line_lf},
    {At::extension_value, any(Class::white), At::extension_gap},
    {At::quoted, '"', At::quoted_end},
    {At::quoted, '\\', At::quoted_escape},
    {At::quoted, any(Class::field_value), At::quoted},
    {At::quoted_escape, any(Class::field_value), At::quoted},
    {At::quoted_end, ';', At::extension_start},
    {At::quoted_end, '\r', At::line_lf},
    {At::quoted_end, any(Class::white), At::extension_gap},
    {At::trailer_start, any(Class::token), At::trailer_name},
    {At::trailer_start, '\r', At::end_lf},
    {At::trailer_name, any(Class::token), At::trailer_name},
    {At::trailer_name, ':', At::trailer_value},
    {At::trailer_value, any(Class::field_value), At::trailer_value},
    {At::trailer_value, '\r', At::trailer_lf},
    {At::trailer_lf, '\n', At::trailer_start},
    {At::none, 0, At::none},  // the end
};

constexpr size_t chunk_step_count = sizeof chunk_steps / sizeof *chunk_steps;

// Where each state's steps begin.
struct FirstSteps {
    uint8_t of[size_t(At::trailer_lf) + 1];
};
constexpr FirstSteps first_steps = [] {
    FirstSteps first{};
    for (size_t i = chunk_step_count; i-- > 0;) first.of[size_t(chunk_steps[i].from)] = uint8_t(i);
    return first;
}();
consteval bool chunk_steps_are_in_order() {
    for (size_t i = 1; i + 1 < chunk_step_count; i++)
        if (chunk_steps[i].from < chunk_steps[i - 1].from) return false;
    return true;
}
static_assert(chunk_steps_are_in_order(), "the steps of a state stand together");

// The byte `at`, of what stands around the chunks' data. Complete means that it was right, not that the content is.
[[nodiscard, gnu::cold, gnu::noinline]] Parse take_chunk_byte(Content &content, const char *at) {
    const Content::State from = content.state;
    const ChunkStep *step = chunk_steps + first_steps.of[size_t(from)];
    const auto matches = [at](uint8_t match) {
        return match < 0x80 ? *at == char(match) : is(Class(match & 0x7f), *at);
    };
    while (step->from == from && !matches(step->match)) step++;
    if (step->from != from) return refuse(Status::bad_request);
    content.state = step->to;
    bool is_overhead = content.state >= At::extension_gap;
    if (content.state == At::size) {
        content.left = content.left * 16 + hex_value(*at);
        if (content.left > content.budget) return refuse(Status::content_too_large);
        is_overhead = content.left == 0 && from != At::size_start;  // leading zeros have no other bound
    }
    if (is_overhead) {
        if (content.overhead == 0)
            return content.state >= At::trailer_start ? refuse(Status::fields_too_large)
                                                      : refuse(Status::content_too_large);
        content.overhead--;
    }
    if (content.state == At::data) {
        content.budget -= content.left;
        if (content.left == 0) {
            content.state = At::trailer_start;
            content.overhead = trailer_limit;
        }
    }
    return Parse::complete;
}

// The same for what nearly always stands there, if it has arrived whole: the line end behind a chunk, a size without
// leading zeros and extensions. Returns `at` if it is anything else.
[[nodiscard, gnu::always_inline]] inline const char *skip_common_chunk_bytes(Content &content, const char *at) {
    if (content.state == At::data_cr && stands_at(at, "\r\n")) {
        content.state = At::size_start;
        at += 2;
    }
    if (content.state != At::size_start || *at == '0') return at;
    uint32_t size = 0;
    const char *end = at;
    do {
        const uint32_t digit = hex_value(*end++);
        size = size * 16 + digit;
        if (digit > 15 || size > content.budget) return at;
    } while (!stands_at(end, "\r\n"));
    content.budget -= size;
    content.left = size;
    content.state = At::data;
    return end + 2;
}

// Moves `cursor` through the content and hands its pieces to `take_piece` as they come by.
template <typename TakePiece>
[[nodiscard, gnu::always_inline]] inline Parse take_content(Cursor &cursor, Content &content, TakePiece take_piece) {
    while (cursor.at != cursor.end) {
        if (content.state == Content::State::length || content.state == Content::State::data) {
            const size_t size = cursor.left() < content.left ? cursor.left() : content.left;
            take_piece(Bytes{cursor.at, size});
            cursor.at += size;
            content.left -= uint32_t(size);
            if (content.left != 0) return Parse::incomplete;
            if (content.state == Content::State::data) {
                content.state = Content::State::data_cr;
                if (!stands_at(cursor.at, "\r\n0\r\n\r\n")) continue;  // it is not the last one, or that is not here
                cursor.at += 7;
            }
            content.state = Content::State::none;
            return Parse::complete;
        }
        if (const char *const at = skip_common_chunk_bytes(content, cursor.at); at != cursor.at) [[likely]] {
            cursor.at = at;
        } else {
            const Parse parse = take_chunk_byte(content, cursor.at);
            if (parse != Parse::complete) return parse;
            cursor.at++;
        }
        if (content.state == Content::State::none) return Parse::complete;
    }
    return Parse::incomplete;
}

// ---- Routes ----------------------------------------------------------------------------------------------------
// What is served. A new endpoint is one function that answers and one row in `routes`. A route that reads the query,
// the content or the rest of a path has a function for each, too: they come by once, nothing of them is stored, and
// what matters of them goes into the Exchange.

// A request on its way to its answer: all that is remembered of it once its head has gone by.
struct [[gnu::packed]] Exchange {
    enum class Persistence : uint8_t {
        keep,        // HTTP/1.1: goes without saying
        keep_alive,  // HTTP/1.0 that asked for it: has to be told
        close,
    };

    // How it is answered: all bits are 0 for what nearly every request gets.
    struct Manner {
        Status status : 4;  // not ok: answered with this and not by the route
        Persistence persistence : 3;
        bool is_head : 1;  // answered without content
    };

    uint64_t sum;     // the route's own: integers of the query, in two's complement
    Integer integer;  // the route's own: the one in the content
    uint8_t route;    // index in `routes`; where the status is not ok, of any row that has the path
    Manner manner;

    // Whether the answer is the route's, as it composes it, and the connection goes on.
    [[nodiscard, gnu::always_inline]] constexpr bool is_plain() const {
        return __builtin_bit_cast(uint8_t, manner) == 0;
    }
};

// An Allow field line with every method there is.
constexpr size_t allow_size_limit = sizeof "Allow: \r\n" + sizeof method_names * 2;
constexpr size_t head_size_limit =
    sizeof "HTTP/1.1 431 Request Header Fields Too Large\r\nServer: mote\r\nContent-Type: text/plain\r\n"
           "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n"
           "Content-Length: 18446744073709551615\r\n\r\n" +
    allow_size_limit;
static_assert(head_size_limit + answer_content_limit <= answer_limit, "answer_limit must leave room for a head");

// How every answer begins that is a 200, up to the size of its content; the others have but another status line. A
// worker keeps it with the Date of the second (see run_clock).
constexpr size_t status_line_size = sizeof "HTTP/1.1 200 OK\r\n" - 1;
alignas(1) constexpr char head_form[] = "HTTP/1.1 200 OK\r\n"
                                        "Server: mote\r\n"
                                        "Content-Type: text/plain\r\n"
                                        "Date: Thu, 00 Jan 1970 00:00:00 GMT\r\n"
                                        "Content-Length: ";
constexpr size_t head_size = sizeof head_form - 1;

// What a worker counts, from its start on.
enum class Counter : size_t {
    open,      // connections that are open now: the only one that goes down
    accepted,  // connections
    requests,  // that have come whole
    bytes_in,
    bytes_out,
    refused_4xx,  // answers with such a status
    refused_5xx,
    expired,    // connections whose time was over
    stalled,    // sends that were not taken whole
    exhausted,  // how often accepting had to pause
};
alignas(1) constexpr char counter_names[] = "open\0accepted\0requests\0bytes in\0bytes out\0"
                                            "4xx\0"
                                            "5xx\0"
                                            "expired\0stalled\0exhausted\0";
constexpr size_t counter_count = text_count(counter_names);
static_assert(counter_count == size_t(Counter::exhausted) + 1);

// Only their worker writes them, and the main thread reads them. The loads are atomic, relaxed: a counter tells of
// nothing but itself. The addition is a plain one, since no other thread writes: an atomic store of the sum took 90
// bytes more, and an aligned word is stored whole on each architecture that there is a block for.
struct Counters {
    uint64_t values[counter_count];

    [[nodiscard, gnu::always_inline]] inline uint64_t operator[](Counter counter) const {
        return __atomic_load_n(values + size_t(counter), __ATOMIC_RELAXED);
    }
    [[gnu::always_inline]] inline void add(Counter counter, uint64_t more = 1) { values[size_t(counter)] += more; }
};

// What answers need of their worker.
struct AnswerContext {
    Counters counters;
    char head[head_size + 1];  // head_form with the Date of this second, and NUL
};

// A text that is a template's argument.
template <size_t text_size> struct Literal {
    char text[text_size];

    consteval Literal(const char (&from)[text_size]) {
        for (size_t i = 0; i < text_size; i++) text[i] = from[i];
    }
};

// What an answer with `content` has behind head_form: the size, the empty line, and the content.
template <Literal content> constexpr auto end_of_answer = [] {
    constexpr size_t size = sizeof content.text - 1;
    constexpr size_t digits = [] {
        size_t count = 1;
        for (size_t rest = size; rest >= 10; rest /= 10) count++;
        return count;
    }();
    struct {
        char text[digits + 4 + size + 1];
    } end{};
    for (size_t i = digits, rest = size; i-- > 0; rest /= 10) end.text[i] = char('0' + rest % 10);
    for (size_t i = 0; i < 4; i++) end.text[digits + i] = "\r\n\r\n"[i];
    for (size_t i = 0; i < size; i++) end.text[digits + 4 + i] = content.text[i];
    return end;
}();

// Composes responses one behind the other. The caller has made sure of answer_limit bytes at `at`, and before it calls
// a route head_form is there already.
struct Answer {
    char *at;
    AnswerContext *context;  // the worker's

    // A whole response that is the same each time: faster than the next one.
    template <Literal content> [[gnu::always_inline]] inline void text() {
        static_assert(sizeof content.text - 1 <= answer_content_limit);
        at = put(at + head_size, end_of_answer<content>.text);
    }

    // A whole response with `content`.
    [[maybe_unused]] void text(Bytes content) {
        if (content.size > answer_content_limit) return status(Status::internal_server_error, 0);
        at = put(compose(at + head_size, "#\r\n\r\n", content.size), content);
    }

    // A whole response with an integer, given in two's complement, as its content.
    [[gnu::hot]] void integer(uint64_t value) {
        char digits[1 + 2 * digits_limit];  // "-", the digits, and what is copied beyond them
        char *const end = digits + 1 + digits_limit;
        char *begin;
        if (int64_t(value) < 0) [[unlikely]] {
            begin = put_digits(end, -value);
            *--begin = '-';
        } else {
            begin = put_digits(end, value);
        }
        const size_t size = size_t(end - begin);
        char *to = at + head_size;
        size_t ones = size + '0';
        if (size >= 10) [[unlikely]] {  // a division takes longer
            ones -= 10;
            *to = '1';
            if (size == 20) {
                ones -= 10;
                *to = '2';
            }
            to++;
        }
        *to++ = char(ones);
        to = put(to, "\r\n\r\n");
        copy<digits_limit>(to, begin);
        at = to + size;
    }

    // A whole response that no route gives, with an Allow field (RFC 9110 section 10.2.1) if there are `methods`, one
    // bit each. An error has its reason as its content, so that a person sees something.
    [[gnu::cold]] void status(Status status, unsigned methods) {
        const char *const reason = text_at(status_texts, size_t(status) - size_t(Status::options));
        const char *content = "";
        if (status != Status::options) {
            content = reason;
            context->counters.add(Counter(size_t(Counter::refused_4xx) + size_t(*reason - '4')));
        }
        char *to = compose(at, "HTTP/1.1 $$#", reason, context->head + status_line_size, bytes_of(content).size);
        const char *form = "\r\nAllow: $";
        for (const char *name = method_names; methods != 0; name = text_at(name, 1), methods >>= 1) {
            if ((methods & 1) == 0) continue;
            to = compose(to, form, name);
            form = ", $";
        }
        at = compose(to, "\r\n\r\n$", content);
    }

    // Makes of the response that begins at `begin` the one for an exchange that is not plain: adds a Connection field,
    // takes the content away.
    [[gnu::cold, gnu::noinline]] void amend(const Exchange &exchange, char *begin) {
        char *head_end = begin;
        while (!stands_at(head_end, "\r\n\r\n")) head_end++;
        head_end += 2;
        if (exchange.manner.is_head) at = head_end + 2;
        if (exchange.manner.persistence == Exchange::Persistence::keep) return;
        const Bytes field_line = exchange.manner.persistence == Exchange::Persistence::close
                                     ? "Connection: close\r\n"_b
                                     : "Connection: keep-alive\r\n"_b;
        for (char *from = at; from != head_end;) {
            from--;
            from[field_line.size] = *from;
        }
        put(head_end, field_line);
        at += field_line.size;
    }
};

void answer_ok(const Exchange &, Answer &answer) { answer.text<"ok">(); }

// Adds the integer that stands at `value`, up to the next "&" or the space behind the query, or nothing. Returns where
// that is.
[[nodiscard, gnu::cold, gnu::noinline]] const char *add_value(Exchange &exchange, const char *value) {
    const char *end = value;
    while (*end != '&' && *end != ' ') end++;
    Integer integer{};
    integer.take({value, size_t(end - value)});
    exchange.sum += uint64_t(integer.value);
    return end;
}

// Adds up all integers that are the value of a "name=value" in the query, behind which a space stands.
[[gnu::hot]] void add_query(Exchange &exchange, Bytes query) {
    const char *at = query.data - 1;
    do {
        while (*++at != '=')
            if (*at == ' ') return;
        const char *const value = ++at;
        uint64_t number = 0;
        for (unsigned digit; (digit = unsigned(*at) - '0') <= 9; at++) number = number * 10 + digit;
        const bool is_natural = (*at == '&' || *at == ' ') && at < value + (digits_limit - 1);
        if (is_natural) [[likely]]
            exchange.sum += number;
        else at = add_value(exchange, value);
    } while (*at != ' ');
}

void take_addend(Exchange &exchange, Bytes piece) { exchange.integer.take(piece); }

[[gnu::hot, gnu::noinline]] void answer_sum(const Exchange &exchange, Answer &answer) {
    answer.integer(exchange.sum + uint64_t(exchange.integer.value));
}

struct Route {
    Method method;  // get answers HEAD as well
    Bytes path;
    void (*answer)(const Exchange &, Answer &);
    void (*take_query)(Exchange &, Bytes query) = nullptr;  // called once, when the head is complete
    void (*take_piece)(Exchange &, Bytes piece) = nullptr;  // called as often as content arrives
    // Makes of `path` the beginning of many. Called before take_query with what stands behind it, up to the query. What
    // it returns, unless that is ok, is the answer.
    Status (*take_rest)(Exchange &, Bytes rest) = nullptr;
};

// Everything this server answers, in the order in which it is tried. Any other path is a 404.
constexpr Route routes[] = {
    {Method::get, "/pipeline"_b, answer_ok},
    {Method::get, "/baseline11"_b, answer_sum, add_query},
    {Method::post, "/baseline11"_b, answer_sum, add_query, take_addend},
};
constexpr size_t route_count = sizeof routes / sizeof *routes;

consteval bool all_origin_form() {
    for (const Route &route : routes) {
        if (route.path.size == 0 || route.path.data[0] != '/') return false;
        for (size_t i = 0; i < route.path.size; i++)
            if (!is(Class::target, route.path.data[i]) || route.path.data[i] == '?') return false;
    }
    return true;
}
static_assert(all_origin_form(), "a route's path starts with '/' and holds no query (RFC 9112 section 3.2.1)");

// Whether both rows are for the same targets.
constexpr bool have_same_path(const Route &a, const Route &b) {
    return a.path == b.path && (a.take_rest == nullptr) == (b.take_rest == nullptr);
}

// Whether the first one takes all targets of the other.
consteval bool covers(const Route &a, const Route &b) {
    if (a.take_rest == nullptr || a.path.size > b.path.size) return have_same_path(a, b);
    return b.path.first(a.path.size) == a.path;
}

consteval bool all_reached() {
    for (size_t row = 1; row < route_count; row++)
        for (size_t before = 0; before < row; before++)
            if (covers(routes[before], routes[row]) && !have_same_path(routes[row - 1], routes[row])) return false;
    return true;
}
static_assert(all_reached(), "rows of one path stand together, and before those of a beginning of it");
static_assert(route_count < 256, "a connection remembers its route in one byte");
static_assert(size_t(Status::version_not_supported) < 16, "an exchange keeps its status in four bits");

// The methods of the path of each row, one bit each, and of all paths together behind them.
struct AllowedMethods {
    uint8_t rows[route_count + 1];
};
constexpr size_t all_routes = route_count;
constexpr AllowedMethods allowed_methods = [] {
    AllowedMethods allowed{};
    for (size_t row = 0; row <= all_routes; row++) {
        const auto add = [&](Method method) { allowed.rows[row] |= uint8_t(1u << unsigned(method)); };
        add(Method::options);
        for (const Route &route : routes) {
            if (row != all_routes && !have_same_path(route, routes[row])) continue;
            add(route.method);
            if (route.method == Method::get) add(Method::head);
        }
    }
    return allowed;
}();
static_assert(size_t(Method::connect) <= 8, "a byte has a bit for each method that a route can have");

// Whether there is a row `other` that has the path of row `index`.
template <size_t index> consteval bool is_path_of_row(size_t other) {
    return other < route_count && have_same_path(routes[other], routes[index]);
}

// Calls `visit` with each row until one call returns true. Unrolled by the compiler, so that in each copy the row is
// a constant: comparisons of paths become wide loads, calls become direct ones or are inlined.
template <size_t index = 0, typename Visit> [[gnu::always_inline]] inline void visit_routes(Visit visit) {
    if constexpr (index < route_count)
        if (!visit.template operator()<index>()) visit_routes<index + 1>(visit);
}

// What goes before any route: versions and options of the connection, methods that are answered in the same way on
// every path, and expectations.
[[gnu::cold, gnu::noinline]] void begin_rare(Exchange &exchange, const Head &head) {
    using enum Exchange::Persistence;
    Status status = exchange.manner.status;
    if (head.method == Method::unknown) status = Status::not_implemented;
    if (head.method == Method::options) {
        // RFC 9110 section 9.3.7: what the path allows. Of "*" and of a path that is not known, which health checks ask
        // for, it is what any path allows.
        if (status == Status::not_found) exchange.route = all_routes;
        status = Status::options;
    }
    if (head.says(Head::expects_other)) status = Status::expectation_failed;
    Exchange::Persistence persistence = keep;
    if (head.says(Head::closes | Head::is_http_1_0))  // RFC 9112 section 9.3
        persistence = (head.facts & (Head::closes | Head::keeps_alive)) == Head::keeps_alive ? keep_alive : close;
    exchange.manner = Exchange::Manner{status, persistence, head.method == Method::head};
}

// Begins the exchange with the route whose path the target has, of which row `index` is one, if the method is that of
// the row or of a further one.
template <size_t index>
[[nodiscard, gnu::always_inline]] inline Status begin_route(Exchange &exchange, const Head &head, const char *query) {
    constexpr Route route = routes[index];
    exchange.route = index;
    if (head.method == route.method || (route.method == Method::get && head.method == Method::head)) {
        size_t path_size = route.path.size;
        if constexpr (route.take_rest != nullptr) {
            path_size = size_t(query - head.target);
            const Status status = route.take_rest(exchange, Bytes{head.target, path_size}.after(route.path.size));
            if (status != Status::ok) return status;
        }
        if constexpr (route.take_query != nullptr)
            if (*query == '?') route.take_query(exchange, {query + 1, size_t(head.target_end - query - 1)});
        return Status::ok;
    } else if constexpr (is_path_of_row<index>(index + 1)) {
        return begin_route<index + 1>(exchange, head, query);
    } else {
        return Status::method_not_allowed;
    }
}

// Starts the exchange that `head` asks for: finds its route, or the error that answers it.
[[gnu::always_inline]] inline void begin_exchange(Exchange &exchange, const Head &head) {
    // Member by member: for the whole, a compiler that optimises for size takes `rep stos`, which is slow to start.
    exchange.sum = 0;
    exchange.integer.value = 0;
    exchange.integer.state = Integer::State::start;
    exchange.route = 0;
    Status status = Status::not_found;
    visit_routes([&]<size_t index> {
        constexpr Route route = routes[index];
        constexpr Bytes path = route.path;
        if constexpr (index != 0 && is_path_of_row<index>(index - 1)) return false;
        // Up to `overread` bytes may be compared whatever there is: no path holds the space behind the target.
        if (path.size > overread && path.size > size_t(head.target_end - head.target)) return false;
        if (differ<path.size>(head.target, path.data)) return false;
        const char *query = head.target + path.size;
        if constexpr (route.take_rest != nullptr)
            while (*query != ' ' && *query != '?') query++;
        else if (*query != ' ' && *query != '?') return false;
        status = begin_route<index>(exchange, head, query);
        return true;
    });
    exchange.manner.status = status;
    exchange.manner.persistence = Exchange::Persistence::keep;
    exchange.manner.is_head = false;
    constexpr unsigned rare = Head::closes | Head::is_http_1_0 | Head::expects_other | Head::has_rare_request_line;
    if (head.says(rare)) [[unlikely]]
        begin_rare(exchange, head);
}

// Hands a piece of content to the route, if it wants any.
void take_piece(Exchange &exchange, Bytes piece) {
    if (exchange.manner.status != Status::ok) return;
    visit_routes([&]<size_t index> {
        constexpr Route route = routes[index];
        if constexpr (route.take_piece != nullptr)
            if (index == exchange.route) route.take_piece(exchange, piece);
        return false;
    });
}

[[gnu::cold, gnu::noinline]] void answer_status(const Exchange &exchange, Answer &answer) {
    char *const begin = answer.at;
    const Status status = exchange.manner.status;
    const bool has_allow = status <= Status::method_not_allowed;
    answer.status(status, has_allow ? allowed_methods.rows[exchange.route] : 0);
    answer.amend(exchange, begin);
}

// Composes the answer to a complete request. Returns whether the connection goes on.
[[nodiscard, gnu::always_inline]] inline bool answer_exchange(const Exchange &exchange, Answer &answer) {
    char *const begin = answer.at;
    if (exchange.is_plain() || exchange.manner.status == Status::ok) [[likely]] {
        copy<head_size>(answer.at, answer.context->head);
        visit_routes([&]<size_t index> {
            if (index != route_count - 1 && index != exchange.route) return false;  // the last row is what is left
            routes[index].answer(exchange, answer);
            return true;
        });
        if (exchange.is_plain()) [[likely]]
            return true;
        answer.amend(exchange, begin);
    } else {
        answer_status(exchange, answer);
    }
    return exchange.manner.persistence != Exchange::Persistence::close;
}

// ---- Connections -----------------------------------------------------------------------------------------------
// The state of one connection and every transition it can make. A connection belongs to one worker, which alone
// touches it. It holds memory of its own only while it waits in the middle of something: a stash for the part of a head
// that has come, a block for output that the peer does not take and the input behind it. What takes a transition says
// whether the connection goes on; where it does not, the one who asked for it calls close_connection.

struct Connection {
    enum class State : uint8_t {  // in an order that makes each question below one comparison
        closed,
        sending,            // the block holds output, and input that must wait for it; nothing is received
        sending_last,       // the same, and the connection ends behind that output
        lingering,          // all is sent, and our end of stream too; what still arrives is thrown away
        receiving_head,     // the stash holds a part of a head
        receiving_content,  // a head has come, and not yet all of its content
        accepted,           // nothing has come yet
        idle,               // all that has come is answered
    };

    union [[gnu::packed]] {
        Exchange exchange;
        uint16_t stash;  // of which one that receives a head has none yet: the index of its first piece
    };
    State state;
    uint8_t deadline;  // the worker's tick at which the state's time is over
    Content content;   // while lingering, `left` is what may still be thrown away

    // Whether what arrives is to be answered, and nothing is held back.
    [[nodiscard, gnu::always_inline]] inline bool receives() const { return state > State::receiving_head; }
    // Asked of open ones. One that lingers has no block any more.
    [[nodiscard]] constexpr bool sends() const { return state <= State::sending_last; }
};
static_assert(sizeof(Connection) == 32, "two connections share a cache line, none straddles one");

// How many ticks a connection may stay in each state, in their order: one more than seconds, for the first tick may be
// near.
alignas(1) constexpr uint8_t timeouts[] = {
    0,
    send_timeout_s + 1,
    send_timeout_s + 1,
    linger_timeout_s + 1,
    head_timeout_s + 1,
    content_timeout_s + 1,
    head_timeout_s + 1,
    idle_timeout_s + 1,
};

static_assert(sizeof timeouts == size_t(Connection::State::idle) + 1, "every state has its time");

// Output that is held up, and the input that must wait for it. The small things first, so that little of it is touched.
struct alignas(4096) Block {
    uint32_t output_begin, output_end;  // what of `output` is not sent yet
    uint32_t input_end;                 // how much of `input` is in use
    char input[input_size];
    char output[output_size];
};

// A piece of what has come of a head. Many peers may wait with a byte each, so pieces are small and there are many; a
// longer head has a chain of them. 0 is no piece's index.
struct Stash {
    uint16_t next;  // the piece that goes on, or the next free one
    // The rest is told by a head's first piece only.
    uint16_t older, newer;  // the first pieces of the heads that began before and behind it
    uint16_t facts;         // what is known from its whole lines: see Head
    Method method;
    int32_t socket;  // the connection
    uint32_t size;   // how much has come
    uint32_t line;   // where in that the line begins that is not whole
    char bytes[stash_size - 24];
};
static_assert(sizeof(Stash) == stash_size && stash_count <= UINT16_MAX);
constexpr size_t stashes_for(size_t size) { return (size + sizeof(Stash::bytes) - 1) / sizeof(Stash::bytes); }

// The table of connections is looked through in groups, to pass over those in which none is open.
constexpr size_t group_size = 128;
constexpr size_t group_count = (reserved_descriptors + connection_limit + group_size - 1) / group_size;
static_assert(group_size <= UINT8_MAX && (group_size & (group_size - 1)) == 0, "a size fits a byte, a mask a group");

// What all workers share: nothing that a request needs.
struct Process {
    int stop;                  // a timer that expires when the server is to end
    int room;                  // where all have the same listener: one that expires when a worker has no room; else -1
    int last_listener;         // the workers' listeners have been made one behind the other
    uint32_t running_workers;  // those that have not drained yet; atomic, relaxed: it tells of nothing but itself
    bool is_sandboxed;
    bool is_inherited;  // the listener may be another server's, too
};

// All that a worker works with, laid out once and never moved. The kernel maps it zeroed, page by page on first use.
// Every page that is touched between two system calls costs an address translation, so what a request uses shares
// pages: the top of the stack with the start of the output, the worker's state and events with the start of the input.
struct alignas(4096) Worker {
    int listener;  // -1 once it is closed
    int epoll;
    int timer;  // the clock
    bool is_ticking;
    bool is_accepting;        // the listener is watched, or never will be again
    uint8_t idle_deadline;    // the deadline of a connection that becomes idle now: all there is of a clock
    bool shares_descriptors;  // where private descriptor tables cannot be had
    uint32_t drain_ticks;     // ticks since the order to stop, which is the first, and one more; 0: there was none
    uint32_t overdue_at;      // the first socket that the search for overdue connections has left for later; 0: none
    Process *process;
    Block *blocks;
    Stash *stashes;
    uint32_t block_limit;                 // how many there are: fewer than block_count where memory is short
    uint32_t free_stashes;                // how many of the stashes are free
    uint32_t fresh_stash;                 // all from this one on were never used
    uint16_t free_stash;                  // the first one in the chain of those that were
    uint16_t oldest_stash, newest_stash;  // of the heads that wait, by their first pieces
    bool has_stopped_listening;           // the listener is closed, or shut down
    AnswerContext context;
    alignas(64) epoll_event events[events_per_wait];
    uint8_t group_sizes[group_count];  // how many connections are open in each group of the table
    alignas(64) char input[input_size + overread];

    alignas(4096) char stack[stack_size];  // an overflow runs into the end of the input buffer, which is rarely used
    char output[output_size];

    alignas(64) Connection connections[group_count * group_size];
    const Connection *block_owners[block_count];  // nullptr: nobody has it

    // Seconds, modulo 256.
    [[nodiscard]] uint8_t ticks() const { return uint8_t(idle_deadline - timeouts[size_t(Connection::State::idle)]); }
    [[nodiscard, gnu::noinline]] long socket_of(const Connection &connection) const {
        return &connection - connections;
    }
    // The index of the first block that `owner` has, or block_limit.
    [[nodiscard, gnu::cold, gnu::noinline]] size_t find_block(const Connection *owner) const {
        size_t index = 0;
        while (index != block_limit && block_owners[index] != owner) index++;
        return index;
    }
    [[nodiscard, gnu::cold, gnu::noinline]] Block &block_of(const Connection &connection) {
        const size_t index = find_block(&connection);
        if (index == block_limit) __builtin_trap();  // better no bytes than another connection's
        return blocks[index];
    }
};

// A connection wakes one worker up, where the listener is everybody's.
constexpr uint32_t listening_events = EPOLLIN | EPOLLEXCLUSIVE;
constexpr uint32_t receiving_events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET;
constexpr uint32_t sending_events = EPOLLOUT | EPOLLRDHUP | EPOLLET;

// Changes what the worker's epoll waits for. Returns 0, or -errno.
[[nodiscard, gnu::noinline]] long epoll_ctl(const Worker &worker, int operation, long descriptor, uint32_t events) {
    return epoll_ctl(worker.epoll, operation, descriptor, events);
}

// If accepting has paused, waiting connections are accepted again; if the kernel cannot do that now, the clock tries it
// again.
[[gnu::cold, gnu::noinline]] void resume_accepting(Worker &worker) {
    if (worker.is_accepting || worker.has_stopped_listening) return;
    worker.is_accepting = epoll_ctl(worker, EPOLL_CTL_ADD, worker.listener, listening_events) == 0;
}

// From now on the connection is in `state`, and has the time that this state has.
[[gnu::noinline]] void enter(const Worker &worker, Connection &connection, Connection::State state) {
    connection.state = state;
    connection.deadline = uint8_t(worker.ticks() + timeouts[size_t(state)]);
}

// The connection waits for what its state needs; what is there already is reported anew. Returns whether it goes on.
[[nodiscard, gnu::cold, gnu::noinline]] bool watch_anew(const Worker &worker, const Connection &connection) {
    const uint32_t events = connection.sends() ? sending_events : receiving_events;
    return epoll_ctl(worker, EPOLL_CTL_MOD, worker.socket_of(connection), events) == 0;
}

// If the connection has a block, it gives it back.
[[gnu::cold, gnu::noinline]] void give_back_block(Worker &worker, const Connection &connection) {
    const size_t index = worker.find_block(&connection);
    if (index != worker.block_limit) worker.block_owners[index] = nullptr;
}

// The index of a piece that was free; the caller has made sure of one. Used ones come first, so that few pages are in use.
[[nodiscard, gnu::cold, gnu::noinline]] uint16_t take_stash(Worker &worker) {
    worker.free_stashes--;
    uint16_t index = worker.free_stash;
    if (index != 0) worker.free_stash = worker.stashes[index].next;
    else index = uint16_t(worker.fresh_stash++);
    worker.stashes[index].next = 0;
    return index;
}

// The connection holds no part of a head any more; its deadline stays as it is.
[[gnu::cold, gnu::noinline]] void give_back_stash(Worker &worker, Connection &connection) {
    Stash *const stashes = worker.stashes;
    const Stash &first = stashes[connection.stash];
    (first.older != 0 ? stashes[first.older].newer : worker.oldest_stash) = first.newer;
    (first.newer != 0 ? stashes[first.newer].older : worker.newest_stash) = first.older;
    worker.free_stashes += uint32_t(stashes_for(first.size));
    Stash *last = stashes + connection.stash;
    while (last->next != 0) last = stashes + last->next;
    last->next = worker.free_stash;
    worker.free_stash = connection.stash;
    connection.state = Connection::State::idle;
}

void close_connection(Worker &worker, Connection &connection) {
    using enum Connection::State;
    if (connection.state == receiving_head) [[unlikely]]
        give_back_stash(worker, connection);
    if (connection.sends()) [[unlikely]]
        give_back_block(worker, connection);
    connection.state = closed;
    worker.context.counters.add(Counter::open, -uint64_t(1));
    const long socket = worker.socket_of(connection);
    worker.group_sizes[size_t(socket) / group_size]--;
    (void)close(socket);  // the descriptor is free whatever close answers
    resume_accepting(worker);
}

// Copies what waits in the connection's block to the input buffer and gives the block back. Returns its size.
[[gnu::cold, gnu::noinline]] size_t take_back_input(Worker &worker, Connection &connection) {
    const Block &block = worker.block_of(connection);
    give_back_block(worker, connection);  // nobody else takes it meanwhile
    put(worker.input, {block.input, block.input_end});
    return block.input_end;
}

// Puts away output that the socket does not take, and the input that must wait for it, until the socket is writable.
// Returns whether the connection goes on.
[[nodiscard, gnu::cold, gnu::noinline]] bool hold_output(Worker &worker, Connection &connection, Bytes output,
                                                         Bytes input) {
    const size_t index = worker.find_block(nullptr);  // the first free one, so that few pages are in use
    if (index == worker.block_limit) return false;
    worker.block_owners[index] = &connection;
    Block *const block = worker.blocks + index;
    block->output_begin = 0;
    block->output_end = uint32_t(output.size);
    block->input_end = uint32_t(input.size);
    put(block->output, output);
    put(block->input, input);
    return watch_anew(worker, connection);
}

// Throws away what arrives after the last answer, so that the answer is not destroyed by a reset (RFC 9112
// section 9.6), until the peer closes or has sent too much. Returns whether the connection goes on.
[[nodiscard, gnu::cold, gnu::noinline]] bool linger(Worker &worker, Connection &connection) {
    Content &content = connection.content;
    for (;;) {
        const long got = recv(worker.socket_of(connection), worker.input, input_size);
        if (got == -EINTR) continue;
        if (got <= 0) return got == -EAGAIN;
        if (uint64_t(got) >= content.left) return false;
        content.left -= uint32_t(got);
    }
}

// The last answer has been sent whole, and the peer may still send. The connection holds nothing back any more. Returns
// whether it goes on.
[[nodiscard, gnu::cold, gnu::noinline]] bool finish(Worker &worker, Connection &connection) {
    if (shutdown(worker.socket_of(connection), SHUT_WR) != 0) return false;
    enter(worker, connection, Connection::State::lingering);
    connection.content.left = linger_limit;
    return watch_anew(worker, connection);
}

// The one place that refuses a request: what follows it on the connection is not looked at any more.
[[gnu::cold, gnu::noinline]] void refuse_request(Connection &connection, Answer &answer, Status status) {
    connection.exchange.manner.status = status;
    connection.exchange.manner.persistence = Exchange::Persistence::close;
    answer_status(connection.exchange, answer);
}

// Ends a connection whose last answer, `size` bytes of the output buffer, has been given to send, which has taken `sent`
// or answered with an error. Returns whether the connection goes on for a while.
[[nodiscard, gnu::cold, gnu::noinline]] bool settle_last(Worker &worker, Connection &connection, long sent,
                                                         size_t size) {
    if (sent < 0 && sent != -EAGAIN && sent != -EINTR) return false;
    if (sent < 0) sent = 0;
    worker.context.counters.add(Counter::bytes_out, size_t(sent));
    if (sent == long(size)) return finish(worker, connection);
    worker.context.counters.add(Counter::stalled);
    enter(worker, connection, Connection::State::sending_last);
    return hold_output(worker, connection, Bytes{worker.output, size}.after(size_t(sent)), {worker.input, 0});
}

// The connection has waited too long: a request that has come in part is answered with 408 (RFC 9110 section 15.5.9).
// Half of an empty line is no part of one. Returns whether the connection goes on for a while.
[[nodiscard, gnu::cold, gnu::noinline]] bool expire(Worker &worker, Connection &connection) {
    using enum Connection::State;
    worker.context.counters.add(Counter::expired);
    const long socket = worker.socket_of(connection);
    if (connection.state == receiving_head) {
        const Stash &first = worker.stashes[connection.stash];
        const bool has_begun = first.bytes[0] != '\r';
        const bool is_head = first.method == Method::head;  // which has an answer without content
        give_back_stash(worker, connection);
        connection.exchange.manner = Exchange::Manner{Status::ok, Exchange::Persistence::keep, is_head};
        if (!has_begun) return false;
    } else if (connection.state != receiving_content) {
        // A reset, so that the kernel does not keep what the peer does not take either.
        if (connection.sends()) (void)setsockopt(socket, SOL_SOCKET, SO_LINGER, 1);  // cannot fail
        return false;
    }
    Answer answer{worker.output, &worker.context};
    refuse_request(connection, answer, Status::request_timeout);
    const size_t size = size_t(answer.at - worker.output);
    return settle_last(worker, connection, send(socket, worker.output, size), size);
}

// Makes sure that so many pieces are free, at the cost of the heads that have waited longest. Returns false if it would
// be that of the connection itself.
[[nodiscard, gnu::cold, gnu::noinline]] bool make_room(Worker &worker, const Connection &connection, size_t count) {
    while (worker.free_stashes < count) {
        if (worker.oldest_stash == 0) return false;
        Connection &oldest = worker.connections[worker.stashes[worker.oldest_stash].socket];
        if (&oldest == &connection) return false;
        if (!expire(worker, oldest)) close_connection(worker, oldest);
    }
    return true;
}

// Adds to a head that waits: its next bytes, and what is known of it with them. There is room.
[[gnu::cold, gnu::noinline]] void add_to_stash(Worker &worker, Stash &first, const Head &head, Cursor cursor) {
    Bytes more{cursor.at + first.size, cursor.left() - first.size};
    size_t place = first.size;  // in the piece
    first.size = uint32_t(cursor.left());
    first.line = uint32_t(head.stopped_line - cursor.at);
    first.facts = uint16_t(head.facts);
    first.method = head.method;
    Stash *piece = &first;
    for (; place > sizeof piece->bytes; place -= sizeof piece->bytes) piece = worker.stashes + piece->next;
    for (;; place = 0) {
        const size_t room = sizeof piece->bytes - place;
        const size_t size = more.size < room ? more.size : room;
        put(piece->bytes + place, more.first(size));
        more = more.after(size);
        if (more.size == 0) return;
        piece->next = take_stash(worker);
        piece = worker.stashes + piece->next;
    }
}

// What has come of a head, at `cursor`, waits for the rest. Returns whether the connection goes on.
[[nodiscard, gnu::cold, gnu::noinline]] bool hold_head(Worker &worker, Connection &connection, Cursor cursor) {
    Head head;
    head.stopped_line = cursor.at;
    (void)is_still_incomplete(cursor, head);  // it is: this is for what its whole lines say
    if (!make_room(worker, connection, stashes_for(cursor.left()))) return false;
    const uint16_t index = take_stash(worker);
    Stash &first = worker.stashes[index];
    first.older = worker.newest_stash;
    first.newer = 0;
    first.socket = int32_t(worker.socket_of(connection));
    first.size = 0;
    (first.older != 0 ? worker.stashes[first.older].newer : worker.oldest_stash) = index;
    worker.newest_stash = index;
    connection.stash = index;
    add_to_stash(worker, first, head, cursor);
    return true;
}

// What has arrived ends inside a request: in its content, or in its head, of which `input` has come. Its time runs from
// its first byte on. Empty lines are no part of a request, nor is half of one: they bring no time. Returns whether the
// connection goes on.
[[nodiscard, gnu::cold]] bool await_rest(Worker &worker, Connection &connection, Cursor input) {
    using enum Connection::State;
    if (connection.content.state != Content::State::none) {
        if (connection.state != receiving_content) enter(worker, connection, receiving_content);
        return true;
    }
    connection.state = idle;
    if (input.left() == 0) return true;
    if (!hold_head(worker, connection, input)) return false;
    connection.state = receiving_head;
    if (*input.at != '\r') enter(worker, connection, receiving_head);
    return true;
}

// How far the input has been answered.
enum class Progress : size_t {
    all,      // to its end, or until the output buffer was full
    to_rest,  // to a request that has not arrived whole
    to_last,  // to the connection's last request
    to_end,   // the same, and the peer is done: it has asked for the end and sent nothing behind that
};

// All that can be answered now is answered, in `size` bytes of the output buffer, of which send has taken `sent` or
// answered with an error; `rest` of the input is left. What send has not taken waits in a block until the socket is
// writable, and so does the rest. Returns whether the connection goes on.
[[nodiscard, gnu::cold, gnu::noinline]] bool settle(Worker &worker, Connection &connection, Cursor rest, long sent,
                                                    size_t size, Progress progress) {
    if (progress == Progress::to_end && sent == long(size)) {
        worker.context.counters.add(Counter::bytes_out, size);
        return false;
    }
    if (progress >= Progress::to_last) return settle_last(worker, connection, sent, size);
    if (sent < 0) {
        if (sent != -EAGAIN && sent != -EINTR) return false;
        sent = 0;
    }
    worker.context.counters.add(Counter::bytes_out, size_t(sent));
    if (sent == long(size)) return await_rest(worker, connection, rest);
    worker.context.counters.add(Counter::stalled);
    enter(worker, connection, Connection::State::sending);
    return hold_output(worker, connection, Bytes{worker.output, size}.after(size_t(sent)), {rest.at, rest.left()});
}

// Takes one request, or what has arrived of it. A head is taken whole or not at all, content as far as it has arrived.
[[nodiscard, gnu::always_inline]] inline Parse take_request(Connection &connection, Cursor &cursor, Answer &answer) {
    Exchange &exchange = connection.exchange;
    if (connection.content.state == Content::State::none) [[likely]] {
        Head head;
        const Taken taken = take_head(cursor, head);
        cursor.at = taken.at;
        if (taken.parse != Parse::complete) [[unlikely]] {
            const bool is_head = head.method == Method::head;  // a refusal of HEAD has no content either
            exchange.manner = Exchange::Manner{Status::ok, Exchange::Persistence::keep, is_head};
            return taken.parse;
        }
        begin_exchange(exchange, head);
        if (head.framing == Framing::no_content) [[likely]]
            return Parse::complete;
        connection.content = begin_content(head);
        if (head.says(Head::expects_continue) && !head.says(Head::is_http_1_0)) [[unlikely]] {
            // An error that the head determines comes at once, and not behind content that nobody needs any more; so
            // the connection cannot go on (RFC 9110 section 10.1.1).
            if (exchange.manner.status > Status::options) return refuse(exchange.manner.status);
            if (cursor.at == cursor.end) answer.at = put(answer.at, "HTTP/1.1 100 Continue\r\n\r\n"_b);
        }
    }
    return take_content(cursor, connection.content, [&](Bytes piece) { take_piece(exchange, piece); });
}

// Whether no more had arrived than what `cursor` ends with, as far as that can be known: it was less than there was
// room for, so the socket is empty, and the next arrival is a new edge. But an end of stream that has already arrived
// is none, and urgent data ends a recv early: then receive until the socket says so. (So do descriptors that come
// through a Unix socket, and a peer that passes any may wait for its answer.)
[[nodiscard, gnu::always_inline]] inline bool is_drained(const Worker &worker, const Cursor &cursor,
                                                         const epoll_event &event) {
    return cursor.end < worker.input + input_size && (event.events & (EPOLLRDHUP | EPOLLPRI)) == 0;
}

// Takes one request behind the other and composes the answers.
[[nodiscard, gnu::always_inline]] inline Progress
answer_requests(Worker &worker, Connection &connection, Cursor &cursor, const epoll_event &event, Answer &answer) {
    do {
        const Parse parse = take_request(connection, cursor, answer);
        if (parse != Parse::complete) [[unlikely]] {
            if (parse == Parse::empty_line && cursor.at != cursor.end) continue;
            if (parse < Parse::refused) return Progress::to_rest;
            refuse_request(connection, answer, refusal(parse));
            return Progress::to_last;
        }
        if (worker.drain_ticks != 0 && cursor.at == cursor.end && peek(worker.socket_of(connection)) <= 0) [[unlikely]]
            connection.exchange.manner.persistence = Exchange::Persistence::close;  // it is the last one
        worker.context.counters.add(Counter::requests);
        if (!answer_exchange(connection.exchange, answer))
            return cursor.at == cursor.end && is_drained(worker, cursor, event) && worker.drain_ticks == 0
                       ? Progress::to_end
                       : Progress::to_last;
    } while (cursor.at != cursor.end && answer.at <= worker.output + (output_size - answer_limit));
    return Progress::all;
}

// Answers all complete requests at `cursor`, which is in the input buffer and came with `event`. Returns whether the
// connection goes on; whether it receives is to be seen by its state.
[[nodiscard, gnu::always_inline]] inline bool serve(Worker &worker, Connection &connection, int socket,
                                                    const epoll_event &event, Cursor &cursor) {
    using enum Connection::State;
    do {
        Answer answer{worker.output, &worker.context};
        const Progress progress = answer_requests(worker, connection, cursor, event, answer);
        const size_t size = size_t(answer.at - worker.output);
        long sent = 0;
        if (size != 0) [[likely]] {
            connection.state = idle;
            connection.deadline = worker.idle_deadline;
            level_branch_history();
            sent = send(socket, worker.output, size);
        }
        if (sent != long(size) || progress != Progress::all) [[unlikely]]
            return settle(worker, connection, cursor, sent, size, progress);
        worker.context.counters.add(Counter::bytes_out, size);
    } while (cursor.at != cursor.end);
    return true;
}

// The socket takes output again. If all that was held up is sent, the input that has waited for that is in the input
// buffer, and `waiting` is its size. Returns whether the connection goes on.
[[nodiscard, gnu::cold]] bool resume(Worker &worker, Connection &connection, int socket, size_t &waiting) {
    using enum Connection::State;
    Block &block = worker.block_of(connection);
    while (const size_t left = block.output_end - block.output_begin) {
        const long sent = send(socket, block.output + block.output_begin, left);
        if (sent == -EINTR) continue;
        if (sent < 0) return sent == -EAGAIN;
        worker.context.counters.add(Counter::bytes_out, size_t(sent));
        block.output_begin += uint32_t(sent);
    }
    const size_t size = take_back_input(worker, connection);
    if (connection.state == sending_last) return finish(worker, connection);
    enter(worker, connection, connection.content.state == Content::State::none ? idle : receiving_content);
    waiting = size;
    return watch_anew(worker, connection);
}

// Receives the next bytes of a head that waits. If it is incomplete no longer, all of it is in the input buffer, and
// `waiting` is its size. Returns whether the connection goes on.
[[nodiscard, gnu::cold]] bool receive_head(Worker &worker, Connection &connection, const epoll_event &event,
                                           size_t &waiting) {
    Stash &first = worker.stashes[connection.stash];
    char *end = worker.input;
    for (const Stash *piece = &first;; piece = worker.stashes + piece->next) {
        const size_t left = first.size - size_t(end - worker.input);
        end = put(end, {piece->bytes, left < sizeof piece->bytes ? left : sizeof piece->bytes});
        if (piece->next == 0) break;
    }
    long got;
    do got = recv(worker.socket_of(connection), end, size_t(worker.input + input_size - end));
    while (got == -EINTR);
    if (got <= 0) return got == -EAGAIN;
    worker.context.counters.add(Counter::bytes_in, size_t(got));
    end[got] = '\0';
    const Cursor cursor{worker.input, end + got};
    Head head;
    head.stopped_line = worker.input + first.line;
    head.facts = first.facts;
    head.method = first.method;
    if (!is_still_incomplete(cursor, head)) {
        give_back_stash(worker, connection);
        waiting = cursor.left();
        return true;
    }
    if (!make_room(worker, connection, stashes_for(cursor.left()) - stashes_for(first.size)))
        return expire(worker, connection);
    add_to_stash(worker, first, head, cursor);
    return is_drained(worker, cursor, event) || watch_anew(worker, connection);
}

// Something has arrived; `waiting` bytes of it are in the input buffer already. One read: what it leaves is reported anew,
// so others have their turn before it. This and `serve` are inlined into run_worker, so that recv and send are made there:
// a return whose call lies before a system call is mispredicted every time, since the kernel's own calls have overwritten
// the processor's return stack. Returns whether the connection goes on.
[[nodiscard, gnu::always_inline]] inline bool receive(Worker &worker, Connection &connection, int socket,
                                                      const epoll_event &event, size_t waiting) {
    long filled = long(waiting);
    if (waiting == 0) [[likely]] {
        filled = recv(socket, worker.input, input_size);
        if (filled <= 0) [[unlikely]]
            return filled == -EAGAIN || (filled == -EINTR && watch_anew(worker, connection));
        worker.context.counters.add(Counter::bytes_in, size_t(filled));
    }
    worker.input[filled] = '\0';
    Cursor cursor{worker.input, worker.input + filled};
    if (!serve(worker, connection, socket, event, cursor)) [[unlikely]]
        return false;
    if (is_drained(worker, cursor, event) || connection.state < Connection::State::receiving_head) [[likely]]
        return true;
    return watch_anew(worker, connection);
}

// ---- Worker loop -----------------------------------------------------------------------------------------------
// One thread's life: wait, accept, receive and answer, and once a second look at the clock. The clock stands still
// while there are no connections: an idle server does not wake up.

// Each name with the byte that stands behind it in a Date: one move of four bytes. 1 January 1970 was a Thursday. Years
// begin with March here, so that a leap day is the last one of its year.
alignas(1) constexpr char weekdays[] = "Thu,Fri,Sat,Sun,Mon,Tue,Wed,";
alignas(1) constexpr char months[] = "Mar Apr May Jun Jul Aug Sep Oct Nov Dec Jan Feb ";
constexpr size_t date_place = sizeof "HTTP/1.1 200 OK\r\nServer: mote\r\nContent-Type: text/plain\r\nDate: " - 1;
static_assert(head_form[date_place] == weekdays[0] && head_form[date_place + 25] == ' ');

// Writes head_form with the Date (RFC 9110 section 5.6.7) of a moment, in seconds since 1970.
void put_head(char *at, uint64_t now) {
    __builtin_memcpy(at, head_form, head_size);
    at += date_place;
#pragma GCC unroll 1
    for (size_t place = 25; place > 16; place -= 3) {  // seconds, minutes, hours
        const uint64_t limit = place == 19 ? 24 : 60;
        put_digits(at + place, now % limit);
        now /= limit;
    }
    const uint32_t days = uint32_t(now);
    copy<4>(at, weekdays + size_t(days % 7) * 4);
    // In quarters of a day since 1 March of the year 0. Of these a year has 1,461 on the average, but a century has
    // 146,097. Each day counts by its last quarter, which makes the fourth year the longer one.
    uint32_t quarters = (days + 719468) * 4 + 3;
    uint32_t year = quarters / 146097 * 100;
    quarters = quarters % 146097 | 3;
    year += quarters / 1461;
    // In fifths of a day a month has 153: five months from March on have 31, 30, 31, 30 and 31 days if 2 are added.
    const uint32_t fifths = quarters % 1461 / 4 * 5 + 2;
    const size_t month = fifths / 153;
    put_digits(at + 7, fifths % 153 / 5 + 1);
    copy<4>(at + 8, months + month * 4);
    if (month >= 10) year++;  // January and February
    put_digits(at + 16, year);
}

// Makes the clock tick at the next full second, or soon if the server drains or a tick's work is not done, and the Date
// bytes those of this one.
[[gnu::cold, gnu::noinline]] void run_clock(Worker &worker) {
    worker.is_ticking = true;
    timespec now{};
    (void)clock_gettime(CLOCK_REALTIME, now);  // cannot fail: the clock exists and `now` is writable
    put_head(worker.context.head, uint64_t(now.tv_sec));
    int64_t left_ns = 1'000'000'000 - (now.tv_nsec | 1);  // less than a second: that took longer than 1 ns anyway
    if (worker.drain_ticks != 0) left_ns = drain_tick_ms * 1'000'000;
    if (worker.overdue_at != 0) left_ns = end_pause_ms * 1'000'000;
    (void)timerfd_settime(worker.timer, left_ns);  // likewise
}

// The clock ticks from now on, if it does not yet.
[[gnu::cold, gnu::noinline]] void start_clock(Worker &worker) {
    if (!worker.is_ticking) run_clock(worker);
}

// How far in the past the deadline of a connection is put that has been looked at again: further than a tick may be late.
constexpr int8_t looked_again = -64;

// Ends connections whose time is over, but looks again at one for which something has arrived: its event is on the way, or
// there is none (see is_drained), so it is made anew. That happens once: what has come by the next tick must have been
// answered, or begun a request, which gives it another deadline. While the server drains, the time of a connection
// between requests is over if it had none for more than a second, and of every one when the grace is.
// Goes on where it has stopped, for some 5 ms, so that others do not wait. Returns whether it has come to the end.
[[nodiscard, gnu::cold]] bool end_overdue(Worker &worker) {
    using enum Connection::State;
    size_t turns = 0;
    for (size_t socket = worker.overdue_at; socket < group_count * group_size; socket++) {
        if (worker.group_sizes[socket / group_size] == 0) {
            socket |= group_size - 1;  // the last one of the group, whose page nobody touches
            continue;
        }
        Connection &connection = worker.connections[socket];
        const Connection::State state = connection.state;
        if (state == closed) continue;
        const auto left = int8_t(connection.deadline - worker.ticks());
        if (left > 0) {
            if (worker.drain_ticks == 0 || state < accepted) continue;
            const uint8_t grace_ticks = state == accepted ? drain_first_ticks : drain_grace_ticks;
            const int first_second = timeouts[size_t(state)] - 1;  // no less is left in it
            if (worker.drain_ticks <= grace_ticks && left >= first_second) continue;
        }
        if (turns++ == end_turns) {
            worker.overdue_at = uint32_t(socket);
            return false;
        }
        bool goes_on;
        if (state >= receiving_head && left > looked_again / 2 && peek(long(socket)) != -EAGAIN) {
            connection.deadline = uint8_t(worker.ticks() + looked_again);
            goes_on = watch_anew(worker, connection);
        } else {
            goes_on = expire(worker, connection);
        }
        if (!goes_on) close_connection(worker, connection);
    }
    worker.overdue_at = 0;
    return true;
}

// Stops watching the listener.
[[gnu::cold, gnu::noinline]] void ignore_listener(const Worker &worker) {
    (void)epoll_ctl(worker, EPOLL_CTL_DEL, worker.listener, 0);  // fails if it was not watched
}

// What a connection needs has run out: waiting ones stay in the backlog until one of ours closes, or the next tick, for
// what has run out may be the system's.
[[gnu::cold]] void pause_accepting(Worker &worker) {
    worker.is_accepting = false;
    worker.context.counters.add(Counter::exhausted);
    ignore_listener(worker);
    start_clock(worker);
    // The kernel has told nobody else of them.
    if (worker.process->room >= 0) (void)timerfd_settime(worker.process->room, 1);  // now; cannot fail
}

// From now on the socket drops what has less than this many hops left. (Neither call can fail on a socket that has that
// version of IP.) Returns what the call for IPv4 returns, which sockets of IPv6 know as well.
[[gnu::cold, gnu::noinline]] long drop_by_hops(long socket, int smallest) {
    (void)setsockopt(socket, IPPROTO_IPV6, IPV6_MINHOPCOUNT, smallest);
    return setsockopt(socket, IPPROTO_IP, IP_MINTTL, smallest);
}

// Accepts waiting connections, but not more in a row than others can wait for. Returns whether there are none left.
inline bool accept_connections(Worker &worker) {
    for (size_t turn = 0; turn < accept_turns; turn++) {
        const bool has_room = worker.context.counters[Counter::open] < connection_limit;
        const long socket = has_room ? accept4(worker.listener, SOCK_NONBLOCK) : -EMFILE;
        if (socket < 0) [[unlikely]] {
            // What has run out, or a rule that forbids it, may last. From 64 on errors are the network's, to be
            // followed by another try (accept(2)): the listener is reported as long as there are connections.
            if (socket == -EAGAIN) return true;
            if (socket == -EINTR) continue;
            if (socket > -64 || socket == -ENOBUFS) pause_accepting(worker);
            return false;
        }
        const bool fits = size_t(socket) < group_count * group_size;
        if (!fits || epoll_ctl(worker, EPOLL_CTL_ADD, socket, receiving_events) != 0) [[unlikely]] {
            (void)close(socket);  // the descriptor is free whatever close answers
            continue;
        }
        if (worker.drain_ticks != 0) [[unlikely]]
            (void)drop_by_hops(socket, 0);                    // see drain()
        Connection &connection = worker.connections[socket];  // as an earlier one has left it; it has no block
        enter(worker, connection, Connection::State::accepted);
        connection.content.state = Content::State::none;
        worker.context.counters.add(Counter::open);
        worker.context.counters.add(Counter::accepted);
        worker.group_sizes[size_t(socket) / group_size]++;
        start_clock(worker);
    }
    return false;
}

// The server is to end. For a short time new connections are still accepted whose handshake has begun, but a SYN is
// dropped: its sender repeats it after a second and then finds the port's next owner, or none. (A connection that is
// still in the queue of a listener when that is closed is reset.) What drops it is the smallest TTL that the listener
// takes, which no peer's SYN has, and which does not apply to the end of a handshake; a socket filter would need a
// capability. An accepted socket inherits it, and what it has dropped until then is sent again soon. A Unix socket has
// no hops: it refuses new connections at once, and keeps those in its queue.
[[gnu::cold]] void drain(Worker &worker) {
    worker.drain_ticks = 1;
    if (worker.process->is_inherited || drop_by_hops(worker.listener, 255) != -EOPNOTSUPP) return;
    (void)shutdown(worker.listener, SHUT_RD);
    worker.has_stopped_listening = true;
    ignore_listener(worker);  // its end would be reported without end
    while (!accept_connections(worker) && worker.is_accepting) {}
}

// A tick while the server drains; the first one may have come together with the order to stop. The last worker that
// has no connection any more ends the process.
[[gnu::cold]] void go_on_draining(Worker &worker) {
    worker.drain_ticks++;
    if (worker.listener >= 0) {
        if (worker.drain_ticks <= drain_grace_ticks || !accept_connections(worker)) return run_clock(worker);
        worker.has_stopped_listening = true;
        ignore_listener(worker);  // which somebody else may have open still
        (void)close(worker.listener);
        worker.listener = -1;
    }
    if (worker.context.counters[Counter::open] != 0) return run_clock(worker);
    if (__atomic_sub_fetch(&worker.process->running_workers, 1, __ATOMIC_RELAXED) == 0) exit_group(0);
}

// The clock has ticked, or goes on with the work of the last tick. It ticks as long as there are connections, or are to be
// again.
[[gnu::cold]] void tick(Worker &worker) {
    if (worker.overdue_at == 0 && worker.drain_ticks % 8 == 0) worker.idle_deadline++;
    if (!end_overdue(worker)) return run_clock(worker);
    if (worker.drain_ticks != 0) return go_on_draining(worker);
    resume_accepting(worker);
    worker.is_ticking = false;
    if (worker.context.counters[Counter::open] != 0 || !worker.is_accepting) run_clock(worker);
}

// An event of `descriptor` that is not about a connection that just receives. Returns how much input has waited for it
// and is to be answered now. A connection that does not go on is closed.
[[nodiscard, gnu::cold, gnu::noinline]] size_t handle_rare_event(Worker &worker, Connection &connection,
                                                                 epoll_event &event) {
    using enum Connection::State;
    const int descriptor = int(event.data);
    const bool is_stop = descriptor == worker.process->stop;
    if (is_stop) drain(worker);
    if (is_stop || descriptor == worker.timer) tick(worker);
    if (descriptor == worker.process->room && worker.is_accepting && !worker.has_stopped_listening) {
        ignore_listener(worker);  // so that what waits there is reported to this worker, too
        worker.is_accepting = false;
        resume_accepting(worker);
    }
    size_t waiting = 0;
    // One of the above, or closed by another event that came at the same time.
    if (connection.state == closed) return 0;
    bool goes_on;
    if (connection.state == receiving_head) {
        goes_on = receive_head(worker, connection, event, waiting);
    } else if (connection.state == lingering) {
        goes_on = linger(worker, connection);
    } else {
        goes_on = resume(worker, connection, descriptor, waiting);
        event.events |= EPOLLRDHUP;  // as if: there may be more in the socket than what waits
    }
    if (goes_on) return waiting;
    close_connection(worker, connection);
    return 0;
}

[[noreturn, gnu::hot, gnu::noinline]] void run_worker(Worker &worker) {
    for (;;) {
        epoll_event *event = worker.events;
        // On an error, which can only be EINTR, there are none.
        for (long left = epoll_wait(worker.epoll, worker.events, events_per_wait); --left >= 0; event++) {
            const int descriptor = int(event->data);
            if (descriptor == worker.listener) {
                (void)accept_connections(worker);
                continue;
            }
            Connection &connection = worker.connections[descriptor];
            size_t waiting = 0;
            if (!connection.receives()) [[unlikely]] {
                waiting = handle_rare_event(worker, connection, *event);
                if (waiting == 0) continue;
            }
            if (!receive(worker, connection, descriptor, *event, waiting)) [[unlikely]]
                close_connection(worker, connection);
        }
    }
}

// ---- Start-up --------------------------------------------------------------------------------------------------
// Arguments, listeners, threads, and the end. Everything that can fail fails here, before the first connection, with
// one line that names it.

// The options, one a line: what --help prints, and where arguments are looked up.
alignas(1) constexpr char help_text[] = "mote " MOTE_VERSION "\n"
                                        "-a, --address A   IPv4, IPv6 or unix:PATH (default: any IP)\n"
                                        "-p, --port N      TCP port, 0: any (default: 8080)\n"
                                        "-t, --threads N   workers (default: one per CPU)\n"
                                        "    --user UID    user to become (root: 65534)\n"
                                        "    --reuse-port  share the port\n"
                                        "    --pin         pin each worker to a CPU\n"
                                        "    --no-sandbox  give up nothing\n"
                                        "-h, --help        this text\n"
                                        "-V, --version     the version\n";

// Writes a line to standard error. It is dropped if nobody reads there and the pipe is full: a main thread that waits
// for a reader would see no signal.
[[gnu::cold, gnu::noinline]] void write_line(const char *line, const char *end) {
    if (is_writable(2)) (void)write(2, line, size_t(end - line));  // nobody is left to tell if it fails
}

// Prints `form` as compose() fills it in, to standard error.
constexpr size_t form_limit = 100;
[[gnu::cold, gnu::noinline]] void print(const char *form, Word a = unused(), Word b = unused(), Word c = unused()) {
    char line[form_limit + 3 * text_limit];
    static_assert(sizeof line <= PIPE_BUF);
    write_line(line, compose(line, form, a, b, c));
}

// The digits from `at` on, of a base up to 16: their number, or one from 2^32 on if it is too large, and where they
// end.
struct Digits {
    uint64_t number;
    const char *end;
};
[[nodiscard, gnu::cold, gnu::noinline]] Digits take_digits(const char *at, unsigned base) {
    uint64_t number = 0;
    for (uint32_t digit; (digit = hex_value(*at)) < base; at++)
        if (number <= UINT32_MAX) number = number * base + digit;
    return {number, at};
}

// The kernel's reasons that a start can meet, by number and in the C library's words; of others the number is all.
alignas(1) constexpr char reasons[] = "1 Operation not permitted\0"
                                      "2 No such file or directory\0"
                                      "9 Bad file descriptor\0"
                                      "11 Resource temporarily unavailable\0"
                                      "12 Cannot allocate memory\0"
                                      "13 Permission denied\0"
                                      "20 Not a directory\0"
                                      "22 Invalid argument\0"
                                      "23 Too many open files in system\0"
                                      "24 Too many open files\0"
                                      "30 Read-only file system\0"
                                      "36 File name too long\0"
                                      "38 Function not implemented\0"
                                      "88 Socket operation on non-socket\0"
                                      "97 Address family not supported by protocol\0"
                                      "98 Address already in use\0"
                                      "99 Cannot assign requested address\0";

// The system calls that must succeed, in the form of compose(), whose text is the address. The names are in the table
// itself: pointers to them would be addresses in a constant.
struct NamedCall {
    Sys call;
    char name[24];
};
constexpr NamedCall named_calls[] = {
    {Sys::mmap, "mmap"},
    {Sys::socket, "socket"},
    {Sys::bind, "bind to $"},
    {Sys::listen, "listen"},
    {Sys::getsockname, "getsockname"},
    {Sys::getsockopt, "descriptor 3"},  // is an inherited listener, or should be
    {Sys::dup, "dup"},
    {Sys::fcntl, "fcntl"},
    {Sys::clone, "clone"},
    {Sys::setgroups, "setgroups"},
    {Sys::setresuid, "setresuid"},
    {Sys::setresgid, "setresgid"},
    {Sys::capset, "capset"},
    {Sys::sched_setaffinity, "sched_setaffinity"},
    {Sys::sched_getaffinity, "sched_getaffinity"},
    {Sys::epoll_ctl, "epoll_ctl"},
    {Sys::timerfd_create, "timerfd_create"},
    {Sys::epoll_create1, "epoll_create1"},
    {Sys::landlock_create_ruleset, "landlock"},
    {Sys::landlock_restrict_self, "landlock"},
};

[[nodiscard, gnu::cold]] const char *reason_of(long error) {
    for (const char *text = reasons; *text != '\0'; text = text_at(text, 1)) {
        const Digits digits = take_digits(text, 10);
        if (long(digits.number) == error) return digits.end + 1;
    }
    return "Unknown error";
}
[[nodiscard, gnu::cold]] const char *name_of(Sys call) {
    for (const NamedCall &named : named_calls)
        if (named.call == call) return named.name;
    return "system call";
}

// Says that `call` has answered `result`, by a form that takes the call's name, the reason and its number. Only bind is
// about an address.
[[gnu::cold, gnu::noinline]] void print_failure(const char *form, Sys call, long result, Word address_name = unused()) {
    char what[sizeof NamedCall::name + text_limit];
    *compose(what, name_of(call), address_name) = '\0';
    print(form, what, reason_of(-result), -result);
}

// Ends the program because `call` has answered `result`.
[[noreturn, gnu::cold, gnu::noinline]] void end_on_failure(Sys call, long result, Word address_name = unused()) {
    print_failure("mote: $: $ (errno #)\n", call, result, address_name);
    exit_group(1);
}

// Makes a system call that must succeed. Returns its result; any error ends the program.
[[gnu::cold, gnu::noinline]] long must(Sys call, Word a, Word b = unused(), Word c = unused()) {
    const long result = trap(call, a.value, b.value, c.value);
    if (result < 0) end_on_failure(call, result);
    return result;
}

[[noreturn, gnu::cold, gnu::noinline]] void end_on_bad_argument(const char *problem, const char *argument) {
    print("mote: $$ (see --help)\n", problem, argument);
    exit_group(2);
}

// The options in the order of help_text. The first ones take a value, and all of these but the first a number.
enum class Option : size_t { address, port, threads, user, reuse_port, pin, no_sandbox, help, version, unknown };
// How far each number may lie above the smallest one, which is 0 for the port and 1 for the others.
constexpr uint32_t number_ranges[] = {65535, worker_limit - 1, UINT32_MAX - 2};
static_assert(sizeof number_ranges / sizeof *number_ranges == size_t(Option::reuse_port) - size_t(Option::port));

struct Options {
    long values[size_t(Option::help)] = {};

    [[nodiscard]] long operator[](Option option) const { return values[size_t(option)]; }
};

[[nodiscard, gnu::cold]] size_t find_option(const char *argument) {
    for (const char *at = argument; *at != '\0'; at++)
        if (*at == ' ') return size_t(Option::unknown);  // a name and more of its line
    size_t option = 0;
    for (const char *line = help_text; option != size_t(Option::unknown); option++) {
        while (*line++ != '\n') {}
        if (is_word(line, argument, ',') || is_word(line + 4, argument, ' ')) break;
    }
    return option;
}

// The number that stands as `argument`, or the end of the program.
[[nodiscard, gnu::cold]] long take_number(const char *argument, Option option) {
    const Digits digits = take_digits(argument, 10);
    if (digits.end == argument || *digits.end != '\0' ||
        digits.number - (option != Option::port) > number_ranges[size_t(option) - size_t(Option::port)])
        end_on_bad_argument("not a number in range: ", argument);
    return long(digits.number);
}

[[nodiscard, gnu::cold]] Options take_options(const char *const *arguments) {
    Options options;
    options.values[size_t(Option::port)] = default_port;
    for (; *arguments != nullptr; arguments++) {
        const char *const argument = *arguments;
        const size_t option = find_option(argument);
        if (option >= size_t(Option::help)) {
            if (option == size_t(Option::unknown)) end_on_bad_argument("unknown argument: ", argument);
            constexpr size_t version_size = sizeof "mote " MOTE_VERSION "\n" - 1;
            (void)write(1, help_text, option == size_t(Option::help) ? sizeof help_text - 1 : version_size);
            exit_group(0);
        }
        long &value = options.values[option];
        value = true;
        if (option < size_t(Option::reuse_port)) {
            const char *const text = *++arguments;
            if (text == nullptr) end_on_bad_argument("no value: ", argument);
            value = option == size_t(Option::address) ? address(text) : take_number(text, Option(option));
        }
    }
    return options;
}

// The soft limit goes up to the hard limit: how many connections there can be.
void raise_descriptor_limit() {
    rlimit64 limit{};
    if (prlimit64(RLIMIT_NOFILE, nullptr, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)prlimit64(RLIMIT_NOFILE, &limit, nullptr);  // where that is refused the limit stays
}

// Takes an IPv4 address: four decimal numbers of a byte each.
[[nodiscard, gnu::cold]] bool take_ipv4(const char *at, uint8_t *to) {
    for (unsigned left = 4;;) {
        const Digits digits = take_digits(at, 10);
        if (size_t(digits.end - at) - 1 > 2 || digits.number > 255) return false;
        *to++ = uint8_t(digits.number);
        at = digits.end;
        if (--left == 0) return *at == '\0';
        if (*at++ != '.') return false;
    }
}

// Takes an IPv6 address (RFC 4291 section 2.2, forms 1 and 2). What `to` points to is to be 0 already.
[[nodiscard, gnu::cold]] bool take_ipv6(const char *at, uint8_t *to) {
    uint8_t *end = to + 16, *gap = nullptr;  // where "::" stands
    for (;;) {
        const Digits digits = take_digits(at, 16);
        const size_t size = size_t(digits.end - at);
        at = digits.end;
        if (size != 0) {
            if (size > 4 || to == end) return false;
            *to++ = uint8_t(digits.number >> 8);
            *to++ = uint8_t(digits.number);
        }
        if (*at == ':' && at[1] == ':') {
            if (gap != nullptr || to == end) return false;
            gap = to;
            at += 2;
        } else if (*at == '\0') {
            if (size == 0 && gap != to) return false;  // a number is missing
            break;
        } else if (size == 0 || *at++ != ':') {
            return false;
        }
    }
    if (gap == nullptr) return to == end;
    if (to == end) return false;  // "::" stands for one group at least
    while (to != gap) {           // what stands behind "::" goes to the end
        *--end = *--to;
        *to = 0;
    }
    return true;
}

// Takes an address, or without one both versions of IP, or the only one that there is. Returns its text. What `to` has
// for the address itself is to be 0 already. A path does not begin with "@": other programs write so for a socket in the
// abstract namespace, and would not find it at a path.
[[nodiscard, gnu::cold, gnu::noinline]] const char *take_address(const char *text, sockaddr_any &to) {
    if (text == nullptr) text = trap(Sys::socket, AF_INET6, SOCK_STREAM, 0) < 0 ? "0.0.0.0" : "::";
    const Taken scheme = take_form(text, "unix:", '\0');
    to.inet.family = AF_INET6;
    if (scheme.parse == Parse::complete && *scheme.at != '@' &&
        bytes_of(scheme.at).size - 1 < sizeof to.local.path - 1) {
        to.local.family = AF_UNIX;
        put_text(to.local.path, scheme.at);
    } else if (!take_ipv6(text, to.inet.ipv6)) {
        to.inet.family = AF_INET;
        if (!take_ipv4(text, to.inet.ipv4)) end_on_bad_argument("not an address: ", text);
    }
    return text;
}

// What sockets inherit that the listener accepts.
[[gnu::cold]] void set_options_of_connections(long listener) {
    (void)setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, 1);  // fails on a Unix socket, which does not delay
}

// A listener, or the reason why it could not be bound, as -errno. The first one is bound without SO_REUSEPORT, so that
// it fails on a port that other servers with that option have, and gets the option afterwards, so that the other
// workers can join. (Two servers that start in the same instant may still share a port: neither listens yet when the
// other one binds.)
[[nodiscard, gnu::cold, gnu::noinline]] long make_listener(const sockaddr_any &at, int joins) {
    const long listener = must(Sys::socket, at.inet.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // None of these can fail where it means anything.
    set_options_of_connections(listener);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    (void)setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, joins);
    if (const long result = bind(listener, at); result < 0) return result;
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, 1);
    must(Sys::listen, listener, listen_backlog);
    return listener;
}

// The value of a variable of the environment, given with its "=", or nullptr.
[[nodiscard, gnu::cold, gnu::noinline]] const char *find_variable(const char *const *environment, const char *name) {
    for (; *environment != nullptr; environment++) {
        const char *at = *environment;
        size_t size = 0;
        while (name[size] != '\0' && name[size] == at[size]) size++;
        if (name[size] == '\0') return at + size;
    }
    return nullptr;
}

// Whether a service manager has handed over a listener to this process: it is descriptor 3 then (sd_listen_fds(3)).
// More than one, or what does not accept connections, ends the program.
[[nodiscard, gnu::cold]] bool inherits_listener(const char *const *environment) {
    const char *const pid = find_variable(environment, "LISTEN_PID=");
    const char *const count = find_variable(environment, "LISTEN_FDS=");
    if (pid == nullptr || count == nullptr) return false;
    const Digits pid_digits = take_digits(pid, 10), count_digits = take_digits(count, 10);
    if (*pid_digits.end != '\0' || long(pid_digits.number) != getpid()) return false;
    const char *problem = nullptr;
    if (count_digits.end == count || *count_digits.end != '\0') {
        problem = "mote: not a number of listeners: $ (LISTEN_FDS)\n";
    } else if (count_digits.number == 0) {
        return false;
    } else if (count_digits.number > 1) {
        problem = "mote: $ listeners were handed over, it takes one (LISTEN_FDS)\n";
    } else {
        const long type = getsockopt(3, SOL_SOCKET, SO_TYPE);
        if (type < 0) end_on_failure(Sys::getsockopt, type);
        if (type == SOCK_STREAM && getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN) == 1) return true;
        problem = "mote: descriptor 3 does not accept connections (LISTEN_FDS)\n";
    }
    print(problem, count);
    exit_group(1);
}

// The next CPU behind `cpu` that is allowed, around the end of the mask.
[[nodiscard]] size_t next_cpu(const cpu_set &allowed, size_t cpu) {
    do cpu = (cpu + 1) % (8 * sizeof allowed);
    while ((allowed.bits[cpu / 64] >> cpu % 64 & 1) == 0);
    return cpu;
}

// A timer that is not set.
[[nodiscard, gnu::cold, gnu::noinline]] int make_timer() {
    return int(must(Sys::timerfd_create, CLOCK_MONOTONIC, SOCK_NONBLOCK));
}

[[gnu::cold, gnu::noinline]] void watch(const Worker &worker, int descriptor, uint32_t events) {
    if (const long result = epoll_ctl(worker, EPOLL_CTL_ADD, descriptor, events); result < 0)
        end_on_failure(Sys::epoll_ctl, result);
}

// Becomes `user`, with the group of the same number and no other. Where that is refused it stays who it is and says so:
// root of a user namespace has nobody else to become. What was asked for by --user must succeed.
[[gnu::cold, gnu::noinline]] void change_identity(uint32_t user, bool must_succeed) {
    const auto succeeds = [&](Sys call, Word a, Word b, Word c) {
        const long result = trap(call, a.value, b.value, c.value);
        if (result < 0 && must_succeed) end_on_failure(call, result);
        if (result < 0) print_failure("mote: it stays root: $: $ (errno #)\n", call, result);
        return result >= 0;
    };
    if (succeeds(Sys::setgroups, 0, 0, 0) && succeeds(Sys::setresgid, user, user, user))
        (void)succeeds(Sys::setresuid, user, user, user);
}

// Gives up what is not needed any more, once the listeners are bound. In the kernel all this belongs to a thread, and
// the threads that are started from now on inherit it.
[[gnu::cold, gnu::noinline]] void give_up_privileges(uint32_t user, bool has_sandbox) {
    if (user != 0) change_identity(user, true);
    else if (has_sandbox && geteuid() == 0) change_identity(nobody, false);
    if (!has_sandbox) return;
    if (const long result = drop_capabilities(); result < 0)
        print_failure("mote: it keeps its capabilities: $: $ (errno #)\n", Sys::capset, result);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1);  // neither can fail
    (void)prctl(PR_SET_DUMPABLE, 0);      // no core files, no debuggers but those of root
    // Landlock, where the kernel has it: no files (truncating one is known from version 3 on), and from version 4 on no
    // binding and connecting of TCP sockets. A version refuses to be asked for what it does not know.
    const long version = landlock_version();
    if (version < 0) return;
    const landlock_ruleset_attr all{version < 3 ? 0x1fffu : 0x7fffu, version < 4 ? 0u : 3u};
    const int ruleset = int(must(Sys::landlock_create_ruleset, &all, sizeof all, 0));
    must(Sys::landlock_restrict_self, ruleset, 0);
    (void)close(ruleset);
}

// Every system call that any thread makes once the server has started.
constexpr Sys steady_calls[] = {
    Sys::recvfrom, Sys::sendto,        Sys::epoll_pwait,     Sys::accept4,  Sys::epoll_ctl,
    Sys::close,    Sys::clock_gettime, Sys::timerfd_settime, Sys::shutdown, Sys::setsockopt,
    Sys::write,    Sys::exit_group,    Sys::rt_sigtimedwait, Sys::ppoll,
};
constexpr size_t steady_call_count = sizeof steady_calls / sizeof *steady_calls;

// The filter that lets these calls through and ends the process at any other. It looks at nothing but the architecture
// and the number, so the kernel asks it once a number and keeps the answers in a bitmap. The x32 interface of x86-64
// has a bit set in each number.
struct CallFilter {
    sock_filter code[steady_call_count + 5];
};
constexpr CallFilter call_filter = [] {
    CallFilter filter{};
    sock_filter *at = filter.code;
    *at++ = {BPF_LD_W_ABS, 0, 0, 4};  // the architecture in struct seccomp_data
    *at++ = {BPF_JMP_JEQ_K, 0, steady_call_count + 1, AUDIT_ARCH};
    *at++ = {BPF_LD_W_ABS, 0, 0, 0};  // the number
    for (size_t left = steady_call_count; left != 0; left--)
        *at++ = {BPF_JMP_JEQ_K, uint8_t(left), 0, uint32_t(steady_calls[steady_call_count - left])};
    *at++ = {BPF_RET_K, 0, 0, SECCOMP_RET_KILL_PROCESS};
    *at++ = {BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW};
    return filter;
}();

// Puts this thread behind the filter. Without the flag kernels before 5.16 would switch off a speculation of the
// processor that is a danger only where foreign code runs, which costs every request.
[[nodiscard, gnu::cold, gnu::noinline]] long filter_calls() {
    const sock_filter *code = call_filter.code;
    asm("" : "+r"(code));  // a constant `program` would hold an address
    const sock_fprog program{sizeof call_filter.code / sizeof *call_filter.code, code};
    return seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
}

// A worker's thread begins here, with a copy of the main thread's descriptors.
[[noreturn, gnu::cold]] void enter_worker(void *argument) {
    Worker &worker = *static_cast<Worker *>(argument);
    if (!may_be_emulated || !worker.shares_descriptors)
        for (int other = worker.listener; other++ != worker.process->last_listener;) (void)close(other);
    if (worker.process->is_sandboxed) (void)filter_calls();  // main tells if that fails
    run_worker(worker);
}

// Makes what a worker needs and starts its thread, whose id it returns. Without CLONE_FILES the thread gets a copy of
// the descriptor table, so what was made for it is closed here, and no later worker inherits it.
[[gnu::cold]] long start_worker(Worker &worker) {
    worker.epoll = int(must(Sys::epoll_create1, 0));
    worker.timer = make_timer();
    worker.is_accepting = true;
    watch(worker, worker.listener, listening_events);
    watch(worker, worker.timer, EPOLLIN | EPOLLET);
    watch(worker, worker.process->stop, EPOLLIN | EPOLLET);
    if (worker.process->room >= 0) watch(worker, worker.process->room, EPOLLIN | EPOLLET);

    constexpr unsigned long flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    char *const stack_end = worker.stack + stack_size;
    long thread = start_thread(flags, stack_end, enter_worker, &worker);
    if constexpr (may_be_emulated) {
        if (thread == -EINVAL) {  // qemu-user makes no other threads than those of a C library
            worker.shares_descriptors = true;
            thread = start_thread(flags | CLONE_FILES, stack_end, enter_worker, &worker);
        }
    }
    if (thread < 0) end_on_failure(Sys::clone, thread);
    if (may_be_emulated && worker.shares_descriptors) return thread;
    (void)close(worker.listener);  // the thread has its own
    (void)close(worker.epoll);
    (void)close(worker.timer);
    return thread;
}

// From now on the thread runs on this CPU only.
[[gnu::cold]] void pin(long thread, size_t cpu) {
    cpu_set only{};
    only.bits[cpu / 64] = uint64_t(1) << cpu % 64;
    must(Sys::sched_setaffinity, thread, sizeof only, &only);
}

// Prints what each worker has done, a line each.
[[gnu::cold]] void print_statistics(const Worker *worker, const Worker *end) {
    for (; worker != end; worker++) {
        char line[sizeof "mote:" + sizeof counter_names + counter_count * (digits_limit + sizeof " ,")];
        static_assert(sizeof line <= PIPE_BUF);
        char *at = put_text(line, "mote:");
        const char *name = counter_names;
        for (size_t i = 0; i < counter_count; i++, name = text_at(name, 1))
            at = compose(at, " # $,", worker->context.counters[Counter(i)], name);
        at[-1] = '\n';
        write_line(line, at);
    }
}

[[nodiscard, gnu::cold]] int64_t monotonic_ns() {
    timespec now{};
    (void)clock_gettime(CLOCK_MONOTONIC, now);  // cannot fail: the clock exists and `now` is writable
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Memory for the workers, and behind it their blocks and stashes, of which there are half as many, or half of that and so
// on, where the kernel does not promise so much memory (vm.overcommit_memory=2, RLIMIT_AS). Any failure ends the program.
[[gnu::cold]] Worker *make_workers(size_t count) {
    uint32_t blocks = block_count, stashes = stash_count;
    size_t pool_size, size;
    long memory;
    for (;; blocks = (blocks + 1) / 2, stashes = (stashes + 1) / 2) {
        pool_size = blocks * sizeof(Block) + stashes * sizeof(Stash);
        size = count * (sizeof(Worker) + pool_size);
        memory = map_memory(size);
        if (memory >= 0) break;
        if (blocks == 1) end_on_failure(Sys::mmap, memory);
    }
    auto *const workers = reinterpret_cast<Worker *>(memory);
    // A kernel without huge pages refuses the advice and does not need it.
    (void)madvise(workers, size, MADV_NOHUGEPAGE);
    char *pool = reinterpret_cast<char *>(workers + count);
    for (Worker *worker = workers; worker != workers + count; worker++, pool += pool_size) {
        worker->blocks = reinterpret_cast<Block *>(pool);
        worker->stashes = reinterpret_cast<Stash *>(worker->blocks + blocks);
        worker->block_limit = blocks;
        worker->free_stashes = stashes - 1;  // 0 is the index of none
        worker->fresh_stash = 1;
    }
    return workers;
}

// _start calls this with the stack as the kernel has left it: the argument count, the arguments, NULL.
[[noreturn, gnu::cold, gnu::used]] void start(const char *const *stack) asm("start");
void start(const char *const *stack) {
    const Options options = take_options(stack + 2);
    const bool is_inherited = inherits_listener(stack + *reinterpret_cast<const long *>(stack) + 2);
    long shared = is_inherited ? 3 : 0;  // the listener of all workers, or 0 as long as each is to get its own
    sockaddr_any at{};
    at.inet.port = __builtin_bswap16(uint16_t(options[Option::port]));
    const char *text = "descriptor 3";
    if (is_inherited) {
        must(Sys::fcntl, 3, F_SETFL, O_NONBLOCK);
        set_options_of_connections(3);
    } else {
        text = take_address(reinterpret_cast<const char *>(options[Option::address]), at);
    }
    (void)close_from(3 + is_inherited);  // what was inherited by accident; before Linux 5.9 it just stays open
    (void)umask(0);                      // who may open the folder of a Unix socket may connect
    raise_descriptor_limit();
    cpu_set allowed{};
    size_t count = size_t(options[Option::threads]);
    if (count == 0 || options[Option::pin] != 0) must(Sys::sched_getaffinity, 0, sizeof allowed, &allowed);
    if (count == 0)
        for (uint64_t bits : allowed.bits)
            for (; bits != 0; bits &= bits - 1) count++;  // the lowest bit goes

    sigset end_signals = 1u << (SIGINT - 1) | 1u << (SIGTERM - 1);
    // One that is ignored stays so: if it were blocked it would be kept for the main thread nevertheless.
    if (!is_ignored(SIGHUP)) end_signals |= 1u << (SIGHUP - 1);
    const sigset signals = end_signals | 1u << (SIGUSR1 - 1);
    // Before the threads, which inherit it. Statistics that nobody reads must not end the process.
    (void)block_signals(signals | 1u << (SIGPIPE - 1));

    Worker *const workers = make_workers(count);
    // The order to stop is a timer that every worker watches in its copy of the descriptor table.
    const int stop = make_timer();
    Worker *const end = workers + count;
    char name[text_limit + sizeof " port #" + digits_limit];  // of the address
    int joins = int(options[Option::reuse_port]);
    for (Worker *worker = workers; worker != end; worker++, joins = true) {
        const long listener = shared != 0 ? must(Sys::dup, shared) : make_listener(at, joins);
        uint32_t size = sizeof at;
        if (listener >= 0) must(Sys::getsockname, listener, &at, &size);  // which port it is
        const char *form = "$ port #";
        if (at.inet.family == AF_UNIX) {
            form = "$";
            shared = listener;  // nobody can join at a path
        }
        *compose(name, form, text, __builtin_bswap16(at.inet.port)) = '\0';
        if (listener < 0) end_on_failure(Sys::bind, listener, name);
        worker->listener = int(listener);
    }
    const int room = shared != 0 ? make_timer() : -1;
    Process process{stop, room, end[-1].listener, uint32_t(count), options[Option::no_sandbox] == 0, is_inherited};
    give_up_privileges(uint32_t(options[Option::user]), process.is_sandboxed);
    size_t cpu = 8 * sizeof allowed - 1;
    for (Worker *worker = workers; worker != end; worker++) {
        worker->process = &process;
        const long thread = start_worker(*worker);
        if (options[Option::pin] == 0) continue;  // where it runs is the scheduler's business
        cpu = next_cpu(allowed, cpu);
        pin(thread, cpu);
    }

    print("mote " MOTE_VERSION " listening on $ with # worker$\n", name, count, count == 1 ? "" : "s");
    if (process.is_sandboxed)
        if (const long result = filter_calls(); result < 0)
            print("mote: system calls not filtered (errno #)\n", -result);
    for (;;) {
        const long signal = wait_for_signal(signals, nullptr);
        if (signal == SIGUSR1) print_statistics(workers, end);
        else if (signal > 0) break;
    }
    (void)timerfd_settime(stop, 1);  // now; cannot fail
    // A second signal ends it, or the time: which goes on while the process is stopped and continued.
    const int64_t limit_ns = monotonic_ns() + drain_limit_s * 1'000'000'000;
    for (int64_t left_ns; (left_ns = limit_ns - monotonic_ns()) > 0;) {
        const timespec left{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
        if (wait_for_signal(end_signals, &left) != -EINTR) break;
    }
    exit_group(0);
}

}  // namespace

#if !defined(MOTE_HOSTED)
extern "C" {

// What a compiler may call for a copy, a fill or a comparison that it does not inline; the linker drops the others.
void *memcpy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size; i++) static_cast<char *>(to)[i] = static_cast<const char *>(from)[i];
    return to;
}
void *memmove(void *to, const void *from, size_t size) {
    if (reinterpret_cast<uintptr_t>(to) <= reinterpret_cast<uintptr_t>(from)) return memcpy(to, from, size);
    for (size_t i = size; i-- > 0;) static_cast<char *>(to)[i] = static_cast<const char *>(from)[i];
    return to;
}
void *memset(void *to, int byte, size_t size) {
    for (size_t i = 0; i < size; i++) static_cast<char *>(to)[i] = char(byte);
    return to;
}
int memcmp(const void *a, const void *b, size_t size) {
    for (size_t i = 0; i < size; i++) {
        const int difference = static_cast<const uint8_t *>(a)[i] - static_cast<const uint8_t *>(b)[i];
        if (difference != 0) return difference;
    }
    return 0;
}
}
#endif
