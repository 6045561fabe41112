// fuzz: whole connections through mote's own worker loop, on a kernel that this file plays, for libFuzzer.
//
//   clang++ -std=c++20 -march=x86-64-v2 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
//       -fno-sanitize-coverage=trace-cmp -o fuzz test/fuzz.cpp      # the dictionary does as well, in half the time
//   ./fuzz -max_len=2048 -timeout=10 -dict=test/fuzz.dict CORPUS    # a folder that it adds to
//   ./fuzz FILE                                                     # once more, what it has written about a finding
//
// With -DMOTE_REPLAY any compiler makes a program of it that runs the inputs in its arguments.
//
// The input's first byte is n: n % 32 bytes of a plan follow it, and the rest is what the peer sends. Where n / 32 is
// 6, the end of that is repeated until one recv cannot take it, where it is 7, all of it until one send cannot take the
// answers. Where it is 5, the server was given a default answer. The plan's first byte is a set of circumstances, the
// others are used in turn, over and over: they say how much arrives at once, how much a send takes, which call is
// interrupted, how late a timer is. Without a plan, all arrives at once, every send takes all, and time passes only
// when nothing else happens.
//
// All that is random is the least that it may be: the server's generator of random numbers is at 0 and stays there. So
// the same bytes have the same answers. An answer that is longer than the fuzzer has time for is read to some place;
// then the peer resets the connection.
//
// What is a finding, besides what the sanitizers find:
//   - The answers depend on how the stream was cut: it is sent whole, by its plan and, if it is short, byte by byte.
//   - The answers are not those that the parser, called without any connection, gives for the whole stream.
//   - A request was read otherwise than a plain second reading of its bytes, or a response is not well-formed.
//   - An answer is not what a plain second reading of the query says, or comes before its delay is over.
//   - Two pieces are sent together, or a piece before its pause is over, or the end of an answer is not sent on.
//   - A system call that the kernel would refuse, or that reaches outside of the buffer that it is for.
//   - A lost wake-up: the worker waits, and what has arrived has no event any more.
//   - A connection that is not closed, or closed before what had arrived was read; a block, a tick or a timer that is
//     left over.
//   - A peer that stays silent in the middle of a request, and is not answered with 408.
//   - An answer from input that is gone: the input buffer is scribbled over each time that the server waits.
//
// A route that the model does not know has the answers that its own functions give for the whole stream. Inputs that ask
// for a long one, or one at once, are left out.

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#define MOTE_HOSTED
#include "../server.cpp"

// libFuzzer looks for new paths through the server, not through this file.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

namespace {

// ---- The input -------------------------------------------------------------------------------------------------
// What the fuzzer's bytes mean, and how a finding ends the program.

constexpr size_t stream_limit = 64 * 1024;           // longer inputs are left out
constexpr size_t extended_size = input_size + 8192;  // a long head or content: more than one recv
constexpr size_t repeated_size = 12 * 1024;          // many requests: their answers are more than one send
// A partial head is copied for every byte, which takes the square of the size. Small limits are passed all the same.
constexpr size_t byte_by_byte_limit = head_limit < 512 ? head_limit + 112 : 256;
constexpr size_t extended_arrivals = 64;     // a long stream arrives in pieces so many times as large
constexpr size_t long_limit = 4 * run_size;  // so much of generated content is read
constexpr size_t pause_limit = 64;           // so many pauses of one connection are waited for
constexpr size_t seam_limit = 1000;          // and so many pieces are taken
constexpr uint64_t moment = 784111777;       // the example of RFC 9110 section 5.6.7
constexpr Bytes date_value = "Sun, 06 Nov 1994 08:49:37 GMT"_b;
constexpr Bytes interim = "HTTP/1.1 100 Continue\r\n\r\n"_b;
constexpr Bytes default_query = "r=503&s=3&t=2&c=0"_b;
constexpr int64_t second = 1'000'000'000, ms = 1'000'000;

enum class Cutting : uint8_t { whole, byte_by_byte, planned };
constexpr const char *cutting_names[] = {"whole", "byte by byte", "planned"};

struct Script {
    enum Circumstance : uint8_t {  // a set of them
        ends_late = 1,             // the peer waits for some seconds before it ends its stream
        resets = 1 << 1,           // the peer ends the connection by a reset
        has_no_blocks = 1 << 2,    // other connections have them all
        accepts_late = 1 << 3,     // accept4 fails at first
        stays = 1 << 6,            // the peer neither ends its stream nor sends any more
        is_old = 1 << 7,           // the kernel has no epoll_pwait2
    };

    uint8_t circumstances;
    bool has_default;
    Bytes plan;
    Bytes stream;
    Cutting cutting;

    [[nodiscard]] bool is(Circumstance one) const { return cutting == Cutting::planned && (circumstances & one) != 0; }
};
Script script;

[[noreturn]] void fail(const char *what) {
    fprintf(stderr, "fuzz: %s (sent %s)\n", what, cutting_names[size_t(script.cutting)]);
    abort();
}

[[nodiscard]] bool starts_with(Bytes bytes, Bytes start) {
    return bytes.size >= start.size && __builtin_memcmp(bytes.data, start.data, start.size) == 0;
}

// The stream stands at the end of its room: what reads more than `overread` bytes behind it leaves the room.
char stream_room[stream_limit + overread];

[[nodiscard]] Bytes lay_out_stream(Bytes given, unsigned extension) {
    constexpr size_t end_size = 16;
    const size_t unit = extension == 6 && given.size > end_size ? end_size : given.size;
    size_t size = given.size;
    const size_t least = extension == 6 ? extended_size : extension == 7 ? repeated_size : 0;
    while (size < least && unit != 0) size += unit;
    char *const begin = stream_room + stream_limit - size;
    __builtin_memcpy(begin, given.data, given.size);
    for (size_t at = given.size; at < size; at += unit)
        __builtin_memcpy(begin + at, given.data + given.size - unit, unit);
    return {begin, size};
}

// False if the input is none.
[[nodiscard]] bool read_script(Bytes input) {
    if (input.size == 0) return false;
    const uint8_t first = uint8_t(*input.data);
    input = input.after(1);
    if (input.size > stream_limit || input.size < first % 32) return false;
    script.plan = input.first(first % 32);
    script.stream = lay_out_stream(input.after(script.plan.size), first / 32);
    script.has_default = first / 32 == 5;
    script.circumstances = 0;
    if (script.plan.size == 0) return true;
    script.circumstances = uint8_t(*script.plan.data);
    script.plan = script.plan.after(1);
    return true;
}

// ---- A second reading ------------------------------------------------------------------------------------------
// What an accepted request says, read as plainly as possible and with nothing of the server's parser: two readers that
// find different ends of a request are what request smuggling is made of.

[[nodiscard]] bool is_word(Bytes bytes, const char *lower_case) {
    for (size_t i = 0; i < bytes.size; i++) {
        const char byte = bytes.data[i];
        if ((byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte) != lower_case[i] || byte == '\0') return false;
    }
    return lower_case[bytes.size] == '\0';
}

[[nodiscard]] size_t find(Bytes bytes, char byte) {
    size_t at = 0;
    while (at < bytes.size && bytes.data[at] != byte) at++;
    return at;
}

[[nodiscard]] Bytes without_white(Bytes bytes) {
    const auto is_white = [](char byte) { return byte == ' ' || byte == '\t'; };
    while (bytes.size != 0 && is_white(bytes.data[0])) bytes = bytes.after(1);
    while (bytes.size != 0 && is_white(bytes.data[bytes.size - 1])) bytes.size--;
    return bytes;
}

// Takes a line off the text: it ends in CRLF and holds no other control byte but HTAB.
[[nodiscard]] Bytes take_line(Bytes &text) {
    const size_t size = find(text, '\r');
    if (!starts_with(text.after(size), "\r\n"_b)) fail("a line does not end in CRLF");
    const Bytes line = text.first(size);
    text = text.after(size + 2);
    for (size_t i = 0; i < size; i++) {
        const uint8_t byte = uint8_t(line.data[i]);
        if ((byte < ' ' && byte != '\t') || byte == 0x7f) fail("a control byte was accepted");
    }
    return line;
}

template <typename Visit> void visit_elements(Bytes list, Visit visit) {
    for (;;) {
        const size_t size = find(list, ',');
        const Bytes element = without_white(list.first(size));
        if (element.size != 0) visit(element);
        if (size == list.size) return;
        list = list.after(size + 1);
    }
}

struct Reading {
    Bytes method, target;
    bool is_head, is_http_1_0, closes, keeps_alive, expects_continue, expects_other;
    unsigned host_count, length_count, coding_count, chunked_count;
    uint64_t length;
};

void read_field_line(Reading &reading, Bytes line) {
    const size_t name_size = find(line, ':');
    if (name_size == 0 || name_size == line.size) fail("a field line without a name was accepted");
    const Bytes name = line.first(name_size), value = without_white(line.after(name_size + 1));
    if (find(name, ' ') != name.size || find(name, '\t') != name.size) fail("a name with white space was accepted");
    if (is_word(name, "host")) reading.host_count++;
    if (is_word(name, "expect"))
        visit_elements(value, [&](Bytes expectation) {
            const bool is_known = is_word(expectation, "100-continue");
            reading.expects_continue |= is_known;
            reading.expects_other |= !is_known;
        });
    if (is_word(name, "connection"))
        visit_elements(value, [&](Bytes option) {
            reading.closes |= is_word(option, "close");
            reading.keeps_alive |= is_word(option, "keep-alive");
        });
    if (is_word(name, "transfer-encoding"))
        visit_elements(value, [&](Bytes coding) {
            reading.coding_count++;
            reading.chunked_count += is_word(coding, "chunked");
        });
    if (!is_word(name, "content-length")) return;
    reading.length_count++;
    if (value.size == 0) fail("an empty Content-Length was accepted");
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') fail("a Content-Length that is no number was accepted");
        reading.length = reading.length * 10 + uint64_t(value.data[i] - '0');
        if (reading.length > content_limit) fail("a Content-Length over its limit was accepted");
    }
}

[[nodiscard]] Reading read_head(Bytes text) {
    Reading reading{};
    while (starts_with(text, "\r\n"_b)) text = text.after(2);
    const size_t size = text.size;
    const Bytes line = take_line(text);
    const size_t method_size = find(line, ' ');
    if (method_size == 0 || method_size == line.size) fail("a request line without a method was accepted");
    const Bytes rest = line.after(method_size + 1);
    const size_t target_size = find(rest, ' ');
    if (target_size == 0 || target_size + 9 != rest.size) fail("a request line without its parts was accepted");
    if (!starts_with(rest.after(target_size), " HTTP/1."_b)) fail("a version other than HTTP/1.x was accepted");
    reading.method = line.first(method_size);
    reading.target = rest.first(target_size);
    reading.is_head = reading.method == "HEAD"_b;
    reading.is_http_1_0 = rest.data[rest.size - 1] == '0';
    for (;;) {
        const Bytes field_line = take_line(text);
        if (field_line.size == 0) break;
        read_field_line(reading, field_line);
    }
    if (text.size != 0) fail("a head goes on behind its end");
    if (size > head_limit || line.size > request_line_limit + 10) fail("a head over its limit was accepted");
    return reading;
}

[[nodiscard]] bool has(const Head &head, Head::Fact fact) { return (head.facts & fact) != 0; }

// Whether the server has understood the head in the same way.
void check_head(const Reading &reading, const Head &head) {
    const auto agree = [&](bool fact, Head::Fact in) { return fact == has(head, in); };
    if (reading.is_head != (head.method == Method::head)) fail("HEAD was taken for another method, or the reverse");
    if (!agree(reading.is_http_1_0, Head::is_http_1_0)) fail("the version was misread");
    if (!agree(reading.closes, Head::closes)) fail("Connection: close was misread");
    if (!agree(reading.keeps_alive, Head::keeps_alive)) fail("Connection: keep-alive was misread");
    if (!agree(reading.expects_continue, Head::expects_continue)) fail("Expect: 100-continue was misread");
    if (!agree(reading.expects_other, Head::expects_other)) fail("another expectation was misread");
    if (reading.host_count > 1 || (reading.host_count == 0 && !reading.is_http_1_0)) fail("a bad Host was accepted");
    if (reading.length_count > 1) fail("several Content-Length were accepted");
    if (reading.coding_count != 0 && reading.length_count != 0) fail("two framings were accepted");
    if (reading.coding_count != reading.chunked_count || reading.coding_count > 1) fail("a coding was accepted");
    if (reading.coding_count != 0 && reading.is_http_1_0) fail("chunked was accepted in HTTP/1.0");
}

// Takes chunked content off the bytes behind a head.
void skip_chunked(Bytes &text) {
    for (;;) {
        const Bytes line = take_line(text);
        size_t size = 0, digits = 0;
        for (; digits < line.size; digits++) {
            const char byte = char(line.data[digits] | 0x20);
            if ((byte < '0' || byte > '9') && (byte < 'a' || byte > 'f')) break;
            size = size * 16 + size_t(byte <= '9' ? byte - '0' : byte - 'a' + 10);
            if (size > content_limit) fail("a chunk over its limit was accepted");
        }
        if (digits == 0) fail("a chunk without a size was accepted");
        if (digits != line.size && find("; \t"_b, line.data[digits]) == 3) fail("a bad chunk size was accepted");
        if (size == 0) break;
        if (size > text.size) fail("a chunk ends early");
        text = text.after(size);
        if (take_line(text).size != 0) fail("a chunk has no end");
    }
    while (take_line(text).size != 0) {}  // trailer fields
}

void check_content_of(const Reading &reading, Bytes content) {
    if (reading.coding_count != 0) skip_chunked(content);
    else if (content.size < reading.length) fail("content ends early");
    else content = content.after(reading.length);
    if (content.size != 0) fail("content ends late");
}

// ---- The model -------------------------------------------------------------------------------------------------
// What an accepted request is to be answered, from its second reading, with nothing of the server's routes. Content is
// made byte by byte.

constexpr uint64_t none = UINT64_MAX;

// The arguments of a query. All that is random is the least that it may be.
struct Wish {
    static constexpr Bytes names = "srtcCKkpdRbx"_b;

    uint64_t values[names.size] = {0, 200, 0, 1, 0, 0, 0, 0, 0, 0, none, none};
    bool has_known = false;
    char malformed = '\0';  // the name of the first argument whose value is

    [[nodiscard]] uint64_t &operator[](char name) { return values[find(names, name)]; }
    [[nodiscard]] uint64_t operator[](char name) const { return values[find(names, name)]; }
};

// The decimal number that `text` begins with, and its digits are taken off. What is too large stays too large.
[[nodiscard]] unsigned __int128 take_decimal(Bytes &text) {
    unsigned __int128 number = 0;
    for (; text.size != 0 && find("0123456789"_b, *text.data) != 10; text = text.after(1))
        if (number < none) number = number * 10 + unsigned(*text.data - '0');
    return number;
}

// Reads digits, a unit, "r", and a percentage. False if it is anything else, or out of range.
[[nodiscard]] bool read_value(Bytes text, uint64_t least, uint64_t most, uint64_t &value) {
    const size_t size = text.size;
    unsigned __int128 number = take_decimal(text);
    if (text.size == size) return false;
    const size_t unit = text.size == 0 ? 3 : find("kmg"_b, *text.data);
    if (unit != 3) {
        text = text.after(1);
        number <<= 10 * (unit + 1);
    }
    if (number < least || number > most) return false;
    if (starts_with(text, "r"_b)) {
        text = text.after(1);
        number = least;
    }
    bool applies = true;
    if (starts_with(text, ":"_b)) {
        text = text.after(1);
        const size_t digits = text.size;
        const unsigned __int128 percentage = take_decimal(text);
        if (text.size == digits || percentage > 100) return false;
        applies = percentage != 0;
    }
    if (text.size != 0) return false;
    if (applies) value = uint64_t(number);
    return true;
}

[[nodiscard]] Wish read_query(Bytes query) {
    Wish wish;
    for (;;) {
        size_t size = 0;
        while (size < query.size && find("&?,;/"_b, query.data[size]) == 5) size++;
        if (size >= 2 && query.data[1] == '=' && find(Wish::names, *query.data) != Wish::names.size) {
            const char name = *query.data;
            uint64_t least = 0, most = INT64_MAX;
            if (name == 't' || name == 'd') most = 3600 * 1000;
            if (name == 'r') least = 200, most = 599;
            wish.has_known = true;
            if (!read_value(query.first(size).after(2), least, most, wish[name])) wish.malformed = name;
        }
        if (size == query.size || wish.malformed != '\0') return wish;
        query = query.after(size + 1);
    }
}

struct Model {
    enum class Content : uint8_t {
        unknown,  // that of an error, of OPTIONS, or of a route without take_request()
        delay,
        echo,
        help,
        malformed,
        generated,
        own,  // of a route that is not modelled here
    };

    Content content = Content::unknown;
    unsigned status = 200;  // except of a route that is not modelled
    const Route *own_route = nullptr;
    Wish wish;  // of what is generated; of /delay/MS the delay

    // Whether the answer may come at another time than when its request is whole and the answers before it are sent.
    [[nodiscard]] bool is_late_or_long() const {
        if (wish['t'] != 0) return true;
        if (content != Content::generated) return false;
        return wish['k'] != 0 || wish['s'] > answer_content_limit || (wish['p'] != 0 && wish['p'] < wish['s']) ||
               wish['x'] != none;
    }
};

// The row for the path, if it is one that is not modelled here.
[[nodiscard]] const Route *find_own_route(Bytes path) {
    constexpr Bytes modelled[] = {"/pipeline"_b, "/baseline11"_b, "/delay/*"_b, "/echo"_b, "/*"_b};
    for (const Route &route : routes) {
        if (!(is_prefix(route) ? starts_with(path, fixed_part(route)) : path == route.path)) continue;
        for (const Bytes known : modelled)
            if (route.path == known) return nullptr;
        return &route;
    }
    return nullptr;
}

[[nodiscard]] Model model_of_path(Bytes path, Bytes query, bool is_get, bool is_post) {
    Model model;
    model.own_route = find_own_route(path);
    if (model.own_route != nullptr) {
        model.content = Model::Content::own;
        return model;
    }
    if (path == "/pipeline"_b || path == "/baseline11"_b) {
        if (!is_get && !(is_post && path == "/baseline11"_b)) model.status = 405;
        return model;
    }
    if (path == "/echo"_b) {
        model.content = Model::Content::echo;
        return model;
    }
    if (starts_with(path, "/delay/"_b)) {
        Bytes number = path.after(7);
        const bool is_empty = number.size == 0;
        const unsigned __int128 value = take_decimal(number);
        model.status = is_empty || number.size != 0 || value > 3600 * 1000 ? 404 : is_get ? 200 : 405;
        model.content = Model::Content::delay;
        model.wish['t'] = uint64_t(value);
        return model;
    }
    model.wish = read_query(query);
    if (!model.wish.has_known && path == "/"_b) {
        model.content = Model::Content::help;
        return model;
    }
    if (!model.wish.has_known) model.wish = script.has_default ? read_query(default_query) : Wish{};
    model.content = model.wish.malformed != '\0' ? Model::Content::malformed : Model::Content::generated;
    if (!model.wish.has_known) {
        model.status = 404;
        model.content = Model::Content::unknown;
    }
    return model;
}

[[nodiscard]] Model model_of(const Reading &reading) {
    constexpr Bytes methods[] = {"GET"_b, "HEAD"_b, "POST"_b, "PUT"_b, "DELETE"_b, "PATCH"_b, "TRACE"_b, "OPTIONS"_b};
    size_t method = 0;
    while (method < 8 && !(reading.method == methods[method])) method++;
    Model model;
    if (reading.expects_other) model.status = 417;
    else if (method == 8) model.status = 501;
    if (model.status != 200 || method == 7) return model;

    Bytes path = reading.target;  // RFC 9112 section 3.2
    if (*path.data != '/') {
        path = path.after(find(path, ':') + 3);
        while (path.size != 0 && *path.data != '/' && *path.data != '?') path = path.after(1);
    }
    const size_t size = find(path, '?');
    const Bytes query = size < path.size ? path.after(size + 1) : Bytes{};
    path = path.first(size);
    model = model_of_path(path.size == 0 ? "/"_b : path, query, method < 2, method == 2);
    // It is an error of the head to a client that waits before it sends the content.
    if (model.content == Model::Content::malformed && reading.expects_continue) model.status = 400;
    if (method == 6 && model.status == 200) model.status = 405;  // TRACE
    if (model.status != 200 && model.own_route == nullptr) model.content = Model::Content::unknown;
    return model;
}

// ---- The prediction --------------------------------------------------------------------------------------------
// The answers to a stream, from the server's parser and the model, or from the server's routes, but without its
// connections, and what must be true of them.

// Where one send ends and another begins.
struct Seam {
    size_t offset;  // in the answer
    int64_t pause_ms;
};

struct PredictedAnswer {
    size_t end;  // of the response, in the predicted output
    Persistence persistence;
    bool is_head;
    bool is_refused;
    bool may_continue;  // an interim response may stand before this one
    bool is_modelled;
    bool is_own;         // composed by a route that is not modelled
    bool may_be_last;    // if there is no block for the input behind its request
    bool is_reset;       // the connection is reset where it ends
    size_t head_size;    // of the response, if it is modelled; 0: the reset comes before its end
    size_t request_end;  // in the stream
    int64_t delay_ms;
    size_t first_seam, seam_end;  // in the predicted seams
    int64_t whole_at_ns;          // when the request was received, in this run
};

struct Prediction {
    size_t size;
    size_t count;
    bool may_continue;  // the request at the end is incomplete, and an interim response may have told it to go on
    size_t late_size;   // of the answer to that request if its rest never comes
    bool has_early;     // an answer may come before its request's content: that has none of its own
    bool is_endless;    // the last answer is longer than what is predicted of it
    bool is_left_out;   // there is no prediction: a route that is not modelled is long, or answers at once
    size_t pauses;
    std::vector<Seam> seams;
    char late_output[answer_limit];
    PredictedAnswer answered[stream_limit / 16];
    char output[16 * stream_limit + long_limit + 2 * answer_limit];

    [[nodiscard]] bool ends_connection() const {
        return count != 0 && answered[count - 1].persistence == Persistence::close;
    }

    // Whether the last answer is to a peer that has said itself that no request follows.
    [[nodiscard]] bool asks_for_end() const {
        if (count == 0) return false;
        const PredictedAnswer &last = answered[count - 1];
        return last.persistence == Persistence::close && !last.is_refused;
    }
    [[nodiscard]] bool ends_by_reset() const { return count != 0 && answered[count - 1].is_reset && !is_endless; }
};
Prediction predicted;
AnswerContext context;
char run_memory[run_size];

// Writes an answer of the model behind the predicted output, as far as there is time for it.
class Writer {
public:
    Writer(char *begin, const char *room_end) : begin(begin), at(begin), end(room_end) {}

    [[nodiscard]] size_t size() const { return size_t(at - begin); }
    [[nodiscard]] bool is_full() const { return was_full; }
    [[nodiscard]] bool is_complete() const { return at == last; }  // as far as the limit
    [[nodiscard]] bool goes_on() const { return !was_full && at != last; }
    void limit(uint64_t most) {
        if (most < size_t(end - begin)) last = begin + most;
    }
    void put(char byte) {
        if (at == last) return;
        if (at == end) was_full = true;
        else *at++ = byte;
    }
    void put(Bytes text) {
        for (size_t i = 0; i < text.size; i++) put(text.data[i]);
    }
    void number(uint64_t value, uint64_t base = 10) {
        if (value >= base) number(value / base, base);
        put("0123456789abcdef"[value % base]);
    }
    // A seam in front of the next byte.
    void seam(uint64_t pause_ms) {
        if (!goes_on()) return;
        predicted.pauses += pause_ms != 0;
        if (predicted.pauses > pause_limit || predicted.seams.size() == seam_limit) end = at;
        else predicted.seams.push_back({size(), int64_t(pause_ms)});
    }

private:
    char *begin, *at;
    const char *end, *last = nullptr;
    bool was_full = false;
};

void write_content(Writer &to, const Wish &wish, bool is_chunked) {
    const uint64_t piece = wish['p'] == 0 || wish['p'] > wish['s'] ? wish['s'] : wish['p'];
    for (uint64_t begin = 0; begin != wish['s'] && to.goes_on();) {
        const uint64_t size = wish['s'] - begin < piece ? wish['s'] - begin : piece;
        if (begin != 0 && (!is_chunked || wish['d'] != 0)) to.seam(wish['d']);
        if (is_chunked) to.number(size, 16), to.put("\r\n"_b);
        for (uint64_t i = begin; i != begin + size && to.goes_on(); i++)
            to.put(wish['R'] != 0 ? '\0' : i % 50 == 49 ? '\n' : i % 10 == 0 ? '.' : char('0' + i % 10));
        if (is_chunked) to.put("\r\n"_b);
        begin += size;
    }
    if (is_chunked) to.put("0\r\n\r\n"_b);
}

// Writes what the model says, and notes what it says about the answer.
void write_answer(Writer &to, const Model &model, const Reading &reading, Bytes head, PredictedAnswer &answered) {
    using enum Model::Content;
    const Wish &wish = model.wish;
    const bool is_generated = model.content == generated;
    const bool has_content = !is_generated || (wish['r'] != 204 && wish['r'] != 205 && wish['r'] != 304);
    const bool is_chunked = is_generated && wish['k'] != 0 && has_content && !reading.is_http_1_0;
    const bool is_unsized = is_generated && ((wish['k'] != 0 && reading.is_http_1_0) || wish['b'] == 0);
    const bool closes = is_generated && (wish['C'] != 0 || wish['b'] != none || is_unsized);
    const bool keeps = is_generated && wish['K'] != 0;
    answered.persistence = closes || (reading.closes && !keeps) ? Persistence::close
                           : !reading.is_http_1_0               ? Persistence::keep
                           : keeps || reading.keeps_alive       ? Persistence::keep_alive
                                                                : Persistence::close;
    answered.delay_ms = int64_t(wish['t']);
    if (model.content == malformed) answered.delay_ms = 0;
    predicted.pauses += answered.delay_ms != 0;
    answered.may_be_last = model.content != malformed && model.is_late_or_long();
    if (is_generated) to.limit(wish['x']);

    char text[32];
    uint64_t size = 0;
    const auto as_text = [&](const char *form, auto value) {
        size = uint64_t(snprintf(text, sizeof text, form, value));
        return Bytes{text, size};
    };
    Bytes content{};
    if (model.content == delay) content = as_text("%llu", static_cast<unsigned long long>(wish['t']));
    if (model.content == malformed) content = as_text("bad value: %c\n", wish.malformed);
    if (model.content == help) content = {summary, sizeof summary - 1};
    if (model.content == echo) content = head;
    size = is_generated ? (wish['b'] != none ? wish['b'] : wish['r'] == 205 ? 0 : wish['s']) : content.size;

    to.put("HTTP/1.1 "_b);
    if (is_generated) to.number(wish['r']), to.put(" "_b);
    else to.put(model.content == malformed ? "400 Bad Request"_b : "200 OK"_b);
    to.put("\r\nServer: mote\r\nContent-Type: text/plain\r\nDate: "_b);
    to.put(date_value);
    if (is_generated && wish['c'] == 0) to.put("\r\nCache-Control: no-cache"_b);
    if (is_chunked) to.put("\r\nTransfer-Encoding: chunked"_b);
    if (!is_chunked && !is_unsized && !(is_generated && wish['r'] == 204))
        to.put("\r\nContent-Length: "_b), to.number(size);
    if (answered.persistence != Persistence::keep)
        to.put(answered.persistence == Persistence::close ? "\r\nConnection: close"_b : "\r\nConnection: keep-alive"_b);
    to.put("\r\n\r\n"_b);
    answered.head_size = to.is_complete() ? 0 : to.size();
    if (!reading.is_head && has_content) {
        if (is_generated) write_content(to, wish, is_chunked);
        else to.put(content);
    }
    answered.is_reset = is_generated && to.is_complete();
}

[[nodiscard]] Persistence persistence_of(const Head &head) {
    if (has(head, Head::closes)) return Persistence::close;
    if (!has(head, Head::is_http_1_0)) return Persistence::keep;
    return has(head, Head::keeps_alive) ? Persistence::keep_alive : Persistence::close;
}

// Composes an answer by the server itself, and compares its status with the model's.
void compose_answer(const Connection &connection, const Head &head, const Model &model, Answer &answer) {
    const char *const begin = answer.at;
    if (answer_exchange(connection.exchange, answer) != (persistence_of(head) != Persistence::close))
        fail("the connection's end is not the request's");
    if (model.own_route != nullptr) return;
    char status[16];
    snprintf(status, sizeof status, "HTTP/1.1 %u ", model.status);
    if (memcmp(begin, status, strlen(status)) != 0) fail("a status is not the model's");
}

// Notes what a route that is not modelled says about the time of its answer, whose first byte is at `begin`.
void note_delay(PredictedAnswer &answered, const Exchange &exchange, const Route &route, const char *begin) {
    if (exchange.manner.status != Status::ok || route.functions.delay_ms == nullptr) return;
    answered.delay_ms = int64_t(route.functions.delay_ms(exchange.state));
    if (answered.delay_ms == 0) return;
    predicted.pauses++;
    answered.may_be_last = true;
    while (memcmp(begin + answered.head_size, "\r\n\r\n", 4) != 0) answered.head_size++;
    answered.head_size += 4;
}

// Predicts one request. False if nothing is answered behind it.
[[nodiscard]] bool predict_request(Connection &connection, Cursor &cursor, Answer &answer) {
    const char *const start = cursor.at;
    char *const answer_start = answer.at;
    Head head;
    const Taken taken = take_head(cursor, head);
    const Taken request = take_request(context, connection, cursor, answer);
    const Parse parse = request.parse;
    cursor.at = request.at;
    if (cursor.at > cursor.end || (cursor.at == start && parse == Parse::complete)) fail("the parser went astray");

    const bool has_head = taken.parse == Parse::complete;
    const bool has_content = head.framing != Framing::no_content;
    const bool may_continue =
        has_head && has_content && has(head, Head::expects_continue) && !has(head, Head::is_http_1_0);
    const Bytes head_text{start, has_head ? size_t(taken.at - start) : 0};
    Reading reading{};
    Model model;
    if (has_head) {
        reading = read_head(head_text);
        check_head(reading, head);
        model = model_of(reading);
        if (parse == Parse::complete) check_content_of(reading, {taken.at, size_t(cursor.at - taken.at)});
    }
    const bool is_own = model.own_route != nullptr;
    predicted.is_left_out = is_own && (model.own_route->functions.part_at != nullptr ||
                                       model.own_route->functions.answers_at_once != nullptr);
    if (predicted.is_left_out) return false;
    // The head's echo comes before the content. If that is malformed, or never comes whole, there is no other answer.
    const bool is_early = model.content == Model::Content::echo && has_content;
    predicted.has_early |= is_early;
    predicted.may_continue = may_continue && parse == Parse::incomplete && !is_early;
    if (parse == Parse::incomplete && !is_early) {
        answer.at = answer_start;  // without the interim response
        return false;
    }
    if (parse == Parse::empty_line) return true;
    // What the head alone determines; content is refused with other statuses.
    const Status status = request.status;
    const bool is_error_of_head = model.status == 400 || status == Status::not_found ||
                                  status == Status::method_not_allowed || status == Status::expectation_failed ||
                                  status == Status::not_implemented ||
                                  (is_own && connection.exchange.manner.status != Status::ok);
    if (predicted.count == sizeof predicted.answered / sizeof *predicted.answered) fail("no room for the prediction");
    PredictedAnswer &answered = predicted.answered[predicted.count++];
    answered = {};
    answered.is_head = head.method == Method::head;
    answered.is_refused = parse == Parse::refused;
    answered.may_continue = may_continue && !is_error_of_head;
    answered.request_end = size_t((is_early ? taken.at : cursor.at) - script.stream.data);
    answered.first_seam = predicted.seams.size();
    answered.is_own = is_own && !answered.is_refused;
    answered.is_modelled = model.content != Model::Content::unknown && !is_own && (is_early || !answered.is_refused);
    if (answered.is_modelled) {
        Writer writer(answer_start, predicted.output + 16 * script.stream.size + long_limit);
        write_answer(writer, model, reading, head_text, answered);
        answer.at = answer_start + writer.size();
        predicted.is_endless = writer.is_full() || predicted.pauses > pause_limit;
    } else if (answered.is_refused) {
        refuse_request(connection, answer, status);
    } else {
        compose_answer(connection, head, model, answer);
        answered.persistence = persistence_of(head);
        if (is_own) note_delay(answered, connection.exchange, *model.own_route, answer_start);
    }
    if (answered.is_refused) answered.persistence = Persistence::close;
    answered.seam_end = predicted.seams.size();
    answered.end = size_t(answer.at - predicted.output);
    return parse != Parse::incomplete && !predicted.is_endless && !answered.is_reset &&
           answered.persistence != Persistence::close;
}

Connection reader;  // of the prediction
LongAnswer reader_answer;

void predict() {
    reader = {};
    Cursor cursor{script.stream.data, script.stream.data + script.stream.size};
    Answer answer{predicted.output, &context};
    context.default_query = script.has_default ? default_query : Bytes{};
    predicted.count = predicted.pauses = 0;
    predicted.may_continue = predicted.has_early = predicted.is_endless = predicted.is_left_out = false;
    predicted.seams.clear();
    const char *const full = predicted.output + sizeof predicted.output - answer_limit;
    while (cursor.at != cursor.end && predict_request(reader, cursor, answer))
        if (answer.at > full) fail("no room for the prediction");
    predicted.size = size_t(answer.at - predicted.output);
    predicted.late_size = 0;
    if (predicted.ends_connection() || predicted.ends_by_reset() || predicted.is_endless) return;
    if (reader.content.state == Content::State::none && (cursor.at == cursor.end || *cursor.at == '\r'))
        return;  // nothing, or half an empty line
    Answer late{predicted.late_output, &context};
    refuse_request(reader, late, Status::request_timeout);
    predicted.late_size = size_t(late.at - predicted.late_output);
}

constexpr const char *error_texts[] = {
    "400 Bad Request",
    "404 Not Found",
    "405 Method Not Allowed",
    "413 Content Too Large",
    "414 URI Too Long",
    "417 Expectation Failed",
    "431 Request Header Fields Too Large",
    "501 Not Implemented",
    "505 HTTP Version Not Supported",
};

[[nodiscard]] bool is_text(Bytes bytes, const char *text) {
    size_t i = 0;
    while (i < bytes.size && text[i] != '\0' && text[i] == bytes.data[i]) i++;
    return i == bytes.size && text[i] == '\0';
}

// The field lines of a response, in any order, each of them once.
struct ResponseFields {
    Bytes allow, server, content_type, date, connection, content_length;

    [[nodiscard]] Bytes &of(Bytes name) {
        if (is_text(name, "Allow")) return allow;
        if (is_text(name, "Server")) return server;
        if (is_text(name, "Content-Type")) return content_type;
        if (is_text(name, "Date")) return date;
        if (is_text(name, "Connection")) return connection;
        if (is_text(name, "Content-Length")) return content_length;
        fail("a response has an unknown field line");
    }
};

[[nodiscard]] ResponseFields take_response_fields(Bytes &text) {
    ResponseFields fields{};
    for (;;) {
        const Bytes line = take_line(text);
        if (line.size == 0) return fields;
        const size_t name_size = find(line, ':');
        if (!starts_with(line.after(name_size), ": "_b)) fail("a response has a malformed field line");
        Bytes &value = fields.of(line.first(name_size));
        if (value.data != nullptr) fail("a response has a field line twice");
        value = line.after(name_size + 2);
        if (value.size == 0) fail("a response has an empty field line");
    }
}

[[nodiscard]] size_t read_number(Bytes digits) {
    size_t value = 0;
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9' || digits.size > 4) fail("a response has no number of bytes");
        value = value * 10 + size_t(digits.data[i] - '0');
    }
    return value;
}

void check_error_content(Bytes status, Bytes content) {
    bool is_known = false;
    for (const char *const text : error_texts) is_known |= is_text(status, text);
    if (!is_known) fail("a response has an unknown status");
    if (content.data != nullptr && !(content.first(content.size - 2) == status)) fail("an error has another content");
}

// "ok" or an integer.
void check_content(Bytes content) {
    if (is_text(content, "ok")) return;
    if (content.size > 1 && *content.data == '-') content = content.after(1);
    if (content.size == 0) fail("a response has no content");
    for (size_t i = 0; i < content.size; i++)
        if (content.data[i] < '0' || content.data[i] > '9') fail("a response has unknown content");
}

void check_response(Bytes text, const PredictedAnswer &answered) {
    Bytes status = take_line(text);
    if (!starts_with(status, "HTTP/1.1 "_b)) fail("a response has no status line");
    status = status.after(9);
    const bool is_ok = is_text(status, "200 OK");
    if (is_ok && answered.is_refused) fail("a refused request has got a 200");

    const ResponseFields fields = take_response_fields(text);
    const bool has_allow = fields.allow.data != nullptr;
    if (!is_text(fields.server, "mote") || !is_text(fields.content_type, "text/plain")) fail("a field is missing");
    if (!(fields.date == date_value)) fail("a response has a wrong Date");
    if (has_allow != is_text(status, "405 Method Not Allowed") && !is_ok) fail("Allow is missing, or one too many");
    constexpr const char *connections[] = {"", "keep-alive", "close"};
    if (!is_text(fields.connection, connections[size_t(answered.persistence)])) fail("a wrong Connection field");

    const size_t size = read_number(fields.content_length);
    if (fields.content_length.size == 0) fail("a response has no Content-Length");
    if (text.size != (answered.is_head ? 0 : size)) fail("a response's content has another length than it says");
    if (!is_ok) check_error_content(status, answered.is_head ? Bytes{} : text);
    else if (has_allow && size != 0) fail("a response to OPTIONS has content");
    else if (!has_allow && !answered.is_head) check_content(text);
}

void check_prediction() {
    size_t begin = 0;
    for (size_t i = 0; i < predicted.count; i++) {
        const PredictedAnswer &answered = predicted.answered[i];
        if (!answered.is_modelled && !answered.is_own)
            check_response({predicted.output + begin, answered.end - begin}, answered);
        begin = answered.end;
    }
}

// ---- The kernel ------------------------------------------------------------------------------------------------
// One listener, one timer, one epoll, and one connection with its peer. As in the kernel, an event is only the
// occasion on which to look: what is reported is what is ready when epoll_pwait looks, and is watched for.

Worker worker;
Block blocks[block_count];
Stash stashes[stash_count];
const Connection *stranger;  // has all blocks, if the connection is to find none
char output[sizeof predicted.output + sizeof predicted.output / 4];  // what the peer has received

// What a send has taken.
struct Sending {
    size_t begin, end;  // in the output
    int64_t at_ns;
    bool has_more;  // MSG_MORE
};
std::vector<Sending> sendings;
int64_t now_ns;  // since the system's start

struct RunIsOver {};

class Kernel {
public:
    static constexpr int listener = 3, epoll = 4, timer = 5, stop = 6, run_file = 7, socket = int(reserved_descriptors);

    size_t sent = 0;              // bytes in `output`
    bool is_to_be_reset = false;  // when it is closed

    Kernel() : call_limit(2000 + 16 * (script.stream.size + predicted.size)) {}

    void count_call() {
        if (++call_count > call_limit) fail("an endless loop");
    }

    long accept4(int from, long flags) {
        if (from != listener || flags != SOCK_NONBLOCK) fail("a strange accept4");
        if (accept_failures != 0) {
            constexpr long reasons_to_fail[] = {-ECONNABORTED, -EMFILE, -EINTR, -ENOBUFS};
            return reasons_to_fail[--accept_failures % 4];
        }
        if (is_accepted) return -EAGAIN;
        is_accepted = is_open = true;
        return socket;
    }

    long epoll_ctl(int of, int operation, int descriptor, const epoll_event &event) {
        if (of != epoll || int(event.data) != descriptor) fail("a strange epoll_ctl");
        if (descriptor == listener) {
            if (operation != (is_listening ? EPOLL_CTL_DEL : EPOLL_CTL_ADD)) fail("an epoll_ctl that would fail");
            is_listening = operation == EPOLL_CTL_ADD;
            return 0;
        }
        check_open(descriptor);
        if (operation != (is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD)) fail("an epoll_ctl that would fail");
        if ((event.events & EPOLLET) == 0) fail("a socket is not edge-triggered");
        is_registered = true;
        watched = event.events;
        go_on_meanwhile(choose());
        is_pending = ready() != 0;
        return 0;
    }

    long epoll_pwait(const epoll_event *into, long room, long limit_ms) {
        if (limit_ms == -1) {
            if (worker.timer_count != 0) fail("a wait without a limit while a timer is set");
            return wait(into, room, -1);
        }
        if (!script.is(Script::is_old) || limit_ms != (refused_limit_ns + ms - 1) / ms) fail("a strange epoll_pwait");
        return wait(into, room, limit_ms * ms);
    }

    long epoll_pwait2(const epoll_event *into, long room, const timespec &limit) {
        if (limit.tv_sec < 0 || limit.tv_nsec < 0 || limit.tv_nsec >= second) fail("a strange epoll_pwait2");
        refused_limit_ns = limit.tv_sec * second + limit.tv_nsec;
        if (script.is(Script::is_old)) return -ENOSYS;
        return wait(into, room, refused_limit_ns);
    }

    // Between two calls of this, the server may not miss anything of what had arrived before the first.
    long wait(const epoll_event *into, long room, int64_t limit_ns) {
        if (into != worker.events || room < 3 || room > long(sizeof worker.events / sizeof *worker.events))
            fail("a strange place for events");
        check_timers();
        check_wake_up();
        scribble();
        if (is_more_promised && !is_full && !is_pending && is_open) fail("the end of an answer is kept");
        if (choose() % 16 == 11 && may_stall()) return -EINTR;
        for (uint8_t more = choose() % 4; !is_anything_pending() || more == 3; more = 0) {
            if (limit_ns >= 0 && !is_anything_pending() && (limit_ns == 0 || !is_something_first())) {
                if (limit_ns != 0) pass(limit_ns);
                break;
            }
            proceed();
        }
        seen = arrived;
        long count = 0;
        const auto report = [&](int descriptor, uint32_t events) {
            worker.events[count++] = {events, uint64_t(descriptor)};
        };
        if (has_expired) report(timer, EPOLLIN);  // first: it may close the connection of the next event
        if (is_pending && ready() != 0) report(socket, ready());
        if (is_connection_waiting()) report(listener, EPOLLIN);
        has_expired = is_pending = false;
        return count;
    }

    long recvfrom(int from, char *into, size_t room, long flags) {
        check_open(from);
        const size_t offset = size_t(into - worker.input);
        if (flags == MSG_PEEK) return arrived != received ? 1 : has_ended ? end_of_stream() : -EAGAIN;
        if (offset >= input_size || room == 0 || room > input_size - offset) fail("recv outside of the input buffer");
        const uint8_t choice = choose();
        if (choice % 16 == 5 && may_stall(2)) return -EINTR;
        go_on_meanwhile(choice);
        size_t size = arrived - received;
        if (is_marked && received >= mark) is_marked = false;
        if (is_marked && received + size > mark) size = mark - received;
        if (size > room) size = room;
        if (size == 0) return has_ended ? end_of_stream() : -EAGAIN;
        take_down_fence();
        __builtin_memcpy(into, script.stream.data + received, size);
        received += size;
        for (; whole != predicted.count && predicted.answered[whole].request_end <= received; whole++)
            predicted.answered[whole].whole_at_ns = now_ns;
        stalls = 0;
        fence_in(into + size);
        if (size_t(fence - worker.input) > used) used = size_t(fence - worker.input);
        return long(size);
    }

    long sendto(int to, const char *data, size_t size, long flags) {
        check_open(to);
        if ((flags & ~MSG_MORE) != MSG_NOSIGNAL) fail("a send that would kill");
        check_output(data, size);
        return send(data, size, (flags & MSG_MORE) != 0);
    }

    long sendfile(int to, int file, const int64_t *offset, size_t size) {
        check_open(to);
        if (file != run_file || *offset < 0 || uint64_t(*offset) > run_size || size > run_size - uint64_t(*offset))
            fail("sendfile outside of the run");
        if (size == 0) fail("an empty sendfile");
        return send(run_memory + *offset, size, false);
    }

    long ioctl(int of, long request, uint32_t &size) {
        check_open(of);
        if (request != SIOCOUTQ) fail("a strange ioctl");
        size = unacknowledged;
        if (unacknowledged != 0) unacknowledged--;
        return 0;
    }

    long setsockopt(int of, long level, long option, const int *values, long size) {
        check_open(of);
        if (level != SOL_SOCKET || option != SO_LINGER || size != 2 * sizeof(int) || values[0] != 1 || values[1] != 0)
            fail("a strange setsockopt");
        is_to_be_reset = true;
        return 0;
    }

    long send(const char *data, size_t size, bool has_more) {
        if (is_shut_down) fail("a send behind the end");
        const uint8_t choice = choose();
        if (was_reset) return -EPIPE;
        go_on_meanwhile(choice);
        if (is_full) return -EAGAIN;
        long taken = portion(choice, size);
        if (taken < 0) return taken;
        const bool is_enough = predicted.is_endless && sent + size_t(taken) >= enough();
        if (is_enough) taken = long(enough() - sent);
        if (sent + size_t(taken) > sizeof output) fail("more output than there can be");
        __builtin_memcpy(output + sent, data, size_t(taken));
        is_more_promised = has_more && size_t(taken) == size;
        sendings.push_back({sent, sent + size_t(taken), now_ns, is_more_promised});
        sent += size_t(taken);
        stalls = 0;
        is_full = size_t(taken) < size;
        unacknowledged = choose() % 4;
        if (is_enough) has_ended = is_pending = was_reset = true;
        return taken;
    }

    long shutdown(int which, long how) {
        check_open(which);
        if (is_shut_down || how != SHUT_WR) fail("a strange shutdown");
        if (was_reset) return -ENOTCONN;
        is_shut_down = true;
        is_more_promised = false;
        return 0;
    }

    long close(int descriptor) {
        check_open(descriptor);
        const bool has_failed = was_reset || is_to_be_reset || script.is(Script::has_no_blocks);
        if (is_to_be_reset && unacknowledged != 0) fail("a reset destroys what comes before it");
        const bool has_lingered = is_shut_down && ticks_of_linger >= linger_timeout_s;
        // (Of what is hidden the server cannot know: a peer that sends such a thing behind its last request harms itself.)
        if (seen > received && !has_failed && !has_lingered && !has_hidden)
            fail("closed with input unread: the reset may destroy the last answer");
        const bool is_idle =
            script.is(Script::stays) && vain_ticks + early_tick_limit >= head_timeout_s && predicted.late_size == 0;
        if (!has_ended && !is_shut_down && !has_failed && !predicted.asks_for_end() && !is_idle)
            fail("closed before the peer's end: what it still sends may destroy the last answer");
        is_open = is_registered = is_pending = false;
        return 0;
    }

    long timerfd_settime(int which, long flags, const itimerspec &when) {
        const int64_t second = 1'000'000'000, after_ns = when.it_value.tv_sec * second + when.it_value.tv_nsec;
        if (which != timer || flags != 0 || when.it_interval.tv_sec != 0 || when.it_interval.tv_nsec != 0 ||
            after_ns <= 0 || after_ns > second)
            fail("a strange timerfd_settime");
        is_armed = true;
        return 0;
    }

    // The time of day stands still, so that all runs give the same Date.
    long clock_gettime(long clock, timespec &now) {
        if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) fail("a strange clock_gettime");
        now_ns += choose() % 8 == 5 ? ms : 100;
        now = {int64_t(moment), 250'000'000};
        if (clock == CLOCK_MONOTONIC) now = {now_ns / second, now_ns % second};
        return 0;
    }

private:
    static constexpr long EPIPE = 32, ENOSYS = 38, ECONNABORTED = 103, ECONNRESET = 104, ENOTCONN = 107;
    static constexpr size_t tick_limit = 1000;       // several times the longest timeout
    static constexpr unsigned early_tick_limit = 3;  // with the late ones they leave a request enough time

    size_t call_count = 0, call_limit;
    size_t plan_at = 0;
    unsigned stalls_left = 100;  // more of them take time and show nothing new
    unsigned accept_failures = script.is(Script::accepts_late) ? script.circumstances / 16 % 4 + 1 : 0;
    unsigned late_ticks_left = script.is(Script::stays)       ? tick_limit
                               : script.is(Script::ends_late) ? linger_timeout_s + 5
                                                              : 0;
    unsigned early_ticks_left = early_tick_limit;
    unsigned vain_ticks = 0, ticks_of_linger = 0;

    unsigned firsts = 0;  // things that have happened before a timer, in a row
    int64_t refused_limit_ns = -1;

    bool is_listening = true;
    bool is_armed = false, has_expired = false;  // the clock's timer

    bool is_accepted = false, is_open = false, is_shut_down = false;  // the connection
    bool is_registered = false, is_pending = false;
    uint32_t watched = 0;
    bool is_full = false;  // it takes no output
    bool is_more_promised = false;
    uint32_t unacknowledged = 0;
    size_t stalls = 0;  // calls that were kept from their work since bytes went through last

    size_t arrived = 0, received = 0, seen = 0;  // of the stream
    size_t whole = 0;                            // requests that were received so far
    bool is_marked = false;                      // urgent data: a recv ends at `mark`,
    bool is_mark_hidden = false;                 // and what is behind it is not told of by an event
    bool has_hidden = false;                     // there was such a mark
    size_t mark = 0;
    bool has_ended = false, was_reset = false, has_told_reset = false;

    // The next byte of the plan. 0, if there is none, lets everything go its common way.
    uint8_t choose() {
        if (script.cutting != Cutting::planned || script.plan.size == 0) return 0;
        if (plan_at == script.plan.size) plan_at = 0;
        return uint8_t(script.plan.data[plan_at++]);
    }

    // Whether a call may be kept from its work, so many of them in a row.
    bool may_stall(size_t limit = 1) {
        if (stalls >= limit || stalls_left == 0) return false;
        stalls++;
        stalls_left--;
        return true;
    }

    void check_open(int descriptor) const {
        if (descriptor != socket || !is_open) fail("a system call on a descriptor that is not open");
    }

    // Output comes from the worker's buffer or from the connection's block.
    void check_output(const char *data, size_t size) {
        const auto is_within = [&](const char *buffer) {
            return data >= buffer && data < buffer + output_room && size <= size_t(buffer + output_room - data);
        };
        if (size == 0 && !predicted.has_early) fail("an empty send");
        if (is_within(worker.output)) return;
        const Connection &connection = worker.connections[socket];
        if (worker.find_block(&connection) == block_count || !is_within(worker.block_of(connection).output))
            fail("send outside of the output");
        take_down_fence();  // the input that waits in the block may go back to the input buffer behind this
    }

    // After so much output the peer of an endless answer has enough. Interim responses may be part of it.
    static size_t enough() { return predicted.size + (predicted.count + 1) * interim.size; }

    // The timers that are set are the connection's, and only while it waits for one.
    void check_timers() const {
        using enum Connection::State;
        const Connection::State state = worker.connections[socket].state;
        const bool waits = state == delayed || state == pausing || state == resetting;
        const bool is_set = worker.timers[socket].previous != 0;
        if (waits != is_set || worker.timer_count != is_set) fail("a timer is lost, or left over");
    }

    // What has arrived has an event, or is looked at after the answer that it waits for.
    void check_wake_up() const {
        using enum Connection::State;
        if (!is_open || arrived == received || has_hidden || (is_pending && ready() != 0)) return;
        const Connection &connection = worker.connections[socket];
        if (connection.state == sending || connection.state == sending_last) return;
        if (!connection.is_late() || !connection.late.must_watch) fail("a lost wake-up");
    }

    // Whether something else happens before the time of a wait is over.
    bool is_something_first() {
        const bool is_first = script.cutting == Cutting::byte_by_byte ? firsts == 0 : choose() % 4 == 1;
        firsts = is_first && firsts < 3 ? firsts + 1 : 0;
        return firsts != 0;
    }

    // The time of a wait is over; perhaps long ago.
    void pass(int64_t limit_ns) {
        const uint8_t choice = choose();
        const int64_t more = choice / 8;
        now_ns += limit_ns + more * (choice % 8 == 7 ? 3600 * second : choice % 8 == 6 ? second : 1000);
        vain_ticks = 0;
        if (choose() % 8 == 3) proceed();
    }

    // How much of a send is taken.
    long portion(uint8_t choice, size_t size) {
        const size_t more = choice / 8;
        size_t taken = size;
        if (choice % 8 == 3 && may_stall()) {
            is_full = true;
            return -EAGAIN;
        }
        if (choice % 8 == 4 && may_stall()) return -EINTR;
        if (stalls_left == 0) return long(size);
        if (choice % 8 == 5) taken = 1;
        if (choice % 8 == 6) taken = 1 + more;
        if (choice % 8 == 7) taken = 1 + size * more / 32;
        if (taken >= size) return long(size);
        stalls_left--;
        return long(taken);
    }

    // What tcp_poll says and the server watches for.
    uint32_t ready() const {
        uint32_t events = 0;
        if (arrived != received || has_ended) events |= EPOLLIN;
        if (has_ended) events |= EPOLLRDHUP;
        if (is_marked && !is_mark_hidden) events |= EPOLLPRI;
        if (!is_full || is_shut_down) events |= EPOLLOUT;
        if (has_ended && is_shut_down) events |= EPOLLHUP;
        if (was_reset) events |= EPOLLERR | EPOLLHUP | EPOLLOUT;
        return is_registered ? events & (watched | EPOLLERR | EPOLLHUP) : 0;
    }

    bool is_connection_waiting() const { return is_listening && (!is_accepted || accept_failures != 0); }
    bool is_anything_pending() const { return has_expired || (is_pending && ready() != 0) || is_connection_waiting(); }

    // Something happens: nothing, if that is a connection that waits for the server.
    void proceed() {
        if (is_connection_waiting()) return;
        const uint8_t choice = choose();
        const bool has_all = arrived == script.stream.size;
        if (!is_open) return proceed_without_connection();
        if (is_armed && vain_ticks == 0 && choice % 16 == 15 && early_ticks_left != 0) {
            early_ticks_left--;
            return expire();
        }
        if (is_full && (has_all || choice % 2 == 1)) return make_room();
        if (has_ended || (has_all && late_ticks_left != 0)) {
            if (!has_ended) late_ticks_left--;
            if (is_anything_pending()) return;
            return expire();
        }
        arrive();
    }

    // What happens between a report of epoll_pwait and a system call that follows it.
    void go_on_meanwhile(uint8_t choice) {
        if (choice % 16 != 9) return;
        if (is_full) make_room();
        else if (!has_ended && (arrived != script.stream.size || late_ticks_left == 0)) arrive();
    }

    void proceed_without_connection() {
        if (has_expired) return;
        if (is_accepted && !is_armed) throw RunIsOver{};
        expire();
    }

    void expire() {
        if (!is_armed) fail("the clock stands still while there is work");
        if (++vain_ticks > tick_limit) fail(is_open ? "a connection is never closed" : "the clock does not stop");
        if (is_shut_down && is_open && ticks_of_linger++ > linger_timeout_s) fail("a connection lingers for too long");
        is_armed = false;
        has_expired = true;
    }

    void make_room() {
        is_full = false;
        vain_ticks = 0;
        if ((watched & EPOLLOUT) != 0) is_pending = true;
    }

    void arrive() {
        vain_ticks = 0;
        const size_t left = script.stream.size - arrived;
        if (left == 0) return end();
        const size_t size = arrival_size(left);
        if (choose() % 8 == 5) {
            is_marked = true;
            is_mark_hidden = choose() % 2 == 1;  // as where it arrives out of order, or a descriptor is passed
            has_hidden |= is_mark_hidden;
            mark = arrived + size / 2;
        }
        arrived += size;
        if ((watched & EPOLLIN) != 0) is_pending = true;
        if (size == left && script.cutting != Cutting::byte_by_byte && late_ticks_left == 0 && choose() % 2 == 0) end();
    }

    size_t arrival_size(size_t left) {
        if (script.cutting == Cutting::byte_by_byte) return 1;
        const uint8_t choice = choose();
        if (choice == 0) return left;
        size_t size = choice < 224 ? 1 + choice % 32 : size_t(choice - 223) * 64;
        if (script.stream.size >= repeated_size) size *= extended_arrivals;
        return size < left ? size : left;
    }

    // The end of the stream, or a reset, is told whatever is watched for.
    void end() {
        has_ended = is_pending = true;
        was_reset = script.is(Script::resets);
    }

    long end_of_stream() {
        if (!was_reset || has_told_reset) return 0;
        has_told_reset = true;
        return -ECONNRESET;
    }

    // What stands behind the bytes that were received is the worst that can: what goes on where they end, up to
    // `overread` bytes, and then nothing that may be read.
    void fence_in(char *end) {
        const size_t left = script.stream.size - received, size = left < overread ? left : overread;
        __builtin_memcpy(end, script.stream.data + received, size);
        __builtin_memset(end + size, 0, overread - size);
        fence = end + overread;
        ASAN_POISON_MEMORY_REGION(fence, fence_size());
    }
    void take_down_fence() {
        if (fence == nullptr) return;
        char *const granule = fence - address(fence) % 8;  // the sanitizer takes note of eight bytes together
        ASAN_UNPOISON_MEMORY_REGION(granule, size_t(fence - granule) + fence_size());
        fence = nullptr;
    }
    // What the server or a route has kept of the input by its address alone is something else after a wait.
    static void scribble() {
        const size_t size = fence == nullptr ? used : size_t(fence - worker.input);
        __builtin_memset(worker.input, '#', size);
    }
    size_t fence_size() const {
        const size_t left = size_t(worker.input + sizeof worker.input - fence);
        return left < 64 ? left : 64;
    }
    static inline char *fence = nullptr;  // outlives the run, like the buffer
    static inline size_t used = 0;        // of the buffer, so far
};

Kernel *kernel;

long trap(Sys call, long a, long b, long c, long d, long e, [[maybe_unused]] long f) {
    kernel->count_call();
    switch (call) {
    case Sys::accept4:
        return kernel->accept4(int(a), d);
    case Sys::recvfrom:
        return kernel->recvfrom(int(a), reinterpret_cast<char *>(b), size_t(c), d);
    case Sys::sendto:
        return kernel->sendto(int(a), reinterpret_cast<const char *>(b), size_t(c), d);
    case Sys::shutdown:
        return kernel->shutdown(int(a), b);
    case Sys::close:
        return kernel->close(int(a));
    case Sys::epoll_ctl:
        return kernel->epoll_ctl(int(a), int(b), int(c), *reinterpret_cast<const epoll_event *>(d));
    case Sys::sendfile:
        return kernel->sendfile(int(a), int(b), reinterpret_cast<const int64_t *>(c), size_t(d));
    case Sys::ioctl:
        return kernel->ioctl(int(a), b, *reinterpret_cast<uint32_t *>(c));
    case Sys::setsockopt:
        return kernel->setsockopt(int(a), b, c, reinterpret_cast<const int *>(d), e);
    case Sys::epoll_pwait:
        if (a != Kernel::epoll || e != 0) fail("a strange epoll_pwait");
        return kernel->epoll_pwait(reinterpret_cast<const epoll_event *>(b), c, d);
    case Sys::epoll_pwait2:
        if (a != Kernel::epoll || e != 0) fail("a strange epoll_pwait2");
        return kernel->epoll_pwait2(reinterpret_cast<const epoll_event *>(b), c,
                                    *reinterpret_cast<const timespec *>(d));
    case Sys::timerfd_settime:
        return kernel->timerfd_settime(int(a), b, *reinterpret_cast<const itimerspec *>(c));
    case Sys::clock_gettime:
        return kernel->clock_gettime(a, *reinterpret_cast<timespec *>(b));
    default:
        fail("an unexpected system call");
    }
}

long start_thread(unsigned long, void *, void (*)(void *), void *) { fail("an unexpected thread"); }

// ---- Runs ------------------------------------------------------------------------------------------------------
// One connection from its beginning to its end, and what is true behind it. The runs of an input share a worker, and
// so the connection's place in its table: each finds what the one before it has left there.

void prepare_worker() {
    __builtin_memset(static_cast<void *>(&worker), 0, offsetof(Worker, events));
    worker.connections[Kernel::socket] = {};
    worker.listener = Kernel::listener;
    worker.epoll = Kernel::epoll;
    worker.timer = Kernel::timer;
    static Process process{};
    process.stop = Kernel::stop;
    process.room = -1;
    process.running_workers = 1;
    process.run_file = Kernel::run_file;
    process.run_memory = run_memory;
    worker.process = &process;
    worker.context.run = run_memory;
    worker.context.exchanges = reinterpret_cast<const char *>(worker.connections);
    worker.context.long_answers = worker.long_answers;
    worker.context.default_query = context.default_query;
    // Near a carry of the wheel's digits.
    now_ns =
        (int64_t(1) << (tick_shift + digit_bits * (1 + script.stream.size % 5))) - int64_t(script.stream.size) * ms;
    if (now_ns < 0) now_ns = 0;
    worker.is_accepting = true;
    worker.blocks = blocks;
    worker.stashes = stashes;
    worker.block_limit = block_count;
    worker.free_stashes = stash_count - 1;
    worker.fresh_stash = 1;
    worker.free_stash = 0;
}

void check_worker_at_rest() {
    const Connection &connection = worker.connections[Kernel::socket];
    if (worker.open_connections != 0) fail("a connection is still counted");
    for (const uint8_t size : worker.group_sizes)
        if (size != 0) fail("a connection is still counted in its group");
    if (connection.state != Connection::State::closed) fail("a connection is left over");
    if (worker.is_ticking || !worker.is_accepting) fail("the worker is not ready for the next connection");
    if (worker.timer_count != 0 || worker.timers[Kernel::socket].previous != 0) fail("a timer is left over");
    for (size_t list = connection_slots; list < timer_slots; list++)
        if (worker.timers[list].next != 0) fail("a timer is left over in a list");
    for (size_t index = 0; index < block_count; index++)
        if (worker.block_owners[index] != stranger) fail("a block was not given back");
    if (worker.free_stashes != stash_count - 1 || worker.oldest_stash != 0 || worker.newest_stash != 0)
        fail("a stash was not given back");
}

// Takes `expected` off the output. False if the output ends before it, as it may where the connection has failed.
[[nodiscard]] bool take_expected(Bytes &rest, Bytes expected) {
    const bool is_cut = rest.size < expected.size;
    const Bytes taken = is_cut ? rest : rest.first(expected.size);
    if (!starts_with(expected, taken)) fail("another answer than expected");
    if (is_cut && !script.is(Script::resets) && !script.is(Script::has_no_blocks)) fail("an answer is missing");
    rest = rest.after(taken.size);
    return !is_cut;
}

// Takes an interim response if there is one. It may be missing where the content has come with its head.
[[nodiscard]] bool take_interim(Bytes &rest, bool is_allowed) {
    const bool may_be_start = is_allowed && rest.size != 0 && starts_with(interim, rest);  // of a cut output
    if (may_be_start || starts_with(rest, "HTTP/1.1 1"_b)) {
        if (!is_allowed) fail("an interim response that nobody has asked for");
        return take_expected(rest, interim);
    }
    if (is_allowed && script.cutting == Cutting::byte_by_byte) fail("an interim response is missing");
    return true;
}

// The byte at `place` of the output was sent in front of no other, `pause_ms` or more after the one before it and after
// `since_ns`.
void check_seam(size_t place, int64_t pause_ms, int64_t since_ns) {
    static size_t index = 0;  // of the send that was looked at last
    if (index >= sendings.size() || sendings[index].begin > place) index = 0;
    while (sendings[index].end <= place) index++;
    if (sendings[index].begin != place) fail("what is to be sent by itself comes with what is before it");
    if (index != 0) {
        const Sending &before = sendings[index - 1];
        if (before.has_more) fail("what is to be sent by itself is kept for what comes behind it");
        if (before.at_ns > since_ns) since_ns = before.at_ns;
    }
    if (sendings[index].at_ns < since_ns + pause_ms * ms) fail("an answer, or a part of it, comes early");
}

// The times of an answer, of which `size` bytes are in the output, from `place` on. Its head is so much longer than was
// predicted.
void check_times(const PredictedAnswer &answered, size_t place, size_t size, size_t longer) {
    if (size == 0) return;
    if (answered.delay_ms != 0) check_seam(place, answered.delay_ms, answered.whole_at_ns);
    for (size_t i = answered.first_seam; i != answered.seam_end; i++) {
        const size_t offset = predicted.seams[i].offset + longer;
        if (offset >= size) break;
        check_seam(place + offset, predicted.seams[i].pause_ms, 0);
    }
}

// The head of the response, if it is the connection's last one.
[[nodiscard]] Bytes last_head(const PredictedAnswer &answered, Bytes response) {
    static char head[answer_head_limit];
    constexpr Bytes keep_alive = "Connection: keep-alive\r\n"_b, close = "Connection: close\r\n\r\n"_b;
    size_t size = answered.head_size - 2;
    if (answered.persistence == Persistence::keep_alive) size -= keep_alive.size;
    __builtin_memcpy(head, response.data, size);
    __builtin_memcpy(head + size, close.data, close.size);
    return {head, size + close.size};
}

void check_output(Bytes rest) {
    const size_t output_size = rest.size;
    size_t begin = 0;
    for (size_t i = 0; i < predicted.count; i++) {
        const PredictedAnswer &answered = predicted.answered[i];
        const Bytes response{predicted.output + begin, answered.end - begin};
        begin = answered.end;
        if (!take_interim(rest, answered.may_continue)) return;
        const size_t place = output_size - rest.size;
        const bool may_be_last = script.is(Script::has_no_blocks) && answered.may_be_last;
        if (may_be_last && answered.head_size == 0) return;
        if (may_be_last && answered.persistence != Persistence::close && answered.head_size <= response.size) {
            const Bytes head = last_head(answered, response);
            const Bytes usual = response.first(answered.head_size);
            const bool differs = !starts_with(usual, rest.first(rest.size < usual.size ? rest.size : usual.size));
            if (differs && starts_with(rest, head.first(rest.size < head.size ? rest.size : head.size))) {
                check_times(answered, place, rest.size, head.size - answered.head_size);
                if (!take_expected(rest, head) || !take_expected(rest, response.after(answered.head_size))) return;
                if (rest.size != 0 && !predicted.is_endless) fail("output behind the last answer");
                return;
            }
        }
        check_times(answered, place, rest.size < response.size ? rest.size : response.size, 0);
        if (!take_expected(rest, response)) return;
    }
    if (predicted.is_endless) return;
    if (!take_interim(rest, predicted.may_continue)) return;
    if (script.is(Script::stays) && !take_expected(rest, {predicted.late_output, predicted.late_size})) return;
    if (rest.size != 0) fail("more output than expected");
}

void run(Cutting cutting) {
    script.cutting = cutting;
    stranger = script.is(Script::has_no_blocks) ? worker.connections : nullptr;
    for (const Connection *&owner : worker.block_owners) owner = stranger;
    sendings.clear();
    Kernel played;
    kernel = &played;
    try {
        run_worker(worker);
    } catch (const RunIsOver &) {}
    check_worker_at_rest();
    check_output({output, played.sent});
    const bool is_predicted = !predicted.is_endless && !script.is(Script::resets) && !script.is(Script::has_no_blocks);
    if (is_predicted && played.is_to_be_reset != predicted.ends_by_reset())
        fail("a reset that nobody has asked for, or none");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
    put_head(context.head, moment);
    context.run = run_memory;
    context.exchanges = reinterpret_cast<const char *>(&reader);
    context.long_answers = &reader_answer;
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!read_script({reinterpret_cast<const char *>(data), size})) return -1;
    script.cutting = Cutting::whole;
    predict();
    if (predicted.is_left_out) return -1;
    check_prediction();
    prepare_worker();
    run(Cutting::whole);
    if (script.stream.size <= byte_by_byte_limit) run(Cutting::byte_by_byte);
    worker.now = script.circumstances;  // it is counted modulo 256
    if (script.plan.size != 0 || script.circumstances != 0) run(Cutting::planned);
    return 0;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#if defined(MOTE_REPLAY)
// Without libFuzzer, by any compiler: runs the inputs whose files are the arguments.
int main(int argument_count, char **arguments) {
    static uint8_t data[stream_limit];
    LLVMFuzzerInitialize(&argument_count, &arguments);
    for (int i = 1; i < argument_count; i++) {
        FILE *const file = fopen(arguments[i], "rb");
        if (file == nullptr) return perror(arguments[i]), 1;
        const size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs\n", argument_count - 1);
}
#endif
