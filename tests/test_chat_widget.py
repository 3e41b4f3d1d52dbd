"""The chat explorer: what it hands on, what it keeps, what it refuses."""

from utils.widgets import base, chat


def echo(turns):
    """Two answerers: one repeats, one counts the turns."""
    if not turns[-1].strip():
        raise ValueError("Type a message.")
    return [("echo", turns[-1], "a note"), ("counter", f"{len(turns)} turns", "")]


def test_each_message_is_answered_by_all_and_the_last_one_is_remembered():
    heard = []
    explorer = chat.explore_chat(lambda turns: heard.append(list(turns)) or echo(turns), "hello")
    explorer.query = {"message": "again", "number": 1}
    explorer.query = {"message": "again", "number": 2}
    assert heard == [["hello"], ["hello", "1 turns", "again"],
                     ["hello", "1 turns", "again", "3 turns", "again"]]  # fmt: skip
    assert [one["message"] for one in explorer.exchanges] == ["hello", "again", "again"]
    assert explorer.exchanges[-1]["answers"] == [["echo", "again", "a note"], ["counter", "5 turns", ""]]
    explorer.query = {"message": None, "number": 3}
    assert explorer.exchanges == [] and explorer.error == ""


def test_says_what_is_wrong_and_keeps_the_conversation():
    explorer = chat.explore_chat(echo, "hello", limit=10)
    before = explorer.exchanges
    explorer.query = {"message": "x" * 11, "number": 1}
    assert "at most 10 characters, got 11" in explorer.error and explorer.exchanges == before
    explorer.query = {"message": " ", "number": 2}
    assert explorer.error == "Type a message." and explorer.exchanges == before
    explorer.query = {"message": "fine", "number": 3}
    assert explorer.error == "" and len(explorer.exchanges) == 2
    assert "Expected at least one answer" in chat.explore_chat(lambda turns: [], "a").error


def test_a_long_conversation_forgets_its_beginning():
    explorer = chat.explore_chat(echo, "0")
    for number in range(1, 30):
        explorer.query = {"message": str(number), "number": number}
    assert [one["message"] for one in explorer.exchanges] == [str(n) for n in range(10, 30)]


def test_leaves_a_still_picture_and_keeps_to_its_own_module():
    explorer = chat.explore_chat(echo, "a <b>good</b> film", ["Hello!"])
    data, _ = explorer._repr_mimebundle_()
    assert "echo: “a <b>good</b> film”" in data["text/plain"]
    assert "<b>" not in data["text/html"] and "<table>" in data["text/html"]
    assert explorer._esm == base.source("chat") and "innerHTML" not in explorer._esm
    assert "url(" not in explorer._css
    explorer.query = {"message": None, "number": 1}
    assert "An empty conversation" in explorer.says() and explorer.still()
