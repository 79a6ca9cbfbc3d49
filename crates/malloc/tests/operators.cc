// operator new and delete in all forms: what they promise when there is memory, and what they do when there is none.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

static int checks, failures;

#define CHECK(what) \
    do { \
        checks++; \
        if (!(what)) { \
            failures++; \
            std::fprintf(stderr, "%d: %s\n", __LINE__, #what); \
        } \
    } while (0)

static bool is_aligned(const void *block, std::size_t align) { return reinterpret_cast<std::uintptr_t>(block) % align == 0; }

// More than any process can have; and not known to the compiler, which refuses such sizes.
static volatile std::size_t too_much = std::size_t(1) << 62;

template <class New> static bool throws(New make) {
    try {
        return make() == nullptr;
    } catch (const std::bad_alloc &) {
        return true;
    }
}

static int handled;

static void handler_that_gives_up() {
    if (++handled == 3) std::set_new_handler(nullptr);
}

struct Other {};
static void handler_that_throws() { throw Other(); }

int main() {
    const std::nothrow_t &nothrow = std::nothrow;
    for (std::size_t bytes : {0, 1, 8, 24, 100, 1024, 5000, 40000, 1 << 20}) {
        ::operator delete(::operator new(bytes));
        ::operator delete(::operator new(bytes), bytes);
        ::operator delete(::operator new(bytes, nothrow), nothrow);
        ::operator delete[](::operator new[](bytes));
        ::operator delete[](::operator new[](bytes), bytes);
        ::operator delete[](::operator new[](bytes, nothrow), nothrow);
        for (std::size_t align = 1; align <= 1 << 16; align *= 2) {
            std::align_val_t a{align};
            void *blocks[] = {::operator new(bytes, a), ::operator new[](bytes, a), ::operator new(bytes, a, nothrow),
                ::operator new[](bytes, a, nothrow), ::operator new(bytes, a), ::operator new[](bytes, a)};
            for (void *block : blocks) {
                CHECK(block && is_aligned(block, align) && is_aligned(block, 16));
                std::memset(block, 1, bytes);
            }
            ::operator delete(blocks[0], a);
            ::operator delete[](blocks[1], a);
            ::operator delete(blocks[2], a, nothrow);
            ::operator delete[](blocks[3], a, nothrow);
            ::operator delete(blocks[4], bytes, a);
            ::operator delete[](blocks[5], bytes, a);
        }
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr, 8);
    ::operator delete(nullptr, std::align_val_t(64));

    std::align_val_t a{64};
    CHECK(throws([] { return ::operator new(too_much); }));
    CHECK(throws([] { return ::operator new[](too_much); }));
    CHECK(throws([=] { return ::operator new(too_much, a); }));
    CHECK(throws([=] { return ::operator new[](too_much, a); }));
    CHECK(::operator new(too_much, nothrow) == nullptr);
    CHECK(::operator new[](too_much, nothrow) == nullptr);
    CHECK(::operator new(too_much, a, nothrow) == nullptr);
    CHECK(::operator new[](too_much, a, nothrow) == nullptr);

    // The handler is called until there is none, and what it throws arrives, or does not.
    std::set_new_handler(handler_that_gives_up);
    CHECK(throws([] { return ::operator new(too_much); }) && handled == 3);
    std::set_new_handler(handler_that_throws);
    bool arrived = false;
    try {
        CHECK(!::operator new(too_much));
    } catch (const Other &) {
        arrived = true;
    }
    CHECK(arrived);
    std::set_new_handler(nullptr);

    std::map<std::string, std::vector<int>> map;
    for (int n = 0; n < 20000; n++) map["key " + std::to_string(n % 500)].push_back(n);
    std::size_t total = 0;
    for (const auto &entry : map) total += entry.second.size();
    CHECK(total == 20000);
    // A block of new is one of malloc, in glibc and here.
    void (*volatile release)(void *) = std::free;
    release(::operator new(100));
    std::printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
