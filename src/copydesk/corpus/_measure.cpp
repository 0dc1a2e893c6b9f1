// A text measured as `_signals` measures it: words, lines, repetition, and the hashes of its 5-word
// runs. What is counted is written as whole numbers, from which Python makes the shares.

#include "_bytes.hpp"
#include "_prose.hpp"

namespace copydesk {
namespace {

constexpr int PLACE_BITS = 17;
constexpr int SHINGLE_WORDS = 5;
constexpr int LONGEST_RUN = 10;

// A byte's part in words and lines.
constexpr uint8_t WORD = 1, SPACE = 2, LETTER = 4, END = 8, BULLET = 16;

struct Classes {
    uint8_t of[256] = {};
    constexpr Classes() {
        for (int b = 0; b < 256; ++b) {
            const int folded = b & ~0x20;
            const bool letter = b >= 0x80 || (folded >= 'A' && folded <= 'Z');
            if (letter) of[b] |= LETTER;
            if (letter || (b >= '0' && b <= '9')) of[b] |= WORD;
        }
        for (char c : {' ', '\t', '\n'}) of[uint8_t(c)] |= SPACE;
        for (char c : {'.', '!', '?', '"', '\'', ':', ';', ')', '*', '_'}) of[uint8_t(c)] |= END;
        for (char c : {'-', '*', '+'}) of[uint8_t(c)] |= BULLET;
    }
};
constexpr Classes CLASSES;

// The counts of a text; the order is that of `Counts` in `_signals.py`.
struct Counts {
    int64_t words, characters, symbols, lettered, stop_words, newlines;
    int64_t lines, bullets, dotted, punctuated, brief, repeated, repeated_bytes, line_bytes;
    int64_t top[3];
    int64_t doubled[6];
};
static_assert(sizeof(Counts) == 23 * sizeof(int64_t));

// How often a hash occurs, and the first place of it.
struct Slot {
    uint64_t key;
    uint32_t count;
    uint32_t place;
};

// Of each byte of a word: whether a character begins with it, and in the high half whether it is a
// letter's.
struct Marks {
    uint64_t of[256] = {};
    constexpr Marks() {
        for (int b = 0; b < 256; ++b)
            if (CLASSES.of[b] & WORD)
                of[b] = uint64_t((b & 0xc0) != 0x80) | uint64_t((CLASSES.of[b] & LETTER) != 0) << 32;
    }
};
constexpr Marks MARKS;

// Sums over the bytes of words, up to some place.
struct Sums {
    uint64_t terms;  // of the polynomial
    uint64_t marks;
    uint64_t size;
};

struct Scratch {
    Bytes text, spaced, seen;
    std::vector<Sums> ends;
    std::vector<uint64_t> words, run, hashes;
    std::vector<int64_t> sums;
    std::vector<int32_t> depth;
    std::vector<Slot> slots;
    std::vector<uint32_t> starts, places;
};

Scratch& scratch() {
    static thread_local std::unique_ptr<Scratch> kept;
    if (!kept) kept.reset(new Scratch);
    return *kept;
}

int64_t count_of(const Bytes& text, const char* sign) {
    const size_t size = std::strlen(sign);
    int64_t found = 0;
    const uint8_t* s = text.data();
    const uint8_t* const end = s + text.size();
    while (size_t(end - s) >= size) {
        const void* at = std::memchr(s, sign[0], size_t(end - s) - size + 1);
        if (!at) break;
        s = static_cast<const uint8_t*>(at);
        const bool here = std::memcmp(s, sign, size) == 0;
        found += here;
        s += here ? size : 1;
    }
    return found;
}

// --- Words

// The sums at the end of each word; before the first they are 0. How many words there are.
//
// Written without a branch, which would be guessed wrong twice a word: a word's hash is a difference
// of sums and needs no loop of its own.
size_t part_words(const Bytes& raw, const Polynomial& powers, std::vector<Sums>& ends) {
    ends.resize(raw.size() / 2 + 3);
    ends[0] = {0, 0, 0};
    Sums* end = ends.data() + 1;
    Sums here = {0, 0, 0};
    uint64_t begin = 0;
    for (uint8_t b : raw) {
        const uint64_t own = CLASSES.of[b], word = own & WORD;
        here.terms += powers.term(b, int64_t(here.size)) & -word;
        here.marks += MARKS.of[b];
        here.size += word;
        *end = here;
        const uint64_t ended = (own / SPACE & 1) & uint64_t(here.size > begin);
        end += ended;
        begin ^= (begin ^ here.size) & -ended;
    }
    *end = here;
    end += here.size > begin;
    return size_t(end - ends.data()) - 1;
}

void take_words(Scratch& own, Counts& counts) {
    const Polynomial& powers = polynomial(int64_t(own.spaced.size()));
    const size_t count = part_words(own.spaced, powers, own.ends);
    own.words.resize(count);
    own.sums.resize(count + 1);
    own.sums[0] = 0;
    const Sums* end = own.ends.data();
    for (size_t at = 0; at < count; ++at, ++end) {
        own.words[at] = mixed((end[1].terms - end->terms) * powers.back(end->size));
        own.sums[at + 1] = uint32_t(end[1].marks);
        counts.lettered += end[1].marks >> 32 != end->marks >> 32;
    }
    counts.words = int64_t(count);
    counts.characters = own.sums[count];
}

int64_t stops_among(const std::vector<uint64_t>& words, const uint64_t* stops) {
    uint32_t found = 0;
    for (uint64_t word : words)
        for (int stop = 0; stop < 8; ++stop) found |= uint32_t(word == stops[stop]) << stop;
    int64_t count = 0;
    for (; found; found &= found - 1) ++count;
    return count;
}

// --- Repetition

void clear_slots(std::vector<Slot>& slots, size_t count) {
    size_t size = 16;
    while (size < 2 * count) size *= 2;
    slots.assign(size, Slot{0, 0, 0});
}

Slot& slot_of(std::vector<Slot>& slots, uint64_t key) {
    const size_t mask = slots.size() - 1;
    size_t at = size_t(key ^ key >> 29) & mask;
    while (slots[at].count && slots[at].key != key) at = (at + 1) & mask;
    slots[at].key = key;
    return slots[at];
}

// The places of the hashes that occur again, and of some others: most do not, and are told so by a
// byte each, without the table.
void take_suspects(Scratch& own, size_t runs) {
    size_t size = 64;
    while (size < 4 * runs) size *= 2;
    own.seen.assign(size, 0);
    own.places.resize(runs + 1);
    for (size_t at = 0; at < runs; ++at) {
        uint8_t& seen = own.seen[own.hashes[at] >> PLACE_BITS & (size - 1)];
        seen = uint8_t(seen << 1 | 1);
    }
    size_t found = 0;
    for (size_t at = 0; at < runs; ++at) {
        own.places[found] = uint32_t(at);
        found += own.seen[own.hashes[at] >> PLACE_BITS & (size - 1)] > 1;
    }
    own.places.resize(found);
    clear_slots(own.slots, found);
}

// A place among the runs, as `_grouped` keeps it beside the hash.
inline uint32_t kept_place(size_t at) { return uint32_t(at) & ((1u << PLACE_BITS) - 1); }

// Occurrences of the most frequent run times its characters; 0 where none recurs.
int64_t top_of(Scratch& own, size_t runs, int n) {
    take_suspects(own, runs);
    for (uint32_t at : own.places) {
        Slot& slot = slot_of(own.slots, own.hashes[at] >> PLACE_BITS);
        const uint32_t place = kept_place(at);
        slot.place = slot.count ? std::min(slot.place, place) : place;
        ++slot.count;
    }
    int64_t most = 1, longest = 0;
    for (const Slot& slot : own.slots) {
        if (slot.count < 2 || slot.count < most) continue;
        const int64_t here = own.sums[slot.place + size_t(n)] - own.sums[slot.place];
        longest = slot.count > most ? here : std::max(longest, here);
        most = slot.count;
    }
    return most * longest;
}

// Characters of words inside runs that occurred before.
int64_t doubled_of(Scratch& own, size_t runs, int n) {
    take_suspects(own, runs);
    if (own.places.empty()) return 0;
    own.depth.assign(own.sums.size(), 0);
    for (uint32_t at : own.places) {
        Slot& slot = slot_of(own.slots, own.hashes[at] >> PLACE_BITS);
        uint32_t place = kept_place(at);
        if (slot.count++ == 0) {
            slot.place = place;
            continue;
        }
        if (place < slot.place) std::swap(place, slot.place);
        ++own.depth[place];
        --own.depth[place + size_t(n)];
    }
    int64_t found = 0, depth = 0;
    for (size_t at = 0; at + 1 < own.sums.size(); ++at) {
        depth += own.depth[at];
        if (depth > 0) found += own.sums[at + 1] - own.sums[at];
    }
    return found;
}

// One run more of words in each of `own.run`, and their hashes: how many runs of `n` there are.
size_t lengthen(Scratch& own, size_t n) {
    const size_t words = own.words.size();
    if (words < n) return 0;
    const size_t runs = words - n + 1;
    own.hashes.resize(runs);
    for (size_t at = 0; at < runs; ++at) {
        own.run[at] = own.run[at] * STEP + own.words[at + n - 1];
        own.hashes[at] = mixed(own.run[at]);
    }
    return runs;
}

// The hashes in order, each once. They are spread evenly, so a place by the first bits is near.
int64_t put_in_order(Scratch& own, size_t count, uint64_t* out) {
    int bits = 1;
    while ((size_t(1) << bits) < count && bits < 20) ++bits;
    const int shift = 64 - bits;
    own.starts.assign((size_t(1) << bits) + 1, 0);
    for (size_t at = 0; at < count; ++at) ++own.starts[(own.hashes[at] >> shift) + 1];
    for (size_t at = 1; at < own.starts.size(); ++at) own.starts[at] += own.starts[at - 1];
    for (size_t at = 0; at < count; ++at) out[own.starts[own.hashes[at] >> shift]++] = own.hashes[at];
    uint32_t largest = 0, start = 0;
    for (uint32_t past : own.starts) {
        largest = std::max(largest, past - start);
        start = past;
    }
    if (largest > 16) {
        std::sort(out, out + count);
    } else {
        for (size_t at = 1; at < count; ++at) {
            const uint64_t hash = out[at];
            size_t to = at;
            for (; to > 0 && out[to - 1] > hash; --to) out[to] = out[to - 1];
            out[to] = hash;
        }
    }
    return std::unique(out, out + count) - out;
}

// Of a text with fewer words than a shingle: one hash of all of them, where there are any.
int64_t put_whole(const std::vector<uint64_t>& words, uint64_t* out) {
    if (words.empty()) return 0;
    uint64_t run = words[0];
    for (size_t at = 1; at < words.size(); ++at) run = run * STEP + words[at];
    out[0] = mixed(run);
    return 1;
}

int64_t take_runs(Scratch& own, Counts& counts, uint64_t* shingles) {
    own.run = own.words;
    int64_t made = 0;
    for (int n = 2; n <= LONGEST_RUN; ++n) {
        const size_t runs = lengthen(own, size_t(n));
        if (n < SHINGLE_WORDS) {
            counts.top[n - 2] = top_of(own, runs, n);
            continue;
        }
        counts.doubled[n - SHINGLE_WORDS] = doubled_of(own, runs, n);
        if (n > SHINGLE_WORDS) continue;
        made = runs ? put_in_order(own, runs, shingles) : put_whole(own.words, shingles);
        // Longer runs only where they can be over a tenth: characters may be none, then it is one.
        if (10 * counts.doubled[0] <= std::max<int64_t>(1, counts.characters)) break;
    }
    return made;
}

// --- Lines

void take_lines(Scratch& own, Counts& counts) {
    const Bytes& raw = own.spaced;
    const Polynomial& powers = polynomial(int64_t(raw.size()));
    clear_slots(own.slots, size_t(std::count(raw.begin(), raw.end(), '\n')) + 1);
    const uint8_t* const text = raw.data();
    const uint8_t* const text_end = text + raw.size();
    for (const uint8_t* s = text; s < text_end;) {
        const void* found = std::memchr(s, '\n', size_t(text_end - s));
        const uint8_t* const end = found ? static_cast<const uint8_t*>(found) : text_end;
        const uint8_t* first = s;
        const uint8_t* past = end;
        s = end < text_end ? end + 1 : text_end;
        while (first < past && CLASSES.of[*first] & SPACE) ++first;
        while (past > first && CLASSES.of[past[-1]] & SPACE) --past;
        bool worded = false;
        for (const uint8_t* b = first; b < past && !worded; ++b) worded = CLASSES.of[*b] & WORD;
        if (!worded) continue;
        const int64_t size = past - first;
        ++counts.lines;
        counts.bullets += CLASSES.of[*first] & BULLET && first + 1 < text_end && first[1] == ' ';
        counts.dotted += size >= 3 && past[-1] == '.' && past[-2] == '.' && past[-3] == '.';
        counts.punctuated += (CLASSES.of[past[-1]] & END) != 0;
        counts.brief += size <= 30;
        counts.line_bytes += size;
        Slot& slot = slot_of(own.slots, powers.hash(first, size));
        if (slot.count++) {
            ++counts.repeated;
            counts.repeated_bytes += size;
        }
    }
}

}  // namespace
}  // namespace copydesk

using namespace copydesk;

// How many shingles were written, or NO_ROOM or NO_MEMORY. `raw` is a text without fenced code;
// `stops` are the hashes of eight words of at most four bytes.
extern "C" int64_t copydesk_measure(const uint8_t* kinds, const uint8_t* raw, int64_t size,
                                    const uint64_t* stops, int64_t* numbers, uint64_t* shingles,
                                    int64_t room) try {
    Scratch& own = scratch();
    take_prose(kinds, raw, size, own.text);
    space_out(kinds, own.text, own.spaced);
    Counts counts = {};
    std::fill(std::begin(counts.doubled), std::end(counts.doubled), -1);
    counts.symbols = count_of(own.text, "#") - count_of(own.text, "# ") -
                     count_of(own.text, "##") + count_of(own.text, "...");
    counts.newlines = count_of(own.text, "\n");
    take_words(own, counts);
    counts.stop_words = stops_among(own.words, stops);
    if (counts.words > room) return NO_ROOM;
    const int64_t made = take_runs(own, counts, shingles);
    take_lines(own, counts);
    std::memcpy(numbers, &counts, sizeof counts);
    return made;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

// The shingles alone; as above.
extern "C" int64_t copydesk_shingles(const uint8_t* kinds, const uint8_t* raw, int64_t size,
                                     uint64_t* shingles, int64_t room) try {
    Scratch& own = scratch();
    take_prose(kinds, raw, size, own.text);
    space_out(kinds, own.text, own.spaced);
    Counts counts = {};
    take_words(own, counts);
    if (counts.words > room) return NO_ROOM;
    own.run = own.words;
    size_t runs = 0;
    for (int n = 2; n <= SHINGLE_WORDS; ++n) runs = lengthen(own, size_t(n));
    return runs ? put_in_order(own, runs, shingles) : put_whole(own.words, shingles);
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}
