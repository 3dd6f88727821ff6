"""People: found by what they say, shown on one page, and what can be done with an account."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from daysong.kernel.ids import GrantId
from daysong.transport.pages.console import parts
from daysong.transport.pages.console.html import (
    Html,
    badge,
    code,
    dollars,
    el,
    facts,
    join,
    link,
    panel,
    table,
    when,
)
from daysong.transport.pages.console.plots import meter
from daysong.transport.pages.console.visits import Redirect, Screen, Visit, after, field, heading

SECTION = "people"
ACTIONS = {
    "grant": ("grantSongs", "granted"),
    "block": ("blockPerson", "blocked"),
    "unblock": ("unblockPerson", "unblocked"),
    "erase": ("erasePerson", "erased"),
}
ERASE = "erase"


async def index(visit: Visit) -> Screen:
    """Return the search."""
    return _search(visit)


def _search(visit: Visit, text: str = "", found: list[Any] | None = None) -> Screen:
    form = visit.form_to(
        "/people",
        el("label", el("span", "Find a person", class_="unseen"), el(
            "input", type_="search", name="text", value=text, required=True, autocomplete="off", maxlength=300,
            placeholder="E-mail, beginning of a name, phone number, share link, or an id", autofocus=not text,
        )),
        el("button", "Find"),
        class_="search", role="search",
    )  # fmt: skip
    result: Any = None
    if found is not None:
        rows = [
            (link(visit.to("people", one.user_id), one.email or one.clerk_id), one.name or "", badge(one.state),
             when(one.created_at, visit.now), code(one.clerk_id))
            for one in found
        ]  # fmt: skip
        result = table(
            "People that were found", ("Account", "Name", "State", "Since", "Clerk id"), rows,
            empty="There is no such account. A phone number needs its country code.",
        )  # fmt: skip
    hint = el("p", "What you look for is neither in the address of the page nor in a log.", class_="soft")
    return Screen("People", SECTION, join(heading("People"), form, result or hint))


async def find(visit: Visit) -> Screen | Redirect:
    """Find people; a single one is shown at once."""
    text = visit.form.get("text", "").strip()
    if not text:
        return Redirect("/people")
    found = await visit.call("support/people:findPeople", text=text)
    return Redirect(f"/people/{found[0].user_id}") if len(found) == 1 else _search(visit, text, found)


async def show(visit: Visit) -> Screen:
    """Return a person's page."""
    person: Any = await visit.call("support/people:showPerson", user_id=visit.id)
    log = await visit.call("support/audit:listEntries", user_id=visit.id, limit=20)
    title = person.email or person.clerk_id
    content = join(
        heading(title, badge(person.state), back=(visit.to("people"), "People")),
        el(
            "div",
            el(
                "div",
                _about(visit, person),
                _plan(visit, person),
                parts.songs(visit, person.songs, "Songs", of_person=True),
                parts.calls(visit, person.calls, "Calls", of_person=True),
                _ledger(visit, person),
                parts.log(visit, log, "What operators did"),
            ),
            el("aside", _actions(visit, person), _calling(visit, person), _devices(visit, person), _more(person)),
            class_="sided",
        ),
    )
    return Screen(title, SECTION, content)


def _about(visit: Visit, person: Any) -> Html:
    counts = person.counts
    return facts({
        "Name": person.name,
        "Clerk id": code(person.clerk_id),
        "User id": code(person.user_id),
        "Since": when(person.created_at, visit.now),
        "Closed": when(person.deleted_at, visit.now),
        "Entries": f"{counts.entries:,}",
        "Songs": f"{counts.songs:,}",
        "Shares": f"{counts.shares:,}",
        "Files": f"{counts.storage / 2**20:,.1f} MiB",
        "Language, zone": f"{person.language}, {person.timezone}",
    })  # fmt: skip


def _plan(visit: Visit, person: Any) -> Html:
    plan = person.plan
    if plan is UNSET:
        return panel("Plan", el("p", "No plan yet.", class_="empty"))
    used, limit = plan.music_generations_used, plan.music_limit
    words = f"{used:.0f} of {limit:.0f} songs used"
    return panel(
        "Plan",
        el("p", el("strong", plan.tier.capitalize()), " ", badge(plan.status), class_="plan"),
        el("p", meter(used, limit or 1, words), words, class_="metered wide"),
        facts({
            "Left": f"{plan.remaining_quota:.0f}",
            "Period ends": when(plan.period_end, visit.now),
            "Product": code(plan.product_id),
            "Own limit": None if person.custom_limit is UNSET else f"{person.custom_limit} songs a period",
        }),
    )  # fmt: skip


def _ledger(visit: Visit, person: Any) -> Html:
    signs = {"charge": "−", "refund": "+", "grant": "+"}
    rows = [
        (badge(row.kind), f"{signs[row.kind]}{row.amount}", row.reason, when(row.at, visit.now), code(row.id))
        for row in person.ledger
    ]
    heads = ("What", "#Songs", "Why", "When", "Id")
    return panel("Ledger of songs", table("Ledger of songs", heads, rows, empty="No song was charged yet."))


def _calling(visit: Visit, person: Any) -> Html:
    plan = person.call_plan
    if plan is UNSET:
        return panel("Calling", el("p", "Has not asked to be called.", class_="empty"))
    return panel(
        "Calling",
        facts({
            "Number": plan.number,
            "When": f"{plan.time_of_day} {plan.cadence}, {plan.timezone}",
            "State": badge("on" if plan.active else "off"),
            "Consent": badge(plan.consent),
            "Paused": plan.paused_reason,
            "Next call": when(plan.next_run_at, visit.now),
            "Verified": ", ".join(person.verified_numbers) or None,
        }),
    )  # fmt: skip


def _devices(visit: Visit, person: Any) -> Html:
    rows = [(one.platform, when(one.updated_at, visit.now)) for one in person.devices]
    return panel("Devices", table("Devices", ("System", "Last seen"), rows, empty="None gets notifications."))


def _more(person: Any) -> Html:
    on = [key for key, is_on in person.flags.items() if is_on]
    costs = [(cost.vendor, f"{cost.requests:,}", dollars(cost.amount)) for cost in person.costs]
    return join(
        panel("Costs of 30 days", table("Costs", ("Vendor", "#Requests", "#Cost"), costs, empty="None.")),
        panel("Flags that are on", el("p", [code(key) for key in on], class_="codes") if on else el(
            "p", "None.", class_="empty")),
    )  # fmt: skip


def _actions(visit: Visit, person: Any) -> Html | None:
    if person.state == "deleted":
        return panel("Actions", el("p", "The account is closed. Its erasure goes on by itself.", class_="empty"))
    path = f"/people/{person.user_id}"
    limit = "" if person.custom_limit is UNSET else person.custom_limit
    unblocking = visit.act(f"{path}/unblock", "Unblock", "Ends the block. A ban or lock at Clerk stays.")
    blocking = visit.act(
        f"{path}/block", "Block", "Signs the person out. No songs, no calls, until they are unblocked.", danger=True
    )
    return panel(
        "Actions",
        visit.act(
            f"{path}/grant", "Grant songs", "Raises the limit of the current period.",
            field("Songs", "songs", type_="number", min=1, max=1000, value=1, required=True),
            # A form that is sent twice grants once.
            el("input", type_="hidden", name="grant", value=GrantId.new(visit.now)),
        ),
        visit.act(
            f"{path}/limit", "Set a limit", "Songs of each period, whatever the plan. Empty: those of the plan.",
            field("Limit", "limit", type_="number", min=0, max=100_000, value=limit),
        ),
        unblocking if person.state == "blocked" else blocking,
        visit.act(
            f"{path}/erase", "Erase the account",
            "Closes the account at once and erases entries, songs, calls, files and the Clerk user. "
            f"It cannot be undone. Type {ERASE} to do it.",
            field("Confirm", "confirm", pattern=ERASE, required=True, placeholder=ERASE),
            danger=True,
        ),
    )  # fmt: skip


async def act(visit: Visit) -> Redirect:
    """Do something with an account."""
    user_id, _, action = visit.id.partition("/")
    given: dict[str, Any] = {"userId": user_id, "reason": visit.form.get("reason", "")}
    path = f"/people/{user_id}"
    if action == "limit":
        limit = parts.number(visit.form.get("limit", ""))
        outcome = await visit.call_with("support/people:setSongLimit", given | {"limit": limit})
        return after(path, outcome, "limited")
    if action == ERASE and visit.form.get("confirm") != ERASE:
        return Redirect(path, "unchanged")
    function, note = ACTIONS[action]
    more: dict[str, Any] = {}
    if action == "grant":
        more = {"songs": parts.number(visit.form.get("songs", ""))}
        more |= {"grantId": once} if (once := visit.form.get("grant")) else {}
    return after(path, await visit.call_with(f"support/people:{function}", given | more), note)
