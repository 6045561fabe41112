// Compares the addresses that server.cpp takes with those that the C library's inet_pton takes: valid ones, what becomes of
// them by a few changed, lost or doubled bytes, and random strings. The same ones each time. Exit status 1 after a line that
// says where they differ.

#define MOTE_HOSTED
#include "../server.cpp"

#include <cstdio>
#include <cstring>

extern "C" int inet_pton(int family, const char *text, void *to);  // its header has names of ours as macros

namespace {

struct Refused {};  // thrown where the server would end

long trap(Sys call, long, long, long, long, long, long) {
    if (call == Sys::exit_group) throw Refused{};
    return 0;
}
long start_thread(unsigned long, void *, void (*)(void *), void *) { return 0; }

// xorshift, with a seed that was chosen once
uint64_t state = 0x9e3779b97f4a7c15;
size_t below(size_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return size_t(state % limit);
}

constexpr char alphabet[] = "0123456789abcdefABCDEF:.g% ";
char random_byte() { return alphabet[below(sizeof alphabet - 1)]; }

constexpr size_t text_size = 64;
struct Text {
    char bytes[text_size] = {};
    size_t size = 0;

    void add(char byte) {
        if (size < text_size - 1) bytes[size++] = byte;
    }
    void add_number(const char *form, unsigned number) {
        char digits[16];
        std::snprintf(digits, sizeof digits, form, number);
        for (const char *at = digits; *at != '\0'; at++) add(*at);
    }
    void insert(size_t place, char byte) {
        if (size == text_size - 1) return;
        std::memmove(bytes + place + 1, bytes + place, size - place);
        bytes[place] = byte;
        size++;
    }
    void erase(size_t place) {
        std::memmove(bytes + place, bytes + place + 1, size - place);
        size--;
    }
};

Text an_ipv4() {
    constexpr const char *forms[] = {"%u", "%u", "%u", "%02u", "%03u"};
    Text text;
    for (size_t i = 0; i < 4; i++) {
        if (i != 0) text.add('.');
        const char *const form = forms[below(5)];  // not in the call: a compiler chooses which argument comes first
        text.add_number(form, unsigned(below(i % 2 == 0 ? 256 : 300)));
    }
    return text;
}

// Up to nine groups, with "::" before any of them or behind the last, or without.
Text an_ipv6() {
    constexpr const char *forms[] = {"%x", "%X", "%04x", "%02x"};
    Text text;
    const size_t groups = below(3) == 0 ? 8 : below(10), gap = below(4) == 0 ? groups + 1 : below(groups + 1);
    for (size_t i = 0; i < groups; i++) {
        if (i == gap) text.add(':');
        if (i == gap || i != 0) text.add(':');
        if (i + 1 == groups && below(20) == 0) {  // the last one as IPv4
            const Text last = an_ipv4();
            for (size_t byte = 0; byte < last.size; byte++) text.add(last.bytes[byte]);
        } else {
            const char *const form = forms[below(4)];
            text.add_number(form, unsigned(below(below(2) == 0 ? 16 : 65536)));
        }
    }
    if (gap == groups) text.add(':'), text.add(':');
    return text;
}

Text random_text() {
    Text text;
    for (size_t left = below(24); left != 0; left--) text.add(random_byte());
    return text;
}

void mutate(Text &text) {
    for (size_t left = below(4); left != 0 && text.size != 0; left--) {
        const size_t place = below(text.size);
        switch (below(4)) {
        case 0:
            text.bytes[place] = random_byte();
            break;
        case 1:
            text.insert(place, random_byte());
            break;
        case 2:
            text.insert(place, text.bytes[place]);
            break;
        case 3:
            text.erase(place);
            break;
        }
    }
}

struct Address {
    uint16_t family = 0;  // 0: refused
    uint8_t bytes[16] = {};

    bool operator==(const Address &) const = default;
};

Address taken_by_server(const char *text) {
    Endpoint endpoint{};
    try {
        take_address(text, endpoint);
    } catch (const Refused &) {
        return {};
    }
    const sockaddr_any &to = endpoint.at;
    Address address;
    address.family = to.inet.family;
    if (to.inet.family == AF_INET) std::memcpy(address.bytes, to.inet.ipv4, sizeof to.inet.ipv4);
    else std::memcpy(address.bytes, to.inet.ipv6, sizeof to.inet.ipv6);
    return address;
}

// What inet_pton takes, but for two things that the server has otherwise on purpose.
Address expected(const Text &text) {
    const bool is_ipv6 = std::memchr(text.bytes, ':', text.size) != nullptr;
    // IPv6 whose end is written as IPv4 is not taken.
    if (is_ipv6 && std::memchr(text.bytes, '.', text.size) != nullptr) return {};
    // In IPv4 a number of up to three digits may begin with zeros: they are dropped for inet_pton, which refuses them.
    Text plain;
    for (size_t i = 0; i < text.size; i++) {
        const size_t digits = std::strspn(text.bytes + i, "0123456789");
        const bool is_first = i == 0 || text.bytes[i - 1] == '.';
        if (!is_ipv6 && is_first && digits <= 3)
            for (size_t left = digits; left > 1 && text.bytes[i] == '0'; left--) i++;
        plain.add(text.bytes[i]);
    }
    Address address;
    address.family = is_ipv6 ? AF_INET6 : AF_INET;
    if (inet_pton(address.family, plain.bytes, address.bytes) == 1) return address;
    return {};
}

}  // namespace

int main() {
    constexpr size_t count = 200000;
    size_t taken[11] = {};
    for (size_t i = 0; i < count; i++) {
        Text text = i % 8 == 0 ? random_text() : i % 8 < 3 ? an_ipv4() : an_ipv6();
        if (i % 2 == 0) mutate(text);
        const Address found = taken_by_server(text.bytes);
        if (found != expected(text)) {
            std::printf("'%s': family %d and not %d, or another address\n", text.bytes, found.family,
                        expected(text).family);
            return 1;
        }
        taken[found.family]++;
    }
    std::printf("%zu refused, %zu of IPv4, %zu of IPv6\n", taken[0], taken[AF_INET], taken[AF_INET6]);
    return taken[0] < count / 10 || taken[AF_INET] < count / 10 || taken[AF_INET6] < count / 10;
}
