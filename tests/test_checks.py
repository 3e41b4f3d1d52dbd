"""The frame that judges labs, and each lab's checks: stubs score nothing, solutions all, wrong answers are caught."""

import contextlib
import importlib
import io
import json
import runpy
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch

from utils.checks import calls
from utils.checks.calls import Answer, NotDone, NotYet, is_stub
from utils.checks.cards import summary_card, verdict_card
from utils.checks.grading import RIGHT, TO_DO, WRONG, Exercise, Property, judge
from utils.checks.progress import Lab
from utils.checks.properties import Draw, is_equal, is_tensor

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "labs" / "source").glob("*.ipynb"))
LABS = {path.stem.split("_", 1)[1]: path for path in SOURCES}
ENOUGH_SECONDS = 5.0  # for the draws of one exercise


def checks_of(lab: str):
    """The module that judges a lab, and its exercises by name."""
    module = importlib.import_module(f"utils.checks.{lab}")
    return module, {check.exercise.name: check for check in module.LAB.checks}


def definitions(path: Path) -> dict:
    """What the code of a lab's notebook defines, its checks left out."""
    space = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
            text = "".join(cell["source"])
            own = cell["cell_type"] == "code" and "colab" not in cell["metadata"].get("tags", [])
            if own and "checks." not in text and "environment.report" not in text or "### BEGIN SOLUTION" in text:
                exec(compile(text, cell["id"], "exec"), space)
            elif own and "import" in text:
                exec(compile(text.replace("environment.report()", ""), cell["id"], "exec"), space)
    return space


def wrong_answers(lab: str) -> dict:
    return runpy.run_path(str(ROOT / "tests" / "wrong_answers" / f"{lab}.py"))["WRONG"]


def text_of(exercise, verdict) -> str:
    return verdict_card(exercise, verdict)["text/plain"]


WRONG_CASES = [(lab, name, *case) for lab in LABS for name, cases in wrong_answers(lab).items() for case in cases]


@pytest.mark.parametrize("lab", LABS)
def test_solutions_get_full_marks_on_many_draws(lab):
    _, exercises = checks_of(lab)
    solved = definitions(LABS[lab])
    for name, check in exercises.items():
        begun = time.monotonic()
        for seed in range(0, 60, 3):
            if time.monotonic() - begun > ENOUGH_SECONDS:  # a capstone trains a model each time
                break
            verdict = judge(check.exercise, solved[name], seed)
            assert verdict.status == RIGHT and verdict.points == check.exercise.points, text_of(check.exercise, verdict)


@pytest.mark.parametrize("lab", LABS)
def test_stubs_score_nothing(lab):
    _, exercises = checks_of(lab)
    fresh = definitions(ROOT / "labs" / LABS[lab].name)
    for name, check in exercises.items():
        verdict = judge(check.exercise, fresh[name])
        assert (verdict.status, verdict.points) == (TO_DO, 0)
        assert is_stub(fresh[name])


@pytest.mark.parametrize("lab", LABS)
def test_each_exercise_has_three_wrong_answers(lab):
    _, exercises = checks_of(lab)
    wrong = wrong_answers(lab)
    assert {name: len(wrong.get(name, [])) for name in exercises if len(wrong.get(name, [])) < 3} == {}
    assert set(wrong) <= set(exercises)


@pytest.mark.parametrize(("lab", "name", "answer", "words", "points"), WRONG_CASES,
                         ids=[f"{case[1]}-{case[2].__name__}" for case in WRONG_CASES])
def test_wrong_answers_are_caught_and_explained(lab, name, answer, words, points):
    exercise = checks_of(lab)[1][name].exercise
    for seed in (0, 1000, 2000):
        verdict = judge(exercise, answer, seed)
        assert verdict.status == WRONG
        assert verdict.points == points
        assert words in text_of(exercise, verdict)


@pytest.mark.parametrize("lab", LABS)
def test_empty_and_constant_answers_score_nothing(lab):
    def zero(*arguments):
        return torch.zeros_like(next(one for one in arguments if isinstance(one, torch.Tensor)))

    def unchanged(*arguments):
        return arguments[0]

    answers = (zero, unchanged, lambda *arguments: 0.0, lambda *arguments: "text", lambda *arguments: (None, 1))
    for check in checks_of(lab)[1].values():
        for answer in answers:
            assert judge(check.exercise, answer).points == 0, (check.exercise.name, answer)


# The frame


def doubled(answer, draw):
    """A property: the result is the input times two."""
    x = draw.normal(3)
    is_equal(is_tensor(answer(x), (3,)), 2 * x, problem="Not doubled.", hint="Times two.")


def exercise(*properties) -> Exercise:
    return Exercise("double", "1", "double it", properties or (Property("It doubles.", doubled, 2),))


def test_a_right_answer():
    verdict = judge(exercise(), lambda x: 2 * x)
    assert (verdict.status, verdict.points) == (RIGHT, 2)


def stub(x):
    """Nothing but words."""
    ...


def pass_only(x):
    pass


def not_implemented(x):
    raise NotImplementedError


def half_a_stub(x):
    y = ...
    return y * 2


def two_stubs(x):
    return ..., None


@pytest.mark.parametrize("answer", [stub, pass_only, not_implemented, half_a_stub, two_stubs, lambda x: ...])
def test_what_counts_as_not_done(answer):
    assert judge(exercise(), answer).status == TO_DO


def no_return(x):
    2 * x


def writes_into_its_input(x):
    x *= 2
    return x


def divides_by_zero(x):
    first = 1
    return x * (first / 0)


def endless(x):
    while True:
        pass


def endless_on_one_line(x):
    while True: pass  # noqa: E701


def endless_and_careless(x):
    while True:
        try:
            sum(range(100))
        except Exception:
            pass


def leaves(x):
    sys.exit(1)


@pytest.mark.parametrize(("answer", "words"), [
    (no_return, "returned None"),
    (writes_into_its_input, "changed its input `x`"),
    (divides_by_zero, "return x * (first / 0)   (line"),
    (divides_by_zero, "in divides_by_zero"),
    (divides_by_zero, "x = ["),
    (leaves, "SystemExit"),
    (lambda: 1, "Keep the function's name and its parameters"),
    (lambda x: [2.0], "not a tensor"),
    (lambda x: x[:2], "wrong shape"),
    (lambda x: x * float("nan"), "Not doubled"),
    (lambda x: 2 * x.to(torch.complex64), "real numbers"),
    (7, "not a function"),
])
def test_a_wrong_answer_becomes_a_card(answer, words):
    verdict = judge(exercise(), answer)
    assert (verdict.status, verdict.points) == (WRONG, 0)
    assert words in text_of(exercise(), verdict)


def test_a_result_that_breaks_the_check_becomes_a_card():
    def breaks(answer, draw):
        raise RuntimeError("out of range")

    verdict = judge(exercise(Property("It doubles.", breaks, 2)), lambda x: x)
    assert verdict.points == 0 and "could not read your result" in text_of(exercise(), verdict)


@pytest.mark.parametrize("answer", [endless, endless_on_one_line, endless_and_careless])
def test_an_endless_loop_is_stopped(answer):
    start = time.monotonic()
    with pytest.raises(NotYet, match="stopped after") as caught:
        Answer(answer, seconds=0.2)(torch.ones(3))
    assert time.monotonic() - start < 5
    assert answer.__name__ in caught.value.facts["line"]


def test_the_deadline_is_met_in_another_thread_too():
    caught = []

    def work():
        try:
            Answer(endless, seconds=0.2)(torch.ones(3))
        except NotYet as problem:
            caught.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert caught


def test_a_deadline_that_was_met_stops_nothing_later():
    for _ in range(300):
        with contextlib.suppress(NotYet):
            Answer(lambda x: [one * 2 for one in range(20_000)], seconds=0.0008)(torch.ones(3))
    for _ in range(20):
        time.sleep(0.01)


def test_a_keyboard_interrupt_is_the_students_own():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(exercise(), interrupted)


def test_nothing_reaches_stderr(capsys):
    def noisy(x):
        warnings.warn("careful", stacklevel=1)
        print("watch out", file=sys.stderr)
        return 2 * x

    assert judge(exercise(), noisy).status == RIGHT
    assert capsys.readouterr().err == ""


def test_checks_leave_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    layer = importlib.import_module("utils.checks.oracles").gpt2_layer(2, 3, 6, 2, seed=1)
    assert layer.output.shape == (2, 3, 6)
    assert torch.equal(torch.rand(4), expected)


def test_points_count_up_to_the_first_property_that_fails():
    def never(answer, draw):
        raise NotYet("No.", hint="Never.")

    three = exercise(Property("a", doubled, 1), Property("b", never, 2), Property("c", doubled, 4))
    verdict = judge(three, lambda x: 2 * x)
    assert verdict.points == 1 and three.points == 7
    assert [one.statement for one in verdict.held] == ["a"] and verdict.failed.statement == "b"


def test_inputs_are_fresh_and_repeatable():
    assert torch.equal(Draw(5).normal(3), Draw(5).normal(3))
    assert not torch.equal(Draw(5).normal(3), Draw(6).normal(3))
    assert len(set(Draw(5).sizes(4))) == 4
    assert len({judge(exercise(), lambda x: x).seed for _ in range(20)}) > 1


def test_require_raises_without_points_and_returns_them_otherwise():
    lab = Lab("Lab")
    check = lab.exercise("double", "1", "double it", Property("It doubles.", doubled, 2))
    assert lab.require(check, lambda x: 2 * x) == 2
    with pytest.raises(AssertionError, match="Not doubled"):
        lab.require(check, lambda x: x)
    with pytest.raises(AssertionError, match="Not done yet"):
        lab.require(check, stub)
    with pytest.raises(ValueError, match="expected a new name"):
        lab.exercise("double", "2", "again", Property("It doubles.", doubled, 2))
    with pytest.raises(ValueError, match="at least one property with points"):
        lab.exercise("nothing", "2", "nothing")


def test_progress_follows_the_latest_check(capsys):
    lab = Lab("Lab")
    check = lab.exercise("double", "1", "double it", Property("It doubles.", doubled, 2))
    other = lab.exercise("again", "2", "double again", Property("It doubles.", doubled, 1))
    assert (lab.points, lab.total, lab.done) == (0, 3, False)
    check(lambda x: 2 * x)
    assert (lab.points, lab.done) == (2, False)
    other(lambda x: 2 * x)
    assert (lab.points, lab.done) == (3, True)
    check(lambda x: x)
    assert (lab.points, lab.done) == (1, False)
    lab.summary()


def test_cards_say_the_same_in_html_and_text_and_escape():
    verdict = judge(exercise(), lambda x: "<script>alert(1)</script>")
    card = verdict_card(exercise(), verdict)
    assert "<script>" not in card["text/html"] and "&lt;script&gt;" in card["text/html"]
    for words in ("Not yet", "It doubles.", "0 of 2 points"):
        assert words in card["text/html"] and words in card["text/plain"]
    assert "✗" in card["text/plain"] and 'aria-label="Exercise 1: double it: Not yet' in card["text/html"]
    rows = [(exercise(), None), (exercise(), judge(exercise(), lambda x: 2 * x))]
    assert "2 of 4 points" in summary_card("Lab", rows)["text/plain"]


def test_a_slow_but_honest_answer_is_not_stopped():
    def loop(x):  # in float64: two hundred rounded additions would not always be the right answer
        return torch.stack([sum(one for _ in range(200)) / 100 for one in x.double()]).float()

    assert judge(exercise(), loop).status == RIGHT
    assert calls.SECONDS >= 5


def test_inputs_are_copies_of_their_own_kind():
    counts, weights = Counter("aab"), {"w": torch.ones(2)}

    def careless(counts, weights):
        counts["a"] += 1
        weights["w"] += 1
        return counts["never seen"]

    assert Answer(careless)(counts, weights) == 0
    assert counts == Counter("aab") and weights["w"].tolist() == [1, 1]


@pytest.mark.parametrize("change", [
    lambda rows: rows.append(3),
    lambda rows: rows[0].append(3),
    lambda rows: rows[0].__setitem__(0, 7),
    lambda rows: rows[1].add_(1),
])
def test_a_changed_list_is_refused_and_harms_nothing(change):
    rows = [[1, 2], torch.ones(2)]

    def careless(rows):
        change(rows)
        return 0

    with pytest.raises(calls.NotYet, match="changed its input `rows`"):
        Answer(careless)(rows)
    assert rows[0] == [1, 2] and rows[1].tolist() == [1, 1] and len(rows) == 2


def test_of_a_long_dictionary_the_first_entries_are_shown():
    shown = calls.describe({f"w{number}": number for number in range(20)})
    assert "w7: 7" in shown and "w8" not in shown and "and 12 more" in shown
    assert "more" not in calls.describe({f"w{number}": number for number in range(8)})


def test_answer_raises_not_done_for_a_stub():
    with pytest.raises(NotDone):
        Answer(stub)(torch.ones(3))
