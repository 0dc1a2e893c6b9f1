// What the kernels share: sixteen numbers at a time, and products of bfloat16 pairs. PAIRWISE says
// whether this processor has them; without it nothing is compiled but the answer that it has not.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define PAIRWISE 1
#include <immintrin.h>

namespace copydesk {

using bf16 = uint16_t;
using Floats = __m512;
using Words = std::vector<uint32_t>;  // each two bfloat16, the first in the low half

constexpr int64_t LANES = 16;

inline int64_t up_to(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
inline uint32_t word(const bf16* x) {
    uint32_t found;
    std::memcpy(&found, x, 4);
    return found;
}
inline float widen(bf16 x) {
    const uint32_t bits = uint32_t(x) << 16;
    float found;
    std::memcpy(&found, &bits, 4);
    return found;
}
inline __m512bh pairs(const void* x) { return __m512bh(_mm512_loadu_si512(x)); }
inline __m512bh spread(uint32_t pair) { return __m512bh(_mm512_set1_epi32(int(pair))); }

// To the nearest, ties to even; NaN stays NaN.
inline __m256i narrowed(Floats x) { return __m256i(_mm512_cvtneps_pbh(x)); }
inline Floats widened(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
inline Floats rounded(Floats x) { return widened(narrowed(x)); }
inline bf16 narrow(float x) {
    return bf16(_mm_extract_epi16(_mm256_castsi256_si128(narrowed(_mm512_set1_ps(x))), 0));
}
inline void narrow(Floats x, bf16* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrowed(x));
}

// Sixteen numbers of a row from `at` on, or as many as there are before `width`.
inline __mmask16 there(int64_t at, int64_t width) {
    return __mmask16(width - at >= LANES ? 0xffff : (1u << (width - at)) - 1);
}
inline Floats load(const bf16* x, __mmask16 those) {
    return widened(_mm256_maskz_loadu_epi16(those, x));
}
inline void store(Floats x, bf16* to, __mmask16 those) {
    _mm256_mask_storeu_epi16(to, those, narrowed(x));
}

// e^x with a relative error below 2e-7 (Cody and Waite's reduction, a Taylor polynomial of degree
// 6 on |r| <= ln 2 / 2); 0 below -87, e^88 above 88. A NaN stays one: of two numbers the
// instructions for extremes give the second where one is NaN.
inline Floats exponential(Floats x) {
    const __mmask16 tiny = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_LT_OQ);
    x = _mm512_max_ps(_mm512_set1_ps(-88.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x));
    const Floats n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    Floats r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), r);
    Floats p = _mm512_set1_ps(1.0f / 720);
    for (float term : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(term));
    return _mm512_maskz_mov_ps(_mm512_knot(tiny), _mm512_scalef_ps(p, n));
}

}  // namespace copydesk

#endif
