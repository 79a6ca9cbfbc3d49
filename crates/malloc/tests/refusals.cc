// A kernel that refuses memory: every mapping in turn, and all from each one on.
//
// The supervisor runs this very program under a filter that hands it each call for memory or for a thread; it lets
// them pass or refuses them (ENOMEM, EAGAIN). Marks that the program makes (an madvise that means nothing) say how far it
// has come. argv: "once LIBRARY STRIDE", "from LIBRARY STRIDE" or "limits LIBRARY"; the rest is for the program's own use.
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <new>
#include <poll.h>
#include <pthread.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#define MUST(what) \
    do { \
        if (!(what)) { \
            std::fprintf(stderr, "%d: %s (errno %d)\n", __LINE__, #what, errno); \
            _exit(1); \
        } \
    } while (0)

enum Mark { BEGUN = 0x4d01, BACK = 0x4d02 };
static void mark(Mark what) { syscall(SYS_madvise, 0, 0, what); }

// ---- the program: whatever is refused, each function says so as it should, and nothing else is lost

static bool plenty; // nothing may fail any more
static bool throws; // the C++ library has got the memory that it keeps for exceptions
static long refused; // failures that were seen

// Whether there is a block; if not, that must be said rightly.
static bool got(const void *block) {
    if (block) return true;
    MUST(errno == ENOMEM && !plenty);
    refused++;
    return false;
}

static unsigned char pattern(std::size_t at) { return static_cast<unsigned char>(at * 7 + 1); }
static void fill(void *block, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += 61) static_cast<unsigned char *>(block)[at] = pattern(at);
}
static void verify(const void *block, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += 61) MUST(static_cast<const unsigned char *>(block)[at] == pattern(at));
}

static void *(*volatile p_malloc)(std::size_t) = std::malloc;
static void *(*volatile p_calloc)(std::size_t, std::size_t) = std::calloc;
static void *(*volatile p_realloc)(void *, std::size_t) = std::realloc;

template <std::size_t COUNT> static void grows_and_shrinks(const std::size_t (&sizes)[COUNT]) {
    std::size_t bytes = sizes[0];
    errno = 0;
    void *block = p_malloc(bytes);
    if (!got(block)) return;
    fill(block, bytes);
    for (std::size_t next : sizes) {
        errno = 0;
        void *moved = p_realloc(block, next);
        verify(got(moved) ? moved : block, next < bytes && moved ? next : bytes);
        if (moved) {
            block = moved;
            bytes = next;
            fill(block, bytes);
        }
    }
    std::free(block);
}

static long handled;
static void handler() {
    handled++;
    std::set_new_handler(nullptr);
}

static void news(std::size_t bytes) {
    // (Inside, a new that does not throw is one that catches.)
    if (!throws && !plenty) return;
    handled = 0;
    std::set_new_handler(handler);
    try {
        char *volatile block = new char[bytes];
        block[0] = 1;
        delete[] block;
    } catch (const std::bad_alloc &) {
        // Only after the program's handler has given up.
        MUST(!plenty && handled == 1);
        refused++;
    }
    std::set_new_handler(nullptr);
    char *volatile block = new (std::nothrow) char[bytes];
    MUST(block || !plenty);
    delete[] block;
    block = static_cast<char *>(::operator new(bytes, std::align_val_t(256), std::nothrow));
    MUST(block || !plenty);
    ::operator delete(block, std::align_val_t(256));
}

static void aligned() {
    void *block = &block;
    errno = EBADF;
    int error = posix_memalign(&block, 1 << 16, 200000);
    MUST(errno == EBADF);
    MUST(error == 0 || (error == ENOMEM && block == &block && !plenty));
    if (!error) {
        MUST(reinterpret_cast<std::uintptr_t>(block) % (1 << 16) == 0);
        fill(block, 200000);
        std::free(block);
    }
    void *blocks[] = {(errno = 0, aligned_alloc(64, 640)), (errno = 0, memalign(4096, 3 << 20)), (errno = 0, valloc(1))};
    // errno is of the last one: each is asked for again.
    if (!blocks[0]) got((errno = 0, blocks[0] = aligned_alloc(64, 640)));
    if (!blocks[1]) got((errno = 0, blocks[1] = memalign(4096, 3 << 20)));
    if (!blocks[2]) got((errno = 0, blocks[2] = valloc(1)));
    for (void *each : blocks) std::free(each);
}

static void *small_ones(void *) {
    static const int count = 5000;
    void **blocks = static_cast<void **>((errno = 0, p_calloc(count, sizeof(void *))));
    if (!got(blocks)) return nullptr;
    for (int n = 0; n < count; n++) {
        errno = 0;
        blocks[n] = p_malloc(16 + n % 700);
        if (got(blocks[n])) fill(blocks[n], 16 + n % 700);
    }
    for (int n = 0; n < count; n++) {
        if (blocks[n]) verify(blocks[n], 16 + n % 700);
        std::free(blocks[n]);
    }
    std::free(blocks);
    return nullptr;
}

static void threads() {
    pthread_t made[3];
    int count = 0;
    for (pthread_t &thread : made) {
        int error = pthread_create(&thread, nullptr, small_ones, nullptr);
        MUST(error == 0 || ((error == EAGAIN || error == ENOMEM) && !plenty));
        if (error) break;
        count++;
    }
    for (int n = 0; n < count; n++) MUST(!pthread_join(made[n], nullptr));
}

static void everything() {
    small_ones(nullptr);
    static const std::size_t sizes[] = {1, 100, 40, 5000, 60000, 20, 3 << 20, 9 << 20, 20 << 20, 2 << 20, 10};
    grows_and_shrinks(sizes);
    unsigned char *zeros = static_cast<unsigned char *>((errno = 0, p_calloc(1000, 3000)));
    if (got(zeros)) {
        for (std::size_t at = 0; at < 3000000; at += 997) MUST(!zeros[at]);
        std::memset(zeros, 1, 3000000);
    }
    news(100);
    news(5 << 20);
    aligned();
    threads();
    std::free(zeros);
    malloc_trim(0);
    zeros = static_cast<unsigned char *>((errno = 0, p_calloc(1, 3000000)));
    if (got(zeros)) {
        for (std::size_t at = 0; at < 3000000; at += 997) MUST(!zeros[at]);
    }
    std::free(zeros);
    MUST(mallinfo2().uordblks < 20u << 20);
}

// Takes all there is, in blocks of that size, and gives it back.
static void drain(std::size_t bytes) {
    struct Block {
        Block *next;
    } *all = nullptr, *block;
    std::size_t count = 0;
    while (errno = 0, block = static_cast<Block *>(p_malloc(bytes))) {
        block->next = all;
        all = block;
        // Under no limit there would be no end.
        MUST(++count * bytes < std::size_t(64) << 30);
    }
    MUST(errno == ENOMEM && count > 0);
    MUST(!::operator new(bytes, std::nothrow));
    // Half of it, and there is room again.
    for (std::size_t n = 0; n < count / 2 + 1; n++) {
        block = all;
        all = all->next;
        std::free(block);
    }
    MUST(p_malloc(bytes) || count < 2); // and is kept
    while ((block = all)) {
        all = all->next;
        std::free(block);
    }
}

static int program(const char *what) {
    mark(BEGUN);
    // A process that had no memory at its start has nothing to throw with, on whatever allocator.
    void *first = p_malloc(1);
    throws = first != nullptr;
    std::free(first);
    if (!std::strcmp(what, "limit")) {
        drain(1 << 20);
        drain(50000);
    } else if (!std::strcmp(what, "late")) {
        // A limit below what is mapped already: the kernel maps nothing more.
        rlimit before;
        MUST(!getrlimit(RLIMIT_AS, &before));
        rlimit now = {1 << 20, before.rlim_max};
        MUST(!setrlimit(RLIMIT_AS, &now));
        everything();
        MUST(!setrlimit(RLIMIT_AS, &before));
    } else {
        everything();
    }
    mark(BACK);
    plenty = true;
    everything();
    return 0;
}

// ---- the supervisor

static const int calls[] = {SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_process_madvise, SYS_clone, SYS_clone3};

static int filter() {
    std::vector<sock_filter> code = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (int call : calls) {
        code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
        code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    }
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    sock_fprog all = {static_cast<unsigned short>(code.size()), code.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &all));
}

static void send_file(int socket, int file) {
    char byte = 0, space[CMSG_SPACE(sizeof file)] = {};
    iovec part = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof file);
    std::memcpy(CMSG_DATA(header), &file, sizeof file);
    MUST(sendmsg(socket, &message, 0) == 1);
}

static int receive_file(int socket) {
    char byte, space[CMSG_SPACE(sizeof(int))];
    iovec part = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message)) return -1;
    int file;
    std::memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
    return file;
}

static void become_program(const char *library, const char *what) {
    static std::string preload = std::string("LD_PRELOAD=") + library;
    std::vector<char *> environment = {preload.data()};
    for (char **each = environ; *each; each++) {
        if (!std::strncmp(*each, "MILLPOND_", 9)) environment.push_back(*each);
    }
    environment.push_back(nullptr);
    char *arguments[] = {const_cast<char *>("refusals"), const_cast<char *>(what), nullptr};
    execve("/proc/self/exe", arguments, environment.data());
    _exit(99);
}

struct Run {
    long calls; // before memory was back
    bool begun, back;
    int status;
};

// Refuses the call of that number, or all from it on, until the program says that memory is back.
static Run supervise(const char *library, long number, bool all_from_there) {
    int pair[2];
    MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    pid_t child = fork();
    MUST(child >= 0);
    if (!child) {
        int listener = filter();
        if (listener < 0) _exit(98);
        send_file(pair[1], listener);
        become_program(library, "program");
    }
    close(pair[1]);
    Run run = {};
    int listener = receive_file(pair[0]), process = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
    close(pair[0]);
    MUST(process >= 0);
    pollfd files[] = {{listener, POLLIN, 0}, {process, POLLIN, 0}};
    while (listener >= 0) {
        MUST(poll(files, 2, -1) > 0 || errno == EINTR);
        if (files[1].revents) break;
        seccomp_notif asked = {};
        if (!(files[0].revents & POLLIN) || ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) continue;
        seccomp_notif_resp answer = {};
        answer.id = asked.id;
        std::uint64_t advice = asked.data.nr == SYS_madvise ? asked.data.args[2] : 0;
        if (advice == BEGUN) run.begun = true;
        else if (advice == BACK) run.back = true;
        else if (!run.back) run.calls++;
        bool refuse = !run.back && advice != BEGUN && (all_from_there ? run.calls >= number : run.calls == number);
        if (refuse) answer.error = asked.data.nr == SYS_clone || asked.data.nr == SYS_clone3 ? -EAGAIN : -ENOMEM;
        else answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer); // in vain if it was killed meanwhile
    }
    if (listener >= 0) close(listener);
    close(process);
    MUST(waitpid(child, &run.status, 0) == child);
    return run;
}

// A program that could not be loaded has not come far: the loader says so, with its own status.
static bool is_fine(const Run &run) {
    if (!WIFEXITED(run.status)) return false;
    return WEXITSTATUS(run.status) == (run.begun ? 0 : 127) || WEXITSTATUS(run.status) == 0;
}

static int refusals(const char *library, bool all_from_there, int stride) {
    // The first call is the loader's, before it can say anything: refused, it crashes.
    long begun = 0, failures = 0, number = 2;
    for (;; number += stride) {
        Run run = supervise(library, number, all_from_there);
        if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 98) {
            std::printf("no filter to be had\n");
            return 77;
        }
        begun += run.begun;
        if (!is_fine(run)) {
            std::printf("refused %s %ld of %ld: status %x, %s\n", all_from_there ? "from" : "call", number, run.calls, run.status,
                run.begun ? "begun" : "not begun");
            failures++;
        }
        if (run.back && run.calls < number) break;
    }
    std::printf("%ld calls, refused while running: %ld, failures: %ld\n", number - 1, begun - 1, failures);
    return failures != 0 || begun < 10;
}

static int limits(const char *library) {
    long ran = 0, failures = 0;
    for (rlim_t mib = 8; mib <= 6000; mib += mib / 4 + 1) {
        for (const char *what : {"limit", "late"}) {
            pid_t child = fork();
            MUST(child >= 0);
            if (!child) {
                rlimit limit = {mib << 20, mib << 20};
                MUST(!setrlimit(RLIMIT_AS, &limit));
                become_program(library, what);
            }
            int status;
            MUST(waitpid(child, &status, 0) == child);
            bool is_small = mib < 256;
            // With little room, the program may not start, or see that "plenty" is too much to ask for.
            bool fine = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || (is_small && WEXITSTATUS(status) != 99));
            if (!fine) std::printf("limit of %ld MiB, %s: status %x\n", static_cast<long>(mib), what, status);
            failures += !fine;
            ran += WIFEXITED(status) && WEXITSTATUS(status) == 0;
        }
    }
    std::printf("%ld runs to the end, failures: %ld\n", ran, failures);
    return failures != 0;
}

int main(int argc, char **argv) {
    std::string what = argc > 1 ? argv[1] : "";
    if (what == "once" && argc == 4) return refusals(argv[2], false, std::atoi(argv[3]));
    if (what == "from" && argc == 4) return refusals(argv[2], true, std::atoi(argv[3]));
    if (what == "limits" && argc == 3) return limits(argv[2]);
    return program(what.c_str());
}
