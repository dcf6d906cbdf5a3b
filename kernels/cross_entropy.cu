// The loss of a row of logits, and the gradient that takes their place.
//
// cross_entropy_losses    lse = log Σ exp(x), loss = lse − x[target]   reads the logits once
// cross_entropy_gradient  x = (exp(x − lse) − [target])·dloss / targets    reads and writes them once
// cross_entropy_mean      Σ losses / targets, in a fixed order
//
// logits are (rows, vocab), in the storage type; a block takes one row. The maximum and the sum come
// out of one reading: whenever a thread meets a larger number it scales down what it has summed.
// 50257 is odd, so rows begin anywhere: each is cut into 16-byte packs where its own addresses allow
// it, and only the few numbers before the first and after the last pack are read one by one. Rows
// without a target are not read at all. dloss stays on the device: nothing here waits for the host.
#include "common.cuh"

static constexpr u32 THREADS = 512;
static constexpr u32 MEAN_THREADS = 1024;
static constexpr u32 IGNORE = 0xffffffffu;

template <class T> static constexpr u32 PACK = 16 / sizeof(T);

// A row as packs of 16 bytes, with `head` elements before them and those from `tail` on after.
struct Cut {
    u32 head, packs, tail;

    template <class T> static __device__ __forceinline__ Cut of(const T* row, u32 vocab) {
        const u32 before = (u32)((16 - (u64)row % 16) % 16 / sizeof(T));
        const u32 head = before < vocab ? before : vocab, packs = (vocab - head) / PACK<T>;
        return {head, packs, head + packs * PACK<T>};
    }
};

// Σ exp(x) as sum·exp(max), over the numbers seen so far. The first maximum is finite, so that
// numbers of minus infinity add 0 to it. The fast exponential is off by 2 + 1.2·|x − max| units in
// the last place, at terms as small as exp(x − max).
struct Online {
    f32 max = -3.402823466e38f, sum = 0.0f;

    template <int N> __device__ __forceinline__ void add(const f32 (&x)[N]) {
        f32 top = x[0];
#pragma unroll
        for (int j = 1; j < N; j++) top = fmaxf(top, x[j]);
        if (top > max) {
            sum *= __expf(max - top);
            max = top;
        }
#pragma unroll
        for (int j = 0; j < N; j++) sum += __expf(x[j] - max);
    }
};

// A target beyond the vocabulary: nobody waits to be told, so its loss and gradients are no numbers,
// and the optimiser leaves such a step alone.
__device__ __forceinline__ f32 not_a_number() { return __int_as_float(0x7fffffff); }

// lse and losses are (rows of the batch), targets too; this chunk begins at row `first`.
template <class T>
__device__ __forceinline__ void losses_of(f32* lse, f32* losses, const T* logits, const u32* targets, u32 first, u32 vocab) {
    __shared__ f32 scratch[WARP];
    const u64 place = (u64)first + blockIdx.x;
    const u32 target = targets[place];
    if (target == IGNORE) {
        if (threadIdx.x == 0) lse[place] = losses[place] = 0.0f;
        return;
    }
    const T* row = logits + (u64)blockIdx.x * vocab;
    const Cut cut = Cut::of(row, vocab);
    const auto* packs = reinterpret_cast<const Pack<T, PACK<T>>*>(row + cut.head);
    Online seen;
    if (threadIdx.x < cut.head) seen.add<1>({to_f32(row[threadIdx.x])});
#pragma unroll 2
    for (u32 i = threadIdx.x; i < cut.packs; i += THREADS) {
        const auto pack = packs[i];
        f32 x[PACK<T>];
#pragma unroll
        for (u32 j = 0; j < PACK<T>; j++) x[j] = to_f32(pack.at[j]);
        seen.add(x);
    }
    const u32 last = cut.tail + threadIdx.x;
    if (last < vocab) seen.add<1>({to_f32(row[last])});
    const f32 max = block_max(seen.max, scratch);
    const f32 sum = block_sum(seen.sum * __expf(seen.max - max), scratch);
    if (threadIdx.x == 0) {
        lse[place] = max + logf(sum);
        // Not by way of lse, which large logits leave few digits.
        losses[place] = target < vocab ? max - to_f32(row[target]) + logf(sum) : not_a_number();
    }
}

// dloss is (1): the gradient of the loss, loss scale included.
template <class T>
__device__ __forceinline__ void gradient(T* logits, const f32* lse, const u32* targets, const f32* dloss, u32 counted, u32 first, u32 vocab) {
    const u64 place = (u64)first + blockIdx.x;
    const u32 target = targets[place];
    const bool ignored = target == IGNORE;
    const f32 scale = ignored || target < vocab ? dloss[0] / (f32)counted : not_a_number();
    const f32 total = lse[place];
    T* row = logits + (u64)blockIdx.x * vocab;
    const Cut cut = Cut::of(row, vocab);
    auto* packs = reinterpret_cast<Pack<T, PACK<T>>*>(row + cut.head);
    auto of = [&](T x, u32 column) {
        if (ignored) return from_f32<T>(0.0f);
        return from_f32<T>((__expf(to_f32(x) - total) - (column == target ? 1.0f : 0.0f)) * scale);
    };
    if (threadIdx.x < cut.head) row[threadIdx.x] = of(row[threadIdx.x], threadIdx.x);
#pragma unroll 2
    for (u32 i = threadIdx.x; i < cut.packs; i += THREADS) {
        Pack<T, PACK<T>> pack{};
        if (!ignored) pack = packs[i];
        const u32 column = cut.head + i * PACK<T>;
#pragma unroll
        for (u32 j = 0; j < PACK<T>; j++) pack.at[j] = of(pack.at[j], column + j);
        packs[i] = pack;
    }
    const u32 last = cut.tail + threadIdx.x;
    if (last < vocab) row[last] = of(row[last], last);
}

#define FOR_EACH_DTYPE(T)                                                                             \
    KERNEL(THREADS, cross_entropy_losses_##T)                                                         \
    (f32 * lse, f32 * losses, const T* logits, const u32* targets, u32 first, u32 vocab) {            \
        losses_of<T>(lse, losses, logits, targets, first, vocab);                                     \
    }                                                                                                 \
    KERNEL(THREADS, cross_entropy_gradient_##T)                                                       \
    (T * logits, const f32* lse, const u32* targets, const f32* dloss, u32 counted, u32 first,        \
     u32 vocab) {                                                                                     \
        gradient<T>(logits, lse, targets, dloss, counted, first, vocab);                              \
    }
FOR_EACH_DTYPE(f32)
FOR_EACH_DTYPE(f16)
FOR_EACH_DTYPE(bf16)

// One block: each thread adds every MEAN_THREADS-th loss, then the block adds the threads.
KERNEL(MEAN_THREADS, cross_entropy_mean)(f32* mean, const f32* losses, u32 rows, u32 counted) {
    __shared__ f32 scratch[WARP];
    f32 sum = 0.0f;
    for (u32 i = threadIdx.x; i < rows; i += MEAN_THREADS) sum += losses[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) mean[0] = sum / (f32)counted;
}
