// crowd: many connections at once through one worker of mote, on a kernel that this file plays.
//
//   make crowd CROWD_SECONDS=30     # compiles it with limits so small that they are reached all the time
//   ./crowd SECONDS [SEED]          # runs with SEED, SEED + 1 and so on
//
// fuzz.cpp has one connection whose bytes may be anything. Here the bytes are plain, and the connections meet: they
// compete for descriptors, blocks, stashes and timers, and their events come in one batch. A run is one worker from its
// start to its end: either all peers have gone, or the server was told to stop.
//
// Each peer's stream is made together with the answers to it, so nothing here parses requests. What is a finding,
// besides what the sanitizers find:
//   - An answer is wrong or missing, or stands behind the last one.
//   - An answer comes before its delay is over, or a piece of it before its pause is.
//   - A system call that the kernel would refuse, or that reaches outside of its buffer.
//   - A lost wake-up: the worker waits, and input, output or a waiting connection has no event any more.
//   - One connection keeps the worker busy, and nothing goes on.
//   - A connection outlives its time, or is closed before its time without a reason.
//   - A wait that goes on when a timer is due, an event that is lost while an answer is late.
//   - Blocks, stashes, timers, counters or groups do not agree with the connections.
//   - The head that gives way to another one is not the oldest.
//   - The server does not end after the order to stop.
// The first one ends the program, which prints the seed of the run: `./crowd 1 SEED` repeats it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vector>
#undef CLOCK_REALTIME  // server.cpp has constants of these names
#undef CLOCK_MONOTONIC

#define MOTE_HOSTED
#include "../server.cpp"

namespace {

// ---- Chance ----------------------------------------------------------------------------------------------------
// All that is random comes from one generator, so a seed tells a whole run.

uint64_t seed, chance;
unsigned long step;  // system calls of this run

void describe(int descriptor);

[[noreturn]] void fail(const char *what, int descriptor = -1) {
    fprintf(stderr, "crowd: %s\n", what);
    if (descriptor >= 0) describe(descriptor);
    fprintf(stderr, "crowd: seed %llu, step %lu\n", static_cast<unsigned long long>(seed), step);
    abort();
}

uint64_t draw() {  // splitmix64
    uint64_t mixed = chance += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return mixed ^ mixed >> 31;
}
size_t below(size_t limit) { return size_t(draw() % limit); }
size_t between(size_t least, size_t most) { return least + below(most - least + 1); }
bool one_in(size_t count) { return below(count) == 0; }

constexpr int64_t never = INT64_MAX, ms = 1'000'000, second = 1000 * ms;
int64_t now;       // nanoseconds since 1970
int64_t up_since;  // when the system was started; earlier where it was suspended

// Nanoseconds since the system's start.
int64_t monotonic() { return now - up_since; }

// What has been simulated, over all runs.
struct Totals {
    unsigned long runs, connections, requests, refusals, late_requests, evictions, expiries, drains, drain_closes;
    unsigned long stalls, without_block, looks, pauses, resets, lingers, refused_entries;
    unsigned long delays, long_answers, seams, early_answers, asked_resets, last_for_lack, slow_readers, jumps;
};
Totals totals;

// ---- Peers -----------------------------------------------------------------------------------------------------
// What each peer sends and when, and what it is to be answered.

using Text = std::vector<char>;

void append(Text &text, Bytes bytes) { text.insert(text.end(), bytes.data, bytes.data + bytes.size); }
void append(Text &text, const char *more) { append(text, Bytes{more, strlen(more)}); }
template <typename... Values> void append(Text &text, const char *form, Values... values) {
    char line[256];
    snprintf(line, sizeof line, form, values...);
    append(text, static_cast<const char *>(line));
}

// What is asked of the generator.
struct Wish {
    unsigned status = 200;
    unsigned other_status = 0;  // of a percentage of the requests; 0: none
    size_t size = 0;            // of the content
    size_t most = 0;            // of a random size; 0: it is not random
    size_t piece = 0;
    uint64_t length;             // that is declared
    size_t reset_at = SIZE_MAX;  // SIZE_MAX: never
    bool has_far_reset = false;  // the reset would come after the end of the answer
    unsigned pause_ms = 0;
    bool is_cacheable = true, is_chunked = false, has_length = true, is_random = false, has_content = true;
};

struct Asked {
    enum class Content : uint8_t { text, number, echo, generated };

    size_t begin, end;  // in the stream; one that is never whole ends at `unending`
    size_t head_end;
    const char *status;      // of the answer
    const char *allow;       // or nullptr
    const char *connection;  // the answer's field, or nullptr
    const char *text;        // the content; nullptr: the status
    long long number;        // the same, where it is one
    Content content;
    bool is_head, is_refused;
    bool is_old, says_close, says_keep_alive;  // its head
    bool is_last;                              // nothing behind it is answered
    bool may_continue;
    unsigned delay_ms;
    Wish wish;
    int64_t whole_at, date;  // when it was received, in monotonic time and since 1970

    // How much of the stream has come when it is answered.
    [[nodiscard]] size_t due_at() const { return content == Content::echo ? head_end : end; }
    [[nodiscard]] bool is_early() const { return content == Content::echo && head_end != end; }
    [[nodiscard]] bool is_reset() const { return wish.reset_at != SIZE_MAX; }
    [[nodiscard]] bool is_long() const {
        if (content != Content::generated) return false;
        const bool has_pieces = wish.has_content && wish.piece != 0 && wish.piece < wish.size;
        return wish.is_chunked || (wish.has_content && wish.size > answer_content_limit) || has_pieces || is_reset() ||
               wish.has_far_reset;
    }
    [[nodiscard]] bool is_late() const { return delay_ms != 0 || is_long(); }
};
constexpr size_t unending = SIZE_MAX;
constexpr char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr char late_content[] = "408 Request Timeout\r\n";

// What a send has taken of the answer that a peer waits for.
struct Sending {
    size_t begin;      // in the answer
    int64_t at, date;  // in monotonic time, and since 1970
    bool is_joined;    // with the answer before it
    bool has_more;     // MSG_MORE
};

struct Peer {
    enum class End { stays, closes, resets };

    Text stream;
    std::vector<Asked> requests;
    size_t arrived = 0;
    size_t most;               // bytes that it sends at once
    int64_t pause;             // the longest between two of these
    int64_t sends_at = never;  // when it sends or ends next
    bool sends_with_ticks;     // a few bytes arrive together with each tick of the worker's clock
    End end;
    size_t end_at;             // how much of the stream comes before the end
    bool ends_at_once;         // the end comes together with the last byte
    bool is_to_close = false;  // the next request says so
    bool is_polite;            // ends when the server has

    size_t capacity;  // of the socket's send buffer
    size_t room;      // what is free of that
    size_t unread = 0;
    int64_t reads_at = never, read_pause;
    Text output;                    // what the server has sent and no answer was found in yet
    std::vector<Sending> sendings;  // of that
    int64_t sent_at = 0;            // the bytes before these, in monotonic time
    bool is_more_promised = false;
    size_t answered = 0;
    bool has_interim = false;
    bool has_last = false;  // the last answer has come whole
    bool is_late = false;   // a 408 is on the way
    bool may_have_late_content = false;

    // Of the socket.
    int descriptor = -1;
    int64_t begun_at = 0;  // in the queue, then accepted
    bool is_registered = false, is_pending = false, is_shut_down = false, is_full = false;
    uint32_t watched = 0;
    size_t received = 0, received_before = 0;  // now, and before the last recv
    size_t seen = 0;                           // arrived when epoll_pwait returned last
    size_t told = 0;                           // arrived when it returned an event of this one last
    size_t looked = 0;                         // arrived when recv looked last
    size_t nothing_behind = unending;          // where peek has last found nothing
    size_t thrown_away = 0;
    bool is_marked = false, is_mark_hidden = false, has_hidden = false;
    size_t mark = 0, stopped_at = unending;  // where a hidden mark has ended a recv
    bool has_ended = false, was_reset = false, has_told_end = false, has_told_reset = false;
    bool was_short = false;  // the last send was not taken whole
    bool is_to_be_reset = false;
    int smallest_hops = 0;

    // As the observer has seen the connection last.
    Connection::State state = Connection::State::closed;
    int64_t since = 0;          // the last progress that brings new time
    uint8_t limit = 0;          // seconds from then
    int64_t between_since = 0;  // when it was last in no request any more, or was answered
    bool has_begun = false;
    size_t head_begin = unending;
    unsigned long left_step = 0;  // when it left the heads that wait, and whether as the oldest
    bool left_as_oldest = false, left_begun = false;
    bool was_looked_at = false;  // watched anew since
    unsigned events = 0;         // since anything has gone on
    int64_t timer_from = -1;     // when the server looked at the clock, after it had set the timer
    unsigned late_turns = 0;     // waits since the timer is due
};

// The parts of a request head and what they mean for the answer.
void put_head(Peer &peer, Asked &request, const char *method, const char *target, const char *more) {
    const bool is_old = one_in(16), closes = one_in(peer.is_to_close ? 1 : 24), keeps = one_in(8);
    request.is_old = is_old;
    request.says_close = closes;
    request.says_keep_alive = keeps;
    const size_t padding = one_in(3) ? below(200) : 0;
    Text &text = peer.stream;
    append(text, "%s %s HTTP/1.%d\r\n", method, target, is_old ? 0 : 1);
    if (padding % 2 == 1) append(text, "X-Padding: %0*d\r\n", int(padding), 0);
    append(text, one_in(2) ? "Host: a\r\n" : "hOST: localhost:80\r\n");
    if (padding != 0 && padding % 2 == 0) append(text, "X-Padding: %0*d\r\n", int(padding), 0);
    if (keeps) append(text, "Connection: keep-alive\r\n");
    if (closes) append(text, "Connection: close\r\n");
    append(text, more);
    append(text, "\r\n");
    request.head_end = text.size();
    if (closes || (is_old && !keeps)) request.connection = "close";
    else if (is_old) request.connection = "keep-alive";
    request.is_last = closes || (is_old && !keeps);
}

void put_post(Peer &peer, Asked &request) {
    const unsigned addend = unsigned(below(100000));
    char target[32], content[4096], more[64];
    snprintf(target, sizeof target, "/baseline11?n=%u", addend);
    request.content = Asked::Content::number;
    request.number = addend;
    size_t size;
    if (one_in(5)) {
        size = between(1, sizeof content);
        memset(content, 'x', size);  // no integer counts as nothing
    } else {
        const unsigned number = unsigned(below(100000000));
        size = size_t(snprintf(content, sizeof content, "%u", number));
        request.number += number;
    }
    const bool is_chunked = one_in(2);
    request.may_continue = one_in(8);
    const char *const expect = request.may_continue ? "Expect: 100-continue\r\n" : "";
    if (is_chunked) snprintf(more, sizeof more, "%sTransfer-Encoding: chunked\r\n", expect);
    else snprintf(more, sizeof more, "%sContent-Length: %zu\r\n", expect, size);
    put_head(peer, request, "POST", target, more);
    if (is_chunked && request.is_old) {  // HTTP/1.0 has no chunks
        request.status = "400 Bad Request";
        request.connection = "close";
        request.is_refused = request.is_last = true;
        request.content = Asked::Content::text;
        request.text = nullptr;
        request.may_continue = false;
        return;
    }
    if (!is_chunked) return append(peer.stream, Bytes{content, size});
    for (size_t at = 0; at != size;) {
        const size_t piece = between(1, one_in(2) ? size - at : (size - at + 2) / 3);
        append(peer.stream, "%zx%s\r\n", piece, one_in(6) ? ";a=b" : "");
        append(peer.stream, Bytes{content + at, piece});
        append(peer.stream, "\r\n");
        at += piece;
    }
    append(peer.stream, one_in(6) ? "0\r\nX-Trailer: a\r\n\r\n" : "0\r\n\r\n");
}

unsigned draw_ms() {
    return unsigned(one_in(3) ? below(5) : one_in(2) ? below(300) : one_in(8) ? below(40000) : below(4000));
}

// A head, with content of the request in some cases.
void put_any(Peer &peer, Asked &request, const char *target) {
    if (request.is_head || one_in(2)) return put_head(peer, request, request.is_head ? "HEAD" : "GET", target, "");
    constexpr const char *methods[] = {"POST", "PUT", "PATCH", "DELETE"};
    const size_t size = below(100);
    char more[64];
    snprintf(more, sizeof more, "Content-Length: %zu\r\n", size);
    put_head(peer, request, methods[below(4)], target, more);
    peer.stream.insert(peer.stream.end(), size, 'x');
}

void put_delay(Peer &peer, Asked &request) {
    char target[32];
    request.content = Asked::Content::number;
    request.number = request.delay_ms = draw_ms();
    snprintf(target, sizeof target, "/delay/%u", request.delay_ms);
    request.is_head = one_in(8);
    put_head(peer, request, request.is_head ? "HEAD" : "GET", target, "");
}

// Draws a wish, and writes it as a query.
void draw_wish(Asked &request, Text &target) {
    Wish &wish = request.wish;
    bool has_any = false;
    const auto put = [&](const char *form, auto value) {
        append(target, "%c", has_any ? "&?,;/"[below(5)] : '?');
        append(target, form, value);
        has_any = true;
    };
    if (one_in(6)) put("z=%d", 1);
    wish.size = one_in(4) ? 0 : one_in(2) ? below(200) : one_in(2) ? below(3000) : below(12000);
    const bool is_random_size = wish.size != 0 && wish.size <= answer_content_limit && one_in(4);
    if (one_in(10)) put("s=%d", 7);  // the last argument of a name counts
    if (wish.size == 2048) put("s=%s", "2k");
    else if (is_random_size) wish.most = wish.size, put("s=%zur", wish.size);
    else put("s=%zu", wish.size);
    if (one_in(4)) {
        constexpr unsigned statuses[] = {200, 201, 204, 205, 304, 404, 500, 599};
        wish.status = statuses[below(8)];
        put("r=%u", wish.status);
    } else if (one_in(6)) {
        wish.other_status = 503;
        put("r=503:%zu", between(1, 99));
    }
    if (one_in(3)) put("t=%u", request.delay_ms = draw_ms());
    if (one_in(8)) put("c=%d", 0), wish.is_cacheable = false;
    if (one_in(6)) put("R=%d", 1), wish.is_random = true;
    if (is_random_size) return;
    wish.is_chunked = one_in(4);
    if (wish.is_chunked) put("k=%d", 1);
    if (wish.size != 0 && one_in(3)) {
        wish.piece = one_in(3) ? between(1, 20) : between(1, 3000);
        if (one_in(2)) wish.pause_ms = draw_ms() / 4;
        const size_t least = wish.size / (wish.pause_ms > 100 ? 3 : wish.pause_ms != 0 ? 12 : 300) + 1;
        if (wish.piece < least) wish.piece = least;
        put("p=%zu", wish.piece);
        if (wish.pause_ms != 0) put("d=%u", wish.pause_ms);
    }
}

void put_generated(Peer &peer, Asked &request) {
    constexpr size_t shortest_head = 94;
    Text target;
    Wish &wish = request.wish;
    append(target, one_in(3) ? "/" : one_in(2) ? "/a.html" : "/some/where");
    request.content = Asked::Content::generated;
    request.is_head = one_in(8);
    draw_wish(request, target);
    const bool has_content = wish.status != 204 && wish.status != 205 && wish.status != 304;
    const bool asks_for_end = one_in(24), asks_for_more = one_in(12), has_length = wish.most == 0 && one_in(24);
    if (asks_for_end) append(target, "&C=1");
    if (asks_for_more) append(target, "&K=3");
    wish.length = has_length ? below(3) * below(20000) : wish.status == 205 ? 0 : wish.size;
    if (has_length) append(target, "&b=%zu", size_t(wish.length));
    if (one_in(16)) {
        append(target, "&x=1g");
        wish.has_far_reset = true;
    } else if (wish.most == 0 && one_in(12)) {
        wish.reset_at = one_in(4) ? 0 : below(shortest_head + (has_content && !request.is_head ? wish.size : 0));
        append(target, "&x=%zu", wish.reset_at);
    }
    target.push_back('\0');
    put_any(peer, request, target.data());

    const bool is_unsized = (wish.is_chunked && request.is_old) || (has_length && wish.length == 0);
    wish.has_length = !is_unsized && wish.status != 204;
    wish.is_chunked = wish.is_chunked && has_content && !request.is_old;
    wish.has_content = has_content;
    if (wish.status == 204 || wish.status == 205) wish.most = 0;
    const bool closes = asks_for_end || has_length || is_unsized || (request.says_close && !asks_for_more);
    const bool keeps = asks_for_more || request.says_keep_alive;
    request.connection = closes || (request.is_old && !keeps) ? "close" : request.is_old ? "keep-alive" : nullptr;
    request.is_last = closes || (request.is_old && !keeps) || request.is_reset();
}

void put_refused(Peer &peer, Asked &request) {
    Text &text = peer.stream;
    request.connection = "close";
    request.is_refused = request.is_last = true;
    request.status = "400 Bad Request";
    request.text = nullptr;
    switch (below(10)) {
    case 0:
        return append(text, "GET  /pipeline HTTP/1.1\r\nHost: a\r\n\r\n");
    case 1:
        return append(text, "\1\2\3");
    case 2:
        return append(text, "GET /pipeline HTTP/1.1\r\n\r\n");
    case 3:
        return append(text,
                      "POST /baseline11 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n5\r\nx\r\n");
    case 4:
        request.status = "505 HTTP Version Not Supported";
        return append(text, "GET /pipeline HTTP/2.0\r\nHost: a\r\n\r\n");
    case 5:
        request.status = "414 URI Too Long";
        return append(text, "GET /%0*d HTTP/1.1\r\n", int(request_line_limit + 30), 0);
    case 6:
        request.status = "431 Request Header Fields Too Large";
        append(text, "GET /pipeline HTTP/1.1\r\nHost: a\r\n");
        for (size_t at = 0; at < head_limit; at += 100) append(text, "X-Padding: %0*d\r\n", 100, 0);
        return;
    case 7:
        request.status = "413 Content Too Large";
        return append(text, "POST /baseline11 HTTP/1.1\r\nHost: a\r\nContent-Length: 987654321\r\n\r\n");
    case 8:  // its second line may come when the first one is in a stash already
        return append(text, "GET /pipeline HTTP/1.1\r\nHost: a\r\nHost: a\r\n");
    default:
        request.status = "501 Not Implemented";
        return append(text, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    }
}

void put_request(Peer &peer) {
    Asked request{};
    while (one_in(8)) append(peer.stream, "\r\n");
    request.begin = peer.stream.size();
    request.status = "200 OK";
    const unsigned a = unsigned(below(100000)), b = unsigned(below(1000));
    char target[64];
    snprintf(target, sizeof target, one_in(3) ? "/baseline11?n=%u" : "/baseline11?a=%u&b=%u", a, b);
    const bool has_both = strchr(target, '&') != nullptr;
    request.text = "ok";
    switch (below(30)) {
    case 0:
        request.status = "404 Not Found";
        request.text = nullptr;
        put_head(peer, request, "GET", "/nothing", "");
        break;
    case 1:
        request.status = "405 Method Not Allowed";
        request.text = nullptr;
        request.allow = "GET, HEAD, OPTIONS";
        put_head(peer, request, "PUT", "/pipeline", "");
        break;
    case 2:
        request.status = "501 Not Implemented";
        request.text = nullptr;
        put_head(peer, request, "BREW", "/pipeline", "");
        break;
    case 3:
        request.is_head = true;
        put_head(peer, request, "HEAD", "/pipeline", "");
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        put_post(peer, request);
        break;
    case 8:
    case 9:
    case 10:
    case 11:
    case 12:
        request.content = Asked::Content::number;
        request.number = a + (has_both ? b : 0);
        put_head(peer, request, "GET", target, "");
        break;
    case 13:
        if (one_in(4)) {
            put_refused(peer, request);
            break;
        }
        [[fallthrough]];
    default:
        put_head(peer, request, "GET", "/pipeline", "");
        break;
    case 20:
        request.content = Asked::Content::echo;
        request.is_head = one_in(8);
        put_any(peer, request, one_in(2) ? "/echo" : "/echo?s=5");
        break;
    case 21:
        request.status = "400 Bad Request";
        request.text = "bad value: t\n";
        put_any(peer, request, "/?s=5&t=3600001");
        break;
    case 22:
    case 23:
    case 24:
        put_delay(peer, request);
        break;
    case 25:
    case 26:
    case 27:
    case 28:
    case 29:
        put_generated(peer, request);
    }
    request.end = peer.stream.size();
    peer.requests.push_back(request);
}

// Cuts the last request, so that it never comes whole.
void cut_last(Peer &peer) {
    Asked &request = peer.requests.back();
    if (request.is_refused) return;
    peer.stream.resize(between(request.begin + 1, request.end - 1));
    request.end = unending;
    if (peer.stream.size() < request.head_end) request.head_end = unending;
    request.is_last = true;
}

Peer *make_peer() {
    Peer &peer = *new Peer{};
    const size_t count = one_in(4) ? between(1, 60) : one_in(3) ? 0 : between(1, 5);
    while (peer.requests.size() < count && (peer.requests.empty() || !peer.requests.back().is_last)) put_request(peer);
    if (count != 0 && !peer.requests.back().is_last && one_in(4)) {
        peer.is_to_close = true;
        put_request(peer);
    }
    const bool has_last = !peer.requests.empty() && peer.requests.back().is_last;
    if (!has_last && one_in(3)) {
        put_request(peer);
        cut_last(peer);
    } else if (!has_last && one_in(8)) {
        for (size_t lines = one_in(2) ? 0 : below(30); lines != 0; lines--) append(peer.stream, "\r\n");
        append(peer.stream, "\r");
    } else if (has_last && one_in(2)) {  // what nobody looks at
        const size_t size = one_in(3) ? between(1, 2 * linger_limit) : between(1, 200);
        for (size_t i = 0; i < size; i++) peer.stream.push_back("GET / \r\n"[i % 8]);
    }
    peer.most = one_in(4) ? 1 + below(4) : one_in(2) ? 1 + below(200) : 8192;
    peer.pause = one_in(6) ? int64_t(below(2500)) * ms : one_in(2) ? 0 : int64_t(below(100)) * ms;
    peer.sends_at = now + int64_t(below(50)) * ms * int64_t(below(2));
    peer.end = one_in(3) ? Peer::End::stays : one_in(5) ? Peer::End::resets : Peer::End::closes;
    peer.end_at = one_in(8) ? below(peer.stream.size() + 1) : peer.stream.size();
    peer.ends_at_once = one_in(3);
    peer.is_polite = !one_in(3);
    peer.capacity = !one_in(3) ? SIZE_MAX / 4 : one_in(4) ? between(1, 300) : between(1, 5000);
    peer.room = peer.capacity;
    peer.read_pause = one_in(5) ? never : one_in(4) ? 2 * second : 50 * ms;
    peer.begun_at = now;
    peer.sends_with_ticks = one_in(12);
    return &peer;
}

// ---- Answers ---------------------------------------------------------------------------------------------------
// What a peer has received is compared with what it is to be answered.

// An answer, with NUL in the place of the date and of random content.
struct Expected {
    struct Seam {
        size_t offset;
        unsigned pause_ms;
    };

    Text text;
    std::vector<Seam> seams;  // where a send begins, so long after the one before it
};

void append_content(Expected &expected, const Wish &wish) {
    Text &text = expected.text;
    const size_t piece = wish.piece == 0 || wish.piece > wish.size ? wish.size : wish.piece;
    for (size_t begin = 0; begin != wish.size;) {
        const size_t end = wish.size - begin < piece ? wish.size : begin + piece;
        if (begin != 0 && (!wish.is_chunked || wish.pause_ms != 0))
            expected.seams.push_back({text.size(), wish.pause_ms});
        if (wish.is_chunked) append(text, "%zx\r\n", end - begin);
        for (size_t i = begin; i != end; i++)
            text.push_back(wish.is_random ? '\0' : i % 50 == 49 ? '\n' : i % 10 == 0 ? '.' : char('0' + i % 10));
        if (wish.is_chunked) append(text, "\r\n");
        begin = end;
    }
    if (wish.is_chunked) append(text, "0\r\n\r\n");
}

Expected expected_generated(const Asked &request, unsigned status, const char *connection) {
    Expected expected;
    Text &text = expected.text;
    const Wish &wish = request.wish;
    append(text, "HTTP/1.1 %u \r\nServer: mote\r\nContent-Type: text/plain\r\nDate: ", status);
    text.insert(text.end(), date_size, '\0');
    append(text, "\r\n");
    if (!wish.is_cacheable) append(text, "Cache-Control: no-cache\r\n");
    if (wish.is_chunked) append(text, "Transfer-Encoding: chunked\r\n");
    else if (wish.has_length) append(text, "Content-Length: %llu\r\n", static_cast<unsigned long long>(wish.length));
    if (connection != nullptr) append(text, "Connection: %s\r\n", connection);
    append(text, "\r\n");
    if (!request.is_head && wish.has_content) append_content(expected, wish);
    if (request.is_reset()) {
        if (text.size() < wish.reset_at) fail("the crowd asks for a reset behind the end");
        text.resize(wish.reset_at);
        while (!expected.seams.empty() && expected.seams.back().offset >= wish.reset_at) expected.seams.pop_back();
    }
    return expected;
}

Expected expected_answer(const Peer &peer, const Asked &request, const char *status, const char *connection) {
    if (request.content == Asked::Content::generated && status == request.status)
        return expected_generated(request, request.wish.status, connection);
    Expected expected;
    Text &text = expected.text, content;
    const bool is_own = status == request.status;
    if (!is_own || request.text == nullptr) append(content, "%s\r\n", status);
    else if (request.content == Asked::Content::number) append(content, "%lld", request.number);
    else if (request.content == Asked::Content::echo && request.head_end != unending)
        append(content, Bytes{peer.stream.data() + request.begin, request.head_end - request.begin});
    else append(content, request.text);
    append(text, "HTTP/1.1 %s\r\nServer: mote\r\nContent-Type: text/plain\r\nDate: ", status);
    text.insert(text.end(), date_size, '\0');
    append(text, "\r\nContent-Length: %zu\r\n", content.size());
    if (request.allow != nullptr && is_own) append(text, "Allow: %s\r\n", request.allow);
    if (connection != nullptr) append(text, "Connection: %s\r\n", connection);
    append(text, "\r\n");
    if (!request.is_head) append(text, Bytes{content.data(), content.size()});
    return expected;
}

enum class Match { none, part, whole };

Match match(const Text &output, Bytes expected) {
    const size_t size = output.size() < expected.size ? output.size() : expected.size;
    for (size_t i = 0; i < size; i++)
        if (expected.data[i] != '\0' && output[i] != expected.data[i]) return Match::none;
    return size == expected.size ? Match::whole : Match::part;
}

void check_date(const Peer &peer, int64_t since, const Text &expected) {
    const void *const place = memchr(expected.data(), '\0', expected.size());
    if (place == nullptr || size_t(expected.data() + expected.size() - static_cast<const char *>(place)) < date_size)
        return;  // none, or one that is cut by a reset
    const char *const at = peer.output.data() + (static_cast<const char *>(place) - expected.data());
    char date[date_size + 1] = {}, again[date_size + 1];
    memcpy(date, at, date_size);
    tm parts{};
    const char *const end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    const int64_t moment = end == nullptr ? 0 : int64_t(timegm(&parts));
    strftime(again, sizeof again, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    if (end == nullptr || *end != '\0' || strcmp(date, again) != 0) fail("a date that is none", peer.descriptor);
    const int64_t until = peer.sendings.front().date;  // the head does not change while it is sent
    if (moment > until / second || moment < since / second - 2) fail("a wrong date", peer.descriptor);
}

bool is_draining;
uint32_t stash_limit;  // how many there are
Worker worker;
Block blocks[block_count];
Stash stashes[stash_count];
char run_memory[run_size];

// Whether input that is no empty line had been received behind the request.
bool has_rest(const Peer &peer, const Asked &request) {
    if (request.end >= peer.received) return false;
    const char *at = peer.stream.data() + request.end, *const end = peer.stream.data() + peer.received;
    while (end - at >= 2 && at[0] == '\r' && at[1] == '\n') at += 2;
    return at < end;
}

// Finds the size of the content, where that is random. False if the output does not tell it yet.
bool find_size(const Peer &peer, Wish &wish) {
    constexpr char field[] = "Content-Length: ";
    if (wish.most == 0) return true;
    Text text = peer.output;
    text.push_back('\0');
    const char *const at = strstr(text.data(), field);
    if (at == nullptr || strchr(at, '\r') == nullptr) return false;
    const size_t size = strtoull(at + strlen(field), nullptr, 10);
    if (size <= wish.most) wish.size = wish.length = size;
    return true;
}

// When and how the parts of the answer were sent.
void check_times(const Peer &peer, const Asked &request, const Expected &expected) {
    const std::vector<Sending> &sendings = peer.sendings;
    if (request.delay_ms != 0) {
        totals.delays++;
        const int64_t from = peer.sent_at > request.whole_at ? peer.sent_at : request.whole_at;
        if (sendings.front().is_joined) fail("a late answer is sent with the one before it", peer.descriptor);
        if (sendings.front().at < from + request.delay_ms * ms) fail("an answer comes early", peer.descriptor);
    }
    size_t index = 1;
    for (const Expected::Seam &seam : expected.seams) {
        while (index < sendings.size() && sendings[index].begin < seam.offset) index++;
        if (index == sendings.size() || sendings[index].begin != seam.offset)
            fail("two pieces are sent together", peer.descriptor);
        const Sending &before = sendings[index - 1];
        if (before.has_more) fail("a piece is kept for the next one", peer.descriptor);
        if (sendings[index].at < before.at + seam.pause_ms * ms) fail("a piece comes early", peer.descriptor);
        totals.seams++;
    }
    if (request.is_long()) totals.long_answers++;
}

// Takes the next answer off the peer's output. False if it has not come whole.
bool take_answer(Peer &peer) {
    bool is_part = false;
    const auto is_next = [&](const Text &expected) {
        const Match result = match(peer.output, {expected.data(), expected.size()});
        is_part |= result == Match::part;
        if (result != Match::whole) return false;
        const bool is_whole = peer.answered < peer.requests.size() && peer.requests[peer.answered].date != 0;
        check_date(peer, is_whole ? peer.requests[peer.answered].date : peer.begun_at, expected);
        peer.output.erase(peer.output.begin(), peer.output.begin() + long(expected.size()));
        return true;
    };
    // What is left belongs to the next answer.
    const auto begin_next = [&] {
        const Sending last = peer.sendings.back();
        peer.sendings.clear();
        peer.sent_at = last.at;
        if (!peer.output.empty()) peer.sendings.push_back({0, last.at, last.date, true, last.has_more});
    };
    Text text;
    if (peer.has_last) {
        append(text, late_content);
        if (!peer.may_have_late_content || !is_next(text)) {
            if (!peer.may_have_late_content || !is_part) fail("output behind the last answer", peer.descriptor);
            return false;
        }
        return peer.may_have_late_content = false, true;
    }
    if (peer.answered == peer.requests.size()) fail("an answer to no request", peer.descriptor);
    Asked &request = peer.requests[peer.answered];
    append(text, static_cast<const char *>(interim));
    if (request.may_continue && !peer.has_interim && is_next(text)) return begin_next(), peer.has_interim = true;
    if (!find_size(peer, request.wish)) return false;
    const auto is_answer = [&](const char *status, const char *connection) {
        Expected expected = expected_answer(peer, request, status, connection);
        bool is = is_next(expected.text);
        if (!is && request.wish.other_status != 0 && status == request.status) {
            expected = expected_generated(request, request.wish.other_status, connection);
            is = is_next(expected.text);
        }
        if (!is) return false;
        const bool is_own = status == request.status;
        if (is_own) check_times(peer, request, expected);
        begin_next();
        peer.answered += is_own;
        return true;
    };
    const bool is_incomplete = peer.received > request.begin && peer.received < request.end;
    if (peer.is_late && is_answer("408 Request Timeout", "close")) {
        if (!is_incomplete) fail("a 408 without an incomplete request", peer.descriptor);
        peer.has_last = true;
        peer.may_have_late_content = request.is_head;  // how much of the head tells its method is not known here
        totals.late_requests++;
        return true;
    }
    if (peer.is_late && is_part) return false;
    if (request.wish.reset_at != 0 && is_answer(request.status, request.connection)) {
        const bool may_be_early = request.is_refused && peer.received > request.begin;
        if (peer.received < request.due_at() && !may_be_early) fail("an answer before its request", peer.descriptor);
        peer.has_last = request.is_last;
        (request.is_refused ? totals.refusals : totals.requests)++;
        totals.early_answers += request.is_early();
        peer.has_interim = false;
        return true;
    }
    const bool may_lack_block = request.is_late() && request.wish.reset_at != 0 && has_rest(peer, request);
    const bool may_be_drained = is_draining && request.wish.reset_at != 0 && !request.is_refused;
    if ((may_be_drained || may_lack_block) && is_answer(request.status, "close")) {
        const bool was_told = peer.told > peer.received && peer.stopped_at != peer.received;
        const bool is_looked_at = peer.nothing_behind == request.end || (request.is_late() && !was_told);
        if (!may_lack_block && !is_looked_at) fail("a last answer while more had arrived", peer.descriptor);
        peer.has_last = true;
        totals.requests++;
        (may_lack_block ? totals.last_for_lack : totals.drain_closes)++;
        return true;
    }
    if (!is_part) {
        const Bytes shown{peer.output.data(), peer.output.size()};
        fprintf(stderr, "%.*s\n", int(shown.size), shown.data);
        fail("another answer than expected", peer.descriptor);
    }
    return false;
}

// How many requests have been received whole.
size_t count_whole(const Peer &peer) {
    size_t count = 0;
    for (const Asked &request : peer.requests) {
        if (request.end > peer.received) break;
        count++;
        if (request.is_last) break;
    }
    return count;
}

// How many requests are to be answered, unless they have to wait for a late answer.
size_t count_due(const Peer &peer) {
    const size_t count = count_whole(peer);
    if (count == peer.requests.size() || (count != 0 && peer.requests[count - 1].is_last)) return count;
    return count + (peer.requests[count].due_at() <= peer.received);
}

// ---- The kernel ------------------------------------------------------------------------------------------------
// One listener, one epoll, the timers, and the sockets of all peers. As in the kernel, an event is only the occasion on
// which to look: what is reported is what is ready when epoll_pwait looks, and is watched for.

struct RunIsOver {};

class Kernel {
public:
    static constexpr int listener = 3, epoll = 4, timer = 5, stop = 6, room_timer = 7, run_file = 8, first_socket = 9;
    static constexpr int descriptor_count = 192;

    Process process{};

    Kernel() {
        is_local = one_in(3);
        process.stop = stop;
        process.room = is_local || one_in(3) ? room_timer : -1;
        process.running_workers = 1;
        process.is_inherited = one_in(4);
        process.run_file = run_file;
        process.run_memory = run_memory;
        first_free = one_in(10) ? 110 : first_socket;
        descriptor_limit = one_in(4) ? first_free + int(between(6, 24)) : descriptor_count;
        peers_left = between(20, 150);
        next_peers_at = now;
        is_to_stop = one_in(2);
        stop_at = is_to_stop ? now + int64_t(below(12000)) * ms : never;
    }
    Kernel(const Kernel &) = delete;
    ~Kernel() {
        for (Peer *peer : peers) delete peer;
    }

    long accept4(int from, long flags) {
        enter_call();
        last_accept = step;
        if (from != listener || !is_listener_open || flags != SOCK_NONBLOCK) fail("a strange accept4");
        if (one_in(40)) {
            constexpr long reasons_to_fail[] = {-EMFILE, -ENFILE, -ECONNABORTED, -EINTR, -ENOBUFS};
            return reasons_to_fail[below(5)];
        }
        if (queue.empty()) return -EAGAIN;
        int descriptor = first_free;
        while (sockets[descriptor] != nullptr) descriptor++;
        if (descriptor >= descriptor_limit) return -EMFILE;
        Peer &peer = *queue.front();
        queue.erase(queue.begin());
        queue_moved_at = now;
        sockets[descriptor] = &peer;
        peer.descriptor = descriptor;
        peer.begun_at = peer.between_since = now;
        peer.smallest_hops = smallest_hops;
        renew(peer, head_timeout_s);
        totals.connections++;
        return descriptor;
    }

    long epoll_ctl(int of, int operation, int descriptor, const epoll_event &event) {
        enter_call();
        if (of != epoll || int(event.data) != descriptor) fail("a strange epoll_ctl", descriptor);
        if (descriptor == listener) return watch_listener(operation, event.events);
        Peer &peer = open_peer(descriptor);
        if (operation != (peer.is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD)) fail("a bad epoll_ctl", descriptor);
        if ((event.events & EPOLLET) == 0) fail("a socket is not edge-triggered", descriptor);
        if (!peer.is_registered) {
            if (one_in(100)) return one_in(2) ? -ENOMEM : -ENOSPC;
            accepted++;
            totals.resets += peer.was_reset;
        }
        peer.was_looked_at |= peer.is_registered && in_tick;
        peer.is_registered = true;
        peer.watched = event.events;
        meanwhile();
        peer.is_pending = ready(peer) != 0;
        return 0;
    }

    long epoll_pwait(const epoll_event *into, long room) {
        enter_call();
        if (worker.timer_count != 0) fail("a wait without a limit while timers are set");
        return wait(into, room, never);
    }

    long epoll_pwait2(const epoll_event *into, long room, const timespec &limit) {
        enter_call();
        if (limit.tv_sec < 0 || limit.tv_nsec < 0 || limit.tv_nsec >= second) fail("a strange epoll_pwait2");
        const int64_t limit_ns = limit.tv_sec * second + limit.tv_nsec;
        check_limit(limit_ns);
        return wait(into, room, now + limit_ns);
    }

    // Waits for events, or until a time.
    long wait(const epoll_event *into, long room, int64_t end) {
        if (into != worker.events || room < 1 || room > long(events_per_wait)) fail("a strange place for events");
        check_everything();
        if (one_in(60)) return -EINTR;
        for (size_t more = below(6); more != 0; more--) proceed();
        do expire_timers();
        while (!is_anything_to_report() && now < end && advance(end));
        // The process is stopped, or does not get the processor.
        if (one_in(300)) up_since -= int64_t(below(50)) * 360 * second, totals.jumps++;
        else if (one_in(20)) up_since -= int64_t(below(1000)) * ms;
        return report(room);
    }

    long recvfrom(int from, char *into, size_t room, long flags) {
        enter_call();
        Peer &peer = open_peer(from);
        if (flags == MSG_PEEK) return peek(peer);
        const size_t offset = size_t(into - worker.input);
        if (offset >= input_size || room == 0 || room > input_size - offset) fail("recv outside of its buffer", from);
        if (one_in(50)) return -EINTR;
        meanwhile();
        peer.looked = peer.arrived;
        size_t size = peer.arrived - peer.received;
        if (peer.is_marked && peer.received >= peer.mark) peer.is_marked = false;
        const bool ends_at_mark = peer.is_marked && peer.received + size >= peer.mark;
        if (ends_at_mark) size = peer.mark - peer.received;
        if (size > room) size = room;
        else if (ends_at_mark && peer.is_mark_hidden) peer.stopped_at = peer.mark;
        if (size == 0) return peer.has_ended ? tell_end(peer) : -EAGAIN;
        memcpy(into, peer.stream.data() + peer.received, size);
        peer.received_before = peer.received;
        peer.received += size;
        peer.events = 0;
        peer.timer_from = -1;
        for (Asked &request : peer.requests)
            if (request.date == 0 && request.end <= peer.received) request.date = now, request.whole_at = monotonic();
        if (peer.is_shut_down) peer.thrown_away += size;
        else bytes_in += size;
        meanwhile();
        return long(size);
    }

    long sendto(int to, const char *data, size_t size, long flags) {
        enter_call();
        Peer &peer = open_peer(to);
        if ((flags & ~MSG_MORE) != MSG_NOSIGNAL) fail("a send that would kill", to);
        const bool is_early_end = size == 0 && peer.answered != 0 && peer.requests[peer.answered - 1].is_early();
        if (size == 0 && !is_early_end) fail("an empty send", to);
        const bool is_new = check_output(peer, data, size);
        const bool is_late = is_new && size > 12 && memcmp(data, "HTTP/1.1 408", 12) == 0;
        if (is_late) check_late(peer);
        return send(peer, data, size, is_new, is_late, (flags & MSG_MORE) != 0);
    }

    long sendfile(int to, int file, const int64_t *offset, size_t size) {
        enter_call();
        Peer &peer = open_peer(to);
        if (file != run_file || *offset < 0 || size == 0 || size_t(*offset) > run_size ||
            size > run_size - size_t(*offset))
            fail("a strange sendfile", to);
        return send(peer, run_memory + *offset, size, true, false, false);
    }

    long send(Peer &peer, const char *data, size_t size, bool is_new, bool is_late, bool has_more) {
        if (peer.is_shut_down) fail("a send behind the end", peer.descriptor);
        const bool is_produced = peer.answered < count_whole(peer) && peer.requests[peer.answered].is_long();
        if (is_new && !is_late) {
            renew(peer,
                  worker.connections[peer.descriptor].state == State::producing ? send_timeout_s : idle_timeout_s);
            peer.between_since = now;
        }
        peer.timer_from = -1;
        meanwhile();
        if (peer.was_reset) return tell_reset(peer) != 0 ? -ECONNRESET : -EPIPE;
        const long taken = size == 0 ? 0 : take(peer, size);
        peer.was_short = taken != long(size);
        if (is_new && peer.was_short && !is_produced) stalled++, totals.stalls++;
        if (taken < 0) return taken;
        bytes_out += size_t(taken);
        peer.events = 0;
        peer.is_more_promised = has_more && !peer.was_short;
        if (taken != 0) peer.sendings.push_back({peer.output.size(), monotonic(), now, false, peer.is_more_promised});
        append(peer.output, Bytes{data, size_t(taken)});
        while (!peer.output.empty() && take_answer(peer)) {}
        if (is_draining && !is_stop_in_batch && is_new && !peer.was_short) check_answer_of_drain(peer);
        return taken;
    }

    long ioctl(int of, long request, uint32_t &size) {
        enter_call();
        Peer &peer = open_peer(of);
        if (request != SIOCOUTQ) fail("a strange ioctl", of);
        size = uint32_t(peer.unread);
        return 0;
    }

    long shutdown(int which, long how) {
        enter_call();
        if (which == listener) {
            if (!is_local || !is_listener_open || how != SHUT_RD || is_listener_shut) fail("a strange shutdown");
            is_listener_shut = true;
            return 0;
        }
        Peer &peer = open_peer(which);
        if (peer.is_shut_down || how != SHUT_WR) fail("a strange shutdown", which);
        if (ends_without_answer(peer)) {
            peer.has_last = peer.requests[peer.answered - 1].is_refused = true;
            totals.expiries++;
        }
        if (!peer.output.empty() || !peer.has_last) {
            if (!peer.was_reset) fail("an end of stream before the last answer", which);
        }
        peer.is_more_promised = false;
        if (peer.was_reset) return -ENOTCONN;
        peer.is_shut_down = true;
        totals.lingers++;
        if (one_in(2)) peer.is_pending = true;  // it wakes all that wait for the socket
        if (peer.is_polite && !peer.has_ended) {
            peer.end = Peer::End::closes;
            peer.end_at = peer.arrived;
            peer.sends_at = now + int64_t(below(500)) * ms;
        }
        return 0;
    }

    long close(int descriptor) {
        enter_call();
        if (descriptor == listener) return close_listener();
        Peer &peer = open_peer(descriptor);
        check_close(peer);
        if (peer.is_registered) {
            closed++;
            last_close = step;
            closed_requests_least += answered_requests(peer);
            closed_requests_most += whole_requests(peer);
        }
        sockets[descriptor] = nullptr;
        forget(peer);
        return 0;
    }

    long setsockopt(int of, long level, long option, const int *values, long size) {
        enter_call();
        if (size != 2 * sizeof(int)) fail("a strange setsockopt", of);
        const bool is_hops =
            (level == IPPROTO_IP && option == IP_MINTTL) || (level == IPPROTO_IPV6 && option == IPV6_MINHOPCOUNT);
        if (is_hops && is_local) return -EOPNOTSUPP;
        if (of == listener && is_listener_open && is_hops) {
            smallest_hops = values[0];
            return 0;
        }
        Peer &peer = open_peer(of);
        if (is_hops) peer.smallest_hops = values[0];
        else if (level == SOL_SOCKET && option == SO_LINGER && values[0] == 1 && values[1] == 0)
            peer.is_to_be_reset = true;
        else fail("a strange setsockopt", of);
        return 0;
    }

    long timerfd_settime(int which, long flags, const itimerspec &when) {
        enter_call();
        const int64_t after_ns = when.it_value.tv_sec * second + when.it_value.tv_nsec;
        const bool is_known = which == timer || (which == process.room && process.room >= 0);
        if (!is_known || flags != 0 || when.it_interval.tv_sec != 0 || when.it_interval.tv_nsec != 0 || after_ns <= 0 ||
            after_ns > second)
            fail("a strange timerfd_settime");
        if (which == timer) timer_at = now + after_ns, has_timer_expired = false;
        else is_room_told = true;
        return 0;
    }

    long clock_gettime(long clock, timespec &into) {
        enter_call();
        if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) fail("a strange clock_gettime");
        now += 1000;  // a call takes its time
        const int64_t time = clock == CLOCK_REALTIME ? now : monotonic();
        into = {time / second, time % second};
        if (clock == CLOCK_REALTIME) return 0;
        for (Peer *peer : sockets)
            if (peer != nullptr && peer->timer_from < 0) peer->timer_from = time;
        clock_read_at = time;
        return 0;
    }

    [[noreturn]] void exit_group(int status) {
        enter_call();
        if (status != 0 || !is_draining) fail("a strange exit_group");
        if (is_listener_open) fail("the server ends with its listener open");
        for (const Peer *peer : sockets)
            if (peer != nullptr) fail("the server ends with an open connection", peer->descriptor);
        totals.drains++;
        throw RunIsOver{};
    }

    Peer *sockets[descriptor_count + 1] = {};

private:
    using State = Connection::State;
    static constexpr long ENOENT = 2, ENOMEM = 12, ENFILE = 23, ENOSPC = 28, EPIPE = 32;
    static constexpr long ECONNABORTED = 103, ECONNRESET = 104, ENOTCONN = 107;
    static constexpr unsigned long step_limit = 3'000'000;

    bool is_local;  // a Unix socket
    bool is_listener_open = true, is_listener_shut = false, is_listening = true;
    bool was_queue_refused = false;  // the last epoll_ctl that was to watch it failed
    int smallest_hops = 0;
    std::vector<Peer *> peers, queue, heads;  // all; not accepted yet; receiving_head, oldest first
    int first_free, descriptor_limit;
    size_t peers_left;
    int64_t next_peers_at;
    int64_t queue_moved_at = now;  // when the queue was last empty or had to wait, or one of it was accepted

    int64_t timer_at = never, stop_at, stopped_at = never;
    int64_t clock_read_at = 0;  // by the server, in monotonic time
    bool has_timer_expired = false, is_room_told = false, has_stop_expired = false, is_to_stop;
    bool in_tick = false;           // the last batch had a tick
    bool is_stop_in_batch = false;  // what stands before it goes on as if there were none
    unsigned long last_close = 0, last_pause = 0, last_accept = 0;
    unsigned long room_told = 0;  // when another worker's lack of room was reported last, while this one accepts
    unsigned idle_ticks = 0;      // without anybody

    uint64_t bytes_in = 0, bytes_out = 0, accepted = 0, closed = 0, stalled = 0;
    uint64_t closed_requests_least = 0, closed_requests_most = 0;

    void enter_call() {
        if (++step > step_limit) fail("an endless loop");
        observe();
    }

    Peer &open_peer(int descriptor) {
        if (descriptor < first_free || descriptor >= descriptor_count || sockets[descriptor] == nullptr)
            fail("a system call on a descriptor that is not open", descriptor);
        return *sockets[descriptor];
    }

    void forget(Peer &peer) {
        for (size_t i = 0; i < peers.size(); i++) {
            if (peers[i] != &peer) continue;
            peers[i] = peers.back();
            peers.pop_back();
            break;
        }
        delete &peer;
    }

    long watch_listener(int operation, uint32_t events) {
        if (!is_listener_open) fail("an epoll_ctl on a listener that is not open");
        if (operation == EPOLL_CTL_DEL) {
            last_pause = step;
            if (!is_listening) return -ENOENT;
            is_listening = false;
            totals.pauses++;
            return 0;
        }
        if (operation != EPOLL_CTL_ADD || is_listening || events != listening_events) fail("a bad epoll_ctl", listener);
        was_queue_refused = one_in(20);
        if (was_queue_refused) return -ENOMEM;
        is_listening = true;
        return 0;
    }

    long close_listener() {
        if (!is_listener_open || !is_draining) fail("the listener is closed");
        if (is_listening) fail("the listener is closed and watched");
        if (!queue.empty() && !process.is_inherited) fail("connections that wait are reset");
        is_listener_open = false;
        for (Peer *peer : queue) forget(*peer);
        queue.clear();
        return 0;
    }

    // What has come behind `received` is told once.
    long peek(Peer &peer) {
        peer.looked = peer.arrived;
        if (peer.arrived != peer.received) return totals.looks++, 1;
        peer.nothing_behind = peer.received;
        return peer.has_ended ? tell_reset(peer) : -EAGAIN;
    }
    long tell_end(Peer &peer) {
        if (const long result = tell_reset(peer); result != 0) return result;
        peer.has_told_end = true;
        return 0;
    }
    long tell_reset(Peer &peer) {
        if (!peer.was_reset || peer.has_told_reset) return 0;
        peer.has_told_reset = true;
        return -ECONNRESET;
    }

    // Output comes from the worker's buffer or from the connection's block. Whether it is new.
    bool check_output(const Peer &peer, const char *data, size_t size) {
        const auto is_within = [&](const char *buffer) {
            return data >= buffer && data < buffer + output_room && size <= size_t(buffer + output_room - data);
        };
        if (is_within(worker.output)) return true;
        const Connection &connection = worker.connections[peer.descriptor];
        if (worker.find_block(&connection) == worker.block_limit || !is_within(worker.block_of(connection).output))
            fail("send outside of its buffer", peer.descriptor);
        return false;
    }

    // How much of a send is taken, or -errno.
    long take(Peer &peer, size_t size) {
        if (one_in(50)) return -EINTR;
        if (peer.capacity == SIZE_MAX / 4 && !one_in(40)) return long(size);
        size_t taken = size < peer.room ? size : peer.room;
        if (one_in(10)) taken = below((taken > 150 && one_in(2) ? 150 : taken) + 1);  // within the head
        if (taken < peer.room && taken < size) peer.room = taken;
        peer.room -= taken;
        peer.unread += taken;
        peer.is_full = taken < size;
        if (peer.reads_at == never && peer.read_pause != never)
            peer.reads_at = now + int64_t(below(size_t(peer.read_pause)));
        return taken == 0 ? -EAGAIN : long(taken);
    }

    // What tcp_poll says and the worker watches for.
    uint32_t ready(const Peer &peer) const {
        uint32_t events = 0;
        if (peer.arrived != peer.received || peer.has_ended) events |= EPOLLIN;
        if (peer.has_ended) events |= EPOLLRDHUP;
        if (peer.is_marked && !peer.is_mark_hidden) events |= EPOLLPRI;
        if (!peer.is_full || peer.is_shut_down) events |= EPOLLOUT;
        if (peer.has_ended && peer.is_shut_down) events |= EPOLLHUP;
        if (peer.was_reset) events |= EPOLLERR | EPOLLHUP | EPOLLOUT;
        return peer.is_registered ? events & (peer.watched | EPOLLERR | EPOLLHUP) : 0;
    }
    bool is_to_report(const Peer &peer) const { return peer.is_pending && ready(peer) != 0; }
    bool is_listener_ready() const { return is_listening && (!queue.empty() || is_listener_shut); }
    bool is_anything_to_report() const {
        if (has_timer_expired || has_stop_expired || is_room_told || is_listener_ready()) return true;
        for (const Peer *peer : sockets)
            if (peer != nullptr && is_to_report(*peer)) return true;
        return false;
    }

    // Fills in events in any order, as many as there is room for. The others stay for the next time.
    long report(long room) {
        std::vector<epoll_event> events;
        const auto add = [&](int descriptor, uint32_t what) { events.push_back({what, uint64_t(descriptor)}); };
        if (has_timer_expired) add(timer, EPOLLIN);
        if (has_stop_expired) add(stop, EPOLLIN);
        if (is_room_told) add(room_timer, EPOLLIN);
        if (is_listener_ready()) add(listener, EPOLLIN);
        for (Peer *peer : sockets) {
            if (peer == nullptr) continue;
            if (is_to_report(*peer)) add(peer->descriptor, ready(*peer));
            else peer->is_pending = false;
            peer->seen = peer->arrived;
        }
        for (size_t i = events.size(); i > 1; i--) {
            const size_t other = below(i);
            const epoll_event moved = events[i - 1];
            events[i - 1] = events[other];
            events[other] = moved;
        }
        long count = 0;
        in_tick = is_stop_in_batch = false;
        room_told = 0;
        for (const epoll_event &event : events) {
            if (count == room) break;
            worker.events[count++] = event;
            const int descriptor = int(event.data);
            if (descriptor >= first_free) {
                Peer &peer = *sockets[descriptor];
                peer.told = peer.arrived;
                if (++peer.events > 200) fail("events without end", descriptor);
            }
            if (descriptor == timer || descriptor == stop) in_tick = true;
            if (descriptor == timer) has_timer_expired = false;
            else if (descriptor == stop) has_stop_expired = false, is_draining = is_stop_in_batch = true;
            else if (descriptor == room_timer) is_room_told = false, room_told = is_listening ? step : 0;
            else if (descriptor != listener) sockets[descriptor]->is_pending = false;
        }
        return count;
    }

    void expire_timers() {
        if (timer_at <= now) timer_at = never, has_timer_expired = true;
        if (stop_at > now) return;
        stop_at = never;
        has_stop_expired = true;
        stopped_at = now;
        peers_left += below(60);
    }

    // Whether a new connection comes into the queue: behind the order to stop only where its handshake had begun.
    bool may_begin() const {
        if (!is_listener_open || is_listener_shut) return false;
        return process.is_inherited || stopped_at == never || now < stopped_at + 260 * ms;
    }

    void begin_peers() {
        if (peers_left == 0 || now < next_peers_at) return;
        for (size_t count = one_in(3) ? between(1, 30) : between(1, 4); count != 0 && peers_left != 0; count--) {
            peers_left--;
            if (!may_begin()) continue;
            Peer *const peer = make_peer();
            peers.push_back(peer);
            queue.push_back(peer);
        }
        next_peers_at = now + int64_t(below(1500)) * ms;
    }

    // Something happens.
    void proceed() {
        begin_peers();
        if (process.room >= 0 && one_in(200)) is_room_told = true;  // another worker has no room
        if (process.room >= 0 && !queue.empty() && one_in(100)) {   // or has taken a connection
            Peer *const peer = queue.back();
            queue.pop_back();
            forget(*peer);
        }
        if (!peers.empty()) act(*peers[below(peers.size())]);
    }

    // What happens between a report of epoll_pwait and a system call that follows it.
    void meanwhile() {
        if (one_in(6) && !peers.empty()) act(*peers[below(peers.size())]);
    }

    // The time goes on to the next thing that happens, at most to the end of the wait. False if nothing does any more.
    bool advance(int64_t end) {
        int64_t next = timer_at < stop_at ? timer_at : stop_at;
        if (end < next) next = end;
        for (const Peer *peer : peers) {
            if (peer->sends_at < next) next = peer->sends_at;
            if (peer->reads_at < next) next = peer->reads_at;
        }
        if (peers_left != 0 && next_peers_at < next) next = next_peers_at;
        if (next == never) end_quietly();
        if (next > now) now = next;
        if (next == end) now += int64_t(below(100000));  // a wait is longer than its limit
        if (next == timer_at)
            for (Peer *peer : peers)
                if (peer->sends_with_ticks && peer->sends_at == never && peer->arrived < peer->end_at)
                    peer->sends_at = now;
        if (next == timer_at) now += 1000 + int64_t(below(100000));  // an interrupt is later than its timer
        if (next == timer_at && one_in(4))
            now += int64_t(below(is_draining ? 20 : worker.overdue_at != 0 ? 2 : 800)) * ms;
        if (peers.empty() && queue.empty() && next == timer_at && ++idle_ticks > 60) fail("the clock does not stop");
        if (!peers.empty()) idle_ticks = 0;
        expire_timers();
        if (stopped_at != never) next_peers_at = now;  // many begin at the same time as a tick of the drain
        begin_peers();
        for (size_t i = 0; i < peers.size(); i++) act(*peers[i]);
        return true;
    }

    [[noreturn]] void end_quietly() {
        if (is_draining) fail("the server does not end");
        for (const Peer *peer : peers) fail("a connection is never closed", peer->descriptor);
        if (worker.is_ticking || !worker.is_accepting) fail("the worker is not ready for the next connection");
        throw RunIsOver{};
    }

    void act(Peer &peer) {
        if (peer.sends_at <= now || peer.reads_at <= now) peer.events = 0;
        if (peer.sends_at <= now) send_more(peer);
        if (peer.reads_at <= now) read_more(peer);
    }

    void send_more(Peer &peer) {
        const size_t left = peer.end_at - peer.arrived;
        peer.sends_at = never;
        if (left == 0) return end(peer);
        size_t size = between(1, peer.most);
        if (peer.sends_with_ticks && peer.arrived != 0) size = between(1, 3);
        if (one_in(3)) size = up_to_request(peer, size);
        if (size > left) size = left;
        if (one_in(40) && !peer.is_marked) {
            peer.is_marked = true;
            peer.is_mark_hidden = one_in(2);
            peer.has_hidden |= peer.is_mark_hidden;
            peer.mark = peer.arrived + (size + 1) / 2;
        }
        peer.arrived += size;
        if ((peer.watched & EPOLLIN) != 0) peer.is_pending = true;
        if (size == left && peer.ends_at_once) return end(peer);
        if (size == left && peer.end == Peer::End::stays) return;
        if (size != left && peer.sends_with_ticks) return;
        const int64_t longest = size == left && one_in(3) ? 8 * second : peer.pause;
        peer.sends_at = now + (longest == 0 ? 0 : int64_t(below(size_t(longest))));
    }

    // No more than up to an end of a request: the next one, or the last one that there is.
    static size_t up_to_request(const Peer &peer, size_t size) {
        const bool is_last = one_in(2);
        size_t found = size;
        for (const Asked &request : peer.requests) {
            if (request.end <= peer.arrived || request.end - peer.arrived > size) continue;
            found = request.end - peer.arrived;
            if (!is_last) break;
        }
        return found;
    }

    // The end of the stream, or a reset, is told whatever is watched for.
    void end(Peer &peer) {
        if (peer.has_ended || peer.end == Peer::End::stays) return;
        peer.has_ended = peer.is_pending = true;
        peer.was_reset = peer.end == Peer::End::resets;
        if (peer.was_reset) totals.resets++;
    }

    void read_more(Peer &peer) {
        const size_t used = peer.capacity - peer.room;
        peer.reads_at = never;
        if (peer.unread != 0 && worker.connections[peer.descriptor].state == State::producing) {
            if (now - peer.since > send_timeout_s * second / 2) totals.slow_readers++;
            renew(peer, send_timeout_s);  // it is to be noticed
        }
        if (peer.capacity == SIZE_MAX / 4) peer.room = peer.capacity;
        else peer.room += between((used + 1) / 2, used);
        peer.unread = peer.room == peer.capacity ? 0 : peer.unread / 2;
        if (peer.room < peer.capacity) peer.reads_at = now + 1 + int64_t(below(size_t(peer.read_pause)));
        if (!peer.is_full || peer.room < (peer.capacity + 2) / 3) return;
        peer.is_full = false;
        if ((peer.watched & EPOLLOUT) != 0) peer.is_pending = true;
    }

    // ---- The observer: what the worker's connections have come to since the last system call.

    void renew(Peer &peer, uint8_t limit) {
        peer.since = now;
        peer.limit = limit;
        peer.was_looked_at = false;
    }

    void observe() {
        for (Peer *peer : sockets)
            if (peer != nullptr && peer->is_registered) observe(*peer);
    }

    void observe(Peer &peer) {
        const Connection &connection = worker.connections[peer.descriptor];
        const State state = connection.state;
        bool has_begun = false;
        size_t head_begin = unending;
        if (state == State::receiving_head) {
            const Stash &first = stashes[connection.stash];
            has_begun = first.bytes[0] != '\r';
            head_begin = peer.received - first.size;
            // In the middle of a receive_head its bytes are not in the stash yet.
            if (has_begun && peer.has_begun && peer.head_begin + first.size == peer.received_before)
                head_begin = peer.head_begin;
        }
        if (head_begin != peer.head_begin) {
            if (peer.head_begin != unending) leave_heads(peer);
            if (head_begin != unending) heads.push_back(&peer);
            if (has_begun) renew(peer, head_timeout_s);
            peer.head_begin = head_begin;
        }
        peer.has_begun = has_begun;
        if (state == State::closed || state == peer.state) return;
        if (state == State::receiving_content) renew(peer, content_timeout_s);
        if (connection.sends() || state == State::resetting) renew(peer, send_timeout_s);
        if (state == State::lingering) renew(peer, linger_timeout_s);
        if (state == State::idle && (peer.state == State::sending || peer.state >= State::delayed))
            renew(peer, idle_timeout_s);
        if (state == State::idle) peer.between_since = now;
        if (connection.has_delay()) peer.timer_from = -1;
        if (state == State::resetting) begin_reset(peer);
        peer.state = state;
    }

    // The server has sent all that comes before a reset. Where that is nothing, it counts as an answer here.
    static void begin_reset(Peer &peer) {
        if (peer.has_last || peer.answered == peer.requests.size()) return;
        const Asked &request = peer.requests[peer.answered];
        if (request.wish.reset_at != 0 || peer.received < request.end) return;
        const int64_t from = peer.sent_at > request.whole_at ? peer.sent_at : request.whole_at;
        if (monotonic() < from + request.delay_ms * ms) fail("a reset comes early", peer.descriptor);
        peer.has_last = true;
        peer.answered++;
        totals.requests++;
    }

    void leave_heads(Peer &peer) {
        peer.left_step = step;
        peer.left_as_oldest = heads.front() == &peer;
        peer.left_begun = peer.has_begun;
        for (size_t i = 0; i < heads.size(); i++) {
            if (heads[i] != &peer) continue;
            heads.erase(heads.begin() + long(i));
            return;
        }
    }

    // ---- What must be true.

    // Whether the last request was answered before its content, and that comes too late.
    bool ends_without_answer(const Peer &peer) const {
        if (peer.has_last || peer.answered == 0 || !peer.output.empty()) return false;
        const Asked &last = peer.requests[peer.answered - 1];
        return last.is_early() && peer.received < last.end && in_tick && is_due(peer);
    }

    // A wait ends when the first timer is due.
    void check_limit(int64_t limit_ns) {
        constexpr int64_t tick_ns = int64_t(1) << tick_shift;
        for (Peer *peer : sockets) {
            if (peer == nullptr || !peer->is_registered || peer->timer_from < 0) continue;
            const Connection &connection = worker.connections[peer->descriptor];
            if (!connection.has_delay() || peer->answered == peer->requests.size()) continue;
            const Asked &request = peer->requests[peer->answered];
            const unsigned wait_ms = connection.state == State::pausing ? request.wish.pause_ms : request.delay_ms;
            const int64_t left_ns = peer->timer_from + wait_ms * ms - clock_read_at;
            if (limit_ns > (left_ns < 0 ? 0 : left_ns) + 2 * tick_ns) fail("a wait is too long", peer->descriptor);
            peer->late_turns = left_ns < -2 * tick_ns ? peer->late_turns + 1 : 0;
            if (peer->late_turns > 50) fail("a timer is forgotten", peer->descriptor);
        }
    }

    void check_timers() {
        uint32_t count = 0;
        for (const Peer *peer : sockets) {
            if (peer == nullptr) continue;
            const Connection &connection = worker.connections[peer->descriptor];
            const bool waits = connection.has_delay() || connection.state == State::resetting;
            const bool is_set = worker.timers[peer->descriptor].previous != 0;
            if (waits != is_set) fail("a timer is lost, or left over", peer->descriptor);
            count += is_set;
        }
        for (size_t descriptor = 1; descriptor < connection_slots; descriptor++)
            if (worker.timers[descriptor].previous != 0 && sockets[descriptor] == nullptr)
                fail("a timer without a connection", int(descriptor));
        if (worker.timer_count != count) fail("timers are miscounted");
    }

    // Whether the connection's time may be over: a tick may be near when it begins.
    bool is_due(const Peer &peer) const { return now - peer.since >= (peer.limit - 1) * second; }

    // Whether input that had come was reported once more.
    static bool was_looked_at(const Peer &peer) { return peer.seen <= peer.received || peer.was_looked_at; }

    // Whether there are more than one head may need, with those that were just given back.
    static bool has_many_stashes() { return worker.free_stashes > 2 * stashes_for(head_limit); }

    // The connection is about to be answered with 408.
    void check_late(Peer &peer) {
        peer.is_late = true;
        const bool was_head = peer.left_step == step;
        if (!was_head && peer.state != State::receiving_content) fail("a 408 without a request", peer.descriptor);
        const bool may_give_way = was_head && peer.left_as_oldest && !has_many_stashes();
        if (is_due(peer) && in_tick && (!may_give_way || was_looked_at(peer))) {
            if (!was_looked_at(peer)) fail("late input was not looked at", peer.descriptor);
            totals.expiries++;
            return;
        }
        if (!was_head) fail("a 408 before its time", peer.descriptor);
        if (!peer.left_as_oldest) fail("a head gives way that is not the oldest", peer.descriptor);
        if (has_many_stashes()) fail("a head gives way to nobody", peer.descriptor);
        totals.evictions++;
    }

    // While the server drains, an answer that nothing has followed says so.
    void check_answer_of_drain(const Peer &peer) {
        if (peer.has_last || peer.answered == 0 || !peer.output.empty()) return;
        const Asked &last = peer.requests[peer.answered - 1];
        if (last.is_late() || last.is_early()) return;
        if (peer.looked <= peer.requests[peer.answered - 1].end)
            fail("the last answer does not say so", peer.descriptor);
    }

    static bool is_sending(State state) {
        return state == State::sending || state == State::sending_last || state == State::producing;
    }

    void check_close(Peer &peer) {
        const int descriptor = peer.descriptor;
        if (!peer.is_registered) {
            totals.refused_entries++;
            return;
        }
        if (worker.connections[descriptor].state != State::closed) fail("closed, but not to the worker", descriptor);
        if (peer.was_reset) return;
        if (peer.state == State::resetting) {
            if (!peer.has_last || !peer.output.empty() || !peer.requests[peer.answered - 1].is_reset())
                fail("a reset that nobody has asked for", descriptor);
            if (!peer.is_to_be_reset) fail("closed, and not reset", descriptor);
            if (peer.unread != 0 && !(in_tick && is_due(peer))) fail("a reset destroys what is before it", descriptor);
            totals.asked_resets++;
            return;
        }
        const bool has_no_block = peer.was_short && worker.find_block(nullptr) == worker.block_limit;
        if (has_no_block && !is_sending(peer.state) && peer.state != State::pausing) {
            totals.without_block++;
            return;
        }
        const bool is_whole = peer.output.empty() && (peer.has_last || peer.answered == count_due(peer));
        if (peer.has_told_end) {
            if (!is_whole) fail("closed with answers missing", descriptor);
            return;
        }
        if (peer.has_last && peer.state == State::lingering) {
            if (!is_due(peer) && peer.thrown_away < linger_limit) fail("closed before its time", descriptor);
            return;
        }
        if (peer.has_last && !is_sending(peer.state)) {
            const bool may_end =
                (!is_draining || is_stop_in_batch) && !peer.is_late && !peer.requests[peer.answered - 1].is_refused;
            if (!peer.is_shut_down) fail("closed without an end of the stream", descriptor);
            if (!may_end || !peer.output.empty()) fail("closed behind an answer at once", descriptor);
            if (peer.seen > peer.received && !peer.has_hidden) fail("closed with input unread", descriptor);
            return;
        }
        const bool was_sending = is_sending(peer.state);
        if (!was_sending && !is_whole) fail("closed with answers missing", descriptor);
        if (peer.left_step == step && !peer.left_begun && peer.left_as_oldest && !has_many_stashes()) {
            totals.evictions++;
            return;
        }
        // While the server drains, half an empty line brings no time either.
        const bool has_begun = peer.has_begun || (peer.left_step == step && peer.left_begun);
        const bool is_between = peer.state == State::accepted || peer.state == State::idle ||
                                (peer.state == State::receiving_head && !has_begun);
        if (!in_tick || (!is_due(peer) && !(is_draining && is_between))) fail("closed without a reason", descriptor);
        if (has_begun || peer.state == State::receiving_content) fail("a late request is not answered", descriptor);
        if (was_sending && !peer.is_to_be_reset) fail("the kernel keeps output that nobody takes", descriptor);
        if (!was_sending && !was_looked_at(peer)) fail("late input was not looked at", descriptor);
        totals.expiries++;
    }

    void check_everything() {
        size_t open = 0, groups[group_count] = {};
        for (const Peer *peer : sockets) {
            if (peer == nullptr) continue;
            open++;
            groups[size_t(peer->descriptor) / group_size]++;
            check_connection(*peer);
        }
        for (size_t group = 0; group < group_count; group++)
            if (groups[group] != worker.group_sizes[group]) fail("a group is miscounted");
        for (size_t descriptor = 0; descriptor < group_count * group_size; descriptor++)
            if (worker.connections[descriptor].state != State::closed && sockets[descriptor] == nullptr)
                fail("a connection without a socket", int(descriptor));
        if (is_draining && now > stopped_at + 40 * second) {
            if (open == 0) fail("the server does not end");
            throw RunIsOver{};  // a slow peer has ever more requests: the main thread ends the process
        }
        check_counters(open);
        check_blocks();
        check_timers();
        check_stashes();
        check_listener(open);
        if ((open != 0 || !worker.is_accepting) && timer_at == never && !has_timer_expired && !is_draining)
            fail("the clock stands still");
    }

    void check_connection(const Peer &peer) {
        const int descriptor = peer.descriptor;
        const State state = worker.connections[descriptor].state;
        if (!peer.is_registered || state == State::closed) fail("a socket without a connection", descriptor);
        if (peer.smallest_hops != 0) fail("a connection drops packets", descriptor);
        // The server notices that a peer reads a long answer only when its time would be over.
        const int limit = state == State::producing ? 2 * peer.limit : peer.limit;
        const bool has_delay = worker.connections[descriptor].has_delay();
        if (!has_delay && now - peer.since > (limit + (is_draining ? 4 : 3)) * second)
            fail("a time is over", descriptor);
        // Behind the grace, no connection without a request is kept.
        if (is_draining && (state == State::accepted || state == State::idle) && now > stopped_at + 3 * second &&
            now > peer.between_since + second)
            fail("an idle connection outlives the grace of the drain", descriptor);
        const bool will_wake = is_to_report(peer);
        if (peer.is_more_promised && !peer.is_full && !will_wake) fail("the end of an answer is kept", descriptor);
        if (is_sending(state)) {
            if (!peer.is_full && !will_wake) fail("output is held, and the socket is writable", descriptor);
            if (peer.is_full && (peer.watched & EPOLLOUT) == 0) fail("output is held and not watched", descriptor);
            if (state != State::producing) return;
        }
        const bool has_news =
            peer.arrived != peer.received || (peer.has_ended && !peer.has_told_end && !peer.has_told_reset);
        const Connection &connection = worker.connections[descriptor];
        const bool will_look = connection.is_late() && connection.late.must_watch;
        if (has_news && !will_wake && !will_look && peer.stopped_at != peer.received)
            fail("a lost wake-up", descriptor);
        if (connection.is_late()) return check_late_connection(peer, state);
        if ((peer.watched & EPOLLIN) == 0) fail("input is not watched", descriptor);
        if (state == State::lingering) {
            if (!peer.is_shut_down || !peer.has_last || !peer.output.empty()) fail("lingering too early", descriptor);
            if (peer.thrown_away >= linger_limit) fail("lingering for too much", descriptor);
            return;
        }
        const bool awaits_content = peer.answered != 0 && peer.received < peer.requests[peer.answered - 1].end;
        if (peer.has_last && !awaits_content) fail("a connection goes on behind its last answer", descriptor);
        if (peer.answered != count_due(peer) || !peer.output.empty()) fail("an answer is missing", descriptor);
        if (state != expected_state(peer, state)) fail("the connection is in a wrong state", descriptor);
    }

    // One whose answer is late, or long.
    static void check_late_connection(const Peer &peer, State state) {
        const bool is_sent = peer.answered != 0 && peer.output.empty() && peer.requests[peer.answered - 1].is_long();
        if (state == State::producing && is_sent) return;
        if (state == State::resetting) {
            if (!peer.has_last || !is_sent) fail("a reset is due before what is before it", peer.descriptor);
            return;
        }
        if (peer.has_last || peer.answered >= count_whole(peer)) fail("waits with no answer", peer.descriptor);
        if (!peer.requests[peer.answered].is_late()) fail("waits with another answer", peer.descriptor);
        if (state == State::delayed && !peer.output.empty()) fail("waits in the midst of an answer", peer.descriptor);
    }

    // In which state one is that receives. `state` is its own: between requests there are several.
    static State expected_state(const Peer &peer, State state) {
        if (peer.answered != peer.requests.size() && peer.received > peer.requests[peer.answered].begin) {
            const Asked &next = peer.requests[peer.answered];
            if (next.is_refused) return state;  // how far its head goes is not known here
            return peer.received >= next.head_end ? State::receiving_content : State::receiving_head;
        }
        if (peer.answered != 0 && peer.received < peer.requests[peer.answered - 1].end) return State::receiving_content;
        const bool has_half_line = peer.received != 0 && peer.stream[peer.received - 1] == '\r';
        return has_half_line ? State::receiving_head : state == State::accepted ? state : State::idle;
    }

    static uint64_t count_accepted(const Peer &peer, size_t count) {  // without a refused one, which comes last
        return count != 0 && peer.requests[count - 1].is_refused ? count - 1 : count;
    }
    static uint64_t answered_requests(const Peer &peer) {
        const size_t whole = count_whole(peer);  // an early answer is not counted until its request is whole
        return count_accepted(peer, peer.answered < whole ? peer.answered : whole);
    }
    static uint64_t whole_requests(const Peer &peer) { return count_accepted(peer, count_whole(peer)); }

    void check_counters(size_t open) {
        const Counters &counters = worker.context.counters;
        if (worker.open_connections != open || accepted - closed != open) fail("open connections are miscounted");
        if (counters[Counter::accepted] != accepted) fail("accepted connections are miscounted");
        if (counters[Counter::bytes_in] != bytes_in) fail("bytes in are miscounted");
        if (counters[Counter::bytes_out] != bytes_out) fail("bytes out are miscounted");
        if (counters[Counter::stalled] != stalled) fail("stalled sends are miscounted");
        uint64_t least = closed_requests_least, most = closed_requests_most;
        for (const Peer *peer : sockets) {
            if (peer == nullptr) continue;
            least += answered_requests(*peer);
            most += peer->has_last ? answered_requests(*peer) : whole_requests(*peer);
        }
        if (counters[Counter::requests] < least || counters[Counter::requests] > most) fail("requests are miscounted");
    }

    void check_blocks() {
        for (size_t index = 0; index < block_count; index++) {
            const Connection *const owner = worker.block_owners[index];
            if (owner == nullptr) continue;
            const int descriptor = int(worker.socket_of(*owner));
            const bool is_late = owner->is_late();
            if (index >= worker.block_limit || owner->state == State::closed || !(owner->sends() || is_late))
                fail("a block belongs to a connection that does not wait", descriptor);
            if (is_late && !owner->late.has_rest) fail("a block holds nothing", descriptor);
            if (is_late && index >= (worker.block_limit + 1) / 2) fail("too many blocks wait for answers", descriptor);
            for (size_t other = 0; other < index; other++)
                if (worker.block_owners[other] == owner) fail("a connection has two blocks", descriptor);
            const Peer &peer = open_peer(descriptor);
            const Block &block = blocks[index];
            const bool has_output = block.output_begin != block.output_end;
            if ((is_late && has_output) || (!has_output && block.input_end == 0)) fail("a block is wrong", descriptor);
            if (block.output_begin > block.output_end || block.output_end > output_room || block.input_end > input_size)
                fail("a block is too full", descriptor);
            if (memcmp(block.input, peer.stream.data() + peer.received - block.input_end, block.input_end) != 0)
                fail("input that waits is not what the peer has sent", descriptor);
        }
        for (const Peer *peer : sockets) {
            if (peer == nullptr) continue;
            const Connection &connection = worker.connections[peer->descriptor];
            const bool has_block = worker.find_block(&connection) != worker.block_limit;
            if (connection.is_late() && connection.late.has_rest && !has_block) fail("input is lost", peer->descriptor);
            if (connection.state != State::sending && connection.state != State::sending_last) continue;
            if (!has_block) fail("output is lost", peer->descriptor);
        }
    }

    void check_stashes() {
        uint32_t used = 0;
        uint16_t older = 0, next = worker.oldest_stash;
        for (const Peer *peer : heads) {
            const Connection &connection = worker.connections[peer->descriptor];
            const Stash &first = stashes[connection.stash];
            if (connection.stash != next || first.older != older) fail("heads are in a wrong order", peer->descriptor);
            if (first.socket != peer->descriptor) fail("a stash belongs to another connection", peer->descriptor);
            used += check_stash(*peer, first);
            older = next;
            next = first.newer;
        }
        if (next != 0 || worker.newest_stash != older) fail("a head waits without a connection");
        if (worker.free_stashes != stash_limit - 1 - used) fail("free stashes are miscounted");
        uint32_t unused = stash_limit - worker.fresh_stash;
        for (uint16_t index = worker.free_stash; index != 0; index = stashes[index].next)
            if (index >= worker.fresh_stash || ++unused > stash_count) fail("the free stashes are no chain");
        if (unused != worker.free_stashes) fail("a stash is lost");
    }

    // Returns how many pieces it has.
    static uint32_t check_stash(const Peer &peer, const Stash &first) {
        uint32_t count = 1;
        if (first.size > peer.received) fail("a stash holds more than has come", peer.descriptor);
        const char *at = peer.stream.data() + peer.received - first.size;
        size_t left = first.size;
        for (const Stash *piece = &first;; piece = stashes + piece->next, count++) {
            const size_t size = left < sizeof piece->bytes ? left : sizeof piece->bytes;
            if (memcmp(piece->bytes, at, size) != 0) fail("a stash holds other bytes", peer.descriptor);
            at += size;
            left -= size;
            if (piece->next == 0) break;
        }
        if (left != 0 || count != stashes_for(first.size))
            fail("a stash has too many pieces, or too few", peer.descriptor);
        return count;
    }

    void check_listener(size_t open) {
        if (open > connection_limit) fail("more connections than there may be");
        if (is_listener_shut && is_listening) fail("the end of the listener is reported without end");
        if (is_draining || !is_listener_open) return;
        if (room_told != 0 && last_accept < room_told && last_pause < room_told)
            fail("nobody accepts for a worker without room");
        if (is_listening != worker.is_accepting) fail("the worker is wrong about its listener");
        if (!is_listening && last_close > last_pause && !was_queue_refused) fail("the listener is not watched again");
        int descriptor = first_free;
        while (sockets[descriptor] != nullptr) descriptor++;
        const bool has_room = open < connection_limit && descriptor < descriptor_limit;
        if (queue.empty() || !has_room) queue_moved_at = now;
        if (now - queue_moved_at > 5 * second) fail("connections wait in the queue");
    }
};

Kernel *kernel;

// What is known of a connection that something is wrong with.
void describe(int descriptor) {
    const Peer *const found = descriptor < Kernel::descriptor_count ? kernel->sockets[descriptor] : nullptr;
    fprintf(stderr, "crowd: descriptor %d\n", descriptor);
    if (found == nullptr || size_t(descriptor) >= group_count * group_size) return;
    const Peer &peer = *found;
    const auto put = [](const char *name, size_t value) { fprintf(stderr, " %s %zd", name, ssize_t(value)); };
    put("state", size_t(worker.connections[descriptor].state));
    put("state before", size_t(peer.state));
    put("stream", peer.stream.size());
    put("arrived", peer.arrived);
    put("seen", peer.seen);
    put("received", peer.received);
    put("requests", peer.requests.size());
    put("answered", peer.answered);
    put("whole", count_whole(peer));
    put("next end", peer.answered < peer.requests.size() ? peer.requests[peer.answered].end : 0);
    put("output", peer.output.size());
    put("ms since", size_t((now - peer.since) / ms));
    put("limit", peer.limit);
    put("mark", peer.mark);
    put("watched", peer.watched);
    fprintf(stderr, "\n%s%s%s%s%s%s%s%s%s%s%s%s\n", peer.has_last ? " last" : "", peer.is_late ? " late" : "",
            peer.is_shut_down ? " shut" : "", peer.is_full ? " full" : "", peer.is_pending ? " pending" : "",
            peer.is_marked ? " marked" : "", peer.has_hidden ? " hidden" : "", peer.has_ended ? " ended" : "",
            peer.was_reset ? " reset" : "", peer.has_told_end ? " told" : "", peer.was_short ? " short" : "",
            is_draining ? " (draining)" : "");
}

long trap(Sys call, long a, long b, long c, long d, long e, [[maybe_unused]] long f) {
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
    case Sys::setsockopt:
        return kernel->setsockopt(int(a), b, c, reinterpret_cast<const int *>(d), e);
    case Sys::epoll_ctl:
        return kernel->epoll_ctl(int(a), int(b), int(c), *reinterpret_cast<const epoll_event *>(d));
    case Sys::sendfile:
        return kernel->sendfile(int(a), int(b), reinterpret_cast<const int64_t *>(c), size_t(d));
    case Sys::ioctl:
        return kernel->ioctl(int(a), b, *reinterpret_cast<uint32_t *>(c));
    case Sys::epoll_pwait:
        if (a != Kernel::epoll || d != -1) fail("a strange epoll_pwait");
        return kernel->epoll_pwait(reinterpret_cast<const epoll_event *>(b), c);
    case Sys::epoll_pwait2:
        if (a != Kernel::epoll || e != 0) fail("a strange epoll_pwait2");
        return kernel->epoll_pwait2(reinterpret_cast<const epoll_event *>(b), c,
                                    *reinterpret_cast<const timespec *>(d));
    case Sys::timerfd_settime:
        return kernel->timerfd_settime(int(a), b, *reinterpret_cast<const itimerspec *>(c));
    case Sys::clock_gettime:
        return kernel->clock_gettime(a, *reinterpret_cast<timespec *>(b));
    case Sys::exit_group:
        kernel->exit_group(int(a));
    default:
        fail("an unexpected system call");
    }
}

long start_thread(unsigned long, void *, void (*)(void *), void *) { fail("an unexpected thread"); }

// ---- Runs ------------------------------------------------------------------------------------------------------

void prepare_worker(Kernel &played) {
    memset(static_cast<void *>(&worker), 0, sizeof worker);
    memset(static_cast<void *>(stashes), 0xa5, sizeof stashes);
    memset(static_cast<void *>(blocks), 0xa5, sizeof blocks);
    worker.listener = Kernel::listener;
    worker.epoll = Kernel::epoll;
    worker.timer = Kernel::timer;
    worker.process = &played.process;
    worker.context.run = run_memory;
    worker.context.exchanges = reinterpret_cast<const char *>(worker.connections);
    worker.context.long_answers = worker.long_answers;
    worker.context.random.state = draw() | 1;
    worker.is_accepting = true;
    worker.now = uint8_t(draw());  // it is counted modulo 256
    worker.blocks = blocks;
    worker.stashes = stashes;
    worker.block_limit = uint32_t(between(1, block_count));
    stash_limit = uint32_t(between(stashes_for(head_limit) + 2, stash_count));
    worker.free_stashes = stash_limit - 1;
    worker.fresh_stash = 1;
}

void run() {
    chance = seed;
    step = 0;
    is_draining = false;
    now = int64_t(784111000 + below(100000)) * second + int64_t(below(1000)) * ms;
    up_since = now - int64_t(below(one_in(2) ? 100 : 10'000'000)) * second - int64_t(below(1000)) * ms;
    Kernel played;
    kernel = &played;
    prepare_worker(played);
    try {
        run_worker(worker);
    } catch (const RunIsOver &) {}
    totals.runs++;
}

// Whether all that this is about has happened.
bool print_totals() {
    const struct {
        const char *name;
        unsigned long count;
    } lines[] = {
        {"runs", totals.runs},
        {"connections", totals.connections},
        {"requests", totals.requests},
        {"refusals", totals.refusals},
        {"late requests", totals.late_requests},
        {"evictions", totals.evictions},
        {"expiries", totals.expiries},
        {"drains", totals.drains},
        {"last answers in drains", totals.drain_closes},
        {"stalled sends", totals.stalls},
        {"connections without a block", totals.without_block},
        {"looks at late input", totals.looks},
        {"pauses of accepting", totals.pauses},
        {"resets", totals.resets},
        {"lingering connections", totals.lingers},
        {"late answers", totals.delays},
        {"long answers", totals.long_answers},
        {"seams of pieces", totals.seams},
        {"answers before the content", totals.early_answers},
        {"resets that were asked for", totals.asked_resets},
        {"last answers without a block", totals.last_for_lack},
        {"slow readers", totals.slow_readers},
        {"jumps of the clock", totals.jumps},
        {"connections that epoll refused", totals.refused_entries},
    };
    bool is_complete = true;
    for (const auto &line : lines) {
        printf("%9lu %s\n", line.count, line.name);
        if (line.count == 0) is_complete = false;
    }
    if (!is_complete) fprintf(stderr, "crowd: something never happened\n");
    return is_complete;
}

}  // namespace

int main(int argument_count, char **arguments) {
    if (argument_count < 2) return fprintf(stderr, "usage: crowd SECONDS [SEED]\n"), 2;
    seed = argument_count > 2 ? strtoull(arguments[2], nullptr, 10) : uint64_t(time(nullptr)) * 1000000;
    printf("seed %llu\n", static_cast<unsigned long long>(seed));
    fflush(stdout);
    const time_t end = time(nullptr) + atoi(arguments[1]);
    do {
        run();
        seed++;
    } while (time(nullptr) < end);
    return print_totals() ? 0 : 1;
}
