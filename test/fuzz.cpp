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
// answers. The plan's first byte is a set of circumstances, the others are used in turn, over and over: they say how
// much arrives at once, how much a send takes, which call is interrupted. Without a plan, all arrives at once and every
// send takes all.
//
// What is a finding, besides what the sanitizers find:
//   - the answers depend on how the stream was cut: it is sent whole, by its plan and, if it is short, byte by byte
//   - the answers are not those that the parser, called without any connection, gives for the whole stream
//   - a request was read otherwise than a plain second reading of its bytes, or a response is not well-formed
//   - a system call that the kernel would refuse, or that reaches outside of the buffer that it is for
//   - a connection that is not closed, or closed before what had arrived was read; a block or a tick that is left over
//   - a peer that stays silent in the middle of a request, and is not answered with 408

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

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
constexpr size_t extended_arrivals = 64;  // a long stream arrives in pieces so many times as large
constexpr uint64_t moment = 784111777;    // the example of RFC 9110 section 5.6.7
constexpr Bytes date_value = "Sun, 06 Nov 1994 08:49:37 GMT"_b;
constexpr Bytes interim = "HTTP/1.1 100 Continue\r\n\r\n"_b;

enum class Cutting : uint8_t { whole, byte_by_byte, planned };
constexpr const char *cutting_names[] = {"whole", "byte by byte", "planned"};

struct Script {
    enum Circumstance : uint8_t {  // a set of them
        ends_late = 1,             // the peer waits for some seconds before it ends its stream
        resets = 1 << 1,           // the peer ends the connection by a reset
        has_no_blocks = 1 << 2,    // other connections have them all
        accepts_late = 1 << 3,     // accept4 fails at first
        stays = 1 << 6,            // the peer neither ends its stream nor sends any more
    };

    uint8_t circumstances;
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
    reading.is_head = line.first(method_size) == "HEAD"_b;
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

void check_request(Bytes head_text, Bytes content, const Head &head, bool is_complete) {
    const Reading reading = read_head(head_text);
    check_head(reading, head);
    if (!is_complete) return;
    if (reading.coding_count != 0) skip_chunked(content);
    else if (content.size < reading.length) fail("content ends early");
    else content = content.after(reading.length);
    if (content.size != 0) fail("content ends late");
}

// ---- The prediction --------------------------------------------------------------------------------------------
// The answers to a stream, from the server's parser and routes but without its connections, and what must be true of
// them.

struct PredictedAnswer {
    size_t end;  // of the response, in the predicted output
    Persistence persistence;
    bool is_head;
    bool is_refused;
    bool may_continue;  // an interim response may stand before this one
};

struct Prediction {
    size_t size;
    size_t count;
    bool may_continue;  // the request at the end is incomplete, and an interim response may have told it to go on
    size_t late_size;   // of the answer to that request if its rest never comes
    char late_output[answer_limit];
    PredictedAnswer answered[stream_limit / 16];
    char output[16 * stream_limit];

    [[nodiscard]] bool ends_connection() const {
        return count != 0 && answered[count - 1].persistence == Persistence::close;
    }

    // Whether the last answer is to a peer that has said itself that no request follows.
    [[nodiscard]] bool asks_for_end() const {
        if (count == 0) return false;
        const PredictedAnswer &last = answered[count - 1];
        return last.persistence == Persistence::close && !last.is_refused;
    }
};
Prediction predicted;
AnswerContext context;

[[nodiscard]] Persistence persistence_of(const Head &head) {
    if (has(head, Head::closes)) return Persistence::close;
    if (!has(head, Head::is_http_1_0)) return Persistence::keep;
    return has(head, Head::keeps_alive) ? Persistence::keep_alive : Persistence::close;
}

// Predicts one request. False if nothing is answered behind it.
[[nodiscard]] bool predict_request(Connection &connection, Cursor &cursor, Answer &answer) {
    const char *const start = cursor.at;
    char *const answer_start = answer.at;
    Head head;
    const Taken taken = take_head(cursor, head);
    const Taken request = take_request(connection, cursor, answer);
    const Parse parse = request.parse;
    cursor.at = request.at;
    if (cursor.at > cursor.end || (cursor.at == start && parse == Parse::complete)) fail("the parser went astray");

    const bool has_head = taken.parse == Parse::complete;
    const bool may_continue = has_head && head.framing != Framing::no_content && has(head, Head::expects_continue) &&
                              !has(head, Head::is_http_1_0);
    if (has_head)
        check_request({start, size_t(taken.at - start)}, {taken.at, size_t(cursor.at - taken.at)}, head,
                      parse == Parse::complete);
    predicted.may_continue = may_continue && parse == Parse::incomplete;
    if (parse == Parse::incomplete) {
        answer.at = answer_start;  // without the interim response
        return false;
    }
    if (parse == Parse::empty_line) return true;
    const bool is_refused = parse == Parse::refused;
    // What the head alone determines; content is refused with other statuses.
    const Status status = request.status;
    const bool is_error_of_head = status == Status::not_found || status == Status::method_not_allowed ||
                                  status == Status::expectation_failed || status == Status::not_implemented;
    if (is_refused) refuse_request(connection, answer, status);
    else if (answer_exchange(connection.exchange, answer) != (persistence_of(head) != Persistence::close))
        fail("the connection's end is not the request's");
    const Persistence persistence = is_refused ? Persistence::close : persistence_of(head);
    if (predicted.count == sizeof predicted.answered / sizeof *predicted.answered) fail("no room for the prediction");
    predicted.answered[predicted.count++] = {size_t(answer.at - predicted.output), persistence,
                                             head.method == Method::head, is_refused,
                                             may_continue && !is_error_of_head};
    return persistence != Persistence::close;
}

void predict() {
    Connection connection{};
    Cursor cursor{script.stream.data, script.stream.data + script.stream.size};
    Answer answer{predicted.output, &context};
    predicted.count = 0;
    predicted.may_continue = false;
    const char *const full = predicted.output + sizeof predicted.output - answer_limit;
    while (cursor.at != cursor.end && predict_request(connection, cursor, answer))
        if (answer.at > full) fail("no room for the prediction");
    predicted.size = size_t(answer.at - predicted.output);
    predicted.late_size = 0;
    if (predicted.ends_connection()) return;
    if (connection.content.state == Content::State::none && (cursor.at == cursor.end || *cursor.at == '\r'))
        return;  // nothing, or half an empty line
    Answer late{predicted.late_output, &context};
    refuse_request(connection, late, Status::request_timeout);
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

struct RunIsOver {};

class Kernel {
public:
    static constexpr int listener = 3, epoll = 4, timer = 5, stop = 6, socket = int(reserved_descriptors);

    size_t sent = 0;  // bytes in `output`

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

    // Between two calls of this, the server may not miss anything of what had arrived before the first.
    long epoll_pwait(const epoll_event *into, long room) {
        if (into != worker.events || room != long(events_per_wait)) fail("a strange epoll_pwait");
        if (choose() % 16 == 11 && may_stall()) return -EINTR;
        for (uint8_t more = choose() % 4; !is_anything_pending() || more == 3; more = 0) proceed();
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
        stalls = 0;
        fence_in(into + size);
        return long(size);
    }

    long sendto(int to, const char *data, size_t size, long flags) {
        check_open(to);
        if (is_shut_down || flags != MSG_NOSIGNAL) fail("a send that would fail or kill");
        check_output(data, size);
        const uint8_t choice = choose();
        if (was_reset) return -EPIPE;
        go_on_meanwhile(choice);
        if (is_full) return -EAGAIN;
        const long taken = portion(choice, size);
        if (taken < 0) return taken;
        if (sent + size_t(taken) > sizeof output) fail("more output than there can be");
        __builtin_memcpy(output + sent, data, size_t(taken));
        sent += size_t(taken);
        stalls = 0;
        is_full = size_t(taken) < size;
        return taken;
    }

    long shutdown(int which, long how) {
        check_open(which);
        if (is_shut_down || how != SHUT_WR) fail("a strange shutdown");
        if (was_reset) return -ENOTCONN;
        is_shut_down = true;
        return 0;
    }

    long close(int descriptor) {
        check_open(descriptor);
        const bool has_failed = was_reset || script.is(Script::has_no_blocks);
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

    // The time stands still, so that all runs give the same Date.
    long clock_gettime(long clock, timespec &now) {
        if (clock != CLOCK_REALTIME) fail("a strange clock_gettime");
        now = {int64_t(moment), 250'000'000};
        return 0;
    }

private:
    static constexpr uint32_t EPOLLERR = 0x8, EPOLLHUP = 0x10;
    static constexpr long EPIPE = 32, ECONNABORTED = 103, ECONNRESET = 104, ENOTCONN = 107;
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

    bool is_listening = true;
    bool is_armed = false, has_expired = false;  // the timer

    bool is_accepted = false, is_open = false, is_shut_down = false;  // the connection
    bool is_registered = false, is_pending = false;
    uint32_t watched = 0;
    bool is_full = false;  // it takes no output
    size_t stalls = 0;     // calls that were kept from their work since bytes went through last

    size_t arrived = 0, received = 0, seen = 0;  // of the stream
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
        if (size == 0) fail("an empty send");
        if (is_within(worker.output)) return;
        const Connection &connection = worker.connections[socket];
        if (worker.find_block(&connection) == block_count || !is_within(worker.block_of(connection).output))
            fail("send outside of the output");
        take_down_fence();  // the input that waits in the block may go back to the input buffer behind this
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
    size_t fence_size() const {
        const size_t left = size_t(worker.input + sizeof worker.input - fence);
        return left < 64 ? left : 64;
    }
    static inline char *fence = nullptr;  // outlives the run, like the buffer
};

Kernel *kernel;

long trap(Sys call, long a, long b, long c, long d, [[maybe_unused]] long e, [[maybe_unused]] long f) {
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
    case Sys::epoll_pwait:
        if (a != Kernel::epoll || d != -1) fail("a strange epoll_pwait");
        return kernel->epoll_pwait(reinterpret_cast<const epoll_event *>(b), c);
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
    static Process process{Kernel::stop, -1, 0, 1, false, false};
    worker.process = &process;
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

void check_output(Bytes rest) {
    size_t begin = 0;
    for (size_t i = 0; i < predicted.count; i++) {
        const PredictedAnswer &answered = predicted.answered[i];
        const Bytes response{predicted.output + begin, answered.end - begin};
        if (!take_interim(rest, answered.may_continue) || !take_expected(rest, response)) return;
        begin = answered.end;
    }
    if (!take_interim(rest, predicted.may_continue)) return;
    if (script.is(Script::stays) && !take_expected(rest, {predicted.late_output, predicted.late_size})) return;
    if (rest.size != 0) fail("more output than expected");
}

void run(Cutting cutting) {
    script.cutting = cutting;
    stranger = script.is(Script::has_no_blocks) ? worker.connections : nullptr;
    for (const Connection *&owner : worker.block_owners) owner = stranger;
    Kernel played;
    kernel = &played;
    try {
        run_worker(worker);
    } catch (const RunIsOver &) {}
    check_worker_at_rest();
    check_output({output, played.sent});
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
    put_head(context.head, moment);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!read_script({reinterpret_cast<const char *>(data), size})) return -1;
    script.cutting = Cutting::whole;
    predict();
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
