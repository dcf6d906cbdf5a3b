// One time step of an LSTM layer, after its matrix products (`src/ops/lstm`).
//
//   gates, dgates  (batch, time, 4, hidden): input, forget, cell, output, as PyTorch orders them
//   cells  (batch, time, hidden)      y, dy  (batch, time, hidden)      recurrent, step  (batch, 4, hidden)
//   h, c, dh, dc, c0  (batch, hidden)      b_ih, b_hh  (4, hidden)      positions  (batch, time), or null
//
// Where a document starts, at position 0, the state before it is zero and nothing flows back to it.
//
// Forward moves 16 numbers an element and backward about as many, once: all four gates, the cell and the
// output are one pass. It is bound by memory where batch·hidden is large; where it is small a step takes
// what a launch takes, and the products are what counts.
#include "common.cuh"

__device__ __forceinline__ f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }

// An element of the state: where it is in (batch, hidden), in (batch, time, hidden), and where its first
// gate is among those of one step and of all; its other gates are `hidden` further on each.
struct Place {
    u64 state, timed, gate, timed_gate;
    u32 unit;
    bool starts;

    __device__ __forceinline__ Place(u64 i, const u32* positions, u32 time, u32 hidden, u32 t) : state(i) {
        const u64 row = i / hidden;
        unit = (u32)(i - row * hidden);
        timed = (row * time + t) * hidden + unit;
        gate = row * 4 * hidden + unit;
        timed_gate = (row * time + t) * 4 * hidden + unit;
        starts = positions && positions[row * time + t] == 0;
    }
};

// gates: what x brings to them, then their values. c: of the step before, then of this one.
template <class T>
__device__ __forceinline__ void step(
    T* y, T* h, f32* c, f32* gates, f32* cells, const f32* recurrent, const T* b_ih, const T* b_hh,
    const u32* positions, u64 n, u32 time, u32 hidden, u32 t) {
    const u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const Place at(i, positions, time, hidden, t);
        f32 sums[4];
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            const u32 bias = k * hidden + at.unit;
            sums[k] = gates[at.timed_gate + k * hidden] + (at.starts ? 0.0f : recurrent[at.gate + k * hidden]) +
                      to_f32(b_ih[bias]) + to_f32(b_hh[bias]);
        }
        const f32 input = sigmoid(sums[0]), forget = sigmoid(sums[1]);
        const f32 candidate = tanhf(sums[2]), output = sigmoid(sums[3]);
        const f32 cell = forget * (at.starts ? 0.0f : c[i]) + input * candidate;
        const T out = from_f32<T>(output * tanhf(cell));
        gates[at.timed_gate] = input;
        gates[at.timed_gate + hidden] = forget;
        gates[at.timed_gate + 2 * hidden] = candidate;
        gates[at.timed_gate + 3 * hidden] = output;
        c[i] = cells[at.timed] = cell;
        h[i] = y[at.timed] = out;
    }
}

// dh: from the step after this one. dc: likewise, then for the one before. step: what of dgates goes back
// to the one before.
template <class T>
__device__ __forceinline__ void step_backward(
    T* dgates, T* step, f32* dc, const f32* dh, const f32* dy, const f32* gates, const f32* cells,
    const f32* c0, const u32* positions, u64 n, u32 time, u32 hidden, u32 t) {
    const u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const Place at(i, positions, time, hidden, t);
        const f32 input = gates[at.timed_gate], forget = gates[at.timed_gate + hidden];
        const f32 candidate = gates[at.timed_gate + 2 * hidden];
        const f32 output = gates[at.timed_gate + 3 * hidden];
        const f32 before = at.starts ? 0.0f : t == 0 ? c0[i] : cells[at.timed - hidden];
        const f32 squashed = tanhf(cells[at.timed]);
        const f32 dout = dy[at.timed] + dh[i];
        const f32 dcell = dc[i] + dout * output * (1.0f - squashed * squashed);
        const f32 slopes[4] = {
            dcell * candidate * input * (1.0f - input),
            dcell * before * forget * (1.0f - forget),
            dcell * input * (1.0f - candidate * candidate),
            dout * squashed * output * (1.0f - output),
        };
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            const T slope = from_f32<T>(slopes[k]);
            dgates[at.timed_gate + k * hidden] = slope;
            step[at.gate + k * hidden] = at.starts ? from_f32<T>(0.0f) : slope;
        }
        dc[i] = at.starts ? 0.0f : dcell * forget;
    }
}

#define LSTM(T)                                                                                      \
    KERNEL(256, lstm_step_##T)(                                                                      \
        T* y, T* h, f32* c, f32* gates, f32* cells, const f32* recurrent, const T* b_ih,             \
        const T* b_hh, const u32* positions, u64 n, u32 time, u32 hidden, u32 t) {                   \
        step(y, h, c, gates, cells, recurrent, b_ih, b_hh, positions, n, time, hidden, t);           \
    }                                                                                                \
    KERNEL(256, lstm_step_backward_##T)(                                                             \
        T* dgates, T* one_step, f32* dc, const f32* dh, const f32* dy, const f32* gates,             \
        const f32* cells, const f32* c0, const u32* positions, u64 n, u32 time, u32 hidden, u32 t) { \
        step_backward(dgates, one_step, dc, dh, dy, gates, cells, c0, positions, n, time, hidden, t);\
    }
LSTM(f32)
LSTM(f16)
LSTM(bf16)
