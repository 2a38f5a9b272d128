"""Start a flow from the command line, with Prefect or without."""

import os
from collections.abc import Callable
from typing import Any

from kg.errors import MachineError

WITHOUT_PREFECT = "run without one by CROSSGRAPH_PREFECT=false"


def run_flow(name: str, project: str, sets: list[str] | None, workspace: str | None, debug: bool, **more: Any) -> Any:
    """Start a flow by its name in `flows.pipeline`, with or without Prefect as the settings say."""
    from flows.report import start_logging
    from flows.settings import load_settings

    settings = load_settings()
    start_logging(debug=debug)
    arguments = {"project": project, "overrides": sets or [], "workspace": workspace, **more}
    if not settings.prefect:
        from flows import pipeline

        return getattr(pipeline, name)(**arguments)
    return _with_prefect(name, arguments, debug)


def _with_prefect(name: str, arguments: dict[str, Any], debug: bool) -> Any:
    """Quietly, with time enough for Prefect's temporary server to start on a busy machine."""
    quiet = {
        "PREFECT_LOGGING_LEVEL": "DEBUG" if debug else "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    for variable, value in quiet.items():
        os.environ.setdefault(variable, value)
    import httpx

    from flows import deployed

    flow: Callable[..., Any] = getattr(deployed, name)
    try:
        return flow(**arguments)
    except (httpx.TransportError, RuntimeError) as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        if isinstance(error, httpx.TransportError) or "Prefect API server" in str(error):
            raise MachineError(f"Prefect's server does not answer: start it, or {WITHOUT_PREFECT}") from error
        raise


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: it ends Prefect's temporary server before the flow."""
    while error:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
