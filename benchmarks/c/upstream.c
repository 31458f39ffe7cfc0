/* The mock upstream: one thread, epoll, keep-alive, answers from files.
 *
 *     upstream PORT FOLDER
 *
 * FOLDER holds whole HTTP answers, one file a key (KEY.http). A request names its answer by "bench:KEY" anywhere in its
 * first 16 KiB (the prompt), or by the last segment of its path. "KEY~300" answers after 225 to 375 ms: a spread, as
 * answers that come all at once are another case. The whole request is read before a byte is answered;
 * what lies beyond the first 16 KiB is dropped inside the kernel.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
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
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 << 10, ANSWERS = 256, CONNECTIONS = 1 << 14, DROP = 1 << 20, SMALL = 64 << 10 };

struct answer {
    char key[64];
    int file;
    const char *bytes;
    size_t size;
};

struct connection {
    char head[HEAD];
    size_t have;      /* bytes kept in head */
    long long seen;   /* bytes of the request received */
    long long need;   /* its length; 0 while unknown, -1 chunked */
    char last[7];     /* the last bytes received, for the end of a chunked body */
    const struct answer *answer;
    off_t sent;
    double due;       /* when a delayed answer may start; 0 none */
    int closing;
};

static struct answer answers[ANSWERS];
static int answer_count;
static struct connection *connections[CONNECTIONS];
static int delayed[CONNECTIONS], delayed_count;
static char scratch[DROP];

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void load(const char *folder) {
    DIR *listing = opendir(folder);
    if (!listing) die(folder);
    for (struct dirent *entry; (entry = readdir(listing));) {
        char *dot = strrchr(entry->d_name, '.'), path[4096];
        if (!dot || strcmp(dot, ".http") || answer_count == ANSWERS) continue;
        struct answer *answer = &answers[answer_count++];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        snprintf(answer->key, sizeof answer->key, "%.*s", (int)(dot - entry->d_name), entry->d_name);
        struct stat facts;
        answer->file = open(path, O_RDONLY);
        if (answer->file < 0 || fstat(answer->file, &facts)) die(path);
        answer->size = (size_t)facts.st_size;
        answer->bytes = mmap(NULL, answer->size, PROT_READ, MAP_SHARED | MAP_POPULATE, answer->file, 0);
        if (answer->bytes == MAP_FAILED) die(path);
    }
    closedir(listing);
}

static void bye(int fd) {
    close(fd);
    free(connections[fd]);
    connections[fd] = NULL;
}

/* The answer that a complete request names, and its delay in seconds. NULL: no such key. */
static const struct answer *chosen(const struct connection *c, double *delay) {
    const char *at = memmem(c->head, c->have, "bench:", 6), *end = c->head + c->have;
    if (at) {
        at += 6;
    } else {
        const char *space = memchr(c->head, ' ', c->have);
        const char *stop = space ? memchr(space + 1, ' ', (size_t)(end - space - 1)) : NULL;
        if (!stop) return NULL;
        at = memrchr(c->head, '/', (size_t)(stop - c->head));
        at = at ? at + 1 : stop;
    }
    size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789");
    *delay = at + length < end && at[length] == '~' ? atof(at + length + 1) / 1000 : 0;
    for (int i = 0; i < answer_count; i++)
        if (strlen(answers[i].key) == length && !memcmp(answers[i].key, at, length)) return &answers[i];
    return NULL;
}

/* Reads what there is. 1: the request is complete; 0: more is to come; -1: the peer is gone. */
static int receive(int fd, struct connection *c) {
    for (;;) {
        ssize_t got;
        size_t room = HEAD - 1 - c->have;
        if (room) {
            got = recv(fd, c->head + c->have, room, 0);
        } else if (c->need > 0) {
            long long left = c->need - c->seen;
            got = recv(fd, scratch, left < DROP ? (size_t)left : DROP, MSG_TRUNC);
        } else {
            got = recv(fd, scratch, DROP, 0);
        }
        if (got == 0) return -1;
        if (got < 0) return errno == EAGAIN ? 0 : -1;
        const char *from = room ? c->head + c->have : scratch;
        if (room) c->have += (size_t)got;
        c->seen += got;
        if (c->need <= 0) {
            size_t tail = got < 7 ? (size_t)got : 7;
            memmove(c->last, c->last + tail, 7 - tail);
            memcpy(c->last + 7 - tail, from + got - tail, tail);
        }
        if (!c->need) {
            c->head[c->have] = 0;
            char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
            if (!end) {
                if (c->have == HEAD - 1) return -1;
                continue;
            }
            *end = 0;
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            c->closing = strcasestr(c->head, "\r\nconnection: close") != NULL;
            c->need = end - c->head + 4 + (length ? atoll(length + 17) : 0);
            if (!length && strcasestr(c->head, "\r\ntransfer-encoding: chunked")) c->need = -1;
            *end = '\r';
        }
        if (c->need > 0 ? c->seen >= c->need : !memcmp(c->last, "\r\n0\r\n\r\n", 7)) return 1;
    }
}

/* Sends what fits. 1: the answer is out; 0: more is to go; -1: the peer is gone. */
static int answer(int fd, struct connection *c) {
    while ((size_t)c->sent < c->answer->size) {
        size_t left = c->answer->size - (size_t)c->sent;
        ssize_t put;
        if (c->answer->size < SMALL) {
            put = send(fd, c->answer->bytes + c->sent, left, MSG_NOSIGNAL);
            if (put > 0) c->sent += put;
        } else {
            put = sendfile(fd, c->answer->file, &c->sent, left);
        }
        if (put < 0) return errno == EAGAIN ? 0 : -1;
    }
    return 1;
}

static void advance(int fd) {
    struct connection *c = connections[fd];
    for (;;) {
        if (!c->answer) {
            int state = receive(fd, c);
            if (state < 0) bye(fd);
            if (state <= 0) return;
            double delay = 0;
            c->answer = chosen(c, &delay);
            if (!c->answer) {
                static const char none[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                if (send(fd, none, sizeof none - 1, MSG_NOSIGNAL) < 0) perror("send");
                fprintf(stderr, "no answer for: %.120s\n", c->head);
                bye(fd);
                return;
            }
            if (delay > 0) {
                static int spread;
                spread = (spread + 37) % 101;
                c->due = now() + delay * (0.75 + spread / 200.0);
                delayed[delayed_count++] = fd;
            }
        }
        if (c->due > 0) return;
        int state = answer(fd, c);
        if (state < 0 || (state && c->closing)) bye(fd);
        if (state <= 0 || c->closing) return;
        c->have = 0, c->seen = c->need = 0, c->answer = NULL, c->sent = 0;
    }
}

/* Starts the delayed answers whose time has come; milliseconds until the next one, -1 none. */
static int wake(void) {
    double next = 0, at = now();
    int kept = 0, due[CONNECTIONS], count = 0;
    for (int i = 0; i < delayed_count; i++) {
        struct connection *c = connections[delayed[i]];
        if (!c) continue;
        if (c->due <= at) {
            c->due = 0;
            due[count++] = delayed[i];
            continue;
        }
        if (!next || c->due < next) next = c->due;
        delayed[kept++] = delayed[i];
    }
    delayed_count = kept;
    for (int i = 0; i < count; i++) advance(due[i]);
    return next ? (int)((next - at) * 1000) + 1 : delayed_count ? 0 : -1;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: upstream PORT FOLDER\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {CONNECTIONS, CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    load(argv[2]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) die("listen");
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int wait = wake(), count = epoll_wait(poll, events, 512, wait);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (connections[fd]) advance(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= CONNECTIONS) {
                    close(fd);
                    continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[fd] = calloc(1, sizeof(struct connection));
                if (!connections[fd]) die("calloc");
                event = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
