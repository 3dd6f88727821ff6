"""A request of a signed-in operator, and what a page may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from daysong.kernel.functions.registry import camel
from daysong.kernel.functions.runtime import Runtime
from daysong.transport.pages.console.html import Html, el, join
from daysong.transport.pages.console.sessions import Session
from daysong.workflows.support.audit import DONE

# What a page says after an action, by the key in its address.
NOTES = {
    "granted": "The songs are granted.",
    "limited": "The limit is set.",
    "blocked": "The account is blocked: signed out, no songs, no calls.",
    "unblocked": "The block has ended.",
    "erased": "The account is closed, and is being erased.",
    "begun": "The song is being made again. This is the new one.",
    "retried": "The job is queued again.",
    "canceled": "The job is given up. What it was for has failed, and is refunded.",
    "replayed": "The event is queued to be handled again.",
    "changed": "Saved.",
    "removed": "Removed.",
    # Outcomes that changed nothing.
    "unchanged": "Nothing was changed: it was so already.",
    "not dead": "Nothing was changed: the job is not dead.",
    "not queued": "Nothing was changed: the job runs, or is over.",
    "waiting": "Nothing was changed: a job is at it already.",
    "not failed": "Not made again: the song has not failed.",
    "in progress": "Not made again: a song is being made of this entry.",
    "made already": "Not made again: there is a newer song of this entry.",
    "account is suspended": "Not made again: the account is suspended.",
    "no songs left": "Not made again: the account has no songs left to count it against.",
    "daily limit": "Not made again: a daily limit of money is reached, that of the account or of all.",
}


class Screen(NamedTuple):
    """A page: its title, the entry of the navigation that is marked, and its content."""

    title: str
    section: str
    content: Html
    status: int = 200


class Redirect(NamedTuple):
    """Where to go next, below /console."""

    path: str
    note: str | None = None


class Visit(NamedTuple):
    """A request of an operator: the id in its path, its query or form, and what it may call."""

    runtime: Runtime
    session: Session
    root: str
    id: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    now: datetime

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Call a function as this operator; arguments that are None or empty texts are left out."""
        given = {camel(key): value for key, value in arguments.items() if value is not None and value != ""}
        return await self.call_with(name, given)

    async def call_with(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call a function with these wire arguments."""
        caller = self.session.caller
        function = self.runtime.registry.find(name, caller)
        return await self.runtime.call(function, function.parse(dict(arguments)), caller)

    def to(self, *path: str) -> str:
        """Return an address of the console."""
        return "/".join([self.root, *path])

    def form_to(self, path: str, *children: Any, **attributes: Any) -> Html:
        """Return a form that posts to a path of the console."""
        csrf = el("input", type_="hidden", name="csrf", value=self.session.csrf)
        return el("form", csrf, *children, method="post", action=f"{self.root}{path}", **attributes)

    def act(self, path: str, verb: str, about: str, *fields: Any, reason: bool = True, danger: bool = False) -> Html:
        """Return an action: a disclosure with what it does, its fields, a reason, and its button."""
        inside = join(
            el("p", about),
            *fields,
            field("Reason", "reason", placeholder="Ticket, or what was asked", minlength=3, required=reason),
            el("button", verb, class_="danger" if danger else None),
        )
        return el("details", el("summary", verb), self.form_to(path, inside, class_="act"), class_="action")


def field(label: str, name: str, **attributes: Any) -> Html:
    """Return a labelled input."""
    given = {"type_": "text", "autocomplete": "off", "maxlength": 300} | attributes
    return el("label", el("span", label), el("input", name=name, **given))


def select(label: str, name: str, options: Mapping[str, str], chosen: str = "") -> Html:
    """Return a labelled choice."""
    shown = [el("option", words, value=value, selected=value == chosen) for value, words in options.items()]
    return el("label", el("span", label), el("select", shown, name=name))


def after(path: str, outcome: Any, note: str) -> Redirect:
    """Return where to go after an action, with what to say of its outcome."""
    said: str = outcome.outcome
    return Redirect(path, note if said == DONE else said)


def note_of(key: str) -> str | None:
    """Return what a page says for the key in its address; `daily limit of …` names a vendor."""
    return NOTES.get("daily limit" if key.startswith("daily limit of ") else key)


def filters(visit: Visit, path: str, *fields: Any) -> Html:
    """Return a form that narrows a list, by its address."""
    return el(
        "form", *fields, el("button", "Show", class_="quiet"), method="get", action=visit.to(path), class_="filter"
    )


def heading(title: Any, *beside: Any, back: tuple[str, str] | None = None) -> Html:
    """Return the head of a page: a way back, its title, and what stands beside it."""
    way = None if back is None else el("a", f"‹ {back[1]}", href=back[0], class_="back")
    return el("header", way, el("h1", title), *beside, class_="head")


Handler = Callable[[Visit], Awaitable[Screen | Redirect]]
