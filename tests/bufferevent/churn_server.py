"""An echo server whose connections come and go: ``python churn_server.py METHOD MAX_DESCRIPTORS``.

It prints its port. Half of the connections it ends itself, once everything has left.
"""

import resource
import sys

from cyevent import BEV_EVENT_EOF, READ, EventBase, Listener, SocketBufferEvent


def main(method, most):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    accepted = 0

    def read(client):
        client.write(client.read())

    def wrote(client):
        client.close()

    def happened(client, what):
        assert what & BEV_EVENT_EOF
        client.close()

    def accept(listener, fd, address):
        nonlocal accepted
        accepted += 1
        client = SocketBufferEvent(base, fd, read=read, event=happened)
        if accepted % 2:
            client.set_callbacks(read=read, write=wrote, event=happened)
        client.enable(READ)

    base = EventBase(method)
    listener = Listener(base, ("0.0.0.0", 0), accept)
    print(listener.address[1], flush=True)
    base.dispatch()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
