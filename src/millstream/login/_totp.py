"""The second factor: codes of six digits that change with time (RFC 6238), each good once."""

from __future__ import annotations

import hmac

from millstream.kernel import needs_extra

STEP_S = 30
STEPS_EITHER_WAY = 1  # a telephone's clock may be half a minute off


def new_secret() -> str:
    """A secret for a telephone, base32. Raises ConfigError when the library is missing."""
    with needs_extra("a second factor", "login"):
        import pyotp
    secret: str = pyotp.random_base32()
    return secret


def provisioning_uri(secret: str, name: str, issuer: str) -> str:
    """What a telephone reads as a picture: ``otpauth://…``."""
    import pyotp

    uri: str = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)
    return uri


def used_step(secret: str, code: str, now_s: int, after_step: int) -> int | None:
    """The step of time that `code` belongs to; None for a wrong one, and for one of a step that is not after
    `after_step`: it was used (RFC 6238, 5.2)."""
    with needs_extra("a second factor", "login"):
        import pyotp
    totp, found = pyotp.TOTP(secret), None
    now_step = now_s // STEP_S
    for step in range(now_step - STEPS_EITHER_WAY, now_step + STEPS_EITHER_WAY + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()) and step > after_step:
            found = step
    return found
