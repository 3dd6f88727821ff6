"""Webhooks, costs, flags, the blog, the audit log, and the doctor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from msgspec import UNSET

from daysong.transport.pages.console import parts
from daysong.transport.pages.console.html import (
    badge,
    code,
    dollars,
    el,
    exactly,
    facts,
    join,
    link,
    panel,
    pre,
    table,
    when,
)
from daysong.transport.pages.console.plots import bars
from daysong.transport.pages.console.visits import (
    Handler,
    Redirect,
    Screen,
    Visit,
    after,
    field,
    filters,
    heading,
    select,
)

VENDORS = ("clerk", "revenuecat", "suno", "kie", "vapi")
STATUSES = ("waiting", "handled", "dead", "stranded")
PAGE = 100
DAYS = 30


class Finding(Protocol):
    """What a check of the doctor found: `state` is ok, failed, warning or skipped."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def detail(self) -> str: ...


Checks = Callable[[], AsyncIterator[Finding]]


async def webhooks(visit: Visit) -> Screen:
    """Return the newest events."""
    vendor, status, kind, about = (visit.query.get(name, "").strip() for name in ("vendor", "status", "type", "about"))
    rows = await visit.call(
        "support/webhooks:listEvents", vendor=vendor, status=status, type=kind, about=about, limit=PAGE
    )
    form = filters(
        visit, "webhooks",
        select("Vendor", "vendor", {"": "Any vendor"} | {name: name for name in VENDORS}, vendor),
        select("Status", "status", {"": "Any status"} | {word: word.capitalize() for word in STATUSES}, status),
        field("Type", "type", value=kind, placeholder="user.created"),
        field("About an id", "about", value=about, maxlength=64, placeholder="gen_…, user_…"),
    )  # fmt: skip
    shown = [
        (link(visit.to("webhooks", event.id), event.type), event.vendor, badge(event.status),
         event.outcome if event.status == "handled" else event.last_error, when(event.received_at, visit.now))
        for event in rows
    ]  # fmt: skip
    listed = table("Newest events", ("Event", "Vendor", "Status", "Outcome", "Received"), shown, empty="No events.")
    return Screen("Webhooks", "webhooks", join(heading("Webhooks"), form, panel("Newest events", listed)))


async def webhook(visit: Visit, words: Any = None) -> Screen:
    """Return an event's page, with the trace from the event to its effects."""
    event: Any = await visit.call("support/webhooks:showEvent", event_id=visit.id)
    log = await visit.call("support/audit:listEntries", target=event.id, limit=20)
    kept = pre(event.body) if event.body else el("p", "It was not kept after the event was handled.", class_="empty")
    body = panel("Body, private values hidden", kept)
    if words is not None:
        body = panel("Body", pre(words.body), id_="words")
    content = join(
        heading(f"{event.vendor} {event.type}", badge(event.status), back=(visit.to("webhooks"), "Webhooks")),
        el("p", el("strong", event.last_error), class_="why")
        if event.last_error is not UNSET and event.status != "handled"
        else None,
        el(
            "div",
            el(
                "div",
                facts({
                    "Event": code(event.id),
                    "Vendor's id": code(event.event_id),
                    "Received": exactly(event.received_at),
                    "Handled": exactly(event.handled_at),
                    "Outcome": event.outcome,
                    "Replays": f"{event.replays}" if event.replays else None,
                }),
                _trace(visit, event),
                body,
                parts.log(visit, log, "What operators did"),
            ),
            el("aside", panel(
                "Actions",
                visit.act(f"/webhooks/{event.id}/replay", "Replay", "Has the event handled again. Handlers do nothing "
                          "twice.", reason=False),
                visit.act(f"/webhooks/{event.id}/read", "Read the body", "Shows all that the vendor sent. The audit "
                          "log keeps that you looked, and why."),
            )),
            class_="sided",
        ),
    )  # fmt: skip
    return Screen("Event", "webhooks", content)


def _trace(visit: Visit, event: Any) -> Any:
    steps = [el("li", el("span", "received from ", event.vendor), exactly(event.received_at))]
    steps += [
        el("li", el("span", link(visit.to("jobs", job.id), job.function), " ", badge(job.status),
                    el("small", job.last_error) if job.status != "done" else None),
           exactly(job.finished_at if job.finished_at is not UNSET else job.due_at))
        for job in event.trace
    ]  # fmt: skip
    # An id that begins with user_ may be Clerk's, which has no page.
    pages = {"gen": "songs", "call": "calls", "talk": "calls"}
    about = [
        link(visit.to(pages[kind], one), one) if (kind := one.partition("_")[0]) in pages else code(one)
        for one in event.about
    ]
    mentioned = el("p", el("span", "It mentions ", class_="soft"), about, class_="codes") if about else None
    return panel("From the event to its effects", el("ol", steps, class_="steps"), mentioned)


async def webhook_act(visit: Visit) -> Screen | Redirect:
    """Replay an event, or read its body."""
    event_id, _, action = visit.id.partition("/")
    reason = visit.form.get("reason", "")
    if action == "read":
        words = await visit.call("support/webhooks:readEvent", event_id=event_id, reason=reason or "-")
        return await webhook(visit._replace(id=event_id), words)
    outcome = await visit.call("support/webhooks:replayEvent", event_id=event_id, reason=reason)
    return after(f"/webhooks/{event_id}", outcome, "replayed")


async def costs(visit: Visit) -> Screen:
    """Return what vendors cost, by day, by vendor and by person."""
    by_day, by_vendor, by_account = [
        await visit.call("support/overview:listCosts", by=by, days=DAYS, limit=limit)
        for by, limit in (("day", DAYS), ("vendor", 100), ("account", 50))
    ]
    days = await visit.call("support/overview:countDays", days=DAYS)
    spent = [day.spent for day in days]
    find = visit.form_to  # a person is found by the hash, which is posted

    def person(mark: str) -> Any:
        if mark == "-":
            return "no account"
        hidden = el("input", type_="hidden", name="text", value=mark)
        return find("/people", hidden, el("button", code(mark), class_="bare", aria_label=f"Find {mark}"))

    content = join(
        heading("Costs", el("p", f"The last {DAYS} days, by the price table", class_="soft")),
        el("section", el("h2", "By day"), el("p", el("strong", dollars(sum(spent))), el(
            "span", f"{dollars(spent[-1])} today"), class_="sum"),
           bars("Spent at vendors", [day.day for day in days], spent, dollars), class_="figure"),
        el(
            "div",
            panel("By vendor", _cost_table("Vendor", [(row.what, row) for row in by_vendor])),
            panel("By person", _cost_table("Account", [(person(row.what), row) for row in by_account]),
                  el("p", "Costs outlive accounts, so they have only a keyed hash of each.", class_="soft")),
            class_="columns",
        ),
        panel("By day", _cost_table("Day", [(row.what, row) for row in by_day])),
    )  # fmt: skip
    return Screen("Costs", "costs", content)


def _cost_table(head: str, rows: list[tuple[Any, Any]]) -> Any:
    shown = [(what, f"{row.requests:,}", dollars(row.amount)) for what, row in rows]
    return table(f"Costs by {head.lower()}", (head, "#Requests", "#Cost"), shown, empty="Nothing was spent.")


async def flags(visit: Visit) -> Screen:
    """Return the flags."""
    rows = await visit.call("featureFlags:listFlags")
    shown = [
        (
            code(flag.key), f"{flag.percent} %", "default" if flag.is_default else when(flag.updated_at, visit.now),
            f"{flag.allowed:,}", f"{flag.denied:,}",
            None if flag.is_default else visit.act("/flags/remove", "Remove", "With its lists.", el(
                "input", type_="hidden", name="key", value=flag.key), reason=False, danger=True),
        )
        for flag in rows
    ]  # fmt: skip
    heads = ("Flag", "#Share", "Set", "#Allowed", "#Denied", "")
    setting = visit.form_to(
        "/flags",
        field(
            "Flag", "key", required=True, maxlength=64, pattern="[a-z0-9][a-z0-9_.\\-]*", placeholder="event-extraction"
        ),
        field("Percent of accounts", "percent", type_="number", min=0, max=100),
        field("Allow an account", "allow", maxlength=64, placeholder="user_…"),
        field("Deny an account", "deny", maxlength=64, placeholder="user_…"),
        field("Take off both lists", "unlist", maxlength=64, placeholder="user_…"),
        field("Reason", "reason"),
        el("button", "Save"),
        class_="act grid",
    )
    content = join(heading("Flags"), panel("Flags", table("Flags", heads, shown)), panel("Set a flag", setting))
    return Screen("Flags", "flags", content)


async def flag_act(visit: Visit) -> Redirect:
    """Set or remove a flag."""
    key, reason = visit.form.get("key", "").strip(), visit.form.get("reason", "")
    if visit.id == "remove":
        return after("/flags", await visit.call("support/publishing:dropFlag", key=key, reason=reason), "removed")
    lists = {name: [one] if (one := visit.form.get(name, "").strip()) else None for name in ("allow", "deny", "unlist")}
    percent = parts.number(visit.form.get("percent", ""))
    outcome = await visit.call("support/publishing:changeFlag", key=key, percent=percent, reason=reason, **lists)
    return after("/flags", outcome, "changed")


async def blog(visit: Visit) -> Screen:
    """Return the posts of the blog."""
    posts = await visit.call("blog:listPosts")
    shown = []
    for post in posts:
        to, verb = ("archived", "Archive") if post.status == "published" else ("published", "Publish")
        hidden = join(*(el("input", type_="hidden", name=name, value=value)
                        for name, value in (("post", post.id), ("to", to))))  # fmt: skip
        shown.append((
            post.title, badge(post.status), f"{post.view_count:,.0f}", when(post.published_at, visit.now),
            visit.act("/blog", verb, f"{verb} “{post.title}”.", hidden, reason=False),
        ))  # fmt: skip
    heads = ("Post", "Status", "#Views", "Published", "")
    listed = table("Posts", heads, shown, empty="No posts. `daysong blog create` writes one.")
    return Screen("Blog", "blog", join(heading("Blog"), panel("Posts", listed)))


async def blog_act(visit: Visit) -> Redirect:
    """Publish or archive a post."""
    outcome = await visit.call(
        "support/publishing:changePost", post_id=visit.form.get("post"), to=visit.form.get("to"),
        reason=visit.form.get("reason"),
    )  # fmt: skip
    return after("/blog", outcome, "changed")


async def audit(visit: Visit) -> Screen:
    """Return the audit log."""
    before, who, action = (visit.query.get(name, "").strip() for name in ("before", "who", "action"))
    rows: Any = await visit.call(
        "support/audit:listEntries", limit=PAGE, before=parts.number(before), who=who, action=action
    )
    form = filters(
        visit, "audit", field("Who", "who", value=who, placeholder="command line"),
        field("Did", "action", value=action, placeholder="songs rerun"),
    )  # fmt: skip
    older = None
    if len(rows) == PAGE:
        older = el("p", link(visit.to(f"audit?before={rows[-1].id}"), "Older"), class_="more")
    yours = el(
        "p", "You are ", code(visit.session.caller.operator), ". Rows cannot be changed or deleted.", class_="soft"
    )
    content = join(heading("Audit log", yours), form, parts.log(visit, rows, "What operators did"), older)
    return Screen("Audit log", "audit", content)


def doctor(checks: Callable[[], Checks | None]) -> tuple[Handler, Handler]:
    """Return the page of the doctor, and the one with what its checks found."""

    async def index(visit: Visit) -> Screen:
        asks = el("p", "Looks at the database, the files, the keys, and asks every vendor. It costs nothing.")
        return Screen("Doctor", "doctor", join(heading("Doctor"), panel(
            "Checks", visit.form_to("/doctor", asks, el("button", "Run the checks"), class_="act"))))  # fmt: skip

    async def run(visit: Visit) -> Screen:
        found = checks()
        findings = [] if found is None else [finding async for finding in found()]
        rows = [(finding.name, badge(finding.state), finding.detail) for finding in findings]
        listed = table("Checks", ("What", "State", "Details"), rows, empty="This process has no doctor.")
        again = visit.form_to("/doctor", el("button", "Run the checks again", class_="quiet"))
        return Screen("Doctor", "doctor", join(heading("Doctor"), panel("Checks", listed), again))

    return index, run
