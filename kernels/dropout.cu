// Dropout in place, whose mask is a function of where a number stands.
//
//   x *= keep / (1 − p),        keep = word ≥ p·2³²
//
// x is (samples, width). The number at place i of sample s has word i % 4 of the four at coordinate
// s·2⁴⁰ + i − i % 4, where s counts in the effective batch: the masks of `src/ops/dropout`, to the bit.
// Reads and writes x once. By count, the generator's 25 integer operations for a number take about as
// long as an f32 takes to come and go, and longer than a 16-bit float does, most of all on Pascal, which
// makes a 32-bit product of several 16-bit ones: where it can be, dropout is part of another kernel.
#include "philox.cuh"
#include "pointwise.cuh"

// A block stays within one sample, so no number needs a division to find its place.
KERNEL(THREADS, dropout_apply)(
    Out x, Draw draw, u64 first_sample, u32 threshold, f32 scale, u64 samples, u64 width) {
    for (u64 sample = blockIdx.y; sample < samples; sample += gridDim.y) {
        for_parts(width, [&](u64 at, u32 count) {
            f32 values[PART];
            load(values, In{x.at, x.dtype}, sample * width + at, count);
#pragma unroll
            for (u32 i = 0; i < PART; i += 4) {
                u32 words[4];
                philox(draw, (first_sample + sample) << 40 | (at + i), words);
#pragma unroll
                for (u32 j = 0; j < 4; j++) values[i + j] *= words[j] >= threshold ? scale : 0.0f;
            }
            store(x, values, sample * width + at, count);
        });
    }
}
