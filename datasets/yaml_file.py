"""Files that a person writes: YAML, read into a dataclass whose fields are the keys."""

from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from datasets.errors import ArmchairError

T = TypeVar("T")


def load_yaml(path: Path, kind: type[T], what: str) -> T:
    """A `kind`, a pydantic dataclass, from a YAML file.

    Args:
      path: the file.
      kind: what it holds; keys that it does not know are refused if its config says so, in dataclasses inside, too.
      what: the file for the message, such as "the mapping".

    Raises:
      ArmchairError: if the file is absent, is no YAML, or has wrong, unknown or missing keys; says which.
    """
    try:
        read: Any = yaml.safe_load(path.read_text())
        return pydantic.TypeAdapter(kind).validate_python({} if read is None else read)
    except OSError as error:
        raise ArmchairError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArmchairError(f"{what} {path} is not YAML: {' '.join(str(error).split())}") from error
    except pydantic.ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise ArmchairError(f"{what} {path} cannot be used: {told}") from error
    except ArmchairError as error:  # of a dataclass that looks at its own numbers
        raise ArmchairError(f"{what} {path} cannot be used: {error}") from error
