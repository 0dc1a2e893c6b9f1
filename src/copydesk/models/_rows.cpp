// What lies between a training step's products, for bfloat16 on a CPU, forward and backward: norms,
// gated activations, the loss. Each reads its numbers once or twice where torch's separate calls
// write and read them again; all is computed in float32 and rounded where torch rounds.
//
// A row is one thread's work, in one order: a result does not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

using bf16 = uint16_t;

inline float widen(bf16 x) {
    const uint32_t bits = uint32_t(x) << 16;
    float y;
    std::memcpy(&y, &bits, 4);
    return y;
}

// To the nearest, ties to even; NaN stays NaN.
inline bf16 narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return bf16((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
inline float rounded(float x) { return widen(narrow(x)); }

// e^x with a relative error below 2e-7 (Cody and Waite's reduction, a Taylor polynomial of degree
// 6 on |r| <= ln 2 / 2); e^-87 below -87, e^88 above 88.
inline float exponential(float x) {
    const float kept = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    const float n = std::nearbyintf(kept * 1.44269504f);
    const float r = kept - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, 4);
    return p * scale;
}

// The activations of gated layers and their derivatives; those of `_kernels.py` by number.
struct Silu {
    static float at(float x) { return x / (1 + exponential(-x)); }
    static float slope(float x) {
        const float share = 1 / (1 + exponential(-x));
        return share * (1 + x * (1 - share));
    }
};
struct GeluTanh {  // x s(2 z) with z = 0.79788456 (x + 0.044715 x^3), as (1 + tanh z) / 2 = s(2 z)
    static float share(float x) {
        return 1 / (1 + exponential(-1.59576912f * (x + 0.044715f * x * x * x)));
    }
    static float at(float x) { return x * share(x); }
    static float slope(float x) {
        const float own = share(x);
        return own + x * own * (1 - own) * 1.59576912f * (1 + 0.134145f * x * x);
    }
};

template <typename Work>
void each_row(int64_t rows, int64_t threads, Work work) {
#pragma omp parallel for schedule(static) num_threads(int(threads)) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) work(row);
}

template <typename Activation>
void gate(const bf16* gates, const bf16* ups, bf16* out, int64_t width) {
    for (int64_t at = 0; at < width; ++at)
        out[at] = narrow(rounded(Activation::at(widen(gates[at]))) * widen(ups[at]));
}

template <typename Activation>
void gate_backward(const bf16* gates, const bf16* ups, bf16* grads, bf16* ggates, int64_t width) {
    for (int64_t at = 0; at < width; ++at) {
        const float x = widen(gates[at]), grad = widen(grads[at]);
        ggates[at] = narrow(rounded(grad * widen(ups[at])) * Activation::slope(x));
        grads[at] = narrow(rounded(Activation::at(x)) * grad);
    }
}

// By the bits, whose order is that of the numbers once those of negative ones are turned over; of
// whole numbers compilers take the greatest many at a time.
float greatest(const bf16* row, int64_t width) {
    int16_t most = INT16_MIN;
    for (int64_t at = 0; at < width; ++at) {
        const int16_t bits = int16_t(row[at]);
        const int16_t key = int16_t(bits ^ ((bits >> 15) & 0x7fff));
        most = key > most ? key : most;
    }
    return widen(bf16(most ^ ((most >> 15) & 0x7fff)));
}

inline float weight_of(const bf16* weight, int64_t at, bool plus_one) {
    return plus_one ? 1 + widen(weight[at]) : widen(weight[at]);
}

}  // namespace

// y [R, D] = x / rms(x) * weight, or * (1 + weight), and scales [R] = 1 / rms(x).
extern "C" void copydesk_norm_rows(const bf16* x, const bf16* weight, int64_t plus_one, bf16* y,
                                   float* scales, int64_t rows, int64_t width, float epsilon,
                                   int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        const bf16* const own = x + row * width;
        bf16* const to = y + row * width;
        float sum = 0;
        for (int64_t at = 0; at < width; ++at) sum += widen(own[at]) * widen(own[at]);
        const float scale = 1 / std::sqrt(sum / float(width) + epsilon);
        scales[row] = scale;
        // Gemma's multiplies in float32, the others in the model's format.
        if (plus_one)
            for (int64_t at = 0; at < width; ++at)
                to[at] = narrow(widen(own[at]) * scale * weight_of(weight, at, true));
        else
            for (int64_t at = 0; at < width; ++at)
                to[at] = narrow(rounded(widen(own[at]) * scale) * widen(weight[at]));
    });
}

// The gradient of x from that of y.
extern "C" void copydesk_norm_rows_backward(const bf16* x, const bf16* weight, int64_t plus_one,
                                            const float* scales, const bf16* gy, bf16* gx,
                                            int64_t rows, int64_t width, int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        const bf16 *const own = x + row * width, *const grads = gy + row * width;
        bf16* const to = gx + row * width;
        const float scale = scales[row];
        float sum = 0;
        for (int64_t at = 0; at < width; ++at)
            sum += widen(grads[at]) * weight_of(weight, at, plus_one) * widen(own[at]);
        const float pull = sum * scale * scale / float(width);
        for (int64_t at = 0; at < width; ++at) {
            const float weighted = widen(grads[at]) * weight_of(weight, at, plus_one);
            to[at] = narrow(scale * (weighted - widen(own[at]) * pull));
        }
    });
}

// out = activation(gates) * ups, all [R, width].
extern "C" void copydesk_gate_rows(const bf16* gates, const bf16* ups, bf16* out, int64_t rows,
                                   int64_t width, int64_t kind, int64_t threads) {
    const auto work = kind == 0 ? gate<Silu> : gate<GeluTanh>;
    each_row(rows, threads, [=](int64_t row) {
        work(gates + row * width, ups + row * width, out + row * width, width);
    });
}

// From the gradient of `out` that of gates, and in its own place that of ups.
extern "C" void copydesk_gate_rows_backward(const bf16* gates, const bf16* ups, bf16* grads,
                                            bf16* ggates, int64_t rows, int64_t width,
                                            int64_t kind, int64_t threads) {
    const auto work = kind == 0 ? gate_backward<Silu> : gate_backward<GeluTanh>;
    each_row(rows, threads, [=](int64_t row) {
        work(gates + row * width, ups + row * width, grads + row * width, ggates + row * width,
             width);
    });
}

// The cross-entropy of each row of logits [R, V], and the log of the sum of its exponentials.
extern "C" void copydesk_losses(const bf16* logits, const int64_t* targets, float* losses,
                                float* sums, int64_t rows, int64_t width, int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        const bf16* const own = logits + row * width;
        const float most = greatest(own, width);
        float sum = 0;
        for (int64_t at = 0; at < width; ++at) sum += exponential(widen(own[at]) - most);
        sums[row] = most + std::log(sum);
        losses[row] = sums[row] - widen(own[targets[row]]);
    });
}

// In the logits' place their gradients, from those of the losses.
extern "C" void copydesk_losses_backward(bf16* logits, const int64_t* targets, const float* sums,
                                         const float* grads, int64_t rows, int64_t width,
                                         int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        bf16* const own = logits + row * width;
        const float sum = sums[row], grad = grads[row];
        const int64_t target = targets[row];
        const float of_target = exponential(widen(own[target]) - sum);
        for (int64_t at = 0; at < width; ++at)
            own[at] = narrow(exponential(widen(own[at]) - sum) * grad);
        own[target] = narrow((of_target - 1) * grad);
    });
}
