// What the corpus's kernels share: characters in UTF-8, their kinds, and the hashes of `_signals`.
//
// Texts are UTF-8 as Python writes it. Every read is bounded by the text's end, so that other bytes
// give a wrong answer at worst.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace copydesk {

// A byte for each code point, from Python; see `_characters.py`.
constexpr uint8_t BLANK = 1;
constexpr uint8_t UNSPACED = 2;
constexpr uint32_t CODE_POINTS = 0x110000;

constexpr int64_t NO_MEMORY = -1;
constexpr int64_t NO_ROOM = -2;

constexpr uint64_t BASE = 0x9E3779B97F4A7C15u;
constexpr uint64_t inverse_of(uint64_t odd) {  // modulo 2^64, by Newton's iteration
    uint64_t found = odd;
    for (int turn = 0; turn < 5; ++turn) found *= 2 - odd * found;
    return found;
}
constexpr uint64_t INVERSE = inverse_of(BASE);
static_assert(BASE * INVERSE == 1);
constexpr uint64_t STEP = 0xD6E8FEB86659FD93u;

inline uint64_t mixed(uint64_t x) {
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

struct Character {
    uint32_t code;
    int64_t size;  // in bytes
};

// The character at `s`, which is before `end`.
inline Character character(const uint8_t* s, const uint8_t* end) {
    const uint32_t first = *s;
    if (first < 0x80) return {first, 1};
    const int64_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc0 || end - s < size) return {CODE_POINTS - 1, 1};
    uint32_t code = first & (0xffu >> (size + 1));
    for (int64_t at = 1; at < size; ++at) code = code << 6 | (s[at] & 0x3fu);
    return {std::min(code, CODE_POINTS - 1), size};
}

inline bool is_blank(const uint8_t* kinds, uint32_t code) { return kinds[code] & BLANK; }

// The size of the blank that ends at `s`, which is after `start`; 0 where no blank does.
inline int64_t blank_before(const uint8_t* kinds, const uint8_t* start, const uint8_t* s) {
    const uint8_t* first = s - 1;
    while (first > start && s - first < 4 && (*first & 0xc0) == 0x80) --first;
    const Character found = character(first, s);
    return found.size == s - first && is_blank(kinds, found.code) ? found.size : 0;
}

// The first byte outside ASCII from `s` on, or the end.
inline const uint8_t* past_ascii(const uint8_t* s, const uint8_t* end) {
    for (; end - s >= 8; s += 8) {
        uint64_t eight;
        std::memcpy(&eight, s, 8);
        if (eight & 0x8080808080808080u) break;
    }
    while (s < end && *s < 0x80) ++s;
    return s;
}

inline bool is_digit(uint8_t b) { return b >= '0' && b <= '9'; }
inline bool is_upper(uint8_t b) { return b >= 'A' && b <= 'Z'; }
inline bool is_letter(uint8_t b) { return is_upper(b & ~0x20); }
inline uint8_t lower(uint8_t b) { return uint8_t(b + (uint8_t(b - 'A') < 26) * 0x20); }

// The value of each byte, and the powers of the base, in which a span's hash is a polynomial.
class Polynomial {
  public:
    Polynomial() {
        for (uint64_t b = 0; b < 256; ++b) values_[b] = mixed((b + 1) * BASE) | 1;
    }

    // Make ready for spans of `size` bytes.
    void reach(int64_t size) {
        if (powers_.empty()) powers_.push_back(1), inverses_.push_back(1);
        while (int64_t(powers_.size()) <= size) powers_.push_back(powers_.back() * BASE);
        while (int64_t(inverses_.size()) <= size) inverses_.push_back(inverses_.back() * INVERSE);
    }

    uint64_t term(uint8_t b, int64_t place) const { return values_[b] * powers_[size_t(place)]; }

    // What brings a sum of terms from `place` on back to places from 0 on.
    uint64_t back(size_t place) const { return inverses_[place]; }

    uint64_t hash(const uint8_t* s, int64_t size) const {
        uint64_t sum = 0;
        for (int64_t at = 0; at < size; ++at) sum += term(s[at], at);
        return mixed(sum);
    }

  private:
    uint64_t values_[256];
    std::vector<uint64_t> powers_, inverses_;
};

// Each thread's own; kept from call to call, since fresh memory costs more than the work. By a
// pointer: of a thread's variable itself the compiler asks for the address again in every loop.
inline Polynomial& polynomial(int64_t size) {
    static thread_local std::unique_ptr<Polynomial> kept;
    if (!kept) kept.reset(new Polynomial);
    kept->reach(size);
    return *kept;
}

}  // namespace copydesk
