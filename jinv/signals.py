"""Who hears a signal, for as long as something goes on. Imports nothing: some listen before jax is there."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

Handler = Callable[[int, Any], None]


@contextmanager
def heard(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Signals go to `handlers`, and afterwards to whom they went before; elsewhere than in the main thread, and where they
    are to be ignored as nohup and a shell's & want it, nothing is installed."""
    before = {}
    try:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                with suppress(ValueError):
                    before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier if earlier is not None else signal.SIG_DFL)
