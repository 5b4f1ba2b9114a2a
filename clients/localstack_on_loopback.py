"""Runs LocalStack on a free port of 127.0.0.1, and on nothing else, until standard input ends.

Prints `listening <url>` on standard output as soon as the port takes connections; they are answered once LocalStack
is up. LocalStack listens on every interface whatever GATEWAY_LISTEN says, so its endpoint is replaced by one that
adopts the socket opened here. That also leaves no moment in which another process could take the port.
"""

import os
import socket
import sys
import threading


def open_port():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    return listener


def configure(port):
    """LocalStack reads its environment when it is imported."""
    os.environ.update(
        DISABLE_EVENTS="1",
        SKIP_SSL_CERT_DOWNLOAD="1",
        DNS_ADDRESS="0",
        GATEWAY_LISTEN=f"127.0.0.1:{port}",
        LOCALSTACK_HOST=f"127.0.0.1:{port}",
        # Else the first call to each service waits until it is loaded, which a caller's timeout may not.
        EAGER_SERVICE_LOADING="1",
        SERVICES="cloudformation,ec2,iam,s3,sns,sqs,ssm,sts",
        # Else it writes to /var/lib when it believes to be in a container.
        OVERRIDE_IN_DOCKER="0",
    )


def adopt(listener):
    from twisted.internet import defer, endpoints

    port = listener.getsockname()[1]

    class LoopbackEndpoint:
        def __init__(self, reactor, wanted, backlog=50, interface=""):
            self.reactor = reactor
            self.wanted = wanted

        def listen(self, factory):
            if self.wanted != port:
                raise RuntimeError(f"LocalStack wants to listen on port {self.wanted} besides {port}")
            return defer.execute(self.reactor.adoptStreamPort, listener.fileno(), socket.AF_INET, factory)

    endpoints.TCP4ServerEndpoint = LoopbackEndpoint


def end_with_standard_input():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    listener = open_port()
    port = listener.getsockname()[1]
    configure(port)
    adopt(listener)
    print(f"listening http://127.0.0.1:{port}", flush=True)
    # Whoever asked reads one line only: what is printed from here on belongs to the log.
    os.dup2(2, 1)
    threading.Thread(target=end_with_standard_input, daemon=True).start()

    from localstack.runtime.main import main as run_localstack

    run_localstack()


if __name__ == "__main__":
    main()
