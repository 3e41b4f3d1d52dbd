"""The choice that agrees most: by loops, and with votes that decide."""

import numpy as np
import pytest
import sacrebleu

from utils.metrics.consensus import expected_agreement


def test_it_is_the_mean_over_all_candidates_in_the_measure_of_their_votes():
    candidates, votes = ["打开文件", "打开文件。", "关闭窗口", "", "a file"], [1.0, 0.5, 2.0, 1.0, 0.25]
    expected = [
        sum(v * (sacrebleu.corpus_chrf([one], [[other]], char_order=2, beta=1).score if one and other else 0)
            for other, v in zip(candidates, votes, strict=True)) / sum(votes)
        for one in candidates
    ]  # fmt: skip
    np.testing.assert_allclose(expected_agreement(candidates, votes), expected, atol=1e-9)


def test_two_that_agree_beat_one_alone_unless_its_vote_is_large():
    candidates = ["保存更改", "保存更改？", "星期一"]
    assert expected_agreement(candidates, [1, 1, 1]).argmax() != 2
    assert expected_agreement(candidates, [1, 1, 9]).argmax() == 2


@pytest.mark.parametrize("candidates, votes", [([], []), (["a"], [1, 2]), (["a", "b"], [0, 0]), (["a", "b"], [2, -1])])
def test_refused(candidates, votes):
    with pytest.raises(ValueError, match="at least 0 and not all 0"):
        expected_agreement(candidates, votes)
