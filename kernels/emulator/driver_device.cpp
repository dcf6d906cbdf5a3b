// libcuda: the card, its context, and the names of what goes wrong.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver.h"

namespace emulator {

thread_local void* current_context = nullptr;

Call::Call() : guard(lock), result(!current_context ? INVALID_CONTEXT : sticky) {}

bool current_context_is_set() { return current_context != nullptr; }

static bool initialised = false;
static std::string last_report;

uint64_t setting(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

std::string format(const char* text, ...) {
    va_list arguments, again;
    va_start(arguments, text);
    va_copy(again, arguments);
    std::string result(vsnprintf(nullptr, 0, text, arguments), 0);
    vsnprintf(&result[0], result.size() + 1, text, again);
    va_end(again);
    va_end(arguments);
    return result;
}

void report(const std::string& message) {
    last_report = message;
    fprintf(stderr, "emulator: %s\n", message.c_str());
}

const std::string& last_error() { return last_report; }

int capability() {
    static const int sm = static_cast<int>(setting("COPLA_EMULATOR_SM", 90));
    return sm;
}

// CUDA C++ Programming Guide, "Compute Capabilities", table "Technical Specifications".
static int most_shared_of_block() {
    switch (capability()) {
        case 90: return 227 << 10;
        case 80:
        case 87: return 163 << 10;
        case 86:
        case 89: return 99 << 10;
        case 75: return 64 << 10;
        case 70:
        case 72: return 96 << 10;
        default: return 48 << 10;
    }
}

// CUdevice_attribute, by their numbers.
static int attribute(int which) {
    constexpr int HBM_KILOHERTZ = 2619000, HBM_BITS = 5120;
    switch (which) {
        case 1: return MOST_THREADS;  // MAX_THREADS_PER_BLOCK
        case 2:
        case 3: return 1024;        // MAX_BLOCK_DIM_X, _Y
        case 4: return 64;          // MAX_BLOCK_DIM_Z
        case 5: return 0x7fffffff;  // MAX_GRID_DIM_X
        case 6:
        case 7: return 65535;     // MAX_GRID_DIM_Y, _Z
        case 8: return 48 << 10;  // MAX_SHARED_MEMORY_PER_BLOCK
        case 10: return WARP;     // WARP_SIZE
        case 12:
        case 82: return 65536;    // MAX_REGISTERS_PER_BLOCK, _MULTIPROCESSOR
        case 13: return 1755000;  // CLOCK_RATE, kHz
        case 16: return 4;        // MULTIPROCESSOR_COUNT
        case 31:
        case 41: return 1;                              // CONCURRENT_KERNELS, UNIFIED_ADDRESSING
        case 36: return HBM_KILOHERTZ;                  // MEMORY_CLOCK_RATE
        case 37: return HBM_BITS;                       // GLOBAL_MEMORY_BUS_WIDTH
        case 38: return 50 << 20;                       // L2_CACHE_SIZE
        case 39: return 2048;                           // MAX_THREADS_PER_MULTIPROCESSOR
        case 75: return capability() / 10;              // COMPUTE_CAPABILITY_MAJOR
        case 76: return capability() % 10;              // COMPUTE_CAPABILITY_MINOR
        case 81: return most_shared_of_block() + 1024;  // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        case 97: return most_shared_of_block();         // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        case 106: return 32;                            // MAX_BLOCKS_PER_MULTIPROCESSOR
        case 115: return 1;                             // MEMORY_POOLS_SUPPORTED
        default: return 0;
    }
}

struct ErrorText {
    Result code;
    const char *name, *text;
};
static const ErrorText ERRORS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not initiated in this stream"},
    {CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
};

static const ErrorText* find_error(int code) {
    for (const ErrorText& error : ERRORS)
        if (error.code == code) return &error;
    return nullptr;
}

}  // namespace emulator

using namespace emulator;

#pragma GCC visibility push(default)
extern "C" {

int cuInit(unsigned) {
    initialised = true;
    return SUCCESS;
}

int cuDriverGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}

int cuDeviceGetCount(int* count) {
    *count = 1;
    return initialised ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int* device, int ordinal) {
    *device = 0;
    if (!initialised) return NOT_INITIALIZED;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetName(char* name, int length, int) {
    snprintf(name, static_cast<size_t>(length), "emulated sm_%d", capability());
    return SUCCESS;
}

int cuDeviceGetUuid_v2(char* uuid, int) {
    memcpy(uuid, "copla's emulator", 16);
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = memory.total();
    return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int which, int) {
    *value = attribute(which);
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void** context, int) {
    static char primary;
    *context = &primary;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

int cuCtxSetCurrent(void* context) {
    current_context = context;
    return SUCCESS;
}

int cuCtxGetCurrent(void** context) {
    *context = current_context;
    return SUCCESS;
}

int cuCtxSynchronize() {
    const Call call;
    if (!call) return call.result;
    if (const Result refused = refuse_in_capture()) return refused;
    return finish_queue();
}

int cuGetErrorName(int code, const char** name) {
    const ErrorText* error = find_error(code);
    *name = error ? error->name : nullptr;
    return error ? SUCCESS : INVALID_VALUE;
}

// Of a kernel's fault, also what the checker found: it is the text that a program shows.
int cuGetErrorString(int code, const char** text) {
    static thread_local std::string fault;
    const ErrorText* error = find_error(code);
    *text = error ? error->text : nullptr;
    if (code == LAUNCH_FAILED) {
        std::lock_guard<std::recursive_mutex> guard(lock);
        fault = std::string(error->text) + ": " + last_error();
        *text = fault.c_str();
    }
    return error ? SUCCESS : INVALID_VALUE;
}

// ---- the emulator's own ----------------------------------------------------------------------

const char* copla_emulator_last_error() {
    static thread_local std::string copy;
    std::lock_guard<std::recursive_mutex> guard(lock);
    copy = last_error();
    return copy.c_str();
}

// Lets the context live on after a fault, as no card does.
void copla_emulator_clear_error() {
    std::lock_guard<std::recursive_mutex> guard(lock);
    sticky = SUCCESS;
    last_report.clear();
}
}
#pragma GCC visibility pop
