"""Secrets come from files, or from credentials of the service manager."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit


def read_secret(secret: str) -> str:
    """The text of a secret: `credential:NAME` from systemd's $CREDENTIALS_DIRECTORY, else a file; raises OSError."""
    return secret_path(secret).read_text(encoding="utf-8").strip("\r\n")


def secret_path(secret: str) -> Path:
    """The file that holds a secret; by hand, of a credential the one that root keeps and the unit hands over."""
    if not secret.startswith("credential:"):
        return Path(secret)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path("/etc/credstore") / f"edge-agent.{secret[11:]}" if folder is None else Path(folder) / secret[11:]


def with_login(url: str, secret: str | None) -> str:
    """An address with the user and password of a file that holds USER:PASSWORD, each quoted; raises ValueError."""
    if secret is None:
        return url
    try:
        user, colon, password = read_secret(secret).partition(":")
    except OSError as error:
        raise ValueError(f"its credentials cannot be read: {error.strerror}: {error.filename or secret}") from None
    except UnicodeDecodeError:  # its own text would quote from the file
        raise ValueError("its credentials cannot be read: is not UTF-8") from None
    if not colon or not user:
        raise ValueError("the file of its credentials must hold USER:PASSWORD in one line")
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"))
