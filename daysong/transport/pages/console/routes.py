"""The routes of /console, for operators who have given the admin key.

a wrong key        a slow answer, and after a few from one address none: as for the key in a header
a session          a cookie for twelve hours, of this path alone, that scripts and other sites do not get
every form         carries the session's token; a request from another site is refused
everything         goes through the functions of workflows/support/, which write the audit log
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from daysong.kernel.errors import ArgumentValidationError, ExpectedError
from daysong.kernel.functions.runtime import Runtime
from daysong.transport.callers.auth import Authenticator
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.pages.assets import Assets
from daysong.transport.pages.console import layout, overview, people, records, work
from daysong.transport.pages.console.html import el, join
from daysong.transport.pages.console.records import Checks
from daysong.transport.pages.console.sessions import Session, Sessions
from daysong.transport.pages.console.visits import Handler, Redirect, Screen, Visit, heading
from daysong.transport.refusals import Refused

LARGEST_FORM = 64 * 1024
MOST_FIELDS = 50
# Where to go after signing in: a page of the console.
PLACE = re.compile(r"(?:/[A-Za-z0-9_-]{1,80}){0,2}")
SAME_SITE = frozenset({"same-origin", "none", ""})


class Route(NamedTuple):
    """A page: what is looked at by GET and done by POST; `actions` are the last part of the path of POSTs."""

    path: str
    get: Handler | None = None
    post: Handler | None = None
    actions: Collection[str] = ()


def routes(checks: Callable[[], Checks | None]) -> tuple[Route, ...]:
    """Return all pages."""
    look, run = records.doctor(checks)
    return (
        Route("", overview.index),
        Route("/people", people.index, people.find),
        Route("/people/{id:str}", people.show),
        Route("/people/{id:str}/{action:str}", None, people.act, {"limit", *people.ACTIONS}),
        Route("/songs", work.songs),
        Route("/songs/{id:str}", work.song),
        Route("/songs/{id:str}/{action:str}", None, work.song_act, ("read", "rerun")),
        Route("/calls", work.calls),
        Route("/calls/{id:str}", work.call),
        Route("/calls/{id:str}/{action:str}", None, work.call_act, ("read",)),
        Route("/jobs", work.jobs),
        Route("/jobs/{id:str}", work.job),
        Route("/jobs/{id:str}/{action:str}", None, work.job_act, ("retry", "cancel")),
        Route("/webhooks", records.webhooks),
        Route("/webhooks/{id:str}", records.webhook),
        Route("/webhooks/{id:str}/{action:str}", None, records.webhook_act, ("read", "replay")),
        Route("/costs", records.costs),
        Route("/flags", records.flags, records.flag_act),
        Route("/flags/{id:str}", None, records.flag_act),
        Route("/blog", records.blog, records.blog_act),
        Route("/audit", records.audit),
        Route("/doctor", look, run),
    )


def handlers(
    runtime: Runtime, assets: Assets, authenticator: Authenticator, checks: Callable[[], Checks | None]
) -> list[HTTPRouteHandler]:
    """Return the routes; none where the console is off."""
    if not runtime.settings.console:
        return []
    desk = _Desk(runtime, assets, authenticator)
    found = [
        get("/console/sign-in")(desk.door),
        post("/console/sign-in", status_code=200)(desk.sign_in),
        post("/console/sign-out", status_code=200)(desk.sign_out),
    ]
    for route in routes(checks):
        if route.get is not None:
            found.append(get(f"/console{route.path}")(desk.page(route.get)))
        if route.post is not None:
            found.append(post(f"/console{route.path}", status_code=200)(desk.action(route.post, route.actions)))
    return found


class _Desk:
    """Signs operators in, and answers their requests."""

    def __init__(self, runtime: Runtime, assets: Assets, authenticator: Authenticator) -> None:
        self._runtime = runtime
        self._assets = assets
        self._authenticator = authenticator
        self._sessions = Sessions(runtime)
        self._root = self._sessions.path

    def page(self, handler: Handler) -> Any:
        """Return the handler of a GET."""

        async def show(request: Request[Any, Any, Any]) -> Response[Any]:
            session = await self._session(request)
            if session is None:
                path = request.scope["path"].rstrip("/").removeprefix("/console")
                place = f"?to={path}" if path and PLACE.fullmatch(path) else ""
                return self._redirect(f"/sign-in{place}")
            return await self._answer(handler, self._visit(request, session, {}))

        return show

    def action(self, handler: Handler, actions: Collection[str]) -> Any:
        """Return the handler of a POST; with `actions`, of those paths alone."""

        async def act(request: Request[Any, Any, Any]) -> Response[Any]:
            session = await self._session(request)
            if session is None:
                return self._redirect("/sign-in")
            form = await _form(request)
            if not _is_ours(request) or not session.sent(form.get("csrf", "")):
                text = "This form is not of your session: open the page again, and repeat what you did."
                return layout.plain(self._assets, self._root, "Not accepted", text, 403)
            visit = self._visit(request, session, form)
            action = request.path_params.get("action")
            if action is not None:
                if action not in actions:
                    return self._shown(visit, _problem("There is no such action", 404))
                visit = visit._replace(id=f"{visit.id}/{action}")
            return await self._answer(handler, visit)

        return act

    async def door(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Return the page on which the admin key is given."""
        if await self._session(request) is not None:
            return self._redirect("")
        return layout.sign_in(self._assets, self._root, _place(request.query_params.get("to", "")))

    async def sign_in(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Begin a session, if the key is right."""
        form = await _form(request)
        to, key = _place(form.get("to", "")), form.get("key", "")
        if not _is_ours(request):
            return layout.plain(self._assets, self._root, "Not accepted", "Sign in on this page itself.", 403)
        viewer = viewer_of(request.scope, self._runtime.clock.now(), self._runtime.settings.hash_key) or "unknown"
        try:
            await self._authenticator.guarded(viewer, lambda: self._authenticator.admin(key))
        except Refused as error:
            problem = "That is not the admin key."
            if error.retry_after is not None:
                problem = f"Too many wrong keys. Try again in {error.retry_after} seconds."
            answer = layout.sign_in(self._assets, self._root, to, problem=problem, status=error.status)
            if error.retry_after is not None:
                answer.headers["Retry-After"] = str(error.retry_after)
            return answer
        session = await self._sessions.begin()
        answer = self._redirect(to)
        answer.headers["Set-Cookie"] = self._sessions.cookie(session)
        return answer

    async def sign_out(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """End the session."""
        session, form = await self._session(request), await _form(request)
        answer = self._redirect("/sign-in")
        if session is not None and _is_ours(request) and session.sent(form.get("csrf", "")):
            await self._sessions.end(session)
            answer.headers["Set-Cookie"] = self._sessions.cookie(None)
        return answer

    async def _session(self, request: Request[Any, Any, Any]) -> Session | None:
        return await self._sessions.find(request.headers.get("cookie", ""), self._runtime.clock.now())

    def _visit(self, request: Request[Any, Any, Any], session: Session, form: Mapping[str, str]) -> Visit:
        return Visit(
            runtime=self._runtime,
            session=session,
            root=self._root,
            id=request.path_params.get("id", ""),
            query=dict(parse_qsl(request.scope["query_string"].decode("latin-1")[:2000], max_num_fields=MOST_FIELDS)),
            form=form,
            now=self._runtime.clock.now(),
        )

    async def _answer(self, handler: Handler, visit: Visit) -> Response[Any]:
        try:
            answer = await handler(visit)
        except ExpectedError as error:
            answer = _problem(error.message, error.status)
        except ArgumentValidationError as error:
            answer = _problem(_words(str(error)), 400)
        if isinstance(answer, Redirect):
            return self._redirect(answer.path, answer.note)
        return self._shown(visit, answer)

    def _shown(self, visit: Visit, screen: Screen) -> Response[Any]:
        return layout.page(self._assets, visit, screen)

    def _redirect(self, path: str, note: str | None = None) -> Response[Any]:
        noted = f"?note={note.replace(' ', '+')}" if note else ""
        headers = {"Location": f"{self._root}{path}{noted}", "Cache-Control": "no-store"}
        return Response(b"", status_code=303, headers=headers)


def _place(to: str) -> str:
    return to if PLACE.fullmatch(to) else ""


def _is_ours(request: Request[Any, Any, Any]) -> bool:
    """Whether a form was sent from this site, as far as the browser says."""
    return request.headers.get("sec-fetch-site", "") in SAME_SITE


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the fields of a form; of repeated ones, the last."""
    announced = request.headers.get("content-length", "")
    is_large = announced.isdecimal() and int(announced[:20]) > LARGEST_FORM
    body = b"" if is_large else await request.body()
    if is_large or len(body) > LARGEST_FORM:
        raise Refused(413, "PayloadTooLarge", "The body is too large")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise Refused(400, "BadRequest", "The form cannot be read") from None


def _words(error: str) -> str:
    """Return what is wrong with a form, for people."""
    if "reason" in error:
        return "Give a reason of 3 to 500 characters: the audit log keeps it."
    return error.removeprefix("ArgumentValidationError: ")


def _problem(text: str, status: int) -> Screen:
    content = join(heading("That did not work"), el("p", text, class_="why"))
    return Screen("That did not work", "none", content, status)
