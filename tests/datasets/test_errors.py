"""What goes wrong while a record is read is the record's fault, unless the machine is at a loss."""

import errno

import pytest

from datasets.errors import BadEpisodeError, StoreError, blamed_on


@pytest.mark.parametrize("error", [KeyError("reward"), ValueError("a shape"), OSError("truncated file")])
def test_a_record_is_blamed_for_what_its_content_does(error):
    told = f"episode 7 cannot be read .{type(error).__name__}: .*leave it out"
    with pytest.raises(BadEpisodeError, match=told), blamed_on("episode 7"):
        raise error


OTHERS = (MemoryError(), OSError(errno.EIO, "the disk"), StoreError("told"), KeyboardInterrupt())


@pytest.mark.parametrize("error", OTHERS)
def test_it_is_not_blamed_for_others(error):
    with pytest.raises(type(error)) as raised, blamed_on("episode 7"):
        raise error
    assert raised.value is error
