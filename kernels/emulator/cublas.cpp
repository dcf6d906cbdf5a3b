// libcublas: products, in the order of their stream. Functions and results are NVIDIA's ("cuBLAS"
// in the CUDA documentation); sums are in f32, whatever the mathematics mode.
#include "driver.h"
#include "matmul.h"

using namespace emulator;

namespace {

struct Handle {
    void* stream = nullptr;
};

Handle& handle_of(void* handle) { return *static_cast<Handle*>(handle); }

constexpr int NO_TRANSPOSE = 0, TRANSPOSE = 1;

// CUBLAS_COMPUTE_32F, _PEDANTIC, _FAST_16F, _FAST_16BF and _FAST_TF32.
bool computes_in_f32(int compute) {
    return compute == 68 || compute == 69 || compute == 74 || compute == 75 || compute == 77;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

const char* cublasGetStatusString(int status) { return status_name(status); }
const char* cublasGetStatusName(int status) { return status_name(status); }

int cublasCreate_v2(void** handle) {
    if (!current_context_is_set()) return STATUS_NOT_INITIALIZED;
    *handle = new Handle;
    return STATUS_SUCCESS;
}

int cublasDestroy_v2(void* handle) {
    delete static_cast<Handle*>(handle);
    return STATUS_SUCCESS;
}

int cublasGetVersion_v2(void*, int* version) {
    *version = 130000;
    return STATUS_SUCCESS;
}

// MAJOR, MINOR and PATCH of 13.0.0, by their numbers in library_types.h.
int cublasGetProperty(int which, int* value) {
    *value = which == 0 ? 13 : 0;
    return STATUS_SUCCESS;
}

int cublasSetStream_v2(void* handle, void* stream) {
    handle_of(handle).stream = stream;
    return STATUS_SUCCESS;
}

int cublasSetWorkspace_v2(void*, void* workspace, size_t bytes) {
    const bool is_valid = (!workspace && !bytes) || is_allocated(workspace, bytes);
    return is_valid ? STATUS_SUCCESS : STATUS_INVALID_VALUE;
}

int cublasSetMathMode(void*, int) { return STATUS_SUCCESS; }
int cublasSetAtomicsMode(void*, int) { return STATUS_SUCCESS; }

// Factors lie in the host's memory; in the card's they are not supported here.
int cublasSetPointerMode_v2(void*, int mode) {
    return mode == 0 ? STATUS_SUCCESS : STATUS_NOT_SUPPORTED;
}
int cublasGetPointerMode_v2(void*, int* mode) {
    *mode = 0;
    return STATUS_SUCCESS;
}

int cublasGemmStridedBatchedEx(void* handle, int transpose_a, int transpose_b, int m, int n, int k,
                               const void* alpha, const void* a, int type_a, int stride_a,
                               long long batch_a, const void* b, int type_b, int stride_b,
                               long long batch_b, const void* beta, void* c, int type_c,
                               int stride_c, long long batch_c, int batches, int compute, int) {
    if (!handle) return STATUS_NOT_INITIALIZED;
    if (!alpha || !beta || transpose_a < NO_TRANSPOSE || transpose_a > TRANSPOSE ||
        transpose_b < NO_TRANSPOSE || transpose_b > TRANSPOSE)
        return STATUS_INVALID_VALUE;
    if (!computes_in_f32(compute) || !is_storage_type(type_a) || !is_storage_type(type_b) ||
        !is_storage_type(type_c))
        return STATUS_NOT_SUPPORTED;
    Matmul matmul;
    matmul.transpose_a = transpose_a == TRANSPOSE;
    matmul.transpose_b = transpose_b == TRANSPOSE;
    matmul.a = {a,
                static_cast<Type>(type_a),
                matmul.transpose_a ? k : m,
                matmul.transpose_a ? m : k,
                stride_a,
                batch_a};
    matmul.b = {b,
                static_cast<Type>(type_b),
                matmul.transpose_b ? n : k,
                matmul.transpose_b ? k : n,
                stride_b,
                batch_b};
    matmul.c = matmul.d = {c, static_cast<Type>(type_c), m, n, stride_c, batch_c};
    matmul.alpha = *static_cast<const float*>(alpha);
    matmul.beta = *static_cast<const float*>(beta);
    matmul.batches = batches;
    return submit_matmul(matmul, handle_of(handle).stream);
}

int cublasGemmEx(void* handle, int transpose_a, int transpose_b, int m, int n, int k,
                 const void* alpha, const void* a, int type_a, int stride_a, const void* b,
                 int type_b, int stride_b, const void* beta, void* c, int type_c, int stride_c,
                 int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, type_a,
                                      stride_a, 0, b, type_b, stride_b, 0, beta, c, type_c,
                                      stride_c, 0, 1, compute, algorithm);
}

int cublasSgemm_v2(void* handle, int transpose_a, int transpose_b, int m, int n, int k,
                   const float* alpha, const float* a, int stride_a, const float* b, int stride_b,
                   const float* beta, float* c, int stride_c) {
    constexpr int COMPUTE_32F = 68, DEFAULT_ALGORITHM = -1;
    return cublasGemmEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, F32, stride_a, b, F32,
                        stride_b, beta, c, F32, stride_c, COMPUTE_32F, DEFAULT_ALGORITHM);
}
}
#pragma GCC visibility pop
