"""Secrets come from files, or from credentials of the service manager."""

from __future__ import annotations

import os
from pathlib import Path


def read_secret(secret: str) -> str:
    """The text of a secret: `credential:NAME` from systemd's $CREDENTIALS_DIRECTORY, else a file; raises OSError."""
    return secret_path(secret).read_text(encoding="utf-8").strip("\r\n")


def secret_path(secret: str) -> Path:
    """The file that holds a secret."""
    if secret.startswith("credential:"):
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/edge-agent")) / secret[11:]
    return Path(secret)
