// Where in a text something may be: lines that a site may share, numbers and keys, blanks to tidy.
// What is found is looked at again in Python, but for lines: their hashes are those of `_signals`.

#include "_bytes.hpp"

namespace copydesk {
namespace {

constexpr int64_t SHORTEST_LINE = 12, LONGEST_LINE = 400;

const uint8_t* line_end(const uint8_t* s, const uint8_t* end) {
    const void* found = s < end ? std::memchr(s, '\n', size_t(end - s)) : nullptr;
    return found ? static_cast<const uint8_t*>(found) : end;
}

int64_t characters_of(const uint8_t* s, const uint8_t* end) {
    int64_t found = 0;
    for (; s < end; ++s) found += (*s & 0xc0) != 0x80;
    return found;
}

// Whether a line may recur, as `_may_recur` has it, but for the blank inside.
bool may_recur(const uint8_t* s, const uint8_t* end) {
    if (end - s < SHORTEST_LINE || end - s > 4 * LONGEST_LINE) return false;
    if (*s == '#' || *s == '`' || *s == '|') return false;
    const int64_t characters = characters_of(s, end);
    return characters >= SHORTEST_LINE && characters <= LONGEST_LINE;
}

// A line as `line_hashes` has it: every run of blanks as one, none at its ends, lower case in ASCII.
// Its size, or 0 where no plain blank is inside. `line` has room for it.
int64_t squeeze_line(const uint8_t* kinds, const uint8_t* s, const uint8_t* end, uint8_t* line) {
    uint8_t* to = line;
    bool gap = false, spaced = false, parted = false;
    while (s < end) {
        const Character next = character(s, end);
        if (is_blank(kinds, next.code)) {
            gap = true;
            spaced |= next.code == ' ';
            s += next.size;
            continue;
        }
        if (gap && to > line) {
            *to++ = ' ';
            parted |= spaced;
        }
        gap = spaced = false;
        for (int64_t at = 0; at < next.size; ++at) *to++ = lower(*s++);
    }
    return parted ? to - line : 0;
}

// --- Numbers and addresses

constexpr int64_t FEWEST_DIGITS = 8, CARD_DIGITS = 13, TELEPHONE_SPAN = 22, TELEPHONE_DIGITS = 10;
constexpr int64_t ACCOUNT_CHARACTERS = 12;
// Bits of what a line may hold; those of `_secrets.py`.
constexpr uint8_t KEY = 1, MAIL = 2, ACCOUNT = 4, CARD = 8, TELEPHONE = 16;

// Python's \d knows digits of other scripts: outside ASCII any byte may be a part of one.
inline bool may_be_digit(uint8_t b) { return is_digit(b) || b >= 0x80; }
inline bool in_host(uint8_t b) { return is_letter(b) || is_digit(b) || b == '-'; }
inline bool in_mailbox(uint8_t b) {
    return in_host(b) || b == '.' || b == '_' || b == '%' || b == '+';
}
inline bool in_token(uint8_t b) { return in_host(b) || b == '_' || b >= 0x80; }

bool may_hold_mail(const uint8_t* s, const uint8_t* end) {
    for (const uint8_t* at = s; at < end; ++at) {
        if (*at != '@' || at == s || !in_mailbox(at[-1])) continue;
        const uint8_t* host = at + 1;
        while (host < end && in_host(*host)) ++host;
        if (host > at + 1 && end - host >= 2 && *host == '.' && in_host(host[1])) return true;
    }
    return false;
}

// Two capitals, two digits, and twelve capitals or digits between which single blanks may stand.
bool may_hold_account(const uint8_t* s, const uint8_t* end) {
    for (; end - s >= 4 + ACCOUNT_CHARACTERS; ++s) {
        if (!is_upper(s[0]) || !is_upper(s[1]) || !may_be_digit(s[2])) continue;
        if (s[2] >= 0x80 || s[3] >= 0x80) return true;
        if (!is_digit(s[3])) continue;
        int64_t found = 0;
        for (const uint8_t* at = s + 4; at < end && found < ACCOUNT_CHARACTERS; ++at) {
            if (*at == ' ' && at + 1 < end) ++at;
            if (!is_upper(*at) && !is_digit(*at)) break;
            ++found;
        }
        if (found == ACCOUNT_CHARACTERS) return true;
    }
    return false;
}

// Thirteen digits with no more than single blanks or hyphens between them.
bool may_hold_card(const uint8_t* s, const uint8_t* end) {
    int64_t found = 0;
    bool parted = false;
    for (; s < end; ++s) {
        if (may_be_digit(*s)) {
            if (++found == CARD_DIGITS) return true;
            parted = false;
        } else if ((*s == ' ' || *s == '-') && !parted) {
            parted = true;
        } else {
            found = 0;
        }
    }
    return false;
}

inline bool in_telephone(uint8_t b) {
    return may_be_digit(b) || b == ' ' || b == '(' || b == ')' || b == '.' || b == '-';
}

// Of one run of the characters that telephone numbers are written in, from `s` to `end`.
bool may_be_telephone(const uint8_t* text, const uint8_t* s, const uint8_t* end) {
    int64_t digits = 0;
    const uint8_t* recent[TELEPHONE_DIGITS];  // the last digits, round and round
    const bool plus = s > text && s[-1] == '+';
    bool zeros = false;
    for (const uint8_t* at = s; at < end; ++at) {
        if (*at >= 0x80) return true;
        if (!is_digit(*at)) continue;
        zeros |= *at == '0' && at + 1 < end && at[1] == '0';
        recent[digits++ % TELEPHONE_DIGITS] = at;
        const int64_t wanted = plus || zeros ? FEWEST_DIGITS : TELEPHONE_DIGITS;
        if (digits < wanted) continue;
        if (at - recent[(digits - wanted) % TELEPHONE_DIGITS] < TELEPHONE_SPAN) return true;
    }
    return false;
}

bool may_hold_telephone(const uint8_t* s, const uint8_t* end) {
    const uint8_t* const text = s;
    while (s < end) {
        if (!may_be_digit(*s)) {
            ++s;
            continue;
        }
        const uint8_t* past = s;
        while (past < end && in_telephone(*past)) ++past;
        if (past - s >= FEWEST_DIGITS && may_be_telephone(text, s, past)) return true;
        s = past;
    }
    return false;
}

// --- Keys

struct Sign {
    const uint8_t* text;
    int64_t size;  // two at least
    int64_t following;
};

// Beginnings of keys, each with how many characters of a token follow it at least. `raw` holds of
// each its size, that number, and its bytes.
class Signs {
  public:
    Signs(const uint8_t* raw, int64_t size) {
        const uint8_t* const end = raw + size;
        for (; end - raw >= 4 && end - raw - 2 >= raw[0] && count_ < MOST; raw += 2 + raw[0]) {
            all_[count_] = {raw + 2, raw[0], raw[1]};
            first_[raw[2]] |= uint16_t(1 << count_);
            second_[raw[3]] |= uint16_t(1 << count_++);
        }
    }

    bool any(const uint8_t* s, const uint8_t* end) const {
        for (; end - s >= 2; ++s)
            if ((first_[s[0]] & second_[s[1]]) && stands(s, end)) return true;
        return false;
    }

  private:
    static constexpr int MOST = 16;

    bool stands(const uint8_t* s, const uint8_t* end) const {
        for (int at = 0; at < count_; ++at) {
            const Sign& sign = all_[at];
            if (end - s < sign.size + sign.following) continue;
            if (std::memcmp(s, sign.text, size_t(sign.size)) != 0) continue;
            int64_t found = 0;
            while (found < sign.following && in_token(s[sign.size + found])) ++found;
            if (found == sign.following) return true;
        }
        return false;
    }

    Sign all_[MOST];
    int count_ = 0;
    uint16_t first_[256] = {}, second_[256] = {};
};

uint8_t suspicion(const uint8_t* s, const uint8_t* end, const Signs& signs) {
    uint8_t found = 0;
    int64_t digits = 0;
    bool at_sign = false;
    for (const uint8_t* at = s; at < end; ++at) {
        digits += is_digit(*at);
        at_sign |= *at == '@';
    }
    if (signs.any(s, end)) found |= KEY;
    if (at_sign && may_hold_mail(s, end)) found |= MAIL;
    if (digits < FEWEST_DIGITS) return found;
    if (may_hold_account(s, end)) found |= ACCOUNT;
    if (may_hold_card(s, end)) found |= CARD;
    if (may_hold_telephone(s, end)) found |= TELEPHONE;
    return found;
}

// --- Tidiness

constexpr int64_t MOST_MARKS = 30, MOST_ENDS = 3;
constexpr uint32_t FIRST_MARK = 0x300;

inline bool is_control(uint32_t code) {
    return (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7f && code < 0xa0) ||
           code == 0xfeff || code == 0x2028 || code == 0x2029;
}

// --- Blocks of bytes, which the compiler looks at many at a time

constexpr int64_t BLOCK = 64;

inline uint8_t is_plain_blank(uint8_t b) { return (b == ' ') | (uint8_t(b - '\t') < 5); }
inline uint8_t plain_byte(uint8_t b) { return is_plain_blank(b) ? ' ' : lower(b); }
inline uint8_t is_escaped(uint8_t b) { return (b < 0x20) | (b == '"') | (b == '\\'); }

bool has_two_blanks(const uint8_t* s) {
    uint8_t found = 0;
    for (int64_t at = 1; at < BLOCK; ++at)
        found |= uint8_t(is_plain_blank(s[at]) & is_plain_blank(s[at - 1]));
    return found;
}

bool has_escape(const uint8_t* s) {
    uint8_t found = 0;
    for (int64_t at = 0; at < BLOCK; ++at) found |= is_escaped(s[at]);
    return found;
}

}  // namespace
}  // namespace copydesk

using namespace copydesk;

// The hashes of the lines that may recur, and their numbers; how many, or NO_ROOM or NO_MEMORY.
extern "C" int64_t copydesk_lines(const uint8_t* kinds, const uint8_t* raw, int64_t size,
                                  uint64_t* hashes, int64_t* numbers, int64_t room) try {
    uint8_t line[4 * LONGEST_LINE];
    const Polynomial& powers = polynomial(4 * LONGEST_LINE);
    const uint8_t* const end = raw + size;
    int64_t found = 0, number = 0;
    for (const uint8_t* s = raw; s < end; ++number) {
        const uint8_t* const past = line_end(s, end);
        const int64_t wide = may_recur(s, past) ? squeeze_line(kinds, s, past, line) : 0;
        if (wide) {
            if (found == room) return NO_ROOM;
            hashes[found] = powers.hash(line, wide);
            numbers[found++] = number;
        }
        s = past < end ? past + 1 : end;
    }
    return found;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

// The numbers of lines that may hold what `_secrets` looks for, and what; how many, or NO_ROOM.
extern "C" int64_t copydesk_suspects(const uint8_t* raw, int64_t size, const uint8_t* signs,
                                     int64_t signs_size, int64_t* numbers, uint8_t* kinds,
                                     int64_t room) {
    const Signs known(signs, signs_size);
    const uint8_t* const end = raw + size;
    int64_t found = 0, number = 0;
    for (const uint8_t* s = raw; s < end; ++number) {
        const uint8_t* const past = line_end(s, end);
        const uint8_t kind = suspicion(s, past, known);
        if (kind) {
            if (found == room) return NO_ROOM;
            numbers[found] = number;
            kinds[found++] = kind;
        }
        s = past < end ? past + 1 : end;
    }
    return found;
}

// Whether `clean_text` has nothing to do but to normalise: 1 or 0, which may be too careful.
extern "C" int64_t copydesk_is_tidy(const uint8_t* kinds, const uint8_t* raw, int64_t size) {
    if (size == 0) return 1;
    const uint8_t* const end = raw + size;
    if (is_blank(kinds, character(raw, end).code) || blank_before(kinds, raw, end)) return 0;
    int64_t marks = 0, ends = 0;
    for (const uint8_t* s = raw; s < end;) {
        if (*s >= 0x20 && *s < 0x7f) {
            marks = ends = 0;
            ++s;
            continue;
        }
        if (*s == '\n') {
            if (++ends > MOST_ENDS || (ends == 1 && blank_before(kinds, raw, s))) return 0;
            marks = 0;
            ++s;
            continue;
        }
        const Character next = character(s, end);
        if (is_control(next.code)) return 0;
        marks = next.code >= FIRST_MARK ? marks + 1 : 0;
        if (marks > MOST_MARKS) return 0;
        ends = 0;
        s += next.size;
    }
    return 1;
}

// Whether three backticks or tildes in a row stand anywhere: 1 or 0.
extern "C" int64_t copydesk_may_hold_code(const uint8_t* raw, int64_t size) {
    const uint8_t* const end = raw + size;
    for (const uint8_t mark : {'`', '~'}) {
        for (const uint8_t* s = raw; end - s >= 3; ++s) {
            const void* found = std::memchr(s, mark, size_t(end - s) - 2);
            if (!found) break;
            s = static_cast<const uint8_t*>(found);
            if (s[1] == mark && s[2] == mark) return 1;
        }
    }
    return 0;
}

// The words of `raw` in lower case, as far as they are ASCII, with one blank between them: the size
// of what was written, at most that of `raw`.
extern "C" int64_t copydesk_squeeze(const uint8_t* raw, int64_t size, uint8_t* out) {
    uint8_t* to = out;
    bool blank = true;  // whether the byte before is
    for (int64_t at = 0; at < size;) {
        // Most blocks have no two blanks side by side, and are written without looking at each.
        if (size - at >= BLOCK && !blank && !has_two_blanks(raw + at)) {
            for (int64_t in = 0; in < BLOCK; ++in) to[in] = plain_byte(raw[at + in]);
            at += BLOCK;
            to += BLOCK;
            blank = is_plain_blank(raw[at - 1]);
            continue;
        }
        const bool own = is_plain_blank(raw[at]);
        *to = plain_byte(raw[at++]);
        to += !(own && blank);
        blank = own;
    }
    if (to > out && blank) --to;
    return to - out;
}

// `raw` as the inside of a JSON string, as Python writes it without escapes for what is not ASCII:
// the size of what was written, or NO_ROOM.
extern "C" int64_t copydesk_escape(const uint8_t* raw, int64_t size, uint8_t* out, int64_t room) {
    static const char* const digits = "0123456789abcdef";
    const uint8_t* const end = raw + size;
    uint8_t* to = out;
    for (const uint8_t* s = raw; s < end;) {
        const uint8_t* past = s;
        while (end - past >= BLOCK && !has_escape(past)) past += BLOCK;
        while (past < end && !is_escaped(*past)) ++past;
        if (room - (to - out) < past - s + 6) return NO_ROOM;
        std::memcpy(to, s, size_t(past - s));
        to += past - s;
        if ((s = past) == end) break;
        const uint8_t b = *s++;
        *to++ = '\\';
        const char* const named = "\bb\ff\nn\rr\tt\"\"\\\\";
        const char* found = named;
        while (*found && uint8_t(*found) != b) found += 2;
        if (*found) {
            *to++ = uint8_t(found[1]);
        } else {
            for (char c : {'u', '0', '0', digits[b >> 4], digits[b & 15]}) *to++ = uint8_t(c);
        }
    }
    return to - out;
}
