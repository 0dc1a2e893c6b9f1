// Causal attention of packed examples in bfloat16 on a CPU, forward and backward, as `_causal.py`
// has it: products of bfloat16 pairs summed in float32, a softmax in float32, and of the T x T
// weights no more than a block at a time (Dao et al. 2022).
//
// A segment is consecutive rows: an example, or a start that examples share, or what follows it of
// one of them, which sees the rows of its parent, the start, before its own. The segments that share
// a start follow it; together they are a family, an example alone is one too.
//
// One key head of a segment (forward) or of a family (backward, where gradients add up in the
// start), with the query heads that share it, is one thread's work, in one order: a result does not
// depend on the number of threads. A family's numbers reach no other family.

#include "_vectors.hpp"

#ifdef PAIRWISE

namespace copydesk {
namespace {

// [heads, tokens, K] with K contiguous; strides in numbers.
struct View {
    bf16* at;
    int64_t head, token;
};

struct Task {
    View query, key, value, out, gout, gquery, gkey, gvalue;
    float* sums;  // [H, T] log of the sum of each row's exponentials
    const int64_t* starts;  // [segments + 1]
    const int64_t* parents;  // [segments], -1 for none
    int64_t segments, heads, groups, width, tokens;
    float scale;
};

constexpr int64_t ROWS = 16;        // query rows of a block, forward
constexpr int64_t KEYS = 256;       // keys of a chunk, forward
constexpr int64_t BACK_ROWS = 32;   // query rows of a block, backward: two registers of lanes
constexpr int64_t BACK_KEYS = 64;   // keys of a chunk, backward
constexpr float NEGATIVE = -INFINITY;

inline const bf16* row(const View& view, int64_t head, int64_t token) {
    return view.at + head * view.head + token * view.token;
}

// A segment's own rows, and those of its parent before them: its keys are `seen` rows.
struct Segment {
    int64_t start, length, parent, before;

    Segment(const Task& task, int64_t number)
        : start(task.starts[number]), length(task.starts[number + 1] - start),
          parent(task.parents[number]), before(0) {
        if (parent >= 0) before = task.starts[parent + 1] - task.starts[parent];
        parent = parent >= 0 ? task.starts[parent] : start;
    }

    int64_t seen() const { return before + length; }

    // The row of the batch in which a key of the segment lies.
    int64_t at(int64_t key) const { return key < before ? parent + key : start + key - before; }
};

// acc[M][N] += for each pair p: a(m, p) spread over lanes, times the N registers at b + p * step.
template <int M, int N, typename A>
inline void multiply(Floats (&acc)[M][N], int64_t count, A a, const uint32_t* b, int64_t step) {
    for (int64_t p = 0; p < count; ++p) {
        __m512bh right[N];
        for (int n = 0; n < N; ++n) right[n] = pairs(b + p * step + n * LANES);
        for (int m = 0; m < M; ++m) {
            const __m512bh left = spread(a(m, p));
            for (int n = 0; n < N; ++n) acc[m][n] = _mm512_dpbf16_ps(acc[m][n], left, right[n]);
        }
    }
}

template <int M, int N>
inline void load(Floats (&acc)[M][N], const float* from, int64_t step) {
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) acc[m][n] = _mm512_loadu_ps(from + m * step + n * LANES);
}

template <int M, int N>
inline void store(const Floats (&acc)[M][N], float* to, int64_t step) {
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) _mm512_storeu_ps(to + m * step + n * LANES, acc[m][n]);
}

// [K / 2, room]: pairs along K, one row a lane; rows after `count` are 0. `place(r)` is row r's in
// the batch.
template <typename Place>
void lay_lanes(const View& view, int64_t head, Place place, int64_t count, int64_t width,
               int64_t room, uint32_t* to) {
    const bf16* const base = row(view, head, 0);
    for (int64_t lane = 0; lane < room; lane += LANES) {
        const int64_t left = std::clamp<int64_t>(count - lane, 0, LANES);
        const __mmask16 there = __mmask16((1u << left) - 1);
        const int64_t nearest = place(std::min(lane, count - 1));
        const bf16* const from = base + nearest * view.token;
        alignas(64) int32_t apart[LANES] = {};
        for (int64_t r = 0; r < left; ++r)
            apart[r] = int32_t(2 * view.token * (place(lane + r) - nearest));
        const __m512i offsets = _mm512_load_si512(apart);
        for (int64_t p = 0; p < width / 2; ++p)
            _mm512_storeu_si512(to + p * room + lane,
                                _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, offsets,
                                                            from + 2 * p, 1));
    }
}

// [room / 2, K]: pairs of consecutive rows; rows after `count` are 0.
template <typename Place>
void lay_pairs(const View& view, int64_t head, Place place, int64_t count, int64_t width,
               int64_t room, uint32_t* to) {
    for (int64_t r = 0; r < room; r += 2, to += width) {
        const bf16* low = r < count ? row(view, head, place(r)) : nullptr;
        const bf16* high = r + 1 < count ? row(view, head, place(r + 1)) : nullptr;
        for (int64_t k = 0; k < width; ++k)
            to[k] = uint32_t(low ? low[k] : 0) | uint32_t(high ? high[k] : 0) << 16;
    }
}

struct Scratch {
    Words keys, values, rows[2], lanes[2], weights, both;
    std::vector<float> scores, out, gkeys, gvalues, gquery, gstart_keys, gstart_values;
    std::vector<bf16> turned, weight_rows, gscore_rows;
};

// A thread's own, given back when it ends: every step has new threads.
Scratch& scratch() {
    static thread_local Scratch kept;
    return kept;
}

// --- Forward

// Scaled scores [ROWS, KEYS] of a block of query rows and a chunk of keys.
void take_scores(const bf16* const* rows, const uint32_t* keys, int64_t room, int64_t count,
                 int64_t width, float scale, float* scores) {
    const Floats scaling = _mm512_set1_ps(scale);
    for (int64_t j = 0; j < count; j += 4 * LANES)
        for (int64_t r = 0; r < ROWS; r += 4) {
            Floats acc[4][4] = {};
            auto left = [&](int m, int64_t p) { return word(rows[r + m] + 2 * p); };
            multiply(acc, width / 2, left, keys + j, room);
            for (auto& line : acc)
                for (Floats& x : line) x = _mm512_mul_ps(x, scaling);
            store(acc, scores + r * KEYS + j, KEYS);
        }
}

// One row's weights of a chunk, `seen` keys of `count`, in bfloat16; the running greatest score and
// sum are brought up to date. Returns by what the earlier sums are multiplied.
float take_weights(float* scores, int64_t seen, int64_t count, float& greatest, float& sum,
                   bf16* weights) {
    for (int64_t j = std::max<int64_t>(seen, 0); j < count; ++j) scores[j] = NEGATIVE;
    Floats most = _mm512_set1_ps(NEGATIVE);
    for (int64_t j = 0; j < count; j += LANES)
        most = _mm512_max_ps(most, _mm512_loadu_ps(scores + j));
    const float now = std::max(greatest, _mm512_reduce_max_ps(most));
    const Floats base = _mm512_set1_ps(now);
    Floats total = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += LANES) {
        const Floats weight = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + j), base));
        total = _mm512_add_ps(total, weight);
        narrow(weight, weights + j);
    }
    const float shrink = std::exp(greatest - now);
    sum = sum * shrink + _mm512_reduce_add_ps(total);
    greatest = now;
    return shrink;
}

void attend(const Task& task, int64_t number, int64_t group) {
    Scratch& own = scratch();
    const Segment segment(task, number);
    const int64_t start = segment.start, length = segment.length;
    const int64_t width = task.width, repeats = task.heads / task.groups;
    const int64_t room = up_to(segment.seen(), KEYS);
    own.keys.resize(size_t(width / 2 * room));
    own.values.resize(size_t(room / 2 * width));
    own.scores.resize(size_t(ROWS * KEYS));
    own.out.resize(size_t(ROWS * width));
    own.weight_rows.resize(size_t(ROWS * KEYS));
    const auto place = [&](int64_t key) { return segment.at(key); };
    lay_lanes(task.key, group, place, segment.seen(), width, room, own.keys.data());
    lay_pairs(task.value, group, place, segment.seen(), width, room, own.values.data());
    for (int64_t head = group * repeats; head < (group + 1) * repeats; ++head)
        for (int64_t first = 0; first < length; first += ROWS) {
            const int64_t rows = std::min(ROWS, length - first);
            const int64_t own_first = segment.before + first, last = own_first + rows;
            const bf16* queries[ROWS];
            float greatest[ROWS], sums[ROWS] = {};
            for (int64_t r = 0; r < ROWS; ++r) {
                queries[r] = row(task.query, head, start + std::min(first + r, length - 1));
                greatest[r] = NEGATIVE;
            }
            std::fill(own.out.begin(), own.out.end(), 0.0f);
            for (int64_t chunk = 0; chunk < last; chunk += KEYS) {
                const int64_t count = up_to(std::min(KEYS, last - chunk), 4 * LANES);
                take_scores(queries, own.keys.data() + chunk, room, count, width, task.scale,
                            own.scores.data());
                for (int64_t r = 0; r < ROWS; ++r) {
                    const int64_t seen = std::min(own_first + r, last - 1) + 1 - chunk;
                    const float shrink =
                        take_weights(&own.scores[size_t(r * KEYS)], seen, count, greatest[r],
                                     sums[r], &own.weight_rows[size_t(r * KEYS)]);
                    if (chunk)
                        for (int64_t k = 0; k < width; ++k) own.out[size_t(r * width + k)] *= shrink;
                }
                const uint32_t* values = own.values.data() + chunk / 2 * width;
                for (int64_t r = 0; r < ROWS; r += 4)
                    for (int64_t k = 0; k < width; k += 4 * LANES) {
                        float* const to = &own.out[size_t(r * width + k)];
                        const bf16* const weights = &own.weight_rows[size_t(r * KEYS)];
                        Floats acc[4][4];
                        load(acc, to, width);
                        auto left = [&](int m, int64_t p) { return word(weights + m * KEYS + 2 * p); };
                        multiply(acc, (std::min(KEYS, last - chunk) + 1) / 2, left, values + k,
                                 width);
                        store(acc, to, width);
                    }
            }
            for (int64_t r = 0; r < rows; ++r) {
                bf16* const to = task.out.at + head * task.out.head +
                                 (start + first + r) * task.out.token;
                const Floats share = _mm512_set1_ps(1 / sums[r]);
                for (int64_t k = 0; k < width; k += LANES)
                    narrow(_mm512_mul_ps(_mm512_loadu_ps(&own.out[size_t(r * width + k)]), share),
                           to + k);
                task.sums[head * task.tokens + start + first + r] = greatest[r] + std::log(sums[r]);
            }
        }
}

// --- Backward; what is "turned" has keys as rows and query rows as lanes

// The weights of 8 keys and a block of query rows and the gradients of their scores, both turned.
struct Block {
    const uint32_t* queries;  // [K / 2, BACK_ROWS]
    const uint32_t* gouts;
    Floats sums[2], inner[2];  // by lane: the log of the row's sum, and its output times gradient
    int64_t first, rows;  // of the keys: that at which the first query row is, and how many are
};

void take_gradients(const Task& task, const Block& block, int64_t group, const Segment& segment,
                    int64_t key, bf16* weights, bf16* gscores, uint32_t* both) {
    constexpr int M = 8;
    const bf16 *keys[M], *values[M];
    for (int m = 0; m < M; ++m) {
        const int64_t at = segment.at(std::min(key + m, segment.seen() - 1));
        keys[m] = row(task.key, group, at);
        values[m] = row(task.value, group, at);
    }
    const Floats scaling = _mm512_set1_ps(task.scale);
    Floats weight[M][2] = {}, gscore[M][2] = {};
    multiply(weight, task.width / 2, [&](int m, int64_t p) { return word(keys[m] + 2 * p); },
             block.queries, BACK_ROWS);
    multiply(gscore, task.width / 2, [&](int m, int64_t p) { return word(values[m] + 2 * p); },
             block.gouts, BACK_ROWS);
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < 2; ++n) {
            // Lanes are query rows first, first + 1, ...: those from the key's own on see it.
            const int64_t from = std::clamp<int64_t>(key + m - block.first - n * LANES, 0, LANES);
            const int64_t to = std::clamp<int64_t>(block.rows - n * LANES, 0, LANES);
            const __mmask16 sees = __mmask16((1u << to) - 1) & __mmask16(~((1u << from) - 1));
            const Floats score = _mm512_fmsub_ps(weight[m][n], scaling, block.sums[n]);
            const Floats own = _mm512_maskz_mov_ps(sees, exponential(score));
            const Floats by_weight = _mm512_sub_ps(gscore[m][n], block.inner[n]);
            const Floats gown = _mm512_maskz_mul_ps(sees, _mm512_mul_ps(own, scaling), by_weight);
            weight[m][n] = own;
            gscore[m][n] = gown;
            narrow(own, weights + m * BACK_ROWS + n * LANES);
            narrow(gown, gscores + m * BACK_ROWS + n * LANES);
        }
    for (int m = 0; m < M; m += 2)
        for (int n = 0; n < 2; ++n) {
            const __m512i low = _mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(gscore[m][n])));
            const __m512i high =
                _mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(gscore[m + 1][n])));
            _mm512_storeu_si512(both + m / 2 * BACK_ROWS + n * LANES,
                                _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
}

// to[keys, K] += turned[keys, rows] times pairs of rows [rows / 2, K]
void add_rows(const bf16* turned, const uint32_t* rows, int64_t keys, int64_t width, float* to) {
    for (int64_t j = 0; j < keys; j += 4)
        for (int64_t k = 0; k < width; k += 4 * LANES) {
            Floats acc[4][4];
            load(acc, to + j * width + k, width);
            auto left = [&](int m, int64_t p) { return word(turned + (j + m) * BACK_ROWS + 2 * p); };
            multiply(acc, BACK_ROWS / 2, left, rows + k, width);
            store(acc, to + j * width + k, width);
        }
}

// `sums` [rows, K] begin `to` [room, K], the rest of which is 0.
void begin_with(const std::vector<float>& sums, int64_t numbers, std::vector<float>& to) {
    to.assign(size_t(numbers), 0);
    std::copy(sums.begin(), sums.end(), to.begin());
}

// The gradients of a segment's queries and own keys and values. What its keys in the start get is
// added to the sums that `own` holds for the family; the start itself, which comes last, takes them.
void differentiate(const Task& task, int64_t number, int64_t group, Scratch& own) {
    const Segment segment(task, number);
    const int64_t start = segment.start, length = segment.length, before = segment.before;
    const int64_t width = task.width, repeats = task.heads / task.groups;
    const int64_t room = up_to(segment.seen(), BACK_KEYS);
    own.turned.assign(size_t(width * room), 0);
    for (int64_t j = 0; j < segment.seen(); ++j) {
        const bf16* const key = row(task.key, group, segment.at(j));
        for (int64_t k = 0; k < width; ++k) own.turned[size_t(k * room + j)] = key[k];
    }
    begin_with(own.gstart_keys, room * width, own.gkeys);
    begin_with(own.gstart_values, room * width, own.gvalues);
    for (Words& lanes : own.lanes) lanes.resize(size_t(width / 2 * BACK_ROWS));
    for (Words& rows : own.rows) rows.resize(size_t(BACK_ROWS / 2 * width));
    own.weight_rows.resize(size_t(BACK_KEYS * BACK_ROWS));
    own.gscore_rows.resize(size_t(BACK_KEYS * BACK_ROWS));
    own.both.resize(size_t(BACK_KEYS / 2 * BACK_ROWS));
    own.gquery.resize(size_t(width * BACK_ROWS));
    const View* const views[2] = {&task.query, &task.gout};
    for (int64_t head = group * repeats; head < (group + 1) * repeats; ++head)
        for (int64_t first = 0; first < length; first += BACK_ROWS) {
            const int64_t rows = std::min(BACK_ROWS, length - first);
            const int64_t own_first = before + first, last = own_first + rows;
            const auto place = [&](int64_t r) { return start + first + r; };
            for (int side = 0; side < 2; ++side) {
                lay_lanes(*views[side], head, place, rows, width, BACK_ROWS,
                          own.lanes[side].data());
                lay_pairs(*views[side], head, place, rows, width, BACK_ROWS,
                          own.rows[side].data());
            }
            alignas(64) float sums[BACK_ROWS] = {}, inner[BACK_ROWS] = {};
            for (int64_t r = 0; r < rows; ++r) {
                const bf16* const out = row(task.out, head, start + first + r);
                const bf16* const gout = row(task.gout, head, start + first + r);
                for (int64_t k = 0; k < width; ++k) inner[r] += widen(out[k]) * widen(gout[k]);
                sums[r] = task.sums[head * task.tokens + start + first + r];
            }
            Block block = {own.lanes[0].data(), own.lanes[1].data(), {}, {}, own_first, rows};
            for (int n = 0; n < 2; ++n) {
                block.sums[n] = _mm512_load_ps(sums + n * LANES);
                block.inner[n] = _mm512_load_ps(inner + n * LANES);
            }
            std::fill(own.gquery.begin(), own.gquery.end(), 0.0f);
            for (int64_t chunk = 0; chunk < last; chunk += BACK_KEYS) {
                const int64_t keys = up_to(std::min(BACK_KEYS, last - chunk), 8);
                for (int64_t j = 0; j < keys; j += 8)
                    take_gradients(task, block, group, segment, chunk + j,
                                   &own.weight_rows[size_t(j * BACK_ROWS)],
                                   &own.gscore_rows[size_t(j * BACK_ROWS)],
                                   &own.both[size_t(j / 2 * BACK_ROWS)]);
                add_rows(own.weight_rows.data(), own.rows[1].data(), keys, width,
                         &own.gvalues[size_t(chunk * width)]);
                add_rows(own.gscore_rows.data(), own.rows[0].data(), keys, width,
                         &own.gkeys[size_t(chunk * width)]);
                for (int64_t k = 0; k < width; k += 8) {
                    Floats acc[8][2];
                    load(acc, &own.gquery[size_t(k * BACK_ROWS)], BACK_ROWS);
                    const bf16* const turned = &own.turned[size_t(k * room + chunk)];
                    auto left = [&](int m, int64_t p) { return word(turned + m * room + 2 * p); };
                    multiply(acc, keys / 2, left, own.both.data(), BACK_ROWS);
                    store(acc, &own.gquery[size_t(k * BACK_ROWS)], BACK_ROWS);
                }
            }
            const __m512i offsets = _mm512_mullo_epi32(
                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                _mm512_set1_epi32(int(BACK_ROWS)));
            for (int64_t r = 0; r < rows; ++r) {
                bf16* const to = task.gquery.at + head * task.gquery.head +
                                 (start + first + r) * task.gquery.token;
                for (int64_t k = 0; k < width; k += LANES)
                    narrow(_mm512_i32gather_ps(offsets, &own.gquery[size_t(k * BACK_ROWS + r)], 4),
                           to + k);
            }
        }
    own.gstart_keys.assign(own.gkeys.begin(), own.gkeys.begin() + before * width);
    own.gstart_values.assign(own.gvalues.begin(), own.gvalues.begin() + before * width);
    for (int64_t j = 0; j < length; ++j)
        for (int64_t k = 0; k < width; k += LANES) {
            const size_t from = size_t((before + j) * width + k);
            narrow(_mm512_loadu_ps(&own.gkeys[from]),
                   task.gkey.at + group * task.gkey.head + (start + j) * task.gkey.token + k);
            narrow(_mm512_loadu_ps(&own.gvalues[from]),
                   task.gvalue.at + group * task.gvalue.head + (start + j) * task.gvalue.token + k);
        }
}

// A family's, from its first segment to before `end`: those behind the start, then the start.
void differentiate_family(const Task& task, int64_t first, int64_t end, int64_t group) {
    Scratch& own = scratch();
    own.gstart_keys.clear();
    own.gstart_values.clear();
    for (int64_t number = first + 1; number < end; ++number)
        differentiate(task, number, group, own);
    differentiate(task, first, group, own);
}

// Work on (unit, key head) for all of `units`, on threads; -1 without memory.
template <typename Work>
int64_t each(const Task& task, int64_t units, int64_t threads, Work work) {
    bool failed = false;
#pragma omp parallel for schedule(dynamic) num_threads(int(threads)) if (threads > 1)
    for (int64_t one = 0; one < units * task.groups; ++one) {
        try {
            work(one / task.groups, one % task.groups);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
    }
    return failed ? -1 : 0;
}

}  // namespace
}  // namespace copydesk

// Outputs and sums; 0, or -1 without memory.
extern "C" int64_t copydesk_attend_packed(const copydesk::Task* task, int64_t threads) {
    return copydesk::each(*task, task->segments, threads, [&](int64_t segment, int64_t group) {
        copydesk::attend(*task, segment, group);
    });
}

// Gradients of queries, keys and values from those of the outputs; as above.
extern "C" int64_t copydesk_attend_packed_backward(const copydesk::Task* task, int64_t threads) {
    try {
        std::vector<int64_t> firsts;
        for (int64_t segment = 0; segment < task->segments; ++segment)
            if (task->parents[segment] < 0) firsts.push_back(segment);
        const int64_t families = int64_t(firsts.size());
        firsts.push_back(task->segments);
        return copydesk::each(*task, families, threads, [&](int64_t family, int64_t group) {
            copydesk::differentiate_family(*task, firsts[size_t(family)],
                                           firsts[size_t(family + 1)], group);
        });
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

#endif

// Whether this processor can do it: 1 or 0.
extern "C" int64_t copydesk_can_attend() {
#ifdef PAIRWISE
    return 1;
#else
    return 0;
#endif
}
