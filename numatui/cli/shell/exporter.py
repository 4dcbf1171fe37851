"""`numatui exporter`: metrics for Prometheus over HTTP."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from backend.errors import NotSupported, NumatuiError, UsageError
from numatui.cli.printing import output
from numatui.cli.printing.progress import cancelled_by_signals
from numatui.cli.source import kernel_of
from numatui.format import parse_duration


def exporter(
    context: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Address to listen on; port 0 takes any free port.")
    ] = "127.0.0.1:9737",
    processes: Annotated[int, typer.Option(min=0, max=1000, help="Export this many of the largest commands.")] = 10,
    host_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name of this machine by which it is asked. Can be repeated."),
    ] = None,
    cgroups: Annotated[int, typer.Option(min=0, max=10_000, help="Export this many of the largest.")] = 50,
    least: Annotated[
        str,
        typer.Option("--least", help="Read the kernel at most once in this time, however often it is scraped."),
    ] = "5s",
) -> None:
    """Serve metrics for Prometheus: memory and allocations of nodes, migrations, the largest processes and cgroups.

    Example: numatui exporter --listen 127.0.0.1:9737
    """
    try:
        from prometheus_client import CollectorRegistry

        from numatui.exporter.collector import NumatuiCollector
        from numatui.exporter.server import MetricsServer
    except ImportError:
        raise NotSupported(
            "the exporter needs prometheus_client, which is not installed", "pip install 'numatui[exporter]'"
        ) from None
    address, port = _address(listen)
    kernel = kernel_of(context)
    registry = CollectorRegistry()
    registry.register(NumatuiCollector(kernel, processes, cgroups, parse_duration(least) / 1e9))
    with cancelled_by_signals() as cancel:
        try:
            server = MetricsServer((address, port), registry, host_name or ())
        except (OSError, TypeError, ValueError) as exc:  # the last two: a name that is none
            why = output.printable(str(getattr(exc, "strerror", None) or exc), 80)
            raise NumatuiError(
                f"metrics cannot be served on {output.printable(listen, 80)} ({why})",
                "choose another address with --listen",
            ) from None
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        print(f"serving metrics on http://{address}:{server.server_port}/metrics", flush=True)
        cancel.wait()
        server.shutdown()
        thread.join()
        server.server_close()


def _address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9737`, `[::1]:9737`, `:9737`. Raises UsageError."""
    address, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port[:6]) > 65535:
        raise UsageError(f"'{output.printable(text, 60)}' is not an address", "write it like 127.0.0.1:9737")
    return address.strip("[]") or "0.0.0.0", int(port)
