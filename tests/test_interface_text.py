"""Pieces, copies and the tokenizer of interface texts, and drafts learned from pairs."""

import pytest
import torch

from utils.data.drafts import Drafts, hidden
from utils.data.seq2seq_batches import seq2seq_batch, seq2seq_batches, with_unknowns
from utils.data.translation_pairs import Pair, normalized
from utils.text import interface_text as texts

PAIRS = [
    Pair("Open file", "打开文件", "x"),
    Pair("Close file", "关闭文件", "x"),
    Pair("Open the %s cell", "打开 %s 单元格", "x"),
    Pair("Delete cell", "删除单元格", "x"),
    Pair("Delete conf.py", "删除 conf.py", "x"),
]


def test_pieces_are_characters_words_and_signs():
    assert texts.pieces("打开 file_1 “x”。") == ["打", "开", "file", "_", "1", "“", "x", "”", "。"]


@pytest.mark.parametrize(
    "text, copies",
    [
        ("“%(value)s” of %s", ["%(value)s", "%s"]),
        ("file {name} in conf.py", ["{name}", "conf.py"]),
        ("HTML page", ["HTML"]),
        ("100 % of it", ["100"]),
        ("Open file", []),
    ],
)
def test_copies_are_found_and_put_back(text, copies):
    without, found = texts.hide_copies(text)
    assert found == copies and not any(copy in without for copy in copies)
    assert texts.restore_copies(without, found).replace(" ", "") == text.replace(" ", "")


def test_only_what_the_translation_has_is_hidden():
    assert hidden("Use HTML or %s", "使用 %s").copies == ["%s"]
    assert texts.restore_copies("<0><5>", ["a"]) == "a", "a sign that stands for nothing is left out"


def test_words_are_joined_with_spaces_where_chinese_has_them():
    assert texts.joined(["打", "开", "conf", "py", "文", "件", "。"]) == "打开 conf py 文件。"
    assert texts.with_case_of("打开 markdown", "Open Markdown") == "打开 Markdown"


def test_the_tokenizer_gives_back_what_it_read():
    rows = [hidden(pair.english, pair.chinese) for pair in PAIRS]
    tokenizer = texts.train_tokenizer([text for row in rows for text in (row.source, row.target)], 120)
    for row in rows:
        ids = tokenizer.encode(row.target).ids
        assert texts.detokenized(map(tokenizer.id_to_token, ids)) == texts.joined(texts.PIECE.findall(row.target))


def test_drafts_come_from_other_pairs():
    drafts = Drafts(PAIRS)
    assert drafts.nearest(["Open files"]) == [PAIRS[0]]
    assert drafts.nearest(["Open file"], [normalized("open files")])[0] != PAIRS[0]
    source, *_ = drafts.prepare(["Open the {x} cell"])
    draft, english, near = source.source.split(";")
    assert source.source == " ; ".join(source.parts)
    assert english.split() == ["Open", "the", "<0>", "cell"] and "单元格" in near and source.copies == ["{x}"]
    for row, pair in zip(drafts.prepare_training(), PAIRS, strict=True):
        assert row.source.split(";")[2].split() != row.target.split(), f"{pair} must not find itself"
    with pytest.raises(ValueError, match="at least two pairs"):
        Drafts(PAIRS[:1])


def test_batches_shift_the_target_and_every_row_comes_once_a_pass():
    batch = seq2seq_batch([[5, 6], [7]], [[8], [9, 10]], pad=0, begin=1, end=2)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]]
    assert batch["attention_mask"].tolist() == [[True, True], [True, False]]
    assert batch["decoder_ids"].tolist() == [[1, 8, 0], [1, 9, 10]]
    assert batch["targets"].tolist() == [[8, 2, -100], [9, 10, 2]]
    rows = []
    stream = seq2seq_batches([[1]] * 12, [[1]] * 12, 4, 0, lambda rows, random: {"input_ids": torch.tensor(rows)})
    for _ in range(3):
        rows += next(stream)["input_ids"].tolist()
    assert sorted(rows) == list(range(12))
    with pytest.raises(ValueError, match="no source empty"):
        seq2seq_batch([[]], [[1]], 0, 1, 2)
    with pytest.raises(ValueError, match="at least batch_size=4 rows, got 1"):
        next(seq2seq_batches([[1]], [[1]], 4, 0, lambda rows, random: {}))


def test_unknowns_spare_what_is_kept():
    import numpy as np

    ids = torch.arange(400).view(20, 20)
    noisy = with_unknowns(ids, 0.5, 3, range(10), np.random.default_rng(0))
    assert noisy[0, :10].tolist() == list(range(10)) and 120 < int((noisy == 3).sum()) < 280


def test_a_similar_pair_is_taken_and_another_is_not():
    drafts = Drafts(PAIRS)
    assert drafts.choose(["Open files", "Restart the kernel now"], ["x", "y"]) == ["打开文件", "y"]
    assert drafts.similarities(["Open file"])[0, 0] == pytest.approx(1.0)
