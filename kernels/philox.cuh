// Philox4x32-10, the numbers of `src/random.rs` to the bit: Salmon et al., "Parallel Random Numbers:
// As Easy as 1, 2, 3" (SC 2011), section 4.
#pragma once
#include "common.cuh"

// What a launch needs to draw the numbers of one site in one attempt: `Rng::key` and its attempt.
struct Draw {
    u64 key;
    u64 attempt;
};

// The four random words at a 64-bit logical coordinate (`Rng::words`).
__device__ __forceinline__ void philox(const Draw& draw, u64 coordinate, u32 (&words)[4]) {
    u32 c0 = (u32)coordinate, c1 = (u32)(coordinate >> 32);
    u32 c2 = (u32)draw.attempt, c3 = (u32)(draw.attempt >> 32);
    u32 k0 = (u32)draw.key, k1 = (u32)(draw.key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        const u32 high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}
