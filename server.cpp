// mote - an HTTP/1.1 origin server in one freestanding file.
//
// It serves a handful of routes (section 6) over keep-alive, pipelined connections, tens of thousands of them, and
// needs nothing but a Linux kernel: no libc, no C++ library, no heap. It leaves out what a proxy in front of it does
// better: TLS, HTTP/2, files, compression, logs.
//
// One worker thread a CPU, each with its own listener, epoll, descriptor table and buffers; workers share nothing.
// A request's journey, from the bottom of this file to its top:
//
//   9. Start-up      reads the arguments, makes the listeners, starts the workers, waits for a signal
//   8. Worker loop   epoll says readable: one recv into the worker's input buffer
//   7. Connections   every complete request in it is answered into the output buffer, in order: one send
//   6. Routes        which function answers which path, and what an answer looks like
//   5. HTTP grammar  from bytes to a request head, a message framing, a piece of content
//   4. Bytes, text   the words the grammar is written in
//   3. Kernel        the system calls and how a thread starts
//   2. Tunables      every number someone may want to change

#include <stddef.h>
#include <stdint.h>

namespace {

// ---- Tunables --------------------------------------------------------------------------------------------------
// Every number that someone may want to change. Sizes are in bytes; the assertions tie together what must agree.

constexpr char version[] = "0.1.0";

constexpr uint16_t default_port = 8080;
constexpr size_t worker_limit = 1024;           // the most that --threads takes
constexpr int listen_backlog = 65535;           // connections waiting for accept; the kernel caps it at somaxconn
constexpr size_t connection_limit = 65536;      // a worker; the table costs address space, a page only once it is used
constexpr size_t reserved_descriptors = 16;     // standard streams, listener, epoll and timer come before connections
constexpr size_t events_per_wait = 128;         // events of one epoll_wait; 12 bytes each beside the hot state
constexpr size_t stack_size = 4 * 4096 + 2048;  // a worker's; nothing recurses, and its buffers are elsewhere
constexpr size_t receive_turns = 16;  // full input buffers taken from one connection before the others have a turn

constexpr size_t input_size = 32768;             // one recv; at least a whole head and as much again
constexpr size_t output_size = 8 * 4096 - 2048;  // answers collected for one send
constexpr size_t block_count = 256;              // a worker's blocks: connections with a partial head or held-up output
constexpr size_t answer_content_limit = 256;     // the longest response content; raise it with the longest answer
constexpr size_t answer_limit = answer_content_limit + 512;  // and a response head: checked in section 6

constexpr size_t method_limit = 32;                 // what follows a longer one is not looked at
constexpr size_t request_line_limit = 8000;         // RFC 9112 section 3 recommends to support at least this
constexpr size_t head_limit = 16384;                // request line, field lines and the empty line
constexpr uint32_t content_limit = 1024 * 1024;     // of one request, chunks added up
constexpr uint32_t linger_limit = 2 * 1024 * 1024;  // thrown away behind a refusal before the connection is closed

static_assert(input_size >= 2 * head_limit, "a head held back must leave room in the input buffer for the next bytes");
static_assert(content_limit <= UINT32_MAX / 16 - 1, "a chunk-size that passes the limit must not overflow");
static_assert(stack_size % 16 == 0, "the stack pointer is aligned where a thread starts");
static_assert(request_line_limit < head_limit, "a request line is part of the head");
static_assert(answer_limit <= output_size, "an empty output buffer must take any answer");

// ---- Kernel interface ------------------------------------------------------------------------------------------
// What the kernel offers and how to ask for it: call numbers, structures, one typed wrapper a call, threads, _start.
// Wrappers answer as the kernel does: a count or descriptor, or -errno. Architectures meet in this section only.

#if defined(__x86_64__)  // number in rax, arguments in rdi rsi rdx r10 r8 r9; rcx and r11 are lost
enum class Sys : long {
    write = 1,
    close = 3,
    mmap = 9,
    rt_sigprocmask = 14,
    madvise = 28,
    socket = 41,
    sendto = 44,
    recvfrom = 45,
    shutdown = 48,
    bind = 49,
    listen = 50,
    setsockopt = 54,
    clone = 56,
    rt_sigtimedwait = 128,
    sched_setaffinity = 203,
    sched_getaffinity = 204,
    clock_gettime = 228,
    exit_group = 231,
    epoll_ctl = 233,
    epoll_pwait = 281,
    timerfd_create = 283,
    timerfd_settime = 286,
    accept4 = 288,
    epoll_create1 = 291,
    prlimit64 = 302,
    close_range = 436,
};

struct [[gnu::packed]] epoll_event {  // packed on this architecture only
    uint32_t events;
    uint64_t data;
};

[[gnu::always_inline]] inline long trap(Sys call, long a = 0, long b = 0, long c = 0) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

[[gnu::always_inline]] inline long trap(Sys call, long a, long b, long c, long d, long e = 0, long f = 0) {
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

// Starts a thread on the stack that ends at `stack_end`; it calls `run(argument)`, which must not return.
// Returns the thread's id, or -errno. The new thread inherits every register but rax and rsp, so what it needs
// waits in r8 and r9: clone reads neither of them without CLONE_SETTLS.
[[gnu::noinline]] long start_thread(unsigned long flags, void *stack_end, void (*run)(void *), void *argument) {
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
#else
#error "this architecture has no block in section 3 yet"
#endif

// The kernel's constants, by its names and in its headers' groups.
constexpr long EINTR = 4, EAGAIN = 11, ENOMEM = 12, EMFILE = 24, ENFILE = 23, ENOBUFS = 105;
constexpr int AF_INET = 2, SOCK_STREAM = 1, SOCK_NONBLOCK = 04000, SOCK_CLOEXEC = 02000000;
constexpr int SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_REUSEPORT = 15, IPPROTO_TCP = 6, TCP_NODELAY = 1;
constexpr int MSG_NOSIGNAL = 0x4000, SHUT_WR = 1;
constexpr uint32_t EPOLLIN = 0x1, EPOLLPRI = 0x2, EPOLLOUT = 0x4, EPOLLRDHUP = 0x2000, EPOLLET = 1u << 31;
constexpr int EPOLL_CTL_ADD = 1, EPOLL_CTL_MOD = 3;
constexpr unsigned long CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_SIGHAND = 0x800, CLONE_THREAD = 0x10000,
                        CLONE_SYSVSEM = 0x40000;
constexpr long PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
constexpr int MADV_NOHUGEPAGE = 15, RLIMIT_NOFILE = 7, CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1;
constexpr int SIGINT = 2, SIGTERM = 15, SIG_BLOCK = 0;

struct sockaddr_in {
    uint16_t sin_family;
    uint16_t sin_port;  // network byte order
    uint32_t sin_addr;  // network byte order
    uint8_t sin_zero[8];
};
struct timespec {
    int64_t tv_sec;
    int64_t tv_nsec;
};
struct itimerspec {
    timespec it_interval;
    timespec it_value;
};
struct rlimit64 {
    uint64_t rlim_cur;
    uint64_t rlim_max;
};
using sigset = uint64_t;  // bit n - 1 is signal n
struct cpu_set {          // bit n is CPU n; as many as any kernel is built for
    uint64_t bits[8192 / 64];
};

[[gnu::always_inline]] inline long address(const void *pointer) { return reinterpret_cast<long>(pointer); }

// Bytes received, 0 at the peer's end of stream, or -errno.
[[nodiscard, gnu::always_inline]] inline long recv(int socket, char *into, size_t size) {
    return trap(Sys::recvfrom, socket, address(into), long(size), 0);
}
// Bytes taken, perhaps fewer than given, or -errno. A broken connection is an error, not a signal.
[[nodiscard, gnu::always_inline]] inline long send(int socket, const char *data, size_t size) {
    return trap(Sys::sendto, socket, address(data), long(size), MSG_NOSIGNAL);
}
[[nodiscard]] inline long accept4(int listener, int flags) { return trap(Sys::accept4, listener, 0, 0, flags); }
[[nodiscard]] inline long shutdown(int socket, int how) { return trap(Sys::shutdown, socket, how); }
[[nodiscard]] inline long close(int descriptor) { return trap(Sys::close, descriptor); }
[[nodiscard]] inline long write(int descriptor, const char *data, size_t size) {
    return trap(Sys::write, descriptor, address(data), long(size));
}
[[nodiscard]] inline long socket(int family, int type) { return trap(Sys::socket, family, type, 0); }
[[nodiscard, gnu::cold, gnu::noinline]] long setsockopt(int socket, int level, int option, int value) {
    return trap(Sys::setsockopt, socket, level, option, address(&value), sizeof value);
}
[[nodiscard]] inline long bind(int socket, const sockaddr_in &to) {
    return trap(Sys::bind, socket, address(&to), sizeof to);
}
[[nodiscard]] inline long listen(int socket, int backlog) { return trap(Sys::listen, socket, backlog); }
[[nodiscard]] inline long epoll_create() { return trap(Sys::epoll_create1, 0); }
// `data` comes back with every event of `descriptor`; here it is always the descriptor itself.
[[nodiscard, gnu::noinline]] long epoll_ctl(int epoll, int operation, int descriptor, uint32_t events) {
    epoll_event event{events, uint64_t(descriptor)};
    return trap(Sys::epoll_ctl, epoll, operation, descriptor, address(&event));
}
// Waits without a time limit. Events filled in, or -errno.
[[nodiscard, gnu::always_inline]] inline long epoll_wait(int epoll, epoll_event *events, size_t room) {
    return trap(Sys::epoll_pwait, epoll, address(events), long(room), -1);
}
[[nodiscard]] inline long timerfd_create() { return trap(Sys::timerfd_create, CLOCK_MONOTONIC, SOCK_NONBLOCK); }
// Expires once, `after_ns` nanoseconds from now; 0 would switch it off.
[[nodiscard]] inline long timerfd_settime(int timer, int64_t after_ns) {
    constexpr int64_t second = 1'000'000'000;
    itimerspec when{{0, 0}, {after_ns / second, after_ns % second}};
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
// Bytes of the mask that the kernel filled in, or -errno.
[[nodiscard]] inline long sched_getaffinity(cpu_set &allowed) {
    return trap(Sys::sched_getaffinity, 0, sizeof allowed, address(&allowed));
}
[[nodiscard]] inline long sched_setaffinity(long thread, const cpu_set &allowed) {
    return trap(Sys::sched_setaffinity, thread, sizeof allowed, address(&allowed));
}
// Zeroed memory that takes up room only where it is touched: the address, or -errno.
[[nodiscard]] inline long map_memory(size_t size) {
    return trap(Sys::mmap, 0, long(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}
[[nodiscard]] inline long madvise(void *memory, size_t size, int advice) {
    return trap(Sys::madvise, address(memory), long(size), advice);
}
[[nodiscard]] inline long block_signals(const sigset &signals) {
    return trap(Sys::rt_sigprocmask, SIG_BLOCK, address(&signals), 0, sizeof signals);
}
// The number of a pending signal out of `signals`, waiting for one if need be, or -errno.
[[nodiscard]] inline long wait_for_signal(const sigset &signals) {
    return trap(Sys::rt_sigtimedwait, address(&signals), 0, 0, sizeof signals);
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
    Word difference = 0;
    for (size_t i = 0; i + sizeof(Word) <= size; i += sizeof(Word))
        difference |= Word(load<Word>(a + i) ^ load<Word>(b + i));
    constexpr size_t last = size - sizeof(Word);
    if (size % sizeof(Word) != 0) difference |= Word(load<Word>(a + last) ^ load<Word>(b + last));
    return difference != 0;
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

// Whether `bytes` is `text` but for the case of letters. `text` is in lower case. `bytes` must hold no control bytes:
// setting bit 5 turns CR into '-'. Compares words of eight bytes, the last of which overlaps, or single bytes.
[[nodiscard, gnu::noinline]] bool is_ignoring_case(Bytes bytes, Bytes text) {
    if (bytes.size != text.size) return false;
    if (text.size >= sizeof(uint64_t)) {
        const size_t last = text.size - sizeof(uint64_t);
        for (size_t i = 0;; i = i + sizeof(uint64_t) < last ? i + sizeof(uint64_t) : last) {
            constexpr uint64_t all_lower = 0x2020202020202020;
            if ((load<uint64_t>(bytes.data + i) | all_lower) != load<uint64_t>(text.data + i)) return false;
            if (i == last) return true;
        }
    }
    for (size_t i = 0; i < text.size; i++)
        if ((bytes.data[i] | 0x20) != text.data[i]) return false;
    return true;
}

// What a byte may be part of (RFC 9110 sections 5.5 and 5.6.2, RFC 3986 appendix A). NUL is part of nothing.
enum class Class : uint8_t {
    token = 1,        // method, field name, list element
    target = 2,       // request target, in any of its forms, up to its query
    field_value = 4,  // field value: visible, obs-text, SP and HTAB
    digit = 8,
    hex_digit = 16,
};

struct ClassTable {
    uint8_t classes[256];

    constexpr void add(Class kind, Bytes members) {
        for (size_t i = 0; i < members.size; i++) classes[uint8_t(members.data[i])] |= uint8_t(kind);
    }
};

constexpr ClassTable class_table = [] {
    constexpr Bytes digits = "0123456789"_b, letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"_b;
    ClassTable table{};
    table.add(Class::token, digits);
    table.add(Class::token, letters);
    table.add(Class::token, "!#$%&'*+-.^_`|~"_b);
    table.add(Class::target, digits);
    table.add(Class::target, letters);
    table.add(Class::target, "-._~!$&'()*+,;=:@/%[]"_b);
    table.add(Class::digit, digits);
    table.add(Class::hex_digit, digits);
    table.add(Class::hex_digit, "abcdefABCDEF"_b);
    table.add(Class::field_value, "\t"_b);
    for (size_t byte = ' '; byte < 256; byte++)
        if (byte != 0x7f) table.classes[byte] |= uint8_t(Class::field_value);
    return table;
}();

[[nodiscard, gnu::always_inline]] inline bool is(Class kind, char byte) {
    return (class_table.classes[uint8_t(byte)] & uint8_t(kind)) != 0;
}

// The first byte from `at` on that is not of the class: at the latest the NUL at the end of the message.
[[nodiscard, gnu::always_inline]] inline const char *skip(Class kind, const char *at) {
    while (is(kind, *at)) at++;
    return at;
}

// `value` without the optional white space around it (RFC 9110 section 5.6.3).
[[nodiscard]] constexpr Bytes trim(Bytes value) {
    constexpr auto is_white = [](char byte) { return byte == ' ' || byte == '\t'; };
    while (value.size != 0 && is_white(value.data[0])) value = value.after(1);
    while (value.size != 0 && is_white(value.data[value.size - 1])) value.size--;
    return value;
}

// Takes the next element off a comma-separated list (RFC 9110 section 5.6.1); it may be empty.
[[nodiscard, gnu::noinline]] Bytes take_element(Bytes &list) {
    size_t size = 0;
    while (size < list.size && list.data[size] != ',') size++;
    const Bytes element = trim(list.first(size));
    list = list.after(size < list.size ? size + 1 : size);
    return element;
}

// Texts that are only looked up on rare paths stand one behind the other, each ended by LF: a list of them costs no
// table of addresses. Line `index` of such a list, with its LF.
[[nodiscard, gnu::cold, gnu::noinline]] constexpr Bytes line_of(Bytes lines, size_t index) {
    for (;; index--) {
        size_t size = 1;
        while (lines.data[size - 1] != '\n') size++;
        if (index == 0) return lines.first(size);
        lines = lines.after(size);
    }
}
[[nodiscard]] consteval size_t line_count(Bytes lines) {
    size_t count = 0;
    for (size_t i = 0; i < lines.size; i++) count += lines.data[i] == '\n';
    return count;
}

// value / 10, by the multiplication that an optimising compiler would choose: it is too long for one that optimises
// for size, and a division takes ten times as long.
[[nodiscard, gnu::always_inline]] constexpr uint64_t tenth(uint64_t value) {
    constexpr uint64_t reciprocal = 0xcccccccccccccccd;  // 2^67 / 10, rounded up: exact for every 64-bit value
    return uint64_t((static_cast<unsigned __int128>(value) * reciprocal) >> 67);
}

[[nodiscard]] constexpr size_t decimal_size(uint64_t value) {
    size_t size = 1;
    for (; value >= 10; value = tenth(value)) size++;
    return size;
}

// Writes exactly `size` digits, the last ones of `value`; returns the end.
[[gnu::noinline]] char *put_digits(char *at, uint64_t value, size_t size) {
    for (size_t i = size; i-- > 0;) {
        const uint64_t rest = tenth(value);
        at[i] = char('0' + (value - rest * 10));
        value = rest;
    }
    return at + size;
}

// Copies `size` bytes in moves of a fixed size, the last of which overlaps. `rep movsb`, which compilers like for
// such lengths when they optimise for size, takes longer to start than this takes to end.
template <size_t size> [[gnu::always_inline]] inline void copy(char *to, const char *from) {
    constexpr size_t width = size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
    for (size_t i = 0; i + width <= size; i += width) __builtin_memcpy(to + i, from + i, width);
    if constexpr (size % width != 0) __builtin_memcpy(to + size - width, from + size - width, width);
}

// Writes `text`; returns the end.
template <size_t size> [[gnu::always_inline]] inline char *put(char *at, const char (&text)[size]) {
    copy<size - 1>(at, text);
    return at + (size - 1);
}
[[gnu::always_inline]] inline char *put(char *at, Bytes text) {
    __builtin_memcpy(at, text.data, text.size);
    return at + text.size;
}

// An integer, taken piece by piece: ["-"] 1*DIGIT with white space around it, in the range of a signed 64-bit
// integer. Packed, like all that a connection keeps.
struct [[gnu::packed]] Integer {
    enum class State : uint8_t { start, minus, digits, end, not_an_integer };

    uint64_t magnitude;
    State state : 7;
    bool is_negative : 1;

    [[gnu::noinline]] void take(Bytes piece) {
        Integer integer = *this;  // in registers
        for (size_t i = 0; i < piece.size; i++) integer.take(piece.data[i]);
        *this = integer;
    }

    // The integer, in two's complement; 0 if there was none.
    [[nodiscard]] constexpr uint64_t value() const {
        if (state != State::digits && state != State::end) return 0;
        return is_negative ? -magnitude : magnitude;
    }

private:
    [[gnu::always_inline]] constexpr void take(char byte) {
        const unsigned digit = unsigned(byte) - '0';
        if (digit <= 9 && state <= State::digits) {
            constexpr uint64_t largest = INT64_MAX;  // one more below zero
            const bool fits = magnitude <= largest / 10 && magnitude * 10 + digit <= largest + is_negative;
            magnitude = magnitude * 10 + digit;
            state = fits ? State::digits : State::not_an_integer;
        } else if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n') {
            if (state == State::digits) state = State::end;
            if (state == State::minus) state = State::not_an_integer;
        } else {
            is_negative = byte == '-' && state == State::start;
            state = is_negative ? State::minus : State::not_an_integer;
        }
    }
};

// ---- HTTP grammar ----------------------------------------------------------------------------------------------
// From bytes to meaning (RFC 9112). Nothing here does I/O: the same bytes give the same answer however they were
// split on arrival. A parser goes from left to right and stops at the first byte that is wrong, so a refusal does
// not depend on what has arrived behind it either.

enum class Method : uint8_t { get, head, post, put, delete_, connect, options, trace, patch, unknown };
constexpr Bytes method_names = "GET\nHEAD\nPOST\nPUT\nDELETE\nCONNECT\nOPTIONS\nTRACE\nPATCH\n"_b;

enum class Status : uint8_t {
    ok,
    bad_request,
    not_found,
    method_not_allowed,
    content_too_large,
    uri_too_long,
    expectation_failed,
    fields_too_large,
    internal_server_error,
    not_implemented,
    version_not_supported,
};
// The end of a status line, and the content of an error's response.
constexpr Bytes status_texts = "200 OK\r\n"
                               "400 Bad Request\r\n"
                               "404 Not Found\r\n"
                               "405 Method Not Allowed\r\n"
                               "413 Content Too Large\r\n"
                               "414 URI Too Long\r\n"
                               "417 Expectation Failed\r\n"
                               "431 Request Header Fields Too Large\r\n"
                               "500 Internal Server Error\r\n"
                               "501 Not Implemented\r\n"
                               "505 HTTP Version Not Supported\r\n"_b;

static_assert(line_count(method_names) == size_t(Method::unknown));
static_assert(line_count(status_texts) == size_t(Status::version_not_supported) + 1);

// What a parser answers. From `refused` on, the distance to it is the status of the refusal.
enum class Parse : uint8_t { complete, incomplete, refused };
constexpr Parse refuse(Status status) { return Parse(uint8_t(Parse::refused) + uint8_t(status)); }
constexpr Status refusal(Parse parse) { return Status(uint8_t(parse) - uint8_t(Parse::refused)); }

// How a request's content is delimited (RFC 9112 section 6.3); the last three are refusals.
enum class Framing : uint8_t { no_content, content_length, chunked, invalid, unknown_coding, too_large };

struct Head {
    Method method = Method::unknown;
    uint8_t minor_version = 0;
    bool has_host = false;
    bool closes : 1 = false;       // Connection: close
    bool keeps_alive : 1 = false;  // Connection: keep-alive
    bool expects_continue : 1 = false;
    bool expects_other : 1 = false;
    bool has_content_length : 1 = false;
    bool has_transfer_encoding : 1 = false;
    bool is_chunked : 1 = false;
    bool has_other_coding : 1 = false;
    uint32_t content_length = 0;  // no more than content_limit + 1, which stands for all that is larger
    Bytes path;
    Bytes query;  // without the "?"
};

// At a byte that does not belong: the message is wrong, or it has not arrived any further.
[[nodiscard]] constexpr Parse incomplete_or_bad(Cursor cursor) {
    return cursor.at == cursor.end ? Parse::incomplete : refuse(Status::bad_request);
}

// At a place where `text` ought to stand and does not: the same question about its first byte that differs.
[[nodiscard, gnu::cold, gnu::noinline]] Parse incomplete_or_bad(Cursor cursor, Bytes text) {
    for (size_t i = 0; i < text.size && *cursor.at == text.data[i]; i++) cursor.at++;
    return incomplete_or_bad(cursor);
}

// Any method but the common ones, and the space behind it.
[[nodiscard, gnu::cold, gnu::noinline]] Parse take_rare_method(Cursor &cursor, Head &head) {
    const char *const name_end = skip(Class::token, cursor.at);
    const Bytes name{cursor.at, size_t(name_end - cursor.at)};
    if (name.size > method_limit) return refuse(Status::not_implemented);  // RFC 9112 section 3
    cursor.at = name_end;
    if (name.size == 0 || *name_end != ' ') return incomplete_or_bad(cursor);
    size_t method = 0;
    for (; method < size_t(Method::unknown); method++) {
        const Bytes line = line_of(method_names, method);
        if (line.first(line.size - 1) == name) break;
    }
    head.method = Method(method);
    cursor.at++;
    return Parse::complete;
}

[[nodiscard, gnu::always_inline]] inline Parse take_method(Cursor &cursor, Head &head) {
    if (stands_at(cursor.at, "GET ")) [[likely]] {
        head.method = Method::get;
        cursor.at += 4;
        return Parse::complete;
    }
    if (stands_at(cursor.at, "POST ")) {
        head.method = Method::post;
        cursor.at += 5;
        return Parse::complete;
    }
    Cursor rare = cursor;  // a copy, so that the hot path's cursor can stay in registers
    const Parse parse = take_rare_method(rare, head);
    cursor = rare;
    return parse;
}

// Any HTTP-version but HTTP/1.1 (RFC 9112 section 2.3), and the line's end.
[[nodiscard, gnu::cold, gnu::noinline]] Parse take_rare_version(Cursor &cursor, Head &head) {
    constexpr Bytes form = "HTTP/d.d\r\n"_b;
    const char *const at = cursor.at;
    for (size_t i = 0; i < form.size; i++, cursor.at++)
        if (form.data[i] == 'd' ? !is(Class::digit, *cursor.at) : *cursor.at != form.data[i])
            return incomplete_or_bad(cursor);
    head.minor_version = uint8_t(at[7] - '0');
    return at[5] == '1' ? Parse::complete : refuse(Status::version_not_supported);
}

// A target in any form but origin-form (RFC 9112 section 3.2): the path is reduced to what origin-form would have.
[[nodiscard, gnu::cold, gnu::noinline]] Parse reduce_target(Head &head) {
    Bytes &path = head.path;
    if (head.method == Method::connect) return Parse::complete;  // authority-form; the method is refused later
    if (path == "*"_b && head.method == Method::options && head.query.size == 0) return Parse::complete;
    constexpr Bytes scheme = "http://"_b;
    if (path.size <= scheme.size || !is_ignoring_case(path.first(scheme.size), scheme))
        return refuse(Status::bad_request);
    size_t size = scheme.size;
    while (size < path.size && path.data[size] != '/') size++;
    if (size == scheme.size) return refuse(Status::bad_request);  // no authority
    path = path.after(size);
    return Parse::complete;
}

// method SP request-target SP HTTP-version CRLF (RFC 9112 section 3)
[[nodiscard, gnu::always_inline]] inline Parse take_request_line(Cursor &cursor, Head &head) {
    const char *const line = cursor.at;
    if (const Parse parse = take_method(cursor, head); parse != Parse::complete) [[unlikely]]
        return parse;

    const char *const path = cursor.at;
    cursor.at = skip(Class::target, cursor.at);
    head.path = {path, size_t(cursor.at - path)};
    head.query = {cursor.at, 0};
    if (*cursor.at == '?') {
        const char *const query = ++cursor.at;
        while (*(cursor.at = skip(Class::target, cursor.at)) == '?') cursor.at++;
        head.query = {query, size_t(cursor.at - query)};
    }
    if (size_t(cursor.at - line) > request_line_limit) [[unlikely]]
        return refuse(Status::uri_too_long);
    if (*cursor.at != ' ' || cursor.at == path) [[unlikely]]
        return incomplete_or_bad(cursor);
    cursor.at++;

    if (stands_at(cursor.at, "HTTP/1.1\r\n")) [[likely]] {
        head.minor_version = 1;
        cursor.at += 10;
    } else {
        Cursor rare = cursor;
        const Parse parse = take_rare_version(rare, head);
        cursor = rare;
        if (parse != Parse::complete) return parse;
    }

    if (*path != '/') [[unlikely]]
        return reduce_target(head);
    return Parse::complete;
}

// Content-Length = 1*DIGIT (RFC 9110 section 8.6). A list, even of equal values, is a smuggling attempt.
[[nodiscard]] Parse take_content_length(Bytes value, Head &head) {
    if (head.has_content_length || value.size == 0) return refuse(Status::bad_request);
    uint64_t length = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (!is(Class::digit, value.data[i])) return refuse(Status::bad_request);
        if (length >= UINT64_MAX / 10) return refuse(Status::bad_request);  // one digit more may overflow
        length = length * 10 + uint64_t(value.data[i] - '0');
    }
    head.has_content_length = true;
    head.content_length = length > content_limit ? content_limit + 1 : uint32_t(length);
    return Parse::complete;
}

// The codings in the order in which they were applied, over one or several lines (RFC 9112 section 6.1).
[[nodiscard]] Parse take_transfer_encoding(Bytes value, Head &head) {
    head.has_transfer_encoding = true;
    while (value.size != 0) {
        const Bytes coding = take_element(value);
        if (coding.size == 0) continue;
        if (head.is_chunked) return refuse(Status::bad_request);  // chunked twice, or not last
        if (is_ignoring_case(coding, "chunked"_b)) head.is_chunked = true;
        else head.has_other_coding = true;
    }
    return Parse::complete;
}

[[gnu::noinline]] void take_connection(Bytes value, Head &head) {
    while (value.size != 0) {
        const Bytes option = take_element(value);
        if (is_ignoring_case(option, "close"_b)) head.closes = true;
        if (is_ignoring_case(option, "keep-alive"_b)) head.keeps_alive = true;
    }
}

// What a field line of the message's framing or of the connection means.
[[nodiscard, gnu::noinline]] Parse take_known_field(Bytes name, Bytes value, Head &head) {
    value = trim(value);
    if (is_ignoring_case(name, "content-length"_b)) return take_content_length(value, head);
    if (is_ignoring_case(name, "transfer-encoding"_b)) return take_transfer_encoding(value, head);
    if (is_ignoring_case(name, "connection"_b)) take_connection(value, head);
    if (is_ignoring_case(name, "expect"_b)) {
        if (is_ignoring_case(value, "100-continue"_b)) head.expects_continue = true;
        else head.expects_other = true;
    }
    return Parse::complete;
}

// What a field line means to this server: mostly nothing, which its name's length shows already.
[[nodiscard, gnu::always_inline]] inline Parse take_field(Bytes name, Bytes value, Head &head) {
    constexpr auto bit = [](size_t size) { return uint32_t(1) << size; };
    constexpr uint32_t known = bit(sizeof "content-length" - 1) | bit(sizeof "transfer-encoding" - 1) |
                               bit(sizeof "connection" - 1) | bit(sizeof "expect" - 1);
    if (name.size == 4 && (load<uint32_t>(name.data) | 0x20202020) == load<uint32_t>("host")) {
        if (head.has_host) return refuse(Status::bad_request);
        head.has_host = true;
        return Parse::complete;
    }
    if (name.size < 32 && (known >> name.size & 1) != 0) return take_known_field(name, value, head);
    return Parse::complete;
}

// field-name ":" OWS field-value OWS CRLF (RFC 9112 section 5), as often as there are, and the empty line.
[[nodiscard, gnu::always_inline]] inline Parse take_field_lines(Cursor &cursor, Head &head) {
    for (;;) {
        const char *const name = cursor.at;
        cursor.at = skip(Class::token, cursor.at);
        const size_t name_size = size_t(cursor.at - name);
        if (name_size == 0) break;
        if (*cursor.at != ':') [[unlikely]]
            return incomplete_or_bad(cursor);
        const char *const value = ++cursor.at;
        cursor.at = skip(Class::field_value, cursor.at);
        const size_t value_size = size_t(cursor.at - value);
        if (!stands_at(cursor.at, "\r\n")) [[unlikely]]
            return incomplete_or_bad(cursor, "\r\n"_b);
        cursor.at += 2;
        const Parse parse = take_field({name, name_size}, {value, value_size}, head);
        if (parse != Parse::complete) [[unlikely]]
            return parse;
    }
    if (!stands_at(cursor.at, "\r\n")) [[unlikely]]
        return incomplete_or_bad(cursor, "\r\n"_b);
    cursor.at += 2;
    return Parse::complete;
}

// The one place that decides where a request ends (RFC 9112 section 6.3). It prefers refusing to guessing: whatever
// two implementations could read differently is what request smuggling is made of.
[[nodiscard, gnu::always_inline]] inline Framing decide_framing(const Head &head) {
    if (head.has_transfer_encoding) {
        if (head.has_content_length || head.minor_version == 0 || !head.is_chunked) return Framing::invalid;
        return head.has_other_coding ? Framing::unknown_coding : Framing::chunked;
    }
    if (head.content_length > content_limit) return Framing::too_large;
    return head.content_length != 0 ? Framing::content_length : Framing::no_content;
}

// What a framing that is a refusal is answered with.
[[nodiscard, gnu::cold]] constexpr Status status_of(Framing refused) {
    if (refused == Framing::unknown_coding) return Status::not_implemented;
    return refused == Framing::too_large ? Status::content_too_large : Status::bad_request;
}

// The request head at `cursor`, which is moved behind it if it is complete, and else only over empty lines. Whatever
// is wrong behind head_limit, the limit is what the head is refused for: it would be, if it arrived slowly.
[[nodiscard, gnu::noinline]] Parse take_head(Cursor &cursor, Head &head) {
    while (stands_at(cursor.at, "\r\n")) cursor.at += 2;  // RFC 9112 section 2.2
    if (*cursor.at == '\r') [[unlikely]]
        return incomplete_or_bad(cursor, "\r\n"_b);
    Cursor ahead = cursor;
    Parse parse = take_request_line(ahead, head);
    if (parse == Parse::complete) [[likely]]
        parse = take_field_lines(ahead, head);
    if (size_t(ahead.at - cursor.at) > head_limit && parse != refuse(Status::uri_too_long)) [[unlikely]]
        return refuse(Status::fields_too_large);
    if (parse != Parse::complete) [[unlikely]]
        return parse;
    if (!head.has_host && head.minor_version != 0) [[unlikely]]
        return refuse(Status::bad_request);
    cursor = ahead;
    return Parse::complete;
}

// Where a connection stands inside a request's content. Nothing of the content itself is kept.
struct [[gnu::packed]] Content {
    enum class State : uint8_t {
        none,    // between requests: a head comes next
        length,  // content with a Content-Length
        data,    // chunk-data, and after it:
        size_start,
        size,
        extension,
        size_lf,
        data_cr,
        data_lf,
        trailer_start,
        trailer_name,
        trailer_value,
        trailer_lf,
        end_lf,
    };

    State state;
    uint32_t left;    // of the content or of the chunk
    uint32_t budget;  // of what further chunks may bring
};

[[nodiscard]] constexpr Content begin_content(Framing framing, uint32_t content_length) {
    if (framing == Framing::content_length) return {Content::State::length, content_length, 0};
    return {Content::State::size_start, 0, content_limit};
}

// What may stand around the chunks' data, byte by byte: in `state`, a byte of the class leads to `stay`, the byte `end`
// leads to `next`, and any other is refused. Any byte can arrive, NUL too: what does not exist must match none.
struct ChunkStep {
    Content::State state;
    Class member;
    Content::State stay;
    int16_t end;
    Content::State next;
};
constexpr Class no_class{};
constexpr int16_t no_end = -1;
constexpr ChunkStep chunk_steps[] = {
    {Content::State::size_start, Class::hex_digit, Content::State::size, no_end, Content::State::size},
    {Content::State::size, Class::hex_digit, Content::State::size, '\r', Content::State::size_lf},
    {Content::State::extension, Class::field_value, Content::State::extension, '\r', Content::State::size_lf},
    {Content::State::size_lf, no_class, Content::State::size_lf, '\n', Content::State::data},
    {Content::State::data_cr, no_class, Content::State::data_cr, '\r', Content::State::data_lf},
    {Content::State::data_lf, no_class, Content::State::data_lf, '\n', Content::State::size_start},
    {Content::State::trailer_start, Class::token, Content::State::trailer_name, '\r', Content::State::end_lf},
    {Content::State::trailer_name, Class::token, Content::State::trailer_name, ':', Content::State::trailer_value},
    {Content::State::trailer_value, Class::field_value, Content::State::trailer_value, '\r',
     Content::State::trailer_lf},
    {Content::State::trailer_lf, no_class, Content::State::trailer_lf, '\n', Content::State::trailer_start},
    {Content::State::end_lf, no_class, Content::State::end_lf, '\n', Content::State::none},
};
consteval bool chunk_steps_are_in_order() {
    for (size_t i = 0; i < sizeof chunk_steps / sizeof *chunk_steps; i++)
        if (size_t(chunk_steps[i].state) != size_t(Content::State::size_start) + i) return false;
    return true;
}
static_assert(chunk_steps_are_in_order(), "a state's step is found by its number");

// One byte of what stands around the chunks' data. Complete means that the byte was right, not that the content is.
[[nodiscard, gnu::always_inline]] inline Parse take_chunk_byte(Content &content, char byte) {
    using enum Content::State;
    const ChunkStep &step = chunk_steps[size_t(content.state) - size_t(size_start)];
    if (is(step.member, byte)) {
        content.state = step.stay;
        if (step.stay != size) return Parse::complete;
        const uint32_t digit = byte <= '9' ? uint32_t(byte - '0') : uint32_t((byte | 0x20) - 'a' + 10);
        content.left = content.left * 16 + digit;
        return content.left > content.budget ? refuse(Status::content_too_large) : Parse::complete;
    }
    if (content.state == size && (byte == ';' || byte == ' ' || byte == '\t')) {
        content.state = extension;
        return Parse::complete;
    }
    if (uint8_t(byte) != step.end) return refuse(Status::bad_request);
    content.state = step.next;
    if (content.state == data) {
        content.budget -= content.left;
        if (content.left == 0) content.state = trailer_start;
    }
    return Parse::complete;
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
            content.state = content.state == Content::State::data ? Content::State::data_cr : Content::State::none;
        } else {
            const Parse parse = take_chunk_byte(content, *cursor.at);
            if (parse != Parse::complete) return parse;
            cursor.at++;
        }
        if (content.state == Content::State::none) return Parse::complete;
    }
    return Parse::incomplete;
}

// ---- Routes ----------------------------------------------------------------------------------------------------
// What is served. A new endpoint is one function that answers and one row in `routes`. A route that reads the query
// or the content has a function for each, too: they come by once, nothing of them is stored, and what matters of
// them goes into the Exchange.

// A request on its way to its answer: all that is remembered of it once its head has gone by.
struct [[gnu::packed]] Exchange {
    enum class Persistence : uint8_t {
        keep,        // HTTP/1.1: goes without saying
        keep_alive,  // HTTP/1.0 that asked for it: has to be told
        close,
    };

    uint64_t sum;     // the route's own: integers of the query, in two's complement
    Integer integer;  // the route's own: the one in the content
    Status status;    // not ok: answered with this error and not by the route
    uint8_t route;    // index in `routes`; with method_not_allowed, of any row that has the path
    Persistence persistence : 2;
    bool is_head : 1;  // answered without content
};

// An Allow field line with every method there is.
constexpr size_t allow_size_limit = sizeof "Allow: \r\n" + method_names.size * 2;
constexpr size_t head_size_limit =
    sizeof "HTTP/1.1 431 Request Header Fields Too Large\r\nServer: mote\r\nContent-Type: text/plain\r\n"
           "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n"
           "Content-Length: 18446744073709551615\r\n\r\n" +
    allow_size_limit;
static_assert(head_size_limit + answer_content_limit <= answer_limit, "answer_limit must leave room for a head");

constexpr size_t date_size = sizeof "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" - 1;

// Composes responses one behind the other. The caller has made sure of answer_limit bytes at `at`.
struct Answer {
    char *at;
    const char *date;  // the Date field line, date_size bytes

    // A whole response with `content`.
    [[gnu::always_inline]] inline void text(const Exchange &exchange, Bytes content) {
        if (content.size > answer_content_limit) [[unlikely]]
            return error(exchange, Status::internal_server_error);
        at = put(at, "HTTP/1.1 200 OK\r\n");
        fields(exchange, content.size);
        if (!exchange.is_head) [[likely]]
            at = put(at, content);
    }

    // A whole response with an integer, given in two's complement, as its content.
    void integer(const Exchange &exchange, uint64_t value) {
        const bool is_negative = int64_t(value) < 0;
        const uint64_t magnitude = is_negative ? -value : value;
        const size_t digits = decimal_size(magnitude);
        at = put(at, "HTTP/1.1 200 OK\r\n");
        fields(exchange, digits + is_negative);
        if (exchange.is_head) [[unlikely]]
            return;
        *at = '-';
        at = put_digits(at + is_negative, magnitude, digits);
    }

    // An error's whole response. `field_line`, if any, is one of its own. The reason is the content as well, so that
    // a person sees something.
    [[gnu::cold, gnu::noinline]] void error(const Exchange &exchange, Status status, Bytes field_line = {}) {
        const Bytes reason = line_of(status_texts, size_t(status));
        at = put(put(at, "HTTP/1.1 "), reason);
        at = put(at, field_line);
        fields(exchange, reason.size);
        if (!exchange.is_head) at = put(at, reason);
    }

private:
    // The field lines that every response has, and the empty line.
    [[gnu::noinline]] void fields(const Exchange &exchange, size_t content_length) {
        char *end = put(at, "Server: mote\r\nContent-Type: text/plain\r\n");
        copy<date_size>(end, date);
        end += date_size;
        if (exchange.persistence != Exchange::Persistence::keep) [[unlikely]]
            end = put_connection(end, exchange.persistence == Exchange::Persistence::close);
        end = put(end, "Content-Length: ");
        end = put_digits(end, content_length, decimal_size(content_length));
        at = put(end, "\r\n\r\n");
    }

    [[gnu::cold, gnu::noinline]] static char *put_connection(char *end, bool closes) {
        return put(end, closes ? "Connection: close\r\n"_b : "Connection: keep-alive\r\n"_b);
    }
};

void answer_ok(const Exchange &exchange, Answer &answer) { answer.text(exchange, "ok"_b); }

// Adds up all integers that are the value of a "name=value" in the query.
void add_query(Exchange &exchange, Bytes query) {
    while (query.size != 0) {
        size_t name_end = 0;
        while (name_end < query.size && query.data[name_end] != '=' && query.data[name_end] != '&') name_end++;
        size_t value_end = name_end;
        while (value_end < query.size && query.data[value_end] != '&') value_end++;
        if (value_end > name_end) {
            Integer integer{};
            integer.take({query.data + name_end + 1, value_end - name_end - 1});
            exchange.sum += integer.value();
        }
        query = query.after(value_end < query.size ? value_end + 1 : value_end);
    }
}

void take_addend(Exchange &exchange, Bytes piece) { exchange.integer.take(piece); }

void answer_sum(const Exchange &exchange, Answer &answer) {
    answer.integer(exchange, exchange.sum + exchange.integer.value());
}

struct Route {
    Method method;  // get answers HEAD as well
    Bytes path;
    void (*answer)(const Exchange &, Answer &);
    void (*take_query)(Exchange &, Bytes query) = nullptr;  // called once, when the head is complete
    void (*take_piece)(Exchange &, Bytes piece) = nullptr;  // called as often as content arrives
};

// Everything this server answers, in the order in which it is tried. Any other path is a 404.
constexpr Route routes[] = {
    {Method::get, "/pipeline"_b, answer_ok},
    {Method::get, "/baseline11"_b, answer_sum, add_query},
    {Method::post, "/baseline11"_b, answer_sum, add_query, take_addend},
};
constexpr size_t route_count = sizeof routes / sizeof *routes;

consteval bool all_origin_form() {
    for (const Route &route : routes)
        if (route.path.size == 0 || route.path.data[0] != '/') return false;
    return true;
}
static_assert(all_origin_form(), "a route's path starts with '/' (RFC 9112 section 3.2.1)");
static_assert(route_count <= 256, "a connection remembers its route in one byte");

// The methods of the path of row `index`, one bit each.
[[nodiscard]] constexpr uint32_t methods_of(size_t index) {
    uint32_t methods = 0;
    for (const Route &route : routes) {
        if (!(route.path == routes[index].path)) continue;
        methods |= 1u << unsigned(route.method);
        if (route.method == Method::get) methods |= 1u << unsigned(Method::head);
    }
    return methods;
}

// Calls `visit` with each row until one call returns true. Unrolled by the compiler, so that in each copy the row is
// a constant: comparisons of paths become wide loads, calls become direct ones or are inlined.
template <size_t index = 0, typename Visit> [[gnu::always_inline]] inline void visit_routes(Visit visit) {
    if constexpr (index < route_count)
        if (!visit.template operator()<index>()) visit_routes<index + 1>(visit);
}

// Starts the exchange that `head` asks for: finds its route, or the error that answers it.
[[gnu::always_inline]] inline void begin_exchange(Exchange &exchange, const Head &head) {
    using enum Exchange::Persistence;
    // Member by member: for the whole, a compiler that optimises for size takes `rep stos`, which is slow to start.
    exchange.sum = 0;
    exchange.integer.magnitude = 0;
    exchange.integer.state = Integer::State::start;
    exchange.integer.is_negative = false;
    exchange.route = 0;
    exchange.persistence = keep;
    exchange.is_head = head.method == Method::head;
    if (head.closes || head.minor_version == 0) [[unlikely]]
        exchange.persistence = head.keeps_alive && !head.closes ? keep_alive : close;

    const Method method = exchange.is_head ? Method::get : head.method;
    exchange.status = Status::not_found;
    bool has_path = false;
    visit_routes([&]<size_t index> {
        constexpr Route route = routes[index];
        constexpr bool is_path_of_last = index != 0 && routes[index == 0 ? 0 : index - 1].path == route.path;
        if constexpr (!is_path_of_last)
            has_path = head.path.size == route.path.size && !differ<route.path.size>(head.path.data, route.path.data);
        if (!has_path) return false;
        exchange.route = uint8_t(index);
        exchange.status = method == route.method ? Status::ok : Status::method_not_allowed;
        if (method != route.method) return false;
        if constexpr (route.take_query != nullptr) route.take_query(exchange, head.query);
        return true;
    });
    if (head.method > Method::post) [[unlikely]] {
        if (method == Method::unknown || method == Method::connect) exchange.status = Status::not_implemented;
    }
    if (head.expects_other) [[unlikely]]
        exchange.status = Status::expectation_failed;
}

// Hands a piece of content to the route, if it wants any.
void take_piece(Exchange &exchange, Bytes piece) {
    if (exchange.status != Status::ok) return;
    visit_routes([&]<size_t index> {
        constexpr Route route = routes[index];
        if (index != exchange.route) return false;
        if constexpr (route.take_piece != nullptr) route.take_piece(exchange, piece);
        return true;
    });
}

[[gnu::cold, gnu::noinline]] void answer_error(const Exchange &exchange, Answer &answer) {
    char allow[allow_size_limit];
    char *end = allow;
    if (exchange.status == Status::method_not_allowed) {  // RFC 9110 section 15.5.6
        uint32_t methods = 0;
        visit_routes([&]<size_t index> {
            constexpr uint32_t methods_of_index = methods_of(index);
            if (index == exchange.route) methods = methods_of_index;
            return index == exchange.route;
        });
        end = put(end, "Allow: ");
        for (size_t method = 0; methods != 0; method++, methods >>= 1) {
            if ((methods & 1) == 0) continue;
            const Bytes line = line_of(method_names, method);
            end = put(end, line.first(line.size - 1));
            end = put(end, ", ");
        }
        end = put(end - 2, "\r\n");
    }
    answer.error(exchange, exchange.status, {allow, size_t(end - allow)});
}

// Composes the answer to a complete request.
[[gnu::always_inline]] inline void answer_exchange(const Exchange &exchange, Answer &answer) {
    if (exchange.status != Status::ok) [[unlikely]]
        return answer_error(exchange, answer);
    visit_routes([&]<size_t index> {
        if (index != exchange.route) return false;
        routes[index].answer(exchange, answer);
        return true;
    });
}

// ---- Connections -----------------------------------------------------------------------------------------------
// The state of one connection and every transition it can make. A connection belongs to one worker, which alone
// touches it. It owns a block only while it holds something back: a partial head, or output that the peer does not
// take and the input behind it. Whatever leaves a connection closed goes through close_connection.

struct Connection {
    enum class State : uint8_t {
        closed,
        receiving,     // a block, if any, holds a partial head
        sending,       // the block holds output, and input that must wait for it; nothing is received
        sending_last,  // the same, and the connection ends behind that output
        lingering,     // all is sent, and our end of stream too; what still arrives is thrown away
    };

    Exchange exchange;
    uint16_t block;  // index in the worker's blocks plus one; 0: none
    State state;
    Content content;  // while lingering, `left` counts what may still be thrown away
};
static_assert(sizeof(Connection) == 32, "two connections share a cache line, none straddles one");

// What a connection holds back. The small things first: a partial head then takes up one page.
struct Block {
    uint32_t output_begin, output_end;  // what of `output` is not sent yet
    uint32_t input_end;                 // how much of `input` is in use
    uint16_t next_free;                 // while free: index plus one of the next free block
    char input[input_size];
    char output[output_size];
};

// All that a worker works with, laid out once and never moved. The kernel maps it zeroed, page by page on first use.
// Every page that is touched between two system calls costs an address translation, so what a request uses shares
// pages: the top of the stack with the start of the output, the worker's state and events with the start of the input.
struct alignas(4096) Worker {
    int listener;
    int epoll;
    int timer;
    bool is_ticking;
    bool is_accepting;
    uint16_t free_block;    // index plus one of the block given back last
    uint16_t fresh_blocks;  // how many blocks were never used; they are the last ones
    uint32_t connection_count;
    char date[date_size];
    epoll_event events[events_per_wait];
    char input[input_size + overread];

    alignas(4096) char stack[stack_size];  // an overflow runs into the end of the input buffer, which is rarely used
    char output[output_size];

    alignas(64) Connection connections[reserved_descriptors + connection_limit];
    Block blocks[block_count];

    [[nodiscard]] Block &block_of(const Connection &connection) { return blocks[connection.block - 1]; }
};
static_assert(block_count < UINT16_MAX, "a block's index plus one is kept in 16 bits");

constexpr uint32_t receiving_events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET;
constexpr uint32_t sending_events = EPOLLOUT | EPOLLRDHUP | EPOLLET;

// What is known about the socket behind the bytes that were received last.
enum class Arrival : uint8_t { drained, perhaps_more };

// A block for the connection, or nullptr if there is none left.
[[nodiscard]] Block *take_block(Worker &worker, Connection &connection) {
    if (worker.free_block != 0) {  // the block used last, so that few pages are in use
        connection.block = worker.free_block;
        worker.free_block = worker.block_of(connection).next_free;
    } else {
        if (worker.fresh_blocks == 0) return nullptr;
        connection.block = uint16_t(block_count - worker.fresh_blocks + 1);
        worker.fresh_blocks--;
    }
    return &worker.block_of(connection);
}

[[gnu::cold, gnu::noinline]] void give_back_block(Worker &worker, Connection &connection) {
    worker.block_of(connection).next_free = worker.free_block;
    worker.free_block = connection.block;
    connection.block = 0;
}

// Waiting connections are accepted again.
[[gnu::cold, gnu::noinline]] void resume_accepting(Worker &worker) {
    worker.is_accepting = true;
    (void)epoll_ctl(worker.epoll, EPOLL_CTL_MOD, worker.listener, EPOLLIN);  // a registered pair cannot fail
}

void close_connection(Worker &worker, int socket) {
    Connection &connection = worker.connections[socket];
    if (connection.block != 0) [[unlikely]]
        give_back_block(worker, connection);
    connection.state = Connection::State::closed;
    worker.connection_count--;
    (void)close(socket);  // the descriptor is free whatever close answers
    if (!worker.is_accepting) [[unlikely]]
        resume_accepting(worker);
}

// Copies what waits in the connection's block to the input buffer and gives the block back. Returns its size.
[[gnu::cold, gnu::noinline]] size_t take_back_input(Worker &worker, Connection &connection) {
    const Block &block = worker.block_of(connection);
    __builtin_memcpy(worker.input, block.input, block.input_end);
    const size_t size = block.input_end;
    give_back_block(worker, connection);
    return size;
}

// Puts away what of the output and input buffers cannot be used yet. False if the connection had to be closed.
[[nodiscard, gnu::cold, gnu::noinline]] bool hold_back(Worker &worker, int socket, Bytes output, Bytes input) {
    Block *const block = take_block(worker, worker.connections[socket]);
    if (block == nullptr) {
        close_connection(worker, socket);
        return false;
    }
    block->output_begin = 0;
    block->output_end = uint32_t(output.size);
    block->input_end = uint32_t(input.size);
    put(block->output, output);
    put(block->input, input);
    return true;
}

// Changes what the connection waits for. Closes it if that fails.
[[nodiscard, gnu::cold]] bool watch_for(Worker &worker, int socket, uint32_t events) {
    if (epoll_ctl(worker.epoll, EPOLL_CTL_MOD, socket, events) == 0) return true;
    close_connection(worker, socket);
    return false;
}

// Send has taken less than the first `size` bytes of the output buffer, or has answered with an error. The rest and
// `input` wait in a block until the socket is writable, or the connection is closed.
[[gnu::cold, gnu::noinline]] void send_later(Worker &worker, int socket, long sent, size_t size, Bytes input) {
    if (sent < 0 && sent != -EAGAIN && sent != -EINTR) return close_connection(worker, socket);
    const Bytes output{worker.output, size};
    if (hold_back(worker, socket, output.after(sent < 0 ? 0 : size_t(sent)), input))
        (void)watch_for(worker, socket, sending_events);  // closes if it fails: either way nothing is left to do here
}

// Throws away what arrives after the last answer, so that the answer is not destroyed by a reset (RFC 9112
// section 9.6), until the peer closes or has sent too much.
[[gnu::cold, gnu::noinline]] void linger(Worker &worker, int socket) {
    Content &content = worker.connections[socket].content;
    for (;;) {
        const long got = recv(socket, worker.input, input_size);
        if (got == -EINTR) continue;
        if (got == -EAGAIN) return;
        if (got <= 0 || uint32_t(got) >= content.left) return close_connection(worker, socket);
        content.left -= uint32_t(got);
    }
}

// The last answer has been sent whole. `peer_is_done`: it asked for the end and has sent nothing behind that.
[[gnu::cold, gnu::noinline]] void finish(Worker &worker, int socket, bool peer_is_done) {
    if (peer_is_done || shutdown(socket, SHUT_WR) != 0) return close_connection(worker, socket);
    Connection &connection = worker.connections[socket];
    if (connection.block != 0) give_back_block(worker, connection);
    connection.state = Connection::State::lingering;
    connection.content.left = linger_limit;
    if (watch_for(worker, socket, receiving_events)) linger(worker, socket);
}

// Takes one request, or what has arrived of it, and composes its answer once it is complete. A head is taken whole or
// not at all, content as far as it has arrived.
[[nodiscard, gnu::hot, gnu::noinline]] Parse take_request(Connection &connection, Cursor &cursor, Answer &answer) {
    Exchange &exchange = connection.exchange;
    Content &content = connection.content;
    if (content.state == Content::State::none) [[likely]] {
        Head head;
        Parse parse = take_head(cursor, head);
        const Framing framing = decide_framing(head);
        if (parse == Parse::complete && framing >= Framing::invalid) [[unlikely]]
            parse = refuse(status_of(framing));
        if (parse != Parse::complete) [[unlikely]] {
            exchange.is_head = head.method == Method::head;  // a refusal of HEAD has no content either
            return parse;
        }
        begin_exchange(exchange, head);
        if (framing != Framing::no_content) {
            content = begin_content(framing, head.content_length);
            if (head.expects_continue && head.minor_version != 0 && cursor.at == cursor.end) [[unlikely]]
                answer.at = put(answer.at, "HTTP/1.1 100 Continue\r\n\r\n");
        }
    }
    if (content.state != Content::State::none) {
        const auto take = [&](Bytes piece) { take_piece(exchange, piece); };
        if (const Parse parse = take_content(cursor, content, take); parse != Parse::complete) return parse;
    }
    answer_exchange(exchange, answer);
    return Parse::complete;
}

// The one place that refuses a request: what follows it on the connection is not looked at any more.
[[gnu::cold, gnu::noinline]] void refuse_request(Connection &connection, Answer &answer, Status status) {
    connection.exchange.status = status;
    connection.exchange.persistence = Exchange::Persistence::close;
    answer_error(connection.exchange, answer);
}

// Answers requests until the input is used up, the output buffer is full or the connection is to end. `is_last`: it is,
// behind the answer composed last.
[[nodiscard, gnu::always_inline]] inline Parse answer_requests(Connection &connection, Cursor &cursor, Answer &answer,
                                                               const char *output_full, bool &is_last) {
    for (;;) {
        const Parse parse = take_request(connection, cursor, answer);
        if (parse >= Parse::refused) [[unlikely]]
            refuse_request(connection, answer, refusal(parse));
        else if (parse == Parse::incomplete) [[unlikely]] return parse;
        is_last = connection.exchange.persistence == Exchange::Persistence::close;
        if (is_last || cursor.at == cursor.end || answer.at > output_full) return parse;
    }
}

// Answers all complete requests among the first `filled` bytes of the input buffer. Returns whether the connection
// goes on receiving.
[[nodiscard, gnu::hot]] bool serve(Worker &worker, int socket, size_t filled, Arrival arrival) {
    using enum Connection::State;
    Connection &connection = worker.connections[socket];
    Cursor cursor{worker.input, worker.input + filled};
    worker.input[filled] = '\0';
    const char *const output_full = worker.output + (output_size - answer_limit);
    bool is_last = false;
    do {
        Answer answer{worker.output, worker.date};
        const Parse parse = answer_requests(connection, cursor, answer, output_full, is_last);
        if (parse >= Parse::refused) arrival = Arrival::perhaps_more;  // what follows has not been looked at
        const size_t size = size_t(answer.at - worker.output);
        if (size != 0) [[likely]] {
            const long sent = send(socket, worker.output, size);
            if (sent != long(size)) [[unlikely]] {
                connection.state = is_last ? sending_last : sending;
                send_later(worker, socket, sent, size, {cursor.at, is_last ? 0 : cursor.left()});
                return false;
            }
        }
        if (is_last) [[unlikely]] {
            finish(worker, socket, arrival == Arrival::drained && cursor.at == cursor.end);
            return false;
        }
        if (parse == Parse::incomplete) [[unlikely]]
            break;
    } while (cursor.at != cursor.end);
    if (cursor.at == cursor.end) [[likely]]
        return true;
    return hold_back(worker, socket, {}, {cursor.at, cursor.left()});
}

// The socket takes output again.
[[gnu::cold, gnu::noinline]] void resume(Worker &worker, int socket) {
    Connection &connection = worker.connections[socket];
    Block &block = worker.block_of(connection);
    while (block.output_begin < block.output_end) {
        const long sent = send(socket, block.output + block.output_begin, block.output_end - block.output_begin);
        if (sent == -EINTR) continue;
        if (sent == -EAGAIN) return;
        if (sent < 0) return close_connection(worker, socket);
        block.output_begin += uint32_t(sent);
    }
    if (connection.state == Connection::State::sending_last) return finish(worker, socket, false);
    connection.state = Connection::State::receiving;
    const size_t filled = take_back_input(worker, connection);
    if (!watch_for(worker, socket, receiving_events)) return;  // what has arrived meanwhile is reported anew
    if (filled != 0) (void)serve(worker, socket, filled, Arrival::perhaps_more);
}

// Something has arrived.
[[gnu::hot, gnu::noinline]] void receive(Worker &worker, int socket, uint32_t events) {
    Connection &connection = worker.connections[socket];
    for (size_t turn = 0; turn < receive_turns; turn++) {
        size_t kept = 0;
        if (connection.block != 0) [[unlikely]]
            kept = worker.block_of(connection).input_end;
        const long got = recv(socket, worker.input + kept, input_size - kept);
        if (got <= 0) [[unlikely]] {
            if (got == -EINTR) continue;
            if (got != -EAGAIN) close_connection(worker, socket);
            return;
        }
        if (kept != 0) [[unlikely]]
            (void)take_back_input(worker, connection);
        const size_t filled = kept + size_t(got);
        // Less than there was room for: the socket is empty, and the next arrival is a new edge. But an end of stream
        // that has already arrived is none, and urgent data ends a recv early: then receive until the socket says so.
        const bool is_drained = filled < input_size && (events & (EPOLLRDHUP | EPOLLPRI)) == 0;
        if (!serve(worker, socket, filled, is_drained ? Arrival::drained : Arrival::perhaps_more)) return;
        if (is_drained) [[likely]]
            return;
    }
    (void)watch_for(worker, socket, receiving_events);  // reports what is left, behind the other connections
}

// ---- Worker loop -----------------------------------------------------------------------------------------------
// One thread's life: wait, accept, receive and answer, and once a second look at the clock. The clock stands still
// while there are no connections: an idle server does not wake up.

constexpr char weekdays[] = "ThuFriSatSunMonTueWed";  // 1 January 1970 was a Thursday
constexpr char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr char date_form[] = "Date: www, dd mmm yyyy hh:mm:ss GMT\r\n";
static_assert(sizeof date_form - 1 == date_size);

constexpr uint32_t days_of_month(uint32_t year, uint32_t month) {  // month 0 is January
    // Every 4th year is a leap year, but of those divisible by 25, and so by 100, only every 400th.
    const bool is_leap_year = (year & (year % 25 == 0 ? 15 : 3)) == 0;
    return month == 1 ? 28 + is_leap_year : 31 - month % 7 % 2;
}

// Writes the Date field line (RFC 9110 section 5.6.7) of a moment, in seconds since 1970. Month by month: once a
// second, small counts for more than fast.
void put_date(char *at, uint64_t now) {
    uint32_t days = uint32_t(now / 86400), year = 1970, month = 0;
    const uint32_t seconds = uint32_t(now % 86400);
    const char *const weekday = weekdays + size_t(days % 7) * 3;
    for (uint32_t length; days >= (length = days_of_month(year, month)); days -= length) {
        month = (month + 1) % 12;
        year += month == 0;
    }
    __builtin_memcpy(at, date_form, date_size);
    __builtin_memcpy(at + 6, weekday, 3);
    put_digits(at + 11, days + 1, 2);
    __builtin_memcpy(at + 14, months + size_t(month) * 3, 3);
    put_digits(at + 18, year, 4);
    put_digits(at + 23, seconds / 3600, 2);
    put_digits(at + 26, seconds / 60 % 60, 2);
    put_digits(at + 29, seconds % 60, 2);
}

// The clock's second has changed. Asks for the next tick as long as there are connections, or are to be again.
[[gnu::cold, gnu::noinline]] void tick(Worker &worker) {
    worker.is_ticking = worker.connection_count != 0 || !worker.is_accepting;
    if (!worker.is_ticking) return;
    if (!worker.is_accepting) resume_accepting(worker);
    timespec now{};
    (void)clock_gettime(CLOCK_REALTIME, now);  // cannot fail: the clock exists and `now` is writable
    put_date(worker.date, uint64_t(now.tv_sec));
    (void)timerfd_settime(worker.timer, 1'000'000'000 - now.tv_nsec);  // likewise, and between 1 ns and 1 s
}

// Descriptors or memory have run out: waiting connections stay in the backlog until one of ours closes, or the next
// tick, for what has run out may be the system's.
[[gnu::cold, gnu::noinline]] void pause_accepting(Worker &worker) {
    worker.is_accepting = false;
    (void)epoll_ctl(worker.epoll, EPOLL_CTL_MOD, worker.listener, 0);  // a registered pair cannot fail
    if (!worker.is_ticking) {
        worker.is_ticking = true;
        (void)timerfd_settime(worker.timer, 1'000'000'000);
    }
}

[[gnu::hot]] inline void accept_connections(Worker &worker) {
    for (;;) {
        const long accepted = accept4(worker.listener, SOCK_NONBLOCK);
        if (accepted < 0) [[unlikely]] {
            if (accepted == -EAGAIN) return;
            if (accepted == -EMFILE || accepted == -ENFILE || accepted == -ENOBUFS || accepted == -ENOMEM)
                return pause_accepting(worker);
            continue;  // this connection failed before it was accepted (accept(2)): on to the next
        }
        const int socket = int(accepted);
        const bool fits = size_t(socket) < sizeof worker.connections / sizeof *worker.connections;
        if (!fits || epoll_ctl(worker.epoll, EPOLL_CTL_ADD, socket, receiving_events) != 0) [[unlikely]] {
            (void)close(socket);  // the descriptor is free whatever close answers
            continue;
        }
        Connection &connection = worker.connections[socket];  // as an earlier one has left it; it has no block
        connection.state = Connection::State::receiving;
        connection.content.state = Content::State::none;
        worker.connection_count++;
        if (!worker.is_ticking) [[unlikely]]
            tick(worker);
    }
}

// An event that is not about a connection that receives.
[[gnu::cold, gnu::noinline]] void handle_rare_event(Worker &worker, int descriptor) {
    if (descriptor == worker.timer) return tick(worker);
    switch (worker.connections[descriptor].state) {
    case Connection::State::sending:
    case Connection::State::sending_last:
        return resume(worker, descriptor);
    case Connection::State::lingering:
        return linger(worker, descriptor);
    default:
        return;  // a closed connection has no events any more
    }
}

[[noreturn, gnu::hot]] void run_worker(void *argument) {
    Worker &worker = *static_cast<Worker *>(argument);
    for (;;) {
        const long count = epoll_wait(worker.epoll, worker.events, events_per_wait);
        for (long i = 0; i < count; i++) {  // on an error, which can only be EINTR, there are none
            const epoll_event &event = worker.events[i];
            const int descriptor = int(event.data);
            if (descriptor == worker.listener) {
                accept_connections(worker);
            } else if (worker.connections[descriptor].state == Connection::State::receiving) [[likely]] {
                receive(worker, descriptor, event.events);
            } else {
                handle_rare_event(worker, descriptor);
            }
        }
    }
}

// ---- Start-up --------------------------------------------------------------------------------------------------
// Arguments, listeners, threads, and the end. Everything that can fail fails here, before the first connection, with
// one line that names it.

// One line for a person.
struct Message {
    size_t size = 0;
    char text[512];

    // Text beyond the line's room is left out.
    [[gnu::cold, gnu::noinline]] Message &add(const char *more) {
        for (; *more != '\0' && size < sizeof text - 1; more++) text[size++] = *more;
        return *this;
    }
    [[gnu::cold, gnu::noinline]] Message &add(uint64_t number) {
        char digits[21];
        *put_digits(digits, number, decimal_size(number)) = '\0';
        return add(digits);
    }
    [[gnu::cold, gnu::noinline]] void print(int descriptor) {
        text[size++] = '\n';
        (void)write(descriptor, text, size);  // nobody is left to tell if it fails
    }
};

[[nodiscard, gnu::cold, gnu::noinline]] bool are_equal(const char *a, const char *b) {
    while (*a == *b && *a != '\0') a++, b++;
    return *a == *b;
}

// The kernel's reasons that a start can meet, in words; the rest are told by number.
constexpr char reasons[] = "\1Operation not permitted\n"
                           "\13Resource temporarily unavailable\n"
                           "\14Cannot allocate memory\n"
                           "\15Permission denied\n"
                           "\27Too many open files in system\n"
                           "\30Too many open files\n"
                           "\46Function not implemented\n"
                           "\141Address family not supported\n"
                           "\142Address already in use\n";

// Ends the program because `call` has answered `result`, or returns that result if it is no error.
[[gnu::cold, gnu::noinline]] long check(long result, const char *call, uint16_t port = 0) {
    if (result >= 0) return result;
    Message message;
    message.add("mote: ").add(call);
    if (port != 0) message.add(" to port ").add(port);
    message.add(": ");
    for (const char *reason = reasons; *reason != '\0'; reason++) {
        const bool is_reason = *reason++ == -result;
        for (; *reason != '\n'; reason++)
            if (is_reason) message.text[message.size++] = *reason;
    }
    message.add(" (errno ").add(uint64_t(-result)).add(")").print(2);
    exit_group(1);
}

struct Options {
    uint16_t port = default_port;
    size_t threads = 0;  // 0: one per CPU
};

[[noreturn, gnu::cold, gnu::noinline]] void end_on_bad_argument(const char *problem, const char *argument) {
    Message message;
    message.add("mote: ").add(problem).add(argument).add(" (see --help)").print(2);
    exit_group(2);
}

// The number that stands as `argument`, or the end of the program.
[[nodiscard, gnu::cold, gnu::noinline]] uint64_t take_number(const char *argument, uint64_t largest) {
    if (argument == nullptr) end_on_bad_argument("a number is missing", "");
    Integer number{};
    for (const char *at = argument; *at != '\0'; at++) number.take({at, 1});
    if (!is(Class::digit, *argument) || number.state != Integer::State::digits || number.magnitude - 1 >= largest)
        end_on_bad_argument("not a number in range: ", argument);
    return number.magnitude;
}

[[nodiscard, gnu::cold]] Options take_options(const char *const *arguments) {
    Options options;
    for (; *arguments != nullptr; arguments++) {
        const char *const argument = *arguments;
        const bool asks_for_help = are_equal(argument, "--help");
        if (are_equal(argument, "--port")) {
            options.port = uint16_t(take_number(*++arguments, 65535));
        } else if (are_equal(argument, "--threads")) {
            options.threads = take_number(*++arguments, worker_limit);
        } else if (asks_for_help || are_equal(argument, "--version")) {
            Message message;
            message.add("mote ").add(version);
            if (asks_for_help)
                message.add(" - a small HTTP/1.1 server\n\n"
                            "usage: server [options]\n"
                            "  --port N     TCP port to listen on (default: 8080)\n"
                            "  --threads N  worker threads (default: one per CPU)\n"
                            "  --help       print this text and exit\n"
                            "  --version    print the version and exit");
            message.print(1);
            exit_group(0);
        } else {
            end_on_bad_argument("unknown argument: ", argument);
        }
    }
    return options;
}

// The soft limit goes up to the hard limit: how many connections there can be.
void raise_descriptor_limit() {
    rlimit64 limit{};
    check(prlimit64(RLIMIT_NOFILE, nullptr, &limit), "prlimit64");
    limit.rlim_cur = limit.rlim_max;
    check(prlimit64(RLIMIT_NOFILE, &limit, nullptr), "prlimit64");
}

// A listener on all IPv4 addresses. The first one is bound without SO_REUSEPORT, so that it fails on a port that other
// servers with that option have, and gets the option afterwards, so that the other workers can join. (Two servers that
// start in the same instant may still share a port: neither listens yet when the other one binds.)
[[nodiscard, gnu::cold]] int make_listener(uint16_t port, bool is_first) {
    const int listener = int(check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC), "socket"));
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, 1), "setsockopt SO_REUSEADDR");
    check(setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, 1), "setsockopt TCP_NODELAY");  // accepted sockets inherit it
    if (!is_first) check(setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, 1), "setsockopt SO_REUSEPORT");
    const sockaddr_in all{AF_INET, __builtin_bswap16(port), 0, {}};
    check(bind(listener, all), "bind", port);
    if (is_first) check(setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, 1), "setsockopt SO_REUSEPORT");
    check(listen(listener, listen_backlog), "listen");
    return listener;
}

// The next CPU behind `cpu` that is allowed, around the end of the mask.
[[nodiscard]] size_t next_cpu(const cpu_set &allowed, size_t cpu) {
    do cpu = (cpu + 1) % (8 * sizeof allowed);
    while ((allowed.bits[cpu / 64] >> cpu % 64 & 1) == 0);
    return cpu;
}

// Makes what a worker needs and starts it on `cpu`. Without CLONE_FILES its thread gets a copy of the descriptor
// table, so what was made for it is closed here, and no later worker inherits it.
[[gnu::cold]] void start_worker(Worker &worker, const Options &options, bool is_first, size_t cpu) {
    worker.listener = make_listener(options.port, is_first);
    worker.epoll = int(check(epoll_create(), "epoll_create1"));
    worker.timer = int(check(timerfd_create(), "timerfd_create"));
    // Where close_range is missing, inherited descriptors may have taken the low numbers.
    check(worker.timer < int(reserved_descriptors) ? 0 : -EMFILE, "timerfd_create");
    worker.is_accepting = true;
    worker.fresh_blocks = block_count;
    check(epoll_ctl(worker.epoll, EPOLL_CTL_ADD, worker.listener, EPOLLIN), "epoll_ctl");
    check(epoll_ctl(worker.epoll, EPOLL_CTL_ADD, worker.timer, EPOLLIN | EPOLLET), "epoll_ctl");

    constexpr unsigned long flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    const long thread = check(start_thread(flags, worker.stack + stack_size, run_worker, &worker), "clone");
    cpu_set only{};
    only.bits[cpu / 64] = uint64_t(1) << cpu % 64;
    check(sched_setaffinity(thread, only), "sched_setaffinity");
    const int made[] = {worker.listener, worker.epoll, worker.timer};
    for (const int descriptor : made) (void)close(descriptor);  // the thread has its own
}

// _start calls this with the stack as the kernel has left it: the argument count, the arguments, NULL.
[[noreturn, gnu::cold, gnu::used]] void start(const char *const *stack) asm("start");
void start(const char *const *stack) {
    const Options options = take_options(stack + 2);
    (void)close_from(3);  // what was inherited by accident; before Linux 5.9 it just stays open
    raise_descriptor_limit();
    cpu_set allowed{};
    check(sched_getaffinity(allowed), "sched_getaffinity");
    size_t count = options.threads;
    if (count == 0)
        for (const uint64_t bits : allowed.bits) count += size_t(__builtin_popcountll(bits));
    if (count > worker_limit) count = worker_limit;

    constexpr sigset signals = 1u << (SIGINT - 1) | 1u << (SIGTERM - 1);
    check(block_signals(signals), "rt_sigprocmask");  // before the threads, which inherit it

    auto *const workers = reinterpret_cast<Worker *>(check(map_memory(count * sizeof(Worker)), "mmap"));
    // A kernel without huge pages refuses the advice and does not need it.
    (void)madvise(workers, count * sizeof(Worker), MADV_NOHUGEPAGE);
    size_t cpu = 8 * sizeof allowed - 1;
    for (size_t i = 0; i < count; i++) {
        cpu = next_cpu(allowed, cpu);
        start_worker(workers[i], options, i == 0, cpu);
    }

    Message message;
    message.add("mote ").add(version).add(" listening on 0.0.0.0:").add(options.port);
    message.add(" with ").add(count).add(count == 1 ? " worker" : " workers").print(2);
    while (wait_for_signal(signals) < 0) {}
    exit_group(0);
}

}  // namespace

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
