/* A disk that can be slow or broken: takes the place of the C library's sync calls in one process.
 *
 * DISK_DELAY_MS  every sync takes at least so long
 * DISK_BROKEN    while this file exists every sync fails with EIO
 * DISK_LOG       a byte is added to this file for every sync that succeeded
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int sync_through(int fd, const char *name) {
    const char *delay = getenv("DISK_DELAY_MS"), *broken = getenv("DISK_BROKEN"), *log = getenv("DISK_LOG");
    if (broken && access(broken, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    if (delay)
        usleep((useconds_t)atoi(delay) * 1000);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int status = real(fd);
    if (status == 0 && log) {
        int file = open(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (file < 0 || write(file, ".", 1) != 1)
            abort();
        close(file);
    }
    return status;
}

int fsync(int fd) { return sync_through(fd, "fsync"); }
int fdatasync(int fd) { return sync_through(fd, "fdatasync"); }
