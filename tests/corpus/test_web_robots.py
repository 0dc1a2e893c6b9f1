"""robots.txt against the examples that RFC 9309 and Google's documentation print."""

import pytest

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
    ("User-agent: copydesk\nCrawl-delay: 3\n\nUser-agent: *\nDisallow: /\n", "/page", True),
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
CASES = [
    *RFC,
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


def test_there_are_at_least_sixty_cases() -> None:
    assert len({case[:2] for case in CASES}) >= 60


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
    ],
)
def test_the_delay_is_the_one_for_us(text: str, delay: float) -> None:
    assert Robots.parse(text.encode()).delay == delay


def test_sitemaps_belong_to_no_group() -> None:
    text = "Sitemap: https://a.example/1.xml\nUser-agent: other\nSitemap: https://a.example/2.xml\n"
    robots = Robots.parse(text.encode())
    assert robots.sitemaps == ("https://a.example/1.xml", "https://a.example/2.xml")
