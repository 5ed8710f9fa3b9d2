"""A page in one file that needs nothing else: styles inside, no scripts, what comes from data cleaned and escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report.overlay import visible


def render_page(
    template: str, values: dict[str, Any], *, redact: Redactor, styles: Sequence[str], packages: Sequence[str]
) -> str:
    """The page that a template, which extends `page.html`, makes of values.

    Every text among the values is cleaned of secrets and of what cannot be seen, then escaped. `packages` are those in
    whose `templates` the files are looked for.
    """

    def clean(value: Any) -> Any:
        return visible(redact(value)) if isinstance(value, str) and not isinstance(value, Markup) else value

    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(name, "templates") for name in packages])
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = "".join(loader.get_source(environment, name)[0] for name in styles)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return environment.get_template(template).render(css=Markup(css), css_hash=Markup(digest), **values)
