/* A preloaded library that counts the file-system calls of a program, and lets the n-th of them go wrong.
 *
 * Everything is steered through one file that all processes of the test map (struct state): the harness sets it up,
 * the processes count in it, atomically and all together, so that "the 117th call that changes a file" means the same
 * over a program and the workers that it forks.  Only calls whose path, or whose descriptor's path, lies below one of
 * the given directories count.
 *
 * What it cannot see: system calls made without libc (git-lfs, being Go), what libc calls inside itself (the flush of
 * a FILE*; its opening is seen), stores into a mapped file, and children whose environment was scrubbed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#define RECORDS 16384
#define ROOM 4352

enum class { CHANGE = 0, READ = 1 };
enum fault { NONE, KILL_BEFORE, KILL_AFTER, KILL_ONE_BEFORE, KILL_ONE_AFTER, FAIL, SHORT, STOP_BEFORE, STOP_AFTER };

struct record {
    uint32_t pid;
    uint32_t class;
    char call[24];
    char path[480];
};

struct state { /* the twin of shim.State */
    uint64_t counted[2];
    uint64_t at;
    uint64_t fired;
    uint32_t class;
    uint32_t fault;
    uint32_t error;
    uint32_t sticky;
    uint32_t fired_pid;
    uint32_t logging;
    uint64_t logged;
    char prefixes[2048];
    char calls[512];
    char part[512];
    struct record log[RECORDS];
};

static struct state *state;

/* The functions below shadow libc's for this library too, so it goes around them. */
static long (*raw)(long, ...);

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

#define REAL(type, name, ...)                                  \
    static type (*real_##name)(__VA_ARGS__);                   \
    if (!real_##name) real_##name = (type(*)(__VA_ARGS__))real(#name)

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("GITRUN_SHIM_STATE");
    if (!path) return;
    raw = (long (*)(long, ...))real("syscall");
    int fd = (int)raw(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) { perror("shim: state"); _exit(99); }
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (state == MAP_FAILED) { perror("shim: mmap"); _exit(99); }
    close(fd);
}

/* Where a path leads, as an absolute path; names through /proc/self/fd are followed. */
static void absolute(int at, const char *path, char *out) {
    char link[64];
    size_t used = 0;
    const char *rest = path ? path : "";
    if (!strncmp(rest, "/proc/self/fd/", 14)) {
        at = (int)strtol(rest + 14, (char **)&rest, 10);
        if (*rest == '/') rest++;
    } else if (*rest == '/') {
        snprintf(out, ROOM, "%s", rest);
        return;
    }
    if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    long n = raw(SYS_readlinkat, AT_FDCWD, link, out, ROOM - 1);
    if (n > 0) used = (size_t)n;
    out[used] = 0;
    if (*rest) snprintf(out + used, ROOM - used, "/%s", rest);
}

static int below(const char *path) {
    for (const char *p = state->prefixes; *p; p += strlen(p) + 1) {
        size_t n = strlen(p);
        if (!strncmp(path, p, n) && (path[n] == '/' || path[n] == ' ' || !path[n])) return 1;
    }
    return 0;
}

static int wanted(const char *call, const char *path) {
    if (state->calls[0]) {
        char needle[64];
        snprintf(needle, sizeof needle, ",%s,", call);
        if (!strstr(state->calls, needle)) return 0;
    }
    return !state->part[0] || strstr(path, state->part);
}

static void note(enum class class, const char *call, const char *path) {
    uint64_t i = __atomic_fetch_add(&state->logged, 1, __ATOMIC_SEQ_CST);
    if (i >= RECORDS) return;
    struct record *r = &state->log[i];
    r->pid = (uint32_t)getpid();
    r->class = class;
    snprintf(r->call, sizeof r->call, "%s", call);
    snprintf(r->path, sizeof r->path, "%s", path);
}

static enum fault act(enum fault fault) {
    state->fired_pid = (uint32_t)getpid();
    __atomic_fetch_add(&state->fired, 1, __ATOMIC_SEQ_CST);
    switch (fault) {
    case KILL_BEFORE: kill(0, SIGKILL); pause(); break;
    case KILL_ONE_BEFORE: kill(getpid(), SIGKILL); pause(); break;
    case STOP_BEFORE: kill(getpid(), SIGSTOP); break;
    case FAIL: errno = (int)state->error; break;
    default: break;
    }
    return fault;
}

static enum fault point(enum class class, const char *call, const char *first, const char *second) {
    int saved = errno;
    const char *path = below(first) ? first : second && below(second) ? second : NULL;
    if (!path || !wanted(call, path)) { errno = saved; return NONE; }
    if (state->logging) note(class, call, path);
    uint64_t n = __atomic_add_fetch(&state->counted[class], 1, __ATOMIC_SEQ_CST);
    errno = saved;
    if (class != state->class || !state->at) return NONE;
    if (n == state->at || (state->sticky && n > state->at)) return act(state->fault);
    return NONE;
}

static void after(enum fault fault) {
    int saved = errno;
    if (fault == KILL_AFTER) { kill(0, SIGKILL); pause(); }
    if (fault == KILL_ONE_AFTER) { kill(getpid(), SIGKILL); pause(); }
    if (fault == STOP_AFTER) kill(getpid(), SIGSTOP);
    errno = saved;
}

#define DO(type, verdict, bad, expression)   \
    do {                                     \
        enum fault f_ = (verdict);           \
        if (f_ == FAIL) return (bad);        \
        type result_ = (expression);         \
        after(f_);                           \
        return result_;                      \
    } while (0)

static enum fault at_path(enum class class, const char *call, int at, const char *path) {
    if (!state) return NONE;
    char where[ROOM];
    int saved = errno;
    absolute(at, path, where);
    errno = saved;
    return point(class, call, where, NULL);
}

static enum fault at_fd(enum class class, const char *call, int fd) { return at_path(class, call, fd, ""); }

static enum fault at_two(const char *call, int at, const char *path, int other, const char *path2) {
    if (!state) return NONE;
    char first[ROOM], second[ROOM];
    int saved = errno;
    absolute(at, path, first);
    absolute(other, path2, second);
    errno = saved;
    return point(CHANGE, call, second, first);
}

/* --- open ------------------------------------------------------------------------------------------------------ */

static enum fault at_open(int at, const char *path, int flags) {
    int changes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY || (flags & O_TMPFILE) == O_TMPFILE;
    return at_path(changes ? CHANGE : READ, changes ? "create" : "open", at, path);
}

#define MODE_OF(flags)                                                   \
    mode_t mode = 0;                                                     \
    if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) {     \
        va_list list;                                                    \
        va_start(list, flags);                                           \
        mode = va_arg(list, mode_t);                                     \
        va_end(list);                                                    \
    }

#define OPEN(name)                                                           \
    int name(const char *path, int flags, ...) {                             \
        MODE_OF(flags)                                                       \
        REAL(int, name, const char *, int, ...);                             \
        DO(int, at_open(AT_FDCWD, path, flags), -1, real_##name(path, flags, mode)); \
    }
#define OPENAT(name)                                                         \
    int name(int at, const char *path, int flags, ...) {                     \
        MODE_OF(flags)                                                       \
        REAL(int, name, int, const char *, int, ...);                        \
        DO(int, at_open(at, path, flags), -1, real_##name(at, path, flags, mode)); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name)                                                         \
    int name(const char *path, int flags) {                                  \
        REAL(int, name, const char *, int);                                  \
        DO(int, at_open(AT_FDCWD, path, flags), -1, real_##name(path, flags)); \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)
#define OPENAT_2(name)                                                       \
    int name(int at, const char *path, int flags) {                          \
        REAL(int, name, int, const char *, int);                             \
        DO(int, at_open(at, path, flags), -1, real_##name(at, path, flags)); \
    }
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

int creat(const char *path, mode_t mode) { return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

#define FOPEN(name)                                                                                     \
    FILE *name(const char *path, const char *how) {                                                     \
        REAL(FILE *, name, const char *, const char *);                                                 \
        int changes = strpbrk(how, "wa+") != NULL;                                                      \
        DO(FILE *, at_path(changes ? CHANGE : READ, changes ? "create" : "open", AT_FDCWD, path), NULL, \
           real_##name(path, how));                                                                     \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define MKSTEMP(name)                                                                      \
    int name(char *template) {                                                             \
        REAL(int, name, char *);                                                           \
        DO(int, at_path(CHANGE, "create", AT_FDCWD, template), -1, real_##name(template)); \
    }
MKSTEMP(mkstemp)
MKSTEMP(mkstemp64)

/* --- writing --------------------------------------------------------------------------------------------------- */

static size_t shorter(enum fault fault, size_t size) { return fault == SHORT && size > 1 ? size / 2 : size; }

#define WRITING(type, name, parameters, call, types, size, fd)   \
    type name parameters {                                       \
        REAL(type, name, types);                                 \
        enum fault fault = at_fd(CHANGE, #name, fd);             \
        size = shorter(fault, size);                             \
        DO(type, fault, -1, real_##name call);                   \
    }
#define T(...) __VA_ARGS__
WRITING(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n), T(int, const void *, size_t), n, fd)
WRITING(ssize_t, pwrite, (int fd, const void *data, size_t n, off_t off), (fd, data, n, off),
        T(int, const void *, size_t, off_t), n, fd)
WRITING(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t off), (fd, data, n, off),
        T(int, const void *, size_t, off64_t), n, fd)
WRITING(ssize_t, sendfile, (int out, int in, off_t *off, size_t n), (out, in, off, n), T(int, int, off_t *, size_t), n, out)
WRITING(ssize_t, sendfile64, (int out, int in, off64_t *off, size_t n), (out, in, off, n),
        T(int, int, off64_t *, size_t), n, out)
WRITING(ssize_t, copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags),
        (in, from, out, to, n, flags), T(int, off64_t *, int, off64_t *, size_t, unsigned), n, out)
WRITING(ssize_t, splice, (int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags),
        (in, from, out, to, n, flags), T(int, off64_t *, int, off64_t *, size_t, unsigned), n, out)

/* A short writev writes half of its first part. */
static const struct iovec *first_half(enum fault fault, const struct iovec *parts, int *count, struct iovec *room) {
    if (fault != SHORT || *count < 1 || parts[0].iov_len < 2) return parts;
    room->iov_base = parts[0].iov_base;
    room->iov_len = parts[0].iov_len / 2;
    *count = 1;
    return room;
}

#define WRITEV(name, parameters, call, types)                    \
    ssize_t name parameters {                                    \
        REAL(ssize_t, name, types);                              \
        struct iovec room;                                       \
        enum fault fault = at_fd(CHANGE, #name, fd);             \
        parts = first_half(fault, parts, &count, &room);         \
        DO(ssize_t, fault, -1, real_##name call);                \
    }
WRITEV(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), T(int, const struct iovec *, int))
WRITEV(pwritev, (int fd, const struct iovec *parts, int count, off_t off), (fd, parts, count, off),
       T(int, const struct iovec *, int, off_t))
WRITEV(pwritev64, (int fd, const struct iovec *parts, int count, off64_t off), (fd, parts, count, off),
       T(int, const struct iovec *, int, off64_t))
WRITEV(pwritev2, (int fd, const struct iovec *parts, int count, off_t off, int flags), (fd, parts, count, off, flags),
       T(int, const struct iovec *, int, off_t, int))
WRITEV(pwritev64v2, (int fd, const struct iovec *parts, int count, off64_t off, int flags), (fd, parts, count, off, flags),
       T(int, const struct iovec *, int, off64_t, int))

/* --- calls on one descriptor or one path ------------------------------------------------------------------------- */

#define ON_FD(class, type, name, parameters, call, types, label) \
    type name parameters {                                       \
        REAL(type, name, types);                                 \
        DO(type, at_fd(class, label, fd), -1, real_##name call); \
    }
ON_FD(CHANGE, int, ftruncate, (int fd, off_t n), (fd, n), T(int, off_t), "ftruncate")
ON_FD(CHANGE, int, ftruncate64, (int fd, off64_t n), (fd, n), T(int, off64_t), "ftruncate")
ON_FD(CHANGE, int, fallocate, (int fd, int how, off_t a, off_t n), (fd, how, a, n), T(int, int, off_t, off_t), "fallocate")
ON_FD(CHANGE, int, fallocate64, (int fd, int how, off64_t a, off64_t n), (fd, how, a, n), T(int, int, off64_t, off64_t),
      "fallocate")
ON_FD(CHANGE, int, fsync, (int fd), (fd), T(int), "fsync")
ON_FD(CHANGE, int, fdatasync, (int fd), (fd), T(int), "fdatasync")
ON_FD(CHANGE, int, syncfs, (int fd), (fd), T(int), "syncfs")
ON_FD(CHANGE, int, fchmod, (int fd, mode_t mode), (fd, mode), T(int, mode_t), "chmod")
ON_FD(CHANGE, int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g), T(int, uid_t, gid_t), "chown")
ON_FD(CHANGE, int, futimens, (int fd, const struct timespec t[2]), (fd, t), T(int, const struct timespec *), "utime")
ON_FD(CHANGE, int, futimes, (int fd, const struct timeval t[2]), (fd, t), T(int, const struct timeval *), "utime")
ON_FD(CHANGE, int, fsetxattr, (int fd, const char *k, const void *v, size_t n, int flags), (fd, k, v, n, flags),
      T(int, const char *, const void *, size_t, int), "setxattr")
ON_FD(CHANGE, int, fremovexattr, (int fd, const char *k), (fd, k), T(int, const char *), "removexattr")

/* These two report their error as a value. */
#define POSIX_FALLOCATE(name, off)                                                             \
    int name(int fd, off a, off n) {                                                           \
        REAL(int, name, int, off, off);                                                        \
        DO(int, at_fd(CHANGE, "fallocate", fd), (int)state->error, real_##name(fd, a, n));     \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

#define ON_PATH(class, type, name, parameters, call, types, label, at)     \
    type name parameters {                                                 \
        REAL(type, name, types);                                           \
        DO(type, at_path(class, label, at, path), -1, real_##name call);   \
    }
ON_PATH(CHANGE, int, truncate, (const char *path, off_t n), (path, n), T(const char *, off_t), "ftruncate", AT_FDCWD)
ON_PATH(CHANGE, int, truncate64, (const char *path, off64_t n), (path, n), T(const char *, off64_t), "ftruncate", AT_FDCWD)
ON_PATH(CHANGE, int, unlink, (const char *path), (path), T(const char *), "unlink", AT_FDCWD)
ON_PATH(CHANGE, int, unlinkat, (int at, const char *path, int flags), (at, path, flags), T(int, const char *, int),
        "unlink", at)
ON_PATH(CHANGE, int, remove, (const char *path), (path), T(const char *), "unlink", AT_FDCWD)
ON_PATH(CHANGE, int, rmdir, (const char *path), (path), T(const char *), "rmdir", AT_FDCWD)
ON_PATH(CHANGE, int, mkdir, (const char *path, mode_t mode), (path, mode), T(const char *, mode_t), "mkdir", AT_FDCWD)
ON_PATH(CHANGE, int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), T(int, const char *, mode_t),
        "mkdir", at)
ON_PATH(CHANGE, int, mknod, (const char *path, mode_t mode, dev_t dev), (path, mode, dev), T(const char *, mode_t, dev_t),
        "mknod", AT_FDCWD)
ON_PATH(CHANGE, int, mknodat, (int at, const char *path, mode_t mode, dev_t dev), (at, path, mode, dev),
        T(int, const char *, mode_t, dev_t), "mknod", at)
ON_PATH(CHANGE, int, mkfifo, (const char *path, mode_t mode), (path, mode), T(const char *, mode_t), "mknod", AT_FDCWD)
ON_PATH(CHANGE, int, mkfifoat, (int at, const char *path, mode_t mode), (at, path, mode), T(int, const char *, mode_t),
        "mknod", at)
ON_PATH(CHANGE, int, symlink, (const char *to, const char *path), (to, path), T(const char *, const char *), "symlink",
        AT_FDCWD)
ON_PATH(CHANGE, int, symlinkat, (const char *to, int at, const char *path), (to, at, path),
        T(const char *, int, const char *), "symlink", at)
ON_PATH(CHANGE, int, chmod, (const char *path, mode_t mode), (path, mode), T(const char *, mode_t), "chmod", AT_FDCWD)
ON_PATH(CHANGE, int, lchmod, (const char *path, mode_t mode), (path, mode), T(const char *, mode_t), "chmod", AT_FDCWD)
ON_PATH(CHANGE, int, fchmodat, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags),
        T(int, const char *, mode_t, int), "chmod", at)
ON_PATH(CHANGE, int, chown, (const char *path, uid_t u, gid_t g), (path, u, g), T(const char *, uid_t, gid_t), "chown",
        AT_FDCWD)
ON_PATH(CHANGE, int, lchown, (const char *path, uid_t u, gid_t g), (path, u, g), T(const char *, uid_t, gid_t), "chown",
        AT_FDCWD)
ON_PATH(CHANGE, int, fchownat, (int at, const char *path, uid_t u, gid_t g, int flags), (at, path, u, g, flags),
        T(int, const char *, uid_t, gid_t, int), "chown", at)
ON_PATH(CHANGE, int, utimensat, (int at, const char *path, const struct timespec t[2], int flags), (at, path, t, flags),
        T(int, const char *, const struct timespec *, int), "utime", at)
ON_PATH(CHANGE, int, utime, (const char *path, const struct utimbuf *t), (path, t), T(const char *, const struct utimbuf *),
        "utime", AT_FDCWD)
ON_PATH(CHANGE, int, utimes, (const char *path, const struct timeval t[2]), (path, t), T(const char *, const struct timeval *),
        "utime", AT_FDCWD)
ON_PATH(CHANGE, int, lutimes, (const char *path, const struct timeval t[2]), (path, t),
        T(const char *, const struct timeval *), "utime", AT_FDCWD)
ON_PATH(CHANGE, int, setxattr, (const char *path, const char *k, const void *v, size_t n, int flags), (path, k, v, n, flags),
        T(const char *, const char *, const void *, size_t, int), "setxattr", AT_FDCWD)
ON_PATH(CHANGE, int, lsetxattr, (const char *path, const char *k, const void *v, size_t n, int flags), (path, k, v, n, flags),
        T(const char *, const char *, const void *, size_t, int), "setxattr", AT_FDCWD)
ON_PATH(CHANGE, int, removexattr, (const char *path, const char *k), (path, k), T(const char *, const char *),
        "removexattr", AT_FDCWD)
ON_PATH(CHANGE, int, lremovexattr, (const char *path, const char *k), (path, k), T(const char *, const char *),
        "removexattr", AT_FDCWD)

/* --- calls on two paths ------------------------------------------------------------------------------------------ */

#define ON_TWO(name, parameters, call, types, label, at, at2)                      \
    int name parameters {                                                          \
        REAL(int, name, types);                                                    \
        DO(int, at_two(label, at, path, at2, path2), -1, real_##name call);        \
    }
ON_TWO(rename, (const char *path, const char *path2), (path, path2), T(const char *, const char *), "rename", AT_FDCWD, AT_FDCWD)
ON_TWO(renameat, (int at, const char *path, int at2, const char *path2), (at, path, at2, path2),
       T(int, const char *, int, const char *), "rename", at, at2)
ON_TWO(renameat2, (int at, const char *path, int at2, const char *path2, unsigned flags), (at, path, at2, path2, flags),
       T(int, const char *, int, const char *, unsigned), "rename", at, at2)
ON_TWO(link, (const char *path, const char *path2), (path, path2), T(const char *, const char *), "link", AT_FDCWD, AT_FDCWD)
ON_TWO(linkat, (int at, const char *path, int at2, const char *path2, int flags), (at, path, at2, path2, flags),
       T(int, const char *, int, const char *, int), "link", at, at2)

/* --- ioctl and raw system calls ------------------------------------------------------------------------------------ */

int ioctl(int fd, unsigned long request, ...) {
    REAL(int, ioctl, int, unsigned long, ...);
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    enum fault fault = NONE;
    if (request == 0x40049409UL || request == 0x4020940dUL) fault = at_fd(CHANGE, "reflink", fd);
    if (request == 0x40086602UL) fault = at_fd(CHANGE, "setflags", fd);
    DO(int, fault, -1, real_ioctl(fd, request, argument));
}

long syscall(long number, ...) {
    REAL(long, syscall, long, ...);
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    enum fault fault = NONE;
    switch (number) {
    case 452: fault = at_path(CHANGE, "chmod", (int)a[0], (const char *)a[1]); break; /* fchmodat2 */
    case SYS_fchmodat: fault = at_path(CHANGE, "chmod", (int)a[0], (const char *)a[1]); break;
    case SYS_renameat2: fault = at_two("rename", (int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3]); break;
    case SYS_copy_file_range: fault = at_fd(CHANGE, "copy_file_range", (int)a[2]); break;
#ifdef SYS_openat2
    case SYS_openat2: fault = at_open((int)a[0], (const char *)a[1], (int)*(uint64_t *)a[2]); break;
#endif
    default: break;
    }
    DO(long, fault, -1, real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* --- reading: a class of its own, for errors while a run is read ------------------------------------------------- */

ON_FD(READ, ssize_t, read, (int fd, void *data, size_t n), (fd, data, n), T(int, void *, size_t), "read")
ON_FD(READ, ssize_t, pread, (int fd, void *data, size_t n, off_t off), (fd, data, n, off), T(int, void *, size_t, off_t), "read")
ON_FD(READ, ssize_t, pread64, (int fd, void *data, size_t n, off64_t off), (fd, data, n, off),
      T(int, void *, size_t, off64_t), "read")
ON_FD(READ, ssize_t, readv, (int fd, const struct iovec *parts, int n), (fd, parts, n), T(int, const struct iovec *, int), "read")
ON_FD(READ, ssize_t, preadv, (int fd, const struct iovec *parts, int n, off_t off), (fd, parts, n, off),
      T(int, const struct iovec *, int, off_t), "read")
ON_FD(READ, ssize_t, preadv64, (int fd, const struct iovec *parts, int n, off64_t off), (fd, parts, n, off),
      T(int, const struct iovec *, int, off64_t), "read")
ON_FD(READ, ssize_t, preadv2, (int fd, const struct iovec *parts, int n, off_t off, int flags), (fd, parts, n, off, flags),
      T(int, const struct iovec *, int, off_t, int), "read")
ON_FD(READ, ssize_t, preadv64v2, (int fd, const struct iovec *parts, int n, off64_t off, int flags),
      (fd, parts, n, off, flags), T(int, const struct iovec *, int, off64_t, int), "read")
ON_FD(READ, int, fstat, (int fd, struct stat *out), (fd, out), T(int, struct stat *), "stat")
ON_FD(READ, int, fstat64, (int fd, struct stat64 *out), (fd, out), T(int, struct stat64 *), "stat")
ON_FD(READ, ssize_t, fgetxattr, (int fd, const char *k, void *v, size_t n), (fd, k, v, n),
      T(int, const char *, void *, size_t), "getxattr")
ON_FD(READ, ssize_t, flistxattr, (int fd, char *out, size_t n), (fd, out, n), T(int, char *, size_t), "listxattr")
ON_PATH(READ, int, stat, (const char *path, struct stat *out), (path, out), T(const char *, struct stat *), "stat", AT_FDCWD)
ON_PATH(READ, int, stat64, (const char *path, struct stat64 *out), (path, out), T(const char *, struct stat64 *), "stat",
        AT_FDCWD)
ON_PATH(READ, int, lstat, (const char *path, struct stat *out), (path, out), T(const char *, struct stat *), "stat", AT_FDCWD)
ON_PATH(READ, int, lstat64, (const char *path, struct stat64 *out), (path, out), T(const char *, struct stat64 *), "stat",
        AT_FDCWD)
ON_PATH(READ, int, fstatat, (int at, const char *path, struct stat *out, int flags), (at, path, out, flags),
        T(int, const char *, struct stat *, int), "stat", at)
ON_PATH(READ, int, fstatat64, (int at, const char *path, struct stat64 *out, int flags), (at, path, out, flags),
        T(int, const char *, struct stat64 *, int), "stat", at)
ON_PATH(READ, int, statx, (int at, const char *path, int flags, unsigned mask, struct statx *out),
        (at, path, flags, mask, out), T(int, const char *, int, unsigned, struct statx *), "stat", at)
ON_PATH(READ, ssize_t, readlink, (const char *path, char *out, size_t n), (path, out, n), T(const char *, char *, size_t),
        "readlink", AT_FDCWD)
ON_PATH(READ, ssize_t, readlinkat, (int at, const char *path, char *out, size_t n), (at, path, out, n),
        T(int, const char *, char *, size_t), "readlink", at)
ON_PATH(READ, ssize_t, getxattr, (const char *path, const char *k, void *v, size_t n), (path, k, v, n),
        T(const char *, const char *, void *, size_t), "getxattr", AT_FDCWD)
ON_PATH(READ, ssize_t, lgetxattr, (const char *path, const char *k, void *v, size_t n), (path, k, v, n),
        T(const char *, const char *, void *, size_t), "getxattr", AT_FDCWD)
ON_PATH(READ, ssize_t, listxattr, (const char *path, char *out, size_t n), (path, out, n), T(const char *, char *, size_t),
        "listxattr", AT_FDCWD)
ON_PATH(READ, ssize_t, llistxattr, (const char *path, char *out, size_t n), (path, out, n), T(const char *, char *, size_t),
        "listxattr", AT_FDCWD)

#define READDIR(name, type)                                                           \
    struct type *name(DIR *directory) {                                               \
        REAL(struct type *, name, DIR *);                                             \
        DO(struct type *, at_fd(READ, "readdir", dirfd(directory)), NULL, real_##name(directory)); \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *);
    DO(DIR *, at_path(READ, "open", AT_FDCWD, path), NULL, real_opendir(path));
}

#define MMAP(name, off)                                                                                  \
    void *name(void *at, size_t n, int protection, int flags, int fd, off from) {                        \
        REAL(void *, name, void *, size_t, int, int, int, off);                                          \
        enum fault fault = fd < 0 ? NONE : at_fd(READ, "mmap", fd);                                      \
        DO(void *, fault, MAP_FAILED, real_##name(at, n, protection, flags, fd, from));                  \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)
