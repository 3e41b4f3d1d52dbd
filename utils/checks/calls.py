"""Calling a student's function so that whatever it does can be shown: an error, a hang, a changed input."""

import contextlib
import copy
import ctypes
import dis
import inspect
import itertools
import linecache
import sys
import sysconfig
import threading
import traceback
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SECONDS = 5.0
SHOWN, SHOWN_EXACTLY = 36, 12  # tensors up to so many numbers are written out on a card, with two or four decimals
SHOWN_ENTRIES = 8  # of a dictionary
# Code under these folders is a library's: errors are reported at the last line outside them.
LIBRARIES = tuple({str(Path(folder)) for folder in (
    *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
    Path(torch.__file__).parents[1], Path(__file__).parents[1])})


class NotDone(Exception):
    """The exercise still holds its stub: there is nothing to judge yet."""


class NotYet(Exception):
    """A property that an answer does not have, with what a card shows: the problem, facts by name, and a hint."""

    def __init__(self, problem: str, facts: dict[str, str] | None = None, hint: str = ""):
        super().__init__(problem)
        self.problem, self.facts, self.hint = problem, dict(facts or {}), hint


class TookTooLong(BaseException):
    """Raised in the student's code at the deadline; not an Exception, so that no `except Exception` swallows it."""


class Answer:
    """A student's function, called with copies of the inputs, under a deadline, with errors turned into `NotYet`.

    After a call, `arguments` says what it was called with. Raises NotDone for a stub, and NotYet for an error, a
    missing return, a changed input, and a call that takes longer than `seconds`.
    """

    def __init__(self, function: Callable, seconds: float = SECONDS):
        self.function, self.seconds = function, seconds
        self.arguments: dict[str, str] = {}

    def __call__(self, *arguments):
        if not callable(self.function):
            raise NotYet("This is not a function.", {"expected": "a function", "got": type(self.function).__name__},
                         "Pass the function itself, without parentheses.")
        self.arguments = _described(self.function, arguments)
        given = [_copy(argument) for argument in arguments]
        try:
            with contextlib.redirect_stderr(sys.stdout), warnings.catch_warnings():
                # nbgrader gives no points to a cell that writes to stderr, and a warning is no mistake.
                warnings.simplefilter("ignore")
                result = _call_within(self.seconds, self.function, given)
        except TookTooLong as stopped:
            raise NotYet(f"Your function was stopped after {self.seconds:g} seconds.", _where(stopped),
                         "Look for a loop that never ends: does its condition ever become false?") from None
        except NotImplementedError as error:
            raise NotDone from error
        except (Exception, SystemExit) as error:
            if "ellipsis" in str(error).lower():
                raise NotDone from error
            raise NotYet(f"Your function raised {type(error).__name__}.",
                         {**_where(error), "error": _first_line(error)}, _hint_for(error)) from error
        self._refuse_nothing(result)
        self._refuse_changes(arguments, given)
        return result

    def _refuse_nothing(self, result: Any) -> None:
        parts = result if isinstance(result, tuple) else (result,)
        if not all(part is None or part is Ellipsis for part in parts):
            return
        if result is not None or is_stub(self.function):
            raise NotDone
        raise NotYet("Your function returned None.", {},
                     "Its last line needs a `return`, and every path through it must reach one.")

    def _refuse_changes(self, before: tuple, after: list) -> None:
        for name, old, new in zip(self.arguments, before, after, strict=True):
            if isinstance(old, torch.Tensor | list) and not _same(old, new):
                kind = "tensor" if isinstance(old, torch.Tensor) else "list"
                raise NotYet(f"Your function changed its input `{name}`.", {},
                             f"`+=`, an assignment to `x[...]`, `append`, and operations whose name ends in `_` write "
                             f"into the caller's {kind}. Make a new {kind} instead.")


def is_stub(function: Callable) -> bool:
    """Whether a function's body does nothing at all: only a docstring, `...`, `pass` or `return None`."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    values = {None, Ellipsis, function.__doc__}
    constants = [value for value in code.co_consts if not any(value is one or value == one for one in values)]
    loads = [one for one in dis.get_instructions(code) if one.opname.startswith(("LOAD_FAST", "LOAD_GLOBAL", "CALL"))]
    return not constants and not loads


def describe(value: Any) -> str:
    """A value in a few words: small tensors in full, larger ones by shape and type, a dictionary's first entries."""
    if isinstance(value, dict):
        shown = [f"{name}: {describe(one)}" for name, one in itertools.islice(value.items(), SHOWN_ENTRIES)]
        left = [f"and {len(value) - SHOWN_ENTRIES} more"] if len(value) > SHOWN_ENTRIES else []
        return "{" + ", ".join(shown + left) + "}"
    if not isinstance(value, torch.Tensor):
        text = repr(value)
        return text if len(text) <= 80 else text[:77] + "..."
    kind = str(value.dtype).removeprefix("torch.")
    shape = f"shape {tuple(value.shape)}, {kind}"
    if value.numel() > SHOWN:
        return shape
    plain = value.detach().cpu()
    if plain.is_floating_point():
        plain = plain.double().round(decimals=4 if plain.numel() <= SHOWN_EXACTLY else 2)
    return f"{plain.tolist()} ({shape})"


def _described(function: Callable, arguments: tuple) -> dict[str, str]:
    try:
        names = list(inspect.signature(function).bind(*arguments).arguments)
    except (TypeError, ValueError):
        names = []
    if len(names) != len(arguments):
        names = [f"argument {number}" for number in range(1, len(arguments) + 1)]
    return {name: describe(argument) for name, argument in zip(names, arguments, strict=True)}


def _call_within(seconds: float, function: Callable, arguments: list) -> Any:
    """Call, and raise TookTooLong in the function once `seconds` have passed: in any thread, on every system."""
    finished, guard = threading.Event(), threading.Lock()
    caller, here = threading.get_ident(), sys._getframe()

    def stop() -> None:
        wait = seconds
        while not finished.wait(wait):
            with guard:
                # The stack is asked as well: an exception may arrive just before `finished` is set.
                if finished.is_set() or not _is_on_stack(here, caller):
                    return
                _raise_in(caller, TookTooLong)
            wait = 0.05  # again, because a bare `except:` in a loop may swallow it

    threading.Thread(target=stop, daemon=True).start()
    try:
        return function(*arguments)
    finally:
        with contextlib.suppress(TookTooLong), guard:
            finished.set()
            _raise_in(caller, None)


def _is_on_stack(frame: types.FrameType, thread: int) -> bool:
    """Whether a thread is still inside the call that `frame` belongs to."""
    at = sys._current_frames().get(thread)
    while at is not None and at is not frame:
        at = at.f_back
    return at is frame


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise `error` in a thread at its next Python instruction; None takes back one that has not arrived."""
    reference = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), reference)


def _is_students(filename: str) -> bool:
    return not filename.startswith((*LIBRARIES, "<frozen"))


def _where(error: BaseException) -> dict[str, str]:
    """The last line of the traceback that is the student's own, if there is one."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if _is_students(one.filename)]
    if not frames:
        return {}
    last = frames[-1]
    line = (last.line or linecache.getline(last.filename, last.lineno or 0)).strip()
    return {"line": f"{line}   (line {last.lineno}, in {last.name})"}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]


def _hint_for(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, NameError):
        return "A name is used before it is defined. Did you run the cells above, in order?"
    if isinstance(error, TypeError) and "argument" in text and "()" in text:
        return "Keep the function's name and its parameters as they are in the stub."
    if isinstance(error, RuntimeError) and ("size" in text or "shape" in text):
        return "Write the shape of each tensor beside its line; the two that meet in this line do not fit."
    return "Read the line above with the inputs' shapes in mind."


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        copied = copy.copy(value)  # its class may matter: a Counter has a 0 for what it does not hold
        for name, one in value.items():
            copied[name] = _copy(one)
        return copied
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _same(old: Any, new: Any) -> bool:
    """Whether a tensor, or a list of tensors, lists and plain values, is as it was; nothing else is looked into."""
    if isinstance(old, torch.Tensor):
        return old.shape == new.shape and torch.equal(torch.nan_to_num(old), torch.nan_to_num(new.detach()))
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return old == new if isinstance(old, int | float | str | bytes) else True
