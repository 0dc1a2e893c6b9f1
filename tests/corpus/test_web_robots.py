"""robots.txt against the examples of RFC 9309, Google's documentation and Google's own parser."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from protego import Protego

from copydesk.corpus.web import Robots

# RFC 9309, 5.1, with our name where it has `foobot`, `barbot` or `quxbot`.
STAR = "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n"
FOO = "User-Agent: {0}\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n"
BAR = "User-Agent: barbot\nUser-Agent: {0}\nDisallow: /example/page.html\n\n"
QUX = "User-Agent: {0}\n"
EMPTY = "User-agent: *\nDisallow:\n"

# (robots.txt, path, allowed)
RFC = [
    (STAR + FOO.format("foobot") + QUX.format("quxbot"), "/example/", False),
    (STAR + FOO.format("foobot") + QUX.format("quxbot"), "/publications/one", True),
    (STAR + FOO.format("foobot") + QUX.format("quxbot"), "/picture.gif", False),
    (STAR + FOO.format("foobot") + QUX.format("quxbot"), "/picture.gif.html", True),
    (STAR + FOO.format("foobot") + QUX.format("quxbot"), "/elsewhere", True),
    (STAR + FOO.format("copydesk"), "/example/page.html", True),
    (STAR + FOO.format("copydesk"), "/example/allowed.gif", True),
    (STAR + FOO.format("copydesk"), "/publications/one", False),
    (STAR + FOO.format("CopyDesk"), "/", False),
    (STAR + BAR.format("copydesk"), "/example/page.html", False),
    (STAR + BAR.format("copydesk"), "/example/other.gif", True),
    (STAR + QUX.format("copydesk"), "/example/anything.gif", True),
    # 5.2: the longest match
    (
        "User-Agent: *\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n",
        "/example/page/disallowed.gif",
        False,
    ),
    (
        "User-Agent: *\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n",
        "/example/page/allowed.gif",
        True,
    ),
    # 2.2.1: groups of one name are one; a name is a whole token, in any case
    (
        "User-agent: copydesk\nDisallow: /foo\n\nUser-agent: COPYDESK\nDisallow: /baz\n",
        "/foo",
        False,
    ),
    (
        "User-agent: copydesk\nDisallow: /foo\n\nUser-agent: COPYDESK\nDisallow: /baz\n",
        "/baz",
        False,
    ),
    ("User-agent: copydesk\nDisallow: /foo\n\nUser-agent: *\nDisallow: /bar\n", "/bar", True),
    ("User-agent: copy\nDisallow: /\n", "/page", True),
    ("User-agent: desk\nDisallow: /\n", "/page", True),
    ("User-agent: copydesk-images\nDisallow: /\n", "/page", True),
    ("User-agent: copydesk/1.0\nDisallow: /\n", "/page", False),
    ("User-agent: otherbot\nDisallow: /\n", "/page", True),
    ("User-agent: *\nDisallow: /a\n\nUser-agent: *\nDisallow: /b\n", "/b", False),
    # 2.2.2: percent-encoding, case, query, robots.txt itself
    ("User-agent: *\nDisallow: /foo/bar?baz=quz\n", "/foo/bar?baz=quz", False),
    ("User-agent: *\nDisallow: /foo/bar?baz=quz\n", "/foo/bar?baz=other", True),
    ("User-agent: *\nDisallow: /foo/bar/ツ\n", "/foo/bar/%E3%83%84", False),
    ("User-agent: *\nDisallow: /foo/bar/%E3%83%84\n", "/foo/bar/%E3%83%84", False),
    ("User-agent: *\nDisallow: /foo/bar/%62%61%7A\n", "/foo/bar/baz", False),
    ("User-agent: *\nDisallow: /\n", "/robots.txt", True),
    ("User-agent: *\nDisallow: /Page\n", "/page", True),
    (EMPTY, "/anything", True),
    ("", "/anything", True),
    # 2.2.3: special characters, and those that are escaped to be plain
    ("User-agent: *\nDisallow: / # all of it\n", "/anything", False),
    ("User-agent: *\nAllow: /this/path/exactly$\nDisallow: /\n", "/this/path/exactly", True),
    ("User-agent: *\nAllow: /this/path/exactly$\nDisallow: /\n", "/this/path/exactly/not", False),
    ("User-agent: *\nDisallow: /this/*/exactly\n", "/this/path/exactly", False),
    ("User-agent: *\nDisallow: /path/file-with-a-%2A.html\n", "/path/file-with-a-*.html", False),
    ("User-agent: *\nDisallow: /path/file-with-a-%2A.html\n", "/path/file-with-a-b.html", True),
    ("User-agent: *\nDisallow: /path/foo-%24\n", "/path/foo-$", False),
    ("User-agent: *\nDisallow: /path/foo-%24\n", "/path/foo-", True),
    # 2.2.4: other records; 2.2: line ends and blanks
    ("User-agent: *\nSitemap: https://a.example/s.xml\nDisallow: /a\n", "/a", False),
    ("User-agent: a\nSitemap: https://a.example/s.xml\nUser-agent: *\nDisallow: /a\n", "/a", False),
    ("User-agent: copydesk\nCrawl-delay: 3\n\nUser-agent: *\nDisallow: /\n", "/page", False),
    ("User-agent: *\nAnything-else: /a\nDisallow: /a\n", "/a", False),
    ("User-agent: *\nDisallow: /a\u2028Allow: /a\n", "/a", True),
    ("User-agent: *\r\nDisallow: /a\r\n", "/a", False),
    ("User-agent: *\rDisallow: /a\r", "/a", False),
    ("  user-agent :  *  \n  disallow :  /a  \n", "/a", False),
    ("Disallow: /a\n", "/a", True),
    ("<html><body>User-agent: nobody</body></html>", "/a", True),
]
# Google, "How Google interprets the robots.txt specification": paths, with what they match.
GOOGLE_PATHS = [
    ("/", ["/", "/any", "/any/page?x"], []),
    ("/*", ["/", "/any"], []),
    ("/$", ["/"], ["/any", "/?x"]),
    (
        "/fish",
        [
            *("/fish", "/fish.html", "/fish/salmon.html", "/fishheads"),
            *("/fishheads/yummy.html", "/fish.php?id=anything"),
        ],
        ["/Fish.asp", "/catfish", "/?id=fish", "/desert/fish"],
    ),
    ("/fish*", ["/fish", "/fishheads/yummy.html"], ["/Fish.asp", "/catfish"]),
    (
        "/fish/",
        ["/fish/", "/fish/?id=anything", "/fish/salmon.htm"],
        ["/fish", "/fish.html", "/animals/fish/", "/Fish/Salmon.asp"],
    ),
    (
        "/*.php",
        [
            *("/index.php", "/filename.php", "/folder/filename.php", "/filename.php/"),
            *("/folder/filename.php?parameters", "/folder/any.php.file.html"),
        ],
        ["/", "/windows.PHP"],
    ),
    (
        "/*.php$",
        ["/filename.php", "/folder/filename.php"],
        ["/filename.php?parameters", "/filename.php/", "/filename.php5", "/windows.PHP"],
    ),
    ("/fish*.php", ["/fish.php", "/fishheads/catfish.php?parameters"], ["/Fish.PHP"]),
]
# The same page, "Order of precedence for rules": allow, disallow, path, allowed.
GOOGLE_ORDER = [
    ("/p", "/", "/page", True),
    ("/folder", "/folder", "/folder/page", True),
    ("/page", "/*.htm", "/page.htm", False),
    ("/page", "/*.ph", "/page.php5", True),
    ("/$", "/", "/", True),
    ("/$", "/", "/page.htm", False),
]
OURS = "user-agent: copydesk\n"
# github.com/google/robotstxt, robots_test.cc, by the name of the test there, with our name where it
# has FooBot: robots.txt, path, allowed. Its tests of what Google alone does are left out.
GROUPS = (
    "allow: /foo/bar/\n\nuser-agent: {}\ndisallow: /\nallow: /x/\nuser-agent: {}\ndisallow: /\n"
    "allow: /y/\n\nallow: /w/\nuser-agent: {}\n\nuser-agent: {}\nallow: /z/\ndisallow: /\n"
)
FOO_BOT = GROUPS.format("copydesk", "BarBot", "BazBot", "copydesk")
BAR_BOT = GROUPS.format("FooBot", "copydesk", "BazBot", "FooBot")
BAZ_BOT = GROUPS.format("FooBot", "BarBot", "copydesk", "FooBot")
GOOGLE_TESTS = [
    # ID_LineSyntax_Line
    (OURS + "disallow: /\n", "/x/y", False),
    ("foo: copydesk\nbar: /\n", "/x/y", True),
    ("user-agent copydesk\ndisallow /\n", "/x/y", False),
    # ID_LineSyntax_Groups
    *((FOO_BOT, path, True) for path in ("/x/b", "/z/d")),
    *((FOO_BOT, path, False) for path in ("/y/c", "/w/a", "/foo/bar/")),
    *((BAR_BOT, path, True) for path in ("/y/c", "/w/a")),
    *((BAR_BOT, path, False) for path in ("/z/d", "/foo/bar/")),
    (BAZ_BOT, "/z/d", True),
    *((BAZ_BOT, path, False) for path in ("/x/b", "/y/c", "/w/a", "/foo/bar/")),
    # ID_LineSyntax_Groups_OtherRules
    ("User-agent: copydesk\nSitemap: https://a.b/s\nUser-agent: *\nDisallow: /\n", "/x", False),
    ("User-agent: BarBot\nSitemap: https://a.b/s\nUser-agent: *\nDisallow: /\n", "/x", False),
    ("User-agent: copydesk\nUnknown-Line: unknown\nUser-agent: *\nDisallow: /\n", "/x", False),
    ("User-agent: BarBot\nUnknown-Line: unknown\nUser-agent: *\nDisallow: /\n", "/x", False),
    # ID_REPLineNamesCaseInsensitive, ID_UserAgentValueCaseInsensitive
    ("USER-AGENT: copydesk\nALLOW: /x/\nDISALLOW: /\n", "/x/y", True),
    ("uSeR-aGeNt: copydesk\nAlLoW: /x/\ndIsAlLoW: /\n", "/a/b", False),
    ("User-Agent: COPYDESK BAR\nAllow: /x/\nDisallow: /\n", "/x/y", True),
    ("User-Agent: CoPyDeSk BaR\nAllow: /x/\nDisallow: /\n", "/a/b", False),
    # GoogleOnly_AcceptUserAgentUpToFirstSpace
    ("User-Agent: *\nDisallow: /\nUser-Agent: copydesk Bar\nAllow: /x/\n", "/x/y", True),
    # ID_GlobalGroups_Secondary
    ("user-agent: *\nallow: /\nuser-agent: copydesk\ndisallow: /\n", "/x/y", False),
    ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "/x/y", True),
    ("user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /\n", "/x/y", True),
    # ID_AllowDisallow_Value_CaseSensitive
    (OURS + "disallow: /x/\n", "/x/y", False),
    (OURS + "disallow: /X/\n", "/x/y", True),
    # ID_LongestMatch
    (OURS + "disallow: /x/page.html\nallow: /x/\n", "/x/page.html", False),
    (OURS + "allow: /x/page.html\ndisallow: /x/\n", "/x/page.html", True),
    (OURS + "allow: /x/page.html\ndisallow: /x/\n", "/x/", False),
    (OURS + "disallow: \nallow: \n", "/x/page.html", True),
    (OURS + "disallow: /\nallow: /\n", "/x/page.html", True),
    (OURS + "disallow: /x\nallow: /x/\n", "/x", False),
    (OURS + "disallow: /x\nallow: /x/\n", "/x/", True),
    (OURS + "disallow: /x/page.html\nallow: /x/page.html\n", "/x/page.html", True),
    (OURS + "allow: /page\ndisallow: /*.html\n", "/page.html", False),
    (OURS + "allow: /page\ndisallow: /*.html\n", "/page", True),
    (OURS + "allow: /x/page.\ndisallow: /*.html\n", "/x/page.html", True),
    (OURS + "allow: /x/page.\ndisallow: /*.html\n", "/x/y.html", False),
    ("User-agent: *\nDisallow: /x/\nUser-agent: copydesk\nDisallow: /y/\n", "/x/page", True),
    ("User-agent: *\nDisallow: /x/\nUser-agent: copydesk\nDisallow: /y/\n", "/y/page", False),
    # ID_Encoding
    (OURS + "Disallow: /\nAllow: /foo?q=t&b=http://f.b?t&p\n", "/foo?q=t&b=http://f.b?t&p", True),
    (OURS + "Disallow: /\nAllow: /foo/bar/ツ\n", "/foo/bar/%E3%83%84", True),
    (OURS + "Disallow: /\nAllow: /foo/bar/%E3%83%84\n", "/foo/bar/%E3%83%84", True),
    # ID_SpecialCharacters
    (OURS + "Disallow: /foo/bar/quz\nAllow: /foo/*/qux\n", "/foo/bar/quz", False),
    *((OURS + "Disallow: /foo/bar/quz\nAllow: /foo/*/qux\n", path, True)
      for path in ("/foo/quz", "/foo//quz", "/foo/bax/quz")),
    (OURS + "Disallow: /foo/bar$\nAllow: /foo/bar/qux\n", "/foo/bar", False),
    *((OURS + "Disallow: /foo/bar$\nAllow: /foo/bar/qux\n", path, True)
      for path in ("/foo/bar/qux", "/foo/bar/", "/foo/bar/baz")),
    (OURS + "# Disallow: /\nDisallow: /foo/quz#qux\nAllow: /\n", "/foo/bar", True),
    (OURS + "# Disallow: /\nDisallow: /foo/quz#qux\nAllow: /\n", "/foo/quz", False),
    # ID_UTF8ByteOrderMarkIsSkipped, KeyValueTypos
    ("\ufeffUser-agent: copydesk\nDisallow: /a\n", "/a", False),
    ("useragent: copydesk\ndissallow: /a\n", "/a", False),
]  # fmt: skip
CASES = [
    *RFC,
    *GOOGLE_TESTS,
    *(
        (f"User-agent: *\nDisallow: {pattern}\n", path, allowed)
        for pattern, matched, unmatched in GOOGLE_PATHS
        for allowed, paths in ((False, matched), (True, unmatched))
        for path in paths
    ),
    *(
        (f"User-agent: *\n{first}\n{second}\n", path, allowed)
        for allow, disallow, path, allowed in GOOGLE_ORDER
        for first, second in (
            (f"Allow: {allow}", f"Disallow: {disallow}"),
            (f"Disallow: {disallow}", f"Allow: {allow}"),
        )
    ),
]


def test_each_published_case_is_there_once() -> None:
    assert len({case[:2] for case in CASES}) == len(CASES) >= 150


@pytest.mark.parametrize(("text", "path", "allowed"), CASES)
def test_published_cases(text: str, path: str, allowed: bool) -> None:
    assert Robots.parse(text.encode()).allows(f"https://www.example.com{path}") is allowed


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line() -> None:
    robots = Robots.parse(b"\xef\xbb\xbfUser-agent: *\nDisallow: /a\n")
    assert not robots.allows("https://www.example.com/a")


def test_bytes_that_are_no_text_spoil_their_line_only() -> None:
    robots = Robots.parse(b"User-agent: *\nDisallow: /\xff\xfe\nDisallow: /a\n")
    assert not robots.allows("https://www.example.com/a")
    assert robots.allows("https://www.example.com/b")


def test_what_lies_beyond_the_size_that_must_be_read_is_left() -> None:
    filler = "# and so on\n" * 43_000
    robots = Robots.parse(f"User-agent: *\nDisallow: /a\n{filler}Disallow: /b\n".encode())
    assert not robots.allows("https://www.example.com/a")
    assert robots.allows("https://www.example.com/b")


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nCrawl-delay: 2.5\n", 2.5),
        ("User-agent: copydesk\nCrawl-delay: 7\n\nUser-agent: *\nCrawl-delay: 1\n", 7.0),
        ("User-agent: other\nCrawl-delay: 7\n", 0.0),
        ("User-agent: *\nCrawl-delay: soon\n", 0.0),
        ("User-agent: *\nCrawl-delay: -3\n", 0.0),
        ("User-agent: *\nCrawl-delay: inf\n", 0.0),
        ("User-agent: *\nCrawl-delay: 2\n\nUser-agent: *\nCrawl-delay: 3\n", 3.0),
        # A delay is for the names before it, though their group goes on.
        ("User-agent: copydesk\nCrawl-delay: 2\nUser-agent: b\nCrawl-delay: 90\n", 90.0),
        ("User-agent: b\nCrawl-delay: 90\nUser-agent: copydesk\nDisallow: /a\n", 0.0),
        ("Crawl-delay: 9\nUser-agent: *\n", 0.0),
    ],
)
def test_the_delay_is_the_one_for_us(text: str, delay: float) -> None:
    assert Robots.parse(text.encode()).delay == delay


def test_sitemaps_belong_to_no_group() -> None:
    text = "Sitemap: https://a.example/1.xml\nUser-agent: other\nSitemap: https://a.example/2.xml\n"
    robots = Robots.parse(text.encode())
    assert robots.sitemaps == ("https://a.example/1.xml", "https://a.example/2.xml")


@example(b"user-agent:*\ndisallow: /" + b"*a" * 2000)
@example(b"disallow:" + b" " * 100_000 + b"x" + b" " * 100_000 + b"y")
@example(b"\xff\xfeu\x00s\x00e\x00r\x00")
@example(b"user-agent: *\nallow: http://[\ncrawl-delay: 1e999\nsitemap:")
@given(
    st.binary(max_size=200)
    | st.lists(
        st.tuples(
            st.sampled_from(["User-agent", "Allow", "Disallow", "Crawl-delay", "Sitemap", "X"]),
            st.text("*/$%ab#:. \x85\u2028\u30c4", max_size=12),
        )
    ).map(lambda lines: "\n".join(f"{name}: {value}" for name, value in lines).encode())
)
def test_any_bytes_are_a_file(content: bytes) -> None:
    robots = Robots.parse(content)
    assert robots.allows("https://www.example.com/a*a?b=%C3") in {True, False}
    assert 0 <= robots.delay < 10**9
    assert all(robots.sitemaps)


RULES = st.lists(
    st.tuples(st.sampled_from(["Allow", "Disallow"]), st.text("/ab*$", max_size=6)), max_size=6
)


@given(RULES, st.text("/ab", max_size=8))
def test_one_group_for_all_is_read_as_protego_reads_it(
    rules: list[tuple[str, str]], path: str
) -> None:
    text = "\n".join(["User-agent: *", *(f"{name}: {value}" for name, value in rules)])
    url = f"https://www.example.com/{path}"
    expected = Protego.parse(text).can_fetch(url, "copydesk")
    assert Robots.parse(text.encode()).allows(url) is expected
