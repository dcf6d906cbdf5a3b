// One product as cuBLAS and cublasLt describe it, with what cublasLt does to its result.
#pragma once
#include "gemm.h"

namespace emulator {

// cublasStatus_t, by its numbers.
enum Status : int {
    STATUS_SUCCESS = 0,
    STATUS_NOT_INITIALIZED = 1,
    STATUS_INVALID_VALUE = 7,
    STATUS_EXECUTION_FAILED = 13,
    STATUS_NOT_SUPPORTED = 15,
};
const char* status_name(int status);

// By columns: element (row, column) lies at row + column · stride. Batches lie `batch` elements
// apart.
struct Matrix {
    const void* data;
    Type type;
    int64_t rows, columns, stride, batch;
};

// cublasLtEpilogue_t is made of these bits.
enum Epilogue : int {
    DEFAULT = 1,
    BIAS = 4,            // adds bias[row]
    BIAS_GRADIENT = 16,  // bias[row] = the sum of the result's row
    GELU = 32,
    GELU_GRADIENT = 64,  // times the derivative of GELU at `auxiliary`
    AUXILIARY = 128,     // of GELU: keeps its argument
    SUMS_OF_A = 256,     // bias[row] = the sum of the row of op(A)
    SUMS_OF_B = 512,     // bias[column] = the sum of the column of op(B)
};

// d = epilogue(alpha · op(a) · op(b) + beta · c); where beta is 0, c is not read.
struct Matmul {
    Matrix a, b, c, d;
    bool transpose_a = false, transpose_b = false;
    float alpha, beta;
    int64_t batches = 1;

    int epilogue = DEFAULT;
    const void* bias = nullptr;
    Type bias_type = F32;
    const void* auxiliary = nullptr;  // of d's type and shape
    int64_t auxiliary_stride = 0;

    int64_t inner() const { return transpose_a ? a.rows : a.columns; }
};

// Whether cuBLAS would take it: types, shapes, strides, epilogue.
Status check_description(const Matmul& matmul);

// Checks this, and that all memory is allocated, and gives it to the stream.
Status submit_matmul(const Matmul& matmul, void* stream);

}  // namespace emulator
