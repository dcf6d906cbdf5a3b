// Fibers on x86-64: what the ABI makes a function preserve is pushed, the stack changed, and the
// other fiber's registers popped.
#include "fiber.h"

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");

namespace emulator {

char* make_stacks(int count) {
    void* memory = mmap(nullptr, STACK_BYTES * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    char* stacks = static_cast<char*>(memory);
    for (int i = 0; i < count; i++) mprotect(stacks + i * STACK_BYTES, 4096, PROT_NONE);
    return stacks;
}

void prepare(Fiber& fiber, void (*entry)(), int colour) {
    constexpr int COLOURS = 61, SAVED_REGISTERS = 6;
    char* top = fiber.stack + STACK_BYTES - 64 * (1 + colour % COLOURS);
    void** at = reinterpret_cast<void**>(top);
    *--at = nullptr;  // where `entry` would return to; also aligns its stack as the ABI wants
    *--at = reinterpret_cast<void*>(entry);
    at -= SAVED_REGISTERS;
    memset(at, 0, SAVED_REGISTERS * sizeof(void*));
    fiber.stack_pointer = at;
}

}  // namespace emulator
