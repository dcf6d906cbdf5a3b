// libcublasLt: a product described by attributes, with an epilogue. Functions, attributes and
// results are NVIDIA's ("cuBLASLt" in the CUDA documentation).
#include <cstring>

#include "driver.h"
#include "matmul.h"

using namespace emulator;

namespace {

// cublasLtMatmulDescAttributes_t and cublasLtMatrixLayoutAttribute_t, by their numbers.
enum DescriptionAttribute : int {
    COMPUTE_TYPE = 0,
    SCALE_TYPE = 1,
    POINTER_MODE = 2,
    TRANSPOSE_A = 3,
    TRANSPOSE_B = 4,
    TRANSPOSE_C = 5,
    EPILOGUE = 7,
    BIAS_POINTER = 8,
    AUXILIARY_POINTER = 11,
    AUXILIARY_STRIDE = 12,
    MULTIPROCESSORS = 15,
    BIAS_TYPE = 26,
};
enum LayoutAttribute : int {
    TYPE = 0,
    ORDER = 1,
    ROWS = 2,
    COLUMNS = 3,
    STRIDE = 4,
    BATCHES = 5,
    BATCH_STRIDE = 6
};

struct Description {
    int transpose_a = 0, transpose_b = 0;
    int epilogue = DEFAULT;
    const void* bias = nullptr;
    int bias_type = -1;  // that of D
    const void* auxiliary = nullptr;
    int64_t auxiliary_stride = 0;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t stride, batch_stride = 0;
    int batches = 1;

    Matrix matrix(const void* data) const {
        return {data,
                static_cast<Type>(type),
                static_cast<int64_t>(rows),
                static_cast<int64_t>(columns),
                stride,
                batch_stride};
    }
};

// cublasLtMatmulHeuristicResult_t.
struct Heuristic {
    uint64_t algorithm[8];
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
};

// Copies an attribute's value, if it comes with the size that it must have.
template <class T> Status set(T& attribute, const void* value, size_t bytes) {
    if (!value || bytes < sizeof(T)) return STATUS_INVALID_VALUE;
    memcpy(&attribute, value, sizeof(T));
    return STATUS_SUCCESS;
}

// Takes an attribute that has only one value here.
Status must_be(int only, const void* value, size_t bytes) {
    int asked;
    if (const Status wrong = set(asked, value, bytes)) return wrong;
    return asked == only ? STATUS_SUCCESS : STATUS_NOT_SUPPORTED;
}

Matmul matmul_of(const Description& how, const Layout& a, const Layout& b, const Layout& c,
                 const Layout& d) {
    Matmul m;
    m.a = a.matrix(nullptr), m.b = b.matrix(nullptr);
    m.c = c.matrix(nullptr), m.d = d.matrix(nullptr);
    m.transpose_a = how.transpose_a != 0, m.transpose_b = how.transpose_b != 0;
    m.alpha = 1.0f, m.beta = 0.0f;
    m.batches = d.batches;
    m.epilogue = how.epilogue;
    m.bias = how.bias;
    m.bias_type = how.bias_type < 0 ? m.d.type : static_cast<Type>(how.bias_type);
    m.auxiliary = how.auxiliary;
    m.auxiliary_stride = how.auxiliary_stride;
    return m;
}

const Layout& layout_of(const void* handle) { return *static_cast<const Layout*>(handle); }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

const char* cublasLtGetStatusName(int status) { return status_name(status); }
const char* cublasLtGetStatusString(int status) { return status_name(status); }
size_t cublasLtGetVersion() { return 130000; }

int cublasLtCreate(void** handle) {
    if (!current_context_is_set()) return STATUS_NOT_INITIALIZED;
    *handle = new char;
    return STATUS_SUCCESS;
}

int cublasLtDestroy(void* handle) {
    delete static_cast<char*>(handle);
    return STATUS_SUCCESS;
}

int cublasLtMatmulDescCreate(void** handle, int compute_type, int scale_type) {
    constexpr int COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77;
    if ((compute_type != COMPUTE_32F && compute_type != COMPUTE_32F_FAST_TF32) || scale_type != F32)
        return STATUS_NOT_SUPPORTED;
    *handle = new Description;
    return STATUS_SUCCESS;
}

int cublasLtMatmulDescDestroy(void* handle) {
    delete static_cast<Description*>(handle);
    return STATUS_SUCCESS;
}

int cublasLtMatmulDescSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Description& how = *static_cast<Description*>(handle);
    switch (attribute) {
        case POINTER_MODE: return must_be(0, value, bytes);
        case SCALE_TYPE: return must_be(F32, value, bytes);
        case TRANSPOSE_C: return must_be(0, value, bytes);
        case TRANSPOSE_A: return set(how.transpose_a, value, bytes);
        case TRANSPOSE_B: return set(how.transpose_b, value, bytes);
        case EPILOGUE: return set(how.epilogue, value, bytes);
        case BIAS_POINTER: return set(how.bias, value, bytes);
        case BIAS_TYPE: return set(how.bias_type, value, bytes);
        case AUXILIARY_POINTER: return set(how.auxiliary, value, bytes);
        case AUXILIARY_STRIDE: return set(how.auxiliary_stride, value, bytes);
        case COMPUTE_TYPE:
        case MULTIPROCESSORS: return STATUS_SUCCESS;
        default: return STATUS_NOT_SUPPORTED;
    }
}

int cublasLtMatrixLayoutCreate(void** handle, int type, uint64_t rows, uint64_t columns,
                               int64_t stride) {
    if (!is_storage_type(type)) return STATUS_NOT_SUPPORTED;
    *handle = new Layout{type, rows, columns, stride};
    return STATUS_SUCCESS;
}

int cublasLtMatrixLayoutDestroy(void* handle) {
    delete static_cast<Layout*>(handle);
    return STATUS_SUCCESS;
}

int cublasLtMatrixLayoutSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Layout& layout = *static_cast<Layout*>(handle);
    switch (attribute) {
        case TYPE: return set(layout.type, value, bytes);
        case ORDER: return must_be(0, value, bytes);  // by columns
        case ROWS: return set(layout.rows, value, bytes);
        case COLUMNS: return set(layout.columns, value, bytes);
        case STRIDE: return set(layout.stride, value, bytes);
        case BATCHES: return set(layout.batches, value, bytes);
        case BATCH_STRIDE: return set(layout.batch_stride, value, bytes);
        default: return STATUS_NOT_SUPPORTED;
    }
}

// Every preference is met: the one algorithm needs no workspace.
int cublasLtMatmulPreferenceCreate(void** handle) {
    *handle = new char;
    return STATUS_SUCCESS;
}
int cublasLtMatmulPreferenceDestroy(void* handle) {
    delete static_cast<char*>(handle);
    return STATUS_SUCCESS;
}
int cublasLtMatmulPreferenceSetAttribute(void*, int, const void*, size_t) { return STATUS_SUCCESS; }

int cublasLtMatmulAlgoGetHeuristic(void*, void* description, void* a, void* b, void* c, void* d,
                                   void*, int asked, Heuristic* results, int* found) {
    *found = 0;
    if (asked < 1) return STATUS_INVALID_VALUE;
    const Matmul matmul = matmul_of(*static_cast<Description*>(description), layout_of(a),
                                    layout_of(b), layout_of(c), layout_of(d));
    if (const Status refused = check_description(matmul)) return refused;
    *found = 1;
    results[0] = Heuristic{};
    results[0].waves = 1.0f;
    return STATUS_SUCCESS;
}

int cublasLtMatmul(void* handle, void* description, const void* alpha, const void* a,
                   void* layout_a, const void* b, void* layout_b, const void* beta, const void* c,
                   void* layout_c, void* d, void* layout_d, const void*, void*, size_t,
                   void* stream) {
    if (!handle) return STATUS_NOT_INITIALIZED;
    if (!alpha || !beta) return STATUS_INVALID_VALUE;
    Matmul matmul = matmul_of(*static_cast<Description*>(description), layout_of(layout_a),
                              layout_of(layout_b), layout_of(layout_c), layout_of(layout_d));
    matmul.a.data = a, matmul.b.data = b, matmul.c.data = c, matmul.d.data = d;
    matmul.alpha = *static_cast<const float*>(alpha);
    matmul.beta = *static_cast<const float*>(beta);
    return submit_matmul(matmul, stream);
}
}
#pragma GCC visibility pop
