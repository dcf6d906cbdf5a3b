// What the parts of the emulated driver share: names, faults, and what is exported.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

// The libraries are built with hidden symbols; these stay visible.
#define EMULATOR_API __attribute__((visibility("default")))

namespace emulator {

// As in emulator.h, which the driver itself cannot include: it redefines the language.
struct Site {
    const char* file;
    int line;
    bool operator!=(Site other) const {
        return line != other.line || (file != other.file && strcmp(file, other.file) != 0);
    }
};
typedef void (*Invoke)(void** arguments);

struct Index {
    unsigned x, y, z;
    uint64_t count() const { return static_cast<uint64_t>(x) * y * z; }
};

constexpr int WARP = 32;
constexpr int MOST_THREADS = 1024;                 // of a block
constexpr unsigned MOST_SHARED_BYTES = 227 << 10;  // of a block, on the card that has most

// The results of the driver's functions that are made here, by their numbers in cuda.h.
enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_OUT_OF_RESOURCES = 701,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNMATCHED = 903,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
};

// Writes "emulator: MESSAGE" to stderr and keeps it for copla_emulator_last_error.
void report(const std::string& message);

EMULATOR_API std::string format(const char* text, ...) __attribute__((format(printf, 1, 2)));

// An environment variable as a number.
EMULATOR_API uint64_t setting(const char* name, uint64_t otherwise);

}  // namespace emulator
