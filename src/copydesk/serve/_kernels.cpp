// What a step of the engine does between the products with the base's weights, for bfloat16 on a
// CPU: norms, low-rank pairs of many adapters, attention of one token a row, gated activations, and
// the choice of the next tokens.
//
// Each row is computed by one thread in one order, whatever runs beside it: a text's numbers do not
// depend on its company. Sums are in float32. Calls are short and start no thread that outlives
// them but OpenMP's own, which torch uses too.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

// PORTABLE leaves out what one processor has, for a test on that processor.
#if defined(__AVX512BF16__) && defined(__AVX512BW__) && !defined(PORTABLE)
#define PAIRWISE 1
#include <immintrin.h>
#endif

namespace {

using bf16 = uint16_t;

inline float widen(bf16 x) {
    uint32_t bits = uint32_t(x) << 16;
    float y;
    std::memcpy(&y, &bits, 4);
    return y;
}

// To the nearest, ties to even; NaN stays NaN.
inline bf16 narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return bf16((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

void widen_all(const bf16* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = widen(x[i]);
}

// e^x with a relative error below 2e-7 (Cody and Waite's reduction, a Taylor polynomial of degree
// 6 on |r| <= ln 2 / 2); 0 below -87, e^88 above 88.
inline float exponential(float x) {
    float kept = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    float n = std::nearbyintf(kept * 1.44269504f);
    float r = kept - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, 4);
    float y = p * scale;
    return x < -87.0f ? 0.0f : (x != x ? x : y);
}

inline float tangent(float x) {
    float e = exponential(2.0f * x);
    return x > 20.0f ? 1.0f : 1.0f - 2.0f / (e + 1.0f);
}

inline float rms_factor(const float* x, int64_t n, float epsilon) {
    float total = 0;
    for (int64_t i = 0; i < n; ++i) total += x[i] * x[i];
    return 1.0f / std::sqrt(total / float(n) + epsilon);
}

#ifdef PAIRWISE

// The processor multiplies bfloat16 by twos and adds both products to a float32.

inline __m512bh bits(__m512i x) { return (__m512bh)x; }

inline __m512 widen_16(const bf16* x) {
    __m256i narrow = _mm256_loadu_si256((const __m256i*)x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

inline float dot(const bf16* x, const bf16* y, int64_t n) {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        even = _mm512_dpbf16_ps(even, bits(_mm512_loadu_si512(x + i)),
                                bits(_mm512_loadu_si512(y + i)));
        odd = _mm512_dpbf16_ps(odd, bits(_mm512_loadu_si512(x + i + 32)),
                               bits(_mm512_loadu_si512(y + i + 32)));
    }
    for (; i < n; i += 32) {
        __mmask32 own = n - i >= 32 ? ~0u : (1u << (n - i)) - 1;
        even = _mm512_dpbf16_ps(even, bits(_mm512_maskz_loadu_epi16(own, x + i)),
                                bits(_mm512_maskz_loadu_epi16(own, y + i)));
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

// y [width] += low [twos * 2] B, with B [twos, width, 2].
void add_low(const uint32_t* low, int64_t twos, const bf16* b, int64_t width, bf16* y) {
    int64_t start = 0;
    for (; start + 64 <= width; start += 64) {
        __m512 total[4];
        for (int at = 0; at < 4; ++at) total[at] = widen_16(y + start + 16 * at);
        for (int64_t two = 0; two < twos; ++two) {
            const bf16* own = b + 2 * (two * width + start);
            const __m512bh factor = bits(_mm512_set1_epi32(low[two]));
            for (int at = 0; at < 4; ++at)
                total[at] = _mm512_dpbf16_ps(
                    total[at], bits(_mm512_loadu_si512(own + 32 * at)), factor);
        }
        for (int at = 0; at < 4; ++at)
            _mm256_storeu_si256((__m256i*)(y + start + 16 * at),
                                (__m256i)_mm512_cvtneps_pbh(total[at]));
    }
    for (; start < width; start += 16) {
        const int64_t count = width - start < 16 ? width - start : 16;
        const __mmask16 own = count < 16 ? (1u << count) - 1 : 0xffff;
        __m256i narrow = _mm256_maskz_loadu_epi16(own, y + start);
        __m512 total =
            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
        for (int64_t two = 0; two < twos; ++two) {
            __m512i pairs = _mm512_maskz_loadu_epi32(own, b + 2 * (two * width + start));
            total = _mm512_dpbf16_ps(total, bits(pairs), bits(_mm512_set1_epi32(low[two])));
        }
        _mm256_mask_storeu_epi16(y + start, own, (__m256i)_mm512_cvtneps_pbh(total));
    }
}

// y [width] = sum over t of shares[t] values[t, width], in float32.
template <int BLOCKS>
void mix(const float* shares, const bf16* values, int64_t seen, int64_t width, float* y) {
    __m512 total[BLOCKS];
    for (int at = 0; at < BLOCKS; ++at) total[at] = _mm512_setzero_ps();
    for (int64_t t = 0; t < seen; ++t) {
        const __m512 share = _mm512_set1_ps(shares[t]);
        for (int at = 0; at < BLOCKS; ++at)
            total[at] = _mm512_fmadd_ps(share, widen_16(values + t * width + 16 * at), total[at]);
    }
    for (int at = 0; at < BLOCKS; ++at) _mm512_storeu_ps(y + 16 * at, total[at]);
}

#else

inline float dot(const bf16* x, const bf16* y, int64_t n) {
    float total = 0;
    for (int64_t i = 0; i < n; ++i) total += widen(x[i]) * widen(y[i]);
    return total;
}

void add_low(const uint32_t* low, int64_t twos, const bf16* b, int64_t width, bf16* y) {
    for (int64_t i = 0; i < width; ++i) {
        float total = widen(y[i]);
        for (int64_t two = 0; two < twos; ++two) {
            const bf16* own = b + 2 * (two * width + i);
            total += widen(bf16(low[two])) * widen(own[0]);
            total += widen(bf16(low[two] >> 16)) * widen(own[1]);
        }
        y[i] = narrow(total);
    }
}

#endif

void mix_any(const float* shares, const bf16* values, int64_t seen, int64_t width, float* y) {
#ifdef PAIRWISE
    if (width == 64) return mix<4>(shares, values, seen, width, y);
    if (width == 128) return mix<8>(shares, values, seen, width, y);
#endif
    std::memset(y, 0, width * sizeof(float));
    for (int64_t t = 0; t < seen; ++t)
        for (int64_t i = 0; i < width; ++i) y[i] += shares[t] * widen(values[t * width + i]);
}

// A low-rank pair beside some of a product's outputs.
struct Part {
    const bf16* a;  // [rank, inputs]
    const bf16* b;  // [(rank + 1) / 2, width, 2]: two ranks side by side
    int64_t rank, begin, width;
};
constexpr int PARTS = 3;

// y += (x A') B, for one row; x A' in bfloat16.
void add_pairs(const Part* parts, const bf16* x, int64_t inputs, bf16* y) {
    std::vector<uint32_t> low;
    for (int at = 0; at < PARTS; ++at) {
        const Part& part = parts[at];
        if (!part.rank) continue;
        const int64_t twos = (part.rank + 1) / 2;
        low.assign(twos, 0);
        for (int64_t r = 0; r < part.rank; ++r)
            low[r / 2] |= uint32_t(narrow(dot(x, part.a + r * inputs, inputs))) << (r % 2 * 16);
        add_low(low.data(), twos, part.b, part.width, y + part.begin);
    }
}

// Who has which rows of a step: adapters' tables of parts by place, and of each row the adapter's
// number, or -1; `order` are the rows, an adapter's one after the other.
struct Rows {
    const Part* const* tables;  // [adapters] of [places, PARTS]
    const int64_t *owners, *order;
    int64_t rows;
};

// The parts of a row at a place; null where it has none.
const Part* parts_of(const Rows* who, int64_t row, int64_t place) {
    if (!who || who->owners[row] < 0) return nullptr;
    const Part* parts = who->tables[who->owners[row]] + place * PARTS;
    return parts[0].rank || parts[1].rank || parts[2].rank ? parts : nullptr;
}

inline void activate(const bf16* gate, const bf16* up, bf16* out, int64_t n, int64_t kind) {
    if (kind == 0) {
        for (int64_t i = 0; i < n; ++i) {
            float x = widen(gate[i]);
            float y = widen(narrow(x / (1.0f + exponential(-x))));
            out[i] = narrow(y * widen(up[i]));
        }
    } else {
        for (int64_t i = 0; i < n; ++i) {
            float x = widen(gate[i]);
            float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
            float y = widen(narrow(0.5f * x * (1.0f + tangent(inner))));
            out[i] = narrow(y * widen(up[i]));
        }
    }
}

// How a row's next token is chosen.
struct Choice {
    const int64_t* seen;  // tokens whose scores are divided by the penalty, or multiplied below 0
    int64_t count;        // of them
    double point;         // in [0, 1): which share of the mass lies before the token
    double top_p;
    float temperature;    // 0 or less: the likeliest
    float penalty;
};

constexpr int64_t BLOCK = 2048;

// Sum in float32 by blocks, the blocks in float64.
double sum_of(const float* x, int64_t n) {
    double total = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t end = std::min(n, start + BLOCK);
        float part = 0;
        for (int64_t i = start; i < end; ++i) part += x[i];
        total += part;
    }
    return total;
}

constexpr int64_t LANES = 32;

// Of n > 0 numbers, none of which is NaN.
float largest(const float* x, int64_t n) {
    float lanes[LANES];
    std::fill(lanes, lanes + LANES, x[0]);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int64_t at = 0; at < LANES; ++at)
            lanes[at] = x[i + at] > lanes[at] ? x[i + at] : lanes[at];
    for (; i < n; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    return *std::max_element(lanes, lanes + LANES);
}

bool has_nan(const bf16* x, int64_t n) {
    uint16_t most = 0;
    for (int64_t i = 0; i < n; ++i) {
        const uint16_t size = x[i] & 0x7fffu;
        most = size > most ? size : most;
    }
    return most > 0x7f80u;
}

// The first index at which the sum of x is above `point`; the last that is not 0 where none is.
int64_t index_at(const float* x, int64_t n, double point) {
    double before = 0;
    int64_t last = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t end = std::min(n, start + BLOCK);
        const double part = sum_of(x + start, end - start);
        if (before + part > point)
            for (int64_t i = start; i < end; ++i) {
                before += x[i];
                if (x[i] > 0) last = i;
                if (before > point) return i;
            }
        else
            before += part;
    }
    return last;
}

// One of the fewest likeliest tokens that hold `top_p` of the mass (Holtzman et al. 2020).
//
// Tokens below a share of the likeliest one are not looked at, unless the rest is too little.
int64_t index_in_nucleus(const float* weights, int64_t n, double top_p, double point,
                         std::vector<std::pair<float, int64_t>>& found) {
    const double total = sum_of(weights, n);
    for (const float floor : {1e-2f, 1e-4f, 1e-6f, 0.0f}) {
        found.clear();
        double mass = 0;
        for (int64_t start = 0; start < n; start += 2 * LANES) {
            const int64_t end = std::min(n, start + 2 * LANES);
            if (largest(weights + start, end - start) < floor) continue;
            for (int64_t i = start; i < end; ++i)
                if (weights[i] >= floor) {
                    found.emplace_back(weights[i], i);
                    mass += weights[i];
                }
        }
        if (mass >= top_p * total) break;
    }
    std::sort(found.begin(), found.end(), [](const auto& one, const auto& other) {
        return one.first != other.first ? one.first > other.first : one.second < other.second;
    });
    double mass = 0;
    size_t kept = 0;
    while (kept < found.size() && (kept == 0 || mass < top_p * total)) mass += found[kept++].first;
    double before = 0;
    for (size_t at = 0; at < kept; ++at) {
        before += found[at].first;
        if (before > point * mass) return found[at].second;
    }
    return found[kept - 1].second;
}

int64_t choose(const Choice& how, float* scores, int64_t n,
               std::vector<std::pair<float, int64_t>>& found) {
    if (how.penalty != 1.0f)
        for (int64_t at = 0; at < how.count; ++at) {
            if (how.seen[at] < 0 || how.seen[at] >= n) continue;
            float& score = scores[how.seen[at]];
            score = score < 0 ? score * how.penalty : score / how.penalty;
        }
    const float most = largest(scores, n);
    if (how.temperature <= 0) return std::find(scores, scores + n, most) - scores;
    const float factor = 1.0f / std::max(how.temperature, 1e-6f);
    for (int64_t i = 0; i < n; ++i) scores[i] = exponential((scores[i] - most) * factor);
    if (how.top_p >= 1) return index_at(scores, n, how.point * sum_of(scores, n));
    return index_in_nucleus(scores, n, how.top_p, how.point, found);
}

}  // namespace

extern "C" {

// Of each row of logits [rows, width] a token, or -1 where its likeliest is not finite.
void copydesk_draw(const bf16* logits, int64_t width, const Choice* choices, int64_t rows,
                   int64_t* tokens, int64_t threads) {
#pragma omp parallel num_threads(threads) if (rows > 1)
    {
        std::vector<float> scores(width);
        std::vector<std::pair<float, int64_t>> found;
#pragma omp for schedule(dynamic, 1)
        for (int64_t row = 0; row < rows; ++row) {
            const bf16* own = logits + row * width;
            tokens[row] = -1;
            if (has_nan(own, width)) continue;
            widen_all(own, scores.data(), width);
            if (std::isfinite(largest(scores.data(), width)))
                tokens[row] = choose(choices[row], scores.data(), width, found);
        }
    }
}

// y [rows, width] = x / rms(x) * weight.
void copydesk_norm(const bf16* x, const bf16* weight, bf16* y, int64_t rows, int64_t width,
                   float epsilon, int64_t threads) {
#pragma omp parallel num_threads(threads) if (threads > 1 && rows * width > 65536)
    {
        std::vector<float> wide(width);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; ++row) {
            widen_all(x + row * width, wide.data(), width);
            float factor = rms_factor(wide.data(), width, epsilon);
            for (int64_t i = 0; i < width; ++i)
                y[row * width + i] = narrow(wide[i] * factor * widen(weight[i]));
        }
    }
}

// y [rows, outputs] += each row's pairs of x [rows, inputs] at a place.
void copydesk_pairs(const Rows* who, int64_t place, const bf16* x, int64_t inputs, bf16* y,
                    int64_t outputs, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < who->rows; ++at) {
        const int64_t row = who->order[at];
        if (const Part* parts = parts_of(who, row, place))
            add_pairs(parts, x + row * inputs, inputs, y + row * outputs);
    }
}

// gate [rows, outputs] = activation(gate + its pairs of x) * (up + its pairs of x); `who` may be
// null: no pairs. `kind` 0 is x / (1 + e^-x), 1 the tanh form of GELU.
void copydesk_gated(const Rows* who, int64_t gate_place, int64_t up_place, const bf16* x,
                    int64_t inputs, bf16* gate, bf16* up, int64_t rows, int64_t outputs,
                    int64_t kind, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < rows; ++at) {
        const int64_t row = who ? who->order[at] : at;
        bf16* own_gate = gate + row * outputs;
        bf16* own_up = up + row * outputs;
        if (const Part* parts = parts_of(who, row, gate_place))
            add_pairs(parts, x + row * inputs, inputs, own_gate);
        if (const Part* parts = parts_of(who, row, up_place))
            add_pairs(parts, x + row * inputs, inputs, own_up);
        activate(own_gate, own_up, own_gate, outputs, kind);
    }
}

struct Attention {
    int64_t heads, groups, width;      // H, G, K
    int64_t slot_stride, head_stride;  // of the caches, in numbers
    int64_t window;                    // positions that a token sees; 0: all
    float scale, cap, epsilon;         // cap 0: none
    const float *cos, *sin;            // [T, K]; the first half of sin is negative
    const bf16 *query_norm, *key_norm;  // [K] or null
};

// One token a row: turn its queries and keys, keep keys and values, mix the values.
//
// qkv [rows, (H + 2G) K], positions [rows] (-1: a row without a token gives zeros), keys and values
// [slots, G, T, K], out [rows, H K]. Row r is slot r.
void copydesk_attend(const Attention* how, const bf16* qkv, const int64_t* positions, int64_t rows,
                     bf16* keys, bf16* values, bf16* out, int64_t threads) {
    const int64_t H = how->heads, G = how->groups, K = how->width, R = H / G;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> plain(K), turned(K), scores;
        std::vector<bf16> query(K);
        // x [K], normed and turned by its position, into y.
        auto turn = [&](const bf16* x, const bf16* norm, int64_t position, float scale, bf16* y) {
            const float *cos = how->cos + position * K, *sin = how->sin + position * K;
            widen_all(x, plain.data(), K);
            if (norm) {
                float factor = rms_factor(plain.data(), K, how->epsilon);
                for (int64_t i = 0; i < K; ++i)
                    plain[i] = widen(narrow(plain[i] * factor * widen(norm[i])));
            }
            const float *left = plain.data(), *right = left + K / 2;
            for (int64_t i = 0; i < K / 2; ++i) {
                y[i] = narrow((left[i] * cos[i] + right[i] * sin[i]) * scale);
                y[K / 2 + i] = narrow((right[i] * cos[K / 2 + i] + left[i] * sin[K / 2 + i]) * scale);
            }
        };
#pragma omp for schedule(dynamic, 1)
        for (int64_t unit = 0; unit < rows * G; ++unit) {
            const int64_t row = unit / G, group = unit % G, position = positions[row];
            bf16* into = out + row * H * K + group * R * K;
            if (position < 0) {
                std::memset(into, 0, R * K * sizeof(bf16));
                continue;
            }
            const bf16* own = qkv + row * (H + 2 * G) * K;
            bf16* own_keys = keys + row * how->slot_stride + group * how->head_stride;
            bf16* own_values = values + row * how->slot_stride + group * how->head_stride;
            turn(own + (H + group) * K, how->key_norm, position, 1.0f, own_keys + position * K);
            std::memcpy(own_values + position * K, own + (H + G + group) * K, K * sizeof(bf16));
            const int64_t first =
                how->window > 0 && position + 1 > how->window ? position + 1 - how->window : 0;
            const int64_t seen = position + 1 - first;
            scores.resize(seen);
            for (int64_t j = 0; j < R; ++j) {
                turn(own + (group * R + j) * K, how->query_norm, position, how->scale,
                     query.data());
                const bf16* key = own_keys + first * K;
                if (K == 64)
                    for (int64_t t = 0; t < seen; ++t)
                        scores[t] = dot(query.data(), key + t * 64, 64);
                else
                    for (int64_t t = 0; t < seen; ++t)
                        scores[t] = dot(query.data(), key + t * K, K);
                if (how->cap > 0)
                    for (int64_t t = 0; t < seen; ++t)
                        scores[t] = how->cap * tangent(scores[t] / how->cap);
                float most = scores[0], total = 0;
                for (int64_t t = 1; t < seen; ++t) most = scores[t] > most ? scores[t] : most;
                for (int64_t t = 0; t < seen; ++t) {
                    scores[t] = exponential(scores[t] - most);
                    total += scores[t];
                }
                mix_any(scores.data(), own_values + first * K, seen, K, turned.data());
                const float factor = 1.0f / total;
                for (int64_t i = 0; i < K; ++i) into[j * K + i] = narrow(turned[i] * factor);
            }
        }
    }
}

}  // extern "C"
