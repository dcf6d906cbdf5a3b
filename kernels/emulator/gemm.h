// Matrix products on the CPU, as cuBLAS states them: matrices by columns, sums in f32.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace emulator {

// cudaDataType, by its numbers.
enum Type : int { F32 = 0, F16 = 2, BF16 = 14 };
size_t size_of(Type type);
bool is_storage_type(int type);

float load(const void* matrix, Type type, int64_t at);
void store(void* matrix, Type type, int64_t at, float x);

// One operand, op(matrix): element (row, column) of the matrix lies at row + column · stride.
struct Operand {
    const void* matrix;
    Type type;
    bool transposed;
    int64_t stride;

    float at(int64_t row, int64_t column) const {
        return load(matrix, type, transposed ? column + row * stride : row + column * stride);
    }
};

// `columns` columns of op(a) · op(b) from column `first`: rows × columns sums, by columns.
std::vector<float> product(const Operand& a, const Operand& b, int64_t rows, int64_t first,
                           int64_t columns, int64_t inner);

}  // namespace emulator
