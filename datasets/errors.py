"""The errors that a user can cause and mend.

Each message is one sentence that says what is wrong, where, and what to do. The command line prints the
message alone, without a traceback, and exits with status 2.
"""

import contextlib
from collections.abc import Iterator


class ArmchairError(Exception):
    """Anything a user can mend: a wrong path, a corrupt record, a model for another camera, an empty query."""


class BadEpisodeError(ArmchairError):
    """An episode that cannot be stored or read: corrupt bytes, wrong shapes, NaN, missing fields."""


class StoreError(ArmchairError):
    """A store that is absent, damaged, or asked for something that it does not hold."""


class SameStepsError(StoreError):
    """An episode whose steps the store holds already, under another id."""

    def __init__(self, message: str, episode_id: str):
        """The sentence, and the id of the episode in the store."""
        super().__init__(message)
        self.episode_id = episode_id


class IdTakenError(StoreError):
    """An id under which the store holds something else already."""


class LengthError(StoreError):
    """A reward sequence that does not have one value for each frame of its episode."""


class SpecMismatchError(ArmchairError):
    """A model, a dataset and an environment that do not speak of the same observations or actions."""


@contextlib.contextmanager
def blamed_on(record: object) -> Iterator[None]:
    """Makes a BadEpisodeError of whatever goes wrong inside the block, which does nothing but read one record.

    Readers and decoders meet more in a damaged record than they foresee, and one of millions must not stop a job. What
    the machine lacks, memory or a storage that answers (an OSError with a number), is no record's fault, and passes.

    Args:
      record: what messages call it.
    """
    try:
        yield
    except (ArmchairError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadEpisodeError(
            f"{record} cannot be read ({type(error).__name__}: {error}): restore it from a copy, or leave it out"
        ) from error
