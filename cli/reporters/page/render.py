"""Makes HTML of a page. Every text is escaped on its way into the template; the page may load and run nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from hangup.cli.reporters.page.content import Page

_PACKAGE = "hangup.cli.reporters.page"


def html(page: Page) -> str:
    """Return the page, whole."""
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        # Not by the name of the template: of everything, whoever adds one.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = "{:g}".format
    environment.filters["prose"] = prose
    style = files(_PACKAGE).joinpath("templates/page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(page=page, style=style, policy=policy(style))


def prose(text: str) -> Markup:
    """Return one of our own texts, in which `this` is typed letter for letter, as HTML."""
    parts = (escape(part) for part in text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def policy(style: str) -> str:
    """Return the page's Content-Security-Policy: nothing but this style sheet, which it knows by its digest.

    In the name of whoever opens it nothing is loaded, run, sent or framed, whatever a traced process wrote into a name.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
