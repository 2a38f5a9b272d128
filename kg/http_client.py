"""GET of JSON from an API that limits, fails and recovers.

Secrets go to the API's own host only and into no message: URLs that are shown or kept are without them.
"""

import json
import logging
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from kg.errors import SourceError
from kg.source_config import Credentials, Source

ATTEMPTS = 7
# Seconds: before the second attempt, doubled for each further one, and at most.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
# Longer than this nobody waits for a rate limit: the crawl goes on in a later run.
PATIENCE = 300.0
TIMEOUT = 60.0
PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Answer:
    """A page: its JSON, and the URL of the header `Link: …; rel="next"`."""

    body: Any
    link: str | None


class Client:
    """One connection to the API of a source, within its rate."""

    def __init__(self, name: str, url: str, source: Source, credentials: Credentials) -> None:
        """Nothing is sent before `get`."""
        import httpx

        # They log each URL and header, with the secrets.
        for library in ("httpx", "httpcore"):
            logging.getLogger(library).setLevel(logging.WARNING)
        headers = {"Accept": "application/json"} | source.headers | credentials.headers
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        auth = (credentials.user, credentials.password or "") if credentials.user else None
        self._name, self._url, self._secrets = name, httpx.URL(url), credentials.parameters
        self._gap = 1 / source.requests_per_second if source.requests_per_second else 0.0
        self._last = 0.0
        self._client = httpx.Client(headers=headers, auth=auth, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def get(self, url: str | None, parameters: dict[str, str | int], *, end: bool) -> Answer | None:
        """A page of the API, or of a `url` that it named; None for status 404 where that is how pages may `end`."""
        asked = (self._url.join(url) if url else self._url).copy_merge_params(
            {k: str(v) for k, v in parameters.items()}
        )
        if (asked.scheme, asked.netloc) != (self._url.scheme, self._url.netloc):
            raise SourceError(f"source {self._name}: {self._url} sends on to {asked.host}, which is another server")
        response = self._tried(asked)
        if response.status_code == 404 and end:
            return None
        if response.status_code != 200:
            raise SourceError(f"source {self._name}: {asked} answers {response.status_code}{self._advice(response)}")
        try:
            body = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SourceError(f"source {self._name}: {asked} answers no JSON: {error}") from error
        link = response.links.get("next", {}).get("url")
        return Answer(body, str(asked.join(link)) if link else None)

    def shown(self, url: str) -> str:
        """A URL without the secret parameters, which an API may repeat in those that it gives."""
        found = self._url.join(url)
        for name in self._secrets:
            found = found.copy_remove_param(name)
        return str(found)

    def _tried(self, asked: Any) -> Any:
        """A response that will not be another one when it is asked for again."""
        import httpx

        problem = ""
        for attempt in range(ATTEMPTS):
            self._pace()
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1)
            try:
                response = self._client.get(asked.copy_merge_params(self._secrets))
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if response.status_code not in PASSING:
                    return response
                problem = f"status {response.status_code}"
                wait = max(wait, self._told(response))
            if wait > PATIENCE:
                raise SourceError(
                    f"source {self._name}: {self._url} asks to wait {wait:.0f} seconds ({problem}); "
                    f"run again then: what has landed is not asked for again"
                )
            if attempt < ATTEMPTS - 1:
                sleep(wait)
        raise SourceError(
            f"source {self._name}: {self._url} does not answer ({problem}, {ATTEMPTS} attempts); "
            f"run again: what has landed is not asked for again"
        )

    def _pace(self) -> None:
        if (rest := self._last + self._gap - monotonic()) > 0:
            sleep(rest)
        self._last = monotonic()

    def _told(self, response: Any) -> float:
        """Seconds that `Retry-After` asks for: a number or a date."""
        text = response.headers.get("Retry-After", "")
        if text.strip().isdigit():
            return float(text)
        try:
            return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0

    def _advice(self, response: Any) -> str:
        prefix = f"CROSSGRAPH_SOURCES__{self._name.upper()}__"
        if response.status_code in (401, 403):
            return f": set {prefix}TOKEN, {prefix}HEADERS or {prefix}PARAMETERS"
        if response.is_redirect:
            return ": it sends on to another address; set the url to that"
        return ""
