// Compares the scans of server.cpp, which may be vector instructions, with the plain loop over bytes that defines them:
// texts of 0 to 200 bytes that belong to a class but for one, at every place in the text, every value of it, at every
// alignment. With -DBRIEF, and where the plain loop is all there is, a few values only in texts that are longer than three
// vectors. Exit status 1 after a line that says where they differ.

#define MOTE_HOSTED
#include "../server.cpp"

#include <cstdio>
#include <cstring>
#include <utility>

namespace {

long trap(Sys, long, long, long, long, long, long) { return 0; }
long start_thread(unsigned long, void *, void (*)(void *), void *) { return 0; }

constexpr size_t size_limit = 200, alignments = 16, place_size = 256 + 64;
// A scan ends at the first byte that does not belong to the class. What comes more than three vectors behind that byte is
// not looked at, so texts that differ there only are one text.
constexpr size_t seen_behind = 3 * 16;
alignas(64) char places[alignments][place_size];

char *text_in(size_t alignment) { return places[alignment] + alignment; }

const char *scan(Class kind, const char *at) {
    return kind == Class::field_value ? skip_field_value(at) : skip_row(class_table.rows + size_t(kind), at);
}

long comparisons = 0;

bool compare(Class kind, size_t size, size_t place, char byte) {
    comparisons += alignments;
    const char member = text_in(0)[place];
    text_in(0)[place] = byte;
    // What comes before that place belongs to the class: the plain loop has seen it in the text as it is.
    const ptrdiff_t expected = skip_by_bytes(kind, text_in(0) + place) - text_in(0);
    bool are_equal = true;
    // A vector load of a byte that was just written waits for it, so all are written first.
    for (size_t alignment = 0; alignment < alignments; alignment++) text_in(alignment)[place] = byte;
    for (size_t alignment = 0; alignment < alignments; alignment++) {
        const ptrdiff_t found = scan(kind, text_in(alignment)) - text_in(alignment);
        if (found != expected && are_equal) {
            std::printf("class %d, %zu bytes at alignment %zu, byte %d at %zu: stops at %td and not at %td\n",
                        int(kind), size, alignment, uint8_t(byte), place, found, expected);
            are_equal = false;
        }
    }
    for (size_t alignment = 0; alignment < alignments; alignment++) text_in(alignment)[place] = member;
    return are_equal;
}

bool compare_class(Class kind, char member, bool is_brief) {
    for (size_t size = 0; size <= size_limit; size++) {
        for (size_t alignment = 0; alignment < alignments; alignment++) {
            std::memset(places[alignment], member, place_size);
            text_in(alignment)[size] = '\0';
        }
        if (skip_by_bytes(kind, text_in(0)) != text_in(0) + size) {
            std::printf("class %d, %zu bytes: the plain loop stops inside\n", int(kind), size);
            return false;
        }
        if (!compare(kind, size, size, '\0')) return false;  // the text as it is
        for (size_t place = 0; place < size; place++) {
            if (is_brief && size > 3 * 16) {
                for (const int byte : {0, 9, 0x1f, 0x20, 0x7f, 0x80, 0xff, int(place * 37 % 256)})
                    if (!compare(kind, size, place, char(byte))) return false;
            } else {
                for (int byte = 0; byte < 256; byte++) {
                    if (size - place > seen_behind && !is(kind, char(byte))) continue;
                    if (!compare(kind, size, place, char(byte))) return false;
                }
            }
        }
    }
    return true;
}

// Values with many tabs: the one control byte that belongs to them.
bool compare_tabs() {
    char *const text = places[0];
    uint64_t random = 1;
    for (int times = 0; times < 100000; times++, comparisons++) {
        for (size_t i = 0; i < 100; i++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            text[i] = "\t\t\t\t a\xff\x80!~\t\t\t \r\x7f"[random >> 60];
        }
        text[100] = '\0';
        if (skip_field_value(text) == skip_by_bytes(Class::field_value, text)) continue;
        std::printf("tabs, text %d\n", times);
        return false;
    }
    return true;
}

}  // namespace

int main() {
#if defined(MOTE_VECTORS) && !defined(BRIEF)
    const bool is_brief = false;
#else
    const bool is_brief = true;
#endif
    for (const auto &[kind, member] :
         {std::pair{Class::token, 'a'}, std::pair{Class::target, 'a'}, std::pair{Class::host, 'a'},
          std::pair{Class::ip_literal, 'a'}, std::pair{Class::digit, '1'}, std::pair{Class::hex_digit, 'a'},
          std::pair{Class::white, ' '}, std::pair{Class::field_value, '\xfc'}})
        if (!compare_class(kind, member, is_brief)) return 1;
    if (!compare_tabs()) return 1;
    std::printf("%ld comparisons\n", comparisons);
}
