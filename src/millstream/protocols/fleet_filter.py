"""The filter of a fleet query: an expression in CEL (Common Expression Language) over the facts of one node.

``os.name == "Debian" and connectors.opcua.state != "ok"``. `and` and `or` stand for CEL's ``&&`` and ``||``; `not` for
``!`` before a bracket or `has`, where both languages agree on what it covers.

A filter comes from outside and runs in the node's own process, so what it can cost is bounded before it runs: its
length, its brackets, the functions it calls, comprehensions within one another, and regular expressions, whose making
is the costly part. A fact that the node does not have makes the answer "absent", never true or false.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any, Literal, NamedTuple, TypeAlias

from millstream.kernel import DecodeError, PlantError, suggest

FILTER_CHARS_MAX = 1000
BRACKETS_MAX = 32  # within one another
MATCHES_MAX = 4  # regular expressions; one of the worst takes 30 ms to make
ROOTS = (
    "name", "path", "role", "labels", "version", "os", "hardware", "disk", "memory", "load", "connectors", "streams",
    "flows", "historian", "commands", "link", "alarms", "uptime_s", "time_ns",
)  # fmt: skip
"""What a filter may begin a fact's name with."""
PROVIDER_ROOTS = ("tenant", *ROOTS)
"""The same for who runs a hub of tenants: of its sites it is told whose they are."""
_MACROS = ("all", "exists", "exists_one", "filter", "map")
_FUNCTIONS = frozenset(
    (
        *_MACROS, "has", "size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool",
        "timestamp", "duration",
    )
)  # fmt: skip
_WORDS = {"and": "&&", "or": "||"}
_NOT_NAMES = {"true", "false", "null", "in"}
_TOKEN = re.compile(
    r"""(?P<text>[bB]?[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*')
      |[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
      |(?P<word>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)|(?P<space>\s+)|(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)

Outcome: TypeAlias = Literal["match", "no", "absent", "error"]


class Verdict(NamedTuple):
    """What a filter says of one node; `reason` names the absent fact or the error."""

    outcome: Outcome
    reason: str | None = None


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """A checked filter, ready to run."""

    text: str
    _program: Any
    _roots: tuple[str, ...] = ROOTS

    @classmethod
    def parse(cls, text: str, roots: tuple[str, ...] = ROOTS) -> FleetFilter:
        """Check and compile; `roots` are what names of facts begin with. Raises DecodeError (MS-2200 not CEL, MS-2201
        unknown name, MS-2202 too costly)."""
        if len(text) > FILTER_CHARS_MAX:
            raise _costly("too long", f"at most {FILTER_CHARS_MAX} characters", f"{len(text)}")
        if not text.strip():
            raise _not_cel("empty")
        if any(not c.isprintable() and c not in "\n\t" for c in text):
            raise _not_cel("control characters")
        plain = text.replace("\n", " ").replace("\t", " ")
        tokens = list(_tokens(plain))
        _check_cost(tokens)
        program = _compile(_in_cel(tokens))
        _check_names(tokens, roots)
        return cls(text, program, roots)

    def judge(self, facts: Mapping[str, Any]) -> Verdict:
        """Run it over the facts of one node; never raises for what the filter or the facts are."""
        known = {root: facts.get(root, {}) for root in self._roots}
        try:
            found = self._program.execute(known)
        except KeyError as error:
            return Verdict("absent", str(error.args[0] if error.args else error)[:120].strip("'\""))
        except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AttributeError) as error:
            return Verdict("error", _first_line(error))
        except BaseException as error:  # a panic of native code comes as a BaseException
            if type(error).__name__ != "PanicException":
                raise
            return Verdict("error", f"the filter's library failed: {_first_line(error)}")
        if isinstance(found, bool):
            return Verdict("match" if found else "no")
        return Verdict("error", f"the filter gives {type(found).__name__}, expected true or false")


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found.group(), found.start())


def _check_cost(tokens: list[_Token]) -> None:
    """What could take long is refused by its form. `open` are the brackets that stand open, True for a macro's."""
    opened: list[bool] = []
    matches, has_macro = 0, False
    for index, token in enumerate(tokens):
        if token.text in ("(", "[", "{") and token.kind == "mark":
            called = _called(tokens, index)
            if called is not None and called not in _FUNCTIONS:
                raise _unknown("function", called, _FUNCTIONS)
            is_macro = called in _MACROS
            if is_macro and any(opened):
                raise _costly("one comprehension within another", "them side by side", called)
            has_macro |= is_macro
            matches += called == "matches"
            opened.append(is_macro)
            if len(opened) > BRACKETS_MAX:
                raise _costly("too many brackets within one another", f"at most {BRACKETS_MAX}", None)
        elif token.text in (")", "]", "}") and token.kind == "mark" and opened:
            opened.pop()
    if matches > MATCHES_MAX or (matches and has_macro):
        raise _costly(
            "too many regular expressions", f"at most {MATCHES_MAX}, and none beside a comprehension",
            None, "use startsWith, endsWith or contains",
        )  # fmt: skip
    if matches and any(token.kind == "text" and "{" in token.text for token in tokens):
        raise _costly("a counted repetition in a regular expression", "none", None)


def _called(tokens: list[_Token], index: int) -> str | None:
    """The name of the function whose bracket stands at `index`, None for a bracket of another sort."""
    before = tokens[index - 1] if index else None
    if (
        tokens[index].text != "("
        or before is None
        or before.kind != "word"
        or before.text in ("and", "or", "not", "in")
    ):
        return None
    return before.text


def _in_cel(tokens: list[_Token]) -> str:
    """The text with `and`, `or` and `not` in CEL's own signs."""
    parts: list[str] = []
    for index, token in enumerate(tokens):
        is_field = index > 0 and tokens[index - 1].text == "."
        text = token.text
        if token.kind == "word" and not is_field and text in _WORDS:
            text = _WORDS[text]
        elif token.kind == "word" and not is_field and text == "not":
            following = tokens[index + 1].text if index + 1 < len(tokens) else ""
            if following not in ("(", "has"):
                raise _not_cel("'not' stands before a bracket", 'such as not (os.name == "Debian")')
            text = "!"
        parts.append(text)
        if token.kind in ("word", "number") and index + 1 < len(tokens):
            parts.append(" " if tokens[index + 1].kind in ("word", "number", "text") else "")
    return "".join(parts)


def _check_names(tokens: list[_Token], roots: tuple[str, ...]) -> None:
    """Every name that is no field, function or variable of a comprehension is one of a node's facts."""
    variables = {
        tokens[index + 2].text
        for index, token in enumerate(tokens[:-2])
        if token.text in _MACROS and tokens[index + 1].text == "("
    }
    for index, token in enumerate(tokens):
        if token.kind != "word" or token.text in _NOT_NAMES or token.text in (*_WORDS, "not"):
            continue
        is_field = index > 0 and tokens[index - 1].text == "."
        is_call = index + 1 < len(tokens) and tokens[index + 1].text == "("
        if not is_field and not is_call and token.text not in roots and token.text not in variables:
            raise _unknown("fact", token.text, roots)


@lru_cache(maxsize=64)
def _compile(text: str) -> Any:
    try:
        return _library().compile(text)
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError) as error:
        raise _not_cel(_first_line(error).partition("ERROR: ")[2] or _first_line(error)) from error
    except BaseException as error:  # a panic of native code comes as a BaseException
        if type(error).__name__ != "PanicException":
            raise
        raise _not_cel(_first_line(error)) from error


@lru_cache(maxsize=1)
def _library() -> Any:
    """The compiled part of the package `cel`, by itself: its ``__init__`` also loads a command line, which costs an
    edge 25 MB. Raises PlantError when it is not installed."""
    package = find_spec("cel")
    if package is None or package.submodule_search_locations is None:
        raise PlantError(
            "the filter's library is not installed", expected="common-expression-language",
            next_step="run `pip install common-expression-language`", code="MS-2203",
        )  # fmt: skip
    spec = PathFinder.find_spec("cel", list(package.submodule_search_locations))
    if spec is None or spec.loader is None:
        raise PlantError(
            "the filter's library has another form than expected", where="package cel", code="MS-2203",
            next_step="run `pip install 'common-expression-language<0.11'`",
        )  # fmt: skip
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def _not_cel(why: str, expected: str = 'CEL, such as os.name == "Debian" and link.state == "cut"') -> DecodeError:
    return DecodeError(f"the filter cannot be read: {why}", expected=expected, code="MS-2200")


def _unknown(what: str, name: str, known: Collection[str]) -> DecodeError:
    near = suggest(name, sorted(known))
    return DecodeError(
        f"the filter names a {what} that no node has", expected=", ".join(sorted(known)), got=name[:60],
        next_step=f"did you mean {near!r}?" if near else None, code="MS-2201",
    )  # fmt: skip


def _costly(why: str, expected: str, got: str | None, next_step: str | None = None) -> DecodeError:
    return DecodeError(
        f"the filter would cost a node too much: {why}", expected=expected, got=got, next_step=next_step,
        code="MS-2202",
    )  # fmt: skip
