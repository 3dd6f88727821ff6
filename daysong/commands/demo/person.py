"""A user with an app, in the demo."""

from __future__ import annotations

import secrets
from typing import Any

import httpx2

from daysong.kernel.errors import DaysongError


class DemoFailed(DaysongError):
    """The demo did not end in a song."""


class Person:
    """A user with an app: signs in and calls functions over HTTP."""

    def __init__(self, http: httpx2.AsyncClient, admin_key: str) -> None:
        self._http = http
        self._admin_key = admin_key
        self._token = ""

    async def sign_in(self) -> None:
        """Become a new person, as Clerk would say."""
        sub = f"user_demo{secrets.token_hex(8)}"
        who = {"sub": sub, "email": f"{sub}@example.test", "name": "Demo", "ttl": 3600}
        self._token = (await self._http.post("/sandbox/clerk/sign-in", json=who)).raise_for_status().json()["jwt"]
        await self.call("mutation", "users:ensureCurrentUser", {})

    async def call(self, kind: str, path: str, args: dict[str, Any], *, admin: bool = False) -> Any:
        """The value a function returns; DemoFailed with its message otherwise."""
        authorization = f"Convex {self._admin_key}" if admin else f"Bearer {self._token}"
        answer = await self._http.post(
            f"/api/{kind}",
            json={"path": path, "args": args, "format": "json"},
            headers={"Authorization": authorization},
        )
        said = answer.raise_for_status().json()
        if said["status"] != "success":
            raise DemoFailed(f"{path}: {said['errorMessage']}")
        return said["value"]
