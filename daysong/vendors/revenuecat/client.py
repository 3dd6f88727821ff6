"""RevenueCat: the current purchases of a customer.

Version 2 of its API is used. Its subscriptions lack the store's product identifier (looked up once and cached) and
one-time purchases (requested only when no subscription gives access). Without a project id, version 1 is used, which
returns everything at once but creates a customer for every id requested.
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import RevenueCatSettings
from daysong.kernel.time.clock import Clock, SystemClock, to_ms
from daysong.vendors.http import client, retry_after, slug
from daysong.vendors.revenuecat.answers import Customer, Purchase, customer_v1, product_v2, purchase_v2, subscription_v2

TIMEOUT = 15.0
MAX_PAGES = 10
NOT_FOUND = "not_found"
_RETRYABLE = frozenset({408, 423, 425, 429})
_FIRST_SERVER_ERROR = 500

_log = logs.get_logger("revenuecat")


class Subscribers(Protocol):
    """A source of customers' purchases."""

    @property
    def configured(self) -> bool: ...

    async def customer(self, app_user_id: str) -> Customer | None: ...


class RevenueCat:
    """RevenueCat, or its sandbox."""

    def __init__(
        self,
        settings: RevenueCatSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
        line: Line | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._key = settings.api_key
        self._project = settings.project_id and f"/v2/projects/{quote(settings.project_id, safe='')}"
        self._environment = {} if settings.accept_sandbox else {"environment": "production"}
        # Products configured by RevenueCat's id need no lookup.
        self._products: dict[str, str] = {name: name for name in settings.products}
        self._http = client(
            "revenuecat",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
            breaker=breaker,
        )

    @property
    def configured(self) -> bool:
        """Whether an API key is set."""
        return self._key is not None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def customer(self, app_user_id: str) -> Customer | None:
        """Return the customer with that id or alias; None when there is none."""
        if not self.configured:
            raise VendorError("revenuecat", "REVENUECAT_API_KEY is not set", permanent=True, code="not_configured")
        if self._project is None:
            return customer_v1(await self._request(f"/v1/subscribers/{quote(app_user_id, safe='')}"))
        path = f"{self._project}/customers/{quote(app_user_id, safe='')}"
        try:
            found = await self._list(f"{path}/subscriptions", self._environment)
            purchases = [subscription_v2(item, await self._product(item)) for item in found]
            if not any(self._is_active(purchase) for purchase in purchases):
                purchases += await self._one_time_purchases(path)
        except VendorError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return Customer(tuple(purchases))

    def _is_active(self, purchase: Purchase) -> bool:
        """Return whether it gives access and has not ended."""
        now = to_ms(self._clock.now())
        return purchase.gives_access and (purchase.ends_at is None or purchase.ends_at > now)

    async def _one_time_purchases(self, path: str) -> list[Purchase]:
        """Return the one-time purchases of a customer with an active entitlement."""
        if not await self._list(f"{path}/active_entitlements", {}):
            return []
        items = await self._list(f"{path}/purchases", self._environment)
        return [purchase_v2(item, await self._product(item)) for item in items]

    async def _product(self, item: dict[str, Any]) -> str:
        """Return the store's identifier of the product."""
        product = product_v2(item)
        if product is None or product.startswith("rc_promo_"):
            return product or ""
        if product not in self._products:
            try:
                found = await self._request(f"{self._project}/products/{quote(product, safe='')}")
            except VendorError as error:
                if error.code != NOT_FOUND:
                    raise
                found = {}
            name = found.get("store_identifier")
            self._products[product] = name if isinstance(name, str) and name else product
        return self._products[product]

    async def _list(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """Return all items of a list, fetched page by page."""
        items: list[dict[str, Any]] = []
        found = await self._request(path, query)
        for _ in range(MAX_PAGES):
            page = found.get("items")
            if not isinstance(page, list):
                raise _unreadable()
            items += [item for item in page if isinstance(item, dict)]
            following = found.get("next_page")
            # Only pages of the requested list are followed: the key is sent nowhere else.
            if not isinstance(following, str) or not following.startswith(path):
                return items
            found = await self._request(following)
        return items

    async def _request(self, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        answer = await self._http.get(path, params=query or None)
        try:
            found = msgspec.json.decode(answer.content)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if answer.is_success and isinstance(found, dict):
            return found
        raise self._error(answer, found if isinstance(found, dict) else {})

    def _error(self, answer: httpx2.Response, body: dict[str, Any]) -> VendorError:
        status = answer.status_code
        if answer.is_success:
            return _unreadable()
        if status == httpx2.codes.NOT_FOUND and body.get("type") == "resource_missing":
            return VendorError("revenuecat", "no such customer", permanent=True, code=NOT_FOUND)
        if status in {401, 403}:
            _log.error("RevenueCat needs attention", status=status)
        permanent = status < _FIRST_SERVER_ERROR and status not in _RETRYABLE and body.get("retryable") is not True
        waits = [retry_after(answer.headers, self._clock.now()), _seconds(body.get("backoff_ms"))]
        return VendorError(
            "revenuecat",
            f"answered {status}, code {slug(body.get('type')) or slug(body.get('code'))}, "
            f"parameter {slug(body.get('param'))}",
            permanent=permanent,
            retry_after=max((wait for wait in waits if wait is not None), default=None),
            code=f"http_{status}",
        )


def _seconds(ms: Any) -> float | None:
    return ms / 1000 if isinstance(ms, int | float) and not isinstance(ms, bool) and ms >= 0 else None


def _unreadable() -> VendorError:
    return VendorError("revenuecat", "unreadable answer", permanent=False, code="unreadable_answer")
