// Compares what the kernel-interface section of server.cpp says about the kernel with the headers of the kernel and of
// the C library, when it is compiled: see kernel.bats, which makes `names.h` of the source, a line for each name that is
// to be compared, CALL(name) or CONSTANT(name).

#include <stddef.h>
#include <stdint.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// The constants have the headers' names, which are macros there: they are taken before these are seen.
#define MOTE_HOSTED
namespace mote {
#include "../server.cpp"
namespace constants {
#define CALL(name)
#define CONSTANT(name) constexpr auto mote_##name = uint64_t(name);
#include "names.h"
#undef CALL
#undef CONSTANT
}  // namespace constants
constexpr auto audit_arch = AUDIT_ARCH;
}  // namespace mote

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

// Three instructions have names of their own, put together from the headers'.
constexpr int BPF_LD_W_ABS = BPF_LD | BPF_W | BPF_ABS, BPF_JMP_JEQ_K = BPF_JMP | BPF_JEQ | BPF_K,
              BPF_RET_K = BPF_RET | BPF_K;

#define CALL(name) static_assert(long(mote::Sys::name) == SYS_##name, "the number of " #name);
#define CONSTANT(name) static_assert(mote::constants::mote_##name == uint64_t(name), "the value of " #name);
#include "names.h"

#if defined(__x86_64__)
static_assert(mote::audit_arch == AUDIT_ARCH_X86_64);
#elif defined(__aarch64__)
static_assert(mote::audit_arch == AUDIT_ARCH_AARCH64);
#elif defined(__riscv)
static_assert(mote::audit_arch == AUDIT_ARCH_RISCV64);
#endif

#define SIZE(ours, theirs) static_assert(sizeof(mote::ours) == sizeof(theirs), "the size of " #ours)
#define MEMBER(ours, our_member, theirs, their_member)                                  \
    static_assert(offsetof(mote::ours, our_member) == offsetof(theirs, their_member) && \
                      sizeof(mote::ours::our_member) == sizeof(theirs::their_member),   \
                  "the place of " #ours "." #our_member)

SIZE(epoll_event, ::epoll_event);
MEMBER(epoll_event, events, ::epoll_event, events);
MEMBER(epoll_event, data, ::epoll_event, data);
SIZE(sockaddr_inet, ::sockaddr_in6);
MEMBER(sockaddr_inet, family, ::sockaddr_in6, sin6_family);
MEMBER(sockaddr_inet, port, ::sockaddr_in6, sin6_port);
MEMBER(sockaddr_inet, ipv6, ::sockaddr_in6, sin6_addr);
MEMBER(sockaddr_inet, scope, ::sockaddr_in6, sin6_scope_id);
MEMBER(sockaddr_inet, family, ::sockaddr_in, sin_family);
MEMBER(sockaddr_inet, port, ::sockaddr_in, sin_port);
MEMBER(sockaddr_inet, ipv4, ::sockaddr_in, sin_addr);
SIZE(sockaddr_un, ::sockaddr_un);
MEMBER(sockaddr_un, family, ::sockaddr_un, sun_family);
MEMBER(sockaddr_un, path, ::sockaddr_un, sun_path);
SIZE(timespec, ::timespec);
MEMBER(timespec, tv_sec, ::timespec, tv_sec);
MEMBER(timespec, tv_nsec, ::timespec, tv_nsec);
SIZE(itimerspec, ::itimerspec);
MEMBER(itimerspec, it_interval, ::itimerspec, it_interval);
MEMBER(itimerspec, it_value, ::itimerspec, it_value);
SIZE(pollfd, ::pollfd);
MEMBER(pollfd, fd, ::pollfd, fd);
MEMBER(pollfd, events, ::pollfd, events);
MEMBER(pollfd, revents, ::pollfd, revents);
SIZE(rlimit64, ::rlimit64);
MEMBER(rlimit64, rlim_cur, ::rlimit64, rlim_cur);
MEMBER(rlimit64, rlim_max, ::rlimit64, rlim_max);
static_assert(sizeof(::linger) == 2 * sizeof(int) && offsetof(::linger, l_onoff) == 0);  // see setsockopt()
SIZE(sock_filter, ::sock_filter);
MEMBER(sock_filter, code, ::sock_filter, code);
MEMBER(sock_filter, jump_if_true, ::sock_filter, jt);
MEMBER(sock_filter, jump_if_false, ::sock_filter, jf);
MEMBER(sock_filter, k, ::sock_filter, k);
SIZE(sock_fprog, ::sock_fprog);
MEMBER(sock_fprog, length, ::sock_fprog, len);
MEMBER(sock_fprog, filter, ::sock_fprog, filter);
// Its later members came with later kernels than some headers are of.
MEMBER(landlock_ruleset_attr, handled_access_fs, ::landlock_ruleset_attr, handled_access_fs);
static_assert(offsetof(mote::landlock_ruleset_attr, handled_access_net) == 8);
SIZE(cap_header, ::__user_cap_header_struct);
MEMBER(cap_header, version, ::__user_cap_header_struct, version);
MEMBER(cap_header, pid, ::__user_cap_header_struct, pid);
SIZE(cap_data, ::__user_cap_data_struct);
static_assert(mote::capability_version == _LINUX_CAPABILITY_VERSION_3 && _LINUX_CAPABILITY_U32S_3 == 2);
static_assert(sizeof(mote::sigset) * 8 == _NSIG - 1, "the kernel's set of signals");
static_assert(offsetof(::seccomp_data, nr) == 0 && offsetof(::seccomp_data, arch) == 4, "what the filter looks at");
