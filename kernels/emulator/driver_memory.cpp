// libcuda: allocations, copies and fills.
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "driver.h"

namespace emulator {

// Pinned host memory: what a copy may read or write later. Addresses and sizes.
static std::map<uintptr_t, size_t> pinned;

static bool is_pinned(const void* address, size_t bytes) {
    auto after = pinned.upper_bound(reinterpret_cast<uintptr_t>(address));
    if (after == pinned.begin()) return false;
    const auto [begin, size] = *std::prev(after);
    return reinterpret_cast<uintptr_t>(address) + bytes <= begin + size;
}

bool is_allocated(const void* address, size_t bytes) {
    return memory.holds(reinterpret_cast<uintptr_t>(address), bytes);
}

void wrote(const void* address, size_t bytes) {
    memory.mark_written(reinterpret_cast<uintptr_t>(address), bytes);
}

static void* pointer(uintptr_t address) { return reinterpret_cast<void*>(address); }

static Result allocate(uintptr_t* address, size_t bytes) {
    const Call call;
    if (!call) return call.result;
    if (const Result refused = refuse_in_capture()) return refused;
    if (bytes == 0) return INVALID_VALUE;
    *address = memory.allocate(bytes);
    if (!*address && finish_queue() == SUCCESS) *address = memory.allocate(bytes);
    return *address ? SUCCESS : OUT_OF_MEMORY;
}

// In its turn: work that was submitted before may still use it.
static Result release(uintptr_t address, void* stream) {
    const Call call;
    if (!call) return call.result;
    if (const Result refused = refuse_in_capture()) return refused;
    if (address == 0) return SUCCESS;
    return submit(stream, [=] { return memory.release(address) ? SUCCESS : INVALID_VALUE; });
}

template <class T> static Result fill(uintptr_t address, T value, size_t count, void* stream) {
    const Call call;
    if (!call) return call.result;
    if (!count) return SUCCESS;
    if (!memory.holds(address, count * sizeof(T)) || address % sizeof(T)) return INVALID_VALUE;
    return submit(stream, [=] {
        if (!memory.holds(address, count * sizeof(T))) return INVALID_VALUE;
        T* begin = static_cast<T*>(pointer(address));
        std::fill(begin, begin + count, value);
        memory.mark_written(address, count * sizeof(T));
        return SUCCESS;
    });
}

// Pageable memory is read at once, pinned memory when the stream comes to it: a program that
// changes it too early is found out by COPLA_EMULATOR_LAZY.
static Result copy_to_device(uintptr_t to, const void* from, size_t bytes, void* stream) {
    const Call call;
    if (!call) return call.result;
    if (!bytes) return SUCCESS;
    if (!from || !memory.holds(to, bytes)) return INVALID_VALUE;
    std::shared_ptr<std::vector<char>> staged;
    if (!is_pinned(from, bytes)) {
        if (is_capturing(stream))
            if (const Result refused = refuse_in_capture()) return refused;
        const char* begin = static_cast<const char*>(from);
        staged = std::make_shared<std::vector<char>>(begin, begin + bytes);
    }
    return submit(stream, [=] {
        if (!memory.holds(to, bytes)) return INVALID_VALUE;
        memcpy(pointer(to), staged ? staged->data() : from, bytes);
        memory.mark_written(to, bytes);
        return SUCCESS;
    });
}

static Result copy_to_host(void* to, uintptr_t from, size_t bytes, void* stream) {
    const Call call;
    if (!call) return call.result;
    if (!bytes) return SUCCESS;
    if (!to || !memory.holds(from, bytes)) return INVALID_VALUE;
    const bool pageable = !is_pinned(to, bytes);
    if (pageable && is_capturing(stream))
        if (const Result refused = refuse_in_capture()) return refused;
    const Result result = submit(stream, [=] {
        if (!memory.holds(from, bytes)) return INVALID_VALUE;
        memcpy(to, pointer(from), bytes);
        return SUCCESS;
    });
    return result || !pageable ? result : finish_queue();
}

static Result copy_on_device(uintptr_t to, uintptr_t from, size_t bytes, void* stream) {
    const Call call;
    if (!call) return call.result;
    if (!bytes) return SUCCESS;
    if (!memory.holds(to, bytes) || !memory.holds(from, bytes)) return INVALID_VALUE;
    return submit(stream, [=] {
        if (!memory.holds(to, bytes) || !memory.holds(from, bytes)) return INVALID_VALUE;
        memmove(pointer(to), pointer(from), bytes);
        memory.mark_written(to, bytes);
        return SUCCESS;
    });
}

// The copies and fills without a stream wait for their end.
static Result and_wait(Result result) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return result ? result : finish_queue();
}

}  // namespace emulator

using namespace emulator;

#pragma GCC visibility push(default)
extern "C" {

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    const Call call;
    *total = memory.total();
    *free = *total - memory.in_use();
    return call.result;
}

int cuMemAlloc_v2(uintptr_t* address, size_t bytes) { return allocate(address, bytes); }
int cuMemAllocAsync(uintptr_t* address, size_t bytes, void*) { return allocate(address, bytes); }
int cuMemFree_v2(uintptr_t address) { return and_wait(release(address, nullptr)); }
int cuMemFreeAsync(uintptr_t address, void* stream) { return release(address, stream); }

// Of an allocation, only `bytes` bytes from its begin are valid from here on in the stream, and
// they are unwritten: for programs that keep freed memory and give it out again themselves.
int copla_emulator_lend(uintptr_t address, size_t bytes, void* stream) {
    const Call call;
    if (!call) return call.result;
    if (!memory.make_room(address, bytes)) return INVALID_VALUE;
    return submit(stream, [=] { return memory.lend(address, bytes) ? SUCCESS : INVALID_VALUE; });
}

int cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    const Call call;
    if (!call) return call.result;
    if (const Result refused = refuse_in_capture()) return refused;
    *address = bytes ? malloc(bytes) : nullptr;
    if (!*address) return bytes ? OUT_OF_MEMORY : INVALID_VALUE;
    pinned[reinterpret_cast<uintptr_t>(*address)] = bytes;
    return SUCCESS;
}

int cuMemFreeHost(void* address) {
    const Call call;
    if (!call) return call.result;
    if (const Result refused = refuse_in_capture()) return refused;
    if (const Result failed = finish_queue()) return failed;
    if (!pinned.erase(reinterpret_cast<uintptr_t>(address))) return INVALID_VALUE;
    free(address);
    return SUCCESS;
}

int cuMemsetD8Async(uintptr_t address, unsigned char value, size_t count, void* stream) {
    return fill(address, value, count, stream);
}
int cuMemsetD16Async(uintptr_t address, unsigned short value, size_t count, void* stream) {
    return fill(address, value, count, stream);
}
int cuMemsetD32Async(uintptr_t address, unsigned value, size_t count, void* stream) {
    return fill(address, value, count, stream);
}
int cuMemsetD8_v2(uintptr_t address, unsigned char value, size_t count) {
    return and_wait(fill(address, value, count, nullptr));
}
int cuMemsetD32_v2(uintptr_t address, unsigned value, size_t count) {
    return and_wait(fill(address, value, count, nullptr));
}

int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, void* stream) {
    return copy_to_device(to, from, bytes, stream);
}
int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t bytes, void* stream) {
    return copy_to_host(to, from, bytes, stream);
}
int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void* stream) {
    return copy_on_device(to, from, bytes, stream);
}
int cuMemcpyHtoD_v2(uintptr_t to, const void* from, size_t bytes) {
    return and_wait(copy_to_device(to, from, bytes, nullptr));
}
int cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t bytes) {
    return and_wait(copy_to_host(to, from, bytes, nullptr));
}
int cuMemcpyDtoD_v2(uintptr_t to, uintptr_t from, size_t bytes) {
    return and_wait(copy_on_device(to, from, bytes, nullptr));
}
}
#pragma GCC visibility pop
