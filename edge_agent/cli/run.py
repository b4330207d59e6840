"""`edge-agent run`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from edge_agent import config, files, logs
from edge_agent.runtime import DriverError

EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_NOPERM = 77


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration (TOML)")
    parser.add_argument("--log", choices=("auto", "json", "text"), default="auto", help="the form of the log")
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")


def main(args: argparse.Namespace) -> int:
    """Exit 0 after SIGTERM or SIGINT, 78 on a bad configuration, 75 if another agent runs here,

    77 for root where the data directory is a service's, 69 where it or its files cannot be used, 70 on a bug.
    """
    try:
        settings = config.load(args.config)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    if '"credential:' in config.dump(settings) and "CREDENTIALS_DIRECTORY" not in os.environ:
        said = "a service manager hands over `credential:`, and none did: systemctl start edge-agent, or name files"
        print(f"{args.config}: {said}", file=sys.stderr)
        return config.EX_CONFIG
    if (owner := files.owner_but_root(settings.data_dir)) is not None:
        user = f"sudo -u '#{owner.st_uid}' edge-agent run -c {args.config}"
        said = "what root leaves there would keep the service from starting; systemctl start edge-agent"
        print(f"{settings.data_dir}: belongs to user {owner.st_uid}: {said}, or: {user}", file=sys.stderr)
        return EX_NOPERM
    logs.setup(args.log, args.log_level)
    from edge_agent import agent

    try:
        asyncio.run(agent.run(settings))
    except agent.AlreadyRunningError as error:
        print(error, file=sys.stderr)
        return EX_TEMPFAIL
    except DriverError as error:  # the world refuses us a place to stand on: said in a line, and tried again later
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    except Exception:  # whatever it is, it is a bug: say it whole and let systemd restart us
        logging.getLogger(__name__).critical("a bug ended the agent", exc_info=True)
        return EX_SOFTWARE
    return 0
