"""RevenueCat, running here: customers, what they have bought, version 2 of its API, and webhooks.

Besides RevenueCat's own API:

    POST /sandbox/revenuecat/<act>       something happens: {appUserId, productId?, of?, store?, environment?, days?,
                                         to?, reason?, mode?, trial?} → the events of it. The acts: purchase, buy-once,
                                         grant, renew, cancel, uncancel, billing-issue (a grace period of `days`),
                                         expire, refund, reverse-refund, extend, change-product (`mode` immediate or
                                         deferred), pause, transfer (`to`), alias (`to`)
    POST /sandbox/revenuecat/send        {event}: tell of something, whether it happened or not
    POST /sandbox/revenuecat/redeliver   every webhook there ever was, once more and in any order
    GET  /sandbox/revenuecat/webhooks    the webhooks there were, with the app's answers
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import unquote

import httpx2
import msgspec

from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import Faults, RevenueCatFaults
from daysong.sandbox.revenuecat.customers import ENTITLEMENT, Act, Bought, Customer, Customers, Refused, product_id
from daysong.sandbox.revenuecat.webhooks import Webhooks
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

API_KEY = "sk_sandbox_revenuecat"
PROJECT = "projsandbox"
LIMIT = 20


class Raw(msgspec.Struct, forbid_unknown_fields=True):
    """An event to send."""

    event: dict[str, Any]


class SandboxRevenueCat(Vendor):
    """Serves what customers have bought."""

    name: ClassVar[str] = "revenuecat"
    fault_type: ClassVar[type[Faults]] = RevenueCatFaults
    api: ClassVar[str] = "/v2/"

    def __init__(self, clock: Clock, origin: str, *, http: httpx2.AsyncClient, live: bool) -> None:
        super().__init__(clock)
        self.customers = Customers()
        self.webhooks = Webhooks(clock, http, origin, live=live, faults=self._told_to)

    def _told_to(self) -> RevenueCatFaults:
        assert isinstance(self.faults, RevenueCatFaults)  # noqa: S101
        return self.faults

    async def serve(self, call: Call, faults: Faults) -> Answer:  # noqa: ARG002 - every fault is dealt with by Vendor
        """Serve a customer, their purchases, or a product."""
        if call.bearer != API_KEY:
            return _error(401, "authentication_error", "Invalid API key")
        match [unquote(part) for part in call.path.split("/")[1:]]:
            case ["v2", "projects", project, "products", product] if project == PROJECT:
                return self._product(product)
            case ["v2", "projects", project, "customers", name, *rest] if project == PROJECT:
                customer = self.customers.get(name)
                if call.method == "GET" and customer is not None:
                    return self._customer(call, customer, rest)
        return _error(404, "resource_missing", "Could not find resource.")

    async def control(self, call: Call) -> Answer | None:
        """Perform an act, or send an event."""
        if call.path.startswith("/v2/"):
            return None
        try:
            match call.method, call.path:
                case "GET", "/webhooks":
                    return reply(self.webhooks.messages)
                case "POST", "/redeliver":
                    return reply(await self.webhooks.again())
                case "POST", "/send":
                    raw = msgspec.json.decode(call.body, type=Raw)
                    self.webhooks.tell(raw.event)
                    return reply([raw.event])
                case "POST", path:
                    act = msgspec.json.decode(call.body or b"{}", type=Act)
                    events = self.customers.act(path.removeprefix("/"), act, self._now())
                    for event in events or ():
                        self.webhooks.tell(event)
                    return None if events is None else reply(events)
        except (msgspec.DecodeError, Refused) as error:
            return reply({"error": str(error)}, 400)
        return None

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return an error object that says whether a retry may help."""
        kinds = {429: "rate_limit_error", 423: "resource_locked_error", 404: "resource_missing"}
        kind = str(code or kinds.get(status or 0, "server_error"))
        return status or 400, _error_body(kind, "The sandbox was told to fail.", retryable=(status or 0) >= 423)

    def _now(self) -> int:
        return int(to_ms(self.clock.now()))

    def _customer(self, call: Call, customer: Customer, rest: list[str]) -> Answer:
        now, asked = self._now(), call.query.get("environment", [None])[0]
        bought = [each for each in customer.bought if asked is None or each.environment.lower() == asked]
        good = [each for each in customer.bought if each.gives_access(now)]
        active = [
            {"entitlement_id": ENTITLEMENT["id"], "expires_at": each.ends_at, "object": "customer.active_entitlement"}
            for each in good[:1]
        ]
        match rest:
            case []:
                found = {"id": customer.ids[0], "object": "customer", "project_id": PROJECT}
                return reply(found | {"active_entitlements": _list(f"{call.path}/active_entitlements", active)})
            case ["active_entitlements"]:
                return reply(_list(call.path, active))
            case ["subscriptions"]:
                items = [_subscription(each, customer, now) for each in bought if each.recurring]
                return reply(_page(call, items))
            case ["purchases"]:
                items = [_purchase(each, customer) for each in bought if not each.recurring]
                return reply(_page(call, items))
            case ["aliases"]:
                items = [{"id": name, "object": "customer.alias", "created_at": now} for name in customer.ids]
                return reply(_page(call, items))
        return _error(404, "resource_missing", "Could not find resource.")

    def _product(self, product: str) -> Answer:
        name = self.customers.products.get(product)
        if name is None:
            return _error(404, "resource_missing", "Could not find resource.")
        return reply(
            {
                "object": "product", "id": product, "store_identifier": name, "type": "subscription",
                "app_id": "app0000000001", "created_at": 0, "display_name": name, "state": "active",
            }
        )  # fmt: skip


def _subscription(bought: Bought, customer: Customer, now: int) -> dict[str, Any]:
    access, end = bought.gives_access(now), bought.ends_at or now
    in_grace = access and end <= now
    status = "trialing" if bought.period_type == "TRIAL" else "active"
    if in_grace:
        status = "in_grace_period"
    elif not access:
        status = "paused" if bought.paused else "in_billing_retry" if bought.trouble and bought.renews else "expired"
    renewal = "will_renew" if bought.renews else "will_not_renew"
    if bought.renews and bought.next_product:
        renewal = "will_change_product"
    elif bought.renews and bought.resumes_at:
        renewal = "will_pause"
    return {
        **_common(bought, customer),
        "object": "subscription",
        "auto_renewal_status": renewal,
        "country": "US",
        "current_period_starts_at": bought.period_began,
        "current_period_ends_at": bought.grace_until if in_grace else end,
        "ends_at": None if bought.renews and access else end,
        "gives_access": access,
        "management_url": None,
        "pending_changes": None,
        "pending_payment": False,
        "starts_at": bought.started_at,
        "status": status,
        "store_subscription_identifier": bought.transaction,
        "total_revenue_in_usd": _revenue(),
    }


def _purchase(bought: Bought, customer: Customer) -> dict[str, Any]:
    return {
        **_common(bought, customer),
        "object": "purchase",
        "purchased_at": bought.started_at,
        "quantity": 1,
        "revenue_in_usd": _revenue(),
        "status": "owned",
        "store_purchase_identifier": bought.transaction,
    }


def _common(bought: Bought, customer: Customer) -> dict[str, Any]:
    return {
        "id": bought.id,
        "customer_id": customer.ids[0],
        "original_customer_id": customer.ids[0],
        "product_id": product_id(bought.product),
        "entitlements": _list(f"/v2/projects/{PROJECT}/subscriptions/{bought.id}/entitlements", [_entitlement()]),
        "environment": bought.environment.lower(),
        "ownership": "purchased",
        "presented_offering_id": "ofrng0000000001",
        "store": bought.store.lower(),
    }


def _entitlement() -> dict[str, Any]:
    return {**ENTITLEMENT, "created_at": 0, "project_id": PROJECT}


def _revenue() -> dict[str, Any]:
    return {"commission": 3.0, "currency": "USD", "gross": 9.99, "proceeds": 6.99, "tax": 0.0}


def _list(path: str, items: list[Any], next_page: str | None = None) -> dict[str, Any]:
    return {"items": items, "next_page": next_page, "object": "list", "url": path}


def _page(call: Call, items: list[dict[str, Any]]) -> dict[str, Any]:
    after = call.query.get("starting_after", [None])[0]
    places = [place for place, item in enumerate(items, start=1) if item["id"] == after]
    limit = int(call.query.get("limit", [str(LIMIT)])[0])
    page = items[places[0] if places else 0 :]
    more = f"{call.path}?starting_after={page[limit - 1]['id']}" if len(page) > limit else None
    return _list(call.path, page[:limit], more)


def _error_body(kind: str, message: str, *, retryable: bool) -> dict[str, Any]:
    return {
        "backoff_ms": 1000 if retryable else None,
        "doc_url": f"https://errors.rev.cat/{kind.replace('_', '-')}",
        "message": message,
        "object": "error",
        "param": None,
        "retryable": retryable,
        "type": kind,
    }


def _error(status: int, kind: str, message: str) -> Answer:
    return reply(_error_body(kind, message, retryable=False), status)
