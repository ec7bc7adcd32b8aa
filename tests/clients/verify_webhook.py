"""Verifies the message of a webhook, with the standard library only.

Reads {"secret": …, "headers": {…}, "body": …} from standard input, and exits with 0 if it is
genuine: by an event's secret (`whsec_…`), or by the API key with which a run was started.
"""

import base64
import hashlib
import hmac
import json
import sys
import time


def is_genuine(secret: str, headers: dict, body: bytes, tolerance: float = 300) -> bool:
    """True if the sender of an event has the secret, and the message is recent."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    moment = headers["webhook-timestamp"]
    if abs(time.time() - int(moment)) > tolerance:
        return False
    signed = f"{headers['webhook-id']}.{moment}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(expected, it) for it in headers["webhook-signature"].split())


def is_genuine_run(api_key: str, headers: dict, body: bytes) -> bool:
    """True if the sender of a run's end has the key."""
    expected = hmac.new(api_key.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers["x-skyvern-signature"])


if __name__ == "__main__":
    given = json.load(sys.stdin)
    of_event = given["secret"].startswith("whsec_")
    verify = is_genuine if of_event else is_genuine_run
    sys.exit(0 if verify(given["secret"], given["headers"], given["body"].encode()) else 1)
