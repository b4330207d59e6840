/* A disk and a clock that misbehave on demand, for one process: LD_PRELOAD this, and point FAULTS_CONTROL to a file
 * that begins with `struct control`; whoever writes to the file changes the faults while the process runs.
 * The disk's faults meet only files whose path contains "events.db". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    double sync_s;         /* how long a slow fsync takes */
    double clock_s;        /* added to the wall clock */
    int32_t sync_one_in;   /* every how many fsyncs is slow; 0: none */
    int32_t sync_fails;    /* fsync gives EIO */
    int32_t write_fails;   /* write gives EIO */
};

static volatile struct control *control;
static const struct control none;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("FAULTS_CONTROL");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "shim: FAULTS_CONTROL names no file\n");
        _exit(70);
    }
    close(fd);
    control = at;
}

static const volatile struct control *now(void) { return control ? control : &none; }

static int ours(int fd) {
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, "events.db") != NULL;
}

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

static int spoiled_sync(int fd) {
    static int count;
    const volatile struct control *c = now();
    if (c->sync_one_in && ours(fd) && __sync_add_and_fetch(&count, 1) % c->sync_one_in == 0)
        usleep((useconds_t)(c->sync_s * 1e6));
    if (c->sync_fails && ours(fd)) return errno = EIO, 1;
    return 0;
}

int fsync(int fd) { return spoiled_sync(fd) ? -1 : REAL(fsync, fd); }
int fdatasync(int fd) { return spoiled_sync(fd) ? -1 : REAL(fdatasync, fd); }

static int spoiled_write(int fd) { return now()->write_fails && ours(fd) ? (errno = EIO, 1) : 0; }

ssize_t write(int fd, const void *data, size_t n) { return spoiled_write(fd) ? -1 : REAL(write, fd, data, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    return spoiled_write(fd) ? -1 : REAL(pwrite, fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    return spoiled_write(fd) ? -1 : REAL(pwrite64, fd, data, n, at);
}

int clock_gettime(clockid_t id, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, out);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) out->tv_sec += (time_t)now()->clock_s;
    return rc;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void)zone;
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
