/* powercut.c: a preload shim that knows what a power cut would leave of a folder.
 *
 * It keeps an *image* beside the folder: what is durable by POSIX's strictest reading. Bytes of a
 * file enter the image when an fsync or fdatasync of that file has begun after they were written;
 * names (creates, renames, unlinks) enter it when the directory itself is synced, never before. The
 * harness cuts the power by killing the process with SIGKILL and putting the image in place of the
 * folder. What the image misses is exactly what was not followed by a sync.
 *
 *   POWERCUT_ROOT   the folder (absolute, resolved)
 *   POWERCUT_IMAGE  where the image goes; must not exist: the folder as it is at the start is durable
 *   POWERCUT_DELAY  microseconds that each sync takes, so that cuts fall between write and sync
 *   POWERCUT_LIE    when set, syncs report success and save nothing (to show that tests notice)
 *
 * Form of the image: `root` names the folder's key; `dirs/KEY` lists a directory, a line
 * `f|d KEY MODE NAME` an entry, replaced as a whole; `files/KEY` holds a file's bytes. KEY is inode
 * and time of birth, since inodes are used again. An entry without its `files/KEY` is an empty file,
 * one without its `dirs/KEY` an empty directory.
 *
 * In-place changes are noticed by interposing the calls that make them; appended bytes need no
 * notice, since a sync copies all from the old end on. A shared writable mapping or O_SYNC would
 * escape this: both end the process with a message. The real sync is left out: it would only make
 * the test slow.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define FILES_MAX 65536

static char root[PATH_BYTES];
static char image[PATH_BYTES];
static size_t root_length;
static unsigned root_major, root_minor;
static long delay_us;
static int lies;
static int active;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Lowest offset of each file that changed since its last sync; UINT64_MAX: none. */
static struct {
    char key[64];
    uint64_t low;
} table[FILES_MAX];

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "powercut: %s: %s\n", what, detail);
    fflush(stderr);
    abort();
}

static int raw_open(const char *path, int flags, int mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static int look(int dirfd, const char *name, struct statx *st)
{
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    return statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, st);
}

static void key_of(const struct statx *st, char *key)
{
    snprintf(key, 64, "%llu-%lld.%u", (unsigned long long)st->stx_ino,
             (long long)st->stx_btime.tv_sec, st->stx_btime.tv_nsec);
}

/* Under the lock. */
static uint64_t *low_of(const char *key)
{
    uint64_t hash = 1469598103934665603u;
    for (const char *at = key; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    for (size_t tries = 0; tries < FILES_MAX; tries++) {
        size_t slot = (hash + tries) % FILES_MAX;
        if (!table[slot].key[0]) {
            strcpy(table[slot].key, key);
            table[slot].low = UINT64_MAX;
        }
        if (!strcmp(table[slot].key, key))
            return &table[slot].low;
    }
    die("too many files", key);
    return NULL;
}

static int is_ours(const struct statx *st)
{
    return active && st->stx_dev_major == root_major && st->stx_dev_minor == root_minor;
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_BYTES - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Notes that a file changed at `offset`; after the change, so that no sync can miss both. */
static void note(int fd, uint64_t offset)
{
    int saved = errno;
    struct statx st;
    if (active && !look(fd, "", &st) && S_ISREG(st.stx_mode) && is_ours(&st)) {
        char key[64];
        key_of(&st, key);
        pthread_mutex_lock(&lock);
        uint64_t *low = low_of(key);
        if (offset < *low)
            *low = offset;
        pthread_mutex_unlock(&lock);
    }
    errno = saved;
}

/* Notes a write of `length` bytes that has just moved the file's own position. */
static void note_moved(int fd, ssize_t length)
{
    if (!active || length <= 0)
        return;
    int saved = errno;
    off_t end = lseek(fd, 0, SEEK_CUR);
    errno = saved;
    if (end >= 0)
        note(fd, end > length ? (uint64_t)(end - length) : 0);
}

static void write_all(int fd, const char *bytes, size_t length, off_t offset)
{
    while (length) {
        ssize_t done = syscall(SYS_pwrite64, fd, bytes, length, offset);
        if (done <= 0)
            die("cannot write the image", strerror(errno));
        bytes += done, length -= (size_t)done, offset += done;
    }
}

/* Under the lock: brings the image of a file up to date from `from` on. */
static void save_file(const char *source, const char *key, uint64_t low)
{
    char path[PATH_BYTES + 128];
    static char buffer[1 << 16];
    snprintf(path, sizeof path, "%s/files/%s", image, key);
    int in = raw_open(source, O_RDONLY, 0);
    if (in < 0)
        return; /* Gone meanwhile: nothing of it is durable. */
    int out = raw_open(path, O_RDWR | O_CREAT, 0600);
    struct stat now, then;
    if (out < 0 || fstat(in, &now) || fstat(out, &then))
        die("cannot write the image", path);
    off_t at = then.st_size;
    if (low < (uint64_t)at)
        at = (off_t)low;
    while (at < now.st_size) {
        size_t want = (size_t)(now.st_size - at);
        ssize_t got = syscall(SYS_pread64, in, buffer, want < sizeof buffer ? want : sizeof buffer, at);
        if (got <= 0)
            break;
        write_all(out, buffer, (size_t)got, at);
        at += got;
    }
    if (then.st_size > now.st_size && syscall(SYS_ftruncate, out, now.st_size))
        die("cannot shorten the image", path);
    close(in), close(out);
}

/* Under the lock: brings the image of a directory's names up to date, as a whole. */
static void save_dir(const char *source, const char *key)
{
    char path[PATH_BYTES + 128], next[PATH_BYTES + 144], line[PATH_BYTES];
    snprintf(path, sizeof path, "%s/dirs/%s", image, key);
    snprintf(next, sizeof next, "%s.new", path);
    DIR *dir = opendir(source);
    if (!dir)
        return;
    int out = raw_open(next, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    off_t at = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct statx st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (look(dirfd(dir), entry->d_name, &st))
            continue;
        char kind = S_ISDIR(st.stx_mode) ? 'd' : S_ISREG(st.stx_mode) ? 'f' : 0;
        if (!kind)
            continue;
        char inner[64];
        key_of(&st, inner);
        int length = snprintf(line, sizeof line, "%c %s %o %s\n", kind, inner,
                              st.stx_mode & 07777, entry->d_name);
        write_all(out, line, (size_t)length, at);
        at += length;
    }
    closedir(dir), close(out);
    if (syscall(SYS_renameat2, AT_FDCWD, next, AT_FDCWD, path, 0))
        die("cannot write the image", path);
}

static int save(int fd)
{
    struct statx st;
    char path[PATH_BYTES], key[64];
    if (!active || look(fd, "", &st) || !is_ours(&st) || !path_of(fd, path))
        return 0;
    if (lies)
        return 1;
    if (delay_us)
        usleep((useconds_t)delay_us);
    key_of(&st, key);
    pthread_mutex_lock(&lock);
    if (S_ISDIR(st.stx_mode)) {
        save_dir(path, key);
    } else {
        char self[64];
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        uint64_t *low = low_of(key), from = *low;
        *low = UINT64_MAX;
        save_file(self, key, from);
    }
    pthread_mutex_unlock(&lock);
    return 1;
}

static void save_tree(const char *path)
{
    struct statx st;
    char key[64], inner[PATH_BYTES];
    if (look(AT_FDCWD, path, &st))
        return;
    key_of(&st, key);
    if (S_ISREG(st.stx_mode))
        save_file(path, key, 0);
    if (!S_ISDIR(st.stx_mode))
        return;
    save_dir(path, key);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
            save_tree(inner);
        }
    if (dir)
        closedir(dir);
}

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("POWERCUT_ROOT"), *target = getenv("POWERCUT_IMAGE");
    const char *delay = getenv("POWERCUT_DELAY");
    struct statx st;
    char path[PATH_BYTES + 128], key[64];
    if (!folder || !target)
        return;
    if (look(AT_FDCWD, folder, &st))
        die("no such folder", folder);
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    root_major = st.stx_dev_major, root_minor = st.stx_dev_minor;
    delay_us = delay ? atol(delay) : 0;
    lies = getenv("POWERCUT_LIE") != NULL;
    /* Made under another name, so that a cut during it leaves the folder as it is. */
    snprintf(image, sizeof image, "%s.new", target);
    snprintf(path, sizeof path, "%s/files", image);
    if (mkdir(image, 0700) || mkdir(path, 0700))
        die("cannot make the image", image);
    snprintf(path, sizeof path, "%s/dirs", image);
    if (mkdir(path, 0700))
        die("cannot make the image", path);
    save_tree(root);
    key_of(&st, key);
    snprintf(path, sizeof path, "%s/root", image);
    int out = raw_open(path, O_WRONLY | O_CREAT, 0600);
    write_all(out, key, strlen(key), 0);
    close(out);
    if (rename(image, target))
        die("cannot make the image", target);
    snprintf(image, sizeof image, "%s", target);
    active = 1;
}

#define NEXT(name) ((__typeof__(&name))next_of(#name))
static void *next_of(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        die("no such function", name);
    return found;
}
#define REAL(name)                           \
    static __typeof__(&name) real;           \
    if (!real)                               \
        real = NEXT(name)

int fsync(int fd)
{
    REAL(fsync);
    return save(fd) ? 0 : real(fd);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return save(fd) ? 0 : real(fd);
}

void sync(void)
{
    die("sync() is not modelled", root);
}

int syncfs(int fd)
{
    (void)fd;
    die("syncfs() is not modelled", root);
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    REAL(write);
    ssize_t done = real(fd, bytes, length);
    note_moved(fd, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    ssize_t done = real(fd, parts, count);
    note_moved(fd, done);
    return done;
}

#define AT_OFFSET(name, type, ...)                           \
    {                                                        \
        REAL(name);                                          \
        type done = real(__VA_ARGS__);                       \
        if (done >= 0)                                       \
            note(fd, (uint64_t)offset);                      \
        return done;                                         \
    }

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
    AT_OFFSET(pwrite, ssize_t, fd, bytes, length, offset)
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
    AT_OFFSET(pwrite64, ssize_t, fd, bytes, length, offset)
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
    AT_OFFSET(pwritev, ssize_t, fd, parts, count, offset)
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
    AT_OFFSET(pwritev64, ssize_t, fd, parts, count, offset)
int ftruncate(int fd, off_t offset) AT_OFFSET(ftruncate, int, fd, offset)
int ftruncate64(int fd, off64_t offset) AT_OFFSET(ftruncate64, int, fd, offset)

int fallocate(int fd, int mode, off_t offset, off_t length)
    AT_OFFSET(fallocate, int, fd, mode, offset, length)
int fallocate64(int fd, int mode, off64_t offset, off64_t length)
    AT_OFFSET(fallocate64, int, fd, mode, offset, length)

ssize_t copy_file_range(int in, off64_t *from, int fd, off64_t *to, size_t length, unsigned flags)
{
    REAL(copy_file_range);
    ssize_t done = real(in, from, fd, to, length, flags);
    note(fd, 0);
    return done;
}

static int opened(int fd, int flags)
{
    if (fd < 0 || !active || !(flags & (O_TRUNC | O_SYNC | O_DSYNC)))
        return fd;
    char path[PATH_BYTES];
    if ((flags & (O_SYNC | O_DSYNC)) && path_of(fd, path))
        die("O_SYNC is not modelled", path);
    if (flags & O_TRUNC)
        note(fd, 0);
    return fd;
}

#define MODE                                 \
    mode_t mode = 0;                         \
    if (flags & (O_CREAT | O_TMPFILE)) {     \
        va_list rest;                        \
        va_start(rest, flags);               \
        mode = va_arg(rest, mode_t);         \
        va_end(rest);                        \
    }

int open(const char *path, int flags, ...)
{
    MODE REAL(open);
    return opened(real(path, flags, mode), flags);
}

int open64(const char *path, int flags, ...)
{
    MODE REAL(open64);
    return opened(real(path, flags, mode), flags);
}

int openat(int dir, const char *path, int flags, ...)
{
    MODE REAL(openat);
    return opened(real(dir, path, flags, mode), flags);
}

int openat64(int dir, const char *path, int flags, ...)
{
    MODE REAL(openat64);
    return opened(real(dir, path, flags, mode), flags);
}

static void *mapped(void *at, int protection, int flags, int fd)
{
    char path[PATH_BYTES];
    if (active && at != MAP_FAILED && fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) &&
        path_of(fd, path))
        die("a shared writable mapping is not modelled", path);
    return at;
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    REAL(mmap);
    return mapped(real(at, length, protection, flags, fd, offset), protection, flags, fd);
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset)
{
    REAL(mmap64);
    return mapped(real(at, length, protection, flags, fd, offset), protection, flags, fd);
}
