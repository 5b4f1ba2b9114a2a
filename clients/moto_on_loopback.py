"""Runs moto on a free port of 127.0.0.1 until standard input ends.

Prints `ready <url>` on standard output once it accepts requests. The port is chosen by the kernel, so any number
may run at once; the end of standard input is the end of the process that asked for moto, however it died.
"""

import os
import sys

from moto.server import ThreadedMotoServer


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"ready http://{host}:{port}", flush=True)
    # Whoever asked reads one line only: what is printed from here on belongs to the log.
    os.dup2(2, 1)
    sys.stdin.buffer.read()
    # Requests in progress must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main()
