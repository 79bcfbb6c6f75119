"""Tell a chat of what a team should know: post a line of text to a webhook.

The webhook's URL is a secret, and comes from the environment variable CHURN_WEBHOOK_URL; without it
nothing is sent. The JSON, {"text": ...}, is what Slack and Mattermost take. A
receiver that does not answer costs two seconds and a note, and fails nothing.
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request

from churn.params import Event, Params

URL = "CHURN_WEBHOOK_URL"
PATIENCE = 2  # seconds


def notify(params: Params, event: Event, text: str) -> None:
    """Post a text, if `notify` in params.yaml names the event.

    Args:
        text: one line; the name of the registered model is put before it.
    """
    url = os.environ.get(URL)
    if not url or event not in (params.notify or []):
        return
    body = json.dumps({"text": f"{params.registry.model}: {text}"}).encode()
    fault = _post(url, body)
    if fault:  # without the URL, which is a secret
        print(f"note: nobody was notified, {URL} {fault}", file=sys.stderr)


def _post(url: str, body: bytes) -> str:
    """Send the body; what was wrong, "" if nothing."""
    if not url.startswith(("https://", "http://")):
        return "is no http(s) address"
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return ""
    except urllib.error.HTTPError as error:
        return f"answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError):
        return "does not answer"
