"""Untrusted text, made safe to show or store: names may hold control characters, command lines secrets."""

import re
from collections.abc import Iterable

_USER = re.compile(
    r"://(?:[^/@:\s]*@"  # user@
    r"|[^/@:\s]*:(?!\d*(?:[/\s,:;)]|$))(?:(?!://).)*@)",  # user:password@, whatever it holds, but not host:8080/a@b
    re.DOTALL,
)
_WORDS = r"(?:api.?key|authorization|credential|passw|secret|signature|token)"
_QUERY = re.compile(rf"([?&;][^=&#\s]*(?:key|sig|{_WORDS})[^=&#\s]*=)[^&#\s]*", re.IGNORECASE)
_OPTION = re.compile(rf"-*[\w.-]*{_WORDS}[\w.-]*", re.IGNORECASE)
HIDDEN = "***"


def escape_unprintable(text: str, keep: str = "") -> str:
    r"""The text on one line, with unprintable characters written as Python's escapes: `\n`, `\x1b`, `\u202e`.

    keep: characters to leave as they are

    >>> print(escape_unprintable("red\x1b[31m\x9b1m\u202egnp"))
    red\x1b[31m\x9b1m\u202egnp
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def redact(text: str) -> str:
    """The text without users and passwords in URLs, and without keys and tokens in their queries.

    >>> redact("https://me:pass/word@host:6333/a?api-key=x&b=c, http://host:80/a@b")
    'https://***@host:6333/a?api-key=***&b=c, http://host:80/a@b'
    """
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(f"://{HIDDEN}@", text))


def redact_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line that is safe to store: each argument as by `redact`, without the values of secret options.

    >>> redact_arguments(["job.py", "--api-key", "x", "--token=y", "--key-column", "path", "ftp://me:z@host"])
    ['job.py', '--api-key', '***', '--token=***', '--key-column', 'path', 'ftp://***@host']
    """
    kept: list[str] = []
    secret_follows = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        names_one = _OPTION.fullmatch(name) is not None
        if secret_follows or (equals and names_one):
            kept.append(HIDDEN if secret_follows else f"{name}={HIDDEN}")
        else:
            kept.append(redact(argument))
        secret_follows = names_one and not equals and argument.startswith("-") and not secret_follows
    return kept
