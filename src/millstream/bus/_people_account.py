"""The account of who looks at a hub with one plant, from a browser: what crosses to it, as in operator mode. Pure.

Somebody who may ask JetStream for a message can have the answer delivered to any subject of the same account, that of
a machine's write or of a stream's end too; so people are in an account of their own (ADR 11).
"""

from __future__ import annotations

from typing import Any

from millstream.bus._permissions import PEOPLE_SERVICES, TOLD_WHO_ASKS, engineer_permissions

PEOPLE_ACCOUNT = "PEOPLE"
PEOPLE_USER = "people"
PEOPLE_INBOX = "_INBOX.people"
LIVE = "live.uns.v1.>"


def people_exports() -> list[dict[str, Any]]:
    """Of the plant's account."""
    services = [{"service": subject, "response_type": "Stream"} for subject, _ in PEOPLE_SERVICES]
    return [{"stream": LIVE}, *services]


def people_account(password: str, plant: str) -> dict[str, Any]:
    """The account with its one user, which browsers share; `plant` is the account that exports."""
    rights = engineer_permissions()
    publish = {"allow": [*rights.publish]}
    subscribe = {"allow": [f"{PEOPLE_INBOX}.>", LIVE]}
    user = {
        "user": PEOPLE_USER, "password": password, "allowed_connection_types": ["WEBSOCKET"],
        "permissions": {"publish": publish, "subscribe": subscribe},
    }  # fmt: skip
    services = [
        {
            "service": {"account": plant, "subject": subject}, **({"to": local} if local != subject else {}),
            **({"share": True} if subject in TOLD_WHO_ASKS else {}),
        }
        for subject, local in PEOPLE_SERVICES
    ]  # fmt: skip
    return {"users": [user], "imports": [{"stream": {"account": plant, "subject": LIVE}}, *services]}
