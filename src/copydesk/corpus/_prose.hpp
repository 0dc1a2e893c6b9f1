// The words that a reader sees, as `prose` in `_signals.py` has them, but for fenced code: no link
// targets, addresses or tags. All is written in place: nothing is replaced by more bytes.

#pragma once

#include "_bytes.hpp"

namespace copydesk {

using Bytes = std::vector<uint8_t>;

struct Span {
    const uint8_t* start;
    const uint8_t* past;  // null where there is none
};

// Replace what `match(from, sign, end)` finds around each byte `sign`, not before `from`.
template <typename Match>
void replace(Bytes& text, uint8_t sign, const char* instead, Match match) {
    const uint8_t* from = text.data();
    const uint8_t* const end = from + text.size();
    uint8_t* to = text.data();
    const size_t size = std::strlen(instead);
    auto copy = [&](const uint8_t* past) {
        if (to != from) std::memmove(to, from, size_t(past - from));
        to += past - from;
        from = past;
    };
    for (const uint8_t* s = from; s < end;) {
        const void* found = std::memchr(s, sign, size_t(end - s));
        if (!found) break;
        const uint8_t* const at = static_cast<const uint8_t*>(found);
        const Span span = match(from, at, end);
        s = at + 1;
        if (!span.past) continue;
        copy(span.start);
        std::memcpy(to, instead, size);
        to += size;
        s = from = span.past;
    }
    copy(end);
    text.resize(size_t(to - text.data()));
}

inline const uint8_t* past_level(const uint8_t* s, const uint8_t* end) {
    while (s < end && *s != '(' && *s != ')' && *s != '\n') ++s;
    return s;
}

// At a `]`: `\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)`
inline Span target(const uint8_t*, const uint8_t* at, const uint8_t* end) {
    const Span none = {at, nullptr};
    if (end - at < 3 || at[1] != '(') return none;
    const uint8_t* s = past_level(at + 2, end);
    if (s < end && *s == '(') {
        s = past_level(s + 1, end);
        if (s == end || *s != ')') return none;
        s = past_level(s + 1, end);
    }
    return s < end && *s == ')' ? Span{at, s + 1} : none;
}

// Around a `:`: `https?://[^\s<>()\[\]]+`
inline Span address(const uint8_t* kinds, const uint8_t* from, const uint8_t* at, const uint8_t* end) {
    const Span none = {at, nullptr};
    if (end - at < 4 || at[1] != '/' || at[2] != '/') return none;
    const uint8_t* start = at - (at > from && at[-1] == 's' ? 5 : 4);
    if (at - from < at - start || std::memcmp(start, "http", 4) != 0) return none;
    const uint8_t* const first = at + 3;
    const uint8_t* s = first;
    while (s < end) {
        if (*s < 0x80 && std::strchr("<>()[]", *s) && *s) break;
        const Character next = character(s, end);
        if (is_blank(kinds, next.code)) break;
        s += next.size;
    }
    return s > first ? Span{start, s} : none;
}

// At a `<`: `</?[A-Za-z!][^<>\n]*>`
inline Span tag(const uint8_t*, const uint8_t* at, const uint8_t* end) {
    const Span none = {at, nullptr};
    const uint8_t* s = at + 1;
    if (s < end && *s == '/') ++s;
    if (s == end || !(is_letter(*s) || *s == '!')) return none;
    ++s;
    while (s < end && *s != '<' && *s != '>' && *s != '\n') ++s;
    return s < end && *s == '>' ? Span{at, s + 1} : none;
}

// What a mark outside ASCII is in ASCII; none is longer there.
inline const char* spelling(const uint8_t* s, const uint8_t* end) {
    if (end - s >= 2 && s[0] == 0xc2) {
        switch (s[1]) {
            case 0xa0: case 0xb7: return " ";
            case 0xab: case 0xbb: return "\"";
        }
    }
    if (end - s >= 3 && s[0] == 0xe2 && s[1] == 0x80) {
        switch (s[2]) {
            case 0x98: case 0x99: return "'";
            case 0x9c: case 0x9d: return "\"";
            case 0x93: case 0x94: return " - ";
            case 0xa6: return "...";
            case 0xa2: return "*";
        }
    }
    return nullptr;
}

inline void spell(Bytes& text) {
    const uint8_t* from = text.data();
    const uint8_t* const end = from + text.size();
    uint8_t* to = text.data();
    while (from < end) {
        const uint8_t* const past = past_ascii(from, end);
        if (to != from) std::memmove(to, from, size_t(past - from));
        to += past - from;
        if ((from = past) == end) break;
        const char* plain = spelling(from, end);
        if (plain) {
            from += *from == 0xc2 ? 2 : 3;
            for (; *plain; ++plain) *to++ = uint8_t(*plain);
        } else {
            *to++ = *from++;
        }
    }
    text.resize(size_t(to - text.data()));
}

inline void take_prose(const uint8_t* kinds, const uint8_t* raw, int64_t size, Bytes& text) {
    text.assign(raw, raw + size);
    replace(text, ']', "] ", target);
    replace(text, ':', " ", [kinds](const uint8_t* from, const uint8_t* at, const uint8_t* end) {
        return address(kinds, from, at, end);
    });
    replace(text, '<', " ", tag);
    spell(text);
}

// Lower case in ASCII, and blanks around characters of scripts that are written without them: but
// only where one of their usual first bytes stands, as `_encoded` has it.
inline void space_out(const uint8_t* kinds, const Bytes& text, Bytes& spaced) {
    uint8_t any = 0;
    for (uint8_t b : text) any |= uint8_t(b - 0xe3) <= 0xe9 - 0xe3;
    spaced.clear();
    if (!any) {
        spaced.resize(text.size());
        for (size_t at = 0; at < text.size(); ++at) spaced[at] = lower(text[at]);
        return;
    }
    const uint8_t* s = text.data();
    const uint8_t* const end = s + text.size();
    while (s < end) {
        const Character next = character(s, end);
        const bool apart = kinds[next.code] & UNSPACED;
        if (apart) spaced.push_back(' ');
        for (int64_t at = 0; at < next.size; ++at) spaced.push_back(lower(s[at]));
        if (apart) spaced.push_back(' ');
        s += next.size;
    }
}

}  // namespace copydesk
