// What is checked before a product, and what is done with its sums.
#include "matmul.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "driver.h"

namespace emulator {

const char* status_name(int status) {
    switch (status) {
        case STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "an unknown status";
    }
}

static Matrix auxiliary_of(const Matmul& m) {
    return {m.auxiliary, m.d.type, m.d.rows, m.d.columns, m.auxiliary_stride, 0};
}

// ---- checks ----------------------------------------------------------------------------------

static Status refuse(Status status, const std::string& why) {
    fprintf(stderr, "emulator: cuBLAS: %s: %s\n", status_name(status), why.c_str());
    return status;
}

static Status check_shape(const char* name, const Matrix& matrix) {
    if (matrix.rows < 0 || matrix.columns < 0 || matrix.stride < std::max<int64_t>(1, matrix.rows))
        return refuse(STATUS_INVALID_VALUE,
                      format("%s is (%ld, %ld) with leading dimension %ld", name, matrix.rows,
                             matrix.columns, matrix.stride));
    return STATUS_SUCCESS;
}

static Status check_epilogue(const Matmul& m) {
    switch (m.epilogue) {
        case DEFAULT: return STATUS_SUCCESS;
        case BIAS:
        case GELU:
        case GELU | BIAS:
        case GELU | AUXILIARY:
        case GELU | AUXILIARY | BIAS:
        case GELU_GRADIENT | AUXILIARY:
        case GELU_GRADIENT | AUXILIARY | BIAS_GRADIENT:
        case SUMS_OF_A:
        case SUMS_OF_B: break;
        default: return refuse(STATUS_NOT_SUPPORTED, format("epilogue %d", m.epilogue));
    }
    if (m.batches > 1) return refuse(STATUS_NOT_SUPPORTED, "an epilogue of many batches");
    if (m.epilogue & AUXILIARY && m.auxiliary_stride % 8)
        return refuse(STATUS_NOT_SUPPORTED,
                      "the auxiliary matrix's stride must be a multiple of 8");
    return m.epilogue & AUXILIARY ? check_shape("the auxiliary matrix", auxiliary_of(m))
                                  : STATUS_SUCCESS;
}

Status check_description(const Matmul& m) {
    const Type type = m.a.type;
    if (m.b.type != type || m.c.type != m.d.type || (m.d.type != type && m.d.type != F32))
        return refuse(STATUS_NOT_SUPPORTED, format("types %d · %d → %d", type, m.b.type, m.d.type));
    if (type == BF16 && capability() < 80)
        return refuse(STATUS_NOT_SUPPORTED,
                      format("bf16 needs sm_80, this is sm_%d", capability()));
    const int64_t rows = m.transpose_a ? m.a.columns : m.a.rows;
    const int64_t columns = m.transpose_b ? m.b.rows : m.b.columns;
    const int64_t inner = m.transpose_b ? m.b.columns : m.b.rows;
    if (inner != m.inner() || rows != m.d.rows || columns != m.d.columns || m.c.rows != rows ||
        m.c.columns != columns)
        return refuse(STATUS_INVALID_VALUE, "the shapes do not fit");
    if (m.batches < 0) return refuse(STATUS_INVALID_VALUE, "a negative number of batches");

    Status status = check_shape("A", m.a);
    if (!status) status = check_shape("B", m.b);
    if (!status) status = check_shape("C", m.c);
    if (!status) status = check_shape("D", m.d);
    return status ? status : check_epilogue(m);
}

static size_t bytes_of(const Matrix& matrix, int64_t batches) {
    if (matrix.rows == 0 || matrix.columns == 0) return 0;
    const int64_t elements =
        (batches - 1) * matrix.batch + (matrix.columns - 1) * matrix.stride + matrix.rows;
    return static_cast<size_t>(elements) * size_of(matrix.type);
}

static Status check_memory(const char* name, const Matrix& matrix, int64_t batches) {
    const size_t bytes = bytes_of(matrix, batches);
    if (bytes && !is_allocated(matrix.data, bytes))
        return refuse(STATUS_EXECUTION_FAILED, format("%s, %zu bytes at %p, lies in no allocation",
                                                      name, bytes, matrix.data));
    if (reinterpret_cast<uintptr_t>(matrix.data) % size_of(matrix.type))
        return refuse(STATUS_INVALID_VALUE, format("%s is misaligned", name));
    return STATUS_SUCCESS;
}

static Status check_memory(const Matmul& m) {
    Status status = check_memory("A", m.a, m.batches);
    if (!status) status = check_memory("B", m.b, m.batches);
    if (!status && m.beta != 0.0f) status = check_memory("C", m.c, m.batches);
    if (!status) status = check_memory("D", m.d, m.batches);
    if (!status && m.epilogue & (BIAS | BIAS_GRADIENT | SUMS_OF_A | SUMS_OF_B)) {
        const int64_t length = m.epilogue == SUMS_OF_B ? m.d.columns : m.d.rows;
        status = check_memory("the bias", {m.bias, m.bias_type, length, 1, length, 0}, 1);
    }
    if (!status && m.epilogue & AUXILIARY)
        status = check_memory("the auxiliary matrix", auxiliary_of(m), 1);
    return status;
}

// ---- the product -----------------------------------------------------------------------------

static const float SLOPE = 0.7978845608f, CUBIC = 0.044715f;  // sqrt(2 / π); GELU by its tanh form

static float gelu(float x) {
    return 0.5f * x * (1.0f + std::tanh(SLOPE * (x + CUBIC * x * x * x)));
}

static float gelu_derivative(float x) {
    const float t = std::tanh(SLOPE * (x + CUBIC * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * SLOPE * (1.0f + 3.0f * CUBIC * x * x);
}

static float apply_epilogue(const Matmul& m, float x, int64_t row, int64_t column) {
    if (m.epilogue & BIAS) x += load(m.bias, m.bias_type, row);
    const int64_t at = row + column * m.auxiliary_stride;
    if (m.epilogue & GELU) {
        if (m.epilogue & AUXILIARY) store(const_cast<void*>(m.auxiliary), m.d.type, at, x);
        return gelu(x);
    }
    return m.epilogue & GELU_GRADIENT ? x * gelu_derivative(load(m.auxiliary, m.d.type, at)) : x;
}

static const void* batch_of(const Matrix& matrix, int64_t batch) {
    const int64_t bytes = batch * matrix.batch * static_cast<int64_t>(size_of(matrix.type));
    return static_cast<const char*>(matrix.data) + bytes;
}

static void store_bias(const Matmul& m, const std::vector<float>& sums) {
    for (size_t i = 0; i < sums.size(); i++)
        store(const_cast<void*>(m.bias), m.bias_type, static_cast<int64_t>(i), sums[i]);
    wrote(m.bias, sums.size() * size_of(m.bias_type));
}

static void run_batch(const Matmul& m, int64_t batch) {
    const Operand a{batch_of(m.a, batch), m.a.type, m.transpose_a, m.a.stride};
    const Operand b{batch_of(m.b, batch), m.b.type, m.transpose_b, m.b.stride};
    const void* c = batch_of(m.c, batch);
    void* d = const_cast<void*>(batch_of(m.d, batch));
    const int64_t rows = m.d.rows, inner = m.inner();

    constexpr int64_t PANEL = 240;  // columns at a time: bounds the memory for f32 sums
    std::vector<float> row_sums(m.epilogue & BIAS_GRADIENT ? static_cast<size_t>(rows) : 0);
    for (int64_t first = 0; first < m.d.columns; first += PANEL) {
        const int64_t columns = std::min(PANEL, m.d.columns - first);
        const std::vector<float> sums = product(a, b, rows, first, columns, inner);
        for (int64_t j = 0; j < columns; j++) {
            for (int64_t i = 0; i < rows; i++) {
                const int64_t column = first + j;
                float x = m.alpha * sums[static_cast<size_t>(i + j * rows)];
                if (m.beta != 0.0f) x += m.beta * load(c, m.c.type, i + column * m.c.stride);
                x = apply_epilogue(m, x, i, column);
                if (m.epilogue & BIAS_GRADIENT) row_sums[static_cast<size_t>(i)] += x;
                store(d, m.d.type, i + column * m.d.stride, x);
            }
        }
    }
    if (m.epilogue & BIAS_GRADIENT) store_bias(m, row_sums);
    if (m.epilogue & (SUMS_OF_A | SUMS_OF_B)) {
        const bool of_a = m.epilogue == SUMS_OF_A;
        std::vector<float> sums(static_cast<size_t>(of_a ? rows : m.d.columns));
        for (int64_t k = 0; k < inner; k++)
            for (size_t i = 0; i < sums.size(); i++)
                sums[i] +=
                    of_a ? a.at(static_cast<int64_t>(i), k) : b.at(k, static_cast<int64_t>(i));
        store_bias(m, sums);
    }
}

Status submit_matmul(const Matmul& matmul, void* stream) {
    const Call call;
    if (!call) return STATUS_EXECUTION_FAILED;
    if (const Status refused = check_description(matmul)) return refused;
    if (matmul.d.rows == 0 || matmul.d.columns == 0 || matmul.batches == 0) return STATUS_SUCCESS;
    if (const Status refused = check_memory(matmul)) return refused;
    const Result result = submit(stream, [=] {
        for (int64_t batch = 0; batch < matmul.batches; batch++) run_batch(matmul, batch);
        wrote(matmul.d.data, bytes_of(matmul.d, matmul.batches));
        if (matmul.epilogue & GELU && matmul.epilogue & AUXILIARY)
            wrote(matmul.auxiliary, bytes_of(auxiliary_of(matmul), 1));
        return SUCCESS;
    });
    return result ? STATUS_EXECUTION_FAILED : STATUS_SUCCESS;
}

}  // namespace emulator
