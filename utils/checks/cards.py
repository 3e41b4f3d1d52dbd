"""How verdicts look: a small card as HTML, with the same words as plain text.

Colors come from the page's own text color and one accent, at home on light and dark themes; a symbol and words
always say the same as the color.
"""

import html

from utils.checks.grading import RIGHT, TO_DO, WRONG, Exercise, Verdict

# Okabe and Ito's blue, vermilion and green: told apart by color-blind readers.
ACCENTS = {TO_DO: ("0,114,178", "○"), WRONG: ("213,94,0", "✗"), RIGHT: ("0,158,115", "✓")}
HEADINGS = {TO_DO: "Not done yet", WRONG: "Not yet", RIGHT: "Correct"}
INPUTS = "Input (each run draws a fresh one)"
OPEN_INPUTS = 240  # characters; a longer input is folded
LABELS = {"expected": "Expected", "got": "Got", "line": "Line", "error": "Error", "where": "Where"}


def verdict_card(exercise: Exercise, verdict: Verdict) -> dict[str, str]:
    """The card of one verdict, as a mimebundle with text/html and text/plain."""
    heading = f"Exercise {exercise.label}: {exercise.title}"
    if not exercise.label[:1].isdigit():
        heading = f"{exercise.label}: {exercise.title}"
    status = f"{HEADINGS[verdict.status]} · {verdict.points} of {_points(exercise.points)}"
    lines = [("", text) for text in _opening(verdict)]
    if verdict.problem is not None:
        problem = verdict.problem
        if problem.hint:
            lines.append(("Hint", problem.hint))
        lines += [(LABELS.get(name, name), text) for name, text in problem.facts.items()]
    held = [(RIGHT, one.statement) for one in verdict.held]
    failed = [(WRONG, verdict.failed.statement)] if verdict.failed else []
    inputs = [f"{name} = {text}" for name, text in verdict.arguments.items()]
    return _bundle(verdict.status, heading, status, held + failed, lines, inputs)


def summary_card(title: str, rows: list[tuple[Exercise, Verdict | None]]) -> dict[str, str]:
    """The card of a whole lab: one line an exercise, the total, and what is left."""
    points = sum(verdict.points for _, verdict in rows if verdict)
    total = sum(exercise.points for exercise, _ in rows)
    items, left = [], []
    for exercise, verdict in rows:
        status, earned = (verdict.status, verdict.points) if verdict else (TO_DO, 0)
        items.append((status, f"{exercise.label}: {exercise.title} · {earned} of {_points(exercise.points)}"))
        left += [exercise.label] if status != RIGHT else []
    whole = RIGHT if not left else (WRONG if points else TO_DO)
    text = f"Still open: {', '.join(left)}." if left else "Nothing is left to do. Well done."
    return _bundle(whole, title, f"{points} of {_points(total)}", items, [("", text)])


def _opening(verdict: Verdict) -> list[str]:
    if verdict.status == TO_DO:
        return ["Replace the ... in the cell above with your code, run that cell, then this one."]
    return [verdict.problem.problem] if verdict.problem else list(verdict.notes)


def _points(count: int) -> str:
    return f"{count} point" if count == 1 else f"{count} points"


def _bundle(status: str, heading: str, result: str, items: list[tuple[str, str]], lines: list[tuple[str, str]],
            inputs: list[str] | None = None) -> dict[str, str]:
    accent, symbol = ACCENTS[status]
    plain = [f"{symbol} {heading} · {result}"]
    plain += [f"  {ACCENTS[one][1]} {text}" for one, text in items]
    plain += [f"  {label}: {text}" if label else f"  {text}" for label, text in lines]
    plain += [f"  {INPUTS}: {text}" for text in inputs or []]
    body = "".join(_item(*one) for one in items)
    body = f'<ul style="list-style:none;margin:6px 0;padding:0">{body}</ul>' if body else ""
    body += "".join(_line(*one) for one in lines) + (_inputs(inputs) if inputs else "")
    style = (f"border-left:5px solid rgb({accent});background:rgba({accent},0.10);padding:8px 14px;margin:4px 0;"
             "border-radius:3px;line-height:1.5;max-width:60em;overflow-wrap:anywhere")
    page = (f'<div role="group" aria-label="{html.escape(f"{heading}: {result}")}" style="{style}">'
            f'<div><strong><span aria-hidden="true">{symbol}</span> {html.escape(heading)}</strong>'
            f' · {html.escape(result)}</div>{body}</div>')
    return {"text/html": page, "text/plain": "\n".join(plain)}


def _item(status: str, text: str) -> str:
    accent, symbol = ACCENTS[status]
    # Mixed with the text's own color, the accent keeps its contrast on light and dark pages.
    color = f"color-mix(in srgb,rgb({accent}) 65%,currentColor)"
    return (f'<li style="margin:0"><span style="color:{color};font-weight:bold" '
            f'role="img" aria-label="{HEADINGS[status]}">{symbol}</span> {html.escape(text)}</li>')


def _line(label: str, text: str) -> str:
    if not label:
        return f'<div style="margin:4px 0">{html.escape(text)}</div>'
    shown = html.escape(text)
    if label in LABELS.values():
        shown = _code(shown)
    return f'<div style="margin:2px 0"><strong>{html.escape(label)}:</strong> {shown}</div>'


def _inputs(inputs: list[str]) -> str:
    shown = "".join(f"<div>{_code(html.escape(text))}</div>" for text in inputs)
    unfolded = " open" if sum(map(len, inputs)) <= OPEN_INPUTS else ""
    return f'<details{unfolded} style="margin:2px 0"><summary><strong>{INPUTS}</strong></summary>{shown}</details>'


def _code(text: str) -> str:
    return f'<code style="background:none;color:inherit;padding:0">{text}</code>'
