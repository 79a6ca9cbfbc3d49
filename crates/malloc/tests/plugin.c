/* A library that allocates while it is loaded, while it is used by threads, and while it is unloaded. */
#include <stdlib.h>
#include <string.h>

static void *global;
/* Large enough that the loader allocates it for a thread when the thread first touches it. */
static __thread char local[4096];
static __thread void *block;

__attribute__((constructor)) static void loaded(void) { global = strdup("loaded"); }

__attribute__((destructor)) static void unloaded(void) { free(global); }

int use(void) {
    memset(local, 1, sizeof local);
    free(block);
    block = malloc(777);
    int fine = block && global && !strcmp(global, "loaded") && local[4095] == 1;
    free(block);
    block = NULL;
    return !fine;
}
