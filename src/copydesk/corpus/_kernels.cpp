// A page measured in one pass: words, runs of words, lines, and the hashes they are compared by.
//
// The same numbers, to the bit, as the NumPy code beside it gives (_signals.py says what they mean);
// tables of bytes and values come from there, so that nothing is defined twice. Every function
// reads `n` bytes of UTF-8 in ASCII lower case and writes into buffers that are large enough by
// what its comment says. No function keeps anything.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <vector>

namespace {

using u64 = uint64_t;
using i64 = int64_t;

constexpr u64 BASE = 0x9E3779B97F4A7C15u;
constexpr u64 WORD_STEP = 0xD6E8FEB86659FD93u;
constexpr int PLACE_BITS = 17;
constexpr int SHINGLE = 5, LONGEST = 10;

// Classes of a byte, as bits of a table.
enum : uint8_t { SPACE = 1, LETTER = 2, WORD = 4, END = 8, BULLET = 16 };

struct Tables {
    const uint8_t* classes;  // [256]
    const u64* values;       // [256]
};

inline u64 mixed(u64 x) {
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

struct Words {
    std::vector<u64> hashes;
    std::vector<uint32_t> lengths;  // in characters
    i64 lettered = 0, total = 0;
};

// Punctuation is passed over: it neither belongs to a word nor ends one.
void split_words(const Tables& tables, const uint8_t* raw, i64 n, Words& words) {
    u64 sum = 0, power = 1;
    uint32_t length = 0;
    bool inside = false, lettered = false;
    auto close = [&] {
        if (!inside) return;
        words.hashes.push_back(mixed(sum));
        words.lengths.push_back(length);
        words.lettered += lettered;
        words.total += length;
        sum = 0, power = 1, length = 0, inside = lettered = false;
    };
    for (i64 i = 0; i < n; ++i) {
        const uint8_t byte = raw[i], kind = tables.classes[byte];
        if (kind & WORD) {
            inside = true;
            lettered |= (kind & LETTER) != 0;
            length += (byte & 0xC0) != 0x80;
            sum += tables.values[byte] * power;
            power *= BASE;
        } else if (kind & SPACE) {
            close();
        }
    }
    close();
}

u64 span_hash(const Tables& tables, const uint8_t* from, const uint8_t* to) {
    u64 sum = 0, power = 1;
    for (; from < to; ++from) {
        sum += tables.values[*from] * power;
        power *= BASE;
    }
    return mixed(sum);
}

// Sorted, each once, in place; the hashes are spread evenly, so that buckets by their highest bits
// are nearly in order.
i64 sort_distinct(u64* hashes, i64 count) {
    if (count > 64) {
        int bits = 1;
        while ((i64(1) << bits) < count / 2) ++bits;
        std::vector<u64> out(count);
        std::vector<uint32_t> starts((size_t(1) << bits) + 1, 0);
        for (i64 i = 0; i < count; ++i) ++starts[(hashes[i] >> (64 - bits)) + 1];
        for (size_t b = 1; b < starts.size(); ++b) starts[b] += starts[b - 1];
        std::vector<uint32_t> next(starts.begin(), starts.end() - 1);
        for (i64 i = 0; i < count; ++i) out[next[hashes[i] >> (64 - bits)]++] = hashes[i];
        for (size_t b = 0; b + 1 < starts.size(); ++b) {
            if (starts[b + 1] - starts[b] > 1)
                std::sort(out.begin() + starts[b], out.begin() + starts[b + 1]);
        }
        std::memcpy(hashes, out.data(), size_t(count) * sizeof(u64));
    } else {
        std::sort(hashes, hashes + count);
    }
    return std::unique(hashes, hashes + count) - hashes;
}

// Equal hashes by number: an open table of twice as many places or more.
class Groups {
   public:
    explicit Groups(i64 count) {
        while ((i64(1) << bits_) < 2 * count) ++bits_;
        keys_.resize(size_t(1) << bits_);
        groups_.assign(size_t(1) << bits_, -1);
    }
    // The group's number; `known` says whether it was there.
    int32_t find(u64 key, bool& known) {
        size_t at = key >> (64 - bits_);
        const size_t mask = groups_.size() - 1;
        while (groups_[at] >= 0 && keys_[at] != key) at = (at + 1) & mask;
        known = groups_[at] >= 0;
        if (!known) {
            keys_[at] = key;
            groups_[at] = count_++;
        }
        return groups_[at];
    }

   private:
    int bits_ = 4;
    int32_t count_ = 0;
    std::vector<u64> keys_;
    std::vector<int32_t> groups_;
};

struct Repeats {
    i64 top = 0;        // characters of the most frequent run's occurrences
    i64 duplicate = 0;  // characters of words in runs that occurred before
};

// Of the runs of n words, by the upper 47 bits of their hashes.
Repeats repeats(const std::vector<u64>& runs, int n, const Words& words, const std::vector<i64>& upto) {
    Repeats found;
    const i64 count = i64(runs.size());
    if (count < 2) return found;
    Groups groups(count);
    std::vector<uint32_t> counts, firsts;
    const i64 size = i64(words.hashes.size());
    i64 covered = 0;  // words before this place are counted already
    bool recurs = false;
    for (i64 i = 0; i < count; ++i) {
        bool known;
        const int32_t group = groups.find(mixed(runs[i]) >> PLACE_BITS << PLACE_BITS, known);
        if (!known) {
            counts.push_back(1);
            firsts.push_back(uint32_t(i));
            continue;
        }
        recurs = true;
        ++counts[group];
        const i64 from = std::max(covered, i), to = std::min(i + n, size);
        if (to > from) {
            found.duplicate += upto[to] - upto[from];
            covered = to;
        }
    }
    if (!recurs) return found;
    const uint32_t most = *std::max_element(counts.begin(), counts.end());
    i64 longest = 0;
    for (size_t g = 0; g < counts.size(); ++g) {
        if (counts[g] == most) longest = std::max(longest, upto[firsts[g] + n] - upto[firsts[g]]);
    }
    found.top = i64(most) * longest;
    return found;
}

void next_runs(std::vector<u64>& runs, const std::vector<u64>& words, int n) {
    const i64 count = i64(words.size()) - n + 1;
    if (count <= 0) {
        runs.clear();
        return;
    }
    for (i64 i = 0; i < count; ++i) runs[i] = runs[i] * WORD_STEP + words[i + n - 1];
    runs.resize(count);
}

// Hashes of all runs of five words, sorted, each once; of fewer words one run of all.
i64 shingles_of(const Words& words, u64* out) {
    const i64 count = i64(words.hashes.size());
    if (!count) return 0;
    const int n = int(std::min<i64>(count, SHINGLE));
    for (i64 i = 0; i + n <= count; ++i) {
        u64 run = words.hashes[i];
        for (int k = 1; k < n; ++k) run = run * WORD_STEP + words.hashes[i + k];
        out[i] = mixed(run);
    }
    return sort_distinct(out, count - n + 1);
}

struct Lines {
    i64 count = 0, bullets = 0, dotted = 0, ended = 0, brief = 0, again = 0, again_bytes = 0,
        bytes = 0;
};

Lines measure_lines(const Tables& tables, const uint8_t* raw, i64 n) {
    Lines found;
    std::vector<u64> hashes;
    std::vector<i64> lengths;
    auto is = [&](i64 at, uint8_t kind) { return (tables.classes[raw[at]] & kind) != 0; };
    auto dot = [&](i64 at) { return at >= 0 && raw[at] == '.'; };
    for (i64 start = 0; start <= n;) {
        const void* hit = start < n ? std::memchr(raw + start, '\n', size_t(n - start)) : nullptr;
        const i64 end = hit ? static_cast<const uint8_t*>(hit) - raw : n;
        bool worded = false;
        for (i64 i = start; i < end && !worded; ++i) worded = is(i, WORD);
        if (worded) {
            i64 first = start, last = end - 1;
            while (is(first, SPACE)) ++first;
            while (is(last, SPACE)) --last;
            const i64 length = last + 1 - first;
            ++found.count;
            found.bytes += length;
            found.bullets += is(first, BULLET) && first + 1 < n && raw[first + 1] == ' ';
            found.dotted += dot(last) && dot(last - 1) && dot(last - 2);
            found.ended += is(last, END);
            found.brief += length <= 30;
            hashes.push_back(span_hash(tables, raw + first, raw + last + 1));
            lengths.push_back(length);
        }
        start = end + 1;
    }
    Groups groups(found.count);
    for (i64 i = 0; i < found.count; ++i) {
        bool known;
        groups.find(hashes[i], known);
        if (known) ++found.again, found.again_bytes += lengths[i];
    }
    return found;
}

}  // namespace

extern "C" {

// Longest text that `copydesk_measure` takes: places of words have 17 bits.
i64 copydesk_most_words() { return i64(1) << PLACE_BITS; }

// counts [24]: words, characters of words, words with a letter, stop words that occur; then the
// fields of `Lines`; then top of 2, 3, 4 and duplicate of 5 to 10. shingles [n / 2 + 1].
// Returns how many shingles there are, or -1 where there are too many words.
i64 copydesk_measure(const uint8_t* classes, const u64* values, const uint8_t* raw, i64 n,
                     const u64* stops, i64 stop_count, i64* counts, u64* shingles) {
    const Tables tables{classes, values};
    Words words;
    words.hashes.reserve(size_t(n / 5 + 1));
    words.lengths.reserve(size_t(n / 5 + 1));
    split_words(tables, raw, n, words);
    const i64 size = i64(words.hashes.size());
    if (size > copydesk_most_words()) return -1;
    std::vector<i64> upto(size_t(size) + 1, 0);
    for (i64 i = 0; i < size; ++i) upto[i + 1] = upto[i] + words.lengths[i];
    uint32_t seen = 0;
    for (u64 word : words.hashes) {
        for (i64 s = 0; s < stop_count; ++s) seen |= uint32_t(word == stops[s]) << s;
    }
    const Lines lines = measure_lines(tables, raw, n);
    const i64 head[] = {size, words.total, words.lettered, __builtin_popcount(seen),
                        lines.count, lines.bullets, lines.dotted, lines.ended, lines.brief,
                        lines.again, lines.again_bytes, lines.bytes};
    std::copy(std::begin(head), std::end(head), counts);
    i64* tops = counts + 12;
    std::fill(tops, tops + 9, 0);
    std::vector<u64> runs(words.hashes);
    for (int k = 2; k <= LONGEST; ++k) {
        next_runs(runs, words.hashes, k);
        if (runs.empty()) break;
        const Repeats found = repeats(runs, k, words, upto);
        if (k < SHINGLE) {
            tops[k - 2] = found.top;
            continue;
        }
        tops[k - 2] = found.duplicate;
        // Longer runs repeat less: they are looked at only where these are over a tenth.
        if (k == SHINGLE && !(double(found.duplicate) / double(std::max<i64>(1, words.total)) > 0.1))
            break;
    }
    return shingles_of(words, shingles);
}

// shingles [n / 2 + 1]; returns how many there are.
i64 copydesk_shingles(const uint8_t* classes, const u64* values, const uint8_t* raw, i64 n,
                      u64* shingles) {
    Words words;
    split_words({classes, values}, raw, n, words);
    return shingles_of(words, shingles);
}

// Of UTF-8 text, its lines that may be a template's (`_boilerplate.shared_lines`): a hash of each,
// whatever its blanks and ASCII case, and its number. spaces [space_count] are the code points
// outside ASCII that Python calls blanks, in order; a line that begins with one of marks
// [mark_count], or has not `least` to `most` characters, is none. hashes and numbers
// [n / least + 1]. Returns how many there are.
i64 copydesk_shared_lines(const u64* values, const uint8_t* raw, i64 n, const uint32_t* spaces,
                          i64 space_count, const uint8_t* marks, i64 mark_count, i64 least, i64 most,
                          u64* hashes, i64* numbers) {
    i64 found = 0, number = 0;
    for (i64 start = 0; start <= n; ++number) {
        const void* hit = start < n ? std::memchr(raw + start, '\n', size_t(n - start)) : nullptr;
        const i64 end = hit ? static_cast<const uint8_t*>(hit) - raw : n;
        const i64 from = start;
        start = end + 1;
        if (end - from < least || std::memchr(marks, raw[from], size_t(mark_count))) continue;
        i64 characters = 0;
        u64 sum = 0, power = 1;
        bool inked = false, gap = false, blank = false, spaced = false;
        for (i64 i = from; i < end;) {
            const uint8_t lead = raw[i];
            const i64 width = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
            bool space;
            if (lead < 0x80) {
                space = lead == ' ' || (lead >= 9 && lead <= 13) || (lead >= 28 && lead <= 31);
            } else {
                uint32_t point = lead & (0xFFu >> (width + 1));
                for (i64 k = 1; k < width && i + k < end; ++k) point = point << 6 | (raw[i + k] & 0x3F);
                space = std::binary_search(spaces, spaces + space_count, point);
            }
            ++characters;
            if (space) {
                gap = inked;
                blank |= inked && lead == ' ';
            } else {
                spaced |= blank;
                if (gap) {
                    sum += values[static_cast<uint8_t>(' ')] * power;
                    power *= BASE;
                    gap = false;
                }
                for (i64 k = 0; k < width && i + k < end; ++k) {
                    const uint8_t byte = raw[i + k];
                    sum += values[byte >= 'A' && byte <= 'Z' ? byte + 32 : byte] * power;
                    power *= BASE;
                }
                inked = true;
            }
            i += width;
        }
        if (characters < least || characters > most || !spaced) continue;
        hashes[found] = mixed(sum);
        numbers[found++] = number;
    }
    return found;
}

// Of UTF-8 text, the lines that may hold an address or a number, and which: what stands in the bits
// of `kinds`. A line of ASCII holds a number of `fewest` digits only where that many stand in one
// stretch of digits, blanks, brackets, dots and hyphens, and an account only where two capitals
// stand before two digits; of other lines, as many digits anywhere are enough. numbers and kinds
// have a place for each line. Returns how many lines there are.
i64 copydesk_suspects(const uint8_t* raw, i64 n, i64 fewest, i64* numbers, uint8_t* kinds) {
    enum : uint8_t { ADDRESS = 1, NUMBER = 2, ACCOUNT = 4 };
    auto digit = [](uint8_t byte) { return byte >= '0' && byte <= '9'; };
    auto capital = [](uint8_t byte) { return byte >= 'A' && byte <= 'Z'; };
    i64 found = 0, number = 0;
    for (i64 start = 0; start <= n; ++number) {
        const void* hit = start < n ? std::memchr(raw + start, '\n', size_t(n - start)) : nullptr;
        const i64 end = hit ? static_cast<const uint8_t*>(hit) - raw : n;
        i64 digits = 0, stretch = 0, longest = 0;
        bool address = false, account = false, plain = true;
        for (i64 i = start; i < end; ++i) {
            const uint8_t byte = raw[i];
            if (digit(byte)) {
                ++digits;
                longest = std::max(longest, ++stretch);
                account |= i - start >= 3 && digit(raw[i - 1]) && capital(raw[i - 2]) &&
                           capital(raw[i - 3]);
            } else if (!(byte == ' ' || byte == '(' || byte == ')' || byte == '.' || byte == '-')) {
                stretch = 0;
                address |= byte == '@';
                plain &= byte < 0x80;
            }
        }
        start = end + 1;
        uint8_t kind = address ? ADDRESS : 0;
        if (digits >= fewest) {
            if (!plain || longest >= fewest) kind |= NUMBER;
            if (!plain || account) kind |= ACCOUNT;
        }
        if (kind) {
            numbers[found] = number;
            kinds[found++] = kind;
        }
    }
    return found;
}
}
