/* Memory that is held and memory that is not, by functions that a profile has to name. argv[1] is the case. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *(*volatile p_malloc)(size_t) = malloc;
static void (*volatile p_free)(void *) = free;

/* 32 MiB in blocks of 1 KiB. */
enum { HELD = 32768 };
static void *held[HELD];

__attribute__((noinline)) void holds_here(void) {
    for (int n = 0; n < HELD; n++) held[n] = p_malloc(1024);
}

/* 64 MiB, of which nothing stays. */
__attribute__((noinline)) void frees_here(void) {
    for (int n = 0; n < 16384; n++) {
        p_free(p_malloc(1024));
        p_free(p_malloc(3072));
    }
}

/* 8 MiB far down a stack that no table holds. */
static void *from_below[8];
__attribute__((noinline)) int deep_down(int left) {
    volatile char frame[64];
    frame[0] = (char)left;
    if (!left) {
        for (int n = 0; n < 8; n++) from_below[n] = p_malloc(1 << 20);
        return 0;
    }
    return deep_down(left - 1) + frame[0] * 0;
}

/* A stack of its own for each number of `left` bits. */
__attribute__((noinline)) void zero(int bits, int left);
__attribute__((noinline)) void one(int bits, int left);
static void further(int bits, int left) {
    if (!left) p_free(p_malloc(65536));
    else if (bits & 1) one(bits >> 1, left - 1);
    else zero(bits >> 1, left - 1);
}
void zero(int bits, int left) { further(bits, left); }
void one(int bits, int left) { further(bits, left); }

static void *in_a_thread(void *unused) {
    (void)unused;
    frees_here();
    return NULL;
}

static void wait_for(const char *file) {
    while (access(file, F_OK)) usleep(1000); /* the harness has a limit */
}

int main(int argc, char **argv) {
    const char *which = argc > 1 ? argv[1] : "";
    if (!strcmp(which, "many")) {
        for (int bits = 0; bits < 1 << 15; bits++) further(bits, 15);
        return 0;
    }
    holds_here();
    if (!strcmp(which, "all")) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, in_a_thread, NULL) || pthread_join(thread, NULL)) return 1;
        deep_down(20000);
    } else if (!strcmp(which, "signals")) {
        /* argv[2] is the file of the first signal, argv[3] that of the second. */
        if (kill(getpid(), SIGUSR2)) return 1;
        wait_for(argv[2]);
        for (int n = 0; n < HELD; n++) p_free(held[n]);
        if (kill(getpid(), SIGUSR2)) return 1;
        wait_for(argv[3]);
        _exit(0);
    } else if (!strcmp(which, "child")) {
        int status;
        pid_t child = fork();
        if (!child) {
            frees_here();
            exit(0);
        }
        if (waitpid(child, &status, 0) != child || status) return 1;
        printf("%d %d\n", (int)getpid(), (int)child);
    }
    return 0;
}
