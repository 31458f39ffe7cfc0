/* The load generator: one thread, epoll, a closed loop of C connections, every byte of every image compared.
 *
 *     load -p PORT -c C -s SECONDS [-m LEAST] [-M MOST] [-e FILE -n IMAGES | -w TEXT] REQUEST...
 *
 * REQUEST files are whole HTTP requests, sent in turn. FILE is the base64 that must stand between quotes IMAGES times in
 * each answer; TEXT must stand in its first 4 KiB. After SECONDS nothing new is sent and what is in flight is waited for.
 * Prints one JSON object; times are milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 << 10, TEXT = 4 << 10, CHUNK = 256 << 10, NEEDLE = 32 };

struct bytes {
    const char *at;
    size_t size;
};

struct connection {
    int fd, busy;
    struct bytes request;
    size_t sent;
    double started;
    char head[HEAD], text[TEXT + 1];
    size_t have, kept;
    int in_body, status, chunked, closing;
    long long left;     /* of the body, or of the current chunk; -1: the chunk's size line is being read */
    long long length;   /* body bytes received */
    char line[24];
    int line_size, last_chunk;
    size_t matched;     /* of the needle, then of the image */
    int in_image, ended, images, wrong;
};

static struct bytes expected, requests[4096];
static int request_count, port, images = 1, poll_fd;
static const char *wanted;
static char needle[NEEDLE], buffer[CHUNK];
static double *times, stop_at;
static size_t time_count, time_room, started, most = (size_t)-1, least;
static size_t errors, in_flight, turn;
static long long received, shortest = -1, longest;
static char first_error[256];

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct bytes mapped(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat facts;
    if (file < 0 || fstat(file, &facts)) die(path);
    struct bytes found = {mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0),
                          (size_t)facts.st_size};
    if (found.at == MAP_FAILED) die(path);
    close(file);
    return found;
}

static void connected(struct connection *c) {
    int one = 1;
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&there, sizeof there)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

/* Whether `size` more bytes of the body are as they must be: outside of images they are searched, inside compared. */
static void check(struct connection *c, const char *at, size_t size) {
    c->length += (long long)size;
    if (c->kept < TEXT) {
        size_t more = size < TEXT - c->kept ? size : TEXT - c->kept;
        memcpy(c->text + c->kept, at, more);
        c->kept += more;
    }
    while (expected.size && size) {
        if (c->in_image) {
            size_t more = expected.size - c->matched;
            if (more > size) more = size;
            if (memcmp(expected.at + c->matched, at, more)) c->wrong = 1;
            c->matched += more, at += more, size -= more;
            if (c->matched == expected.size) c->in_image = 0, c->matched = 0, c->ended = 1, c->images++;
            continue;
        }
        if (c->ended && *at != '"') c->wrong = 1;
        c->ended = 0;
        /* The needle is a quote and the image's first characters; no other character of it is a quote. */
        c->matched = *at == needle[c->matched] ? c->matched + 1 : *at == '"';
        if (c->matched == NEEDLE) c->in_image = 1, c->matched = NEEDLE - 1;
        at++, size--;
    }
}

/* Takes a piece of the body. 1: the answer is complete; 0: more is to come; -1: it cannot be read. */
static int body(struct connection *c, const char *at, size_t size) {
    if (!c->chunked) {
        if ((long long)size > c->left) return -1;
        check(c, at, size);
        c->left -= (long long)size;
        return c->left == 0;
    }
    while (size) {
        if (c->left > 0) {
            size_t more = (long long)size < c->left ? size : (size_t)c->left;
            check(c, at, more);
            c->left -= (long long)more, at += more, size -= more;
            if (!c->left) c->left = -1;
            continue;
        }
        if (c->line_size == (int)sizeof c->line - 1) return -1;
        char byte = *at++;
        size--;
        if (byte != '\n') {
            if (byte != '\r') c->line[c->line_size++] = byte;
            continue;
        }
        if (!c->line_size) { /* the end of a chunk, or of everything */
            if (c->last_chunk) return size ? -1 : 1;
            continue;
        }
        c->line[c->line_size] = 0, c->line_size = 0;
        c->left = strtoll(c->line, NULL, 16);
        if (!c->left) c->last_chunk = 1, c->left = -1;
    }
    return 0;
}

static void failed(struct connection *c, const char *why) {
    if (!errors++) {
        c->text[c->kept] = 0;
        for (char *at = c->text; *at; at++)
            if (*at == '"' || *at == '\\' || (unsigned char)*at < 32) *at = ' ';
        snprintf(first_error, sizeof first_error, "%s, status %d, %lld bytes: %.120s", why, c->status, c->length, c->text);
    }
}

static void judge(struct connection *c) {
    c->text[c->kept] = 0;
    if (c->status != 200) failed(c, "another status");
    else if (c->wrong) failed(c, "another image");
    else if (expected.size && c->images != images) failed(c, "another number of images");
    else if (wanted && !strstr(c->text, wanted)) failed(c, "the text is missing");
    if (shortest < 0 || c->length < shortest) shortest = c->length;
    if (c->length > longest) longest = c->length;
}

/* Reads what there is. 1: the answer is complete; 0: more is to come; -1: it broke off. */
static int receive(struct connection *c) {
    for (;;) {
        if (!c->in_body) {
            ssize_t got = recv(c->fd, c->head + c->have, HEAD - 1 - c->have, 0);
            if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
            c->have += (size_t)got, received += got;
            c->head[c->have] = 0;
            char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
            if (!end) {
                if (c->have == HEAD - 1) return -1;
                continue;
            }
            *end = 0;
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            c->status = atoi(c->head + 9);
            c->chunked = !length && strcasestr(c->head, "\r\ntransfer-encoding: chunked");
            c->closing = strcasestr(c->head, "\r\nconnection: close") != NULL;
            c->left = length ? atoll(length + 17) : -1;
            if (!length && !c->chunked) return -1;
            c->in_body = 1;
            int state = body(c, end + 4, c->have - (size_t)(end + 4 - c->head));
            if (state) return state;
        }
        ssize_t got = recv(c->fd, buffer, CHUNK, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
        received += got;
        int state = body(c, buffer, (size_t)got);
        if (state) return state;
    }
}

static void next(struct connection *c) {
    if (started >= most || (now() >= stop_at && started >= least)) return;
    int fd = c->fd;
    memset(c, 0, sizeof *c);
    c->fd = fd, c->busy = 1, c->request = requests[turn++ % (size_t)request_count];
    started++, in_flight++;
    c->started = now();
}

static void finished(struct connection *c, int state) {
    if (state < 0) failed(c, "the answer broke off");
    else judge(c);
    if (time_count == time_room) {
        time_room = time_room ? time_room * 2 : 1 << 16;
        times = realloc(times, time_room * sizeof *times);
        if (!times) die("realloc");
    }
    times[time_count++] = now() - c->started;
    c->busy = 0;
    in_flight--;
    if (state < 0 || c->closing || c->sent < c->request.size) {
        close(c->fd);
        connected(c);
    }
    next(c);
}

static void advance(struct connection *c) {
    while (c->busy) {
        while (c->sent < c->request.size) {
            ssize_t put = send(c->fd, c->request.at + c->sent, c->request.size - c->sent, MSG_NOSIGNAL);
            if (put < 0 && errno == EAGAIN) break;
            if (put < 0) {
                finished(c, -1);
                return;
            }
            c->sent += (size_t)put;
        }
        int state = receive(c);
        if (!state) return;
        finished(c, state);
    }
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double at(double share) {
    return time_count ? times[(size_t)(share * (double)(time_count - 1) + 0.5)] * 1000 : 0;
}

int main(int argc, char **argv) {
    int c = 1, option;
    double seconds = 1;
    while ((option = getopt(argc, argv, "p:c:s:m:M:e:n:w:")) != -1) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'c': c = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'm': least = strtoul(optarg, NULL, 10); break;
        case 'M': most = strtoul(optarg, NULL, 10); break;
        case 'e': expected = mapped(optarg); break;
        case 'n': images = atoi(optarg); break;
        case 'w': wanted = optarg; break;
        default: return 2;
    }
    for (; optind < argc && request_count < 4096; optind++) requests[request_count++] = mapped(argv[optind]);
    if (!request_count || !port || (expected.size && expected.size < NEEDLE)) return fprintf(stderr, "see the source\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {1 << 14, 1 << 14};
    setrlimit(RLIMIT_NOFILE, &files);
    if (expected.size) needle[0] = '"', memcpy(needle + 1, expected.at, NEEDLE - 1);
    poll_fd = epoll_create1(0);
    struct connection *all = calloc((size_t)c, sizeof *all);
    if (!all) die("calloc");
    for (int i = 0; i < c; i++) connected(&all[i]);
    double begun = now();
    stop_at = begun + seconds;
    for (int i = 0; i < c; i++) {
        next(&all[i]);
        advance(&all[i]);
    }
    struct epoll_event events[512];
    while (in_flight) {
        int count = epoll_wait(poll_fd, events, 512, 60000);
        if (count == 0) {
            fprintf(stderr, "no answer for 60 s, %zu in flight\n", in_flight);
            return 1;
        }
        for (int i = 0; i < count; i++) advance(events[i].data.ptr);
    }
    double took = now() - begun;
    qsort(times, time_count, sizeof *times, ascending);
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.4f, \"bytes\": %lld, \"shortest\": %lld, "
           "\"longest\": %lld, \"p50\": %.4f, \"p95\": %.4f, \"p99\": %.4f, \"max\": %.4f, \"error\": \"%s\"}\n",
           time_count, errors, took, received, shortest, longest, at(0.5), at(0.95), at(0.99), at(1), first_error);
    return 0;
}
