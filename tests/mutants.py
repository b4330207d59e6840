"""Does a test notice when a condition is wrong? Mutates every condition of a module and runs its tests on each.

`python tests/mutants.py edge_agent/flight/safety.py tests/flight/test_safety*.py` (that is `make mutants`). Each mutant
lives in a fork: the interpreter and all that the tests import are loaded once. Exit 1 where one survives that is not
in `EQUIVALENT`, with its line; `--only N` shows and runs a single one.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import sys
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 60

# Mutants that no test can tell from the original, and why.
EQUIVALENT: dict[str, str] = {
    "{'AUTO': 0, 'BRAKE': 0, 'RTL': 1, 'LAND': 2}  ->  {'AUTO': 0, 'BRAKE': 0, 'RTL': 1, 'LAND': 3}": "an order",
    "(0, 0.0)  ->  (0.0,)": "overwritten before it is looked at",
    "(0, 0.0)  ->  (0,)": "overwritten before it is looked at",
}

OPPOSITE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip


class Mutant(NamedTuple):
    """What was changed, and the module that has it."""

    line: int
    was: str
    now: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return f"{self.was}  ->  {self.now}"


Change = Callable[[ast.AST], None]


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of every condition: its value, each comparison, each `and`/`or` and its operands, each bound."""
    tree = ast.parse(source)
    words = {id(node) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for node in ast.walk(text)}
    tested = {id(node) for part in _parts(tree) for node in ast.walk(part)} - words
    for index, node in enumerate(ast.walk(tree)):
        for change in _changes(node) if id(node) in tested else ():
            mutated = copy.deepcopy(tree)
            target = list(ast.walk(mutated))[index]
            was = ast.unparse(node)
            change(target)
            now = ast.unparse(target)
            if was != now:
                yield Mutant(getattr(node, "lineno", 0), _short(was), _short(now), ast.fix_missing_locations(mutated))


def _parts(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs: the bodies of functions, and the tables; not the classes, whose tuples are types."""
    for node in tree.body:
        match node:
            case ast.FunctionDef():
                yield from node.body
            case ast.Assign():
                yield node.value


def _changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            yield lambda it: setattr(it, "test", ast.Constant(True))
            yield lambda it: setattr(it, "test", ast.Constant(False))
        case ast.Compare():
            for at, op in enumerate(node.ops):
                for other in OPPOSITE[type(op)]:
                    yield lambda it, at=at, other=other: it.ops.__setitem__(at, other())
            for at, bound in enumerate(node.comparators):
                match bound:
                    case ast.Constant(value=bool() | None):
                        pass
                    case ast.Constant(value=int() | float() as value):
                        for step in (1, -1):
                            yield lambda it, at=at, value=value, step=step: it.comparators.__setitem__(
                                at, ast.Constant(value + step)
                            )
        case ast.BoolOp():
            opposite = ast.And if isinstance(node.op, ast.Or) else ast.Or
            yield lambda it: setattr(it, "op", opposite())
            for at in range(len(node.values)):
                yield lambda it, at=at: _drop(it, at)
        case ast.UnaryOp(op=ast.Not()):
            yield lambda it: setattr(it, "operand", ast.UnaryOp(ast.Not(), it.operand))
        case ast.Dict() if all(
            isinstance(value, ast.Constant) and isinstance(value.value, int) for value in node.values
        ):
            for at, value in enumerate(node.values):
                for step in (1, -1):
                    yield lambda it, at=at, value=value, step=step: it.values.__setitem__(
                        at, ast.Constant(value.value + step)
                    )
        case ast.Tuple() if len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
            for at in range(len(node.elts)):
                yield lambda it, at=at: it.elts.__delitem__(at)
        case ast.Continue():
            yield lambda it: setattr(it, "__class__", ast.Break)


def _drop(it: ast.AST, at: int) -> None:
    """One operand fewer; the last two leave one."""
    assert isinstance(it, ast.BoolOp)
    del it.values[at]


def _short(text: str) -> str:
    return text if len(text) < 90 else text[:87] + "…"


class Hunt:
    """A pytest plugin: collects the tests once, and runs them on each mutant, in a fork of its own."""

    def __init__(self, module: ModuleType, source: str, wanted: Container[int]) -> None:
        self._module = module
        self.found = [one for one in enumerate(mutants(source)) if one[0] in wanted]
        self.survivors: list[tuple[int, Mutant]] = []
        self.sound = False  # do the tests pass without any mutation?

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.sound = not self._fails(session, None)
        if not self.sound:
            return True
        for number, mutant in self.found:
            if mutant.name not in EQUIVALENT and not self._fails(session, mutant.tree):
                self.survivors.append((number, mutant))
                print(f"survives ({number}), line {mutant.line}: {mutant.name}", file=sys.stderr, flush=True)
        return True

    def _fails(self, session: pytest.Session, tree: ast.Module | None) -> bool:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            os._exit(self._run(session, tree))
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) != 0
            time.sleep(0.005)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return True  # it hangs: a test would notice

    def _run(self, session: pytest.Session, tree: ast.Module | None) -> int:
        """In the fork: 1 as soon as a test fails."""
        try:
            if tree is not None:
                self._change(tree)
            for item in session.items:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                if session.testsfailed:
                    return 1
        except BaseException:  # noqa: BLE001  # whatever it raises, it was noticed
            return 1
        return 0

    def _change(self, tree: ast.Module) -> None:
        """The functions of the module get the mutant's code; its classes stay, for the tests hold them."""
        assert self._module.__file__ is not None
        fresh: dict[str, object] = {"__name__": self._module.__name__}
        exec(compile(tree, self._module.__file__, "exec"), fresh)
        for name, value in list(vars(self._module).items()):
            new = fresh.get(name)
            if isinstance(value, FunctionType) and isinstance(new, FunctionType):
                value.__code__ = new.__code__
            elif isinstance(new, (dict, tuple, int, float, str)):
                setattr(self._module, name, new)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--only", type=int, metavar="N", help="this mutant alone")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="go on from this mutant")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    source = args.module.read_text(encoding="utf-8")
    module = importlib.import_module(str(args.module.with_suffix("")).replace("/", "."))
    wanted = range(args.first, 10**6) if args.only is None else (args.only,)
    hunt = Hunt(module, source, wanted)
    pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", "-o", "addopts=", *args.tests], [hunt])
    if not hunt.sound:
        print("the tests fail without any mutation: mend that first")
        return 1
    for number, mutant in hunt.survivors:
        print(f"{args.module}:{mutant.line}: survives ({number}): {mutant.name}")
    killed = len(hunt.found) - len(hunt.survivors)
    print(f"{args.module}: {len(hunt.found)} mutants, {killed} killed, {len(hunt.survivors)} survive")
    return 1 if hunt.survivors else 0


if __name__ == "__main__":
    sys.exit(main())
