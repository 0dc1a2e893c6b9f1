"""Page templates in the manner of common systems, written for this benchmark, around any text.

Each gives a whole page and the lines that are not its main text: navigation, sidebars, banners,
related pages, footers. Class names and nesting follow what such sites look like; no theme's code is
here.
"""

from collections.abc import Callable
from html import escape
from typing import NamedTuple

NAV = ("Home", "About us", "Our work", "Blog", "Careers", "Contact us")
FOOT = (
    "Copyright 2026 by the publisher. All rights reserved.",
    "Privacy policy",
    "Terms of use",
    "Follow us on social media",
    "Subscribe to our newsletter for monthly updates",
)
COOKIES = (
    "We value your privacy",
    "We use cookies to enhance your browsing experience and analyse our traffic.",
    "Accept all cookies",
    "Reject all cookies",
    "Manage preferences",
)
SIDE = ("Recent posts", "Categories", "Archives", "Search this site", "Tag cloud")
SHARE = ("Share this post", "Tweet this", "Email a friend", "Leave a comment")
RELATED = (
    "You may also like",
    "Ten things to know before you start",
    "How our team works from home",
    "What we learned in our first year",
)


class Built(NamedTuple):
    """A page and what on it is boilerplate."""

    html: str
    boilerplate: tuple[str, ...]


Template = Callable[[str, str, str], Built]


def _links(lines: tuple[str, ...], tag: str = "ul", kind: str = "menu") -> str:
    items = "".join(f'<li><a href="#{n}">{escape(line)}</a></li>' for n, line in enumerate(lines))
    return f'<{tag} class="{kind}">{items}</{tag}>'


def _page(title: str, head: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - '
        f"The site</title>{head}<style>.a{{color:red}}</style></head><body>{body}"
        "<script>window.data={};</script></body></html>"
    )


def wordpress(title: str, date: str, body: str) -> Built:
    """A blog's post with a sidebar of widgets, sharing links and related posts."""
    widgets = "".join(
        f'<section class="widget"><h2 class="widget-title">{line}</h2></section>' for line in SIDE
    )
    inner = f"""
<div id="page" class="site"><header id="masthead" class="site-header">
<nav id="site-navigation" class="main-navigation">{_links(NAV)}</nav></header>
<div id="content" class="site-content"><div id="primary" class="content-area">
<main id="main" class="site-main"><article id="post-7" class="post type-post hentry">
<header class="entry-header"><h1 class="entry-title">{escape(title)}</h1></header>
<div class="entry-content">{body}</div>
<footer class="entry-footer"><div class="sharedaddy">{_links(SHARE)}</div></footer></article>
<aside class="related-posts"><h3>{RELATED[0]}</h3>{_links(RELATED[1:])}</aside></main></div>
<aside id="secondary" class="widget-area">
{widgets}
</aside></div><footer id="colophon" class="site-footer">{_links(FOOT)}</footer></div>"""
    head = f'<meta property="article:published_time" content="{date}T09:00:00+00:00">'
    return Built(_page(title, head, inner), (*NAV, *SHARE, *RELATED, *SIDE, *FOOT))


def hugo(title: str, date: str, body: str) -> Built:
    """A static site's plain post."""
    inner = f"""
<header class="header"><nav class="nav">{_links(NAV)}</nav></header>
<main class="main"><article class="post-single"><header class="post-header">
<h1 class="post-title">{escape(title)}</h1></header>
<div class="post-content">{body}</div>
<footer class="post-footer"><nav class="paginav"><a class="prev" href="#p">{RELATED[1]}</a>
<a class="next" href="#n">{RELATED[2]}</a></nav></footer></article></main>
<footer class="footer">{"".join(f"<span>{line}</span><br>" for line in FOOT)}</footer>"""
    head = f'<meta itemprop="datePublished" content="{date}">'
    return Built(_page(title, head, inner), (*NAV, *RELATED[1:3], *FOOT))


def shop(title: str, date: str, body: str) -> Built:
    """A shop's journal: announcement bar, drawers, newsletter."""
    cart = ("Your cart is empty", "Continue shopping", "Log in to check out faster")
    news = ("Join our mailing list", "Enter your email address", "Free shipping over fifty euros")
    inner = f"""
<div class="announcement-bar" role="region"><p class="announcement-bar__message">{news[2]}</p></div>
<div class="cart-drawer drawer"><h2 class="cart__empty-text">{cart[0]}</h2>
<a class="button" href="#c">{cart[1]}</a><p class="cart__login-title">{cart[2]}</p></div>
<header class="section-header"><nav class="header__inline-menu">{_links(NAV)}</nav></header>
<main id="MainContent" class="content-for-layout"><article class="article-template">
<header class="page-width"><h1 class="article-template__title">{escape(title)}</h1></header>
<div class="article-template__content page-width rte">{body}</div>
<div class="article-template__social-sharing">{_links(SHARE)}</div></article></main>
<footer class="footer"><div class="footer-block__newsletter"><h2>{news[0]}</h2>
<form><label>{news[1]}</label><input></form></div>{_links(FOOT)}</footer>"""
    head = f'<meta name="date" content="{date}">'
    return Built(_page(title, head, inner), (*NAV, *cart, *news, *SHARE, *FOOT))


def docs(title: str, date: str, body: str) -> Built:
    """A documentation's page: sidebar tree, table of contents, pager."""
    tree = ("Getting started", "Installation guide", "Configuration reference", "Deployment", "FAQ")
    pager = ("Edit this page", "Previous", "Next", "On this page", "Skip to main content")
    inner = f"""
<div role="region"><a class="skipToContent" href="#m">{pager[4]}</a></div>
<nav class="navbar navbar--fixed-top">{_links(NAV)}</nav>
<div class="main-wrapper"><aside class="theme-doc-sidebar-container">
<nav class="menu thin-scrollbar">{_links(tree, kind="theme-doc-sidebar-menu menu__list")}</nav>
</aside><main class="docMainContainer"><div class="row"><div class="col docItemCol">
<article><nav class="theme-doc-breadcrumbs" aria-label="Breadcrumbs">
<ul class="breadcrumbs"><li>{tree[0]}</li></ul></nav>
<div class="theme-doc-markdown markdown"><header><h1>{escape(title)}</h1></header>{body}</div>
<footer class="theme-doc-footer"><a class="theme-edit-this-page" href="#e">{pager[0]}</a></footer>
</article><nav class="pagination-nav"><a href="#p">{pager[1]}</a><a href="#n">{pager[2]}</a></nav>
</div><div class="col col--3"><div class="tableOfContents"><p>{pager[3]}</p></div></div></div>
</main></div><footer class="footer">{_links(FOOT)}</footer>"""
    head = f'<meta property="article:published_time" content="{date}">'
    return Built(_page(title, head, inner), (*NAV, *tree, *pager, *FOOT))


def tables(title: str, date: str, body: str) -> Built:
    """A page of old, laid out by tables, without any element that says what is main."""
    left = "".join(
        f'<tr><td><font size="2"><a href="#">{line}</a></font></td></tr>' for line in NAV
    )
    right = "".join(f'<tr><td><a href="#">{line}</a></td></tr>' for line in SIDE)
    foot = " | ".join(f'<a href="#">{line}</a>' for line in FOOT[1:4])
    inner = f"""
<table width="100%" border="0"><tr><td colspan="3" bgcolor="#eeeeee" class="banner">
<a href="#">{RELATED[3]}</a></td></tr><tr>
<td width="150" valign="top"><table>{left}</table></td>
<td valign="top"><div class="content"><h1>{escape(title)}</h1><p><small>{date}</small></p>{body}
</div></td><td width="150" valign="top"><table>{right}</table></td></tr>
<tr><td colspan="3" align="center" class="footer"><font size="1">{foot}<br>{FOOT[0]}</font>
</td></tr>
</table>"""
    return Built(_page(title, "", inner), (*NAV, *SIDE, RELATED[3], *FOOT[:4]))


def banner(title: str, date: str, body: str) -> Built:
    """A modern site behind a cookie banner and a dialogue that asks for an address."""
    ask = ("Before you go", "Get the best of our stories in your inbox", "No thanks, maybe later")
    inner = f"""
<div id="cookie-banner" class="cookie-consent" role="dialog" aria-label="Cookie consent">
<h2>{COOKIES[0]}</h2><p>{COOKIES[1]}</p><button>{COOKIES[2]}</button><button>{COOKIES[3]}</button>
<a href="#">{COOKIES[4]}</a></div>
<header class="site-header"><nav>{_links(NAV)}</nav></header>
<main><section class="hero"><h1>{escape(title)}</h1></section>
<section class="article-body"><div class="prose">{body}</div></section>
<section class="related"><h2>{RELATED[0]}</h2>{_links(RELATED[1:], kind="cards")}</section></main>
<div class="modal newsletter-popup" role="dialog"><h3>{ask[0]}</h3><p>{ask[1]}</p>
<button>{ask[2]}</button></div>
<footer class="site-footer">{_links(FOOT)}</footer>"""
    head = f'<meta property="article:published_time" content="{date}">'
    return Built(_page(title, head, inner), (*COOKIES, *NAV, *RELATED, *ask, *FOOT))


TEMPLATES: dict[str, Template] = {
    "wordpress": wordpress,
    "hugo": hugo,
    "shop": shop,
    "docs": docs,
    "tables": tables,
    "banner": banner,
}
