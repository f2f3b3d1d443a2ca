"""The page: one HTML file, its script and style; signing in and out; and the API's own documentation, all offline."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.responses import FileResponse, RedirectResponse, Response

from api.bodies import parsed, read_mapping
from api.deps import Opened, cookie_name, log_in, same_origin
from api.openapi import TITLE
from api.schemas import SignIn
from services.errors import Unauthorized

WEB: Final = Path(__file__).parent.parent / "web"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
DOCUMENTATION: Final = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; frame-ancestors 'none'; base-uri 'none'"
)
"""Of the two pages that others have written: scripts of ours, and inline ones by their hash."""
MONTH: Final = 30 * 24 * 3600
"""Seconds that a browser stays signed in."""

router = APIRouter(include_in_schema=False)

Token: TypeAlias = Annotated[str | None, Query(max_length=200)]
Data: TypeAlias = Annotated[dict[str, Any], Depends(read_mapping)]


@router.get("/", response_class=HTMLResponse)
def show_page(request: Request, record: Opened, token: Token = None) -> Response:
    """The page. `?token=` becomes a cookie and leaves the address at once, so that it stands in no history."""
    if token is None:
        return page()
    try:
        log_in(request, record, token)
    except Unauthorized:
        return page(401)
    return signed_in(request, RedirectResponse("/", 303), token)


@router.post("/session", status_code=204)
def sign_in(request: Request, data: Data, record: Opened) -> Response:
    """Keep a key as a cookie that scripts cannot read."""
    same_origin(request)
    token = parsed(SignIn, data).token
    log_in(request, record, token)
    return signed_in(request, Response(status_code=204), token)


@router.delete("/session", status_code=204)
def sign_out(request: Request) -> Response:
    """Forget the cookie."""
    same_origin(request)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(request), path="/")
    return response


@router.get("/favicon.ico")
def show_icon() -> FileResponse:
    """The icon."""
    return FileResponse(WEB / "icon.svg", media_type="image/svg+xml")


@router.get("/openapi.json")
def show_openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", response_class=HTMLResponse)
def show_swagger() -> HTMLResponse:
    """The documentation to click through."""
    files = "/static-offline-docs"
    return documentation(
        get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=TITLE,
            swagger_js_url=f"{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{files}/swagger-ui.css",
            swagger_favicon_url="/favicon.ico",
        )
    )


@router.get("/redoc", response_class=HTMLResponse)
def show_redoc() -> HTMLResponse:
    """The documentation to read."""
    url = "/static-offline-docs/redoc.standalone.js"
    return documentation(
        get_redoc_html(
            openapi_url="/openapi.json",
            title=TITLE,
            redoc_js_url=url,
            redoc_favicon_url="/favicon.ico",
            with_google_fonts=False,
        )
    )


def documentation(answer: HTMLResponse) -> HTMLResponse:
    """A page of documentation with its policy."""
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(answer.body), re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    hashes = "".join(f" 'sha256-{digest}'" for digest in digests)
    answer.headers["Content-Security-Policy"] = DOCUMENTATION.format(hashes=hashes)
    return answer


def page(status: int = 200) -> Response:
    """The page itself; it shows the sign-in form when the API refuses it."""
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return FileResponse(WEB / "index.html", status, headers)


def signed_in(request: Request, response: Response, token: str) -> Response:
    """`response` with the cookie."""
    response.set_cookie(
        cookie_name(request),
        token,
        MONTH,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response
