/* writer.c: writes a folder with and without syncing, prints `done`, and waits to be killed. The
 * test of powercut.c cuts its power: exactly what is named `durable` must be left, with these bytes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        exit(1);
}

static int make(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        exit(1);
    return fd;
}

static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fsync(fd))
        exit(1);
    close(fd);
}

int main(int count, char **arguments)
{
    if (count != 2 || chdir(arguments[1]))
        return 1;
    /* Bytes: appended and synced; appended and not; changed in place and not. */
    int log = make("log");
    put(log, "durable");
    fdatasync(log);
    sync_folder(".");
    put(log, " lost");
    if (pwrite(log, "X", 1, 0) != 1)
        return 1;
    /* Changed in place, synced. */
    int page = make("page");
    put(page, "aaaa");
    fsync(page);
    if (pwrite(page, "b", 1, 1) != 1)
        return 1;
    fdatasync(page);
    /* Shortened, synced; grown again, not. */
    int cut = make("cut");
    put(cut, "123456");
    fsync(cut);
    if (ftruncate(cut, 2))
        return 1;
    fsync(cut);
    put(cut, "9");
    /* A name that is replaced, durably; one that is not. */
    int next = make("next");
    put(next, "new");
    fsync(next);
    int old = make("current");
    put(old, "old");
    fsync(old);
    sync_folder(".");
    rename("next", "current");
    sync_folder(".");
    int third = make("third");
    put(third, "third");
    fsync(third);
    rename("third", "current");
    /* Removed, not durably. */
    unlink("page");
    /* A folder with a file: synced inside, its own name not. */
    mkdir("folder", 0700);
    close(make("folder/file"));
    sync_folder("folder");
    puts("done");
    fflush(stdout);
    pause();
    return 0;
}
