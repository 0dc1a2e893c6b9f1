// Of a page's shingles, the keys that `_sketches` makes; of a sample of its text, the language that
// py3langid's model sees in it.

#include <cmath>
#include <utility>

#include "_bytes.hpp"

namespace copydesk {
namespace {

constexpr int64_t BINS = 128, ROWS = 3, BANDS = BINS / ROWS;
constexpr int SHIFT = 57;
constexpr uint64_t EMPTY = ~uint64_t(0);
constexpr int64_t NONE_SEEN = -2;

// Half precision to single; the model holds no infinities.
inline float widened(uint16_t half) {
    const uint32_t bits = uint32_t(half & 0x7fff) << 13 | uint32_t(half & 0x8000) << 16;
    float found;
    std::memcpy(&found, &bits, 4);
    return found * 0x1p112f;
}

}  // namespace
}  // namespace copydesk

using namespace copydesk;

// BANDS keys of shingles in order, each once; `donors` [turns, BINS] are the bins to borrow from.
extern "C" void copydesk_band_keys(const uint64_t* shingles, int64_t count, const int64_t* donors,
                                   int64_t turns, uint64_t* keys) {
    uint64_t values[BINS];
    bool filled[BINS] = {};
    for (int64_t at = count - 1; at >= 0; --at) {  // the first of a bin is written last
        const uint64_t bin = shingles[at] >> SHIFT;
        values[bin] = shingles[at];
        filled[bin] = true;
    }
    for (int64_t bin = 0; bin < BINS; ++bin) {
        if (filled[bin]) continue;
        values[bin] = EMPTY;
        for (int64_t turn = 0; turn < turns; ++turn) {
            const int64_t donor = donors[turn * BINS + bin];
            if (donor < 0 || donor >= BINS || !filled[donor]) continue;
            values[bin] = values[donor];
            break;
        }
    }
    for (int64_t band = 0; band < BANDS; ++band) {
        uint64_t key = count ? values[band * ROWS] : EMPTY;
        for (int64_t row = 1; count && row < ROWS; ++row)
            key = mixed(key * STEP + values[band * ROWS + row]);
        keys[band] = count && key == EMPTY ? EMPTY - 1 : key;
    }
}

// A model of py3langid: states are walked byte by byte, and some give a feature.
struct Model {
    const uint32_t* moves;    // [rows, 256] the next state
    const uint16_t* rows;     // [states] where a state's moves are
    const int32_t* features;  // [states] -1 for none
    const uint16_t* weights;  // [features, classes] in half precision
    const float* priors;      // [classes]
    const int64_t* first;     // [classes] the first class of the same language
    int64_t states, moves_size, classes;
};

// The likeliest language's class, and how likely it is; NONE_SEEN where no
// feature was, or NO_MEMORY.
extern "C" int64_t copydesk_language(const Model* model, const uint8_t* raw, int64_t size,
                                     double* likely) try {
    static thread_local std::vector<int32_t> kept_seen;
    static thread_local std::vector<float> kept_scores;
    std::vector<int32_t>& seen = kept_seen;
    std::vector<float>& scores = kept_scores;
    seen.clear();
    uint32_t state = 0;
    for (int64_t at = 0; at < size; ++at) {
        const int64_t move = int64_t(model->rows[state]) << 8 | raw[at];
        if (move >= model->moves_size) return NONE_SEEN;
        state = model->moves[move];
        if (state >= model->states) return NONE_SEEN;
        const int32_t feature = model->features[state];
        if (feature < 0) continue;
        seen.push_back(feature);
        __builtin_prefetch(model->weights + int64_t(feature) * model->classes);
    }
    if (seen.empty()) return NONE_SEEN;
    std::sort(seen.begin(), seen.end());
    const int64_t classes = model->classes;
    scores.assign(model->priors, model->priors + classes);
    for (size_t at = 0; at < seen.size();) {
        size_t past = at;
        while (past < seen.size() && seen[past] == seen[at]) ++past;
        const float factor = std::log1p(float(past - at));
        const uint16_t* row = model->weights + int64_t(seen[at]) * classes;
        for (int64_t one = 0; one < classes; ++one) scores[size_t(one)] += factor * widened(row[one]);
        at = past;
    }
    const float highest = *std::max_element(scores.begin(), scores.end());
    const float scale = 1 / std::sqrt(float(size));
    float total = 0;
    for (float& score : scores) total += score = std::exp((score - highest) * scale);
    for (int64_t one = 0; one < classes; ++one)
        if (model->first[one] != one)
            scores[size_t(model->first[one])] += std::exchange(scores[size_t(one)], 0.0f);
    const auto best = std::max_element(scores.begin(), scores.end());
    *likely = *best / total;
    return best - scores.begin();
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}
