"""The tree of errors: expected errors, and vendor errors, which say whether a retry can help.

DaysongError
├── ExpectedError            a caller can understand and act on it: code, message, HTTP status
│   ├── Unauthorized         the caller is not signed in
│   ├── Forbidden            the caller does not own it
│   └── …                    defined next to the rule that raises it
├── ArgumentValidationError  the arguments do not match the function; names the field
├── FunctionNotFound         no such function for this caller
├── WrongFunctionKind        for example a mutation called as a query
├── TooBusy                  too many serialization failures, or no connection free in time
├── DatabaseUnavailable      the database cannot be reached or written at the moment
│   └── DatabaseMisconfigured  it refuses the connection: an operator must fix a setting
└── VendorError              a vendor rejected a request, failed or was unreachable
"""

from __future__ import annotations

from typing import Any, ClassVar


class DaysongError(Exception):
    """Base of every error raised on purpose."""


class ExpectedError(DaysongError):
    """A failure reported to the caller: a stable `code`, a message for people, and an HTTP status.

    Subclasses set the class attributes; `message` overrides the default. `data` is sent to the client as the error's
    data, any wire value; by default code and message.
    """

    code: ClassVar[str]
    status: ClassVar[int] = 400
    default_message: ClassVar[str]

    def __init__(self, message: str | None = None, *, data: Any = None) -> None:
        self.message = message or self.default_message
        self.data = {"code": self.code, "message": self.message} if data is None else data
        super().__init__(self.message)


class Unauthorized(ExpectedError):
    """The caller is not signed in, or the account of the token is deleted."""

    code = "unauthorized"
    status = 401
    default_message = "Unauthorized"


class Forbidden(ExpectedError):
    """The caller is signed in, but does not own this."""

    code = "forbidden"
    status = 403
    default_message = "Forbidden"


class ArgumentValidationError(DaysongError):
    """The arguments do not match the function. The message names the field, in Convex's wording."""


class FunctionNotFound(DaysongError):
    """There is no public function of that name; internal ones are reported the same way."""


class WrongFunctionKind(DaysongError):
    """The function exists, but is of another kind than requested."""


class TooBusy(DaysongError):
    """A transaction still conflicted after all retries, or no connection was free in time."""


class DatabaseUnavailable(DaysongError):
    """The database cannot be reached, or cannot be written, at the moment. Nothing was changed; retry later."""


class DatabaseMisconfigured(DatabaseUnavailable):
    """The database refuses the connection. The message says which setting an operator must fix."""


class VendorError(DaysongError):
    """A vendor's rejection or failure, with what the worker needs to decide about a retry.

    permanent    a retry cannot help
    retry_after  seconds to wait, if the vendor asked for it
    ambiguous    the vendor may have processed the request: the response was lost, or the server failed after accepting
    reason       a sentence for the user; never the vendor's own text
    """

    def __init__(
        self,
        vendor: str,
        detail: str,
        *,
        permanent: bool,
        retry_after: float | None = None,
        ambiguous: bool = False,
        code: str = "vendor_error",
        reason: str = "Something went wrong on our side.",
    ) -> None:
        super().__init__(f"{vendor}: {detail}")
        self.vendor = vendor
        self.detail = detail
        self.permanent = permanent
        self.retry_after = retry_after
        self.ambiguous = ambiguous
        self.code = code
        self.reason = reason
