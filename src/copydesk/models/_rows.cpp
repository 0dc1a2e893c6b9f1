// What lies between a training step's products, for bfloat16 on a CPU, forward and backward: norms,
// gated activations, the loss. Each reads its numbers once or twice where torch's separate calls
// write and read them again; all is computed in float32 and rounded where torch rounds.
//
// A row is one thread's work, in one order: a result does not depend on the number of threads.

#include "_vectors.hpp"

#ifdef PAIRWISE

namespace copydesk {
namespace {

inline Floats one() { return _mm512_set1_ps(1.0f); }
inline Floats sigmoid(Floats x) {
    return _mm512_div_ps(one(), _mm512_add_ps(one(), exponential(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// The activations of gated layers and their derivatives; those of `_kernels.py` by number.
struct Silu {
    static Floats at(Floats x) { return _mm512_mul_ps(x, sigmoid(x)); }
    static void both(Floats x, Floats& at, Floats& slope) {
        const Floats share = sigmoid(x);
        at = _mm512_mul_ps(x, share);
        slope = _mm512_mul_ps(share, _mm512_fnmadd_ps(at, one(), _mm512_add_ps(one(), x)));
    }
};
struct GeluTanh {  // x s(2 z) with z = 0.79788456 (x + 0.044715 x^3), as (1 + tanh z) / 2 = s(2 z)
    static Floats share(Floats x, Floats square) {
        const Floats inner = _mm512_fmadd_ps(square, _mm512_set1_ps(0.044715f), one());
        return sigmoid(_mm512_mul_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.59576912f)), inner));
    }
    static Floats at(Floats x) { return _mm512_mul_ps(x, share(x, _mm512_mul_ps(x, x))); }
    static void both(Floats x, Floats& at, Floats& slope) {
        const Floats square = _mm512_mul_ps(x, x), own = share(x, square);
        at = _mm512_mul_ps(x, own);
        const Floats inner = _mm512_fmadd_ps(square, _mm512_set1_ps(0.134145f), one());
        const Floats steep = _mm512_mul_ps(at, _mm512_sub_ps(one(), own));
        slope = _mm512_fmadd_ps(_mm512_mul_ps(steep, _mm512_set1_ps(1.59576912f)), inner, own);
    }
};

template <typename Work>
void each_row(int64_t rows, int64_t threads, Work work) {
#pragma omp parallel for schedule(static) num_threads(int(threads)) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) work(row);
}

template <typename Activation>
void gate(const bf16* gates, const bf16* ups, bf16* out, int64_t width) {
    for (int64_t at = 0; at < width; at += LANES) {
        const __mmask16 those = there(at, width);
        const Floats active = rounded(Activation::at(load(gates + at, those)));
        store(_mm512_mul_ps(active, load(ups + at, those)), out + at, those);
    }
}

template <typename Activation>
void gate_backward(const bf16* gates, const bf16* ups, bf16* grads, bf16* ggates, int64_t width) {
    for (int64_t at = 0; at < width; at += LANES) {
        const __mmask16 those = there(at, width);
        const Floats grad = load(grads + at, those);
        Floats active, slope;
        Activation::both(load(gates + at, those), active, slope);
        const Floats inner = rounded(_mm512_mul_ps(grad, load(ups + at, those)));
        store(_mm512_mul_ps(inner, slope), ggates + at, those);
        store(_mm512_mul_ps(rounded(active), grad), grads + at, those);
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

inline Floats weights_at(const bf16* weight, __mmask16 those, bool plus_one) {
    const Floats found = load(weight, those);
    return plus_one ? _mm512_add_ps(one(), found) : found;
}

}  // namespace
}  // namespace copydesk

using namespace copydesk;

// y [R, D] = x / rms(x) * weight, or * (1 + weight), and scales [R] = 1 / rms(x).
extern "C" void copydesk_norm_rows(const bf16* x, const bf16* weight, int64_t plus_one, bf16* y,
                                   float* scales, int64_t rows, int64_t width, float epsilon,
                                   int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        const bf16* const own = x + row * width;
        bf16* const to = y + row * width;
        Floats squares = _mm512_setzero_ps();
        for (int64_t at = 0; at < width; at += LANES) {
            const Floats found = load(own + at, there(at, width));
            squares = _mm512_fmadd_ps(found, found, squares);
        }
        scales[row] = 1 / std::sqrt(_mm512_reduce_add_ps(squares) / float(width) + epsilon);
        const Floats scale = _mm512_set1_ps(scales[row]);
        for (int64_t at = 0; at < width; at += LANES) {
            const __mmask16 those = there(at, width);
            const Floats even = _mm512_mul_ps(load(own + at, those), scale);
            // Gemma's multiplies in float32, the others in the model's format.
            const Floats left = plus_one ? even : rounded(even);
            store(_mm512_mul_ps(left, weights_at(weight + at, those, plus_one)), to + at, those);
        }
    });
}

// The gradient of x from that of y.
extern "C" void copydesk_norm_rows_backward(const bf16* x, const bf16* weight, int64_t plus_one,
                                            const float* scales, const bf16* gy, bf16* gx,
                                            int64_t rows, int64_t width, int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        const bf16 *const own = x + row * width, *const grads = gy + row * width;
        Floats sum = _mm512_setzero_ps();
        const auto weighted = [=](int64_t at, __mmask16 those) {
            return _mm512_mul_ps(load(grads + at, those),
                                 weights_at(weight + at, those, plus_one));
        };
        for (int64_t at = 0; at < width; at += LANES) {
            const __mmask16 those = there(at, width);
            sum = _mm512_fmadd_ps(weighted(at, those), load(own + at, those), sum);
        }
        const float scale = scales[row];
        const Floats pull =
            _mm512_set1_ps(_mm512_reduce_add_ps(sum) * scale * scale / float(width));
        for (int64_t at = 0; at < width; at += LANES) {
            const __mmask16 those = there(at, width);
            const Floats rest =
                _mm512_fnmadd_ps(load(own + at, those), pull, weighted(at, those));
            store(_mm512_mul_ps(rest, _mm512_set1_ps(scale)), gx + row * width + at, those);
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
        Floats total = _mm512_setzero_ps();
        for (int64_t at = 0; at < width; at += LANES) {
            const __mmask16 those = there(at, width);
            const Floats less = _mm512_sub_ps(load(own + at, those), _mm512_set1_ps(most));
            total = _mm512_mask_add_ps(total, those, total, exponential(less));
        }
        sums[row] = most + std::log(_mm512_reduce_add_ps(total));
        losses[row] = sums[row] - widen(own[targets[row]]);
    });
}

// In the logits' place their gradients, from those of the losses.
extern "C" void copydesk_losses_backward(bf16* logits, const int64_t* targets, const float* sums,
                                         const float* grads, int64_t rows, int64_t width,
                                         int64_t threads) {
    each_row(rows, threads, [=](int64_t row) {
        bf16* const own = logits + row * width;
        const Floats sum = _mm512_set1_ps(sums[row]), grad = _mm512_set1_ps(grads[row]);
        const int64_t target = targets[row];
        const float of_target = std::exp(widen(own[target]) - sums[row]);
        for (int64_t at = 0; at < width; at += LANES) {
            const __mmask16 those = there(at, width);
            const Floats share = exponential(_mm512_sub_ps(load(own + at, those), sum));
            store(_mm512_mul_ps(share, grad), own + at, those);
        }
        own[target] = narrow((of_target - 1) * grads[row]);
    });
}

#endif
