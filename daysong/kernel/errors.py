"""The tree of expected errors, and the vendor error that says whether trying again can help.

DaysongError
├── ExpectedError            a caller can understand and act on it: code, message, HTTP status
│   ├── Unauthorized         nobody is signed in
│   ├── Forbidden            somebody else's
│   └── …                    each room's own, next to the rule that raises it
├── ArgumentValidationError  the arguments do not fit the function; names the field
├── FunctionNotFound         no such function for this caller
├── WrongFunctionKind        a mutation asked for as a query, and the like
├── TooBusy                  a transaction lost too many races in a row, or waited too long for a connection
├── DatabaseUnavailable      the database cannot be reached, or not be written, at the moment
│   └── DatabaseMisconfigured  it refuses us: an operator has to mend that
└── VendorError              a vendor refused, failed or was unreachable
"""

from __future__ import annotations

from typing import Any, ClassVar


class DaysongError(Exception):
    """Base of every error raised on purpose."""


class ExpectedError(DaysongError):
    """A failure the caller is told about: a stable `code`, a message for people, and an HTTP status.

    Subclasses set the class attributes; `message` may be replaced for one case when raising. `data` is what a client
    gets as the failure's data, any value of the wire; without it, code and message.
    """

    code: ClassVar[str]
    status: ClassVar[int] = 400
    default_message: ClassVar[str]

    def __init__(self, message: str | None = None, *, data: Any = None) -> None:
        self.message = message or self.default_message
        self.data = {"code": self.code, "message": self.message} if data is None else data
        super().__init__(self.message)


class Unauthorized(ExpectedError):
    """Nobody is signed in, or the account behind the token is gone."""

    code = "unauthorized"
    status = 401
    default_message = "Unauthorized"


class Forbidden(ExpectedError):
    """The caller is known, and this is not theirs."""

    code = "forbidden"
    status = 403
    default_message = "Forbidden"


class ArgumentValidationError(DaysongError):
    """The arguments do not fit the function. The text names the field and follows the Convex wording."""


class FunctionNotFound(DaysongError):
    """No public function of that name (an internal one looks exactly the same to a stranger)."""


class WrongFunctionKind(DaysongError):
    """The function exists, but is of another kind than the one asked for."""


class TooBusy(DaysongError):
    """A transaction was retried as often as is sensible and still conflicted, or no connection was free in time."""


class DatabaseUnavailable(DaysongError):
    """The database cannot be reached, or cannot be written, at the moment. Nothing was changed: try again later."""


class DatabaseMisconfigured(DatabaseUnavailable):
    """The database is there and refuses us. The text says which setting an operator has to mend."""


class VendorError(DaysongError):
    """A vendor's refusal or failure, told in a way the job runner can act on.

    permanent    trying again cannot help
    retry_after  seconds the vendor asked us to wait, if it did
    ambiguous    the vendor may have done what was asked: the answer was lost or the server broke after accepting
    reason       a sentence for the person whose song it was; never the vendor's own text
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
