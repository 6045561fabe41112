// slices: what a request costs servers that run at the same time, in CPU time.
//
//   slices PROFILE CONNECTIONS ROUNDS PORT PID [PORT PID]...
//
// In each round every server in turn, in random order, answers requests for 40 to 60 ms. Each of its connections sends
// the next request when it has the last answer. The kernel counts the CPU time of the server's threads (schedstat, see
// proc(5)). Prints a line a round: of each server the nanoseconds a request, or nan if its threads had to wait for a
// CPU. PROFILE is one of test/requests.lua: baseline, pipelined or short. test/slices.py makes ratios of the lines.
#define _GNU_SOURCE
#include <err.h>
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

#define GET "GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\n"
#define POST "POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: text/plain\r\n"
#define PIPELINE "GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
#define FOUR(text) text text text text
enum { last = 3, pipelined = 4, at_once = 16, server_limit = 8 };
static const char *const requests[] = {GET "\r\n", POST "Content-Length: 2\r\n\r\n20",
                                       POST "Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n",
                                       GET "Connection: close\r\n\r\n", FOUR(FOUR(PIPELINE))};
static const double wait_limit = 0.05;  // of a slice: to wake up so often takes 1 to 4 % with 512 connections

struct connection {
    int socket, turn, kind;
    long left;  // bytes of the answer that have not come
};
struct server {
    int port, epoll;
    glob_t schedstats;  // a file for each thread
    struct connection *connections;
} servers[server_limit];
static char profile, buffer[65536];
static int connection_count;

static void open_connection(const struct server *server, struct connection *connection) {
    const struct sockaddr_in to = {AF_INET, htons((uint16_t)server->port), {htonl(INADDR_LOOPBACK)}, {0}};
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    struct epoll_event event = {EPOLLIN, {.ptr = connection}};
    if (connect(connection->socket, (const struct sockaddr *)&to, sizeof to) != 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, connection->socket, &event) != 0)
        err(1, "a connection to port %d", server->port);
}

static void ask(struct connection *connection) {
    connection->turn++;
    connection->kind = profile == 'p'                                 ? pipelined
                       : profile == 's' && connection->turn % 10 == 0 ? last
                                                                      : connection->turn % 3;
    const char *const text = requests[connection->kind];
    if (send(connection->socket, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text)) err(1, "send");
}

// Takes what has come. Whether an answer, or all that come at once, is whole with it: each has 2 bytes of content.
static bool take_answer(struct connection *connection) {
    const ssize_t got = recv(connection->socket, buffer, sizeof buffer - 1, 0);
    if (got <= 0) err(1, "recv");
    buffer[got] = '\0';
    if (connection->left == 0) {  // the first piece has a whole head: all answers are of its size
        const char *const end = strstr(buffer, "\r\n\r\n");
        if (end == NULL) errx(1, "the first piece of an answer is shorter than its head");
        connection->left = (end - buffer + 6) * (connection->kind == pipelined ? at_once : 1);
    }
    if ((connection->left -= got) < 0) errx(1, "an answer is longer than its head says");
    return connection->left == 0;
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

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double cost_of_slice(const struct server *server) {
    double ran[2], waited[2];
    long count = 0;
    read_times(server, &ran[0], &waited[0]);
    const double begin = now(), end = begin + (40 + 20 * drand48()) * 1e6;
    for (int i = 0; i < connection_count; i++) ask(&server->connections[i]);
    for (int pending = connection_count; pending > 0;) {
        struct epoll_event events[256];
        const int ready = epoll_wait(server->epoll, events, 256, 1000);
        if (ready <= 0) errx(1, "port %d has not answered for a second", server->port);
        for (int i = 0; i < ready; i++) {
            struct connection *const connection = events[i].data.ptr;
            if (!take_answer(connection)) continue;
            count += connection->kind == pipelined ? at_once : 1;
            if (connection->kind == last) {
                close(connection->socket);
                open_connection(server, connection);
            }
            if (now() < end) ask(connection);
            else pending--;
        }
    }
    const double duration = now() - begin;
    read_times(server, &ran[1], &waited[1]);
    return waited[1] - waited[0] > wait_limit * duration ? NAN : (ran[1] - ran[0]) / (double)count;
}

int main(int argc, char **argv) {
    const int server_count = (argc - 4) / 2;
    if (argc < 6 || argc % 2 != 0 || server_count > server_limit) errx(2, "PROFILE CONNECTIONS ROUNDS PORT PID...");
    profile = argv[1][0];
    connection_count = atoi(argv[2]);
    srand48(time(NULL));
    for (int i = 0; i < server_count; i++) {
        struct server *const server = &servers[i];
        server->port = atoi(argv[4 + 2 * i]);
        server->epoll = epoll_create1(0);
        snprintf(buffer, sizeof buffer, "/proc/%s/task/*/schedstat", argv[5 + 2 * i]);
        if (glob(buffer, 0, NULL, &server->schedstats) != 0) errx(1, "no process %s", argv[5 + 2 * i]);
        server->connections = calloc((size_t)connection_count, sizeof *server->connections);
        for (int j = 0; j < connection_count; j++) open_connection(server, &server->connections[j]);
    }
    for (int rounds = atoi(argv[3]); rounds > 0; rounds--) {
        double costs[server_limit];
        int order[server_limit];
        for (int i = 0; i < server_count; i++) {  // a random permutation
            const int place = (int)(drand48() * (i + 1));
            order[i] = order[place];
            order[place] = i;
        }
        for (int i = 0; i < server_count; i++) costs[order[i]] = cost_of_slice(&servers[order[i]]);
        for (int i = 0; i < server_count; i++) printf("%.1f%c", costs[i], i + 1 == server_count ? '\n' : ' ');
        fflush(stdout);
    }
}
