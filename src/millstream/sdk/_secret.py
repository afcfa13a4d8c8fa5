"""Secrets and files that a configuration refers to: by reference only, resolved late, never printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, model_validator

from millstream.kernel import ConfigError
from millstream.sdk._strict import Strict

SECRET_BYTES_MAX = 65536  # a private key with its chain fits; a wrong path to a huge file does not


class OutsideError(ValueError):
    """A file name in a configuration that came from elsewhere leads out of the folders that it may name."""

    code = "MS-2417"


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    context = info.context if isinstance(info.context, dict) else {}
    folder, roots = context.get("folder"), context.get("roots")
    if roots is not None and (".." in path.parts or (path.parts[:1] and path.parts[0].startswith("~"))):
        raise OutsideError("a file name in a configuration from afar has no '..' and no '~' in it")
    path = path.expanduser()
    path = Path(folder) / path if folder is not None else path
    if roots and not any(path.is_relative_to(root) for root in roots):
        raise OutsideError(f"{path} lies outside the folders that this site lets a configuration from afar name")
    return path


ConfigPath = Annotated[Path, AfterValidator(_from_folder)]
"""A file or folder in a configuration; a relative one is taken from the folder of the configuration file."""


class SecretRef(Strict):
    """Where a secret lies: ``{file: secrets/password}`` or ``{env: PLC_PASSWORD}``. The value itself is never kept."""

    file: ConfigPath | None = None
    """A file that holds the secret; one line break at its end does not count."""
    env: str | None = None
    """The environment variable that holds the secret."""

    @model_validator(mode="before")
    @classmethod
    def _not_in_clear(cls, value: Any) -> Any:
        if isinstance(value, str | int | float):
            raise ValueError("a secret is not written into the configuration, refer to it: {file: PATH} or {env: NAME}")
        return value

    @model_validator(mode="after")
    def _one(self) -> SecretRef:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret needs exactly one of 'file' and 'env'")
        return self

    def resolve(self) -> str:
        """Read the secret now (blocking, a small file). Raises ConfigError that names the reference, not the value."""
        if self.env is not None:
            value = os.environ.get(self.env)
            if value is None:
                raise ConfigError(f"environment variable {self.env} of a secret is not set", code="MS-0103")
            return value
        if self.file is None:
            raise AssertionError("validated: one of file and env")
        try:
            with self.file.open("rb") as stream:
                raw = stream.read(SECRET_BYTES_MAX + 1)
            if len(raw) > SECRET_BYTES_MAX:
                raise ConfigError(
                    "secret is too large",
                    where=str(self.file),
                    expected=f"at most {SECRET_BYTES_MAX} bytes",
                    code="MS-0103",
                )
            return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"secret cannot be read: {reason}", where=str(self.file), code="MS-0103") from error
        except UnicodeDecodeError:
            raise ConfigError("secret is not UTF-8", where=str(self.file), code="MS-0103") from None
