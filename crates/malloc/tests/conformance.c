/* The contract of malloc and its relatives, at every corner: C11, C23, POSIX, and what glibc promises beyond them.
 *
 * Runs on glibc's own malloc as well, so it tests the contract and not one implementation. What one of the two
 * does not have (C23's functions in older versions of glibc, cfree in newer ones) is looked up and left out.
 * argv[1] is a part of the name of the object that malloc has to come from.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks, failures;

#define CHECK(what) \
    do { \
        checks++; \
        if (!(what)) { \
            failures++; \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __func__, __LINE__, #what, errno); \
        } \
    } while (0)

/* The compiler knows these functions and would leave out what it believes to be without effect. */
static void *(*volatile p_malloc)(size_t) = malloc;
static void *(*volatile p_calloc)(size_t, size_t) = calloc;
static void *(*volatile p_realloc)(void *, size_t) = realloc;
static void *(*volatile p_reallocarray)(void *, size_t, size_t) = reallocarray;
static void (*volatile p_free)(void *) = free;
static int (*volatile p_posix_memalign)(void **, size_t, size_t) = posix_memalign;
static void *(*volatile p_aligned_alloc)(size_t, size_t) = aligned_alloc;
static void *(*volatile p_memalign)(size_t, size_t) = memalign;
static void *(*volatile p_valloc)(size_t) = valloc;
static void *(*volatile p_pvalloc)(size_t) = pvalloc;
static size_t (*volatile p_usable)(void *) = malloc_usable_size;

static const size_t SIZES[] = {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 100, 128, 255, 256, 511, 513,
    1000, 1023, 1024, 1025, 1500, 2048, 4095, 4096, 4097, 8191, 8192, 10000, 16384, 30000, 32767, 32768, 32769, 65536,
    100000, 131071, 131072, 131073, 1 << 20, (1 << 20) + 1, 5 << 20, 33 << 20};
#define COUNT (sizeof SIZES / sizeof *SIZES)

static const size_t TOO_MUCH[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX / 2 + 2, SIZE_MAX - 4096, SIZE_MAX - 1, SIZE_MAX};
#define TOO_MANY (sizeof TOO_MUCH / sizeof *TOO_MUCH)

static int is_aligned(const void *block, size_t align) { return (uintptr_t)block % align == 0; }

static void fill(void *block, size_t bytes, int seed) {
    for (size_t n = 0; n < bytes; n++) ((unsigned char *)block)[n] = (unsigned char)(n * 31 + seed);
}

static int is_filled(const void *block, size_t bytes, int seed) {
    for (size_t n = 0; n < bytes; n++)
        if (((const unsigned char *)block)[n] != (unsigned char)(n * 31 + seed)) return 0;
    return 1;
}

static int is_zero(const void *block, size_t bytes) {
    for (size_t n = 0; n < bytes; n++)
        if (((const unsigned char *)block)[n]) return 0;
    return 1;
}

static void test_malloc(void) {
    void *blocks[COUNT];
    for (size_t n = 0; n < COUNT; n++) {
        blocks[n] = p_malloc(SIZES[n]);
        CHECK(blocks[n] && is_aligned(blocks[n], 16));
        CHECK(p_usable(blocks[n]) >= SIZES[n]);
        /* All of the usable size is the caller's. */
        fill(blocks[n], p_usable(blocks[n]), (int)n);
    }
    for (size_t n = 0; n < COUNT; n++) CHECK(is_filled(blocks[n], p_usable(blocks[n]), (int)n));
    for (size_t n = 0; n < COUNT; n++) p_free(blocks[n]);
    void *none = p_malloc(0), *other = p_malloc(0);
    CHECK(none && other && none != other && is_aligned(none, 16));
    p_free(none);
    p_free(other);
    for (size_t n = 0; n < TOO_MANY; n++) {
        errno = 0;
        CHECK(!p_malloc(TOO_MUCH[n]) && errno == ENOMEM);
    }
    errno = 0;
    CHECK(!p_malloc(PTRDIFF_MAX) && errno == ENOMEM);
}

static void test_calloc(void) {
    for (int round = 0; round < 3; round++)
        for (size_t n = 0; n < COUNT; n++) {
            unsigned char *block = p_calloc(1, SIZES[n]);
            CHECK(block && is_aligned(block, 16) && is_zero(block, SIZES[n]));
            fill(block, SIZES[n], 1); /* what the next round must not find */
            p_free(block);
            block = p_calloc(SIZES[n], 3);
            CHECK(block && is_zero(block, SIZES[n] * 3));
            memset(block, 0xFF, SIZES[n] * 3);
            p_free(block);
        }
    void *none = p_calloc(0, 8), *other = p_calloc(8, 0);
    CHECK(none && other && none != other);
    p_free(none);
    p_free(other);
    static const size_t OVER[][2] = {{SIZE_MAX, 2}, {2, SIZE_MAX}, {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX / 8 + 1, 8},
        {(size_t)1 << 63, 2}, {SIZE_MAX, SIZE_MAX}, {PTRDIFF_MAX, 2}, {3, SIZE_MAX / 3 + 1}, {1, SIZE_MAX}};
    for (size_t n = 0; n < sizeof OVER / sizeof *OVER; n++) {
        errno = 0;
        CHECK(!p_calloc(OVER[n][0], OVER[n][1]) && errno == ENOMEM);
    }
}

static void test_realloc(void) {
    for (size_t from = 0; from < COUNT; from++)
        for (size_t to = 0; to < COUNT; to++) {
            size_t kept = SIZES[from] < SIZES[to] ? SIZES[from] : SIZES[to];
            if (kept > 1 << 20) kept = 1 << 20;
            void *block = p_malloc(SIZES[from]);
            fill(block, kept, 3);
            block = p_realloc(block, SIZES[to]);
            CHECK(block && is_aligned(block, 16) && p_usable(block) >= SIZES[to]);
            CHECK(is_filled(block, kept, 3));
            ((char *)block)[SIZES[to] - 1] = 1;
            p_free(block);
        }
    void *block = p_realloc(NULL, 100);
    CHECK(block);
    fill(block, 100, 5);
    for (size_t n = 0; n < TOO_MANY; n++) {
        errno = 0;
        CHECK(!p_realloc(block, TOO_MUCH[n]) && errno == ENOMEM);
    }
    CHECK(is_filled(block, 100, 5));
    CHECK(!p_realloc(block, 0)); /* glibc: freed */
    block = p_realloc(NULL, 0);
    CHECK(block);
    p_free(block);
    /* A block that an aligned function gave is one like any other. */
    CHECK(p_posix_memalign(&block, 4096, 100) == 0);
    fill(block, 100, 6);
    block = p_realloc(block, 100000);
    CHECK(block && is_filled(block, 100, 6));
    p_free(block);
    /* Small steps up and down. */
    block = NULL;
    for (size_t bytes = 1; bytes < 40000; bytes += bytes / 16 + 1) {
        block = p_realloc(block, bytes);
        CHECK(block && (bytes < 2 || is_filled(block, bytes / 2, 7)));
        fill(block, bytes, 7);
    }
    for (size_t bytes = 40000; bytes > 0; bytes -= bytes / 16 + 1) {
        block = p_realloc(block, bytes);
        CHECK(block && is_filled(block, bytes < 20000 ? bytes : 20000, 7));
    }
    p_free(block);
}

static void test_reallocarray(void) {
    void *block = p_reallocarray(NULL, 10, 10);
    CHECK(block && p_usable(block) >= 100);
    fill(block, 100, 8);
    errno = 0;
    CHECK(!p_reallocarray(block, SIZE_MAX / 4, 8) && errno == ENOMEM);
    errno = 0;
    CHECK(!p_reallocarray(block, (size_t)1 << 33, (size_t)1 << 33) && errno == ENOMEM);
    CHECK(is_filled(block, 100, 8));
    block = p_reallocarray(block, 1000, 7);
    CHECK(block && is_filled(block, 100, 8) && p_usable(block) >= 7000);
    p_free(block);
}

static void test_free(void) {
    p_free(NULL);
    for (size_t n = 0; n < COUNT; n++) {
        void *block = p_malloc(SIZES[n]);
        errno = 4711;
        p_free(block);
        CHECK(errno == 4711);
    }
    /* Many of each size, in three orders. */
    static void *blocks[3000];
    for (size_t n = 0; n < COUNT && SIZES[n] < 10000; n++)
        for (int order = 0; order < 3; order++) {
            for (int i = 0; i < 3000; i++) *(void **)(blocks[i] = p_malloc(SIZES[n] < 8 ? 8 : SIZES[n])) = blocks + i;
            for (int i = 0; i < 3000; i++) {
                int at = order == 0 ? i : order == 1 ? 2999 - i : (int)((i * 7919L) % 3000);
                CHECK(*(void **)blocks[at] == blocks + at);
                errno = 4711;
                p_free(blocks[at]);
                CHECK(errno == 4711);
            }
        }
}

static void test_aligned(void) {
    void *const before = (void *)&checks;
    static const size_t BAD[] = {0, 1, 2, 3, 4, 7, 12, 24, 48, 100, 4095, SIZE_MAX};
    for (size_t n = 0; n < sizeof BAD / sizeof *BAD; n++) {
        void *block = before;
        errno = 4711;
        CHECK(p_posix_memalign(&block, BAD[n], 64) == EINVAL && block == before && errno == 4711);
    }
    for (size_t align = 8; align <= 4 << 20; align *= 2)
        for (size_t n = 0; n < COUNT; n += 1 + (align > 4096)) {
            void *block = NULL;
            CHECK(p_posix_memalign(&block, align, SIZES[n]) == 0 && block && is_aligned(block, align));
            CHECK(p_usable(block) >= SIZES[n]);
            fill(block, SIZES[n] < 65536 ? SIZES[n] : 65536, 9);
            void *other = p_aligned_alloc(align, SIZES[n]), *third = p_memalign(align, SIZES[n]);
            CHECK(other && is_aligned(other, align) && third && is_aligned(third, align));
            CHECK(is_filled(block, SIZES[n] < 65536 ? SIZES[n] : 65536, 9));
            p_free(block);
            p_free(third);
            p_free(other);
        }
    void *block = before;
    CHECK(p_posix_memalign(&block, 64, 0) == 0 && is_aligned(block, 64));
    p_free(block);
    for (size_t n = 0; n < TOO_MANY; n++) {
        block = before;
        CHECK(p_posix_memalign(&block, 64, TOO_MUCH[n]) == ENOMEM && block == before);
        errno = 0;
        CHECK(!p_aligned_alloc(64, TOO_MUCH[n]) && errno == ENOMEM);
        errno = 0;
        CHECK(!p_memalign(64, TOO_MUCH[n]) && errno == ENOMEM);
        errno = 0;
        CHECK(!p_valloc(TOO_MUCH[n]) && errno == ENOMEM);
        errno = 0;
        CHECK(!p_pvalloc(TOO_MUCH[n]) && errno == ENOMEM);
    }
    block = before;
    CHECK(p_posix_memalign(&block, (size_t)1 << 62, 64) == ENOMEM && block == before);
    errno = 0;
    CHECK(!p_aligned_alloc((size_t)1 << 62, 64) && errno == ENOMEM);
    /* No power of two: refused by C23 and newer versions of glibc, rounded up by older ones. */
    errno = 0;
    block = p_aligned_alloc(24, 48);
    CHECK(block ? is_aligned(block, 32) : errno == EINVAL);
    p_free(block);
    block = p_memalign(24, 100);
    CHECK(block && is_aligned(block, 32));
    p_free(block);
    block = p_memalign(0, 100);
    CHECK(block && is_aligned(block, 16));
    p_free(block);
    errno = 0;
    CHECK(!p_memalign(SIZE_MAX / 2 + 2, 100) && errno == EINVAL);
    for (size_t n = 0; n < COUNT; n++) {
        block = p_valloc(SIZES[n]);
        CHECK(block && is_aligned(block, 4096));
        p_free(block);
        block = p_pvalloc(SIZES[n]);
        CHECK(block && is_aligned(block, 4096) && p_usable(block) >= (SIZES[n] + 4095) / 4096 * 4096);
        p_free(block);
    }
}

static void test_sized_free(void) {
    void (*sized)(void *, size_t) = dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    void (*old)(void *) = dlsym(RTLD_DEFAULT, "cfree");
    for (size_t n = 0; n < COUNT; n++) {
        errno = 4711;
        if (sized) {
            sized(p_malloc(SIZES[n]), SIZES[n]);
            sized(p_calloc(1, SIZES[n]), SIZES[n]);
            sized(p_realloc(p_malloc(1), SIZES[n]), SIZES[n]);
            sized(NULL, SIZES[n]);
        }
        if (aligned) {
            aligned(p_aligned_alloc(256, SIZES[n]), 256, SIZES[n]);
            aligned(NULL, 256, SIZES[n]);
        }
        CHECK(errno == 4711);
        if (old) old(p_malloc(SIZES[n]));
    }
}

static void test_usable_size(void) {
    CHECK(p_usable(NULL) == 0);
    for (size_t n = 0; n < COUNT; n++) {
        char *block = p_malloc(SIZES[n]);
        size_t usable = p_usable(block);
        CHECK(usable >= SIZES[n]);
        block[usable - 1] = 1;
        p_free(block);
    }
}

static void test_questions(void) {
    CHECK(mallopt(M_TRIM_THRESHOLD, 128 << 10) == 1);
    CHECK(mallopt(M_MMAP_THRESHOLD, 128 << 10) == 1);
    CHECK(mallopt(M_ARENA_MAX, 2) == 1);
    CHECK(mallopt(M_MXFAST, 64) == 1);
    enum { BLOCKS = 2000, BYTES = 1000 };
    static char *blocks[BLOCKS];
    struct mallinfo2 before = mallinfo2();
    for (int n = 0; n < BLOCKS; n++) memset(blocks[n] = p_malloc(BYTES), 1, BYTES);
    char *large = p_malloc(20 << 20);
    struct mallinfo2 during = mallinfo2();
    CHECK(during.uordblks >= before.uordblks + BLOCKS * BYTES);
    CHECK(during.hblks == before.hblks + 1 && during.hblkhd >= before.hblkhd + (20 << 20));
    CHECK(during.arena + during.hblkhd >= during.uordblks);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo old = mallinfo();
#pragma GCC diagnostic pop
    CHECK(old.uordblks >= BLOCKS * BYTES && old.hblks >= 1);
    p_free(large);
    for (int n = 0; n < BLOCKS; n++) p_free(blocks[n]);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.uordblks < during.uordblks && after.hblks == before.hblks);
    for (int n = 0; n < BLOCKS; n++) memset(blocks[n] = p_malloc(4 * BYTES), 1, 4 * BYTES);
    for (int n = 0; n < BLOCKS; n++) p_free(blocks[n]);
    int trimmed = malloc_trim(0);
    CHECK(trimmed == 0 || trimmed == 1);
    CHECK(malloc_info(1, stderr) == EINVAL);
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    CHECK(stream && malloc_info(0, stream) == 0);
    fclose(stream);
    CHECK(text && strncmp(text, "<malloc version=", 16) == 0 && strstr(text, "</malloc>"));
    p_free(text);
}

/* Blocks that the C library gives out and the program takes back, and the other way round. */
static void test_with_libc(void) {
    for (int n = 0; n < 1000; n++) {
        char *copy = strdup("a string"), *text = NULL, *line = NULL;
        CHECK(!strcmp(copy, "a string") && asprintf(&text, "%s %d", copy, n) > 0);
        size_t room = 0;
        FILE *file = fmemopen(text, strlen(text), "r");
        CHECK(file && getline(&line, &room, file) > 0 && !strcmp(line, text));
        fclose(file);
        p_free(line);
        p_free(text);
        copy = p_realloc(copy, 1000);
        CHECK(copy && !strcmp(copy, "a string"));
        p_free(copy);
    }
    char *path = realpath("/", NULL);
    CHECK(path && !strcmp(path, "/"));
    p_free(path);
    void *library = dlopen("libm.so.6", RTLD_NOW);
    CHECK(library && dlsym(library, "cos") && dlclose(library) == 0);
    CHECK(setenv("MILLPOND_CONFORMANCE", "a value", 1) == 0 && !strcmp(getenv("MILLPOND_CONFORMANCE"), "a value"));
}

int main(int argc, char **argv) {
    Dl_info where = {0};
    dladdr((void *)malloc, &where);
    if (argc > 1 && (!where.dli_fname || !strstr(where.dli_fname, argv[1]))) {
        fprintf(stderr, "malloc is that of %s, not of %s\n", where.dli_fname, argv[1]);
        return 2;
    }
    test_questions(); /* first: later glibc's heap has room for what is large */
    test_malloc();
    test_calloc();
    test_realloc();
    test_reallocarray();
    test_free();
    test_aligned();
    test_sized_free();
    test_usable_size();
    test_with_libc();
    printf("%d checks, %d failures\n", checks, failures);
    return failures ? 1 : 0;
}
