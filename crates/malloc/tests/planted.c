/* Mistakes, each in functions whose names the report's addresses must lead to. argv[1] is the mistake. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) char *allocates_here(size_t bytes) {
    char *block = malloc(bytes);
    memset(block, 1, bytes);
    return block;
}

__attribute__((noinline)) void frees_here(char *block) {
    free(block);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void frees_again_here(char *block) {
    free(block);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void writes_here(volatile char *at) { *at = 1; }

int main(int argc, char **argv) {
    const char *mistake = argc > 1 ? argv[1] : "";
    /* Objects stand at the end and at the start of their pages in turns: of two, one faults at once. */
    char *blocks[2] = {allocates_here(112), allocates_here(112)};
    for (int n = 0; n < 2 && !strcmp(mistake, "overflow"); n++) writes_here(blocks[n] + 112);
    for (int n = 0; n < 2 && !strcmp(mistake, "underflow"); n++) writes_here(blocks[n] - 1);
    if (!strcmp(mistake, "overflow that free finds")) writes_here(blocks[0] + 112), frees_here(blocks[0]);
    for (int n = 0; n < 2; n++) frees_here(blocks[n]);
    for (int n = 0; n < 2 && !strcmp(mistake, "use after free"); n++) writes_here(blocks[n] + 50);
    for (int n = 0; n < 2 && !strcmp(mistake, "double free"); n++) frees_again_here(blocks[n]);
    if (!strcmp(mistake, "foreign")) frees_here((char *)&argc);
    if (!strcmp(mistake, "middle")) frees_here(allocates_here(200) + 16);
    puts("nobody noticed");
    return 0;
}
