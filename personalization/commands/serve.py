"""`personalization serve`: receive webhooks and show pages until it is stopped."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from personalization.commands.common import current_runtime, err

if TYPE_CHECKING:
    from personalization.runtime import Runtime

_STOP_SECONDS = 20


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; put a proxy with TLS before it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 8700,
) -> None:
    """Receive webhooks, and show people their preferences. Stop it with Ctrl-C: what came is written first."""
    import logging
    import socket

    import uvicorn

    from personalization.check import require_sound
    from personalization.errors import PersonalizationError
    from personalization.serve.app import create_app

    runtime = current_runtime()
    require_sound(runtime.program)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    app = create_app(runtime)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise PersonalizationError(
            f"{host}:{port} can't be listened at: {error.strerror}", hint="choose another --port, or 0 for a free one"
        ) from None
    # no access log: a secret in an address would be in it
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    listener.listen(2048)  # from here on a request waits instead of being refused
    _print_addresses(runtime, f"http://{host}:{listener.getsockname()[1]}")
    with suppress(KeyboardInterrupt):  # it stopped in good order, and says so in this way
        uvicorn.Server(config).run(sockets=[listener])


def _print_addresses(runtime: Runtime, local: str) -> None:
    """Where senders post to, and what to do there. A secret in an address is shown as its variable."""
    from personalization.webhooks.senders import SENDERS
    from personalization.webhooks.sources import webhook_sources

    public = (runtime.program.settings.serve.public_url or "").rstrip("/")
    err.print(f"Serving at {local}" + (f", as {public}" if public else "") + "  (stop with Ctrl-C)", soft_wrap=True)
    sources = webhook_sources(runtime.program)
    if not sources:
        err.print("program/sources.yaml has no source of kind webhook.")
    for name, source in sources.items():
        sender = SENDERS[source.sender]
        variable = (source.url_secret or "").removeprefix("${env:").removesuffix("}")
        secret = f"/<value of {variable}>" if variable else ""
        err.print(f"\n{name} ({sender.title}): {public or local}/webhooks/{name}{secret}", markup=False, soft_wrap=True)
        err.print(f"  {sender.setup}", markup=False, soft_wrap=True)
        if sender.name == "salesforce" and not source.secrets:
            err.print("  no secret is given yet: nothing but the handshake of the callback is accepted", soft_wrap=True)
