"""Zitadel's two kinds of refusal: those of its management API and those of OAuth."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse, Response

INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 3, 5, 6, 7
FAILED_PRECONDITION, UNIMPLEMENTED, UNAUTHENTICATED = 9, 12, 16

_HTTP = {
    INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    NOT_FOUND: HTTPStatus.NOT_FOUND,
    ALREADY_EXISTS: HTTPStatus.CONFLICT,
    PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}
"""gRPC code to HTTP status, as the gateway maps them."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the double
    """Base: something that is answered instead of the wanted result."""

    def response(self) -> Response:
        """The answer on the wire."""
        raise NotImplementedError


class ApiError(Refusal):
    """A management error: gRPC `code`, `message`, and Zitadel's own `id` of the place that raised it."""

    def __init__(self, code: int, message: str, id: str = "") -> None:  # noqa: A002 - the field's name on the wire
        """Keep the three."""
        super().__init__(message)
        self.code, self.message, self.id = code, message, id

    def response(self) -> Response:
        """`{"code", "message": "text (ID)", "details": [...]}`; without an id, as the gateway itself answers."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.id:
            detail = {"@type": "type.googleapis.com/zitadel.v1.ErrorDetail", "id": self.id, "message": self.message}
            body = {"code": self.code, "message": f"{self.message} ({self.id})", "details": [detail]}
        return JSONResponse(body, _HTTP[self.code])


class OAuthError(Refusal):
    """An error of RFC 6749: `error` and `error_description`."""

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        """Keep the three."""
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status

    def response(self) -> Response:
        """The JSON answer, without Cache-Control or WWW-Authenticate, as measured."""
        body = {"error": self.error}
        if self.description:
            body["error_description"] = self.description
        return JSONResponse(body, self.status)


class UnknownHost(Refusal):
    """No instance has the host's name."""

    def __init__(self, host: str, known: str) -> None:
        """`known` is the first instance's domain."""
        super().__init__(host)
        self.host, self.known = host, known

    def response(self) -> Response:
        """404, which is how Zitadel shows that the host is not one of its domains."""
        text = (
            f"unable to set instance using origin {self.host} (ExternalDomain is {self.known}): "
            "ID=QUERY-1kIjX Message=Instance not found. Make sure you got the domain right."
        )
        return JSONResponse({"code": NOT_FOUND, "message": text}, HTTPStatus.NOT_FOUND)
