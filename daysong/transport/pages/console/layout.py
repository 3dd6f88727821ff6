"""The frame of a page of the console: navigation, what is said after an action, and the content."""

from __future__ import annotations

from html import escape

from litestar import Response
from litestar.enums import MediaType

from daysong.transport.pages.assets import Assets
from daysong.transport.pages.console.html import Html, el, join
from daysong.transport.pages.console.visits import Screen, Visit, note_of

STYLES = ("console.css",)
SECTIONS = (
    (("", "Overview"), ("people", "People"), ("songs", "Songs"), ("calls", "Calls")),
    (("jobs", "Jobs"), ("webhooks", "Webhooks"), ("costs", "Costs"), ("doctor", "Doctor")),
    (("flags", "Flags"), ("blog", "Blog"), ("audit", "Audit log")),
)
# Forms are sent to this origin alone.
SOURCES = {"form-action": "'self'"}


def page(assets: Assets, visit: Visit, screen: Screen) -> Response[str]:
    """Return a page for a signed-in operator."""
    note = note_of(visit.query.get("note", ""))
    content = join(
        el("a", "To the content", href="#main", class_="skip"),
        _navigation(assets, visit, screen.section),
        el("main", el("p", note, class_="note", role="status") if note else None, screen.content, id_="main"),
    )
    return _answer(assets, f"{screen.title} · daysong console", content, "console", screen.status)


def _navigation(assets: Assets, visit: Visit, current: str) -> Html:
    groups = [
        el(
            "ul",
            [
                el("li", el("a", name, href=visit.to(path) if path else visit.root,
                            aria_current="page" if path == current else None))
                for path, name in group
            ],
        )
        for group in SECTIONS
    ]  # fmt: skip
    brand = el("a", el("img", src=assets.address("icon.svg"), alt="", width=28, height=28), el("span", "daysong"),
               href=visit.root, class_="brand", aria_label="daysong: overview")  # fmt: skip
    out = visit.form_to("/sign-out", el("button", "Sign out", class_="bare"), class_="out")
    return el("nav", brand, groups, out, aria_label="Console")


def sign_in(assets: Assets, root: str, to: str, *, problem: str = "", status: int = 200) -> Response[str]:
    """Return the page on which the admin key is given."""
    form = el(
        "form",
        el("input", type_="hidden", name="to", value=to),
        el("label", el("span", "Admin key"), el(
            "input", type_="password", name="key", required=True, autocomplete="current-password", autofocus=True,
            maxlength=1000, aria_invalid="true" if problem else None, aria_describedby="problem" if problem else None,
        )),
        el("p", problem, id_="problem", class_="problem", role="alert") if problem else None,
        el("button", "Sign in"),
        method="post", action=f"{root}/sign-in",
    )  # fmt: skip
    mark = el("img", src=assets.address("icon.svg"), alt="", width=56, height=56)
    about = el("p", "For twelve hours, on this browser. What you do is recorded.", class_="soft")
    content = el("main", mark, el("h1", "Console"), form, about, id_="main")
    return _answer(assets, "Sign in · daysong console", content, "console door", status)


def plain(assets: Assets, root: str, title: str, text: str, status: int) -> Response[str]:
    """Return a page that says one thing, without navigation."""
    back = el("p", el("a", "To the console", href=root))
    return _answer(assets, title, el("main", el("h1", title), el("p", text), back, id_="main"), "console door", status)


def _answer(assets: Assets, title: str, content: Html, kind: str, status: int) -> Response[str]:
    head = '<meta name="robots" content="noindex">'
    body, headers = assets.page(
        title=escape(title), content=content, kind=kind, head=head, styles=STYLES, sources=SOURCES
    )
    headers["Cache-Control"] = "no-store"
    # The browser tells this site alone where a form was sent from.
    headers["Referrer-Policy"] = "same-origin"
    return Response(body, status_code=status, media_type=MediaType.HTML, headers=headers)
