/* What a process does to its allocator: forks, threads that end in every order, libraries that come and go, signals.
 * argv[1] is the case, argv[2] what the case needs. Each case ends with status 0, or hangs, or crashes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%d: %s (errno %d)\n", __LINE__, #what, errno); \
            exit(1); \
        } \
    } while (0)

static volatile int stop;

/* Allocates and frees everything between a word and a few pages, and some large blocks. */
static void churn(unsigned seed, int rounds) {
    enum { HELD = 64 };
    unsigned char *held[HELD] = {0};
    size_t bytes[HELD] = {0};
    for (int n = 0; n < rounds; n++) {
        seed = seed * 1664525 + 1013904223;
        int at = (int)(seed >> 8) % HELD;
        if (held[at]) {
            MUST(held[at][0] == (unsigned char)bytes[at] && held[at][bytes[at] - 1] == (unsigned char)bytes[at]);
            free(held[at]);
        }
        bytes[at] = 1 + (seed >> 12) % (n % 100 == 0 ? 200000 : n % 10 == 0 ? 20000 : 400);
        MUST(held[at] = malloc(bytes[at]));
        held[at][0] = held[at][bytes[at] - 1] = (unsigned char)bytes[at];
    }
    for (int n = 0; n < HELD; n++) free(held[n]);
}

static void *churn_until_stopped(void *seed) {
    while (!stop) churn((unsigned)(uintptr_t)seed, 1000);
    return NULL;
}

static void forks(void) {
    pthread_t threads[4];
    for (uintptr_t n = 0; n < 4; n++) MUST(!pthread_create(&threads[n], NULL, churn_until_stopped, (void *)n));
    for (int n = 0; n < 100; n++) {
        pid_t child = fork();
        MUST(child >= 0);
        if (!child) {
            churn((unsigned)n, 2000);
            /* A child may have threads again, and children. */
            if (n % 10 == 0) {
                pthread_t thread;
                stop = 0;
                MUST(!pthread_create(&thread, NULL, churn_until_stopped, NULL));
                pid_t grandchild = fork();
                if (!grandchild) {
                    churn((unsigned)n, 2000);
                    _exit(0);
                }
                int status;
                MUST(waitpid(grandchild, &status, 0) == grandchild && status == 0);
                stop = 1;
                MUST(!pthread_join(thread, NULL));
            }
            _exit(0);
        }
        int status;
        MUST(waitpid(child, &status, 0) == child && status == 0);
    }
    stop = 1;
    for (int n = 0; n < 4; n++) MUST(!pthread_join(threads[n], NULL));
}

/* Destructors of keys that run after the allocator's own, and set themselves again, to the last round. */
static pthread_key_t keys[40];
static __thread int rounds;

static void at_thread_end(void *value) {
    size_t key = *(size_t *)value;
    free(value);
    churn((unsigned)key, 50);
    if (rounds++ < 60) {
        size_t *again = malloc(sizeof *again);
        MUST(again);
        *again = key;
        MUST(!pthread_setspecific(keys[key], again));
    }
}

static void *with_keys(void *first) {
    if (first) churn(1, 100); /* else the keys are set before the thread's first allocation */
    for (size_t n = 0; n < 40; n++) {
        size_t *value = malloc(sizeof *value);
        MUST(value);
        *value = n;
        MUST(!pthread_setspecific(keys[n], value));
    }
    return malloc(100);
}

static void *detached(void *unused) {
    (void)unused;
    churn(2, 200);
    return NULL;
}

static void thread_ends(void) {
    for (int n = 0; n < 40; n++) MUST(!pthread_key_create(&keys[n], at_thread_end));
    for (int n = 0; n < 200; n++) {
        pthread_t threads[4];
        void *block;
        for (uintptr_t t = 0; t < 4; t++) MUST(!pthread_create(&threads[t], NULL, with_keys, (void *)(t & 1)));
        for (int t = 3; t >= 0; t--) {
            MUST(!pthread_join(threads[t], &block) && block);
            free(block);
        }
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_t gone;
        int failed = pthread_create(&gone, &attributes, detached, NULL);
        MUST(!failed || failed == EAGAIN);
        pthread_attr_destroy(&attributes);
    }
    /* main's own keys, and an exit while others run */
    pthread_t running;
    MUST(!pthread_create(&running, NULL, churn_until_stopped, NULL));
    with_keys(NULL);
}

/* A library whose constructor, destructor and thread-locals allocate. */
static void *use_library(void *path) {
    for (int n = 0; n < 50; n++) {
        void *library = dlopen(path, RTLD_NOW);
        MUST(library);
        int (*use)(void) = (int (*)(void))dlsym(library, "use");
        MUST(use && use() == 0);
        MUST(!dlclose(library));
    }
    return NULL;
}

static void libraries(const char *path) {
    pthread_t threads[3];
    for (int n = 0; n < 3; n++) MUST(!pthread_create(&threads[n], NULL, use_library, (void *)path));
    for (int n = 0; n < 3; n++) MUST(!pthread_join(threads[n], NULL));
}

/* The allocator itself as a library that comes late, beside another malloc, and is closed in the middle. */
struct late {
    void *(*malloc)(size_t);
    void (*free)(void *);
    pthread_barrier_t loaded;
};

static void *use_late(void *argument) {
    struct late *late = argument;
    pthread_barrier_wait(&late->loaded);
    for (int n = 0; n < 10000; n++) {
        char *block = late->malloc((size_t)n % 3000 + 1), *other = malloc(100);
        MUST(block && other);
        *block = 1;
        late->free(block);
        free(other);
    }
    return NULL;
}

static void late(const char *path) {
    struct late late;
    pthread_t threads[3];
    pthread_barrier_init(&late.loaded, NULL, 4);
    for (int n = 0; n < 3; n++) MUST(!pthread_create(&threads[n], NULL, use_late, &late));
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "%s\n", dlerror());
    MUST(library);
    late.malloc = (void *(*)(size_t))dlsym(library, "malloc");
    late.free = (void (*)(void *))dlsym(library, "free");
    MUST(late.malloc && late.free && late.malloc != malloc);
    void *kept = late.malloc(100);
    pthread_barrier_wait(&late.loaded);
    MUST(!dlclose(library));
    for (int n = 0; n < 3; n++) MUST(!pthread_join(threads[n], NULL));
    late.free(kept);
}

/* Signals that land in the middle of the allocator, on handlers that do not allocate. */
static volatile sig_atomic_t signals;
static void count_signal(int signal) {
    (void)signal;
    signals++;
}

static void *send_signals(void *to) {
    for (int n = 0; n < 20000; n++) {
        pthread_kill(*(pthread_t *)to, SIGUSR2);
        if (n % 64 == 0) sched_yield();
    }
    stop = 1;
    return NULL;
}

static void signal_storm(void) {
    struct sigaction action = {.sa_handler = count_signal};
    MUST(!sigaction(SIGUSR2, &action, NULL));
    pthread_t self = pthread_self(), sender;
    MUST(!pthread_create(&sender, NULL, send_signals, &self));
    churn_until_stopped(NULL);
    MUST(!pthread_join(sender, NULL) && signals > 0);
}

/* Allocates before any constructor of the allocator's library can have run, in the order of the loader. */
static void *early;
__attribute__((constructor(101))) static void first(void) { early = strdup("early"); }

static void constructors(void) {
    MUST(early && !strcmp(early, "early"));
    early = realloc(early, 100000);
    MUST(early && !strcmp(early, "early"));
    free(early);
}

/* Burst and rest: what was given back must be seen from outside. */
static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    MUST(file && fscanf(file, "%*s %ld", &pages) == 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void burst(void) {
    enum { BLOCKS = 200000 };
    static void *blocks[BLOCKS];
    for (int n = 0; n < BLOCKS; n++) memset(blocks[n] = malloc(500), 1, 500);
    long full = resident_kib();
    for (int n = 0; n < BLOCKS; n++) free(blocks[n]);
    while (resident_kib() > full / 4) usleep(1000); /* the harness has a limit */
}

/* With MILLPOND_SCAVENGER=off: the process has one thread, and memory goes back while it allocates, or when it asks. */
static int threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    MUST(tasks);
    for (struct dirent *task; (task = readdir(tasks));) count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

enum { HELD = 100000, BYTES = 600 };
static void *held[HELD];

/* What it takes is more than a heap that is worth a thread, and is all freed again. */
static long fill_and_free(void) {
    for (int n = 0; n < HELD; n++) memset(held[n] = malloc(BYTES), 1, BYTES);
    long full = resident_kib();
    for (int n = 0; n < HELD; n++) free(held[n]);
    return full;
}

/* A little work, as programs have it, that a compiler may not leave out. */
static void work(void) {
    void *volatile block = malloc(100000);
    MUST(block);
    free(block);
}

static void alone(void) {
    /* The first is larger than a cache's business, and than a heap that is worth a thread. */
    void *first = malloc(16 << 20);
    MUST(first && threads() == 1);
    free(first);
    long full = fill_and_free();
    MUST(threads() == 1);
    while (resident_kib() > full / 4) {
        work();
        usleep(1000); /* the harness has a limit */
    }
    pid_t child = fork();
    MUST(child >= 0);
    if (!child) {
        fill_and_free();
        MUST(threads() == 1);
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    full = fill_and_free();
    MUST(malloc_trim(0) == 1);
    MUST(resident_kib() < full / 4 && threads() == 1);
    /* What asks for a process of one thread. It may be forbidden, but not for the number of threads. */
    MUST(!unshare(CLONE_NEWUSER) || errno != EINVAL);
}

/* Without the setting. */
static void served(void) {
    fill_and_free();
    while (threads() < 2) work();
    MUST(unshare(CLONE_NEWUSER) && errno == EINVAL);
}

/* Asks for the balance sheet by a signal, twice, and in a child; waits for the harness to have read it. */
static void sheets(void) {
    char line[8];
    void *volatile block = malloc(12345);
    MUST(block);
    for (int n = 0; n < 2; n++) {
        MUST(!kill(getpid(), SIGUSR1));
        MUST(fgets(line, sizeof line, stdin));
    }
    pid_t child = fork();
    if (!child) {
        MUST(!kill(getpid(), SIGUSR1));
        MUST(fgets(line, sizeof line, stdin));
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    free(block);
}

int main(int argc, char **argv) {
    const char *which = argc > 1 ? argv[1] : "";
    const char *with = argc > 2 ? argv[2] : "";
    if (!strcmp(which, "forks")) forks();
    else if (!strcmp(which, "thread ends")) thread_ends();
    else if (!strcmp(which, "libraries")) libraries(with);
    else if (!strcmp(which, "late")) late(with);
    else if (!strcmp(which, "signals")) signal_storm();
    else if (!strcmp(which, "constructors")) constructors();
    else if (!strcmp(which, "burst")) burst();
    else if (!strcmp(which, "alone")) alone();
    else if (!strcmp(which, "served")) served();
    else if (!strcmp(which, "sheets")) sheets();
    else return 2;
    return 0;
}
