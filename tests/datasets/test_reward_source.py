import pytest

from datasets.errors import ArmchairError
from datasets.reward_source import RewardSource


@pytest.mark.parametrize("text", ["true", "none", "sketch", "model:lift-1"])
def test_text_round_trip(text):
    assert str(RewardSource.parse(text)) == text


@pytest.mark.parametrize("text", ["", "model", "model:", "true:x", "success"])
def test_other_texts_are_refused(text):
    with pytest.raises(ArmchairError, match="give true, none, sketch or model:<model id>"):
        RewardSource.parse(text)
