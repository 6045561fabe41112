// slices: what a request costs servers that run at the same time, in CPU time.
//
//   slices READING CONNECTIONS ROUNDS MS WAIT PROFILE PORT PIDS [PROFILE PORT PIDS]...
//
// In each round every server in turn, in random order, answers requests for about MS, a fifth more or less. Each of its
// connections sends the next request when it has the last answer. The kernel counts the CPU time of the server's
// threads (schedstat, see proc(5)). PIDS are its processes, separated by commas. Prints a line a round: of each server
// the nanoseconds a request, or nan if its threads waited for a CPU for more than WAIT percent of the slice.
//
// PROFILE says what this server is asked for: baseline, pipelined or short, as in test/requests.lua; a request target
// for GETs of it; or delay for /delay/10. There, the first request of a slice has a delay of up to 10 ms, so that the
// answers are due at different times. READING is copy, or discard: the kernel discards the content (MSG_TRUNC), which
// takes the client less time. test/slices.py makes ratios of the lines.
//
//   slices lateness CONNECTIONS ANSWERS PORT
//
// Asks for delays of 1 to 50 ms. Prints a line an answer: the microseconds it was late, as the client sees it.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define END " HTTP/1.1\r\nHost: localhost:8080\r\n"
#define GET "GET /baseline11?a=13&b=42" END
#define POST "POST /baseline11?a=13&b=42" END "Content-Type: text/plain\r\n"
#define PIPELINE "GET /pipeline" END "\r\n"
#define FOUR(text) text text text text
enum { last = 3, pipelined, target, delay };  // kinds of requests, behind the three of the baseline
static const char *const requests[] = {GET "\r\n", POST "Content-Length: 2\r\n\r\n20",
                                       POST "Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n",
                                       GET "Connection: close\r\n\r\n", FOUR(FOUR(PIPELINE))};
static const int delay_ms = 10, longest_delay_ms = 50;
enum { at_once = 16, server_limit = 8, text_size = 1000, piece_size = 8192 };

struct connection {
    int socket, turn, kind;
    long left;     // bytes of the answer that have not come
    double begin;  // when its request was sent
    int ms;        // the delay it asked for
};
struct server {
    const char *profile;
    int port, epoll;
    glob_t schedstats;  // a file for each thread
    struct connection *connections;
} servers[server_limit];
static char buffer[piece_size + 1];
static bool discards;
static int connection_count;
static double slice_ns, wait_limit;  // the limit is a share of a slice

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void open_connection(const struct server *server, struct connection *connection) {
    const struct sockaddr_in to = {AF_INET, htons((uint16_t)server->port), {htonl(INADDR_LOOPBACK)}, {0}};
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    struct epoll_event event = {EPOLLIN, {.ptr = connection}};
    if (connect(connection->socket, (const struct sockaddr *)&to, sizeof to) != 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, connection->socket, &event) != 0)
        err(1, "a connection to port %d", server->port);
}

static void open_connections(struct server *server) {
    server->epoll = epoll_create1(0);
    server->connections = calloc((size_t)connection_count, sizeof *server->connections);
    for (int i = 0; i < connection_count; i++) open_connection(server, &server->connections[i]);
}

static int random_from(int least, int most) { return least + (int)(drand48() * (most - least + 1)); }

static int next_kind(const struct server *server, int turn) {
    const char profile = server->profile[0];
    if (profile == '/') return target;
    if (profile == 'd') return delay;
    if (profile == 'p') return pipelined;
    return profile == 's' && turn % 10 == 0 ? last : turn % 3;
}

// Sends the next request. `ms`: the delay to ask for, where the profile is one.
static void ask(const struct server *server, struct connection *connection, int ms) {
    char text[text_size];
    connection->turn++;
    connection->ms = ms;
    connection->kind = next_kind(server, connection->turn);
    if (connection->kind == delay) snprintf(text, sizeof text, "GET /delay/%d" END "\r\n", ms);
    if (connection->kind == target) snprintf(text, sizeof text, "GET %s" END "\r\n", server->profile);
    const char *const request = connection->kind < target ? requests[connection->kind] : text;
    connection->begin = now();
    if (send(connection->socket, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) err(1, "send");
}

// The size of the answers that begin in the buffer. The first piece has a whole head, and all are of one size.
static long size_of_answers(const struct connection *connection) {
    const char *const end = strstr(buffer, "\r\n\r\n"), *const size = strcasestr(buffer, "\r\nContent-Length: ");
    if (end == NULL) errx(1, "the first piece of an answer is shorter than its head");
    if (strncmp(buffer, "HTTP/1.1 200", 12) != 0 || size == NULL || size > end)
        errx(1, "not an answer to count: %.*s", (int)(strchr(buffer, '\r') - buffer), buffer);
    return (end - buffer + 4 + atol(size + 18)) * (connection->kind == pipelined ? at_once : 1);
}

// Takes what has come, as wrk does: piece by piece, as long as they are full. Whether an answer, or all that come at
// once, is whole with it.
static bool take_answer(struct connection *connection) {
    for (;;) {
        const bool is_first = connection->left == 0;
        const size_t size = !discards ? piece_size : is_first ? text_size : (size_t)connection->left;
        // Where nothing is copied the size is that of no buffer.
        const ssize_t got = discards && !is_first ? recv(connection->socket, NULL, size, MSG_DONTWAIT | MSG_TRUNC)
                                                  : recv(connection->socket, buffer, size, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return false;
        if (got <= 0) err(1, "recv");
        if (is_first) {
            buffer[got] = '\0';
            connection->left = size_of_answers(connection);
        }
        if ((connection->left -= got) < 0) errx(1, "an answer is longer than its head says");
        if (connection->left == 0 || (size_t)got < size) return connection->left == 0;
    }
}

static int await_answers(const struct server *server, struct epoll_event *events, int limit) {
    const int ready = epoll_wait(server->epoll, events, limit, 5000);
    if (ready <= 0) errx(1, "port %d has not answered for five seconds", server->port);
    return ready;
}

// Nanoseconds that the server's threads have run, and have waited for a CPU.
static void read_times(const struct server *server, double *ran, double *waited) {
    *ran = *waited = 0;
    for (size_t i = 0; i < server->schedstats.gl_pathc; i++) {
        FILE *const file = fopen(server->schedstats.gl_pathv[i], "r");
        double run, wait;
        if (file == NULL || fscanf(file, "%lf %lf", &run, &wait) != 2) err(1, "the server on port %d", server->port);
        fclose(file);
        *ran += run;
        *waited += wait;
    }
}

static double cost_of_slice(const struct server *server) {
    double ran[2], waited[2];
    long count = 0;
    read_times(server, &ran[0], &waited[0]);
    const double begin = now(), end = begin + (0.8 + 0.4 * drand48()) * slice_ns;
    for (int i = 0; i < connection_count; i++) ask(server, &server->connections[i], random_from(0, delay_ms));
    for (int pending = connection_count; pending > 0;) {
        struct epoll_event events[256];
        const int ready = await_answers(server, events, 256);
        for (int i = 0; i < ready; i++) {
            struct connection *const connection = events[i].data.ptr;
            if (!take_answer(connection)) continue;
            count += connection->kind == pipelined ? at_once : 1;
            if (connection->kind == last) {
                close(connection->socket);
                open_connection(server, connection);
            }
            if (now() < end) ask(server, connection, delay_ms);
            else pending--;
        }
    }
    const double duration = now() - begin;
    read_times(server, &ran[1], &waited[1]);
    return waited[1] - waited[0] > wait_limit * duration ? NAN : (ran[1] - ran[0]) / (double)count;
}

static void print_lateness(struct server *server, long answers) {
    open_connections(server);
    for (int i = 0; i < connection_count; i++) ask(server, &server->connections[i], random_from(1, longest_delay_ms));
    while (answers > 0) {
        struct epoll_event events[256];
        const int ready = await_answers(server, events, 256);
        const double end = now();
        for (int i = 0; i < ready; i++) {
            struct connection *const connection = events[i].data.ptr;
            if (!take_answer(connection)) errx(1, "an answer came in pieces");
            if (answers-- > 0) printf("%.1f\n", (end - connection->begin) / 1e3 - connection->ms * 1e3);
            ask(server, connection, random_from(1, longest_delay_ms));
        }
    }
}

// Finds the threads of the processes, whose ids are separated by commas.
static void find_threads(struct server *server, char *pids) {
    int flags = 0;
    for (char *pid = strtok(pids, ","); pid != NULL; pid = strtok(NULL, ",")) {
        snprintf(buffer, sizeof buffer, "/proc/%s/task/*/schedstat", pid);
        if (glob(buffer, flags, NULL, &server->schedstats) != 0) errx(1, "no process %s", pid);
        flags = GLOB_APPEND;
    }
}

int main(int argc, char **argv) {
    srand48(time(NULL));
    if (argc == 5 && strcmp(argv[1], "lateness") == 0) {
        connection_count = atoi(argv[2]);
        servers[0] = (struct server){.profile = "delay", .port = atoi(argv[4])};
        print_lateness(&servers[0], atol(argv[3]));
        return 0;
    }
    const int server_count = (argc - 6) / 3;
    if (argc < 9 || argc % 3 != 0 || server_count > server_limit)
        errx(2, "READING CONNECTIONS ROUNDS MS WAIT PROFILE PORT PIDS... or lateness CONNECTIONS ANSWERS PORT");
    discards = strcmp(argv[1], "discard") == 0;
    connection_count = atoi(argv[2]);
    slice_ns = atof(argv[4]) * 1e6;
    wait_limit = atof(argv[5]) / 100;
    for (int i = 0; i < server_count; i++) {
        servers[i] = (struct server){.profile = argv[6 + 3 * i], .port = atoi(argv[7 + 3 * i])};
        find_threads(&servers[i], argv[8 + 3 * i]);
        open_connections(&servers[i]);
    }
    for (int rounds = atoi(argv[3]); rounds > 0; rounds--) {
        double costs[server_limit];
        int order[server_limit];
        for (int i = 0; i < server_count; i++) {  // a random permutation
            const int place = random_from(0, i);
            order[i] = order[place];
            order[place] = i;
        }
        for (int i = 0; i < server_count; i++) costs[order[i]] = cost_of_slice(&servers[order[i]]);
        for (int i = 0; i < server_count; i++) printf("%.1f%c", costs[i], i + 1 == server_count ? '\n' : ' ');
        fflush(stdout);
    }
}
