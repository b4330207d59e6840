"""`edge-agent detector serve`: one detector of the configuration in a process of its own, without network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from edge_agent import config
from edge_agent.runtime import DriverError

EX_UNAVAILABLE = 69


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb and its arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="serve")
    serve = verbs.add_parser("serve", help="take frames from the agent over a UNIX socket, answer what is in them")
    serve.add_argument("name", help="the name of a [[detector]] of type onnx")
    serve.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the agent's configuration")
    serve.add_argument("--socket", type=Path, metavar="PATH", help="where to listen, unless systemd made the socket")


def main(args: argparse.Namespace) -> int:
    """Runs for ever; 69 where model or socket cannot be had, 78 on a bad configuration."""
    from edge_agent.vision import child
    from edge_agent.vision.detect import open_detector

    try:
        settings = config.load(args.config)
        found = [one for one in settings.detectors if one.name == args.name and isinstance(one, config.OnnxDetector)]
        if not found:
            raise config.ConfigError(args.config, [f"no [[detector]] of type onnx is called {args.name}"])
        detector = open_detector(msgspec.structs.replace(found[0], socket=None))
        with child.listen(args.socket) as listener:
            child.serve(listener, detector)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    return 0
