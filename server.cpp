// mote - an HTTP/1.1 origin server in one freestanding file.
//
// It serves a handful of routes, and answers as late, as long and as broken as a query asks for. It has tens of
// thousands of keep-alive, pipelined connections. It needs nothing but a Linux kernel: no libc, no C++ library, no heap.
// It leaves out what a proxy in front of it does better: TLS, HTTP/2, files, compression, logs.
//
// There is one worker thread per CPU. Each has its own listener, epoll instance, descriptor table and buffers. Workers
// share the bytes of long answers, which are written once. They share the listener if it is a Unix socket or was
// inherited. They share nothing else that changes while they serve.
//
// Each section uses only those above it, so a request's journey begins at the end of the file:
//
//   Start-up       reads the arguments, makes the listeners, starts the workers, waits for a signal
//   Worker loop    epoll reports a readable socket; one recv into the input buffer, one send of the answers
//   Connections    the transitions between a connection's states
//   Worker         what one thread owns: buffers, tables, pools, timers
//   Routes         which path is answered by what
//   Answers        status lines, field lines, content
//   HTTP grammar   from bytes to a request head, a message framing, a piece of content
//   Bytes, text    the words that the grammar is written in
//   Kernel         the system calls, and how a thread starts
//   Tunables       every number that someone may want to change

#include <stddef.h>
#include <stdint.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// ---- Tunables --------------------------------------------------------------------------------------------------
// Every number that someone may want to change. Sizes are in bytes. The assertions below tie together what must agree.
// A build can use other values without an edit of this file: ./build.sh idle_timeout_s=30 content_limit=65536

#define MOTE_VERSION "0.2.0"  // a macro, so that it can be part of longer texts

namespace tunables {

constexpr uint16_t default_port = 8080;
constexpr size_t worker_limit = 1024;           // the largest value of --threads
constexpr int listen_backlog = 65535;           // connections waiting for accept; the kernel caps it at somaxconn
constexpr size_t connection_limit = 65536;      // per worker; the table takes memory only where it is used
constexpr size_t reserved_descriptors = 16;     // standard streams, listener, epoll and timers take the first ones
constexpr size_t events_per_wait = 128;         // events of one turn; half of them timers, if any are set
constexpr size_t stack_size = 4 * 4096 + 2048;  // of a worker; nothing recurses, and the buffers are elsewhere
constexpr size_t accept_turns = 64;             // connections accepted in a row before others get a turn
constexpr size_t end_turns = 512;               // overdue connections ended in a row; each takes about 10 us

constexpr size_t input_size = 32768;             // of one recv; twice a head or more
constexpr size_t output_size = 8 * 4096 - 2048;  // once answers fill this, they are sent; one more may exceed it
constexpr size_t answer_content_limit = 32768;   // the longest content of an answer
constexpr size_t block_count = 256;              // per worker: connections whose output is held up; 96 KiB each
constexpr size_t stash_count = 16384;            // per worker: pieces of memory for partial heads
constexpr size_t stash_size = 1024;              // of one such piece; a longer head takes several
constexpr size_t run_size = 135168;              // of the content that all long answers share
constexpr size_t sendfile_size = 16384;          // from this size on, content is sent without being copied
constexpr size_t produce_limit = 524288;         // bytes of a long answer sent in a row before others get a turn
constexpr size_t part_work = 128;                // bytes that a part counts as, beside its own: the time that they take
constexpr size_t call_work = 4096;               // bytes that a system call counts as

constexpr size_t method_limit = 32;              // a longer method is refused at once
constexpr size_t request_line_limit = 8000;      // RFC 9112 section 3 recommends at least this
constexpr size_t head_limit = 16384;             // request line, field lines and the empty line
constexpr uint32_t content_limit = 1024 * 1024;  // of one request, all chunks together
constexpr uint16_t extension_limit = 4096;       // chunk extensions and leading zeros of one request
constexpr uint16_t trailer_limit = 4096;         // trailer fields of one request
constexpr uint32_t linger_limit =
    2 * 1024 * 1024;  // input discarded after the last answer; then the connection is closed

// How long a connection may stay in each state. The last tick may come up to a second later.
constexpr uint8_t head_timeout_s = 10;     // from accept, or the first byte of a request, to the end of its head
constexpr uint8_t content_timeout_s = 30;  // from there to the end of its content
constexpr uint8_t idle_timeout_s = 125;    // from an answer to the next request; longer than proxies keep a connection
constexpr uint8_t send_timeout_s = 20;     // until the peer has taken the answers that were held up
constexpr uint8_t linger_timeout_s = 2;    // until the peer has closed after the last answer
constexpr uint8_t first_look_ticks = 2;    // until it is first looked whether a peer takes a long answer
constexpr uint32_t delay_limit_ms = 3'600'000;  // the longest delay of an answer

// While the server drains: see drain().
constexpr int64_t drain_tick_ms = 125;     // the clock's period, an eighth of a second
constexpr uint8_t drain_grace_ticks = 3;   // for idle connections and the listener; the first two ticks may be near
constexpr uint8_t drain_first_ticks = 11;  // for those that have sent nothing: their first bytes may have been lost
constexpr int64_t drain_limit_s = 4;       // then the process ends, whatever is still open
constexpr int64_t end_pause_ms = 5;        // between two turns of ending overdue connections
constexpr uint32_t reset_pause_ms = 5;     // between two looks at whether the peer has all that comes before a reset

constexpr uint32_t nobody = 65534;  // the user and group that root becomes

}  // namespace tunables

namespace {

using namespace tunables;
#if defined(MOTE_TUNABLES)  // defined by build.sh: TUNE(idle_timeout_s, 30) TUNE(content_limit, 65536)
#define TUNE(name, value) constexpr decltype(tunables::name) name{value};  // hides the one in tunables
MOTE_TUNABLES
#endif

static_assert(input_size >= 2 * head_limit, "a partial head must leave room in the input buffer for the next bytes");
static_assert(head_timeout_s < 127 && content_timeout_s < 127 && idle_timeout_s < 127 && send_timeout_s < 127 &&
                  linger_timeout_s < 127,
              "a deadline is a byte, compared with the clock as a signed difference");
static_assert(stack_size % 16 == 0, "the stack pointer is aligned when a thread starts");
static_assert(request_line_limit < head_limit, "a request line is part of the head");

// The path of every request is inlined into one function, on one page of code. What it calls rarely is kept off that
// page. All other functions are left to the compiler.
#define HOT [[gnu::hot, gnu::noinline]]       // on the path of many requests, shared by several callers
#define INLINE [[gnu::always_inline]] inline  // on the path of every request
#define COLD [[gnu::cold, gnu::noinline]]     // called from there, but rarely

// ---- Kernel interface ------------------------------------------------------------------------------------------
// What the kernel offers, and how to ask for it. One block per architecture: call numbers, structures, the trap into
// the kernel, the start of a thread, the start of the program. Then constants, structures and one typed wrapper per
// call. A wrapper answers as the kernel does: with a count, a descriptor or 0, or with -errno.

// Each block defines Sys, AUDIT_ARCH, epoll_event and:
//   trap          makes a system call
//   start_thread  starts a thread that runs `run(argument)` on the stack that ends at `stack_end`; `run` must not
//                 return. Returns the thread's id, or -errno. Two registers carry `run` and `argument` into the new
//                 thread, which clone does not read.
//   _start        where the kernel enters, with the argument count, the arguments and the environment on the stack
//   may_be_emulated  whether the server may run under qemu-user, which cannot start every kind of thread
// A test that includes this file defines MOTE_HOSTED and plays the kernel.
#if defined(MOTE_HOSTED)
enum class Sys : long;
long trap(Sys call, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);
long start_thread(unsigned long flags, void *stack_end, void (*run)(void *), void *argument);
#endif

#if defined(__x86_64__)  // number in rax, arguments in rdi rsi rdx r10 r8 r9; rcx and r11 are lost

// clang-format off
enum class Sys : long {
    write = 1, close = 3, mmap = 9, rt_sigaction = 13, rt_sigprocmask = 14, ioctl = 16, madvise = 28, dup = 32,
    getpid = 39, sendfile = 40, socket = 41, sendto = 44, recvfrom = 45, shutdown = 48, bind = 49, listen = 50,
    getsockname = 51, setsockopt = 54, getsockopt = 55, clone = 56, fcntl = 72, ftruncate = 77, umask = 95,
    geteuid = 107, setgroups = 116, setresuid = 117, setresgid = 119, capset = 126, rt_sigtimedwait = 128, prctl = 157,
    futex = 202, sched_setaffinity = 203, sched_getaffinity = 204, clock_gettime = 228, exit_group = 231,
    epoll_ctl = 233, ppoll = 271, epoll_pwait = 281, timerfd_create = 283, timerfd_settime = 286, accept4 = 288,
    epoll_create1 = 291, prlimit64 = 302, seccomp = 317, getrandom = 318, memfd_create = 319, close_range = 436,
    epoll_pwait2 = 441, landlock_create_ruleset = 444, landlock_restrict_self = 446,
};
// clang-format on
constexpr uint32_t AUDIT_ARCH = 0xc000003e;
constexpr bool may_be_emulated = false;

struct [[gnu::packed]] epoll_event {  // packed on this architecture only
    uint32_t events;
    uint64_t data;
};

#if !defined(MOTE_HOSTED)
// For calls with up to three arguments, which most are. It is nine bytes shorter.
INLINE long trap(Sys call, long a = 0, long b = 0, long c = 0) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
INLINE long trap(Sys call, long a, long b, long c, long d, long e = 0, long f = 0) {
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(call), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

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

asm(".globl _start\n"
    ".type _start, @function\n"
    "_start:\n\t"
    "xor %ebp, %ebp\n\t"
    "mov %rsp, %rdi\n\t"
    "and $-16, %rsp\n\t"
    "call start\n\t"
    "ud2\n"
    ".size _start, . - _start\n");
#endif

#elif defined(__aarch64__) || defined(__riscv)  // both have the numbers that all newer architectures have

// clang-format off
enum class Sys : long {
    epoll_create1 = 20, epoll_ctl = 21, epoll_pwait = 22, dup = 23, fcntl = 25, ioctl = 29, ftruncate = 46, close = 57,
    write = 64, sendfile = 71, ppoll = 73, timerfd_create = 85, timerfd_settime = 86, capset = 91, exit_group = 94,
    futex = 98, clock_gettime = 113, sched_setaffinity = 122, sched_getaffinity = 123, rt_sigaction = 134,
    rt_sigprocmask = 135, rt_sigtimedwait = 137, setresuid = 147, setresgid = 149, setgroups = 159, umask = 166,
    prctl = 167, getpid = 172, geteuid = 175, socket = 198, bind = 200, listen = 201, getsockname = 204, sendto = 206,
    recvfrom = 207, setsockopt = 208, getsockopt = 209, shutdown = 210, clone = 220, mmap = 222, madvise = 233,
    accept4 = 242, prlimit64 = 261, seccomp = 277, getrandom = 278, memfd_create = 279, close_range = 436,
    epoll_pwait2 = 441, landlock_create_ruleset = 444, landlock_restrict_self = 446,
};
// clang-format on
constexpr bool may_be_emulated = true;

struct epoll_event {
    uint32_t events;
    uint64_t data;
};

#if defined(__aarch64__)  // number in x8, arguments in x0 to x5; only x0 is lost

constexpr uint32_t AUDIT_ARCH = 0xc00000b7;

#if !defined(MOTE_HOSTED)
INLINE long trap(Sys call, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
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
#endif

#else  // riscv: number in a7, arguments in a0 to a5; only a0 is lost

constexpr uint32_t AUDIT_ARCH = 0xc00000f3;

#if !defined(MOTE_HOSTED)
INLINE long trap(Sys call, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
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
#endif

#else
#error "no block for this architecture yet"
#endif

// The kernel's constants, by its names and in its headers' groups.
constexpr long EINTR = 4, EAGAIN = 11, EINVAL = 22, EMFILE = 24, EOPNOTSUPP = 95, ENOBUFS = 105;
constexpr int AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, F_SETFL = 4, O_NONBLOCK = 04000;
constexpr int SOCK_STREAM = 1, SOCK_NONBLOCK = 04000, SOCK_CLOEXEC = 02000000;
constexpr int SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_TYPE = 3, SO_LINGER = 13, SO_REUSEPORT = 15, SO_ACCEPTCONN = 30;
constexpr int IPPROTO_IP = 0, IP_MINTTL = 21, IPPROTO_TCP = 6, TCP_NODELAY = 1;
constexpr int IPPROTO_IPV6 = 41, IPV6_V6ONLY = 26, IPV6_MINHOPCOUNT = 73;
constexpr int MSG_PEEK = 2, MSG_NOSIGNAL = 0x4000, MSG_MORE = 0x8000, SHUT_RD = 0, SHUT_WR = 1, SIOCOUTQ = 0x5411;
constexpr uint32_t EPOLLIN = 0x1, EPOLLPRI = 0x2, EPOLLOUT = 0x4, EPOLLERR = 0x8, EPOLLHUP = 0x10, EPOLLRDHUP = 0x2000;
constexpr uint32_t EPOLLEXCLUSIVE = 1u << 28, EPOLLET = 1u << 31;
constexpr int EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3, POLLOUT = 4, PIPE_BUF = 4096;
constexpr unsigned long CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800,
                        CLONE_THREAD = 0x10000, CLONE_SYSVSEM = 0x40000;
constexpr long PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20,
               MAP_NORESERVE = 0x4000;
constexpr int MADV_NOHUGEPAGE = 15, RLIMIT_NOFILE = 7, CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1;
constexpr int SIGHUP = 1, SIGINT = 2, SIGUSR1 = 10, SIGPIPE = 13, SIGTERM = 15, SIG_BLOCK = 0;
constexpr uint16_t BPF_LD_W_ABS = 0x20, BPF_JMP_JEQ_K = 0x15, BPF_RET_K = 0x06;
constexpr int PR_SET_DUMPABLE = 4, PR_SET_TIMERSLACK = 29, PR_SET_NO_NEW_PRIVS = 38, GRND_NONBLOCK = 1;
constexpr int FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129;
constexpr long SECCOMP_SET_MODE_FILTER = 1, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4;
constexpr uint32_t SECCOMP_RET_KILL_PROCESS = 0x80000000, SECCOMP_RET_ALLOW = 0x7fff0000;
constexpr long LANDLOCK_CREATE_RULESET_VERSION = 1;

struct sockaddr_inet {  // sockaddr_in or sockaddr_in6
    uint16_t family;
    uint16_t port;    // in network byte order, like the addresses
    uint8_t ipv4[4];  // in IPv6 the flow information
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
    uint64_t handled_access_net;  // bind and connect of TCP sockets
};
struct cap_header {
    uint32_t version;
    int pid;  // 0: this thread
};
struct cap_data {  // 32 capabilities, one bit each
    uint32_t effective, permitted, inheritable;
};
constexpr uint32_t capability_version = 0x20080522;  // version 3: two of cap_data
using sigset = uint64_t;                             // bit n - 1 is signal n
struct cpu_set {                                     // bit n is CPU n, for as many as any kernel supports
    uint64_t bits[8192 / 64];
};

INLINE long address(const void *pointer) { return reinterpret_cast<long>(pointer); }

// An argument of a system call: an integer or an address.
struct Word {
    long value;

    constexpr Word(auto integer) : value(long(integer)) {}
    template <typename Pointed> Word(Pointed *pointer) : value(address(pointer)) {}
};

// Sockets are of type long here, as the kernel takes them, which saves conversions.

// Bytes received, 0 at the end of the peer's stream, or -errno.
[[nodiscard]] INLINE long recv(long socket, char *into, size_t size) {
    return trap(Sys::recvfrom, socket, address(into), long(size), 0);
}
// Like recv for one byte, which stays in the socket: 1, 0 at the end of the stream, or -errno.
[[nodiscard]] COLD long peek(long socket) {
    char byte;
    return trap(Sys::recvfrom, socket, address(&byte), 1, MSG_PEEK);
}
// Bytes taken, perhaps fewer than given, or -errno. A broken connection is an error, not a signal. With MSG_MORE the
// kernel keeps a segment that is not full until more follows.
[[nodiscard]] INLINE long send(long socket, const char *data, size_t size, int flags = 0) {
    return trap(Sys::sendto, socket, address(data), long(size), MSG_NOSIGNAL | flags);
}
// The same for bytes of a file, which are not copied.
[[nodiscard]] inline long sendfile(long socket, int file, int64_t offset, size_t size) {
    return trap(Sys::sendfile, socket, file, address(&offset), long(size));
}
// How many bytes the peer has not acknowledged; 0 if that cannot be known.
[[nodiscard]] inline uint32_t unacknowledged(long socket) {
    uint32_t size = 0;
    (void)trap(Sys::ioctl, socket, SIOCOUTQ, address(&size));  // fails where there is nothing to know
    return size;
}
[[nodiscard]] inline long accept4(int listener, int flags) { return trap(Sys::accept4, listener, 0, 0, flags); }
[[nodiscard]] inline long shutdown(long socket, int how) { return trap(Sys::shutdown, socket, how); }
[[nodiscard]] inline long close(long descriptor) { return trap(Sys::close, descriptor); }
[[nodiscard]] inline long write(int descriptor, const char *data, size_t size) {
    return trap(Sys::write, descriptor, address(data), long(size));
}
// Whether a write to the descriptor returns at once, if only with an error. A pipe then takes up to PIPE_BUF bytes.
[[nodiscard]] inline bool is_writable(int descriptor) {
    pollfd asked{descriptor, POLLOUT, 0};
    constexpr timespec at_once{0, 0};
    return trap(Sys::ppoll, address(&asked), 1, address(&at_once), 0, sizeof(sigset)) > 0;
}
// Sets an option that is a number, or SO_LINGER with zero seconds. Other options read only the first of the two
// numbers.
[[nodiscard]] COLD long setsockopt(long socket, int level, int option, int value) {
    const int values[] = {value, 0};
    return trap(Sys::setsockopt, socket, level, option, address(values), sizeof values);
}
// The value of an option that is a number and not negative, or -errno.
[[nodiscard]] inline long getsockopt(long socket, int level, int option) {
    int value = 0;
    uint32_t size = sizeof value;
    const long result = trap(Sys::getsockopt, socket, level, option, address(&value), address(&size));
    return result < 0 ? result : value;
}
// The family decides how much of `to` is read.
[[nodiscard]] inline long bind(long socket, const sockaddr_any &to) {
    return trap(Sys::bind, socket, address(&to), sizeof to.local);
}
// Every event of the descriptor will carry the descriptor.
[[nodiscard]] INLINE long epoll_ctl(int epoll, int operation, long descriptor, uint32_t events) {
    epoll_event event{events, uint64_t(descriptor)};
    return trap(Sys::epoll_ctl, epoll, operation, descriptor, address(&event));
}
// Waits without a time limit. The number of events, or -errno.
[[nodiscard]] INLINE long epoll_wait(int epoll, epoll_event *events, size_t room) {
    return trap(Sys::epoll_pwait, epoll, address(events), long(room), -1);
}
// Waits at least `limit_ns` nanoseconds for the first event. In milliseconds where that is all that the kernel knows
// (before Linux 5.11).
[[nodiscard]] inline long epoll_wait_for(int epoll, epoll_event *events, size_t room, int64_t limit_ns) {
    const timespec limit{limit_ns / 1'000'000'000, limit_ns % 1'000'000'000};
    const long result = trap(Sys::epoll_pwait2, epoll, address(events), long(room), address(&limit), 0, 0);
    if (result >= 0 || result == -EINTR) return result;
    return trap(Sys::epoll_pwait, epoll, address(events), long(room), (limit_ns + 999'999) / 1'000'000);
}
// The timer expires once, in `after_ns` nanoseconds: at least one, and less than a second.
[[nodiscard]] long timerfd_settime(int timer, int64_t after_ns) {
    const itimerspec when{{0, 0}, {0, after_ns}};
    return trap(Sys::timerfd_settime, timer, 0, address(&when), 0);
}
// The clock's time. The call cannot fail: these clocks exist.
[[nodiscard]] inline timespec clock_gettime(int clock) {
    timespec now{};
    (void)trap(Sys::clock_gettime, clock, address(&now));
    return now;
}
[[nodiscard]] inline int64_t monotonic_ns() {
    const timespec now = clock_gettime(CLOCK_MONOTONIC);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}
[[nodiscard]] inline long prlimit64(int resource, const rlimit64 *set, rlimit64 *old) {
    return trap(Sys::prlimit64, 0, resource, address(set), address(old));
}
// Waits while the number has this value, or wakes up as many threads that wait.
inline void futex(const uint32_t &number, int operation, uint32_t value) {
    (void)trap(Sys::futex, address(&number), operation, value, 0);  // who waits looks at the number again
}
// Closes every descriptor from `first` on.
[[nodiscard]] inline long close_from(unsigned first) { return trap(Sys::close_range, first, UINT32_MAX); }
// Zeroed memory, which is used up only where it is touched: its address, or -errno.
[[nodiscard]] inline long map_memory(size_t size) {
    return trap(Sys::mmap, 0, long(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}
[[nodiscard]] inline long madvise(void *memory, size_t size, int advice) {
    return trap(Sys::madvise, address(memory), long(size), advice);
}
[[nodiscard]] inline long block_signals(sigset signals) {
    return trap(Sys::rt_sigprocmask, SIG_BLOCK, address(&signals), 0, sizeof signals);
}
// Whether the signal is ignored, as SIGHUP is under nohup(1).
[[nodiscard]] inline bool is_ignored(int signal) {
    constexpr uint64_t SIG_IGN = 1;
    uint64_t action[4] = {};  // the kernel's struct sigaction, which begins with the handler
    (void)trap(Sys::rt_sigaction, signal, 0, address(action), sizeof(sigset));  // cannot fail
    return action[0] == SIG_IGN;
}
// Takes one of `signals` that is pending, or waits for one, at most as long as `limit`. Its number, or -errno: -EAGAIN
// when the time is over, -EINTR after the process was stopped and continued.
[[nodiscard]] inline long wait_for_signal(sigset signals, const timespec *limit) {
    return trap(Sys::rt_sigtimedwait, address(&signals), 0, address(limit), sizeof signals);
}
inline long umask(long mode) { return trap(Sys::umask, mode); }
[[nodiscard]] inline long getpid() { return trap(Sys::getpid); }
[[nodiscard]] inline uint32_t geteuid() { return uint32_t(trap(Sys::geteuid)); }
[[nodiscard]] inline long prctl(int option, long value) { return trap(Sys::prctl, option, value, 0, 0); }
// Takes all capabilities from this thread, ambient ones included.
[[nodiscard]] inline long drop_capabilities() {
    constexpr cap_header header{capability_version, 0};
    constexpr cap_data none[2] = {};
    return trap(Sys::capset, address(&header), address(none));
}
[[nodiscard]] inline long seccomp(long operation, long flags, const void *argument) {
    return trap(Sys::seccomp, operation, flags, address(argument));
}
// The highest version of Landlock that the kernel has, or -errno.
[[nodiscard]] inline long landlock_version() {
    return trap(Sys::landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
}
[[noreturn]] inline void exit_group(int status) {
    (void)trap(Sys::exit_group, status);
    __builtin_unreachable();
}

// ---- Bytes and text --------------------------------------------------------------------------------------------
// The words that the rest is written in: byte ranges, character classes, decimal numbers, and the mem* functions that a
// compiler may call unasked (at the end of the file). Nothing here owns memory.

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

// A place in the input, and the input's end. The byte at the end is NUL, and `overread` bytes from there on may be
// read. No text that is compared with the input contains NUL, so a comparison that would pass the end fails there,
// and a scan stops there. This replaces all other bounds checks.
struct Cursor {
    const char *at;
    const char *end;

    [[nodiscard]] constexpr size_t left() const { return size_t(end - at); }
};
constexpr size_t overread = 32;

// An unaligned load.
template <typename Word> [[nodiscard]] INLINE Word load(const char *at) {
    Word word;
    __builtin_memcpy(&word, at, sizeof word);
    return word;
}

// Whether `size` bytes differ, with as few loads of a Word as possible; the last one overlaps.
template <typename Word, size_t size> [[nodiscard]] INLINE bool differ_in(const char *a, const char *b) {
    if (load<Word>(a) != load<Word>(b)) return true;
    constexpr size_t next = size < 2 * sizeof(Word) ? size - sizeof(Word) : sizeof(Word);
    if constexpr (next == 0) return false;
    else return differ_in<Word, size - next>(a + next, b + next);
}
template <size_t size> [[nodiscard]] INLINE bool differ(const char *a, const char *b) {
    if constexpr (size >= 8) return differ_in<uint64_t, size>(a, b);
    else if constexpr (size >= 4) return differ_in<uint32_t, size>(a, b);
    else if constexpr (size >= 2) return differ_in<uint16_t, size>(a, b);
    else return differ_in<uint8_t, size>(a, b);
}

// Whether the bytes at `at` are `text`.
template <size_t size> [[nodiscard]] INLINE bool stands_at(const char *at, const char (&text)[size]) {
    static_assert(size - 1 <= overread);
    return !differ<size - 1>(at, text);
}

// Whether the bytes at `at` are `text` in any case. `text` is in lower case and has eight bytes or more; the last word
// overlaps.
[[nodiscard]] INLINE bool stands_ignoring_case(const char *at, const char *text, size_t size) {
    const size_t last = size - sizeof(uint64_t);
    for (size_t i = 0;; i = i + sizeof(uint64_t) < last ? i + sizeof(uint64_t) : last) {
        const uint64_t word = load<uint64_t>(text + i);
        const uint64_t case_bits = word >> 1 & 0x2020202020202020;  // of letters, the only bytes with bit 6
        if ((load<uint64_t>(at + i) | case_bits) != word) return false;
        if (i == last) return true;
    }
}

// What a byte may be part of (RFC 9110 sections 5.5 and 5.6, RFC 3986 appendix A). NUL is part of nothing. The values
// are the offsets of the classes' rows in class_table.
enum class Class : uint8_t {
    token = 0,    // method, field name, list element
    target = 16,  // visible bytes but `"`, "<", ">" and "#"; browsers send the others unencoded
    host = 32,    // reg-name or IPv4address, but for the "%" of percent-encoding
    ip_literal = 48,
    digit = 64,
    hex_digit = 80,
    white = 96,         // SP and HTAB
    field_value = 112,  // visible bytes, white space and obs-text
};
constexpr size_t row_size = 16, classes_size = size_t(Class::field_value) + row_size;

// A row of 16 bytes per class, so that 16 bytes of text can be looked up at once: bit n of entry m is for the byte 16
// * n + m. Bytes from 0x80 on have no bits. Only field_value contains them, so its row lists the bytes that it lacks.
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

// The first byte from `at` on that is not of the class. The scans below return the same.
[[nodiscard, maybe_unused]] constexpr const char *skip_by_bytes(Class kind, const char *at) {
    while (is(kind, *at)) at++;
    return at;
}

// Primitives for scans of 16 bytes at a time, on processors that can look up 16 bytes in 16 others at once. A mask
// has a bit for each byte of `flags` that is -1 and not 0.
#if defined(__SSSE3__)
#define MOTE_VECTORS
using Vector [[gnu::vector_size(16)]] = char;
using Mask = uint32_t;
constexpr Mask whole_mask = 0xffff;
[[nodiscard]] INLINE Mask mask_of(auto flags) { return Mask(__builtin_ia32_pmovmskb128(Vector(flags))); }
[[nodiscard]] INLINE unsigned first_of(Mask mask) { return unsigned(__builtin_ctz(mask)); }
[[nodiscard]] INLINE Vector look_up(Vector table, Vector places) {  // 0 for places from 0x80 on
    return __builtin_ia32_pshufb128(table, places);
}
#elif defined(__ARM_NEON)
#define MOTE_VECTORS
using Vector [[gnu::vector_size(16)]] = char;
using Mask = uint64_t;
constexpr Mask whole_mask = 0x8888888888888888;
[[nodiscard]] INLINE Mask mask_of(auto flags) {  // the narrowest move takes four bits of each byte
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(uint16x8_t(flags), 4)), 0) & whole_mask;
}
[[nodiscard]] INLINE unsigned first_of(Mask mask) { return unsigned(__builtin_ctzll(mask)) / 4; }
[[nodiscard]] INLINE Vector look_up(Vector table, Vector places) {  // 0 for places from 16 on
    return Vector(vqtbl1q_u8(uint8x16_t(table), uint8x16_t(places) & uint8_t(0x8f)));
}
#endif

#if defined(MOTE_VECTORS)
// The first byte from `at` on that is not of the class with this row. The class is not field_value.
[[nodiscard]] HOT const char *skip_row(const uint8_t *row, const char *at) {
    using Words [[gnu::vector_size(16)]] = uint16_t;
    constexpr char none = char(-1);
    constexpr Vector bits = {1,    2,    4,    8,    16,   32,   64,   char(128),  // 1 << byte / 16
                             none, none, none, none, none, none, none, none};
    const auto table = *reinterpret_cast<const Vector *>(row);
    for (;; at += sizeof(Vector)) {
        const auto bytes = load<Vector>(at);
        const Vector bit = look_up(bits, Vector(Words(bytes) >> 4) & 0x0f);
        const Vector found = look_up(table, bytes);  // by the lower half of each byte
        const Mask members = mask_of((found & bit) == bit);
        if (const Mask others = members ^ whole_mask; others != 0) [[likely]]
            return at + first_of(others);
    }
}
// The first byte from `at` on that is not of field_value. (Steps of 32 bytes, with AVX2, were no faster: most values
// are shorter.)
[[nodiscard]] INLINE const char *skip_field_value(const char *at) {
    using Codes [[gnu::vector_size(16)]] = uint8_t;
    for (;; at += sizeof(Vector)) {
        const auto bytes = load<Codes>(at);
        Mask others = mask_of((bytes <= uint8_t(0x1f)) | (bytes == uint8_t(0x7f)));
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
[[nodiscard]] HOT const char *skip_row(const uint8_t *row, const char *at) {
    while (is_listed(row, *at)) at++;
    return at;
}
[[nodiscard]] HOT const char *skip_field_value(const char *at) { return skip_by_bytes(Class::field_value, at); }
#endif

// The first byte from `at` on that is not of the class, for any class but field_value.
template <Class kind> [[nodiscard]] INLINE const char *skip(const char *at) {
    return skip_row(class_table.rows + size_t(kind), at);
}

// OWS (RFC 9110 section 5.6.3)
[[nodiscard]] constexpr bool is_white(char byte) { return byte == ' ' || byte == '\t'; }

// The value of a hexadecimal digit; of any other byte UINT32_MAX.
[[nodiscard]] INLINE constexpr uint32_t hex_value(char byte) {
    const uint32_t digit = uint32_t(byte) - '0', letter = (uint32_t(byte) | 0x20) - 'a';
    return digit <= 9 ? digit : letter <= 5 ? letter + 10 : UINT32_MAX;
}

// The number that begins at `at`, in a base up to 16, and where it ends. From 2^32 on it is only known to be that
// large.
struct Digits {
    uint64_t number;
    const char *end;
};
[[nodiscard]] COLD Digits take_digits(const char *at, unsigned base) {
    uint64_t number = 0;
    for (uint32_t digit; (digit = hex_value(*at)) < base; at++)
        if (number <= UINT32_MAX) number = number * base + digit;
    return {number, at};
}

// A text up to its NUL.
[[nodiscard]] constexpr Bytes bytes_of(const char *text) {
    size_t size = 0;
    while (text[size] != '\0') size++;
    return {text, size};
}
// One of a list of texts, each of which ends with a NUL: "first\0second\0". Its index is less than count_texts(list).
[[nodiscard]] constexpr const char *text_of(const char *list, size_t index) {
    for (; index != 0; index--) list += bytes_of(list).size + 1;
    return list;
}
template <size_t size> consteval size_t count_texts(const char (&list)[size]) {
    size_t count = 0;
    for (size_t i = 0; i < size - 1; i++) count += list[i] == '\0';
    return count;
}
// Whether the bytes from `at` up to `end` are `text`.
[[nodiscard]] bool is_word(const char *at, const char *text, char end) {
    while (*text != '\0')
        if (*text++ != *at++) return false;
    return *at == end;
}

// value / 10 without a division, which takes ten times as long. Compilers that optimise for size choose the division.
[[nodiscard]] INLINE constexpr uint64_t tenth(uint64_t value) {
    constexpr uint64_t reciprocal = 0xcccccccccccccccd;  // 2^67 / 10, rounded up; exact for every 64-bit value
    return uint64_t((static_cast<unsigned __int128>(value) * reciprocal) >> 67);
}

// Writes the decimal digits of `value` so that they end at `end`. Returns where they begin.
HOT char *put_digits(char *end, uint64_t value) {
    do {
        const uint64_t rest = tenth(value);
        *--end = char('0' + (value - rest * 10));
        value = rest;
    } while (value != 0);
    return end;
}
constexpr size_t digits_limit = sizeof "18446744073709551615" - 1;

// Copies `size` bytes in moves of a fixed size; the last one overlaps. Compilers that optimise for size choose
// `rep movsb`, which takes longer to start than this takes to end.
template <size_t size> INLINE void copy(char *to, const char *from) {
    constexpr size_t width = size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
#pragma GCC unroll 16
    for (size_t i = 0; i + width <= size; i += width) __builtin_memcpy(to + i, from + i, width);
    if constexpr (size % width != 0) __builtin_memcpy(to + size - width, from + size - width, width);
}

// These write a text at `at` and return where it ends.
template <size_t size> INLINE char *put(char *at, const char (&text)[size]) {
    copy<size - 1>(at, text);
    return at + (size - 1);
}
COLD char *put(char *at, Bytes text) {
    __builtin_memcpy(at, text.data, text.size);
    return at + text.size;
}
constexpr size_t text_limit = 255;  // a longer one is cut
char *put_text(char *at, const char *text) {
    for (size_t i = 0; i < text_limit && text[i] != '\0'; i++) *at++ = text[i];
    return at;
}
// `form`, in which each "$" is replaced by the next word as a text, each "#" by the next word as a number.
char *compose(char *at, const char *form, Word a = 0, Word b = 0, Word c = 0, Word d = 0) {
    const Word words[] = {a, b, c, d};
    const Word *word = words;
    for (; *form != '\0'; form++) {
        if (*form == '$') {
            at = put_text(at, reinterpret_cast<const char *>(word++->value));
        } else if (*form == '#') {
            char digits[digits_limit + 1];
            digits[digits_limit] = '\0';
            at = put_text(at, put_digits(digits + digits_limit, uint64_t(word++->value)));
        } else {
            *at++ = *form;
        }
    }
    return at;
}

// An integer that is read piece by piece: ["-"] 1*DIGIT with white space around it, within 64 bits. Packed, like
// everything that a connection keeps.
struct [[gnu::packed]] Integer {
    enum class State : uint8_t { start, minus, natural, negative, end, not_an_integer };

    int64_t value = 0;  // 0 unless it is an integer
    State state = State::start;

    HOT void take(Bytes piece) {
        for (const char *at = piece.data, *const end = at + piece.size; at != end; at++) {
            state = after(*at);
            if (state == State::natural || state == State::negative) [[likely]] {
                int64_t digit = *at - '0', taken;
                if (state == State::negative) digit = -digit;
                if (!__builtin_mul_overflow(value, 10, &taken) && !__builtin_add_overflow(taken, digit, &taken))
                    [[likely]] {
                    value = taken;
                    continue;
                }
                state = State::not_an_integer;
            }
            if (state == State::not_an_integer) value = 0;
        }
    }

private:
    [[nodiscard]] INLINE State after(char byte) const {
        using enum State;
        if (unsigned(byte) - '0' <= 9) {
            if (state == start || state == natural) return natural;
            return state == minus || state == negative ? negative : not_an_integer;
        }
        if (is_white(byte) || byte == '\r' || byte == '\n') {
            if (state == natural || state == negative) return end;
            return state == minus ? not_an_integer : state;
        }
        return byte == '-' && state == start ? minus : not_an_integer;
    }
};

// ---- HTTP grammar ----------------------------------------------------------------------------------------------
// From bytes to meaning (RFC 9112). Nothing here does I/O, and the same bytes give the same answer however they were
// split on arrival.
//
// A function that takes something reads from left to right and returns where it ended and how. At the first byte that
// does not fit it says `stopped`, without asking whether that byte is wrong or has not arrived yet. Only conclude()
// decides that.

enum class Method : uint8_t { get, head, post, put, delete_, options, trace, patch, connect, unknown };
constexpr char method_names[] = "GET\0HEAD\0POST\0PUT\0DELETE\0OPTIONS\0TRACE\0PATCH\0CONNECT\0";
constexpr size_t method_count = count_texts(method_names);
static_assert(method_count == size_t(Method::unknown), "an enumerator of Method is the index of its name");

enum class Status : uint8_t {
    ok,
    bad_request,
    not_found,
    method_not_allowed,
    request_timeout,
    content_too_large,
    uri_too_long,
    expectation_failed,
    fields_too_large,
    internal_server_error,
    not_implemented,
    version_not_supported,
    options,   // also a 200; its content is its Allow field
    answered,  // nothing: the answer came before the request's content
};

enum class Parse : uint8_t {
    complete,
    stopped,     // at a byte that does not fit
    incomplete,  // the rest has not arrived
    empty_line,  // before a request
    refused,
};

// What taking something has come to.
struct [[nodiscard]] Taken {
    const char *at;  // the end of what was taken, or where it stopped
    Parse parse;
    Status status = Status::ok;  // if refused: why
};
constexpr Taken complete(const char *at) { return {at, Parse::complete}; }
constexpr Taken stopped(const char *at) { return {at, Parse::stopped}; }
// Complete, if `status` is ok; otherwise refused.
constexpr Taken judged(const char *at, Status status) {
    return {at, status == Status::ok ? Parse::complete : Parse::refused, status};
}

// How a request's content is delimited (RFC 9112 section 6.3).
enum class Framing : uint8_t { no_content, content_length, chunked };

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
    uint32_t content_length = 0;      // at most content_limit + 1, which stands for anything larger
    const char *target, *target_end;  // path and query; a space follows them
    const char *stopped_line;         // where the line begins in which parsing stopped

    [[nodiscard]] constexpr bool says(unsigned any_of) const { return (facts & any_of) != 0; }
};

// Takes the text of `form`, up to the first `end` after its first byte. A lower-case letter stands for both cases,
// "#" for any digit.
Taken take_form(const char *at, const char *form, char end) {
    do {
        char byte = *at;
        if (*form >= 'a') byte |= 0x20;
        if (*form == '#' ? uint8_t(byte - '0') > 9 : byte != *form) return stopped(at);
        at++;
    } while (*++form != end);
    return complete(at);
}

// uri-host [ ":" port ] (RFC 9110 section 4.2.1, RFC 3986 section 3.2.2), possibly empty. An address in brackets is
// checked byte by byte only: nothing here connects to it.
Taken take_authority(const char *at) {
    if (*at == '[') {
        at = skip<Class::ip_literal>(at + 1);
        if (*at != ']' || at[-1] == '[') return stopped(at);
        at++;
    } else {
        for (; is(Class::host, *at) || *at == '%'; at++) {
            if (*at != '%') continue;  // else two digits follow (RFC 3986 section 2.1)
            for (int digit = 0; digit < 2; digit++)
                if (!is(Class::hex_digit, *++at)) return stopped(at);
        }
    }
    if (*at == ':') at = skip<Class::digit>(at + 1);
    return complete(at);
}

// A target that is not in origin-form (RFC 9112 section 3.2), up to its path. A route never asks for the authority,
// so the rule that this one replaces Host (section 3.2.2) has no effect.
Taken take_to_path(const char *at, Method method) {
    if (*at == '*' && method == Method::options)  // asterisk-form
        return at[1] == ' ' ? complete(at) : stopped(at + 1);
    if (method != Method::connect) {  // CONNECT has authority-form: nothing before the authority
        const Taken http = take_form(at, "http", '\0');
        if (http.parse != Parse::complete) return http;
        const Taken scheme_end = take_form((*http.at | 0x20) == 's' ? http.at + 1 : http.at, "://", '\0');
        if (scheme_end.parse != Parse::complete) return scheme_end;
        at = scheme_end.at;
    }
    if (*at == ':') return stopped(at);
    const Taken authority = take_authority(at);
    const char next = *authority.at;
    const bool is_whole = authority.at != at && (next == '/' || next == '?' || next == ' ');
    return is_whole ? authority : stopped(authority.at);
}

// method SP request-target SP HTTP-version CRLF (RFC 9112 section 3)
COLD Taken take_request_line(const char *line, Head &head) {
    head.stopped_line = line;
    const char *at = skip<Class::token>(line);
    const size_t method_size = size_t(at - line);
    if (method_size == 0) {  // an empty line before a request (RFC 9112 section 2.2), half of one, or no method
        Taken empty = take_form(line, "\r\n", '\0');
        if (empty.parse == Parse::complete) empty.parse = Parse::empty_line;
        return empty;
    }
    if (method_size > method_limit) return judged(line, Status::not_implemented);  // RFC 9112 section 3
    if (*at != ' ') return stopped(at);
    head.facts |= Head::has_rare_request_line;
    size_t index = 0;
    while (index < method_count && !is_word(line, text_of(method_names, index), ' ')) index++;
    head.method = Method(index);

    Taken target = complete(++at);
    if (*at != '/') target = take_to_path(at, head.method);
    if (target.parse == Parse::complete) {
        head.target = target.at;
        target.at = skip<Class::target>(target.at);
        head.target_end = target.at;
    }
    if (size_t(target.at - line) > request_line_limit) return judged(target.at, Status::uri_too_long);
    if (target.parse != Parse::complete) return target;

    const Taken version = take_form(target.at, " HTTP/#.#\r\n", '\0');  // section 2.3
    if (version.parse != Parse::complete) return version;
    if (version.at[-3] == '0') head.facts |= Head::is_http_1_0;
    return judged(version.at, version.at[-5] == '1' ? Status::ok : Status::version_not_supported);
}

// The same, faster, for GET and POST in origin-form with HTTP/1.1.
INLINE Taken take_common_request_line(const char *line, Head &head) {
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
        return complete(at + 11);
    return take_request_line(line, head);
}

// Fields that are lists: transfer codings in the order in which they were applied (RFC 9112 section 6.1), options of
// the connection (RFC 9110 section 7.6.1), expectations (RFC 9110 section 10.1.1). Each row is a line as it is
// usually sent. The rows are tried in order.
struct KnownLine {
    char text[28];  // up to CRLF, in lower case, with a space in front of the one element
    uint8_t size;
    uint8_t facts;           // what the line says
    uint8_t facts_of_other;  // what a line with this name says if it has any other element
};
constexpr KnownLine known_lines[] = {
    {"transfer-encoding: chunked", 26, Head::has_transfer_encoding | Head::is_chunked,
     Head::has_transfer_encoding | Head::has_other_coding},
    {"connection: keep-alive", 22, Head::keeps_alive, 0},
    {"connection: close", 17, Head::closes, 0},
    {"expect: 100-continue", 20, Head::expects_continue, Head::expects_other},
};
consteval bool known_lines_are_sound() {
    for (const KnownLine &line : known_lines)
        if (line.size < 8 || line.size != bytes_of(line.text).size) return false;
    return true;
}
static_assert(known_lines_are_sound());
constexpr char content_length_name[] = "content-length:";

// Reads a field value that is a list (RFC 9110 section 5.6.1) from `at` to its CR. It may have empty elements, and
// may go on in another line. `element` is where the element begins in the text of `line`.
Status read_list(const char *at, const KnownLine &line, const char *element, Head &head) {
    head.facts |= line.facts & Head::has_transfer_encoding;
    for (;;) {
        at = skip<Class::white>(at);
        if (*at == ',') {
            at++;
            continue;
        }
        if (*at == '\r') return Status::ok;
        if (head.says(line.facts & Head::is_chunked)) return Status::bad_request;  // chunked twice, or not last
        const Taken taken = take_form(at, element, '\0');
        uint8_t facts = taken.parse == Parse::complete ? line.facts : line.facts_of_other;
        for (at = skip<Class::white>(taken.at); *at != ',' && *at != '\r'; at++) facts = line.facts_of_other;
        head.facts |= facts;
    }
}

// Content-Length = 1*DIGIT (RFC 9110 section 8.6). A list, even of equal values, is a smuggling attempt.
Status read_content_length(const char *at, const char *end, Head &head) {
    int64_t number = 0;
    const char *const begin = at = skip<Class::white>(at);
    for (unsigned digit; (digit = unsigned(*at) - '0') <= 9; at++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, int64_t(digit), &number))
            break;
    if (at == begin || skip<Class::white>(at) != end || head.says(Head::has_content_length)) return Status::bad_request;
    head.facts |= Head::has_content_length;
    head.content_length = number > content_limit ? content_limit + 1 : uint32_t(number);
    return Status::ok;
}

Status read_host(const char *at, const char *end, Head &head) {
    const Taken host = take_authority(skip<Class::white>(at));
    if (host.parse != Parse::complete || skip<Class::white>(host.at) != end || head.says(Head::has_host))
        return Status::bad_request;
    head.facts |= Head::has_host;
    return Status::ok;
}

// Any field line, with its CRLF. The value is read when the whole line has arrived. So a line is read only once,
// however it was split.
COLD Taken take_field_line(const char *name, Head &head) {
    const char *const colon = skip<Class::token>(name);
    if (colon == name || *colon != ':') return stopped(colon);
    const char *const end = skip_field_value(colon + 1);
    if (*end != '\r') return stopped(end);
    if (end[1] != '\n') return stopped(end + 1);
    const auto has_name = [name](const char *text, char text_end) {
        return take_form(name, text, text_end).parse == Parse::complete;
    };
    Status status = Status::ok;
    if (has_name("host:", '\0')) status = read_host(colon + 1, end, head);
    if (has_name(content_length_name, '\0')) status = read_content_length(colon + 1, end, head);
    for (const KnownLine &line : known_lines)
        if (status == Status::ok && has_name(line.text, ' '))
            status = read_list(colon + 1, line, line.text + (colon - name) + 2, head);
    return judged(end + 2, status);
}

// The same, faster, for a Content-Length of up to 18 digits and for the known lines, if they say nothing a second time.
HOT Taken take_known_line(const char *name, Head &head) {
    constexpr size_t name_size = sizeof content_length_name - 1;
    if (stands_ignoring_case(name, content_length_name, name_size)) {
        const char *const digits = name + name_size + (name[name_size] == ' ');
        const char *end = digits;
        uint64_t number = 0;
        for (unsigned digit; (digit = unsigned(*end) - '0') <= 9 && end < digits + 18; end++)
            number = number * 10 + digit;
        if (end == digits || !stands_at(end, "\r\n") || head.says(Head::has_content_length))
            return take_field_line(name, head);
        head.facts |= Head::has_content_length;
        head.content_length = number > content_limit ? content_limit + 1 : uint32_t(number);
        return complete(end + 2);
    }
    for (const KnownLine &line : known_lines) {
        if (!stands_ignoring_case(name, line.text, line.size)) continue;
        if (!stands_at(name + line.size, "\r\n") || head.says(line.facts)) break;
        head.facts |= line.facts;
        return complete(name + line.size + 2);
    }
    return take_field_line(name, head);
}

// Where a Host line ends that is written as nearly all are: one space or none, a name or an IPv4 address, perhaps a
// port. nullptr if it is anything else.
[[nodiscard]] INLINE const char *end_of_common_host(const char *name, const Head &head) {
    const char *at = name + 5;
    if (*at == ' ') at++;
    at = skip<Class::host>(at);
    if (*at == ':') at = skip<Class::digit>(at + 1);
    return stands_at(at, "\r\n") && !head.says(Head::has_host) ? at + 2 : nullptr;
}

// field-name ":" OWS field-value OWS CRLF (RFC 9112 section 5), any number of times, and the empty line.
INLINE Taken take_field_lines(const char *at, Head &head) {
    for (;;) {
        if (stands_at(at, "\r\n")) return complete(at + 2);
        const char *const name = at;
        // The first letters of the names that matter here.
        constexpr uint32_t letters = 1 << 'h' % 32 | 1 << 'c' % 32 | 1 << 't' % 32 | 1 << 'e' % 32;
        const uint32_t begin = load<uint32_t>(at);
        Taken taken = stopped(at);
        if ((letters >> begin % 32 & 1) != 0) [[unlikely]] {
            if ((begin | 0x20202020) == load<uint32_t>("host") && at[4] == ':') {
                if (const char *const end = end_of_common_host(name, head); end != nullptr) [[likely]] {
                    head.facts |= Head::has_host;
                    at = end;
                    continue;
                }
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
            taken = *name == '\r' ? stopped(name + 1) : take_field_line(name, head);
        }
        head.stopped_line = name;
        return taken;
    }
}

// Decides where a request ends (RFC 9112 section 6.3), in this one place. It refuses rather than guesses: what two
// programs could read differently is what request smuggling is made of.
[[nodiscard]] constexpr Status decide_framing(Head &head) {
    if (head.method == Method::connect) return Status::not_implemented;  // the content may be a tunnel's bytes
    if (head.says(Head::has_transfer_encoding)) {
        head.framing = Framing::chunked;
        if (!head.says(Head::is_chunked) || head.says(Head::has_content_length | Head::is_http_1_0))
            return Status::bad_request;
        if (head.says(Head::has_other_coding)) return Status::not_implemented;
    } else if (head.content_length != 0) {
        head.framing = Framing::content_length;
        if (head.content_length > content_limit) return Status::content_too_large;
    }
    return Status::ok;
}

// Turns "stopped here" into a verdict: incomplete, malformed or too long. The head is `input`, from its first byte to
// the last one that has arrived. Whatever is wrong first decides, so that the verdict does not depend on how much has
// arrived.
COLD Taken conclude(Cursor input, Taken taken) {
    if (taken.status == Status::uri_too_long) return taken;
    if (size_t(taken.at - input.at) > head_limit) return judged(taken.at, Status::fields_too_large);
    if (taken.parse != Parse::stopped) return taken;
    if (taken.at == input.end) return {input.at, Parse::incomplete};
    return judged(taken.at, Status::bad_request);
}

// The request head at the beginning of `input`. If it is incomplete, `at` is its beginning. An empty line before it is
// taken alone.
INLINE Taken take_head(Cursor input, Head &head) {
    Taken taken = take_common_request_line(input.at, head);
    if (taken.parse == Parse::complete) [[likely]]
        taken = take_field_lines(taken.at, head);
    // (The limit may lie beyond the input buffer, but within the worker.)
    if (taken.parse != Parse::complete || taken.at > input.at + head_limit) [[unlikely]]
        return conclude(input, taken);
    if ((head.facts & ~Head::keeps_alive) == Head::has_host) [[likely]]
        return taken;
    if (!head.says(Head::has_host | Head::is_http_1_0))
        return judged(taken.at, Status::bad_request);  // RFC 9112 section 3.2
    return judged(taken.at, decide_framing(head));
}

// Goes on with a head that was incomplete, from the line in which parsing stopped. Returns whether it still is.
COLD bool is_still_incomplete(Cursor input, Head &head) {
    Taken taken = complete(head.stopped_line);
    if (head.stopped_line == input.at) {
        head.facts = 0;
        taken = take_request_line(input.at, head);
    }
    while (taken.parse == Parse::complete && !stands_at(taken.at, "\r\n")) {
        const char *const line = head.stopped_line = taken.at;
        taken = *line == '\r' ? stopped(line + 1) : take_field_line(line, head);
    }
    return conclude(input, taken).parse == Parse::incomplete;
}

// Where a connection stands inside a request's content, of which nothing is kept.
struct [[gnu::packed]] Content {
    // The order matters to is_overhead(), is_trailer() and chunk_steps.
    enum class State : uint8_t {
        none,        // between requests: a head comes next
        length,      // content with a Content-Length
        data,        // chunk-data
        size_start,  // from here on: what surrounds chunk-data
        size,
        line_lf,
        data_cr,
        data_lf,
        end_lf,
        extension_gap,  // from here on: chunk extensions
        extension_start,
        extension_name,
        extension_name_gap,
        extension_value_start,
        extension_value,
        quoted,
        quoted_escape,
        quoted_end,
        trailer_start,  // from here on: trailer fields
        trailer_name,
        trailer_value,
        trailer_lf,
    };

    State state;
    uint32_t left;           // of the content or the chunk
    uint32_t budget;         // for further chunks
    uint16_t overhead_left;  // for chunk extensions, later for trailer fields

    [[nodiscard]] constexpr bool is_between_requests() const { return state == State::none; }
};

[[nodiscard]] constexpr Content begin_content(const Head &head) {
    const bool is_chunked = head.framing == Framing::chunked;
    return {is_chunked ? Content::State::size_start : Content::State::length, head.content_length, content_limit,
            extension_limit};
}

// What may surround chunk-data (RFC 9112 section 7.1): in the state `from`, a byte that matches leads to the state
// `to`. The first step that matches counts. A byte that matches none is refused.
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
    {At::line_lf, '\n', At::data},  // or trailer_start, after the last chunk
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

// Where the steps of each state begin.
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

constexpr bool is_trailer(At state) { return state >= At::trailer_start; }
constexpr bool is_overhead(At state) { return state >= At::extension_gap; }  // counts against overhead_left
static_assert(is_overhead(At::quoted_end) && is_overhead(At::trailer_lf) && !is_overhead(At::end_lf));

// Takes the byte at `at`, which surrounds chunk-data. Complete means that the byte is right, not that the content is.
COLD Taken take_chunk_byte(const char *at, Content &content) {
    const At from = content.state;
    const ChunkStep *step = chunk_steps + first_steps.of[size_t(from)];
    const auto matches = [at](uint8_t match) {
        return match < 0x80 ? *at == char(match) : is(Class(match & 0x7f), *at);
    };
    while (step->from == from && !matches(step->match)) step++;
    if (step->from != from) return judged(at, Status::bad_request);
    content.state = step->to;
    bool counts = is_overhead(step->to);
    if (step->to == At::size) {
        content.left = content.left * 16 + hex_value(*at);
        if (content.left > content.budget) return judged(at, Status::content_too_large);
        counts = content.left == 0 && from != At::size_start;  // leading zeros have no other limit
    }
    if (counts && content.overhead_left-- == 0)
        return judged(at, is_trailer(step->to) ? Status::fields_too_large : Status::content_too_large);
    if (step->to == At::data) {
        content.budget -= content.left;
        if (content.left == 0) {  // the last chunk
            content.state = At::trailer_start;
            content.overhead_left = trailer_limit;
        }
    }
    return complete(at + 1);
}

// Skips what nearly always surrounds chunk-data, if it has arrived whole: the line end behind a chunk, and a size
// without leading zeros and extensions. Returns `at` if it is anything else.
[[nodiscard]] INLINE const char *skip_common_chunk_bytes(const char *at, Content &content) {
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

// Takes content, or what has arrived of it, and hands its pieces to `take_piece` as they come by.
template <typename TakePiece> INLINE Taken take_content(Cursor input, Content &content, TakePiece take_piece) {
    while (input.at != input.end) {
        if (content.state == At::length || content.state == At::data) {
            const size_t size = input.left() < content.left ? input.left() : content.left;
            take_piece(Bytes{input.at, size});
            input.at += size;
            content.left -= uint32_t(size);
            if (content.left != 0) break;
            if (content.state == At::data) {
                content.state = At::data_cr;
                if (!stands_at(input.at, "\r\n0\r\n\r\n"))
                    continue;  // another chunk follows, or the end is not here yet
                input.at += 7;
            }
            content.state = At::none;
            return complete(input.at);
        }
        if (const char *const at = skip_common_chunk_bytes(input.at, content); at != input.at) [[likely]] {
            input.at = at;
        } else {
            const Taken taken = take_chunk_byte(input.at, content);
            if (taken.parse != Parse::complete) return taken;
            input.at = taken.at;
        }
        if (content.state == At::none) return complete(input.at);
    }
    return {input.at, Parse::incomplete};
}

// ---- Answers ---------------------------------------------------------------------------------------------------
// Status lines, field lines and content. Responses are composed one after the other in the worker's output buffer;
// they are sent together. The caller makes sure that there is room for one more.

// The content of errors, and after "HTTP/1.1 " the status lines.
constexpr char status_texts[] = "200 OK\0"
                                "400 Bad Request\0"
                                "404 Not Found\0"
                                "405 Method Not Allowed\0"
                                "408 Request Timeout\0"
                                "413 Content Too Large\0"
                                "414 URI Too Long\0"
                                "417 Expectation Failed\0"
                                "431 Request Header Fields Too Large\0"
                                "500 Internal Server Error\0"
                                "501 Not Implemented\0"
                                "505 HTTP Version Not Supported\0"
                                "200 OK\0";
static_assert(count_texts(status_texts) == size_t(Status::answered),
              "an enumerator of Status is the index of its text");

// A 200 in plain text begins like this, up to the size of its content. The Date is the current second.
constexpr char head_form[] = "HTTP/1.1 200 OK\r\n"
                             "Server: mote\r\n"
                             "Content-Type: text/plain\r\n"
                             "Date: Thu, 00 Jan 1970 00:00:00 GMT\r\n"
                             "Content-Length: ";
constexpr size_t head_size = sizeof head_form - 1;
constexpr size_t status_line_size = sizeof "HTTP/1.1 200 OK\r\n" - 1;
constexpr size_t date_place = sizeof "HTTP/1.1 200 OK\r\nServer: mote\r\nContent-Type: text/plain\r\nDate: " - 1;
constexpr size_t date_size = sizeof "Thu, 01 Jan 1970 00:00:00 GMT" - 1;

// Each name with the byte that follows it in a Date, for one move of four bytes. 1 January 1970 was a Thursday. The
// year begins with March here, so that a leap day is the last day of its year.
constexpr char weekdays[] = "Thu,Fri,Sat,Sun,Mon,Tue,Wed,";
constexpr char months[] = "Mar Apr May Jun Jul Aug Sep Oct Nov Dec Jan Feb ";
static_assert(head_form[date_place] == weekdays[0] && head_form[date_place + date_size] == '\r');

// Writes head_form with the Date (RFC 9110 section 5.6.7) of a moment in seconds since 1970.
void put_head(char *at, uint64_t now) {
    __builtin_memcpy(at, head_form, head_size);
    at += date_place;
    for (size_t place = 25; place > 16; place -= 3) {  // seconds, minutes, hours
        const uint64_t limit = place == 19 ? 24 : 60;
        put_digits(at + place, now % limit);
        now /= limit;
    }
    const uint32_t days = uint32_t(now);
    copy<4>(at, weekdays + size_t(days % 7) * 4);
    // In quarters of a day since 1 March of the year 0. A year has 1,461 of these on average, and a century 146,097.
    // Each day counts by its last quarter, which makes the fourth year the longer one.
    uint32_t quarters = (days + 719468) * 4 + 3;
    uint32_t year = quarters / 146097 * 100;
    quarters = quarters % 146097 | 3;
    year += quarters / 1461;
    // Five months have 153 days: from March on 31, 30, 31, 30 and 31. In fifths of a day, shifted by two, a month has
    // 153.
    const uint32_t fifths = quarters % 1461 / 4 * 5 + 2;
    const size_t month = fifths / 153;
    put_digits(at + 7, fifths % 153 / 5 + 1);
    copy<4>(at + 8, months + month * 4);
    if (month >= 10) year++;  // January and February
    put_digits(at + 16, year);
}

// What a worker counts from its start on.
enum class Counter : size_t {
    accepted,  // connections
    requests,  // received whole
    bytes_in,
    bytes_out,
    refused_4xx,  // answers with such a status
    refused_5xx,
    expired,    // connections whose time was over
    stalled,    // sends that took only a part
    exhausted,  // times that accepting had to pause
};
constexpr char counter_names[] = "accepted\0requests\0bytes in\0bytes out\0"
                                 "4xx\0"
                                 "5xx\0"
                                 "expired\0stalled\0exhausted\0";
constexpr size_t counter_count = count_texts(counter_names);
static_assert(counter_count == size_t(Counter::exhausted) + 1, "an enumerator of Counter is the index of its name");

// Written by their worker alone, read by the main thread as well. The loads are atomic and relaxed: a counter says
// nothing about other memory. The addition is not atomic, since no other thread writes, and an aligned word is stored
// whole on every architecture above.
struct Counters {
    uint64_t values[counter_count];

    [[nodiscard]] INLINE uint64_t operator[](Counter counter) const {
        return __atomic_load_n(values + size_t(counter), __ATOMIC_RELAXED);
    }
    INLINE void add(Counter counter, uint64_t more = 1) { values[size_t(counter)] += more; }
};

// A small generator of random numbers: xorshift64 (Marsaglia 2003).
struct Random {
    uint64_t state;  // not 0

    uint64_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
};

// The content of generated answers: a newline at the end of 50 bytes, "." at their tens, otherwise the last digit of
// the offset. The run repeats it. So the content at any offset stands in the run, and all answers share it.
constexpr char pattern[] = ".123456789.123456789.123456789.123456789.12345678\n";
constexpr size_t pattern_size = sizeof pattern - 1;

// An answer that is longer than the output buffer, or sent in pieces. It is produced as the peer takes it. It begins
// with its head, which is composed like any other, without content. These stand beside the connections, so that other
// connections do not touch them.
struct LongAnswer {
    uint64_t sent;            // so much of the answer
    uint64_t reset_at;        // the connection is reset when so much of it is sent
    uint32_t head_size;       // of the answer's head
    uint32_t second;          // of its Date, since 1970
    uint32_t unacknowledged;  // when the time of the connection was last looked at
    uint64_t state[3];        // the route's
};
constexpr size_t exchange_distance = 32;  // from the exchange of a connection to that of the next one

// What answers need of their worker.
struct AnswerContext {
    Counters counters;
    uint32_t second;           // since 1970
    char head[head_size + 1];  // head_form with the Date of this second, and NUL
    bool has_run;              // whether this worker has written the run
    char *run;                 // memory of a file that all workers share
    Bytes default_query;       // --answer; no bytes: none
    Random random;
    Random random_before;      // before the last request, in case that its head is taken again
    const char *exchanges;     // the connections' first
    LongAnswer *long_answers;  // one for each connection

    // The long answer of the exchange with this route's state.
    [[nodiscard]] LongAnswer &long_answer_of(const void *state) const {
        return long_answers[size_t(static_cast<const char *>(state) - exchanges) / exchange_distance];
    }

    // Generated content from `offset` on, up to `size` bytes. It stands in the run. Other workers may write the same
    // bytes there at the same time.
    [[nodiscard]] Bytes content_at(uint64_t offset, uint64_t size) {
        for (size_t i = 0; !has_run && i < run_size; i++)
            run[i] = i < pattern_size ? pattern[i] : run[i - pattern_size];
        has_run = true;
        const size_t place = offset % pattern_size;
        return {run + place, size < run_size - place ? size_t(size) : run_size - place};
    }
    // Random content of `size` bytes, written at `at`, and up to 7 more.
    COLD char *put_random(char *at, size_t size) {
        for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
            const uint64_t word = random.next();
            __builtin_memcpy(at + i, &word, sizeof word);
        }
        return at + size;
    }
};
static_assert(run_size >= answer_content_limit + pattern_size, "the content of a short answer stands in the run");

// Whether the connection goes on after the answer (RFC 9112 section 9.3).
enum class Persistence : uint8_t {
    keep,        // HTTP/1.1, which needs no word about it
    keep_alive,  // HTTP/1.0 that asked for it, and must be told
    close,
};

// A text as the argument of a template.
template <size_t text_size> struct Literal {
    char text[text_size];

    consteval Literal(const char (&from)[text_size]) {
        for (size_t i = 0; i < text_size; i++) text[i] = from[i];
    }
};

// What follows head_form in an answer with `content`: the size, the empty line, and the content.
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

// An output buffer takes answers until `output_size` bytes are full, and then has room for one more of any kind.
constexpr size_t answer_head_limit = 512;
constexpr size_t head_text_limit = 256;  // of a status and a content type that a route chooses
constexpr size_t answer_limit = answer_head_limit + answer_content_limit;
constexpr size_t output_room = output_size + answer_limit;
static_assert(sizeof "HTTP/1.1 431 Request Header Fields Too Large\r\n\r\nConnection: keep-alive\r\nAllow: \r\n" +
                      head_size + digits_limit + sizeof method_names <
                  answer_head_limit,
              "the longest head fits");
static_assert(sizeof "HTTP/1.1 \r\nContent-Type: \r\n\r\nConnection: keep-alive\r\n" + head_text_limit + head_size +
                      digits_limit <
                  answer_head_limit,
              "so does one with a status and a type of a route's own");

static_assert(sendfile_size > answer_head_limit, "a head is never sent as a part of the run");

// Composes responses. A route calls one of the first five functions, once; head_form stands at `at` already.
struct Answer {
    char *at;                // the end of what has been composed
    AnswerContext *context;  // the worker's

    // A response that is the same each time: faster than the next one.
    template <Literal content> INLINE void text() {
        static_assert(sizeof content.text - 1 <= answer_content_limit);
        at = put(at + head_size, end_of_answer<content>.text);
    }

    // A response with `content`.
    [[maybe_unused]] void text(Bytes content) {
        if (content.size > answer_content_limit) return status(Status::internal_server_error, 0);
        at = put(compose(at + head_size, "#\r\n\r\n", content.size), content);
    }

    // A response with another status or type: ("201 Created", "application/json", content). Status and type have at
    // most 256 bytes together; a longer one becomes a 500, like content that is too long.
    [[maybe_unused]] void text(const char *status_text, const char *content_type, Bytes content) {
        const size_t head_text_size = bytes_of(status_text).size + bytes_of(content_type).size;
        if (content.size > answer_content_limit || head_text_size > head_text_limit)
            return status(Status::internal_server_error, 0);
        count(*status_text);
        char *to = compose(at, "HTTP/1.1 $\r\nServer: mote\r\nContent-Type: $\r\nDate: ", status_text, content_type);
        to = put(to, Bytes{context->head + date_place, date_size});
        at = put(compose(to, "\r\nContent-Length: #\r\n\r\n", content.size), content);
    }

    // The head of a long answer, whose `content_size` bytes come from the route's part_at().
    [[maybe_unused]] void head(uint64_t content_size) { at = compose(at + head_size, "#\r\n\r\n", content_size); }

    // A response whose content is an integer, given in two's complement.
    HOT void integer(uint64_t value) {
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
        if (size >= 10) [[unlikely]] {
            to = compose(to, "#", size);
        } else {
            *to++ = char('0' + size);
        }
        to = put(to, "\r\n\r\n");
        copy<digits_limit>(to, begin);
        at = to + size;
    }

    // A response that no route gives, with an Allow field (RFC 9110 section 10.2.1) if there are `methods`, one bit
    // each. An error has its reason as its content, so that a person sees something.
    void status(Status status, unsigned methods) {
        const char *const text = text_of(status_texts, size_t(status));
        const bool is_error = status != Status::options;
        const size_t size = is_error ? bytes_of(text).size + 2 : 0;
        char *to = compose(at, "HTTP/1.1 $\r\n$#", text, context->head + status_line_size, size);
        const char *form = "\r\nAllow: $";
        for (size_t index = 0; index < method_count; index++) {
            if ((methods >> index & 1) == 0) continue;
            to = compose(to, form, text_of(method_names, index));
            form = ", $";
        }
        at = compose(to, is_error ? "\r\n\r\n$\r\n" : "\r\n\r\n", text);
        count(*text);
    }

    // Counts the response by the first digit of its status.
    void count(char first_digit) {
        if (first_digit == '4') context->counters.add(Counter::refused_4xx);
        if (first_digit == '5') context->counters.add(Counter::refused_5xx);
    }

    // Changes the response that begins at `begin`: takes its content away, adds a Connection field.
    COLD void amend(char *begin, bool is_head, Persistence persistence) {
        char *head_end = begin;
        while (!stands_at(head_end, "\r\n\r\n")) head_end++;
        head_end += 2;
        if (is_head) at = head_end + 2;
        if (persistence == Persistence::keep) return;
        const Bytes field_line =
            persistence == Persistence::close ? "Connection: close\r\n"_b : "Connection: keep-alive\r\n"_b;
        for (char *from = at; from != head_end;) {
            from--;
            from[field_line.size] = *from;
        }
        put(head_end, field_line);
        at += field_line.size;
    }
};

// ---- Routes ----------------------------------------------------------------------------------------------------
// What is served: a page for those who add a route, the routes, the table of them, and the machinery.
//
// Writing a route. It is a struct and a row in `routes`:
//
//   // POST /size: how many bytes of content have come.
//   struct [[gnu::packed]] Size {
//       uint64_t size = 0;
//
//       void take_piece(Bytes piece) { size += piece.size; }
//       void answer(Answer &answer) const { answer.integer(size); }
//   };
//   {to_post, "/size"_b, functions_of<Size>},
//
// A row's methods are to_get (with HEAD), to_post, to_any, or others as bit(Method::put). A path that ends in "*" is a
// prefix. OPTIONS, 405 and Allow follow from the rows. Rows with a take_request() come last, and a prefix needs one: an
// assertion checks that.
//
// Every request has a struct of its own, which starts as State{} and is kept until the answer. Its functions are called
// in this order. Only answer() is required. None may block: other connections wait meanwhile.
//
//   Status take_request(Request &)   is given the head. It returns Status::ok, or a refusal as Status::not_found.
//   void take_query(Bytes)           is given the query, if there is one. A space follows it.
//   void take_piece(Bytes)           is given each piece of content as it arrives, cut anywhere.
//   uint32_t delay_ms() const        says how long the answer waits once the request is whole.
//   void answer(Answer &) const      composes the answer.
//
// Bytes that a function is given live only during the call: the next input, perhaps another client's, overwrites them.
// So copy what the answer needs, after a look at its size:
//
//   if (request.rest.size > sizeof name) return Status::uri_too_long;
//   put(name, request.rest);
//
// The struct has at most `route_state_limit` bytes, so that a connection stays small. One with a pointer, a reference
// or a union does not compile. But g++ overlooks pointers in arrays, and no compiler sees an address that is kept as an
// integer. `make fuzz` finds both, if a row of the tables in test/example.bats sends content to the route.
//
// A parameter of the query is request.parameter("name"_b), empty if there is none. Paths and queries are as the client
// sent them: percent-encoding is not undone. An answer is one call, with `answer_content_limit` bytes at most:
//
//   answer.text<"Hello!">()          the fastest: the compiler composes it.
//   answer.text({data, size})        bytes, which are copied.
//   answer.integer(5)                decimal digits.
//   answer.text("201 Created", "application/json", {data, size})
//                                    another status and type than 200 and text/plain.
//
// Longer content is produced as the client takes it. Then answer() calls answer.head(size), and part_at() the rest:
//
//   Part part_at(uint64_t offset, char *at, size_t room, AnswerContext &) const
//                                    returns the content from `offset` on, or a part of it: constants, or up to `room`
//                                    bytes that it writes at `at`. No bytes: the answer is complete.
//   bool is_long() const             optional: whether this answer is long.
//   uint32_t pause_ms() const        optional: how long to wait between two pieces.
//
// Both are called again where the client took less, and must give the same bytes. take_request() may run twice for a
// request with a late or long answer, each time with a new struct. So it changes nothing but that.
//
// A route with `static constexpr bool answers_at_once = true` answers before the content, which is discarded. So its
// struct may have pointers into the head. Delays, long answers and answers at once need a take_request().
//
// test/example/routes.patch has a parameter, JSON, another status, and 64 KiB of content, in a few lines each.

constexpr size_t route_state_limit = 17;

// What take_request() is given.
struct Request {
    Bytes head;      // as it has arrived
    Bytes rest;      // the path from the "*" of the row's path on
    Bytes query;     // without its "?"; empty if there is none
    unsigned facts;  // Head::Fact. The route may change what they say about the connection.
    AnswerContext &context;

    // The value of the first NAME=VALUE in the query with this name, as it stands there; empty if there is none.
    [[nodiscard]] Bytes parameter(Bytes name) const {
        const char *const end = query.data + query.size;
        for (const char *at = query.data, *next; at < end; at = next + 1) {
            for (next = at; next != end && *next != '&';) next++;
            const Bytes one{at, size_t(next - at)};
            if (one.size > name.size && one.first(name.size) == name && at[name.size] == '=')
                return one.after(name.size + 1);
        }
        return {};
    }
};

// A part of a long answer's content. No bytes: the answer is complete.
struct Part {
    Bytes bytes;        // in the room that part_at() was given, in the run, or constants
    bool begins_piece;  // an earlier piece is sent by itself
};

// GET /pipeline
struct Pipeline {
    void answer(Answer &answer) const { answer.text<"ok">(); }
};

// GET /baseline11?a=1&b=2: the sum of all integers that are values in the query.
struct [[gnu::packed]] QuerySum {
    uint64_t sum = 0;  // in two's complement; it wraps around

    HOT void take_query(Bytes query) {
        const char *at = query.data - 1;
        do {
            while (*++at != '=')
                if (*at == ' ') return;
            const char *const value = ++at;
            uint64_t number = 0;
            for (unsigned digit; (digit = unsigned(*at) - '0') <= 9; at++) number = number * 10 + digit;
            const bool is_natural = (*at == '&' || *at == ' ') && at < value + (digits_limit - 1);
            if (is_natural) [[likely]]
                sum += number;
            else at = add_value(value);
        } while (*at != ' ');
    }
    void answer(Answer &answer) const { answer.integer(sum); }

private:
    // Adds a value of any form: nothing if it is not an integer. Returns where it ends.
    COLD const char *add_value(const char *value) {
        const char *end = value;
        while (*end != '&' && *end != ' ') end++;
        Integer integer;
        integer.take({value, size_t(end - value)});
        sum += uint64_t(integer.value);
        return end;
    }
};

// POST /baseline11?a=1&b=2: the same and the integer that is the content.
struct [[gnu::packed]] Sum : QuerySum {
    Integer addend;

    void take_piece(Bytes piece) { addend.take(piece); }
    HOT void answer(Answer &answer) const { answer.integer(sum + uint64_t(addend.value)); }
};

// GET /delay/MS: waits so many milliseconds, and answers with their number.
struct Delay {
    uint32_t limit_ms;

    Status take_request(Request &request) {
        const Digits digits = take_digits(request.rest.data, 10);
        const bool is_number = request.rest.size != 0 && digits.end == request.rest.data + request.rest.size;
        if (!is_number || digits.number > delay_limit_ms) return Status::not_found;
        limit_ms = uint32_t(digits.number);
        return Status::ok;
    }
    [[nodiscard]] uint32_t delay_ms() const { return limit_ms; }
    void answer(Answer &answer) const { answer.integer(limit_ms); }
};

// /echo: the head of the request, byte for byte.
struct [[gnu::packed]] Echo {
    const char *head;
    uint32_t size;

    Status take_request(Request &request) {
        head = request.head.data;
        size = uint32_t(request.head.size);
        return Status::ok;
    }
    static constexpr bool answers_at_once = true;  // while the head is there
    void answer(Answer &answer) const { answer.text({head, size}); }
};

// The generator: any other path, answered as the query describes. Its grammar is that of httpterm.
struct Description {
    uint64_t size = 0, status = 200, delay_ms = 0, is_cacheable = 1, closes = 0, keeps_alive = 0, is_chunked = 0,
             piece_size = 0, pause_ms = 0, is_random = 0, content_length = UINT64_MAX, reset_at = UINT64_MAX;
};
struct Argument {
    uint64_t Description::*field;
    char name;
    uint16_t least = 0;
    uint32_t most = UINT32_MAX;  // this one stands for the largest number
};
constexpr Argument known_arguments[] = {
    {&Description::size, 's'},
    {&Description::status, 'r', 200, 599},
    {&Description::delay_ms, 't', 0, delay_limit_ms},
    {&Description::is_cacheable, 'c'},
    {&Description::closes, 'C'},
    {&Description::keeps_alive, 'K'},
    {&Description::is_chunked, 'k'},
    {&Description::piece_size, 'p'},
    {&Description::pause_ms, 'd', 0, delay_limit_ms},
    {&Description::is_random, 'R'},
    {&Description::content_length, 'b'},
    {&Description::reset_at, 'x'},
};

// Takes the value of an argument, up to `end`: 1*DIGIT, perhaps with k, m or g, with r for a random number up to that
// one, with ":" and the percentage of requests that it applies to. Returns false if it is malformed or out of range.
[[nodiscard]] bool take_value(const char *at, const char *end, const Argument &argument, Description &description,
                              Random &random) {
    const int64_t least = argument.least, most = argument.most == UINT32_MAX ? INT64_MAX : int64_t(argument.most);
    int64_t number = 0;
    const char *const digits = at;
    for (unsigned digit; (digit = unsigned(*at) - '0') <= 9; at++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, int64_t(digit), &number))
            return false;
    if (at == digits) return false;
    const unsigned shift = *at == 'k' ? 10 : *at == 'm' ? 20 : *at == 'g' ? 30 : 0;
    if (number > most >> shift) return false;
    number <<= shift;
    if (number < least) return false;
    if (shift != 0) at++;
    if (*at == 'r') {
        at++;
        number = least + int64_t(random.next() % (uint64_t(number) - uint64_t(least) + 1));
    }
    bool applies = true;
    if (*at == ':') {
        const Digits percentage = take_digits(at + 1, 10);
        if (percentage.end == at + 1 || percentage.number > 100) return false;
        at = percentage.end;
        applies = random.next() % 100 < percentage.number;
    }
    if (at != end) return false;
    if (applies) description.*argument.field = uint64_t(number);
    return true;
}

constexpr bool is_separator(char byte) {
    return byte == '&' || byte == '?' || byte == ',' || byte == ';' || byte == '/';
}

// Takes a query. Returns the name of the first argument whose value is malformed, otherwise of the last argument;
// NUL if no argument has a name that is known.
struct Described {
    char name = '\0';
    bool is_malformed = false;
};
[[nodiscard]] COLD Described take_description(Bytes query, Description &description, Random &random) {
    Described described;
    const char *const query_end = query.data + query.size;
    for (const char *at = query.data, *end; at < query_end; at = end + 1) {
        for (end = at; end != query_end && !is_separator(*end);) end++;
        if (end - at < 2 || at[1] != '=') continue;
        for (const Argument &argument : known_arguments) {
            if (argument.name != *at) continue;
            described.name = *at;
            described.is_malformed = !take_value(at + 2, end, argument, description, random);
            if (described.is_malformed) return described;
        }
    }
    return described;
}

// What "/" answers, if its query has no argument.
constexpr char summary[] = "mote: a back end that answers what the request asks for\n"
                           "\n"
                           "/baseline11?a=1&b=2  the sum of the integers, and of the content of a POST\n"
                           "/pipeline            ok\n"
                           "/delay/MS            MS, after so many milliseconds\n"
                           "/echo                the head of the request\n"
                           "/ANY?s=4k&t=100      as the query says:\n"
                           "  s  size of the content              r  status, 200 to 599\n"
                           "  t  milliseconds before the answer   c  0: Cache-Control: no-cache\n"
                           "  C  1: close the connection          K  1: keep it open\n"
                           "  k  1: chunked                       p  size of a piece\n"
                           "  d  milliseconds between pieces      R  1: random content\n"
                           "  b  Content-Length to declare        x  reset after so many bytes\n"
                           "Values: 4k, 4m, 4g; 4kr is random up to 4k; r=503:20 applies to 20 % of the requests.\n";

struct [[gnu::packed]] Generator {
    // What of a description does not fit here.
    struct Sizes {
        uint64_t content;
        uint64_t piece;           // not 0
        uint64_t content_length;  // as it is declared
    };
    static_assert(sizeof(Sizes) <= sizeof LongAnswer::state);
    enum class Kind : uint8_t { as_described, bad_value, help };

    uint32_t delay, pause;  // in milliseconds
    uint16_t status;
    char argument;  // that is malformed
    Kind kind;
    bool is_cacheable, is_chunked, is_random, has_content_length, is_produced;

    Status take_request(Request &request) {
        Description description;
        Described described = take_description(request.query, description, request.context.random);
        delay = 0;
        kind = Kind::help;
        is_produced = false;
        if (described.name == '\0') {
            if (request.rest.size == 0) return Status::ok;
            if (request.context.default_query.size == 0) return Status::not_found;
            described = take_description(request.context.default_query, description, request.context.random);
        }
        argument = described.name;
        kind = Kind::bad_value;
        if (described.is_malformed) {
            const bool is_awaited = (request.facts & Head::expects_continue) != 0;
            return is_awaited ? Status::bad_request : Status::ok;
        }
        kind = Kind::as_described;
        describe(description, request, sizes_of(request.context.long_answer_of(this)));
        request.context.long_answer_of(this).reset_at = description.reset_at;
        return Status::ok;
    }
    [[nodiscard]] uint32_t delay_ms() const { return delay; }
    [[nodiscard]] uint32_t pause_ms() const { return pause; }
    [[nodiscard]] bool is_long() const { return is_produced; }

    void answer(Answer &answer) const {
        if (kind == Kind::help) return answer.text({summary, sizeof summary - 1});
        if (kind == Kind::bad_value) {
            char text[] = "bad value: _\n";
            text[sizeof text - 3] = argument;
            return answer.text("400 Bad Request", "text/plain", {text, sizeof text - 1});
        }
        const Sizes &sizes = sizes_of(answer.context->long_answer_of(this));
        char *to = compose(answer.at, "HTTP/1.1 # \r\nServer: mote\r\nContent-Type: text/plain\r\nDate: ", status);
        answer.count(char('0' + status / 100));
        to = put(to, Bytes{answer.context->head + date_place, date_size});
        if (!is_cacheable) to = put(to, "\r\nCache-Control: no-cache"_b);
        if (is_chunked) to = put(to, "\r\nTransfer-Encoding: chunked"_b);
        if (has_content_length) to = compose(to, "\r\nContent-Length: #", sizes.content_length);
        to = put(to, "\r\n\r\n"_b);
        if (!is_produced) {
            if (is_random) to = answer.context->put_random(to, sizes.content);
            else to = put(to, answer.context->content_at(0, sizes.content));
        }
        answer.at = to;
    }

    // The content at `offset`, which counts the bytes around chunks as well. `room` bytes at `at` may be filled.
    [[nodiscard]] Part part_at(uint64_t offset, char *at, size_t room, AnswerContext &context) const {
        const Sizes &sizes = sizes_of(context.long_answer_of(this));
        const auto content = [&](uint64_t from, uint64_t size) {
            if (!is_random) return context.content_at(from, size);
            if (size > room) size = room;
            context.put_random(at, size);
            return Bytes{at, size};
        };
        const auto frame_size = [](uint64_t size) { return hex_digits(size) + 2 + size + 2; };  // of a chunk
        const uint64_t index = is_chunked ? offset / frame_size(sizes.piece) : offset / sizes.piece;
        const uint64_t count = sizes.content / sizes.piece;  // of whole pieces
        uint64_t begin = (index < count ? index : count) * sizes.piece;
        uint64_t size = sizes.content - begin < sizes.piece ? sizes.content - begin : sizes.piece;
        if (!is_chunked) {
            offset -= begin;
            if (offset == size) return {};
            return {content(begin + offset, size - offset), offset == 0 && begin != 0};
        }
        offset -= (index < count ? index : count) * frame_size(sizes.piece);
        if (size != 0 && offset >= frame_size(size)) {  // a shorter chunk was the last one with content
            offset -= frame_size(size);
            begin += size;
            size = 0;
        }
        const uint64_t line_size = hex_digits(size) + 2;
        if (offset < line_size) {
            uint64_t rest = size;
            for (uint64_t i = line_size - 2; i-- > 0; rest /= 16) at[i] = "0123456789abcdef"[rest % 16];
            put(at + line_size - 2, "\r\n");
            return {Bytes{at, line_size}.after(offset), offset == 0 && begin != 0 && size != 0 && pause != 0};
        }
        offset -= line_size;
        if (offset < size) return {content(begin + offset, size - offset), false};
        return {"\r\n"_b.after(offset - size < 2 ? offset - size : 2), false};
    }

private:
    [[nodiscard]] static Sizes &sizes_of(LongAnswer &answer) { return reinterpret_cast<Sizes &>(answer.state); }
    [[nodiscard]] static uint64_t hex_digits(uint64_t value) {
        uint64_t count = 1;
        while (value >>= 4) count++;
        return count;
    }

    void describe(const Description &description, Request &request, Sizes &sizes) {
        delay = uint32_t(description.delay_ms);
        pause = uint32_t(description.pause_ms);
        status = uint16_t(description.status);
        is_cacheable = description.is_cacheable != 0;
        is_random = description.is_random != 0;
        const bool is_http_1_0 = (request.facts & Head::is_http_1_0) != 0;
        const bool has_content = status != 204 && status != 205 && status != 304;
        const bool is_length_given = description.content_length != UINT64_MAX;
        is_chunked = description.is_chunked != 0 && has_content && !is_http_1_0;
        const bool is_unsized = (description.is_chunked != 0 && is_http_1_0) || description.content_length == 0;
        has_content_length = !is_chunked && !is_unsized && status != 204;
        sizes.content = has_content ? description.size : 0;
        sizes.content_length = is_length_given ? description.content_length : status == 205 ? 0 : description.size;
        sizes.piece = description.piece_size;
        if (sizes.piece == 0 || sizes.piece > sizes.content) sizes.piece = sizes.content;
        if (sizes.piece == 0) sizes.piece = 1;
        is_produced = is_chunked || sizes.content > answer_content_limit || sizes.piece < sizes.content ||
                      description.reset_at != UINT64_MAX;
        if (description.keeps_alive != 0) request.facts = (request.facts & ~Head::closes) | Head::keeps_alive;
        if (description.closes != 0 || is_length_given || is_unsized) request.facts |= Head::closes;
    }
};

// The functions of a route. What it does not have is nullptr.
struct RouteFunctions {
    void (*begin)(void *state);
    void (*answer)(const void *state, Answer &);
    void (*take_query)(void *state, Bytes) = nullptr;
    void (*take_piece)(void *state, Bytes) = nullptr;
    Status (*take_request)(void *state, Request &) = nullptr;
    uint32_t (*delay_ms)(const void *state) = nullptr;
    bool (*is_long)(const void *state) = nullptr;
    Part (*part_at)(const void *state, uint64_t offset, char *at, size_t room, AnswerContext &) = nullptr;
    uint32_t (*pause_ms)(const void *state) = nullptr;
    bool (*answers_at_once)(const void *state) = nullptr;
};
// Whether a State holds only numbers, enumerators and arrays of these: a constant expression makes nothing else from
// bytes. (clang++ refuses bit-fields as well. g++ overlooks pointers in arrays.)
template <size_t size> struct RawBytes { char bytes[size]; };
template <typename State> constexpr bool is_made_of_bytes() {
    (void)__builtin_bit_cast(State, RawBytes<sizeof(State)>{});
    return true;
}
template <bool> struct Constant {};
template <typename State>
concept HoldsValues = requires {
    typename Constant<is_made_of_bytes<State>()>;
};
template <typename State>
concept AnswersAtOnce = requires {
    requires State::answers_at_once;
};

template <typename State> constexpr RouteFunctions functions_of = [] {
    static_assert(sizeof(State) <= route_state_limit, "a route keeps too much of a request");
    static_assert(alignof(State) <= 8, "a connection is not aligned to more");
    static_assert(__is_trivially_copyable(State), "a route's struct has no copy constructor and no destructor");
    static_assert(HoldsValues<State> || AnswersAtOnce<State>,
                  "a route keeps a pointer, a reference or a union: copy the bytes that the answer needs");
    constexpr bool has_delay = requires { &State::delay_ms; };
    constexpr bool has_parts = requires { &State::part_at; };
    constexpr bool sees_head = requires { &State::take_request; };
    constexpr bool sees_content = requires { &State::take_piece; };
    static_assert(has_parts || !(
                                   requires { &State::is_long; } || requires { &State::pause_ms; }),
                  "a route with is_long() or pause_ms() has a part_at()");
    static_assert(
        AnswersAtOnce<State> || !requires { &State::answers_at_once; },
        "answers_at_once is a static constexpr bool, and true");
    static_assert(!AnswersAtOnce<State> || !(has_delay || has_parts || sees_content),
                  "what answers at once is neither late nor long, and sees no content");
    static_assert(sees_head || !(has_delay || has_parts || AnswersAtOnce<State>),
                  "a route with delay_ms(), part_at() or answers_at_once has a take_request()");
    RouteFunctions functions{
        [](void *state) { *static_cast<State *>(state) = State{}; },
        [](const void *state, Answer &answer) { static_cast<const State *>(state)->answer(answer); },
    };
    if constexpr (requires { &State::take_query; })
        functions.take_query = [](void *state, Bytes query) { static_cast<State *>(state)->take_query(query); };
    if constexpr (sees_content)
        functions.take_piece = [](void *state, Bytes piece) { static_cast<State *>(state)->take_piece(piece); };
    if constexpr (sees_head)
        functions.take_request = [](void *state, Request &request) {
            return static_cast<State *>(state)->take_request(request);
        };
    if constexpr (has_delay)
        functions.delay_ms = [](const void *state) { return static_cast<const State *>(state)->delay_ms(); };
    if constexpr (has_parts) {
        functions.is_long = [](const void *state) {
            if constexpr (requires { &State::is_long; }) return static_cast<const State *>(state)->is_long();
            else return true;
        };
        if constexpr (requires { &State::pause_ms; })
            functions.pause_ms = [](const void *state) { return static_cast<const State *>(state)->pause_ms(); };
        functions.part_at = [](const void *state, uint64_t offset, char *at, size_t room, AnswerContext &context) {
            return static_cast<const State *>(state)->part_at(offset, at, room, context);
        };
    }
    if constexpr (AnswersAtOnce<State>) functions.answers_at_once = [](const void *) { return true; };
    return functions;
}();

constexpr unsigned bit(Method method) { return 1u << unsigned(method); }
constexpr unsigned to_get = bit(Method::get) | bit(Method::head), to_post = bit(Method::post),
                   to_any = to_get | to_post | bit(Method::put) | bit(Method::delete_) | bit(Method::patch);

struct Route {
    unsigned methods;
    Bytes path;  // a "*" at its end stands for any rest
    RouteFunctions functions;
};

// Everything this server answers, in the order in which it is tried. Any other path is a 404. The rows with a
// take_request() come last.
// clang-format off
constexpr Route routes[] = {
    {to_get, "/pipeline"_b, functions_of<Pipeline>},
    {to_get, "/baseline11"_b, functions_of<QuerySum>},
    {to_post, "/baseline11"_b, functions_of<Sum>},
    {to_get, "/delay/*"_b, functions_of<Delay>},
    {to_any, "/echo"_b, functions_of<Echo>},
    {to_any, "/*"_b, functions_of<Generator>},
};
// clang-format on
constexpr size_t route_count = sizeof routes / sizeof *routes;

// The rest of this section is the machinery. A new route does not touch it.

// The part of a row's path that a target must begin with.
constexpr bool is_prefix(const Route &route) { return route.path.data[route.path.size - 1] == '*'; }
constexpr Bytes fixed_part(const Route &route) { return route.path.first(route.path.size - is_prefix(route)); }

consteval bool all_origin_form() {
    for (const Route &route : routes) {
        const Bytes path = fixed_part(route);
        if (path.size == 0 || path.data[0] != '/') return false;
        for (size_t i = 0; i < path.size; i++)
            if (!is(Class::target, path.data[i]) || path.data[i] == '?') return false;
    }
    return true;
}
static_assert(all_origin_form(), "a route's path starts with '/' and has no query (RFC 9112 section 3.2.1)");

// Whether all targets of b are targets of a.
consteval bool covers(const Route &a, const Route &b) {
    const Bytes path = fixed_part(a);
    if (!is_prefix(a) || path.size > b.path.size) return a.path == b.path;
    return b.path.first(path.size) == path;
}
consteval bool all_reached() {
    for (size_t row = 1; row < route_count; row++)
        for (size_t before = 0; before < row; before++)
            if (covers(routes[before], routes[row]) && !(routes[row - 1].path == routes[row].path)) return false;
    return true;
}
static_assert(all_reached(), "rows with one path stand together, and before rows with a prefix of it");

// The number of rows without take_request().
constexpr size_t common_count = [] {
    size_t count = 0;
    while (count != route_count && routes[count].functions.take_request == nullptr) count++;
    return count;
}();
consteval bool common_come_first() {
    for (size_t row = 0; row < route_count; row++) {
        if ((row < common_count) != (routes[row].functions.take_request == nullptr)) return false;
        if (row < common_count && is_prefix(routes[row])) return false;
    }
    if (common_count != 0 && common_count != route_count)
        return !(routes[common_count - 1].path == routes[common_count].path);
    return true;
}
static_assert(common_come_first(), "rows with take_request() come last; a path that ends in '*' has one");

// A request on its way to its answer: what is kept of it once its head has gone by.
struct [[gnu::packed]] Exchange {
    // How the request is answered. All bits are 0 for nearly every request.
    struct Manner {
        Status status : 4;  // unless ok: the answer, in place of the route's
        Persistence persistence : 2;
        bool is_head : 1;   // the answer has no content
        bool is_other : 1;  // the route has a take_request()
    };

    char state[route_state_limit];  // the route's
    uint8_t route;                  // index in `routes`; for 405 and OPTIONS any row with that path, or all_routes
    Manner manner;

    // Whether the answer is what the route composes, and the connection goes on.
    [[nodiscard]] INLINE constexpr bool is_plain() const { return __builtin_bit_cast(uint8_t, manner) == 0; }
};
static_assert(route_count < 256 && size_t(Status::answered) < 16, "a route fits a byte, a status four bits");

// The methods of each row's path, one bit each. The last entry has the methods of all paths.
struct AllowedMethods {
    uint8_t rows[route_count + 1];
};
constexpr size_t all_routes = route_count;
constexpr AllowedMethods allowed_methods = [] {
    AllowedMethods allowed{};
    for (size_t row = 0; row <= all_routes; row++) {
        allowed.rows[row] = uint8_t(bit(Method::options));
        for (const Route &route : routes)
            if (row == all_routes || route.path == routes[row].path) allowed.rows[row] |= uint8_t(route.methods);
    }
    return allowed;
}();
static_assert(size_t(Method::connect) <= 8, "a byte has a bit for each method that a route can have");

// Whether row `other` exists and has the path of row `index`.
template <size_t index> consteval bool is_path_of_row(size_t other) {
    return other < route_count && routes[other].path == routes[index].path;
}

// Calls `visit` with each row from `index` up to `end` until it returns true. The compiler unrolls this. Each copy has
// a constant row, so comparisons of paths become wide loads, and calls become direct.
template <size_t index, size_t end, typename Visit> INLINE void visit_routes(Visit visit) {
    if constexpr (index < end)
        if (!visit.template operator()<index>()) visit_routes<index + 1, end>(visit);
}

// What comes before any route: versions, options of the connection, methods answered alike on every path, expectations.
COLD void begin_rare(Exchange &exchange, const Head &head) {
    Status status = exchange.manner.status;
    if (head.method == Method::unknown) status = Status::not_implemented;
    if (head.method == Method::options) {
        // What the path allows (RFC 9110 section 9.3.7). For "*", and for an unknown path, which health checks use,
        // what any path allows.
        if (status == Status::not_found) exchange.route = all_routes;
        status = Status::options;
    }
    if (head.says(Head::expects_other)) status = Status::expectation_failed;
    Persistence persistence = Persistence::keep;
    if (head.says(Head::closes)) persistence = Persistence::close;  // RFC 9112 section 9.3
    else if (head.says(Head::is_http_1_0))
        persistence = head.says(Head::keeps_alive) ? Persistence::keep_alive : Persistence::close;
    exchange.manner = Exchange::Manner{status, persistence, head.method == Method::head, exchange.manner.is_other};
}

// Begins the exchange with the row that has the path of row `index` and the request's method.
template <size_t index>
[[nodiscard]] INLINE Status begin_route(Exchange &exchange, const Head &head, const char *query) {
    constexpr Route route = routes[index];
    exchange.route = index;
    if ((route.methods & bit(head.method)) != 0) {
        route.functions.begin(exchange.state);
        if constexpr (route.functions.take_query != nullptr)
            if (*query == '?')
                route.functions.take_query(exchange.state, {query + 1, size_t(head.target_end - query - 1)});
        return Status::ok;
    } else if constexpr (is_path_of_row<index>(index + 1)) {
        return begin_route<index + 1>(exchange, head, query);
    } else {
        return Status::method_not_allowed;
    }
}

// Begins the exchange with a row that has a take_request(). It is asked first: whether there is such a path is for the
// route to say, and only then whether the path has the method.
COLD void begin_other(Exchange &exchange, Head &head, Bytes head_bytes, AnswerContext &context) {
    const char *path_end = head.target;
    while (*path_end != ' ' && *path_end != '?') path_end++;
    const char *const query = *path_end == '?' ? path_end + 1 : head.target_end;
    Request request{head_bytes, {}, {query, size_t(head.target_end - query)}, head.facts, context};
    Bytes target{head.target, size_t(path_end - head.target)};
    if (path_end == head.target) target = "/"_b;  // an empty path is equivalent to "/" (RFC 9110 section 4.2.3)
    Status status = Status::not_found;
    exchange.route = 0;
    context.random_before = context.random;
    visit_routes<common_count, route_count>([&]<size_t index> {
        constexpr Route route = routes[index];
        constexpr Bytes path = fixed_part(route);
        if (target.size < path.size || (target.size > path.size && !is_prefix(route))) return false;
        if (differ<path.size>(target.data, path.data)) return false;
        const bool has_method = (route.methods & bit(head.method)) != 0;
        if constexpr (is_path_of_row<index>(index + 1))
            if (!has_method) return false;
        exchange.route = index;
        if constexpr (route.functions.part_at != nullptr) context.long_answer_of(exchange.state).reset_at = UINT64_MAX;
        request.rest = target.after(path.size);
        route.functions.begin(exchange.state);
        status = route.functions.take_request(exchange.state, request);
        if (status == Status::ok && !has_method) status = Status::method_not_allowed;
        if constexpr (route.functions.take_query != nullptr)
            if (*path_end == '?') route.functions.take_query(exchange.state, request.query);
        return true;
    });
    exchange.manner = Exchange::Manner{status, Persistence::keep, false, status == Status::ok};
    if (status == Status::ok && !head.says(Head::expects_other)) head.facts = request.facts;
}

// Begins the exchange that `head` asks for: finds its route, or the error that answers it. `head_bytes` is the head.
INLINE void begin_exchange(Exchange &exchange, Head &head, const char *begin, const char *end, AnswerContext &context) {
    Status status = Status::not_found;
    visit_routes<0, common_count>([&]<size_t index> {
        constexpr Bytes path = routes[index].path;
        if constexpr (index != 0 && is_path_of_row<index>(index - 1)) return false;
        // A short path needs no check of the size. A space follows the target, and no path has a space.
        if (path.size > overread && path.size > size_t(head.target_end - head.target)) return false;
        if (differ<path.size>(head.target, path.data)) return false;
        const char *query = head.target + path.size;
        if (*query != ' ' && *query != '?') return false;
        status = begin_route<index>(exchange, head, query);
        return true;
    });
    exchange.manner = Exchange::Manner{status, Persistence::keep, false, false};
    if (status == Status::not_found) [[unlikely]]
        begin_other(exchange, head, {begin, size_t(end - begin)}, context);
    constexpr unsigned rare = Head::closes | Head::is_http_1_0 | Head::expects_other | Head::has_rare_request_line;
    if (head.says(rare)) [[unlikely]]
        begin_rare(exchange, head);
}

// Hands a piece of content to the route, if it takes any.
INLINE void take_piece(Exchange &exchange, Bytes piece) {
    if (exchange.manner.status != Status::ok) return;
    visit_routes<0, route_count>([&]<size_t index> {
        constexpr Route route = routes[index];
        if constexpr (route.functions.take_piece != nullptr)
            if (index == exchange.route) route.functions.take_piece(exchange.state, piece);
        return false;
    });
}

// What a function of the exchange's route returns; a zero if the route has no such function. `member` is one of
// RouteFunctions. The route has a take_request().
template <auto member, typename... Arguments>
[[nodiscard]] COLD auto ask_route(const Exchange &exchange, Arguments &...arguments) {
    decltype((RouteFunctions{}.*member)(nullptr, arguments...)) answer{};
    visit_routes<common_count, route_count>([&]<size_t index> {
        constexpr auto function = routes[index].functions.*member;
        if constexpr (function != nullptr)
            if (index == exchange.route) answer = function(exchange.state, arguments...);
        return false;
    });
    return answer;
}

// Composes an answer that is not plain: an error, or that of a route with a take_request().
COLD void answer_rare(const Exchange &exchange, Answer &answer) {
    char *const begin = answer.at;
    const Status status = exchange.manner.status;
    if (status == Status::answered) return;
    if (status == Status::ok) {
        copy<head_size>(answer.at, answer.context->head);
        visit_routes<common_count, route_count>([&]<size_t index> {
            if (index != exchange.route) return false;
            routes[index].functions.answer(exchange.state, answer);
            return true;
        });
    } else {
        const bool has_allow = status == Status::options || status == Status::method_not_allowed;
        answer.status(status, has_allow ? allowed_methods.rows[exchange.route] : 0);
    }
    answer.amend(begin, exchange.manner.is_head, exchange.manner.persistence);
}

// Composes the answer to a whole request. Returns whether the connection goes on.
[[nodiscard]] INLINE bool answer_exchange(const Exchange &exchange, Answer &answer) {
    char *const begin = answer.at;
    if (exchange.is_plain() || (exchange.manner.status == Status::ok && !exchange.manner.is_other)) [[likely]] {
        copy<head_size>(answer.at, answer.context->head);
        visit_routes<0, common_count>([&]<size_t index> {
            if (index != common_count - 1 && index != exchange.route) return false;  // only the last row is left
            routes[index].functions.answer(exchange.state, answer);
            return true;
        });
        if (exchange.is_plain()) [[likely]]
            return true;
        answer.amend(begin, exchange.manner.is_head, exchange.manner.persistence);
    } else {
        answer_rare(exchange, answer);
    }
    return exchange.manner.persistence != Persistence::close;
}

// ---- Worker ----------------------------------------------------------------------------------------------------
// What one thread owns and no other touches: the table of connections, buffers, pools of memory, the clock,
// counters. It is laid out once and never moves.

struct Connection {
    enum class State : uint8_t {
        closed,
        accepted,           // nothing has come yet
        idle,               // everything that has come is answered
        receiving_content,  // a head has come, and not yet all of its content
        receiving_head,     // a stash holds a partial head
        lingering,          // everything is sent, and our end of stream; what still arrives is discarded
        sending,            // a block holds output, and input that waits for it; nothing is received
        sending_last,       // the same, and the connection ends after that output
        delayed,            // the answer is due later; nothing is received
        producing,          // a long answer is sent as the peer takes it; nothing is received
        pausing,            // the same, between two pieces
        resetting,          // the connection is reset once the peer has all that was sent
    };
    // While an answer is late or long.
    struct Late {
        Content::State content;  // none: the request is whole
        bool must_watch;         // events have been ignored, so the socket may hold input
        bool has_rest;           // a block holds the input after the request
    };

    union [[gnu::packed]] {
        Exchange exchange;
        uint16_t stash;  // while receiving a head: the index of its first piece
    };
    State state;
    uint8_t deadline;  // the worker's time at which this state ends
    union [[gnu::packed]] {
        Content content;
        Late late;             // from delayed on
        uint32_t linger_left;  // while lingering: how much may still be discarded
    };

    // Whether input is answered as it arrives.
    [[nodiscard]] INLINE bool receives() const {
        return state == State::accepted || state == State::idle || state == State::receiving_content;
    }
    [[nodiscard]] constexpr bool is_between_requests() const {
        return state == State::accepted || state == State::idle;
    }
    [[nodiscard]] constexpr bool sends() const {
        return state == State::sending || state == State::sending_last || state == State::producing;
    }
    [[nodiscard]] constexpr bool is_late() const { return state >= State::delayed; }
    // Whether it waits for a time of its own, which is longer than any timeout perhaps.
    [[nodiscard]] constexpr bool has_delay() const { return state == State::delayed || state == State::pausing; }
};
static_assert(sizeof(Connection) == 32, "two connections share a cache line, none straddles one");
static_assert(sizeof(Connection) == exchange_distance);

// How many ticks a connection may stay in a state: one more than seconds, for the first tick may be near.
[[nodiscard]] constexpr uint8_t ticks_of(Connection::State state) {
    switch (state) {
    case Connection::State::accepted:
    case Connection::State::receiving_head:
        return head_timeout_s + 1;
    case Connection::State::idle:
        return idle_timeout_s + 1;
    case Connection::State::receiving_content:
        return content_timeout_s + 1;
    case Connection::State::sending:
    case Connection::State::sending_last:
    case Connection::State::producing:
    case Connection::State::resetting:
        return send_timeout_s + 1;
    case Connection::State::lingering:
        return linger_timeout_s + 1;
    case Connection::State::delayed:
    case Connection::State::pausing:
    case Connection::State::closed:
        break;
    }
    return 0;
}

// Output that is held up, and the input that waits for it. The small members first, so that few pages are used.
struct alignas(4096) Block {
    uint32_t output_begin, output_end;  // the part of `output` that is not sent yet
    uint32_t input_end;                 // how much of `input` is in use
    char input[input_size];
    char output[output_room];
};

// A piece of a partial head. Many peers may wait with one byte each, so the pieces are small and there are many of
// them. A longer head has a chain of pieces. Index 0 stands for none.
struct Stash {
    uint16_t next;  // the next piece of the head, or of the free ones
    // The rest is valid in the first piece of a head only.
    uint16_t older, newer;  // the first pieces of the heads that began before and after it
    uint16_t facts;         // Head::facts of its complete lines
    Method method;
    int32_t socket;  // the connection
    uint32_t size;   // how much has come
    uint32_t line;   // offset of the first incomplete line
    char bytes[stash_size - 24];
};
static_assert(sizeof(Stash) == stash_size && stash_count <= UINT16_MAX);
constexpr size_t stashes_for(size_t size) { return (size + sizeof(Stash::bytes) - 1) / sizeof(Stash::bytes); }

// The table of connections is searched in groups, so that a search skips groups without a connection.
constexpr size_t group_size = 128;
constexpr size_t group_count = (reserved_descriptors + connection_limit + group_size - 1) / group_size;
static_assert(group_size <= UINT8_MAX && (group_size & (group_size - 1)) == 0, "a count fits a byte, a mask a group");

// A timer of a connection: a member of a list. Behind the connections' timers stand the lists' heads.
struct Timer {
    uint32_t next;      // 0: it is the last one
    uint32_t previous;  // 0: it is in no list
    uint64_t due;       // in ticks of the wheel since the system's start. Of a head: at most that of any member
};

// The timers stand in a wheel (Varghese and Lauck 1987, scheme 7): a list for each digit at each place of a tick's
// number, in base 64. A timer is in the list of the first place at which its tick differs from the wheel's time. So it
// takes constant time to set and to cancel. When the wheel's time comes to a list, its members are due, or move to
// lists of later places.
constexpr unsigned tick_shift = 16;  // a tick has 2^16 ns
constexpr unsigned wheel_places = 8, digit_bits = 6, digit_count = 1u << digit_bits;
constexpr size_t connection_slots = group_count * group_size;
constexpr uint32_t new_timers = connection_slots;  // the list of those set in this turn of the loop
constexpr uint32_t due_timers = new_timers + 1;    // the list of those whose time has come
constexpr uint32_t wheel_lists = due_timers + 1;   // the lists of the wheel
constexpr size_t timer_slots = wheel_lists + wheel_places * digit_count;
static_assert(tick_shift + wheel_places * digit_bits >= 63, "any time has its list");

// What all workers share. A request needs none of it.
struct Process {
    int stop;                  // a timer that expires when the server is to end
    int room;                  // with a shared listener a timer that expires when a worker has no room; otherwise -1
    uint32_t running_workers;  // that have not drained yet; atomic, relaxed: it says nothing about other memory
    bool is_sandboxed;
    bool is_inherited;  // the listener may be another server's as well
    int run_file;       // holds the run
    char *run_memory;   // the same
    Bytes default_query;
};

// Every page that is touched between two system calls costs an address translation. So what a request uses shares
// pages: the top of the stack with the start of the output, the worker's state and events with the start of the
// input. The kernel maps a worker zeroed, page by page on first use.
struct alignas(4096) Worker {
    int listener;  // -1 once it is closed
    int epoll;
    int timer;                   // the clock's
    uint8_t now;                 // the clock's time: seconds, modulo 256
    bool is_ticking;             // the timer is set
    bool is_accepting;           // the listener is watched, or never will be again
    bool has_stopped_listening;  // the listener is closed or shut down
    uint32_t open_connections;
    uint32_t timer_count;  // timers that are set
    uint32_t drain_ticks;  // ticks since the order to stop, counting from 1; 0: there was none
    uint32_t overdue_at;   // the socket at which the search for overdue connections goes on; 0: it is not interrupted
    Process *process;
    Block *blocks;
    Stash *stashes;
    uint32_t block_limit;                 // blocks there are: fewer than block_count where memory is short
    uint32_t free_stashes;                // stashes that are free
    uint32_t fresh_stash;                 // the first of those that were never used
    uint16_t free_stash;                  // the first of those that were used and given back
    uint16_t oldest_stash, newest_stash;  // the first pieces of the heads that wait
    AnswerContext context;
    uint64_t wheel_time;  // in ticks; not after the present
    alignas(64) epoll_event events[events_per_wait];
    uint8_t group_sizes[group_count];  // open connections in each group of the table
    alignas(64) char input[input_size + overread];

    alignas(4096) char stack[stack_size];  // an overflow runs into the end of the input buffer, which is rarely used
    char output[output_room];

    alignas(64) Connection connections[connection_slots];  // by descriptor
    const Connection *block_owners[block_count];           // nullptr: the block is free
    Timer timers[timer_slots];
    LongAnswer long_answers[connection_slots];

    [[nodiscard]] COLD long socket_of(const Connection &connection) const { return &connection - connections; }
    // The index of the first block that belongs to `owner`, or block_limit.
    [[nodiscard]] size_t find_block(const Connection *owner) const {
        size_t index = 0;
        while (index != block_limit && block_owners[index] != owner) index++;
        return index;
    }
    [[nodiscard]] Block &block_of(const Connection &connection) {
        const size_t index = find_block(&connection);
        if (index == block_limit) __builtin_trap();  // better no bytes than another connection's
        return blocks[index];
    }
};

// With a shared listener, a connection wakes up one worker only.
constexpr uint32_t listening_events = EPOLLIN | EPOLLEXCLUSIVE;
constexpr uint32_t receiving_events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET;
constexpr uint32_t sending_events = EPOLLOUT | EPOLLRDHUP | EPOLLET;

// Sets the clock's timer to the next full second, or to less while the server drains or a tick's work is not done.
// Writes the Date of this second.
void run_clock(Worker &worker) {
    worker.is_ticking = true;
    const timespec now = clock_gettime(CLOCK_REALTIME);
    worker.context.second = uint32_t(now.tv_sec);
    put_head(worker.context.head, worker.context.second);
    int64_t left_ns = 1'000'000'000 - (now.tv_nsec | 1);  // | 1: less than a second
    if (worker.drain_ticks != 0) left_ns = drain_tick_ms * 1'000'000;
    if (worker.overdue_at != 0) left_ns = end_pause_ms * 1'000'000;
    (void)timerfd_settime(worker.timer, left_ns);  // cannot fail
}
void start_clock(Worker &worker) {
    if (!worker.is_ticking) run_clock(worker);
}

void ignore_listener(const Worker &worker) {
    (void)epoll_ctl(worker.epoll, EPOLL_CTL_DEL, worker.listener, 0);  // fails if it was not watched
}

// A resource is exhausted. Connections wait in the backlog until one of this worker's closes. Each tick tries again,
// since the resource may be the system's.
void pause_accepting(Worker &worker) {
    worker.is_accepting = false;
    worker.context.counters.add(Counter::exhausted);
    ignore_listener(worker);
    start_clock(worker);
    // The kernel has told no other worker of the connections that wait.
    if (worker.process->room >= 0) (void)timerfd_settime(worker.process->room, 1);  // now; cannot fail
}

// Accepts again, if that has paused. If the kernel refuses, the next tick tries again.
COLD void resume_accepting(Worker &worker) {
    if (worker.is_accepting || worker.has_stopped_listening) return;
    worker.is_accepting = epoll_ctl(worker.epoll, EPOLL_CTL_ADD, worker.listener, listening_events) == 0;
    if (!worker.is_accepting) start_clock(worker);
}

// If the connection has a block, it is free again.
COLD void give_back_block(Worker &worker, const Connection &connection) {
    const size_t index = worker.find_block(&connection);
    if (index != worker.block_limit) worker.block_owners[index] = nullptr;
}

// The index of a free stash, of which there must be one. Used ones come first, so that few pages are in use.
[[nodiscard]] uint16_t take_stash(Worker &worker) {
    worker.free_stashes--;
    uint16_t index = worker.free_stash;
    if (index != 0) worker.free_stash = worker.stashes[index].next;
    else index = uint16_t(worker.fresh_stash++);
    worker.stashes[index].next = 0;
    return index;
}

// Frees a head's chain of stashes, which begins with `index`.
void give_back_stashes(Worker &worker, uint16_t index) {
    Stash *const stashes = worker.stashes;
    const Stash &first = stashes[index];
    (first.older != 0 ? stashes[first.older].newer : worker.oldest_stash) = first.newer;
    (first.newer != 0 ? stashes[first.newer].older : worker.newest_stash) = first.older;
    worker.free_stashes += uint32_t(stashes_for(first.size));
    Stash *last = stashes + index;
    while (last->next != 0) last = stashes + last->next;
    last->next = worker.free_stash;
    worker.free_stash = index;
}

// Adds the next bytes of a head to its stashes, and what is known of it with them. `input` is the whole partial head.
// There are enough free stashes.
void add_to_stash(Worker &worker, Stash &first, const Head &head, Cursor input) {
    Bytes more{input.at + first.size, input.left() - first.size};
    size_t place = first.size;  // in the piece
    first.size = uint32_t(input.left());
    first.line = uint32_t(head.stopped_line - input.at);
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

// Puts a timer into a list.
void link_timer(Timer *timers, uint32_t list, uint32_t index) {
    Timer &timer = timers[index];
    timer.next = timers[list].next;
    timer.previous = list;
    if (timer.next != 0) timers[timer.next].previous = index;
    timers[list].next = index;
}
void unlink_timer(Timer *timers, uint32_t index) {
    Timer &timer = timers[index];
    timers[timer.previous].next = timer.next;
    if (timer.next != 0) timers[timer.next].previous = timer.previous;
    timer.previous = 0;
}

// Sets the connection's timer. Its time begins when this turn of the loop is over, and so never too early.
COLD void set_timer(Worker &worker, const Connection &connection, uint32_t delay_ms) {
    const auto index = uint32_t(worker.socket_of(connection));
    worker.timers[index].due = delay_ms;
    link_timer(worker.timers, new_timers, index);
    worker.timer_count++;
}
// If the connection's timer is set, it is no longer.
void cancel_timer(Worker &worker, const Connection &connection) {
    const auto index = uint32_t(worker.socket_of(connection));
    if (worker.timers[index].previous == 0) return;
    unlink_timer(worker.timers, index);
    worker.timer_count--;
}

// The digit of a tick's number that has this place, from the last one on.
constexpr uint32_t digit_at(uint64_t tick, unsigned place) {
    return uint32_t(tick >> place * digit_bits) & (digit_count - 1);
}
constexpr uint32_t list_of(unsigned place, uint32_t digit) { return wheel_lists + place * digit_count + digit; }

// Puts a timer into the wheel, or among those that are due.
void place_timer(Worker &worker, uint32_t index, uint64_t now) {
    Timer &timer = worker.timers[index];
    if (timer.due <= now) return link_timer(worker.timers, due_timers, index);
    unsigned place = 0;
    for (uint64_t rest = (timer.due ^ worker.wheel_time) >> digit_bits; rest != 0; rest >>= digit_bits) place++;
    const uint32_t list = list_of(place, digit_at(timer.due, place));
    Timer &head = worker.timers[list];
    if (head.next == 0 || timer.due < head.due) head.due = timer.due;
    link_timer(worker.timers, list, index);
}

// The list of the wheel whose time comes first, or 0. Lists of a digit that the wheel's time has passed have no members.
[[nodiscard]] uint32_t find_first_list(const Worker &worker) {
    for (unsigned place = 0; place < wheel_places; place++)
        for (uint32_t digit = digit_at(worker.wheel_time, place); digit < digit_count; digit++)
            if (worker.timers[list_of(place, digit)].next != 0) return list_of(place, digit);
    return 0;
}

// Takes the members of a list out of it, and puts them where they belong now.
void place_all(Worker &worker, uint32_t list, uint64_t now) {
    while (const uint32_t index = worker.timers[list].next) {
        unlink_timer(worker.timers, index);
        place_timer(worker, index, now);
    }
}

// Moves on to `now`: finds the timers that are due, unless some are already. (Those of an earlier turn come first.)
void turn_wheel(Worker &worker, uint64_t now) {
    if (worker.timers[due_timers].next != 0) return;
    while (const uint32_t list = find_first_list(worker)) {
        if (worker.timers[list].due > now) return;
        worker.wheel_time = worker.timers[list].due;
        place_all(worker, list, now);
    }
}

// Waits for events while timers are set, at most until the next one is due. A timer that is due is an event without
// flags. Returns how many events there are. The clock is read once.
COLD long wait_with_timers(Worker &worker) {
    const int64_t now_ns = monotonic_ns();
    uint64_t now = uint64_t(now_ns) >> tick_shift;
    while (const uint32_t index = worker.timers[new_timers].next) {
        unlink_timer(worker.timers, index);
        Timer &timer = worker.timers[index];
        const int64_t due_ns = now_ns + int64_t(timer.due) * 1'000'000;
        timer.due = (uint64_t(due_ns) >> tick_shift) + 1;  // the next tick, so not too early
        place_timer(worker, index, now);
    }
    turn_wheel(worker, now);
    int64_t limit_ns = 0;
    const uint32_t list = find_first_list(worker);
    if (worker.timers[due_timers].next == 0 && list != 0)
        limit_ns = int64_t(worker.timers[list].due << tick_shift) - now_ns;
    long count = epoll_wait_for(worker.epoll, worker.events, events_per_wait / 2, limit_ns);
    if (count == 0 && limit_ns != 0) turn_wheel(worker, worker.timers[list].due);
    if (count < 0) count = 0;  // EINTR
    for (size_t turn = 0; turn < events_per_wait / 2; turn++) {
        const uint32_t index = worker.timers[due_timers].next;
        if (index == 0) break;
        unlink_timer(worker.timers, index);
        worker.timer_count--;
        worker.events[count++] = {0, index};
    }
    return count;
}

// ---- Connections -----------------------------------------------------------------------------------------------
// The transitions of a connection. Each returns what its caller does next. A connection holds memory of its own only
// while it waits in the middle of something: stashes for a partial head, a block for output that its peer does not
// take.

enum class [[nodiscard]] Next : uint8_t{
    wait,     // nothing: the next event of the connection is watched for
    receive,  // the same, but watch anew first if the socket may hold input that no event will report
    close,
};

// What an event has brought: input to be answered, unless `next` is close.
struct [[nodiscard]] Arrival {
    size_t size;      // of the input, in the input buffer
    bool is_drained;  // the socket holds no more of it, as far as can be known
    Next next;
};
constexpr Arrival without_input(Next next) { return {0, false, next}; }

// Enters a state, with the time that this state has.
void enter(const Worker &worker, Connection &connection, Connection::State state) {
    connection.state = state;
    connection.deadline = uint8_t(worker.now + ticks_of(state));
}

// Watches for what the state needs. What is there already is reported, too.
COLD Next watch_anew(const Worker &worker, const Connection &connection) {
    const uint32_t events = connection.sends() ? sending_events : receiving_events;
    const long result = epoll_ctl(worker.epoll, EPOLL_CTL_MOD, worker.socket_of(connection), events);
    return result == 0 ? Next::wait : Next::close;
}

COLD void give_back_head(Worker &worker, Connection &connection) {
    give_back_stashes(worker, connection.stash);
    connection.state = Connection::State::idle;
}

void close_connection(Worker &worker, Connection &connection) {
    if (connection.state == Connection::State::receiving_head) [[unlikely]]
        give_back_head(worker, connection);
    if (connection.sends() || connection.is_late()) [[unlikely]]
        give_back_block(worker, connection);
    if (connection.is_late()) [[unlikely]]
        cancel_timer(worker, connection);
    connection.state = Connection::State::closed;
    worker.open_connections--;
    const long socket = worker.socket_of(connection);
    worker.group_sizes[size_t(socket) / group_size]--;
    (void)close(socket);  // frees the descriptor whatever it returns
    resume_accepting(worker);
}

// Keeps output and input in the connection's block, or in a free one of the first `limit` blocks.
Next hold(Worker &worker, const Connection &connection, Bytes output, Bytes input, size_t limit) {
    size_t index = worker.find_block(&connection);
    Block *block = worker.blocks + index;
    if (index == worker.block_limit) {
        index = worker.find_block(nullptr);  // the first free one, so that few pages are in use
        if (index >= limit) return Next::close;
        worker.block_owners[index] = &connection;
        block = worker.blocks + index;
        block->input_end = uint32_t(input.size);
        put(block->input, input);
    }
    block->output_begin = 0;
    block->output_end = uint32_t(output.size);
    put(block->output, output);
    return Next::wait;
}

// Output, `size` bytes of the output buffer, was given to send, which returned `sent`. What was not taken waits in a
// block until the socket is writable, in this state of the connection; so does `rest`, the input that is not answered
// yet, unless the block has input already. Returns Next::receive if all was taken.
COLD Next settle_output(Worker &worker, Connection &connection, Cursor rest, long sent, size_t size,
                        Connection::State state) {
    if (sent == -EAGAIN || sent == -EINTR) sent = 0;
    if (sent < 0) return Next::close;
    worker.context.counters.add(Counter::bytes_out, size_t(sent));
    if (sent == long(size)) return Next::receive;
    worker.context.counters.add(Counter::stalled);
    const Bytes held = Bytes{worker.output, size}.after(size_t(sent));
    if (hold(worker, connection, held, {rest.at, rest.left()}, worker.block_limit) == Next::close) return Next::close;
    enter(worker, connection, state);
    return watch_anew(worker, connection);
}

// Discards what arrives after the last answer, until the peer closes or has sent too much: closing with unread input
// would send a reset, which could destroy that answer (RFC 9112 section 9.6).
Next linger(Worker &worker, Connection &connection) {
    for (;;) {
        const long got = recv(worker.socket_of(connection), worker.input, input_size);
        if (got == -EINTR) continue;
        if (got <= 0) return got == -EAGAIN ? Next::wait : Next::close;
        if (uint64_t(got) >= connection.linger_left) return Next::close;
        connection.linger_left -= uint32_t(got);
    }
}

// The last answer is sent, and the peer may still send.
Next finish(Worker &worker, Connection &connection) {
    if (shutdown(worker.socket_of(connection), SHUT_WR) != 0) return Next::close;
    enter(worker, connection, Connection::State::lingering);
    connection.linger_left = linger_limit;
    return watch_anew(worker, connection);
}

// Refuses a request, in this one place. What follows it on the connection is not interpreted. A request that was
// answered before its content gets no second answer.
COLD void refuse_request(Connection &connection, Answer &answer, Status status) {
    if (connection.exchange.manner.status != Status::answered) connection.exchange.manner.status = status;
    connection.exchange.manner.persistence = Persistence::close;
    answer_rare(connection.exchange, answer);
}

// Sends the last answer, and the end of the stream in the same segment.
Next send_last(Worker &worker, Connection &connection, size_t size) {
    if (size == 0) return finish(worker, connection);
    const Cursor none{worker.input, worker.input};
    const long sent = send(worker.socket_of(connection), worker.output, size, MSG_MORE);
    const Next next = settle_output(worker, connection, none, sent, size, Connection::State::sending_last);
    return next == Next::receive ? finish(worker, connection) : next;
}

// Closes with a reset, so that the kernel does not keep what the peer does not take.
Next reset(const Worker &worker, const Connection &connection) {
    (void)setsockopt(worker.socket_of(connection), SOL_SOCKET, SO_LINGER, 1);  // cannot fail
    return Next::close;
}

// Ends a connection whose time is over, or whose stashes another one needs. A request that has come in part is
// answered with 408 (RFC 9110 section 15.5.9). Half an empty line is not part of one.
Next expire(Worker &worker, Connection &connection) {
    using enum Connection::State;
    worker.context.counters.add(Counter::expired);
    if (connection.state == receiving_head) {
        const Stash &first = worker.stashes[connection.stash];
        const bool has_begun = first.bytes[0] != '\r';
        const bool is_head = first.method == Method::head;
        give_back_head(worker, connection);
        connection.exchange.manner = Exchange::Manner{Status::ok, Persistence::keep, is_head, false};
        if (!has_begun) return Next::close;
    } else if (connection.state != receiving_content) {
        return connection.sends() || connection.state == resetting ? reset(worker, connection) : Next::close;
    }
    Answer answer{worker.output, &worker.context};
    refuse_request(connection, answer, Status::request_timeout);
    return send_last(worker, connection, size_t(answer.at - worker.output));
}

// Frees stashes until there are `count`, at the cost of the heads that have waited longest. Returns false if the next
// one would be the connection's own.
[[nodiscard]] bool make_room(Worker &worker, const Connection &connection, size_t count) {
    while (worker.free_stashes < count) {
        if (worker.oldest_stash == 0) return false;
        Connection &oldest = worker.connections[worker.stashes[worker.oldest_stash].socket];
        if (&oldest == &connection) return false;
        if (expire(worker, oldest) == Next::close) close_connection(worker, oldest);
    }
    return true;
}

// Waits for the rest of a request. `input` is its partial head, or empty. The time runs from the request's first
// byte. Empty lines, and half of one, are not part of a request and bring no time.
Next await_rest(Worker &worker, Connection &connection, Cursor input) {
    using enum Connection::State;
    if (!connection.content.is_between_requests()) {
        if (connection.state != receiving_content) enter(worker, connection, receiving_content);
        return Next::receive;
    }
    connection.state = idle;
    if (input.left() == 0) return Next::receive;

    Head head;
    head.stopped_line = input.at;
    (void)is_still_incomplete(input, head);  // only to fill `head`
    if (!make_room(worker, connection, stashes_for(input.left()))) return Next::close;
    const uint16_t index = take_stash(worker);
    Stash &first = worker.stashes[index];
    first.older = worker.newest_stash;
    first.newer = 0;
    first.socket = int32_t(worker.socket_of(connection));
    first.size = 0;
    (first.older != 0 ? worker.stashes[first.older].newer : worker.oldest_stash) = index;
    worker.newest_stash = index;
    add_to_stash(worker, first, head, input);
    connection.stash = index;
    connection.state = receiving_head;
    if (*input.at != '\r') enter(worker, connection, receiving_head);
    return Next::receive;
}

// How far the input has been answered.
enum class Progress : uint8_t {
    all,      // to its end, or until the output buffer was full
    to_rest,  // to a request that has not arrived whole
    to_late,  // to a request whose answer is late or long; there is no output before it
    to_last,  // to the connection's last request
    to_end,   // the same, and the peer is done: it asked for the end, and has sent nothing after that
};

[[nodiscard]] COLD bool is_late(const Exchange &exchange) {
    return exchange.manner.status == Status::ok &&
           (ask_route<&RouteFunctions::delay_ms>(exchange) != 0 || ask_route<&RouteFunctions::is_long>(exchange));
}

// The late or long answer is sent. If input waits in a block, the next event goes on with it.
Next end_late_answer(Worker &worker, Connection &connection) {
    if (connection.exchange.manner.persistence == Persistence::close) return finish(worker, connection);
    const bool must_watch = connection.late.must_watch, has_rest = connection.late.has_rest;
    connection.content.state = Content::State::none;
    enter(worker, connection, has_rest ? Connection::State::sending : Connection::State::idle);
    return has_rest || must_watch ? watch_anew(worker, connection) : Next::receive;
}

// The next part of a long answer: of its head, or of its content. Not more of it than is sent before a reset.
[[nodiscard]] Part take_part(Worker &worker, const Connection &connection, uint64_t offset, char *at, size_t room) {
    const LongAnswer &answer = worker.long_answers[worker.socket_of(connection)];
    const Exchange &exchange = connection.exchange;
    Part part{};
    if (offset < answer.head_size) {
        // The same bytes as before: with its own Date, and not counted again.
        AnswerContext &context = worker.context;
        const Counters counters = context.counters;
        if (answer.second != context.second) put_head(context.head, answer.second);
        Answer head{at, &context};
        answer_rare(exchange, head);
        if (answer.second != context.second) put_head(context.head, context.second);
        context.counters = counters;
        part.bytes = Bytes{at, answer.head_size}.after(offset);
    } else if (!exchange.manner.is_head) {
        const uint64_t content_offset = offset - answer.head_size;
        part = ask_route<&RouteFunctions::part_at>(exchange, content_offset, at, room, worker.context);
    }
    if (part.bytes.size > answer.reset_at - offset) part.bytes.size = answer.reset_at - offset;
    return part;
}

// Sends a long answer, as far as the peer takes it now. What is short is collected in the output buffer and sent
// together, up to the end of a piece. `has_paused`: the pause before the next piece is over.
Next produce(Worker &worker, Connection &connection, bool has_paused) {
    using enum Connection::State;
    const long socket = worker.socket_of(connection);
    LongAnswer &answer = worker.long_answers[socket];
    const uint32_t pause_ms = ask_route<&RouteFunctions::pause_ms>(connection.exchange);
    size_t work = 0;
    for (;;) {
        char *at = worker.output;
        Part part;
        for (;;) {
            const size_t size = size_t(at - worker.output), room = output_size - size;
            part = take_part(worker, connection, answer.sent + size, at, room);
            if (part.bytes.size == 0 || (part.begins_piece && size != 0)) break;
            if (part.begins_piece && pause_ms != 0 && !has_paused) {
                connection.state = pausing;
                set_timer(worker, connection, pause_ms);
                return Next::receive;
            }
            const bool is_in_run = size_t(part.bytes.data - worker.context.run) < run_size;
            const bool is_large = part.bytes.size >= sendfile_size && is_in_run;
            if (is_large || room < answer_head_limit) break;
            work += part_work;
            const size_t taken = part.bytes.size < room ? part.bytes.size : room;
            __builtin_memmove(at, part.bytes.data, taken);  // it may overlap
            at += taken;
        }
        has_paused = false;
        size_t size = size_t(at - worker.output);
        work += size + call_work;
        long sent;
        if (size != 0) {
            sent = send(socket, worker.output, size, part.bytes.size != 0 && !part.begins_piece ? MSG_MORE : 0);
        } else if (part.bytes.size != 0) {
            size = part.bytes.size;
            work += size;
            sent = sendfile(socket, worker.process->run_file, part.bytes.data - worker.context.run, size);
        } else {
            if (answer.sent != answer.reset_at) return end_late_answer(worker, connection);
            enter(worker, connection, resetting);
            set_timer(worker, connection, 0);
            return Next::receive;
        }
        if (sent < 0 && sent != -EAGAIN && sent != -EINTR) return Next::close;
        enter(worker, connection, producing);
        if (sent > 0) {
            answer.sent += uint64_t(sent);
            worker.context.counters.add(Counter::bytes_out, uint64_t(sent));
        }
        if (sent != long(size) || work > produce_limit) break;
    }
    answer.unacknowledged = UINT32_MAX;
    connection.deadline = uint8_t(worker.now + first_look_ticks);
    connection.late.must_watch = true;
    return watch_anew(worker, connection);
}

// A producing connection has not been able to send for some time. Returns whether its peer reads nevertheless: the
// kernel reports room only when there is much of it. The first look only sees where the peer's own buffers end.
[[nodiscard]] bool has_progressed(Worker &worker, Connection &connection) {
    const long socket = worker.socket_of(connection);
    LongAnswer &answer = worker.long_answers[socket];
    const uint32_t before = answer.unacknowledged;
    answer.unacknowledged = unacknowledged(socket);
    const bool has = answer.unacknowledged != before;
    if (has) enter(worker, connection, Connection::State::producing);
    return has;
}

// The delay of an answer is over.
Next answer_late(Worker &worker, Connection &connection) {
    worker.context.counters.add(Counter::requests);
    Answer answer{worker.output, &worker.context};
    answer_rare(connection.exchange, answer);
    const size_t size = size_t(answer.at - worker.output);
    if (ask_route<&RouteFunctions::is_long>(connection.exchange)) {
        LongAnswer &long_answer = worker.long_answers[worker.socket_of(connection)];
        long_answer.sent = 0;
        long_answer.head_size = uint32_t(size);
        long_answer.second = worker.context.second;
        return produce(worker, connection, false);
    }
    if (connection.exchange.manner.persistence == Persistence::close) return send_last(worker, connection, size);
    const Cursor none{worker.input, worker.input};
    const long sent = send(worker.socket_of(connection), worker.output, size);
    const Next next = settle_output(worker, connection, none, sent, size, Connection::State::sending);
    return next == Next::receive ? end_late_answer(worker, connection) : next;
}

// Begins a late or long answer. `rest` is the input after its request. It needs a block, and only half of the blocks
// are for this. If none is free, this answer is the connection's last one.
Next begin_late_answer(Worker &worker, Connection &connection, Cursor rest) {
    while (stands_at(rest.at, "\r\n")) rest.at += 2;  // empty lines
    Exchange &exchange = connection.exchange;
    connection.late = {Content::State::none, false, false};
    if (rest.left() != 0 && exchange.manner.persistence != Persistence::close) {
        const Bytes input{rest.at, rest.left()};
        connection.late.has_rest = hold(worker, connection, {}, input, (worker.block_limit + 1) / 2) == Next::wait;
        if (!connection.late.has_rest) exchange.manner.persistence = Persistence::close;
    }
    const uint32_t delay_ms = ask_route<&RouteFunctions::delay_ms>(exchange);
    connection.state = Connection::State::delayed;
    if (delay_ms == 0) return answer_late(worker, connection);
    set_timer(worker, connection, delay_ms);
    return Next::receive;
}

// An event of a connection whose answer is late or long. One without flags is its timer's.
Next go_on_late(Worker &worker, Connection &connection, uint32_t events) {
    using enum Connection::State;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) return Next::close;
    if (events == 0 && connection.state == delayed) {
        if (worker.drain_ticks != 0 && !connection.late.has_rest && !connection.late.must_watch)
            connection.exchange.manner.persistence = Persistence::close;  // it is the last request
        return answer_late(worker, connection);
    }
    if (events == 0 && connection.state == pausing) return produce(worker, connection, true);
    if (events == 0 && connection.state == resetting) {
        if (unacknowledged(worker.socket_of(connection)) == 0) return reset(worker, connection);
        set_timer(worker, connection, reset_pause_ms);
        return Next::wait;
    }
    // An end of the peer's stream is reported each time that the socket is watched anew.
    connection.late.must_watch = true;
    const bool is_writable = connection.state == producing && (events & EPOLLOUT) != 0;
    return is_writable ? produce(worker, connection, false) : Next::wait;
}

// Sends answers, `size` bytes of the output buffer, if the input does not simply go on after them. `rest` is the input
// that is not answered yet.
COLD Next settle(Worker &worker, Connection &connection, Cursor rest, size_t size, Progress progress) {
    if (progress == Progress::to_late) return begin_late_answer(worker, connection, rest);
    if (progress == Progress::to_last) return send_last(worker, connection, size);
    if (size != 0) {
        const bool is_end = progress == Progress::to_end;
        enter(worker, connection, Connection::State::idle);
        const long sent = send(worker.socket_of(connection), worker.output, size, is_end ? MSG_MORE : 0);
        const Next next = settle_output(worker, connection, rest, sent, size,
                                        is_end ? Connection::State::sending_last : Connection::State::sending);
        if (next != Next::receive) return next;
        if (is_end) {
            (void)shutdown(worker.socket_of(connection), SHUT_WR);  // sends the end in the answer's segment
            return Next::close;
        }
    }
    return await_rest(worker, connection, rest);
}

// The socket takes output again. Once all that was held up is sent, the input that waited for it is to be answered.
Arrival resume(Worker &worker, Connection &connection) {
    Block &block = worker.block_of(connection);
    while (const size_t left = block.output_end - block.output_begin) {
        const int flags = connection.state == Connection::State::sending_last ? MSG_MORE : 0;
        const long sent = send(worker.socket_of(connection), block.output + block.output_begin, left, flags);
        if (sent == -EINTR) continue;
        if (sent < 0) return without_input(sent == -EAGAIN ? Next::wait : Next::close);
        worker.context.counters.add(Counter::bytes_out, size_t(sent));
        block.output_begin += uint32_t(sent);
    }
    give_back_block(worker, connection);  // it is not reused before the next line
    put(worker.input, {block.input, block.input_end});
    if (connection.state == Connection::State::sending_last) return without_input(finish(worker, connection));
    const bool is_idle = connection.content.is_between_requests();
    enter(worker, connection, is_idle ? Connection::State::idle : Connection::State::receiving_content);
    return {block.input_end, false, watch_anew(worker, connection)};
}

// Whether a recv that filled the input buffer up to `end` has drained the socket, as far as can be known. It usually
// has, if there was room for more. The first exception is an end of stream that has arrived; no further event will
// announce it. The second one is urgent data, which ends a recv early. (So do descriptors passed over a Unix socket,
// and urgent data out of order, which no event shows. See end_overdue().)
[[nodiscard]] INLINE bool has_drained(const Worker &worker, const char *end, uint32_t events) {
    return end < worker.input + input_size && (events & (EPOLLRDHUP | EPOLLPRI)) == 0;
}

// Receives the next bytes of a partial head. When the head is complete, or wrong, it is input to be answered.
Arrival receive_head(Worker &worker, Connection &connection, uint32_t events) {
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
    if (got <= 0) return without_input(got == -EAGAIN ? Next::wait : Next::close);
    worker.context.counters.add(Counter::bytes_in, size_t(got));
    end[got] = '\0';
    const Cursor input{worker.input, end + got};
    const bool is_drained = has_drained(worker, input.end, events);
    Head head;
    head.stopped_line = worker.input + first.line;
    head.facts = first.facts;
    head.method = first.method;
    if (!is_still_incomplete(input, head)) {
        give_back_head(worker, connection);
        return {input.left(), is_drained, Next::wait};
    }
    if (!make_room(worker, connection, stashes_for(input.left()) - stashes_for(first.size)))
        return without_input(expire(worker, connection));
    add_to_stash(worker, first, head, input);
    return without_input(is_drained ? Next::wait : watch_anew(worker, connection));
}

// ---- Worker loop -----------------------------------------------------------------------------------------------
// One thread's life: wait, accept, receive, answer, send, and once a second look at the clock. The clock stands still
// while there are no connections, so an idle server does not wake up.

// What is answered before a request's content: 100 (Continue) to a client that waits for it, and all of the answer if
// the route does without the content. An error that the head determines comes at once, not after content that nobody
// needs. So the connection cannot go on (RFC 9110 section 10.1.1). Returns that error, or ok.
[[nodiscard]] COLD Status answer_early(Exchange &exchange, const Head &head, Answer &answer, bool awaits_content) {
    const Status status = exchange.manner.status;
    if (head.says(Head::expects_continue) && !head.says(Head::is_http_1_0)) {
        if (status != Status::ok && status != Status::options) return status;
        if (awaits_content) answer.at = put(answer.at, "HTTP/1.1 100 Continue\r\n\r\n"_b);
    }
    if (status == Status::ok && exchange.manner.is_other && ask_route<&RouteFunctions::answers_at_once>(exchange)) {
        answer_rare(exchange, answer);
        exchange.manner.status = Status::answered;
    }
    return Status::ok;
}

// Takes one request, or what has arrived of it. A head is taken whole or not at all, content as far as it has arrived.
INLINE Taken take_request(AnswerContext &context, Connection &connection, Cursor input, Answer &answer) {
    Exchange &exchange = connection.exchange;
    const char *const begin = input.at;
    if (connection.content.is_between_requests()) [[likely]] {
        Head head;
        const Taken taken = take_head(input, head);
        if (taken.parse != Parse::complete) [[unlikely]] {
            const bool is_head = head.method == Method::head;  // a refusal of HEAD has no content either
            exchange.manner = Exchange::Manner{Status::ok, Persistence::keep, is_head, false};
            return taken;
        }
        begin_exchange(exchange, head, begin, taken.at, context);
        if (head.framing == Framing::no_content) [[likely]]
            return taken;
        input.at = taken.at;
        connection.content = begin_content(head);
        if (head.says(Head::expects_continue) || exchange.manner.is_other) [[unlikely]] {
            const Status status = answer_early(exchange, head, answer, input.left() == 0);
            if (status != Status::ok) return judged(input.at, status);
        }
    }
    return take_content(input, connection.content, [&](Bytes piece) { take_piece(exchange, piece); });
}

// How far answer_requests has come, and where that is in the input.
struct Answered {
    const char *at;
    Progress progress;
};

// While the server drains, a request after which nothing has arrived is the connection's last one, unless it is answered
// already.
COLD void end_if_last(const Worker &worker, Connection &connection) {
    Exchange::Manner &manner = connection.exchange.manner;
    if (manner.status != Status::answered && peek(worker.socket_of(connection)) <= 0)
        manner.persistence = Persistence::close;
}

// A late or long answer begins with no output before it. If there is some, the request is taken again when that is
// sent. It came whole with this input: otherwise the output would have been sent before it.
COLD Answered begin_alone(Worker &worker, const Answer &answer, const char *begin, const char *end) {
    if (answer.at == worker.output) return {end, Progress::to_late};
    worker.context.random = worker.context.random_before;
    return {begin, Progress::all};
}

// Takes one request after the other and composes the answers.
INLINE Answered answer_requests(Worker &worker, Connection &connection, Cursor input, bool is_drained, Answer &answer) {
    for (;;) {
        const char *const begin = input.at;
        const Taken taken = take_request(worker.context, connection, input, answer);
        input.at = taken.at;
        if (taken.parse != Parse::complete) [[unlikely]] {
            if (taken.parse == Parse::empty_line && input.left() != 0) continue;
            if (taken.parse != Parse::refused) return {input.at, Progress::to_rest};
            refuse_request(connection, answer, taken.status);
            return {input.at, Progress::to_last};
        }
        if (worker.drain_ticks != 0 && input.left() == 0) [[unlikely]]
            end_if_last(worker, connection);
        if (!connection.exchange.is_plain() && connection.exchange.manner.is_other && is_late(connection.exchange))
            [[unlikely]]
            return begin_alone(worker, answer, begin, input.at);
        worker.context.counters.add(Counter::requests);
        if (!answer_exchange(connection.exchange, answer)) {
            const bool has_output = answer.at != worker.output;
            const bool is_end = has_output && input.left() == 0 && is_drained && worker.drain_ticks == 0;
            return {input.at, is_end ? Progress::to_end : Progress::to_last};
        }
        if (input.left() == 0 || answer.at > worker.output + output_size) return {input.at, Progress::all};
    }
}

// Answers all complete requests in the input buffer.
INLINE Next serve(Worker &worker, Connection &connection, int socket, const Arrival &arrival) {
    worker.input[arrival.size] = '\0';
    Cursor input{worker.input, worker.input + arrival.size};
    Next next = Next::receive;
    do {
        Answer answer{worker.output, &worker.context};
        const Answered answered = answer_requests(worker, connection, input, arrival.is_drained, answer);
        input.at = answered.at;
        const size_t size = size_t(answer.at - worker.output);
        if (answered.progress != Progress::all) [[unlikely]] {
            next = settle(worker, connection, input, size, answered.progress);
            break;
        }
        connection.state = Connection::State::idle;
        connection.deadline = uint8_t(worker.now + ticks_of(Connection::State::idle));
        const long sent = send(socket, worker.output, size);
        if (sent != long(size)) [[unlikely]] {
            next = settle_output(worker, connection, input, sent, size, Connection::State::sending);
            break;
        }
        worker.context.counters.add(Counter::bytes_out, size);
    } while (input.left() != 0);
    if (arrival.is_drained || next != Next::receive) [[likely]]
        return next;
    return watch_anew(worker, connection);
}

// Receives once. What that leaves in the socket is reported anew, so others get a turn before it.
INLINE Arrival receive(Worker &worker, const Connection &connection, int socket, uint32_t events) {
    const long got = recv(socket, worker.input, input_size);
    if (got <= 0) [[unlikely]] {
        if (got == -EINTR) return without_input(watch_anew(worker, connection));
        return without_input(got == -EAGAIN ? Next::wait : Next::close);
    }
    worker.context.counters.add(Counter::bytes_in, size_t(got));
    return {size_t(got), has_drained(worker, worker.input + got, events), Next::wait};
}

// After a second look the deadline of a connection is this far in the past: further than a tick may be late.
constexpr int8_t looked_again = -64;

// Whether the time of a connection is over. While the server drains, one between requests has a second after its last
// request, and none at all once the grace period is over.
[[nodiscard]] bool is_overdue(const Worker &worker, const Connection &connection) {
    const auto left = int8_t(connection.deadline - worker.now);
    if (left <= 0) return true;
    if (worker.drain_ticks == 0 || !connection.is_between_requests()) return false;
    const bool is_first = connection.state == Connection::State::accepted;
    const bool is_recent = left >= ticks_of(connection.state) - 1;
    return !is_recent || worker.drain_ticks > (is_first ? drain_first_ticks : drain_grace_ticks);
}

// Ends an overdue connection. If input has arrived that no event has reported, the connection gets a new event and
// one more tick. By then the input must have been answered, or have begun a request, which has another deadline.
Next end_overdue(Worker &worker, Connection &connection) {
    if (connection.state == Connection::State::producing && has_progressed(worker, connection)) return Next::wait;
    const bool was_looked_at = int8_t(connection.deadline - worker.now) <= looked_again / 2;
    const bool awaits_input = connection.receives() || connection.state == Connection::State::receiving_head;
    if (!awaits_input || was_looked_at || peek(worker.socket_of(connection)) == -EAGAIN)
        return expire(worker, connection);
    connection.deadline = uint8_t(worker.now + looked_again);
    return watch_anew(worker, connection);
}

// Ends all overdue connections, but no more in a row than others can wait for. Returns whether it reached the end of
// the table. If not, the next call goes on at `overdue_at`.
[[nodiscard]] bool end_all_overdue(Worker &worker) {
    size_t turns = 0;
    for (size_t socket = worker.overdue_at; socket < connection_slots; socket++) {
        if (worker.group_sizes[socket / group_size] == 0) {
            socket |= group_size - 1;  // the last one of the group, whose page stays untouched
            continue;
        }
        Connection &connection = worker.connections[socket];
        if (connection.state == Connection::State::closed || connection.has_delay() || !is_overdue(worker, connection))
            continue;
        if (turns++ == end_turns) {
            worker.overdue_at = uint32_t(socket);
            return false;
        }
        if (end_overdue(worker, connection) == Next::close) close_connection(worker, connection);
    }
    worker.overdue_at = 0;
    return true;
}

// From now on the socket drops packets with fewer hops left. Neither call can fail on a socket with that version of IP.
// Returns what the call for IPv4 returns, which sockets of IPv6 accept as well.
long drop_by_hops(long socket, int smallest) {
    (void)setsockopt(socket, IPPROTO_IPV6, IPV6_MINHOPCOUNT, smallest);
    return setsockopt(socket, IPPROTO_IP, IP_MINTTL, smallest);
}

// Accepts waiting connections, but no more in a row than others can wait for. Returns whether none are left.
inline bool accept_connections(Worker &worker) {
    for (size_t turn = 0; turn < accept_turns; turn++) {
        const bool has_room = worker.open_connections < connection_limit;
        const long socket = has_room ? accept4(worker.listener, SOCK_NONBLOCK) : -EMFILE;
        if (socket < 0) [[unlikely]] {
            if (socket == -EAGAIN) return true;
            if (socket == -EINTR) continue;
            // Errors from 64 on come from the network and pass (accept(2)); the listener is reported as long as
            // connections wait. The others may last.
            if (socket > -64 || socket == -ENOBUFS) pause_accepting(worker);
            return false;
        }
        const bool fits = size_t(socket) < connection_slots;
        if (!fits || epoll_ctl(worker.epoll, EPOLL_CTL_ADD, socket, receiving_events) != 0) [[unlikely]] {
            (void)close(socket);  // frees the descriptor whatever it returns
            continue;
        }
        if (worker.drain_ticks != 0) [[unlikely]]
            (void)drop_by_hops(socket, 0);  // see drain()
        Connection &connection = worker.connections[socket];
        enter(worker, connection, Connection::State::accepted);
        connection.content.state = Content::State::none;
        worker.open_connections++;
        worker.context.counters.add(Counter::accepted);
        worker.group_sizes[size_t(socket) / group_size]++;
        start_clock(worker);
    }
    return false;
}

// The server is to end. Connections whose handshake has begun are still accepted for a short time: closing a listener
// resets those in its queue. New handshakes do not begin. The listener drops every SYN. The peer sends it again after
// a second, and then finds the port's next owner, or none. It drops them because it demands more hops than any packet
// has. The minimum does not apply to the end of a handshake. (A socket filter would need a capability.) Accepted
// sockets inherit the minimum until it is taken back; what they dropped is soon sent again. A Unix socket has no
// hops: it refuses new connections, and keeps those in its queue.
void drain(Worker &worker) {
    worker.drain_ticks = 1;
    if (worker.process->is_inherited || drop_by_hops(worker.listener, 255) != -EOPNOTSUPP) return;
    (void)shutdown(worker.listener, SHUT_RD);
    worker.has_stopped_listening = true;
    ignore_listener(worker);  // otherwise its end would be reported forever
    while (!accept_connections(worker) && worker.is_accepting) {}
}

// A tick while the server drains. The first may come together with the order to stop. The last worker that has no
// connection left ends the process.
void go_on_draining(Worker &worker) {
    worker.drain_ticks++;
    if (worker.listener >= 0) {
        if (worker.drain_ticks <= drain_grace_ticks || !accept_connections(worker)) return run_clock(worker);
        worker.has_stopped_listening = true;
        ignore_listener(worker);  // closing it does not, if another process has it open
        (void)close(worker.listener);
        worker.listener = -1;
    }
    if (worker.open_connections != 0) return run_clock(worker);
    if (__atomic_sub_fetch(&worker.process->running_workers, 1, __ATOMIC_RELAXED) == 0) exit_group(0);
}

// The clock has ticked, or goes on with the work of the last tick. It ticks as long as there are connections, or
// accepting has paused.
void tick(Worker &worker) {
    if (worker.overdue_at == 0 && worker.drain_ticks % 8 == 0) worker.now++;
    if (!end_all_overdue(worker)) return run_clock(worker);
    if (worker.drain_ticks != 0) return go_on_draining(worker);
    resume_accepting(worker);
    worker.is_ticking = false;
    if (worker.open_connections != 0 || !worker.is_accepting) run_clock(worker);
}

// Any event but those of the listener and of connections that just receive.
COLD Arrival handle_rare_event(Worker &worker, Connection &connection, int descriptor, uint32_t events) {
    using enum Connection::State;
    if (descriptor == worker.process->stop) {
        drain(worker);
        tick(worker);
    } else if (descriptor == worker.timer) {
        tick(worker);
    } else if (descriptor == worker.process->room) {
        if (worker.is_accepting && !worker.has_stopped_listening) {
            ignore_listener(worker);  // so that what waits there is reported to this worker, too
            worker.is_accepting = false;
            resume_accepting(worker);
        }
    } else if (connection.state == receiving_head) {
        return receive_head(worker, connection, events);
    } else if (connection.state == lingering) {
        return without_input(linger(worker, connection));
    } else if (connection.is_late()) {
        return without_input(go_on_late(worker, connection, events));
    } else if (connection.sends()) {
        return resume(worker, connection);
    }  // otherwise it was closed by an event that came at the same time
    return without_input(Next::wait);
}

// The kernel's calls overwrite the processor's stack of return addresses, so the next return is mispredicted. This is
// why receive and serve are inlined here.
[[noreturn]] HOT void run_worker(Worker &worker) {
    for (;;) {
        const epoll_event *event = worker.events;
        // An error can only be EINTR. Then there are no events.
        long left = worker.timer_count == 0 ? epoll_wait(worker.epoll, worker.events, events_per_wait)
                                            : wait_with_timers(worker);
        for (; --left >= 0; event++) {
            const int descriptor = int(event->data);
            if (descriptor == worker.listener) {
                (void)accept_connections(worker);
                continue;
            }
            Connection &connection = worker.connections[descriptor];
            const Arrival arrival = connection.receives()
                                        ? receive(worker, connection, descriptor, event->events)
                                        : handle_rare_event(worker, connection, descriptor, event->events);
            Next next = arrival.next;
            if (arrival.size != 0 && next != Next::close) [[likely]]
                next = serve(worker, connection, descriptor, arrival);
            if (next == Next::close) [[unlikely]]
                close_connection(worker, connection);
        }
    }
}

// ---- Start-up --------------------------------------------------------------------------------------------------
// Arguments, listeners, privileges, threads, and the end. A failure ends the program with one line that says what
// failed, unless the server can do without.

constexpr char help_text[] = "mote " MOTE_VERSION "\n"
                             "-a, --address A   IPv4, IPv6 or unix:PATH (default: any IP)\n"
                             "-p, --port N      TCP port, 0: any (default: $PORT, or 8080)\n"
                             "-t, --threads N   workers (default: one per CPU)\n"
                             "-A, --answer Q    answer other paths as /?Q, as in s=4k&t=20 (default: 404)\n"
                             "    --user UID    user to become (default for root: 65534)\n"
                             "    --reuse-port  share the port\n"
                             "    --pin         pin each worker to a CPU\n"
                             "    --no-sandbox  keep privileges; no seccomp, no Landlock\n"
                             "-h, --help        this text\n"
                             "-V, --version     the version\n";

// Writes a line to standard error. If that is a full pipe, the line is dropped: a main thread that waited for a
// reader would see no signal.
void write_line(const char *line, const char *end) {
    if (is_writable(2)) (void)write(2, line, size_t(end - line));  // a failure cannot be reported anywhere
}

// Prints `form` to standard error, filled in by compose().
constexpr size_t form_limit = 100;
void print(const char *form, Word a = 0, Word b = 0, Word c = 0, Word d = 0) {
    char line[form_limit + 4 * text_limit];
    static_assert(sizeof line <= PIPE_BUF);
    write_line(line, compose(line, form, a, b, c, d));
}

// The kernel's reasons that a start can meet, in the C library's words. For others the number has to do: a file system
// of the network may have its own.
constexpr uint8_t reasons[] = {1,  2,  5,  7,  9,  11, 12, 13, 20, 22, 23, 24,  27,
                               28, 30, 36, 38, 40, 75, 88, 95, 97, 98, 99, 105, 122};
constexpr char reason_texts[] = "Operation not permitted\0"
                                "No such file or directory\0"
                                "Input/output error\0"
                                "Argument list too long\0"
                                "Bad file descriptor\0"
                                "Resource temporarily unavailable\0"
                                "Cannot allocate memory\0"
                                "Permission denied\0"
                                "Not a directory\0"
                                "Invalid argument\0"
                                "Too many open files in system\0"
                                "Too many open files\0"
                                "File too large\0"
                                "No space left on device\0"
                                "Read-only file system\0"
                                "File name too long\0"
                                "Function not implemented\0"
                                "Too many levels of symbolic links\0"
                                "Value too large for defined data type\0"
                                "Socket operation on non-socket\0"
                                "Operation not supported\0"
                                "Address family not supported by protocol\0"
                                "Address already in use\0"
                                "Cannot assign requested address\0"
                                "No buffer space available\0"
                                "Disk quota exceeded\0"
                                "Unknown error\0";
static_assert(count_texts(reason_texts) == sizeof reasons + 1);
[[nodiscard]] const char *reason_of(long error) {
    size_t index = 0;
    while (index != sizeof reasons && reasons[index] != error) index++;
    return text_of(reason_texts, index);
}

// Says that `what` failed with `result`, a -errno. The form takes the name, the reason and its number.
void print_failure(const char *form, const char *what, long result) { print(form, what, reason_of(-result), -result); }

[[noreturn]] void end_on_failure(const char *what, long result) {
    print_failure("mote: $: $ (errno #)\n", what, result);
    exit_group(1);
}

// Returns the result of a system call that must succeed: an error ends the program.
long must(const char *what, long result) {
    if (result < 0) end_on_failure(what, result);
    return result;
}

// The value of a variable of the environment, whose name is given with its "=", or nullptr.
[[nodiscard]] const char *find_variable(const char *const *environment, const char *name) {
    for (; *environment != nullptr; environment++) {
        const char *at = *environment;
        size_t size = 0;
        while (name[size] != '\0' && name[size] == at[size]) size++;
        if (name[size] == '\0') return at + size;
    }
    return nullptr;
}

// Prints a line, filled in by compose(), and ends the program.
[[noreturn]] void end_on_bad_argument(const char *form, Word a, Word b = 0, Word c = 0, Word d = 0) {
    print(form, a, b, c, d);
    exit_group(2);
}

struct Options {
    const char *address = nullptr;
    uint16_t port = default_port;
    size_t threads = 0;  // 0: one per CPU
    Bytes answer{};      // how other paths are answered
    uint32_t user = 0;   // 0: none was given
    bool reuses_port = false, pins = false, has_sandbox = true;
};

// The number that is all of `text`, the value of this option, and in range. Otherwise the program ends.
[[nodiscard]] uint64_t take_number(const char *name, const char *text, uint64_t smallest, uint64_t largest) {
    const Digits digits = take_digits(text, 10);
    if (digits.end == text || *digits.end != '\0' || digits.number < smallest || digits.number > largest)
        end_on_bad_argument("mote: $: $ is not a number from # to # (see --help)\n", name, text, smallest, largest);
    return digits.number;
}

// The value of the option with this name, if that is what the next argument is: "--port 80", "--port=80", "-p 80" or
// "-p80". Then it is taken. Otherwise nullptr.
[[nodiscard]] const char *take_option(const char *const *&arguments, const char *letter, const char *name) {
    const char *const argument = *arguments;
    if (is_word(argument, name, '=')) return arguments++, argument + bytes_of(name).size + 1;
    const bool has_letter = *letter != '\0' && argument[0] == '-' && argument[1] == *letter;
    if (has_letter && argument[2] != '\0') return arguments++, argument + 2;
    if (!has_letter && !is_word(argument, name, '\0')) return nullptr;
    if (arguments[1] == nullptr) end_on_bad_argument("mote: $: no value (see --help)\n", argument);
    arguments += 2;
    return arguments[-1];
}

// Whether the next argument is this one. Then it is taken.
[[nodiscard]] bool take_flag(const char *const *&arguments, const char *letter, const char *name) {
    const char *const argument = *arguments;
    const bool has_letter = *letter != '\0' && argument[0] == '-' && argument[1] == *letter && argument[2] == '\0';
    if (!has_letter && !is_word(argument, name, '\0')) return false;
    arguments++;
    return true;
}

[[nodiscard]] Options take_options(const char *const *arguments, const char *const *environment) {
    Options options;
    if (const char *const port = find_variable(environment, "PORT="))
        options.port = uint16_t(take_number("PORT", port, 0, UINT16_MAX));
    while (*arguments != nullptr) {
        if (const char *const address = take_option(arguments, "a", "--address")) {
            options.address = address;
        } else if (const char *const port = take_option(arguments, "p", "--port")) {
            options.port = uint16_t(take_number("--port", port, 0, UINT16_MAX));
        } else if (const char *const threads = take_option(arguments, "t", "--threads")) {
            options.threads = take_number("--threads", threads, 1, worker_limit);
        } else if (const char *const user = take_option(arguments, "", "--user")) {
            options.user = uint32_t(take_number("--user", user, 1, UINT32_MAX - 1));
        } else if (const char *const query = take_option(arguments, "A", "--answer")) {
            options.answer = bytes_of(query);
            Description description;
            Random random{1};
            const Described described = take_description(options.answer, description, random);
            if (described.name == '\0' || described.is_malformed)
                end_on_bad_argument("mote: --answer: $ is not like s=4k&t=100 (see --help)\n", query);
        } else if (take_flag(arguments, "", "--reuse-port")) {
            options.reuses_port = true;
        } else if (take_flag(arguments, "", "--pin")) {
            options.pins = true;
        } else if (take_flag(arguments, "", "--no-sandbox")) {
            options.has_sandbox = false;
        } else if (take_flag(arguments, "h", "--help")) {
            (void)write(1, help_text, sizeof help_text - 1);
            exit_group(0);
        } else if (take_flag(arguments, "V", "--version")) {
            (void)write(1, help_text, sizeof "mote " MOTE_VERSION "\n" - 1);
            exit_group(0);
        } else {
            end_on_bad_argument("mote: unknown argument: $ (see --help)\n", *arguments);
        }
    }
    return options;
}

// Raises the soft limit on descriptors, and so on connections, to the hard limit.
void raise_descriptor_limit() {
    rlimit64 limit{};
    if (prlimit64(RLIMIT_NOFILE, nullptr, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)prlimit64(RLIMIT_NOFILE, &limit, nullptr);  // if that is refused, the limit stays
}

// Takes an IPv4 address: four decimal numbers of one byte.
[[nodiscard]] bool take_ipv4(const char *at, uint8_t *to) {
    for (unsigned left = 4;;) {
        const Digits digits = take_digits(at, 10);
        if (size_t(digits.end - at) - 1 > 2 || digits.number > 255) return false;
        *to++ = uint8_t(digits.number);
        at = digits.end;
        if (--left == 0) return *at == '\0';
        if (*at++ != '.') return false;
    }
}

// Takes an IPv6 address (RFC 4291 section 2.2, forms 1 and 2). The bytes at `to` are 0.
[[nodiscard]] bool take_ipv6(const char *at, uint8_t *to) {
    uint8_t *end = to + 16, *gap = nullptr;  // the place of "::"
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
    while (to != gap) {           // what follows "::" moves to the end
        *--end = *--to;
        *to = 0;
    }
    return true;
}

// Where the workers listen.
struct Endpoint {
    sockaddr_any at{};
    const char *text = "descriptor 3";
    bool is_inherited;  // descriptor 3 is a listener

    [[nodiscard]] bool is_shared() const { return is_inherited || at.local.family == AF_UNIX; }
};

// Takes an address. Without one it is any address, of both versions of IP if there are both. A path does not begin
// with "@": other programs mean the abstract namespace by that, and would not find the socket.
void take_address(const char *text, Endpoint &endpoint) {
    if (text == nullptr) text = trap(Sys::socket, AF_INET6, SOCK_STREAM) < 0 ? "0.0.0.0" : "::";
    endpoint.text = text;
    sockaddr_any &at = endpoint.at;
    const Taken scheme = take_form(text, "unix:", '\0');
    at.inet.family = AF_INET6;
    if (scheme.parse == Parse::complete && *scheme.at != '@' &&
        bytes_of(scheme.at).size - 1 < sizeof at.local.path - 1) {
        at.local.family = AF_UNIX;
        put_text(at.local.path, scheme.at);
    } else if (!take_ipv6(text, at.inet.ipv6)) {
        at.inet.family = AF_INET;
        if (!take_ipv4(text, at.inet.ipv4))
            end_on_bad_argument("mote: --address: $ is not an address like 127.0.0.1, ::1 or unix:PATH (see --help)\n",
                                text);
    }
}

// Whether a service manager has passed a listener to this process, as descriptor 3 (sd_listen_fds(3)). More than one,
// or a descriptor that does not accept connections, ends the program.
[[nodiscard]] bool inherits_listener(const char *const *environment) {
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
        problem = "mote: $ listeners inherited instead of one (LISTEN_FDS)\n";
    } else {
        const long type = getsockopt(3, SOL_SOCKET, SO_TYPE);
        if (type < 0) end_on_failure("descriptor 3", type);
        if (type == SOCK_STREAM && getsockopt(3, SOL_SOCKET, SO_ACCEPTCONN) == 1) return true;
        problem = "mote: descriptor 3 is not a listener (LISTEN_FDS)\n";
    }
    print(problem, count);
    exit_group(1);
}

[[nodiscard]] Endpoint find_endpoint(const Options &options, const char *const *environment) {
    Endpoint endpoint;
    endpoint.is_inherited = inherits_listener(environment);
    if (!endpoint.is_inherited) take_address(options.address, endpoint);
    if (endpoint.at.inet.family != AF_UNIX) endpoint.at.inet.port = __builtin_bswap16(options.port);
    return endpoint;
}

// Sets what accepted sockets inherit from the listener.
void set_options_of_connections(long listener) {
    (void)setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, 1);  // fails on a Unix socket, which does not delay
}

// A listener, or as -errno the reason why it cannot be bound. The first one is bound without SO_REUSEPORT, so that it
// fails on a port that another server shares. It gets the option afterwards, so that the other workers can join. (Two
// servers that start in the same instant may still share a port: neither listens yet when the other one binds.)
[[nodiscard]] long make_listener(const sockaddr_any &at, bool joins) {
    const long listener = must("socket", trap(Sys::socket, at.inet.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC));
    // None of these can fail where it means anything.
    set_options_of_connections(listener);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    (void)setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, joins);
    if (const long result = bind(listener, at); result < 0) return result;
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, 1);
    must("listen", trap(Sys::listen, listener, listen_backlog));
    return listener;
}

constexpr size_t endpoint_limit = text_limit + sizeof "http://[]:/" + digits_limit;  // of its name

// Makes a listener for each worker, and writes to `name` where they listen. With a shared listener, each worker gets a
// duplicate. The descriptors need not be consecutive: a closed standard stream leaves a gap.
void make_listeners(int *listeners, size_t count, Endpoint &endpoint, bool reuses_port, char *name) {
    long shared = endpoint.is_inherited ? 3 : -1;
    if (endpoint.is_inherited) {
        must("fcntl", trap(Sys::fcntl, shared, F_SETFL, O_NONBLOCK));
        set_options_of_connections(shared);
    }
    for (size_t index = 0; index != count; index++) {
        const bool joins = reuses_port || index != 0;
        const long listener = shared >= 0 ? must("dup", trap(Sys::dup, shared)) : make_listener(endpoint.at, joins);
        uint32_t size = sizeof endpoint.at;
        if (listener >= 0)
            must("getsockname",
                 trap(Sys::getsockname, listener, address(&endpoint.at), address(&size)));  // which port it is
        const uint16_t family = endpoint.at.local.family;
        const char *form = family == AF_INET6 ? "http://[$]:#/" : "http://$:#/";
        if (family == AF_UNIX) form = "$";
        else if (endpoint.is_inherited) form = "$ (port #)";
        *compose(name, form, endpoint.text, __builtin_bswap16(endpoint.at.inet.port)) = '\0';
        if (listener < 0) {
            char what[sizeof "bind to " + endpoint_limit];
            *compose(what, "bind to $", name) = '\0';
            end_on_failure(what, listener);
        }
        if (endpoint.is_shared()) shared = listener;
        listeners[index] = int(listener);
    }
}

// The workers' memory, and what their threads need to know. The main thread writes nothing into a worker: the kernel
// takes a page from the memory near the CPU that touches it first.
struct Workers {
    Worker *begin;
    size_t count;
    uint32_t blocks, stashes;  // of each worker; they stand behind the last one
    int listeners[worker_limit];
    Process *process;
    const cpu_set *cpus;      // each worker is pinned to the next one of these; nullptr: none is
    bool shares_descriptors;  // under an emulator
    uint32_t started;         // how many have started; atomic

    [[nodiscard]] size_t pool_size() const { return blocks * sizeof(Block) + stashes * sizeof(Stash); }
};
static_assert(sizeof(Worker) % 4096 == 0 && sizeof(Block) % 4096 == 0 && sizeof(Stash) % 64 == 0,
              "no cache line is written by two workers");

// Reserves their memory. If the kernel refuses so much (vm.overcommit_memory=2, RLIMIT_AS), the pools are halved. A
// refusal with one block each ends the program.
[[nodiscard]] Workers make_workers(size_t count) {
    Workers workers{};
    workers.count = count;
    workers.blocks = block_count;
    workers.stashes = stash_count;
    for (;;) {
        const size_t size = count * (sizeof(Worker) + workers.pool_size());
        const long memory = map_memory(size);
        if (memory >= 0) {
            workers.begin = reinterpret_cast<Worker *>(memory);
            (void)madvise(workers.begin, size, MADV_NOHUGEPAGE);  // fails on a kernel without huge pages
            return workers;
        }
        if (workers.blocks == 1) end_on_failure("mmap", memory);
        workers.blocks = (workers.blocks + 1) / 2;
        workers.stashes = (workers.stashes + 1) / 2;
    }
}

// A file in memory, that nobody else has.
[[nodiscard]] int make_run() {
    const int file = int(must("memfd_create", trap(Sys::memfd_create, address(""), 0)));
    must("ftruncate", trap(Sys::ftruncate, file, run_size));
    return file;
}
[[nodiscard]] char *map_run(int file) {
    return reinterpret_cast<char *>(
        must("mmap", trap(Sys::mmap, 0, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, file)));
}

// Becomes `user`, with the group of the same number and no other group. Unless `must_succeed`, a refusal only prints
// a line: a user namespace may have no other user.
void change_identity(uint32_t user, bool must_succeed) {
    const auto succeeds = [must_succeed](const char *what, long result) {
        if (result < 0 && must_succeed) end_on_failure(what, result);
        if (result < 0) print_failure("mote: still root: $: $ (errno #)\n", what, result);
        return result >= 0;
    };
    if (succeeds("setgroups", trap(Sys::setgroups)) && succeeds("setresgid", trap(Sys::setresgid, user, user, user)))
        (void)succeeds("setresuid", trap(Sys::setresuid, user, user, user));
}

// Where the kernel has Landlock: no files (truncate is known from version 3 on), and from version 4 on no bind and
// connect of TCP sockets. A version refuses what it does not know.
void forbid_files() {
    const long version = landlock_version();
    if (version < 0) return;
    const landlock_ruleset_attr all{version < 3 ? 0x1fffu : 0x7fffu, version < 4 ? 0u : 3u};
    const int ruleset = int(must("landlock", trap(Sys::landlock_create_ruleset, address(&all), sizeof all)));
    must("landlock", trap(Sys::landlock_restrict_self, ruleset));
    (void)close(ruleset);
}

// Gives up what is not needed once the listeners are bound. The kernel keeps all this per thread, and the threads
// that are started from now on inherit it.
void give_up_privileges(const Options &options) {
    if (options.user != 0) change_identity(options.user, true);
    else if (options.has_sandbox && geteuid() == 0) change_identity(nobody, false);
    if (!options.has_sandbox) return;
    if (const long result = drop_capabilities(); result < 0)
        print_failure("mote: capabilities kept: $: $ (errno #)\n", "capset", result);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1);  // neither can fail
    (void)prctl(PR_SET_DUMPABLE, 0);      // no core files, no debuggers but root's
    forbid_files();
}

// Every system call that a thread makes once the server has started.
constexpr Sys steady_calls[] = {
    Sys::recvfrom,        Sys::sendto,          Sys::epoll_pwait,  Sys::accept4,    Sys::epoll_ctl, Sys::close,
    Sys::clock_gettime,   Sys::timerfd_settime, Sys::shutdown,     Sys::setsockopt, Sys::write,     Sys::exit_group,
    Sys::rt_sigtimedwait, Sys::ppoll,           Sys::epoll_pwait2, Sys::sendfile,   Sys::ioctl,
};
constexpr size_t steady_call_count = sizeof steady_calls / sizeof *steady_calls;

// The filter that allows these calls, and ends the process at any other. It looks only at the architecture and the
// number, so the kernel runs it once per number and keeps the answers in a bitmap. x32 numbers have one more bit set,
// so they match nothing.
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

// Puts this thread behind the filter. Without the flag, kernels before 5.16 disable a speculation, which slows every
// request. It is dangerous only with foreign code.
[[nodiscard]] long filter_calls() {
    sock_fprog program{};
    program.length = sizeof call_filter.code / sizeof *call_filter.code;
    program.filter = call_filter.code;
    return seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
}

// A timer that is not set.
[[nodiscard]] int make_timer() {
    return int(must("timerfd_create", trap(Sys::timerfd_create, CLOCK_MONOTONIC, SOCK_NONBLOCK)));
}

void watch(const Worker &worker, int descriptor, uint32_t events) {
    must("epoll_ctl", epoll_ctl(worker.epoll, EPOLL_CTL_ADD, descriptor, events));
}

[[nodiscard]] size_t count_cpus(const cpu_set &allowed) {
    size_t count = 0;
    for (uint64_t bits : allowed.bits)
        for (; bits != 0; bits &= bits - 1) count++;  // each turn clears the lowest bit
    return count;
}

// Pins this thread to one of `cpus`, which workers take in turn.
void pin(const cpu_set &cpus, size_t index) {
    constexpr size_t bits = 8 * sizeof cpus;
    size_t cpu = bits;
    for (size_t left = index % count_cpus(cpus) + 1; left != 0;) {
        cpu = (cpu + 1) % bits;
        left -= cpus.bits[cpu / 64] >> cpu % 64 & 1;
    }
    cpu_set only{};
    only.bits[cpu / 64] = uint64_t(1) << cpu % 64;
    must("sched_setaffinity", trap(Sys::sched_setaffinity, 0, sizeof only, address(&only)));
}

// Fills in the worker with this index, and makes its epoll instance and its timer. Its thread calls this.
void prepare(Worker &worker, const Workers &all, size_t index) {
    worker.process = all.process;
    worker.listener = all.listeners[index];
    worker.blocks =
        reinterpret_cast<Block *>(reinterpret_cast<char *>(all.begin + all.count) + index * all.pool_size());
    worker.stashes = reinterpret_cast<Stash *>(worker.blocks + all.blocks);
    worker.block_limit = all.blocks;
    worker.free_stashes = all.stashes - 1;  // index 0 stands for none
    worker.fresh_stash = 1;
    AnswerContext &context = worker.context;
    context.run = all.process->run_memory;
    context.default_query = all.process->default_query;
    context.exchanges = reinterpret_cast<const char *>(worker.connections);
    context.long_answers = worker.long_answers;
    (void)trap(Sys::getrandom, address(&context.random), sizeof context.random, GRND_NONBLOCK);
    context.random.state |= 1;  // not 0, even without numbers from the kernel
    worker.epoll = int(must("epoll_create1", trap(Sys::epoll_create1)));
    worker.timer = make_timer();
    worker.is_accepting = true;
    watch(worker, worker.listener, listening_events);
    watch(worker, worker.timer, EPOLLIN | EPOLLET);
    watch(worker, worker.process->stop, EPOLLIN | EPOLLET);
    if (worker.process->room >= 0) watch(worker, worker.process->room, EPOLLIN | EPOLLET);
}

// A worker's thread begins here. Without CLONE_FILES it has a copy of the main thread's descriptors, and closes the
// listeners of later workers.
[[noreturn]] void enter_worker(void *argument) {
    Workers &all = *static_cast<Workers *>(argument);
    const uint32_t index = all.started;
    if (all.cpus != nullptr) pin(*all.cpus, index);
    Worker &worker = all.begin[index];
    prepare(worker, all, index);
    if (!all.shares_descriptors)
        for (size_t other = index + 1; other < all.count; other++) (void)close(all.listeners[other]);
    __atomic_store_n(&all.started, index + 1, __ATOMIC_RELEASE);
    futex(all.started, FUTEX_WAKE_PRIVATE, 1);
    if (worker.process->is_sandboxed) (void)filter_calls();  // if it fails, main says so
    run_worker(worker);
}

// Starts the workers, one after the other, so that a failure is told once. A listener is closed here when its worker
// has it, so that no later worker inherits it.
void start_workers(Workers &workers) {
    constexpr unsigned long flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    for (uint32_t index = 0; index != workers.count; index++) {
        char *const stack_end = workers.begin[index].stack + stack_size;
        long thread = start_thread(flags, stack_end, enter_worker, &workers);
        if (may_be_emulated && thread == -EINVAL) {  // qemu-user starts no other threads than those of a C library
            workers.shares_descriptors = true;
            thread = start_thread(flags | CLONE_FILES, stack_end, enter_worker, &workers);
        }
        if (thread < 0) end_on_failure("clone", thread);
        while (__atomic_load_n(&workers.started, __ATOMIC_ACQUIRE) == index)
            futex(workers.started, FUTEX_WAIT_PRIVATE, index);
        if (!workers.shares_descriptors) (void)close(workers.listeners[index]);
    }
}

// Prints a line of counts. The form takes three numbers: a worker's or how many there are, and what follows from there.
void print_counts(const char *form, size_t number, uint64_t open, uint64_t delayed, const Counters &counters) {
    char line[64 + 3 * digits_limit + sizeof counter_names + counter_count * (digits_limit + sizeof " ,")];
    static_assert(sizeof line <= PIPE_BUF);
    char *at = compose(line, form, number, open, delayed);
    for (size_t i = 0; i < counter_count; i++)
        at = compose(at, ", # $", counters[Counter(i)], text_of(counter_names, i));
    *at++ = '\n';
    write_line(line, at);
}

// Prints what each worker has counted, and the sums.
void print_statistics(const Workers &workers) {
    Counters sums{};
    uint64_t all_open = 0, all_delayed = 0;
    for (size_t index = 0; index != workers.count; index++) {
        const Worker &worker = workers.begin[index];
        const uint32_t open = __atomic_load_n(&worker.open_connections, __ATOMIC_RELAXED);
        const uint32_t delayed = __atomic_load_n(&worker.timer_count, __ATOMIC_RELAXED);
        print_counts("mote: worker #: # open, # delayed", index + 1, open, delayed, worker.context.counters);
        all_open += open;
        all_delayed += delayed;
        for (size_t i = 0; i < counter_count; i++) sums.add(Counter(i), worker.context.counters[Counter(i)]);
    }
    if (workers.count > 1)
        print_counts("mote: all # workers: # open, # delayed", workers.count, all_open, all_delayed, sums);
}

// The signals that end the server.
[[nodiscard]] sigset find_end_signals() {
    constexpr sigset always = 1u << (SIGINT - 1) | 1u << (SIGTERM - 1);
    return is_ignored(SIGHUP) ? always
                              : always | 1u << (SIGHUP - 1);  // if it were blocked, it would no longer be ignored
}

// Waits until a signal tells the server to end. SIGUSR1 prints statistics.
void wait_for_order(sigset end_signals, const Workers &workers) {
    for (;;) {
        const long signal = wait_for_signal(end_signals | 1u << (SIGUSR1 - 1), nullptr);
        if (signal == SIGUSR1) print_statistics(workers);
        else if (signal > 0) return;
    }
}

// Tells the workers to end. The last worker ends the process. So does a second signal, or `drain_limit_s`, which also
// runs while the process is stopped.
[[noreturn]] void end_workers(int stop, sigset end_signals) {
    (void)timerfd_settime(stop, 1);  // now; cannot fail
    const int64_t limit_ns = monotonic_ns() + drain_limit_s * 1'000'000'000;
    for (int64_t left_ns; (left_ns = limit_ns - monotonic_ns()) > 0;) {
        const timespec left{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
        if (wait_for_signal(end_signals, &left) != -EINTR) break;
    }
    exit_group(0);
}

// _start calls this with the stack as the kernel left it: the argument count, the arguments, NULL, the environment,
// NULL.
[[noreturn, gnu::used]] void start(const char *const *stack) asm("start");
void start(const char *const *stack) {
    const char *const *const environment = stack + *reinterpret_cast<const long *>(stack) + 2;
    const Options options = take_options(stack + 2, environment);
    Endpoint endpoint = find_endpoint(options, environment);
    (void)close_from(endpoint.is_inherited ? 4 : 3);  // inherited by accident; before Linux 5.9 they just stay open
    (void)umask(0);                                   // whoever may open the folder of a Unix socket may connect
    raise_descriptor_limit();
    cpu_set allowed{};
    if (options.threads == 0 || options.pins)
        must("sched_getaffinity", trap(Sys::sched_getaffinity, 0, sizeof allowed, address(&allowed)));
    const size_t count = options.threads != 0 ? options.threads : count_cpus(allowed);

    // Signals are blocked before the threads start, since they inherit that. SIGPIPE: a reader of the statistics may
    // go.
    const sigset end_signals = find_end_signals();
    (void)block_signals(end_signals | 1u << (SIGUSR1 - 1) | 1u << (SIGPIPE - 1));

    Workers workers = make_workers(count);
    const int stop = make_timer();
    char name[endpoint_limit];
    make_listeners(workers.listeners, count, endpoint, options.reuses_port, name);
    const int room = endpoint.is_shared() ? make_timer() : -1;
    const int run_file = make_run();
    Process process{
        stop,          room, uint32_t(count), options.has_sandbox, endpoint.is_inherited, run_file, map_run(run_file),
        options.answer};
    (void)prctl(PR_SET_TIMERSLACK, 1);  // threads inherit it; the default lets timers be 50 us late
    give_up_privileges(options);
    workers.process = &process;
    workers.cpus = options.pins ? &allowed : nullptr;
    start_workers(workers);

    const char *const form = options.has_sandbox ? "mote " MOTE_VERSION ": $ (# worker$, user #, sandboxed)\n"
                                                 : "mote " MOTE_VERSION ": $ (# worker$, user #, no sandbox)\n";
    print(form, name, count, count == 1 ? "" : "s", geteuid());
    if (options.has_sandbox)
        if (const long result = filter_calls(); result < 0)
            print_failure("mote: system calls not filtered: $: $ (errno #)\n", "seccomp", result);
    wait_for_order(end_signals, workers);
    end_workers(stop, end_signals);
}

}  // namespace

#if !defined(MOTE_HOSTED)
extern "C" {

// What a compiler may call for a copy, a fill or a comparison that it does not inline. The linker drops the others.
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
