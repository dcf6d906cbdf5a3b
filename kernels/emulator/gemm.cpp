// A blocked product: both operands are widened to f32 and packed in the order in which the inner
// loop walks through them, with 16 × 6 sums in twelve vector registers.
#include "gemm.h"

#include <algorithm>
#include <cstring>

namespace emulator {

size_t size_of(Type type) { return type == F32 ? 4 : 2; }

bool is_storage_type(int type) { return type == F32 || type == F16 || type == BF16; }

float load(const void* matrix, Type type, int64_t at) {
    if (type == F32) return static_cast<const float*>(matrix)[at];
    if (type == F16) return static_cast<float>(static_cast<const _Float16*>(matrix)[at]);
    const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(matrix)[at]) << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void store(void* matrix, Type type, int64_t at, float x) {
    if (type == F32) {
        static_cast<float*>(matrix)[at] = x;
    } else if (type == F16) {
        static_cast<_Float16*>(matrix)[at] = static_cast<_Float16>(x);
    } else {
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
        const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1);
        static_cast<uint16_t*>(matrix)[at] =
            static_cast<uint16_t>(is_nan ? bits >> 16 | 0x40 : rounded >> 16);
    }
}

typedef float Lanes __attribute__((vector_size(32)));
constexpr int LANES = 8, TILE_ROWS = 2 * LANES, TILE_COLUMNS = 6;
constexpr int64_t ROWS = 8 * TILE_ROWS,
                  INNER = 512;  // a packed block of `a` fits in a cache of 256 KiB

static int64_t tiles(int64_t length, int64_t tile) { return (length + tile - 1) / tile; }

// Tiles of 16 rows or 6 columns, each with its numbers for one inner index side by side; zeros
// beyond the end. `at(i, k)` is element i along the tiles.
template <int TILE, class At>
static void pack(std::vector<float>& packed, int64_t length, int64_t inner, At at) {
    packed.resize(static_cast<size_t>(tiles(length, TILE) * TILE * inner));
    float* to = packed.data();
    for (int64_t first = 0; first < length; first += TILE)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t i = first; i < first + TILE; i++) *to++ = i < length ? at(i, k) : 0.0f;
}

static void add_tile(const float* a, const float* b, int64_t inner, float* sums, int64_t stride,
                     int64_t rows, int64_t columns) {
    Lanes tile[TILE_COLUMNS][2] = {};
    for (int64_t k = 0; k < inner; k++, a += TILE_ROWS, b += TILE_COLUMNS) {
        Lanes low, high;
        memcpy(&low, a, sizeof low);
        memcpy(&high, a + LANES, sizeof high);
#pragma GCC unroll 6
        for (int j = 0; j < TILE_COLUMNS; j++) {
            tile[j][0] += low * b[j];
            tile[j][1] += high * b[j];
        }
    }
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) sums[i + j * stride] += tile[j][i / LANES][i % LANES];
}

std::vector<float> product(const Operand& a, const Operand& b, int64_t rows, int64_t first,
                           int64_t columns, int64_t inner) {
    std::vector<float> sums(static_cast<size_t>(rows * columns)), packed_a, packed_b;
    for (int64_t k0 = 0; k0 < inner; k0 += INNER) {
        const int64_t depth = std::min(INNER, inner - k0);
        pack<TILE_COLUMNS>(packed_b, columns, depth,
                           [&](int64_t j, int64_t k) { return b.at(k0 + k, first + j); });
        for (int64_t i0 = 0; i0 < rows; i0 += ROWS) {
            const int64_t height = std::min(ROWS, rows - i0);
            pack<TILE_ROWS>(packed_a, height, depth,
                            [&](int64_t i, int64_t k) { return a.at(i0 + i, k0 + k); });
            for (int64_t j = 0; j < columns; j += TILE_COLUMNS)
                for (int64_t i = 0; i < height; i += TILE_ROWS)
                    add_tile(&packed_a[static_cast<size_t>(i * depth)],
                             &packed_b[static_cast<size_t>(j * depth)], depth,
                             &sums[static_cast<size_t>(i0 + i + j * rows)], rows,
                             std::min<int64_t>(TILE_ROWS, height - i),
                             std::min<int64_t>(TILE_COLUMNS, columns - j));
        }
    }
    return sums;
}

}  // namespace emulator
