"""The chat server of ``python -m cyevent chat``: lines from each client to all others.

`server` knows sockets and commands, `round` how one message gets to thousands without being copied.
"""

from cyevent.chat.server import ChatServer, Limits, serve

__all__ = ["ChatServer", "Limits", "serve"]
